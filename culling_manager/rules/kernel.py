"""Why a kernel is kept or culled."""

from __future__ import annotations

from datetime import datetime, timedelta

from ..policy import CullingPolicy
from ..records import KernelRecord
from .common import no_later
from .own_timeout import own_seconds
from .verdict import Action, Decision, Hold, Reason, by_deadline, idle_since, keep

#: Execution states that mean: alive and not working. Any other than these, 'busy' and 'dead' is unknown, and kept.
QUIET_STATES = frozenset({"idle", "starting", "restarting", "autorestarting", "terminating"})

#: A page that is being reloaded has this long (seconds) to connect again, or half the timeout if that is shorter.
RECONNECT_SECONDS = 30.0

#: For so long (seconds) after it was seen, or half the timeout if that is shorter, somebody is taken to be at it.
PERSON_SECONDS = 90.0


def kernel_timeout(record: KernelRecord, policy: CullingPolicy) -> float:
    """Seconds until this kernel is due: the kernelspec's own, else the policy's; 0 is off, and off for all is off."""
    return own_seconds(record.idle_timeout, policy, record.instance_type)


def external(record: KernelRecord, policy: CullingPolicy, now: datetime) -> Decision | None:
    """A kernel that this server did not start is left alone."""
    return None if record.owned else keep(Reason.EXTERNAL, record, now)


def kernels_off(record: KernelRecord, policy: CullingPolicy, now: datetime) -> Decision | None:
    """With an idle timeout of 0 nothing happens, to dead kernels neither."""
    return keep(Reason.OFF, record, now) if kernel_timeout(record, policy) <= 0 else None


def dead(record: KernelRecord, policy: CullingPolicy, now: datetime) -> Decision | None:
    """A kernel without a process is culled now, whatever its state still says."""
    if record.alive and record.state != "dead":
        return None
    since = idle_since(record, now)
    idle = None if since is None else (now - since).total_seconds()
    return Decision(action=Action.CULL, reason=Reason.DEAD, idle_seconds=idle, due_at=now)


def odd_timeout(record: KernelRecord, policy: CullingPolicy, now: datetime) -> Decision | None:
    """Kept, for a kernelspec's own timeout that makes no sense may mean never; under `max_idle_timeout` it may not."""
    return None if record.odd_timeout is None or policy.max_idle_timeout > 0 else keep(Reason.UNKNOWN, record, now)


def unknown_state(record: KernelRecord, policy: CullingPolicy, now: datetime) -> Decision | None:
    """A state that we do not know may mean work: kept."""
    known = record.state == "busy" or record.state in QUIET_STATES
    return None if known and idle_since(record, now) is not None else keep(Reason.UNKNOWN, record, now)


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
    return keep(Reason.BUSY, record, now, None if held else deadline)


def connected(record: KernelRecord, policy: CullingPolicy, now: datetime) -> Decision | None:
    """An open connection keeps, unless `cull_connected`."""
    held = record.connections > 0 and not policy.cull_connected
    return keep(Reason.CONNECTED, record, now) if held else None


def just_disconnected(record: KernelRecord, policy: CullingPolicy, now: datetime) -> Hold | None:
    """Unless `cull_connected`, kept up to and including 30 s (or half its timeout) after its last connection closed.

    So a page that is reloaded, or a network that fails for a moment, does not end what an open page has kept. One that
    is kept for longer than that anyway is kept for that reason.
    """
    closed_at = record.disconnected_at
    if policy.cull_connected or record.connections > 0 or closed_at is None or closed_at > now:
        return None
    until = closed_at + timedelta(seconds=min(RECONNECT_SECONDS, kernel_timeout(record, policy) / 2))
    return None if now > until else Hold(until, Reason.DISCONNECTED, gives_way=True)


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
        idle_seconds=(now - (idle_since(record, now) or now)).total_seconds(),
        due_at=deadline,
    )


def in_use_by_a_person(record: KernelRecord, policy: CullingPolicy, now: datetime) -> Hold | None:
    """Kept up to and including 90 s (or half its timeout) after somebody was seen to work in its document.

    To work in it counts as its last activity, too, so its deadline is a whole timeout later.
    """
    if record.person_at is None or record.person_at > now:
        return None
    until = record.person_at + timedelta(seconds=min(PERSON_SECONDS, kernel_timeout(record, policy) / 2))
    return None if now > until else Hold(until, Reason.PERSON)


def after_long_run(record: KernelRecord, policy: CullingPolicy, now: datetime) -> Hold | None:
    """After a run of `long_run` or longer kept up to and including its end + `grace`."""
    if policy.grace <= 0 or record.ran_until is None or record.run_seconds < policy.long_run or record.state == "busy":
        return None
    if record.ran_until > now:
        return None  # from before the clock was set back
    until = record.ran_until + timedelta(seconds=policy.grace)
    return None if now > until else Hold(until, Reason.GRACE)


def kernel_idle(record: KernelRecord, policy: CullingPolicy, now: datetime) -> Decision:
    """Cull strictly after last activity (or start, if there was none) + timeout."""
    since = idle_since(record, now) or now  # `unknown_state` comes before
    timeout = kernel_timeout(record, policy)
    decision = no_later(by_deadline(since, timeout, now), record, policy, timeout, now)
    limit = _busy_deadline(record, policy) if record.state == "busy" else None
    if limit is not None and decision.due_at is not None and limit < decision.due_at:
        return decision._replace(due_at=limit)
    return decision
