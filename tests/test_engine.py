"""The engine's small rooms at their bounds: waiting, clocks, how things stand, the alarm, counts and lines."""

from __future__ import annotations

import gc
import logging
import random
from dataclasses import dataclass, field
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
from culling_manager.policy import CullingPolicy
from culling_manager.records import Kind
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
