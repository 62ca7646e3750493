"""What this user's ledger comes to, for `status` and the metrics; read anew only when the file has changed."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from ..errors import ReadError
from ..money.ledger import Ledger, in_short
from ..money.lines import AppLine


class GivenBack:
    """The sums of a ledger; None where there is none, or it cannot be read."""

    def __init__(self, directory: str | Path) -> None:
        self._ledger = Ledger(directory)
        self._mark = (0, 0)
        self._lines: list[AppLine] = []

    def at(self, now: datetime) -> dict[str, Any] | None:
        """The sums as they are now."""
        try:
            mark = self._ledger.mark
            if mark != self._mark:
                self._lines, self._mark = self._ledger.lines(), mark
        except ReadError:
            return None  # whoever writes it has said so
        return in_short(self._lines, now) if self._lines else None
