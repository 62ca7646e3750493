"""Calls to SageMaker: in a thread, with botocore's retries, and with errors in an operator's words."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from ..concurrency import in_thread
from ..engine.clock import monotonic
from ..errors import CallError, GoneError
from .aws import CredentialsError, action, gone_in, in_words, make_client, pages
from .base import AppManager
from .metadata import MetadataError, ResourceMetadata, ResourceMetadataFile

#: botocore's own retries come first: its standard mode tries three times, with exponential back-off and jitter.
TRIES = 3
#: What ends compute is not sent later than this (seconds) after it was decided: before a later try the culler looks
#: again. A throttled call is repeated within that time; one that was not answered is not.
DECIDED_SECONDS = 5.0
ENDING = ("DeleteApp", "StopNotebookInstance")
#: How long (seconds) SageMaker may take to say what a server runs on.
TYPE_SECONDS = 30.0


class SageMakerAppManager(AppManager):
    """What the app managers for SageMaker share. Raises `MetadataError` when the metadata file is no help."""

    #: What this server runs on, as far as it is known.
    instance_type: str | None = None
    _asked_type = False

    def __init__(self, metadata: ResourceMetadata | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.metadata = metadata or ResourceMetadataFile(parent=self).read()
        elsewhere = self.runs_elsewhere()
        if elsewhere is not None:
            raise MetadataError(f"this server runs on {elsewhere}")
        self._client: Any = None
        self._lock = threading.Lock()

    def runs_elsewhere(self) -> str | None:
        """What the server runs on, in words, when that is nothing for this app manager; None when it is."""
        return None

    async def prepare(self) -> None:
        """Import boto3 and make a client, so that a deletion that follows goes out at once."""
        await in_thread(self._ready_client)

    async def call(self, operation: str, arn: str, **parameters: Any) -> dict[str, Any]:
        """Call one operation, by boto3's name for it, on the resource `arn`.

        Raises
        ------
        GoneError
            When SageMaker says that the resource is gone.
        CallError
            When it refuses, or does not answer.
        """
        return await in_thread(
            lambda: self._call(operation, arn, lambda client: getattr(client, operation)(**parameters))
        )

    async def call_pages(self, operation: str, key: str, **parameters: Any) -> list[dict[str, Any]]:
        """All items of a paginated operation; an answer without its list is a failure, not an empty list."""
        return await in_thread(
            lambda: self._call(operation, "*", lambda client: _pages(client, operation, key, parameters))
        )

    def _call(self, operation: str, arn: str, call: Any) -> Any:
        try:
            client = self._ready_client()
            _calls.began = monotonic()
            return call(client)
        except (CallError, GoneError):
            raise
        except Exception as error:
            gone = gone_in(error)
            if gone is not None:
                raise GoneError(gone) from error
            told = in_words(error, action("sagemaker", operation), arn)
            if isinstance(told, CredentialsError):
                self._client = None
            raise told from error

    def _ready_client(self) -> Any:
        with self._lock:
            if self._client is None:
                self._client = _make_client(self.metadata.region)
            return self._client

    async def own_type(self, ask: Callable[[], Awaitable[str | None]]) -> str | None:
        """The instance type of what this server runs on, asked for once, and only where `idle_timeouts` go by it.

        Never in the way: where it cannot be had, `reason` says so, and `idle_timeout` holds.
        """
        if self._asked_type or self.instance_type or not getattr(self.parent, "idle_timeouts", None):
            return self.instance_type
        self._asked_type = True
        try:
            self.instance_type = await asyncio.wait_for(ask(), TYPE_SECONDS)
            self.reason = "" if self.instance_type else "SageMaker does not say its instance type: idle_timeout holds"
        except Exception as error:
            self.reason = f"its instance type is not known, so idle_timeout holds: {error or repr(error)}"
            self.log.info("Culling: %s", self.reason)
        return self.instance_type

    def named(self, app_type: str, name: str) -> tuple[str, dict[str, str]]:
        """ARN and request parameters of an app of the domain and owner that the metadata file names."""
        found = self.metadata
        member, owner = found.owner
        parameters = {"DomainId": found.domain_id, member: owner, "AppType": app_type, "AppName": name}
        return found.app_arn(app_type, name), parameters


#: When the call that this thread makes began (monotonic seconds).
_calls = threading.local()


def _refuse_late_try(request: Any, event_name: str, **kwargs: Any) -> None:
    """Stop botocore from sending what ends compute long after it was decided (a handler of ``before-send``)."""
    waited = monotonic() - _calls.began
    if waited > DECIDED_SECONDS:
        operation = event_name.rpartition(".")[2]
        raise CallError(f"sagemaker:{operation} was not answered in {waited:.0f} s; before another try we look again")


def _make_client(region: str) -> Any:
    retries = {"mode": "standard", "total_max_attempts": TRIES}
    client = make_client("sagemaker", region, retries=retries, user_agent_extra="culling_manager")
    for operation in ENDING:
        client.meta.events.register(f"before-send.sagemaker.{operation}", _refuse_late_try)
    return client


def _pages(client: Any, operation: str, key: str, parameters: dict[str, Any]) -> list[dict[str, Any]]:
    ask = partial(getattr(client, operation), **parameters, MaxResults=100)
    return [item for page in pages(ask, action("sagemaker", operation), key) for item in page]
