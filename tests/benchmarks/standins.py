"""Kernels without processes, and the two managers that watch them, both with the same settings and the same log."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from types import SimpleNamespace
from typing import Any

from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager, ServerKernelManager

from culling_manager import CullingKernelManager

#: As a server logs: INFO and above, to nowhere.
LOG = logging.getLogger("benchmarks")
LOG.setLevel(logging.INFO)
LOG.addHandler(logging.NullHandler())
LOG.propagate = False

Manager = AsyncMappingKernelManager
Managers = Mapping[str, Manager]
LONG = 7200


def utcnow() -> datetime:
    """The time, as upstream stamps activity."""
    return datetime.now(timezone.utc)


class StandIn:
    """A kernel that is only its attributes: what a pass reads costs next to nothing."""

    def __init__(self, spec: Any) -> None:
        self.kernel_spec = spec
        self.kernel_name = "python3"
        self.execution_state = "idle"
        self.reason = ""
        self.ready = asyncio.get_running_loop().create_future()
        self.ready.set_result(None)
        self.last_activity = utcnow()


def real_object(spec: Any) -> ServerKernelManager:
    """Upstream's own kernel object, with its traits, and without a process."""
    kernel = ServerKernelManager(kernel_name="python3", log=LOG)
    kernel._kernel_spec = spec  # what the first look at its kernelspec would have remembered
    kernel.execution_state = "idle"
    kernel.last_activity = utcnow()
    return kernel


MAKERS: Mapping[str, Callable[[Any], Any]] = {"stand-ins": StandIn, "ServerKernelManager": real_object}


def make_kernels(kind: str, count: int, metadata: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """`count` idle kernels of that kind that were active just now."""
    spec = SimpleNamespace(metadata=dict(metadata or {}))
    return {f"{number:032x}": MAKERS[kind](spec) for number in range(count)}


def make_manager(which: str, kernels: Mapping[str, Any], mixin: type | None = None, **traits: Any) -> Manager:
    """Our manager or upstream's over `kernels`; both keep connected kernels unless told otherwise.

    Ours has its record of each kernel, as it gets it when a kernel is started.
    """
    base = CullingKernelManager if which == "ours" else Manager
    cls = base if mixin is None else type(mixin.__name__ + base.__name__, (mixin, base), {})
    settings = {"cull_connected": False, "cull_idle_timeout": LONG, "cull_interval": 3600, **traits}
    manager = cls(log=LOG, **settings)
    manager._kernels.update(kernels)
    manager._kernel_connections.update(dict.fromkeys(kernels, 0))
    if which == "ours":
        for kernel_id in kernels:
            manager._source.started(kernel_id)
    return manager
