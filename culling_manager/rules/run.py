"""A kernel's runs: how long it has been busy, and which run that has ended is remembered."""

from __future__ import annotations

from datetime import datetime


class Run:
    """Since when a kernel is busy, and its last run worth waiting for: when that ended, and how long it took (seconds).

    A run shorter than `long_run` (seconds) makes none forgotten that was at least that long.
    """

    __slots__ = ("busy_since", "long_run", "ran_until", "run_seconds")

    def __init__(self, long_run: float = 0.0) -> None:
        self.long_run = long_run
        self.busy_since: datetime | None = None
        self.ran_until: datetime | None = None
        self.run_seconds = 0.0

    def follow(self, busy: bool, at: datetime) -> None:
        """It is busy, or not, at an instant; one that was so before goes on."""
        if busy:
            self.busy_since = self.busy_since or at
        elif self.busy_since is not None:
            ran = (at - self.busy_since).total_seconds()
            if ran >= self.long_run or self.run_seconds < self.long_run:
                self.ran_until, self.run_seconds = at, ran
            self.busy_since = None

    def forget(self) -> None:
        """Its process is another one: nothing has run in that."""
        self.busy_since = self.ran_until = None
        self.run_seconds = 0.0
