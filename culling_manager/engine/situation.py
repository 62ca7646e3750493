"""How things stand for everybody in the engine: the time, the policy, what was asked for, and whom to ask and tell."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from ..policy import CullingPolicy
from ..records import KeepAlive, Kind
from .clock import Clock, JumpGuard
from .journal import Journal
from .ports import Guard, Neighbours
from .requests import KeepAlives

#: How long asking one thing to stop may take (seconds) before it counts as failed and is tried again later.
STOP_LIMIT_SECONDS = 120.0


class Situation:
    """One for a whole culler, handed down to all its parts; `policy`, `guard` and `neighbours` may be replaced.

    `starts` counts the kernels that are being started just now. Deadlines hold from `jumped_at` on, when the clock
    jumped last; who has decided on it before is called then (`when_jumped`). What a person made overdue at `notice_at`,
    by taking back what kept it, is given the time of a warning from then on.
    """

    def __init__(self, clock: Clock, journal: Journal) -> None:
        self.clock, self.journal = clock, journal
        self.policy = CullingPolicy()
        self.requests = KeepAlives()
        self.guard: Guard | None = None
        self.neighbours: Neighbours | None = None
        self.starts = 0
        self.stop_seconds = STOP_LIMIT_SECONDS
        self.jumped_at: datetime | None = None
        self.notice_at: datetime | None = None
        self.when_jumped: list[Callable[[], None]] = []
        self._jumps = JumpGuard()

    def now(self) -> datetime:
        """The time, after a look at whether the clock jumped."""
        wall = self.clock.now()
        jump = self._jumps.check(wall, self.clock.monotonic())
        if jump:
            self._jumped(jump, wall)
        return wall

    def _jumped(self, seconds: float, wall: datetime) -> None:
        self.jumped_at, self.notice_at = wall, None  # a jump leaves as much time, and its own clock holds
        self.journal.jumped(seconds)
        if seconds < 0:
            self.requests.shift(seconds)
        for call in self.when_jumped:
            call()

    def keep(self, kind: Kind | None, identity: str | None, until: datetime, asked_by: str) -> KeepAlive:
        """Keep something (`kind` None: everything) until an instant, in place of what was asked for it before."""
        request = KeepAlive(kind=kind, identity=identity, until=until, asked_at=self.clock.now(), asked_by=asked_by)
        self.requests.put(request)
        return request

    def lead(self, timeout: float) -> timedelta:
        """How long before a deadline the signals are asked: after the last use in any case."""
        return timedelta(seconds=self._lead_seconds(timeout))

    def ahead(self, timeout: float) -> timedelta:
        """How long before a deadline something is to be done about it: a warning, a question to the signals."""
        return timedelta(seconds=max(self.policy.warning(timeout), self._lead_seconds(timeout)))

    def _lead_seconds(self, timeout: float) -> float:
        return 0.0 if self.guard is None else min(self.guard.lead_seconds, timeout / 2)
