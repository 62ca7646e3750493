"""Telling the server's event bus what happens to apps."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from .decisions import app_idle_since
from .records import AppRecord

SCHEMA = Path(__file__).parent / "schemas" / "app.yaml"
SCHEMA_ID = "https://events.jupyter.org/culling_manager/app"


def register(server: Any) -> None:
    """Make our schema known to the server's event bus, so that others can listen."""
    bus = getattr(server, "event_logger", None)
    if bus is not None and SCHEMA_ID not in bus.schemas:
        bus.register_event_schema(SCHEMA)


def emit(server: Any, action: str, app: AppRecord, now: datetime) -> None:
    """Emit that an app is about to be deleted (``deleting``), or that its deletion was accepted (``accepted``).

    Whatever is wrong with the event bus is logged and stops nothing.
    """
    bus = getattr(server, "event_logger", None)
    if bus is None:
        return
    since = app_idle_since(app)
    data = {
        "action": action,
        "app": app.name,
        "app_type": app.app_type,
        "identity": app.identity,
        "idle_seconds": None if since is None else max(0.0, (now - since).total_seconds()),
    }
    try:
        register(server)
        bus.emit(schema_id=SCHEMA_ID, data=data)
    except Exception:
        server.log.exception("Culling: the event %r of app %s could not be emitted", action, app.name)
