"""Clients of a kernel that the server itself makes: what they send goes past the streams that the server forwards on.

Extensions that run cells on the server, and websocket classes other than upstream's, make such clients, by
`KernelManager.client` or by its `client_factory`. What they send counts at the moment it is sent, as what a page sends.
"""

from __future__ import annotations

import json
import weakref
from collections.abc import Callable
from functools import cache
from types import new_class
from typing import Any

from ..engine.clock import utcnow
from .activity import KernelActivity
from .use import EXECUTE

#: Where a kernel manager has what we know of its kernel.
KNOWN_AS = "_culling_following"


class Following:
    """What the clients of one kernel send, by the sockets that they send it on."""

    def __init__(self, activity: KernelActivity, tracked: Callable[[str | None], bool]) -> None:
        self.activity = activity
        self.tracked = tracked
        self.shells: weakref.WeakSet[Any] = weakref.WeakSet()
        self.controls: weakref.WeakSet[Any] = weakref.WeakSet()

    def sent(self, stream: Any, header: Any) -> None:
        """A message was sent on a socket, or on a stream around one."""
        kind, request = (header.get("msg_type"), header.get("msg_id")) if isinstance(header, dict) else (None, None)
        socket = getattr(stream, "socket", stream)
        shell, control = socket in self.shells, socket in self.controls
        if (shell and self.tracked(kind)) or (control and kind == EXECUTE):
            self.activity.given(str(request), utcnow())
        elif control:
            self.activity.polls.send(str(request))

    def follow(self, session: Any) -> None:
        """Have each message noted that a session sends on one of the sockets."""
        if KNOWN_AS in vars(session):
            return
        send, send_raw = session.send, session.send_raw
        setattr(session, KNOWN_AS, self)

        def sending(stream: Any, *args: Any, **kwargs: Any) -> Any:
            message = send(stream, *args, **kwargs)
            self.sent(stream, (message or {}).get("header"))
            return message

        def sending_raw(stream: Any, parts: list[Any], *args: Any, **kwargs: Any) -> None:
            send_raw(stream, parts, *args, **kwargs)
            self.sent(stream, _header(parts))

        session.send, session.send_raw = sending, sending_raw


def _header(parts: list[Any]) -> Any:
    """The header of a message that is sent as it came; None when it cannot be told, which counts as a request."""
    try:
        return json.loads(bytes(parts[0]))
    except (ValueError, IndexError, TypeError):
        return None


def follow_clients(kernel: Any, activity: KernelActivity, tracked: Callable[[str | None], bool]) -> None:
    """Have the clients that are made of a kernel note what they send it."""
    factory = getattr(kernel, "client_factory", None)
    if isinstance(factory, type) and hasattr(factory, "connect_shell"):
        setattr(kernel, KNOWN_AS, Following(activity, tracked))
        kernel.client_factory = followed(factory)


@cache
def followed(factory: type[Any]) -> type[Any]:
    """The same class of clients, but that those of a kernel manager of ours note what they send."""

    def connect_shell(self: Any, *args: Any, **kwargs: Any) -> Any:
        socket = factory.connect_shell(self, *args, **kwargs)
        following = getattr(self.parent, KNOWN_AS, None)
        if following is not None:
            following.shells.add(socket)
            following.follow(self.session)
        return socket

    def connect_control(self: Any, *args: Any, **kwargs: Any) -> Any:
        socket = factory.connect_control(self, *args, **kwargs)
        following = getattr(self.parent, KNOWN_AS, None)
        if following is not None:
            following.controls.add(socket)
            following.follow(self.session)
        return socket

    body = {"connect_shell": connect_shell, "connect_control": connect_control}
    told = {"__module__": factory.__module__, "__qualname__": factory.__qualname__, "__doc__": factory.__doc__}
    made: type[Any] = new_class(factory.__name__, (factory,), exec_body=lambda space: space.update(told | body))
    return made
