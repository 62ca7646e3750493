"""Deciding: a function of a record, the policy and the time, and of nothing else.

Each rule is one small function in `rules`; here they stand in one ordered tuple per kind. The first that gives a
`Decision` is the reason; one that gives a `Hold` before that keeps it until an instant at least. To know what this
software does, read the three tuples.
"""

from __future__ import annotations

from datetime import datetime

from .policy import CullingPolicy
from .records import AppRecord, KernelRecord, Kind, Record, TerminalRecord
from .rules.app import (
    IN_SERVICE,
    KEEPS_UNTIL,
    LETS_GO,
    app_idle,
    apps_off,
    in_use,
    keeps_app,
    keeps_app_until,
    never_seen,
    not_in_service,
    protected,
    too_old,
)
from .rules.common import at_work, failed_reading, kept_alive
from .rules.kernel import (
    QUIET_STATES,
    RECONNECT_SECONDS,
    after_long_run,
    busy,
    busy_too_long,
    connected,
    dead,
    external,
    in_use_by_a_person,
    just_disconnected,
    kernel_idle,
    kernel_timeout,
    kernels_off,
    odd_timeout,
    unknown_state,
)
from .rules.terminal import (
    keep_terminals,
    no_timestamp,
    not_billed,
    terminal_ended,
    terminal_idle,
    terminals_off,
    with_app,
)
from .rules.verdict import (
    JUMP_HOLD_SECONDS,
    Action,
    AnyRecord,
    Cap,
    Decision,
    Hold,
    Reason,
    Rule,
    app_idle_since,
    hold_after,
    hold_for_notice,
)

#: What one asks of the law; where each is written is this page's matter.
__all__ = [
    "APP_RULES",
    "IN_SERVICE",
    "JUMP_HOLD_SECONDS",
    "KEEPS_UNTIL",
    "KERNEL_RULES",
    "LETS_GO",
    "QUIET_STATES",
    "RECONNECT_SECONDS",
    "TERMINAL_RULES",
    "Action",
    "Decision",
    "Hold",
    "Reason",
    "Rule",
    "app_idle_since",
    "decide",
    "decide_app",
    "decide_kernel",
    "decide_terminal",
    "hold_after",
    "hold_for_notice",
    "keeps_app",
    "keeps_app_until",
    "kernel_timeout",
    "timeout",
    "timeout_of",
]

KERNEL_RULES: tuple[Rule[KernelRecord], ...] = (
    failed_reading,
    external,
    kernels_off,
    dead,
    kept_alive,
    odd_timeout,
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

TERMINAL_RULES: tuple[Rule[TerminalRecord], ...] = (
    failed_reading,
    terminals_off,
    terminal_ended,
    keep_terminals,
    not_billed,
    with_app,
    kept_alive,
    no_timestamp,
    at_work,
    terminal_idle,
)

APP_RULES: tuple[Rule[AppRecord], ...] = (
    failed_reading,
    apps_off,
    not_in_service,
    protected,
    never_seen,
    too_old,
    kept_alive,
    in_use,
    at_work,
    app_idle,
)


def _first(rules: tuple[Rule[AnyRecord], ...], record: AnyRecord, policy: CullingPolicy, now: datetime) -> Decision:
    """The first decision, as those that hold before it let it be: the innermost first."""
    holds: list[Hold | Cap] = []
    for rule in rules:
        verdict = rule(record, policy, now)
        if isinstance(verdict, Decision):
            for hold in reversed(holds):
                verdict = hold.on(verdict)
            return verdict
        if verdict is not None:
            holds.append(verdict)
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


def decide(record: Record, policy: CullingPolicy, now: datetime) -> Decision:
    """Decide for whatever it is at `now` (aware UTC), by the rules of its kind."""
    if record.kind is Kind.KERNEL:
        return decide_kernel(record, policy, now)
    if record.kind is Kind.TERMINAL:
        return decide_terminal(record, policy, now)
    return decide_app(record, policy, now)


def timeout(record: Record, policy: CullingPolicy) -> float:
    """Seconds of idleness after which this very thing is due; 0 is never."""
    if record.kind is Kind.KERNEL:
        return kernel_timeout(record, policy)
    return policy.terminal_timeout if record.kind is Kind.TERMINAL else policy.idle_timeout_on(record.instance_type)


def timeout_of(kind: Kind, policy: CullingPolicy) -> float:
    """Seconds: the shortest timeout that something of this kind may have that has none of its own; 0 is never."""
    if kind is Kind.TERMINAL:
        return policy.terminal_timeout
    return policy.shortest_idle_timeout
