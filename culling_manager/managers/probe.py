"""Asking a kernel whether it works, when its state cannot show it: one here over ZeroMQ, one on a gateway over HTTP.

A kernel's main thread answers on the shell channel only when it is free, each subshell for itself, and its control
thread always.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
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
from .use import EXECUTE

#: How long a kernel that was never heard has to answer (seconds) before its silence counts.
ASK_SECONDS = 1.0
#: The same (seconds) of one on a gateway.
REMOTE_ASK_SECONDS = 5.0
#: A healthy idle kernel answers within this (seconds); only then is a closer look taken.
QUICK_SECONDS = 0.25
#: Share of one core above which a kernel that does not answer is taken to be working.
WORKING_SHARE = 0.02
#: From an answer until the same thread is asked again (seconds): by then it has begun what it was given before.
TURN_SECONDS = 0.1
#: How long a kernel that says 'busy' has to answer (seconds).
BUSY_SECONDS = 2.0
#: A cell that does nothing and leaves nothing behind.
NOTHING_TO_RUN = {
    "code": "",
    "silent": True,
    "store_history": False,
    "user_expressions": {},
    "allow_stdin": False,
    "stop_on_error": False,
}
#: The question that every kernel answers, and what one says in its answer that has subshells.
INFO, SUBSHELLS = "kernel_info_request", "kernel subshells"


async def at_work(kernel: Any, activity: KernelActivity) -> str | None:
    """Ask a kernel whose state cannot show it whether it works: a sentence why it is in use, or None.

    One that answers on neither channel is at work if a request to it is unanswered or its process uses CPU.
    """
    asked_before = list(activity.outstanding)
    with _asking(kernel, activity) as questions:
        shell, control = questions.ask("shell", INFO), questions.ask("control", INFO)
        free = await _answered([shell], QUICK_SECONDS)
        before = 0.0 if free else _cpu_seconds(kernel)
        if free or await _answered([shell], ASK_SECONDS):
            why = await _busy_elsewhere(questions, shell.result()) if asked_before else None
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
    """Ask a kernel that says 'busy' whether it still is. One that is busy gets one question, behind its cell."""
    given, last = list(activity.outstanding), kernel.last_activity
    with _asking(kernel, activity) as questions:
        info = questions.ask("shell", INFO)
        main = await _answered([info], BUSY_SECONDS)
        threads = main and await _busy_elsewhere(questions, info.result()) is None
    heard = list(activity.outstanding) != given or kernel.last_activity != last
    return Answers(main=main, threads=threads, heard=heard)


async def _busy_elsewhere(questions: Questions, main: dict[str, Any]) -> str | None:
    """Why it may still work on what it was given before, though its main thread has just answered; None when not.

    Each subshell answers for itself. A kernel takes requests from its clients in turns, so that one may have begun
    right after our question, and some answer questions beside their cells: the main thread has to run one of ours.
    """
    subshells: list[str] = []
    if SUBSHELLS in main.get("supported_features", ()):
        listed = questions.ask("control", "list_subshell_request")
        if not await _answered([listed], ASK_SECONDS):
            return "it does not say which subshells it has, and a request that was sent to it has not been answered"
        subshells = listed.result().get("subshell_id", [])
    await asyncio.sleep(TURN_SECONDS)
    asked = [questions.ask("shell", INFO, each) for each in subshells]
    if await _answered([*asked, questions.ask("shell", EXECUTE, content=NOTHING_TO_RUN)], ASK_SECONDS):
        return None
    return "a request that was sent to it has not been answered, and one of its threads is at work"


async def _answered(replies: list[asyncio.Future[dict[str, Any]]], seconds: float) -> bool:
    await asyncio.wait(replies, timeout=seconds)
    return all(reply.done() for reply in replies)


@dataclass(slots=True, eq=False, repr=False)
class Questions:
    """Questions to one kernel, on connections of our own; what it says of them on IOPub is no activity."""

    session: Session
    streams: dict[str, Any]
    replies: dict[str, asyncio.Future[dict[str, Any]]] = field(default_factory=dict)

    def ask(
        self, channel: str, kind: str, subshell: str | None = None, content: dict[str, Any] | None = None
    ) -> asyncio.Future[dict[str, Any]]:
        """Send a question; gives what the content of the answer will be in."""
        header = self.session.msg_header(kind)
        if subshell is not None:
            header["subshell_id"] = subshell
        reply = self.replies[header["msg_id"]] = asyncio.get_running_loop().create_future()
        self.session.send(self.streams[channel], self.session.msg(kind, content, header=header))
        return reply

    def hear(self, frames: list[bytes]) -> None:
        """Take an answer. One that is not signed as the kernel signs raises ValueError, and is none."""
        _, parts = self.session.feed_identities(frames)
        message = self.session.deserialize(parts)
        reply = self.replies.get(message["parent_header"].get("msg_id", ""))
        if reply is not None and not reply.done():
            reply.set_result(message["content"])


@contextmanager
def _asking(kernel: Any, activity: KernelActivity) -> Iterator[Questions]:
    """Connections to ask a kernel on, for as long as that takes."""
    session = Session(config=kernel.session.config, key=kernel.session.key, session=activity.asking)
    questions = Questions(session, {})
    try:
        questions.streams["shell"] = (activity.connect_shell or kernel.connect_shell)()
        questions.streams["control"] = (activity.connect_control or kernel.connect_control)()
        for stream in questions.streams.values():
            stream.on_recv(questions.hear)
        yield questions
    finally:
        for stream in questions.streams.values():
            stream.close()


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
