"""The words that log, REST and command line share, and the heartbeat line that the fleet check reads.

Times are ISO 8601 in UTC with a Z.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from typing import Any

from .decisions import Decision, Reason
from .errors import ErrorCode, printable
from .policy import CullingPolicy
from .records import AppRecord, KernelRecord, Kind, Record, TerminalRecord

#: What a heartbeat line in the log begins with.
HEARTBEAT_MARKER = "culling_manager heartbeat:"
#: Whoever sets so many minutes (2.5 days) may have meant seconds.
MANY_MINUTES = 3600


def iso(value: datetime | None) -> str | None:
    """Write a time as ``2026-01-02T03:04:05.678901Z``; None stays None."""
    return None if value is None else value.isoformat(timespec="microseconds").replace("+00:00", "Z")


def moment(text: str) -> datetime:
    """The time of an ISO 8601 text in UTC; one without an offset is local time. Raises ValueError."""
    return datetime.fromisoformat(re.sub(r"[Zz]$", "+00:00", text.strip())).astimezone(timezone.utc)


def duration(seconds: float) -> str:
    """Write seconds as a person says them: '45 s', '12 min', '2 h 5 min', '3 d 4 h'."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, hours, days = whole // 60, whole // 3600, whole // 86_400
    if minutes < 60:
        return f"{minutes} min"
    if hours < 24:
        return f"{hours} h {minutes % 60} min" if minutes % 60 else f"{hours} h"
    return f"{days} d {hours % 24} h" if hours % 24 else f"{days} d"


def sentence(record: Record, decision: Decision, now: datetime) -> str:
    """Say in one sentence what was decided and why, and in another what ends it, where it would not end by itself."""
    ends = {Reason.TOO_OLD: "it grows older than max_age", Reason.AT_WORK_TOO_LONG: "max_at_work allows no more"}
    more = f" Due in {_until(decision, now)}: {ends[decision.due_for]}." if decision.due_for in ends else ""
    return _why(record, decision, now) + more


def _why(record: Record, decision: Decision, now: datetime) -> str:
    """Say in one sentence what was decided and why."""
    idle = "" if decision.idle_seconds is None else duration(decision.idle_seconds)
    match decision.reason:
        case Reason.UNKNOWN:
            odd = getattr(record, "odd_timeout", None)
            return record.error or (f"Kept: {odd}." if odd else "Kept, for its state cannot be told.")
        case Reason.DEAD:
            return "Its process is gone."
        case Reason.BUSY_TOO_LONG:
            return "It has been busy without a break for longer than busy_timeout."
        case Reason.AT_WORK_TOO_LONG:
            return "Activity signals have kept it for as long as max_at_work allows."
        case Reason.TOO_OLD:
            return "It is older than max_age."
        case Reason.ACTIVE:
            return f"Idle for {idle}, due in {_until(decision, now)}."
        case Reason.IDLE:
            return f"Idle for {idle}, which is over its timeout."
        case Reason.WITH_APP:
            return "It has no deadline of its own and goes with its app."
        case Reason.ENDED:
            return "Its shell has ended; a background job still holds it."
        case Reason.CLOCK_JUMP:
            return f"Kept for {_until(decision, now)}, because the clock jumped."
        case Reason.DISCONNECTED:
            return f"Kept for {_until(decision, now)}: its last connection was closed just now."
        case Reason.NOT_IN_SERVICE:
            return f"Not in service: its service says {getattr(record, 'state', None)}."
        case Reason.GRACE:
            ran = duration(getattr(record, "run_seconds", 0.0))
            return f"Kept for {_until(decision, now)}: a run of {ran} has ended."
        case Reason.KEPT_ALIVE:
            return _asked(record)
        case Reason.IN_USE:
            return f"Kept by {getattr(record, 'kept_by', None)}."
        case _:
            return f"Kept: {_keeper(record, decision.reason, idle)}."


def _asked(record: Record) -> str:
    """Who has asked that it is kept, and until when; the end of a lease is known to whoever holds it."""
    by = f", asked for by {printable(record.asked_by)}" if record.asked_by else ""
    if record.leased:
        return f"Kept by a lease{by}, which is renewed for as long as what holds it runs."
    return f"Kept by request until {iso(record.kept_until)}{by}."


def _keeper(record: Record, reason: Reason, idle: str) -> str:
    """What keeps it for as long as things are as they are."""
    own = getattr(record, "idle_timeout", None)
    words = {
        Reason.OFF: "culling is off for it"
        + ("" if own is None or own > 0 else f", as its kernelspec's {own:g} s say"),
        Reason.EXTERNAL: "this server did not start it",
        Reason.BUSY: "it is working",
        Reason.CONNECTED: f"{getattr(record, 'connections', 0)} open connection(s); idle for {idle}",
        Reason.KEEP_TERMINALS: "keep_terminals is on",
        Reason.NOT_BILLED: "it runs on compute that costs nothing",
        Reason.PROTECTED: "its name is among those that are never deleted",
        Reason.USED: f"{record.used_by}".rstrip("."),
        Reason.PERSON: f"somebody works in {printable(getattr(record, 'session_name', None) or 'its document')}",
    }
    return words[reason]


def _until(decision: Decision, now: datetime) -> str:
    return "-" if decision.due_at is None else duration(max(0.0, (decision.due_at - now).total_seconds()))


def policy_line(policy: CullingPolicy, kinds: Iterable[Kind]) -> str:
    """The policy in one line for the log."""
    words = {
        Kind.KERNEL: f"after {_timeout(policy.idle_timeout)} without activity" if policy.idle_timeout else "not culled",
        Kind.TERMINAL: f"after {_timeout(policy.terminal_timeout)} without activity",
        Kind.APP: f"after {_timeout(policy.idle_timeout)} without use" if policy.idle_timeout else "not deleted",
    }
    if not policy.terminal_timeout:
        words[Kind.TERMINAL] = "not culled"
    if policy.keep_terminals:
        words[Kind.TERMINAL] = "kept"
    parts = [f"{kind.value}s {words[kind]}" for kind in kinds]
    parts += [name for name in ("cull_busy", "dry_run") if getattr(policy, name)]
    parts += [] if policy.cull_connected else ["connected kernels are kept"]
    line = ", ".join(parts) + f"; heartbeat every {policy.cull_interval:g} s"
    if policy.idle_timeout < MANY_MINUTES * 60:
        return line
    return f"{line}; idle_timeout is in minutes: {policy.idle_timeout / 60:g} are {_days(policy.idle_timeout)}"


def _timeout(seconds: float) -> str:
    """A timeout in minutes as it was set, from two days on in days and hours."""
    return _days(seconds) if seconds >= 2 * 86_400 else f"{seconds / 60:g} min"


def _days(seconds: float) -> str:
    """A long timeout as a person says it: '5 days', '2 d 12 h'."""
    return duration(seconds) if seconds % 86_400 else f"{int(seconds // 86_400)} days"


def heartbeat_line(
    version: str,
    policy: CullingPolicy,
    count: int,
    app_manager: str,
    watching: Iterable[Kind],
    errors: str | None,
    codes: Iterable[ErrorCode] = (),
    times: Mapping[str, Any] | None = None,
) -> str:
    """The line that a fleet check looks for in the collected logs: a marker, and one JSON object; times in seconds.

    `errors` are words for people, cut; a check reads `codes`, which has one for each thing that is wrong now. `times`
    has ``run``, ``span``, ``seconds`` (by the reason why the app was kept, adding up to the span), ``gaps`` (idle ones
    that ended) and ``last_use``.
    """
    found = {
        "watching": [kind.value for kind in watching],
        "codes": [code.value for code in codes],
        "errors": errors if errors is None else errors[:300],
        "version": version,
        "idle_time": policy.idle_timeout,
        "keep_terminals": policy.keep_terminals,
        "count": count,
        "app_manager": app_manager,
        "dry_run": policy.dry_run,
        **(times or {}),
    }
    return f"{HEARTBEAT_MARKER} {json.dumps(found)}"


def document_of(record: Record) -> str | None:
    """The path of a kernel's notebook, else the name that its session has; None where there is neither."""
    return (record.path or record.session_name or None) if isinstance(record, KernelRecord) else None


def name_of(record: Record) -> str | None:
    """What a person knows it by: a kernel's document, what runs in a terminal, one's own space; None where unknown."""
    if isinstance(record, TerminalRecord):
        return record.runs
    return space_of(record.identity, record.app_type) if isinstance(record, AppRecord) else document_of(record)


def called(record: Record) -> str:
    """What a person calls it, the id last: 'kernel of work/a.ipynb (1a2b...)'; 'terminal 1 (train.py)'."""
    document = document_of(record)
    if document is not None:
        return f"kernel of {document} ({record.identity})"
    if isinstance(record, TerminalRecord) and record.runs:
        return f"terminal {record.identity} ({record.runs})"
    if isinstance(record, AppRecord) and (space := space_of(record.identity, record.app_type)):
        return f"app of {space} ({record.identity})"  # begins as every line on an app does
    return f"{record.kind.value} {record.identity}"


def space_of(identity: str, app_type: str | None) -> str | None:
    """What a person calls the space that this server runs on, by its app's ARN; None for any other app."""
    parts = identity.split("/")
    if app_type not in ("JupyterLab", "CodeEditor") or not identity.startswith("arn:") or len(parts) != 5:
        return None
    return f"this space {parts[2]!r} (billed)"


def culling_line(record: Record, decision: Decision) -> str:
    """The line for the log before something is shut down; a kernel's id stands last where its notebook is known."""
    idle = "" if decision.idle_seconds is None else f", {int(decision.idle_seconds)} seconds of inactivity"
    if isinstance(record, KernelRecord):
        document = document_of(record)
        which, last = (f"({record.identity})", "") if document is None else (f"of {document}", f" ({record.identity})")
        return (
            f"Culling '{record.state}' kernel '{record.name}' {which} with {record.connections} "
            f"connections: {decision.reason.value}{idle}.{last}"
        )
    if isinstance(record, AppRecord):
        space = space_of(record.identity, record.app_type)
        of = "" if space is None else f" of {space}"
        return f"Deleting app {record.name!r}{of} ({record.identity}): {decision.reason.value}{idle}."
    runs = f" ({record.runs})" if record.runs else ""
    return f"Culling terminal '{record.identity}'{runs}: {decision.reason.value}{idle}."
