"""Signals: small checks that see use which Jupyter itself does not. Each answers with a sentence, or with nothing."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .base import Signal, Subject
    from .documents import DocumentSignal
    from .gpu import GpuSignal
    from .processes import ProcessSignal
    from .runner import Finding, Signals
    from .stamp_file import StampFileSignal

_HOMES = {
    "DocumentSignal": "documents",
    "Finding": "runner",
    "GpuSignal": "gpu",
    "ProcessSignal": "processes",
    "Signal": "base",
    "Signals": "runner",
    "StampFileSignal": "stamp_file",
    "Subject": "base",
}

__all__ = [
    "DocumentSignal",
    "Finding",
    "GpuSignal",
    "ProcessSignal",
    "Signal",
    "Signals",
    "StampFileSignal",
    "Subject",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
