"""The accounts of apps: lines in the log and in the ledger, and why time was spent, under a clock that tests move."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from culling_manager.apps import NoApps
from culling_manager.apps.nowhere import Nowhere
from culling_manager.apps.run import container_run, process_run
from culling_manager.errors import CallError, GoneError
from culling_manager.fleet.judge import read_heartbeat
from culling_manager.money.ledger import Ledger
from culling_manager.money.lines import read_app, read_beat
from culling_manager.money.times import Times
from culling_manager.records import TerminalRecord
from tests.conftest import scenario
from tests.doubles import NOON, FakeApps
from tests.test_appsource import EXACT, TIMEOUT, World


class Books(World):
    """A world whose log is read, with a ledger."""

    def __init__(self, caplog, tmp_path, **own_settings) -> None:
        caplog.set_level(logging.INFO)
        self.caplog = caplog
        super().__init__(apps=FakeApps(), **own_settings)
        self.source.accounts.savings = Ledger(tmp_path)
        self.culler.listeners.append(self.source.accounts.rehearsed)
        self.culler.beats.append(self.source.accounts.beat)

    @property
    def lines(self) -> list:
        """What the log says of apps."""
        return [found for each in self.caplog.messages if (found := read_app(each))]

    @property
    def beats(self) -> list:
        """What the heartbeats say of time."""
        return [found for each in self.caplog.messages if (found := read_beat(each))]


@pytest.fixture
def books(caplog, tmp_path):
    """Made within the loop that runs it."""
    return lambda **own_settings: Books(caplog, tmp_path, **own_settings)


@scenario
async def test_a_life_of_an_app_is_told_from_start_to_end(books):
    """Started, deleting, accepted: with one run, its reason and for how long it was idle."""
    world = books()
    world.apps.put("a", instance_type="ml.g5.xlarge")
    world.start()

    await world.clock.run_for(TIMEOUT + EXACT)

    assert [each.event for each in world.lines] == ["started", "deleting", "accepted"]
    assert len({each.run for each in world.lines}) == 1
    last = world.lines[-1]
    assert (last.reason, last.instance_type, last.idle_time, last.dry_run) == ("idle", "ml.g5.xlarge", TIMEOUT, False)
    assert TIMEOUT <= last.idle_seconds <= TIMEOUT + 1
    assert world.source.accounts.savings.lines() == world.lines


@scenario
async def test_the_ledger_is_written_before_the_deletion_is_asked_for(books):
    """Whatever becomes of this server then, it is known."""
    world = books()
    world.apps.put("a")
    seen = []

    async def delete(app):
        seen.extend(each.event for each in world.source.accounts.savings.lines())

    world.apps.delete_app = delete
    world.start()
    await world.clock.run_for(TIMEOUT + EXACT)

    assert seen == ["started", "deleting"]


@pytest.mark.parametrize("error", [CallError("no"), GoneError("gone")])
def test_a_deletion_that_was_not_ours_is_refused(books, error):
    """Refused by its service, or done by somebody else: no stop of ours."""

    @scenario
    async def run():
        world = books()
        world.apps.put("a")

        async def delete(app):
            raise error

        world.apps.delete_app = delete
        world.start()
        await world.clock.run_for(TIMEOUT + EXACT)

        assert [each.event for each in world.lines][:3] == ["started", "deleting", "refused"]
        assert world.source.accounts.savings.lines() == world.lines

    run()


@scenario
async def test_a_dry_run_is_told_as_one_and_not_in_the_ledger(books):
    """It gives nothing back."""
    world = books(dry_run=True)
    world.apps.put("a")
    world.start()

    await world.clock.run_for(TIMEOUT + EXACT)

    assert [(each.event, each.dry_run) for each in world.lines] == [("started", False), ("deleting", True)]
    assert [each.event for each in world.source.accounts.savings.lines()] == ["started"]


@scenario
async def test_a_ledger_that_cannot_be_written_stops_nothing(books, tmp_path):
    """The app is deleted all the same, and it is said what is missing."""
    (tmp_path / "file").write_text("")
    world = books()
    world.source.accounts.savings = Ledger(tmp_path / "file")
    world.apps.put("a")
    world.start()

    await world.clock.run_for(TIMEOUT + EXACT)

    assert world.apps.deleted == ["a"]
    assert "could not be written" in str(world.culler.troubles.last_text())


@scenario
async def test_the_heartbeat_tells_why_an_hour_was_spent(books):
    """Busy, then waiting for its timeout; the parts add up to the span."""
    world = books(idle_timeout=7200.0)
    world.apps.put("a")
    world.kernel("k", state="busy", busy_since=NOON)
    world.start()

    await world.clock.run_for(1800)
    world.kernel("k", state="idle")
    await world.clock.run_for(1815)

    first, second = world.beats[:2]
    assert (first.span, first.run) == (0.0, second.run)
    assert second.span == pytest.approx(3600, abs=30)
    assert sum(second.seconds.values()) == pytest.approx(second.span, abs=0.2)
    assert second.seconds["busy"] == pytest.approx(1800, abs=61)
    assert second.seconds["active"] == pytest.approx(1800, abs=61)
    assert (second.last_use - NOON).total_seconds() == pytest.approx(1800, abs=61)


@scenario
async def test_the_heartbeat_tells_idle_gaps_that_ended(books):
    """Never longer than they were."""
    world = books(idle_timeout=7200.0)
    world.apps.put("a")
    world.kernel("k")
    world.start()

    await world.clock.run_for(1200)
    world.kernel("k")
    await world.clock.run_for(2500)

    (gap,) = [gap for each in world.beats for gap in each.gaps]
    assert 1200 - 75 <= gap <= 1200


@scenario
async def test_no_heartbeat_looks_like_life_while_the_app_is_going(books):
    """A line of a run that comes after its end would make its stop none."""
    world = books(idle_timeout=3590.0)
    world.apps.lists = False
    world.apps.put("a")
    world.start()

    await world.clock.run_for(3590 + EXACT)
    before = len(world.beats)
    await world.clock.run_for(600)

    assert world.apps.deleted == ["a"]
    assert len(world.beats) == before


@scenario
async def test_a_fleet_check_reads_the_longer_heartbeat_as_before(books):
    """What was added is in nobody's way."""
    world = books()
    world.apps.put("a")
    world.start()

    await world.clock.run_for(20)

    (line,) = [each for each in world.caplog.messages if "heartbeat:" in each]
    assert read_heartbeat(line, NOON).idle_seconds == TIMEOUT
    assert len(line) < 4096


def test_servers_of_one_container_are_of_one_run():
    """What runs under the same first process is the same run; a process is another."""
    first = container_run()
    container_run.cache_clear()

    assert container_run() == first
    assert process_run() not in (first, "")


def test_where_nothing_is_billed_all_time_is_free_and_told_once():
    """From one heartbeat to the next, in the run of this container; nothing goes, and a terminal keeps for nobody."""
    mono = [100.0]
    nowhere = Nowhere(NoApps("no file of SageMaker's"), lambda: mono[0])
    terminal = TerminalRecord(identity="1", last_activity=NOON)

    mono[0] = 160.0
    first, again = nowhere.times(), nowhere.times()
    mono[0] = 190.5
    second = nowhere.times()

    assert first == {
        "run": container_run(), "span": 60.0, "seconds": {"not billed": 60.0}, "gaps": [], "last_use": None
    }  # fmt: skip
    assert (again["span"], again["seconds"]) == (0.0, {})
    assert second["seconds"] == {"not billed": 30.5}
    assert nowhere.going(None) is None
    assert nowhere.place(terminal) == NoApps().place(terminal)
    assert nowhere.describe() == {"class": "NoApps", "detail": "no file of SageMaker's"}


looks = st.lists(
    st.tuples(st.floats(0, 4000), st.sampled_from(["busy", "active", "kept alive", "connected"]), st.floats(0, 9000)),
    max_size=30,
)


@given(looks)
def test_seconds_add_up_to_the_span(found):
    """Whatever is seen: no time is lost, none is told twice, and no gap is longer than the time there was."""
    from datetime import timedelta

    times, passed = Times(0.0), 0.0
    for step, reason, idle in found:
        passed += step
        now = NOON + timedelta(seconds=passed)
        times.look(now, passed, reason, now - timedelta(seconds=idle))
    told = times.take()

    assert told["span"] == pytest.approx(passed, abs=0.05 * 4 + 0.1)
    assert sum(told["seconds"].values()) == pytest.approx(told["span"], abs=0.06)
    assert all(each >= 300 for each in told["gaps"])
    assert times.take()["span"] == 0
