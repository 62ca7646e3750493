"""Shutting a kernel down through upstream's seams, so that whoever overrides one of them has a say."""

from __future__ import annotations

import asyncio

from jupyter_core.utils import ensure_async
from tornado.web import HTTPError

from ..engine.clock import utcnow
from ..errors import StopError
from ..records import KernelRecord
from .activity import KernelActivity
from .hosts import KernelHost

#: How long (seconds) a shutdown waits for a kernel that is being started anew just now.
START_SECONDS = 10.0


class KernelStops:
    """The shutdowns of one manager's kernels: its `cull_kernel_if_idle` is called, which ends in `carry_out` here.

    `waits_for_start` is for local kernels: upstream fails to shut one down while its restarter is starting it anew.
    """

    def __init__(self, manager: KernelHost, waits_for_start: bool = True) -> None:
        self.manager = manager
        self.waits_for_start = waits_for_start
        self._wanted: set[str] = set()

    async def stop(self, record: KernelRecord, activity: KernelActivity) -> str | None:
        """Have the manager cull a kernel; gives why it stays when a subclass of it keeps it, which counts as use.

        Raises
        ------
        KeyError
            When it is gone already.
        StopError
            When it is still listed after its shutdown.
        """
        identity, manager = record.identity, self.manager
        self._wanted.add(identity)
        try:
            if record.alive and record.state != "dead":  # nothing is kept by keeping the dead
                await ensure_async(manager.cull_kernel_if_idle(identity))
            else:
                await self.carry_out(identity)
            left_alone = identity in self._wanted
        finally:
            self._wanted.discard(identity)
            if identity in manager:
                listen_again(manager, identity, activity)
        if identity not in manager:
            return None
        if not left_alone:
            raise StopError("it is still listed after its shutdown, see the log for the reason")
        activity.note(utcnow())
        manager.log.info("Culling: kernel %s is kept by cull_kernel_if_idle of %s", identity, type(manager).__name__)
        return "its manager keeps it"

    async def carry_out(self, kernel_id: str) -> bool:
        """Shut a kernel down as upstream does, if that is what `stop` wants of the manager; False if it is not."""
        if kernel_id not in self._wanted:
            return False
        self._wanted.remove(kernel_id)
        await self._started(kernel_id)
        try:
            await ensure_async(self.manager.shutdown_kernel(kernel_id))
            pending = self.manager._pending_kernels.get(kernel_id)
            if pending is not None:
                await asyncio.wait([pending])
        except HTTPError as error:
            if error.status_code == 404:
                raise KeyError(kernel_id) from error
            raise
        return True

    async def _started(self, kernel_id: str) -> None:
        """Wait for a kernel whose process has ended and that is being started anew; a pending one upstream waits for.

        Raises
        ------
        StopError
            When that takes its time.
        """
        kernel = self.manager._kernels.get(kernel_id)
        if kernel is None or not self.waits_for_start or kernel_id in self.manager._pending_kernels:
            return
        await asyncio.wait([kernel.ready], timeout=START_SECONDS)
        if not kernel.ready.done():
            raise StopError(f"it is being started anew, which has not ended within {START_SECONDS:g} s")


def listen_again(manager: KernelHost, kernel_id: str, activity: KernelActivity) -> None:
    """Upstream stops listening to a kernel before it is down; one that stays has to be heard again."""
    kernel = manager._kernels.get(kernel_id)
    if kernel is None or getattr(kernel, "_activity_stream", kernel) is not None:
        return
    last_activity = kernel.last_activity
    activity.welcome_expected = True
    manager.start_watching_activity(kernel_id)
    kernel.last_activity = last_activity
