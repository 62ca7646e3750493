"""8 real kernels due together, some of them hung (SIGSTOP): time until the healthy ones are gone, and until all are.

Each kernel has run a cell and is idle. Then every `last_activity` is set to one instant and the timeout to 1 s, and the
kernels that are to hang are stopped. Ours culls by its own timer; for upstream `cull_kernels()` is called at the
deadline, as if its interval had ended just then. A kernel is gone when the manager takes it off its list, which is
after its process has ended. The hung ones stand evenly in the list, the first one at its head.

Now and then a healthy ipykernel 7 does not end when asked, under either manager: its control thread flushes stdout
through a thread that its main thread has stopped already, each waits for the other, and only SIGTERM ends it, 2.5 s
later. A round with such a kernel says nothing about the manager: it is repeated, and counted in the JSON file.
"""

from __future__ import annotations

import asyncio
import signal
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from .measure import Results, Row, turns
from .real import fleet
from .standins import utcnow

TIMEOUT_SECONDS = 1
#: Two rounds of the same thing differ by about this much (seconds).
NOISE_SECONDS = 0.25
TRIES = 3


class Gone:
    """Mixed into a manager: remembers when each kernel was taken off the list."""

    def remove_kernel(self, kernel_id: str) -> Any:
        """Note the instant, and how it was brought to end; then do it."""
        self.__dict__.setdefault("gone", {})[kernel_id] = utcnow()
        status = getattr(self._kernels.get(kernel_id), "_shutdown_status", None)  # type: ignore[attr-defined]
        self.__dict__.setdefault("ends", {})[kernel_id] = getattr(status, "name", "")
        return super().remove_kernel(kernel_id)  # type: ignore[misc]


async def run(quick: bool) -> Results:
    """Rounds with none, one and half of the kernels hung (quick: 4 kernels, none and one)."""
    count, hungs = (4, (0, 1)) if quick else (8, (0, 1, 4))
    found: dict[tuple[str, int], tuple[float, float]] = {}
    results = Results()
    for hung, order in zip(hungs, turns(len(hungs)), strict=False):
        for which in order:
            *others, counts = await rounds(which, count, hung)
            found[which, hung] = counts.healthy, counts.everything
            title = f"{which}, {count} kernels, {hung} hung: seconds"
            results.figures[title] = {"healthy gone": counts.healthy, "all gone": counts.everything}
            results.figures[f"{title}, rounds with a deadlock at exit"] = [other.healthy for other in others]
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """Seconds from the deadline until the healthy kernels were gone, and until all were."""

    healthy: float
    everything: float
    all_ended_when_asked: bool


async def rounds(which: str, count: int, hung: int) -> list[Round]:
    """Rounds up to one in which every healthy kernel ended when asked; the third counts as it is."""
    found = [await one_round(which, count, hung)]
    while not found[-1].all_ended_when_asked and len(found) < TRIES:
        found.append(await one_round(which, count, hung))
    return found


async def one_round(which: str, count: int, hung: int) -> Round:
    """Start the kernels, stop some, let all be culled."""
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
    healthy = [kernel_id for kernel_id in order if kernel_id not in stopped]
    return Round(
        healthy=max(after[kernel_id] for kernel_id in healthy),
        everything=max(after.values()),
        all_ended_when_asked=all(manager.ends[kernel_id] == "ShutdownRequest" for kernel_id in healthy),
    )


def due_together(manager: Any) -> datetime:
    """Every kernel was active just now, and gets the short timeout; gives the deadline."""
    now = utcnow()
    for kernel in manager._kernels.values():
        kernel.last_activity = now
    manager.cull_idle_timeout = TIMEOUT_SECONDS
    return now + timedelta(seconds=TIMEOUT_SECONDS)
