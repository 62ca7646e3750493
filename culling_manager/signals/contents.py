"""What is done with files through one server, whatever contents manager it has.

It is heard where the server has its contents handlers: a manager that keeps documents in a bucket or a database need
not emit events. What goes past those handlers (a collaboration's saves) is heard on the server's event bus, if its
manager tells it there. What is heard both ways is told once.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from datetime import datetime, timedelta
from typing import Any

from tornado.httputil import HTTPServerRequest
from tornado.ioloop import IOLoop
from tornado.web import RequestHandler

from ..engine.clock import utcnow

#: Jupyter Server's own schema of what is done with files.
CONTENTS = "https://events.jupyter.org/jupyter_server/contents_service/v1"
#: What was done. A checkpoint and trust are as good as a save; what is made anew, nobody's kernel has.
SAVE, OTHER = "save", "other"
#: Requests that change something; an open page looks at files by itself.
ACTIONS = {"PUT": SAVE, "POST": SAVE, "PATCH": OTHER, "DELETE": OTHER}
#: What is no use of a file on the event bus.
LOOKING = "get"
#: One URL of each handler that serves contents.
SERVED = ("api/contents/a", "api/contents/a/checkpoints", "api/contents/a/checkpoints/b", "api/contents/a/trust")
#: Where a handler class says that it tells, a server what is listened to, and a handler which request it serves.
TELLS, KNOWN_AS, SERVES = "_culling_tells_contents", "_culling_contents", "_culling_serves"
#: An event that comes later than this (seconds) after its request was counted is of something that goes on behind it.
TOGETHER_SECONDS = 1.0

#: What is done with files, and the path: `SAVE` or `OTHER`.
Listener = Callable[[str, str], None]


class Request:
    """One request that is being served, and when it was told."""

    told_at: datetime | None = None  # until it is told

    def first(self, now: datetime) -> bool:
        """Whether it is told now for the first time."""
        if self.told_at is not None and now - self.told_at < timedelta(seconds=TOGETHER_SECONDS):
            return False
        self.told_at = now
        return True


_serving: ContextVar[Request | None] = ContextVar("culling_manager_serving", default=None)


class Contents:
    """Tells its listeners what is done with a server's files, each thing once."""

    now: Callable[[], datetime] = staticmethod(utcnow)

    def __init__(self, server: Any) -> None:
        self._server = server
        self._bus: Any = None
        self._listeners: list[Listener] = []

    @classmethod
    def of(cls, server: Any) -> Contents | None:
        """What is heard of a server, by everybody who listens; None where there is neither an event bus nor a web app.

        It is called before the server has its web app, too.
        """
        if not hasattr(server, "event_logger") and not hasattr(server, "init_webapp"):
            return None
        found: Contents | None = getattr(server, KNOWN_AS, None)
        if found is None:
            found = cls(server)
            setattr(server, KNOWN_AS, found)
        return found

    def listen(self, listener: Listener) -> None:
        """Tell `listener`, from now on."""
        self._listeners.append(listener)
        self.look()
        if getattr(self._server, "web_app", None) is None:
            IOLoop.current().add_callback(self.look)
        bus = getattr(self._server, "event_logger", None)
        if self._bus is None and bus is not None and CONTENTS in bus.schemas:
            bus.add_listener(schema_id=CONTENTS, listener=self._heard)
            self._bus = bus

    def leave(self, listener: Listener) -> None:
        """Tell `listener` no more; the last one takes the ear off the event bus."""
        if listener in self._listeners:
            self._listeners.remove(listener)
        if not self._listeners and self._bus is not None:
            self._bus.remove_listener(schema_id=CONTENTS, listener=self._heard)
            self._bus = None

    def look(self) -> None:
        """Have the handlers that serve contents tell, whoever's they are; a server without a web app has none yet."""
        from jupyter_server.utils import url_path_join

        web_app: Any = getattr(self._server, "web_app", None)
        for place in SERVED if web_app is not None else ():
            request = HTTPServerRequest("PUT", url_path_join(web_app.settings.get("base_url", "/"), place))
            handler = getattr(web_app.find_handler(request), "handler_class", None)
            if isinstance(handler, type) and issubclass(handler, RequestHandler):
                _have_tell(handler)

    def served(self, handler: RequestHandler) -> None:
        """A request was answered; what was refused, or failed, has done nothing."""
        action = ACTIONS.get(handler.request.method or "")
        if action is None or handler.get_status() >= 400:
            return
        request: Request | None = getattr(handler, SERVES, None)
        if request is None or request.first(self.now()):
            self._tell(action, str(handler.path_kwargs.get("path") or next(iter(handler.path_args), "")))

    async def _heard(self, logger: Any, schema_id: str, data: dict[str, Any]) -> None:
        """An event of the contents manager's, which may be about a request that is told, too."""
        request = _serving.get()
        if data.get("action") != LOOKING and (request is None or request.first(self.now())):
            self._tell(SAVE if data.get("action") == SAVE else OTHER, str(data.get("path", "")))

    def _tell(self, action: str, path: str) -> None:
        for listener in list(self._listeners):
            try:
                listener(action, path.strip("/"))
            except Exception:
                self._server.log.exception("Culling: what was done with %s could not be counted", path)


def _have_tell(handler: type[RequestHandler]) -> None:
    """Have a class of handlers tell what it has served, to whoever listens to its server; once."""
    if TELLS in vars(handler):
        return
    preparing, finishing = handler.prepare, handler.on_finish

    def prepare(self: Any) -> Any:
        request = Request()
        setattr(self, SERVES, request)
        _serving.set(request)
        return preparing(self)

    def on_finish(self: Any) -> None:
        contents = getattr(self.settings.get("serverapp"), KNOWN_AS, None)
        if isinstance(contents, Contents):
            contents.served(self)
        finishing(self)

    handler.prepare, handler.on_finish = prepare, on_finish  # type: ignore[method-assign]
    setattr(handler, TELLS, True)
