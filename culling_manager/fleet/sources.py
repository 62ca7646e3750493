"""Where a report has from what it counts: exported logs, stored days, or the account itself; and its window."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from pathlib import Path

from ..errors import ReadError, SettingError
from ..money.days import DAY_SECONDS, Log, Window, from_text, midnight, together
from ..money.lines import moment
from ..money.logs import files_of, read_events
from ..money.runs import Runs
from ..money.stops import SILENCE_SECONDS, proven
from .account import Account, read_account
from .calls import FleetCalls
from .insights import read_log
from .options import FleetOptions

#: How long (days) a report without --from is about.
USUAL_DAYS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What is known of the fleet: its runs, up to when (seconds since 1970), its owners and types, and remarks."""

    runs: Runs
    until: float
    account: Account = field(default_factory=Account)
    notes: tuple[str, ...] = ()


def source_of(
    asked: argparse.Namespace, now: datetime, calls: FleetCalls, options: FleetOptions
) -> tuple[Window, Callable[[Window], Source]]:
    """The window, and how what is known of it is read."""
    if asked.log_files:
        events = list(files_of(asked.log_files))
        return _window_of_files(asked, now, events), lambda window: _from_files(events, window)
    window = _window(asked, now)
    if asked.days:
        return window, lambda window: _from_days(asked.days, window)
    return window, lambda window: _from_aws(calls, options, window, now)


def _window(asked: argparse.Namespace, now: datetime) -> Window:
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    end = min(at("--to", asked.end) or today, now)
    begin = at("--from", asked.begin) or end - timedelta(days=USUAL_DAYS)
    if begin >= end:
        raise SettingError("--from", asked.begin, f"before the report's end, {end:%Y-%m-%d %H:%M} UTC")
    return Window(begin=begin.timestamp(), end=end.timestamp())


def _window_of_files(asked: argparse.Namespace, now: datetime, paths: list[Path]) -> Window:
    """The window; what is not given of it is where the files begin and end."""
    if asked.begin and asked.end:
        return _window(asked, now)
    first = last = None
    for event in read_events(paths):
        first = event.logged if first is None else min(first, event.logged)
        last = event.logged if last is None else max(last, event.logged)
    if first is None or last is None:
        raise ReadError("there is no log event in these files, so --from and --to must be given")
    begin, end = at("--from", asked.begin), at("--to", asked.end)
    low = first if begin is None else begin.timestamp()
    high = last + 0.001 if end is None else min(end, now).timestamp()
    if low >= high:
        raise SettingError("--from", asked.begin, "before the report's end")
    return Window(begin=low, end=high)


def at(name: str, text: str | None) -> datetime | None:
    """A day (its first instant, UTC) or an instant of the command line. Raises `SettingError`."""
    if text is None:
        return None
    try:
        day = date.fromisoformat(text)
        return datetime(day.year, day.month, day.day, tzinfo=timezone.utc)
    except ValueError:
        found = moment(text)
    if found is None:
        raise SettingError(name, text, "a day such as 2026-06-01, or a time such as 2026-06-01T08:00:00Z")
    return found


def _from_files(paths: list[Path], window: Window) -> Source:
    log = Log(window)
    for event in read_events(paths):
        log.add(event)
    runs, notes = log.runs(), []
    if log.odd:
        notes.append(f"{log.odd} lines are marked as ours and are not as we write them: they count for nothing.")
    until = known_until(runs, window, log.last)
    if log.last is not None and until < window.end:
        last, end = (datetime.fromtimestamp(each, timezone.utc) for each in (log.last, until))
        notes.append(
            f"These logs end at {last:%Y-%m-%d %H:%M} UTC, before the report does: nothing is counted after "
            f"{end:%Y-%m-%d %H:%M} UTC."
        )
    return Source(runs=runs, until=until, notes=tuple(notes))


def known_until(runs: Runs, window: Window, last: float | None) -> float:
    """Up to when exported logs tell of the window: to the end of the day (UTC) of their last event, or beyond it.

    Where an app that writes every hour, and that nobody is known to have stopped, falls silent with them, they were cut
    there, and tell nothing of the rest of that day. Whoever came back after a cut is not seen, so no time counts then.
    """
    if last is None or last >= window.end - SILENCE_SECONDS:
        return max(window.end, last or window.end)
    cut = any(
        (run.beat or run.kept) and run.end > last - SILENCE_SECONDS and proven(run, window.end) is None
        for _, _, run in runs
    )
    return min(window.end, last + 0.001 if cut else (last // DAY_SECONDS + 1) * DAY_SECONDS)


def _from_days(paths: list[str], window: Window) -> Source:
    """Days as the daily check stores them; one that is missing within the window fails."""
    found: dict[str, Path] = {path.stem: path for path in files_of(paths) if path.suffix == ".json"}
    missing = [each.isoformat() for each in window.dates() if each.isoformat() not in found]
    if missing:
        raise ReadError(f"{len(missing)} of the days of the report are missing, the first is {missing[0]}")
    within = {each.isoformat() for each in window.dates() if window.end - midnight(each) >= DAY_SECONDS}
    days = ((name, from_text(_bytes(path), str(path))) for name, path in sorted(found.items()) if name != "account")
    runs = together(day if name in within else day.without_times() for name, day in days)
    account = _account(found["account"]) if "account" in found else Account()
    last = max((run.end for _, _, run in runs), default=window.end)
    return Source(runs=runs, until=max(window.end, last), account=account)


def _account(path: Path) -> Account:
    """What the daily check stored of the account."""
    try:
        return Account.from_json(json.loads(_bytes(path)))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ReadError(f"{path} is not what the daily check stores of an account: {error!r}") from error


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ReadError(f"{path} cannot be read: {error}") from error


def _from_aws(calls: FleetCalls, options: FleetOptions, window: Window, now: datetime) -> Source:
    account = read_account(calls, options)
    log, until = read_log(calls, options, window, now)
    return Source(runs=log.runs(), until=until, account=account, notes=account.notes)
