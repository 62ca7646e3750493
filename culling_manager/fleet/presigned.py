"""Source *presigned*: log in as the user by a presigned URL, and ask the app itself. For domains in IAM mode."""

from __future__ import annotations

import json
import threading
from datetime import datetime
from typing import Any

from ..errors import CallError, DeniedError, ReadError
from .calls import FleetCalls
from .http import Answer, Secret, Visit, origin
from .judge import from_answer, reading, unreachable, without_app
from .options import FleetOptions
from .records import BASE_PATHS, IN_SERVICE, Finding, Reading, State, Target

URL_SPACE = "sagemaker-studio-autoshutdown"
#: Least that the service accepts; nobody uses URL or session after the check (seconds).
URL_SECONDS = 60
SESSION_SECONDS = 1800
#: After as many refusals and not one success, asking for everybody else would only be refused too.
MOST_REFUSALS = 20

USE_LOGS = "use --source logs, which needs no login"


class Presigned:
    """Checks one target at a time; safe to use from many threads."""

    def __init__(self, calls: FleetCalls, options: FleetOptions, now: datetime) -> None:
        self._calls, self._options, self._now = calls, options, now
        self._lock = threading.Lock()
        self._refused = 0
        self._granted = 0
        self._words = ""

    @property
    def problem(self) -> str | None:
        """What is wrong with the check itself: AWS gave us no URL for anybody."""
        return self._words if self._refused and not self._granted else None

    def check(self, target: Target) -> Finding:
        """Find out about one target; starts nothing, for it asks only an app that is in service, and looks again."""
        if not target.in_service:
            return without_app(target)
        if target.auth == "SSO":
            return unreachable(target, f"Users of domain {target.domain} log in by SSO: {USE_LOGS}.")
        if target.profile is None:
            return unreachable(target, f"Nobody is known as whom to log in to its space: {USE_LOGS}.")
        try:
            url = self._url(target)
            with Visit(self._options.answer_seconds) as visit:
                return self._visited(target, visit, url)
        except CallError as error:
            return unreachable(target, f"No presigned URL: {error}.")
        except ReadError as error:
            return unreachable(target, f"Its app cannot be asked: {error}.")

    def _url(self, target: Target) -> Secret:
        """A presigned URL. Raises `CallError`; after many refusals without asking again."""
        with self._lock:
            if self._refused >= MOST_REFUSALS and not self._granted:
                raise CallError(f"not asked for, because AWS refused it for {self._refused} others")
        space = {"SpaceName": target.space} if target.space else {}
        try:
            answer = self._calls.call(
                "sagemaker",
                "create_presigned_domain_url",
                f"user-profile/{target.domain}/{target.profile}",
                DomainId=target.domain,
                UserProfileName=target.profile,
                ExpiresInSeconds=URL_SECONDS,
                SessionExpirationDurationInSeconds=SESSION_SECONDS,
                **space,
            )
        except DeniedError as error:
            with self._lock:
                self._refused += 1
                self._words = str(error)
            raise
        with self._lock:
            self._granted += 1
        if not isinstance(answer.get("AuthorizedUrl"), str):
            raise CallError("sagemaker:CreatePresignedDomainUrl answered without a URL")
        return Secret(answer["AuthorizedUrl"])

    def _visited(self, target: Target, visit: Visit, url: Secret) -> Finding:
        """Log in, look once more whether the app is in service, and ask it."""
        home = origin(url.reveal())
        login = visit.log_in(url)
        if login.status >= 400 or not visit.has_cookies:
            raise ReadError(f"the login was not accepted (HTTP status {login.status})")
        gone = _gone(visit, home, target)
        if gone is not None:
            return gone
        base = home + BASE_PATHS[target.app_type]
        answer = visit.get(f"{base}/{URL_SPACE}/idle_checker")
        if answer.status == 404 and _is_jupyter(visit, base):
            return from_answer(target, None, self._options, self._now)
        return from_answer(target, self._reading(visit, base, answer), self._options, self._now)

    def _reading(self, visit: Visit, base: str, answer: Answer) -> Reading:
        """What the culler says of itself. Its version is in another answer, which the original extension lacks."""
        if answer.status != 200:
            raise ReadError(f"idle_checker answers with HTTP status {answer.status}")
        found = _parsed(answer)
        if not isinstance(found, dict) or reading(found) is None:
            raise ReadError("the answer of idle_checker is not the one that the extension gives")
        errors = found.get("errors")
        found |= {"errors": visit.hide(errors)} if isinstance(errors, str) else {}
        said = reading(found | _status(visit, base))
        if said is None:
            raise ReadError("the answer of idle_checker is not the one that the extension gives")
        return said


def _gone(visit: Visit, home: str, target: Target) -> Finding | None:
    """The finding when the app is said to be no more in service; a Studio that does not tell is believed."""
    answer = visit.get(f"{home}/app?appType={target.app_type}&appName={target.app_name}")
    word = answer.body[:100].decode("ascii", "replace").strip().strip('"')
    if answer.status != 200 or word == IN_SERVICE or not word.isalpha():
        return None
    reason = f"Its {target.app_type} app was in service when it was listed, and is {word[:20]} now."
    return Finding(target=target, state=State.NO_APP, reason=reason)


def _is_jupyter(visit: Visit, base: str) -> bool:
    """Whether a Jupyter Server answers there; raises `ReadError` when not."""
    answer = visit.get(f"{base}/api")
    found = _parsed(answer)
    if answer.status != 200 or not isinstance(found, dict) or "version" not in found:
        raise ReadError("no Jupyter Server answers under its path (HTTP status 404)")
    return True


def _status(visit: Visit, base: str) -> dict[str, Any]:
    """Version and app manager from the state document, as far as it has them."""
    try:
        found = _parsed(visit.get(f"{base}/{URL_SPACE}/status"))
    except ReadError:
        return {}
    if not isinstance(found, dict):
        return {}
    manager, policy = found.get("app_manager"), found.get("policy")
    return {
        "version": _hidden(visit, found.get("version")),
        "app_manager": _hidden(visit, manager.get("class")) if isinstance(manager, dict) else None,
        "dry_run": policy.get("dry_run") is True if isinstance(policy, dict) else False,
        "watching": found.get("watching"),
        "codes": _active_codes(found.get("errors")),
    }


def _active_codes(errors: Any) -> list[Any] | None:
    """The codes of what is wrong now; None for a server that gives none."""
    if not isinstance(errors, list) or not all(isinstance(each, dict) and "code" in each for each in errors):
        return None
    return [each["code"] for each in errors if each.get("active")]


def _hidden(visit: Visit, value: Any) -> str | None:
    return visit.hide(value) if isinstance(value, str) else None


def _parsed(answer: Answer) -> Any:
    """What a JSON text says, or None when it is none."""
    try:
        return json.loads(answer.body)
    except (ValueError, RecursionError):
        return None
