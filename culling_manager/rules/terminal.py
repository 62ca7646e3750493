"""Why a terminal is kept or culled."""

from __future__ import annotations

from datetime import datetime

from ..policy import CullingPolicy
from ..records import TerminalRecord
from .common import no_later
from .verdict import Decision, Reason, by_deadline, idle_since, keep


def terminals_off(record: TerminalRecord, policy: CullingPolicy, now: datetime) -> Decision | None:
    """With a timeout of 0 no terminal is culled."""
    return keep(Reason.OFF, record, now) if policy.terminal_timeout <= 0 else None


def terminal_ended(record: TerminalRecord, policy: CullingPolicy, now: datetime) -> Decision | None:
    """A terminal is terminated once; one that a background job still holds afterwards is left to it."""
    return keep(Reason.ENDED, record, now) if record.ended else None


def keep_terminals(record: TerminalRecord, policy: CullingPolicy, now: datetime) -> Decision | None:
    """With `keep_terminals` every terminal is kept."""
    return keep(Reason.KEEP_TERMINALS, record, now) if policy.keep_terminals else None


def not_billed(record: TerminalRecord, policy: CullingPolicy, now: datetime) -> Decision | None:
    """A terminal on compute that costs nothing is kept."""
    return None if record.billed else keep(Reason.NOT_BILLED, record, now)


def with_app(record: TerminalRecord, policy: CullingPolicy, now: datetime) -> Decision | None:
    """A terminal that lives on an app has no deadline of its own."""
    return keep(Reason.WITH_APP, record, now) if record.with_app else None


def no_timestamp(record: TerminalRecord, policy: CullingPolicy, now: datetime) -> Decision | None:
    """Without a last activity nobody can tell how long it has been idle: kept."""
    return keep(Reason.UNKNOWN, record, now) if record.last_activity is None else None


def terminal_idle(record: TerminalRecord, policy: CullingPolicy, now: datetime) -> Decision:
    """Cull strictly after last activity + timeout."""
    since = idle_since(record, now) or now  # `no_timestamp` comes before
    timeout = policy.terminal_timeout
    return no_later(by_deadline(since, timeout, now), record, policy, timeout, now)
