"""Time: the only place that reads a clock, and the guard that notices when the clock lies."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Protocol

#: Wall time and monotonic time may part by this much (seconds) between two readings before it counts as a jump.
TOLERANCE_SECONDS = 1.0

NEVER = datetime.max.replace(tzinfo=timezone.utc)
AT_ONCE = datetime.min.replace(tzinfo=timezone.utc)


def utcnow() -> datetime:
    """Aware UTC wall time of this machine."""
    return datetime.now(timezone.utc)


def epoch() -> float:
    """Wall time of this machine as seconds since 1970, as files and processes have it."""
    return time.time()


def monotonic() -> float:
    """Seconds that never go back (on Linux they stand still while the machine is suspended)."""
    return time.monotonic()


class Timer(Protocol):
    """A call that is to come."""

    def cancel(self) -> None:
        """It is not to come after all."""


class Clock(Protocol):
    """What the culler needs of time; tests pass their own."""

    def now(self) -> datetime:
        """Aware UTC wall time."""

    def monotonic(self) -> float:
        """Seconds that never go back."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """Call `callback` in the running event loop after `seconds`."""


class SystemClock:
    """The machine's clock."""

    now = staticmethod(utcnow)
    monotonic = staticmethod(monotonic)

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """Call `callback` in the running event loop after `seconds`."""
        return asyncio.get_running_loop().call_later(seconds, callback)


class JumpGuard:
    """Compares wall time with monotonic time from reading to reading.

    Suspend, NTP and a hand on the clock make the two part; slewing does not, it stays far under the tolerance.
    """

    def __init__(self) -> None:
        self._last: tuple[datetime, float] | None = None

    def check(self, wall: datetime, mono: float) -> float:
        """Give by how many seconds the wall clock jumped since the last check (negative: back), or 0."""
        last, self._last = self._last, (wall, mono)
        if last is None:
            return 0.0
        parted = (wall - last[0]).total_seconds() - (mono - last[1])
        return parted if abs(parted) > TOLERANCE_SECONDS else 0.0
