"""HTTP as one user of Studio: cookies, one deadline for everything, and nothing told of URLs, tokens or cookies."""

from __future__ import annotations

import http.client
import http.cookiejar
import socket
import ssl
import threading
import urllib.request
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urljoin, urlsplit

from ..errors import ReadError
from .connections import opener
from .records import scrubbed

LONGEST_ANSWER = 1_048_576
MOST_REDIRECTS = 5
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class Secret:
    """A text that shows itself to nobody by accident."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return "Secret(hidden)"

    __str__ = __repr__

    def reveal(self) -> str:
        """The text itself."""
        return self._text


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; neither its body nor where it leads to shows in its repr, for both may quote a secret."""

    status: int
    body: bytes = field(repr=False)
    location: str = field(repr=False)


class Visit:
    """A context in which one user's pages are fetched, `seconds` in all: then whatever is under way is cut off.

    Every failure is a `ReadError` in words of our own, which holds no other exception: those quote URLs.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._jar = http.cookiejar.CookieJar()
        self._login: tuple[str, ...] = ()
        self._socket: Any = None
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True
        self._opener = opener(self.watch, self._jar)

    def __enter__(self) -> Visit:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    @property
    def has_cookies(self) -> bool:
        """Whether anything has logged us in."""
        return bool(len(self._jar))

    def hide(self, text: str) -> str:
        """The text without any value of the login's URL, and without that of any cookie that came in."""
        values = {*self._login, *(each.value or "" for each in self._jar)}
        for value in sorted(values, key=len, reverse=True):
            text = text.replace(value, "(hidden)") if len(value) > 3 else text
        return scrubbed(text)

    def log_in(self, url: Secret) -> Answer:
        """Fetch a presigned URL, and go on from there only until there is a cookie."""
        parts = parse_qsl(url.reveal().partition("?")[2])
        self._login = tuple(value for _, value in parts)
        return self.get(url.reveal(), until_cookies=True)

    def get(self, url: str, *, until_cookies: bool = False) -> Answer:
        """Fetch a page. Redirects are followed on the same host only, and `until_cookies` not once there are any."""
        home = origin(url)
        for _ in range(MOST_REDIRECTS + 1):
            answer = self._get(url)
            if not 300 <= answer.status < 400 or not answer.location or (until_cookies and self.has_cookies):
                return answer
            url = _joined(url, answer.location)
            if origin(url) != home:
                raise ReadError("it sends us to another host, as it does when it does not accept a login")
        raise ReadError("it redirects in a circle")

    def watch(self, connection: Any) -> None:
        """Remember what is to be cut off."""
        with self._lock:
            self._socket = connection
        if self._over.is_set():
            self._cut()

    def _cut(self) -> None:
        self._over.set()
        with self._lock:
            if self._socket is not None:
                try:
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
                except OSError:
                    return

    def _get(self, url: str) -> Answer:
        try:
            # The cut comes before this timeout, which is for what cannot be cut, such as a connection in the making.
            with self._opener.open(urllib.request.Request(url), timeout=self._seconds + 1) as found:  # noqa: S310
                body = found.read(LONGEST_ANSWER)
                location = found.headers.get("Location") or ""
        except Exception as error:
            words = _words(error)
        else:
            words = ""
        if self._over.is_set():
            raise ReadError(f"it did not answer within {self._seconds:g} s")
        if words:
            raise ReadError(words)
        return Answer(found.status, body, location)


def origin(url: str) -> str:
    """Scheme, host and port of a URL that may be visited: https, or http on this machine.

    Raises
    ------
    ReadError
        For any other; it does not quote the URL.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or not (parts.scheme == "https" or (parts.scheme == "http" and host in LOOPBACK)):
        raise ReadError("it has a URL that is not https")
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _joined(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError:
        return ""


def _words(error: Exception) -> str:
    """What went wrong, without anything that the exception says itself, for it may quote a URL or an answer."""
    cause = getattr(error, "reason", error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return "its certificate is not trusted here"
    if isinstance(cause, ssl.SSLError):
        return "no TLS connection could be made"
    if isinstance(cause, socket.gaierror):
        return "its name cannot be resolved (in a VPC, Studio needs an endpoint)"
    if isinstance(cause, ConnectionRefusedError):
        return "nothing listens there"
    if isinstance(cause, TimeoutError):
        return "it did not answer in time"
    if isinstance(cause, (http.client.HTTPException, ValueError)):
        return "what answers does not speak proper HTTP"
    return f"the connection failed ({type(cause).__name__})"
