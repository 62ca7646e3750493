"""The kernel manager for kernels on a remote gateway (``--gateway-url``)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from jupyter_server.gateway.connections import GatewayWebSocketConnection
from jupyter_server.gateway.managers import GatewayMappingKernelManager

from ..engine.clock import utcnow
from ..records import Kind
from .gateway_models import public, spec_name
from .gateway_source import GatewayKernelSource
from .kernels import CullingKernelManager


class CountingGatewayConnection(GatewayWebSocketConnection):
    """Upstream's connection to a remote kernel, which counts each request as activity when it is forwarded."""

    def handle_incoming_message(self, message: str) -> None:
        """Forward a message of the browser's."""
        manager: Any = self.multi_kernel_manager
        manager.count_request(self.kernel_id, message)
        super().handle_incoming_message(message)


def _message_type(message: str) -> str:
    """The message type of a message from a browser; '' when it cannot be told, which counts as a request."""
    try:
        return str(json.loads(message)["header"]["msg_type"])
    except (ValueError, TypeError, KeyError):
        return ""


class GatewayCullingKernelManager(CullingKernelManager, GatewayMappingKernelManager):  # type: ignore[misc]
    """Upstream's gateway kernel manager that culls idle remote kernels. Takes `CullingKernelManager`'s settings too."""

    _source: GatewayKernelSource

    def _make_source(self) -> GatewayKernelSource:
        return GatewayKernelSource(self)

    def connection_class(self, found: Any) -> Any:
        """The WebSocket connection class for the server to use in place of `found`: ours for upstream's own."""
        return CountingGatewayConnection if found is GatewayWebSocketConnection else found

    def count_request(self, kernel_id: str, message: str) -> None:
        """Count a request to a remote kernel before its model can show it."""
        if self._tracked()(_message_type(message)):
            self._source.activity(kernel_id).note(utcnow())

    async def start_kernel(self, **kwargs: Any) -> str:  # type: ignore[override]
        """Start a kernel on the gateway; its deadline counts from now. One that is there already is left alone."""
        wanted = kwargs.get("kernel_id")
        adopts = wanted is not None and wanted not in self._kernels
        with self._culler.starting():
            await self._learn_spec_of(kwargs.get("kernel_name"))
            kernel_id: str = await super().start_kernel(**kwargs)
        if adopts:
            self._source.adopted.add(kernel_id)
        await self._learn_spec_of(spec_name(self._kernels[kernel_id]))
        self._culler.arrived(Kind.KERNEL, kernel_id)
        return kernel_id

    @contextmanager
    def noting_disconnects(self, *kernel_ids: str) -> Iterator[None]:
        """Models of these kernels are refreshed within: note whose last connection has been closed since."""
        connected = [kernel_id for kernel_id in kernel_ids if self._kernel_connections.get(kernel_id)]
        yield
        for kernel_id in connected:
            if kernel_id in self._kernels and not self._kernel_connections.get(kernel_id):
                self._source.activity(kernel_id).disconnected(utcnow())

    async def list_kernels(self, **kwargs: Any) -> Any:
        """List kernels as upstream does, which drops those that are gone from the gateway: they were used until now."""
        before = set(self._kernels)
        with self.noting_disconnects(*before):
            found = await super().list_kernels(**kwargs)  # type: ignore[no-untyped-call]
        for kernel_id in before - set(self._kernels):
            if kernel_id in self._source.activities:  # not one that `remove_kernel` took off meanwhile
                self._culler.leaving(Kind.KERNEL, kernel_id)
                self._source.forget(kernel_id)
        return found

    async def _learn_spec_of(self, name: str | None) -> None:
        """Know a kernelspec before its first kernel is judged, if the gateway tells."""
        if not name or name in self._source.models.specs:
            return
        try:
            await self._source.models.learn_spec(name)
            self._source.spec_learned()
        except Exception as error:
            self.log.warning("Culling: kernelspec %s: %s; until it is known its kernels are kept", name, public(error))
