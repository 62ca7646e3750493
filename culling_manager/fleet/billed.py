"""What the bill says: hours by instance type from Cost Explorer, beside those that the log shows. Only to look at."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

from ..money.days import Window
from ..money.runs import DISPUTED, App, Runs
from ..money.times import FREE
from .calls import FleetCalls
from .pricing import component_of, instance_type


def billed_hours(
    calls: FleetCalls, window: Window, runs: Runs, types: Mapping[App, str]
) -> dict[str, dict[str, float]]:
    """Observed and billed hours by instance type. The bill is by whole days, and a day late. Raises `CallError`."""
    billed: dict[str, list[float]] = {}
    for group in _groups(calls, window):
        usage = str((group.get("Keys") or [""])[0])
        kind = instance_type(usage)
        if kind is not None and component_of(usage) is not None:
            amount = ((group.get("Metrics") or {}).get("UsageQuantity") or {}).get("Amount", "0")
            billed.setdefault(kind, []).append(float(amount))
    observed: dict[str, list[float]] = {}
    for app, _, run in runs:
        known = None if run.instance_type == DISPUTED else run.instance_type
        kind = known or types.get(app) or "unknown"
        hours = sum(seconds for reason, seconds in run.kept.items() if reason != FREE) / 3600
        observed.setdefault(kind, []).append(hours)
    names = sorted(billed.keys() | {kind for kind, hours in observed.items() if any(hours)})
    return {
        kind: {
            "observed_hours": round(math.fsum(observed.get(kind, [])), 4),
            "billed_hours": round(math.fsum(billed.get(kind, [])), 4),
        }
        for kind in names
    }


def _groups(calls: FleetCalls, window: Window) -> list[dict[str, Any]]:
    """Usage by usage type of every day of which some is in the window."""
    first = datetime.fromtimestamp(window.begin, timezone.utc).date()
    last = datetime.fromtimestamp(window.end, timezone.utc).date()
    end = last if last > first else last + timedelta(days=1)
    found: list[dict[str, Any]] = []
    pages = calls.pages(
        "ce",
        "get_cost_and_usage",
        "ResultsByTime",
        "NextPageToken",
        TimePeriod={"Start": first.isoformat(), "End": end.isoformat()},
        Granularity="DAILY",
        Metrics=["UsageQuantity"],
        Filter={"And": [_is("SERVICE", "Amazon SageMaker"), _is("REGION", calls.region)]},
        GroupBy=[{"Type": "DIMENSION", "Key": "USAGE_TYPE"}],
    )
    for page in pages:
        found += [group for day in page for group in day.get("Groups") or []]
    return found


def _is(dimension: str, value: str) -> dict[str, Any]:
    return {"Dimensions": {"Key": dimension, "Values": [value]}}
