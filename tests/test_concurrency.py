"""Work that takes its time: never twice at once, within bounds, off the event loop."""

from __future__ import annotations

import asyncio
import sys
import threading

import pytest
from conftest import scenario, until

from culling_manager.concurrency import THREAD_NAME, Limits, SingleFlight, TooSlow, in_thread


class Runs:
    """Work that counts its runs, and ends when it is let go."""

    def __init__(self) -> None:
        self.begun, self.cancelled, self.released = 0, 0, asyncio.Event()

    async def __call__(self) -> int:
        self.begun += 1
        mine = self.begun
        try:
            await self.released.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return mine


@scenario
async def test_work_that_many_want_is_done_once():
    """Who comes while it runs shares it, who comes later has it done again, and another key is another work."""
    flights, runs = SingleFlight(), Runs()
    waits = [asyncio.ensure_future(flights.run("a", runs)) for _ in range(100)]
    other = asyncio.ensure_future(flights.run("b", runs))
    await asyncio.sleep(0)
    runs.released.set()

    assert set(await asyncio.gather(*waits)) == {1}
    assert await other == 2
    assert await flights.run("a", runs) == 3


@scenario
async def test_who_leaves_stops_it_for_nobody():
    """Not even for who comes after the only one has left."""
    flights, runs = SingleFlight(), Runs()
    leaves = asyncio.ensure_future(flights.run("a", runs))
    await until(lambda: runs.begun)
    leaves.cancel()
    await asyncio.wait({leaves})
    stays = asyncio.ensure_future(flights.run("a", runs))
    await asyncio.sleep(0)
    runs.released.set()

    assert await stays == 1
    assert (leaves.cancelled(), runs.cancelled) == (True, 0)


@scenario
async def test_a_run_that_ends_with_its_starter_is_begun_anew_by_who_waits():
    """Its answer is no error for the other."""
    flights, runs = SingleFlight(ends_with_starter=True), Runs()
    first, second = (asyncio.ensure_future(flights.run("a", runs)) for _ in range(2))
    await until(lambda: runs.begun)
    first.cancel()
    await asyncio.wait({first})
    runs.released.set()

    assert await second == 2
    assert runs.cancelled == 1


@scenario
async def test_a_run_that_is_too_old_is_waited_for_and_done_again():
    """Two runs at once there are never; who asks for the first time shares the second."""
    flights, runs = SingleFlight(), Runs()
    early = asyncio.ensure_future(flights.run("a", runs, fresh=0.05))
    await asyncio.sleep(0.1)
    late = [asyncio.ensure_future(flights.run("a", runs, fresh=0.05)) for _ in range(3)]
    await asyncio.sleep(0)
    begun_meanwhile = runs.begun
    runs.released.set()

    assert (await early, begun_meanwhile) == (1, 1)
    assert set(await asyncio.gather(*late)) == {2}


@scenario
async def test_one_that_hangs_is_not_begun_again_until_it_has_ended():
    """The time counts from its beginning, so that who comes later does not wait at all."""
    flights, runs = SingleFlight(), Runs()
    for _ in range(3):
        with pytest.raises(TooSlow):
            await flights.run("a", runs, seconds=0.05)
    begun_while_it_hangs = runs.begun
    runs.released.set()
    await asyncio.sleep(0)

    assert begun_while_it_hangs == 1
    assert await flights.run("a", runs, seconds=5) == 2


@scenario
async def test_a_failure_is_everybodys_and_is_not_remembered():
    """It is tried again by the next."""
    answers = iter([OSError("once"), "fine"])

    async def work():
        await asyncio.sleep(0)
        answer = next(answers)
        if isinstance(answer, OSError):
            raise answer
        return answer

    flights = SingleFlight()
    both = await asyncio.gather(*(flights.run("a", work) for _ in range(2)), return_exceptions=True)

    assert [str(error) for error in both] == ["once", "once"]
    assert await flights.run("a", work) == "fine"


@pytest.mark.parametrize("flights", [pytest.param(SingleFlight, id="shared"), pytest.param(Limits, id="within limits")])
@scenario
async def test_work_that_wants_to_end_the_server_has_failed(flights):
    """Somebody else's `sys.exit` is that work's failure."""

    async def leaves():
        sys.exit(3)

    with pytest.raises(RuntimeError, match="SystemExit: 3"):
        await flights().run("a", leaves)


@scenario
async def test_work_that_ends_like_a_generator_has_failed():
    """Who waits for it goes on."""

    async def leaves():
        raise GeneratorExit("odd")

    with pytest.raises(RuntimeError, match="GeneratorExit: odd"):
        await SingleFlight().run("a", leaves)


@pytest.mark.filterwarnings("error")
def test_work_that_a_server_leaves_behind_at_its_end_is_no_noise():
    """A run whose loop is gone is dropped without a word."""

    async def begin():
        flights, runs = SingleFlight(), Runs()
        with pytest.raises(TooSlow):
            await flights.run("a", runs, seconds=0.01)

    loop = asyncio.new_event_loop()
    loop.run_until_complete(begin())
    (task,) = asyncio.all_tasks(loop)
    coroutine = task.get_coro()
    task._log_destroy_pending = False
    coroutine.close()
    loop.close()

    assert coroutine.cr_frame is None


@scenario
async def test_what_has_not_ended_can_be_stopped():
    """Who waits for it is told that it was cancelled."""
    flights, runs = SingleFlight(), Runs()
    waits = asyncio.ensure_future(flights.run("a", runs))
    await until(lambda: runs.begun)
    flights.stop()

    with pytest.raises(RuntimeError, match="it was cancelled"):
        await waits
    assert runs.cancelled == 1


def test_a_run_of_a_loop_that_has_ended_is_none():
    """A program that runs one loop after the other is answered in each."""
    flights, runs = SingleFlight(), []

    async def hangs_once():
        runs.append(1)
        await asyncio.sleep(3600 if len(runs) == 1 else 0)
        return len(runs)

    async def gives_up():
        with pytest.raises(TooSlow):
            await flights.run("a", hangs_once, seconds=0.01)

    asyncio.run(gives_up())

    assert asyncio.run(flights.run("a", hangs_once, seconds=5)) == 2


@scenario
async def test_a_call_that_blocks_runs_in_a_thread_that_keeps_nobody_from_leaving():
    """A daemon with our name; what it raises is its caller's."""

    def look():
        return threading.current_thread().name, threading.current_thread().daemon

    def fails():
        raise KeyError("gone")

    assert await in_thread(look) == (THREAD_NAME, True)
    with pytest.raises(KeyError, match="gone"):
        await in_thread(fails)
