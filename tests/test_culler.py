"""The loop under a clock that tests move: exact deadlines, second looks, failures, jumps, and whole histories."""

from __future__ import annotations

import asyncio
import json
import logging
import random
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from culling_manager import __version__
from culling_manager.engine.backoff import backoff
from culling_manager.engine.culler import IdleCuller
from culling_manager.engine.shutdown import GRACE_SECONDS
from culling_manager.errors import SettingError, StopError
from culling_manager.records import Kind, Result
from culling_manager.report import HEARTBEAT_MARKER
from tests.conftest import scenario
from tests.doubles import NOON, FakeClock, FakeKernels

TIMEOUT = 600.0
#: A deadline counts as met exactly when what was due is gone within the grace period and a breath.
EXACT = GRACE_SECONDS + 0.01


class World:
    """A culler with a fake clock and fake kernels, started."""

    def __init__(self, **own_settings) -> None:
        self.clock = FakeClock()
        self.kernels = FakeKernels(own_settings={"idle_timeout": TIMEOUT, **own_settings})
        self.culler = IdleCuller(logging.getLogger("test"), self.clock)
        self.culler.attach(self.kernels)

    def start(self) -> World:
        self.culler.start()
        return self

    def touch(self, identity: str, **changes) -> None:
        """Fresh activity, which the culler is not told of."""
        self.kernels.put(identity, last_activity=self.clock.wall, **changes)


@scenario
async def test_a_kernel_goes_exactly_at_its_deadline_and_not_at_a_heartbeat():
    """600 s of timeout and a heartbeat of 10 s: gone at 600.04 s, there at 600.00 s."""
    world = World(cull_interval=7.0)
    world.kernels.put("a")
    world.start()

    await world.clock.run_for(TIMEOUT)
    before = list(world.kernels.stopped)
    await world.clock.run_for(EXACT)

    assert before == []
    assert world.kernels.stopped == ["a"]


@pytest.mark.parametrize("warn_before", [0.0, 300.0], ids=["no warning", "warned"])
@scenario
async def test_a_pass_at_the_very_deadline_culls_nothing_and_misses_nothing(warn_before):
    """Due is strictly after the deadline: a look at its very microsecond is followed by one just after it."""
    world = World(warn_before=warn_before)
    world.kernels.put("a")
    world.start()
    await world.clock.run_for(TIMEOUT)

    outcomes = await world.culler.run_pass()
    await world.clock.run_for(EXACT)

    assert outcomes == []
    assert world.kernels.stopped == ["a"]


@scenario
async def test_a_wakeup_at_which_nothing_can_be_due_looks_at_nothing():
    """An hour of heartbeats before the first deadline reads no kernel after the first pass."""
    world = World(idle_timeout=7200.0)
    world.kernels.put("a")
    world.start()
    await world.clock.run_for(1)
    looks = world.kernels.looks

    await world.clock.run_for(3600)

    assert world.kernels.looks == looks
    assert world.culler.count >= 360


@scenario
async def test_the_line_that_shows_that_the_culler_runs_is_written_whatever_the_logs_level(caplog):
    """A server that logs at WARN is not taken for one without a culler."""
    world = World()
    with caplog.at_level(logging.WARNING, "test"):
        world.start()

    assert [record.levelname for record in caplog.records if HEARTBEAT_MARKER in record.getMessage()] == ["WARNING"]


@scenario
async def test_a_line_in_the_log_shows_once_an_hour_that_the_culler_runs(caplog):
    """At start and then hourly, with version and settings, for whoever reads the logs of a whole fleet."""
    world = World()
    with caplog.at_level(logging.INFO, "test"):
        world.start()
        await world.clock.run_for(2 * 3600 + 60)

    lines = [record.getMessage() for record in caplog.records if HEARTBEAT_MARKER in record.getMessage()]
    found = json.loads(lines[-1].removeprefix(HEARTBEAT_MARKER))
    assert len(lines) == 3
    assert found == {
        "version": __version__, "idle_time": TIMEOUT, "keep_terminals": False, "count": found["count"],
        "app_manager": "NoApps", "dry_run": False, "watching": ["kernel"], "errors": None, "codes": [],
    }  # fmt: skip
    assert found["count"] > 700


@scenario
async def test_count_exceeds_one_within_half_a_heartbeat():
    """Clients take count > 1 for a running culler; an empty server counts too."""
    world = World().start()

    await world.clock.run_for(5.1)

    assert world.culler.count == 2


@scenario
async def test_activity_before_the_deadline_moves_it():
    """The culler is not told of activity, and still neither early nor late."""
    world = World()
    world.kernels.put("a")
    world.start()
    await world.clock.run_for(599)
    world.touch("a")

    await world.clock.run_for(600)
    early = list(world.kernels.stopped)
    await world.clock.run_for(EXACT)

    assert early == []
    assert world.kernels.stopped == ["a"]


@scenario
async def test_work_that_comes_between_decision_and_shutdown_survives():
    """The second look sees it, says 'changed meanwhile', and leaves it alone."""
    world = World()
    world.kernels.put("a")
    world.start()
    await world.clock.run_for(TIMEOUT + GRACE_SECONDS / 2)
    world.touch("a", state="busy")

    await world.clock.run_for(3 * TIMEOUT)

    assert world.kernels.stopped == []
    assert [outcome.result for outcome in world.culler.outcomes] == [Result.CHANGED]


@scenario
async def test_work_that_comes_while_it_is_being_asked_survives():
    """The very last look is after everything that takes time."""
    world = World()
    world.kernels.put("a")
    world.kernels.before_confirm = lambda record: world.touch("a")
    world.start()

    await world.clock.run_for(TIMEOUT + 1)

    assert world.kernels.stopped == []


@scenario
async def test_a_request_that_is_on_its_way_at_the_last_look_survives():
    """What has been accepted and not yet sent is counted before the last decision."""
    world = World()
    world.kernels.put("a")
    world.kernels.before_last_look = world.touch
    world.start()

    await world.clock.run_for(TIMEOUT + 1)

    assert world.kernels.stopped == []


@scenario
async def test_the_first_retry_does_not_wait_for_a_slow_heartbeat():
    """With a heartbeat of an hour a failed shutdown is tried again within a minute all the same."""
    world = World(cull_interval=3600.0)
    world.kernels.put("a")
    world.kernels.failing.add("a")
    world.start()

    await world.clock.run_for(TIMEOUT + 60)

    assert len(world.culler.outcomes) >= 2


@scenario
async def test_being_asked_to_start_during_a_pause_is_not_lost():
    """A POST that starts the culler while kernels are being shut down starts it afterwards."""
    world = World()
    async with world.culler.paused():
        world.culler.start()
        during = world.culler.running

    assert not during
    assert world.culler.running


@scenario
async def test_what_was_changed_meanwhile_is_culled_exactly_at_its_new_deadline():
    """A reprieve is one timeout, not a heartbeat more."""
    world = World(idle_timeout=3.0)
    world.kernels.put("a")
    world.start()
    await world.clock.run_for(3.0 + GRACE_SECONDS / 2)
    world.touch("a")

    await world.clock.run_for(3.0)
    early = list(world.kernels.stopped)
    await world.clock.run_for(EXACT)

    assert early == []
    assert world.kernels.stopped == ["a"]


@scenario
async def test_a_vanished_kernel_is_an_ordinary_outcome():
    """Gone already is done: no error, no retry."""
    world = World()
    world.kernels.put("a")
    world.start()
    await world.clock.run_for(TIMEOUT + GRACE_SECONDS / 2)
    del world.kernels.records["a"]

    await world.clock.run_for(60)

    assert [outcome.result for outcome in world.culler.outcomes] == [Result.GONE]
    assert world.culler.troubles.last_text() is None


@scenario
async def test_one_that_hangs_delays_no_other():
    """Four hang in their shutdown; the fifth, due a second later, goes at its deadline."""
    world = World()
    for name in "abcd":
        world.kernels.put(name)
        world.kernels.hanging[name] = asyncio.Event()
    world.kernels.put("e", last_activity=NOON + timedelta(seconds=1))
    world.start()

    await world.clock.run_for(TIMEOUT + 1 + EXACT)

    assert world.kernels.stopped == ["e"]


@scenario
async def test_a_failing_shutdown_is_told_and_tried_again_with_growing_pauses_and_does_not_stop_the_others():
    """First retry within a minute, the pauses at most an hour; the neighbour goes at once."""
    world = World()
    world.kernels.put("a")
    world.kernels.put("b")
    world.kernels.failing.add("a")
    world.start()

    await world.clock.run_for(TIMEOUT + 1)
    after_one = [outcome.result for outcome in world.culler.outcomes]
    await world.clock.run_for(40)
    after_two = len(world.culler.outcomes)
    words = world.culler.troubles.last_text()
    world.kernels.failing.clear()
    await world.clock.run_for(120)

    assert sorted(after_one, key=str) == [Result.CULLED, Result.FAILED]
    assert after_two == 3
    assert words == "kernel a could not be culled: it refuses to stop"
    assert world.kernels.stopped == ["b", "a"]
    assert world.culler.troubles.last_text() is None


@scenario
async def test_what_its_manager_keeps_is_no_failure_and_is_not_asked_for_at_every_turn():
    """Once a minute at most; it goes when the manager lets it."""
    world = World()
    world.kernels.put("a")
    world.kernels.kept_by_manager.add("a")
    world.start()

    await world.clock.run_for(TIMEOUT + 300)
    kept = list(world.culler.outcomes)
    words = world.culler.troubles.last_text()
    world.kernels.kept_by_manager.clear()
    await world.clock.run_for(61)

    assert {(outcome.result, outcome.message) for outcome in kept} == {(Result.CHANGED, "its manager keeps it")}
    assert 4 <= len(kept) <= 6
    assert words is None
    assert world.kernels.stopped == ["a"]


@scenario
async def test_a_failed_shutdown_stays_told_when_settings_change_and_is_over_when_the_kernel_works_again():
    """What went wrong is wrong until it is done, or not wanted any more."""
    world = World()
    world.kernels.put("a")
    world.kernels.failing.add("a")
    world.start()
    await world.clock.run_for(TIMEOUT + 1)

    world.culler.change_settings(keep_terminals=True)
    await world.clock.run_for(0.01)
    told = world.culler.troubles.last_text()
    world.touch("a", state="busy")
    await world.clock.run_for(3600)

    assert "could not be culled" in told
    assert world.culler.troubles.last_text() is None
    assert world.kernels.stopped == []


@scenario
async def test_what_cannot_be_read_any_more_keeps_what_was_known_of_it():
    """The status page still shows name and last activity, with the reason for the doubt."""
    world = World()
    world.kernels.put("a")
    world.start()
    world.culler.watches[Kind.KERNEL].current(world.clock.wall)
    world.kernels.unreadable_ids.add("a")
    world.kernels.put("a", connections=1)

    [(record, decision)] = world.culler.watches[Kind.KERNEL].current(world.clock.wall)

    assert (record.name, record.last_activity, decision.reason.value) == ("python3", NOON, "unknown")
    assert "no such socket" in record.error


def test_backoff_grows_to_an_hour_and_no_further():
    """About 30 s, 1, 2, 4 minutes ... one hour, with up to a quarter of jitter."""
    for attempt, longest in [(1, 30), (2, 60), (3, 120), (8, 3600), (1000, 3600)]:
        assert 0.75 * longest <= backoff(attempt) <= longest


@scenario
async def test_dry_run_decides_and_tells_once_and_stops_nothing():
    """A rehearsal says what it would do, once, and does not spin."""
    world = World(dry_run=True)
    world.kernels.put("a")
    world.start()

    await world.clock.run_for(TIMEOUT + 3600)

    assert world.kernels.stopped == []
    assert [outcome.result for outcome in world.culler.outcomes] == [Result.DRY_RUN]
    assert world.culler.count < 500


@scenario
async def test_a_shorter_timeout_takes_effect_at_once():
    """Set at run time to less than it has been idle: gone now."""
    world = World()
    world.kernels.put("a")
    world.start()
    await world.clock.run_for(300)

    world.culler.change_settings(idle_timeout=120.0)
    await world.clock.run_for(EXACT)

    assert world.kernels.stopped == ["a"]


@scenario
async def test_a_longer_timeout_takes_effect_at_once():
    """Set at run time a second before the deadline: the deadline is the new one."""
    world = World()
    world.kernels.put("a")
    world.start()
    await world.clock.run_for(599)
    world.culler.change_settings(idle_timeout=1200.0)

    await world.clock.run_for(601)
    early = list(world.kernels.stopped)
    await world.clock.run_for(EXACT)

    assert early == []
    assert world.kernels.stopped == ["a"]


@scenario
async def test_a_bad_setting_changes_nothing():
    """Nothing is half-applied: neither policy nor the manager's own settings."""
    world = World().start()

    with pytest.raises(SettingError):
        world.culler.change_settings(idle_timeout=-1.0, keep_terminals=True)

    assert world.culler.policy.idle_timeout == TIMEOUT
    assert world.culler.policy.keep_terminals is False
    assert world.kernels.own_settings == {"idle_timeout": TIMEOUT}
    world.culler.change_settings(idle_timeout=60.0)
    assert world.culler.policy.keep_terminals is False


@scenario
async def test_the_end_of_a_connection_is_a_deadline_when_it_is_told():
    """Idle for long and kept only by its tab: gone when the tab closes."""
    world = World(cull_connected=False)
    world.kernels.put("a", connections=1)
    world.start()
    await world.clock.run_for(3 * TIMEOUT)
    kept = list(world.kernels.stopped)
    world.kernels.put("a", connections=0)

    world.culler.wake_soon(Kind.KERNEL)
    await world.clock.run_for(EXACT)

    assert kept == []
    assert world.kernels.stopped == ["a"]


@scenario
async def test_the_end_of_a_keep_alive_is_a_deadline():
    """Kept until a time: there at that time, gone just after."""
    world = World()
    world.kernels.put("a", kept_until=NOON + timedelta(seconds=1000))
    world.start()

    await world.clock.run_for(1000)
    early = list(world.kernels.stopped)
    await world.clock.run_for(EXACT)

    assert early == []
    assert world.kernels.stopped == ["a"]


@scenario
async def test_a_kernelspecs_own_short_timeout_is_met_though_the_others_are_long():
    """The kernel that comes late with 30 s of its own goes after 30 s."""
    world = World(idle_timeout=7200.0).start()
    await world.clock.run_for(100)
    world.touch("a", idle_timeout=30.0)
    world.culler.wake_soon()

    await world.clock.run_for(30)
    early = list(world.kernels.stopped)
    await world.clock.run_for(EXACT)

    assert early == []
    assert world.kernels.stopped == ["a"]


@scenario
async def test_a_busy_one_that_becomes_idle_unseen_is_due_one_timeout_later():
    """Nobody tells the culler that the cell ended."""
    world = World()
    world.kernels.put("a", state="busy")
    world.start()
    await world.clock.run_for(1000)
    world.touch("a", state="idle")

    await world.clock.run_for(TIMEOUT)
    early = list(world.kernels.stopped)
    await world.clock.run_for(EXACT)

    assert early == []
    assert world.kernels.stopped == ["a"]


@pytest.mark.parametrize("jump", [7200.0, -7200.0, 30 * 86_400.0, -30 * 86_400.0])
def test_a_jump_of_the_clock_culls_nothing_for_five_minutes_and_loses_nothing(jump):
    """Suspend or NTP: at least 300 s are left at once, and what stays idle goes within a timeout or so."""

    async def run():
        world = World()
        world.kernels.put("a")
        world.start()
        await world.clock.run_for(400)
        world.clock.jump(jump)

        await world.clock.run_for(299)
        early = list(world.kernels.stopped)
        await world.clock.run_for(TIMEOUT + 15)

        assert early == []
        assert world.kernels.stopped == ["a"]

    asyncio.run(run())


@scenario
async def test_activity_that_claims_to_be_in_the_future_counts_from_when_it_was_seen():
    """A stamp of next month does not keep a kernel for a month."""
    world = World()
    world.kernels.put("a", last_activity=NOON + timedelta(days=30))
    world.start()

    await world.clock.run_for(TIMEOUT - 1)
    early = list(world.kernels.stopped)
    await world.clock.run_for(1 + EXACT)

    assert early == []
    assert world.kernels.stopped == ["a"]


@scenario
async def test_after_the_event_loop_stood_still_waiting_messages_are_read_first():
    """Blocked over the deadline: the message that waited is read before anything is culled."""
    world = World()
    world.kernels.put("a")
    world.start()
    await world.clock.run_for(595)
    world.clock.stand_still(60)

    await world.clock.run_for(0.5)
    world.touch("a")
    await world.clock.run_for(60)

    assert world.kernels.stopped == []


@scenario
async def test_a_stall_only_holds_for_a_second():
    """What is really idle goes right after."""
    world = World()
    world.kernels.put("a")
    world.start()
    await world.clock.run_for(595)
    world.clock.stand_still(60)

    await world.clock.run_for(1 + EXACT)

    assert world.kernels.stopped == ["a"]


@scenario
async def test_one_whose_quick_look_fails_is_its_own_doubt():
    """It is kept and told, the neighbour goes in time, and no pass fails."""
    world = World()
    world.kernels.put("a")
    world.kernels.put("b")
    world.kernels.strange_ids.add("a")
    world.start()

    await world.clock.run_for(TIMEOUT + 1)
    words, subjects = world.culler.troubles.last_text(), {t.subject for t in world.culler.troubles.recent(NOON)}
    gone = list(world.kernels.stopped)
    world.kernels.strange_ids.clear()
    await world.clock.run_for(60)

    assert (words, subjects) == ("kernel a is kept, for reading it failed: no such attribute", {"kernel a"})
    assert gone == ["b"]
    assert world.kernels.stopped == ["b", "a"]
    assert world.culler.troubles.last_text() is None


@scenario
async def test_nonsense_in_a_kernelspec_is_told_once_and_keeps_nothing_beyond_the_bound(caplog):
    """Under `max_idle_timeout` it counts for nothing; without one it keeps, and that is told as well."""
    bounded, free = World(max_idle_timeout=7200.0), World()
    for world in (bounded, free):
        world.kernels.put("a", odd_timeout="its timeout 'soon' is not a number")
        world.start()
        await world.clock.run_for(TIMEOUT / 2)
        world.touch("a", state="idle")
        await world.clock.run_for(TIMEOUT)
    now = bounded.clock.wall

    assert [each.message for each in bounded.culler.troubles.recent(now)] == [
        "kernel a: its timeout 'soon' is not a number; idle_timeout counts in its place"
    ]
    assert free.culler.troubles.last_text() == "kernel a is kept, for its timeout 'soon' is not a number"
    assert len([line for line in caplog.messages if "'soon'" in line]) == 2

    await bounded.clock.run_for(60)
    await free.clock.run_for(20 * TIMEOUT)

    assert (bounded.kernels.stopped, free.kernels.stopped) == (["a"], [])
    assert bounded.culler.troubles.last_text() is None


@pytest.mark.parametrize("own", [1e-9, 1e-3, 0.5])
@scenario
async def test_a_kernelspecs_timeout_of_next_to_nothing_is_a_second_and_makes_nobody_spin(own):
    """One that is in use all the time is looked at a few times a second, and goes a second after its last use."""
    world = World()
    world.kernels.put("a", idle_timeout=own)
    world.start()
    for _ in range(100):
        await world.clock.run_for(0.3)
        world.touch("a")
    looks, kept = world.kernels.looks, list(world.kernels.stopped)

    await world.clock.run_for(1.0)
    at_its_deadline = list(world.kernels.stopped)
    await world.clock.run_for(EXACT)

    assert (kept, at_its_deadline, world.kernels.stopped) == ([], [], ["a"])
    assert looks < 5 * 30


@scenario
async def test_an_unreadable_one_is_kept_and_told_and_does_not_keep_the_others():
    """Doubt keeps; the neighbour goes; when it can be read again it is judged again."""
    world = World()
    world.kernels.put("a", state="busy")
    world.kernels.put("b")
    world.kernels.unreadable_ids.add("a")
    world.start()

    await world.clock.run_for(TIMEOUT + 1)
    words = world.culler.troubles.last_text()
    world.kernels.unreadable_ids.clear()
    world.kernels.put("a", state="idle")
    await world.clock.run_for(60)

    assert words == "kernel a is kept, for reading it failed: no such socket"
    assert world.kernels.stopped == ["b", "a"]
    assert world.culler.troubles.last_text() is None


@scenario
async def test_a_source_that_cannot_be_refreshed_culls_nothing_until_it_can():
    """The gateway is away over the deadline: nothing is culled on old facts, and it is told once."""
    world = World()
    world.kernels.put("a")
    world.kernels.refresh_error = OSError("connection refused")
    world.start()

    await world.clock.run_for(3600)
    kept = list(world.kernels.stopped)
    tries = world.kernels.refreshes
    words = world.culler.troubles.last_text()
    told = world.culler.troubles.recent(world.clock.wall)
    world.kernels.refresh_error = None
    await world.clock.run_for(3600)

    assert kept == []
    assert words == "connection refused; nothing is culled on old facts"
    assert len(told) == 1
    assert tries < 15
    assert world.kernels.stopped == ["a"]
    assert world.culler.troubles.last_text() is None


@scenario
async def test_an_error_inside_a_pass_does_not_end_the_loop():
    """A bug in a source costs a minute, not the culler."""
    world = World()
    world.kernels.put("a")
    broken = world.kernels.glance
    world.kernels.glance = lambda policy: 1 / 0
    world.start()

    await world.clock.run_for(TIMEOUT)
    words = world.culler.troubles.last_text()
    world.kernels.glance = broken
    await world.clock.run_for(61)

    assert "division by zero" in words
    assert world.kernels.stopped == ["a"]
    assert world.culler.troubles.last_text() is None


@scenario
async def test_pause_waits_for_what_has_begun_and_drops_what_was_only_decided():
    """A server that stops does not leave a shutdown half done, nor begin another."""
    world = World()
    world.kernels.put("a")
    world.kernels.hanging["a"] = asyncio.Event()
    world.start()
    await world.clock.run_for(1)
    world.kernels.put("b", last_activity=world.clock.wall)
    await world.clock.run_for(TIMEOUT + GRACE_SECONDS / 2)

    pausing = asyncio.ensure_future(world.culler.pause())
    await world.clock.run_for(5)
    waited = not pausing.done()
    world.kernels.hanging["a"].set()
    await world.clock.run_for(5)

    assert waited
    assert pausing.done()
    assert world.kernels.stopped == ["a"]
    assert not world.culler.running


@scenario
async def test_after_a_pause_it_goes_on_as_before():
    """'Shut down all kernels' from an extension is not the end of culling."""
    world = World()
    world.start()
    await world.clock.run_for(100)
    count = world.culler.count

    await world.culler.pause()
    world.culler.resume()
    world.touch("a")
    await world.clock.run_for(TIMEOUT + EXACT)

    assert world.culler.count > count
    assert world.kernels.stopped == ["a"]


@scenario
async def test_a_public_pass_gives_its_outcomes():
    """`cull_kernels` of upstream is a whole pass that ends when the shutdowns have ended."""
    world = World()
    world.kernels.put("a", last_activity=NOON - timedelta(hours=1))
    world.kernels.put("b")

    passing = asyncio.ensure_future(world.culler.run_pass())
    await world.clock.run_for(1)

    assert [(outcome.identity, outcome.result) for outcome in passing.result()] == [("a", Result.CULLED)]
    assert world.kernels.stopped == ["a"]


names = st.sampled_from(["a", "b", "c"])
steps = st.tuples(
    st.sampled_from(
        ["start", "work", "rest", "say", "connect", "leave", "die", "end", "keep", "timeout", "jump", "stall"]
    ),
    names,
    st.floats(0.01, 900).map(lambda value: round(value, 2)),
)


class History:
    """Plays a generated history and checks each shutdown against the rules, by a model of its own."""

    def __init__(self) -> None:
        self.world = World(cull_connected=False)
        self.kernels = self.world.kernels
        self.timeout = TIMEOUT
        self.calm_since = self.changed_at = self.world.clock.mono
        self.stop = self.kernels.stop
        self.kernels.stop = self.check_and_stop  # type: ignore[method-assign]

    async def check_and_stop(self, record) -> None:
        kernel = self.kernels.records[record.identity]
        now = self.world.clock.wall
        if kernel.alive:
            assert kernel.state != "busy", "a busy kernel was culled"
            assert kernel.connections == 0, "a connected kernel was culled"
            assert now > kernel.last_activity + timedelta(seconds=self.timeout), "culled before its deadline"
            assert kernel.kept_until is None or now > kernel.kept_until, "culled while kept alive"
        await self.stop(record)

    async def play(self, step) -> None:
        action, name, seconds = step
        world, known = self.world, name in self.kernels.records
        self.changed_at = world.clock.mono
        if action == "start" and not known:
            world.touch(name, state="starting")
            world.culler.wake_soon()
        elif action == "timeout":
            self.timeout = seconds
            world.culler.change_settings(idle_timeout=seconds)
        elif action == "jump":
            world.clock.jump(seconds)
            self.calm_since = world.clock.mono
        elif action == "stall":
            world.clock.stand_still(seconds)
            self.calm_since = world.clock.mono
        elif known:
            self.change(action, name, seconds)
        await world.clock.run_for(seconds)

    def change(self, action, name, seconds) -> None:
        world = self.world
        if action == "work":
            world.touch(name, state="busy")
        elif action == "rest":
            world.touch(name, state="idle")
        elif action == "say":
            world.touch(name)
        elif action == "connect":
            self.kernels.put(name, connections=1)
        elif action == "leave":
            self.kernels.put(name, connections=0)
            world.culler.wake_soon(Kind.KERNEL)
        elif action == "keep":
            self.kernels.put(name, kept_until=world.clock.wall + timedelta(seconds=seconds))
            world.culler.wake_soon(Kind.KERNEL)
        elif action == "die":
            self.kernels.put(name, alive=False)
            world.culler.wake_soon(Kind.KERNEL)
        elif action == "end":
            del self.kernels.records[name]

    def check_nothing_due_is_left(self) -> None:
        """What has been due for longer than the grace, in calm times, is gone."""
        clock = self.world.clock
        if clock.mono - self.calm_since < 300 + 10 + EXACT:  # a jump is seen at the next wake-up
            return
        for kernel in self.kernels.records.values():
            free = kernel.state != "busy" and kernel.connections == 0 and clock.wall >= kernel.last_activity
            deadline = max(kernel.last_activity + timedelta(seconds=self.timeout), kernel.kept_until or NOON)
            late = min((clock.wall - deadline).total_seconds(), clock.mono - self.changed_at)
            assert not (free and late > EXACT + 0.01 and kernel.alive), f"{kernel.identity} is left, {late} s late"


@settings(max_examples=150, deadline=None)
@given(st.lists(steps, max_size=60))
def test_in_every_history_nothing_is_culled_early_or_busy_and_nothing_due_is_left(history):
    """Generated histories against a model: never early, never busy, never late."""

    async def run():
        world = History()
        world.world.start()
        for step in history:
            await world.play(step)
            world.check_nothing_due_is_left()

    asyncio.run(run())


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_history_of_five_thousand_events_holds_too(seed):
    """The same rules over weeks of simulated time."""
    dice = random.Random(seed)
    actions = ["start", "start", "work", "rest", "say", "connect", "leave", "die", "end", "keep", "timeout"]

    async def run():
        world = History()
        world.world.start()
        for _ in range(5000):
            step = (dice.choice(actions), dice.choice("abcdefgh"), round(dice.expovariate(1 / 60) + 0.01, 2))
            await world.play(step)
            world.check_nothing_due_is_left()
        return world

    world = asyncio.run(run())
    assert len(world.kernels.stopped) > 100


@scenario
async def test_attaching_a_source_with_bad_settings_attaches_nothing():
    """Nothing half-done: the culler is as it was."""
    culler = IdleCuller(logging.getLogger("test"), FakeClock())

    with pytest.raises(SettingError):
        culler.attach(FakeKernels(own_settings={"idle_timeout": -1.0}))

    assert culler.watches == {}
    assert replace(culler.policy) == culler.policy


@scenario
async def test_the_log_names_what_is_culled_and_why(caplog):
    """One WARNING before it happens: state, name, id, connections, reason, seconds."""
    world = World()
    world.kernels.put("abc")
    world.start()

    with caplog.at_level(logging.INFO, "test"):
        await world.clock.run_for(TIMEOUT + 1)

    assert "Culling 'idle' kernel 'python3' (abc) with 0 connections: idle, 600 seconds of inactivity." in caplog.text


@scenario
async def test_a_shutdown_that_takes_too_long_is_reported_and_waited_for():
    """Cancelling it would leave a kernel that can never be shut down; and nobody is promised that it is kept."""
    world = World()
    world.culler.situation.stop_seconds = 0.05
    world.kernels.put("a")
    world.kernels.hanging["a"] = asyncio.Event()
    world.start()
    await world.clock.run_for(TIMEOUT + 1)
    await asyncio.sleep(0.1)
    await world.clock.run_for(3600)
    told, outcomes = world.culler.troubles.last_text(), list(world.culler.outcomes)
    with pytest.raises(StopError, match="being shut down"):
        world.culler.keep_alive(Kind.KERNEL, "a", world.clock.wall + timedelta(hours=4), "somebody")

    world.kernels.hanging["a"].set()
    await world.clock.run_for(1)

    assert "kernel a has not stopped within 0 s: it is waited for" in told
    assert outcomes == []
    assert world.kernels.stopped == ["a"]
    assert [outcome.result for outcome in world.culler.outcomes] == [Result.CULLED]
    assert world.culler.troubles.last_text() is None


@scenario
async def test_one_that_can_be_cancelled_is_asked_for_again():
    """A call that hangs once must not keep an instance for ever."""
    world = World()
    world.culler.situation.stop_seconds = 0.05
    world.kernels.stop_can_be_cancelled = True
    world.kernels.put("a")
    world.kernels.hanging["a"] = asyncio.Event()
    world.start()
    await world.clock.run_for(TIMEOUT + 1)
    await asyncio.sleep(0.1)
    await world.clock.run_for(1)
    failed = [outcome.message for outcome in world.culler.outcomes]
    world.kernels.hanging.clear()

    await world.clock.run_for(60)

    assert failed == ["it did not stop within 0 s"]
    assert world.kernels.stopped == ["a"]


@scenario
async def test_who_stops_waiting_for_a_pass_cancels_no_shutdown():
    """`cull_kernels` is public, and its caller may have a limit."""
    world = World()
    world.kernels.put("a", last_activity=NOON - timedelta(days=1))
    world.kernels.hanging["a"] = asyncio.Event()
    passing = asyncio.ensure_future(world.culler.run_pass())
    await world.clock.run_for(1)

    passing.cancel()
    await world.clock.run_for(1)
    world.kernels.hanging["a"].set()
    await world.clock.run_for(1)

    assert passing.cancelled()
    assert world.kernels.stopped == ["a"]


@scenario
async def test_a_clock_that_is_set_back_does_not_put_off_another_try_to_read(caplog):
    """A machine that boots with a wrong clock and no network."""
    world = World()
    world.kernels.put("a")
    world.kernels.stale = 60.0
    world.kernels.refresh_error = OSError("no network yet")
    world.start()
    await world.clock.run_for(100)
    world.kernels.refresh_error = None

    world.clock.jump(-86_400)
    await world.clock.run_for(600)

    assert world.culler.troubles.last_text() is None
