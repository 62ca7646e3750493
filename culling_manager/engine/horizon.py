"""What cannot be due yet, and so need not be read: all that was in use within its timeout, by a glance at it."""

from __future__ import annotations

from datetime import datetime, timedelta

from ..decisions import timeout_of
from .clock import AT_ONCE, NEVER
from .ports import KEPT, Source
from .situation import Situation


class Band:
    """All that has one timeout: what was in use after `cutoff` cannot be due, the `oldest` of it not before `left`.

    Where the timeout is off, nothing can: then `left` is None.
    """

    __slots__ = ("cutoff", "left", "oldest")

    def __init__(self, cutoff: datetime, oldest: datetime, left: timedelta | None) -> None:
        self.cutoff, self.oldest, self.left = cutoff, oldest, left


class Horizon:
    """Tells what of one source has to be looked at more closely."""

    def __init__(self, source: Source, situation: Situation) -> None:
        self.source, self.situation = source, situation

    def suspects(self, now: datetime) -> tuple[list[str], datetime]:
        """Give what may be due, and when the first of all others may be: fresh activity only makes that later."""
        bands: dict[float | None, Band] = {None: self._band(None, now)}
        suspects: list[str] = []
        timeout, band = None, bands[None]
        for identity, last, own in self.source.glance(self.situation.policy):
            if last is None:
                suspects.append(identity)
                continue
            if own != timeout:
                timeout, band = own, bands.get(own) or bands.setdefault(own, self._band(own, now))
            if last is not KEPT:
                if not band.cutoff < last <= now:
                    suspects.append(identity)
                elif last < band.oldest:
                    band.oldest = last
        nearest = NEVER
        for band in bands.values():
            if band.left is not None:
                nearest = min(nearest, band.oldest + band.left)
        return suspects, nearest

    def _band(self, own: float | None, now: datetime) -> Band:
        """What has this timeout of its own (seconds; None: the policy's)."""
        timeout = self._shortest_timeout() if own is None else own
        if timeout is None or timeout <= 0:
            return Band(AT_ONCE, now, None)
        left = timedelta(seconds=timeout) - self.situation.ahead(timeout)
        return Band(now - left, now, left)

    def _shortest_timeout(self) -> float | None:
        """Seconds: what has no timeout of its own and was in use later than these ago cannot be due."""
        policy = self.situation.policy
        timeouts = [timeout_of(self.source.kind, policy), policy.busy_timeout]
        return min((seconds for seconds in timeouts if seconds > 0), default=None)
