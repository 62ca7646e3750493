"""Error codes by which AWS says what is wrong with who calls; standard library only, for Lambda too."""

from __future__ import annotations

#: A permission is missing.
DENIED = frozenset({"AccessDeniedException", "AccessDenied", "NotAuthorized", "UnauthorizedOperation"})
#: The credentials are not valid, or not any more.
CREDENTIALS = frozenset(
    {"ExpiredToken", "ExpiredTokenException", "UnrecognizedClientException", "InvalidClientTokenId"}
    | {"InvalidSignatureException", "RequestExpired", "MissingAuthenticationTokenException"}
)


def is_throttled(code: str) -> bool:
    """Whether an error code says that there were too many calls."""
    return "hrottl" in code or code in ("TooManyRequestsException", "RequestLimitExceeded", "LimitExceededException")
