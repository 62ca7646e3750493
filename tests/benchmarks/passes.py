"""What one pass of `cull_kernels()` costs per kernel, at 10 to 10,000 kernels.

Nothing is culled in any of them. Kernels *in use* were active just now; kernels *kept* have been idle for twice the
timeout and are only kept by their connection (`cull_connected` False); kernels with *own timeout* were active just now
and have a timeout in their kernelspec.

Of each: the first pass ever of a new manager, a repeated pass, and a pass after every kernel was active again (a kept
one was connected to once more instead, for activity would make it one in use). Both managers look at the same kernel
objects in turns; each figure is the median of its samples, with a garbage collection (of what the benchmark itself
made) before each. Kernels are upstream's own objects without processes, and at two sizes stand-ins, which are cheaper
to read.
"""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import islice
from time import perf_counter
from typing import Any

from .measure import Results, no_more_than_upstream, settled_memory, spread, turns
from .standins import LONG, MAKERS, Manager, Managers, make_kernels, make_manager, utcnow

SIZES = (10, 100, 1_000, 10_000)
FEW_SIZES = (10, 1_000)
FIRST, REPEATED, CHANGED = "first pass", "repeated pass", "all changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """Which kernels, and what keeps them."""

    title: str
    idle_seconds: float = 0.0
    connections: int = 0
    metadata: Mapping[str, Any] = field(default_factory=dict)


SCENARIOS = (
    Scenario(title="in use"),
    Scenario(title="kept", idle_seconds=2 * LONG, connections=1),
    Scenario(title="own timeout", metadata={"cull_idle_timeout": LONG}),
)


async def run(quick: bool) -> Results:
    """Every kind, scenario, size and pass."""
    results = Results()
    for kind in ("ServerKernelManager",) if quick else MAKERS:
        everyone = make_kernels(kind, max(SIZES))
        for scenario in SCENARIOS:
            _dress(everyone, scenario)
            for size in FEW_SIZES if quick or kind == "stand-ins" else SIZES:
                kernels = dict(islice(everyone.items(), size))
                await _one_size(results, f"{kind}, {scenario.title}", kernels, scenario, quick)
    return results


async def _one_size(results: Results, title: str, kernels: Mapping[str, Any], scenario: Scenario, quick: bool) -> None:
    size = len(kernels)
    samples = max(7, min(40, 20_000 // size)) // (2 if quick else 1)
    with settled_memory() as collect:
        found = {FIRST: await _first_passes(kernels, scenario, samples, collect)}
        managers = {which: _manager(which, kernels, scenario) for which in ("ours", "upstream")}
        await asyncio.sleep(0.05)  # our manager's own start, and its first look
        for state in (REPEATED, CHANGED):
            found[state] = await _later_passes(managers, kernels, scenario, samples, collect, state)
        await managers["ours"]._culler.pause()
        assert all(len(manager._kernels) == size for manager in managers.values()), "something was culled"
    for state, figures in found.items():
        per_kernel = {which: [seconds / size for seconds in figures[which]] for which in figures}
        what = f"{title}, {state}, {size:,} kernels: per kernel"
        medians = {which: statistics.median(values) for which, values in per_kernel.items()}
        results.rows.append(no_more_than_upstream(what, "s", medians["ours"], medians["upstream"]))
        results.figures[what] = {which: spread(values) for which, values in per_kernel.items()}


def _manager(which: str, kernels: Mapping[str, Any], scenario: Scenario) -> Manager:
    manager = make_manager(which, kernels)
    manager._kernel_connections.update(dict.fromkeys(kernels, scenario.connections))
    return manager


def _dress(kernels: Mapping[str, Any], scenario: Scenario) -> None:
    """Make all kernels, which share one kernelspec, those of a scenario."""
    next(iter(kernels.values())).kernel_spec.metadata = dict(scenario.metadata)
    _touch(kernels, scenario)


def _touch(kernels: Mapping[str, Any], scenario: Scenario) -> None:
    """Every kernel was active again, as long ago as the scenario says."""
    at = utcnow() - timedelta(seconds=scenario.idle_seconds)
    for kernel in kernels.values():
        kernel.last_activity = at


def _change(manager: Manager, kernels: Mapping[str, Any], scenario: Scenario) -> None:
    """Something happened to every kernel; one that is kept by its connection gets another one."""
    if not scenario.connections:
        _touch(kernels, scenario)
    for kernel_id in kernels if scenario.connections else ():
        manager.notify_connect(kernel_id)


async def _first_passes(
    kernels: Mapping[str, Any], scenario: Scenario, samples: int, collect: Callable[[], int]
) -> dict[str, list[float]]:
    """Seconds of the first pass of a new manager, before anything else has run."""
    found: dict[str, list[float]] = {"ours": [], "upstream": []}
    for order in turns(samples):
        for which in order:
            manager = _manager(which, kernels, scenario)
            collect()
            start = perf_counter()
            await manager.cull_kernels()
            found[which].append(perf_counter() - start)
            if which == "ours":
                await manager._culler.pause()
    return found


async def _later_passes(
    managers: Managers,
    kernels: Mapping[str, Any],
    scenario: Scenario,
    samples: int,
    collect: Callable[[], int],
    state: str,
) -> dict[str, list[float]]:
    """Seconds of one later pass; several short ones make one sample."""
    passes = max(1, 500 // len(kernels))
    found: dict[str, list[float]] = {"ours": [], "upstream": []}
    for order in turns(samples):
        for which in order:
            manager, seconds = managers[which], 0.0
            collect()
            for _ in range(passes):
                if state == CHANGED:
                    _change(manager, kernels, scenario)
                start = perf_counter()
                await manager.cull_kernels()
                seconds += perf_counter() - start
            found[which].append(seconds / passes)
    return found
