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
    """One app: until when it was used, and who is busy on it."""

    used: datetime
    busy: set[str] = field(default_factory=set)

    def gap(self, at: datetime, ended: bool) -> list[Gap]:
        """The gap that ends at an instant, if there is one."""
        seconds = 0.0 if self.busy else (at - self.used).total_seconds()
        return [Gap(seconds, ended)] if seconds > 0 else []


def idle_gaps(events: Iterable[Event], until: datetime | None = None) -> list[Gap]:
    """All idle gaps up to `until` (default: the last event); those that nobody came back from are open."""
    ordered = sorted(events, key=lambda each: each.at)
    end = until if until is not None or not ordered else ordered[-1].at
    past = [each for each in ordered if end is not None and each.at <= end]
    history = _History(any(each.kind is Kind.APP and each.identity for each in past))
    for event in past:
        history.apply(event)
    if end is not None:
        for app in history.apps.values():
            history.gaps += app.gap(end, ended=False)
    return history.gaps


@dataclass(slots=True)
class _History:
    """What there is, and the gaps so far."""

    has_apps: bool
    apps: dict[str, _App] = field(default_factory=dict)
    gaps: list[Gap] = field(default_factory=list)
    _homes: dict[str, str] = field(default_factory=dict)

    def apply(self, event: Event) -> None:
        """Take over one event."""
        identity = event.identity
        if event.kind is Kind.APP and identity is not None and event.event is EventType.ENDED:
            app = self.apps.pop(identity, None)
            self.gaps += [] if app is None else app.gap(event.at, ended=False)
            return
        if event.app is not None and identity is not None:
            self._homes[identity] = event.app
        for app in self._apps_of(event):
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
        self.gaps += app.gap(event.at, ended=True)
        if event.event in (EventType.BUSY, EventType.WORKING):
            app.busy.add(who)
        elif event.event in (EventType.IDLE, EventType.RESTING, EventType.ENDED, EventType.STARTED):
            app.busy.discard(who)
        app.used = max(app.used, event.at, event.until or event.at)
