"""What a log tells of each run of each app, gathered so that order, doubles and parts make no difference.

A run is what one start of an app begins: a server that is restarted within it goes on with it. All times are seconds
since 1970 in UTC; names are in lower case, for log streams write them either way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from sys import intern
from typing import Any, NamedTuple

from .lines import AppLine, Beat

#: The type of an app that speaks for the billed apps of its user; every other speaks of itself alone.
SPEAKER = "jupyterserver"
#: An event that AWS received later than this (seconds) was sent late, or has the time of a slow clock.
LATE_SECONDS = 300.0
#: The instance type of a run whose lines contradict each other: it has no price.
DISPUTED = "?"


class App(NamedTuple):
    """Which app: domain, owner (a space or a user profile), type and name, in lower case."""

    domain: str
    owner: str
    app_type: str
    name: str


class Said(NamedTuple):
    """One line that began or proved a stop: when the log got it, when at the latest it was, since when it was idle."""

    logged: float
    at: float
    used: float
    reason: str


@dataclass(slots=True)
class Run:
    """One run of an app, from the first to the last thing that is known of it; each field is a minimum or a maximum.

    `begin` is what its lines claim, `first` the earliest line itself, and `back` the earliest at which its start may
    have been. It is `witnessed` when more tells of it than its own end. Counters are of the time for which they were
    asked.
    """

    begin: float
    end: float
    back: float
    first: float
    instance_type: str | None = None
    witnessed: bool = False
    accepted: Said | None = None
    deleting: Said | None = None
    refused: float = 0.0
    beat: tuple[float, float] | None = None
    kept: dict[str, float] = field(default_factory=dict)
    gaps: list[float] = field(default_factory=list)

    def seen(self, begin: float, end: float, back: float, first: float) -> None:
        """It ran from `begin` to `end`."""
        self.begin, self.end = min(self.begin, begin), max(self.end, end)
        self.back, self.first = min(self.back, back), min(self.first, first)

    def on(self, instance_type: str | None) -> None:
        """It runs on this; two answers are none."""
        known = self.instance_type
        if instance_type is not None and known != instance_type:
            self.instance_type = instance_type if known is None else DISPUTED

    @property
    def latest(self) -> Said | None:
        """The last line that began or proved a stop; of two at once the proof."""
        accepted, deleting = self.accepted, self.deleting
        if accepted is None or deleting is None:
            return accepted or deleting
        return accepted if accepted.logged >= deleting.logged else deleting

    def merge(self, other: Run) -> None:
        """Add what another part of the log tells of it."""
        self.seen(other.begin, other.end, other.back, other.first)
        self.on(other.instance_type)
        self.witnessed = self.witnessed or other.witnessed
        self.accepted = max(filter(None, (self.accepted, other.accepted)), default=None)
        self.deleting = max(filter(None, (self.deleting, other.deleting)), default=None)
        self.beat = max(filter(None, (self.beat, other.beat)), default=None)
        self.refused = max(self.refused, other.refused)
        for reason, seconds in other.kept.items():
            self.kept[reason] = self.kept.get(reason, 0.0) + seconds
        self.gaps += other.gaps

    def as_json(self) -> list[Any]:
        """All of it, short: a deletion that was accepted later is not needed besides."""
        deleting = self.deleting if self.latest is self.deleting else None
        said = [None if each is None else list(each) for each in (self.accepted, deleting)]
        beat = None if self.beat is None else list(self.beat)
        seen = [self.begin, self.end, self.back, self.instance_type, self.witnessed]
        return [*seen, *said, self.refused, beat, self.kept, self.gaps, self.first]

    @classmethod
    def from_json(cls, found: list[Any]) -> Run:
        """What `as_json` wrote."""
        begin, end, back, instance_type, witnessed, accepted, deleting, refused, beat, kept, gaps, *first = found
        return cls(
            *(begin, end, back, first[0] if first else begin, instance_type and intern(instance_type), witnessed),
            _said(accepted),
            _said(deleting),
            refused,
            None if beat is None else (beat[0], beat[1]),
            kept,
            gaps,
        )


def _said(found: list[Any] | None) -> Said | None:
    """What `as_json` wrote of a line; texts that come again and again are kept once."""
    if found is None:
        return None
    logged, at, used, reason = found
    return Said(logged, at, used, intern(reason))


class Event(NamedTuple):
    """One log event: the stream, when the log has it (seconds), the message, and when AWS received it, if known."""

    stream: str
    logged: float
    message: str
    received: float | None = None

    def late(self) -> tuple[float, ...]:
        """When AWS received it, if that was so late that the clock of the stream may be slow."""
        return () if self.received is None or self.received - self.logged <= LATE_SECONDS else (self.received,)


class Runs:
    """All runs by app and run id."""

    def __init__(self) -> None:
        self.known: dict[App, dict[str, Run]] = {}

    def __iter__(self) -> Iterator[tuple[App, str, Run]]:
        return ((app, name, run) for app, runs in self.known.items() for name, run in runs.items())

    def run(self, app: App, name: str, begin: float, end: float, back: float, first: float) -> Run:
        """The run, seen from `begin` to `end`."""
        runs = self.known.setdefault(app, {})
        found = runs.get(name)
        if found is None:
            found = runs[name] = Run(begin, end, back, first)
        else:
            found.seen(begin, end, back, first)
        return found

    def add_line(self, event: Event, line: AppLine) -> None:
        """Take over a line about an app. One that says to have been idle proves that the app ran for so long."""
        app = app_of(event.stream, line)
        at, idle = line.at.timestamp(), line.idle_seconds or 0.0
        early = min([event.logged, at, *filter(None, [event.received])])
        late = max(event.logged, at, *event.late())
        run = self.run(app, line.run, event.logged - idle, event.logged, early - idle, event.logged)
        run.on(line.instance_type)
        run.witnessed = run.witnessed or line.event == "started"
        said = Said(event.logged, late, early - idle, line.reason or "unknown")
        if line.event == "refused":
            run.refused = max(run.refused, event.logged)
        elif line.event == "accepted" and not line.dry_run:
            run.accepted = max(said, run.accepted or said)
        elif line.event == "deleting" and not line.dry_run:
            run.deleting = max(said, run.deleting or said)

    def add_beat(self, event: Event, beat: Beat, counts: bool) -> None:
        """Take over a heartbeat; its times count where that was asked for. One without a run id stands for its day."""
        app = app_of(event.stream)
        name = beat.run or f"?{datetime.fromtimestamp(event.logged, timezone.utc):%Y-%m-%d}"
        logged = min(filter(None, (event.logged, event.received)))
        run = self.run(app, name, event.logged - beat.span, event.logged, logged - beat.span, event.logged)
        run.witnessed = True
        if beat.last_use is not None:
            last = (event.logged, beat.last_use.timestamp())
            run.beat = max(last, run.beat or last)
        if counts:
            for reason, seconds in beat.seconds.items():
                run.kept[reason] = run.kept.get(reason, 0.0) + seconds
            run.gaps += beat.gaps

    def add_counter(
        self,
        stream: str,
        run: str | None,
        first: float,
        last: float,
        span: float,
        kept: Mapping[str, float],
        used: float | None,
    ) -> None:
        """Take over what the heartbeats of one run of one stream come to; `span` is the longest of theirs."""
        app = app_of(stream)
        name = run or f"?{datetime.fromtimestamp(first, timezone.utc):%Y-%m-%d}"
        found = self.run(app, name, first - span, last, first - span, first)
        found.witnessed = True
        if used is not None:
            found.beat = max((last, used), found.beat or (last, used))
        for reason, seconds in kept.items():
            found.kept[reason] = found.kept.get(reason, 0.0) + seconds

    def without_times(self) -> Runs:
        """The same for a day that is not in the window: it tells who was there, and counts no time."""
        for _, _, run in self:
            run.kept, run.gaps = {}, []
        return self

    def merge(self, other: Runs) -> None:
        """Add what another part of the log tells."""
        for app, name, run in other:
            mine = self.known.setdefault(app, {})
            if name in mine:
                mine[name].merge(run)
            else:
                mine[name] = run


def app_of(stream: str, line: AppLine | None = None) -> App:
    """Which app a stream, or a line in it, is about; of others than itself only a speaker's line can tell."""
    parts = stream.lower().split("/")
    if len(parts) < 4:  # no stream of Studio: a notebook instance's, a pod's, a ledger's
        return App("", parts[0], line.app_type.lower(), line.app.lower()) if line else App("", parts[0], "", "")
    domain, owner, app_type, name = parts[:4]
    if line is None or app_type != SPEAKER:
        return App(domain, owner, app_type, name)
    return App(domain, owner, line.app_type.lower(), line.app.lower())
