"""The lines in a server's log from which money is counted: what is written is read back, and nothing else is believed.

A line is a marker and one JSON object. Whatever in it is not as we write it makes it no line of ours.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from ..report import HEARTBEAT_MARKER, iso
from .times import LEAST_GAP, MOST_GAPS

#: What a line about an app begins with.
APP_MARKER = "culling_manager app:"
EVENTS = ("started", "deleting", "accepted", "refused")
#: The longest message that is read, and the longest text within it (characters).
LONGEST_LINE = 4096
LONGEST_TEXT = 256
#: No span of time in a line is longer than this (seconds): ten years.
LONGEST_SECONDS = 10 * 366 * 86_400.0
#: By how much (seconds) the parts of a heartbeat's span may miss it, for they are rounded.
ROUNDING = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AppLine:
    """What happened to one app; `idle_seconds` and `idle_time` (its timeout) in seconds, `run` tells its runs apart.

    `event` is one of started, deleting, accepted, refused.
    """

    event: str
    at: datetime
    app_type: str
    app: str
    run: str
    instance_type: str | None = None
    reason: str | None = None
    idle_seconds: float | None = None
    idle_time: float | None = None
    dry_run: bool = False
    version: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """What a heartbeat tells of time (seconds): for which `span`, and why the app was kept, adding up to that.

    `gaps` are idle gaps that ended; `last_use` is the latest use. A heartbeat of an old version tells none of it.
    """

    run: str | None = None
    span: float = 0.0
    seconds: Mapping[str, float] = field(default_factory=dict)
    gaps: tuple[float, ...] = ()
    last_use: datetime | None = None


def app_object(line: AppLine) -> dict[str, Any]:
    """The JSON object of a line; texts are cut to what is read back."""
    return {
        "event": line.event,
        "at": iso(line.at),
        "app_type": line.app_type[:LONGEST_TEXT],
        "app": line.app[:LONGEST_TEXT],
        "instance_type": line.instance_type,
        "reason": line.reason,
        "idle_seconds": _rounded(line.idle_seconds),
        "idle_time": _rounded(line.idle_time),
        "dry_run": line.dry_run,
        "run": line.run[:LONGEST_TEXT],
        "version": line.version,
    }


def app_line(line: AppLine) -> str:
    """The line for the log; it has no line break, whatever the names are."""
    return f"{APP_MARKER} {json.dumps(app_object(line))}"


def read_app(message: str) -> AppLine | None:
    """The line about an app in a message; None when it holds none that is as we write it."""
    found = decoded(message, APP_MARKER)
    return None if found is None else app_of(found)


def app_of(found: Mapping[str, Any]) -> AppLine | None:
    """The line of a JSON object; None when it is not as we write it."""
    at, dry_run = moment(found.get("at")), found.get("dry_run", False)
    texts = [_text(found.get(name)) for name in ("app_type", "app", "run")]
    numbers = [found.get(name) for name in ("idle_seconds", "idle_time")]
    wrong = found.get("event") not in EVENTS or at is None or not isinstance(dry_run, bool)
    if wrong or not all(texts) or any(each is not None and seconds(each) is None for each in numbers):
        return None
    return AppLine(
        event=found["event"],
        at=at or datetime.min,
        app_type=texts[0] or "",
        app=texts[1] or "",
        run=texts[2] or "",
        instance_type=_text(found.get("instance_type")),
        reason=_text(found.get("reason")),
        idle_seconds=seconds(numbers[0]),
        idle_time=seconds(numbers[1]),
        dry_run=dry_run,
        version=_text(found.get("version")),
    )


def read_beat(message: str) -> Beat | None:
    """What the heartbeat in a message tells of time; None when it holds no heartbeat."""
    found = decoded(message, HEARTBEAT_MARKER)
    if found is None or seconds(found.get("idle_time")) is None:
        return None
    span = seconds(found.get("span")) or 0.0
    gaps = found.get("gaps")
    return Beat(
        run=_text(found.get("run")),
        span=span,
        seconds=parts(found.get("seconds"), span),
        gaps=tuple(filter(None, map(_gap, gaps[:MOST_GAPS]))) if isinstance(gaps, list) else (),
        last_use=moment(found.get("last_use")),
    )


def parts(found: Any, span: float) -> dict[str, float]:
    """Seconds by reason; none of them when they do not add up to the span."""
    if not isinstance(found, dict):
        return {}
    read = {name: seconds(each) for name, each in found.items() if _text(name)}
    known = {name: each for name, each in read.items() if each is not None}
    return known if len(known) == len(found) and abs(sum(known.values()) - span) <= ROUNDING else {}


def _gap(value: Any) -> float | None:
    found = seconds(value)
    return found if found is not None and found >= LEAST_GAP else None


def decoded(message: str, marker: str) -> dict[str, Any] | None:
    """The object behind a marker; None where there is none."""
    if len(message) > LONGEST_LINE:
        message = message[:LONGEST_LINE]
    _, there, rest = message.partition(marker)
    if not there:
        return None
    try:
        found, _ = _DECODER.raw_decode(rest.lstrip())
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number")


_DECODER = json.JSONDecoder(parse_constant=_no_number)


#: A minute that has a leap second.
_LEAP = re.compile(r"(T\d\d:\d\d):60")


def moment(text: Any) -> datetime | None:
    """The time (UTC) of an ISO 8601 text with a zone; None for anything else. A leap second is the one before it."""
    if not isinstance(text, str) or len(text) > 40:
        return None
    try:
        found = datetime.fromisoformat(_LEAP.sub(r"\1:59", text).replace("Z", "+00:00"))
        return None if found.utcoffset() is None else found.astimezone(timezone.utc)
    except (ValueError, OverflowError):
        return None


def seconds(value: Any) -> float | None:
    """A finite number of seconds, 0 or more and of this world; None for anything else. A bool is no number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= LONGEST_SECONDS:
        return None
    return float(value) if math.isfinite(value) else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= LONGEST_TEXT else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
