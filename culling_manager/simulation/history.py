"""Reading what happened: a history (JSON lines of our own), or the event log that a Jupyter Server's event bus writes.

One line of a history::

    {"at": "2026-06-01T12:00:00Z", "kind": "kernel", "id": "1a2b3c4d", "event": "busy"}

``kind``: kernel, terminal, app. ``event``: started, busy, idle, activity, connected, disconnected, ended; working and
resting, for what only an activity signal sees. Optional: ``name``; ``app``, the id of the app on which a kernel or
terminal runs; ``idle_timeout``, a kernelspec's own (seconds); ``instance_type``, such as ml.g5.xlarge. What was not
``started`` was started when it is first heard of. The two formats may be mixed in one file, also as the ``message`` of
log events that were exported from CloudWatch: each ``logStreamName`` is then a history of its own.
"""

from __future__ import annotations

import gzip
import re
import sys
import zlib
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import accumulate, pairwise
from pathlib import Path

from ..errors import CullingError, SettingError
from ..policy import LONGEST_SECONDS, number
from ..records import Kind
from .lines import Line, object_in, one_of, text_in, time_in
from .things import Event, EventType, Key

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

    `unseen` means that it is an event log, which does not tell of each use; `cut` is how many files end in the middle
    of a line, which is left out. `ends` is up to when something is known: of an event log, that something was idle.
    """

    events: tuple[Event, ...]
    skipped: int = 0
    culled: int = 0
    unseen: bool = False
    cut: int = 0
    ends: datetime | None = None


def read_history(*paths: str) -> History:
    """Read the files of one history, in any order; '-' is the standard input, and a file may be compressed by gzip.

    Raises
    ------
    CullingError
        Naming file, line, value and what is accepted.
    """
    found: dict[str, Reading] = {}
    for path in paths:
        read_file(path, found)
    return found.get("", Reading()).history()


@dataclass(slots=True)
class Reading:
    """What was read of one history so far; `logged` are those of `events` that an event log tells."""

    events: list[Event] = field(default_factory=list)
    logged: list[Event] = field(default_factory=list)
    quiet: list[Quiet] = field(default_factory=list)
    culled: set[tuple[Kind, str | None]] = field(default_factory=set)
    skipped: int = 0
    cut: int = 0
    ends: datetime | None = None

    def take(self, line: Line) -> None:
        """Take over one line. Raises `SettingError`."""
        is_log = "__schema__" in line
        found = list(from_log(line) if is_log else [from_line(line)])
        self.logged += found if is_log else []
        self.quiet += quiet_in(line) if is_log else []
        self.culled |= {(each.kind, each.identity) for each in found} if line.get("action") in GONE else set()
        self.skipped += not found
        self.events += found

    def history(self) -> History:
        """All of it."""
        unseen = list(gaps(self.logged, self.quiet))
        ends = max([each.at for each in self.events] + [each.until for each in self.quiet], default=None)
        events, culled = (*self.events, *unseen), len(self.culled)
        return History(events=events, skipped=self.skipped, culled=culled, unseen=bool(unseen), cut=self.cut, ends=ends)


def read_file(path: str, found: dict[str, Reading]) -> None:
    """Read one file into what was read of each log stream, '' for none; a last line that is cut is left out."""
    *whole, last = _content(path).split(b"\n")
    for place, text in enumerate([*whole, last], 1):
        if not text.strip():
            continue
        try:
            line = object_in(text)
        except SettingError as error:
            if text is last and any(each.logged for each in found.values()):
                found.setdefault("", Reading()).cut += 1
                return
            raise _named(path, place, error) from None
        try:
            _take(line, found)
        except SettingError as error:
            raise _named(path, place, error) from None


def _take(line: Line, found: dict[str, Reading]) -> None:
    """Take over a line, or what is in a log event; a message that is no event of the bus tells nothing."""
    stream = line.get("logStreamName")
    if not isinstance(stream, str) or not isinstance(line.get("message"), str):
        found.setdefault("", Reading()).take(line)
        return
    reading = found.setdefault(stream, Reading())
    try:
        message = object_in(line["message"].encode())
    except SettingError:
        message = {}
    reading.skipped += "__schema__" not in message
    if "__schema__" in message:
        reading.take(message)


def _content(path: str) -> bytes:
    try:
        raw = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
        return (gzip.decompress(raw) if raw.startswith(b"\x1f\x8b") else raw).removeprefix(b"\xef\xbb\xbf")
    except (OSError, EOFError, zlib.error) as error:
        raise CullingError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _named(path: str, place: int, error: SettingError) -> CullingError:
    return CullingError(f"{'standard input' if path == '-' else path}, line {place}: {error}")


# -- our own format --------------------------------------------------------------------------------


def from_line(line: Line) -> Event:
    """One line of a history. Raises `SettingError`."""
    kind = Kind(one_of(line, "kind", (each.value for each in Kind)))
    timeout = line.get("idle_timeout")
    if timeout is not None:
        accepted = "a number of seconds, 0 or more"
        timeout = number("idle_timeout", timeout, low=0, high=LONGEST_SECONDS, accepted=accepted)
    return Event(
        at=time_in(line, "at"),
        kind=kind,
        identity=text_in(line, "id"),
        event=EventType(one_of(line, "event", (each.value for each in EventType if each is not EventType.UNSEEN))),
        name=text_in(line, "name", ""),
        app=None if kind is Kind.APP else text_in(line, "app", "") or None,
        idle_timeout=timeout,
        instance_type=text_in(line, "instance_type", "") or None,
    )


# -- the event bus's log ---------------------------------------------------------------------------


def quiet_in(line: Line) -> Iterable[Quiet]:
    """For how long, as an event of ours says, something was not used. The line has been read by `from_log`."""
    idle, identity = line.get("idle_seconds"), line.get("identity")
    if idle is None or not isinstance(identity, str) or not OURS.search(str(line["__schema__"])):
        return []
    at = time_in(line, "__timestamp__")
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
    schema, at = str(line["__schema__"]), time_in(line, "__timestamp__")
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
    identity, name = text_in(line, "kernel_id"), str(line.get("kernel_name") or "")
    return [Event(at=at, kind=Kind.KERNEL, identity=identity, event=event, name=name)]


def _ours(line: Line, at: datetime) -> Iterable[Event]:
    """Each event of our own says for how long there had been no activity; some say that it is at work, or gone."""
    if "identity" not in line:
        return []
    kind = Kind(one_of({"kind": "app", **line}, "kind", (each.value for each in Kind)))
    identity, name = text_in(line, "identity"), str(line.get("name") or line.get("app") or "")
    idle, on = line.get("idle_seconds"), str(line.get("instance_type") or "") or None
    about = Event(at=at, kind=kind, identity=identity, event=EventType.ACTIVITY, name=name, instance_type=on)
    found: list[Event] = []
    if idle is not None:
        number("idle_seconds", idle, low=0, high=LONGEST_SECONDS, accepted="a number of seconds, 0 or more")
        found.append(replace(about, at=at - timedelta(seconds=float(idle))))
    found += [about] if line.get("reason") in AT_WORK else []
    found += [replace(about, event=EventType.ENDED)] if line.get("action") in GONE else []
    return found
