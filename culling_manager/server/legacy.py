"""What clients of the original extension need that Jupyter Server 2 does not give: another way past the XSRF check."""

from __future__ import annotations

import hmac
from typing import Any
from urllib.parse import urlsplit

from tornado.web import HTTPError


class OriginalClients:
    """To be mixed into the one handler that those clients POST to, before Jupyter's own handler."""

    request: Any
    identity_provider: Any
    get_cookie: Any
    get_query_argument: Any

    def check_xsrf_cookie(self) -> None:
        """Check as Jupyter does, and accept the original's client, which sends another cookie's value as token."""
        try:
            super().check_xsrf_cookie()  # type: ignore[misc]
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


def _is_host(url: str | None, host: str) -> bool:
    """Whether a URL, where there is one, is of `host`."""
    try:
        return url is None or urlsplit(url).netloc == host
    except ValueError:
        return False
