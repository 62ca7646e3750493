"""Kernels on this machine that another program started: scheduled jobs, papermill, nbconvert, another server's."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from traitlets import Integer

from ..concurrency import in_thread
from ..records import Kind
from .base import Bounded, Shared, Signal, Subject

if TYPE_CHECKING:  # a server that has not looked yet needs none of it
    from .runtime import Kernel
    from .snapshot import Table

#: Addresses of this machine; a kernel elsewhere is not asked.
HERE = r"localhost|::1|127(\.\d{1,3}){3}|"
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "*": "127.0.0.1", "::": "::1"}  # noqa: S104


class OtherKernelsSignal(Signal):
    """Kernels that are not in this server's list, while they run a cell; it counts for the app that the server runs on.

    Each is asked: its main thread answers only when it is free, its control channel always. One that nobody can ask
    counts while the program that started it lives, unless that is another Jupyter Server: that culls its own.
    """

    answer_seconds = Bounded(
        1.5, low=0.05, high=60, config=True, help="How long a kernel has to answer before it counts as busy (seconds)."
    )
    max_kernels = Integer(50, min=1, config=True, help="With more kernels than this the others count as busy unasked.")
    max_processes = Integer(5000, min=1, config=True, help="With more processes than this kernels are not looked for.")

    def __init__(self, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self._server: Any = None
        self._look = Shared(lambda: in_thread(partial(self._find, os.getpid())))

    def start(self, server: Any) -> None:
        """Learn which kernels are this server's own."""
        self._server = server

    @property
    def takes_seconds(self) -> float:
        """All are asked at once."""
        return self.answer_seconds

    def applies(self, subject: Subject) -> bool:
        """Only to the app that is this machine."""
        return subject.kind is Kind.APP and subject.here

    async def check(self, subject: Subject) -> str | None:
        """Say which kernel of another program is at work."""
        table, found, servers = await self._look()
        files, pids = self._own()
        pids |= {each.pid for each in found if each.file in files}
        known = {each.pid: each.file for each in found}
        forks = {each.pid for each in found if each.parent in known and each.file in ("", known[each.parent])}
        others = [each for each in found if each.pid not in pids | forks]
        above = set(table.ancestors(subject.server_pid)) - {subject.server_pid}
        asked = others[: self.max_kernels]
        answers: list[str | None] = list(await asyncio.gather(*(ask(each.info, self.answer_seconds) for each in asked)))
        answers += [None] * (len(others) - len(asked))
        for kernel, answer in zip(others, answers, strict=True):
            held = kernel.parent in table.rows and kernel.parent not in above and kernel.parent not in servers
            if answer == "busy" or (answer is None and held):
                how = "runs a cell" if answer else "cannot be asked, and the program that started it lives"
                return f"a kernel {await in_thread(partial(_started_by, kernel))} {how} (pid {kernel.pid})"
        return None

    def _find(self, server_pid: int) -> tuple[Table, list[Kernel], set[int]]:
        """All processes, the kernels among them, and other servers."""
        from .runtime import kernels, other_servers
        from .table import read_table

        table = read_table(self.max_processes)
        if server_pid not in table.rows:
            return table, [], set()
        return table, kernels(table, table.rows[server_pid].user), other_servers(table, server_pid)

    def _own(self) -> tuple[set[str], set[int]]:
        """Connection files and processes of the kernels in this server's list."""
        listed: Iterable[Any] = getattr(getattr(self._server, "kernel_manager", None), "_kernels", {}).values()
        files, pids = set(), set()
        for kernel in list(listed):
            files.add(os.path.realpath(getattr(kernel, "connection_file", "") or ""))
            pids.add(getattr(getattr(kernel, "provisioner", None), "pid", None) or 0)
        return files, pids


def _started_by(kernel: Kernel) -> str:
    from .table import read_labels
    from .usage import shown

    name = read_labels(kernel.parent)[2]
    return f"that {shown(name)} started" if name else "of another program"


async def ask(info: dict[str, Any] | None, seconds: float) -> str | None:
    """Ask a kernel whether its main thread is free: "free", "busy" when only its control channel answers, else None."""
    address = str((info or {}).get("ip", ""))
    if info is None or not (re.fullmatch(HERE, address) or address in EVERYWHERE or info.get("transport") == "ipc"):
        return None
    import zmq.asyncio
    from jupyter_client.asynchronous.client import AsyncKernelClient

    context = zmq.asyncio.Context()
    try:
        client = AsyncKernelClient(context=context)
        client.load_connection_info(info | {"ip": EVERYWHERE.get(address, address)})  # type: ignore[arg-type]
        replies = [_answers(client, channel) for channel in (client.shell_channel, client.control_channel)]
        shell, control = (asyncio.ensure_future(each) for each in replies)
        try:
            await asyncio.wait([shell], timeout=seconds)
            if shell.done() and shell.exception() is None:
                return "free"
            return "busy" if control.done() and control.exception() is None else None
        finally:
            for task in (shell, control):
                task.cancel()
            await asyncio.gather(shell, control, return_exceptions=True)
    except Exception:
        return None  # nobody can ask it
    finally:
        context.destroy(linger=0)


async def _answers(client: Any, channel: Any) -> None:
    """Return when the kernel has answered on a channel."""
    channel.send(client.session.msg("kernel_info_request"))
    await channel.get_msg(timeout=None)
