"""All signals at once: one finding, whatever each of them does."""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import time
from datetime import datetime, timedelta

import pytest
from traitlets import TraitError
from traitlets.config import Config

from culling_manager.records import AppRecord, Kind, TerminalRecord
from culling_manager.signals import Finding, Signal, Signals, Subject
from culling_manager.signals import runner as runner_module
from culling_manager.signals.base import Shared
from tests.conftest import scenario
from tests.doubles import NOON


def subject(kind: Kind = Kind.TERMINAL, *, pids=(), here=False, identity="1", since=NOON) -> Subject:
    record = TerminalRecord(identity=identity, last_activity=since)
    if kind is Kind.APP:
        record = AppRecord(identity=identity, name=identity, state="InService")
    return Subject(
        kind=kind, identity=identity, record=record, pids=pids, here=here, server_pid=os.getpid(), since=since
    )


class Says(Signal):
    """Answers what a test gives it."""

    answer: object = None
    used_at: object = None
    server: object = None

    async def check(self, subject: Subject) -> str | None:
        if isinstance(self.answer, BaseException):
            raise self.answer
        return await self.answer() if callable(self.answer) else self.answer

    def last_use(self, subject: Subject) -> datetime | None:
        return self.used_at

    def start(self, server) -> None:
        self.server = server


def signals(*answers, used_at=(), **settings) -> Signals:
    """A runner with these answers only."""
    runner = Signals(names=[], now=lambda: NOON, **settings)
    made = {}
    for number, answer in enumerate(answers):
        made[f"s{number}"] = each = Says(parent=runner)
        each.answer = answer
        each.used_at = used_at[number] if number < len(used_at) else None
    runner._signals = made
    return runner


@scenario
async def test_nothing_in_use_is_an_empty_finding():
    """None of them has anything to say."""
    assert await signals(None, None).ask(subject()) == Finding()


@scenario
async def test_every_reason_is_told():
    """Two signals, two clauses."""
    finding = await signals("a job runs", None, "a GPU is used").ask(subject())

    assert finding == Finding(words="a job runs; a GPU is used")


@scenario
async def test_a_check_that_fails_counts_as_use_and_is_reported_and_disturbs_no_other():
    """Doubt keeps."""
    finding = await signals(OSError("disk\n gone"), "a job runs").ask(subject())

    assert finding.words == "the signal s0 failed: OSError: disk gone, which counts as use; a job runs"
    assert finding.errors == ("the signal s0 failed: OSError: disk gone",)


@scenario
async def test_a_check_that_hangs_counts_as_use_even_if_it_refuses_to_be_cancelled():
    """The answer comes at the limit, with what the others said."""
    free = asyncio.Event()

    async def stubborn():
        while not free.is_set():
            try:
                await free.wait()
            except asyncio.CancelledError:
                continue

    finding = await signals(stubborn, "a job runs", limit_seconds=0.05).ask(subject())
    free.set()

    assert finding.errors == ("the signal s0 did not answer within 0.05 s",)
    assert finding.words.endswith("; a job runs")


@scenario
async def test_a_check_that_cancels_itself_is_a_check_that_failed():
    """Only whoever asks can be cancelled."""
    finding = await signals(asyncio.CancelledError()).ask(subject())

    assert finding.errors == ("the signal s0 failed: RuntimeError: it was cancelled",)


@scenario
async def test_whoever_asks_can_be_cancelled_and_the_checks_with_it():
    """A server that stops does not wait for a signal."""
    ended = asyncio.Event()

    async def waits():
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    asking = asyncio.ensure_future(signals(waits).ask(subject()))
    await asyncio.sleep(0.01)
    asking.cancel()

    with pytest.raises(asyncio.CancelledError):
        await asking
    await asyncio.wait_for(ended.wait(), 5)


@scenario
async def test_the_latest_use_counts_and_never_one_of_the_future():
    """A signal that knows when use was answers with an instant."""
    hour = timedelta(hours=1)

    past = await signals(None, None, used_at=(NOON - hour, NOON - 2 * hour)).ask(subject())
    future = await signals(None, used_at=(NOON + hour,)).ask(subject())

    assert past == Finding(used_at=NOON - hour)
    assert future == Finding(used_at=NOON)


@scenario
async def test_an_instant_without_a_time_zone_is_a_check_that_failed():
    """Nobody can tell when that was."""
    finding = await signals(None, used_at=(datetime(2026, 1, 1),)).ask(subject())

    assert "has no time zone" in finding.errors[0]


@scenario
async def test_a_signal_that_does_not_apply_is_not_asked():
    """And one that cannot even tell that has failed."""
    runner = signals("never", "never")
    runner._signals["s0"].applies = lambda subject: False
    runner._signals["s1"].applies = lambda subject: 1 / 0

    finding = await runner.ask(subject())

    assert finding.errors == ("the signal s1 failed: ZeroDivisionError: division by zero",)


def test_the_default_is_all_of_ours_and_they_are_registered():
    """What `names` has, what is built in, and the entry points of the installed package are the same."""
    installed = {point.name: point.load() for point in importlib.metadata.entry_points(group=runner_module.GROUP)}

    made = Signals().signals

    assert list(made) == ["processes", "gpu", "stamp_file", "documents", "server_use", "other_kernels", "containers"]
    assert {name: installed[name] for name in made} == {name: type(each) for name, each in made.items()}


class Entry:
    """An installed entry point of somebody else."""

    def __init__(self, name, load):
        self.name, self.load = name, load


def broken():
    raise ImportError("no module named theirs")


@pytest.fixture
def theirs(monkeypatch):
    """Two installed signals of others: one that works, one that is broken."""
    found = [Entry("coffee", lambda: Says), Entry("broken", broken), Entry("notone", lambda: dict)]
    monkeypatch.setattr(runner_module, "entry_points", lambda group: found)


def test_others_bring_their_own_signals(theirs):
    """By name; `*` is everything that is installed."""
    runner = Signals(names=["coffee"])
    runner.start("the server")

    assert runner.signals["coffee"].server == "the server"
    assert set(Signals(names=["*"]).signals) == {*runner_module.BUILT_IN, "coffee"}


@scenario
async def test_a_signal_that_cannot_be_loaded_keeps_and_says_so():
    """An admin chose it for a reason."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner_module, "entry_points", lambda group: [Entry("broken", broken), Entry("no", lambda: dict)])
        finding = await Signals(names=["broken", "no"]).ask(subject())

    assert finding.errors[0] == "the signal broken cannot be loaded: ImportError: no module named theirs"
    assert finding.errors[1].startswith("the signal no ")


@scenario
async def test_a_signal_that_cannot_be_started_keeps_and_says_so():
    """What does not listen cannot say that nothing happened."""
    runner = signals(None, None)
    runner._signals["s0"].start = lambda server: 1 / 0

    runner.start(None)

    finding = await runner.ask(subject())
    assert finding.errors == ("the signal s0 could not be started: ZeroDivisionError: division by zero",)


def test_an_unknown_name_is_refused_with_the_names_there_are(theirs):
    """The message says what can be written instead."""
    known = "broken, coffee, containers, documents, gpu, .*processes"
    with pytest.raises(TraitError, match=rf"Signals\.names = 'prcesses' .* {known}"):
        Signals(names=["prcesses"])


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), True, "10"])
def test_a_limit_that_is_no_limit_is_refused(value):
    """With name, value and range."""
    with pytest.raises(TraitError, match=r"Signals\.limit_seconds"):
        Signals(limit_seconds=value)


def test_settings_of_each_signal_come_from_the_servers_configuration():
    """Its class name is the section; a bad value ends the start."""
    config = Config({"Signals": {"names": ["processes"]}, "ProcessSignal": {"cpu_share": 0.5}})

    assert Signals(config=config).signals["processes"].cpu_share == 0.5
    config.ProcessSignal.cpu_share = -1
    with pytest.raises(TraitError, match="cpu_share"):
        Signals(config=config).start(None)


@scenario
async def test_work_that_many_want_is_done_once():
    """Who comes while it runs shares it; who comes later has it done again; who leaves stops it for nobody."""
    runs = []

    async def work():
        runs.append(1)
        await asyncio.sleep(0.02)
        return len(runs)

    shared = Shared(work)
    leaves = asyncio.ensure_future(shared())
    waits = [asyncio.ensure_future(shared()) for _ in range(100)]
    await asyncio.sleep(0)
    leaves.cancel()

    assert set(await asyncio.gather(*waits)) == {1}
    assert await shared() == 2


@scenario
async def test_work_that_fails_fails_for_all_and_is_tried_again():
    """A failure is not remembered."""
    answers = iter([OSError("once"), None])

    async def work():
        await asyncio.sleep(0)
        answer = next(answers)
        if answer:
            raise answer
        return "fine"

    shared = Shared(work)
    both = await asyncio.gather(shared(), shared(), return_exceptions=True)

    assert [str(error) for error in both] == ["once", "once"]
    assert await shared() == "fine"


@scenario
async def test_signals_are_asked_side_by_side():
    """Ten that wait for each other would never answer one after the other."""
    barrier, waiting = asyncio.Event(), []

    async def meets():
        waiting.append(1)
        if len(waiting) == 10:
            barrier.set()
        await barrier.wait()

    assert await signals(*[meets] * 10).ask(subject()) == Finding()


def test_the_clock_of_the_runner_is_that_of_its_signals():
    """One clock for all."""
    assert Signals(now=lambda: NOON).signals["documents"].now() == NOON
    assert abs(Signals().signals["documents"].now().timestamp() - time.time()) < 60
