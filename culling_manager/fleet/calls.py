"""AWS's control plane for a fleet check: paced, retried by botocore, in pages, with errors in an operator's words."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from ..apps import aws
from ..apps.aws import action as action
from ..engine.clock import monotonic
from ..errors import CallError
from .options import FleetOptions
from .records import scrubbed

#: botocore's adaptive mode slows down by itself when a service throttles; the pace here keeps it from having to.
TRIES = 8
#: Calls per second to those of AWS's services that know prices and bills, which are not in every region.
BILLING_RATE = 5.0
BILLING = ("pricing", "ce")


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
            now = monotonic()
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

    After the `deadline` (of `monotonic`, in seconds; None: never) no attempt is begun; a retry is one, too.
    """

    def __init__(self, options: FleetOptions, deadline: float | None = None) -> None:
        self.count: Counter[str] = Counter()
        self.deadline = deadline
        self._options = options
        self._clients: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._pacers = {"sagemaker": Pacer(options.rate), "logs": Pacer(options.logs_rate)}
        self._pacers |= {service: Pacer(BILLING_RATE) for service in BILLING}

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
        """The lists under `key` of all pages, as they come; see `aws.pages`."""
        ask = partial(self.call, service, operation, **parameters)
        return aws.pages(ask, action(service, operation), key, token)

    def _client(self, service: str) -> Any:
        with self._lock:
            if service not in self._clients:
                self._clients[service] = self._make(service)
            return self._clients[service]

    def _make(self, service: str) -> Any:
        client = aws.make_client(
            service,
            place(service, self._options.region),
            max_pool_connections=self._options.concurrency + 4,
            retries={"mode": "adaptive", "total_max_attempts": TRIES},
            user_agent_extra="culling_manager-fleet",
        )
        logging.getLogger("botocore.parsers").addFilter(_NO_URLS)
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


def place(service: str, region: str | None) -> str | None:
    """The region in which a service is asked about this region: those of the bill are not everywhere."""
    if service not in BILLING:
        return region
    if region is None:
        import boto3

        region = boto3.session.Session().region_name
    return "cn-northwest-1" if (region or "").startswith("cn-") else "us-east-1"


def in_words(error: Exception, action: str, resource: str) -> CallError:
    """Say what a failed call means, without what AWS's words may hold of secrets."""
    return aws.in_words(error, action, resource, clean=scrubbed)
