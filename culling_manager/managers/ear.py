"""Listening to a kernel that another manager looks after, with a connection of our own that asks for nothing."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import zmq
from zmq.eventloop.zmqstream import ZMQStream

from ..engine.clock import utcnow
from .frames import kind_of, parent_of, status_of
from .use import POLLS, UNTRACKED

#: Requests that are no use of a kernel: those that a page sends by itself, and what it polls on the control channel.
IDLE_TALK = UNTRACKED | POLLS

#: A manager takes note of what a kernel says this much (seconds) before or after us at most.
LAG_SECONDS = 5.0


@dataclass(slots=True, eq=False, repr=False)
class Ear:
    """What was heard of one kernel since we listen to it; `changed` is called when that is news.

    `used_at` is when it last said something that is use of it, `talked_at` when it last said something that is none,
    such as its answer to a page that polls it. `working` has the requests that it began to work on and has not ended.
    `asking` is the session of our own questions.
    """

    changed: Callable[[], None]
    used_at: datetime | None = None
    talked_at: datetime | None = None
    working: set[str] = field(default_factory=set)
    asking: str = field(default_factory=lambda: uuid.uuid4().hex)
    _stream: ZMQStream | None = None

    def listen(self, info: Mapping[str, Any]) -> None:
        """Connect to where `info` says that the kernel publishes; a restarted one is connected to again by itself."""
        self._stream = stream_to(info, "iopub", zmq.SUB)
        self._stream.setsockopt(zmq.SUBSCRIBE, b"")
        self._stream.on_recv(self.hear)

    def hear(self, frames: list[bytes]) -> None:
        """Take note of one message. What cannot be understood counts as use."""
        kind, parent = kind_of(frames), parent_of(frames)
        now = utcnow()
        ours = parent.get("session") == self.asking
        if ours or parent.get("msg_type") in IDLE_TALK or kind == "iopub_welcome":
            self.talked_at = now
            return
        self.used_at = now
        state, request = status_of(frames) if kind == "status" else "", str(parent.get("msg_id", ""))
        if state == "busy":
            self.working.add(request)
        elif state == "idle":
            self.working.discard(request)
        self.changed()

    def explains(self, at: datetime) -> bool:
        """Whether what others noted at an instant is what we heard, or heard to be no use of it."""
        if self.used_at is not None and at <= self.used_at:
            return True
        return self.talked_at is not None and abs((at - self.talked_at).total_seconds()) < LAG_SECONDS

    def started_anew(self) -> None:
        """Its process is another one, which nobody has asked anything."""
        self.working.clear()

    def close(self) -> None:
        """Listen no more."""
        if self._stream is not None and not self._stream.closed():
            self._stream.close()


def stream_to(info: Mapping[str, Any], channel: str, kind: int) -> ZMQStream:
    """A connection to one channel of the kernel that listens where `info` says."""
    socket: zmq.Socket[bytes] = zmq.Context.instance().socket(kind)
    socket.linger = 0
    public, secret = info.get("curve_publickey"), info.get("curve_secretkey")
    if public and secret:  # it encrypts what it says
        socket.curve_publickey = socket.curve_serverkey = public.encode()
        socket.curve_secretkey = secret.encode()
    place = f"{info['ip']}:{info[f'{channel}_port']}"
    ipc = info["transport"] == "ipc"
    socket.connect(f"ipc://{place.replace(':', '-')}" if ipc else f"{info['transport']}://{place}")
    return ZMQStream(socket)
