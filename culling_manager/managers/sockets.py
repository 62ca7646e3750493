"""Pages that are connected to kernels, counted where the server has its websockets.

A websocket class may take upstream's place that does not tell the kernel manager who connects, so the handler that
serves kernels' channels is asked, whatever it has behind it.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from jupyter_server.utils import url_path_join
from tornado.httputil import HTTPServerRequest
from tornado.websocket import WebSocketHandler

#: Where a kernel's channels are served, of any kernel.
CHANNELS = "api/kernels/00000000-0000-4000-8000-000000000000/channels"
#: Where a handler class says that its sockets are counted.
COUNTED = "_culling_counts_sockets"


class Sockets:
    """Which websockets are open to each kernel; `unknown` says in words why nobody can tell, if that is so."""

    def __init__(self, closed: Callable[[str], None]) -> None:
        self.unknown: str | None = None
        self._closed = closed
        self._open: dict[str, weakref.WeakSet[Any]] = {}
        self._found: Any = None

    @property
    def any(self) -> bool:
        """Whether one may be open to any kernel."""
        return bool(self._open)

    def count(self, kernel_id: str) -> int:
        """How many are open."""
        found = self._open.get(kernel_id)
        return 0 if found is None else len(found)

    def opened(self, kernel_id: str, handler: Any) -> None:
        """A page has connected."""
        self._open.setdefault(kernel_id, weakref.WeakSet()).add(handler)

    def closed(self, kernel_id: str, handler: Any) -> None:
        """Its connection was closed."""
        found = self._open.get(kernel_id)
        if found is None or handler not in found:
            return
        found.discard(handler)
        if not found:
            del self._open[kernel_id]
        self._closed(kernel_id)

    def look(self, server: Any) -> None:
        """Find the handler that serves channels on a server, and have it counted; without a server there is none."""
        web_app = getattr(server, "web_app", None)
        if web_app is None:
            return
        request = HTTPServerRequest("GET", url_path_join(web_app.settings.get("base_url", "/"), CHANNELS))
        handler = getattr(web_app.find_handler(request), "handler_class", None)
        if handler is self._found:
            return
        self._found, self.unknown = handler, None
        if isinstance(handler, type) and issubclass(handler, WebSocketHandler):
            _count(handler)
        else:
            name = getattr(handler, "__qualname__", repr(handler))
            self.unknown = (
                f"nobody can tell whether a page is connected, for {name} serves the channels of kernels and is no "
                "websocket handler: it is kept while cull_connected is False"
            )


def _count(handler: type[WebSocketHandler]) -> None:
    """Have a class of handlers tell the kernel manager of its server which sockets it opens and closes."""
    if COUNTED in vars(handler):
        return
    opening, closing = handler.open, handler.on_close

    def opened(self: Any, *args: Any, **kwargs: Any) -> Any:
        sockets, kernel_id = _of(self)
        if sockets is not None:
            sockets.opened(kernel_id, self)
        return opening(self, *args, **kwargs)

    def on_close(self: Any) -> None:
        sockets, kernel_id = _of(self)
        if sockets is not None:
            sockets.closed(kernel_id, self)
        closing(self)

    handler.open, handler.on_close = opened, on_close  # type: ignore[method-assign]
    setattr(handler, COUNTED, True)


def _of(handler: Any) -> tuple[Sockets | None, str]:
    """Where the sockets of a handler's kernel are counted, None on a server without our manager; and that kernel."""
    source = getattr(handler.settings.get("kernel_manager"), "_source", None)
    arguments = [*handler.path_kwargs.values(), *handler.path_args]
    sockets = getattr(source, "sockets", None)
    return (sockets if isinstance(sockets, Sockets) and arguments else None), str(arguments[0]) if arguments else ""
