"""The rules that hold for whatever there is: kernels, terminals and apps."""

from __future__ import annotations

from datetime import datetime, timedelta

from ..policy import CullingPolicy
from ..records import KernelRecord, Record, TerminalRecord
from .verdict import Action, Decision, Hold, Reason, keep, last_use_seen

#: A lease that has no more than this left (seconds) ought to have been renewed long ago: it is taken for one that ends.
LEASE_DOUBT_SECONDS = 180.0


def failed_reading(record: Record, policy: CullingPolicy, now: datetime) -> Decision | None:
    """Doubt keeps: a reading that failed decides nothing."""
    return None if record.error is None else keep(Reason.UNKNOWN, record, now)


def kept_alive(record: Record, policy: CullingPolicy, now: datetime) -> Hold | None:
    """Kept by request up to and including `kept_until`; due then or when it would be without, whichever is later.

    A lease is expected to become later by itself, until it has no more than `LEASE_DOUBT_SECONDS` left.
    """
    if record.kept_until is None or now > record.kept_until:
        return None
    left = (record.kept_until - now).total_seconds()
    return Hold(record.kept_until, Reason.KEPT_ALIVE, renews=record.leased and left > LEASE_DOUBT_SECONDS)


def work_ends(record: Record, policy: CullingPolicy) -> datetime | None:
    """Until when activity signals keep it at most: `max_at_work` after Jupyter itself last saw use, or a user asked.

    In a terminal that is a key: what only prints, such as a program that redraws its screen, is not used by anybody.
    None when there is no such end.
    """
    since = _last_use_made(record)
    if policy.max_at_work <= 0 or since is None:
        return None
    since = since if record.asked_at is None else max(since, record.asked_at)
    return since + timedelta(seconds=policy.max_at_work)


def _last_use_made(record: Record) -> datetime | None:
    """When somebody last used it, as Jupyter saw it: in a terminal the last key, where those are known."""
    typed_at = record.typed_at if isinstance(record, TerminalRecord) else None
    return last_use_seen(record) if typed_at is None else typed_at


def at_work(record: Record, policy: CullingPolicy, now: datetime) -> Decision | None:
    """In use by what an activity signal has seen, until it is asked again and says otherwise; not asked of the busy.

    Up to and including `work_ends`; then what comes after this rule decides, as if it had not been seen.
    """
    busy_anyway = isinstance(record, KernelRecord) and record.state == "busy"
    if record.used_by is None or busy_anyway:
        return None
    end = work_ends(record, policy)
    if end is None:
        return keep(Reason.USED, record, now)
    return None if now > end else keep(Reason.USED, record, now, end)._replace(due_for=Reason.AT_WORK_TOO_LONG)


def no_later(decision: Decision, record: Record, policy: CullingPolicy, timeout: float, now: datetime) -> Decision:
    """A deadline that rests on what an activity signal has seen, or a terminal printed, no later than that may keep it.

    What Jupyter itself has seen still keeps it for a whole `timeout` (seconds).
    """
    end, seen = work_ends(record, policy), _last_use_made(record)
    if end is None or seen is None or decision.due_at is None:
        return decision
    end = max(end, seen + timedelta(seconds=timeout))
    if decision.due_at <= end:
        return decision
    if now <= end:
        return decision._replace(due_at=end, due_for=Reason.AT_WORK_TOO_LONG)
    return decision._replace(action=Action.CULL, reason=Reason.AT_WORK_TOO_LONG, due_at=end)
