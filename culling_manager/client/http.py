"""HTTP with one server: token, XSRF, and every way in which it can fail in plain words. Standard library only."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import socket
import ssl
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from ..errors import ErrorCode
from .servers import Code, Failure, Server

URL_SPACE = "sagemaker-studio-autoshutdown"
LOOPBACK = re.compile(r"localhost|::1|127(\.\d{1,3}){3}")
LONGEST_ANSWER = 16_777_216  # bytes
LONGEST_WORDS = 600
#: Jupyter counts API calls as activity, unless they say so; being looked at keeps nothing alive.
NO_ACTIVITY = "no_track_activity=1"
#: Pages that set the XSRF cookie, also where they do not exist: the login page first, which every server has.
XSRF_PAGES = ("login", "tree")


#: What each code of a refusal means for whoever runs a command.
EXITS = {
    ErrorCode.BAD_BODY: Code.REFUSED,
    ErrorCode.BAD_FIELD: Code.REFUSED,
    ErrorCode.BAD_REQUEST: Code.REFUSED,
    ErrorCode.OTHER_SITE: Code.TOKEN_REFUSED,
    ErrorCode.NOT_FOUND: Code.REFUSED,
    ErrorCode.TOO_LATE: Code.REFUSED,
    ErrorCode.LEASE_ENDED: Code.REFUSED,
    ErrorCode.NOT_OUR_MANAGERS: Code.NOT_SELECTED,
    ErrorCode.NOT_SAVED: Code.REFUSED,
    ErrorCode.INTERNAL: Code.UNEXPECTED,
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; `found` is its JSON, None when it is none."""

    status: int
    location: str
    cookies: tuple[str, ...]
    found: Any


class Client:
    """Asks one server; `seconds` is how long it waits for each answer."""

    def __init__(self, server: Server, seconds: float = 10.0) -> None:
        self.server, self._seconds = server, seconds
        self._cookies: dict[str, str] = {}

    def get(self, name: str) -> dict[str, Any]:
        """What one of our endpoints says."""
        return self._ours("GET", name)

    def post(self, name: str, body: dict[str, Any]) -> dict[str, Any]:
        """Ask one of our endpoints to change something."""
        return self._ours("POST", name, body)

    def delete(self, name: str, **query: str) -> dict[str, Any]:
        """Ask one of our endpoints to take something back."""
        return self._ours("DELETE", name + (f"?{urlencode(query)}" if query else ""))

    def has_kernel(self, kernel_id: str) -> bool:
        """Whether the server lists this kernel."""
        return self._send("GET", f"api/kernels/{kernel_id}?{NO_ACTIVITY}").status == 200

    def sessions(self) -> list[tuple[str, str]]:
        """Path of the notebook and id of the kernel of everything that is open."""
        answer = self._send("GET", f"api/sessions?{NO_ACTIVITY}")
        if wants_login(answer) and self._log_in():
            answer = self._send("GET", f"api/sessions?{NO_ACTIVITY}")
        if answer.status != 200:
            raise self._failure(answer)
        found = [each for each in answer.found or () if isinstance(each, dict) and isinstance(each.get("kernel"), dict)]
        return [(str(each.get("path")), str(each["kernel"].get("id"))) for each in found]

    # -- one request -----------------------------------------------------------------------------

    def _ours(self, method: str, name: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        if method == "GET":
            name += f"?{NO_ACTIVITY}"
        elif not self.server.token:
            self._be_known()
        answer = self._send(method, f"{URL_SPACE}/{name}", body)
        if method != "GET" and answer.status == 403 and self.server.token:  # a proxy's token is none of the server's
            self._be_known()
            answer = self._send(method, f"{URL_SPACE}/{name}", body)
        if wants_login(answer) and self._log_in():
            answer = self._send(method, f"{URL_SPACE}/{name}", body)
        if answer.status != 200:
            raise self._failure(answer)
        if not isinstance(answer.found, dict):
            raise Failure(Code.UNEXPECTED, "What answers there is not culling_manager: its answer is no JSON object.")
        return answer.found

    def _be_known(self) -> None:
        """Get the XSRF cookie, which a change needs where no token is accepted (SageMaker's servers have none)."""
        for page in XSRF_PAGES:
            if "_xsrf" not in self._cookies:
                self._send("GET", page)

    def _log_in(self) -> bool:
        """Log in with the environment's password, where there is one and no token; whether that gave a cookie."""
        password = os.environ.get("JUPYTER_PASSWORD", "")
        if self.server.token or not password:
            return False
        self._be_known()
        before = set(self._cookies)
        self._send("POST", "login", form={"password": password, "_xsrf": self._cookies.get("_xsrf", "")})
        return set(self._cookies) > before

    def _headers(self) -> dict[str, str]:
        found = {"Accept": "application/json"}
        if self.server.token:
            found["Authorization"] = f"token {self.server.token}"
        if self._cookies:
            found["Cookie"] = "; ".join(f"{name}={value}" for name, value in self._cookies.items())
        if "_xsrf" in self._cookies:
            found["X-XSRFToken"] = self._cookies["_xsrf"].strip('"')
        return found

    def _send(
        self, method: str, path: str, body: dict[str, Any] | None = None, form: dict[str, str] | None = None
    ) -> Answer:
        """One request, without a proxy and without following redirects, either of which would be shown the token."""
        text = None if body is None else json.dumps(body)
        kind = "application/json"
        if form is not None:
            text, kind = urlencode(form), "application/x-www-form-urlencoded"
        headers = {"Content-Type": kind, **self._headers()}
        try:
            with contextlib.closing(self._connect()) as connection:
                connection.request(method, self.server.path + path, body=text, headers=headers)
                response = connection.getresponse()
                raw = response.read(LONGEST_ANSWER)
        except (ConnectionRefusedError, FileNotFoundError):
            raise Failure(Code.NO_SERVER, "Nothing listens there.") from None
        except TimeoutError:
            raise Failure(Code.NO_ANSWER, f"No answer within {self._seconds:g} s (--answer-within).") from None
        except ssl.SSLCertVerificationError as error:
            raise Failure(Code.NO_ANSWER, f"Its certificate is not trusted: {error.verify_message}.") from None
        except OSError as error:
            raise Failure(Code.NO_ANSWER, f"No answer: {error.strerror or 'it hangs up'}.") from None
        except http.client.HTTPException:
            raise Failure(Code.NO_SERVER, "What listens there does not speak HTTP.") from None
        cookies = tuple(response.headers.get_all("Set-Cookie") or ())
        for each in cookies:
            name, _, value = each.partition(";")[0].partition("=")
            self._cookies[name.strip()] = value
        return Answer(response.status, response.getheader("Location") or "", cookies, parsed(raw))

    def _connect(self) -> http.client.HTTPConnection:
        """A connection; a self-signed certificate is accepted from this machine only."""
        server = self.server
        if server.scheme == "http+unix":
            connection = http.client.HTTPConnection("localhost", timeout=self._seconds)
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.settimeout(self._seconds)
            connection.sock.connect(server.host)
            return connection
        if server.scheme == "http":
            return http.client.HTTPConnection(server.host, server.port, timeout=self._seconds)
        context = ssl.create_default_context()
        if LOOPBACK.fullmatch(server.host):
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return http.client.HTTPSConnection(server.host, server.port, timeout=self._seconds, context=context)

    # -- what is wrong ------------------------------------------------------------------------------

    def _failure(self, answer: Answer) -> Failure:
        """Why it is none of what was asked for: by the answer's code, else, for older servers, by how it looks."""
        words, code = said(answer.found), code_in(answer.found)
        if wants_login(answer):
            return self._not_let_in(answer)
        if code in EXITS and words:
            return Failure(EXITS[code], words, code)
        return self._older(answer, words)

    def _older(self, answer: Answer, words: str) -> Failure:
        """The same for a server that gives no codes, or for what is no server of ours."""
        status = answer.status
        if answer.location:
            place = urlsplit(answer.location)
            return Failure(
                Code.UNEXPECTED, f"It redirects to {place.netloc}{place.path}, which is not followed: give that --url."
            )
        if status == 404 and not self._is_there():
            return self._missing()
        if status in (404, 405) and not words:
            return Failure(
                Code.UNEXPECTED, "Its culling_manager is older than this command: restart the server after an upgrade."
            )
        not_ours = status == 409 and "manager is" in words
        exits = {400: Code.REFUSED, 404: Code.REFUSED, 409: Code.NOT_SELECTED if not_ours else Code.REFUSED}
        return Failure(exits.get(status, Code.UNEXPECTED), words or f"It answers with HTTP status {status}.")

    def _not_let_in(self, answer: Answer) -> Failure:
        words = said(answer.found)
        if words and words != "Forbidden":
            return Failure(Code.TOKEN_REFUSED, f"Not allowed: {words}")
        if not self.server.token:
            if os.environ.get("JUPYTER_PASSWORD"):
                return Failure(Code.TOKEN_REFUSED, "The password in JUPYTER_PASSWORD is wrong, or it wants a token.")
            words = "It wants a token: give it in JUPYTER_TOKEN or with --token"
            return Failure(
                Code.TOKEN_REFUSED, f"{words}; where there is only a password, give that in JUPYTER_PASSWORD."
            )
        return Failure(Code.TOKEN_REFUSED, "The token is wrong, or it does not allow this (JUPYTER_TOKEN or --token).")

    def _is_there(self) -> bool:
        """Whether the extension answers at all."""
        return self._send("GET", f"{URL_SPACE}/status?{NO_ACTIVITY}").status != 404

    def _missing(self) -> Failure:
        answer = self._send("GET", "api")
        if isinstance(answer.found, dict) and "version" in answer.found:
            return Failure(
                Code.EXTENSION_MISSING,
                "The server extension culling_manager is missing: install sagemaker_studio_autoshutdown into the "
                "server's own environment, look at `jupyter server extension list`, and restart the server.",
            )
        return Failure(Code.NO_SERVER, "No Jupyter Server has this base URL.")


def parsed(raw: bytes) -> Any:
    """What a JSON text says, or None when it is none."""
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return None


def wants_login(answer: Answer) -> bool:
    """Whether it is the answer to somebody who is not let in."""
    return answer.status in (401, 403) or re.search("login|oauth", answer.location) is not None


def code_in(found: Any) -> ErrorCode | None:
    """The code of an answer that refuses something; None for an older server's, and for one that is not known here."""
    try:
        return ErrorCode(found["code"]) if isinstance(found, dict) else None
    except (KeyError, ValueError, TypeError):
        return None


def said(found: Any) -> str:
    """The message of an answer that refuses something, on one line; '' when it has none of its own."""
    words = found.get("message") if isinstance(found, dict) else None
    line = "".join(each if each.isprintable() else " " for each in str(words or ""))
    return "" if line in ("Not Found", "Method Not Allowed") else line[:LONGEST_WORDS]
