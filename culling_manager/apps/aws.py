"""What AWS answers, in an operator's words, and its answers that come in pages: for app managers and the fleet check.

Standard library only until something is called, so that a Lambda function can start with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ..errors import CallError, DeniedError

CONNECT_SECONDS = 5
READ_SECONDS = 20

#: Error codes by which AWS says that a permission is missing.
DENIED = frozenset({"AccessDeniedException", "AccessDenied", "NotAuthorized", "UnauthorizedOperation"})
#: That the credentials are not valid, or not any more.
CREDENTIALS = frozenset(
    {"ExpiredToken", "ExpiredTokenException", "UnrecognizedClientException", "InvalidClientTokenId"}
    | {"InvalidSignatureException", "RequestExpired", "MissingAuthenticationTokenException"}
)
#: That there were too many calls, besides all that have 'throttl' in them.
TOO_MANY = frozenset({"TooManyRequestsException", "RequestLimitExceeded", "LimitExceededException"})
#: Words of a ValidationException that say that what was asked for is gone (as read in Terraform's AWS provider).
GONE_WORDS = ("has already been deleted", "previously failed and was automatically deleted", "RecordNotFound")
#: How services are called by people.
NAMES = {"sagemaker": "SageMaker"}


class CredentialsError(CallError):
    """There are no AWS credentials, or they are not valid any more: the next try has to look for them anew."""


def action(service: str, operation: str) -> str:
    """The IAM action of an operation: 'sagemaker:ListApps' for 'list_apps'."""
    return f"{service}:" + "".join(part.capitalize() for part in operation.split("_"))


def make_client(service: str, region: str | None, **config: Any) -> Any:
    """A boto3 client with our time limits and what `config` adds to botocore's Config.

    Raises
    ------
    CallError
        When boto3 cannot be imported.
    """
    try:
        import boto3
        from botocore.config import Config
    except ImportError as error:
        raise CallError(f"boto3 is needed to call AWS and cannot be imported: {error}") from error
    limits = Config(connect_timeout=CONNECT_SECONDS, read_timeout=READ_SECONDS, **config)
    return boto3.session.Session().client(service, region_name=region, config=limits)


def pages(ask: Callable[..., dict[str, Any]], action: str, key: str, token: str = "NextToken") -> Iterator[list[Any]]:  # noqa: S107
    """The lists under `key` of all pages, as they come; `ask` gets one page, `token` is how that spells its token.

    An empty page is no end. An answer without its list, or a token that comes again, is a failure.

    Raises
    ------
    CallError
        When it is.
    """
    place: str | None = None
    while True:
        answer = ask(**({token: place} if place else {}))
        if not isinstance(answer.get(key), list):
            raise CallError(f"{action} answered without its list of {key}")
        yield answer[key]
        before, place = place, answer.get(token)
        if not place:
            return
        if place == before:
            raise CallError(f"{action} gave the same page twice")


def one_line(text: object) -> str:
    """A text from outside on one line, and not overlong."""
    return " ".join(str(text).split())[:500]


def in_words(error: Exception, action: str, resource: str, clean: Callable[[object], str] = one_line) -> CallError:
    """Say what a failed call means: denied, no or old credentials, no region, throttled, no answer.

    `clean` is what each text of AWS's goes through before it is told.
    """
    from botocore import exceptions as aws

    if isinstance(error, aws.ClientError):
        return _refusal(*_said(error, clean), action, resource)
    if isinstance(error, aws.NoRegionError):
        return CallError("no AWS region is configured: give --region, or set AWS_DEFAULT_REGION")
    if isinstance(error, (aws.NoCredentialsError, aws.PartialCredentialsError, aws.CredentialRetrievalError)):
        return CredentialsError(f"{action} needs AWS credentials, and there are none: {clean(error)}")
    if isinstance(error, (aws.EndpointConnectionError, aws.ConnectTimeoutError, aws.ProxyConnectionError)):
        name = NAMES.get(action.partition(":")[0], "AWS")
        return CallError(f"{action}: {name} cannot be reached (in a VPC it needs an endpoint): {clean(error)}")
    return CallError(f"{action} failed: {clean(error) or repr(error)}")


def gone_in(error: Exception) -> str | None:
    """AWS's words when it refused because what was asked for is gone, or going; None when it says no such thing."""
    from botocore import exceptions as aws

    if not isinstance(error, aws.ClientError):
        return None
    code, message = _said(error, one_line)
    gone = (
        code == "ResourceNotFound"
        or (code == "ValidationException" and any(words in message for words in GONE_WORDS))
        or (code == "ResourceInUse" and "Deleting" in message)
    )
    return _both(code, message) if gone else None


def _said(error: Any, clean: Callable[[object], str]) -> tuple[str, str]:
    """Code and message of a refusal."""
    found = error.response.get("Error", {})
    return str(found.get("Code", "")), clean(found.get("Message", ""))


def _both(code: str, message: str) -> str:
    return f"{code}: {message}" if message else code


def _refusal(code: str, message: str, action: str, resource: str) -> CallError:
    said = _both(code, message)
    if code in DENIED:
        return DeniedError(f"permission {action} on {resource} is missing ({said})")
    if code in CREDENTIALS:
        # without the message, which for a wrong signature quotes the request with its session token
        return CredentialsError(f"{action}: the AWS credentials are not valid any more ({code})")
    if "hrottl" in code or code in TOO_MANY:
        return CallError(f"{action} is throttled ({said})")
    return CallError(f"{action} was refused ({said})")
