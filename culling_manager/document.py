"""The state document: what HTTP shows of everything that is watched. Times are ISO 8601 in UTC with a Z."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any

from .decisions import Decision
from .errors import Trouble
from .records import AppRecord, KeepAlive, KernelRecord, Kind, Outcome, Record
from .report import iso, sentence


def entry(record: Record, decision: Decision, now: datetime) -> dict[str, Any]:
    """One kernel, terminal or app in the state document."""
    found: dict[str, Any] = {"id": record.identity}
    if isinstance(record, KernelRecord):
        found |= {"name": record.name, "state": record.state, "connections": record.connections}
        found |= {"path": record.path, "session_name": record.session_name}
    elif isinstance(record, AppRecord):
        found |= {"name": record.name, "state": record.state, "type": record.app_type}
        found |= {"instance_type": record.instance_type, "created_at": iso(record.created_at)}
        found |= {"watched_since": iso(record.watched_since)}
    else:
        found |= {"name": record.identity, "state": "ended" if record.ended else "running", "runs": record.runs}
    return found | {
        "last_activity": iso(record.last_activity),
        "used_by": record.used_by,
        "used_at": iso(record.used_at),
        "kept_until": iso(record.kept_until),
        "leased": record.leased,
        "idle_seconds": decision.idle_seconds,
        "decision": decision.action.value,
        "reason": decision.reason.value,
        "detail": sentence(record, decision, now),
        "due_at": None if decision.renews else iso(decision.due_at),
    }


def trouble_entry(trouble: Trouble) -> dict[str, Any]:
    """One thing that went wrong in the state document."""
    found: dict[str, Any] = trouble._asdict()
    return found | {"code": trouble.code.value, "first_at": iso(trouble.first_at), "last_at": iso(trouble.last_at)}


def outcome_entry(outcome: Outcome) -> dict[str, Any]:
    """One thing that was carried out in the state document."""
    return outcome._asdict() | {"kind": outcome.kind.value, "result": outcome.result.value, "at": iso(outcome.at)}


def _entries(
    kind: Kind,
    found: Iterable[tuple[Record, Decision]],
    now: datetime,
    warned: Collection[tuple[Kind, str]],
    errors: Mapping[str, str],
) -> list[dict[str, Any]]:
    """All of a kind in the state document."""
    entries = []
    for record, decision in found:
        entries.append(entry(record, decision, now) | {"warned": (kind, record.identity) in warned})
        if kind is Kind.APP:
            entries[-1]["error"] = _error_of(record, errors)
    return entries


def _error_of(app: Record, errors: Mapping[str, str]) -> str | None:
    """What is wrong with an app, its deletion, or with having the list of apps."""
    subjects = (f"app {app.identity}", f"deletion of app {app.identity}", "apps")
    return next((errors[subject] for subject in subjects if subject in errors), None)


def keep_alive_entry(request: KeepAlive, name: str | None = None) -> dict[str, Any]:
    """One request to keep something, as HTTP shows it; `name` is what a person calls that, if anybody does."""
    return {
        "kind": "all" if request.kind is None else request.kind.value,
        "id": request.identity,
        **({"name": name} if name else {}),
        "until": iso(request.until),
        "asked_at": iso(request.asked_at),
        "asked_by": request.asked_by,
        **({"lease": request.lease, "ends": iso(request.ends)} if request.lease else {}),
    }


def state_document(
    *,
    version: str,
    now: datetime,
    running: bool,
    count: int,
    watching: Iterable[Kind] = (),
    policy: dict[str, Any] | None,
    next_wake_up: datetime | None,
    kernels: Iterable[tuple[Record, Decision]] = (),
    terminals: Iterable[tuple[Record, Decision]] = (),
    apps: Iterable[tuple[Record, Decision]] = (),
    warned: Collection[tuple[Kind, str]] = (),
    keep_alive: Iterable[KeepAlive] = (),
    troubles: Iterable[Trouble] = (),
    outcomes: Iterable[Outcome] = (),
    notices: Iterable[str] = (),
    presence: bool = False,
    **more: Any,
) -> dict[str, Any]:
    """The one document that command line, web page and tests read. `policy` is in seconds, `more` stands as it is."""
    troubles = list(troubles)
    errors = {trouble.subject: trouble.message for trouble in troubles if trouble.active}
    return {
        **{"version": version, "now": iso(now)},
        "running": running,
        "count": count,
        "watching": [kind.value for kind in watching],
        "errors": [trouble_entry(trouble) for trouble in troubles],
        "notices": list(notices),
        "presence": presence,
        "policy": policy,
        "next_wake_up": iso(next_wake_up),
        "keep_alive": [keep_alive_entry(request) for request in keep_alive],
        "kernels": _entries(Kind.KERNEL, kernels, now, warned, errors),
        "terminals": _entries(Kind.TERMINAL, terminals, now, warned, errors),
        "apps": _entries(Kind.APP, apps, now, warned, errors),
        "recent": [outcome_entry(outcome) for outcome in outcomes],
    } | more
