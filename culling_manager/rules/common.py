"""The rules that hold for whatever there is: kernels, terminals and apps."""

from __future__ import annotations

from datetime import datetime

from ..policy import CullingPolicy
from ..records import KernelRecord, Record
from .verdict import Decision, Hold, Reason, keep


def failed_reading(record: Record, policy: CullingPolicy, now: datetime) -> Decision | None:
    """Doubt keeps: a reading that failed decides nothing."""
    return None if record.error is None else keep(Reason.UNKNOWN, record, now)


def kept_alive(record: Record, policy: CullingPolicy, now: datetime) -> Hold | None:
    """Kept by request up to and including `kept_until`; due then or when it would be without, whichever is later."""
    if record.kept_until is None or now > record.kept_until:
        return None
    return Hold(record.kept_until, Reason.KEPT_ALIVE)


def at_work(record: Record, policy: CullingPolicy, now: datetime) -> Decision | None:
    """In use by what an activity signal has seen, until it is asked again and says otherwise; not asked of the busy."""
    busy_anyway = isinstance(record, KernelRecord) and record.state == "busy"
    return None if record.used_by is None or busy_anyway else keep(Reason.USED, record, now)
