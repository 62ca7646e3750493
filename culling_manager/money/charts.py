"""The charts of the page, as Vega-Lite specs with their data inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .words import REASONS

Spec = dict[str, Any]

#: Colours that differ in lightness too: sure, possible, wasted, and those that are only lines.
SURE, POSSIBLE, WASTED, LINE = "#1f6f5c", "#9ccfbe", "#c2703d", "#35507a"
#: Few enough marks for a phone.
TICKS: Spec = {"tickCount": 5, "labelOverlap": True}
#: How many bars are drawn; the table has all.
MOST_BARS = 15


def given_back(by_day: Mapping[str, Any], currency: str | None) -> Spec:
    """What each day gave back: surely, and possibly besides; in money where all of it is priced."""
    rows = []
    for day, each in by_day.items():
        part = each["given_back"]["cost"] if currency else each["given_back"]["hours"]
        if part is not None:
            rows.append({"day": day, "sure": part["at_least"], "more": part["at_most"] - part["at_least"]})
    title = f"{currency} a day" if currency else "hours a day"
    return {
        "data": {"values": rows},
        "transform": [
            {"fold": ["sure", "more"], "as": ["bound", "value"]},
            {"calculate": "datum.bound === 'sure' ? 'at least' : 'up to'", "as": "name"},
        ],
        "mark": {"type": "bar", "tooltip": True},
        "encoding": {
            "x": {
                "field": "day",
                "type": "temporal",
                "timeUnit": "utcyearmonthdate",
                "title": None,
                "axis": _days(rows),
            },
            "y": {"field": "value", "type": "quantitative", "title": title},
            "color": {
                "field": "name",
                "type": "nominal",
                "title": None,
                "scale": {"domain": ["at least", "up to"], "range": [SURE, POSSIBLE]},
            },
            "order": {"field": "bound", "sort": "descending"},
        },
    }


def _days(rows: Sequence[Any]) -> Spec:
    return {"format": "%d %b", "labelOverlap": True, "tickCount": min(8, max(2, len(rows)))}


def false_stops(by_day: Mapping[str, Any]) -> Spec:
    """How many stops of each day somebody came back from soon."""
    rows = [{"day": day, "false stops": each["false_stops"], "stops": each["stops"]} for day, each in by_day.items()]
    return {
        "data": {"values": rows},
        "mark": {"type": "bar", "color": WASTED, "tooltip": True},
        "encoding": {
            "x": {
                "field": "day",
                "type": "temporal",
                "timeUnit": "utcyearmonthdate",
                "title": None,
                "axis": _days(rows),
            },
            "y": {
                "field": "false stops",
                "type": "quantitative",
                "title": "false stops a day",
                "axis": {"tickMinStep": 1},
            },
        },
    }


def wasted(by_reason: Mapping[str, float]) -> Spec:
    """For which reasons apps were kept that nobody used."""
    told = list(by_reason.items())[:MOST_BARS]
    rows = [{"reason": REASONS.get(reason, reason), "hours": hours} for reason, hours in told]
    return {
        "data": {"values": rows},
        "mark": {"type": "bar", "color": WASTED, "tooltip": True},
        "encoding": {
            "y": {"field": "reason", "type": "nominal", "sort": "-x", "title": None, "axis": {"labelLimit": 210}},
            "x": {"field": "hours", "type": "quantitative", "title": "hours", "axis": TICKS},
        },
        "height": {"step": 26},
    }


def by_type(groups: Mapping[str, Any]) -> Spec:
    """What each instance type gave back: from at least to at most."""
    rows = [
        {
            "type": name,
            "at least": each["given_back"]["hours"]["at_least"],
            "at most": each["given_back"]["hours"]["at_most"],
        }
        for name, each in list(groups.items())[:MOST_BARS]
    ]
    y = {"field": "type", "type": "nominal", "sort": None, "title": None, "axis": {"labelLimit": 160}}
    return {
        "data": {"values": rows},
        "encoding": {"y": y},
        "layer": [
            {
                "mark": {"type": "bar", "color": POSSIBLE, "tooltip": True},
                "encoding": {
                    "x": {
                        "field": "at most",
                        "type": "quantitative",
                        "title": "hours, at least to at most",
                        "axis": TICKS,
                    }
                },
            },
            {
                "mark": {"type": "bar", "color": SURE, "tooltip": True},
                "encoding": {"x": {"field": "at least", "type": "quantitative"}},
            },
        ],
        "height": {"step": 26},
    }


def timeouts(points: Sequence[Mapping[str, Any]], currency: str | None) -> Spec:
    """What each timeout would have given back and left idle, and how many it would have stopped too soon."""
    axis = {
        "field": "timeout",
        "type": "ordinal",
        "sort": None,
        "title": "idle timeout (minutes)",
        "axis": {"labelAngle": 0},
    }
    rows = [{**each, "timeout": f"{each['timeout_minutes']:g}"} for each in points]
    if currency and all(each["cost"] is not None for each in points):
        mark = {"type": "line", "point": True, "color": LINE, "tooltip": True}
        y = {"field": "cost", "type": "quantitative", "title": f"{currency}: idling and restarts"}
        return {"data": {"values": rows}, "mark": mark, "encoding": {"x": axis, "y": y}}
    return {
        "data": {"values": rows},
        "transform": [
            {"fold": ["given_back_hours", "idle_hours"], "as": ["what", "hours"]},
            {"calculate": "datum.what === 'idle_hours' ? 'idle, billed' : 'given back'", "as": "name"},
        ],
        "mark": {"type": "bar", "tooltip": True},
        "encoding": {
            "x": axis,
            "y": {"field": "hours", "type": "quantitative", "title": "hours"},
            "color": {
                "field": "name",
                "type": "nominal",
                "title": None,
                "scale": {"domain": ["given back", "idle, billed"], "range": [SURE, WASTED]},
            },
        },
    }
