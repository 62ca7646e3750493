"""Everything has a cap where the admin sets one: truth tables, properties, warnings, and whole days."""

from __future__ import annotations

import asyncio
import logging
import os
import random
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from culling_manager.decisions import Reason, decide, decide_app, decide_kernel
from culling_manager.engine.culler import IdleCuller
from culling_manager.policy import CullingPolicy
from culling_manager.records import AppRecord, Happening, KernelRecord, Kind, TerminalRecord
from culling_manager.rules.app import oldest
from culling_manager.rules.common import work_ends
from culling_manager.rules.verdict import Action, Cap, Decision
from culling_manager.simulation.things import Event, EventType
from culling_manager.simulation.world import simulate
from tests.conftest import scenario
from tests.doubles import NOON, FakeApps
from tests.test_appsource import World as AppWorld
from tests.test_attention import FakeGuard, World
from tests.test_user_day import Rules, Task, play

STATES = ("busy", "idle")
HOUR = 3600.0
DAY = 24 * HOUR


def at(seconds: float):
    """An instant relative to noon."""
    return NOON + timedelta(seconds=seconds)


# -- what is at work -----------------------------------------------------------------------------------

WORK = {
    # id: (what is known of it, seconds after noon) -> culled, reason, due
    "before the end it is kept, and due then": ({}, 5 * HOUR, (False, Reason.USED, 6 * HOUR)),
    "at the very end it is still kept": ({}, 6 * HOUR, (False, Reason.USED, 6 * HOUR)),
    "after it it is due": ({}, 6 * HOUR + 1, (True, Reason.AT_WORK_TOO_LONG, 6 * HOUR)),
    "Jupyter's own use begins it anew": ({"last_activity": at(HOUR)}, 6.5 * HOUR, (False, Reason.USED, 7 * HOUR)),
    "a user's asking too": ({"asked_at": at(3 * HOUR)}, 8 * HOUR, (False, Reason.USED, 9 * HOUR)),
    "a keep-alive keeps beyond it": ({"kept_until": at(9 * HOUR)}, 8 * HOUR, (False, Reason.KEPT_ALIVE, 9 * HOUR)),
    "what has ended before is due by its end": (
        {"used_by": None, "used_at": at(5.5 * HOUR)}, 5.6 * HOUR, (False, Reason.ACTIVE, 6 * HOUR)
    ),
    "and idle after a whole timeout": (
        {"used_by": None, "used_at": at(2 * HOUR)}, 4 * HOUR + 1, (True, Reason.IDLE, 4 * HOUR)
    ),
}  # fmt: skip


@pytest.mark.parametrize(("known", "now", "expected"), WORK.values(), ids=WORK)
@pytest.mark.parametrize("kind", ["kernel", "terminal", "app"])
def test_what_a_signal_sees_keeps_for_max_at_work_at_most(kind, known, now, expected):
    """Since Jupyter itself last saw use of it, or a user last asked."""
    known = {"last_activity": NOON, "used_by": "it computes", "used_at": at(now), **known}
    record = {
        "kernel": lambda: KernelRecord(identity="k", state="idle", **known),
        "terminal": lambda: TerminalRecord(identity="t", **known),
        "app": lambda: AppRecord(identity="a", name="a", state="InService", watched_since=NOON, **known),
    }[kind]()

    decision = decide(record, CullingPolicy(max_at_work=6 * HOUR), at(now))

    culled, reason, due = expected
    assert (decision.cull, decision.reason, decision.due_at) == (culled, reason, at(due))


def test_a_cap_shorter_than_the_timeout_takes_nothing_from_what_jupyter_saw():
    """A whole timeout after a cell's end, as ever."""
    record = KernelRecord(identity="k", state="idle", last_activity=NOON, used_by="it computes", used_at=at(1.5 * HOUR))

    decision = decide_kernel(record, CullingPolicy(idle_timeout=2 * HOUR, max_at_work=HOUR), at(1.5 * HOUR))

    assert (decision.cull, decision.due_at) == (False, at(2 * HOUR))


def test_a_second_is_an_end_and_without_any_use_there_is_none():
    """0 alone is no end; and what was never seen in use has nothing from which to count."""
    policy = CullingPolicy(max_at_work=1.0)

    assert work_ends(TerminalRecord(identity="t", last_activity=NOON), policy) == at(1)
    assert work_ends(TerminalRecord(identity="t", last_activity=None), policy) is None


def test_what_is_due_at_the_same_instant_anyway_is_due_for_being_idle():
    """The work that a signal saw had ended a whole timeout before."""
    record = KernelRecord(identity="k", state="idle", last_activity=NOON, used_at=at(4 * HOUR))
    policy = CullingPolicy(idle_timeout=2 * HOUR, max_at_work=6 * HOUR)

    found = [decide_kernel(record, policy, at(now)) for now in (6 * HOUR, 6 * HOUR + 1)]

    assert [(each.reason, each.due_at, each.due_for) for each in found] == [
        (Reason.ACTIVE, at(6 * HOUR), None), (Reason.IDLE, at(6 * HOUR), None),
    ]  # fmt: skip


def test_what_a_signal_saw_last_is_ended_up_to_and_including_the_end():
    """Due for that, not yet at the very instant, and strictly after it."""
    record = TerminalRecord(identity="t", last_activity=NOON, used_at=at(5 * HOUR))
    policy = CullingPolicy(idle_timeout=2 * HOUR, max_at_work=6 * HOUR)

    found = [decide(record, policy, at(now)) for now in (6 * HOUR, 6 * HOUR + 1)]

    assert [(each.cull, each.reason, each.due_at, each.due_for) for each in found] == [
        (False, Reason.ACTIVE, at(6 * HOUR), Reason.AT_WORK_TOO_LONG),
        (True, Reason.AT_WORK_TOO_LONG, at(6 * HOUR), None),
    ]


def test_of_a_busy_kernel_that_may_be_culled_signals_are_not_asked():
    """That it computes is known, and with `cull_busy` it does not keep."""
    record = KernelRecord(identity="k", state="busy", last_activity=NOON, used_by="it computes", used_at=at(HOUR))

    found = [decide_kernel(record._replace(state=state), CullingPolicy(cull_busy=True), at(HOUR)) for state in STATES]

    assert [each.reason for each in found] == [Reason.ACTIVE, Reason.USED]


moments = st.floats(-1e5, 1e5).map(at)


@given(moments, moments, st.none() | moments, st.floats(60, 1e5), st.floats(60, 1e5), st.floats(0, 1e6))
def test_nothing_is_kept_by_signals_beyond_the_cap(last, used, asked, timeout, cap, later):
    """And nothing is culled for it before."""
    now = max(last, used) + timedelta(seconds=later)
    record = KernelRecord(
        identity="k", state="idle", last_activity=last, used_by="it computes", used_at=now, asked_at=asked
    )

    decision = decide_kernel(record, CullingPolicy(idle_timeout=timeout, max_at_work=cap), now)

    end = max(last if asked is None else max(last, asked), last) + timedelta(seconds=cap)
    assert decision.cull == (now > max(end, last + timedelta(seconds=timeout)))


def printing(seconds: float, **known) -> TerminalRecord:
    """A terminal that printed just now, and in which a key was typed at noon."""
    return TerminalRecord(identity="t", last_activity=at(seconds), typed_at=NOON, **known)


SCREEN = {
    "before the end, due then": (5.5 * HOUR, {}, (False, Reason.ACTIVE, 6 * HOUR)),
    "at the very end": (6 * HOUR, {}, (False, Reason.ACTIVE, 6 * HOUR)),
    "after it": (6 * HOUR + 1, {}, (True, Reason.AT_WORK_TOO_LONG, 6 * HOUR)),
    "with a child at work, too": (6 * HOUR + 1, {"used_by": "it computes"}, (True, Reason.AT_WORK_TOO_LONG, 6 * HOUR)),
    "a user's asking begins it anew": (7 * HOUR, {"asked_at": at(2 * HOUR)}, (False, Reason.ACTIVE, 8 * HOUR)),
    "early it is due for being idle": (HOUR, {}, (False, Reason.ACTIVE, 3 * HOUR)),
}


@pytest.mark.parametrize(("now", "known", "expected"), SCREEN.values(), ids=SCREEN)
def test_a_terminal_that_only_prints_is_not_used_for_ever(now, known, expected):
    """A program that redraws its screen keeps it for `max_at_work` after the last key; without that as ever."""
    record = printing(now, **known)

    decision = decide(record, CullingPolicy(max_at_work=6 * HOUR), at(now))

    culled, reason, due = expected
    assert (decision.cull, decision.reason, decision.due_at) == (culled, reason, at(due))
    assert not decide(record, CullingPolicy(), at(now)).cull


@scenario
async def test_an_agents_screen_is_warned_of_and_ended():
    """It redraws itself every minute; a key in between gives it another run."""
    world = AppWorld(max_at_work=2 * HOUR, warn_before=300.0)
    world.apps.put("a", created_at=NOON)
    told: list[tuple[str, str, str]] = []
    world.culler.listeners.append(lambda each: told.append((each.kind.value, each.action, each.reason)))
    world.start()
    world.terminals.put("a-t", typed_at=NOON)
    for minute in range(166):
        world.terminals.put("a-t", last_activity=world.clock.wall)
        if minute == 45:
            world.terminals.put("a-t", typed_at=world.clock.wall)
        await world.clock.run_for(60)
        if minute == 158:
            quiet = list(told)

    assert quiet == []
    assert [each[1:] for each in told if each[0] == "terminal"] == [
        ("warned", "at work too long"), ("culled", "at work too long"),
    ]  # fmt: skip
    assert world.terminals.stopped == ["a-t"]


# -- age -------------------------------------------------------------------------------------------------

LONG = {"warned_at": at(-DAY)}
AGE = {
    # id: (what is known of the app, seconds after noon) -> culled, due
    "kept until then": (LONG, 9 * HOUR, (False, 10 * HOUR)),
    "at the very end it is still kept": (LONG, 10 * HOUR, (False, 10 * HOUR)),
    "deleted after it": (LONG, 10 * HOUR + 1, (True, 10 * HOUR)),
    "whatever is on it": ({**LONG, "kept_by": "kernel k (busy)"}, 10 * HOUR + 1, (True, 10 * HOUR)),
    "whatever a signal sees": ({**LONG, "used_by": "it computes"}, 10 * HOUR + 1, (True, 10 * HOUR)),
    "born when it was created": ({**LONG, "created_at": at(-HOUR)}, 8 * HOUR, (False, 9 * HOUR)),
    "not after it was first seen": ({**LONG, "created_at": at(HOUR)}, 8 * HOUR, (False, 10 * HOUR)),
    "a keep-alive moves it": ({**LONG, "kept_until": at(12 * HOUR)}, 11 * HOUR, (False, 12 * HOUR)),
    "one of a kernel on it too": ({**LONG, "residents_kept_until": at(12 * HOUR)}, 11 * HOUR, (False, 12 * HOUR)),
    "by max_keep_alive at most": ({**LONG, "kept_until": at(99 * HOUR)}, 14 * HOUR + 1, (True, 14 * HOUR)),
    "not before a warning": ({}, 20 * HOUR, (False, 20.25 * HOUR)),
    "a quarter of an hour after it": ({"warned_at": at(20 * HOUR)}, 20.25 * HOUR, (False, 20.25 * HOUR)),
    "and then": ({"warned_at": at(20 * HOUR)}, 20.25 * HOUR + 1, (True, 20.25 * HOUR)),
}


@pytest.mark.parametrize(("known", "now", "expected"), AGE.values(), ids=AGE)
def test_an_app_is_deleted_when_it_is_too_old(known, now, expected):
    """Whatever is on it, warned of before, moved by a keep-alive."""
    known = {"kept_by": "kernel k (busy)", "watched_since": NOON, **known}
    record = AppRecord(identity="a", name="a", state="InService", **known)

    decision = decide_app(record, CullingPolicy(max_age=10 * HOUR, max_keep_alive=4 * HOUR), at(now))

    culled, due = expected
    assert (decision.cull, decision.due_at) == (culled, at(due))
    assert (decision.reason if culled else decision.due_for) is (
        Reason.TOO_OLD if decision.due_for or culled else decision.due_for
    )


def test_a_second_is_an_age_and_a_bound_and_who_was_never_seen_has_no_age():
    """0 alone is none."""
    app = AppRecord(identity="a", name="a", state="InService", watched_since=NOON, warned_at=at(-DAY))
    policy = CullingPolicy(max_age=1.0, max_keep_alive=1.0)

    assert oldest(app, policy, NOON) == at(1)
    assert oldest(app._replace(kept_until=at(HOUR)), policy, NOON) == at(2)
    assert oldest(app._replace(kept_until=at(HOUR)), replace(policy, max_keep_alive=0.0), NOON) == at(HOUR)
    assert oldest(app._replace(watched_since=None), policy, NOON) is None


@pytest.mark.parametrize(
    "changes", [{"protected": True}, {"state": "Pending"}, {"watched_since": None}, {"error": "x"}]
)
def test_no_age_deletes_what_is_protected_or_in_doubt(changes):
    """Nor is it said to be due."""
    known = {"state": "InService", "watched_since": at(-DAY), "warned_at": at(-DAY), **changes}

    decision = decide_app(AppRecord(identity="a", name="a", **known), CullingPolicy(max_age=60.0), NOON)

    assert (decision.cull, decision.due_at) == (False, None)


@pytest.mark.parametrize(("warn", "age", "lead"), [(300, DAY, 900), (1800, DAY, 1800), (0, DAY, 900), (300, 600, 300)])
def test_an_age_is_warned_of_a_quarter_of_an_hour_ahead_at_least_if_it_allows(warn, age, lead):
    """Or as early as warnings are; at most half of it."""
    assert CullingPolicy(warn_before=warn, max_age=age).age_warning == lead


@pytest.mark.parametrize(
    ("cull", "due", "expected"), [(True, 99, (99, None)), (False, 10, (10, None)), (False, 60, (60, None)),
    (False, 61, (60, Reason.TOO_OLD)), (False, None, (60, Reason.TOO_OLD))],
)  # fmt: skip
def test_a_cap_makes_no_deadline_later(cull, due, expected):
    """The earlier one counts, and what is culled is culled."""
    decision = Decision(
        action=Action.CULL if cull else Action.KEEP,
        reason=Reason.IDLE,
        idle_seconds=1.0,
        due_at=None if due is None else at(due),
    )

    found = Cap(at(60), Reason.TOO_OLD).on(decision)

    assert (found.cull, found.due_at, found.due_for) == (cull, at(expected[0]), expected[1])


# -- under a clock -----------------------------------------------------------------------------------------


def aged(**own_settings) -> AppWorld:
    """A server with one app and one kernel that never ends its cell."""
    world = AppWorld(apps=FakeApps(), **{"max_age": 4 * HOUR, "warn_before": 300.0, **own_settings})
    world.apps.put("a", created_at=NOON)
    world.told = []
    world.culler.listeners.append(world.told.append)
    world.start()
    world.kernel("k", state="busy")
    return world


def actions(world) -> list[tuple[str, str]]:
    return [(each.action, each.reason) for each in world.told if each.kind is Kind.APP]


@scenario
async def test_an_app_with_a_busy_kernel_goes_at_its_age_and_is_warned_of_before():
    """Once, a quarter of an hour ahead, by the name of the cap."""
    world = aged()
    await world.clock.run_for(4 * HOUR - 901)
    before = actions(world)
    await world.clock.run_for(2)
    warned = actions(world)
    await world.clock.run_for(890)
    kept = list(world.apps.deleted)

    await world.clock.run_for(15)

    assert (before, warned) == ([], [("warned", "too old")])
    assert kept == []
    assert world.apps.deleted == ["a"]


@scenario
async def test_an_age_is_not_warned_of_sooner_than_half_of_it():
    """However long ahead other deadlines are warned of."""
    world = aged(max_age=1800.0, warn_before=3600.0, idle_timeout=2 * HOUR)
    await world.clock.run_for(899)
    before = actions(world)

    await world.clock.run_for(2)

    assert (before, actions(world)) == ([], [("warned", "too old")])


@scenario
async def test_a_keep_alive_withdraws_the_warning_and_its_end_gives_another():
    """Nobody is cut off in the minute in which somebody takes a keep-alive back."""
    world = aged()
    await world.clock.run_for(4 * HOUR - 600)
    world.culler.keep_alive(Kind.APP, "a", world.clock.wall + timedelta(hours=2), "somebody")
    await world.clock.run_for(HOUR)
    kept, told = list(world.apps.deleted), actions(world)
    world.culler.end_keep_alive(Kind.APP, "a")
    await world.clock.run_for(895)
    still, again = list(world.apps.deleted), actions(world)

    await world.clock.run_for(10)

    assert (kept, still) == ([], [])
    assert [each for each, _ in told if each != "kept"] == ["warned", "withdrawn"]
    assert again[-1:] == [("warned", "too old")]
    assert world.apps.deleted == ["a"]


@scenario
async def test_a_job_at_work_is_warned_of_and_ended_by_max_at_work():
    """A leaked loop does not keep for ever; a user's asking gives it another run."""
    world = World(max_at_work=4 * HOUR)
    world.guard.at_work["a"] = "process loop.py uses 100% of a core"
    await world.clock.run_for(3 * HOUR)
    world.culler.keep_alive(Kind.KERNEL, "a", world.clock.wall + timedelta(minutes=1), "somebody")
    await world.clock.run_for(3.99 * HOUR)
    kept = list(world.kernels.stopped)

    await world.clock.run_for(0.1 * HOUR)

    assert kept == []
    assert world.kernels.stopped == ["a"]
    assert [(each.action, each.reason) for each in world.told][-2:] == [
        ("warned", "at work too long"), ("culled", "at work too long"),
    ]  # fmt: skip


def test_simulate_ends_an_app_at_its_age():
    """Though its kernel is busy all the time."""
    events = [
        Event(at=NOON, kind=Kind.APP, identity="a", event=EventType.STARTED),
        Event(at=NOON, kind=Kind.KERNEL, identity="k", event=EventType.STARTED, app="a"),
        Event(at=at(60), kind=Kind.KERNEL, identity="k", event=EventType.BUSY, app="a"),
    ]

    outlook = simulate(events, CullingPolicy(max_age=6 * HOUR), at(DAY))

    assert [(stop.identity, stop.reason) for stop in outlook.stops] == [("a", Reason.TOO_OLD)]
    assert abs((outlook.stops[0].at - at(6 * HOUR)).total_seconds()) < 1


def test_by_default_nothing_has_a_cap():
    """Off, in policy and settings."""
    assert (CullingPolicy().max_at_work, CullingPolicy().max_age) == (0.0, 0.0)
    assert IdleCuller(logging.getLogger("test")).policy.max_age == 0.0


def test_a_day_with_caps_cuts_nothing_off_without_a_warning():
    """One whole day in which a cell runs for longer than the app may."""
    rules = Rules(timeout=60, max_age=240, heartbeat=600)

    day = play(rules, None, [Task(60, "long", 0, 900, 1), Task(200, "keep", 0, 120, 0), Task(600, "job", 1, 500, 3)])

    assert day.wrong == []
    assert day.aged > 0


def test_simulate_ends_what_only_a_signal_sees_at_max_at_work():
    """A job in a terminal; what it did until its end is missed, and its app has a timeout from then on."""
    events = [
        Event(at=NOON, kind=Kind.APP, identity="a", event=EventType.STARTED),
        Event(at=NOON, kind=Kind.TERMINAL, identity="t", event=EventType.STARTED, app="a"),
        Event(at=at(60), kind=Kind.TERMINAL, identity="t", event=EventType.WORKING, app="a"),
        Event(at=at(20 * HOUR), kind=Kind.TERMINAL, identity="t", event=EventType.RESTING, app="a"),
    ]

    capped = simulate(events, CullingPolicy(max_at_work=6 * HOUR), at(DAY))
    free = simulate(events, CullingPolicy(), at(DAY))

    found = [(stop.identity, stop.reason, stop.used_again) for stop in capped.stops]
    assert found[:2] == [("t", Reason.AT_WORK_TOO_LONG, at(20 * HOUR)), ("a", Reason.IDLE, at(20 * HOUR))]
    assert [abs((stop.at - when).total_seconds()) < 1 for stop, when in
            zip(capped.stops, (at(6 * HOUR), at(8 * HOUR)), strict=False)] == [True, True]  # fmt: skip
    assert [(stop.identity, round((stop.at - NOON).total_seconds() / HOUR)) for stop in free.stops] == [
        ("t", 22), ("a", 22),
    ]  # fmt: skip


# -- a thousand days -----------------------------------------------------------------------------------------


class CappedDay:
    """A day with an app, two kernels and two caps, made up from a number; and what was wrong with it."""

    def __init__(self, number: int) -> None:
        self.chance = random.Random(number)
        one_of = self.chance.choice
        self.age, self.work = one_of([0.0, 2 * HOUR, 5 * HOUR, 9 * HOUR]), one_of([0.0, HOUR, 3 * HOUR])
        self.longest, self.warn = one_of([HOUR, 4 * HOUR]), one_of([0.0, 300.0, 1800.0])
        caps = {"max_age": self.age, "max_at_work": self.work, "max_keep_alive": self.longest, "warn_before": self.warn}
        self.world = AppWorld(apps=FakeApps(), cull_interval=600.0, idle_timeout=one_of([600.0, 3600.0]), **caps)
        self.world.culler.guard = self.guard = FakeGuard(self.world.clock, seconds=0.0)
        self.told: list[tuple[datetime, Happening]] = []
        self.world.culler.listeners.append(lambda each: self.told.append((self.world.clock.wall, each)))
        self.born = self.asked_until = self.world.clock.wall
        self.oldest = 0.0

    async def live(self) -> None:
        """Runs, silent jobs, keep-alives and their ends, one after the other, for a day at most."""
        world, at_once = self.world, self.chance.random
        world.apps.put("a", created_at=NOON)
        world.start()
        for kernel in ("k", "l"):
            world.kernel(kernel)
        await world.clock.run_for(1)
        while (world.clock.wall - self.born).total_seconds() < DAY and not world.apps.deleted:
            kernel = self.chance.choice(["k", "l"])
            what = self.chance.choice(["run", "rest", "job", "job", "done", "keep", "off", "nothing"])
            if kernel in world.kernels.records and what in ("run", "rest"):
                world.kernels.put(kernel, state="busy" if what == "run" else "idle", last_activity=world.clock.wall)
            elif what == "job":
                self.guard.at_work[kernel] = "it computes"
            elif what == "done":
                self.guard.at_work.pop(kernel, None)
            elif what == "keep":
                until = world.clock.wall + timedelta(seconds=at_once() * self.longest)
                world.culler.keep_alive(Kind.APP, "a", until, "somebody")
                self.asked_until = max(self.asked_until, until)
            elif what == "off":
                world.culler.end_keep_alive(Kind.APP, "a")
            await world.clock.run_for(at_once() * 2 * HOUR)
            if not world.apps.deleted:
                self.oldest = (world.clock.wall - self.born).total_seconds()

    def wrong(self) -> list[str]:
        """What must not be: an app that outlives its age, or something that is cut off without a warning."""
        found = []
        asked = min((self.asked_until - self.born).total_seconds(), self.age + self.longest)
        if self.age and self.oldest > max(self.age, asked) + 900 + 60:
            found.append(f"the app was {self.oldest} s old")
        for when, each in self.told:
            if each.action in ("culled", "accepted") and each.reason in ("too old", "at work too long"):
                found += self._warned(when, each)
        return found

    def _warned(self, when: datetime, each: Happening) -> list[str]:
        policy = self.world.culler.policy
        ahead = policy.age_warning if each.reason == "too old" else policy.warning(policy.max_at_work)
        before = [
            at for at, other in self.told
            if other.action == "warned" and other.record.identity == each.record.identity and at <= when
        ]  # fmt: skip
        enough = ahead <= 0 or (
            before and (when - before[-1]).total_seconds() >= min(ahead, policy.idle_timeout / 2) - 1
        )
        return [] if enough else [f"{each.record.identity} was {each.reason} and not warned {ahead} s ahead"]


#: How many days are lived: all thousand by CULLING_MANAGER_DAYS=1000, which takes minutes.
DAYS = int(os.environ.get("CULLING_MANAGER_DAYS", "30"))


def test_in_a_thousand_days_no_cap_is_passed_and_none_comes_without_a_warning():
    """Whatever runs, rests, works unseen and is kept: no app is older than its cap, what was asked for, and a minute.

    The time of a warning comes on top only where a keep-alive was taken back when it was too old already.
    """
    days = [CappedDay(number) for number in range(DAYS)]

    for day in days:
        asyncio.run(day.live())

    assert {number: day.wrong() for number, day in enumerate(days) if day.wrong()} == {}
    reasons = {each.reason for day in days for _, each in day.told if each.action in ("culled", "accepted", "deleting")}
    assert {"too old", "at work too long"} <= reasons
