"""HTTP under ``{base_url}/sagemaker-studio-autoshutdown/``: reads requests, writes answers, decides nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import responses
from pathlib import Path
from typing import Any

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler
from jupyter_server.utils import url_path_join
from tornado.web import HTTPError, authenticated

from ..errors import CullingError, ErrorCode, SettingError
from .bodies import idle_time, json_object, keep_terminals, only, saved
from .leasing import wanted
from .legacy import OriginalClients
from .service import ServerDesk

#: The name under which all our handlers are authorized.
AUTH_RESOURCE = "culling_manager"
#: The URL space of the extension that this package succeeds.
URL_SPACE = "sagemaker-studio-autoshutdown"
#: The description of all handlers.
OPENAPI = Path(__file__).parents[1] / "schemas" / "openapi.json"
#: What Jupyter calls somebody who did not log in as anybody.
_ANONYMOUS = r"[0-9a-f]{32}"
#: Said to who takes back what nobody asked for.
NOT_ASKED = "nobody has asked that everything be kept, so there is nothing to take back"
#: Verbs that only look.
LOOKING = ("GET", "HEAD", "OPTIONS")
#: What Jupyter's own refusals are called.
CODES = {
    401: ErrorCode.FORBIDDEN,
    403: ErrorCode.FORBIDDEN,
    404: ErrorCode.NOT_FOUND,
    405: ErrorCode.NO_SUCH_METHOD,
}


class CullingHandler(APIHandler):
    """What our handlers share: one auth resource, JSON bodies, clear refusals."""

    auth_resource = AUTH_RESOURCE
    #: Whether the request comes from a page of this server, or from none.
    _ours = True
    #: A body of a POST that is accepted.
    example = '{"idle_time": 120, "keep_terminals": false}'

    @property
    def desk(self) -> ServerDesk:
        """The other side of the counter."""
        desk: ServerDesk = self.settings["culling_manager_desk"]
        return desk

    def check_origin(self, origin_to_satisfy_tornado: str = "") -> bool:
        """Check the origin as Jupyter does; one that is no URL is not ours."""
        try:
            self._ours = bool(super().check_origin(origin_to_satisfy_tornado))
        except ValueError:
            self._ours = False
        return self._ours

    def update_api_activity(self) -> None:
        """Count what changes something as activity of the server; being looked at keeps nothing alive."""
        if self.request.method not in LOOKING:
            super().update_api_activity()

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answer in Jupyter's shape, with a code; to a verb that there is not, also with those that there are."""
        if status_code == 405:
            self.set_header("Allow", ", ".join([*verbs(type(self)), "OPTIONS"]))
        error = kwargs.get("exc_info", (None, None, None))[1]
        said = isinstance(error, HTTPError)
        words = (error.log_message if said else None) or responses.get(status_code, "Unknown HTTP Error")
        self.log.warning("Culling: wrote error %d: %s", status_code, words, exc_info=not said)
        code = CODES.get(status_code, ErrorCode.INTERNAL if status_code >= 500 else ErrorCode.BAD_REQUEST)
        code = code if self._ours else ErrorCode.OTHER_SITE
        self.set_header("Content-Type", "application/json")
        self.refuse(status_code, code, words, reason=error.reason if said else None)

    def refuse(self, status: int, code: ErrorCode, message: str, **more: Any) -> None:
        """Answer with an error that says what is wrong, to programs by its code."""
        self.set_status(status)
        self.finish(json.dumps({"code": code.value, "message": message, **more}))

    def body(self) -> dict[str, Any]:
        """Give the request's JSON object. Raises BodyError."""
        return json_object(self.request.body, self.example)

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Answer with 400, 404 or 409 when what is done within is refused."""
        try:
            yield
        except SettingError as error:
            self.refuse(400, error.code, str(error), field=error.name, accepted=error.accepted)
        except CullingError as error:
            self.refuse(409, error.code, str(error))
        except KeyError as error:
            name = error.args[0]
            words = f"there is no such thing, or nothing was asked for it: {name!r}"
            self.refuse(404, ErrorCode.NOT_FOUND, NOT_ASKED if name == "all" else words)

    @property
    def asked_by(self) -> str:
        """The user's name; who has none of their own gets a new random one for each session, and is somebody."""
        name = str(getattr(self.current_user, "username", None) or "")
        return "somebody on this server" if re.fullmatch(_ANONYMOUS, name) else name

    def answer(self, found: Mapping[str, Any]) -> None:
        """Answer with a JSON object."""
        self.finish(json.dumps(found))


def verbs(handler: type[CullingHandler]) -> list[str]:
    """The verbs that a handler of ours answers, besides OPTIONS as Jupyter does."""
    own = {name for each in handler.__mro__ if each.__module__ == __name__ for name in vars(each)}
    return [verb for verb in ("GET", "POST", "DELETE") if verb.lower() in own]


class IdleCheckerHandler(OriginalClients, CullingHandler):
    """``idle_checker``: count and settings; the shapes are those of the original extension."""

    @authenticated
    @authorized
    async def get(self) -> None:
        """Answer ``{"idle_time": seconds, "keep_terminals": bool, "count": int, "errors": text or null}``."""
        self.answer(self.desk.settings())

    @authenticated
    @authorized
    async def post(self) -> None:
        """Set both settings, and start the culler if it is not running."""
        with self.refusing():
            body = self.body()
            self.desk.change(idle_time(body), keep_terminals(body, needed=True), asked_by=self.asked_by)
            greetings = "Hello from culling_manager: idle compute is culled."
            self.answer({"greetings": greetings, "count": self.desk.settings()["count"]})


class SettingsHandler(CullingHandler):
    """``settings``: see, change and reset them; the shapes of POST are those of the original extension."""

    @authenticated
    @authorized
    async def get(self) -> None:
        """Answer with what holds, what is configured, what is saved, and what users may set."""
        with self.refusing():
            self.answer(self.desk.all_settings())

    @authenticated
    @authorized
    async def post(self) -> None:
        """Set ``idle_time`` (minutes) and, where present, ``keep_terminals``; ``save`` says what of it lasts."""
        with self.refusing():
            body = self.body()
            minutes, keep = idle_time(body), keep_terminals(body, needed=False)
            self.desk.change(minutes, keep, save=saved(body), asked_by=self.asked_by)
            now = self.desk.settings()
            self.answer({"idle_time": str(now["idle_time"]), "keep_terminals": now["keep_terminals"]})

    @authenticated
    @authorized
    async def delete(self) -> None:
        """Go back to what is configured, and forget what was saved."""
        with self.refusing():
            self.desk.reset(self.asked_by)
            self.answer(self.desk.all_settings())


class KeepAliveHandler(CullingHandler):
    """``keep-alive``: what is kept by request."""

    example = '{"duration": "4h"}'

    @authenticated
    @authorized
    async def get(self) -> None:
        """Answer with the requests that hold, and for how long (minutes) one may be."""
        with self.refusing():
            self.answer(self.desk.keep_alives())

    @authenticated
    @authorized
    async def post(self) -> None:
        """Keep everything, or what ``kind`` and ``id`` say: for a ``duration``, ``until`` a time, or by a ``lease``."""
        with self.refusing():
            body = self.body()
            names = ("kind", "id", "duration", "until")
            only(body, (*names, "lease", "owner"))
            if wanted(body):
                self.answer(self.desk.lease(body, self.asked_by))
                return
            kind, identity, duration, until = (body.get(name) for name in names)
            self.answer(self.desk.keep_alive(kind, identity, duration, until, self.asked_by))

    @authenticated
    @authorized
    async def delete(self) -> None:
        """Take back the request for everything, or for what the arguments say: ``kind`` and ``id``, or a ``lease``."""
        with self.refusing():
            kind, identity, lease = (self.get_query_argument(name, None) for name in ("kind", "id", "lease"))
            self.desk.resume(kind, identity, self.asked_by, lease)
            self.answer(self.desk.keep_alives())


class StatusHandler(CullingHandler):
    """``status``: the state document."""

    @authenticated
    @authorized
    async def get(self) -> None:
        """Answer with everything that is watched, what was decided, and why."""
        self.answer(self.desk.status())


class PresenceHandler(CullingHandler):
    """``presence``: somebody works in a document."""

    example = '{"path": "explore.ipynb"}'

    @authenticated
    @authorized
    async def post(self) -> None:
        """Count it as use of the document's kernel: only that somebody is there, never what was typed."""
        with self.refusing():
            body = self.body()
            only(body, ("path",))
            self.answer({"kernels": self.desk.presence.seen(body.get("path"))})


class OpenApiHandler(CullingHandler):
    """``openapi.json``: the description of all this."""

    @authenticated
    @authorized
    async def get(self) -> None:
        """Answer with the OpenAPI document, for this server's base URL."""
        document = json.loads(OPENAPI.read_text())
        self.answer({**document, "servers": [{"url": url_path_join(self.base_url, URL_SPACE)}]})


def routes(base_url: str) -> list[tuple[str, type[CullingHandler]]]:
    """Our URLs and who answers them."""
    return [
        (url_path_join(base_url, URL_SPACE, "idle_checker"), IdleCheckerHandler),
        (url_path_join(base_url, URL_SPACE, "settings"), SettingsHandler),
        (url_path_join(base_url, URL_SPACE, "status"), StatusHandler),
        (url_path_join(base_url, URL_SPACE, "keep-alive"), KeepAliveHandler),
        (url_path_join(base_url, URL_SPACE, "presence"), PresenceHandler),
        (url_path_join(base_url, URL_SPACE, "openapi.json"), OpenApiHandler),
    ]
