"""Stop idle Jupyter compute: kernel and terminal managers for Jupyter Server that cull exactly at the deadline.

Importing this package imports nothing else; each name is fetched from its module when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._lazy import door
from ._version import __version__

if TYPE_CHECKING:
    from .gateway import GatewayCullingKernelManager
    from .kernels import CullingKernelManager
    from .magic import keep_alive
    from .terminals import CullingTerminalManager

_HOMES = {
    "CullingKernelManager": "kernels",
    "CullingTerminalManager": "terminals",
    "GatewayCullingKernelManager": "gateway",
    "keep_alive": "magic",
    "load_ipython_extension": "magic",
    "unload_ipython_extension": "magic",
}

__all__ = [
    "CullingKernelManager",
    "CullingTerminalManager",
    "GatewayCullingKernelManager",
    "__version__",
    "keep_alive",
]


__getattr__, __dir__ = door(__name__, _HOMES)


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    """Tell Jupyter Server where our server extension lives."""
    return [{"module": "culling_manager.extension"}]
