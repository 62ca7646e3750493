"""Real kernels: start them, run cells in them as the server's WebSocket handler would, and leave none behind."""

from __future__ import annotations

import asyncio
import os
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil

from .standins import Manager, make_manager

START_LIMIT_SECONDS = 60.0


@asynccontextmanager
async def fleet(which: str, count: int, mixin: type | None = None, **traits: Any) -> AsyncIterator[Manager]:
    """A manager with `count` ipykernel kernels, each used once and now idle. All are gone afterwards, come what may."""
    with tempfile.TemporaryDirectory() as folder:
        manager = make_manager(which, {}, mixin, connection_dir=folder, **traits)
        processes: list[psutil.Process] = []
        try:
            await asyncio.gather(*(_start(manager, Path(folder, f"ipython{number}")) for number in range(count)))
            kernels = manager._kernels
            processes += [psutil.Process(kernel.provisioner.pid) for kernel in kernels.values()]
            await asyncio.gather(*(use_once(manager, kernel_id) for kernel_id in kernels))
            yield manager
        finally:
            for process in processes:
                _kill(process)
            await manager.shutdown_all(now=True)
            if which == "ours":
                await manager._culler.pause()
            elif manager._culler_callback is not None:
                manager._culler_callback.stop()


async def _start(manager: Manager, ipython_folder: Path) -> None:
    """Start one kernel, with a folder of its own: kernels that share one wait for its database, also for a hung one."""
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    await manager.start_kernel(env={**os.environ, "IPYTHONDIR": str(ipython_folder)}, **quiet)


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
