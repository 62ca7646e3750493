"""What each output message of a printing kernel costs the server, nobody else being connected.

*Real*: an ipykernel kernel of each manager runs cells that send hundreds of messages, one after the other. Measured
is the CPU time of this process (all its threads: ZeroMQ, event loop, the manager's activity watcher) from the request
until all have come, divided by the messages that came. Beside it stands what receiving alone costs, measured with a
callback that does nothing, one message a turn of the event loop as upstream receives them. A counter is in all three.

*Callback alone*: frames recorded from such a cell, fed straight into the activity callback of a newly started watcher;
into ours, which fetches for itself what has arrived behind a message, as many at a time as it had in the real cells.
"""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from itertools import islice
from time import process_time
from typing import Any
from unittest.mock import patch

from culling_manager.managers.activity import arrived

from .measure import Results, Row, settled_memory, spread, turns
from .real import execute, fleet
from .standins import Managers

Frames = list[bytes]
#: Messages per cell; ZeroMQ begins to drop when 1,000 wait for a process that others keep from running.
COUNT = 900

CELLS = {
    "stream": "for i in range({count}): print(i, flush=True)",
    "display_data": "for i in range({count}): get_ipython().display_pub.publish({{'text/plain': 'x' * 1000}})",
}


async def run(quick: bool) -> Results:
    """Both kinds of message, real and callback alone."""
    results = Results()
    rounds = 4 if quick else 16
    async with AsyncExitStack() as stack:
        managers = {which: await stack.enter_async_context(fleet(which, 1)) for which in ("ours", "upstream")}
        for kind, cell in CELLS.items():
            code = cell.format(count=COUNT)
            found: dict[str, list[float]] = {"ours": [], "upstream": [], "receiving alone": []}
            at_once = []
            for order in turns(rounds):
                for which in order:
                    seconds, messages = await _real(managers[which], code)
                    found[which].append(seconds)
                    at_once += [messages] if which == "ours" else []
                found["receiving alone"].append((await _real(managers[order[0]], code, watch=False))[0])
            _report(results, f"CPU per {kind} message, real", found)
            fed = await _callbacks_alone(managers, code, 5 if quick else 15, round(statistics.median(at_once)))
            _report(results, f"CPU per {kind} message, callback alone", fed)
            results.figures[f"{kind} messages that ours handles at once"] = spread(at_once)
    return results


def _report(results: Results, title: str, found: dict[str, list[float]]) -> None:
    medians = {name: statistics.median(values) for name, values in found.items()}
    floor = medians.get("receiving alone")
    results.rows.append(
        Row(
            what=title if floor is None else f"{title} (receiving alone: {floor * 1e6:.1f} us)",
            unit="s",
            ours=medians["ours"],
            upstream=medians["upstream"],
            budget=medians["upstream"],
            budget_words="<= upstream, aim half",
        )
    )
    results.figures[title] = {name: spread(values) for name, values in found.items()}


async def _real(manager: Any, code: str, watch: bool = True) -> tuple[float, float]:
    """CPU seconds per message while the cell runs, and how many messages ours handled at once on average.

    None may have been dropped. Not to `watch` is to receive alone.
    """
    (kernel,) = manager._kernels.values()
    stream = kernel._activity_stream
    watcher = stream._recv_callback
    came = turns_of_ours = 0

    def counting(frames: Frames) -> None:
        nonlocal came
        came += 1
        watcher(frames)

    def only_counting(frames: Frames) -> None:
        nonlocal came
        came += 1

    def counting_arrived(stream: Any, first: Frames) -> Iterator[Frames]:
        nonlocal came, turns_of_ours
        turns_of_ours += 1
        for frames in arrived(stream, first):
            came += 1
            yield frames

    ours = watcher.__module__ == arrived.__module__
    if not watch or not ours:
        stream.on_recv(counting if watch else only_counting)
    try:
        with patch("culling_manager.managers.activity.arrived", counting_arrived):
            start = process_time()
            await execute(kernel, code)
            await _until_silent(lambda: came)
            used = process_time() - start
    finally:
        stream.on_recv(watcher)
    assert came >= COUNT, f"only {came} of {COUNT} messages came"
    return used / came, came / max(turns_of_ours, 1)


async def _until_silent(count: Callable[[], int]) -> None:
    """Wait until no message has come for a tenth of a second."""
    before = -1
    while before != count():
        before = count()
        await asyncio.sleep(0.1)


async def _callbacks_alone(managers: Managers, code: str, rounds: int, at_once: int) -> dict[str, list[float]]:
    frames = {which: await _recorded(manager, code) for which, manager in managers.items()}
    found: dict[str, list[float]] = {which: [] for which in managers}
    with settled_memory() as collect:
        for order in turns(rounds):
            for which in order:
                callback = _fresh_watcher(managers[which])
                collect()
                start = process_time()
                _feed(callback, frames[which], at_once)
                found[which].append((process_time() - start) / len(frames[which]))
                (kernel,) = managers[which]._kernels.values()
                assert kernel.execution_state == "idle", "the recorded cell did not end"
                await asyncio.sleep(0.05)  # ours may rest between two batches; then it listens again
    return found


def _feed(callback: Callable[[Frames], object], frames: list[Frames], at_once: int) -> None:
    """Hand every message to the callback; what ours fetches by itself stops at `at_once` messages."""
    waiting = iter(frames)

    def fetched(_stream: Any, first: Frames) -> Iterator[Frames]:
        yield first
        yield from islice(waiting, at_once - 1)

    with patch("culling_manager.managers.activity.arrived", fetched):
        for each in waiting:
            callback(each)


async def _recorded(manager: Any, code: str) -> list[Frames]:
    """All IOPub messages of one cell, from 'busy' to 'idle'."""
    (kernel,) = manager._kernels.values()
    stream, recorded = kernel._activity_stream, []
    watcher = stream._recv_callback
    stream.on_recv(recorded.append)
    await execute(kernel, code)
    await _until_silent(lambda: len(recorded))
    stream.on_recv(watcher)
    return recorded


def _fresh_watcher(manager: Any) -> Callable[[Frames], object]:
    """Start watching anew: a session refuses a message that it has seen before."""
    (kernel_id,) = manager._kernels
    manager.stop_watching_activity(kernel_id)
    manager.start_watching_activity(kernel_id)
    callback: Callable[[Frames], object] = manager._kernels[kernel_id]._activity_stream._recv_callback
    return callback
