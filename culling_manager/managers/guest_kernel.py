"""What we know of one kernel of another manager's: what its manager shows, joined with what was heard of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import zmq
from jupyter_client.session import Session
from jupyter_core.utils import ensure_async

from ..engine.clock import utcnow
from ..errors import RecordError
from ..records import KernelRecord, utc
from ..rules.proof import Answers
from ..rules.run import Run
from .ear import Ear, stream_to
from .local import local_pid
from .questions import all_free, asking

#: A kernel whose process is gone, or that is shown as dead, may be in the middle of a restart for so long (seconds).
DEAD_SECONDS = 10.0


class GuestKernel:
    """One kernel, since we know of it (`met_at`): before that it was in use, as far as anybody can tell.

    `info` says where it listens, and is None where that is not on this machine's network; then only its manager knows
    of its use. `version` counts what changes and no model shows. `record` is what was read of it last. `checked_at` is
    when it was last asked whether it still is busy. `unheard` means that it was at work when it was asked last whether
    it is, though it had not said so.
    """

    def __init__(self, kernel: Any, met_at: datetime, long_run: float) -> None:
        self.kernel, self.met_at = kernel, met_at
        self.run = Run(long_run)
        self.ear = Ear(self._news)
        self.info: dict[str, Any] | None = None
        self.version = 0
        self.alive, self.unheard = True, False
        self.connections: set[int] = set()
        self.disconnected_at: datetime | None = None
        self.person_at: datetime | None = None
        self.checked_at: datetime | None = None
        self.record: KernelRecord | None = None
        self._noted_at = met_at
        self._pid = local_pid(kernel)
        self._dead_since: datetime | None = None
        self._done_at: datetime | None = None
        self._listen()

    def _listen(self) -> None:
        """Listen to it, as soon as it has a process here and so its ports."""
        if self.info is not None or not self._pid:
            return
        info = dict(self.kernel.get_connection_info())
        if info.get("iopub_port"):
            self.ear.listen(info)
            self.info = info

    def _news(self) -> None:
        self.run.follow(bool(self.ear.working), utcnow())
        self.version += 1

    def note(self, at: datetime) -> None:
        """Count something as use."""
        self._noted_at = max(at, self._noted_at)
        self.version += 1

    def last_activity(self, model: Mapping[str, Any]) -> datetime:
        """When it was used last: what its manager says of that counts unless we heard that it was no use."""
        found = [self._noted_at, *([] if self.ear.used_at is None else [self.ear.used_at])]
        told = _told(model)
        if told is not None and (self.info is None or not self.ear.explains(told)):
            found.append(told)
        return max(found)

    def state(self, model: Mapping[str, Any]) -> str | None:
        """Its state: what its manager says, or 'busy' while we hear it work. One just now dead may be restarting.

        Of one that has shown that it is done 'busy' is not believed until it was used again.
        """
        shown = model.get("execution_state")
        state = str(getattr(shown, "value", shown)) if shown else None
        if state == "dead" and self.alive:
            return "restarting"
        if state == "busy" and not self.ear.working and self._done_at is not None:
            return "idle" if self.last_activity(model) <= self._done_at else "busy"
        return "busy" if self.ear.working and state != "busy" and self.alive else state

    async def prove(self) -> bool:
        """Ask one here that says 'busy' whether it still is; True when it is idle from now on."""
        self.checked_at = utcnow()
        self.version += 1
        if self.info is None or not (await self._answers(self.info)).free:
            return False
        self.ear.started_anew()
        self._done_at = now = utcnow()
        self.run.follow(False, now)
        self.note(now)
        return True

    async def _answers(self, info: Mapping[str, Any]) -> Answers:
        given, used = set(self.ear.working), self.ear.used_at
        session = Session(key=info["key"], signature_scheme=info["signature_scheme"], session=self.ear.asking)
        channels = (partial(stream_to, info, name, zmq.DEALER) for name in ("shell", "control"))
        with asking(session, *channels) as questions:
            main, threads = await all_free(questions)
        return Answers(main=main, threads=threads, heard=(given, used) != (self.ear.working, self.ear.used_at))

    def connected(self, model: Mapping[str, Any]) -> int:
        """How many are connected to it, as far as its manager or we know."""
        return max(int(model.get("connections") or 0), len(self.connections))

    async def look(self, model: Mapping[str, Any]) -> None:
        """See whether its process is there, and still the same."""
        pid = local_pid(self.kernel)
        if pid and pid != self._pid:
            if self._pid:
                self.ear.started_anew()
                self.checked_at = self._done_at = None
                self.note(utcnow())
            self._pid = pid
        self._listen()
        gone = model.get("execution_state") == "dead"
        if self.info is not None and self.kernel.ready.done() and not self.kernel.shutting_down:
            gone = gone or not await ensure_async(self.kernel.is_alive())
        now = utcnow()
        self._dead_since = (self._dead_since or now) if gone else None
        alive = self._dead_since is None or now - self._dead_since < timedelta(seconds=DEAD_SECONDS)
        if alive is not self.alive:
            self.alive = alive
            self.version += 1


def _told(model: Mapping[str, Any]) -> datetime | None:
    """The last activity that a model tells; None when it tells none.

    Raises
    ------
    RecordError
        When that is no time, or has no time zone.
    """
    text = model.get("last_activity")
    if text is None or isinstance(text, datetime):
        return utc(text, "last_activity")
    try:
        return utc(datetime.fromisoformat(str(text).replace("Z", "+00:00")), "last_activity")
    except ValueError as error:
        if isinstance(error, RecordError):
            raise
        raise RecordError(f"last_activity = {text!r} is not a time") from error
