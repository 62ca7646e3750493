"""Telling the server's event bus what happens."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from .decisions import app_idle_since
from .records import AppRecord, Happening, Record, TerminalRecord
from .report import document_of, iso

SCHEMAS = Path(__file__).parent / "schemas"
_IDS = {name: f"https://events.jupyter.org/culling_manager/{name}" for name in ("app", "culling", "settings")}
APP, CULLING, SETTINGS = _IDS["app"], _IDS["culling"], _IDS["settings"]


def register(server: Any) -> None:
    """Make our schemas known to the server's event bus, so that others can listen."""
    bus = getattr(server, "event_logger", None)
    for name, schema_id in _IDS.items():
        if bus is not None and schema_id not in bus.schemas:
            bus.register_event_schema(json.loads((SCHEMAS / f"{name}.json").read_text("utf-8")))


def emit(server: Any, schema_id: str, data: dict[str, Any]) -> None:
    """Emit an event. Whatever is wrong with the event bus is logged and stops nothing."""
    bus = getattr(server, "event_logger", None)
    if bus is None:
        return
    try:
        register(server)
        bus.emit(schema_id=schema_id, data=data)
    except Exception:
        server.log.exception("Culling: an event of %s could not be emitted", schema_id)


def emit_app(server: Any, action: str, app: AppRecord, now: datetime) -> None:
    """Emit that an app is about to be deleted (``deleting``), or that its deletion was accepted (``accepted``)."""
    since = app_idle_since(app)
    data = {
        "action": action,
        "app": app.name,
        "app_type": app.app_type,
        "identity": app.identity,
        "idle_seconds": None if since is None else max(0.0, (now - since).total_seconds()),
        **_on(app),
    }
    emit(server, APP, data)


def listener(server: Any) -> Callable[[Happening], None]:
    """What to add to a culler's listeners so that `server`'s event bus hears of everything.

    That a deletion was ``refused`` it hears as that the app could not be culled.
    """

    def tell(happening: Happening) -> None:
        if isinstance(happening.record, AppRecord) and happening.action in ("deleting", "accepted"):
            emit_app(server, happening.action, happening.record, happening.at)
        elif happening.action != "refused":
            emit(server, CULLING, culling(happening))

    return tell


def culling(happening: Happening) -> dict[str, Any]:
    """What became of something, as its event's schema has it."""
    document = document_of(happening.record)
    named = {} if document is None else {"document": document}
    if isinstance(happening.record, TerminalRecord) and happening.record.runs:
        named = {"runs": happening.record.runs}
    return {
        "action": happening.action,
        "kind": happening.kind.value,
        "identity": happening.record.identity,
        "name": getattr(happening.record, "name", happening.record.identity),
        "reason": happening.reason,
        "detail": happening.detail,
        "idle_seconds": happening.idle_seconds,
        "due_at": iso(happening.due_at),
        **named,
        **_on(happening.record),
    }


def _on(record: Record) -> dict[str, str]:
    """The instance type of what it runs on, where that is known."""
    found = getattr(record, "instance_type", None)
    return {} if found is None else {"instance_type": found}
