"""Why an app is kept or deleted, and what a decision on a kernel or terminal means for the app that it lives on."""

from __future__ import annotations

from datetime import datetime, timedelta

from ..policy import CullingPolicy
from ..records import AppRecord
from .common import no_later
from .verdict import Action, Cap, Decision, Reason, by_deadline, idle_since, keep

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
    return keep(Reason.OFF, record, now) if policy.idle_timeout_on(record.instance_type) <= 0 else None


def not_in_service(record: AppRecord, policy: CullingPolicy, now: datetime) -> Decision | None:
    """Only what is in service can be deleted."""
    return None if record.state == IN_SERVICE else keep(Reason.NOT_IN_SERVICE, record, now)


def protected(record: AppRecord, policy: CullingPolicy, now: datetime) -> Decision | None:
    """An app whose name the admin has listed is never deleted."""
    return keep(Reason.PROTECTED, record, now) if record.protected else None


def never_seen(record: AppRecord, policy: CullingPolicy, now: datetime) -> Decision | None:
    """Without a first sight nobody can tell how long it has been idle: kept."""
    return keep(Reason.UNKNOWN, record, now) if record.watched_since is None else None


def oldest(record: AppRecord, policy: CullingPolicy, now: datetime) -> datetime | None:
    """The instant after which an app is too old, None when it may be of any age.

    That is `max_age` after it was created or first seen, whichever is earlier. A keep-alive, its own or one of what
    runs on it, moves that by `max_keep_alive` at most. And it is warned of in any case: never sooner than
    `age_warning` after that was done, or, where it was not done yet, from now on.
    """
    if policy.max_age <= 0 or record.watched_since is None:
        return None
    born = record.watched_since if record.created_at is None else min(record.created_at, record.watched_since)
    end = born + timedelta(seconds=policy.max_age)
    asked = [at for at in (record.kept_until, record.residents_kept_until) if at is not None]
    if policy.max_keep_alive > 0:
        asked = [min(at, end + timedelta(seconds=policy.max_keep_alive)) for at in asked]
    warned = now if record.warned_at is None else record.warned_at
    return max([end, warned + timedelta(seconds=policy.age_warning), *asked])


def too_old(record: AppRecord, policy: CullingPolicy, now: datetime) -> Decision | Cap | None:
    """Delete strictly after it has grown too old, whatever is on it; until then nothing keeps it for longer."""
    end = oldest(record, policy, now)
    if end is None:
        return None
    if now <= end:
        return Cap(end, Reason.TOO_OLD)
    return keep(Reason.TOO_OLD, record, now, end)._replace(action=Action.CULL)


def in_use(record: AppRecord, policy: CullingPolicy, now: datetime) -> Decision | None:
    """A kernel or terminal on it that is kept keeps it."""
    return None if record.kept_by is None else keep(Reason.IN_USE, record, now)


def app_idle(record: AppRecord, policy: CullingPolicy, now: datetime) -> Decision:
    """Delete strictly after the latest of creation, first sight and last activity + timeout.

    Not before the last of its kernels and terminals is due either, which may have timeouts of their own.
    """
    since = idle_since(record, now) or now  # `never_seen` comes before
    timeout = policy.idle_timeout_on(record.instance_type)
    decision = no_later(by_deadline(since, timeout, now), record, policy, timeout, now)
    decision = decision._replace(renews=record.residents_renew and not decision.cull)
    until = record.residents_until
    if until is None or (decision.due_at is not None and until <= decision.due_at):
        return decision
    if now > until:
        return decision._replace(due_at=until)
    return decision._replace(action=Action.KEEP, reason=Reason.ACTIVE, due_at=until, renews=record.residents_renew)


def keeps_app(decision: Decision) -> bool:
    """Whether something that is decided so on keeps its app for as long as things are as they are."""
    if decision.cull or decision.reason in LETS_GO:
        return False
    return decision.due_at is None or decision.reason not in KEEPS_UNTIL


def keeps_app_until(decision: Decision) -> datetime | None:
    """The instant until which something that is decided so on keeps its app; None when it does not, or without end."""
    return None if decision.cull or decision.reason not in KEEPS_UNTIL else decision.due_at
