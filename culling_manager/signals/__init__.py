"""Signals: small checks that see use which Jupyter itself does not. Each answers with a sentence, or with nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy import door

if TYPE_CHECKING:
    from .base import Signal, Subject
    from .containers import ContainerSignal
    from .documents import DocumentSignal
    from .gpu import GpuSignal
    from .kernels import OtherKernelsSignal
    from .processes import ProcessSignal
    from .runner import Finding, Signals
    from .server_use import ServerUseSignal
    from .stamp_file import StampFileSignal

_HOMES = {
    "ContainerSignal": "containers",
    "DocumentSignal": "documents",
    "Finding": "runner",
    "GpuSignal": "gpu",
    "OtherKernelsSignal": "kernels",
    "ProcessSignal": "processes",
    "ServerUseSignal": "server_use",
    "Signal": "base",
    "Signals": "runner",
    "StampFileSignal": "stamp_file",
    "Subject": "base",
}

__all__ = [
    "ContainerSignal",
    "DocumentSignal",
    "Finding",
    "GpuSignal",
    "OtherKernelsSignal",
    "ProcessSignal",
    "ServerUseSignal",
    "Signal",
    "Signals",
    "StampFileSignal",
    "Subject",
]


__getattr__, __dir__ = door(__name__, _HOMES)
