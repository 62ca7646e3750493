"""The kernel manager: upstream's, with its cull loop replaced by the culler."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

from jupyter_core.utils import ensure_async
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager
from tornado.ioloop import IOLoop
from traitlets import Bunch, TraitError, observe

from ..engine.clock import utcnow
from ..engine.culler import IdleCuller
from ..errors import SettingError
from ..join import join_apps, join_guard
from ..records import MARKER, Kind, owner
from ..traits import configured
from .activity import follow_iopub
from .clients import follow_clients
from .kernel_settings import KernelSettings
from .kernel_source import KernelSource
from .requests import follow_requests
from .saves import follow_saves
from .use import UNTRACKED


class CullingKernelManager(KernelSettings, AsyncMappingKernelManager):  # type: ignore[misc]
    """Upstream's kernel manager that culls idle kernels exactly at their deadline."""

    _ready = False

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)  # type: ignore[no-untyped-call]
        self._own_idle_timeout = configured(self, kwargs, "idle_timeout")
        if configured(self, kwargs, "cull_idle_timeout"):
            self._take_over_upstream_timeout()
        self._source = self._make_source()
        self._culler = IdleCuller.of(self.parent, self.log)
        self._ready = True
        try:
            self._culler.attach(self._source)
        except SettingError as error:
            raise TraitError(f"{type(self).__name__}: {error}") from None
        join_guard(self._culler, self)
        join_apps(self._culler, self, self.app_manager_class)
        follow_saves(self.parent, self)
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
        if self._ready:
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
        "warn_before",
        "max_keep_alive",
        "long_run",
        "grace",
        "idle_timeouts",
        "max_at_work",
        "max_age",
    )
    def _settings_changed(self, change: Bunch) -> None:
        if self._ready:
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
        """Cull one kernel if it is due. It is called for each that is due, so that a subclass may keep one, as ever."""
        if not await self._source.stops.carry_out(kernel_id):
            await self._culler.consider(Kind.KERNEL, kernel_id)

    async def shutdown_all(self, now: bool = False) -> None:  # type: ignore[override]
        """Shut all kernels down; nothing is culled meanwhile."""
        async with self._culler.paused():
            await super().shutdown_all(now=now)

    # -- upstream's seams: activity ----------------------------------------------------------------

    def start_watching_activity(self, kernel_id: str) -> None:
        """Watch a kernel's IOPub messages as upstream does, at less cost."""
        super().start_watching_activity(kernel_id)  # type: ignore[no-untyped-call]
        kernel = self._kernels[kernel_id]
        activity = self._source.started(kernel_id)
        activity.started_at = utcnow()
        activity.gone = False
        activity.started_anew()
        if not follow_iopub(self, kernel, activity, self._tracked()):
            self.log.warning(
                "Culling: this pyzmq has no ZMQStream._recv_callback; output messages cost what they cost upstream."
            )
        if "connect_shell" not in vars(kernel):
            follow_requests(kernel, activity, self._tracked())
            follow_clients(kernel, activity, self._tracked())
            kernel.add_restart_callback(partial(self._restarts_by_itself, kernel_id), "restart")
        if not getattr(kernel, "autorestart", True) or getattr(kernel, "_restarter", None) is None:
            self._source.unguarded.add(kernel_id)
        self._culler.wake_soon(Kind.KERNEL)

    def _restarts_by_itself(self, kernel_id: str) -> None:
        """Its process has died and is about to be started anew: it was in use until now, and is not busy any more.

        Upstream learns that from the new process's first message, which may be lost while the connection is made again.
        """
        kernel: Any = self._kernels.get(kernel_id)
        if kernel is None:
            return
        activity = self._source.activity(kernel_id)
        worked = activity.works(kernel.execution_state)
        activity.started_anew()
        if worked:
            kernel.execution_state = "restarting"
            activity.note(utcnow())
        self._culler.wake_soon(Kind.KERNEL)

    def _tracked(self) -> Callable[[str | None], bool]:
        """Which requests count as use; jupyter_server has a say in that since 2.15."""
        found: Callable[[str | None], bool] = getattr(self, "track_message_type", lambda kind: kind not in UNTRACKED)
        return found

    def pre_start_kernel(self, kernel_name: str | None, kwargs: Any) -> Any:
        """Get a local kernel ready to start, and mark its environment, by which jobs that it detaches are told."""
        manager, kernel_name, kernel_id = super().pre_start_kernel(kernel_name, kwargs)
        env = os.environ if kwargs.get("env") is None else kwargs["env"]
        kwargs["env"] = {**env, MARKER: owner(Kind.KERNEL, kernel_id, os.getpid())}
        return manager, kernel_name, kernel_id

    def worked_in(self, kernel_id: str, *, by_a_person: bool) -> None:
        """Count as use that its document was saved, or that somebody was seen to work in it."""
        if kernel_id not in self._kernels:
            return
        activity = self._source.activity(kernel_id)
        now = self._culler.now()
        activity.note(now)
        if by_a_person:
            activity.person_at = now
        self._culler.wake_soon(Kind.KERNEL)

    async def start_kernel(self, **kwargs: Any) -> str:  # type: ignore[override]
        """Start a kernel as upstream does; one that turns 'dead' is culled at once."""
        self._source.sockets.look(self.parent)
        with self._culler.starting():
            kernel_id: str = await super().start_kernel(**kwargs)
        kernel = self._kernels.get(kernel_id)
        if kernel is not None and kernel.has_trait("execution_state"):
            kernel.observe(self._state_changed, "execution_state")
        self._culler.arrived(Kind.KERNEL, kernel_id)
        return kernel_id

    def _state_changed(self, change: Bunch) -> None:
        if change.new == "dead":
            self._culler.wake_soon(Kind.KERNEL)

    async def restart_kernel(  # type: ignore[override]
        self, kernel_id: str, now: bool = False, **kwargs: Any
    ) -> Any:
        """Restart a kernel; that is use of it, and it is not culled in the middle."""
        self._check_kernel_id(kernel_id)  # type: ignore[no-untyped-call]
        activity = self._source.activity(kernel_id)
        activity.restarting += 1
        activity.note(utcnow())
        try:
            return await ensure_async(super().restart_kernel(kernel_id, now=now, **kwargs))  # type: ignore[no-untyped-call]
        finally:
            activity.restarting -= 1
            activity.started_anew()
            activity.note(utcnow())

    def remove_kernel(self, kernel_id: str) -> Any:
        """Take a kernel off the list, and what we remembered of it."""
        if self._ready:
            self._culler.leaving(Kind.KERNEL, kernel_id)
            self._source.forget(kernel_id)
        return super().remove_kernel(kernel_id)

    def notify_disconnect(self, kernel_id: str) -> None:
        """A connection was closed: the kernel may be due that it kept."""
        super().notify_disconnect(kernel_id)  # type: ignore[no-untyped-call]
        if kernel_id in self._kernels:
            self._source.disconnected(kernel_id)
