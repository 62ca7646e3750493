"""Deciding: a function of a record, the policy and the time, and of nothing else.

Each rule is one small function that gives a `Decision` or None. The rules stand in one ordered tuple per kind, and the
first that gives a decision is the reason. To know what this software does, read the two tuples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum
from typing import TypeVar

from .policy import CullingPolicy
from .records import AppRecord, KernelRecord, TerminalRecord

#: Execution states that mean: alive and not working. Any other than these, 'busy' and 'dead' is unknown, and kept.
QUIET_STATES = frozenset({"idle", "starting", "restarting", "autorestarting", "terminating"})

#: The one state of an app that is billed and can be deleted.
IN_SERVICE = "InService"

#: After a clock jump at least this much is left until any deadline (seconds), or the whole timeout if that is shorter.
JUMP_HOLD_SECONDS = 300.0

#: For so long (seconds) after it was seen, or half the timeout if that is shorter, somebody is taken to be at it.
PERSON_SECONDS = 90.0

#: A page that is being reloaded has this long (seconds) to connect again, or half the timeout if that is shorter.
RECONNECT_SECONDS = 30.0


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What follows from record, policy and now.

    `due_at` is the instant after which the same record is culled (for one that is culled: the deadline that has
    passed). It is None when time alone would not change anything. `idle_seconds` is None when it cannot be known.
    """

    action: Action
    reason: Reason
    idle_seconds: float | None
    due_at: datetime | None

    @property
    def cull(self) -> bool:
        """Whether to cull."""
        return self.action is Action.CULL


AnyRecord = TypeVar("AnyRecord", KernelRecord, TerminalRecord, AppRecord)
Rule = Callable[[AnyRecord, CullingPolicy, datetime], "Decision | None"]


def _idle_since(record: KernelRecord | TerminalRecord | AppRecord, now: datetime) -> datetime | None:
    """Give the last activity, or the start of a kernel that never had any; one in the future counts as now."""
    last = app_idle_since(record) if isinstance(record, AppRecord) else record.last_activity
    if last is None:
        last = getattr(record, "started_at", None)
    if last is None:
        return None
    if record.used_at is not None and record.used_at > last:
        last = record.used_at
    return min(last, now)


def _keep(
    reason: Reason, record: KernelRecord | TerminalRecord | AppRecord, now: datetime, due_at: datetime | None = None
) -> Decision:
    since = _idle_since(record, now)
    idle = None if since is None else (now - since).total_seconds()
    return Decision(action=Action.KEEP, reason=reason, idle_seconds=idle, due_at=due_at)


def _by_deadline(since: datetime, timeout: float, now: datetime) -> Decision:
    """Cull strictly after ``since + timeout``; at the very deadline it is still kept."""
    due_at = since + timedelta(seconds=timeout)
    late = now > due_at
    return Decision(
        action=Action.CULL if late else Action.KEEP,
        reason=Reason.IDLE if late else Reason.ACTIVE,
        idle_seconds=(now - since).total_seconds(),
        due_at=due_at,
    )


def _kept_until(
    until: datetime, record: AnyRecord, otherwise: Decision, now: datetime, reason: Reason = Reason.KEPT_ALIVE
) -> Decision:
    """Kept until an instant; `otherwise` is what would hold without that."""
    due_at = None if otherwise.due_at is None else max(otherwise.due_at, until)
    return _keep(reason, record, now, due_at)


def at_work(record: AnyRecord, policy: CullingPolicy, now: datetime) -> Decision | None:
    """In use by what an activity signal has seen, until it is asked again and says otherwise; not asked of the busy."""
    busy_anyway = getattr(record, "state", None) == "busy"
    return None if record.used_by is None or busy_anyway else _keep(Reason.USED, record, now)


def failed_reading(record: AnyRecord, policy: CullingPolicy, now: datetime) -> Decision | None:
    """Doubt keeps: a reading that failed decides nothing."""
    return None if record.error is None else _keep(Reason.UNKNOWN, record, now)


def external(record: KernelRecord, policy: CullingPolicy, now: datetime) -> Decision | None:
    """A kernel that this server did not start is left alone."""
    return None if record.owned else _keep(Reason.EXTERNAL, record, now)


def kernel_timeout(record: KernelRecord, policy: CullingPolicy) -> float:
    """Seconds until this kernel is due: the kernelspec's own, else the policy's; 0 is off, and off for all is off."""
    if policy.idle_timeout <= 0 or record.idle_timeout is None:
        return policy.idle_timeout
    return max(record.idle_timeout, 0.0)


def kernels_off(record: KernelRecord, policy: CullingPolicy, now: datetime) -> Decision | None:
    """With an idle timeout of 0 nothing happens, to dead kernels neither."""
    return _keep(Reason.OFF, record, now) if kernel_timeout(record, policy) <= 0 else None


def dead(record: KernelRecord, policy: CullingPolicy, now: datetime) -> Decision | None:
    """A kernel without a process is culled now, whatever its state still says."""
    if record.alive and record.state != "dead":
        return None
    since = _idle_since(record, now)
    idle = None if since is None else (now - since).total_seconds()
    return Decision(action=Action.CULL, reason=Reason.DEAD, idle_seconds=idle, due_at=now)


def kernel_kept_alive(record: KernelRecord, policy: CullingPolicy, now: datetime) -> Decision | None:
    """Kept up to and including `kept_until`; due then, or later when it is still in use then."""
    if record.kept_until is None or now > record.kept_until:
        return None
    return _kept_until(record.kept_until, record, decide_kernel(replace(record, kept_until=None), policy, now), now)


def unknown_state(record: KernelRecord, policy: CullingPolicy, now: datetime) -> Decision | None:
    """A state that we do not know may mean work: kept."""
    known = record.state == "busy" or record.state in QUIET_STATES
    return None if known and _idle_since(record, now) is not None else _keep(Reason.UNKNOWN, record, now)


def _busy_deadline(record: KernelRecord, policy: CullingPolicy) -> datetime | None:
    """The instant after which the kernel has been busy too long, or None when busy may last."""
    if policy.busy_timeout <= 0 or record.busy_since is None:
        return None
    return record.busy_since + timedelta(seconds=policy.busy_timeout)


def busy(record: KernelRecord, policy: CullingPolicy, now: datetime) -> Decision | None:
    """A busy kernel is kept, up to and including `busy_since` + `busy_timeout` where that is set."""
    if record.state != "busy" or policy.cull_busy:
        return None
    deadline = _busy_deadline(record, policy)
    if deadline is not None and now > deadline:
        return None
    held = record.connections > 0 and not policy.cull_connected
    return _keep(Reason.BUSY, record, now, None if held else deadline)


def connected(record: KernelRecord, policy: CullingPolicy, now: datetime) -> Decision | None:
    """An open connection keeps, unless `cull_connected`."""
    held = record.connections > 0 and not policy.cull_connected
    return _keep(Reason.CONNECTED, record, now) if held else None


def just_disconnected(record: KernelRecord, policy: CullingPolicy, now: datetime) -> Decision | None:
    """Unless `cull_connected`, kept up to and including 30 s (or half its timeout) after its last connection closed.

    So a page that is reloaded, or a network that fails for a moment, does not end what an open page has kept.
    """
    closed_at = record.disconnected_at
    if policy.cull_connected or record.connections > 0 or closed_at is None or closed_at > now:
        return None
    until = closed_at + timedelta(seconds=min(RECONNECT_SECONDS, kernel_timeout(record, policy) / 2))
    if now > until:
        return None
    otherwise = decide_kernel(replace(record, disconnected_at=None), policy, now)
    return otherwise if _outlasts(otherwise, until) else _kept_until(until, record, otherwise, now, Reason.DISCONNECTED)


def _outlasts(decision: Decision, until: datetime) -> bool:
    """Whether something is kept beyond an instant anyway."""
    return not decision.cull and (decision.due_at is None or decision.due_at >= until)


def busy_too_long(record: KernelRecord, policy: CullingPolicy, now: datetime) -> Decision | None:
    """Busy strictly longer than `busy_timeout`: cull, however fresh its output is."""
    if record.state != "busy":
        return None
    deadline = _busy_deadline(record, policy)
    if deadline is None or now <= deadline:
        return None
    return Decision(
        action=Action.CULL,
        reason=Reason.BUSY_TOO_LONG,
        idle_seconds=(now - (_idle_since(record, now) or now)).total_seconds(),
        due_at=deadline,
    )


def in_use_by_a_person(record: KernelRecord, policy: CullingPolicy, now: datetime) -> Decision | None:
    """Kept up to and including 90 s (or half its timeout) after somebody was seen to work in its document.

    To work in it counts as its last activity, too, so its deadline is a whole timeout later.
    """
    if record.person_at is None or record.person_at > now:
        return None
    until = record.person_at + timedelta(seconds=min(PERSON_SECONDS, kernel_timeout(record, policy) / 2))
    if now > until:
        return None
    otherwise = decide_kernel(replace(record, person_at=None), policy, now)
    return _kept_until(until, record, otherwise, now, Reason.PERSON)


def after_long_run(record: KernelRecord, policy: CullingPolicy, now: datetime) -> Decision | None:
    """After a run of `long_run` or longer kept up to and including its end + `grace`."""
    if policy.grace <= 0 or record.ran_until is None or record.run_seconds < policy.long_run or record.state == "busy":
        return None
    if record.ran_until > now:
        return None  # from before the clock was set back
    until = record.ran_until + timedelta(seconds=policy.grace)
    if now > until:
        return None
    return _kept_until(until, record, decide_kernel(replace(record, ran_until=None), policy, now), now, Reason.GRACE)


def kernel_idle(record: KernelRecord, policy: CullingPolicy, now: datetime) -> Decision | None:
    """Cull strictly after last activity (or start, if there was none) + timeout."""
    since = _idle_since(record, now) or now  # `unknown_state` comes before
    decision = _by_deadline(since, kernel_timeout(record, policy), now)
    limit = _busy_deadline(record, policy) if record.state == "busy" else None
    if limit is not None and decision.due_at is not None and limit < decision.due_at:
        return replace(decision, due_at=limit)
    return decision


KERNEL_RULES: tuple[Rule[KernelRecord], ...] = (
    failed_reading,
    external,
    kernels_off,
    dead,
    kernel_kept_alive,
    unknown_state,
    busy,
    connected,
    just_disconnected,
    busy_too_long,
    at_work,
    in_use_by_a_person,
    after_long_run,
    kernel_idle,
)


def terminals_off(record: TerminalRecord, policy: CullingPolicy, now: datetime) -> Decision | None:
    """With a timeout of 0 no terminal is culled."""
    return _keep(Reason.OFF, record, now) if policy.terminal_timeout <= 0 else None


def terminal_ended(record: TerminalRecord, policy: CullingPolicy, now: datetime) -> Decision | None:
    """A terminal is terminated once; one that a background job still holds afterwards is left to it."""
    return _keep(Reason.ENDED, record, now) if record.ended else None


def keep_terminals(record: TerminalRecord, policy: CullingPolicy, now: datetime) -> Decision | None:
    """With `keep_terminals` every terminal is kept."""
    return _keep(Reason.KEEP_TERMINALS, record, now) if policy.keep_terminals else None


def not_billed(record: TerminalRecord, policy: CullingPolicy, now: datetime) -> Decision | None:
    """A terminal on compute that costs nothing is kept."""
    return None if record.billed else _keep(Reason.NOT_BILLED, record, now)


def with_app(record: TerminalRecord, policy: CullingPolicy, now: datetime) -> Decision | None:
    """A terminal that lives on an app has no deadline of its own."""
    return _keep(Reason.WITH_APP, record, now) if record.with_app else None


def terminal_kept_alive(record: TerminalRecord, policy: CullingPolicy, now: datetime) -> Decision | None:
    """Kept up to and including `kept_until`; due then or at its own deadline, whichever is later."""
    if record.kept_until is None or now > record.kept_until:
        return None
    return _kept_until(record.kept_until, record, decide_terminal(replace(record, kept_until=None), policy, now), now)


def no_timestamp(record: TerminalRecord, policy: CullingPolicy, now: datetime) -> Decision | None:
    """Without a last activity nobody can tell how long it has been idle: kept."""
    return _keep(Reason.UNKNOWN, record, now) if record.last_activity is None else None


def terminal_idle(record: TerminalRecord, policy: CullingPolicy, now: datetime) -> Decision | None:
    """Cull strictly after last activity + timeout."""
    since = _idle_since(record, now) or now  # `no_timestamp` comes before
    return _by_deadline(since, policy.terminal_timeout, now)


TERMINAL_RULES: tuple[Rule[TerminalRecord], ...] = (
    failed_reading,
    terminals_off,
    terminal_ended,
    keep_terminals,
    not_billed,
    with_app,
    terminal_kept_alive,
    no_timestamp,
    at_work,
    terminal_idle,
)


def app_idle_since(record: AppRecord) -> datetime | None:
    """The latest of an app's creation, first sight and last activity; None when it was never seen in service."""
    if record.watched_since is None:
        return None
    known = (record.watched_since, record.created_at, record.last_activity)
    return max(each for each in known if each is not None)


def apps_off(record: AppRecord, policy: CullingPolicy, now: datetime) -> Decision | None:
    """With an idle timeout of 0 no app is deleted."""
    return _keep(Reason.OFF, record, now) if policy.idle_timeout <= 0 else None


def not_in_service(record: AppRecord, policy: CullingPolicy, now: datetime) -> Decision | None:
    """Only what is in service can be deleted."""
    return None if record.state == IN_SERVICE else _keep(Reason.NOT_IN_SERVICE, record, now)


def protected(record: AppRecord, policy: CullingPolicy, now: datetime) -> Decision | None:
    """An app whose name the admin has listed is never deleted."""
    return _keep(Reason.PROTECTED, record, now) if record.protected else None


def never_seen(record: AppRecord, policy: CullingPolicy, now: datetime) -> Decision | None:
    """Without a first sight nobody can tell how long it has been idle: kept."""
    return _keep(Reason.UNKNOWN, record, now) if record.watched_since is None else None


def app_kept_alive(record: AppRecord, policy: CullingPolicy, now: datetime) -> Decision | None:
    """Kept up to and including `asked_until`; due then or when it would be without, whichever is later."""
    if record.asked_until is None or now > record.asked_until:
        return None
    otherwise = decide_app(replace(record, asked_until=None), policy, now)
    return _kept_until(record.asked_until, record, otherwise, now)


def in_use(record: AppRecord, policy: CullingPolicy, now: datetime) -> Decision | None:
    """A kernel or terminal on it that is kept keeps it."""
    return None if record.kept_by is None else _keep(Reason.IN_USE, record, now)


def app_idle(record: AppRecord, policy: CullingPolicy, now: datetime) -> Decision | None:
    """Delete strictly after the latest of creation, first sight and last activity + timeout.

    Not before the last of its kernels and terminals is due either, which may have timeouts of their own.
    """
    decision = _by_deadline(_idle_since(record, now) or now, policy.idle_timeout, now)
    until = record.kept_until
    if until is None or (decision.due_at is not None and until <= decision.due_at):
        return decision
    if now > until:
        return replace(decision, due_at=until)
    return replace(decision, action=Action.KEEP, reason=Reason.ACTIVE, due_at=until)


APP_RULES: tuple[Rule[AppRecord], ...] = (
    failed_reading,
    apps_off,
    not_in_service,
    protected,
    never_seen,
    app_kept_alive,
    in_use,
    at_work,
    app_idle,
)

#: Decisions on a kernel or terminal that do not keep its app: it goes with the app, or has gone already.
LETS_GO = frozenset({Reason.WITH_APP, Reason.ENDED, Reason.NOT_BILLED})
#: Decisions that keep it until their `due_at`, if nothing happens.
KEEPS_UNTIL = frozenset(
    {Reason.ACTIVE, Reason.KEPT_ALIVE, Reason.GRACE, Reason.CLOCK_JUMP, Reason.DISCONNECTED, Reason.PERSON}
)


def keeps_app(decision: Decision) -> bool:
    """Whether something that is decided so on keeps its app for as long as things are as they are."""
    if decision.cull or decision.reason in LETS_GO:
        return False
    return decision.due_at is None or decision.reason not in KEEPS_UNTIL


def keeps_app_until(decision: Decision) -> datetime | None:
    """The instant until which something that is decided so on keeps its app; None when it does not, or without end."""
    return None if decision.cull or decision.reason not in KEEPS_UNTIL else decision.due_at


def _first(rules: tuple[Rule[AnyRecord], ...], record: AnyRecord, policy: CullingPolicy, now: datetime) -> Decision:
    for rule in rules:
        decision = rule(record, policy, now)
        if decision is not None:
            return decision
    raise AssertionError("the last rule always decides")


def decide_kernel(record: KernelRecord, policy: CullingPolicy, now: datetime) -> Decision:
    """Decide for one kernel at `now` (aware UTC); the first of `KERNEL_RULES` that holds is the reason."""
    return _first(KERNEL_RULES, record, policy, now)


def decide_terminal(record: TerminalRecord, policy: CullingPolicy, now: datetime) -> Decision:
    """Decide for one terminal at `now` (aware UTC); the first of `TERMINAL_RULES` that holds is the reason."""
    return _first(TERMINAL_RULES, record, policy, now)


def decide_app(record: AppRecord, policy: CullingPolicy, now: datetime) -> Decision:
    """Decide for one app at `now` (aware UTC); the first of `APP_RULES` that holds is the reason."""
    return _first(APP_RULES, record, policy, now)


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
        return replace(decision, due_at=floor)
    return replace(decision, action=Action.KEEP, reason=Reason.CLOCK_JUMP, due_at=floor)
