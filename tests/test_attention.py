"""Before a deadline: warnings, activity signals, keep-alives and the hook, under a clock that tests move."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import SimpleNamespace

import pytest

from culling_manager.decisions import Reason
from culling_manager.engine.culler import IdleCuller
from culling_manager.engine.notices import ASK_AGAIN_SECONDS
from culling_manager.engine.shutdown import GRACE_SECONDS
from culling_manager.errors import HookError, StopError
from culling_manager.records import Happening, Kind, Result, Use
from tests.conftest import scenario
from tests.doubles import FakeClock, FakeKernels

TIMEOUT = 3600.0
WARN = 300.0
EXACT = GRACE_SECONDS + 0.01


@dataclass
class FakeGuard:
    """Signals and a hook that a test edits; a question takes `seconds`."""

    clock: FakeClock
    lead_seconds: float = 5.0
    seconds: float = 1.0
    at_work: dict[str, str] = field(default_factory=dict)
    used_at: dict[str, datetime] = field(default_factory=dict)
    asked: list[tuple[str, float]] = field(default_factory=list)
    veto: datetime | None = None
    hook_error: Exception | None = None
    hooked: list[str] = field(default_factory=list)

    async def ask(self, record, roots) -> Use:
        self.asked.append((record.identity, self.clock.mono - 1000))
        await self.clock.sleep(self.seconds)
        return Use(used_by=self.at_work.get(record.identity), used_at=self.used_at.get(record.identity))

    async def before_culling(self, record, decision) -> datetime | None:
        self.hooked.append(record.identity)
        if self.hook_error is not None:
            raise self.hook_error
        return self.veto


class World:
    """A culler with a fake clock, fake kernels and a fake guard, and everything that it told."""

    def __init__(self, guarded: bool = True, **own_settings) -> None:
        self.clock = FakeClock()
        self.kernels = FakeKernels(own_settings={"idle_timeout": TIMEOUT, "warn_before": WARN, **own_settings})
        self.culler = IdleCuller(logging.getLogger("test"), self.clock)
        self.guard = FakeGuard(self.clock)
        if guarded:
            self.culler.guard = self.guard
        self.told: list[Happening] = []
        self.culler.listeners.append(self.told.append)
        self.culler.attach(self.kernels)
        self.kernels.put("a")
        self.culler.start()

    def actions(self) -> list[str]:
        return [each.action for each in self.told]

    def now_of(self, identity: str = "a"):
        found = self.culler.watches[Kind.KERNEL].current(self.culler.now())
        return next(each for each in found if each[0].identity == identity)

    def touch(self, identity: str = "a") -> None:
        self.kernels.put(identity, last_activity=self.clock.wall)


# -- warnings ----------------------------------------------------------------------------------------------


@scenario
async def test_that_its_state_is_unknown_is_told_once_and_only_when_it_lasts():
    """What cannot be read for a moment, as while a kernelspec is being fetched, is nobody's news."""
    world = World()
    world.kernels.unreadable_ids.add("a")
    await world.clock.run_for(10)
    world.kernels.unreadable_ids.clear()
    world.kernels.put("b")
    await world.clock.run_for(60)
    passing = world.actions()
    world.kernels.unreadable_ids.add("b")
    world.culler.wake_soon()

    await world.clock.run_for(300)

    assert passing == []
    assert [(each.action, each.record.identity, each.reason) for each in world.told] == [("kept", "b", "unknown")]


@scenario
async def test_a_warning_comes_five_minutes_before_the_deadline_once():
    """Not before, and not at each heartbeat; then what was warned of happens."""
    world = World()
    await world.clock.run_for(TIMEOUT - WARN - 1)
    early = world.actions()

    await world.clock.run_for(1.1)
    warned = list(world.told)
    await world.clock.run_for(WARN + 1)

    assert early == []
    assert [(each.action, each.kind, each.record.identity) for each in warned] == [("warned", Kind.KERNEL, "a")]
    assert warned[0].due_at == warned[0].record.last_activity + timedelta(seconds=TIMEOUT)
    assert world.actions() == ["warned", "culled"]
    assert world.kernels.stopped == ["a"]


@scenario
async def test_a_warning_from_before_the_signals_were_asked_says_unless_it_still_works():
    """Nobody has looked yet whether a process of it works; where nothing can be asked, the warning is without an if."""
    asked, alone = World(), World(guarded=False)
    await asked.clock.run_for(TIMEOUT - WARN + 1)
    await alone.clock.run_for(TIMEOUT - WARN + 1)

    assert [each.detail for each in asked.told] == ["Idle for 55 min, due in 4 min, unless it still works."]
    assert [each.detail for each in alone.told] == ["Idle for 55 min, due in 4 min."]


@pytest.mark.parametrize("guarded", [True, False])
@scenario
async def test_activity_takes_a_warning_back(guarded):
    """Within a heartbeat, by a second event; and the next deadline is warned of again."""
    world = World(guarded)
    await world.clock.run_for(TIMEOUT - WARN + 20)
    shown = world.culler.watches[Kind.KERNEL].warned()
    world.touch()

    await world.clock.run_for(10.1)
    after, left = world.actions(), world.culler.watches[Kind.KERNEL].warned()
    await world.clock.run_for(TIMEOUT)

    assert (shown, left) == (["a"], [])
    assert after == ["warned", "withdrawn"]
    assert world.actions() == ["warned", "withdrawn", "warned", "culled"]


@scenario
async def test_a_keep_alive_takes_a_warning_back_at_once():
    """And keeps for as long as was asked for."""
    world = World()
    await world.clock.run_for(TIMEOUT - 60)

    world.culler.keep_alive(Kind.KERNEL, "a", world.culler.now() + timedelta(hours=4), "somebody")
    await world.clock.run_for(1)
    after, reason = world.actions(), world.now_of()[1].reason
    await world.clock.run_for(4 * 3600 - 2)
    stopped = list(world.kernels.stopped)
    await world.clock.run_for(1 + EXACT)

    assert after == ["warned", "kept", "withdrawn"]
    assert reason is Reason.KEPT_ALIVE
    assert stopped == []
    assert world.kernels.stopped == ["a"]


@scenario
async def test_no_warning_when_it_is_off_or_when_nothing_will_be_stopped():
    """warn_before 0, and a dry run."""
    off, rehearsal = World(warn_before=0.0), World(dry_run=True)

    await off.clock.run_for(TIMEOUT + 1)
    await rehearsal.clock.run_for(TIMEOUT + 1)

    assert off.actions() == ["culled"]
    assert rehearsal.actions() == ["dry run"]


@scenario
async def test_with_a_short_timeout_the_warning_comes_at_half_of_it():
    """A warning that always holds says nothing."""
    world = World(idle_timeout=120.0)

    await world.clock.run_for(59)
    early = world.actions()
    await world.clock.run_for(2)

    assert (early, world.actions()) == ([], ["warned"])


@scenario
async def test_warnings_cost_no_heartbeat_that_looks_at_nothing():
    """Until the first warning is near, no kernel is read."""
    world = World(idle_timeout=7200.0)
    await world.clock.run_for(1)
    looks = world.kernels.looks

    await world.clock.run_for(7200 - WARN - 10)

    assert world.kernels.looks == looks


# -- activity signals --------------------------------------------------------------------------------------


@scenario
async def test_the_signals_are_asked_before_the_deadline_so_that_it_is_met_exactly():
    """Once, five seconds before; the kernel is gone at its deadline."""
    world = World()
    await world.clock.run_for(TIMEOUT)
    before = list(world.kernels.stopped)

    await world.clock.run_for(EXACT)

    assert before == []
    assert world.kernels.stopped == ["a"]
    assert world.guard.asked == [("a", pytest.approx(TIMEOUT - 5, abs=0.01))]


@scenario
async def test_signals_that_take_longer_than_planned_are_waited_for():
    """Better late than without an answer."""
    world = World()
    world.guard.seconds = 20.0

    await world.clock.run_for(TIMEOUT + 10)
    before = list(world.kernels.stopped)
    await world.clock.run_for(10)

    assert (before, world.kernels.stopped) == ([], ["a"])


@scenario
async def test_what_is_at_work_is_kept_and_goes_one_timeout_after_it_was_last_seen_so():
    """Asked every minute; a whole timeout of quiet follows. Before it is otherwise due nobody is asked."""
    world = World()
    world.guard.at_work["a"] = "process train.py uses 98% of a core"
    await world.clock.run_for(TIMEOUT - 6)
    early = len(world.guard.asked)
    await world.clock.run_for(3 * TIMEOUT)
    record, decision = world.now_of()
    asked = len(world.guard.asked)

    world.guard.at_work.clear()
    ended = world.clock.mono
    await world.clock.run_for(TIMEOUT)
    stopped = list(world.kernels.stopped)
    await world.clock.run_for(ASK_AGAIN_SECONDS + 5)

    assert early == 0
    assert (decision.reason, decision.due_at) == (Reason.USED, None)
    assert record.used_by == "process train.py uses 98% of a core"
    assert asked == pytest.approx(3 * TIMEOUT / (ASK_AGAIN_SECONDS + 1), abs=3)
    assert stopped == []
    assert world.kernels.stopped == ["a"]
    assert world.clock.mono - ended < TIMEOUT + ASK_AGAIN_SECONDS + 6
    assert world.actions()[:3] == ["warned", "kept", "withdrawn"]


@scenario
async def test_an_earlier_use_that_a_signal_knows_of_counts_as_activity():
    """A remote editor was used half an hour ago: due half an hour later."""
    world = World()
    world.guard.used_at["a"] = world.clock.wall + timedelta(seconds=TIMEOUT / 2)

    await world.clock.run_for(1.5 * TIMEOUT)
    before = list(world.kernels.stopped)
    await world.clock.run_for(EXACT)

    assert (before, world.kernels.stopped) == ([], ["a"])


@scenario
async def test_a_use_in_the_future_does_not_count():
    """A stamp of tomorrow keeps nothing until tomorrow."""
    world = World()
    world.guard.used_at["a"] = world.clock.wall + timedelta(days=1)

    await world.clock.run_for(TIMEOUT + EXACT)

    assert world.kernels.stopped == ["a"]


@scenario
async def test_the_dead_and_the_busy_too_long_go_without_a_question():
    """Their processes say nothing about whether they are needed."""
    world = World(busy_timeout=60.0)
    world.kernels.put("b", state="busy", busy_since=world.clock.wall)
    world.kernels.put("c", alive=False)
    world.guard.at_work = {"b": "it uses CPU", "c": "it uses CPU"}
    world.culler.wake_soon(Kind.KERNEL)

    await world.clock.run_for(62)

    assert sorted(world.kernels.stopped) == ["b", "c"]
    assert world.guard.asked == []


@scenario
async def test_fresh_activity_ends_being_at_work():
    """What was found in use and is used by hand again follows its own deadline, and is asked about before that."""
    world = World()
    world.guard.at_work["a"] = "it uses CPU"
    await world.clock.run_for(TIMEOUT + 1)
    world.guard.at_work.clear()
    world.touch()
    await world.clock.run_for(2 * ASK_AGAIN_SECONDS)
    asked, reason = len(world.guard.asked), world.now_of()[1].reason

    await world.clock.run_for(TIMEOUT - 2 * ASK_AGAIN_SECONDS - 10)

    assert reason is Reason.ACTIVE
    assert len(world.guard.asked) == asked
    assert world.kernels.stopped == []


@scenario
async def test_one_that_goes_while_it_is_asked_about_disturbs_nothing():
    """The user shuts it down just then."""
    world = World()
    await world.clock.run_for(TIMEOUT - 4.5)
    del world.kernels.records["a"]
    world.kernels.put("b", last_activity=world.clock.wall)

    await world.clock.run_for(TIMEOUT + 10)

    assert world.kernels.stopped == ["b"]
    assert world.culler.troubles.last_text() is None
    assert set(world.culler.watches[Kind.KERNEL].notices.attended) == set()


# -- keep-alive --------------------------------------------------------------------------------------------


@scenario
async def test_what_a_person_makes_overdue_is_warned_of_first():
    """A keep-alive taken back: five minutes are left, with a warning, and then it goes."""
    world = World()
    world.culler.keep_alive(Kind.KERNEL, "a", world.culler.now() + timedelta(days=1), "somebody")
    await world.clock.run_for(2 * TIMEOUT)

    world.culler.end_keep_alive(Kind.KERNEL, "a")
    world.culler.rounds.give_notice()
    await world.clock.run_for(1)
    told, decision = world.actions(), world.now_of()[1]
    await world.clock.run_for(WARN - 2)
    before = list(world.kernels.stopped)
    await world.clock.run_for(1 + EXACT)

    assert told == ["kept", "warned"]
    assert (decision.cull, decision.reason) == (False, Reason.ACTIVE)
    assert before == []
    assert world.kernels.stopped == ["a"]


@scenario
async def test_a_shorter_timeout_that_a_person_sets_is_warned_of_first():
    """What is not overdue keeps its own deadline."""
    world = World()
    await world.clock.run_for(1000)
    world.kernels.put("b", last_activity=world.clock.wall)

    world.culler.change_settings(idle_timeout=900.0)
    world.culler.rounds.give_notice()
    await world.clock.run_for(WARN - 1)
    before = list(world.kernels.stopped)
    await world.clock.run_for(1 + EXACT)
    first = list(world.kernels.stopped)
    await world.clock.run_for(900 - WARN - 2)
    second = list(world.kernels.stopped)
    await world.clock.run_for(2)

    assert (before, first, second) == ([], ["a"], ["a"])
    assert world.kernels.stopped == ["a", "b"]


@scenario
async def test_a_clock_that_is_set_back_after_a_notice_keeps_nothing_for_hours():
    """The jump's own five minutes hold in its place."""
    world = World()
    await world.clock.run_for(1000)
    world.culler.change_settings(idle_timeout=900.0)
    world.culler.rounds.give_notice()
    world.clock.wall -= timedelta(hours=5)

    await world.clock.run_for(WARN + 30)

    assert world.culler.situation.notice_at is None


@scenario
async def test_everything_can_be_kept_and_let_go_again():
    """What is kept by request goes at once when that is taken back after its deadline."""
    world = World()
    world.kernels.put("b")
    world.culler.keep_alive(None, None, world.culler.now() + timedelta(days=1), "somebody")
    await world.clock.run_for(2 * TIMEOUT)
    kept = list(world.kernels.stopped)

    world.culler.end_keep_alive(None, None)
    await world.clock.run_for(6)

    assert kept == []
    assert sorted(world.kernels.stopped) == ["a", "b"]


@scenario
async def test_a_keep_alive_is_gone_with_what_it_was_for():
    """The next of the same name starts without it."""
    world = World()
    world.culler.keep_alive(Kind.KERNEL, "a", world.culler.now() + timedelta(days=1), "somebody")
    del world.kernels.records["a"]
    world.culler.wake_soon()
    await world.clock.run_for(11)
    world.kernels.put("a", last_activity=world.clock.wall)

    await world.clock.run_for(TIMEOUT + EXACT)

    assert world.kernels.stopped == ["a"]


def test_nobody_can_keep_what_is_not_there():
    """KeyError, and nothing is remembered."""

    @scenario
    async def check():
        world = World()
        with pytest.raises(KeyError):
            world.culler.keep_alive(Kind.KERNEL, "nobody", world.culler.now() + timedelta(days=1), "somebody")
        assert world.culler.keep.current(world.culler.now()) == []

    check()


# -- the hook ----------------------------------------------------------------------------------------------


@scenario
async def test_the_hook_is_called_once_before_something_is_culled():
    """With the record; and then it goes."""
    world = World()

    await world.clock.run_for(TIMEOUT + EXACT)

    assert world.guard.hooked == ["a"]
    assert world.kernels.stopped == ["a"]


@scenario
async def test_the_hook_may_have_it_kept_until_a_time():
    """It is asked again then."""
    world = World()
    world.guard.veto = world.clock.wall + timedelta(seconds=TIMEOUT + 1000)
    await world.clock.run_for(TIMEOUT + 500)
    reason = world.now_of()[1].reason
    world.guard.veto = None

    await world.clock.run_for(500 + EXACT)

    assert reason is Reason.KEPT_ALIVE
    assert world.guard.hooked == ["a", "a"]
    assert world.kernels.stopped == ["a"]


@scenario
async def test_a_hook_that_fails_keeps_and_is_tried_again_less_and_less_often():
    """Each time it is said; once it works again, the kernel goes."""
    world = World()
    world.guard.hook_error = HookError("pre_cull_hook failed: OSError: disk full")
    await world.clock.run_for(TIMEOUT + 3600)
    tries, words, results = len(world.guard.hooked), world.culler.troubles.last_text(), world.culler.outcomes
    assert {outcome.result for outcome in results} == {Result.FAILED}
    world.guard.hook_error = None

    await world.clock.run_for(3600)

    assert 4 <= tries <= 10
    assert "disk full" in words
    assert world.kernels.stopped == ["a"]
    assert world.culler.troubles.last_text() is None


@scenario
async def test_in_a_dry_run_the_hook_is_not_called():
    """It may have effects."""
    world = World(dry_run=True)

    await world.clock.run_for(TIMEOUT + 10)

    assert world.guard.hooked == []
    assert world.actions() == ["dry run"]


@scenario
async def test_work_that_comes_while_the_hook_runs_is_seen():
    """The last look is after the hook."""
    world = World()

    async def slow_hook(record, decision):
        await world.clock.sleep(10)
        world.touch()

    world.guard.before_culling = slow_hook

    await world.clock.run_for(TIMEOUT + 60)

    assert world.kernels.stopped == []
    assert world.culler.outcomes[-1].result is Result.CHANGED


@scenario
async def test_a_listener_that_fails_stops_nothing(caplog):
    """It is logged, and the others hear all."""
    world = World()
    world.culler.listeners.insert(0, lambda happening: 1 / 0)

    await world.clock.run_for(TIMEOUT + EXACT)

    assert world.kernels.stopped == ["a"]
    assert world.actions() == ["warned", "culled"]
    assert "telling that kernel was warned failed" in caplog.text


@scenario
async def test_an_answer_from_before_the_last_use_does_not_count():
    """With a timeout of a few seconds the last answer is young, and still says nothing of the job started since."""
    world = World(idle_timeout=3.0)
    await world.clock.run_for(2)
    world.touch()
    world.guard.at_work["a"] = "process train.py uses 98% of a core"

    await world.clock.run_for(30)

    assert world.kernels.stopped == []


@scenario
async def test_being_busy_too_long_is_warned_of_too():
    """A runaway is somebody's work as well."""
    world = World(busy_timeout=1200.0)
    world.kernels.put("b", state="busy", busy_since=world.clock.wall)
    world.culler.wake_soon(Kind.KERNEL)
    await world.clock.run_for(1200 - WARN + 1)
    warned = [(each.action, each.record.identity) for each in world.told]

    await world.clock.run_for(WARN)

    assert warned == [("warned", "b")]
    assert world.kernels.stopped == ["b"]


# -- what a review found -------------------------------------------------------------------------------------


@scenario
async def test_work_that_begins_while_the_hook_takes_its_time_is_seen_by_the_signals_too():
    """The answer from before the hook is old by then: they are asked again."""
    world = World()

    async def slow_hook(record, decision):
        await world.clock.sleep(30)
        world.guard.at_work["a"] = "process train.py uses 98% of a core"

    world.guard.before_culling = slow_hook

    await world.clock.run_for(TIMEOUT + 60)

    assert world.kernels.stopped == []
    assert world.now_of()[1].reason is Reason.USED


@scenario
async def test_a_keep_alive_that_comes_too_late_is_refused():
    """While it is being shut down nobody is told that it will be kept."""
    world = World()
    world.kernels.hanging["a"] = asyncio.Event()
    await world.clock.run_for(TIMEOUT + 1)

    with pytest.raises(StopError, match="kernel a is being shut down just now"):
        world.culler.keep_alive(Kind.KERNEL, "a", world.culler.now() + timedelta(hours=4), "somebody")
    world.kernels.hanging["a"].set()


@scenario
async def test_with_culling_turned_off_nobody_is_asked_any_more():
    """Also not about what was at work."""
    world = World()
    world.guard.at_work["a"] = "it uses CPU"
    await world.clock.run_for(TIMEOUT + 1)
    world.kernels.own_settings["idle_timeout"] = 0.0
    world.culler.update_policy()
    asked = len(world.guard.asked)

    await world.clock.run_for(TIMEOUT)

    assert len(world.guard.asked) <= asked + 1


@scenario
async def test_a_guard_that_fails_keeps_is_reported_and_is_not_asked_without_end():
    """Not to be able to ask counts as use."""
    world = World()
    calls = []

    async def broken(record, roots):
        calls.append(record.identity)
        raise OSError("out of files")

    world.guard.ask = broken

    await world.clock.run_for(TIMEOUT + 600)

    assert world.kernels.stopped == []
    assert "out of files" in world.culler.troubles.last_text()
    assert len(calls) < 15


@scenario
async def test_a_keep_alive_for_one_does_not_have_the_failing_tried_sooner():
    """A page that renews its request must not turn a back-off into a storm."""
    world = World()
    world.kernels.put("b", last_activity=world.clock.wall + timedelta(hours=0))
    world.kernels.failing.add("b")
    await world.clock.run_for(TIMEOUT + 3600)
    tries = len([each for each in world.culler.outcomes if each.identity == "b"])

    for _ in range(60):
        world.culler.keep_alive(None, None, world.clock.wall + timedelta(seconds=1), "page")
        world.culler.end_keep_alive(None, None)
        await world.clock.run_for(10)

    assert len([each for each in world.culler.outcomes if each.identity == "b"]) <= tries + 2


@scenario
async def test_what_is_wrong_with_something_ends_with_it():
    """Else the list of errors fills with kernels that are gone, and pushes out what matters."""
    world = World()
    world.culler.trouble("signals of kernel a", "the signal gpu failed")
    await world.clock.run_for(1)

    await world.clock.run_for(TIMEOUT + 1)

    assert world.kernels.stopped == ["a"]
    assert world.culler.troubles.last_text() is None


@scenario
async def test_a_heartbeat_callback_that_fails_does_not_stop_the_culler(caplog):
    """It is logged and reported."""
    world = World()
    world.culler.beats.append(lambda: 1 / 0)

    await world.clock.run_for(TIMEOUT + EXACT)

    assert world.kernels.stopped == ["a"]
    assert "something failed at a heartbeat" in world.culler.troubles.last_text()


@scenario
async def test_a_heartbeat_line_that_cannot_be_written_does_not_stop_the_culler():
    """Whoever is to be named in it fails at that."""
    world = World()
    world.culler.neighbours = SimpleNamespace(
        describe=lambda: 1 / 0, going=lambda record: None, left=lambda record, used_at: None
    )

    await world.clock.run_for(TIMEOUT + EXACT)

    assert "something failed at a heartbeat: ZeroDivisionError" in world.culler.troubles.last_text()
    assert world.kernels.stopped == ["a"]


@scenario
async def test_a_clock_that_is_set_back_does_not_make_a_keep_alive_longer():
    """Four hours were asked for, not a month."""
    world = World()
    world.clock.jump(30 * 86_400)
    world.touch()
    world.culler.now()
    world.culler.keep_alive(Kind.KERNEL, "a", world.clock.wall + timedelta(hours=4), "somebody")

    world.clock.jump(-30 * 86_400)
    await world.clock.run_for(4 * 3600 + TIMEOUT + 60)

    assert world.kernels.stopped == ["a"]


@scenario
async def test_a_name_with_a_line_break_forges_no_line_in_the_log(caplog):
    """Not even the heartbeat that a fleet check looks for."""
    world = World()
    del world.kernels.records["a"]
    world.kernels.put("x\nculling_manager heartbeat: {}")

    with caplog.at_level(logging.DEBUG):
        await world.clock.run_for(TIMEOUT + EXACT)

    lines = [record.getMessage() for record in caplog.records if "Culling" in record.getMessage()]
    assert any("heartbeat" in line for line in lines)
    assert all("\n" not in line for line in lines)
