"""All watches together, and the lines of the log: when it is looked, what a pause waits for, what is told."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from datetime import datetime
from types import SimpleNamespace

import pytest

from culling_manager.decisions import Action, Decision, Reason
from culling_manager.engine.clock import AT_ONCE
from culling_manager.engine.culler import IdleCuller
from culling_manager.errors import SettingError
from culling_manager.records import KeepAlive, KernelRecord, Kind, Outcome, Result
from culling_manager.report import HEARTBEAT_MARKER
from tests.conftest import scenario
from tests.doubles import NOON, FakeClock, FakeKernels, FakeTerminals
from tests.test_attention import TIMEOUT, WARN
from tests.test_attention import World as AttentionWorld
from tests.test_engine import Neighbours, ReadWorld, at

# -- when it is looked ---------------------------------------------------------------------------------


@dataclass
class Seen:
    """A watch that notes when it is to look."""

    next_look: datetime = AT_ONCE
    looking: object = None
    looks: int = 0
    visits: int = 0
    notices: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(until_visit=lambda: 60.0))

    def visit(self) -> None:
        self.visits += 1

    def begin_look(self) -> None:
        self.looks += 1


LOOKS = {
    # id: when the next look is, and whether one is under way: does it look?
    "due": (at(-1), False, True),
    "not due": (at(1), False, False),
    "at that very instant": (at(0), False, False),
    "looking already": (at(-1), True, False),
}


@pytest.mark.parametrize(("next_look", "looking", "looks"), LOOKS.values(), ids=LOOKS)
@scenario
async def test_each_wake_up_looks_where_it_is_time_and_nobody_looks_yet(next_look, looking, looks):
    """Strictly after the deadline; each watch by itself, and a heartbeat tells whether there is any."""
    culler = IdleCuller(logging.getLogger("test"), FakeClock())
    seen = Seen(next_look, asyncio.get_running_loop().create_future() if looking else None)
    culler.watches[Kind.KERNEL] = seen
    alone = culler.heartbeat()

    culler.watches[Kind.TERMINAL] = due = Seen()
    culler.start()
    culler.stop()

    assert alone is looks
    assert (seen.looks, seen.visits) == (int(looks), 1)
    assert (due.looks, due.visits) == (1, 1)


@pytest.mark.parametrize(("until_visit", "seconds"), [(-3.0, 0.0005), (0.25, 0.2505), (4.0, 4.0005), (60.0, 5.0)])
@scenario
async def test_it_wakes_just_after_a_visit_is_due(until_visit, seconds):
    """At once where that has passed; at the latest, the first time, after half the interval."""
    culler = IdleCuller(logging.getLogger("test"), FakeClock())
    culler.watches[Kind.KERNEL] = seen = Seen(at(900))
    seen.notices.until_visit = lambda: until_visit

    culler.start()
    found = (culler.next_wake_up - NOON).total_seconds()
    culler.stop()

    assert found == seconds


@scenario
async def test_what_a_person_made_overdue_is_decided_anew_from_when_notice_is_given():
    """Also where nothing else changed: it has the time of a warning from then on."""
    world = AttentionWorld(guarded=False)
    world.kernels.failing.add("a")
    await world.clock.run_for(TIMEOUT + 5)
    before = world.now_of()[1]

    world.culler.rounds.give_notice()
    wakes = (world.culler.next_wake_up - world.clock.wall).total_seconds()
    after = world.now_of()[1]

    assert (before.cull, before.reason) == (True, Reason.IDLE)
    assert (after.cull, after.reason) == (False, Reason.ACTIVE)
    assert (after.due_at - world.clock.wall).total_seconds() == WARN
    assert wakes < 0.001


@scenario
async def test_a_machine_that_was_started_just_now_has_its_first_heartbeat(caplog):
    """Whatever its clock shows."""
    world = ReadWorld()
    world.clock.mono = 0.25

    world.culler.start()

    assert len([line for line in caplog.messages if HEARTBEAT_MARKER in line]) == 1


@scenario
async def test_a_heartbeat_waits_for_settings_that_are_still_to_come(caplog):
    """It is written when they are there, once; where it does not run yet, or is not due, none is."""
    world = ReadWorld()

    def lines() -> int:
        return len([line for line in caplog.messages if HEARTBEAT_MARKER in line])

    world.culler.rounds.hold_heartbeats()
    world.culler.rounds.release_heartbeats()
    found = [lines()]
    world.culler.rounds.hold_heartbeats()
    world.culler.start()
    await world.clock.run_for(30)
    found.append(lines())
    for _ in range(2):
        world.culler.rounds.release_heartbeats()
        found.append(lines())
    await world.clock.run_for(3500)
    found.append(lines())
    world.culler.rounds.hold_heartbeats()
    world.culler.rounds.release_heartbeats()
    found.append(lines())
    await world.clock.run_for(200)
    found.append(lines())

    assert found == [0, 0, 1, 1, 1, 1, 2]


@scenario
async def test_that_times_cannot_be_added_up_is_said_in_the_log(caplog):
    """With where it happened."""
    world = ReadWorld()
    Neighbours(world).times = lambda: 1 / 0

    world.culler.start()

    assert "Culling: the times of apps could not be added up; nothing stops for that" in caplog.messages


class Slow(FakeKernels):
    """Kernels whose list takes a while."""

    clock: FakeClock
    begun = 0

    async def refresh(self) -> None:
        self.begun += 1
        await self.clock.sleep(3)
        await super().refresh()


def watched(stale: float) -> tuple[Slow, FakeClock, IdleCuller]:
    """Such kernels, whose facts are old after so many seconds, under a culler that runs."""
    kernels = Slow(stale=stale)
    kernels.clock = clock = FakeClock()
    culler = IdleCuller(logging.getLogger("test"), clock)
    culler.attach(kernels)
    culler.start()
    return kernels, clock, culler


@scenario
async def test_a_whole_pass_waits_for_a_look_that_is_under_way():
    """And looks itself after that, so that it rests on facts from after it was asked for."""
    kernels, clock, culler = watched(1.0)
    await clock.run_for(6)
    culler.stop()
    under_way, begun = culler.watches[Kind.KERNEL].looking is not None, kernels.begun

    passing = asyncio.ensure_future(culler.run_pass())
    await clock.run_for(0)
    meanwhile = kernels.begun
    await clock.run_for(6)

    assert (under_way, meanwhile) == (True, begun)
    assert await passing == []
    assert kernels.begun > begun


@scenario
async def test_a_whole_pass_that_finds_a_nearer_deadline_has_it_met():
    """Nobody has to wait for the heartbeat before which it was not known."""
    world = ReadWorld()
    world.culler.start()
    await world.clock.run_for(16)
    world.kernels.put("a", idle_timeout=3.0, last_activity=world.clock.wall)
    before = world.culler.next_wake_up

    await world.culler.run_pass()

    assert (before - world.clock.wall).total_seconds() > 8
    assert (world.culler.next_wake_up - world.clock.wall).total_seconds() <= 3.0005


# -- what a pause waits for ----------------------------------------------------------------------------


@scenario
async def test_a_question_to_the_signals_does_not_outlast_a_pause():
    """Nobody is asked any more when it has begun, and it does not wait for the answer."""
    world = AttentionWorld()
    world.guard.seconds = 3600.0
    await world.clock.run_for(TIMEOUT - 1)
    asking = world.culler.watches[Kind.KERNEL].items["a"].asking

    await world.culler.pause()

    assert asking.cancelled()
    assert world.told[-1].action == "warned"


class Reluctant(FakeKernels):
    """Kernels whose list takes for ever, and a step to be called off."""

    ended = False

    async def refresh(self) -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            self.ended = True


@scenario
async def test_a_pause_waits_until_what_it_called_off_has_ended():
    """A server that stops leaves no task behind."""
    kernels = Reluctant(stale=1.0)
    culler = IdleCuller(logging.getLogger("test"), clock := FakeClock())
    culler.attach(kernels)
    culler.start()
    await clock.run_for(10)
    began = culler.watches[Kind.KERNEL].looking is not None

    await culler.pause()

    assert (began, kernels.ended) == (True, True)


# -- what a culler is asked by others ------------------------------------------------------------------


@scenario
async def test_what_a_culler_was_given_it_gives():
    """Its guard, its neighbours, its log; and a request that it has taken on."""
    culler, guard, neighbours = IdleCuller(), object(), object()
    without = culler.guard, culler.neighbours

    culler.guard, culler.neighbours = guard, neighbours

    assert without == (None, None)
    assert (culler.guard, culler.neighbours) == (guard, neighbours)
    assert isinstance(culler.log, logging.Logger)
    world = ReadWorld()
    assert world.culler.keep_alive(None, None, at(60), "alice") == KeepAlive(
        kind=None, identity=None, until=at(60), asked_at=NOON, asked_by="alice"
    )


@scenario
async def test_what_was_watched_before_is_watched_when_another_source_is_refused():
    """And under the policy of before."""
    world = ReadWorld()

    with pytest.raises(SettingError):
        world.culler.attach(FakeTerminals(own_settings={"terminal_idle_timeout": -1.0}))

    assert list(world.culler.watches) == [Kind.KERNEL]
    assert world.culler.policy.idle_timeout == 600.0


@scenario
async def test_a_table_of_timeouts_is_touched_by_a_change_of_a_timeout_only():
    """What else is changed leaves it; and without a table none is handed on."""
    plain, typed = ReadWorld(), ReadWorld(idle_timeouts=(("ml.p*", 900.0),))

    plain.culler.change_settings(idle_timeout=300.0)
    typed.culler.change_settings(keep_terminals=True)
    kept = typed.culler.policy.idle_timeouts
    typed.culler.change_settings(idle_timeout=300.0)

    assert "idle_timeouts" not in plain.kernels.own_settings
    assert kept == (("ml.p*", 900.0),)
    assert typed.culler.policy.idle_timeouts == (("ml.p*", 300.0),)


# -- the lines of the log ------------------------------------------------------------------------------


@scenario
async def test_the_log_says_by_how_much_the_clock_jumped_and_how_long_the_loop_stood_still(caplog):
    """And what follows from that."""
    world = ReadWorld()
    world.culler.start()
    await world.clock.run_for(1)

    world.clock.jump(-90.0)
    await world.clock.run_for(30)
    world.clock.stand_still(42.0)
    await world.clock.run_for(30)

    told = [line for line in caplog.messages if line.startswith("The ")]
    assert told == [
        "The clock jumped by -90.0 s against monotonic time: every deadline is moved so that at least five minutes "
        "(or the timeout, if that is shorter) are left.",
        told[1],
    ]
    assert told[1].startswith("The event loop stood still for ")
    assert told[1].endswith(" s: messages that wait are read before anything is culled.")


@scenario
async def test_a_listener_that_fails_is_named_by_what_it_was_told(caplog):
    """So that one knows what some program does not know."""
    world = ReadWorld()
    world.culler.listeners.append(lambda happening: 1 / 0)
    world.kernels.put("a")
    world.culler.start()

    await world.clock.run_for(700)

    assert "Culling: telling that kernel was culled failed" in caplog.messages


KEPT = Decision(
    action=Action.KEEP, reason=Reason.USED, idle_seconds=1.0, due_at=at(60), due_for=Reason.AT_WORK_TOO_LONG
)


@pytest.mark.parametrize(("action", "due_for", "reason"), [
    ("warned", Reason.AT_WORK_TOO_LONG, "at work too long"), ("warned", None, "at work"),
    ("kept", Reason.AT_WORK_TOO_LONG, "at work"),
])  # fmt: skip
def test_a_warning_is_for_what_will_end_it_and_all_else_for_what_keeps_it(action, due_for, reason):
    """Those who listen count by it."""
    culler, told = IdleCuller(clock=FakeClock()), []
    culler.listeners.append(told.append)
    record = KernelRecord(identity="k", state="idle", last_activity=NOON)
    item = SimpleNamespace(record=record, decision=Decision(**{name: getattr(KEPT, name) for name in (
        "action", "reason", "idle_seconds", "due_at")}, due_for=due_for))  # fmt: skip

    culler.journal.tell_item(action, item, NOON)

    assert [(each.action, each.reason) for each in told] == [(action, reason)]


@pytest.mark.parametrize(("before", "over"), [(Reason.UNKNOWN, True), (Reason.IDLE, False)])
def test_what_was_in_doubt_and_is_judged_again_is_in_order_and_what_failed_is_not(before, over, caplog):
    """That it could not be stopped is told until it is stopped, or works again."""
    culler = IdleCuller(logging.getLogger("test"), FakeClock())
    caplog.set_level(logging.INFO, "test")
    record = KernelRecord(identity="k", state="idle", last_activity=NOON)
    known = Decision(action=Action.KEEP, reason=before, idle_seconds=1.0, due_at=None)
    culler.trouble("kernel k", "something is wrong with it")

    culler.journal.judged_otherwise(SimpleNamespace(record=record, decision=known), KEPT)

    assert (culler.troubles.last_text() is None) is over
    assert ("Culling: kernel k can be judged again: at work" in caplog.messages) is over


@pytest.mark.parametrize(("attempts", "level"), [(0, "WARNING"), (1, "DEBUG"), (7, "DEBUG")])
def test_the_line_before_a_shutdown_is_written_as_it_is_and_once(attempts, level, caplog):
    """A try after a failed one is nobody's news."""
    culler = IdleCuller(logging.getLogger("test"), FakeClock())
    caplog.set_level(logging.DEBUG, "test")
    record = KernelRecord(identity="k", name="python3", state="idle", last_activity=NOON)

    culler.journal.culling(record, KEPT, attempts)

    assert [(each.levelname, each.getMessage()) for each in caplog.records] == [
        (level, "Culling 'idle' kernel 'python3' (k) with 0 connections: at work, 1 seconds of inactivity.")
    ]


def test_a_rehearsal_of_what_nobody_knows_when_it_was_used_is_told_as_well(caplog):
    """As idle for no time."""
    culler = IdleCuller(logging.getLogger("test"), FakeClock())
    record = KernelRecord(identity="k", state="dead", last_activity=None)

    culler.journal.outcome(
        Outcome(kind=Kind.KERNEL, identity="k", result=Result.DRY_RUN, reason="dead", idle_seconds=None, at=NOON),
        record,
    )

    assert caplog.messages == ["Dry run: would cull kernel k: dead, 0 seconds of inactivity."]


# -- one watch -----------------------------------------------------------------------------------------


@scenario
async def test_all_are_looked_at_when_one_that_was_learnt_of_is_due_and_only_then():
    """What is not due costs the others nothing."""
    world = ReadWorld()
    world.kernels.put("a")
    world.culler.start()
    await world.clock.run_for(6)
    watch, found = world.culler.watches[Kind.KERNEL], []

    for seconds in (0, 700):
        world.clock.stand_still(seconds)
        watch.look_at("a")
        found.append(watch.next_look > world.clock.wall)

    assert found == [True, False]


@scenario
async def test_passes_are_counted_with_how_long_each_took():
    """What monitoring shows."""
    kernels, clock, culler = watched(20.0)

    await clock.run_for(60)

    passes = culler.tally.passes[Kind.KERNEL]
    assert passes.count >= kernels.refreshes > 0
    assert passes.total == 3.0 * kernels.refreshes


@scenario
async def test_a_pass_that_fails_is_followed_by_one_a_minute_later(caplog):
    """And that is said, with which pass it was."""
    world, looks = ReadWorld(), []

    def glance(policy):
        looks.append(world.clock.mono - 1000)
        raise OSError("no such attribute")

    world.kernels.glance = glance
    world.culler.start()
    await world.clock.run_for(59.9)
    early = list(looks)
    await world.clock.run_for(0.2)

    assert (early, len(looks)) == ([0.0], 2)
    assert caplog.messages.count("Culling: a pass over the kernels failed; the next one is in a minute") == 2


@scenario
async def test_what_goes_while_its_list_cannot_be_fetched_is_forgotten():
    """At once, and not with the next try."""
    kernels = FakeKernels(own_settings={"idle_timeout": 600.0}, stale=1.0)
    culler = IdleCuller(logging.getLogger("test"), clock := FakeClock())
    culler.attach(kernels)
    kernels.put("a", state="what is this")
    await culler.run_pass()
    watch = culler.watches[Kind.KERNEL]
    before = list(watch.items)

    async def refresh():
        del kernels.records["a"]
        raise OSError("no list")

    kernels.refresh = refresh
    clock.stand_still(5)
    await culler.run_pass()

    assert (before, list(watch.items)) == (["a"], [])


@scenario
async def test_a_warning_is_taken_back_at_its_appointment_however_seldom_a_heartbeat_is():
    """Also of one that was active since, which is no suspect any more."""
    world = AttentionWorld(guarded=False, cull_interval=7200.0)
    await world.clock.run_for(TIMEOUT - WARN + 1)
    warned = world.actions()[-1]
    world.touch()

    await world.clock.run_for(WARN)

    assert (warned, world.actions()[-1]) == ("warned", "withdrawn")
