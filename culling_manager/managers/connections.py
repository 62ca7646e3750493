"""Counting the pages that are connected to kernels where they are: other classes of connections tell no manager."""

from __future__ import annotations

from typing import Any, Protocol

from jupyter_server.gateway.connections import GatewayWebSocketConnection
from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection

#: Connections of upstream's kinds, which are counted without us.
COUNTED = (ZMQChannelsWebsocketConnection, GatewayWebSocketConnection)


class Counts(Protocol):
    """Who is told of connections."""

    def connected(self, kernel_id: str, connection: object) -> None:
        """Somebody has connected to a kernel."""

    def disconnected(self, kernel_id: str, connection: object) -> None:
        """That connection was closed; it may be said more than once."""


class Teller:
    """Tells a manager of upstream's kind, as upstream's own connections do."""

    def __init__(self, manager: Any) -> None:
        self._manager = manager
        self._open: set[int] = set()

    def connected(self, kernel_id: str, connection: object) -> None:
        """Somebody has connected to a kernel."""
        self._open.add(id(connection))
        self._manager.notify_connect(kernel_id)

    def disconnected(self, kernel_id: str, connection: object) -> None:
        """That connection was closed."""
        if id(connection) in self._open:
            self._open.discard(id(connection))
            self._manager.notify_disconnect(kernel_id)


def counting(found: Any, counts: Counts) -> Any:
    """A class of connections that does what `found` does, and tells `counts`."""

    class CountedConnection(found):  # type: ignore[misc]
        """A connection to a kernel that counts."""

        async def connect(self) -> Any:
            """Connect."""
            counts.connected(self.kernel_id, self)
            return await super().connect()

        def disconnect(self) -> Any:
            """Disconnect."""
            counts.disconnected(self.kernel_id, self)
            return super().disconnect()

    CountedConnection.__name__ = CountedConnection.__qualname__ = found.__name__
    return CountedConnection


def is_counted(found: Any) -> bool:
    """Whether connections of this class tell the manager by themselves."""
    return isinstance(found, type) and issubclass(found, COUNTED)
