"""Somebody else's code, kept within bounds: it may fail, hang, or want to end the server, and none of that spreads."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Hashable
from typing import Any


class TooSlow(Exception):
    """It did not answer in time, or has been at work for longer than that since it was asked before."""


class Limits:
    """Runs what may take too long; of each thing one run at a time, for one that hangs does not end by being asked.

    Who asks while it runs gets the answer of that run.
    """

    def __init__(self) -> None:
        self._running: dict[Hashable, tuple[asyncio.Task[Any], float]] = {}

    async def within(self, key: Hashable, seconds: float, work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Give what `work` gives, or raise what it raises; what would end the server is a RuntimeError.

        Raises
        ------
        TooSlow
            When `seconds` are over since the run of this `key` began.
        """
        task, began = self._running.get(key, (None, 0.0))
        ours = task is None or task.done() or task.get_loop() is not asyncio.get_running_loop()
        if task is None or ours:
            task, began = asyncio.ensure_future(_contained(work)), time.monotonic()
            self._running[key] = task, began
            task.add_done_callback(lambda done: self._ended(key, done))
        try:
            await asyncio.wait({task}, timeout=max(0.0, began + seconds - time.monotonic()))
        except asyncio.CancelledError:
            if ours:
                task.cancel()
            raise
        if not task.done():
            raise TooSlow
        if task.cancelled():
            if not ours:
                return await self.within(key, seconds, work)  # who had begun it has given up
            raise RuntimeError("it was cancelled")
        return task.result()

    def _ended(self, key: Hashable, task: asyncio.Task[Any]) -> None:
        if not task.cancelled():
            task.exception()
        if self._running.get(key, (None, 0.0))[0] is task:
            del self._running[key]

    def stop(self) -> None:
        """Cancel what has not ended."""
        for task, _ in list(self._running.values()):
            task.cancel()


async def _contained(work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    try:
        return await work()
    except (SystemExit, KeyboardInterrupt, GeneratorExit) as error:
        raise RuntimeError(f"{type(error).__name__}: {error}") from error
