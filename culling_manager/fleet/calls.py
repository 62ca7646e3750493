"""AWS's control plane for a fleet check: paced, retried by botocore, in pages, with errors in an operator's words."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from ..apps.words import CREDENTIALS, DENIED, is_throttled
from ..errors import CallError, DeniedError
from .records import FleetOptions, scrubbed

#: botocore's adaptive mode slows down by itself when a service throttles; the pace here keeps it from having to.
TRIES = 8
CONNECT_SECONDS = 5
READ_SECONDS = 20


class TimeOverError(CallError):
    """Who asks has no time left to ask."""


class Pacer:
    """Lets callers through one by one, `rate` per second at most and never in a burst; safe from many threads."""

    def __init__(self, rate: float) -> None:
        self._gap = 1 / rate
        self._lock = threading.Lock()
        self._next = 0.0

    def wait(self, deadline: float | None = None) -> bool:
        """Wait for one's turn; False, at once, when that would not come before the `deadline` (monotonic seconds)."""
        with self._lock:
            now = time.monotonic()
            turn = max(now, self._next)
            if deadline is not None and turn >= deadline:
                return False
            self._next = turn + self._gap
        time.sleep(turn - now)
        return True


class _NoAuthorizedUrls(logging.Filter):
    """Keeps answers with a presigned URL out of botocore's debug log."""

    def filter(self, record: logging.LogRecord) -> bool:
        return "AuthorizedUrl" not in record.getMessage()


_NO_URLS = _NoAuthorizedUrls()


class FleetCalls:
    """Calls to SageMaker and to CloudWatch Logs. Clients are made when first needed; `count` has every attempt.

    After the `deadline` (of `time.monotonic`, in seconds; None: never) no attempt is begun; a retry is one, too.
    """

    def __init__(self, options: FleetOptions, deadline: float | None = None) -> None:
        self.count: Counter[str] = Counter()
        self.deadline = deadline
        self._options = options
        self._clients: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._pacers = {"sagemaker": Pacer(options.rate), "logs": Pacer(options.logs_rate)}

    @property
    def region(self) -> str:
        """The region that is checked."""
        return str(self._client("sagemaker").meta.region_name)

    def call(self, service: str, operation: str, resource: str = "*", **parameters: Any) -> dict[str, Any]:
        """Call one operation, by boto3's name for it.

        Raises
        ------
        CallError
            When it fails for good; `DeniedError` when a permission is missing. Neither holds the original error, which
            may quote what must not be told. `TimeOverError` after the deadline.
        """
        try:
            answer: dict[str, Any] = getattr(self._client(service), operation)(**parameters)
        except CallError:
            raise
        except Exception as error:
            told = in_words(error, action(service, operation), resource)
        else:
            return answer
        raise told

    def pages(self, service: str, operation: str, key: str, token: str, **parameters: Any) -> Iterator[list[Any]]:
        """The lists under `key` of all pages, as they come; `token` is how the operation spells its token.

        An empty page is no end. An answer without its list, or a token that comes again, is a failure.
        """
        place: str | None = None
        while True:
            more = {token: place} if place else {}
            answer = self.call(service, operation, **parameters, **more)
            if not isinstance(answer.get(key), list):
                raise CallError(f"{action(service, operation)} answered without its list of {key}")
            yield answer[key]
            before, place = place, answer.get(token)
            if not place:
                return
            if place == before:
                raise CallError(f"{action(service, operation)} gave the same page twice")

    def _client(self, service: str) -> Any:
        with self._lock:
            if service not in self._clients:
                self._clients[service] = self._make(service)
            return self._clients[service]

    def _make(self, service: str) -> Any:
        try:
            import boto3
            from botocore.config import Config
        except ImportError as error:
            raise CallError(f"boto3 is needed to call AWS and cannot be imported: {error}") from error
        logging.getLogger("botocore.parsers").addFilter(_NO_URLS)
        config = Config(
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            max_pool_connections=self._options.concurrency + 4,
            retries={"mode": "adaptive", "total_max_attempts": TRIES},
            user_agent_extra="culling_manager-fleet",
        )
        client = boto3.session.Session().client(service, region_name=self._options.region, config=config)
        client.meta.events.register(f"before-send.{service}", self._before_send(service))
        return client

    def _before_send(self, service: str) -> Callable[..., None]:
        """What botocore calls before each attempt, the first and every retry."""

        def paced(event_name: str = "", **_: Any) -> None:
            if not self._pacers[service].wait(self.deadline):
                raise TimeOverError(f"there was no time left for {event_name.rpartition('.')[2]}")
            with self._lock:
                self.count[event_name.rpartition(".")[2]] += 1

        return paced


def action(service: str, operation: str) -> str:
    """The IAM action of an operation: 'sagemaker:ListApps' for 'list_apps'."""
    return f"{service}:" + "".join(part.capitalize() for part in operation.split("_"))


def in_words(error: Exception, action: str, resource: str) -> CallError:
    """Say what a failed call means: denied, no or old credentials, no region, throttled, no answer."""
    from botocore import exceptions as aws

    if isinstance(error, aws.ClientError):
        return _refusal(error.response.get("Error", {}), action, resource)
    if isinstance(error, aws.NoRegionError):
        return CallError("no AWS region is configured: give --region, or set AWS_DEFAULT_REGION")
    if isinstance(error, (aws.NoCredentialsError, aws.PartialCredentialsError, aws.CredentialRetrievalError)):
        return CallError(f"{action} needs AWS credentials, and there are none: {scrubbed(error)}")
    if isinstance(error, (aws.EndpointConnectionError, aws.ConnectTimeoutError, aws.ProxyConnectionError)):
        return CallError(f"{action}: AWS cannot be reached (in a VPC it needs an endpoint): {scrubbed(error)}")
    return CallError(f"{action} failed: {scrubbed(error) or type(error).__name__}")


def _refusal(found: dict[str, Any], action: str, resource: str) -> CallError:
    code, message = str(found.get("Code", "")), scrubbed(found.get("Message", ""))
    said = f"{code}: {message}" if message else code
    if code in DENIED:
        return DeniedError(f"permission {action} on {resource} is missing ({said})")
    if code in CREDENTIALS:
        return CallError(f"{action}: the AWS credentials are not valid ({said})")
    if is_throttled(code):
        return CallError(f"{action} is throttled ({said})")
    return CallError(f"{action} was refused ({said})")
