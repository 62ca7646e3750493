"""Use of the server that is neither kernel, terminal nor contents: proxied apps, and what other extensions note.

What counts as use of a proxied app (jupyter-server-proxy: RStudio, Streamlit, a dashboard, an editor)

- a page of it that a person opens: browsers say so (``Sec-Fetch-User``);
- an HTTP request or a websocket message to it that comes for the first time, or out of turn: see `rhythm`.

What does not: what a page sends by itself once its rhythm is known, pings and pongs, what the app sends to the page, an
open connection, and every request to JupyterLab's own handlers, whose pages poll. A page whose every request looks new
(with tokens that are no numbers) is taken for use: doubt keeps.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Hashable
from datetime import datetime
from functools import wraps
from typing import Any

from ..errors import RecordError
from ..records import Kind, utc
from .base import Signal, Subject
from .rhythm import Rhythms, shape

#: Of what is noted in a server's settings this is no sign of a person, or is looked at by itself: pages that poll,
#: terminals, our own notes; and jupyter-server-proxy's, while we listen to it ourselves.
NOT_OTHERS = frozenset({"api_last_activity", "terminal_last_activity", "culling_manager"})
PROXY = "jupyter-server-proxy"
HANDLERS = "jupyter_server_proxy.handlers"

_listening: weakref.WeakSet[ServerUseSignal] = weakref.WeakSet()


class ServerUseSignal(Signal):
    """When proxied apps were used, and what other extensions have noted; for the app that this server is or runs on."""

    def __init__(self, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self._server: Any = None
        self._rhythms = Rhythms()
        self._used_at: datetime | None = None
        self._future: dict[str, tuple[datetime, datetime]] = {}

    def start(self, server: Any) -> None:
        """Listen to proxied traffic."""
        self._server = server
        _listening.add(self)
        if not _listen() and getattr(server, "io_loop", None) is not None:
            server.io_loop.add_callback(_listen)  # when all extensions are loaded

    def stop(self) -> None:
        """Listen no more."""
        _listening.discard(self)

    def applies(self, subject: Subject) -> bool:
        """Only to the app that is this machine or server."""
        return subject.kind is Kind.APP and subject.here

    async def check(self, subject: Subject) -> str | None:
        """Never a reason of its own: see `last_use`."""
        return None

    def last_use(self, subject: Subject) -> datetime | None:
        """The latest of what was heard and what others noted."""
        known = [self._used_at, *(self._not_after_now(*each) for each in self._noted())]
        return max((at for at in known if at is not None), default=None)

    def _noted(self) -> list[tuple[str, Any]]:
        """What other extensions have noted as activity, by the two ways that Jupyter Server has for that."""
        settings = getattr(getattr(self._server, "web_app", None), "settings", {})
        found = [(name, at) for name, at in settings.items() if str(name).endswith("_last_activity")]
        times = settings.get("last_activity_times")
        found += times.items() if isinstance(times, dict) else []
        not_others = NOT_OTHERS | ({PROXY} if _listens() else set())
        return [(str(name), at) for name, at in found if name not in not_others]

    def _not_after_now(self, name: str, at: Any) -> datetime | None:
        """A time of somebody's; one from the future counts once, as when it was first seen."""
        try:
            found = utc(at, name)
        except RecordError as error:
            self.log.debug("Culling: what an extension noted as activity is ignored: %s", error)
            return None
        now = self.now()
        if found is None or found <= now:
            return found
        known, seen = self._future.get(name, (None, now))
        self._future[name] = found, min(seen, now) if known == found else now
        return self._future[name][1]

    def heard(self, handler: Any, kind: Hashable) -> None:
        """Something was sent to a proxied app."""
        if getattr(handler, "serverapp", None) not in (None, self._server):
            return  # another server's, in the same process
        now = self.now()
        opened = handler.request.headers.get("Sec-Fetch-User") == "?1" and isinstance(kind, tuple) and kind[0] != ""
        if self._rhythms.is_use(kind, now.timestamp()) or opened:
            self._used_at = now


def _listens() -> bool:
    """Whether what goes through jupyter-server-proxy is told to us."""
    return hasattr(getattr(sys.modules.get(HANDLERS), "ProxyHandler", None), "_told_to_culling_manager")


def _listen() -> bool:
    """Have jupyter-server-proxy's handlers tell us what is sent through them, if it is there; once."""
    handler = getattr(sys.modules.get(HANDLERS), "ProxyHandler", None)
    if handler is None:
        return False
    if not _listens():
        handler.proxy = _telling(handler.proxy, _request)
        handler.on_message = _telling(handler.on_message, _message)
        handler._told_to_culling_manager = True
    return True


def _telling(method: Any, kind_of: Any) -> Any:
    """The method, which tells before it does its work."""

    @wraps(method)
    def telling(self: Any, *args: Any, **kwargs: Any) -> Any:
        for signal in list(_listening):
            try:
                signal.heard(self, kind_of(self, *args))
            except Exception:
                signal.log.exception("Culling: use of a proxied app could not be noted")
        return method(self, *args, **kwargs)

    return telling


def _request(handler: Any, *_: Any) -> Hashable:
    """What kind of HTTP request it is; its query is left out, for that is where pages put what varies."""
    return handler.request.method, shape(handler.request.path), shape(handler.request.body)


def _message(handler: Any, message: bytes | str, *_: Any) -> Hashable:
    """What kind of websocket message it is."""
    return "", shape(handler.request.path), shape(message)
