"""App managers: what is billed, which of it a kernel or terminal lives on, and how to stop it being billed."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

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


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
