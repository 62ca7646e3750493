"""What the sources need of the managers whose kernels and terminals they show."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol, runtime_checkable

from ..engine.culler import IdleCuller


class KernelHost(Protocol):
    """A kernel manager, as `KernelSource` sees it."""

    idle_timeout: Any
    idle_timeouts: Any
    cull_connected: Any
    log: Any
    parent: Any
    _culler: IdleCuller
    _kernels: Any
    _kernel_connections: Any
    _pending_kernels: Any

    def __contains__(self, kernel_id: str, /) -> bool:
        """Whether it lists a kernel."""

    def policy_fields(self) -> Mapping[str, Any]:
        """Its settings as fields of `CullingPolicy`."""

    def start_watching_activity(self, kernel_id: str) -> None:
        """Listen to a kernel."""

    def cull_kernel_if_idle(self, kernel_id: str) -> Any:
        """Upstream's seam: whoever overrides it may keep a kernel. Ours shuts down what its source is carrying out."""

    def shutdown_kernel(self, kernel_id: str) -> Any:
        """Shut a kernel down; may be awaited."""


class GatewayHost(KernelHost, Protocol):
    """A manager of remote kernels, as `GatewayKernelSource` sees it."""

    kernels_url: Any
    kernel_spec_manager: Any

    def remove_kernel(self, kernel_id: str) -> Any:
        """Take a kernel off the list."""

    def noting_disconnects(self, *kernel_ids: str) -> AbstractContextManager[None]:
        """Models of these kernels are refreshed within."""


@runtime_checkable
class ChoosesConnections(Protocol):
    """A kernel manager that has a say in how browsers are connected to its kernels."""

    def connection_class(self, found: Any) -> Any:
        """The WebSocket connection class for the server to use in place of `found`."""


class TerminalHost(Protocol):
    """A terminal manager, as `TerminalSource` sees it."""

    idle_timeout: Any
    keep_terminals: Any
    keep_terminals_fixed: Any
    cull_interval: Any
    log: Any
    terminals: Any
    _culler: IdleCuller

    def terminate(self, name: str, force: bool = False) -> Awaitable[None]:
        """End a terminal."""
