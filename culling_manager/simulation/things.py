"""What a simulated world is made of: what happens in it, the things that it happens to, and stops of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any

from ..decisions import Reason
from ..records import KernelRecord, Kind, TerminalRecord
from ..rules.run import Run

Key = tuple[Kind, str]


class EventType(Enum):
    """What can happen to a kernel, terminal or app."""

    STARTED = "started"
    BUSY = "busy"
    IDLE = "idle"
    ACTIVITY = "activity"
    CONNECTED = "connected"
    DISCONNECTED = "disconnected"
    ENDED = "ended"
    WORKING = "working"
    RESTING = "resting"
    UNSEEN = "unseen"


#: What may end that something keeps its app.
FREES = frozenset({EventType.IDLE, EventType.RESTING, EventType.DISCONNECTED, EventType.ENDED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened; `app` is the id of the app that a kernel or terminal runs on, None where unknown.

    `idle_timeout` (seconds) is a kernelspec's own, `instance_type` that of what it runs on. Without an `identity` it
    happened to every app. What is `WORKING` does what only an activity signal sees, until it is `RESTING`. From one
    that is `UNSEEN` on nobody knows, `until` an instant, whether it was used; that counts as use.
    """

    at: datetime
    kind: Kind
    identity: str | None
    event: EventType
    name: str = ""
    app: str | None = None
    idle_timeout: float | None = None
    until: datetime | None = None
    instance_type: str | None = None


@dataclass(slots=True, kw_only=True)
class Stop:
    """One thing that would have been stopped; `used_again` is when that would have been missed.

    `owner` says in whose history it is, where there are several.

    `given_back` is the time (seconds) for which it would not have run: until it was used again, or ended, or until the
    end of the history.
    """

    kind: Kind
    identity: str
    name: str
    at: datetime
    reason: Reason
    idle_seconds: float | None
    used_again: datetime | None = None
    given_back: float = 0.0
    owner: str = ""


@dataclass(slots=True, kw_only=True)
class Thing:
    """One kernel, terminal or app as it would be now; `stop` is set while it would be stopped."""

    kind: Kind
    identity: str
    started_at: datetime
    last_activity: datetime
    name: str = ""
    app: str | None = None
    idle_timeout: float | None = None
    run: Run = field(default_factory=Run)
    connections: int = 0
    disconnected_at: datetime | None = None
    kept_until: datetime | None = None
    working: bool = False
    used_at: datetime | None = None
    stop: Stop | None = None
    look: int | None = None
    instance_type: str | None = None

    def note(self, event: Event) -> None:
        """Take over what an event says of it besides."""
        self.name, self.app = event.name or self.name, event.app or self.app
        self.idle_timeout = self.idle_timeout if event.idle_timeout is None else event.idle_timeout
        self.instance_type = event.instance_type or self.instance_type

    def started_anew(self, at: datetime) -> None:
        """It runs again after it had been stopped: another one, of which nothing is known."""
        self.stop, self.started_at, self.working = None, at, False
        self.run.forget()

    def use(self, now: datetime) -> dict[str, Any]:
        """What an activity signal would say of it."""
        return {"used_by": "it works", "used_at": now} if self.working else {"used_at": self.used_at}

    def kernel(self, now: datetime, instance_type: str | None = None) -> KernelRecord:
        """A kernel as the server would read it; `instance_type` is that of its app, where it does not tell its own."""
        return KernelRecord(
            identity=self.identity,
            name=self.name,
            state="busy" if self.run.busy_since else "idle",
            last_activity=self.last_activity,
            connections=self.connections,
            disconnected_at=self.disconnected_at,
            kept_until=self.kept_until,
            started_at=self.started_at,
            busy_since=self.run.busy_since,
            ran_until=self.run.ran_until,
            run_seconds=self.run.run_seconds,
            idle_timeout=self.idle_timeout,
            instance_type=self.instance_type or instance_type,
            **self.use(now),
        )

    def terminal(self, now: datetime) -> TerminalRecord:
        """A terminal as the server would read it."""
        known = {"last_activity": self.last_activity, "kept_until": self.kept_until, **self.use(now)}
        return TerminalRecord(identity=self.identity, **known)
