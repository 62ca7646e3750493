"""HTTP under ``{base_url}/sagemaker-studio-autoshutdown/``: reads requests, writes answers, decides nothing."""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import urlsplit

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler
from jupyter_server.utils import url_path_join
from tornado.web import HTTPError, authenticated

from .errors import CullingError, SettingError

#: The name under which all our handlers are authorized.
AUTH_RESOURCE = "culling_manager"
#: The URL space of the extension that this package succeeds.
URL_SPACE = "sagemaker-studio-autoshutdown"
#: The longest request body that is read (bytes).
LONGEST_BODY = 65_536

_NUMBER = re.compile(r"\s*[0-9]{1,20}(\.[0-9]{1,20})?\s*")


class Desk(Protocol):
    """What the handlers ask of the rest."""

    def settings(self) -> Mapping[str, Any]:
        """``idle_time`` (seconds), ``keep_terminals``, ``count``, ``errors``."""

    def change(self, minutes: object, keep_terminals: bool | None) -> None:
        """Change settings at run time. Raises SettingError, or CullingError when there is nothing to set."""

    def status(self) -> Mapping[str, Any]:
        """The state document."""


class CullingHandler(APIHandler):
    """What our handlers share: one auth resource, JSON bodies, clear refusals."""

    auth_resource = AUTH_RESOURCE

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
        accepted = 'a JSON object such as {"idle_time": 120, "keep_terminals": false}'
        try:
            found = json.loads(raw)
        except (ValueError, RecursionError):
            raise SettingError("body", raw[:60].decode("utf-8", "replace"), accepted) from None
        if not isinstance(found, dict):
            raise SettingError("body", found, accepted)
        return found

    def apply(self, needs_keep_terminals: bool) -> bool:
        """Read the body and change the settings; False when that was refused, and answered so."""
        try:
            body = self.body()
            self.desk.change(idle_time(body), keep_terminals(body, needs_keep_terminals))
        except SettingError as error:
            self.refuse(400, str(error), field=error.name, accepted=error.accepted)
            return False
        except CullingError as error:
            self.refuse(409, str(error))
            return False
        return True


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
        self.finish(json.dumps(self.desk.settings()))

    @authenticated
    @authorized
    async def post(self) -> None:
        """Set both settings, and start the culler if it is not running."""
        if self.apply(needs_keep_terminals=True):
            count = self.desk.settings()["count"]
            self.finish(
                json.dumps({"greetings": "Hello from culling_manager: idle compute is culled.", "count": count})
            )


class SettingsHandler(CullingHandler):
    """``settings``: change them without more; the shapes are those of the original extension."""

    @authenticated
    @authorized
    async def post(self) -> None:
        """Set ``idle_time`` (minutes) and, where present, ``keep_terminals``."""
        if self.apply(needs_keep_terminals=False):
            now = self.desk.settings()
            answer = {"idle_time": str(now["idle_time"]), "keep_terminals": now["keep_terminals"]}
            self.finish(json.dumps(answer))


class StatusHandler(CullingHandler):
    """``status``: the state document."""

    @authenticated
    @authorized
    async def get(self) -> None:
        """Answer with everything that is watched, what was decided, and why."""
        self.finish(json.dumps(self.desk.status()))


def routes(base_url: str) -> list[tuple[str, type[CullingHandler]]]:
    """Our URLs and who answers them."""
    return [
        (url_path_join(base_url, URL_SPACE, "idle_checker"), IdleCheckerHandler),
        (url_path_join(base_url, URL_SPACE, "settings"), SettingsHandler),
        (url_path_join(base_url, URL_SPACE, "status"), StatusHandler),
    ]
