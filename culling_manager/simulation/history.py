"""Reading what happened: a history (JSON lines of our own), or the event log that a Jupyter Server's event bus writes.

One line of a history::

    {"at": "2026-06-01T12:00:00Z", "kind": "kernel", "id": "1a2b3c4d", "event": "busy"}

``kind``: kernel, terminal, app. ``event``: started, busy, idle, activity, connected, disconnected, ended; working and
resting, for what only an activity signal sees. Optional:
``name``; ``app``, the id of the app on which a kernel or terminal runs; ``idle_timeout``, a kernelspec's own (seconds).
What was not ``started`` was started when it is first heard of. The two formats may be mixed in one file.
"""

from __future__ import annotations

import json
import re
import sys
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

from ..errors import CullingError, SettingError
from ..policy import LONGEST_SECONDS, number
from ..records import Kind
from ..report import moment
from .things import Event, EventType, Key

#: Times before and after these years are mistakes.
YEARS = (1970, 2970)
#: What kernel_actions of jupyter_server means here.
KERNEL_ACTIONS = {
    "start": EventType.STARTED,
    "interrupt": EventType.ACTIVITY,
    "restart": EventType.ACTIVITY,
    "shutdown": EventType.ENDED,
}
#: Actions of the contents API that are use; reading is not.
CONTENTS_USE = frozenset({"create", "save", "upload", "rename", "copy", "delete"})
#: Actions of our own events after which the thing is gone.
GONE = frozenset({"culled", "accepted"})
#: Reasons of our own events to keep what is in use at that moment, however long Jupyter has not seen that.
AT_WORK = frozenset({"at work", "busy"})
#: Schemas of our own events that tell of a kernel, terminal or app.
OURS = re.compile("/culling_manager/(culling|app)(/|$|-|_)")

Line = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Quiet:
    """A time in which something was surely not used."""

    kind: Kind
    identity: str
    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What happened, how many lines told of something else, and how many things a culler stopped.

    `unseen` means that it is an event log, which does not tell of each use.
    """

    events: tuple[Event, ...]
    skipped: int = 0
    culled: int = 0
    unseen: bool = False


def read_history(path: str) -> History:
    """Read a file, '-' is the standard input.

    Raises
    ------
    CullingError
        Naming file, line, value and what is accepted.
    """
    name = "standard input" if path == "-" else path
    try:
        raw = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    except OSError as error:
        raise CullingError(f"{path} cannot be read: {error.strerror}") from None
    events: list[Event] = []
    logged: list[Event] = []
    quiet: list[Quiet] = []
    skipped, culled = 0, set()
    for place, text in enumerate(raw.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if not text.strip():
            continue
        try:
            line = _object(text)
            is_log = "__schema__" in line
            found = list(from_log(line) if is_log else [from_line(line)])
            logged += found if is_log else []
            quiet += quiet_in(line) if is_log else []
        except SettingError as error:
            raise CullingError(f"{name}, line {place}: {error}") from None
        if line.get("action") in GONE:
            culled |= {(each.kind, each.identity) for each in found}
        skipped += not found
        events += found
    unseen = list(gaps(logged, quiet))
    return History(events=(*events, *unseen), skipped=skipped, culled=len(culled), unseen=bool(unseen))


def _object(text: bytes) -> Line:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise SettingError("the line", text[:60].decode("utf-8", "replace"), "a JSON object")
    return found


# -- our own format --------------------------------------------------------------------------------


def from_line(line: Line) -> Event:
    """One line of a history. Raises `SettingError`."""
    kind = Kind(_one_of(line, "kind", (each.value for each in Kind)))
    timeout = line.get("idle_timeout")
    if timeout is not None:
        accepted = "a number of seconds, 0 or more"
        timeout = number("idle_timeout", timeout, low=0, high=LONGEST_SECONDS, accepted=accepted)
    return Event(
        at=_time(line, "at"),
        kind=kind,
        identity=_text(line, "id"),
        event=EventType(_one_of(line, "event", (each.value for each in EventType if each is not EventType.UNSEEN))),
        name=_text(line, "name", ""),
        app=None if kind is Kind.APP else _text(line, "app", "") or None,
        idle_timeout=timeout,
    )


def _time(line: Line, name: str) -> datetime:
    """A time with its zone; the event bus writes one and a 'Z' behind it."""
    value = line.get(name)
    try:
        text = re.sub(r"([+-]\d\d:\d\d)Z$", r"\1", str(value))
        if isinstance(value, str) and re.search(r"(Z|z|[+-]\d\d:?\d\d)$", text):
            found = moment(text)
            if YEARS[0] <= found.year < YEARS[1]:  # so that no deadline leaves the calendar
                return found
    except (ValueError, OverflowError):
        pass
    accepted = f"a time with its zone in the years {YEARS[0]} to {YEARS[1]}, such as 2026-06-01T12:00:00Z"
    raise SettingError(name, value, accepted)


def _text(line: Line, name: str, default: str | None = None) -> str:
    value = line.get(name, default)
    if not isinstance(value, str) or (default is None and not value):
        raise SettingError(name, value, "a text")
    return value


def _one_of(line: Line, name: str, accepted: Iterable[str]) -> str:
    value, known = line.get(name), tuple(accepted)
    if not isinstance(value, str) or value not in known:
        raise SettingError(name, value, f"one of {', '.join(known)}")
    return value


# -- the event bus's log ---------------------------------------------------------------------------


def quiet_in(line: Line) -> Iterable[Quiet]:
    """For how long, as an event of ours says, something was not used. The line has been read by `from_log`."""
    idle, identity = line.get("idle_seconds"), line.get("identity")
    if idle is None or not isinstance(identity, str) or not OURS.search(str(line["__schema__"])):
        return []
    at = _time(line, "__timestamp__")
    return [Quiet(Kind(line.get("kind", "app")), identity, at - timedelta(seconds=float(idle)), at)]


def gaps(logged: Iterable[Event], quiet: Iterable[Quiet]) -> Iterable[Event]:
    """Where a log tells nothing of something between two things that it tells: nobody knows whether it was used."""
    points: dict[Key, dict[datetime, bool]] = {}
    silences: dict[Key, list[Quiet]] = {}
    last: datetime | None = None
    for event in logged:
        last = event.at if last is None else max(last, event.at)
        if event.identity is not None:
            ends = points.setdefault((event.kind, event.identity), {})
            ends[event.at] = ends.get(event.at, False) or event.event is EventType.ENDED
    for each in quiet:
        last = each.until if last is None else max(last, each.until)
        silences.setdefault((each.kind, each.identity), []).append(each)
        points.setdefault((each.kind, each.identity), {}).setdefault(each.until, False)
    for (kind, identity), ends in points.items():
        times = sorted({*ends, last} if last is not None else ends)
        mine = sorted(silences.get((kind, identity), ()), key=lambda each: each.since)
        begins, lasts = [each.since for each in mine], list(accumulate((each.until for each in mine), max))
        for since, until in pairwise(times):
            before = bisect_right(begins, since)
            if not (before and until <= lasts[before - 1]) and not ends.get(since):
                yield Event(at=since, kind=kind, identity=identity, event=EventType.UNSEEN, until=until)


def from_log(line: Line) -> Iterable[Event]:
    """What one line of an event log tells of activity; nothing, where it tells of something else."""
    schema, at = str(line["__schema__"]), _time(line, "__timestamp__")
    if re.search("/jupyter_server/kernel_actions/", schema):
        return _kernel_action(line, at)
    if re.search("/jupyter_server/contents_service/", schema):
        used = line.get("action") in CONTENTS_USE
        return [Event(at=at, kind=Kind.APP, identity=None, event=EventType.ACTIVITY)] if used else []
    if OURS.search(schema):
        return _ours(line, at)
    return []


def _kernel_action(line: Line, at: datetime) -> Iterable[Event]:
    event = KERNEL_ACTIONS.get(str(line.get("action")))
    if event is None or not line.get("kernel_id") or line.get("status") == "error":
        return []
    identity, name = _text(line, "kernel_id"), str(line.get("kernel_name") or "")
    return [Event(at=at, kind=Kind.KERNEL, identity=identity, event=event, name=name)]


def _ours(line: Line, at: datetime) -> Iterable[Event]:
    """Each event of our own says for how long there had been no activity; some say that it is at work, or gone."""
    if "identity" not in line:
        return []
    kind = Kind(_one_of({"kind": "app", **line}, "kind", (each.value for each in Kind)))
    identity, name = _text(line, "identity"), str(line.get("name") or line.get("app") or "")
    idle = line.get("idle_seconds")
    found: list[Event] = []
    if idle is not None:
        number("idle_seconds", idle, low=0, high=LONGEST_SECONDS, accepted="a number of seconds, 0 or more")
        used = at - timedelta(seconds=float(idle))
        found.append(Event(at=used, kind=kind, identity=identity, event=EventType.ACTIVITY, name=name))
    if line.get("reason") in AT_WORK:
        found.append(Event(at=at, kind=kind, identity=identity, event=EventType.ACTIVITY, name=name))
    if line.get("action") in GONE:
        found.append(Event(at=at, kind=kind, identity=identity, event=EventType.ENDED, name=name))
    return found
