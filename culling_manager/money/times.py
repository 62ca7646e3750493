"""For how long, and why, an app was kept, and the idle gaps in it: from looks at it now and then.

Between two looks nobody sees anything, so a gap is told as long as it was seen to be, never longer.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ..report import iso

#: Why an app is kept that is in use. For any other reason its time is billed and not used.
IN_USE = frozenset({"busy", "at work", "in use", "in use by a person"})
#: Why something is kept that costs nothing.
FREE = "not billed"
#: Idle gaps that are shorter than this (seconds) are not told; of one heartbeat at most so many are.
LEAST_GAP = 300.0
MOST_GAPS = 60
#: What time counts as in which it was in use, without a look at that very moment.
USED = "busy"


def free(run: str, seconds: float) -> dict[str, Any]:
    """What the heartbeat tells of time in which nothing was billed."""
    span = round(seconds, 1)
    return {"run": run, "span": span, "seconds": {FREE: span} if span else {}, "gaps": [], "last_use": None}


class Times:
    """Adds up the times of one app; `begun` is when that begins, in seconds that never go back."""

    def __init__(self, begun: float) -> None:
        self._looked_at = begun
        self._idle = 0.0
        self._last_use: datetime | None = None
        self._kept: dict[str, float] = {}
        self._gaps: list[float] = []

    def look(self, now: datetime, mono: float, reason: str, last_use: datetime | None) -> None:
        """It was seen to be kept for this reason, and to have been used last then; one in use is used now."""
        passed = max(0.0, mono - self._looked_at)
        used = now if reason in IN_USE else last_use
        idle = passed if used is None else min(passed, max(0.0, (now - used).total_seconds()))
        self._add(reason if reason in IN_USE else USED, passed - idle)
        self._add(reason, idle)
        if used is not None:
            if self._last_use is not None and used > self._last_use and self._idle >= LEAST_GAP:
                self._gaps.append(round(self._idle, 1))
            self._last_use = max(used, self._last_use or used)
            self._idle = max(0.0, (now - self._last_use).total_seconds())
        self._looked_at = mono

    def _add(self, reason: str, seconds: float) -> None:
        self._kept[reason] = self._kept.get(reason, 0.0) + seconds

    def take(self) -> dict[str, Any]:
        """What the heartbeat tells, and begin anew; its seconds add up to its span."""
        kept = {reason: round(seconds, 1) for reason, seconds in sorted(self._kept.items()) if seconds >= 0.05}
        gaps, self._kept, self._gaps = self._gaps[-MOST_GAPS:], {}, []
        return {"span": round(sum(kept.values()), 1), "seconds": kept, "gaps": gaps, "last_use": iso(self._last_use)}
