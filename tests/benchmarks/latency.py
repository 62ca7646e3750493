"""From a kernel's deadline to the start of its shutdown, 100 kernels.

The managers' own loops run with their real timers; the kernels have no processes. The deadline is `last_activity` plus
3 s of timeout, the start of the shutdown is the moment `shutdown_kernel` of the manager is entered (which takes the
kernel off the list and does nothing else, so that upstream's one-by-one shutdowns do not count here; see `hung`).
Deadlines are spread evenly over 1 s, or all at one instant; rounds start at random phases of upstream's interval, and
after a full garbage collection, for one in the midst of a round is a pause of its own (90 ms, seen) that both can have.

Upstream's interval is 300 s by default, too long to wait for: it is measured with 1 s, the shortest it can have. What
it does with its default is *computed*, not measured: a deadline just after one of its rounds waits for the next one.
"""

from __future__ import annotations

import asyncio
import gc
import random
from datetime import datetime, timedelta
from typing import Any

from .measure import Results, Row, percentile, spread, turns
from .standins import Manager, make_kernels, make_manager, utcnow

KERNELS = 100
TIMEOUT_SECONDS = 3
UPSTREAM_INTERVAL_SECONDS = 1
SPREAD_SECONDS = 1.0
BUDGET_SECONDS = 0.100


class Entered:
    """Mixed into a manager: remembers when each shutdown was entered, and takes the kernel off the list."""

    async def shutdown_kernel(self, kernel_id: str, now: bool = False, restart: bool = False) -> None:
        """Note the instant, stop nothing."""
        self.__dict__.setdefault("entered", {})[kernel_id] = utcnow()
        self.remove_kernel(kernel_id)  # type: ignore[attr-defined]


async def run(quick: bool) -> Results:
    """Measure each kind of kernel with each pattern of deadlines."""
    results = Results()
    kinds = ("stand-ins",) if quick else ("stand-ins", "ServerKernelManager")
    for kind in kinds:
        for pattern, window in (("spread deadlines", SPREAD_SECONDS), ("all at one instant", 0.0)):
            waits: dict[str, list[float]] = {"ours": [], "upstream": []}
            for order in turns(1 if quick else 2):
                phase = random.random() * UPSTREAM_INTERVAL_SECONDS
                for which in order:
                    waits[which] += await one_round(which, kind, window, phase)
            _report(results, f"{kind}, {pattern}", waits)
    return results


async def one_round(which: str, kind: str, window: float, phase: float) -> list[float]:
    """Seconds from deadline to shutdown of each kernel; the first deadline comes half a second and `phase` from now."""
    kernels = make_kernels(kind, KERNELS)
    settings: dict[str, Any] = {"cull_interval": UPSTREAM_INTERVAL_SECONDS} if which == "upstream" else {}
    if which == "ours":
        settings["cull_interval"] = 10.0  # its default: deadlines do not wait for it
    manager: Any = make_manager(which, kernels, Entered, cull_idle_timeout=TIMEOUT_SECONDS, **settings)
    first = utcnow() + timedelta(seconds=0.5 + phase)
    deadlines: dict[str, datetime] = {}
    for number, (kernel_id, kernel) in enumerate(kernels.items()):
        deadlines[kernel_id] = first + timedelta(seconds=window * number / KERNELS)
        kernel.last_activity = deadlines[kernel_id] - timedelta(seconds=TIMEOUT_SECONDS)
    gc.collect()
    manager.initialize_culler()
    try:
        await _until_gone(manager, max(deadlines.values()) + timedelta(seconds=10))
    finally:
        if which == "ours":
            await manager._culler.pause()
        else:
            manager._culler_callback.stop()
    early = [kernel_id for kernel_id, at in manager.entered.items() if at <= deadlines[kernel_id]]
    assert not early, f"{which}: {len(early)} kernels were culled before their deadline"
    return [(manager.entered[kernel_id] - at).total_seconds() for kernel_id, at in deadlines.items()]


async def _until_gone(manager: Any, limit: datetime) -> None:
    while manager._kernels:
        assert utcnow() < limit, f"{len(manager._kernels)} kernels are still there"
        await asyncio.sleep(0.05)


def _report(results: Results, title: str, waits: dict[str, list[float]]) -> None:
    ours, upstream = waits["ours"], waits["upstream"]
    for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0)):
        promised = BUDGET_SECONDS if name == "p99" else None
        results.rows.append(
            Row(
                what=f"{title}: {name} (upstream: {UPSTREAM_INTERVAL_SECONDS} s interval)",
                unit="s",
                ours=percentile(ours, share),
                upstream=percentile(upstream, share),
                budget=promised,
                budget_words="< 100 ms" if promised else "",
            )
        )
    default = float(Manager.cull_interval_default)
    results.figures[title] = {
        "ours": spread(ours),
        "upstream, 1 s interval, measured": spread(upstream),
        "upstream, default interval, computed max": default,
    }
    what = f"{title}: max (upstream: default interval, computed)"
    results.rows.append(Row(what=what, unit="s", ours=max(ours), upstream=default))
