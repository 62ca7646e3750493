"""Which kernels another manager has: it tells nobody who comes, goes or connects, so we look."""

from __future__ import annotations

from typing import Any

from ..engine.clock import utcnow
from ..engine.culler import IdleCuller
from ..records import Kind
from .guest_kernel import GuestKernel


class GuestList:
    """The kernels of one manager, each with what we know of it since we met it."""

    def __init__(self, manager: Any, culler: IdleCuller) -> None:
        self.known: dict[str, GuestKernel] = {}
        self._manager, self._culler = manager, culler
        self._long_run = 0.0

    def runs_are_long_from(self, seconds: float) -> None:
        """A run counts as a long one from these seconds on."""
        self._long_run = seconds
        for kernel in self.known.values():
            kernel.run.long_run = seconds

    def meet(self) -> list[str]:
        """See who has come and who has gone; gives those that are new. One that has gone was in use until now."""
        listed = list(self._manager.list_kernel_ids())
        for kernel_id in set(self.known) - set(listed):
            record = self.known[kernel_id].record
            self.forget(kernel_id)
            neighbours = self._culler.neighbours
            if neighbours is not None and record is not None:
                neighbours.left(record, self._culler.now())
        new = [kernel_id for kernel_id in listed if kernel_id not in self.known]
        for kernel_id in new:
            self.known[kernel_id] = GuestKernel(self._manager.get_kernel(kernel_id), utcnow(), self._long_run)
        return new

    def all(self) -> list[tuple[str, GuestKernel]]:
        """Identity and kernel of each one that was met and is not gone."""
        return list(self.known.items())

    def kernel(self, identity: str) -> GuestKernel:
        """What we know of a kernel. KeyError when it is gone."""
        if identity not in self._manager:
            raise KeyError(identity)
        if identity not in self.known:
            self.meet()
        return self.known[identity]

    def forget(self, identity: str) -> None:
        """The kernel is gone."""
        gone = self.known.pop(identity, None)
        if gone is not None:
            gone.ear.close()

    def connected(self, kernel_id: str, connection: object) -> None:
        """Somebody has connected to a kernel, whether its manager takes notice or not."""
        if kernel_id in self._manager:
            kernel = self.kernel(kernel_id)
            kernel.connections.add(id(connection))
            kernel.version += 1

    def disconnected(self, kernel_id: str, connection: object) -> None:
        """A connection to a kernel was closed."""
        kernel = self.known.get(kernel_id)
        if kernel is None or id(connection) not in kernel.connections:
            return
        kernel.connections.discard(id(connection))
        if not kernel.connections:
            kernel.disconnected_at = utcnow()
        kernel.version += 1
        self._culler.wake_soon(Kind.KERNEL)
