"""Stop idle Jupyter compute: kernel and terminal managers for Jupyter Server that cull exactly at the deadline.

Importing this package imports nothing else; each name is fetched from its module when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._lazy import door
from ._version import __version__

if TYPE_CHECKING:
    from .client.magic import keep_alive
    from .managers.gateway import GatewayCullingKernelManager
    from .managers.kernels import CullingKernelManager
    from .managers.terminals import CullingTerminalManager

_HOMES = {
    "CullingKernelManager": "managers.kernels",
    "CullingTerminalManager": "managers.terminals",
    "GatewayCullingKernelManager": "managers.gateway",
    "keep_alive": "client.magic",
    "load_ipython_extension": "client.magic",
    "unload_ipython_extension": "client.magic",
}

__all__ = [
    "CullingKernelManager",
    "CullingTerminalManager",
    "GatewayCullingKernelManager",
    "__version__",
    "keep_alive",
]


__getattr__, __dir__ = door(__name__, _HOMES)


def _jupyter_labextension_paths() -> list[dict[str, str]]:
    """Tell JupyterLab where our page lives, for a development install."""
    return [{"src": "labextension", "dest": "culling-manager"}]


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    """Tell Jupyter Server where our server extension lives."""
    return [{"module": "culling_manager.server.extension"}]
