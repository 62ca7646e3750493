"""What would have been culled, had a recorded history been lived under another policy.

The rules are those of `decisions`, with the history's time as time: nothing is decided here. Something that is used
again after it would have been stopped counts as regretted, and from there on as started anew. A connection is no use:
an open tab comes and goes by itself.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from itertools import count

from ..decisions import (
    IN_SERVICE,
    Decision,
    Reason,
    decide_app,
    decide_kernel,
    decide_terminal,
    keeps_app,
    keeps_app_until,
)
from ..policy import CullingPolicy
from ..records import AppRecord, KernelRecord, Kind, TerminalRecord

#: A deadline has to be strictly in the past.
JUST_AFTER = timedelta(microseconds=1)

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
    UNSEEN = "unseen"


#: What may end that something keeps its app.
FREES = frozenset({EventType.IDLE, EventType.DISCONNECTED, EventType.ENDED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened; `app` is the id of the app that a kernel or terminal runs on, None where unknown.

    `idle_timeout` (seconds) is a kernelspec's own. Without an `identity` it happened to every app. From one that is
    `UNSEEN` on nobody knows, `until` an instant, whether it was used; that counts as use.
    """

    at: datetime
    kind: Kind
    identity: str | None
    event: EventType
    name: str = ""
    app: str | None = None
    idle_timeout: float | None = None
    until: datetime | None = None


@dataclass(slots=True, kw_only=True)
class Stop:
    """One thing that would have been stopped; `used_again` is when that would have been missed.

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What one policy would have done."""

    policy: CullingPolicy
    stops: tuple[Stop, ...]

    def of(self, kind: Kind) -> tuple[Stop, ...]:
        """The stops of one kind."""
        return tuple(each for each in self.stops if each.kind is kind)

    def given_back(self, kind: Kind) -> float:
        """Seconds in all for which things of one kind would not have run."""
        return sum(each.given_back for each in self.of(kind))

    @property
    def regretted(self) -> tuple[Stop, ...]:
        """Those that were used again."""
        return tuple(each for each in self.stops if each.used_again is not None)


@dataclass(slots=True, kw_only=True)
class _Thing:
    """One kernel, terminal or app as it would be now; `stop` is set while it would be stopped."""

    kind: Kind
    identity: str
    started_at: datetime
    last_activity: datetime
    name: str = ""
    app: str | None = None
    idle_timeout: float | None = None
    busy_since: datetime | None = None
    ran_until: datetime | None = None
    run_seconds: float = 0.0
    connections: int = 0
    disconnected_at: datetime | None = None
    kept_until: datetime | None = None
    stop: Stop | None = None
    look: int | None = None

    def note(self, event: Event) -> None:
        """Take over what an event says of it besides."""
        self.name, self.app = event.name or self.name, event.app or self.app
        self.idle_timeout = self.idle_timeout if event.idle_timeout is None else event.idle_timeout

    def end_run(self, at: datetime) -> None:
        """It is not busy any more."""
        if self.busy_since is not None:
            self.ran_until, self.run_seconds = at, (at - self.busy_since).total_seconds()
        self.busy_since = None

    def kernel(self) -> KernelRecord:
        return KernelRecord(
            identity=self.identity,
            name=self.name,
            state="busy" if self.busy_since else "idle",
            last_activity=self.last_activity,
            connections=self.connections,
            disconnected_at=self.disconnected_at,
            kept_until=self.kept_until,
            started_at=self.started_at,
            busy_since=self.busy_since,
            ran_until=self.ran_until,
            run_seconds=self.run_seconds,
            idle_timeout=self.idle_timeout,
        )

    def terminal(self) -> TerminalRecord:
        return TerminalRecord(identity=self.identity, last_activity=self.last_activity, kept_until=self.kept_until)


def simulate(events: Iterable[Event], policy: CullingPolicy, until: datetime | None = None) -> Outlook:
    """Live a history under a policy, up to and including `until` (default: the last event)."""
    ordered = sorted(events, key=lambda each: each.at)
    end = until if until is not None or not ordered else ordered[-1].at
    world = _World(policy)
    for event in ordered:
        if end is not None and event.at <= end:
            world.pass_time(event.at)
            world.apply(event)
    if end is not None:
        world.pass_time(end)
        world.close(end)
    return Outlook(policy=policy, stops=tuple(world.stops))


@dataclass(slots=True)
class _World:
    """Everything that there is, and when each is to be looked at next: kernels and terminals before apps."""

    policy: CullingPolicy
    things: dict[Key, _Thing] = field(default_factory=dict)
    apps: dict[str, _Thing] = field(default_factory=dict)
    stops: list[Stop] = field(default_factory=list)
    _queue: list[tuple[datetime, bool, int, Key]] = field(default_factory=list)
    _looks: Iterator[int] = field(default_factory=count)

    def pass_time(self, to: datetime) -> None:
        """Cull whatever is due before `to`; what happens at that very instant comes first."""
        while self._queue and self._queue[0][0] < to:
            at, _, look, key = heapq.heappop(self._queue)
            thing = self.things.get(key)
            if thing is not None and thing.look == look:
                self._look(thing, at)

    def close(self, end: datetime) -> None:
        """The history is over: whatever is stopped stays so until its end."""
        for thing in self.things.values():
            if thing.stop is not None:
                thing.stop.given_back = (end - thing.stop.at).total_seconds()

    # -- what happened -------------------------------------------------------------------------------

    def apply(self, event: Event) -> None:
        """Take over one event; what is first heard of, it was started then."""
        if event.identity is None:
            for app in list(self.apps.values()):
                self._use(app, event.at)
            return
        key, at = (event.kind, event.identity), event.at
        if key not in self.things:
            if event.event is EventType.ENDED:
                return
            self._add(_Thing(kind=event.kind, identity=event.identity, started_at=at, last_activity=at))
        thing = self.things[key]
        thing.note(event)
        self._happen(thing, event)
        if event.event in FREES:
            for app in self._apps_of(thing):
                self._look(app, at)
        # activity alone moves a deadline that is known only further away: time enough to see that then
        if key in self.things and not (event.event is EventType.ACTIVITY and thing.look is not None):
            self._look(thing, at)

    def _add(self, thing: _Thing) -> None:
        self.things[thing.kind, thing.identity] = thing
        if thing.kind is Kind.APP:
            self.apps[thing.identity] = thing

    def _happen(self, thing: _Thing, event: Event) -> None:
        at = event.at
        match event.event:
            case EventType.STARTED:
                self._use(thing, at, missed=False)
            case EventType.ACTIVITY:
                self._use(thing, at)
            case EventType.BUSY:
                self._use(thing, at)
                thing.busy_since = thing.busy_since or at
            case EventType.IDLE:
                if thing.stop is None or thing.busy_since is not None:  # it would have been stopped at work
                    self._use(thing, at)
                thing.end_run(at)
            case EventType.CONNECTED:
                thing.connections += 1
            case EventType.DISCONNECTED:
                thing.connections = max(0, thing.connections - 1)
                thing.disconnected_at = None if thing.connections else at
            case EventType.UNSEEN:
                thing.kept_until = event.until
            case EventType.ENDED:
                self._end(thing, at)

    def _use(self, thing: _Thing, at: datetime, missed: bool = True) -> None:
        """It was used: one that would be stopped is missed, and runs again; so do its apps."""
        stop, thing.last_activity = thing.stop, at
        if stop is not None:
            stop.given_back, stop.used_again = (at - stop.at).total_seconds(), at if missed else None
            thing.stop, thing.busy_since, thing.started_at = None, None, at
            self._look(thing, at)
        for app in self._apps_of(thing):
            self._use(app, at)

    def _end(self, thing: _Thing, at: datetime) -> None:
        """It really ended; somebody who ends a kernel uses its app until then."""
        if thing.stop is not None:
            thing.stop.given_back = (at - thing.stop.at).total_seconds()
        else:
            for app in self._apps_of(thing):
                self._use(app, at)
        del self.things[thing.kind, thing.identity]
        if thing.kind is Kind.APP:
            del self.apps[thing.identity]

    # -- deciding ------------------------------------------------------------------------------------

    def _look(self, thing: _Thing, now: datetime) -> None:
        """Decide on it, stop it if it is due, and know when to look again."""
        thing.look = None
        if thing.stop is not None:
            return
        decision = self._decide(thing, now)
        if decision.cull:
            self._stop(thing, decision, now)
        elif decision.due_at is not None and decision.due_at >= now:
            thing.look = next(self._looks)
            key = (thing.kind, thing.identity)
            heapq.heappush(self._queue, (decision.due_at + JUST_AFTER, thing.kind is Kind.APP, thing.look, key))

    def _decide(self, thing: _Thing, now: datetime) -> Decision:
        if thing.kind is Kind.KERNEL:
            return decide_kernel(thing.kernel(), self.policy, now)
        if thing.kind is Kind.TERMINAL:
            return decide_terminal(thing.terminal(), self.policy, now)
        return decide_app(self._app(thing, now), self.policy, now)

    def _app(self, app: _Thing, now: datetime) -> AppRecord:
        """An app as `appsource` reads it: with everything that lives on it, or may. One that keeps it is enough."""
        keeper: str | None = None
        until: datetime | None = None
        for each in self.things.values():
            if each.kind is Kind.APP or each.stop is not None or each.app not in (None, app.identity):
                continue
            decision = self._decide(each, now)
            if keeps_app(decision):
                keeper = f"{each.kind.value} {each.identity}"
                break
            until = max(filter(None, (until, keeps_app_until(decision))), default=None)
        return AppRecord(
            identity=app.identity,
            name=app.name,
            state=IN_SERVICE,
            created_at=app.started_at,
            watched_since=app.started_at,
            last_activity=app.last_activity,
            asked_until=app.kept_until,
            kept_by=keeper,
            kept_until=until,
        )

    def _apps_of(self, thing: _Thing) -> list[_Thing]:
        """The app that it runs on, or every one where that is not known: doubt keeps."""
        if thing.kind is Kind.APP:
            return []
        if thing.app is not None:
            return [self.apps[thing.app]] if thing.app in self.apps else []
        return list(self.apps.values())

    def _stop(self, thing: _Thing, decision: Decision, now: datetime) -> None:
        thing.stop = Stop(
            kind=thing.kind,
            identity=thing.identity,
            name=thing.name,
            at=now,
            reason=decision.reason,
            idle_seconds=decision.idle_seconds,
        )
        self.stops.append(thing.stop)
        for app in self._apps_of(thing):
            if thing.busy_since is not None and decision.reason is not Reason.IDLE:
                app.last_activity = max(app.last_activity, now)
            self._look(app, now)
