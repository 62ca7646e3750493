"""The engine's small rooms at their bounds: waiting, clocks, how things stand, the alarm, counts and lines."""

from __future__ import annotations

import gc
import logging
import math
import random
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone

import pytest

from culling_manager.decisions import Reason
from culling_manager.engine.alarm import Alarm
from culling_manager.engine.backoff import backoff
from culling_manager.engine.clock import AT_ONCE, NEVER, JumpGuard, SystemClock, epoch
from culling_manager.engine.culler import IdleCuller
from culling_manager.engine.journal import Journal
from culling_manager.engine.shutdown import GRACE_SECONDS
from culling_manager.engine.situation import Situation
from culling_manager.errors import TooLateError
from culling_manager.policy import CullingPolicy
from culling_manager.records import Kind, TerminalRecord
from culling_manager.rules.proof import proof_at
from tests.conftest import scenario
from tests.doubles import NOON, FakeClock, FakeKernels
from tests.test_attention import TIMEOUT as ATTENTION_TIMEOUT
from tests.test_attention import World as AttentionWorld

EXACT = GRACE_SECONDS + 0.01


def at(seconds: float) -> datetime:
    """An instant relative to noon."""
    return NOON + timedelta(seconds=seconds)


# -- waiting -----------------------------------------------------------------------------------------

LONGEST = {1: 30.0, 2: 60.0, 3: 120.0, 7: 1920.0, 8: 3600.0, 9: 3600.0, 10**6: 3600.0}


@pytest.mark.parametrize(("attempts", "longest"), LONGEST.items())
def test_each_try_waits_about_twice_as_long_up_to_an_hour(attempts, longest):
    """From three quarters of that to all of it."""
    random.seed(1)

    found = [backoff(attempts) for _ in range(300)]

    assert 0.75 * longest <= min(found) < 0.76 * longest
    assert 0.99 * longest < max(found) <= longest


# -- clocks ------------------------------------------------------------------------------------------

JUMPS = {
    # how far the wall clock went while a minute went by, seconds: what is told
    60.0: 0.0, 60.5: 0.0, 61.0: 0.0, 61.25: 1.25, 59.0: 0.0, 58.75: -1.25, -3600.0: -3660.0, 90_000.0: 89_940.0,
}  # fmt: skip


@pytest.mark.parametrize(("wall", "told"), JUMPS.items())
def test_a_clock_jumps_when_it_parts_from_the_other_by_more_than_a_second(wall, told):
    """By how much, and which way; the first reading shows nothing, and each is compared with the one before."""
    guard = JumpGuard()

    found = [guard.check(NOON, 1000.0), guard.check(at(wall), 1060.0), guard.check(at(wall + 60), 1120.0)]

    assert found == [0.0, told, 0.0]


@scenario
async def test_the_machines_clock_tells_the_time_waits_and_calls():
    """In this order; and what was taken back does not come."""
    clock, called = SystemClock(), []
    before, mono = clock.now(), clock.monotonic()

    clock.call_later(0.001, lambda: called.append("late"))
    clock.call_later(0.001, lambda: called.append("never")).cancel()
    await clock.sleep(0.05)

    assert called == ["late"]
    assert before.tzinfo is timezone.utc
    assert clock.now() > before
    assert clock.monotonic() >= mono + 0.04
    assert abs(epoch() - before.timestamp()) < 3600
    assert AT_ONCE < before < NEVER


# -- how things stand --------------------------------------------------------------------------------


class Lead:
    """A guard that wants to be asked so many seconds ahead."""

    lead_seconds = 5.0


def situation(clock: FakeClock | None = None) -> Situation:
    """One of nobody's."""
    clock = clock or FakeClock()
    return Situation(clock, Journal(logging.getLogger("test"), clock))


def test_signals_are_asked_ahead_and_never_more_than_half_a_timeout():
    """Where nobody can be asked not ahead at all; a warning comes before that, unless there is none."""
    alone, guarded, unwarned = situation(), situation(), situation()
    guarded.guard = unwarned.guard = Lead()
    unwarned.policy = CullingPolicy(warn_before=0.0)

    found = [
        (each.lead(seconds).total_seconds(), each.ahead(seconds).total_seconds())
        for each in (alone, guarded, unwarned)
        for seconds in (3600.0, 8.0)
    ]

    assert found == [(0.0, 300.0), (0.0, 4.0), (5.0, 300.0), (4.0, 4.0), (5.0, 5.0), (4.0, 4.0)]


@pytest.mark.parametrize(("jump", "ends"), [(-3600.0, 1000 - 3600.0), (3600.0, 1000.0), (0.0, 1000.0)])
def test_a_clock_that_is_set_back_takes_what_was_asked_for_along(jump, ends):
    """One that is set forward does not; whoever has decided on it hears of each jump, and of nothing else."""
    clock = FakeClock()
    found, heard = situation(clock), []
    found.when_jumped.append(lambda: heard.append(found.jumped_at))
    found.now()
    found.keep(None, None, at(1000), "somebody")
    found.notice_at = NOON

    clock.jump(jump)
    now = found.now()

    assert (now, found.requests.until(None, None)) == (at(jump), at(ends))
    assert heard == ([] if jump == 0 else [at(jump)])
    assert found.notice_at == (NOON if jump == 0 else None)


def test_by_default_nothing_is_under_way_and_a_stop_has_two_minutes():
    """No kernel is being started, no clock jumped, nobody was given notice."""
    found = situation()

    assert (found.starts, found.jumped_at, found.notice_at, found.stop_seconds) == (0, None, None, 120.0)
    assert found.policy == CullingPolicy()


def test_a_culler_without_anything_to_watch_has_the_default_policy():
    """So has one that is told to look at its settings again."""
    culler = IdleCuller()

    culler.update_policy()

    assert culler.policy == CullingPolicy()


# -- the alarm ---------------------------------------------------------------------------------------


class Rings:
    """An alarm of ten seconds, and when it rang."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.situation = situation(self.clock)
        self.ahead, self.rang = 10.0, []
        self.alarm = Alarm(self.situation, self.wake, lambda: self.ahead)

    def wake(self) -> None:
        self.rang.append(self.clock.mono - 1000)
        self.alarm.count += 1


@scenario
async def test_an_alarm_rings_at_once_and_then_each_time_that_is_said():
    """And tells when it rings next; one that was stopped does not, and may start again from nothing."""
    world = Rings()
    before = world.alarm.running, world.alarm.at, world.alarm.may_start()
    world.alarm.start()
    await world.clock.run_for(10)
    running = world.alarm.running, world.alarm.at, world.alarm.may_start(), world.alarm.count

    world.alarm.stop()
    world.alarm.stop()
    await world.clock.run_for(60)
    stopped = world.alarm.running, world.alarm.at, world.alarm.may_start()
    world.alarm.start()

    assert before == stopped == (False, NEVER, True)
    assert running == (True, at(20), False, 2)
    assert world.rang == [0, 10, 70]
    assert world.alarm.count == 1


@scenario
async def test_an_alarm_is_set_anew_only_for_what_is_nearer():
    """Not for what comes later or at the same time; one that stands still is not set at all."""
    world = Rings()
    world.alarm.nearer(at(1))
    stands = world.alarm.running
    world.alarm.start()
    world.ahead = 3.0

    world.alarm.nearer(at(10))
    world.alarm.nearer(at(11))
    same = world.alarm.at
    world.alarm.nearer(at(9))
    await world.clock.run_for(5)

    assert (stands, same) == (False, at(10))
    assert world.rang == [0, 3]


@pytest.mark.parametrize(("late", "held"), [(1.0, False), (2.0, False), (2.25, True), (500.0, True)])
@scenario
async def test_an_alarm_that_comes_late_by_more_than_two_seconds_is_held_off_once(late, held, caplog):
    """For a second, in which nothing is set anew; it counts, and it is said. The first one is never late."""
    world = Rings()
    world.clock.stand_still(100)
    world.alarm.start()
    first = world.rang.pop()

    world.clock.stand_still(10 + late)
    await world.clock.run_for(0)
    world.alarm.nearer(at(0))
    await world.clock.run_for(15)

    assert first == 100
    assert world.rang[0] == 110 + late + held
    assert world.rang[1] <= world.rang[0] + 10
    assert world.alarm.count == 1 + len(world.rang) + held
    assert [f"stood still for {late:.1f} s" in line for line in caplog.messages] == [True] * held


@scenario
async def test_pauses_are_counted_and_it_goes_on_as_before_or_as_was_asked_meanwhile():
    """One that stood still before stands still afterwards, unless it was to start."""
    still, running, asked = Rings(), Rings(), Rings()
    running.alarm.start()
    for world in (still, running, asked):
        world.alarm.pause()
        world.alarm.pause()
    asked_for = asked.alarm.may_start()
    paused = [world.alarm.running for world in (still, running, asked)]

    for world in (still, running, asked):
        world.alarm.resume()
    between = [world.alarm.running for world in (still, running, asked)]
    for world in (still, running, asked):
        world.alarm.resume()

    assert asked_for is False
    assert paused == between == [False] * 3
    assert [world.alarm.running for world in (still, running, asked)] == [False, True, True]
    running.alarm.stop()
    running.alarm.pause()
    running.alarm.resume()
    assert running.alarm.running is False


@scenario
async def test_an_alarm_whose_call_fails_rings_again():
    """What fails is whoever calls the timer's matter."""
    world = Rings()
    world.alarm._wake = lambda: 1 / 0

    with pytest.raises(ZeroDivisionError):
        world.alarm.start()

    assert world.alarm.at == at(10)


@scenario
async def test_an_alarm_that_nobody_has_any_more_does_not_ring():
    """A server that is gone leaves no loop behind."""
    world = Rings()
    world.alarm.start()
    clock, rang = world.clock, world.rang

    del world
    gc.collect()
    await clock.run_for(30)

    assert rang == [0]


# -- a busy kernel is asked --------------------------------------------------------------------------


@dataclass
class AskedKernels(FakeKernels):
    """Kernels that can be asked whether they are still busy; a question takes ten seconds, and may fail."""

    clock: FakeClock = field(default_factory=FakeClock)
    asked: list[tuple[str, float]] = field(default_factory=list)
    error: Exception | None = None
    finished: bool = False

    def glance(self, policy):
        """One whose time has come is left to a closer look, as our manager's own does it."""
        found = {identity: proof_at(record, policy) for identity, record in self.records.items()}
        for identity, last, own in super().glance(policy):
            due = found[identity] is not None and self.clock.wall >= found[identity]
            yield identity, None if due else last, own

    async def prove(self, record) -> None:
        self.asked.append((record.identity, round(self.clock.mono - 1000)))
        await self.clock.sleep(10)
        changes = {"state": "idle", "last_activity": self.clock.wall} if self.finished else {}
        self.put(record.identity, checked_at=self.clock.wall, **changes)
        if self.error is not None:
            raise self.error

    def next_proof(self) -> datetime:
        found = [proof_at(each, CullingPolicy(idle_timeout=600.0)) for each in self.records.values()]
        return min((each for each in found if each is not None and each > self.clock.wall), default=NEVER)


class AskedWorld:
    """A started culler with a timeout of ten minutes, and kernels that can be asked."""

    def __init__(self, **known) -> None:
        self.clock = FakeClock()
        self.kernels = AskedKernels(own_settings={"idle_timeout": 600.0}, clock=self.clock)
        self.culler = IdleCuller(logging.getLogger("test"), self.clock)
        self.kernels.put("a", state="busy", **known)
        self.culler.attach(self.kernels)
        self.culler.start()


@scenario
async def test_a_busy_kernel_is_asked_once_per_timeout_and_stays_while_it_does_not_say_that_it_is_done():
    """Exactly then, and not again while the answer is awaited; a heartbeat in between asks nobody."""
    world = AskedWorld()

    await world.clock.run_for(605)
    during = list(world.kernels.asked), world.kernels.looks
    world.culler.wake_soon(Kind.KERNEL)
    await world.clock.run_for(1)
    again = list(world.kernels.asked)
    await world.clock.run_for(1300)

    assert during[0] == [("a", 600)]
    assert during[1] <= 4
    assert again == [("a", 600)]
    assert world.kernels.asked == [("a", 600), ("a", 1210), ("a", 1820)]
    assert world.kernels.stopped == []


@scenario
async def test_a_kernel_that_has_shown_that_it_is_done_goes_a_timeout_later():
    """As if it had been used until it was asked."""
    world = AskedWorld()
    world.kernels.finished = True

    await world.clock.run_for(600 + 10 + 600)
    before = list(world.kernels.stopped)
    await world.clock.run_for(EXACT)

    assert before == []
    assert world.kernels.stopped == ["a"]
    assert world.kernels.asked == [("a", 600)]


@scenario
async def test_a_question_to_a_busy_kernel_that_fails_is_told_and_shows_nothing():
    """It is kept, and asked again a timeout later."""
    world = AskedWorld()
    world.kernels.error = OSError("no such channel")

    await world.clock.run_for(1300)

    assert world.culler.troubles.last_text() == "asking whether it is still busy failed: OSError('no such channel')"
    assert [each.subject for each in world.culler.troubles.recent(world.clock.wall)] == ["kernel a"]
    assert world.kernels.asked == [("a", 600), ("a", 1210)]
    assert world.kernels.stopped == []


@scenario
async def test_nobody_asks_what_is_not_busy_or_cannot_be_asked():
    """An idle one goes at its deadline, and a source that cannot ask keeps the busy for ever."""
    world, unable = AskedWorld(), AskedWorld()
    world.kernels.put("a", state="idle")
    plain = FakeKernels(own_settings={"idle_timeout": 600.0})
    plain.put("a", state="busy")
    unable.culler.attach(plain)

    await world.clock.run_for(600 + EXACT)
    await unable.clock.run_for(6000)

    assert (world.kernels.asked, world.kernels.stopped) == ([], ["a"])
    assert (unable.kernels.asked, plain.stopped) == ([], [])


# -- reading -----------------------------------------------------------------------------------------


class Refreshed(FakeKernels):
    """Kernels whose facts have to be fetched, and when that was done."""

    clock: FakeClock
    times: list[int]

    async def refresh(self) -> None:
        self.times.append(round(self.clock.mono - 1000))
        await super().refresh()


class ReadWorld:
    """A started culler with a timeout of ten minutes."""

    def __init__(self, **own_settings) -> None:
        self.clock = FakeClock()
        self.kernels = Refreshed(own_settings={"idle_timeout": 600.0, **own_settings})
        self.kernels.clock, self.kernels.times = self.clock, []
        self.culler = IdleCuller(logging.getLogger("test"), self.clock)
        self.told: list[tuple[str, int]] = []
        self.culler.listeners.append(lambda each: self.told.append((each.action, round(self.clock.mono - 1000))))
        self.culler.attach(self.kernels)

    def judged(self, identity: str = "a"):
        """The record and decision as `status` shows it."""
        found = self.culler.watches[Kind.KERNEL].current(self.culler.now())
        return next(each for each in found if each[0].identity == identity)


@scenario
async def test_that_nobody_knows_its_state_is_told_after_a_quarter_of_a_minute():
    """Not a moment sooner, however often it is looked at."""
    world = ReadWorld()
    world.kernels.put("a", state="what is this")
    found = []

    for seconds in (0, 14.9, 0.1, 60):
        await world.clock.run_for(seconds)
        await world.culler.run_pass()
        found.append([action for action, _ in world.told])

    assert found == [[], [], ["kept"], ["kept"]]


@scenario
async def test_facts_that_could_not_be_fetched_are_asked_for_again_within_half_a_minute():
    """The first time; and what worked in between begins anew."""
    world = ReadWorld()
    world.kernels.put("a")
    world.kernels.refresh_error = OSError("connection refused")
    world.culler.start()

    await world.clock.run_for(631)
    first = list(world.kernels.times)
    world.kernels.refresh_error = None
    world.kernels.put("a", last_activity=world.clock.wall)
    await world.clock.run_for(120)
    world.kernels.refresh_error = OSError("connection refused")
    world.kernels.put("a", last_activity=world.clock.wall - timedelta(seconds=700))
    world.culler.wake_soon()
    await world.clock.run_for(31)

    assert len(first) == 2
    assert len([each for each in world.kernels.times if each > 740]) == 2


@pytest.mark.parametrize(("stale", "times"), [(None, 0), (3600.0, 1)])
@scenario
async def test_a_whole_pass_fetches_what_does_not_come_by_itself_though_nothing_is_due(stale, times):
    """And nothing where there is nothing to fetch."""
    world = ReadWorld()
    world.kernels.stale = stale
    world.kernels.put("a")

    await world.culler.run_pass()

    assert len(world.kernels.times) == times


@pytest.mark.parametrize(
    ("stale", "times"),
    [(7200.0, [30, 60, 90, 135, 202, 304, 456, 683, 1025]), (None, list(range(30, 1201, 30)))],
    ids=["it has to be fetched", "it comes by itself"],
)
@scenario
async def test_what_is_in_doubt_is_read_again_before_long_and_what_costs_a_call_less_and_less_often(stale, times):
    """After half as long as the doubt has lasted, and after half a minute at least."""
    world = ReadWorld()
    world.kernels.stale = stale
    world.kernels.put("a", state="what is this")
    world.culler.start()

    await world.clock.run_for(1201)

    assert world.kernels.times == pytest.approx(times, abs=2)


@scenario
async def test_what_could_not_be_read_is_counted_when_that_is_news():
    """Facts that cannot be fetched each time, one thing once; that its state is unknown is nobody's failure."""
    world = ReadWorld()
    for identity in ("a", "b", "c"):
        world.kernels.put(identity)
    world.kernels.unreadable_ids.add("b")
    world.kernels.put("c", state="what is this")

    await world.culler.run_pass()
    await world.culler.run_pass()
    read = dict(world.culler.tally.failed)
    world.kernels.refresh_error = OSError("connection refused")
    world.kernels.stale = 60.0
    for _ in range(2):
        await world.culler.run_pass()

    assert read == {(Kind.KERNEL, "read"): 1}
    assert dict(world.culler.tally.failed) == {(Kind.KERNEL, "read"): 3}
    assert {each.subject: each.message for each in world.culler.troubles.recent(NOON)} == {
        "kernel b": "kernel b is kept, for reading it failed: no such socket",
        "kernel c": "kernel c is kept, for its state is not known: state 'what is this', last activity "
        "2026-06-01 12:00:00+00:00",
        "kernels": "connection refused; nothing is culled on old facts",
    }


@scenario
async def test_that_something_can_be_judged_again_is_said(caplog):
    """With the reason; and what it is judged otherwise is a line for those who look closer."""
    world = ReadWorld()
    world.kernels.put("a", state="what is this", last_activity=at(-400))
    with caplog.at_level(logging.DEBUG, "test"):
        await world.culler.run_pass()
        world.kernels.put("a", state="idle")
        await world.culler.run_pass()
        world.culler.keep_alive(Kind.KERNEL, "a", at(60), "somebody")
        await world.culler.run_pass()

    lines = [each for each in caplog.messages if "kernel a" in each]
    assert lines[1:] == ["kernel a: active", "Culling: kernel a can be judged again: active", "kernel a: kept alive"]
    assert world.culler.troubles.last_text() is None


@scenario
async def test_each_time_that_something_begins_to_be_kept_it_is_told():
    """Once for each time, however often it is looked at."""
    world = ReadWorld()
    world.kernels.put("a", last_activity=at(-400))
    world.culler.start()

    for _ in range(2):
        world.culler.keep_alive(Kind.KERNEL, "a", at(3600), "somebody")
        await world.clock.run_for(30)
        world.culler.end_keep_alive(Kind.KERNEL, "a")
        await world.clock.run_for(30)

    assert [action for action, _ in world.told] == ["kept", "warned", "kept", "withdrawn", "warned"]


@pytest.mark.parametrize(("own", "asked"), [(None, 100), (50, 100), (200, 100)])
@scenario
async def test_what_is_kept_for_two_reasons_is_kept_until_the_later_instant(own, asked):
    """What its record says by itself, and what somebody asked for."""
    world = ReadWorld()
    world.kernels.put("a", kept_until=None if own is None else at(own))
    world.culler.keep_alive(Kind.KERNEL, "a", at(asked), "somebody")

    record, _ = world.judged()

    assert record.kept_until == at(max(asked, own or 0))
    assert (record.asked_by, record.asked_at) == ("somebody", NOON)


@scenario
async def test_what_is_wrong_with_something_ends_with_it_also_when_its_user_ends_it():
    """Its signals and its hook, too; others stay told."""
    world = ReadWorld()
    world.kernels.put("a")
    world.kernels.unreadable_ids.add("a")
    for subject in ("signals of kernel a", "pre_cull_hook for kernel a", "timeout of kernel a", "signals of kernel b"):
        world.culler.trouble(subject, f"{subject} failed")
    await world.culler.run_pass()
    before = len(world.culler.troubles.recent(NOON))

    del world.kernels.records["a"]
    await world.culler.run_pass()

    assert before == 5
    assert [each.subject for each in world.culler.troubles.recent(NOON) if each.active] == ["signals of kernel b"]


# -- notices -----------------------------------------------------------------------------------------


@scenario
async def test_those_that_are_warned_of_are_visited_once_per_heartbeat():
    """However often it wakes; where there is nobody, there is no visit to wake for."""
    world = ReadWorld()
    world.kernels.put("a")
    notices = world.culler.watches[Kind.KERNEL].notices
    nobody = notices.until_visit(), notices.whom_to_visit()
    notices.attended.add("a")

    found = [notices.whom_to_visit(), notices.whom_to_visit(), notices.until_visit()]
    world.clock.stand_still(9.5)
    found += [notices.whom_to_visit(), notices.until_visit()]
    world.clock.stand_still(0.5)
    found += [notices.until_visit(), notices.whom_to_visit()]

    assert nobody == (math.inf, [])
    assert found == [["a"], [], 10.0, [], 0.5, 0.0, ["a"]]


# -- comings and goings ------------------------------------------------------------------------------


class Neighbours:
    """Whoever hears of what comes and goes."""

    def __init__(self, world: ReadWorld) -> None:
        self.heard: list[tuple[str, str, datetime | None]] = []
        self.app: str | None = None
        world.culler.neighbours = self

    def arrived(self, record) -> None:
        self.heard.append(("arrived", record.identity, None))

    def left(self, record, used_at) -> None:
        self.heard.append(("left", record.identity, used_at))

    def going(self, record) -> str | None:
        self.heard.append(("going?", "everything" if record is None else record.identity, None))
        return self.app

    def place(self, terminal):
        return replace(terminal, with_app=True)

    def describe(self) -> dict[str, str]:
        return {"class": "Neighbours"}

    def times(self) -> dict[str, object]:
        return {}


@scenario
async def test_neighbours_hear_of_what_comes_and_goes():
    """One that its user ends was in use until then; of one that is gone already what was last known of it is told."""
    world = ReadWorld()
    neighbours = Neighbours(world)
    for identity in ("a", "b"):
        world.kernels.put(identity, last_activity=at(-400))
        world.culler.arrived(Kind.KERNEL, identity)
    await world.culler.run_pass()
    world.culler.arrived(Kind.KERNEL, "gone before anybody looked")
    world.clock.stand_still(5)

    world.culler.leaving(Kind.KERNEL, "a")
    del world.kernels.records["b"]
    world.culler.leaving(Kind.KERNEL, "b")
    world.culler.leaving(Kind.KERNEL, "nobody")
    world.culler.leaving(Kind.TERMINAL, "not watched")

    assert neighbours.heard == [
        ("arrived", "a", None), ("arrived", "b", None), ("left", "a", at(5)), ("left", "b", at(5)),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("state", "settings", "used"),
    [("idle", {}, False), ("busy", {"busy_timeout": 600.0}, True), ("busy", {"cull_busy": True}, False)],
    ids=["idle", "busy too long", "idle for all its being busy"],
)
@scenario
async def test_one_that_is_culled_for_being_idle_was_not_in_use_until_then(state, settings, used):
    """One that is ended in the middle of its work was."""
    world = ReadWorld(**settings)
    neighbours = Neighbours(world)
    world.kernels.put("a", state=state, busy_since=NOON if state == "busy" else None)
    stop = world.kernels.stop

    async def leaves(record):
        world.culler.leaving(Kind.KERNEL, record.identity)
        return await stop(record)

    world.kernels.stop = leaves
    world.culler.start()

    await world.clock.run_for(600 + EXACT)

    assert world.kernels.stopped == ["a"]
    assert [(name, used_at is not None) for what, name, used_at in neighbours.heard if what == "left"] == [("a", used)]


@scenario
async def test_something_that_comes_is_looked_at_at_once():
    """It may be due before the next look, with a timeout of its own."""
    world = ReadWorld()
    world.kernels.put("a")
    world.culler.start()
    await world.clock.run_for(100)

    world.kernels.put("b", idle_timeout=2.0, last_activity=world.clock.wall)
    world.culler.arrived(Kind.KERNEL, "b")
    await world.clock.run_for(2 + EXACT)

    assert world.kernels.stopped == ["b"]


@scenario
async def test_a_request_to_keep_something_is_refused_when_it_cannot_be_kept():
    """Nobody is there, it is being shut down, or what it lives on is going; and then nothing is remembered."""
    world = ReadWorld()
    neighbours = Neighbours(world)
    world.kernels.put("a")

    with pytest.raises(KeyError, match="nobody"):
        world.culler.keep_alive(Kind.KERNEL, "nobody", at(60), "somebody")
    with pytest.raises(KeyError, match="t"):
        world.culler.keep_alive(Kind.TERMINAL, "t", at(60), "somebody")
    neighbours.app = "the-app"
    for kind, identity in ((Kind.KERNEL, "a"), (None, None)):
        with pytest.raises(TooLateError, match="it is too late, for app the-app is being deleted"):
            world.culler.keep_alive(kind, identity, at(60), "somebody")

    assert world.culler.keep.current(NOON) == []
    assert neighbours.heard == [("going?", "a", None), ("going?", "everything", None)]


@scenario
async def test_kernels_that_are_being_started_are_counted():
    """Also when one of them fails to start; and a terminal is placed by the neighbours, if there are any."""
    world, found = ReadWorld(), []
    terminal = TerminalRecord(identity="t", last_activity=NOON)
    alone = world.culler.place(terminal)
    Neighbours(world)

    def fail() -> None:
        with world.culler.starting():
            found.append(world.culler.starts)
            with world.culler.starting():
                found.append(world.culler.starts)
            raise OSError("no memory")

    with pytest.raises(OSError, match="no memory"):
        fail()

    assert (found, world.culler.starts) == ([1, 2], 0)
    assert (alone.with_app, world.culler.place(terminal).with_app) == (False, True)


# -- an answer that came too early, or too late ------------------------------------------------------


@pytest.mark.parametrize(("late", "asked"), [(0.0, 1), (1.95, 1), (1.98, 2), (60.0, 2)])
@scenario
async def test_an_answer_that_is_older_than_planned_is_asked_for_anew(late, asked):
    """By two seconds, when at last something is to be culled on account of it: work may have begun since."""
    idle, at_work = AttentionWorld(), AttentionWorld()
    for world in (idle, at_work):
        world.guard.seconds = 0.0
        await world.clock.run_for(ATTENTION_TIMEOUT - 1)
        if world is at_work:
            world.guard.at_work["a"] = "process train.py uses 98% of a core"
        world.clock.stand_still(1 + late)
        await world.clock.run_for(2)

    assert [len(world.guard.asked) for world in (idle, at_work)] == [asked, asked]
    assert idle.kernels.stopped == ["a"]
    assert at_work.kernels.stopped == (["a"] if asked == 1 else [])


@scenario
async def test_a_question_that_is_still_open_at_the_deadline_is_waited_for_and_not_asked_again():
    """One answer is enough, however late; what it says counts."""
    world = AttentionWorld()
    world.guard.seconds = 30.0
    world.guard.at_work["a"] = "process train.py uses 98% of a core"

    await world.clock.run_for(ATTENTION_TIMEOUT + 20)
    waits = list(world.kernels.stopped), len(world.guard.asked)
    await world.clock.run_for(20)

    assert waits == ([], 1)
    assert len(world.guard.asked) == 1
    assert world.kernels.stopped == []
    assert world.now_of()[1].reason is Reason.USED
