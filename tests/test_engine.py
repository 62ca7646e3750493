"""The engine's small rooms at their bounds: waiting, clocks, how things stand, the alarm, counts and lines."""

from __future__ import annotations

import gc
import logging
import random
from datetime import datetime, timedelta, timezone

import pytest

from culling_manager.engine.alarm import Alarm
from culling_manager.engine.backoff import backoff
from culling_manager.engine.clock import AT_ONCE, NEVER, JumpGuard, SystemClock, epoch
from culling_manager.engine.culler import IdleCuller
from culling_manager.engine.journal import Journal
from culling_manager.engine.situation import Situation
from culling_manager.policy import CullingPolicy
from tests.conftest import scenario
from tests.doubles import NOON, FakeClock


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
