"""One day of a log (UTC) as one small document; a month is made of its days, and two halves of a day are one.

What is kept is what `stops` needs, so that a month of a large fleet is read in seconds and its log only once.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta, timezone
from hashlib import blake2b
from typing import Any

from ..errors import ReadError
from .lines import APP_MARKER, read_app, read_beat
from .runs import App, Event, Run, Runs, app_of
from .times import LEAST_GAP

#: The form of the documents; one of another form is made anew.
FORM = 1
DAY_SECONDS = 86_400.0
#: So many days before the window are read, so that stops from before it count on; older ones do not.
DAYS_BEFORE = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """From when (inclusive) to when (exclusive), in seconds since 1970."""

    begin: float
    end: float

    def overlap(self, begin: float, end: float) -> float:
        """Seconds from `begin` to `end` that are within."""
        return max(0.0, min(end, self.end) - max(begin, self.begin))

    def has(self, at: float) -> bool:
        """Whether an instant is within."""
        return self.begin <= at < self.end

    def dates(self) -> Iterator[date]:
        """Every day (UTC) of which some is within."""
        day = datetime.fromtimestamp(self.begin, timezone.utc).date()
        while midnight(day) < self.end:
            yield day
            day += timedelta(days=1)


def midnight(day: date) -> float:
    """When a day begins (UTC)."""
    return datetime(day.year, day.month, day.day, tzinfo=timezone.utc).timestamp()


@dataclass(slots=True)
class Log:
    """A log, or a part of one: the runs of each day, and from when to when it reaches."""

    window: Window
    days: dict[int, Runs] = field(default_factory=dict)
    first: float | None = None
    last: float | None = None
    odd: int = 0
    _beats: set[bytes] = field(default_factory=set)

    def add(self, event: Event, times: bool = True) -> None:
        """Take over one event; the same again changes nothing. Without `times` counters tell of a heartbeat's."""
        self.first = event.logged if self.first is None else min(self.first, event.logged)
        self.last = event.logged if self.last is None else max(self.last, event.logged)
        day = self.days.setdefault(int(event.logged // DAY_SECONDS), Runs())
        if APP_MARKER in event.message:
            line = read_app(event.message)
            if line is None:
                self.odd += 1
            else:
                day.add_line(event, line)
        elif (beat := read_beat(event.message)) is not None:
            told = "\n".join([*app_of(event.stream), str(event.logged), event.message]).encode("utf-8", "replace")
            mark = blake2b(told, digest_size=10).digest()
            counts = self.window.has(event.logged) and mark not in self._beats
            day.add_beat(event, beat if times else replace(beat, seconds={}), counts)
            self._beats.add(mark)

    def add_counter(
        self,
        stream: str,
        run: str | None,
        first: float,
        last: float,
        *,
        span: float,
        kept: Mapping[str, float],
        used: float | None,
    ) -> None:
        """Take over what the heartbeats of one run, from the `first` to the `last` of a day, come to."""
        self.first = first if self.first is None else min(self.first, first)
        self.last = last if self.last is None else max(self.last, last)
        self.days.setdefault(int(first // DAY_SECONDS), Runs()).add_counter(stream, run, first, last, span, kept, used)

    def runs(self) -> Runs:
        """All days together; they are used up by it."""
        found = Runs()
        for number in sorted(self.days):
            found.merge(capped(self.days.pop(number)))
        return found


def capped(day: Runs) -> Runs:
    """A day in which no app was kept for more than its 24 hours, and no run for longer than it was there."""
    for runs in day.known.values():
        left = DAY_SECONDS
        for name in sorted(runs):
            run = runs[name]
            most = min(left, run.end - run.begin)
            total = sum(run.kept.values())
            if total > most:
                run.kept = {reason: each * most / total for reason, each in run.kept.items()}
            left -= min(total, most)
    return day


def within_days(runs: Iterable[Run], window: Window) -> list[tuple[Run, list[float]]]:
    """The idle gaps (seconds) that the runs of one app told of: at most 24 hours for each day on which it was there.

    The longest are cut first, whatever a forged line says.
    """
    told = [(run, run.gaps) for run in runs]
    if sum(sum(gaps) for _, gaps in told) <= DAY_SECONDS:
        return told
    spans = [(max(run.first, window.begin), min(run.end, window.end)) for run, _ in told]
    days = {day for first, end in spans for day in range(int(first // DAY_SECONDS), int(end // DAY_SECONDS) + 1)}
    left = len(days) * DAY_SECONDS
    kept: list[list[float]] = [[] for _ in told]
    for gap, place in sorted((gap, place) for place, (_, gaps) in enumerate(told) for gap in gaps):
        if left >= LEAST_GAP:
            kept[place].append(min(gap, left))
            left -= min(gap, left)
    return [(run, gaps) for (run, _), gaps in zip(told, kept, strict=True)]


def as_json(day: Runs, of: date) -> dict[str, Any]:
    """The document of a day."""
    apps = [[*app, {name: run.as_json() for name, run in runs.items()}] for app, runs in day.known.items()]
    return {"form": FORM, "date": of.isoformat(), "apps": apps}


def from_json(found: Any, where: str) -> Runs:
    """What `as_json` wrote.

    Raises
    ------
    ReadError
        When it is not that.
    """
    runs = Runs()
    try:
        if found["form"] != FORM:
            raise ReadError(f"{where} has form {found['form']}, not {FORM}: make it anew from the log")
        for *names, of_app in found["apps"]:
            runs.known[App(*names)] = {name: Run.from_json(each) for name, each in of_app.items()}
    except (KeyError, TypeError, ValueError) as error:
        raise ReadError(f"{where} is no document of a day: {error!r}") from error
    return runs


def from_text(text: str | bytes, where: str) -> Runs:
    """The same from its text. Raises `ReadError`."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ReadError(f"{where} is no document of a day: {error}") from error
    return from_json(found, where)


def together(days: Iterable[Runs]) -> Runs:
    """All days together."""
    found = Runs()
    for day in days:
        found.merge(capped(day))
    return found
