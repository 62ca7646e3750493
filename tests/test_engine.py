"""The engine's small rooms at their bounds: waiting, clocks, how things stand, the alarm, counts and lines."""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import random
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace

import pytest

from culling_manager.decisions import Action, Decision, Reason
from culling_manager.engine.alarm import Alarm
from culling_manager.engine.backoff import backoff
from culling_manager.engine.clock import AT_ONCE, NEVER, JumpGuard, SystemClock, epoch
from culling_manager.engine.culler import IdleCuller
from culling_manager.engine.horizon import Horizon
from culling_manager.engine.item import Item
from culling_manager.engine.journal import Journal, not_stopped, unread
from culling_manager.engine.ports import KEPT
from culling_manager.engine.shutdown import GRACE_SECONDS
from culling_manager.engine.situation import Situation
from culling_manager.engine.tally import BUCKETS, Tally
from culling_manager.errors import ErrorCode, ReadError, SettingError, TooLateError
from culling_manager.policy import CullingPolicy
from culling_manager.records import AppRecord, Happening, KernelRecord, Kind, Result, TerminalRecord, Use
from culling_manager.report import HEARTBEAT_MARKER
from culling_manager.rules.proof import proof_at
from tests.conftest import scenario
from tests.doubles import NOON, FakeClock, FakeKernels, FakeTerminals
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


def test_no_try_waits_for_more_than_an_hour(monkeypatch):
    """To the second, and whatever the jitter is."""
    monkeypatch.setattr(random, "uniform", lambda low, high: high)

    assert [backoff(attempts) for attempts in (1, 7, 8, 99)] == [30.0, 1920.0, 3600.0, 3600.0]


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
async def test_a_loop_that_stands_still_again_and_again_is_held_off_once():
    """Or whoever makes it stand still every few seconds would have nothing culled for ever."""
    world = Rings()
    world.alarm.start()

    world.clock.stand_still(20)
    await world.clock.run_for(0)
    world.clock.stand_still(20)
    await world.clock.run_for(0)

    assert world.rang == [0, 40]


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
    """Exactly then, and not again while the answer is awaited, whatever happens; a heartbeat in between asks nobody."""
    world = AskedWorld()

    await world.clock.run_for(605)
    during = list(world.kernels.asked), world.kernels.looks
    world.culler.keep_alive(None, None, at(606), "somebody")
    await world.clock.run_for(1)
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


UNLESS = {
    # id: how long ahead it is asked, how long after that it is used: "unless it still works", in each warning?
    "asked before, unused since": (400.0, None, [False]),
    "not asked yet": (5.0, None, [True]),
    "used since it was asked": (5.0, 2.0, [True, True]),
    "used just when it was asked": (5.0, 0.0, [True, False]),
}


@pytest.mark.parametrize(("lead", "used", "unless"), UNLESS.values(), ids=UNLESS)
@scenario
async def test_a_warning_says_unless_it_still_works_where_nobody_was_asked_since_its_last_use(lead, used, unless):
    """Whoever has been asked since has said that it does not."""
    world = AttentionWorld()
    world.guard.lead_seconds = lead

    async def ask(record, roots):
        if used == 0.0:
            world.touch()
        elif used is not None:
            world.clock.call_later(used, world.touch)
        return Use()

    world.guard.ask = ask
    await world.clock.run_for(ATTENTION_TIMEOUT - 1)
    await world.clock.run_for(0.0 if used is None else ATTENTION_TIMEOUT - 10)

    warned = [each.detail for each in world.told if each.action == "warned"]
    assert [each.endswith("unless it still works.") for each in warned] == unless


@scenario
async def test_what_dies_while_it_is_warned_of_goes_at_the_next_heartbeat():
    """Not at the deadline that it was warned of: nobody tells of it, so it is seen at the visit."""
    world = AttentionWorld()
    await world.clock.run_for(ATTENTION_TIMEOUT - 200)

    world.kernels.put("a", alive=False)
    await world.clock.run_for(11)

    assert world.kernels.stopped == ["a"]
    assert world.actions() == ["warned", "culled"]


@scenario
async def test_that_something_was_busy_too_long_is_warned_of_without_an_unless():
    """That it works is known."""
    world = AttentionWorld(busy_timeout=1200.0)
    world.kernels.put("a", state="busy", busy_since=NOON)

    await world.clock.run_for(1000)

    assert [each.action for each in world.told] == ["warned"]
    assert "unless" not in world.told[0].detail


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
        return terminal._replace(with_app=True)

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


@pytest.mark.parametrize("known", [False, True])
@scenario
async def test_what_was_asked_for_something_goes_with_it(known):
    """At once, whether anybody else wants to know of it or not."""
    world = ReadWorld()
    world.kernels.put("a")
    if known:
        Neighbours(world)
    world.culler.keep_alive(Kind.KERNEL, "a", at(3600), "somebody")
    before = len(world.culler.keep.current(NOON))

    world.culler.leaving(Kind.KERNEL, "a")

    assert (before, world.culler.keep.current(NOON)) == (1, [])


@pytest.mark.parametrize(
    ("state", "settled", "settings", "used"),
    [
        ("idle", True, {}, False),
        ("idle", False, {}, False),
        ("busy", True, {"busy_timeout": 600.0}, True),
        ("busy", True, {"cull_busy": True}, False),
        ("dead", True, {}, False),
        ("dead", False, {}, True),
    ],
    ids=[
        "idle",
        "asked, and idle",
        "busy too long",
        "idle for all its being busy",
        "dead",
        "dead, with work unanswered",
    ],
)
@scenario
async def test_one_that_is_culled_for_being_idle_was_not_in_use_until_then(state, settled, settings, used):
    """One that is ended in the middle of its work was, and so may be one that died with something to do."""
    world = ReadWorld(**settings)
    neighbours = Neighbours(world)
    world.kernels.put("a", state=state, settled=settled, busy_since=NOON if state == "busy" else None)
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
    assert at_work.kernels.stopped == at_work.guard.hooked == (["a"] if asked == 1 else [])


@pytest.mark.parametrize(("used", "asked"), [(0.0, 1), (1.0, 2)])
@scenario
async def test_an_answer_to_a_question_from_before_the_last_use_is_not_believed(used, asked):
    """However late it comes: it says nothing of the job that was started after it had been asked, so nobody is told
    that it goes, and no hook is run for it.
    """
    world = AttentionWorld(idle_timeout=20.0)
    world.guard.seconds, said = 60.0, []

    async def ask(record, roots):
        said.append(world.clock.mono - 1000)
        if len(said) == 1:
            if used:
                await world.clock.sleep(used)
            world.touch()
            await world.clock.sleep(60)
            return Use()
        return Use(used_by="process train.py uses 98% of a core")

    world.guard.ask = ask

    await world.clock.run_for(80)

    assert len(said) == asked
    assert world.kernels.stopped == world.guard.hooked == (["a"] if asked == 1 else [])


@pytest.mark.parametrize(("error", "words"), [(OSError("disk full"), "disk full"), (OSError(), "OSError()")])
@pytest.mark.parametrize("who", ["the hook", "a last question"])
@scenario
async def test_who_could_not_be_asked_whether_it_may_go_is_in_doubt_and_says_why(who, error, words):
    """What failed is the reason why nobody knows, for as long as it stays as it is."""
    world = AttentionWorld()

    def fail(record) -> None:
        raise error

    if who == "the hook":
        world.guard.hook_error = error
    else:
        world.kernels.before_confirm = fail

    await world.clock.run_for(ATTENTION_TIMEOUT + 1)
    record, decision = world.now_of()
    world.guard.hook_error = world.kernels.before_confirm = None
    await world.clock.run_for(60)

    assert (record.error, decision.reason) == (words, Reason.UNKNOWN)
    assert world.culler.outcomes[0].message == words
    assert world.kernels.stopped == ["a"]


@scenario
async def test_what_is_at_work_is_asked_about_every_minute_however_seldom_a_heartbeat_is():
    """From the first question on; with a short timeout twice in it, and no sooner than every two seconds."""
    world, short, shortest = (
        AttentionWorld(cull_interval=600.0, **more) for more in ({}, {"idle_timeout": 60.0}, {"idle_timeout": 2.0})
    )
    found = []

    for each in (world, short, shortest):
        each.guard.seconds = 0.0
        each.guard.at_work["a"] = "process train.py uses 98% of a core"
        due = each.culler.policy.idle_timeout
        await each.clock.run_for(due + 121)
        found.append([round(seconds - due, 1) for _, seconds in each.guard.asked])

    assert found[0] == [-5.0, 55.0, 115.0]
    assert found[1] == [-5.0, 25.0, 55.0, 85.0, 115.0]
    assert found[2] == [-1.0 + 2 * number for number in range(61)]


@scenario
async def test_a_question_that_is_still_open_at_the_deadline_is_waited_for_and_not_asked_again():
    """Neither at a heartbeat meanwhile: one answer is enough, however late, and what it says counts."""
    world = AttentionWorld()
    world.guard.seconds = world.guard.lead_seconds = 30.0
    world.guard.at_work["a"] = "process train.py uses 98% of a core"

    await world.clock.run_for(ATTENTION_TIMEOUT - 1)
    waits = len(world.guard.asked)
    await world.clock.run_for(20)

    assert (waits, len(world.guard.asked)) == (1, 1)
    assert world.kernels.stopped == []
    assert world.now_of()[1].reason is Reason.USED


# -- the horizon -------------------------------------------------------------------------------------


@dataclass
class Glanced:
    """A source that can only be glanced at."""

    found: list[tuple[str, datetime | None, float | None]]
    kind: Kind = Kind.KERNEL

    def glance(self, policy):
        return self.found


def glanced(*found, **settings):
    """What of these may be due at noon, and when the first of the others may be, in seconds after noon."""
    at_noon = situation()
    at_noon.policy = CullingPolicy(**{"idle_timeout": 600.0, "warn_before": 0.0, **settings})
    suspects, nearest = Horizon(Glanced(list(found)), at_noon).suspects(NOON)
    return suspects, None if nearest == NEVER else (nearest - NOON).total_seconds()


def test_what_was_in_use_within_its_timeout_cannot_be_due():
    """The first of those says when to look next; at the very end of it, or in the future, it has to be read."""
    found = glanced(
        ("not known", None, None), ("kept", KEPT, None), ("just due", at(-600), None), ("not yet", at(-599), None),
        ("later", at(-500), None), ("now", NOON, None), ("in the future", at(1), None),
    )  # fmt: skip

    assert found == (["not known", "just due", "in the future"], 1.0)


def test_each_timeout_has_a_horizon_of_its_own():
    """That of a kernelspec, or the policy's; one that is off makes nothing due."""
    policys = ("policy's", at(-300), None)

    assert glanced(policys, ("just due", at(-60), 60.0), ("not yet", at(-50), 60.0)) == (["just due"], 10.0)
    assert glanced(policys, ("longer", at(-5000), 7200.0)) == ([], 300.0)
    assert glanced(("off", at(-5000), 0.0)) == ([], 600.0)
    assert glanced(("off", at(-5000), -1.0), policys) == ([], 300.0)
    assert glanced(("a second", at(-0.5), 1.0)) == ([], 0.5)


def test_where_nothing_is_known_the_horizon_is_a_timeout_away():
    """Whatever is used from now on cannot be due before; and where all is off, never."""
    assert glanced() == ([], 600.0)
    assert glanced(("kept", KEPT, None)) == ([], 600.0)
    assert glanced(("a", at(-5000), None), idle_timeout=0.0) == ([], None)


def test_a_shorter_bound_than_the_timeout_makes_it_nearer_and_so_does_what_is_to_be_done_before():
    """How long a kernel may be busy, and a warning."""
    assert glanced(("a", at(-200), None), busy_timeout=300.0) == ([], 100.0)
    assert glanced(("a", at(-300), None), busy_timeout=300.0) == (["a"], 300.0)
    assert glanced(("a", at(-200), None), busy_timeout=300.0, idle_timeout=0.0) == ([], 100.0)
    assert glanced(("a", at(-200), None), busy_timeout=1.0) == (["a"], 1.0)
    assert glanced(("a", at(-400), None), warn_before=100.0) == ([], 100.0)
    assert glanced(("a", at(-500), None), warn_before=100.0) == (["a"], 500.0)


# -- what is remembered of one thing -----------------------------------------------------------------


def an_item(cull: bool = False, due: float | None = 60.0, **known) -> Item:
    """One kernel with a decision on it."""
    reason = Reason.IDLE if cull else Reason.ACTIVE
    decision = Decision(
        action=Action.CULL if cull else Action.KEEP,
        reason=reason,
        idle_seconds=0.0,
        due_at=None if due is None else at(due),
    )
    item = Item("print", KernelRecord(identity="k", state="idle", last_activity=NOON), decision)
    for name, value in known.items():
        setattr(item, name, value)
    return item


def test_what_was_read_anew_is_looked_at_at_once_and_what_was_found_out_holds_for_the_same_record_only():
    """That it was rehearsed, and that nobody could tell."""
    same, other = (an_item(rehearsed=True, doubt="who knows", next_at=NEVER) for _ in range(2))

    same.take("new", same.record, same.decision)
    other.take("new", other.record._replace(state="busy"), other.decision)

    found = [(each.fingerprint, each.rehearsed, each.doubt, each.next_at) for each in (same, other)]
    assert found == [("new", True, "who knows", AT_ONCE), ("new", False, None, AT_ONCE)]


def test_when_policy_or_clock_change_nothing_holds_that_was_decided():
    """Nor did anything happen after now."""
    item = an_item(retry_at=at(99), rehearsed=True, next_at=NEVER, warned_at=at(50))
    item.use = Use(used_by="it computes", used_at=at(50), asked_at=at(50), answered_at=at(5))
    never_warned = an_item()

    item.decide_anew(at(10))
    never_warned.decide_anew(at(10))

    assert (item.fingerprint, item.next_at, item.retry_at, item.rehearsed) == (None, AT_ONCE, None, False)
    assert item.use == Use(used_by="it computes", used_at=at(10), asked_at=at(10), answered_at=at(5))
    assert (item.warned_at, never_warned.warned_at) == (at(10), None)


DEADLINES = {
    # id: (is it to be culled?, attempts, retry at): due at, attempts after, were failed attempts over?
    "kept": (False, 0, None, at(60), 0, False),
    "kept after a failure": (False, 1, 99.0, at(60), 0, True),
    "to be culled": (True, 0, None, AT_ONCE, 0, False),
    "to be culled once more": (True, 2, 99.0, at(99), 2, False),
}


@pytest.mark.parametrize(("cull", "attempts", "retry", "due", "left", "over"), DEADLINES.values(), ids=DEADLINES)
def test_something_is_due_by_its_decision_or_at_the_next_attempt(cull, attempts, retry, due, left, over):
    """Where it is kept after all, the attempts that failed are over."""
    item = an_item(cull, attempts=attempts, retry_at=None if retry is None else at(retry))

    found = item.set_deadline()

    assert (found, item.due_at, item.attempts) == (over, due, left)
    assert item.retry_at == (at(retry) if cull and retry else None)


ANSWERS = {
    # id: (what was known, what is found): since when it is not in use, None while it is or where nobody knows
    "nothing": (Use(), Use(), None),
    "a use before": (Use(), Use(used_at=at(30)), at(30)),
    "just now": (Use(), Use(used_at=at(70)), at(70)),
    "after now": (Use(), Use(used_at=at(71)), None),
    "the later of two": (Use(used_at=at(20)), Use(used_at=at(10)), at(20)),
    "in use": (Use(), Use(used_by="it computes"), at(70)),
    "in use until now": (Use(used_by="it computes", used_at=at(10)), Use(), at(70)),
}


@pytest.mark.parametrize(("known", "found", "used"), ANSWERS.values(), ids=ANSWERS)
def test_an_answer_says_since_when_it_is_not_in_use(known, found, used):
    """What was in use was so until it is known to be no more; nothing was used after now."""
    item = an_item(use=known, next_at=NEVER)

    item.answered(found, at(60), at(70))

    assert item.use == Use(used_by=found.used_by, used_at=used, asked_at=at(60), answered_at=at(70))
    assert (item.fingerprint, item.next_at) == (None, AT_ONCE)


def test_what_ended_failed_or_stays_is_tried_again_when_that_is_said():
    """Each failed attempt is counted."""
    stays, failed = an_item(cull=True, stopping=True), an_item(cull=True)

    stays.ended()
    stays.stays(at(60))
    failed.failed(at(30))
    failed.failed(at(90))

    assert (stays.task, stays.stopping, stays.retry_at, stays.due_at, stays.attempts) == (
        None, False, at(60), at(60), 0,
    )  # fmt: skip
    assert (failed.retry_at, failed.due_at, failed.attempts) == (at(90), at(90), 2)


def test_a_question_that_began_after_the_clock_was_set_back_was_asked_now():
    """Nothing is asked after it was answered."""
    item = an_item()

    item.answered(Use(), at(500), at(70))

    assert item.use.asked_at == at(70)


# -- counts ------------------------------------------------------------------------------------------


def test_passes_are_counted_by_how_long_they_took():
    """Up to and including each bound, and all of them in the end."""
    tally = Tally()

    for seconds in (0.0001, 0.00011, 0.5, 1.0, 10.0, 11.0):
        tally.passed(Kind.KERNEL, seconds)
    tally.passed(Kind.APP, 0.001)

    assert BUCKETS == (0.0001, 0.001, 0.01, 0.1, 1.0, 10.0)
    kernels, apps = tally.passes[Kind.KERNEL], tally.passes[Kind.APP]
    assert (kernels.within, kernels.count) == ([1, 2, 2, 2, 4, 5], 6)
    assert kernels.total == pytest.approx(22.50021)
    assert (apps.within, apps.count) == ([0, 1, 1, 1, 1, 1], 1)


def happening(action: str, kind: Kind = Kind.KERNEL, identity: str = "k", seconds: float = 0.0) -> Happening:
    """Something that happened, so many seconds after noon."""
    record = (
        KernelRecord(identity=identity, state="idle", last_activity=NOON)
        if kind is Kind.KERNEL
        else AppRecord(identity=identity, name=identity, state="InService")
    )
    return Happening(action=action, kind=kind, record=record, reason="idle", at=at(seconds))


def test_what_happens_is_counted_by_kind_and_reason():
    """What is no count of ours is none."""
    tally = Tally()

    for action in ("culled", "culled", "kept", "warned", "failed", "withdrawn", "deleting", "dry run"):
        tally.told(happening(action))

    assert dict(tally.culled) == {(Kind.KERNEL, "idle"): 2}
    assert dict(tally.kept) == {(Kind.KERNEL, "idle"): 1}
    assert dict(tally.warned) == {Kind.KERNEL: 1}
    assert dict(tally.failed) == {(Kind.KERNEL, "stop"): 1}
    assert tally.given_back(at(1000)) == 0.0


def test_an_app_that_was_deleted_gives_back_until_it_is_there_again():
    """Each by itself, from its first deletion; a clock that is set back takes nothing away."""
    tally = Tally()
    for identity, seconds in (("a", 0), ("a", 50), ("b", 100)):
        tally.told(happening("culled", Kind.APP, identity, seconds))

    found = [tally.given_back(at(seconds)) for seconds in (-10, 100, 110)]
    tally.returned("a", at(200))
    tally.returned("never deleted", at(200))
    tally.returned("b", at(90))
    found += [tally.given_back(at(seconds)) for seconds in (200, 999)]

    assert found == [0.0, 100.0, 120.0, 200.0, 200.0]


# -- words and codes ---------------------------------------------------------------------------------

CODES = {
    # id: (what failed): what it is called when kernels and apps cannot be read, and when they cannot be stopped
    "something": (OSError("x"), ErrorCode.UNREAD, ErrorCode.APPS_UNREAD, ErrorCode.NOT_STOPPED, ErrorCode.NOT_DELETED),
    "one that has a name": (ReadError("x", code=ErrorCode.NO_ANSWER), *[ErrorCode.NO_ANSWER] * 4),
    "one that does not keep apps on the bill": (
        ReadError("x", code=ErrorCode.HOOK_FAILED), ErrorCode.HOOK_FAILED, ErrorCode.APPS_UNREAD,
        ErrorCode.HOOK_FAILED, ErrorCode.NOT_DELETED,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("error", "read", "app_read", "stopped", "app_stopped"), CODES.values(), ids=CODES)
def test_what_failed_is_called_by_what_it_means(error, read, app_read, stopped, app_stopped):
    """Of apps, what keeps them on the bill."""
    kinds = (Kind.KERNEL, Kind.TERMINAL, Kind.APP)

    assert [unread(kind, error) for kind in kinds] == [read, read, app_read]
    assert [not_stopped(kind, error) for kind in kinds] == [stopped, stopped, app_stopped]


@scenario
async def test_what_is_culled_is_said_once_and_what_comes_of_it_where_there_is_something_to_say(caplog):
    """Not at each try after a failed one; a rehearsal says what it would have done."""
    world, rehearsal = ReadWorld(), ReadWorld(dry_run=True)
    for each in (world, rehearsal):
        each.kernels.put("a")
        each.culler.start()
    world.kernels.failing.add("a")

    with caplog.at_level(logging.INFO, "test"):
        await world.clock.run_for(900)
        failed = [line for line in caplog.messages if "'idle' kernel" in line]
        await rehearsal.clock.run_for(900)
    rehearsed = [line for line in caplog.messages if "Dry run" in line]

    assert len(failed) == 1
    assert rehearsed == ["Dry run: would cull kernel a: idle, 600 seconds of inactivity."]
    assert [each.result for each in rehearsal.culler.outcomes] == [Result.DRY_RUN]
    assert len(world.culler.outcomes) > 2


# -- a culling carried out ---------------------------------------------------------------------------


@scenario
async def test_an_outcome_says_what_came_of_it():
    """Which, what, why, how long it was idle, when, and in which words."""
    world = ReadWorld()
    for identity in ("a", "b", "c", "d"):
        world.kernels.put(identity)
    world.kernels.failing.add("b")
    world.kernels.kept_by_manager.add("c")
    stop = world.kernels.stop

    async def stops(record):
        if record.identity == "d":
            raise KeyError("d")
        return await stop(record)

    world.kernels.stop = stops
    world.clock.stand_still(700)
    running = asyncio.ensure_future(world.culler.run_pass())
    await world.clock.run_for(1)

    found = {each.identity: (each.result, each.message) for each in await running}

    assert found == {
        "a": (Result.CULLED, ""), "b": (Result.FAILED, "it refuses to stop"),
        "c": (Result.CHANGED, "its manager keeps it"), "d": (Result.GONE, ""),
    }  # fmt: skip
    assert {(each.kind, each.reason, each.idle_seconds, each.at) for each in world.culler.outcomes} == {
        (Kind.KERNEL, "idle", 700.035, at(700.035)),
    }
    assert world.culler.troubles.last_text() == "kernel b could not be culled: it refuses to stop"
    assert sorted(action for action, _ in world.told) == ["culled", "failed"]


@pytest.mark.parametrize(("took", "confirmed"), [(0.5, 1), (1.0, 1), (1.25, 2)])
@scenario
async def test_what_was_found_out_before_a_hook_that_took_over_a_second_is_found_out_anew(took, confirmed):
    """A second is not over a second."""
    world = AttentionWorld()
    asked: list[str] = []
    world.kernels.before_confirm = lambda record: asked.append(record.identity)

    async def hook(record, decision):
        await world.clock.sleep(took)

    world.guard.before_culling = hook

    await world.clock.run_for(ATTENTION_TIMEOUT + 5)

    assert asked == ["a"] * confirmed
    assert world.kernels.stopped == ["a"]


@pytest.mark.parametrize(("asked", "kept"), [(100.0, 500.0), (500.0, 500.0), (900.0, 900.0)])
@scenario
async def test_what_a_hook_wants_kept_takes_nothing_from_what_was_asked_for(asked, kept):
    """The later instant counts; of what is gone meanwhile nothing is kept."""
    world = AttentionWorld()
    await world.clock.run_for(ATTENTION_TIMEOUT - 1)

    async def hook(record, decision):
        now = world.clock.wall
        world.culler.keep_alive(Kind.KERNEL, "a", now + timedelta(seconds=asked), "somebody")
        return now + timedelta(seconds=500)

    world.guard.before_culling = hook
    await world.clock.run_for(2)

    until = world.culler.keep.until(Kind.KERNEL, "a")
    assert (until - NOON).total_seconds() == pytest.approx(ATTENTION_TIMEOUT + kept, abs=1)
    assert world.culler.outcomes[-1].message == "kept alive"


@scenario
async def test_the_dead_are_not_kept_whatever_a_hook_wants():
    """And nobody waits for the rest of them."""
    world = AttentionWorld()
    world.guard.veto = at(10 * ATTENTION_TIMEOUT)
    world.kernels.put("b", alive=False)
    world.culler.wake_soon()

    await world.clock.run_for(1)

    assert world.kernels.stopped == ["b"]
    assert world.guard.hooked == ["b"]


@scenario
async def test_what_goes_while_the_hook_is_asked_is_gone():
    """No failure, and nobody is kept for it."""
    world = AttentionWorld()

    async def hook(record, decision):
        del world.kernels.records["a"]
        return world.clock.wall + timedelta(hours=1)

    world.guard.before_culling = hook

    await world.clock.run_for(ATTENTION_TIMEOUT + 1)

    assert [each.result for each in world.culler.outcomes] == [Result.GONE]
    assert world.culler.keep.current(world.clock.wall) == []


@scenario
async def test_what_its_manager_keeps_is_tried_again_after_a_minute_exactly():
    """Though nothing else is to be looked at until then."""
    world = ReadWorld(warn_before=0.0)
    world.kernels.put("a")
    world.kernels.kept_by_manager.add("a")
    world.culler.start()
    await world.clock.run_for(600 + EXACT)
    results = [each.result for each in world.culler.outcomes]
    world.kernels.kept_by_manager.clear()

    await world.clock.run_for(59.9)
    before = list(world.kernels.stopped)
    await world.clock.run_for(0.1 + EXACT)

    assert (results, before) == ([Result.CHANGED], [])
    assert world.kernels.stopped == ["a"]


@scenario
async def test_a_culling_that_was_called_off_before_it_began_is_begun_again():
    """A pause drops what was only decided, and nothing is left of it afterwards."""
    world = ReadWorld()
    world.kernels.put("a")
    world.clock.stand_still(700)
    waits = asyncio.ensure_future(world.culler.consider(Kind.KERNEL, "a"))
    await asyncio.sleep(0)

    async with world.culler.paused():
        await waits
    running = asyncio.ensure_future(world.culler.run_pass())
    await world.clock.run_for(1)

    assert [each.result for each in await running] == [Result.CULLED]
    assert world.kernels.stopped == ["a"]


@scenario
async def test_no_more_than_a_hundred_and_twenty_eight_are_stopped_at_a_time():
    """The others wait for a place; and one that hangs longer than two minutes is told by its name."""
    world = ReadWorld()
    begun: list[str] = []
    goes = asyncio.Event()

    async def stops(record):
        begun.append(record.identity)
        await goes.wait()
        del world.kernels.records[record.identity]

    world.kernels.stop = stops
    for number in range(130):
        world.kernels.put(str(number))
    world.culler.start()

    await world.clock.run_for(600 + EXACT)
    first = len(begun)
    goes.set()
    await world.clock.run_for(1)

    assert first == 128
    assert len(begun) == 130
    assert len(world.culler.outcomes) == 50  # so many of the last are remembered for `status`
    assert world.kernels.records == {}


# -- all watches together ----------------------------------------------------------------------------


@scenario
async def test_only_those_of_one_kind_are_looked_at_when_that_is_said():
    """Or all; a whole pass looks at all."""
    world = ReadWorld()
    terminals = FakeTerminals()
    world.culler.attach(terminals)
    looks: list[str] = []
    for source in (world.kernels, terminals):
        glance = source.glance
        source.glance = lambda policy, kind=source.kind, glance=glance: looks.append(kind.value) or glance(policy)
    world.culler.start()
    await world.clock.run_for(7)
    looks.clear()
    found = []

    for kind in (Kind.KERNEL, Kind.TERMINAL, None):
        world.culler.wake_soon(kind)
        await world.clock.run_for(0.1)
        found.append(sorted(set(looks)))
        looks.clear()

    assert found == [["kernel"], ["terminal"], ["kernel", "terminal"]]


@scenario
async def test_heartbeats_come_at_the_interval_and_the_second_after_half_of_it():
    """So that whoever looks soon after the start sees that it runs."""
    world = ReadWorld(cull_interval=8.0)
    counts = []

    world.culler.start()
    for seconds in (0, 3.9, 0.2, 7.7, 0.3, 8.0):
        await world.clock.run_for(seconds)
        counts.append(world.culler.count)
    next_one = world.culler.next_wake_up
    world.culler.start()
    started_again = world.culler.count
    world.culler.stop()

    assert counts == [1, 1, 2, 2, 3, 4]
    assert started_again == 4
    assert (next_one - NOON).total_seconds() == pytest.approx(28.0, abs=0.1)
    assert (world.culler.next_wake_up, world.culler.running) == (None, False)


@scenario
async def test_no_heartbeat_is_told_while_all_that_it_runs_on_is_going(caplog):
    """It would look like life; should that stay after all, the next heartbeat is told."""
    world = ReadWorld()
    neighbours = Neighbours(world)
    neighbours.app = "the-app"
    world.culler.start()
    await world.clock.run_for(7200)
    going = [line for line in caplog.messages if HEARTBEAT_MARKER in line]

    neighbours.app = None
    await world.clock.run_for(10)
    stays = [line for line in caplog.messages if HEARTBEAT_MARKER in line]
    await world.clock.run_for(3600)

    assert going == []
    assert len(stays) == 1
    assert '"app_manager": "Neighbours"' in stays[0]
    assert len([line for line in caplog.messages if HEARTBEAT_MARKER in line]) == 2


@scenario
async def test_times_that_cannot_be_added_up_leave_the_heartbeat_as_it_is(caplog):
    """It is told without them, and what failed is told as well."""
    world = ReadWorld()
    Neighbours(world).times = lambda: 1 / 0

    world.culler.start()

    assert len([line for line in caplog.messages if HEARTBEAT_MARKER in line]) == 1
    assert "the times of apps could not be added up: ZeroDivisionError" in world.culler.troubles.last_text()
    assert [each.subject for each in world.culler.troubles.recent(NOON)] == ["heartbeat"]


@scenario
async def test_what_fails_at_a_heartbeat_is_told_of_the_heartbeat():
    """And the next one comes."""
    world = ReadWorld()
    world.culler.beats.append(lambda: 1 / 0)

    world.culler.start()
    await world.clock.run_for(30)

    assert [each.subject for each in world.culler.troubles.recent(NOON)] == ["heartbeat"]
    assert world.culler.count > 2


def test_a_server_has_one_culler_and_nobodys_is_a_new_one():
    """Whoever asks first."""
    server = SimpleNamespace()

    first, second = IdleCuller.of(server), IdleCuller.of(server)

    assert first is second
    assert IdleCuller.of(None) is not IdleCuller.of(None)
    assert IdleCuller.of(SimpleNamespace()) is not first


@scenario
async def test_settings_that_are_changed_hold_for_all_and_can_be_taken_back():
    """What is None is left alone; a bad one changes nothing; what was configured is known meanwhile."""
    world = ReadWorld()
    terminals = FakeTerminals(own_settings={"cull_interval": 5.0, "keep_terminals": False})
    world.culler.attach(terminals)
    world.culler.change_settings(idle_timeout=900.0)
    world.culler.change_settings(keep_terminals=True)
    changed = world.culler.policy, world.culler.configured("idle_timeout"), world.culler.configured("keep_terminals")

    with pytest.raises(SettingError, match="idle_timeout"):
        world.culler.change_settings(idle_timeout=-1.0, keep_terminals=False)
    refused = world.culler.policy
    world.culler.reset_settings()

    assert (changed[0].idle_timeout, changed[0].keep_terminals, changed[0].cull_interval) == (900.0, True, 5.0)
    assert changed[1:] == (600.0, False)
    assert refused == changed[0]
    assert (world.culler.policy.idle_timeout, world.culler.policy.keep_terminals) == (600.0, False)
    assert world.culler.configured("idle_timeout") == 600.0


@scenario
async def test_the_log_says_with_which_settings_it_starts_what_came_of_it_and_what_failed_of_ours(caplog):
    """A fault of ours with where it happened, and not in a second line; a failed shutdown by its words."""
    world = ReadWorld()
    for identity in ("a", "b"):
        world.kernels.put(identity)
    world.kernels.failing.add("b")
    world.culler.beats.append(lambda: 1 / 0)

    with caplog.at_level(logging.DEBUG, "test"):
        world.culler.start()
        started = list(caplog.messages)
        await world.clock.run_for(600 + EXACT)

    assert started[0].startswith("Culling: ")
    assert "10 min" in started[0]
    faults = [line for line in caplog.messages if line.startswith("Culling: something failed")]
    assert set(faults) == {"Culling: something failed at a heartbeat; nothing stops for that"}
    assert len(faults) == world.culler.count
    assert "kernel a: culled " in caplog.messages
    assert [line for line in caplog.messages if line.startswith("kernel b: failed")] == []
    assert "Culling: kernel b could not be culled: it refuses to stop" in caplog.messages
