"""A kernel whose 'idle' was lost is asked, seldom, and believed when all of it answers: no busy one pays for that."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone

import pytest

from culling_manager.decisions import decide_kernel
from culling_manager.policy import CullingPolicy
from culling_manager.records import KernelRecord, Kind, Result
from culling_manager.rules.proof import Answers, proof_at
from culling_manager.rules.unanswered import Unanswered
from tests.conftest import until
from tests.test_kernels import Kernels, ago
from tests.test_unanswered import SILENT, a_subshell, in_subshell

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
POLICY = CullingPolicy(idle_timeout=600.0)
BUSY = KernelRecord(identity="k", state="busy", last_activity=NOW)


def later(seconds: float) -> datetime:
    """So long after `NOW`."""
    return NOW + timedelta(seconds=seconds)


CASES = {
    "one timeout after it last said something": ({}, {}, 600),
    "its own timeout": ({"idle_timeout": 60.0}, {}, 60),
    "one timeout after it was asked": ({"checked_at": later(900)}, {}, 1500),
    "it said something since it was asked": ({"checked_at": later(-900)}, {}, 600),
    "a timeout of a second": ({"idle_timeout": 1.0}, {}, 1),
    "one that was only ever asked": ({"last_activity": None, "checked_at": later(30)}, {}, 630),
    "idle": ({"state": "idle"}, {}, None),
    "culling is off": ({}, {"idle_timeout": 0.0}, None),
    "another's kernel": ({"owned": False}, {}, None),
    "dead": ({"alive": False}, {}, None),
    "not to be trusted": ({"error": "no such socket"}, {}, None),
    "nothing known of it": ({"last_activity": None}, {}, None),
}


@pytest.mark.parametrize(("record", "policy", "seconds"), CASES.values(), ids=CASES.keys())
def test_when_a_busy_kernel_is_asked(record, policy, seconds):
    """Seldom: once per timeout at most, and not while it says anything."""
    at = proof_at(BUSY._replace(**record), replace(POLICY, **policy))

    assert at == (None if seconds is None else later(seconds))


def test_only_all_answers_together_are_believed():
    """One that is missing, or a word in between, and it is as busy as before."""
    for main, threads, heard in itertools.product([False, True], repeat=3):
        answers = Answers(main=main, threads=threads, heard=heard)

        assert answers.free is (main and threads and not heard)


def test_who_has_not_answered_has_not_finished():
    """What is not said of an answer is that there was none, and that nothing was heard meanwhile."""
    found = [Answers(), Answers(main=True), Answers(threads=True), Answers(main=True, threads=True)]

    assert [each.free for each in found] == [False, False, False, True]


# -- 10,000 histories --------------------------------------------------------------------------------


@dataclass
class Thread:
    """One thread of a kernel: it takes what it was given one after the other."""

    queue: list[tuple[str, float]] = field(default_factory=list)
    ends: float = 0.0
    current: str | None = None


@dataclass
class History:
    """A kernel with a main thread and a subshell, whose messages to the server are lost as chance wants it.

    `beside` means that it answers questions beside its cells, as some kernels do.
    """

    chance: random.Random
    beside: bool = False
    at: float = 0.0
    known: Unanswered = field(default_factory=Unanswered)
    state: str = "idle"
    last: float = 0.0
    asked: float | None = None
    asked_how_often: int = 0
    culled: bool = False
    threads: tuple[Thread, Thread] = field(default_factory=lambda: (Thread(), Thread()))

    def works(self) -> bool:
        """Whether it really works, or is about to."""
        return any(thread.current is not None or thread.queue for thread in self.threads)

    def say(self, status: str, request: str) -> None:
        """A status message, which may be lost."""
        if self.chance.random() < 0.3:
            return
        self.state, self.last = status, self.at
        (self.known.begin if status == "busy" else self.known.end)(request)

    def move(self) -> None:
        """What has ended by now ends, and the next begins."""
        for thread in self.threads:
            while (thread.current is not None and thread.ends <= self.at) or (thread.current is None and thread.queue):
                if thread.current is not None:
                    self.say("idle", thread.current)
                    thread.current = None
                elif thread.queue:
                    thread.current, seconds = thread.queue.pop(0)
                    thread.ends = self.at + seconds
                    self.say("busy", thread.current)

    def give(self, thread: Thread, noted: bool) -> None:
        """Somebody runs a cell; in one case of many only the kernel itself knows of it."""
        request = f"{self.at}-{self.chance.random()}"
        thread.queue.append((request, self.chance.choice([0.5, 5, 60, 700, 3000])))
        if noted:
            self.known.send(request)
            self.last = self.at

    def answers(self) -> Answers:
        """What asking shows."""
        main, other = (thread.current is None and not thread.queue for thread in self.threads)
        return Answers(main=main or self.beside, threads=main and other)

    def record(self) -> KernelRecord:
        """What the server knows of it."""
        state = "busy" if self.known.begun else self.state
        checked_at = None if self.asked is None else later(self.asked)
        settled = not self.known
        return BUSY._replace(state=state, last_activity=later(self.last), checked_at=checked_at, settled=settled)

    def look(self) -> None:
        """The server looks: asks who is busy and silent, and culls who is idle for too long."""
        record, now = self.record(), later(self.at)
        at = proof_at(record, POLICY)
        if at is not None and now >= at:
            self.asked, self.asked_how_often = self.at, self.asked_how_often + 1
            if self.answers().free:
                self.state, self.last = "idle", self.at
                self.known.forget()
        elif decide_kernel(record, POLICY, now).cull:
            if record.settled or self.answers().free:
                self.culled = True
            else:
                self.last = self.at  # it was asked, and that is use


def test_in_ten_thousand_histories_nobody_who_works_is_culled_and_nobody_stays_for_ever():
    """Whatever was lost: what the server knows to be given is finished first, and in the end everybody goes."""
    asked = 0
    for seed in range(10_000):
        chance = random.Random(seed)
        history = History(chance, beside=chance.random() < 0.3)
        for minute in range(24 * 60):
            history.at = minute * 60.0
            history.move()
            if minute < 60 and chance.random() < 0.1:
                history.give(chance.choice(history.threads), noted=True)
                history.move()
            history.look()
            if history.culled:
                assert not history.works(), f"history {seed}, minute {minute}"
                break
        asked += history.asked_how_often
        assert history.culled, seed
        assert history.asked_how_often <= history.at / POLICY.idle_timeout + 1, seed

    assert asked > 1000  # it is about those that are asked


# -- real kernels ------------------------------------------------------------------------------------


def its_idle_was_lost(kernels: Kernels, kernel_id: str) -> None:
    """What an overflow of IOPub leaves: 'busy', and nothing since, three hours ago."""
    kernel, activity = kernels.manager.get_kernel(kernel_id), kernels.manager._source.activity(kernel_id)
    activity.outstanding.begin("what was done long ago")
    kernel.execution_state = "busy"
    activity.run.follow(True, ago(hours=3))
    activity.noted_at = kernel.last_activity = ago(hours=3)


def test_a_kernel_whose_idle_was_lost_goes_one_timeout_after_it_has_shown_that_it_is_done(run):
    """It is asked by itself, answers at once, and nobody knows since when it is idle: from now on."""

    async def check():
        async with Kernels(idle_timeout=1 / 60) as kernels:
            kernel_id = await kernels.start()
            kernels.manager._culler.stop()
            kernels.manager.idle_timeout = 100
            await kernels.execute(kernel_id, "1")
            its_idle_was_lost(kernels, kernel_id)

            kernels.manager._culler.start()
            kernels.manager.idle_timeout = 2 / 60
            await until(lambda: kernel_id not in kernels.manager and Result.CULLED in kernels.results(), 60)

            return kernels.manager._culler.outcomes[-1]

    outcome = run(check())

    assert outcome.reason == "idle"
    assert outcome.idle_seconds < 60


async def in_the_main_thread(kernels: Kernels, kernel_id: str):
    """A silent cell where cells usually run."""
    return await kernels.send(kernel_id, SILENT)


async def beside_the_main_thread(kernels: Kernels, kernel_id: str):
    """A silent cell in a subshell."""
    return (await in_subshell(kernels, kernel_id, SILENT, await a_subshell(kernels, kernel_id)))[0]


@pytest.mark.parametrize("begin", [in_the_main_thread, beside_the_main_thread])
def test_a_silent_cell_survives_being_asked(run, begin):
    """It is asked once, behind its cell, and is as busy as before."""

    async def check():
        async with Kernels(idle_timeout=100) as kernels:
            kernel_id = await kernels.start()
            await kernels.execute(kernel_id, "1")
            activity = kernels.manager._source.activity(kernel_id)
            stream = await begin(kernels, kernel_id)
            await until(lambda: activity.outstanding.begun, 30)
            its_idle_was_lost(kernels, kernel_id)

            await kernels.manager.cull_kernels()
            await until(lambda: activity.checked_at, 10)
            first = activity.checked_at
            item = kernels.manager._culler.watches[Kind.KERNEL].items[kernel_id]
            await until(lambda: item.proving is None, 30)
            await kernels.manager.cull_kernels()
            stream.close()

            assert kernel_id in kernels.manager
            assert kernels.manager.get_kernel(kernel_id).execution_state == "busy"
            assert activity.checked_at == first
            assert proof_at(item.record, kernels.manager._culler.policy) == first + timedelta(minutes=100)

    run(check())


def test_a_kernel_that_prints_is_not_asked(run):
    """It says itself that it works."""

    async def check():
        async with Kernels(idle_timeout=100) as kernels:
            kernel_id = await kernels.start()
            await kernels.execute(kernel_id, "1")
            activity = kernels.manager._source.activity(kernel_id)
            stream = await kernels.send(
                kernel_id, "import time\nfor i in range(600): print(i, flush=True); time.sleep(.1)"
            )
            await until(lambda: activity.outstanding.begun, 30)

            await kernels.manager.cull_kernels()
            stream.close()

            assert activity.checked_at is None

    run(check())
