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
from itertools import count

from ..decisions import (
    IN_SERVICE,
    Decision,
    Reason,
    decide,
    keeps_app,
    keeps_app_until,
)
from ..policy import CullingPolicy
from ..records import AppRecord, Kind
from ..rules.run import Run
from .things import FREES, Event, EventType, Key, Stop, Thing

#: A deadline has to be strictly in the past.
JUST_AFTER = timedelta(microseconds=1)


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
    things: dict[Key, Thing] = field(default_factory=dict)
    apps: dict[str, Thing] = field(default_factory=dict)
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
            run = Run(self.policy.long_run)
            self._add(Thing(kind=event.kind, identity=event.identity, started_at=at, last_activity=at, run=run))
        thing = self.things[key]
        known = thing.instance_type
        thing.note(event)
        self._happen(thing, event)
        if event.event in FREES:
            for app in self._apps_of(thing):
                self._look(app, at)
        # activity alone moves a deadline that is known only further away: time enough to see that then
        further = event.event is EventType.ACTIVITY and thing.instance_type == known
        if key in self.things and not (further and thing.look is not None):
            self._look(thing, at)

    def _add(self, thing: Thing) -> None:
        self.things[thing.kind, thing.identity] = thing
        if thing.kind is Kind.APP:
            self.apps[thing.identity] = thing

    def _happen(self, thing: Thing, event: Event) -> None:
        at = event.at
        match event.event:
            case EventType.STARTED:
                self._use(thing, at, missed=False)
            case EventType.ACTIVITY:
                self._use(thing, at)
            case EventType.BUSY:
                self._use(thing, at)
                thing.run.follow(True, at)
            case EventType.IDLE:
                if thing.stop is None or thing.run.busy_since is not None:  # it would have been stopped at work
                    self._use(thing, at)
                thing.run.follow(False, at)
            case EventType.WORKING:
                self._work(thing, at)
                thing.working = True
            case EventType.RESTING:
                if thing.stop is None or thing.working:  # it would have been stopped at work
                    self._work(thing, at)
                thing.working = False
            case EventType.CONNECTED:
                thing.connections += 1
            case EventType.DISCONNECTED:
                thing.connections = max(0, thing.connections - 1)
                thing.disconnected_at = None if thing.connections else at
            case EventType.UNSEEN:
                thing.kept_until = event.until
            case EventType.ENDED:
                self._end(thing, at)

    def _work(self, thing: Thing, at: datetime) -> None:
        """A signal sees it at work, and Jupyter does not: its last activity stays what it was; its apps are used."""
        last = thing.last_activity
        self._use(thing, at)
        thing.last_activity = last if thing.started_at <= last else at
        thing.used_at = at

    def _use(self, thing: Thing, at: datetime, missed: bool = True) -> None:
        """It was used: one that would be stopped is missed, and runs again; so do its apps."""
        stop, thing.last_activity = thing.stop, at
        if stop is not None:
            stop.given_back, stop.used_again = (at - stop.at).total_seconds(), at if missed else None
            thing.started_anew(at)
            self._look(thing, at)
        for app in self._apps_of(thing):
            self._use(app, at)

    def _end(self, thing: Thing, at: datetime) -> None:
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

    def _look(self, thing: Thing, now: datetime) -> None:
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

    def _decide(self, thing: Thing, now: datetime) -> Decision:
        if thing.kind is Kind.APP:
            return decide(self._app(thing, now), self.policy, now)
        if thing.kind is Kind.TERMINAL:
            return decide(thing.terminal(now), self.policy, now)
        app = self.apps.get(thing.app or "")
        return decide(thing.kernel(now, None if app is None else app.instance_type), self.policy, now)

    def _app(self, app: Thing, now: datetime) -> AppRecord:
        """An app as the server reads it: with everything that lives on it, or may. One that keeps it is enough."""
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
            kept_until=app.kept_until,
            kept_by=keeper,
            residents_until=until,
            warned_at=app.started_at,
            instance_type=app.instance_type,
            **app.use(now),
        )

    def _apps_of(self, thing: Thing) -> list[Thing]:
        """The app that it runs on, or every one where that is not known: doubt keeps."""
        if thing.kind is Kind.APP:
            return []
        if thing.app is not None:
            return [self.apps[thing.app]] if thing.app in self.apps else []
        return list(self.apps.values())

    def _stop(self, thing: Thing, decision: Decision, now: datetime) -> None:
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
            if (thing.working or thing.run.busy_since is not None) and decision.reason is not Reason.IDLE:
                app.last_activity = max(app.last_activity, now)
            self._look(app, now)
