"""An extension that puts a kernel manager of its own in place, whatever is configured, as some in the wild do.

Its manager tells next to nothing: its kernels stay 'starting', its channels are plain sockets, nobody is counted as
connected, and `execution_state` refuses what it does not know. It is linked after ours, by its name.
"""

from __future__ import annotations

import os
from typing import Any

from jupyter_client.manager import AsyncKernelManager
from jupyter_server.services.kernels.connection.base import BaseKernelWebsocketConnection
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager
from traitlets import TraitError, Unicode, validate
from traitlets.config import Config

KNOWN = ("starting", "idle", "busy", "unknown", "dead")


class StandInKernel(AsyncKernelManager):
    """A kernel that shows nothing of its work."""

    execution_state = Unicode("starting")

    @validate("execution_state")
    def _known(self, proposal: Any) -> str:
        if proposal["value"] not in KNOWN:
            raise TraitError(f"execution_state must be one of {KNOWN}")
        return proposal["value"]


class StandInKernelManager(AsyncMappingKernelManager):
    """A manager that listens to none of its kernels."""

    def start_watching_activity(self, kernel_id: str) -> None:
        """Nobody does."""

    def stop_buffering(self, kernel_id: str) -> None:
        """Nothing was buffered."""

    async def restart_kernel(self, kernel_id: str, now: bool = False) -> None:
        """Start it anew; upstream's way wants streams."""
        await self.get_kernel(kernel_id).restart_kernel(now=now)


class StandInConnection(BaseKernelWebsocketConnection):
    """A connection that nobody is told of, and that hands on nothing."""

    kernel_ws_protocol = None

    async def connect(self) -> None:
        """It is open."""

    def disconnect(self) -> None:
        """It is closed."""

    def handle_incoming_message(self, incoming_msg: str) -> None:
        """Nobody answers."""


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    return [{"module": "tests.stand_in"}]


def _link_jupyter_server_extension(server: Any) -> None:
    found = Config()
    found.ServerApp.kernel_manager_class = os.environ.get("STAND_IN", "tests.stand_in.StandInKernelManager")
    if "STAND_IN" not in os.environ:
        found.ServerApp.kernel_websocket_connection_class = "tests.stand_in.StandInConnection"
        found.MultiKernelManager.kernel_manager_class = "tests.stand_in.StandInKernel"
        found.AsyncMappingKernelManager.kernel_manager_class = "tests.stand_in.StandInKernel"
    server.update_config(found)


def _load_jupyter_server_extension(server: Any) -> None:
    server.log.info("The stand-in has loaded.")
