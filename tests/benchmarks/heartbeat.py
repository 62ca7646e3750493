"""A heartbeat at which nothing can be due, at 10 and at 10,000 kernels.

Measured: `IdleCuller.heartbeat()` alone, and a whole wake-up (the heartbeat and setting the next timer). Upstream has
no such thing: at each interval it runs one round of `cull_kernels()`, so that is what stands beside it.
"""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Callable
from time import perf_counter
from typing import Any

from .measure import Results, Row, settled_memory, spread
from .standins import make_kernels, make_manager

SIZES = (10, 10_000)
BUDGET_SECONDS = 50e-6
CALLS = 200


async def run(quick: bool) -> Results:
    """Measure both sizes; the growth from one to the other shows whether it is O(1)."""
    results = Results()
    samples = 8 if quick else 30
    medians = {}
    for size in SIZES:
        found = await one_size(size, samples)
        for name, figures in found.items():
            results.figures[f"{size} kernels, {name}"] = spread(figures)
            medians[name, size] = statistics.median(figures)
        for name in ("heartbeat", "whole wake-up"):
            results.rows.append(
                Row(
                    what=f"{name}, nothing due, {size:,} kernels (upstream: a round)",
                    unit="s",
                    ours=medians[name, size],
                    upstream=medians["upstream round", size],
                    budget=BUDGET_SECONDS,
                    budget_words="< 50 us",
                )
            )
    small, large = SIZES
    growth = {name: medians[name, large] / medians[name, small] for name in ("heartbeat", "upstream round")}
    what = f"growth from {small} to {large:,} kernels"
    results.rows.append(
        Row(
            what=f"heartbeat: {what}",
            unit="",
            ours=growth["heartbeat"],
            upstream=growth["upstream round"],
            budget=2.0,
            budget_words="O(1): < 2",
        )
    )
    return results


async def one_size(size: int, samples: int) -> dict[str, list[float]]:
    """Seconds per call, `samples` times each, in turns."""
    kernels = make_kernels("ServerKernelManager", size)
    ours: Any = make_manager("ours", kernels)
    upstream = make_manager("upstream", kernels)
    await ours.cull_kernels()
    await asyncio.sleep(0.05)  # the manager's own start, and its first look
    culler = ours._culler
    assert not culler.heartbeat(), "something is due, so this is not the heartbeat that was meant"

    def wake_up() -> None:
        culler.stop()
        culler.rounds.alarm.ring()

    found: dict[str, list[float]] = {"heartbeat": [], "whole wake-up": [], "upstream round": []}
    with settled_memory() as collect:
        for _ in range(samples):
            collect()
            found["heartbeat"].append(_per_call(culler.heartbeat))
            collect()
            found["whole wake-up"].append(_per_call(wake_up))
            collect()
            found["upstream round"].append(await _per_round(upstream, max(1, CALLS // size)))
    await culler.pause()
    assert len(ours._kernels) == size, "kernels were culled that were not due"
    return found


def _per_call(call: Callable[[], object]) -> float:
    start = perf_counter()
    for _ in range(CALLS):
        call()
    return (perf_counter() - start) / CALLS


async def _per_round(manager: Any, rounds: int) -> float:
    start = perf_counter()
    for _ in range(rounds):
        await manager.cull_kernels()
    return (perf_counter() - start) / rounds
