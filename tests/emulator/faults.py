"""What can go wrong on command: error answers, silence, cut connections, spoilt bodies, and a rate limit."""

from __future__ import annotations

import enum
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


class ServiceError(Exception):
    """An answer that is an error: its code, its words and its HTTP status."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code, self.message, self.status = code, message, status


class Unlawful(ServiceError):
    """A request or an answer that cannot be; the emulator keeps a record of it."""

    def __init__(self, message: str, code: str = "ValidationException", status: int = 400) -> None:
        super().__init__(code, message, status)


class Fault(enum.Enum):
    """One way in which a call fails. EMPTY and TRUNCATED do the work and spoil the answer; all others do nothing."""

    THROTTLED = "throttled"
    SERVER_ERROR = "server error"
    UNAVAILABLE = "unavailable"
    HANG = "hang"
    DROP = "drop"
    ACCESS_DENIED = "access denied"
    EXPIRED_TOKEN = "expired token"
    NOT_FOUND = "not found"
    ALREADY_DELETED = "already deleted"
    AUTO_DELETED = "automatically deleted"
    IN_USE = "in use"
    EMPTY = "empty"
    TRUNCATED = "truncated"
    VALIDATION = "validation"


#: Fault -> error code, HTTP status, and words in which {who}, {operation} and {what} stand for themselves.
ERRORS = {
    Fault.THROTTLED: ("ThrottlingException", 400, "Rate exceeded"),
    Fault.SERVER_ERROR: ("InternalFailure", 500, "The service failed on this request."),
    Fault.UNAVAILABLE: ("ServiceUnavailable", 503, "The service is not there for a moment."),
    Fault.ACCESS_DENIED: (
        "AccessDeniedException",
        400,
        "User: {who} is not authorized to perform: sagemaker:{operation} on resource: {what} "
        "because no identity-based policy allows the sagemaker:{operation} action",
    ),
    Fault.EXPIRED_TOKEN: ("ExpiredTokenException", 400, "The security token included in the request is expired"),
    Fault.NOT_FOUND: ("ResourceNotFound", 400, "{what} does not exist."),
    Fault.ALREADY_DELETED: ("ValidationException", 400, "{what} has already been deleted"),
    Fault.AUTO_DELETED: ("ValidationException", 400, "{what} previously failed and was automatically deleted"),
    Fault.IN_USE: ("ResourceInUse", 400, "{what} is in use."),
    Fault.VALIDATION: ("ValidationException", 400, "1 validation error detected: this request is not wanted."),
}


@dataclass(eq=False)
class Armed:
    """A fault that waits for its calls; `times` is None for every call until it is healed."""

    operation: str | None
    fault: Fault
    times: int | None
    app: str | None
    seconds: float | None
    healed: threading.Event = field(default_factory=threading.Event)

    def hits(self, operation: str, parameters: dict[str, Any]) -> bool:
        """Whether it has a call left, and this is one it waits for."""
        for_app = self.app is None or self.app == parameters.get("AppName")
        return self.times != 0 and self.operation in (None, operation) and for_app


class Faults:
    """The faults in force, oldest first; safe to change while calls come in."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._armed: list[Armed] = []

    def arm(self, armed: Armed) -> None:
        if armed.times is not None and armed.times < 1:
            raise ValueError(f"times is {armed.times}; give 1 or more, or None for every call until healed")
        with self._lock:
            self._armed.append(armed)

    def heal(self, operation: str | None = None) -> None:
        """End the faults armed for this operation, or all; whoever hangs in one goes on."""
        with self._lock:
            for armed in [each for each in self._armed if operation in (None, each.operation)]:
                self._armed.remove(armed)
                armed.healed.set()

    def take(self, operation: str, parameters: dict[str, Any]) -> Armed | None:
        """The fault that meets this call, used up by one; the oldest that fits wins."""
        with self._lock:
            found = next((each for each in self._armed if each.hits(operation, parameters)), None)
            if found is not None and found.times is not None:
                found.times -= 1
            return found


class Bucket:
    """`rate` calls per second, and as many (at least one) at once after a rest; a rate of None has no limit."""

    def __init__(self, rate: float | None, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.rate = rate
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._size = self._level = max(1.0, rate or 0.0)
        self._at = monotonic()

    def take(self) -> bool:
        """Whether one more call may pass now."""
        if self.rate is None:
            return True
        with self._lock:
            now = self._monotonic()
            self._level = min(self._size, self._level + (now - self._at) * self.rate)
            self._at = now
            passes = self._level >= 1
            self._level -= passes
            return passes
