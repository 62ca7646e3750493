"""Calls to SageMaker: in a thread, with botocore's retries, and with errors in an operator's words."""

from __future__ import annotations

import threading
from time import monotonic
from typing import Any

from ..errors import CallError, DeniedError, GoneError
from ..threads import in_thread
from .base import AppManager
from .metadata import MetadataError, ResourceMetadata, ResourceMetadataFile
from .words import CREDENTIALS, DENIED, is_throttled

#: botocore's own retries come first: its standard mode tries three times, with exponential back-off and jitter.
TRIES = 3
#: What ends compute is not sent later than this (seconds) after it was decided: before a later try the culler looks
#: again. A throttled call is repeated within that time; one that was not answered is not.
DECIDED_SECONDS = 5.0
ENDING = ("DeleteApp", "StopNotebookInstance")
CONNECT_SECONDS = 5
READ_SECONDS = 20

#: Words of a ValidationException that say that what was asked for is gone (as read in Terraform's AWS provider).
GONE_WORDS = ("has already been deleted", "previously failed and was automatically deleted", "RecordNotFound")


class SageMakerAppManager(AppManager):
    """What the app managers for SageMaker share. Raises `MetadataError` when the metadata file is no help."""

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
            found = in_words(error, operation, arn)
            if found.renew:
                self._client = None
            raise found.error from error

    def _ready_client(self) -> Any:
        with self._lock:
            if self._client is None:
                self._client = _make_client(self.metadata.region)
            return self._client

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
    try:
        import boto3
        from botocore.config import Config
    except ImportError as error:
        raise CallError(f"boto3 is needed to call SageMaker and cannot be imported: {error}") from error
    config = Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        retries={"mode": "standard", "total_max_attempts": TRIES},
        user_agent_extra="culling_manager",
    )
    client = boto3.session.Session().client("sagemaker", region_name=region, config=config)
    for operation in ENDING:
        client.meta.events.register(f"before-send.sagemaker.{operation}", _refuse_late_try)
    return client


def _pages(client: Any, operation: str, key: str, parameters: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for page in client.get_paginator(operation).paginate(**parameters, PaginationConfig={"PageSize": 100}):
        if not isinstance(page.get(key), list):
            raise CallError(f"{iam_action(operation)} answered without its list of {key}")
        found += page[key]
    return found


class InWords:
    """An error in an operator's words, and whether the credentials are to be looked for anew."""

    def __init__(self, error: CallError | GoneError, renew: bool = False) -> None:
        self.error, self.renew = error, renew


def iam_action(operation: str) -> str:
    """The IAM action of an operation: 'sagemaker:DeleteApp' for 'delete_app'."""
    return "sagemaker:" + "".join(part.capitalize() for part in operation.split("_"))


def in_words(error: Exception, operation: str, arn: str) -> InWords:
    """Say what a failed call means: gone, denied, no or old credentials, throttled, no answer."""
    from botocore import exceptions as aws

    action = iam_action(operation)
    if isinstance(error, aws.ClientError):
        return _refusal(error.response.get("Error", {}), action, arn)
    if isinstance(error, (aws.NoCredentialsError, aws.PartialCredentialsError, aws.CredentialRetrievalError)):
        return InWords(CallError(f"{action} needs AWS credentials, and there are none: {error}"), renew=True)
    if isinstance(error, (aws.EndpointConnectionError, aws.ConnectTimeoutError, aws.ProxyConnectionError)):
        return InWords(CallError(f"{action}: SageMaker cannot be reached (in a VPC it needs an endpoint): {error}"))
    return InWords(CallError(f"{action} failed: {error or repr(error)}"))


def _refusal(found: dict[str, Any], action: str, arn: str) -> InWords:
    code, message = str(found.get("Code", "")), " ".join(str(found.get("Message", "")).split())[:500]
    said = f"{code}: {message}" if message else code
    if code == "ResourceNotFound" or (code == "ValidationException" and any(words in message for words in GONE_WORDS)):
        return InWords(GoneError(said))
    if code == "ResourceInUse" and "Deleting" in message:
        return InWords(GoneError(said))
    if code in DENIED:
        return InWords(DeniedError(f"permission {action} on {arn} is missing ({said})"))
    if code in CREDENTIALS:
        # without the message, which for a wrong signature quotes the request with its session token
        return InWords(CallError(f"{action}: the AWS credentials are not valid any more ({code})"), renew=True)
    if is_throttled(code):
        return InWords(CallError(f"{action} is throttled ({said})"))
    return InWords(CallError(f"{action} was refused ({said})"))
