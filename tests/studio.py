"""Studio in this process: the login by presigned URL, and each user's Jupyter Server behind it, well or ill.

    with SageMaker() as sagemaker, Studio(sagemaker) as studio:
        studio.behaviour["bob"] = Behaviour.MISSING
        ...
        assert studio.asked["bob"] == 1

Every token and cookie that it gives out is in `secrets`; a request without the right cookie is sent to a sign-in page.
"""

from __future__ import annotations

import enum
import json
import secrets
import socket
import threading
from collections import Counter
from collections.abc import Callable
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

from tests.emulator import SageMaker

URL_SPACE = "/sagemaker-studio-autoshutdown/"
BASES = {"JupyterServer": "/jupyter/default", "JupyterLab": "/jupyterlab/default"}


class Behaviour(enum.Enum):
    """How one user's Studio or Jupyter Server behaves."""

    OK = "ok"
    MISSING = "404 from a Jupyter Server"
    NO_SERVER = "404 from Studio itself"
    COUNT_0 = "installed, count 0"
    COUNT_1 = "installed, count 1"
    SHORT = "a timeout of an hour"
    KEEPS = "keeps terminals"
    OFF = "a timeout of 0"
    ORIGINAL = "the original extension, which has no status"
    FORBIDDEN = "403"
    ERROR = "500"
    GARBAGE = "HTML with status 200"
    ECHO = "JSON that quotes cookie and token"
    STRANGE = "JSON of another shape"
    HUGE = "an answer that never ends"
    HANG = "never answers"
    HANG_LOGIN = "never answers the login"
    DRIP = "answers drop by drop, for ever"
    HANG_UP = "closes the connection"
    NOT_HTTP = "something that is not HTTP, with the token in it"
    CIRCLE = "redirects in a circle"
    AWAY = "redirects to another host, with the token"
    STRANGE_LOCATION = "redirects to something that is no URL, with the token"
    REFUSED = "refuses the login"
    NO_COOKIE = "accepts the login without a cookie"
    COOKIE_LATER = "sets its cookie after a redirect"
    DELETED = "its app is deleted in between"


class Studio:
    """A server on loopback that `sagemaker`'s presigned URLs lead to. `delay` (seconds) comes before every answer."""

    def __init__(self, sagemaker: SageMaker, delay: float = 0.0) -> None:
        self.sagemaker = sagemaker
        self.delay = delay
        self.behaviour: dict[str, Behaviour] = {}
        self.asked: Counter[str] = Counter()
        self.paths: list[str] = []
        self.secrets: set[str] = set()
        self.stopped = threading.Event()
        self.logins: dict[str, dict[str, Any]] = {}

    def __enter__(self) -> Studio:
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.studio = self
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.sagemaker.studio_url = self.url
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True, name="studio").start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        self._server.shutdown()
        self._server.server_close()

    def log_in(self, token: str) -> tuple[str, dict[str, Any]] | None:
        """A new session's cookie and what the URL was for; None for a token that is unknown, used or expired."""
        asked = self.sagemaker.presigned.pop(token, None)
        self.secrets.add(token)
        if asked is None or asked["expires"] < self.sagemaker.now():
            return None
        cookie = "canary-" + secrets.token_hex(16)
        self.secrets.add(cookie)
        self.logins[cookie] = {**asked, "token": token, "owner": asked.get("SpaceName") or asked["UserProfileName"]}
        return cookie, self.logins[cookie]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    studio: Studio

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Callers that go away are part of the game."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    who: dict[str, Any]

    def log_message(self, format: str, *args: Any) -> None:
        """The paths that were asked for are remembered instead."""

    def do_GET(self) -> None:
        studio = self.server.studio
        studio.stopped.wait(studio.delay)
        path, _, query = self.path.partition("?")
        studio.paths.append(path)
        if path == "/auth":
            self._auth(parse_qs(query).get("token", [""])[0])
        elif (who := studio.logins.get(self._cookie("studioAuth"))) is None:
            self._send(302, b"", {"Location": "/sign-in"}) if path != "/sign-in" else self._send(200, b"<html>Sign in")
        elif path == "/app":
            gone = self._behaviour(who) is Behaviour.DELETED
            self._send(200, b"Deleted" if gone else b"InService", {"Content-Type": "text/plain"})
        else:
            self._jupyter(who, path)

    def _cookie(self, name: str) -> str:
        found = SimpleCookie(self.headers.get("Cookie", "")).get(name)
        return found.value if found else ""

    def _behaviour(self, who: dict[str, Any]) -> Behaviour:
        return self.server.studio.behaviour.get(who["owner"], Behaviour.OK)

    def _auth(self, token: str) -> None:
        studio = self.server.studio
        found = studio.log_in(token)
        if found is None:
            return self._send(403, b"<html>This link has expired.")
        cookie, who = found
        behaviour = self._behaviour(who)
        if behaviour is Behaviour.HANG_LOGIN:
            studio.stopped.wait(30)
        if behaviour is Behaviour.REFUSED:
            return self._send(403, f"<html>No: {token}".encode())
        if behaviour is Behaviour.NO_COOKIE:
            return self._send(200, b"<html>Hello")
        if behaviour is Behaviour.COOKIE_LATER:
            studio.sagemaker.presigned[token] = {**who, "expires": who["expires"]}
            studio.behaviour[who["owner"]] = Behaviour.OK
            return self._send(302, b"", {"Location": f"/auth?token={token}"})
        base = "/jupyterlab/default" if "SpaceName" in who else "/jupyter/default"
        return self._send(302, b"", {"Location": f"{base}/lab", "Set-Cookie": f"studioAuth={cookie}; Path=/; HttpOnly"})

    def _jupyter(self, who: dict[str, Any], path: str) -> None:
        studio, owner, behaviour = self.server.studio, who["owner"], self._behaviour(who)
        base = next((each for each in BASES.values() if path.startswith(each + "/")), "")
        rest = path.removeprefix(base)
        self.who = who
        if not base or behaviour is Behaviour.NO_SERVER:
            self._send(404, b"<html>Nothing here")
        elif rest == "/api":
            self._send_json({"version": "2.20.0"})
        elif rest == URL_SPACE + "status" and behaviour not in (Behaviour.MISSING, Behaviour.ORIGINAL):
            document = {"version": "1.0.0", "app_manager": {"class": "SpaceApp"}, "policy": {"dry_run": False}}
            self._send_json(document)
        elif rest == URL_SPACE + "idle_checker":
            studio.asked[owner] += 1
            STRANGE.get(behaviour, _Handler._settings)(self)
        else:
            self._send(404, b"<html>Not found")

    def _settings(self) -> None:
        behaviour = self._behaviour(self.who)
        count = {Behaviour.COUNT_0: 0, Behaviour.COUNT_1: 1}.get(behaviour, 37)
        seconds = {Behaviour.SHORT: 3600, Behaviour.OFF: 0}.get(behaviour, 7200)
        errors = f"no {self.who['token']} at ?token={self.who['token']} with {self._cookie('studioAuth')}"
        quoted = behaviour in (Behaviour.COUNT_0, Behaviour.ECHO)
        answer = {"idle_time": seconds, "keep_terminals": behaviour is Behaviour.KEEPS, "count": count, "errors": None}
        self._send_json(answer | ({"errors": errors} if quoted else {}))

    def _drip(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while not self.server.studio.stopped.wait(0.05):
            self.wfile.write(b"a")

    def _huge(self) -> None:
        self.send_response(200)
        self.end_headers()
        while not self.server.studio.stopped.is_set():
            self.wfile.write(b"[" * 65_536)

    def _not_http(self) -> None:
        self.wfile.write(f"{self.who['token']} is no status line\r\n\r\n".encode())

    def _echo(self, status: int) -> None:
        self._send(status, f"<html>{self.headers.get('Cookie')} {self.who['token']}".encode())

    def _send_json(self, found: Any) -> None:
        self._send(200, json.dumps(found).encode(), {"Content-Type": "application/json", "Set-Cookie": "_xsrf=2|abc"})

    def _redirect(self, location: str) -> None:
        self._send(302, b"", {"Location": location.replace("TOKEN", self.who["token"])})

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


#: What a behaviour answers instead of its settings.
STRANGE: dict[Behaviour, Callable[[_Handler], Any]] = {
    Behaviour.MISSING: lambda handler: handler._send(404, b"<html>404"),
    Behaviour.FORBIDDEN: lambda handler: handler._echo(403),
    Behaviour.ERROR: lambda handler: handler._echo(500),
    Behaviour.GARBAGE: lambda handler: handler._echo(200),
    Behaviour.STRANGE: lambda handler: handler._send_json({"idle_time": True, "token": handler.who["token"]}),
    Behaviour.HUGE: _Handler._huge,
    Behaviour.HANG: lambda handler: handler.server.studio.stopped.wait(30),
    Behaviour.DRIP: _Handler._drip,
    Behaviour.HANG_UP: lambda handler: handler.connection.shutdown(socket.SHUT_RDWR),
    Behaviour.NOT_HTTP: _Handler._not_http,
    Behaviour.CIRCLE: lambda handler: handler._redirect(handler.path),
    Behaviour.AWAY: lambda handler: handler._redirect("https://elsewhere.example/TOKEN/login?token=TOKEN"),
    Behaviour.STRANGE_LOCATION: lambda handler: handler._redirect("http://[TOKEN/"),
}
