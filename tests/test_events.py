"""Events: what is emitted has the shape that its schema promises, once for each thing that happens."""

from __future__ import annotations

import asyncio
import json
import logging
from datetime import timedelta
from types import SimpleNamespace

import pytest
from jupyter_events import EventLogger

from culling_manager import events
from culling_manager.decisions import Reason
from culling_manager.engine.culler import IdleCuller
from culling_manager.records import AppRecord, Happening, KernelRecord, Kind, TerminalRecord
from tests.conftest import scenario, until
from tests.doubles import NOON, FakeClock, FakeKernels
from tests.test_culler import EXACT, TIMEOUT, World
from tests.test_handlers import ask, start

SCHEMA_IDS = (events.APP, events.CULLING, events.SETTINGS)


class Bus:
    """A real event bus, and what was heard on it; an event that its schema forbids is not heard."""

    def __init__(self, *schema_ids: str) -> None:
        self.event_logger = EventLogger()
        self.log = logging.getLogger("test")
        self.heard: list[dict] = []
        events.register(self)
        hear(self.event_logger, self.heard, *(schema_ids or SCHEMA_IDS))

    @property
    def actions(self) -> list[str]:
        return [each["action"] for each in self.heard]


def hear(logger: EventLogger, heard: list[dict], *schema_ids: str) -> None:
    """Have every event of these schemas noted."""

    async def note(logger, schema_id, data):
        heard.append(data)

    for schema_id in schema_ids:
        logger.add_listener(schema_id=schema_id, listener=note)


def world(**settings) -> tuple[World, Bus]:
    """A culler under a fake clock, started, and the bus on which it tells."""
    found, bus = World(**settings), Bus()
    found.culler.listeners.append(events.listener(bus))
    return found, bus


# -- the schemas -------------------------------------------------------------------------------------


SCHEMAS = sorted(path for path in events.SCHEMAS.glob("*.json") if path.stem != "openapi")


@pytest.mark.parametrize("path", SCHEMAS, ids=lambda path: path.stem)
def test_a_schema_is_valid_registered_and_says_what_everything_is(path):
    """Under our own address; people who read logs find every field described."""
    schema = json.loads(path.read_text("utf-8"))
    bus = Bus()

    assert schema["$id"] == f"https://events.jupyter.org/culling_manager/{path.stem}"
    assert schema["$id"] in bus.event_logger.schemas
    assert set(schema["required"]) <= set(schema["properties"])
    assert {name for name, each in schema["properties"].items() if not {"description", "enum"} & set(each)} <= {
        "keep_terminals"
    }


def test_registering_twice_is_once():
    """Managers and extension both do it."""
    bus = Bus()

    events.register(bus)

    assert set(SCHEMA_IDS) <= set(bus.event_logger.schemas.schema_ids)


# -- what a culler tells -------------------------------------------------------------------------------


@scenario
async def test_a_kernel_that_goes_is_warned_of_and_then_culled():
    """Ahead of its deadline and at it; with identity, reason, idle seconds and the deadline."""
    place, bus = world()
    place.kernels.put("a")
    place.start()

    await place.clock.run_for(TIMEOUT + EXACT)

    warned, culled = bus.heard
    assert warned == {
        "action": "warned", "kind": "kernel", "identity": "a", "name": "python3", "reason": "active",
        "detail": "Idle for 5 min, due in 4 min.", "idle_seconds": pytest.approx(300, abs=1),
        "due_at": "2026-06-01T12:10:00.000000Z",
    }  # fmt: skip
    assert (culled["action"], culled["reason"]) == ("culled", "idle")
    assert culled["idle_seconds"] == pytest.approx(TIMEOUT, abs=1)
    assert culled["detail"]


@scenario
async def test_an_event_of_a_kernel_names_its_notebook():
    """And where it has none, nothing stands in its place."""
    place, bus = world()
    place.kernels.put("a", path="work/explore.ipynb")
    place.kernels.put("b")
    place.start()

    await place.clock.run_for(TIMEOUT + EXACT)

    told = {each["identity"]: each.get("document") for each in bus.heard if each["action"] == "culled"}
    assert told == {"a": "work/explore.ipynb", "b": None}


@scenario
async def test_activity_takes_a_warning_back():
    """Told once, and a new warning comes ahead of the new deadline."""
    place, bus = world()
    place.kernels.put("a")
    place.start()
    await place.clock.run_for(400)

    place.touch("a")
    await place.clock.run_for(200)
    before = list(bus.actions)
    await place.clock.run_for(200)

    assert before == ["warned", "withdrawn"]
    assert bus.actions == ["warned", "withdrawn", "warned"]
    assert bus.heard[1]["due_at"] == "2026-06-01T12:16:40.000000Z"


@scenario
async def test_a_keep_alive_is_told_as_what_keeps_and_takes_a_warning_back():
    """Kept because, with the words; told once for as long as it holds."""
    place, bus = world()
    place.kernels.put("a")
    place.start()
    await place.clock.run_for(400)

    place.culler.keep_alive(Kind.KERNEL, "a", place.clock.wall + timedelta(hours=2), "alice")
    await place.clock.run_for(3600)

    assert sorted(bus.actions) == ["kept", "warned", "withdrawn"]
    (kept,) = [each for each in bus.heard if each["action"] == "kept"]
    assert kept["reason"] == "kept alive"
    assert kept["detail"].startswith("Kept by request until 2026-06-01T14:06:40")


@scenario
async def test_a_kernel_whose_state_nobody_can_tell_is_told_as_kept():
    """Doubt keeps, and is seen."""
    place, bus = world(warn_before=0.0)
    place.kernels.put("a", state="busy")
    place.start()
    place.culler.watches[Kind.KERNEL].current(place.clock.wall)
    place.kernels.put("a", state="idle")
    place.kernels.unreadable_ids.add("a")

    await place.clock.run_for(TIMEOUT * 2)

    assert bus.actions == ["kept"]
    assert bus.heard[0]["reason"] == "unknown"
    assert "no such socket" in bus.heard[0]["detail"]


@scenario
async def test_what_is_kept_from_the_first_look_on_is_told_too():
    """Kernels in use are not looked at, so most are first judged when they would be due, were they not kept."""
    place, bus = world()
    place.kernels.put("a")
    place.start()
    place.culler.keep_alive(Kind.KERNEL, "a", place.clock.wall + timedelta(hours=2), "alice")

    await place.clock.run_for(TIMEOUT * 2)

    assert bus.actions == ["kept"]


@scenario
async def test_a_failed_shutdown_is_told_each_time_it_is_tried():
    """With what went wrong."""
    place, bus = world(warn_before=0.0)
    place.kernels.put("a")
    place.kernels.failing.add("a")
    place.start()

    await place.clock.run_for(TIMEOUT + 45)

    assert bus.actions == ["failed", "failed"]
    assert bus.heard[0]["detail"] == "it refuses to stop"


@scenario
async def test_a_dry_run_tells_only_what_would_have_been():
    """Nobody is warned of what will not happen."""
    place, bus = world(dry_run=True)
    place.kernels.put("a")
    place.start()

    await place.clock.run_for(TIMEOUT * 2)

    assert bus.actions == ["dry run"]
    assert place.kernels.stopped == []


@pytest.mark.parametrize("action", ["warned", "withdrawn", "kept", "culled", "dry run", "failed"])
@pytest.mark.parametrize("reason", list(Reason))
@pytest.mark.parametrize(
    "record",
    [
        KernelRecord(identity="k", state=None, last_activity=None),
        TerminalRecord(identity="1", last_activity=NOON),
        AppRecord(identity="arn:x", name="default", state="InService"),
    ],
    ids=["kernel", "terminal", "app"],
)
@scenario
async def test_whatever_can_happen_has_the_shape_of_the_schema(record, reason, action):
    """Every action with every reason, of every kind, also where nothing is known."""
    bus = Bus()
    kind = {"k": Kind.KERNEL, "1": Kind.TERMINAL, "arn:x": Kind.APP}[record.identity]

    events.listener(bus)(Happening(action=action, kind=kind, record=record, reason=reason.value, at=NOON))
    await asyncio.sleep(0)

    (heard,) = bus.heard
    assert (heard["action"], heard["kind"], heard["reason"]) == (action, kind.value, reason.value)
    assert (heard["idle_seconds"], heard["due_at"]) == (None, None)


@scenario
async def test_an_event_that_its_schema_forbids_is_logged_and_stops_nothing(caplog):
    """A bug of ours is no reason to cull wrongly."""
    bus = Bus()

    events.emit(bus, events.CULLING, {"action": "nonsense"})
    events.emit(bus, events.SETTINGS, {"action": "changed", "asked_by": "alice", "saved": "maybe"})
    await asyncio.sleep(0)

    assert bus.heard == []
    assert caplog.text.count("could not be emitted") == 2


@scenario
async def test_without_a_bus_nothing_is_told_and_nothing_fails():
    """A manager in somebody's program has no server."""
    events.register(None)
    events.emit(None, events.CULLING, {})
    events.emit(SimpleNamespace(log=None), events.CULLING, {})


@scenario
async def test_one_who_listens_and_fails_does_not_keep_a_kernel_from_going(caplog):
    """Nor the others from hearing of it."""
    place, bus = world(warn_before=0.0)
    place.culler.listeners.insert(0, lambda happening: 1 / 0)
    place.kernels.put("a")
    place.start()

    await place.clock.run_for(TIMEOUT + EXACT)

    assert place.kernels.stopped == ["a"]
    assert bus.actions == ["culled"]
    assert "ZeroDivisionError" in caplog.text


@scenario
async def test_an_app_whose_deletion_is_asked_for_has_the_shape_of_its_schema():
    """Before, and once it was accepted."""
    bus = Bus()
    app = AppRecord(
        identity="arn:x", name="default", app_type="JupyterLab", state="InService",
        created_at=NOON - timedelta(days=1), watched_since=NOON - timedelta(hours=1), last_activity=NOON,
    )  # fmt: skip

    events.emit_app(bus, "deleting", app, NOON + timedelta(hours=2))
    events.emit_app(bus, "accepted", AppRecord(identity="a", name="a", state="InService"), NOON)
    await asyncio.sleep(0)

    assert [each["idle_seconds"] for each in bus.heard] == [7200, None]


@scenario
async def test_a_deletion_is_told_under_the_apps_own_schema_and_a_refused_one_as_failed_only():
    """Who listens for apps hears of deleting and accepted, as ever; the refusal is told once, not twice."""
    bus = Bus(events.APP)
    app = AppRecord(identity="a", name="a", app_type="Fake", state="InService", watched_since=NOON)
    tell = events.listener(bus)

    for action in ("deleting", "refused", "accepted"):
        tell(Happening(action=action, kind=Kind.APP, record=app, reason="idle", at=NOON + timedelta(hours=2)))
    await asyncio.sleep(0)

    same = {"app": "a", "app_type": "Fake", "identity": "a", "idle_seconds": 7200}
    assert bus.heard == [{"action": "deleting", **same}, {"action": "accepted", **same}]


# -- what a real server tells ----------------------------------------------------------------------------


async def test_settings_and_requests_are_told_with_who_asked(jp_fetch, jp_serverapp):
    """Changed, saved, reset; kept and taken back. A refusal is none."""
    heard: list[dict] = []
    await ask(jp_fetch, "settings")
    hear(jp_serverapp.event_logger, heard, *SCHEMA_IDS)
    kernel = await start(jp_fetch)

    await ask(jp_fetch, "settings", {"idle_time": 30})
    await ask(jp_fetch, "settings", {"idle_time": 45.5, "keep_terminals": True, "save": True})
    await ask(jp_fetch, "idle_checker", {"idle_time": 60, "keep_terminals": False})
    await ask(jp_fetch, "settings", {"idle_time": 0})
    await ask(jp_fetch, "settings", method="DELETE")
    await ask(jp_fetch, "keep-alive", {"duration": "4h"})
    await ask(jp_fetch, "keep-alive", {"kind": "kernel", "id": kernel, "duration": "4h"})
    await ask(jp_fetch, "keep-alive", {"duration": "soon"})
    await ask(jp_fetch, "keep-alive", method="DELETE")
    await until(lambda: len(heard) >= 7)

    told = [each for each in heard if "reason" not in each]
    assert [each["action"] for each in told] == [
        *("changed", "changed", "changed", "reset", "keep-alive", "keep-alive", "resume")
    ]
    assert [(each["idle_time"], each["keep_terminals"], each["saved"]) for each in told[:4]] == [
        *((1800, False, False), (2730, True, True), (3600, False, False), (7200, False, False))
    ]
    assert [(each["kind"], each["identity"], bool(each["until"])) for each in told[4:]] == [
        *(("all", None, True), ("kernel", kernel, True), ("all", None, False))
    ]
    assert all(each["asked_by"] for each in told)


async def test_a_real_kernel_that_goes_is_told_of_on_the_servers_bus(jp_fetch, jp_serverapp):
    """Whoever listens on the server hears of it, though nobody asked us anything before."""
    heard: list[dict] = []
    hear(jp_serverapp.event_logger, heard, events.CULLING)
    kernel = await start(jp_fetch)

    await ask(jp_fetch, "settings", {"idle_time": 0.017})
    await until(lambda: "culled" in [each["action"] for each in heard], 20)

    (culled,) = [each for each in heard if each["action"] == "culled"]
    assert (culled["kind"], culled["identity"], culled["reason"]) == ("kernel", kernel, "idle")
    assert culled["idle_seconds"] > 1
    json.dumps(culled)


def test_a_culler_of_nobodys_has_only_its_tally_to_tell():
    """No server, no bus."""
    culler = IdleCuller(logging.getLogger("test"), FakeClock())
    culler.attach(FakeKernels())

    assert culler.listeners == [culler.tally.told]
