"""What clients of the original extension need that Jupyter Server 2 does not give: another way past the XSRF check."""

from __future__ import annotations

import hmac
from typing import Any
from urllib.parse import urlsplit

from tornado.web import HTTPError

#: The least that is accepted of a cookie's value (characters); a guess is shorter.
LEAST_SENT = 32


class OriginalClients:
    """To be mixed into the one handler that those clients POST to, before Jupyter's own handler."""

    request: Any
    identity_provider: Any
    get_cookie: Any
    get_query_argument: Any

    def check_xsrf_cookie(self) -> None:
        """Check as Jupyter does, and accept the original's client, which sends the login cookie's value as token."""
        try:
            super().check_xsrf_cookie()  # type: ignore[misc]
        except HTTPError:
            if not (self._is_sent_by_a_program() and self._sent_back_its_login()):
                raise

    def _is_sent_by_a_program(self) -> bool:
        """Whether it is a JSON POST that no page of another site can have sent without being asked for first."""
        request = self.request
        if request.method != "POST" or not request.headers.get("Content-Type", "").startswith("application/json"):
            return False
        return all(_is_host(request.headers.get(name), request.host) for name in ("Origin", "Referer"))

    def _sent_back_its_login(self) -> bool:
        """Whether its token is the value of a login cookie that this server has signed for the user who asks.

        The original's ``set-time-interval.sh`` takes the first ``Set-Cookie`` of ``{base_url}/tree`` for the XSRF
        cookie, up to the second '='; on Jupyter Server 2.x that is the login cookie. No page can read that one, and a
        cookie that a page of another user on the same host has planted is not signed.
        """
        user = self.identity_provider.get_user_cookie(self)  # None unless its signature is ours and not too old
        if not _same_user(user, getattr(self, "_jupyter_current_user", None)):  # Tornado asks before there is one
            return False
        sent = (self.get_query_argument("_xsrf", "") or "").strip('" ')
        value = (self.get_cookie(self.identity_provider.get_cookie_name(self)) or "").strip('" ').split("=")[0]
        return len(sent) >= LEAST_SENT and hmac.compare_digest(sent.encode(), value.encode())


def _same_user(signed: Any, asking: Any) -> bool:
    """Whether a cookie's user is the one who asks; an identity provider of another kind may give something else."""
    username = getattr(signed, "username", None)
    return username is not None and username == getattr(asking, "username", None)


def _is_host(url: str | None, host: str) -> bool:
    """Whether a URL, where there is one, is of `host`."""
    try:
        return url is None or urlsplit(url).netloc == host
    except ValueError:
        return False
