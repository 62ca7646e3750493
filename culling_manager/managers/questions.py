"""Questions to a kernel on this machine, on connections of our own: what each of its threads answers.

A kernel's main thread answers on the shell channel only when it is free, each subshell for itself, and its control
thread always.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from jupyter_client.session import Session

#: How long a thread has to answer (seconds) before its silence counts.
ASK_SECONDS = 1.0
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
#: The question that every kernel answers, a cell, and what one says in its answer that has subshells.
INFO, EXECUTE, SUBSHELLS = "kernel_info_request", "execute_request", "kernel subshells"


class Questions:
    """Questions to one kernel; what it says of them on IOPub is no activity."""

    def __init__(self, session: Session, streams: dict[str, Any]) -> None:
        self.session, self.streams = session, streams
        self.replies: dict[str, asyncio.Future[dict[str, Any]]] = {}

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
def asking(session: Session, shell: Callable[[], Any], control: Callable[[], Any]) -> Iterator[Questions]:
    """Connections to ask a kernel on, for as long as that takes; `shell` and `control` make a stream each."""
    questions = Questions(session, {})
    try:
        questions.streams["shell"] = shell()
        questions.streams["control"] = control()
        for stream in questions.streams.values():
            stream.on_recv(questions.hear)
        yield questions
    finally:
        for stream in questions.streams.values():
            stream.close()


async def all_free(questions: Questions) -> tuple[bool, bool]:
    """Whether the main thread of one that says 'busy' answers, and every thread of it. A busy one gets one question."""
    info = questions.ask("shell", INFO)
    main = await answered([info], BUSY_SECONDS)
    return main, main and await busy_elsewhere(questions, info.result()) is None


async def busy_elsewhere(questions: Questions, main: dict[str, Any]) -> str | None:
    """Why it may still work on what it was given before, though its main thread has just answered; None when not.

    Each subshell answers for itself. A kernel takes requests from its clients in turns, so that one may have begun
    right after our question, and some answer questions beside their cells: the main thread has to run one of ours.
    """
    subshells: list[str] = []
    if SUBSHELLS in main.get("supported_features", ()):
        listed = questions.ask("control", "list_subshell_request")
        if not await answered([listed], ASK_SECONDS):
            return "it does not say which subshells it has, and a request that was sent to it has not been answered"
        subshells = listed.result().get("subshell_id", [])
    await asyncio.sleep(TURN_SECONDS)
    asked = [questions.ask("shell", INFO, each) for each in subshells]
    if await answered([*asked, questions.ask("shell", EXECUTE, content=NOTHING_TO_RUN)], ASK_SECONDS):
        return None
    return "a request that was sent to it has not been answered, and one of its threads is at work"


async def answered(replies: list[asyncio.Future[dict[str, Any]]], seconds: float) -> bool:
    """Whether all of these come within so many seconds."""
    await asyncio.wait(replies, timeout=seconds)
    return all(reply.done() for reply in replies)
