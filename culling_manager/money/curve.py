"""What another timeout would give back and cost, over idle gaps that were seen."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

#: The timeouts (minutes) that are compared where none is asked for.
USUAL = (15.0, 30.0, 60.0, 120.0, 240.0, 480.0)
#: Who comes back within this (minutes) after a stop lost something by it.
SOON = 30.0


@dataclass(frozen=True, slots=True)
class Gap:
    """One stretch of time without use, in seconds; `ended` says that somebody came back from it."""

    seconds: float
    ended: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """What one timeout would have done. `given_back` and `idle` (billed without use) add up to the same for all.

    `returns` are gaps over the timeout that somebody came back from, `false_stops` those of them that ended `soon`
    after. `cost` is what the idle time costs and what the returns cost; None without a price.
    """

    timeout: float
    given_back: float
    idle: float
    stops: int
    returns: int
    false_stops: int
    cost: float | None = None

    def as_json(self) -> dict[str, Any]:
        """A row: minutes and hours."""
        return {
            "timeout_minutes": round(self.timeout / 60, 4),
            "given_back_hours": round(self.given_back / 3600, 4),
            "idle_hours": round(self.idle / 3600, 4),
            "stops": self.stops,
            "returns": self.returns,
            "false_stops": self.false_stops,
            "cost": None if self.cost is None else round(self.cost, 4),
        }


class Gaps:
    """Many gaps in order: what a timeout would have done with them is told without looking at each of them anew."""

    def __init__(self, ended: Iterable[float], still_open: Iterable[float]) -> None:
        self._ended, self._open = sorted(ended), sorted(still_open)

    @classmethod
    def of(cls, gaps: Iterable[Gap]) -> Gaps:
        """These."""
        gaps = list(gaps)
        return cls((each.seconds for each in gaps if each.ended), (each.seconds for each in gaps if not each.ended))

    def __bool__(self) -> bool:
        return bool(self._ended or self._open)

    def point(self, timeout: float, soon: float, price: float | None = None, restart_cost: float = 0.0) -> Point:
        """What a timeout (seconds) would have done with them.

        A gap of exactly the timeout is not stopped. `price` is per hour, `restart_cost` what one return costs a person.
        """
        at, past = bisect_right(self._ended, timeout), bisect_right(self._open, timeout)
        over = [*self._ended[at:], *self._open[past:]]
        returns = len(self._ended) - at
        wasted = math.fsum([*self._ended[:at], *self._open[:past], timeout * len(over)])
        return Point(
            timeout=timeout,
            given_back=math.fsum(each - timeout for each in over),
            idle=wasted,
            stops=len(over),
            returns=returns,
            false_stops=bisect_right(self._ended, timeout + soon) - at,
            cost=None if price is None else price * wasted / 3600 + restart_cost * returns,
        )

    def curve(
        self,
        timeouts: Iterable[float],
        soon: float = SOON * 60,
        price: float | None = None,
        restart_cost: float = 0.0,
    ) -> list[Point]:
        """One point for each timeout (seconds), the shortest first."""
        return [self.point(each, soon, price, restart_cost) for each in sorted(set(timeouts))]


def point(
    gaps: Iterable[Gap], timeout: float, soon: float, price: float | None = None, restart_cost: float = 0.0
) -> Point:
    """What a timeout (seconds) would have done with these gaps; see `Gaps`."""
    return Gaps.of(gaps).point(timeout, soon, price, restart_cost)


def curve(
    gaps: Iterable[Gap],
    timeouts: Iterable[float],
    soon: float = SOON * 60,
    price: float | None = None,
    restart_cost: float = 0.0,
) -> list[Point]:
    """One point for each timeout (seconds), the shortest first."""
    return Gaps.of(gaps).curve(timeouts, soon, price, restart_cost)


def break_even(price: float | None, restart_cost: float) -> float | None:
    """The timeout (seconds) at which waiting has cost what a restart costs; None where one of them is not known.

    With it no history, seen or to come, costs more than twice of what hindsight would have made of it.
    """
    return None if not price or not restart_cost else restart_cost / price * 3600


def cheapest(points: Iterable[Point]) -> Point | None:
    """The point of the least cost, of equals the longest timeout; None without costs."""
    priced = [(each.cost, -each.timeout, each) for each in points if each.cost is not None]
    return min(priced, key=lambda each: each[:2])[2] if priced else None
