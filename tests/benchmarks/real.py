"""Real kernels: start them, run cells in them as the server's WebSocket handler would, and leave none behind."""

from __future__ import annotations

import asyncio
import os
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psutil

from .standins import Manager, make_manager

START_LIMIT_SECONDS = 20.0
STARTS = 3
#: Kernels that share a history file wait for each other at their end, also for a hung one, and for the disk.
NO_HISTORY_FILE = ["--HistoryManager.hist_file=:memory:"]


@asynccontextmanager
async def fleet(which: str, count: int, mixin: type | None = None, **traits: Any) -> AsyncIterator[Manager]:
    """A manager with `count` ipykernel kernels, each used once and now idle. All are gone afterwards, come what may."""
    with tempfile.TemporaryDirectory() as folder:
        manager = make_manager(which, {}, mixin, connection_dir=folder, **traits)
        processes: list[psutil.Process] = []
        try:
            await asyncio.gather(*(_start(manager, folder, processes) for _ in range(count)))
            yield manager
        finally:
            for process in processes:
                _kill(process)
            await manager.shutdown_all(now=True)
            if which == "ours":
                await manager._culler.pause()
            elif manager._culler_callback is not None:
                manager._culler_callback.stop()


async def _start(manager: Manager, folder: str, processes: list[psutil.Process]) -> None:
    """Start one kernel and use it; one that never answers (something else took one of its ports) is replaced."""
    how: dict[str, Any] = {"env": {**os.environ, "IPYTHONDIR": folder}, "extra_arguments": NO_HISTORY_FILE}
    for _ in range(STARTS):
        kernel_id = await manager.start_kernel(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **how)
        processes.append(psutil.Process(manager._kernels[kernel_id].provisioner.pid))
        try:
            return await use_once(manager, kernel_id)
        except asyncio.TimeoutError:
            if kernel_id in manager:
                await manager.shutdown_kernel(kernel_id, now=True)
    raise TimeoutError(f"none of {STARTS} kernels answered")


def _kill(process: psutil.Process) -> None:
    """End a process that we started, stopped or not; psutil knows when its id has passed to another."""
    try:
        process.kill()
        process.resume()
    except psutil.NoSuchProcess:
        pass


async def use_once(manager: Manager, kernel_id: str) -> None:
    """Connect, run a cell until the manager has heard of it, disconnect: now the kernel is idle and known to be."""
    kernel = manager._kernels[kernel_id]
    manager.notify_connect(kernel_id)
    await asyncio.wait_for(_until_heard(kernel), START_LIMIT_SECONDS)
    manager.notify_disconnect(kernel_id)


async def _until_heard(kernel: Any) -> None:
    """Run a cell, again where its messages were sent before anybody listened; and one that is heard from the start."""
    idle = False
    while not idle:
        await execute(kernel, "1")
        idle = await _soon_idle(kernel)
    await execute(kernel, "1")
    while not await _soon_idle(kernel):
        pass


async def _soon_idle(kernel: Any) -> bool:
    for _ in range(50):
        if kernel.execution_state == "idle":
            return True
        await asyncio.sleep(0.01)
    return False


async def execute(kernel: Any, code: str) -> None:
    """Run one cell, and wait for its reply."""
    stream, replied = kernel.connect_shell(), asyncio.get_running_loop().create_future()
    stream.on_recv(lambda _frames: replied.done() or replied.set_result(None))
    content = {
        "code": code,
        "silent": False,
        "store_history": True,
        "user_expressions": {},
        "allow_stdin": False,
        "stop_on_error": True,
    }
    kernel.session.send(stream, "execute_request", content=content)
    try:
        await replied
    finally:
        stream.close()
