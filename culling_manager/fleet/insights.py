"""The log of a fleet by CloudWatch Logs Insights: two queries a day, one for events and one for counters by stream.

An answer of as many rows as there can be may be cut, so its interval is halved and asked anew. A query that fails, or
whose answer is short of what it says to have found, ends the reading: there is no partial sum.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from itertools import pairwise
from typing import Any

from ..decisions import Reason
from ..engine.clock import monotonic
from ..errors import CallError
from ..money.days import DAY_SECONDS, DAYS_BEFORE, Log, Window, midnight
from ..money.lines import APP_MARKER, moment
from ..money.runs import Event
from ..report import HEARTBEAT_MARKER
from .calls import FleetCalls
from .options import FleetOptions

#: As many rows has an answer at most.
MOST_ROWS = 10_000
#: So long (seconds) after the window is read, as far as there is a log: whether an app that was silent stayed so.
AFTER_SECONDS = 7800.0
#: How often (seconds) a query is asked whether it is done; the second is the longest.
POLL_SECONDS = (0.2, 5.0)
#: No query takes longer than this (seconds); Insights itself gives up after an hour.
LONGEST_SECONDS = 3600.0
WORKERS = 4
#: What Insights says of a time before its log group was made, or that the group does not keep any more.
REACH = "log retention settings"
#: No number is larger than the last millisecond of the calendar.
LATEST = 253_402_300_800_000.0

#: Why an app may be kept, each under a name that a query can have.
REASONS = {f"kept{place}": reason.value for place, reason in enumerate(Reason)}

EVENTS = (
    "fields tomillis(@timestamp) as at, tomillis(@ingestionTime) as received, @logStream, @message\n"
    "| filter at >= {begin} and at < {end}\n"
    f'| filter @message like "{APP_MARKER}" or @message like /{HEARTBEAT_MARKER}.*"gaps": \\[[0-9]/\n'
    "| sort @timestamp asc\n"
    "| limit {limit}"
)
COUNTERS = "\n".join(
    [
        "fields tomillis(@timestamp) as at",
        "| filter at >= {begin} and at < {end}",
        f'| filter @message like "{HEARTBEAT_MARKER}"',
        '| parse @message /"run": "(?<run>[^"]*)"/',
        '| parse @message /"span": (?<span>[0-9.]+)/',
        '| parse @message /"last_use": "(?<used>[^"]*)"/',
        *(f'| parse @message /"seconds": {{{{[^}}}}]*"{text}": (?<{name}>[0-9.]+)/' for name, text in REASONS.items()),
        "| stats min(at) as first, max(at) as last, max(span) as longest, latest(used) as lastUse, "
        + ", ".join(f"sum({name}) as {name}s" for name in REASONS)
        + " by @logStream, run",
        "| limit {limit}",
    ]
)


class BeforeLogError(CallError):
    """It was asked for a time of which the log group has nothing: before it was made, or longer ago than it keeps."""


def read_log(calls: FleetCalls, options: FleetOptions, window: Window, now: datetime) -> tuple[Log, float]:
    """The log of the window, of the days before it and of a while after it; and up to when it is known.

    Raises
    ------
    CallError
        When a query fails, or its answer is not whole.
    """
    until = min(window.end + AFTER_SECONDS, now.timestamp())
    log = Log(window)
    query = _Query(calls, options)
    with ThreadPoolExecutor(max_workers=WORKERS, thread_name_prefix="insights") as pool:
        for events, counters in pool.map(lambda part: query.as_far(part, window), list(parts(window, until))):
            for event in events:
                log.add(event, times=False)
            for row in counters:
                add_counter(log, row)
    return log, until


def read_day(calls: FleetCalls, options: FleetOptions, window: Window) -> Log:
    """The log of one day, or of a part of one, and nothing else. Raises `CallError`."""
    log = Log(window)
    events, counters = _Query(calls, options).both(window, window)
    for event in events:
        log.add(event, times=False)
    for row in counters:
        add_counter(log, row)
    return log


def parts(window: Window, until: float) -> Iterator[Window]:
    """The days to be read, cut where the window begins and ends."""
    days = Window(begin=window.begin - DAYS_BEFORE * DAY_SECONDS, end=until)
    for day in days.dates():
        start = midnight(day)
        cuts = {max(start, days.begin), min(start + DAY_SECONDS, days.end)}
        cuts |= {each for each in (window.begin, window.end) if min(cuts) < each < max(cuts)}
        ordered = sorted(cuts)
        for begin, end in pairwise(ordered):
            yield Window(begin=begin, end=end)


class _Query:
    """Asks the log group."""

    def __init__(self, calls: FleetCalls, options: FleetOptions) -> None:
        self._calls, self._group = calls, options.log_group
        self._domains = {each.lower() for each in options.domains}

    def as_far(self, part: Window, window: Window) -> tuple[list[Event], list[dict[str, str]]]:
        """The same, and nothing for a part before the window of which there is no log (any more)."""
        try:
            return self.both(part, window)
        except BeforeLogError:
            if part.end > window.begin:
                raise
            return [], []

    def both(self, part: Window, window: Window) -> tuple[list[Event], list[dict[str, str]]]:
        """Events and counters of a part; counters only of what is in the window: before and after it events tell."""
        rows = self.rows(EVENTS, part)
        events = [event_of(row) for row in rows]
        counters = self.rows(COUNTERS, part)
        inside = window.begin <= part.begin and part.end <= window.end
        told = [
            row if inside else {name: each for name, each in row.items() if name[:-1] not in REASONS}
            for row in counters
        ]
        return [each for each in events if self._wanted(each.stream)], [
            row for row in told if self._wanted(row.get("@logStream", ""))
        ]

    def _wanted(self, stream: str) -> bool:
        return not self._domains or stream.lower().partition("/")[0] in self._domains

    def rows(self, query: str, part: Window) -> list[dict[str, str]]:
        """Every row of a part, in as many halves as it takes."""
        found = self._ask(query, part)
        if len(found) < MOST_ROWS:
            return found
        middle = int((part.begin + part.end) / 2 * 1000) / 1000
        if not part.begin < middle < part.end:
            raise CallError(f"logs:StartQuery found {MOST_ROWS} rows at {part.begin:.3f} s, and more cannot be had")
        halves = Window(begin=part.begin, end=middle), Window(begin=middle, end=part.end)
        return [row for half in halves for row in self.rows(query, half)]

    def _ask(self, query: str, part: Window) -> list[dict[str, str]]:
        begin, end = int(part.begin * 1000), int(part.end * 1000)
        resource = f"log-group:{self._group}"
        try:
            started = self._calls.call(
                "logs",
                "start_query",
                resource,
                logGroupName=self._group,
                startTime=begin // 1000,
                endTime=-(-end // 1000),
                queryString=query.format(begin=begin, end=end, limit=MOST_ROWS),
                limit=MOST_ROWS,
            )
        except CallError as error:
            raise BeforeLogError(str(error)) if REACH in str(error) else error from None
        answer = self._answer(str(started.get("queryId", "")), resource)
        rows = [{each.get("field", ""): each.get("value", "") for each in row} for row in answer["results"]]
        matched = (answer.get("statistics") or {}).get("recordsMatched", 0.0)
        if query is EVENTS and len(rows) < min(matched, MOST_ROWS):
            raise CallError(f"logs:GetQueryResults gave {len(rows)} of {matched:g} rows")
        return rows

    def _answer(self, query: str, resource: str) -> dict[str, Any]:
        """Wait for the answer, which is whole or an error."""
        wait, longest = POLL_SECONDS
        patience = monotonic() + LONGEST_SECONDS
        while monotonic() < patience:
            answer = self._calls.call("logs", "get_query_results", resource, queryId=query)
            status = answer.get("status")
            if status == "Complete":
                if not isinstance(answer.get("results"), list):
                    raise CallError("logs:GetQueryResults answered without its results")
                return answer
            if status not in ("Scheduled", "Running"):
                raise CallError(f"the query of {resource} ended as {status}, so there is no sum")
            time.sleep(wait)
            wait = min(longest, wait * 2)
        raise CallError(f"the query of {resource} was not done within {LONGEST_SECONDS:.0f} s")


def event_of(row: Mapping[str, str]) -> Event:
    """A row of the events. Raises `CallError` for one without its time."""
    received = _number(row.get("received"))
    at = _number(row.get("at"))
    if at is None or "@message" not in row:
        raise CallError("logs:GetQueryResults gave a row without its time or its message")
    return Event(row.get("@logStream", ""), at / 1000, row["@message"], None if received is None else received / 1000)


def add_counter(log: Log, row: Mapping[str, str]) -> None:
    """Take over the counters of one run of one stream."""
    first, last = _number(row.get("first")), _number(row.get("last"))
    if first is None or last is None:
        raise CallError("logs:GetQueryResults gave counters without their time")
    kept = {reason: _number(row.get(f"{name}s")) or 0.0 for name, reason in REASONS.items()}
    used = moment(row.get("lastUse"))
    log.add_counter(
        row.get("@logStream", ""),
        row.get("run") or None,
        first / 1000,
        last / 1000,
        span=_number(row.get("longest")) or 0.0,
        kept={reason: each for reason, each in kept.items() if each > 0},
        used=None if used is None else used.timestamp(),
    )


def _number(text: str | None) -> float | None:
    try:
        found = float(text or "nan")
    except ValueError:
        return None
    return found if 0 <= found < LATEST else None
