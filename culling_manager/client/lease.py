"""A lease on a server, held for as long as something runs: begun, renewed, and found again when the server restarts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from ..engine.clock import epoch, monotonic, utcnow
from ..errors import ErrorCode
from ..report import moment
from .http import Client
from .servers import Failure

#: How often a lease is renewed (seconds), which is for five minutes each time.
RENEW_SECONDS = 60.0
#: How soon it is tried again (seconds) when that has failed, for a server is being restarted, say.
RETRY_SECONDS = 2.0
#: For so long (seconds) a failure is nobody's concern.
QUIET_SECONDS = 60.0
#: How long (seconds) to wait for the end at a time: a clock that was set, or a machine that slept, shows so soon.
STEP_SECONDS = 5.0


class Lease:
    """One lease: `find` gives the server, as it is now; `wanted` is what to keep, as HTTP has it, and for how long."""

    def __init__(
        self, find: Callable[[], Client], wanted: Mapping[str, Any], tell: Callable[[str], None], most: object = None
    ) -> None:
        self._find, self._wanted, self._tell, self._most = find, dict(wanted), tell, most
        self._client: Client | None = None
        self._name: str | None = None
        self._ends: datetime | None = None
        self._wall = self._mono = 0.0
        self._wait, self._held_at, self._told = 0.0, monotonic(), ""

    def begin(self) -> None:
        """Begin it. Raises Failure."""
        self._client = self._client or self._find()
        most = {} if self._most is None else {"duration": self._most}
        found = self._client.post("keep-alive", {"lease": True, **self._wanted, **most})
        ends = moment(str(found["ends"]))
        self._ends = ends if self._ends is None else min(ends, self._ends)
        self._name, self._most = str(found["lease"]), None  # what it may last in all is known by now
        self._renewed()

    def hold(self, ended: Callable[[float], bool]) -> None:
        """Renew it until `ended`, which waits for that for some seconds, says so; and end it then."""
        while not ended(min(STEP_SECONDS, max(0.0, self._wait - (monotonic() - self._mono)))):
            if self._ends is not None and utcnow() >= self._ends:
                self._tell("it has been kept for as long as it may be, and runs on")
                break
            if self._is_time() and self._is_over():
                return
        self.end()

    def end(self) -> None:
        """End it; what cannot be ended ends by itself within minutes."""
        if self._name is None or self._client is None:
            return
        name, self._name = self._name, None
        try:
            self._client.delete("keep-alive", lease=name)
        except Failure as failure:
            if failure.code is not ErrorCode.NOT_FOUND:
                self._tell(f"the keep-alive could not be ended, and ends within five minutes: {failure}")

    def _is_time(self) -> bool:
        """Whether to renew it: also when the wall clock was set meanwhile, or the machine has slept."""
        return monotonic() - self._mono >= self._wait or not 0 <= epoch() - self._wall < self._wait + STEP_SECONDS

    def _is_over(self) -> bool:
        """Renew it, and try again before long when that fails; whether it cannot be renewed any more."""
        try:
            self._renew()
        except Failure as failure:
            if failure.code in (ErrorCode.LEASE_ENDED, ErrorCode.NOT_FOUND):
                self._tell(f"it is no longer kept, and runs on: {failure}")
                return True
            self._failed(failure)
        return False

    def _renew(self) -> None:
        if self._client is None:
            self._client = self._find()
        if self._name is None:
            self.begin()
            return
        try:
            self._client.post("keep-alive", {"lease": self._name})
        except Failure as failure:
            if failure.code is not ErrorCode.NOT_FOUND:
                raise
            self.begin()  # the server is a new one, or the machine has slept
            return
        self._renewed()

    def _failed(self, failure: Failure) -> None:
        """Look for the server anew, which may be another one by now; what lasts is told once."""
        self._client = None
        self._again(RETRY_SECONDS)
        if monotonic() - self._held_at >= QUIET_SECONDS + RENEW_SECONDS and str(failure) != self._told:
            self._told = str(failure)
            self._tell(f"it may not be kept, for its server cannot be asked: {failure}")

    def _renewed(self) -> None:
        self._held_at, self._told = monotonic(), ""
        self._again(RENEW_SECONDS)

    def _again(self, seconds: float) -> None:
        self._wait, self._mono, self._wall = seconds, monotonic(), epoch()
