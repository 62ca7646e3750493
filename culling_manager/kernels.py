"""The kernel manager: upstream's, with its cull loop replaced by the culler."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from datetime import datetime, timezone
from typing import Any

from jupyter_core.utils import ensure_async
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager
from tornado.ioloop import IOLoop
from tornado.web import HTTPError
from traitlets import Bool, Bunch, Float, TraitError, observe

from .activity import KernelActivity, at_work, follow_iopub, follow_requests
from .culler import IdleCuller
from .decisions import Decision, decide_kernel, kernel_timeout
from .errors import ReadError, SettingError, StopError
from .policy import CullingPolicy
from .records import KernelRecord, Kind, utc
from .settings import DEFAULT_INTERVAL_SECONDS, Minutes, configured, heartbeat


class KernelSource:
    """Local kernels as records."""

    kind = Kind.KERNEL

    def __init__(self, manager: CullingKernelManager) -> None:
        self.manager = manager
        self.activities: dict[str, KernelActivity] = {}
        self.unguarded: set[str] = set()
        self.plain: set[str] = set()

    def settings(self) -> Mapping[str, Any]:
        """The manager's traits as fields of `CullingPolicy`."""
        manager = self.manager
        return {
            "idle_timeout": manager.idle_timeout * 60,
            "min_idle_timeout": manager.min_idle_timeout * 60,
            "max_idle_timeout": manager.max_idle_timeout * 60,
            "busy_timeout": manager.busy_timeout * 60,
            "cull_interval": heartbeat(manager, manager.log),
            "cull_connected": manager.cull_connected,
            "cull_busy": manager.cull_busy,
            "dry_run": manager.dry_run,
        }

    def apply(self, changes: Mapping[str, Any]) -> None:
        """Take over an idle timeout that was set at run time."""
        if "idle_timeout" in changes:
            self.manager.idle_timeout = changes["idle_timeout"] / 60

    def activity(self, kernel_id: str) -> KernelActivity:
        """What we know of a kernel besides upstream's attributes."""
        found = self.activities.get(kernel_id)
        if found is None:
            found = self.activities[kernel_id] = KernelActivity()
        return found

    def glance(self) -> Iterable[tuple[str, datetime | None]]:
        """Identity and last activity of each kernel; None where more than that decides, or may."""
        plain = self.plain
        special_states = ("dead", "busy") if self.manager.busy_timeout > 0 else ("dead",)
        for kernel_id, kernel in list(self.manager._kernels.items()):
            try:
                simple = kernel_id in plain or self._is_plain(kernel_id, kernel)
                last = kernel.last_activity if simple and kernel.execution_state not in special_states else None
            except Exception:
                last = None  # `read` fails on it too, and tells
            yield kernel_id, last if last is not None and last.tzinfo is not None else None

    def _is_plain(self, kernel_id: str, kernel: Any) -> bool:
        """Whether nothing but state and last activity decides for a kernel: no timeout of its own, no request."""
        activity = self.activities.get(kernel_id)
        special = activity is not None and (activity.gone or activity.kept_until is not None)
        if special or self.own_timeout(kernel) is not None:
            return False
        self.plain.add(kernel_id)
        return True

    def exists(self, identity: str) -> bool:
        """Whether the kernel is still listed."""
        return identity in self.manager._kernels

    def forget(self, identity: str) -> None:
        """The kernel is gone."""
        self.activities.pop(identity, None)
        self.plain.discard(identity)
        self.unguarded.discard(identity)

    def fingerprint(self, identity: str) -> Hashable:
        """The fingerprint of one kernel, after counting what is on its way to it. KeyError when it is gone."""
        kernel = self.manager._kernels[identity]
        activity = self.activity(identity)
        activity.catch_waiting(datetime.now(timezone.utc))
        connections = self.manager._kernel_connections.get(identity)
        return (
            getattr(kernel, "execution_state", None),
            getattr(kernel, "last_activity", None),
            connections,
            activity.version,
        )

    def read(self, identity: str, now: datetime) -> KernelRecord:
        """Read one kernel. KeyError when it is gone."""
        kernel = self.manager._kernels[identity]
        activity = self.activity(identity)
        state = getattr(kernel, "execution_state", None)
        if state != "busy":
            activity.busy_since = None
        elif activity.busy_since is None:
            activity.busy_since = now
        last = utc(getattr(kernel, "last_activity", None), "last_activity")
        noted = activity.noted_at
        return KernelRecord(
            identity=identity,
            name=getattr(kernel, "kernel_name", "") or "",
            state="restarting" if activity.restarting else state,
            last_activity=noted if last is not None and noted is not None and noted > last else last,
            connections=self.manager._kernel_connections.get(identity) or 0,
            started_at=activity.started_at,
            busy_since=activity.busy_since,
            kept_until=activity.kept_until,
            idle_timeout=self.own_timeout(kernel),
            alive=not activity.gone,
            owned=getattr(kernel, "owns_kernel", True) is not False,
            settled=activity.settled,
        )

    def own_timeout(self, kernel: Any) -> float | None:
        """The kernelspec's own ``cull_idle_timeout`` (seconds), if it has one."""
        spec = getattr(kernel, "kernel_spec", None)
        metadata = getattr(spec, "metadata", None) or {}
        return own_timeout_in(metadata)

    def unreadable(self, identity: str, error: str) -> KernelRecord:
        """The record of a kernel whose reading failed."""
        return KernelRecord(identity=identity, state=None, last_activity=None, error=error)

    def decide(self, record: KernelRecord, policy: CullingPolicy, now: datetime) -> Decision:
        """The pure decision."""
        return decide_kernel(record, policy, now)

    def timeout(self, record: KernelRecord | None, policy: CullingPolicy) -> float:
        """Seconds until this kernel is due."""
        return policy.idle_timeout if record is None else kernel_timeout(record, policy)

    def stale_after(self, policy: CullingPolicy) -> float | None:
        """A kernel that no restarter guards may die unseen, so its process is looked at every heartbeat."""
        return policy.cull_interval if self.unguarded and policy.idle_timeout > 0 else None

    async def refresh(self) -> None:
        """See whether the process of each unguarded kernel is still there."""
        kernels = self.manager._kernels
        for kernel_id in list(self.unguarded):
            kernel = kernels.get(kernel_id)
            activity = self.activity(kernel_id)
            if kernel is None or activity.restarting or kernel.shutting_down or not kernel.ready.done():
                continue
            gone = not await ensure_async(kernel.is_alive())
            if gone != activity.gone and not activity.restarting:
                activity.gone = gone
                activity.version += 1
                self.plain.discard(kernel_id)

    async def confirm(self, record: KernelRecord) -> None:
        """Ask a kernel that was never heard whether it works, for its state cannot show it."""
        kernel = self.manager._kernels.get(record.identity)
        if kernel is None or record.settled or not record.alive or record.state == "dead":
            return
        if not kernel.ready.done() or kernel.ready.exception() is not None:
            return
        activity = self.activity(record.identity)
        why = await at_work(kernel, activity)
        if why is not None:
            self.manager.log.info("Culling: kernel %s is kept: %s", record.identity, why)
            activity.note(datetime.now(timezone.utc))

    async def stop(self, record: KernelRecord) -> None:
        """Shut the kernel down as upstream does."""
        try:
            await ensure_async(self.manager.shutdown_kernel(record.identity))  # type: ignore[no-untyped-call]
        except HTTPError as error:
            if error.status_code == 404:
                raise KeyError(record.identity) from error
            raise
        if record.identity in self.manager and not getattr(self.manager, "use_pending_kernels", False):
            raise StopError("it is still listed after its shutdown, see the log for the reason")


def own_timeout_in(metadata: Mapping[str, Any]) -> float | None:
    """Read ``cull_idle_timeout`` (seconds; 0 or less is off) from a kernelspec's metadata; None when it has none.

    Raises
    ------
    ReadError
        When it is not a number: then nobody knows what was meant, and the kernel is kept.
    """
    own = metadata.get("cull_idle_timeout")
    if own is None:
        return None
    if isinstance(own, bool) or not isinstance(own, (int, float)) or not abs(own) < 1e9:
        raise ReadError(f"the kernelspec's metadata.cull_idle_timeout = {own!r} is not a number of seconds")
    return float(own)


class CullingKernelManager(AsyncMappingKernelManager):
    """Upstream's kernel manager that culls idle kernels exactly at their deadline."""

    idle_timeout = Minutes(
        120.0,
        config=True,
        help="""Minutes without activity after which a kernel is shut down, strictly after them. 0 turns culling off.
        Default: 120, or `cull_idle_timeout` (seconds) where that is configured; if both are, this one wins.
        A kernelspec's own metadata.cull_idle_timeout (seconds) overrides it for its kernels.""",
    )
    min_idle_timeout = Minutes(
        0.0,
        config=True,
        help="""The least idle timeout (minutes) that users may set at run time. 0: no bound. It does not bound
        `idle_timeout` as configured.""",
    )
    max_idle_timeout = Minutes(
        0.0,
        config=True,
        help="""The greatest idle timeout (minutes) that users may set at run time. 0: no bound. It does not bound
        `idle_timeout` as configured.""",
    )
    busy_timeout = Minutes(
        0.0,
        config=True,
        help="""Minutes after which a kernel that is busy without a break is shut down, strictly after them, however
        fresh its output. 0: never. `cull_connected` and a kernel's keep-alive still protect it.""",
    )
    cull_interval = Float(  # type: ignore[assignment]
        DEFAULT_INTERVAL_SECONDS,
        config=True,
        help="""Heartbeat (seconds): the longest time between two wake-ups. Deadlines are met exactly, not at
        heartbeats. A value of 0 or less is replaced by the default.""",
    )
    cull_connected = Bool(
        True,
        config=True,
        help="""Whether a kernel with open connections is culled like any other. False: an open browser tab keeps it.""",
    )
    dry_run = Bool(
        False,
        config=True,
        help="""Decide, log and report, but shut nothing down.""",
    )
    def __init__(self, **kwargs: Any) -> None:
        self._source: KernelSource | None = None
        super().__init__(**kwargs)  # type: ignore[no-untyped-call]
        self._own_idle_timeout = configured(self, kwargs, "idle_timeout")
        if configured(self, kwargs, "cull_idle_timeout"):
            self._take_over_upstream_timeout()
        self._source = self._make_source()
        self._culler = IdleCuller.of(self.parent, self.log)
        try:
            self._culler.attach(self._source)
        except SettingError as error:
            raise TraitError(f"{type(self).__name__}: {error}") from None
        IOLoop.current().add_callback(self._culler.start)

    def _make_source(self) -> KernelSource:
        return KernelSource(self)

    def _take_over_upstream_timeout(self) -> None:
        if self._own_idle_timeout:
            self.log.warning(
                "Both idle_timeout (%g minutes) and cull_idle_timeout (%d seconds) are set: idle_timeout is used.",
                self.idle_timeout,
                self.cull_idle_timeout,
            )
            return
        self.idle_timeout = max(self.cull_idle_timeout, 0) / 60

    @observe("cull_idle_timeout")
    def _upstream_timeout_changed(self, change: Bunch) -> None:
        if self._source is not None:
            self._take_over_upstream_timeout()

    @observe(
        "idle_timeout",
        "min_idle_timeout",
        "max_idle_timeout",
        "busy_timeout",
        "cull_interval",
        "cull_connected",
        "cull_busy",
        "dry_run",
    )
    def _settings_changed(self, change: Bunch) -> None:
        if self._source is not None:
            self._culler.update_policy()

    # -- upstream's seams: its cull loop ---------------------------------------------------------

    def initialize_culler(self) -> None:
        """Called by upstream when a kernel was started: the culler runs instead of a second loop."""
        self._initialized_culler = True
        self._culler.start()

    async def cull_kernels(self) -> None:
        """Run one whole pass: read, decide, look again, act."""
        await self._culler.run_pass()

    async def cull_kernel_if_idle(self, kernel_id: str) -> None:
        """Cull one kernel if it is due."""
        await self._culler.consider(Kind.KERNEL, kernel_id)

    async def shutdown_all(self, now: bool = False) -> None:  # type: ignore[override]
        """Shut all kernels down; nothing is culled meanwhile."""
        await self._culler.pause()
        try:
            await super().shutdown_all(now=now)
        finally:
            self._culler.resume()

    # -- upstream's seams: activity ----------------------------------------------------------------

    def start_watching_activity(self, kernel_id: str) -> None:
        """Watch a kernel's IOPub messages as upstream does, at less cost."""
        super().start_watching_activity(kernel_id)  # type: ignore[no-untyped-call]
        assert self._source is not None
        kernel = self._kernels[kernel_id]
        activity = self._source.activity(kernel_id)
        activity.started_at = datetime.now(timezone.utc)
        activity.settled, activity.gone = False, False
        activity.version += 1
        if not follow_iopub(self, kernel, activity):
            self.log.warning("Culling: this pyzmq has no ZMQStream._recv_callback; output messages cost what they cost upstream.")
        if "connect_shell" not in vars(kernel):
            follow_requests(kernel, activity, self._tracked())
        if not getattr(kernel, "autorestart", True) or getattr(kernel, "_restarter", None) is None:
            self._source.unguarded.add(kernel_id)
        self._culler.wake_soon(Kind.KERNEL)

    def _tracked(self) -> Callable[[str], bool]:
        """Which requests count as activity; before jupyter_server 2.15 every one does."""
        found: Callable[[str], bool] = getattr(self, "track_message_type", lambda message_type: True)
        return found

    async def restart_kernel(  # type: ignore[override]
        self, kernel_id: str, now: bool = False, **kwargs: Any
    ) -> Any:
        """Restart a kernel; that is use of it, and it is not culled in the middle."""
        assert self._source is not None
        activity = self._source.activity(kernel_id)
        activity.restarting += 1
        activity.note(datetime.now(timezone.utc))
        try:
            return await ensure_async(super().restart_kernel(kernel_id, now=now, **kwargs))  # type: ignore[no-untyped-call]
        finally:
            activity.restarting -= 1
            activity.settled, activity.unanswered = False, False
            activity.note(datetime.now(timezone.utc))

    def remove_kernel(self, kernel_id: str) -> Any:
        """Take a kernel off the list, and what we remembered of it."""
        if self._source is not None:
            self._source.forget(kernel_id)
        return super().remove_kernel(kernel_id)

    def notify_disconnect(self, kernel_id: str) -> None:
        """A connection was closed: the kernel may be due that it kept."""
        super().notify_disconnect(kernel_id)  # type: ignore[no-untyped-call]
        if not self.cull_connected:
            self._culler.wake_soon(Kind.KERNEL)
