"""The report as text for a terminal, and as CSV for a spreadsheet."""

from __future__ import annotations

import csv
import io
import json
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..errors import printable

#: By what a report can be told, and how its table is headed.
GROUPS = {"type": "instance type", "reason": "reason", "day": "day (UTC)", "owner": "owner"}
#: How a spreadsheet's formula begins.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
#: What is meant by reasons that say too little by themselves.
REASONS = {
    "active": "idle, waiting for its timeout",
    "kept alive": "kept by request",
    "connected": "a page is open",
    "just disconnected": "a page was closed just now",
    "keep_terminals": "a terminal is kept",
    "off": "culling is off",
    "external": "not started by this server",
    "unknown": "its state cannot be told",
    "grace period": "grace after a long run",
    "at work too long": "at work for longer than max_at_work",
    "too old": "older than max_age",
    "protected": "its name is protected",
}
CURVE = ("timeout", "given back h", "idle h", "stops", "returns", "false stops", "cost")


def number(value: float) -> str:
    """A figure with as many digits as a reader needs."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:,.1f}" if abs(value) >= 10 else f"{value:,.2f}"


def span(found: Mapping[str, Any], unit: str) -> str:
    """Both bounds: '14.8 to 15.0 h'; one of them where they are the same."""
    low, high = number(found["at_least"]), number(found["at_most"])
    return f"{low} {unit}" if low == high else f"{low} to {high} {unit}"


def money(cost: Mapping[str, Any] | None) -> str:
    """What it costs, at least and at most, and for which share of the hours that is; nothing without a price."""
    if cost is None:
        return ""
    return f"{span(cost, cost['currency'])}{priced(cost)}"


def priced(cost: Mapping[str, Any]) -> str:
    """For which share of the hours a price is known; nothing where that is all of them."""
    return "" if cost["priced_share"] == 1 else f" ({cost['priced_share']:.0%} of the hours priced)"


def wasted_money(found: Mapping[str, Any]) -> str:
    """What was billed and not in use in money, with a comma before it; nothing without a price."""
    cost = found["wasted_cost"]
    return "" if cost is None else f", {number(cost['amount'])} {cost['currency']}{priced(cost)}"


def whole_minutes(minutes: float) -> int:
    """A timeout as it is set: in whole minutes, one at least."""
    return max(1, round(minutes))


def setting(timeouts: Mapping[str, float]) -> str:
    """The line of a server's configuration that has these timeouts (minutes); nothing where no type is known."""
    known = {kind: whole_minutes(each) for kind, each in timeouts.items() if kind != "unknown"}
    return f"c.CullingKernelManager.idle_timeouts = {json.dumps(known)}" if known else ""


def headline(found: Mapping[str, Any]) -> str:
    """What was given back, in one sentence."""
    given = found["given_back"]
    cost = f", {money(given['cost'])}" if given["cost"] else ""
    return f"Given back: {span(given['hours'], 'h')}{cost}, by {plural(found['stops'], 'stop')}."


def plural(count: int, word: str) -> str:
    """'1 stop', '2 stops'."""
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"


def facts(found: Mapping[str, Any]) -> list[str]:
    """What else stands above everything."""
    soon = f"{found['soon_minutes']:g} min"
    idle, cost = found["idle_now"], ""
    if idle["cost_per_hour"] is not None and idle["apps"]:
        part = "" if idle["priced"] == idle["apps"] else f" for the {idle['priced']} that are priced"
        cost = f", {number(idle['cost_per_hour'])} {found['prices']['currency']} an hour{part}"
    wasted = sum(found["wasted"].values())
    return [
        f"False stops: {found['false_stops']:,} (back within {soon}); still away at the end: {found['still_away']:,}.",
        f"Billed and not in use: {number(wasted)} h{wasted_money(found)}; "
        f"idle at the end: {plural(idle['apps'], 'app')}{cost}.",
    ]


def lines(found: Mapping[str, Any]) -> list[str]:
    """The whole report as plain text; what others have named is printable on one line."""
    window = found["window"]
    told = [f"{window['from'][:16]} to {window['to'][:16]} (UTC)", "", headline(found), *facts(found)]
    for name, title in GROUPS.items():
        groups = found.get(f"by_{name}")
        if groups:
            told += ["", *table([title, "stops", "false", "hours", "cost"], _rows(groups))]
    if found["wasted"]:
        rows = [[REASONS.get(reason, reason), number(hours)] for reason, hours in found["wasted"].items()]
        told += ["", *table(["billed and not in use", "hours"], rows)]
    for kind, points in found["curve"].items():
        told += ["", kind, *table(CURVE, [curve_row(each) for each in points]), found["advice"][kind]]
    for kind, each in (found.get("reconcile") or {}).items():
        told.append(f"{kind}: {number(each['observed_hours'])} h observed, {number(each['billed_hours'])} h billed.")
    return [printable(each) for each in [*told, "", *found["notes"]]]


def wrapped(text: str, width: int) -> list[str]:
    """A line as lines of no more than this width; columns stay as they are."""
    return [text] if len(text) <= width or "  " in text.strip() else textwrap.wrap(text, max(20, width))


def curve_row(row: Mapping[str, Any]) -> list[str]:
    """One timeout."""
    hours = [number(row["given_back_hours"]), number(row["idle_hours"])]
    counts = [f"{row[name]:,}" for name in ("stops", "returns", "false_stops")]
    return [f"{row['timeout_minutes']:g} min", *hours, *counts, "" if row["cost"] is None else f"{row['cost']:,.2f}"]


def _rows(groups: Mapping[str, Any]) -> list[list[str]]:
    return [
        [name, f"{each['stops']:,}", f"{each['false_stops']:,}", span(given["hours"], "h"), money(given["cost"])]
        for name, each in groups.items()
        for given in [each["given_back"]]
    ]


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Columns side by side; the first to the left, the others to the right; an empty last one is left out."""
    rows = [list(map(printable, row)) for row in rows]
    used = [place for place in range(len(heads)) if place < 2 or any(row[place] for row in rows)]
    cells = [[row[place] for place in used] for row in [list(heads), *rows]]
    widths = [max(len(row[place]) for row in cells) for place in range(len(used))]
    return ["  ".join(_padded(row, widths)).rstrip() for row in cells]


def _padded(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    """The first cell to the left, the others to the right."""
    first, *rest = zip(row, widths, strict=True)
    return [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in rest)]


def as_csv(found: Mapping[str, Any]) -> str:
    """One row per group, with what was asked for by; a cell that a spreadsheet would take for a formula is quoted."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    cost = ["currency", "cost_at_least", "cost_at_most", "priced_share"] if found["prices"] else []
    heads = ["by", "name", "stops", "false_stops", "hours_at_least", "hours_at_most", *cost]
    writer.writerow(heads)
    everything: dict[str, Any] = {"": found}
    for by, groups in [("total", everything), *((name, found.get(f"by_{name}") or {}) for name in GROUPS)]:
        for name, each in groups.items():
            writer.writerow([cell(value) for value in [by, name, *_figures(each, bool(cost))]])
    return text.getvalue()


def _figures(each: Mapping[str, Any], priced: bool) -> list[Any]:
    hours, cost = each["given_back"]["hours"], each["given_back"]["cost"]
    told = [each["stops"], each["false_stops"], hours["at_least"], hours["at_most"]]
    if not priced:
        return told
    names = ("currency", "at_least", "at_most", "priced_share")
    return told + ([cost[name] for name in names] if cost else [""] * len(names))


def cell(value: object) -> str:
    """What a spreadsheet shows and does not run."""
    text = str(value)
    return f"'{text}" if text.startswith(FORMULA) else text
