"""The report as one JSON document: given back by bounds, wasted by reason, the curve of timeouts; hours and money.

Money stands beside hours only where a price is known, and says for which share of the hours it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from .curve import SOON, USUAL, Gaps
from .days import DAY_SECONDS, DAYS_BEFORE, Window, midnight, within_days
from .prices import Prices
from .runs import DISPUTED, App, Run, Runs
from .stops import Stop, find_stops
from .times import FREE, IN_USE, LEAST_GAP

UNKNOWN = "unknown"
#: A run is taken to be there still when its last heartbeat is not older than this (seconds), as in the fleet check.
FRESH_SECONDS = 7800.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the report is to be about, and what is known from elsewhere.

    `until` is up to when the log is known (seconds since 1970), which may be after the window; where it is before the
    window's end, nothing is counted from then on. `owners` and `native` are as in `find_stops`; `types` has instance
    types that the log does not tell. `soon` is in seconds.
    """

    window: Window
    until: float
    prices: Prices | None = None
    soon: float = SOON * 60
    restart_cost: float = 0.0
    timeouts: tuple[float, ...] = tuple(each * 60 for each in USUAL)
    by: frozenset[str] = frozenset({"type"})
    anonymous: bool = False
    owners: Mapping[tuple[str, str], str] = field(default_factory=dict)
    types: Mapping[App, str] = field(default_factory=dict)
    native: Mapping[tuple[str, str], float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Worth:
    """What a stop gave back within the window: seconds at least and at most, of `kind`, at `rate` an hour if known."""

    stop: Stop
    kind: str
    least: float
    most: float
    rate: float | None


class Counted:
    """Stops and gaps of one log, with what each of them is on and costs."""

    def __init__(self, runs: Runs, asked: Asked) -> None:
        self.asked, self.runs = asked, runs
        self.window = Window(begin=asked.window.begin, end=min(asked.window.end, asked.until))
        found = find_stops(runs, asked.until, asked.owners, asked.native)
        self.worths = [each for each in map(self._worth, found) if each.most > 0 or self.window.has(each.stop.at)]
        self.stops = [each.stop for each in self.worths]
        self._stopped = {(each.app, each.used) for each in found}

    def _worth(self, stop: Stop) -> Worth:
        kind = self.type_of(stop.app, stop.instance_type)
        return Worth(stop, kind, *stop.bounds(self.window), self.rate(stop.app, kind))

    def type_of(self, app: App, known: str | None) -> str:
        """The instance type, 'unknown' where nobody knows or two answers differ."""
        return UNKNOWN if known == DISPUTED else known or self.asked.types.get(app) or UNKNOWN

    def rate(self, app: App, instance_type: str) -> float | None:
        """What an hour of it costs, where that is known."""
        prices = self.asked.prices
        return None if prices is None else prices.rate(app.app_type, instance_type)

    def amount(self, parts: Iterable[tuple[float, float, float | None]]) -> dict[str, Any]:
        """Hours and, where there are prices, cost of parts: seconds at least and at most, and the price of an hour."""
        parts = list(parts)
        least, most = math.fsum(part[0] for part in parts) / 3600, math.fsum(part[1] for part in parts) / 3600
        priced = [(low, high, rate) for low, high, rate in parts if rate is not None]
        hours = {"at_least": round(least, 4), "at_most": round(most, 4)}
        return {"hours": hours, "cost": self._cost(priced, most)}

    def _cost(self, priced: list[tuple[float, float, float]], hours: float) -> dict[str, Any] | None:
        if self.asked.prices is None or (hours > 0 and not priced):
            return None
        share = math.fsum(high for _, high, _ in priced) / 3600 / hours if hours else 1.0
        return {
            "currency": self.asked.prices.currency,
            "at_least": round(math.fsum(low * rate for low, _, rate in priced) / 3600, 4),
            "at_most": round(math.fsum(high * rate for _, high, rate in priced) / 3600, 4),
            "priced_share": round(share, 4),
        }

    def group(self, worths: Iterable[Worth]) -> dict[str, Any]:
        """What one group of stops comes to."""
        worths = list(worths)
        within = [each.stop for each in worths if self.window.has(each.stop.at)]
        return {
            "stops": len(within),
            "false_stops": sum(each.false(self.asked.soon) for each in within),
            "still_away": sum(each.stop.away_at(self.window.end) for each in worths),
            "given_back": self.amount((each.least, each.most, each.rate) for each in worths),
        }

    def groups(self, key: Callable[[Worth], str]) -> dict[str, Any]:
        """The same for each group, the one that gave most back first."""
        found: dict[str, list[Worth]] = {}
        for worth in self.worths:
            found.setdefault(key(worth), []).append(worth)
        told = {name: self.group(worths) for name, worths in found.items()}
        told = {name: {**each, **each["given_back"]} for name, each in told.items()}  # hours and cost at hand, too
        return dict(sorted(told.items(), key=lambda each: (-each[1]["given_back"]["hours"]["at_most"], each[0])))

    def by_day(self) -> dict[str, Any]:
        """What each day (UTC) of the window has of it."""
        told, on = {}, self._on_days()
        for day in self.asked.window.dates():
            begin = max(midnight(day), self.window.begin)
            window = Window(begin=begin, end=min(midnight(day) + DAY_SECONDS, self.window.end))
            worths = on.get(int(midnight(day) // DAY_SECONDS), [])
            within = [each.stop for each in worths if window.has(each.stop.at)]
            told[day.isoformat()] = {
                "stops": len(within),
                "false_stops": sum(each.false(self.asked.soon) for each in within),
                "given_back": self.amount((*each.stop.bounds(window), each.rate) for each in worths),
            }
        return told

    def _on_days(self) -> dict[int, list[Worth]]:
        """The stops of which some is on each day, so that a month of many is not looked through for every day."""
        found: dict[int, list[Worth]] = {}
        window = self.window
        for worth in self.worths:
            stop = worth.stop
            end = window.end if stop.back is None else min(stop.back, window.end)
            first, last = max(stop.at, window.begin) // DAY_SECONDS, end // DAY_SECONDS
            for day in range(int(first), int(max(first, last)) + 1):
                found.setdefault(day, []).append(worth)
        return found

    def wasted(self) -> dict[str, float]:
        """Hours for which apps were billed and not in use, by the reason why they were kept; the most first."""
        found: dict[str, list[float]] = {}
        for _, _, run in self.runs:
            for reason, seconds in run.kept.items():
                if reason not in IN_USE and reason != FREE:
                    found.setdefault(reason, []).append(seconds / 3600)
        told = {reason: round(math.fsum(hours), 4) for reason, hours in found.items()}
        return dict(sorted(told.items(), key=lambda each: (-each[1], each[0])))

    def wasted_cost(self) -> dict[str, Any] | None:
        """What that comes to, and for which share of the hours a price is known; None without one."""
        parts = [
            (seconds, self.rate(app, self.type_of(app, run.instance_type)))
            for app, _, run in self.runs
            if (seconds := sum(each for reason, each in run.kept.items() if reason not in IN_USE and reason != FREE))
        ]
        costs = [seconds * rate for seconds, rate in parts if rate is not None]
        if self.asked.prices is None or not costs:
            return None
        share = math.fsum(seconds for seconds, rate in parts if rate is not None) / math.fsum(part[0] for part in parts)
        amount = round(math.fsum(costs) / 3600, 4)
        return {"currency": self.asked.prices.currency, "amount": amount, "priced_share": round(share, 4)}

    def gaps(self) -> dict[str, Gaps]:
        """All idle gaps by instance type: those within a run, those that a stop cut short, and those still open."""
        ended: dict[str, list[float]] = {}
        still_open: dict[str, list[float]] = {}
        for app, runs in self.runs.known.items():
            for run, told in within_days(runs.values(), Window(begin=self._oldest, end=self.window.end)):
                kind = self.type_of(app, run.instance_type)
                ended.setdefault(kind, []).extend(told)
                still_open.setdefault(kind, []).extend(self._open(app, run))
        end = self.window.end
        for worth in self.worths:
            stop = worth.stop
            if self.window.has(stop.at):
                back = end if stop.back is None or stop.back >= end else stop.back
                into = still_open if stop.away_at(end) else ended
                into.setdefault(worth.kind, []).append(back - max(stop.used, self._oldest))
        found = {kind: Gaps(ended.get(kind, ()), still_open.get(kind, ())) for kind in sorted({*ended, *still_open})}
        return {kind: gaps for kind, gaps in found.items() if gaps}

    @property
    def _oldest(self) -> float:
        """Before this nothing is known, whatever is claimed to have been idle since."""
        return self.window.begin - DAYS_BEFORE * DAY_SECONDS

    def _open(self, app: App, run: Run) -> list[float]:
        """The gap at the end of a run that we did not stop."""
        if run.beat is None or not self.window.has(run.beat[0]) or self._was_stopped(app, run):
            return []
        idle = run.beat[0] - max(run.beat[1], self._oldest)
        return [idle] if idle >= LEAST_GAP else []

    def _was_stopped(self, app: App, run: Run) -> bool:
        return run.latest is not None and (app, run.latest.used) in self._stopped

    def idle_now(self) -> dict[str, Any]:
        """Apps that were there and idle at the window's end, and what an hour of that costs."""
        begun = {
            app: [run for run in runs.values() if run.begin <= self.window.end] for app, runs in self.runs.known.items()
        }
        latest = ((app, max(runs, key=lambda each: each.end)) for app, runs in begun.items() if runs)
        idle = [(app, run) for app, run in latest if self._is_idle(app, run)]
        rates = [self.rate(app, self.type_of(app, run.instance_type)) for app, run in idle]
        known = [each for each in rates if each is not None]
        priced = self.asked.prices is not None and (known or not rates)
        return {
            "apps": len(idle),
            "priced": len(known),
            "cost_per_hour": round(math.fsum(known), 4) if priced else None,
        }

    def _is_idle(self, app: App, run: Run) -> bool:
        """Whether it was there at the window's end, by a heartbeat from about then, and not used for a while."""
        end = self.window.end
        if run.beat is None or run.beat[0] < end - FRESH_SECONDS or run.beat[1] > end - LEAST_GAP:
            return False
        return run.latest is None or run.latest.at > end or not self._was_stopped(app, run)

    def curves(self) -> dict[str, list[dict[str, Any]]]:
        """The curve of timeouts for each instance type."""
        asked, told = self.asked, {}
        for kind, gaps in self.gaps().items():
            points = gaps.curve(asked.timeouts, asked.soon, self.price_of(kind), asked.restart_cost)
            told[kind] = [each.as_json() for each in points]
        return told

    def price_of(self, instance_type: str) -> float | None:
        """What an hour costs on an instance type; None where app types differ in it, or one of them has no price."""
        rates = self._rates.get(instance_type, set())
        return next(iter(rates)) if len(rates) == 1 else None

    @cached_property
    def _rates(self) -> dict[str, set[float | None]]:
        """What an hour costs on each instance type, by all that is on it."""
        on = {(app.app_type, self.type_of(app, run.instance_type)): app for app, _, run in self.runs}
        found: dict[str, set[float | None]] = {}
        for (_, kind), app in on.items():
            found.setdefault(kind, set()).add(self.rate(app, kind))
        return found
