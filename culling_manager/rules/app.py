"""Why an app is kept or deleted, and what a decision on a kernel or terminal means for the app that it lives on."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from ..policy import CullingPolicy
from ..records import AppRecord
from .verdict import Action, Decision, Reason, by_deadline, idle_since, keep

#: The one state of an app that is billed and can be deleted.
IN_SERVICE = "InService"

#: Decisions on a kernel or terminal that do not keep its app: it goes with the app, or has gone already.
LETS_GO = frozenset({Reason.WITH_APP, Reason.ENDED, Reason.NOT_BILLED})
#: Decisions that keep it until their `due_at`, if nothing happens.
KEEPS_UNTIL = frozenset(
    {Reason.ACTIVE, Reason.KEPT_ALIVE, Reason.GRACE, Reason.CLOCK_JUMP, Reason.DISCONNECTED, Reason.PERSON}
)


def apps_off(record: AppRecord, policy: CullingPolicy, now: datetime) -> Decision | None:
    """With an idle timeout of 0 no app is deleted."""
    return keep(Reason.OFF, record, now) if policy.idle_timeout <= 0 else None


def not_in_service(record: AppRecord, policy: CullingPolicy, now: datetime) -> Decision | None:
    """Only what is in service can be deleted."""
    return None if record.state == IN_SERVICE else keep(Reason.NOT_IN_SERVICE, record, now)


def protected(record: AppRecord, policy: CullingPolicy, now: datetime) -> Decision | None:
    """An app whose name the admin has listed is never deleted."""
    return keep(Reason.PROTECTED, record, now) if record.protected else None


def never_seen(record: AppRecord, policy: CullingPolicy, now: datetime) -> Decision | None:
    """Without a first sight nobody can tell how long it has been idle: kept."""
    return keep(Reason.UNKNOWN, record, now) if record.watched_since is None else None


def in_use(record: AppRecord, policy: CullingPolicy, now: datetime) -> Decision | None:
    """A kernel or terminal on it that is kept keeps it."""
    return None if record.kept_by is None else keep(Reason.IN_USE, record, now)


def app_idle(record: AppRecord, policy: CullingPolicy, now: datetime) -> Decision:
    """Delete strictly after the latest of creation, first sight and last activity + timeout.

    Not before the last of its kernels and terminals is due either, which may have timeouts of their own.
    """
    since = idle_since(record, now) or now  # `never_seen` comes before
    decision = by_deadline(since, policy.idle_timeout, now)
    until = record.residents_until
    if until is None or (decision.due_at is not None and until <= decision.due_at):
        return decision
    if now > until:
        return replace(decision, due_at=until)
    return replace(decision, action=Action.KEEP, reason=Reason.ACTIVE, due_at=until)


def keeps_app(decision: Decision) -> bool:
    """Whether something that is decided so on keeps its app for as long as things are as they are."""
    if decision.cull or decision.reason in LETS_GO:
        return False
    return decision.due_at is None or decision.reason not in KEEPS_UNTIL


def keeps_app_until(decision: Decision) -> datetime | None:
    """The instant until which something that is decided so on keeps its app; None when it does not, or without end."""
    return None if decision.cull or decision.reason not in KEEPS_UNTIL else decision.due_at
