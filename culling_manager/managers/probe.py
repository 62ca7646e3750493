"""Asking a kernel whether it works, when its state cannot show it: one here over ZeroMQ, one on a gateway over HTTP.

A kernel's main thread answers on the shell channel only when it is free, its control thread always.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from jupyter_client.session import Session
from jupyter_server.gateway.gateway_client import GatewayClient
from jupyter_server.utils import url_path_join
from tornado.escape import url_escape
from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

from ..engine.clock import utcnow
from ..errors import ReadError
from .activity import KernelActivity
from .local import local_pid

#: How long a kernel that was never heard has to answer (seconds) before its silence counts.
ASK_SECONDS = 1.0
#: The same (seconds) of one on a gateway.
REMOTE_ASK_SECONDS = 5.0
#: A healthy idle kernel answers within this (seconds); only then is a closer look taken.
QUICK_SECONDS = 0.25
#: Share of one core above which a kernel that does not answer is taken to be working.
WORKING_SHARE = 0.02


async def at_work(kernel: Any, activity: KernelActivity) -> str | None:
    """Ask a kernel that was never heard whether it works: a sentence why it is in use, or None.

    One that answers on neither channel is at work if a request to it is unanswered or its process uses CPU.
    """
    asked_before = set(activity.outstanding)
    async with _asking(kernel, activity) as (shell, control):
        free = await _answered(shell, QUICK_SECONDS)
        before = 0.0 if free else _cpu_seconds(kernel)
        if free or await _answered(shell, ASK_SECONDS):
            activity.outstanding -= asked_before  # requests are answered in their order
            return None
        used = _cpu_seconds(kernel) - before
        if control.done():
            return "its main thread is at work: only its control channel answers"
    if activity.outstanding:
        return "a request that was sent to it has not been answered"
    if used > WORKING_SHARE * ASK_SECONDS:
        return f"it does not answer, and its process used {used:.2f} s of CPU in {ASK_SECONDS:g} s"
    return None


async def _answered(reply: asyncio.Future[None], seconds: float) -> bool:
    await asyncio.wait([reply], timeout=seconds)
    return reply.done()


@asynccontextmanager
async def _asking(
    kernel: Any, activity: KernelActivity
) -> AsyncIterator[tuple[asyncio.Future[None], asyncio.Future[None]]]:
    """Send a question on the shell and the control channel; gives what is done when each is answered.

    What the kernel says of these questions on IOPub is no activity.
    """
    session = Session(config=kernel.session.config, key=kernel.session.key)
    probe = session.session.encode()
    loop = asyncio.get_running_loop()
    activity.probes.add(probe)
    streams: list[Any] = []
    replies: list[asyncio.Future[None]] = []
    try:
        for connect in (activity.connect_shell or kernel.connect_shell, kernel.connect_control):
            stream, reply = connect(), loop.create_future()
            streams.append(stream)
            replies.append(reply)
            stream.on_recv(lambda _message, reply=reply: reply.done() or reply.set_result(None))
            session.send(stream, "kernel_info_request")
        yield replies[0], replies[1]
    finally:
        for stream in streams:
            stream.close()
        loop.call_later(5.0, activity.probes.discard, probe)


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
