"""HTTP under ``{base_url}/sagemaker-studio-autoshutdown/``: reads requests, writes answers, decides nothing."""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler
from jupyter_server.utils import url_path_join
from tornado.web import HTTPError, authenticated

from ..errors import CullingError, SettingError

#: The name under which all our handlers are authorized.
AUTH_RESOURCE = "culling_manager"
#: The URL space of the extension that this package succeeds.
URL_SPACE = "sagemaker-studio-autoshutdown"
#: The description of all handlers.
OPENAPI = Path(__file__).parents[1] / "schemas" / "openapi.json"
#: The longest request body that is read (bytes).
LONGEST_BODY = 65_536

_NUMBER = re.compile(r"\s*[0-9]{1,20}(\.[0-9]{1,20})?\s*")


class Desk(Protocol):
    """What the handlers ask of the rest. All but the first two raise CullingError when there is nothing to cull."""

    def settings(self) -> Mapping[str, Any]:
        """``idle_time`` (seconds), ``keep_terminals``, ``count``, ``errors``."""

    def status(self) -> Mapping[str, Any]:
        """The state document."""

    def all_settings(self) -> Mapping[str, Any]:
        """What holds, what is configured, what is saved, and within which bounds users may change it."""

    def change(self, minutes: object, keep_terminals: bool | None, *, save: bool = False, asked_by: str = "") -> None:
        """Change settings at run time. Raises SettingError."""

    def reset(self, asked_by: str = "") -> None:
        """Go back to what is configured."""

    def present(self, path: object) -> Mapping[str, Any]:
        """Count that somebody works in a document. Raises SettingError, or KeyError when it has no kernel."""

    def keep_alives(self) -> Mapping[str, Any]:
        """What is kept by request."""

    def keep_alive(
        self, kind: object, identity: object, duration: object, until: object, asked_by: str = ""
    ) -> Mapping[str, Any]:
        """Keep something. Raises SettingError, or KeyError when there is no such thing."""

    def resume(self, kind: object, identity: object, asked_by: str = "") -> None:
        """Take that back. Raises SettingError, or KeyError when there was none."""


class CullingHandler(APIHandler):
    """What our handlers share: one auth resource, JSON bodies, clear refusals."""

    auth_resource = AUTH_RESOURCE
    #: A body of a POST that is accepted.
    example = '{"idle_time": 120, "keep_terminals": false}'

    @property
    def desk(self) -> Desk:
        """The other side of the counter."""
        desk: Desk = self.settings["culling_manager_desk"]
        return desk

    def check_origin(self, origin_to_satisfy_tornado: str = "") -> bool:
        """Check the origin as Jupyter does; one that is no URL is not ours."""
        try:
            return bool(super().check_origin(origin_to_satisfy_tornado))
        except ValueError:
            return False

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answer with Jupyter's JSON; to a verb that there is not, also with those that there are."""
        if status_code == 405:
            self.set_header("Allow", ", ".join([*verbs(type(self)), "OPTIONS"]))
        super().write_error(status_code, **kwargs)

    def refuse(self, status: int, message: str, **more: Any) -> None:
        """Answer with an error that says what is wrong."""
        self.set_status(status)
        self.finish(json.dumps({"message": message, **more}))

    def body(self) -> dict[str, Any]:
        """Give the request's JSON object.

        Raises
        ------
        SettingError
            Naming what the body is instead.
        """
        raw = self.request.body
        if len(raw) > LONGEST_BODY:
            raise SettingError("body", f"{len(raw)} bytes", f"at most {LONGEST_BODY} bytes")
        accepted = f"a JSON object such as {self.example}"
        try:
            found = json.loads(raw)
        except (ValueError, RecursionError):
            raise SettingError("body", raw[:60].decode("utf-8", "replace"), accepted) from None
        if not isinstance(found, dict):
            raise SettingError("body", found, accepted)
        return found

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Answer with 400, 404 or 409 when what is done within is refused."""
        try:
            yield
        except SettingError as error:
            self.refuse(400, str(error), field=error.name, accepted=error.accepted)
        except CullingError as error:
            self.refuse(409, str(error))
        except KeyError as error:
            self.refuse(404, f"there is no such thing, or nothing was asked for it: {error.args[0]!r}")

    @property
    def asked_by(self) -> str:
        """The user's name."""
        return str(getattr(self.current_user, "username", None) or "")

    def answer(self, found: Mapping[str, Any]) -> None:
        """Answer with a JSON object."""
        self.finish(json.dumps(found))


def verbs(handler: type[CullingHandler]) -> list[str]:
    """The verbs that a handler of ours answers, besides OPTIONS as Jupyter does."""
    own = {name for each in handler.__mro__ if each.__module__ == __name__ for name in vars(each)}
    return [verb for verb in ("GET", "POST", "DELETE") if verb.lower() in own]


def idle_time(body: Mapping[str, Any]) -> object:
    """Give ``idle_time`` (minutes) from a body; a numeric string counts as its number."""
    if "idle_time" not in body:
        raise SettingError("idle_time", None, "present: a number of minutes over 0")
    value = body["idle_time"]
    return float(value) if isinstance(value, str) and _NUMBER.fullmatch(value) else value


def keep_terminals(body: Mapping[str, Any], needed: bool) -> bool | None:
    """Give ``keep_terminals`` from a body, None when it is absent and not `needed`."""
    if "keep_terminals" not in body and not needed:
        return None
    value = body.get("keep_terminals")
    if not isinstance(value, bool):
        raise SettingError("keep_terminals", value, "true or false")
    return value


def flag(body: Mapping[str, Any], name: str) -> bool:
    """Give an optional true or false from a body; absent is false."""
    value = body.get(name, False)
    if not isinstance(value, bool):
        raise SettingError(name, value, "true or false")
    return value


def _is_host(url: str | None, host: str) -> bool:
    """Whether a URL, where there is one, is of `host`."""
    try:
        return url is None or urlsplit(url).netloc == host
    except ValueError:
        return False


class IdleCheckerHandler(CullingHandler):
    """``idle_checker``: count and settings; the shapes are those of the original extension."""

    def check_xsrf_cookie(self) -> None:
        """Check as Jupyter does, and accept the original's client, which sends another cookie's value as token."""
        try:
            super().check_xsrf_cookie()
        except HTTPError:
            if not self._sent_back_a_cookie():
                raise

    def _sent_back_a_cookie(self) -> bool:
        """Whether a same-origin JSON POST proves, like a double submit, that its sender can read our cookies.

        The original's ``set-time-interval.sh`` takes the first ``Set-Cookie`` of ``{base_url}/tree`` for the XSRF
        cookie, up to the second '='; on Jupyter Server 2.x that is the login cookie. Another site can neither read it
        nor send JSON here without asking, so whoever knows its value is no forger.
        """
        request = self.request
        if request.method != "POST" or not request.headers.get("Content-Type", "").startswith("application/json"):
            return False
        if not all(_is_host(request.headers.get(name), request.host) for name in ("Origin", "Referer")):
            return False
        sent = (self.get_query_argument("_xsrf", "") or "").strip('" ')
        names = ("_xsrf", self.identity_provider.get_cookie_name(self))
        known = [(self.get_cookie(name) or "").strip('" ').split("=")[0] for name in names]
        return len(sent) >= 32 and any(hmac.compare_digest(sent.encode(), value.encode()) for value in known)

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
        """Set ``idle_time`` (minutes) and, where present, ``keep_terminals``; ``save`` makes it lasting."""
        with self.refusing():
            body = self.body()
            minutes, keep = idle_time(body), keep_terminals(body, needed=False)
            self.desk.change(minutes, keep, save=flag(body, "save"), asked_by=self.asked_by)
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
        """Keep everything, or what ``kind`` and ``id`` say, for a ``duration`` or ``until`` a time."""
        with self.refusing():
            body = self.body()
            names = ("kind", "id", "duration", "until")
            for name in body.keys() - set(names):
                raise SettingError(name, body[name], f"absent: the fields are {', '.join(names)}")
            kind, identity, duration, until = (body.get(name) for name in names)
            self.answer(self.desk.keep_alive(kind, identity, duration, until, self.asked_by))

    @authenticated
    @authorized
    async def delete(self) -> None:
        """Take back the request for everything, or for what the arguments ``kind`` and ``id`` say."""
        with self.refusing():
            kind, identity = self.get_query_argument("kind", None), self.get_query_argument("id", None)
            self.desk.resume(kind, identity, self.asked_by)
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
            for name in body.keys() - {"path"}:
                raise SettingError(name, body[name], "absent: the only field is path")
            self.answer(self.desk.present(body.get("path")))


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
