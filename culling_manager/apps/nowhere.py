"""The neighbours of kernels and terminals where nothing is billed: nobody who minds that they come and go."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from ..money.times import free
from ..records import Record, TerminalRecord
from .none import NoApps
from .run import container_run


class Nowhere:
    """Stands where `AppSource` does when there is no app, and never will be; `monotonic` gives seconds."""

    def __init__(self, apps: NoApps, monotonic: Callable[[], float]) -> None:
        self._apps = apps
        self._monotonic = monotonic
        self._told_at = monotonic()

    def place(self, terminal: TerminalRecord) -> TerminalRecord:
        """Say where a terminal runs: nowhere in particular."""
        return self._apps.place(terminal)

    def arrived(self, record: Record) -> None:
        """A kernel was started, on nothing that is billed."""

    def left(self, record: Record, used_at: datetime | None) -> None:
        """A kernel or terminal goes, and nothing with it."""

    def going(self, record: Record | None) -> str | None:
        """Nothing is being deleted."""
        return None

    def describe(self) -> dict[str, str]:
        """Which app manager there is, and why there is none."""
        return {"class": type(self._apps).__name__, "detail": self._apps.reason}

    def times(self) -> Mapping[str, Any]:
        """The time since the last heartbeat, all of it free."""
        since, self._told_at = self._told_at, self._monotonic()
        return free(container_run(), self._told_at - since)
