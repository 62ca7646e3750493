"""The idle gaps of apps in a recorded history: from when nobody uses one until somebody does, whatever the policy is.

An app is used by whatever happens to it and to the kernels and terminals on it, and for as long as a kernel is busy. A
history without apps is that of one app, on which everything runs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from ..money.curve import Gap
from ..records import Kind
from .things import Event, EventType

#: What is no use: a tab comes and goes by itself.
NO_USE = frozenset({EventType.CONNECTED, EventType.DISCONNECTED})
#: The app of a history without apps.
SERVER = ""


@dataclass(slots=True)
class _App:
    """One app: until when it was used, who is busy on it, and what it runs on."""

    used: datetime
    busy: set[str] = field(default_factory=set)
    instance_type: str | None = None
    gaps: list[Gap] = field(default_factory=list)

    def gap(self, at: datetime, ended: bool) -> None:
        """A gap ends at an instant, if there is one."""
        seconds = 0.0 if self.busy else (at - self.used).total_seconds()
        if seconds > 0:
            self.gaps.append(Gap(seconds, ended))


def idle_gaps(events: Iterable[Event], until: datetime | None = None) -> list[Gap]:
    """All idle gaps up to `until` (default: the last event); those that nobody came back from are open."""
    return [each for gaps in gaps_by_type(events, until).values() for each in gaps]


def gaps_by_type(events: Iterable[Event], until: datetime | None = None) -> dict[str | None, list[Gap]]:
    """The same by instance type; None is where nobody knows it."""
    ordered = sorted(events, key=lambda each: each.at)
    end = until if until is not None or not ordered else ordered[-1].at
    past = [each for each in ordered if end is not None and each.at <= end]
    history = _History(any(each.kind is Kind.APP and each.identity for each in past))
    for event in past:
        history.apply(event)
    found: dict[str | None, list[Gap]] = {}
    for app in history.apps.values():
        if end is not None:
            app.gap(end, ended=False)
    for app in [*history.gone, *history.apps.values()]:
        if app.gaps:
            found.setdefault(app.instance_type, []).extend(app.gaps)
    return found


@dataclass(slots=True)
class _History:
    """What there is, and what there was."""

    has_apps: bool
    apps: dict[str, _App] = field(default_factory=dict)
    gone: list[_App] = field(default_factory=list)
    _homes: dict[str, str] = field(default_factory=dict)

    def apply(self, event: Event) -> None:
        """Take over one event."""
        identity = event.identity
        if event.kind is Kind.APP and identity is not None and event.event is EventType.ENDED:
            app = self.apps.pop(identity, None)
            if app is not None:
                app.instance_type = event.instance_type or app.instance_type
                app.gap(event.at, ended=False)
                self.gone.append(app)
            return
        if event.app is not None and identity is not None:
            self._homes[identity] = event.app
        surely = not self.has_apps or event.kind is Kind.APP or identity in self._homes
        for app in self._apps_of(event):
            if surely:
                app.instance_type = event.instance_type or app.instance_type
            self._use(app, event)

    def _apps_of(self, event: Event) -> list[_App]:
        """The app that it happened to or on; every one where that is not known."""
        if not self.has_apps:
            return [self._app(SERVER, event.at)]
        if event.kind is Kind.APP and event.identity is not None:
            return [self._app(event.identity, event.at)]
        home = self._homes.get(event.identity or "")
        if home is not None:
            return [self.apps[home]] if home in self.apps else []
        return list(self.apps.values())

    def _app(self, identity: str, at: datetime) -> _App:
        return self.apps.setdefault(identity, _App(at))

    def _use(self, app: _App, event: Event) -> None:
        """It was used, unless that was only a tab; a run keeps it in use to its end."""
        who = f"{event.kind.value} {event.identity}"
        if event.event in NO_USE:
            return
        app.gap(event.at, ended=True)
        if event.event in (EventType.BUSY, EventType.WORKING):
            app.busy.add(who)
        elif event.event in (EventType.IDLE, EventType.RESTING, EventType.ENDED, EventType.STARTED):
            app.busy.discard(who)
        app.used = max(app.used, event.at, event.until or event.at)
