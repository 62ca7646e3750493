"""Work that takes its time: off the event loop, never twice at once, and within bounds when it is somebody else's."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, NamedTuple, TypeVar

#: The name of our threads, for whoever looks at a server's.
THREAD_NAME = "culling_manager"

Answer = TypeVar("Answer")
Work = Callable[[], Coroutine[Any, Any, Answer]]


class TooSlow(Exception):
    """It did not answer in time, or has been at work for longer than that since it was asked before."""


class _Flight(NamedTuple):
    """One run, and when it began (seconds of its loop)."""

    task: asyncio.Task[Any]
    began: float


class SingleFlight:
    """Of each thing one run at a time: who asks while it runs gets the answer, or the failure, of that run.

    Nobody who stops waiting stops it for the others, unless it `ends_with_starter`: then it is cancelled with whoever
    began it, and the others begin anew. Nothing is remembered of a run that has ended.
    """

    def __init__(self, *, ends_with_starter: bool = False) -> None:
        self._ends_with_starter = ends_with_starter
        self._flights: dict[Hashable, _Flight] = {}

    async def run(
        self, key: Hashable, work: Work[Answer], *, seconds: float = math.inf, fresh: float = math.inf
    ) -> Answer:
        """Give what `work` gives, or raise what it raises; what would end the server is a RuntimeError.

        A run that began more than `fresh` seconds before it was asked for here is waited for, and then done anew: its
        answer may be older than that.

        Raises
        ------
        TooSlow
            When `seconds` are over since the run of this `key` began. It is left to end by itself, and until it has
            ended nothing more is begun.
        """
        asked = asyncio.get_running_loop().time()
        while True:
            flight, ours = self._join(key, work)
            answered = await self._wait(flight, ours, seconds)
            if answered and flight.began >= asked - fresh:
                answer: Answer = _answer_of(flight.task)
                return answer

    def _join(self, key: Hashable, work: Work[Any]) -> tuple[_Flight, bool]:
        """The run of `key` that is under way, or a new one; and whether it is new."""
        loop = asyncio.get_running_loop()
        known = self._flights.get(key)
        if known is not None and not known.task.done() and known.task.get_loop() is loop:
            return known, False
        flight = self._flights[key] = _Flight(loop.create_task(_contained(work)), loop.time())
        flight.task.add_done_callback(lambda _: self._ended(key, flight))
        return flight, True

    async def _wait(self, flight: _Flight, ours: bool, seconds: float) -> bool:
        """Wait for a run. False when it was cancelled by who had begun it, so that it has to be begun again."""
        left = max(0.0, flight.began + seconds - asyncio.get_running_loop().time())
        try:
            await asyncio.wait({flight.task}, timeout=None if math.isinf(left) else left)
        except asyncio.CancelledError:
            if ours and self._ends_with_starter:
                flight.task.cancel()
            raise
        if not flight.task.done():
            raise TooSlow
        if flight.task.cancelled() and ours:
            raise RuntimeError("it was cancelled")
        return not flight.task.cancelled()

    def _ended(self, key: Hashable, flight: _Flight) -> None:
        if not flight.task.cancelled():
            flight.task.exception()  # heard, also when nobody waits for it any more
        if self._flights.get(key) is flight:
            del self._flights[key]

    def stop(self) -> None:
        """Cancel what has not ended."""
        for flight in list(self._flights.values()):
            flight.task.cancel()


class Limits(SingleFlight):
    """Somebody else's code, kept within bounds: it may fail, hang, or want to end the server, and none of it spreads.

    One that hangs does not end by being asked again, so of each thing there is one run at a time.
    """

    def __init__(self) -> None:
        super().__init__(ends_with_starter=True)

    async def within(self, key: Hashable, seconds: float, work: Work[Any]) -> Any:
        """Give what `work` gives, or raise what it raises, within `seconds` since the run of this `key` began."""
        return await self.run(key, work, seconds=seconds)


def _answer_of(task: asyncio.Task[Answer]) -> Answer:
    """What it gave, or raise what it raised. A `GeneratorExit` would be taken for the end of whoever waits."""
    error = task.exception()
    if isinstance(error, GeneratorExit):
        raise RuntimeError(f"{type(error).__name__}: {error}") from error
    return task.result()


async def _contained(work: Work[Any]) -> Any:
    try:
        return await work()
    except (SystemExit, KeyboardInterrupt) as error:
        raise RuntimeError(f"{type(error).__name__}: {error}") from error


async def in_thread(work: Callable[[], Answer]) -> Answer:
    """Give what `work` gives, or raise what it raises, having run it in a thread of its own.

    The thread is a daemon: a call that hangs does not keep the server from exiting.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Answer] = loop.create_future()

    def settle(answer: Answer | None, error: BaseException | None) -> None:
        if future.done():
            return  # nobody waits any more
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(answer)  # type: ignore[arg-type]

    def run() -> None:
        answer: Answer | None = None
        error: BaseException | None = None
        try:
            answer = work()
        except (StopIteration, SystemExit, KeyboardInterrupt, GeneratorExit) as raised:
            error = RuntimeError(f"{type(raised).__name__}: {raised}")  # it would end the event loop, or not be heard
        except BaseException as raised:  # it belongs to whoever waits, of whatever kind
            error = raised
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, answer, error)

    threading.Thread(target=run, name=THREAD_NAME, daemon=True).start()
    return await future
