"""Which kernels have pages connected to them."""

from __future__ import annotations

from ..engine.clock import utcnow
from ..records import Kind
from .activity import KernelActivity
from .hosts import KernelHost
from .sockets import Sockets


class Connected:
    """What is known of each kernel besides upstream's attributes, and of its connections."""

    def __init__(self, manager: KernelHost) -> None:
        self.manager = manager
        self.activities: dict[str, KernelActivity] = {}
        self.sockets = Sockets(self._page_left)
        self._long_run = 0.0

    def activity(self, kernel_id: str) -> KernelActivity:
        """What we know of a kernel besides upstream's attributes."""
        found = self.activities.get(kernel_id)
        if found is None:
            found = self.activities[kernel_id] = KernelActivity(self._long_run)
        return found

    def connections(self, kernel_id: str) -> int:
        """How many pages are connected: as upstream was told, or as its server's websockets show, if those are more."""
        told: int = self.manager._kernel_connections.get(kernel_id) or 0
        return max(told, self.sockets.count(kernel_id))

    def disconnected(self, kernel_id: str) -> None:
        """A connection to a kernel was closed; it may be due if that was the last one."""
        if not self.connections(kernel_id):
            self.activity(kernel_id).disconnected(utcnow())
        if not self.manager.cull_connected:
            self.manager._culler.wake_soon(Kind.KERNEL)

    def untold(self, state: str | None, activity: KernelActivity) -> str | None:
        """Why a record is not to be trusted: an open page is to keep it, and nobody can tell whether there is one."""
        if self.sockets.unknown is None or activity.gone or state == "dead" or self.manager.cull_connected:
            return None
        return self.sockets.unknown

    def _page_left(self, kernel_id: str) -> None:
        """A websocket was closed."""
        if kernel_id in self.manager._kernels:
            self.disconnected(kernel_id)
