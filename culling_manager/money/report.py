"""The report as one JSON document: given back by bounds, wasted by reason, the curve of timeouts; hours and money.

Money stands beside hours only where a price is known, and says for which share of the hours it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .curve import SOON, USUAL, Gap, curve
from .days import DAY_SECONDS, Window, midnight
from .lines import FREE, IN_USE, LEAST_GAP
from .prices import Prices
from .runs import DISPUTED, App, Run, Runs
from .stops import Stop, find_stops

UNKNOWN = "unknown"
#: A run is taken to be there still when its last heartbeat is not older than this (seconds), as in the fleet check.
FRESH_SECONDS = 7800.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the report is to be about, and what is known from elsewhere.

    `until` is up to when the log is known (seconds since 1970), which may be after the window; `owners` and `native`
    are as in `find_stops`; `types` has instance types that the log does not tell. `soon` is in seconds.
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


class Counted:
    """Stops and gaps of one log, with what each of them is on and costs."""

    def __init__(self, runs: Runs, asked: Asked) -> None:
        self.asked, self.runs = asked, runs
        window = asked.window
        found = find_stops(runs, asked.until, asked.owners, asked.native)
        self.stops = [
            each for each in found if (each.at < window.end and each.at_most(window) > 0) or window.has(each.at)
        ]
        self._stopped = {(each.app, each.used) for each in found}

    def type_of(self, app: App, known: str | None) -> str:
        """The instance type, 'unknown' where nobody knows or two answers differ."""
        return UNKNOWN if known == DISPUTED else known or self.asked.types.get(app) or UNKNOWN

    def rate(self, app: App, instance_type: str) -> float | None:
        """What an hour of it costs, where that is known."""
        prices = self.asked.prices
        return None if prices is None else prices.rate(app.app_type, instance_type)

    def amount(self, stops: Iterable[Stop], window: Window | None = None) -> dict[str, Any]:
        """Hours and, where there are prices, cost of stops: at least and at most."""
        window = window or self.asked.window
        least, most, priced, costs = [], [], [], []
        for stop in stops:
            low, high = stop.at_least(window) / 3600, stop.at_most(window) / 3600
            least.append(low)
            most.append(high)
            rate = self.rate(stop.app, self.type_of(stop.app, stop.instance_type))
            if rate is not None:
                priced.append(high)
                costs.append((low * rate, high * rate))
        hours = {"at_least": round(math.fsum(least), 4), "at_most": round(math.fsum(most), 4)}
        return {"hours": hours, "cost": self._cost(costs, math.fsum(priced), math.fsum(most))}

    def _cost(self, costs: list[tuple[float, float]], priced: float, hours: float) -> dict[str, Any] | None:
        if self.asked.prices is None or (hours > 0 and not costs):
            return None
        return {
            "currency": self.asked.prices.currency,
            "at_least": round(math.fsum(low for low, _ in costs), 4),
            "at_most": round(math.fsum(high for _, high in costs), 4),
            "priced_share": round(priced / hours, 4) if hours else 1.0,
        }

    def group(self, stops: Iterable[Stop]) -> dict[str, Any]:
        """What one group of stops comes to."""
        stops = list(stops)
        window = self.asked.window
        within = [each for each in stops if window.has(each.at)]
        return {
            "stops": len(within),
            "false_stops": sum(each.false(self.asked.soon) for each in within),
            "still_away": sum(each.away_at(window.end) for each in stops),
            "given_back": self.amount(stops),
        }

    def groups(self, key: Callable[[Stop], str]) -> dict[str, Any]:
        """The same for each group, the one that gave most back first."""
        found: dict[str, list[Stop]] = {}
        for stop in self.stops:
            found.setdefault(key(stop), []).append(stop)
        told = {name: self.group(stops) for name, stops in found.items()}
        told = {name: {**each, **each["given_back"]} for name, each in told.items()}  # hours and cost at hand, too
        return dict(sorted(told.items(), key=lambda each: (-each[1]["given_back"]["hours"]["at_most"], each[0])))

    def by_day(self) -> dict[str, Any]:
        """What each day (UTC) of the window has of it."""
        told, on = {}, self._on_days()
        for day in self.asked.window.dates():
            begin = max(midnight(day), self.asked.window.begin)
            window = Window(begin=begin, end=min(midnight(day) + DAY_SECONDS, self.asked.window.end))
            stops = on.get(int(midnight(day) // DAY_SECONDS), [])
            told[day.isoformat()] = {
                "stops": sum(window.has(each.at) for each in stops),
                "false_stops": sum(window.has(each.at) and each.false(self.asked.soon) for each in stops),
                "given_back": self.amount(stops, window),
            }
        return told

    def _on_days(self) -> dict[int, list[Stop]]:
        """The stops of which some is on each day, so that a month of many is not looked through for every day."""
        found: dict[int, list[Stop]] = {}
        window = self.asked.window
        for stop in self.stops:
            end = window.end if stop.back is None else min(stop.back, window.end)
            first, last = max(stop.at, window.begin) // DAY_SECONDS, end // DAY_SECONDS
            for day in range(int(first), int(max(first, last)) + 1):
                found.setdefault(day, []).append(stop)
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

    def gaps(self) -> dict[str, list[Gap]]:
        """All idle gaps by instance type: those within a run, those that a stop cut short, and those still open."""
        window = self.asked.window
        found: dict[str, list[Gap]] = {}
        for app, _, run in self.runs:
            kind = found.setdefault(self.type_of(app, run.instance_type), [])
            kind += [Gap(each) for each in run.gaps]
            kind += [Gap(each, ended=False) for each in self._open(app, run)]
        for stop in self.stops:
            if window.has(stop.at):
                away = stop.away_at(window.end)
                end = window.end if away or stop.back is None else stop.back
                found.setdefault(self.type_of(stop.app, stop.instance_type), []).append(
                    Gap(end - stop.used, ended=not away)
                )
        return {name: gaps for name, gaps in sorted(found.items()) if gaps}

    def _open(self, app: App, run: Run) -> list[float]:
        """The gap at the end of a run that we did not stop."""
        if run.beat is None or not self.asked.window.has(run.beat[0]) or self._was_stopped(app, run):
            return []
        idle = run.beat[0] - run.beat[1]
        return [idle] if idle >= LEAST_GAP else []

    def _was_stopped(self, app: App, run: Run) -> bool:
        said = max(filter(None, (run.accepted, run.deleting)), default=None)
        return said is not None and (app, said.used) in self._stopped

    def idle_now(self) -> dict[str, Any]:
        """Apps that were there and idle at the window's end, and what an hour of that costs."""
        idle = [(app, run) for app, _, run in self.runs if self._is_idle(app, run)]
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
        end = self.asked.window.end
        if run.beat is None or run.begin > end or run.beat[0] < end - FRESH_SECONDS or run.beat[1] > end - LEAST_GAP:
            return False
        latest = max(filter(None, (run.accepted, run.deleting)), default=None)
        return latest is None or latest.at > end or not self._was_stopped(app, run)

    def curves(self) -> dict[str, list[dict[str, Any]]]:
        """The curve of timeouts for each instance type."""
        asked, told = self.asked, {}
        for kind, gaps in self.gaps().items():
            points = curve(gaps, asked.timeouts, asked.soon, self.price_of(kind), asked.restart_cost)
            told[kind] = [each.as_json() for each in points]
        return told

    def price_of(self, instance_type: str) -> float | None:
        """What an hour costs on an instance type; None where app types differ in it, or one of them has no price."""
        apps = {app.app_type: app for app, _, run in self.runs if self.type_of(app, run.instance_type) == instance_type}
        rates = {self.rate(app, instance_type) for app in apps.values()}
        return rates.pop() if len(rates) == 1 else None
