"""A log as CloudWatch exports it, made of words: what happened to whose app, and when."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone

from culling_manager.money.days import Log, Window
from culling_manager.money.document import document
from culling_manager.money.lines import AppLine, app_line
from culling_manager.money.report import Asked
from culling_manager.money.runs import Event
from culling_manager.report import HEARTBEAT_MARKER, iso

#: The day on which things begin.
DAY = datetime(2026, 6, 2, tzinfo=timezone.utc)
TYPE = "ml.g5.xlarge"
STREAM = "d-1/alice/JupyterLab/default"


def at(hours: float, day: int = 0) -> datetime:
    """An instant: hours after midnight of the first day, or of one after it."""
    return DAY + timedelta(days=day, hours=hours)


def event(when: datetime, message: str, stream: str = STREAM, **more) -> dict:
    """One log event."""
    return {"logStreamName": stream, "timestamp": int(when.timestamp() * 1000), "message": message, **more}


def line(
    event_name: str, when: datetime, run: str = "r1", stream: str = STREAM, logged: datetime | None = None, **more
):
    """The event of a line about an app; stops say that it was idle for two hours, unless told otherwise."""
    idle = {} if event_name == "started" else {"idle_seconds": 7200.0, "idle_time": 7200.0, "reason": "idle"}
    given = {"app_type": "JupyterLab", "app": "default", "instance_type": TYPE, "version": "1.0.0", **idle, **more}
    found = AppLine(event=event_name, at=when, run=run, **given)
    return event(logged or when, f"[W 2026 ServerApp] {app_line(found)}", stream)


def beat(when: datetime, run: str | None = "r1", stream: str = STREAM, span: float = 3600.0, **more) -> dict:
    """The event of a heartbeat."""
    found = {"idle_time": 7200.0, "keep_terminals": False, "count": 361, "version": "1.0.0", **more}
    if run is not None:
        found |= {"run": run, "span": span}
        found["seconds"] = more.get("seconds", {"active": span})
    for name, value in found.items():
        found[name] = iso(value) if isinstance(value, datetime) else value
    return event(when, f"[I 2026 ServerApp] {HEARTBEAT_MARKER} {json.dumps(found)}", stream)


def report(
    events: list[dict], begin: datetime = DAY, end: datetime | None = None, until: datetime | None = None, **more
) -> dict:
    """The report on these events, of a month from the first midnight, or as told; known to its end, or `until`."""
    end = end or DAY + timedelta(days=30)
    window = Window(begin=begin.timestamp(), end=end.timestamp())
    log = Log(window)
    for each in events:
        received = each.get("ingestionTime")
        log.add(
            Event(
                each["logStreamName"],
                each["timestamp"] / 1000,
                each["message"],
                None if received is None else received / 1000,
            )
        )
    known = max(window.end, log.last or window.end) if until is None else until.timestamp()
    return document(log.runs(), Asked(window=window, until=known, **more))


def hours(found: dict) -> tuple[float, float]:
    """What was given back, at least and at most (hours)."""
    given = found["given_back"]["hours"]
    return given["at_least"], given["at_most"]
