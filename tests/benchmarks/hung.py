"""8 real kernels due together, some of them hung (SIGSTOP): time until the healthy ones are gone, and until all are.

Each kernel has run a cell and is idle. Then every `last_activity` is set to one instant and the timeout to 1 s, and the
kernels that are to hang are stopped. Ours culls by its own timer; for upstream `cull_kernels()` is called at the
deadline, as if its interval had ended just then. A kernel is gone when the manager takes it off its list, which is
after its process has ended. The hung ones stand evenly in the list, the first one at its head.
"""

from __future__ import annotations

import asyncio
import signal
from datetime import datetime, timedelta
from typing import Any

from .measure import Results, Row, turns
from .real import fleet
from .standins import utcnow

TIMEOUT_SECONDS = 1
#: Two rounds of the same thing differ by about this much (seconds).
NOISE_SECONDS = 0.25


class Gone:
    """Mixed into a manager: remembers when each kernel was taken off the list."""

    def remove_kernel(self, kernel_id: str) -> Any:
        """Note the instant, then do it."""
        self.__dict__.setdefault("gone", {})[kernel_id] = utcnow()
        return super().remove_kernel(kernel_id)  # type: ignore[misc]


async def run(quick: bool) -> Results:
    """Rounds with none, one and half of the kernels hung (quick: 4 kernels, none and one)."""
    count, hungs = (4, (0, 1)) if quick else (8, (0, 1, 4))
    found: dict[tuple[str, int], tuple[float, float]] = {}
    results = Results()
    for hung, order in zip(hungs, turns(len(hungs)), strict=False):
        for which in order:
            found[which, hung] = await one_round(which, count, hung)
            results.figures[f"{which}, {count} kernels, {hung} hung: seconds (healthy gone, all gone)"] = found[
                which, hung
            ]
    unhindered = found["ours", 0][0]
    for hung in hungs:
        title = f"{count} kernels, {hung} hung"
        (healthy, everything), (healthy_up, everything_up) = found["ours", hung], found["upstream", hung]
        budget = unhindered + NOISE_SECONDS if hung else None
        words = f"<= ours with none hung + {NOISE_SECONDS} s" if hung else ""
        results.rows += [
            Row(
                what=f"{title}: healthy ones gone after",
                unit="s",
                ours=healthy,
                upstream=healthy_up,
                budget=budget,
                budget_words=words,
            ),
            Row(what=f"{title}: all gone after", unit="s", ours=everything, upstream=everything_up),
        ]
    return results


async def one_round(which: str, count: int, hung: int) -> tuple[float, float]:
    """Seconds from the deadline until the healthy kernels are gone, and until all are."""
    async with fleet(which, count, Gone) as manager:
        kernels = dict(manager._kernels)
        order = list(kernels)
        stopped = set(order[:: count // hung][:hung]) if hung else set()
        deadline = due_together(manager)
        for kernel_id in stopped:
            kernels[kernel_id].provisioner.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep((deadline - utcnow()).total_seconds() + 0.001)
        if which == "upstream":
            await manager.cull_kernels()
        while manager._kernels:
            assert utcnow() < deadline + timedelta(seconds=60), f"{which}: {len(manager._kernels)} kernels remain"
            await asyncio.sleep(0.05)
        after = {kernel_id: (manager.gone[kernel_id] - deadline).total_seconds() for kernel_id in order}
    assert min(after.values()) > 0, "a kernel was gone before its deadline"
    return max(after[kernel_id] for kernel_id in order if kernel_id not in stopped), max(after.values())


def due_together(manager: Any) -> datetime:
    """Every kernel was active just now, and gets the short timeout; gives the deadline."""
    now = utcnow()
    for kernel in manager._kernels.values():
        kernel.last_activity = now
    manager.cull_idle_timeout = TIMEOUT_SECONDS
    return now + timedelta(seconds=TIMEOUT_SECONDS)
