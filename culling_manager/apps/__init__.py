"""App managers: what is billed, which of it a kernel or terminal lives on, and how to stop it being billed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy import door

if TYPE_CHECKING:
    from .base import AppManager
    from .classic import KernelGatewayApps
    from .none import NoApps
    from .notebook import NotebookInstance
    from .process import JupyterServerProcess
    from .space import SpaceApp

_HOMES = {
    "AppManager": "base",
    "JupyterServerProcess": "process",
    "KernelGatewayApps": "classic",
    "NoApps": "none",
    "NotebookInstance": "notebook",
    "SpaceApp": "space",
}

__all__ = ["AppManager", "JupyterServerProcess", "KernelGatewayApps", "NoApps", "NotebookInstance", "SpaceApp"]


__getattr__, __dir__ = door(__name__, _HOMES)
