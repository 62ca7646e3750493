"""What the last server has left of why it ended its own app: told once, in the log, by an event, and in `status`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .. import events
from ..engine.culler import IdleCuller
from ..errors import ReadError
from ..money.last_stop import LastStop


class PreviousStop:
    """The note that this server found at its start; None where there was none."""

    def __init__(self, directory: str | Path) -> None:
        self._note = LastStop(directory)
        self.found: dict[str, Any] | None = None

    def tell(self, server: Any, culler: IdleCuller) -> None:
        """Read and tell it, where this server has an app of that kind; never in the way of its start."""
        manager = None if culler.neighbours is None else culler.neighbours.describe()["class"]
        if manager in (None, "NoApps"):
            return
        try:
            self.found = self._note.take()
        except ReadError as error:
            culler.log.warning("Culling: %s", error)
            return
        if self.found is None:
            return
        found = self.found
        culler.log.info("Culling: the last server stopped %s at %s: %s", found["name"], found["at"], found["detail"])
        about = {"app": found["name"] or "", "app_type": found["app_type"] or "", "identity": found["identity"] or ""}
        idle = found["idle_seconds"] if isinstance(found["idle_seconds"], (int, float)) else None
        events.emit(server, events.APP, {"action": "previous", **about, "idle_seconds": idle})
