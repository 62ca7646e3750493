"""What this user's ledger comes to, for `status` and the metrics; counted when the file has changed, or in a while."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from ..errors import ReadError

#: How long (seconds) sums stand that no new line changes.
STAND_SECONDS = 60.0


class GivenBack:
    """The sums of a ledger; None where there is none, or it cannot be read."""

    def __init__(self, directory: str | Path) -> None:
        self._directory = directory
        self._known: tuple[tuple[int, int], datetime, dict[str, Any] | None] | None = None

    def at(self, now: datetime) -> dict[str, Any] | None:
        """The sums as they are now, or were a moment ago."""
        from ..money.ledger import Ledger, in_short  # a server that is not asked needs none of it

        ledger = Ledger(self._directory)
        try:
            mark = ledger.mark
            if self._known is None or mark != self._known[0] or not self._stands(now):
                lines = ledger.lines()
                self._known = (mark, now, in_short(lines, now) if lines else None)
        except ReadError:
            return None  # whoever writes it has said so
        return self._known[2]

    def _stands(self, now: datetime) -> bool:
        return self._known is not None and 0 <= (now - self._known[1]).total_seconds() < STAND_SECONDS
