"""What was seen of one kernel, terminal or app at one instant, and what came of acting on it.

Records are facts without judgement. Timestamps are aware and in UTC; a naive one is refused, because comparing local
time with UTC is how an idle culler kills fresh work.
"""

from __future__ import annotations

from datetime import datetime, timezone
from enum import Enum
from typing import Literal, NamedTuple

from .errors import RecordError

#: A variable in the environment of kernels and terminals that says whose they, and all they start, are.
MARKER = "CULLING_MANAGER_OWNER"


class Kind(Enum):
    """What a record is about."""

    KERNEL = "kernel"
    TERMINAL = "terminal"
    APP = "app"


def owner(kind: Kind, identity: str, server_pid: int) -> str:
    """What `MARKER` is for one kernel or terminal of one server."""
    return f"{server_pid}:{kind.value}:{identity}"


def utc(value: datetime | None, name: str) -> datetime | None:
    """Give `value` in UTC; None stays None.

    Raises
    ------
    RecordError
        When `value` is not a datetime, or has no time zone.
    """
    if value is None or getattr(value, "tzinfo", None) is timezone.utc:
        return value
    if not isinstance(value, datetime):
        raise RecordError(f"{name} = {value!r} is not a datetime")
    if value.utcoffset() is None:
        raise RecordError(f"{name} = {value.isoformat()} has no time zone, so nobody can tell when it was")
    return value.astimezone(timezone.utc)


class KernelRecord(NamedTuple):
    """One kernel as it was seen.

    `state` is Jupyter's execution state. `idle_timeout` (seconds) is the kernelspec's own ``cull_idle_timeout``, if it
    has one; `odd_timeout` says why what it has instead makes no sense. `error` says why the reading is not to be
    trusted, if it is not. `settled` is False while nothing was heard from the kernel, since its start or since the last
    request to it, that would make its state believable. `app_name` and `instance_type` are what the kernel's model says
    of where it runs, if it says anything. `ran_until` is when its last run ended, which took `run_seconds`.
    `disconnected_at` is when its last connection was closed. `checked_at` is when it was last asked whether it is still
    busy. `asked_by` has asked that it is kept until `kept_until`, and `asked_at` is when a user last asked so; `leased`
    means that this is a lease, which is renewed for as long as some program runs. For
    `used_by` and `used_at` see `Use`. `path` and `session_name` are those of its document, as far as they are known,
    and `person_at` is when somebody was last seen to work in it.
    """

    identity: str
    state: str | None
    last_activity: datetime | None
    name: str = ""
    connections: int = 0
    disconnected_at: datetime | None = None
    started_at: datetime | None = None
    busy_since: datetime | None = None
    checked_at: datetime | None = None
    kept_until: datetime | None = None
    asked_by: str = ""
    asked_at: datetime | None = None
    leased: bool = False
    idle_timeout: float | None = None
    odd_timeout: str | None = None
    alive: bool = True
    owned: bool = True
    settled: bool = True
    app_name: str | None = None
    instance_type: str | None = None
    ran_until: datetime | None = None
    run_seconds: float = 0.0
    used_by: str | None = None
    used_at: datetime | None = None
    path: str | None = None
    session_name: str | None = None
    person_at: datetime | None = None
    error: str | None = None

    @property
    def kind(self) -> Literal[Kind.KERNEL]:
        """What it is about."""
        return Kind.KERNEL


class TerminalRecord(NamedTuple):
    """One terminal as it was seen.

    `ended` means that it was terminated already and only a background job still holds it. `billed` is False for one
    that runs on compute that costs nothing. `with_app` means that it lives and goes with its app. `runs` is what a
    person calls what runs in it, known only where it is told. `typed_at` is when a key was last typed in it, or it was
    made: its `last_activity` may be output that nobody reads. For `kept_until`, `asked_by`, `leased`, `used_by` and
    `used_at` see `KernelRecord`.
    """

    identity: str
    last_activity: datetime | None
    kept_until: datetime | None = None
    asked_by: str = ""
    asked_at: datetime | None = None
    leased: bool = False
    typed_at: datetime | None = None
    ended: bool = False
    billed: bool = True
    with_app: bool = False
    runs: str | None = None
    used_by: str | None = None
    used_at: datetime | None = None
    error: str | None = None

    @property
    def kind(self) -> Literal[Kind.TERMINAL]:
        """What it is about."""
        return Kind.TERMINAL


class AppRecord(NamedTuple):
    """One billed unit of compute as it was seen.

    `state` is what its service says; only ``InService`` is in use or idle. `watched_since` is when this culler first
    saw it so. `last_activity` is the latest of every kernel and terminal that it has or had. `kept_by` says in words
    which of them keeps it for as long as things are as they are, and `residents_until` when the last one that is kept
    until an instant is due, which `residents_renew` says is likely to become later by itself. `protected` means that
    its name is among those never to be deleted. For `kept_until`, `asked_by`, `asked_at`, `leased`, `used_by` and
    `used_at` see `KernelRecord`; `residents_kept_until` is until when one of what lives on it is kept by request, and
    `warned_at` when it was warned that it grows too old.
    """

    identity: str
    name: str
    state: str | None
    app_type: str = ""
    created_at: datetime | None = None
    watched_since: datetime | None = None
    last_activity: datetime | None = None
    kept_by: str | None = None
    residents_until: datetime | None = None
    residents_renew: bool = False
    kept_until: datetime | None = None
    asked_by: str = ""
    asked_at: datetime | None = None
    leased: bool = False
    residents_kept_until: datetime | None = None
    warned_at: datetime | None = None
    protected: bool = False
    instance_type: str | None = None
    used_by: str | None = None
    used_at: datetime | None = None
    error: str | None = None

    @property
    def kind(self) -> Literal[Kind.APP]:
        """What it is about."""
        return Kind.APP


Record = KernelRecord | TerminalRecord | AppRecord


class Use(NamedTuple):
    """What activity signals found: `used_by` says why it is in use now, and `used_at` is when it last was.

    `asked_at` is when they were asked last, and `answered_at` when they had answered. While `used_by` is there it is
    kept; afterwards `used_at` counts as its last activity.
    """

    used_by: str | None = None
    used_at: datetime | None = None
    asked_at: datetime | None = None
    answered_at: datetime | None = None

    def not_after(self, now: datetime) -> Use:
        """The same with nothing later than `now`: that is from before the clock was set back."""
        used, asked, answered = (
            None if at is None else min(at, now) for at in (self.used_at, self.asked_at, self.answered_at)
        )
        return Use(used_by=self.used_by, used_at=used, asked_at=asked, answered_at=answered)


class KeepAlive(NamedTuple):
    """One request: `kind` None is everything, and then there is no `identity`.

    `lease` is its name where it is a lease; that can be renewed until `ends`, so that it holds for so long in all.
    """

    kind: Kind | None
    identity: str | None
    until: datetime
    asked_at: datetime
    asked_by: str = ""
    lease: str | None = None
    ends: datetime | None = None

    @property
    def renewable(self) -> bool:
        """Whether whoever has asked can make it last longer."""
        return self.ends is not None and self.until < self.ends


class Result(Enum):
    """What really happened when a decision to cull was carried out."""

    CULLED = "culled"
    GONE = "gone already"
    CHANGED = "changed meanwhile"
    DRY_RUN = "dry run"
    FAILED = "failed"


class Happening(NamedTuple):
    """Something to tell those who listen: what (`action`), to which record, by which decision, and more words.

    `action` is one of: warned, withdrawn, kept, culled, failed, dry run; of an app also deleting, accepted, refused.
    """

    action: str
    kind: Kind
    record: Record
    reason: str
    at: datetime
    idle_seconds: float | None = None
    due_at: datetime | None = None
    detail: str = ""


class Outcome(NamedTuple):
    """What came of one decision to cull: the fact, where a `Decision` is the wish.

    `name` is what a person calls it: a kernel's document, what ran in a terminal; None where nobody knows.
    """

    kind: Kind
    identity: str
    result: Result
    reason: str
    idle_seconds: float | None
    at: datetime
    message: str = ""
    name: str | None = None
