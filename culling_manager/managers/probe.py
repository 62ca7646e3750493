"""Asking a kernel whether it works, when its state cannot show it: one here over ZeroMQ, one on a gateway over HTTP."""

from __future__ import annotations

import asyncio
import json
import uuid
from contextlib import AbstractContextManager
from typing import Any

from jupyter_client.session import Session
from jupyter_server.gateway.gateway_client import GatewayClient
from jupyter_server.utils import url_path_join
from tornado.escape import url_escape
from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

from ..engine.clock import utcnow
from ..errors import ReadError
from ..rules.proof import Answers
from .activity import KernelActivity
from .hosts import KernelHost
from .local import local_pid
from .questions import ASK_SECONDS, INFO, Questions, all_free, answered, asking, busy_elsewhere

#: How long a kernel on a gateway has to answer (seconds) before its silence counts.
REMOTE_ASK_SECONDS = 5.0
#: A healthy idle kernel answers within this (seconds); only then is a closer look taken.
QUICK_SECONDS = 0.25
#: Share of one core above which a kernel that does not answer is taken to be working.
WORKING_SHARE = 0.02
#: Why a kernel is kept that is free now.
FINISHED_UNHEARD = "it has finished, and nobody heard when: it was in use until now, as far as anybody can tell"


async def at_work(kernel: Any, activity: KernelActivity) -> str | None:
    """Ask a kernel whose state cannot show it whether it works: a sentence why it is in use, or None.

    One that answers on neither channel is at work if a request to it is unanswered or its process uses CPU.
    """
    asked_before = list(activity.outstanding)
    with _asking(kernel, activity) as questions:
        shell, control = questions.ask("shell", INFO), questions.ask("control", INFO)
        free = await answered([shell], QUICK_SECONDS)
        before = 0.0 if free else _cpu_seconds(kernel)
        if free or await answered([shell], ASK_SECONDS):
            why = await busy_elsewhere(questions, shell.result()) if asked_before else None
            if why is None:
                activity.answered(asked_before)
            return why
        used = _cpu_seconds(kernel) - before
        if control.done():
            return "its main thread is at work: only its control channel answers"
    if activity.outstanding:
        return "a request that was sent to it has not been answered"
    if used > WORKING_SHARE * ASK_SECONDS:
        return f"it does not answer, and its process used {used:.2f} s of CPU in {ASK_SECONDS:g} s"
    return None


async def confirm(manager: KernelHost, kernel_id: str, activity: KernelActivity) -> None:
    """Ask a kernel whose state cannot show it whether it works, and count that as use.

    One that has finished what it was given, unheard, or that was at work when it was asked before, was in use until
    some moment since; nobody knows when, so until now.
    """
    kernel: Any = manager._kernels[kernel_id]
    given = activity.unheard or bool(activity.outstanding)
    why = await at_work(kernel, activity)
    activity.unheard = why is not None
    if activity.unheard or given:
        manager.log.info("Culling: kernel %s is kept: %s", kernel_id, why or FINISHED_UNHEARD)
        activity.note(utcnow())


async def prove(manager: KernelHost, kernel_id: str, activity: KernelActivity) -> None:
    """Ask a kernel that says 'busy' whether it still is; one that has finished is idle from now on."""
    kernel = manager._kernels.get(kernel_id)
    activity.checked_at = utcnow()
    activity.version += 1
    if kernel is None or activity.restarting or not kernel.ready.done() or kernel.ready.exception() is not None:
        return
    if (await has_finished(kernel, activity)).free and manager._kernels.get(kernel_id) is kernel:
        words = "Culling: kernel %s said that it is busy and nothing since, but it answers: it is idle from now on."
        manager.log.info(words, kernel_id)
        kernel.execution_state = "idle"
        activity.finished(utcnow())


async def has_finished(kernel: Any, activity: KernelActivity) -> Answers:
    """Ask a kernel that says 'busy' whether it still is."""
    given, last = list(activity.outstanding), kernel.last_activity
    with _asking(kernel, activity) as questions:
        main, threads = await all_free(questions)
    heard = list(activity.outstanding) != given or kernel.last_activity != last
    return Answers(main=main, threads=threads, heard=heard)


def _asking(kernel: Any, activity: KernelActivity) -> AbstractContextManager[Questions]:
    """Connections to ask a kernel on, that its own manager makes."""
    session = Session(config=kernel.session.config, key=kernel.session.key, session=activity.asking)
    control = activity.connect_control or kernel.connect_control
    return asking(session, activity.connect_shell or kernel.connect_shell, control)


def _cpu_seconds(kernel: Any) -> float:
    """CPU time of the kernel's process and its children so far (seconds); 0 when it cannot be told."""
    import psutil

    pid = local_pid(kernel)
    if not pid:
        return 0.0
    total = 0.0
    try:
        process = psutil.Process(pid)
        for each in [process, *process.children(recursive=True)]:
            times = each.cpu_times()
            total += times.user + times.system
    except psutil.Error:
        return total
    return total


async def remote_at_work(kernel_id: str) -> bool:
    """Whether a remote kernel answers on its control but not, within `REMOTE_ASK_SECONDS`, on its shell channel."""
    client = GatewayClient.instance()
    url = url_path_join(client.ws_url or "", client.kernels_endpoint, url_escape(kernel_id), "channels")
    request = HTTPRequest(url, **client.load_connection_args())
    socket = await asyncio.wait_for(websocket_connect(request), REMOTE_ASK_SECONDS)
    answered: set[str] = set()
    try:
        for channel in ("shell", "control"):
            await socket.write_message(json.dumps(_kernel_info_request(channel)))
        await asyncio.wait_for(_collect_answers(socket, answered), REMOTE_ASK_SECONDS)
    except asyncio.TimeoutError:
        pass  # silence is an answer too: see what was heard until now
    finally:
        socket.close()
    return "control" in answered and "shell" not in answered


async def _collect_answers(socket: Any, answered: set[str]) -> None:
    while "shell" not in answered:
        message = await socket.read_message()
        if message is None:
            raise ReadError("the gateway closed the connection to the kernel")
        found = json.loads(message)
        if found.get("msg_type") == "kernel_info_reply":
            answered.add(found["channel"])


def _kernel_info_request(channel: str) -> dict[str, Any]:
    header = {
        "msg_id": uuid.uuid4().hex,
        "msg_type": "kernel_info_request",
        "session": uuid.uuid4().hex,
        "username": "culling",
        "date": utcnow().isoformat(),
        "version": "5.3",
    }
    return {"header": header, "parent_header": {}, "metadata": {}, "content": {}, "buffers": [], "channel": channel}
