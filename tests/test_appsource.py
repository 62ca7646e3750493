"""Apps under a clock that tests move: when one goes, what keeps it, what is remembered of it, and what fails."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime, timedelta
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from culling_manager.apps.source import AppSource
from culling_manager.decisions import IN_SERVICE, Reason
from culling_manager.engine.culler import IdleCuller
from culling_manager.engine.shutdown import GRACE_SECONDS
from culling_manager.errors import (
    STAYS_BILLED,
    CallError,
    DeniedError,
    ErrorCode,
    GoneError,
    HookError,
    ReadError,
    StopError,
)
from culling_manager.records import KernelRecord, Kind, Result
from tests.conftest import scenario
from tests.doubles import NOON, FakeApps, FakeClock, FakeTerminals, HomedKernels
from tests.test_attention import FakeGuard

TIMEOUT = 600.0
#: An app goes after its last kernel: each has its grace period.
EXACT = 2 * GRACE_SECONDS + 0.01
LONG_AGO = NOON - timedelta(days=1)


class World:
    """A culler with a fake clock, fake kernels, terminals and apps, started."""

    def __init__(self, clock: FakeClock | None = None, apps: FakeApps | None = None, **own_settings) -> None:
        self.clock = clock or FakeClock()
        self.culler = IdleCuller(logging.getLogger("test"), self.clock)
        self.kernels = HomedKernels(own_settings={"idle_timeout": TIMEOUT, **own_settings}, culler=self.culler)
        self.terminals = FakeTerminals(culler=self.culler)
        self.apps = apps or FakeApps()
        self.source = AppSource(self.apps, self.culler)
        self.culler.neighbours = self.source
        for source in (self.kernels, self.terminals, self.source):
            self.culler.attach(source)
        self.order: list[str] = []

    def start(self) -> World:
        self.culler.start()
        return self

    def kernel(self, identity: str, app: str | None = "a", **changes) -> None:
        """A kernel that is used now; one that is new is started."""
        changes = {"last_activity": self.clock.wall, "app_name": app, **changes}
        if identity in self.kernels.records:
            self.kernels.put(identity, **changes)
        else:
            self.kernels.start(identity, **changes)

    def app(self, name: str = "a"):
        """The record and decision on an app as `status` shows it."""
        now = self.culler.now()
        return next(each for each in self.culler.watches[Kind.APP].current(now) if each[0].name == name)

    def reason(self, name: str = "a") -> Reason:
        return self.app(name)[1].reason


# -- when an app goes --------------------------------------------------------------------------------


@scenario
async def test_an_app_that_nobody_uses_goes_one_timeout_after_it_was_first_seen():
    """However old its creation is: the first sight of it counts, and then to the second."""
    world = World()
    world.apps.put("a", created_at=LONG_AGO)
    world.start()

    await world.clock.run_for(TIMEOUT)
    before = list(world.apps.deleted)
    await world.clock.run_for(EXACT)

    assert before == []
    assert world.apps.deleted == ["a"]


@scenario
async def test_with_the_last_kernel_the_app_goes_in_the_same_pass_after_it():
    """Kernels first, then the app, at the kernel's own deadline."""
    world = World()
    world.apps.put("a", created_at=LONG_AGO)
    world.start()
    await world.clock.run_for(100)
    world.kernel("k")
    world.apps.before_delete = lambda app: world.order.append(str(world.kernels.stopped))

    await world.clock.run_for(TIMEOUT)
    before = list(world.kernels.stopped), list(world.apps.deleted)
    await world.clock.run_for(EXACT)

    assert before == ([], [])
    assert world.apps.deleted == ["a"]
    assert world.order == ["['k']"]


@scenario
async def test_an_app_waits_for_a_kernel_that_takes_its_time_to_stop():
    """Its exit handlers run before the instance goes."""
    world = World()
    world.apps.put("a", created_at=LONG_AGO)
    world.kernels.hanging["k"] = asyncio.Event()
    world.start()
    world.kernel("k")

    await world.clock.run_for(TIMEOUT + 20)
    meanwhile = list(world.apps.deleted)
    world.kernels.hanging["k"].set()
    await world.clock.run_for(1)

    assert meanwhile == []
    assert world.apps.deleted == ["a"]


@scenario
async def test_a_due_kernel_that_refuses_to_stop_does_not_keep_its_app():
    """Due is enough: a stuck kernel must not keep an instance for ever."""
    world = World()
    world.apps.put("a", created_at=LONG_AGO)
    world.kernels.failing.add("k")
    world.start()
    world.kernel("k")

    await world.clock.run_for(TIMEOUT + 5)

    assert world.kernels.stopped == []
    assert world.apps.deleted == ["a"]


@pytest.mark.parametrize(
    "changes",
    [
        {"state": "busy"},
        {"state": "no such state"},
        {"error": "cannot be read"},
        {"last_activity": None, "state": "idle"},
        {"kept_until": NOON + timedelta(days=9)},
        {"idle_timeout": 1e6},
        {"idle_timeout": 0.0},
    ],
    ids=["busy", "unknown state", "unreadable", "no timestamp", "kept alive", "longer timeout", "off"],
)
@scenario
async def test_a_kernel_that_is_kept_keeps_its_app_and_no_other(changes):
    """For whatever reason it is kept."""
    world = World()
    for name in "ab":
        world.apps.put(name, created_at=LONG_AGO)
    world.start()
    world.kernel("k", "a", **changes)

    await world.clock.run_for(20 * TIMEOUT)

    assert world.apps.deleted == ["b"]
    assert world.reason() in (Reason.IN_USE, Reason.ACTIVE)


@scenario
async def test_a_kernel_of_which_nobody_knows_where_it_runs_keeps_all_apps():
    """When several could be meant all are kept."""
    world = World()
    for name in "ab":
        world.apps.put(name, created_at=LONG_AGO)
    world.start()
    world.kernel("k", None, state="busy")

    await world.clock.run_for(20 * TIMEOUT)

    assert world.apps.deleted == []


@scenario
async def test_a_connected_kernel_keeps_its_app_where_connections_count():
    """`cull_connected = False` holds for apps too, until the tab is closed."""
    world = World(cull_connected=False)
    world.apps.put("a", created_at=LONG_AGO)
    world.start()
    world.kernel("k", connections=1)
    await world.clock.run_for(10 * TIMEOUT)
    before = list(world.apps.deleted)

    world.kernels.put("k", connections=0)
    world.culler.wake_soon(Kind.KERNEL)
    await world.clock.run_for(1)

    assert before == []
    assert world.apps.deleted == ["a"]


@scenario
async def test_a_kernel_that_its_user_shuts_down_is_activity_at_that_instant():
    """Whoever closes a notebook is there, however long ago the last cell ran."""
    world = World()
    world.apps.put("a", created_at=LONG_AGO)
    world.start()
    world.kernel("k")
    await world.clock.run_for(TIMEOUT - 1)

    world.kernels.end("k")
    await world.clock.run_for(TIMEOUT)
    before = list(world.apps.deleted)
    await world.clock.run_for(EXACT)

    assert before == []
    assert world.apps.deleted == ["a"]


@scenario
async def test_a_kernel_with_a_shorter_timeout_goes_alone():
    """Its app goes one whole timeout after its last activity."""
    world = World()
    world.apps.put("a", created_at=LONG_AGO)
    world.start()
    await world.clock.run_for(50)
    world.kernel("k", idle_timeout=60.0)

    await world.clock.run_for(TIMEOUT)
    before = list(world.kernels.stopped), list(world.apps.deleted)
    await world.clock.run_for(EXACT)

    assert before == (["k"], [])
    assert world.apps.deleted == ["a"]


@scenario
async def test_a_kernel_that_dies_at_work_was_in_use_until_then():
    """An OOM kill after ten silent hours is no reason to take the instance at once."""
    world = World()
    world.apps.put("a", created_at=LONG_AGO)
    world.start()
    world.kernel("k", state="busy")
    await world.clock.run_for(10 * TIMEOUT)

    world.kernels.put("k", alive=False)
    world.culler.wake_soon(Kind.KERNEL)
    await world.clock.run_for(TIMEOUT - 1)
    before = list(world.kernels.stopped), list(world.apps.deleted)
    await world.clock.run_for(2)

    assert before == (["k"], [])
    assert world.apps.deleted == ["a"]


@scenario
async def test_with_keep_terminals_a_terminal_keeps_its_app_and_without_it_it_goes():
    """Also when the setting is changed at run time."""
    world = World(keep_terminals=True)
    world.apps.put("a", created_at=LONG_AGO)
    world.start()
    world.terminals.start("a-1", last_activity=world.clock.wall)
    await world.clock.run_for(5 * TIMEOUT)
    before = list(world.apps.deleted)

    world.culler.change_settings(keep_terminals=False)
    await world.clock.run_for(1)

    assert before == []
    assert world.terminals.stopped == ["a-1"]
    assert world.apps.deleted == ["a"]


@pytest.mark.parametrize(
    ("changes", "goes"),
    [({"with_app": True}, True), ({"ended": True}, True), ({"with_app": True, "last_activity": None}, True)],
    ids=["image terminal", "ended", "image terminal that tells nothing"],
)
@scenario
async def test_a_terminal_that_goes_with_its_app_keeps_it_only_by_its_activity(changes, goes):
    """What it last said counts, or when it was first seen; then it goes with the app."""
    world = World()
    world.apps.put("a", created_at=LONG_AGO)
    world.start()
    await world.clock.run_for(300)
    world.terminals.start("a-1", **{"last_activity": world.clock.wall, **changes})
    world.culler.wake_soon(Kind.APP)

    await world.clock.run_for(TIMEOUT)
    before = list(world.apps.deleted)
    await world.clock.run_for(EXACT)

    assert before == []
    assert world.apps.deleted == ["a"] * goes
    assert world.terminals.stopped == []


@scenario
async def test_work_between_decision_and_deletion_keeps_the_app():
    """The very last look is after everything that takes time."""
    world = World()
    world.apps.put("a", created_at=LONG_AGO)
    world.start()
    await world.clock.run_for(TIMEOUT + GRACE_SECONDS / 2)

    world.kernel("k", state="busy")
    await world.clock.run_for(10)

    assert world.apps.deleted == []
    assert [outcome.result for outcome in world.culler.outcomes] == [Result.CHANGED]


@scenario
async def test_an_app_whose_name_is_protected_is_never_deleted():
    """Patterns of names; the rest goes."""
    world = World(apps=FakeApps(keep_apps=["prod-*"]))
    for name in ("prod-1", "a"):
        world.apps.put(name, created_at=LONG_AGO)
    world.start()

    await world.clock.run_for(5 * TIMEOUT)

    assert world.apps.deleted == ["a"]
    assert world.reason("prod-1") is Reason.PROTECTED


@pytest.mark.parametrize("state", ["Pending", "Deleting", "Deleted", "Failed", None, "Brandnew"])
@scenario
async def test_only_what_is_in_service_is_deleted(state):
    """Any other status, known or not, is left alone."""
    world = World()
    world.apps.put("a", created_at=LONG_AGO, state=state)
    world.start()

    await world.clock.run_for(5 * TIMEOUT)

    assert world.apps.deleted == []
    assert world.reason() is Reason.NOT_IN_SERVICE


@scenario
async def test_a_timeout_of_zero_deletes_nothing_and_asks_nothing():
    """Off is off for apps too."""
    world = World(idle_timeout=0.0)
    world.apps.put("a", created_at=LONG_AGO)
    world.start()

    await world.clock.run_for(86_400)

    assert world.apps.calls == []


@scenario
async def test_a_rehearsal_says_what_would_go_and_deletes_nothing():
    """`dry_run` covers apps."""
    world = World(dry_run=True)
    world.apps.put("a", created_at=LONG_AGO)
    world.start()
    world.kernel("k")

    await world.clock.run_for(5 * TIMEOUT)

    assert world.apps.deleted == []
    assert [(each.kind, each.result) for each in world.culler.outcomes] == [
        (Kind.KERNEL, Result.DRY_RUN),
        (Kind.APP, Result.DRY_RUN),
    ]


@scenario
async def test_after_a_clock_jump_no_app_goes_for_five_minutes():
    """A laptop's suspend or a step of NTP is no idleness."""
    world = World()
    world.apps.put("a", created_at=LONG_AGO)
    world.start()
    await world.clock.run_for(10)

    world.clock.jump(86_400)
    await world.clock.run_for(299)
    before = list(world.apps.deleted)
    await world.clock.run_for(12)  # the jump was noticed at the next heartbeat

    assert before == []
    assert world.apps.deleted == ["a"]


@scenario
async def test_a_clock_that_was_a_month_ahead_does_not_keep_an_app_for_a_month():
    """What was seen in the future was seen now at the latest."""
    world = World()
    world.apps.put("a", created_at=LONG_AGO)
    world.clock.wall += timedelta(days=30)
    world.start()
    await world.clock.run_for(10)

    world.clock.jump(-30 * 86_400)
    await world.clock.run_for(TIMEOUT + 12)

    assert world.apps.deleted == ["a"]


# -- memory, and apps that come and go -----------------------------------------------------------------


@scenario
async def test_an_app_of_the_same_name_starts_anew():
    """Memory is dropped with the app, so a re-created one has a whole timeout, also with its old creation time."""
    world = World()
    world.apps.put("a", created_at=LONG_AGO)
    world.start()
    await world.clock.run_for(TIMEOUT + 1)
    world.apps.put("a", state="Deleted")
    await world.clock.run_for(TIMEOUT)

    world.apps.put("a", state=IN_SERVICE, created_at=LONG_AGO)
    await world.clock.run_for(TIMEOUT)
    before = list(world.apps.deleted)
    await world.clock.run_for(TIMEOUT)

    assert before == ["a"]
    assert world.apps.deleted == ["a", "a"]


@scenario
async def test_an_app_with_a_newer_creation_time_starts_anew_though_its_end_was_not_seen():
    """It was deleted and created again between two lists."""
    world = World()
    world.apps.put("a", created_at=LONG_AGO)
    world.start()
    await world.clock.run_for(200)
    world.apps.put("a", created_at=world.clock.wall)

    await world.clock.run_for(TIMEOUT - 1)
    before = list(world.apps.deleted)
    await world.clock.run_for(TIMEOUT)

    assert before == []
    assert world.apps.deleted == ["a"]


@scenario
async def test_a_kernel_on_an_app_that_is_not_known_has_the_apps_listed_soon():
    """Else the app would be first seen half a timeout later, and outlive its kernel by that."""
    world = World()

    class Knowing(FakeApps):
        def knows_home_of(self, kernel, apps):
            return kernel.app_name in apps

    world.source.apps = world.apps = Knowing()
    world.start()
    await world.clock.run_for(10)
    world.apps.put("a", created_at=world.clock.wall)
    world.kernel("k")
    await world.clock.run_for(20)
    world.kernel("k")

    await world.clock.run_for(TIMEOUT + EXACT)

    assert world.kernels.stopped == ["k"]
    assert world.apps.deleted == ["a"]


@scenario
async def test_kernels_that_this_server_did_not_start_count():
    """A busy one that survived a restart of the server never loses its instance; an idle one does not keep it."""
    world = World()
    for name in "ab":
        world.apps.put(name, created_at=LONG_AGO)
    for identity, state in (("a", "busy"), ("b", "idle")):
        world.kernels.others[identity] = KernelRecord(
            identity=identity, state=state, last_activity=LONG_AGO, app_name=identity
        )
    world.start()

    await world.clock.run_for(5 * TIMEOUT)
    early = list(world.apps.deleted)
    world.kernels.others["a"] = world.kernels.others["a"]._replace(state="idle", last_activity=world.clock.wall)
    await world.clock.run_for(TIMEOUT)
    before = list(world.apps.deleted)
    await world.clock.run_for(EXACT)

    assert early == ["b"]
    assert before == ["b"]
    assert world.apps.deleted == ["b", "a"]


@scenario
async def test_without_the_gateways_list_of_kernels_no_app_is_deleted_and_it_is_said_why():
    """Doubt keeps, and is reported; it goes on when the doubt is over."""
    world = World()
    world.apps.put("a", created_at=LONG_AGO)
    world.start()
    await world.clock.run_for(1)
    world.kernels.others_error = RuntimeError("listing is forbidden")

    await world.clock.run_for(5 * TIMEOUT)
    before, words = list(world.apps.deleted), world.culler.troubles.last_text()
    world.kernels.others_error = None
    await world.clock.run_for(3600)

    assert before == []
    assert "listing is forbidden" in words
    assert world.apps.deleted == ["a"]
    assert world.culler.troubles.last_text() is None


# -- what fails ----------------------------------------------------------------------------------------


@scenario
async def test_a_list_that_cannot_be_had_is_asked_for_again_less_and_less_often():
    """At first within a minute; the trouble is in `status` until it is over; then everything goes on."""
    world = World()
    world.apps.put("a", created_at=LONG_AGO)
    world.apps.list_error = CallError("permission sagemaker:ListApps on * is missing")
    world.start()

    await world.clock.run_for(60)
    soon = len(world.apps.calls)
    await world.clock.run_for(86_400)
    day, words = len(world.apps.calls), world.culler.troubles.last_text()
    world.apps.list_error = None
    await world.clock.run_for(3600 + TIMEOUT + 1)

    assert soon == 2
    assert day < 45
    assert "ListApps" in words
    assert world.apps.deleted == ["a"]
    assert world.culler.troubles.last_text() is None


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DeniedError("permission sagemaker:X on * is missing"), "permission_missing"),
        (CallError("throttled"), "call_failed"),
        (ReadError("no gateway", code=ErrorCode.STRANGERS_UNREAD), "strangers_unread"),
        (OSError("away"), None),
    ],
)
@scenario
async def test_what_keeps_an_app_on_the_bill_is_told_by_a_code_of_its_own(error, code):
    """In `status` and in the heartbeat line, for a list that cannot be had and for a deletion that is refused."""
    unlisted, undeleted = World(), World()
    for world in (unlisted, undeleted):
        world.apps.put("a", created_at=LONG_AGO)
    unlisted.apps.list_error = undeleted.apps.delete_error = error
    for world in (unlisted, undeleted):
        world.start()
        await world.clock.run_for(TIMEOUT + 60)

    found = [world.culler.troubles.codes() for world in (unlisted, undeleted)]

    assert found == [[code or "apps_unread"], [code or "not_deleted"]]
    assert STAYS_BILLED.issuperset(each for codes in found for each in codes)


@scenario
async def test_looking_at_status_asks_for_nothing():
    """However often somebody looks, and however much is wrong."""
    world = World()
    world.apps.put("a", created_at=LONG_AGO)
    world.start()
    await world.clock.run_for(1)
    world.apps.list_error = CallError("no")
    await world.clock.run_for(TIMEOUT * 4)
    calls = len(world.apps.calls)
    wait = (world.culler.watches[Kind.APP].next_look - world.clock.wall).total_seconds()

    for _ in range(20):
        world.app()
        await world.clock.run_for(wait / 25)

    assert wait > 60
    assert len(world.apps.calls) == calls


@scenario
async def test_a_refused_deletion_is_tried_again_within_a_minute_and_then_less_often():
    """Told once in the log while it stays the same; deleted once the cause is gone."""
    world = World()
    world.apps.put("a", created_at=LONG_AGO)
    world.apps.delete_error = CallError("permission sagemaker:DeleteApp on arn:x is missing")
    world.start()

    await world.clock.run_for(TIMEOUT + 60)
    soon = world.apps.calls.count("delete")
    await world.clock.run_for(86_400)
    day, error = world.apps.calls.count("delete"), world.culler.troubles.last_text()
    world.apps.delete_error = None
    await world.clock.run_for(3600)

    assert soon == 2
    assert day < 40
    assert "sagemaker:DeleteApp on arn:x" in error
    assert world.apps.deleted == ["a"]
    assert world.culler.troubles.last_text() is None


@scenario
async def test_one_apps_failure_does_not_stop_anothers_deletion():
    """Each has its own tries."""
    world = World()
    for name in "ab":
        world.apps.put(name, created_at=LONG_AGO)

    class Failing(FakeApps):
        async def delete_app(self, app):
            if app.name == "a":
                raise CallError("no")
            await super().delete_app(app)

    apps = Failing()
    apps.apps = world.apps.apps
    world.source.apps = apps
    world.start()

    await world.clock.run_for(TIMEOUT + 1)

    assert apps.deleted == ["b"]


@scenario
async def test_while_an_app_is_being_deleted_it_is_not_asked_again():
    """Twenty minutes of `Deleting` are looked at a few times; the list says when it is gone."""
    world = World()
    world.apps.put("a", created_at=LONG_AGO)
    world.start()
    await world.clock.run_for(TIMEOUT + 1)
    lists = world.apps.calls.count("list")

    await world.clock.run_for(1200)
    asked, looked = world.apps.calls.count("delete"), world.apps.calls.count("list") - lists
    reason = world.reason()
    del world.apps.apps["a"]
    await world.clock.run_for(TIMEOUT)

    assert asked == 1
    assert looked <= 6
    assert reason is Reason.NOT_IN_SERVICE
    assert world.culler.watches[Kind.APP].current(world.clock.wall) == []


@scenario
async def test_an_app_that_stays_in_service_after_an_accepted_deletion_is_asked_for_again_in_the_end():
    """First it waits for the answer to show, then it says so and asks again."""
    world = World()
    world.apps.put("a", created_at=LONG_AGO)
    world.start()
    await world.clock.run_for(TIMEOUT + 1)
    world.apps.put("a", state=IN_SERVICE)

    await world.clock.run_for(world.apps.patience - 60)
    asked, reason = world.apps.calls.count("delete"), world.reason()
    await world.clock.run_for(1800)

    assert asked == 1
    assert reason is Reason.NOT_IN_SERVICE
    assert world.apps.calls.count("delete") == 2


@scenario
async def test_a_deletion_that_fails_in_the_end_is_reported():
    """Status Failed: it is not billed, and somebody should look."""
    world = World()
    world.apps.put("a", created_at=LONG_AGO)
    world.start()
    await world.clock.run_for(TIMEOUT + 1)

    world.apps.put("a", state="Failed")
    await world.clock.run_for(TIMEOUT)

    assert "Failed" in world.culler.troubles.last_text()


@scenario
async def test_a_server_that_stops_does_not_wait_for_the_answer_to_a_deletion():
    """Its kernels and terminals are to be shut down meanwhile."""
    world = World()
    world.apps.put("a", created_at=LONG_AGO)
    answered = asyncio.Event()

    async def hang(app):
        world.apps.calls.append("delete")
        await answered.wait()

    world.apps.delete_app = hang
    world.start()
    await world.clock.run_for(TIMEOUT + 1)

    await asyncio.wait_for(world.culler.pause(), 5)

    assert world.apps.calls[-1] == "delete"
    answered.set()


@scenario
async def test_an_app_that_is_created_anew_right_after_its_deletion_is_another_one():
    """Its creation time says so: it is not taken for one that lingers, and goes in its own time."""
    world = World()
    world.apps.put("a", created_at=LONG_AGO)
    world.start()
    await world.clock.run_for(TIMEOUT + 1)
    world.apps.put("a", state=IN_SERVICE, created_at=world.clock.wall)

    await world.clock.run_for(1.5 * TIMEOUT)

    assert world.apps.deleted == ["a", "a"]
    assert world.culler.troubles.last_text() is None


@scenario
async def test_an_app_that_is_gone_already_is_a_success():
    """Somebody else was faster."""
    world = World()
    world.apps.put("a", created_at=LONG_AGO)
    world.apps.delete_error = GoneError("ResourceNotFound")
    world.start()

    await world.clock.run_for(TIMEOUT + 1)

    assert [outcome.result for outcome in world.culler.outcomes] == [Result.GONE]
    assert world.culler.troubles.last_text() is None


@scenario
async def test_a_day_in_use_costs_two_lists_per_timeout():
    """None per heartbeat, and none because somebody works."""
    world = World(idle_timeout=7200.0)
    world.apps.put("a", created_at=LONG_AGO)
    world.start()
    world.kernel("k", state="busy")
    await world.clock.run_for(1)
    world.apps.calls.clear()

    for _ in range(24 * 12):
        world.kernel("k", state="busy")
        await world.clock.run_for(300)

    assert len(world.apps.calls) <= 2 * 12


@scenario
async def test_changing_settings_again_and_again_does_not_put_off_the_list():
    """A client that sets the same every few minutes must not make the culler blind."""
    world = World()
    world.start()
    await world.clock.run_for(1)
    for minute in range(60):
        world.culler.change_settings(idle_timeout=TIMEOUT + minute)
        await world.clock.run_for(60)

    assert world.apps.calls.count("list") >= 10


# -- histories -------------------------------------------------------------------------------------------

names = st.sampled_from(["a", "b"])
actions = "start work rest say end die create recreate remove restart deny blind heal shell type exit wait wait"
steps = st.tuples(
    st.sampled_from(actions.split()),
    names,
    st.sampled_from(["k", "l"]),
    st.floats(0.01, 1500).map(lambda value: round(value, 2)),
)


class History:
    """Plays a generated history and checks each deletion against a model of its own: when was the app last in use?"""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.apps = FakeApps()
        self.apps.before_delete = self.check
        self.used: dict[str, datetime] = {}
        self.ill_until = self.clock.wall
        self.new_server({})
        self.create("a", self.clock.wall)

    def new_server(self, survivors: dict[str, KernelRecord]) -> None:
        """The server starts (again); kernels on the gateway survive, and are nobody's."""
        self.world = World(self.clock, self.apps)
        self.world.kernels.others = survivors
        self.apps.deleted.clear()
        self.server_since = self.clock.wall
        self.world.start()

    def create(self, name: str, created_at: datetime) -> None:
        self.apps.put(name, state=IN_SERVICE, created_at=created_at)
        self.used[name] = self.clock.wall

    def check(self, app) -> None:
        """Nothing kept on it, and a whole timeout of quiet; before that, whatever it was, is a false kill."""
        now = self.clock.wall
        homed = [*self.world.kernels.records.values(), *self.world.kernels.others.values()]
        for kernel in (each for each in homed if each.app_name == app.name and each.alive):
            assert kernel.state != "busy", "an app with a busy kernel was deleted"
        quiet = (now - max(self.used[app.name], self.server_since)).total_seconds()
        assert quiet > TIMEOUT, f"deleted after only {quiet} s"

    async def play(self, step) -> None:
        action, app, kernel, seconds = step
        identity, living = f"{app}-{kernel}", self.apps.apps.get(app)
        known = {**self.world.kernels.records, **self.world.kernels.others}.get(identity)
        on = living is not None and living.state == IN_SERVICE
        if action in ("create", "recreate", "remove"):
            await self.change_app(action, app, on)
        elif action == "restart":
            self.world.culler.stop()
            self.new_server({**self.world.kernels.others, **self.world.kernels.records})
        elif action in ("deny", "blind", "heal"):
            self.change_aws(action)
        elif on:
            self.change_kernel(action, app, identity, known)
        await self.clock.run_for(seconds)

    async def change_app(self, action: str, app: str, on: bool) -> None:
        if action == "create" and not on:
            self.create(app, self.clock.wall)
        elif action == "recreate" and not on and app in self.apps.apps:
            await self.clock.run_for(61)  # SageMaker is not so fast that nobody could see the old one go
            self.create(app, self.apps.apps[app].created_at)  # within 24 h it keeps its CreationTime
        elif action == "remove" and on:
            self.apps.put(app, state="Deleted")
            for kernels in (self.world.kernels.records, self.world.kernels.others):
                for identity in [each for each in kernels if kernels[each].app_name == app]:
                    del kernels[identity]
            for terminal in [each for each in self.world.terminals.records if each.startswith(app)]:
                del self.world.terminals.records[terminal]
            await self.clock.run_for(TIMEOUT)  # one that is back sooner, with its old CreationTime, nobody can tell

    def change_aws(self, action: str) -> None:
        error = None if action == "heal" else CallError("AWS is ill")
        if action in ("deny", "heal"):
            self.apps.delete_error = error
        if action in ("blind", "heal"):
            self.apps.list_error = error
        self.ill_until = self.clock.wall

    def change_kernel(self, action: str, app: str, identity: str, known) -> None:
        world, now = self.world, self.clock.wall
        mine = world.kernels.records
        if action == "start" and known is None:
            world.kernel(identity, app)
        elif action in ("shell", "type"):
            world.terminals.start(f"{app}-t", last_activity=now)
        elif action == "exit" and f"{app}-t" in world.terminals.records:
            world.terminals.end(f"{app}-t")
        elif action in ("work", "rest", "say") and known is not None:
            state = {"work": "busy", "rest": "idle", "say": known.state}[action]
            place = mine if identity in mine else world.kernels.others
            place[identity] = known._replace(state=state, last_activity=now)
        elif action == "end" and identity in mine:
            world.kernels.end(identity)
        elif action == "die" and identity in mine:
            world.kernels.put(identity, alive=False)
            world.culler.wake_soon(Kind.KERNEL)
            if known.state != "busy":
                return  # an idle one that dies is no use of it
        else:
            return
        self.used[app] = now

    def settle_use(self) -> None:
        """A busy kernel uses its app all the time."""
        for kernel in [*self.world.kernels.records.values(), *self.world.kernels.others.values()]:
            if kernel.state == "busy" and kernel.alive and kernel.app_name in self.used:
                self.used[kernel.app_name] = self.clock.wall

    def check_nothing_is_forgotten(self) -> None:
        """What has been quiet for a timeout is gone, once AWS has answered for long enough.

        One that was created unseen is first seen half a timeout later at the latest.
        """
        ill = self.apps.delete_error or self.apps.list_error
        if ill:
            self.ill_until = self.clock.wall
        for name, app in self.apps.apps.items():
            since = max(self.used[name], self.server_since)
            late = (self.clock.wall - since).total_seconds() - 1.5 * TIMEOUT
            calm = (self.clock.wall - self.ill_until).total_seconds() - 3600 - TIMEOUT
            assert not (app.state == IN_SERVICE and min(late, calm) > 1), f"{name} is left, {late} s late"


@settings(max_examples=150, deadline=None)
@given(st.lists(steps, max_size=60))
def test_in_every_history_no_app_in_use_is_deleted_and_none_is_forgotten(history):
    """Never with something kept on it, never before a whole timeout of quiet, always after it once AWS answers."""

    async def run():
        world = History()
        for step in history:
            await world.play(step)
            world.settle_use()
            world.check_nothing_is_forgotten()
        world.change_aws("heal")
        for kernel in [*world.world.kernels.records]:
            world.world.kernels.put(kernel, state="idle", last_activity=world.clock.wall)
        for identity, kernel in world.world.kernels.others.items():
            world.world.kernels.others[identity] = kernel._replace(state="idle", last_activity=world.clock.wall)
        await world.clock.run_for(3600 + 4 * TIMEOUT)
        assert all(app.state != IN_SERVICE for app in world.apps.apps.values())

    asyncio.run(run())


@scenario
async def test_a_kernel_of_which_nobody_can_tell_whether_it_is_idle_keeps_its_app():
    """It looks due, but asking it failed: that is doubt, and no failed shutdown."""
    world = World()
    world.apps.put("a", created_at=LONG_AGO)
    world.start()
    world.kernel("k")

    def silent(_record):
        raise ReadError("the gateway cannot tell whether it is still idle")

    world.kernels.before_confirm = silent
    await world.clock.run_for(5 * TIMEOUT)
    before, shown = list(world.apps.deleted), world.app()
    world.kernels.before_confirm = None
    await world.clock.run_for(3600 + TIMEOUT)

    assert before == []
    assert "kernel k (unknown)" in shown[0].kept_by
    assert world.kernels.stopped == ["k"]
    assert world.apps.deleted == ["a"]


@scenario
async def test_a_kernel_that_a_failing_hook_keeps_keeps_its_app():
    """What was to be saved first is not saved yet; once the hook works, both go."""
    world = World()
    world.apps.put("a", created_at=LONG_AGO)
    world.culler.guard = guard = FakeGuard(world.clock)
    guard.hook_error = HookError("pre_cull_hook failed: OSError: S3 is away")
    world.start()
    world.kernel("k")

    async def only_for_kernels(record, decision):
        if isinstance(record, KernelRecord) and guard.hook_error is not None:
            await world.clock.sleep(20)
            raise guard.hook_error

    guard.before_culling = only_for_kernels
    await world.clock.run_for(5 * TIMEOUT)
    before, shown = list(world.apps.deleted), world.app()
    guard.hook_error = None
    await world.clock.run_for(3600 + TIMEOUT)

    assert before == []
    assert "kernel k (unknown)" in shown[0].kept_by
    assert world.kernels.stopped == ["k"]
    assert world.apps.deleted == ["a"]


@pytest.mark.parametrize("lists", [True, False])
@scenario
async def test_nothing_can_be_kept_whose_app_is_being_deleted(lists):
    """Neither the app, nor what lives on it, nor everything where that is all there is."""
    world = World()
    world.apps.lists = lists
    world.apps.put("a", created_at=LONG_AGO)
    world.start()
    await world.clock.run_for(TIMEOUT + 1)
    world.kernel("late")
    tomorrow = world.clock.wall + timedelta(days=1)

    for kind, identity in [(Kind.APP, "a"), (Kind.KERNEL, "late"), *([] if lists else [(None, None)])]:
        with pytest.raises(StopError, match="too late, for app a is being deleted"):
            world.culler.keep_alive(kind, identity, tomorrow, "alice")
    if lists:
        world.culler.keep_alive(None, None, tomorrow, "alice")
    assert world.apps.deleted == ["a"]


@scenario
async def test_apps_that_are_due_together_share_one_fresh_list():
    """Each gets its last look, and none fails because another asks at the same time."""
    world = World()
    for number in range(20):
        world.apps.put(f"a{number}", created_at=LONG_AGO)
    world.start()
    world.kernel("k", "a1")
    world.kernels.hanging["k"] = asyncio.Event()
    await world.clock.run_for(TIMEOUT + 30)
    lists = world.apps.calls.count("list")

    world.kernels.hanging["k"].set()
    await world.clock.run_for(1)

    assert len(world.apps.deleted) == 20
    assert world.apps.calls.count("list") - lists == 1
    assert world.culler.troubles.last_text() is None


@scenario
async def test_while_a_kernel_is_being_started_no_app_is_deleted():
    """An instance that starts takes minutes, and until then nobody can tell where the kernel will live."""
    world = World()
    world.apps.put("a", created_at=LONG_AGO)
    world.start()
    await world.clock.run_for(TIMEOUT - 1)

    with world.culler.starting():
        await world.clock.run_for(2 * TIMEOUT)
        before = list(world.apps.deleted)
    await world.clock.run_for(2 * TIMEOUT)

    assert before == []
    assert world.apps.deleted == ["a"]


@scenario
async def test_a_failed_deletion_is_no_trouble_any_more_when_the_app_is_in_service_again():
    """It is another one."""
    world = World()
    world.apps.put("a", created_at=LONG_AGO)
    world.start()
    await world.clock.run_for(TIMEOUT + 1)
    world.apps.put("a", state="Failed")
    await world.clock.run_for(TIMEOUT)
    before = world.culler.troubles.last_text()

    world.apps.put("a", state=IN_SERVICE, created_at=world.clock.wall)
    world.kernel("k", state="busy")
    await world.clock.run_for(TIMEOUT)

    assert "Failed" in before
    assert world.culler.troubles.last_text() is None


@scenario
async def test_a_deletion_that_was_asked_for_when_the_clock_was_ahead_is_asked_for_again():
    """Nothing has happened after now."""
    world = World()
    world.apps.put("a", created_at=LONG_AGO)
    world.clock.wall += timedelta(days=30)
    world.start()
    await world.clock.run_for(TIMEOUT + 1)
    world.apps.put("a", state=IN_SERVICE)

    world.clock.jump(-30 * 86_400)
    await world.clock.run_for(3 * 3600)

    assert world.apps.deleted == ["a", "a"]


@scenario
async def test_a_terminal_of_another_manager_that_ends_between_two_looks_was_in_use_until_then():
    """That manager is not ours, so its ends are listened to."""
    world = World()
    del world.culler.watches[Kind.TERMINAL]
    ended = []
    manager = SimpleNamespace(terminals={}, on_eof=ended.append)
    owner = SimpleNamespace(init_webapp=None, web_app=SimpleNamespace(settings={"terminal_manager": manager}))

    class Apps(FakeApps):
        server = owner

        def apps_of_terminal(self, terminal, apps):
            return list(apps)

    world.source.apps = world.apps = Apps()
    world.apps.put("a", created_at=LONG_AGO)
    world.start()
    await world.clock.run_for(TIMEOUT - 10)

    manager.on_eof(SimpleNamespace(term_name="1"))
    await world.clock.run_for(TIMEOUT)
    before = list(world.apps.deleted)
    await world.clock.run_for(1)

    assert len(ended) == 1
    assert before == []
    assert world.apps.deleted == ["a"]


@scenario
async def test_a_kernel_that_is_being_started_elsewhere_does_not_make_apps_look_used():
    """However often somebody looks meanwhile: it keeps them for as long as it starts, and no longer."""
    world = World()
    world.apps.put("a", created_at=LONG_AGO)
    world.start()
    for _ in range(4):
        await world.clock.run_for(TIMEOUT / 5)
        with world.culler.starting():
            world.app()
            await world.clock.run_for(1)
            world.app()

    await world.clock.run_for(TIMEOUT / 5)

    assert world.apps.deleted == ["a"]


@scenario
async def test_an_app_that_is_created_anew_before_anybody_looks_has_a_whole_timeout():
    """With its old creation time it cannot be told from one that lingers after its deletion was accepted."""
    world = World(idle_timeout=7200.0)
    world.apps.put("a", created_at=LONG_AGO)
    world.start()
    await world.clock.run_for(7201)
    world.apps.put("a", state=IN_SERVICE)

    await world.clock.run_for(7199)
    before = list(world.apps.deleted)
    await world.clock.run_for(10)

    assert before == ["a"]
    assert world.apps.deleted == ["a", "a"]


@scenario
async def test_a_creation_time_that_is_ahead_of_our_clock_does_not_begin_anew_with_each_list():
    """It counts as now at first, and then stays."""
    world = World()
    world.apps.put("a", created_at=NOON + timedelta(days=1))
    world.start()

    await world.clock.run_for(2 * TIMEOUT)

    assert world.apps.deleted == ["a"]


@scenario
async def test_what_begins_to_work_while_the_hook_takes_its_time_keeps_its_app():
    """Also a kernel that this server did not start: the list is fetched again after the hook."""
    world = World(idle_timeout=7200.0)
    world.apps.put("a", created_at=LONG_AGO)
    world.culler.guard = guard = FakeGuard(world.clock)
    stranger = KernelRecord(identity="s", state="idle", last_activity=LONG_AGO, app_name="a", owned=False)
    world.kernels.others["s"] = stranger

    async def slow_hook(record, decision):
        await world.clock.sleep(100)
        world.kernels.others["s"] = stranger._replace(state="busy", last_activity=world.clock.wall)

    guard.before_culling = slow_hook
    world.start()

    await world.clock.run_for(7500)

    assert world.apps.deleted == []


@scenario
async def test_a_dead_kernel_that_a_failing_hook_is_called_for_does_not_keep_its_app():
    """Nothing is kept by keeping the dead."""
    world = World()
    world.apps.put("a", created_at=LONG_AGO)
    world.culler.guard = guard = FakeGuard(world.clock)

    async def fails_for_kernels(record, decision):
        if isinstance(record, KernelRecord):
            raise HookError("pre_cull_hook failed: OSError: S3 is away")

    guard.before_culling = fails_for_kernels
    world.start()
    world.kernel("k", alive=False)

    await world.clock.run_for(2 * TIMEOUT)

    assert world.apps.deleted == ["a"]


@scenario
async def test_an_app_that_is_listed_again_can_be_kept():
    """It may be another one of that name, created anew with its old creation time."""
    world = World()
    world.apps.put("a", created_at=LONG_AGO)
    world.start()
    await world.clock.run_for(TIMEOUT + 1)
    world.apps.put("a", state=IN_SERVICE)
    await world.clock.run_for(100)
    world.kernel("k")

    world.culler.keep_alive(Kind.KERNEL, "k", world.clock.wall + timedelta(hours=4), "alice")

    assert world.apps.deleted == ["a"]


@scenario
async def test_a_kernel_that_cannot_be_stopped_does_not_keep_its_app_for_ever(monkeypatch):
    """It is waited for, and not for longer than a limit."""
    monkeypatch.setattr("culling_manager.apps.residents.STOP_WAIT_SECONDS", 0.1)
    world = World()
    world.culler.situation.stop_seconds = 0.05
    world.apps.put("a", created_at=LONG_AGO)
    world.kernels.hanging["k"] = asyncio.Event()
    world.start()
    world.kernel("k")
    await world.clock.run_for(TIMEOUT + 1)
    before = list(world.apps.deleted)

    await asyncio.sleep(0.3)
    await world.clock.run_for(60)

    assert before == []
    assert world.apps.deleted == ["a"]
    world.kernels.hanging["k"].set()


@scenario
async def test_a_deletion_is_told_before_and_after_and_one_that_fails_as_refused():
    """With the record, the reason, and in the end the words; tried again it is told again."""
    world, told = World(), []
    world.apps.put("a", created_at=LONG_AGO)
    world.apps.delete_error = CallError("AWS is ill")
    world.culler.listeners.append(told.append)
    world.start()
    await world.clock.run_for(TIMEOUT + 5)
    refused = [each for each in told if each.action in ("deleting", "accepted", "refused")]
    told.clear()

    world.apps.delete_error = None
    await world.clock.run_for(60)

    assert [each.action for each in refused] == ["deleting", "refused"]
    assert [each.action for each in told if each.action in ("deleting", "accepted", "refused")] == [
        *("deleting", "accepted")
    ]
    assert {(each.kind, each.record.name, each.reason) for each in refused} == {(Kind.APP, "a", "idle")}
    assert refused[1].detail == "AWS is ill"
    assert refused[0].idle_seconds == pytest.approx(TIMEOUT, abs=1)
