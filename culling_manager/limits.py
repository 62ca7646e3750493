"""Somebody else's code, kept within bounds: it may fail, hang, or want to end the server, and none of that spreads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any


class TooSlow(Exception):
    """It did not answer in time, or is still at work since it was asked before."""


class Limits:
    """Runs what may take too long; of each thing one run at a time, for one that hangs does not end by being asked."""

    def __init__(self) -> None:
        self._running: dict[Hashable, asyncio.Task[Any]] = {}

    async def within(self, key: Hashable, seconds: float, work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Give what `work` gives, or raise what it raises; what would end the server is a RuntimeError.

        Raises
        ------
        TooSlow
            After `seconds`, and while the last run of the same `key` has not ended.
        """
        running = self._running.get(key)
        if running is not None and not running.done() and running.get_loop() is asyncio.get_running_loop():
            raise TooSlow
        task = self._running[key] = asyncio.ensure_future(_contained(work))
        task.add_done_callback(lambda done: self._ended(key, done))
        try:
            await asyncio.wait({task}, timeout=seconds)
        except asyncio.CancelledError:
            task.cancel()
            raise
        if not task.done():
            raise TooSlow
        if task.cancelled():
            raise RuntimeError("it was cancelled")
        return task.result()

    def _ended(self, key: Hashable, task: asyncio.Task[Any]) -> None:
        if not task.cancelled():
            task.exception()
        if self._running.get(key) is task:
            del self._running[key]

    def stop(self) -> None:
        """Cancel what has not ended."""
        for task in list(self._running.values()):
            task.cancel()


async def _contained(work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    try:
        return await work()
    except (SystemExit, KeyboardInterrupt, GeneratorExit) as error:
        raise RuntimeError(f"{type(error).__name__}: {error}") from error
