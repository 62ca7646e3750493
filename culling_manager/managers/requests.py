"""Following what the server forwards to a kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from zmq.eventloop.zmqstream import ZMQStream

from ..engine.clock import utcnow
from .activity import KernelActivity
from .frames import type_and_id
from .use import EXECUTE


def follow_requests(kernel: Any, activity: KernelActivity, tracked: Callable[[str | None], bool]) -> None:
    """Count each request that the server forwards on the kernel's shell channel at the moment it does so.

    Those on its control channel are only remembered, so that answers to them are known for what they are.
    """
    connect, connect_control = kernel.connect_shell, kernel.connect_control
    activity.connect_shell, activity.connect_control = connect, connect_control

    def sent(frames: list[Any], _status: Any) -> None:
        kind, request = type_and_id(frames)
        if tracked(kind):
            activity.given(request, utcnow())

    def sent_control(frames: list[Any], _status: Any) -> None:
        kind, request = type_and_id(frames)
        if kind == EXECUTE:
            activity.given(request, utcnow())
        else:
            activity.polls.send(request)

    def connect_shell(*args: Any, **kwargs: Any) -> Any:
        stream = connect(*args, **kwargs)
        if isinstance(stream, ZMQStream):
            activity.streams.add(stream)
            stream.on_send(sent)
        return stream

    def following_control(*args: Any, **kwargs: Any) -> Any:
        stream = connect_control(*args, **kwargs)
        if isinstance(stream, ZMQStream):
            stream.on_send(sent_control)
        return stream

    kernel.connect_shell, kernel.connect_control = connect_shell, following_control
