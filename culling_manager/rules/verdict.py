"""What a rule can say: a `Decision`, or a `Hold` until an instant, or nothing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from enum import Enum
from typing import NamedTuple, TypeVar

from ..policy import CullingPolicy
from ..records import AppRecord, KernelRecord, Record, TerminalRecord

#: After a clock jump at least this much is left until any deadline (seconds), or the whole timeout if that is shorter.
JUMP_HOLD_SECONDS = 300.0


class Action(Enum):
    """What to do."""

    KEEP = "keep"
    CULL = "cull"


class Reason(Enum):
    """Why. The values are what people and programs read."""

    UNKNOWN = "unknown"
    OFF = "off"
    EXTERNAL = "external"
    DEAD = "dead"
    KEPT_ALIVE = "kept alive"
    BUSY = "busy"
    BUSY_TOO_LONG = "busy too long"
    CONNECTED = "connected"
    DISCONNECTED = "just disconnected"
    ACTIVE = "active"
    IDLE = "idle"
    KEEP_TERMINALS = "keep_terminals"
    NOT_BILLED = "not billed"
    WITH_APP = "goes with its app"
    ENDED = "ended"
    CLOCK_JUMP = "clock jump"
    NOT_IN_SERVICE = "not in service"
    PROTECTED = "protected"
    IN_USE = "in use"
    USED = "at work"
    PERSON = "in use by a person"
    GRACE = "grace period"
    AT_WORK_TOO_LONG = "at work too long"
    TOO_OLD = "too old"


class Decision(NamedTuple):
    """What follows from record, policy and now.

    `due_at` is the instant after which the same record is culled (for one that is culled: the deadline that has
    passed). It is None when time alone would not change anything. `due_for` is the reason for which it is due then,
    where what keeps it now would not have ended by itself, and `cap_at` when it is due for its age. `renews` means that
    a lease keeps it, so that this becomes later by itself for as long as some program runs. `idle_seconds` is None when
    it cannot be known.
    """

    action: Action
    reason: Reason
    idle_seconds: float | None
    due_at: datetime | None
    due_for: Reason | None = None
    cap_at: datetime | None = None
    renews: bool = False

    @property
    def cull(self) -> bool:
        """Whether to cull."""
        return self.action is Action.CULL


class Hold(NamedTuple):
    """Kept up to and including `until`, whatever the rules after this one say; one that `gives_way` is no reason
    where they keep it for as long anyway; `renews` as in `Decision`.
    """

    until: datetime
    reason: Reason
    gives_way: bool = False
    renews: bool = False

    def on(self, decision: Decision) -> Decision:
        """What becomes of a decision of the rules after this one: the later deadline of both, and this reason."""
        due_at = decision.due_at
        if self.gives_way and not decision.cull and (due_at is None or due_at >= self.until):
            return decision
        later = None if due_at is None else max(due_at, self.until)
        due_for = decision.due_for if later == due_at else None
        renews = self.renews or decision.renews
        return decision._replace(action=Action.KEEP, reason=self.reason, due_at=later, due_for=due_for, renews=renews)


class Cap(NamedTuple):
    """Not kept beyond `at`, for this reason, whatever the rules after this one say."""

    at: datetime
    reason: Reason

    def on(self, decision: Decision) -> Decision:
        """What becomes of a decision of the rules after this one: the earlier deadline of both."""
        if decision.cull:
            return decision
        if decision.due_at is not None and decision.due_at <= self.at:
            return decision._replace(cap_at=self.at)
        return decision._replace(due_at=self.at, due_for=self.reason, cap_at=self.at, renews=False)


Verdict = Decision | Hold | Cap | None
AnyRecord = TypeVar("AnyRecord", KernelRecord, TerminalRecord, AppRecord)
Rule = Callable[[AnyRecord, CullingPolicy, datetime], Verdict]


def last_use_seen(record: Record) -> datetime | None:
    """When Jupyter itself last saw use of it, or the start of a kernel that never had any; None when nobody knows."""
    if isinstance(record, AppRecord):
        return app_idle_since(record)
    if isinstance(record, KernelRecord):
        return record.last_activity or record.started_at
    return record.last_activity


def idle_since(record: Record, now: datetime) -> datetime | None:
    """Give the last activity, or the start of a kernel that never had any; one in the future counts as now."""
    last = last_use_seen(record)
    if last is None:
        return None
    if record.used_at is not None and record.used_at > last:
        last = record.used_at
    return min(last, now)


def app_idle_since(record: AppRecord) -> datetime | None:
    """The latest of an app's creation, first sight and last activity; None when it was never seen in service."""
    if record.watched_since is None:
        return None
    known = (record.watched_since, record.created_at, record.last_activity)
    return max(each for each in known if each is not None)


def keep(reason: Reason, record: Record, now: datetime, due_at: datetime | None = None) -> Decision:
    """Keep for this reason; until `due_at`, where that is given and nothing else happens."""
    since = idle_since(record, now)
    idle = None if since is None else (now - since).total_seconds()
    return Decision(action=Action.KEEP, reason=reason, idle_seconds=idle, due_at=due_at)


def by_deadline(since: datetime, timeout: float, now: datetime) -> Decision:
    """Cull strictly after ``since + timeout``; at the very deadline it is still kept."""
    due_at = since + timedelta(seconds=timeout)
    late = now > due_at
    return Decision(
        action=Action.CULL if late else Action.KEEP,
        reason=Reason.IDLE if late else Reason.ACTIVE,
        idle_seconds=(now - since).total_seconds(),
        due_at=due_at,
    )


def hold_after(decision: Decision, jumped_at: datetime | None, timeout: float, now: datetime) -> Decision:
    """Move a deadline so that after a clock jump at least min(`timeout`, 300 s) is left.

    A decision for a dead kernel stands: it does not rest on a clock. One without a deadline stands too.
    """
    if jumped_at is None or decision.due_at is None or decision.reason is Reason.DEAD:
        return decision
    floor = jumped_at + timedelta(seconds=min(timeout, JUMP_HOLD_SECONDS))
    if decision.due_at >= floor:
        return decision
    if now > floor:
        return decision._replace(due_at=floor)
    return decision._replace(action=Action.KEEP, reason=Reason.CLOCK_JUMP, due_at=floor)


def hold_for_notice(decision: Decision, given_at: datetime, seconds: float, now: datetime) -> Decision:
    """Move the deadline of what is idle to `seconds` after notice was given, up to and including that instant.

    A later deadline stands, and so does one that does not rest on being idle.
    """
    floor = given_at + timedelta(seconds=seconds)
    if decision.reason not in (Reason.IDLE, Reason.ACTIVE) or decision.due_at is None or decision.due_at >= floor:
        return decision
    if now > floor:
        return decision._replace(due_at=floor)
    return decision._replace(action=Action.KEEP, reason=Reason.ACTIVE, due_at=floor)
