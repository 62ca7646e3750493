"""Every day the savings of the day before: a document in the template's bucket, and totals as metrics by the log.

``days/<date>.json`` is what `culling-fleet-report --days` reads, ``days/account.json`` what the account knows besides.
They name owners, so whoever may read the bucket sees them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import date, datetime, timedelta, timezone
from typing import Any

from ..errors import CallError, ReadError
from ..money.days import DAY_SECONDS, DAYS_BEFORE, Window, as_json, from_json, midnight, together
from ..money.document import document
from ..money.report import Asked
from ..money.runs import Runs
from .account import Account, read_account
from .calls import FleetCalls
from .insights import BeforeLogError, read_day
from .options import FleetOptions
from .store import Store

#: A day is read when it has been over for so long (seconds), for lines take their time to the log.
SETTLED_SECONDS = 3600.0
#: So many days that a run has missed are made up for by the next one.
MADE_UP = 3
#: Under which name CloudWatch has the metrics.
NAMESPACE = "culling_manager"


def save_days(calls: FleetCalls, options: FleetOptions, store: Store, now: datetime) -> list[str]:
    """Store the days that are over and are not stored yet, and publish the totals of the last; gives what went wrong.

    A day is whole or not stored at all.
    """
    try:
        account = read_account(calls, options)
        store.put("days/account.json", account.as_json())
        last = (now - timedelta(seconds=SETTLED_SECONDS)).date() - timedelta(days=1)
        known = store.keys("days/")
        for day in (last - timedelta(days=ago) for ago in reversed(range(MADE_UP))):
            if f"days/{day}.json" not in known:
                with suppress(*(() if day == last else (BeforeLogError,))):  # the log may be younger than that
                    store.put(f"days/{day}.json", _day(calls, options, day))
        told = totals(store, account, last)
    except (CallError, ReadError) as error:
        return [f"The savings of yesterday could not be counted: {error}"]
    sys.stdout.write(json.dumps(embedded(told, last)) + "\n")
    return []


def _day(calls: FleetCalls, options: FleetOptions, day: date) -> dict[str, Any]:
    """The document of a day, out of the log."""
    begin = midnight(day)
    log = read_day(calls, options, Window(begin=begin, end=begin + DAY_SECONDS))
    return as_json(log.days.get(int(begin // DAY_SECONDS), Runs()), day)


def totals(store: Store, account: Account, day: date) -> dict[str, float]:
    """What a day comes to, with the stops of the days before it that were still on."""
    known = store.keys("days/")
    days = []
    for ago in range(DAYS_BEFORE, -1, -1):
        key = f"days/{day - timedelta(days=ago)}.json"
        if key in known:
            runs = from_json(store.get(key), key)
            days.append(runs if ago == 0 else runs.without_times())
    window = Window(begin=midnight(day), end=midnight(day) + DAY_SECONDS)
    asked = Asked(window=window, until=window.end, owners=account.owners, types=account.types, native=account.native)
    found = document(together(days), asked)
    hours = found["given_back"]["hours"]
    return {
        "GivenBackAtLeastHours": hours["at_least"],
        "GivenBackAtMostHours": hours["at_most"],
        "WastedHours": round(sum(found["wasted"].values()), 4),
        "Stops": found["stops"],
        "FalseStops": found["false_stops"],
        "IdleApps": found["idle_now"]["apps"],
    }


def embedded(told: Mapping[str, float], day: date) -> dict[str, Any]:
    """The totals in CloudWatch's embedded metric format: a line in the function's own log becomes metrics."""
    metrics = [{"Name": name, "Unit": "None" if name.endswith("Hours") else "Count"} for name in told]
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=timezone.utc)
    directive = {"Namespace": NAMESPACE, "Dimensions": [[]], "Metrics": metrics}
    return {"_aws": {"Timestamp": int(noon.timestamp() * 1000), "CloudWatchMetrics": [directive]}, **told}
