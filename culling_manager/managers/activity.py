"""Following a local kernel's activity: what it says on IOPub, and what is asked of it.

Upstream's own callback stays in charge of what a message means, so `last_activity` and `execution_state` are what they
are without us. Only one case is short-cut: while a kernel is busy, a message that is not a status is activity whatever
else it says, and need not be verified and parsed to know that.
"""

from __future__ import annotations

import asyncio
import uuid
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

import zmq
from zmq.eventloop.zmqstream import ZMQStream

from ..decisions import QUIET_STATES
from ..engine.clock import utcnow
from ..rules.run import Run
from ..rules.unanswered import Unanswered
from .frames import header_of, kind_of, may_be_status, parent_of, status_of
from .use import POLLS

#: While a kernel is busy its messages are fetched this often (seconds) instead of one by one; only the end of being
#: busy shows that much later. ZeroMQ keeps 1,000 messages meanwhile, so none is lost below 100,000 a second.
REST_SECONDS = 0.01
#: Messages that are handled in one turn of the event loop, so that a flood leaves turns to others.
BATCH = 500


class KernelActivity:
    """What we know of a kernel besides upstream's own attributes.

    `version` counts changes. `outstanding` are requests that it was given and whose own 'idle' has not been heard.
    `welcome_expected` means that we connected anew to a kernel that nobody used: newer kernels greet each connection
    with an ``iopub_welcome``, and upstream takes that for activity. `asking` is the session of our own questions.
    `unheard` means that it was at work when it was asked last, though it had not said so.
    `polls` are requests on the control channel, which are no use: a page sends them by itself.
    """

    def __init__(self, long_run: float = 0.0) -> None:
        self.started_at: datetime | None = None
        self.noted_at: datetime | None = None
        self.disconnected_at: datetime | None = None
        self.person_at: datetime | None = None
        self.checked_at: datetime | None = None
        self.run = Run(long_run)
        self.settled = True
        self.gone = self.welcome_expected = self.unheard = False
        self.restarting = self.version = 0
        self.outstanding, self.polls = Unanswered(), Unanswered()
        self.streams: weakref.WeakSet[ZMQStream] = weakref.WeakSet()
        self.connect_shell: Callable[..., Any] | None = None
        self.connect_control: Callable[..., Any] | None = None
        self.asking = uuid.uuid4().hex

    def note(self, at: datetime) -> None:
        """Count something as use that upstream does not see (yet): a forwarded request, a restart, an answer."""
        self.noted_at = at
        self.version += 1

    def given(self, request: str, at: datetime) -> None:
        """It is given a request that is use of it."""
        self.outstanding.send(request)
        self.note(at)

    def disconnected(self, at: datetime) -> None:
        """Its last connection was closed."""
        self.disconnected_at = at
        self.version += 1

    def works(self, state: str | None) -> bool:
        """Whether it works, in this state of upstream's: also while a request that it has begun is not answered.

        The 'idle' of one request says nothing of another, which a subshell may be working on.
        """
        return state == "busy" or (bool(self.outstanding.begun) and state in QUIET_STATES)

    def heard(self, state: str | None) -> None:
        """Follow the state after a message; one 'busy' shows that we hear the kernel, so its 'idle' is believable."""
        if state == "busy":
            self.settled = True
        self.run.follow(self.works(state), utcnow())

    def heard_status(self, status: str, parent: Mapping[str, Any]) -> None:
        """It says that it is busy with a request, or done with one."""
        request = parent.get("msg_id")
        if not isinstance(request, str):
            return
        if status == "busy":
            self.version += self.outstanding.begin(request)
        elif status == "idle":
            self.version += self.outstanding.end(request)

    def answered(self, requests: Iterable[str]) -> None:
        """It has shown that it is done with all of these, though that was not heard of each."""
        self.outstanding.end_all(requests)
        self.version += 1

    def finished(self, at: datetime) -> None:
        """It has shown that it is done with all that it was given; nobody knows since when, so it was until now."""
        self.outstanding.forget()
        self.run.follow(False, at)
        self.note(at)

    def polls_with(self, parent: Mapping[str, Any]) -> bool:
        """Whether a request is one on the control channel, or of a type that goes there only."""
        return parent.get("msg_type") in POLLS or (len(self.polls) > 0 and parent.get("msg_id") in self.polls.sent)

    def started_anew(self) -> None:
        """The process is another one: nothing was heard of it, and nobody asked it anything."""
        self.settled = self.unheard = False
        self.checked_at = None
        self.run.forget()
        self.outstanding.forget()
        self.polls.forget()
        self.version += 1

    def catch_waiting(self, now: datetime) -> None:
        """Count requests that were accepted but are still on their way to the kernel."""
        if any(stream.sending() for stream in self.streams if not stream.closed()):
            self.note(now)


def follow_iopub(manager: Any, kernel: Any, activity: KernelActivity, tracked: Callable[[str | None], bool]) -> bool:
    """Put the short cut in front of upstream's IOPub callback; False when its seam is not there."""
    stream = getattr(kernel, "_activity_stream", None)
    upstream = getattr(stream, "_recv_callback", None)
    if stream is None or upstream is None:
        return False

    def record(frames: list[bytes]) -> None:
        if kernel.execution_state == "busy" and not may_be_status(frames):
            manager.last_kernel_activity = kernel.last_activity = utcnow()
            return
        parent = parent_of(frames)
        if parent.get("session") == activity.asking:
            return
        if activity.welcome_expected and b"iopub_welcome" in header_of(frames):
            activity.welcome_expected = False
            return
        if activity.polls_with(parent) or not (tracked(parent.get("msg_type")) or tracked(kind_of(frames))):
            hear_no_use(manager, kernel, upstream, frames, activity.polls_with(parent))
            activity.polls.end(parent.get("msg_id", "") if status_of(frames) == "idle" else "")
            return
        upstream(frames)
        if may_be_status(frames):
            activity.heard_status(status_of(frames), parent)
            activity.heard(kernel.execution_state)

    def record_all(first: list[bytes]) -> None:
        for frames in arrived(stream, first):
            record(frames)
        if kernel.execution_state == "busy" and isinstance(stream, ZMQStream) and not stream.closed():
            stream.on_recv(None)
            asyncio.get_running_loop().call_later(REST_SECONDS, resume)

    def resume() -> None:
        if not stream.closed() and stream._recv_callback is None:  # unless somebody else listens by now
            stream.on_recv(record_all)

    stream.on_recv(record_all)
    return True


def hear_no_use(
    manager: Any, kernel: Any, upstream: Callable[[list[bytes]], None], frames: list[bytes], polled: bool
) -> None:
    """Let upstream hear an answer to what is no use of the kernel, and take back what it counted.

    Before jupyter_server 2.15 every message was activity, and every status one of the kernel. As since then, such an
    answer shows of one that is 'starting' that it has started, and goes on counting while it is busy, unless it is to
    what is `polled`: that goes on for ever.
    """
    state, last, any_last = kernel.execution_state, kernel.last_activity, manager.last_kernel_activity
    upstream(frames)
    if state != "busy" or polled:
        kernel.last_activity, manager.last_kernel_activity = last, any_last
    started = state == "starting" and kernel.execution_state not in ("starting", None)
    kernel.execution_state = "idle" if started else state


def arrived(stream: Any, first: list[bytes]) -> Iterator[list[bytes]]:
    """The message being handled and those that have arrived behind it, `BATCH` at most.

    Fetching each in a turn of the event loop of its own costs more than all the rest.
    """
    yield first
    for _ in range(BATCH):
        if not isinstance(stream, ZMQStream) or stream.closed():
            return
        try:
            frames = stream.socket.recv_multipart(zmq.NOBLOCK)
        except zmq.ZMQError:
            return  # nothing more there, or closed: the stream itself finds out and tells
        yield frames
