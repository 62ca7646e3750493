"""Documents that are saved, renamed, copied or uploaded through the contents API, from the server's event bus."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ..records import Kind
from .base import Signal, Subject

#: Jupyter Server's own schema of what is done with files.
CONTENTS = "https://events.jupyter.org/jupyter_server/contents_service/v1"
#: What is no use of a file: an open browser tab gets files by itself.
LOOKING = "get"


class DocumentSignal(Signal):
    """The last time that a file was changed through the server; it counts for the app that this server runs on.

    Each event costs the same however many there were. Where a server has no event bus nothing is heard.
    """

    def __init__(self, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self._used_at: datetime | None = None
        self._bus: Any = None

    def start(self, server: Any) -> None:
        """Listen to the server's event bus, if it has one."""
        bus = getattr(server, "event_logger", None)
        if bus is None or self._bus is not None:
            return
        bus.add_listener(schema_id=CONTENTS, listener=self._heard)
        self._bus = bus

    def stop(self) -> None:
        """Listen no more."""
        bus, self._bus = self._bus, None
        if bus is not None:
            bus.remove_listener(schema_id=CONTENTS, listener=self._heard)

    def applies(self, subject: Subject) -> bool:
        """Only to the app that is this machine."""
        return subject.kind is Kind.APP and subject.here

    async def check(self, subject: Subject) -> str | None:
        """Never a reason of its own: see `last_use`."""
        return None

    def last_use(self, subject: Subject) -> datetime | None:
        """When the last such event was."""
        return self._used_at

    async def _heard(self, logger: Any, schema_id: str, data: dict[str, Any]) -> None:
        if data.get("action") != LOOKING:
            self._used_at = self.now()
