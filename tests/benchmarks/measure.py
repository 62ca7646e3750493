"""What every benchmark needs: rows, percentiles, fair timing, and the words for where it ran."""

from __future__ import annotations

import gc
import importlib.metadata
import math
import os
import platform
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

PACKAGES = (
    "jupyter_server",
    "jupyter_client",
    "jupyter_server_terminals",
    "pyzmq",
    "tornado",
    "traitlets",
    "ipykernel",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure, ours beside upstream's, in `unit`: "s", "B" or "" (a plain number).

    `budget` is the most that ours may be, None where nothing is promised; it may come from upstream's figure of the
    same run, and `budget_words` says so.
    """

    what: str
    unit: str
    ours: float
    upstream: float | None = None
    budget: float | None = None
    budget_words: str = ""

    @property
    def ratio(self) -> float | None:
        """Ours divided by upstream's; under 1 is less than upstream."""
        return self.ours / self.upstream if self.upstream else None

    @property
    def met(self) -> bool | None:
        """Whether ours is within the budget; None where there is none."""
        return None if self.budget is None else self.ours <= self.budget

    def as_json(self) -> dict[str, Any]:
        """Every field, and what follows from them."""
        return {**asdict(self), "ratio": self.ratio, "met": self.met}


@dataclass(slots=True)
class Results:
    """The rows of one benchmark for the table, and every single figure behind them for the JSON file."""

    rows: list[Row] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)


def no_more_than_upstream(what: str, unit: str, ours: float, upstream: float) -> Row:
    """A row whose budget is upstream's figure of the same run."""
    return Row(what=what, unit=unit, ours=ours, upstream=upstream, budget=upstream, budget_words="<= upstream")


def percentile(values: Sequence[float], share: float) -> float:
    """Give the smallest value that at least `share` (0 to 1) of all values do not exceed: nearest rank, no guessing."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def spread(values: Sequence[float]) -> dict[str, float]:
    """The usual summary of repeated figures."""
    return {
        "n": len(values),
        "min": min(values),
        "median": statistics.median(values),
        "p99": percentile(values, 0.99),
        "max": max(values),
    }


def turns(count: int) -> Iterator[tuple[str, str]]:
    """Who goes first, `count` times: in alternation, so that a drift of the machine hits both alike."""
    for turn in range(count):
        yield ("ours", "upstream") if turn % 2 == 0 else ("upstream", "ours")


@contextmanager
def settled_memory() -> Iterator[Callable[[], int]]:
    """Set aside what exists now, so that the `gc.collect` this gives sees only what the benchmark itself makes."""
    gc.collect()
    gc.freeze()
    try:
        yield gc.collect
    finally:
        gc.unfreeze()


def environment() -> dict[str, Any]:
    """Where it ran; no host names, no paths."""
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "system": platform.system(),
        "machine": platform.machine(),
        "cpu_count": os.cpu_count(),
        "load_average": os.getloadavg() if hasattr(os, "getloadavg") else None,
        "optimize": sys.flags.optimize,
        **{name: _version(name) for name in (*PACKAGES, "sagemaker_studio_autoshutdown")},
    }


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
