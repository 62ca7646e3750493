"""Local kernels as records: what upstream knows of them, what we noted besides, and the words to stop one."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from jupyter_core.utils import ensure_async
from traitlets import TraitError

from ..decisions import QUIET_STATES
from ..engine.clock import NEVER, utcnow
from ..engine.ports import KEPT, Roots
from ..errors import ErrorCode
from ..policy import CullingPolicy
from ..records import KernelRecord, Kind, utc
from ..rules.own_timeout import NOTHING, OwnTimeout, own_seconds, own_timeout_in
from .activity import KernelActivity
from .connected import Connected
from .documents import Documents
from .hosts import KernelHost
from .kernel_stops import KernelStops
from .local import local_pid
from .probe import confirm, prove


class KernelSource(Connected):
    """Local kernels as records."""

    kind = Kind.KERNEL
    #: Cancelled in the middle, jupyter_client leaves a kernel that can never be shut down.
    stop_can_be_cancelled = False

    def __init__(self, manager: KernelHost) -> None:
        super().__init__(manager)
        self.documents = Documents(manager.parent)
        self.unguarded: set[str] = set()
        self.special: set[str] = set()
        self.own_timeouts: dict[str, OwnTimeout] = {}
        self.stops = KernelStops(manager)
        self._first_proof = NEVER

    def settings(self) -> Mapping[str, Any]:
        """The manager's traits as fields of `CullingPolicy`."""
        found = self.manager.policy_fields()
        self._long_run = found["long_run"]
        for activity in self.activities.values():
            activity.run.long_run = self._long_run
        return found

    def apply(self, changes: Mapping[str, Any]) -> None:
        """Take over an idle timeout that was set at run time."""
        if "idle_timeout" in changes:
            self.manager.idle_timeout = changes["idle_timeout"] / 60
        if "idle_timeouts" in changes:
            self.manager.idle_timeouts = {pattern: seconds / 60 for pattern, seconds in changes["idle_timeouts"]}

    def glance(self, policy: CullingPolicy) -> Iterable[tuple[str, datetime | None, float | None]]:
        """Identity, last activity and own timeout of each kernel."""
        timeouts, connections, sockets = self.own_timeouts, self.manager._kernel_connections, self.sockets
        untold = not policy.cull_connected and self.sockets.unknown is not None
        activities, special, counted = self.activities, self.special, self.sockets.any
        told_last: float | None = None
        own_last: float | None = None
        busy_keeps = not policy.cull_busy and policy.busy_timeout <= 0
        wait, now, first_proof = timedelta(seconds=policy.idle_timeout), utcnow(), NEVER
        for kernel_id, kernel in list(self.manager._kernels.items()):
            own: float | None = None
            activity = activities.get(kernel_id)
            try:
                told = timeouts.get(kernel_id)
                if told is None:
                    told = timeouts[kernel_id] = self.own_timeout(kernel)
                seconds, odd = told
                if seconds is not None:
                    if seconds != told_last:  # most have the same
                        told_last, own_last = seconds, _own(seconds, policy)
                    own = own_last
                state = kernel.execution_state
                last = kernel.last_activity
                if state == "busy" or (activity is not None and activity.outstanding.begun and activity.works(state)):
                    proof = _proof_at(last, activity, wait if own is None else timedelta(seconds=own))
                    last = KEPT if busy_keeps and now < proof else None
                    first_proof = min(first_proof, proof) if now < proof else first_proof
                elif state not in QUIET_STATES or last is None or last.tzinfo is None or odd is not None or untold:
                    last = None
                elif not policy.cull_connected and (
                    connections.get(kernel_id) or (counted and sockets.count(kernel_id))
                ):
                    last = KEPT
            except Exception:
                last = None  # `read` fails on it too, and tells
            restarting = activity is not None and activity.restarting
            if restarting or kernel_id in special or (own is not None and own <= 0):
                last = None
            yield kernel_id, last, own
        self._first_proof = first_proof

    def next_proof(self) -> datetime:
        """When the first of the busy kernels that a glance left out is to be asked whether it still is."""
        return self._first_proof

    def started(self, identity: str) -> KernelActivity:
        """A kernel was started: what its kernelspec says holds for as long as it lives."""
        with suppress(Exception):  # a glance fails on it too, and then `read` tells
            self.own_timeouts[identity] = self.own_timeout(self.manager._kernels[identity])
        return self.activity(identity)

    def exists(self, identity: str) -> bool:
        """Whether the kernel is still listed."""
        return identity in self.manager._kernels

    def forget(self, identity: str) -> None:
        """The kernel is gone."""
        self.activities.pop(identity, None)
        self.own_timeouts.pop(identity, None)
        self.special.discard(identity)
        self.unguarded.discard(identity)

    def catch_up(self, identity: str) -> None:
        """Count requests that were accepted and are still on their way to the kernel."""
        if identity in self.activities:
            self.activities[identity].catch_waiting(utcnow())

    def fingerprint(self, identity: str) -> Hashable:
        """The fingerprint of one kernel. KeyError when it is gone."""
        kernel = self.manager._kernels[identity]
        activity = self.activities.get(identity)
        if activity is not None and activity.restarting:
            return None
        return (
            getattr(kernel, "execution_state", None),
            last_activity(kernel),
            self.connections(identity),
            0 if activity is None else activity.version,
        )

    def read(self, identity: str, now: datetime) -> KernelRecord:
        """Read one kernel. KeyError when it is gone."""
        kernel = self.manager._kernels[identity]
        activity = self.activity(identity)
        state, own = getattr(kernel, "execution_state", None), self.own_timeout(kernel)
        state = "busy" if activity.works(state) else state
        activity.run.follow(state == "busy", now)
        last = utc(last_activity(kernel), "last_activity")
        noted = now if activity.restarting else activity.noted_at
        return KernelRecord(
            identity=identity,
            name=getattr(kernel, "kernel_name", "") or "",
            state="restarting" if activity.restarting else state,
            last_activity=noted if last is not None and noted is not None and noted > last else last,
            connections=self.connections(identity),
            disconnected_at=activity.disconnected_at,
            started_at=activity.started_at,
            busy_since=activity.run.busy_since,
            checked_at=activity.checked_at,
            idle_timeout=own.seconds,
            odd_timeout=own.odd,
            alive=not activity.gone,
            owned=getattr(kernel, "owns_kernel", True) is not False,
            settled=activity.settled and not activity.outstanding,
            ran_until=activity.run.ran_until,
            run_seconds=activity.run.run_seconds,
            person_at=activity.person_at,
            error=self.untold(state, activity),
            **self.documents.fields(identity),
        )

    def own_timeout(self, kernel: Any) -> OwnTimeout:
        """What the kernelspec says of its own ``cull_idle_timeout``."""
        spec = getattr(kernel, "kernel_spec", None)
        metadata = getattr(spec, "metadata", None)
        return own_timeout_in(metadata) if metadata else NOTHING

    def unreadable(self, identity: str, error: str) -> KernelRecord:
        """The record of a kernel whose reading failed."""
        return KernelRecord(identity=identity, state=None, last_activity=None, error=error)

    def stale_after(self, policy: CullingPolicy) -> float | None:
        """A kernel that no restarter guards may die unseen, so its process is looked at every heartbeat."""
        return policy.cull_interval if self.unguarded and policy.idle_timeout > 0 else None

    async def refresh(self) -> None:
        """See whether the process of each unguarded kernel is still there."""
        for kernel_id in list(self.unguarded):
            kernel = self.manager._kernels.get(kernel_id)
            activity = self.activity(kernel_id)
            if kernel is None or activity.restarting or kernel.shutting_down or not kernel.ready.done():
                continue
            try:
                gone = not await ensure_async(kernel.is_alive())
            except Exception as error:
                words = f"kernel {kernel_id}: is it alive? {error!r}"
                self.manager._culler.trouble(f"kernel {kernel_id}", words, ErrorCode.UNREAD)
                continue
            if gone != activity.gone and not activity.restarting:
                activity.gone = gone
                activity.version += 1
                self.special.add(kernel_id)

    async def confirm(self, record: KernelRecord) -> None:
        """Ask a kernel whether it works when its state cannot show it: never heard, or silent since a request.

        Code that holds the interpreter keeps a kernel from sending even its 'busy'.
        """
        kernel = self.manager._kernels.get(record.identity)
        if kernel is None or record.settled or not record.alive or record.state == "dead":
            return
        if not kernel.ready.done() or kernel.ready.exception() is not None:
            return
        await confirm(self.manager, record.identity, self.activity(record.identity))

    async def prove(self, record: KernelRecord) -> None:
        """Ask a kernel that says 'busy' whether it still is; one that has finished is idle from now on."""
        await prove(self.manager, record.identity, self.activity(record.identity))

    def roots(self, identity: str) -> Roots:
        """The kernel's process, where it runs here."""
        pid = local_pid(self.manager._kernels.get(identity))
        return Roots((pid,)) if pid else Roots()

    async def stop(self, record: KernelRecord) -> str | None:
        """Have the manager cull it as upstream does; gives why it stays, where a subclass of the manager's keeps it."""
        return await self.stops.stop(record, self.activity(record.identity))


def last_activity(kernel: Any) -> datetime | None:
    """When a kernel was last active, as Jupyter has it; None while it starts, for the trait has no valid value then."""
    try:
        found: datetime | None = getattr(kernel, "last_activity", None)
    except TraitError:
        return None
    return found


def _own(seconds: float, policy: CullingPolicy) -> float | None:
    """A timeout of a kernel's own as it counts (seconds); None where the policy's holds."""
    none = policy.idle_timeout <= 0 or (policy.max_idle_timeout > 0 and seconds <= 0)  # off is nothing within bounds
    return None if none else own_seconds(seconds, policy)


def _proof_at(last: datetime | None, activity: KernelActivity | None, wait: timedelta) -> datetime:
    """When a busy kernel is asked: as `proof_at` of the law says, at a glance; never where culling is off."""
    if wait <= timedelta():
        return NEVER
    asked_at = None if activity is None else activity.checked_at
    if last is None:
        raise ValueError("a busy kernel was never heard")
    return (last if asked_at is None or asked_at < last else asked_at) + wait
