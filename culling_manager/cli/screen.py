"""What `status` shows of one server: the state document in words, above, in and below the table. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from ..client.words import asker, clock, kept, printable, short
from ..report import duration, moment
from .rows import WARN_SECONDS, Entry, Group, Tone, group, left_of, named, to_type

#: How many lines are told of what was stopped, and of what was wrong and is over.
LATELY = 5

KINDS = (("kernel", "kernels"), ("terminal", "terminals"), ("app", "apps"))

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
    found = [group(document, kind, plural, now, warn) for kind, plural in KINDS]
    empty = ", ".join(group.title for group in found if not group.rows and group.title)
    return Screen(
        head=(*_head(url, document, now), *_kept(document, now)),
        groups=tuple(group for group in found if group.rows),
        foot=(*([(empty, Tone.QUIET)] if empty else []), *_foot(document, now, option)),
    )


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
    yield from _previous(document.get("previous_stop"), now)
    for each in list(document.get("recent") or ())[-LATELY:]:
        yield _lately(each, now), Tone.QUIET
    yield from _given_back(document.get("given_back"))


def _previous(found: Entry | None, now: datetime) -> Iterable[Line]:
    """What became of the server before this one, where that ended itself or its app."""
    if found:
        idle = found.get("idle_seconds")
        words = f"the server before this one was stopped: {printable(found.get('reason') or 'idle')}"
        words += "" if idle is None else f", {duration(idle)} without use"
        yield f"{clock(moment(str(found['at'])), now)}  {words}", Tone.QUIET


def _given_back(found: Entry | None) -> Iterable[Line]:
    """What one's own stops gave back so far."""
    if found and found.get("stops"):
        low, high = duration(found["at_least_seconds"]), duration(found["at_most_seconds"])
        stops = "1 stop" if found["stops"] == 1 else f"{found['stops']} stops"
        yield f"given back by {stops}: {low} at least, {high} at most (jupyter culling savings)", Tone.QUIET


def _warnings(document: Entry, now: datetime, option: str) -> Iterable[Line]:
    """Everything that stops soon, the next one first, and the words that would keep that."""
    found = [
        (left, kind, named(kind, entry), to_type(kind, entry))
        for kind, plural in KINDS
        for entry in document.get(plural) or ()
        if entry.get("warned") and (left := left_of(entry, now)) is not None
    ]
    if found:
        found.sort()
        _, kind, _, which = found[0]
        words = ", ".join(f"{_said(kind, name)} in {duration(left)}" for left, kind, name, _ in found)
        yield f"stops soon: {words}", Tone.SOON
        yield f"to keep it: jupyter culling keep-alive 1h --{kind} {shlex.quote(which)}{option}", Tone.SOON


def _said(kind: str, name: str) -> str:
    """With its kind, but for one that says it."""
    return name if name.startswith("this space ") else f"{kind} {name}"


def _trouble(trouble: Entry, now: datetime) -> str:
    times, last = int(trouble.get("times") or 1), clock(moment(str(trouble["last_at"])), now)
    when = f"{times} times, last {last}" if times > 1 else last
    return f"{printable(trouble.get('message'))} ({when})"


def _lately(outcome: Entry, now: datetime) -> str:
    idle = outcome.get("idle_seconds")
    kind, identity = str(outcome.get("kind")), str(outcome.get("identity"))
    name, which = outcome.get("name"), short(kind, identity)
    first, last = (which, name) if kind == "terminal" or not name else (name, which)
    words = f"{_said(kind, str(first))} {outcome.get('result')}: {outcome.get('reason')}"
    words += "" if idle is None else f", {duration(idle)} without use"
    words += f" ({outcome['message']})" if outcome.get("message") else ""
    words += f" ({last})" if last else ""
    return f"{clock(moment(str(outcome['at'])), now)}  {printable(words)}"
