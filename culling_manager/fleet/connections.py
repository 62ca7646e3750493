"""http and https over connections that somebody else can cut off. Certificates are checked, no redirect is followed."""

from __future__ import annotations

import functools
import http.client
import http.cookiejar
import ssl
import urllib.request
from collections.abc import Callable
from typing import Any

#: Told of each socket once it is connected.
Watch = Callable[[Any], None]


class _Plain(http.client.HTTPConnection):
    """A connection that can be cut off."""

    def __init__(self, watch: Watch, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._watch = watch

    def connect(self) -> None:
        super().connect()
        self._watch(self.sock)


class _Tls(_Plain, http.client.HTTPSConnection):
    """The same over TLS: what is watched is what `HTTPSConnection` has connected."""


class _Handler(urllib.request.AbstractHTTPHandler):
    """http and https over connections that can be cut off."""

    def __init__(self, watch: Watch) -> None:
        super().__init__(debuglevel=0)
        self._watch = watch

    def http_open(self, request: urllib.request.Request) -> Any:
        """Open http."""
        return self.do_open(functools.partial(_Plain, self._watch), request)

    def https_open(self, request: urllib.request.Request) -> Any:
        """Open https, with certificates checked."""
        connection = functools.partial(_Tls, self._watch, context=_context())
        return self.do_open(connection, request)

    http_request = https_request = urllib.request.AbstractHTTPHandler.do_request_


def opener(watch: Watch, jar: http.cookiejar.CookieJar) -> urllib.request.OpenerDirector:
    """An opener that answers with every status as it is, redirects too."""
    opener = urllib.request.OpenerDirector()
    for handler in (urllib.request.ProxyHandler(), _Handler(watch), urllib.request.HTTPCookieProcessor(jar)):
        opener.add_handler(handler)
    return opener


@functools.cache
def _context() -> ssl.SSLContext:
    """Certificates that are trusted here; read once per process."""
    return ssl.create_default_context()
