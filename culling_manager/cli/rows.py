"""The table that `status` shows of one server: each kernel, terminal and app as a row, the most urgent first. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any

from ..client.words import clock, minute, printable, short
from ..report import duration, moment, space_of

Entry = Mapping[str, Any]

#: Ahead of a deadline by this much (seconds) it is shown as near, where the server does not say how long it warns.
WARN_SECONDS = 300.0

_KERNEL_ID = re.compile(r"\b([0-9a-f]{8})(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")

#: What stands after 'never:' for a reason to keep that has no end of its own.
NEVER = {
    "keep_terminals": "kept",
    "not billed": "free",
    "external": "not ours",
    "kept alive": "kept",
    "not in service": "not running",
    "clock jump": "clock jump",
}


class Tone(Enum):
    """How a line is meant; the values are rich's styles."""

    PLAIN = ""
    QUIET = "dim"
    HEAD = "bold"
    GOOD = "green"
    BUSY = "cyan"
    SOON = "yellow"
    BAD = "bold red"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table; `extra` stands beside or below `what`: a kernel's name, an app's instance type."""

    what: str
    extra: str = ""
    state: str = ""
    idle: str = ""
    stops: str = ""
    why: str = ""
    tone: Tone = Tone.PLAIN
    order: float = 0.0

    def cells(self, width: int) -> tuple[str, str, str, str, str]:
        """The columns, the first not wider than `width`."""
        return (beside(self.what, self.extra, width), self.state, self.idle, self.stops, self.why)


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The kernels, the terminals or the apps, the most urgent first."""

    title: str
    rows: tuple[Row, ...]


def beside(what: str, extra: str, width: int) -> str:
    """Two texts on one line of `width`, else the second cut, else the first cut in its middle and the second below."""
    line = f"{what} {extra}".replace("\n", " ").rstrip()
    if len(line) <= width or len(what) <= width // 2:
        return line if len(line) <= width else line[: width - 1] + "…"
    if len(what) > width:
        what = what[: width // 2] + "…" + what[len(what) - (width - width // 2 - 1) :]
    return f"{what}\n{extra}".rstrip()


def group(document: Entry, kind: str, plural: str, now: datetime, warn: float) -> Group:
    """The rows of one kind; without any the title says so, where that kind is watched."""
    dry = bool((document.get("policy") or {}).get("dry_run"))
    entries: Sequence[Entry] = document.get(plural) or ()
    if not entries:
        return Group(title=f"no {plural}" if kind in (document.get("watching") or ()) else "", rows=())
    rows = sorted((row(kind, each, now, warn, dry) for each in entries), key=lambda each: each.order)
    return Group(title=f"{len(rows)} {kind if len(rows) == 1 else plural}", rows=tuple(rows))


def row(kind: str, entry: Entry, now: datetime, warn: float = WARN_SECONDS, dry_run: bool = False) -> Row:
    """One kernel, terminal or app of the state document as a row."""
    left = left_of(entry, now)
    idle = entry.get("idle_seconds")
    busy = entry.get("reason") == "busy"
    # that one's own space is billed stands before what it is, so that its name is not cut for that
    what, billed, _ = named(kind, entry).partition(" (billed)") if kind == "app" else (named(kind, entry), "", "")
    extra = printable((entry.get("name") if kind == "kernel" else entry.get("instance_type")) or "")
    return Row(
        what=what,
        extra=f"{billed.strip()}\n{extra}".strip(),
        state=printable(entry.get("state") or "unknown"),
        idle="" if idle is None or busy else duration(idle),
        stops=_stops(entry, left, dry_run),
        why=_why(entry, now),
        tone=_tone(entry, left, warn),
        order=float("inf") if left is None else left,
    )


def left_of(entry: Entry, now: datetime) -> float | None:
    """Seconds until it is stopped, 0 when it is due; None when time alone does not stop it."""
    if entry.get("decision") == "cull":
        return 0.0
    return None if not entry.get("due_at") else max(0.0, (moment(str(entry["due_at"])) - now).total_seconds())


def named(kind: str, entry: Entry) -> str:
    """What a person calls it: a kernel's notebook, else the beginning of its id; one's own space; others by name.

    A terminal's name is a number, so what runs in it stands behind.
    """
    identity = str(entry["id"])
    if kind == "kernel":
        return printable(entry.get("path") or entry.get("session_name") or short(kind, identity))
    if kind == "terminal" and entry.get("runs"):
        return printable(f"{to_type(kind, entry)} ({entry['runs']})")
    space = space_of(identity, entry.get("type")) if kind == "app" else None
    return printable(space or entry.get("name") or short(kind, identity))


def to_type(kind: str, entry: Entry) -> str:
    """What a command that is to be pasted calls it: an app of one's own space and a terminal by their names."""
    identity = str(entry["id"])
    return named(kind, entry) if kind == "kernel" else printable(entry.get("name") or short(kind, identity))


def _stops(entry: Entry, left: float | None, dry_run: bool) -> str:
    if left is None:
        reason = str(entry.get("reason"))
        return "with its app" if reason == "goes with its app" else f"never: {NEVER.get(reason, reason)}"
    if left > 0:
        return f"in {duration(left)}"
    return "never: dry run" if dry_run else "now"


def _why(entry: Entry, now: datetime) -> str:
    if entry.get("error"):
        return printable(entry["error"])
    if entry.get("used_by"):
        return printable(entry["used_by"])
    reason, used = entry.get("reason"), entry.get("last_activity")
    if reason == "kept alive" and entry.get("leased") and not entry.get("due_at"):
        return "kept by a lease, while that is renewed"
    if reason == "kept alive" and entry.get("kept_until"):
        return f"kept by request until {minute(moment(str(entry['kept_until'])), now)}"
    if reason == "active":
        return f"last used {clock(moment(str(used)), now)}" if used else "not used since it was first seen"
    words = printable(entry.get("detail") or reason).removeprefix("Kept: ").removesuffix(".")
    return _KERNEL_ID.sub(r"\1", words[:1].lower() + words[1:])


def _tone(entry: Entry, left: float | None, warn: float) -> Tone:
    if entry.get("error") or (left is not None and left <= min(60.0, warn)):
        return Tone.BAD
    if left is not None and (entry.get("warned") or left <= warn):
        return Tone.SOON
    if entry.get("reason") in ("kept alive", "grace period"):
        return Tone.GOOD
    if entry.get("reason") == "busy" or entry.get("used_by"):
        return Tone.BUSY
    return Tone.PLAIN
