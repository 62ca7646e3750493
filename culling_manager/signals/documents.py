"""Documents that are saved, renamed, copied or uploaded through the server, whatever contents manager it has."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ..records import Kind
from .base import Signal, Subject
from .contents import Contents


class DocumentSignal(Signal):
    """The last time that a file was changed through the server; it counts for the app that this server runs on.

    Each change costs the same however many there were. Where a server serves no contents nothing is heard.
    """

    def __init__(self, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self._used_at: datetime | None = None
        self._contents: Contents | None = None

    def start(self, server: Any) -> None:
        """Listen to what is done with the server's files, if it has any."""
        if self._contents is None:
            self._contents = Contents.of(server)
            if self._contents is not None:
                self._contents.listen(self._changed)

    def stop(self) -> None:
        """Listen no more."""
        contents, self._contents = self._contents, None
        if contents is not None:
            contents.leave(self._changed)

    def applies(self, subject: Subject) -> bool:
        """Only to the app that is this machine."""
        return subject.kind is Kind.APP and subject.here

    async def check(self, subject: Subject) -> str | None:
        """Never a reason of its own: see `last_use`."""
        return None

    def last_use(self, subject: Subject) -> datetime | None:
        """When the last such change was."""
        return self._used_at

    def _changed(self, action: str, path: str) -> None:
        self._used_at = self.now()
