"""What `status` shows of one server: the state document in words, and how urgent each line is. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any

from ..client.words import asker, clock, kept, minute, moment, printable, short
from ..report import duration

Entry = Mapping[str, Any]

#: Ahead of a deadline by this much (seconds) it is shown as near, where the server does not say how long it warns.
WARN_SECONDS = 300.0
#: How many lines are told of what was stopped, and of what was wrong and is over.
LATELY = 5

_KERNEL_ID = re.compile(r"\b([0-9a-f]{8})(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")

KINDS = (("kernel", "kernels"), ("terminal", "terminals"), ("app", "apps"))
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


Line = tuple[str, Tone]


@dataclass(frozen=True, slots=True, kw_only=True)
class Screen:
    """Everything that is shown of one server."""

    head: tuple[Line, ...]
    groups: tuple[Group, ...] = ()
    foot: tuple[Line, ...] = ()


def screen(url: str, document: Entry, option: str = "") -> Screen:
    """Show a server's state document; `option` is what to add to commands that are suggested, to mean this server."""
    now = moment(str(document["now"]))
    policy = document.get("policy") or {}
    warn = min(policy.get("warn_before") or WARN_SECONDS, (policy.get("idle_timeout") or WARN_SECONDS) / 2)
    found = [_group(document, kind, plural, now, warn) for kind, plural in KINDS]
    empty = ", ".join(group.title for group in found if not group.rows and group.title)
    return Screen(
        head=(*_head(url, document, now), *_kept(document, now)),
        groups=tuple(group for group in found if group.rows),
        foot=(*([(empty, Tone.QUIET)] if empty else []), *_foot(document, now, option)),
    )


def beside(what: str, extra: str, width: int) -> str:
    """Two texts on one line of `width`, else the second cut, else the first cut in its middle and the second below."""
    line = f"{what} {extra}".rstrip()
    if len(line) <= width or len(what) <= width // 2:
        return line if len(line) <= width else line[: width - 1] + "…"
    if len(what) > width:
        what = what[: width // 2] + "…" + what[len(what) - (width - width // 2 - 1) :]
    return f"{what}\n{extra}".rstrip()


# -- above the table -------------------------------------------------------------------------------


def _head(url: str, document: Entry, now: datetime) -> Iterable[Line]:
    yield url, Tone.HEAD
    policy, running = document.get("policy"), bool(document.get("running"))
    if policy is None:
        yield "culling_manager culls nothing here", Tone.BAD
        return
    words = "culler running" if running else "culler NOT running"
    if running and not policy["idle_timeout"]:
        yield f"{words} · culling is off: the idle timeout is 0", Tone.BAD
        return
    parts = [words, f"idle timeout {duration(policy['idle_timeout'])}", *_terminals(policy)]
    if document.get("next_wake_up"):
        ahead = (moment(str(document["next_wake_up"])) - now).total_seconds()
        parts.append(f"next wake-up in {duration(max(0.0, ahead))}")
    yield " · ".join(parts), Tone.PLAIN if running else Tone.BAD
    if policy.get("dry_run"):
        yield "dry run: nothing is really stopped", Tone.SOON


def _terminals(policy: Entry) -> list[str]:
    own = policy.get("terminal_idle_timeout")
    if policy.get("keep_terminals"):
        return ["terminals are kept"]
    if own is None or own == policy["idle_timeout"]:
        return []
    return [f"terminals {duration(own)}"] if own else ["terminals are not culled"]


def _kept(document: Entry, now: datetime) -> Iterable[Line]:
    for entry in document.get("keep_alive") or ():
        by = f" (asked by {asker(entry)})" if asker(entry) else ""
        yield f"kept alive: {kept(entry, now)}{by}", Tone.GOOD


# -- the table -------------------------------------------------------------------------------------


def _group(document: Entry, kind: str, plural: str, now: datetime, warn: float) -> Group:
    """The rows of one kind; without any the title says so, where that kind is watched."""
    dry = bool((document.get("policy") or {}).get("dry_run"))
    entries: Sequence[Entry] = document.get(plural) or ()
    if not entries:
        return Group(title=f"no {plural}" if kind in (document.get("watching") or ()) else "", rows=())
    rows = sorted((row(kind, each, now, warn, dry) for each in entries), key=lambda each: each.order)
    return Group(title=f"{len(rows)} {kind if len(rows) == 1 else plural}", rows=tuple(rows))


def row(kind: str, entry: Entry, now: datetime, warn: float = WARN_SECONDS, dry_run: bool = False) -> Row:
    """One kernel, terminal or app of the state document as a row."""
    left = _left(entry, now)
    idle = entry.get("idle_seconds")
    busy = entry.get("reason") == "busy"
    return Row(
        what=_what(kind, entry),
        extra=printable((entry.get("name") if kind == "kernel" else entry.get("instance_type")) or ""),
        state=printable(entry.get("state") or "unknown"),
        idle="" if idle is None or busy else duration(idle),
        stops=_stops(entry, left, dry_run),
        why=_why(entry, now),
        tone=_tone(entry, left, warn),
        order=float("inf") if left is None else left,
    )


def _left(entry: Entry, now: datetime) -> float | None:
    """Seconds until it is stopped, 0 when it is due; None when time alone does not stop it."""
    if entry.get("decision") == "cull":
        return 0.0
    return None if not entry.get("due_at") else max(0.0, (moment(str(entry["due_at"])) - now).total_seconds())


def _what(kind: str, entry: Entry) -> str:
    identity = str(entry["id"])
    return printable(short(kind, identity) if kind == "kernel" else entry.get("name") or short(kind, identity))


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


# -- below the table -------------------------------------------------------------------------------


def _foot(document: Entry, now: datetime, option: str) -> Iterable[Line]:
    yield from _warnings(document, now, option)
    errors = list(document.get("errors") or ())
    for each in errors:
        if each.get("active"):
            yield f"error: {_trouble(each, now)}", Tone.BAD
    for notice in document.get("notices") or ():
        yield f"notice: {printable(notice)}", Tone.SOON
    for each in [each for each in errors if not each.get("active")][-LATELY:]:
        yield f"over: {_trouble(each, now)}", Tone.QUIET
    for each in list(document.get("recent") or ())[-LATELY:]:
        yield _lately(each, now), Tone.QUIET


def _warnings(document: Entry, now: datetime, option: str) -> Iterable[Line]:
    """Everything that stops soon, the next one first, and the words that would keep that."""
    found = [
        (left, kind, _what(kind, entry))
        for kind, plural in KINDS
        for entry in document.get(plural) or ()
        if entry.get("warned") and (left := _left(entry, now)) is not None
    ]
    if found:
        found.sort()
        _, kind, which = found[0]
        words = ", ".join(f"{kind} {which} in {duration(left)}" for left, kind, which in found)
        yield f"stops soon: {words}", Tone.SOON
        yield f"to keep it: jupyter culling keep-alive 1h --{kind} {shlex.quote(which)}{option}", Tone.SOON


def _trouble(trouble: Entry, now: datetime) -> str:
    times, last = int(trouble.get("times") or 1), clock(moment(str(trouble["last_at"])), now)
    when = f"{times} times, last {last}" if times > 1 else last
    return f"{printable(trouble.get('message'))} ({when})"


def _lately(outcome: Entry, now: datetime) -> str:
    idle = outcome.get("idle_seconds")
    kind, identity = str(outcome.get("kind")), str(outcome.get("identity"))
    words = f"{kind} {short(kind, identity)} {outcome.get('result')}: {outcome.get('reason')}"
    words += "" if idle is None else f", {duration(idle)} without use"
    words += f" ({outcome['message']})" if outcome.get("message") else ""
    return f"{clock(moment(str(outcome['at'])), now)}  {printable(words)}"
