"""The whole report, from counted stops to the document that text, CSV and page are made of."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from ..report import duration, iso
from .curve import break_even
from .prices import Prices
from .report import Asked, Counted
from .runs import Runs
from .words import whole_minutes

#: How it is counted, for whoever has to defend the sums.
METHOD = (
    "At most: the time from the deletion that was accepted until the owner's next start, or the end of the report.",
    "At least: the same less 10 minutes for deleting, and never longer than until the domain's own idle shutdown would "
    "have stopped it, or than 24 hours.",
    "Not counted: dry runs, refused deletions, stops by others, and every stop after which the same run still writes.",
    "All instants are clipped to the report's window, so that months add up. Nothing is extrapolated.",
)
LIST_PRICE = "List price: no Savings Plans, no private discounts. Storage stays billed while an app is stopped."


def document(runs: Runs, asked: Asked) -> dict[str, Any]:
    """The report as one JSON document. Names of people are in it only where they were asked for."""
    counted = Counted(runs, asked)
    told = counted.group(counted.worths)
    by_type = counted.groups(lambda each: each.kind)
    prices = asked.prices
    found: dict[str, Any] = {
        "window": {"from": instant(asked.window.begin), "to": instant(asked.window.end)},
        **told,
        "unpriced": [] if prices is None else sorted(kind for kind, each in by_type.items() if _unpriced(each)),
        "by_type": by_type,
        **_others(counted, asked),
        "wasted": counted.wasted(),
        "wasted_cost": counted.wasted_cost(),
        "idle_now": counted.idle_now(),
        "curve": counted.curves(),
        "timeouts": {},
        "advice": {},
        "soon_minutes": round(asked.soon / 60, 4),
        "restart_cost": asked.restart_cost,
        "prices": None if prices is None else _heading(prices),
        "notes": [*METHOD, *([LIST_PRICE, prices.words()] if prices else []), *asked.notes],
    }
    for kind in found["curve"]:
        found["timeouts"][kind], found["advice"][kind] = advice(found, kind, counted.price_of(kind))
    return found


def _unpriced(group: Mapping[str, Any]) -> bool:
    cost = group["given_back"]["cost"]
    return cost is None or cost["priced_share"] < 1


def _others(counted: Counted, asked: Asked) -> dict[str, Any]:
    """What else it was to be told by."""
    found: dict[str, Any] = {}
    if "reason" in asked.by:
        found["by_reason"] = counted.groups(lambda each: each.stop.reason)
    if "day" in asked.by:
        found["by_day"] = counted.by_day()
    if "owner" in asked.by:
        several = len({each.app.domain for each in counted.stops}) > 1
        found["by_owner"] = counted.groups(
            lambda each: (
                f"{each.stop.app.domain}/{each.stop.owner}" if several and each.stop.app.domain else each.stop.owner
            )
        )
        if asked.anonymous:
            found["by_owner"] = {f"person {number}": each for number, each in enumerate(found["by_owner"].values(), 1)}
    return found


def _heading(prices: Prices) -> dict[str, Any]:
    """Where the prices come from, without them."""
    return {name: each for name, each in prices.as_json().items() if name != "rates"}


def advice(found: Mapping[str, Any], kind: str, price: float | None) -> tuple[float, str]:
    """Which timeout (minutes) for this instance type, and one sentence why."""
    rows, cost, prices = found["curve"][kind], found["restart_cost"], found["prices"]
    wait = break_even(price, cost)
    if wait is not None and prices:
        currency = prices["currency"]
        priced = [row for row in rows if row["cost"] is not None]
        best = min(priced, key=lambda row: (row["cost"], -row["timeout_minutes"]))
        return round(wait / 60, 4), (
            f"{kind}: {duration(whole_minutes(wait / 60) * 60)}, for after that long idling has cost what a restart "
            f"costs ({cost:g} {currency} at {price:g} {currency} per hour), and so, whenever somebody comes back, "
            "never more than twice of what hindsight would have made of it; of those compared, "
            f"{duration(best['timeout_minutes'] * 60)} would have "
            "been cheapest here."
        )
    hours = rows[0]["given_back_hours"] + rows[0]["idle_hours"]
    if rows[0]["stops"] == 0:
        return rows[0]["timeout_minutes"], (
            f"{kind}: {duration(rows[0]['timeout_minutes'] * 60)} is as good as any that is longer, for nothing was "
            f"idle for longer than that; none of the {hours:.1f} idle hours would have been given back."
        )
    row = min(rows, key=lambda row: (row["false_stops"], row["timeout_minutes"]))
    back = "nobody came" if row["false_stops"] == 0 else f"the fewest ({row['false_stops']}) came"
    return row["timeout_minutes"], (
        f"{kind}: {duration(row['timeout_minutes'] * 60)} is the shortest of those compared after which {back} back "
        f"within {found['soon_minutes']:g} min; it gives back {row['given_back_hours']:.1f} of {hours:.1f} idle hours. "
        "A price and --restart-cost make it an answer in money."
    )


def instant(at: float) -> str:
    """An instant as ISO 8601 in UTC."""
    return iso(datetime.fromtimestamp(at, timezone.utc)) or ""
