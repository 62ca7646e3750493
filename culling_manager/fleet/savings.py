"""What idle shutdown gave back in a whole account, what is still wasted there, and which timeout is right.

It reads the log group of Studio through CloudWatch Logs Insights (two queries a day), and ListApps and ListSpaces for
instance types and owners; with --log-files it reads exported logs instead, and with --days what the daily check stored.
Sums are bounds: at least and at most. Without prices there are hours only.

exit codes: 0 the report is whole; 2 usage; 3 a query, a file or a permission failed: there is no partial sum.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from ..errors import CallError, ReadError, SettingError
from ..money.curve import SOON, USUAL
from ..money.days import Log, Window, from_text, together
from ..money.document import document
from ..money.lines import moment
from ..money.logs import files_of, read_events
from ..money.page import page
from ..money.prices import Prices, read_prices
from ..money.report import Asked
from ..money.runs import Runs
from ..money.words import GROUPS, as_csv, lines
from ..policy import number
from .account import Account, read_account
from .billed import billed_hours
from .calls import FleetCalls
from .insights import read_log
from .options import FleetOptions
from .pricing import fetch_prices

EXIT_FINE, EXIT_FAILED = 0, 3
#: How long (days) a report without --from is about.
USUAL_DAYS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What is known of the fleet: its runs, up to when (seconds since 1970), its owners and types, and remarks."""

    runs: Runs
    until: float
    account: Account = field(default_factory=Account)
    notes: tuple[str, ...] = ()


def arguments(argv: list[str] | None = None) -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    """Read the command line."""
    summary, _, codes = (__doc__ or "").partition("exit codes")
    parser = argparse.ArgumentParser(
        prog="culling-fleet-report",
        description=summary,
        epilog=f"exit codes{codes}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--from",
        dest="begin",
        metavar="DATE",
        help="from this day or instant on, in UTC (default: 30 days before --to)",
    )
    add(
        "--to", dest="end", metavar="DATE", help="up to this day or instant, which is not in it (default: today, 00:00)"
    )
    add(
        "--by",
        action="append",
        default=[],
        metavar="WHAT",
        help="type (always), reason, day, owner; owner names people",
    )
    add("--log-files", nargs="+", metavar="PATH", help="exported log events, JSON lines, also .gz; a folder: all in it")
    add("--days", nargs="+", metavar="PATH", help="days/DATE.json as the daily check stores them; a folder: all in it")
    add("--soon", type=float, default=SOON, metavar="MIN", help="who is back within this was stopped too early (30)")
    add("--restart-cost", type=float, default=0.0, metavar="N", help="what one restart costs a person, in the currency")
    _add_output(parser)
    add("--anonymous", action="store_true", help="with --by owner: numbers in place of names")
    add("--reconcile", action="store_true", help="show the hours that Cost Explorer has beside those observed")
    add("--region", help="AWS region (default: as configured for AWS)")
    add("--domain", action="append", default=[], metavar="ID", help="only this domain; may be given more than once")
    add("--log-group", default="/aws/sagemaker/studio", metavar="NAME", help="where Studio's logs are")
    return parser, parser.parse_args(argv)


def _add_output(parser: argparse.ArgumentParser) -> None:
    prices = parser.add_mutually_exclusive_group()
    prices.add_argument("--prices", metavar="FILE", help="a price file (see lcc/savings.md)")
    prices.add_argument(
        "--fetch-prices",
        nargs="?",
        const="",
        metavar="FILE",
        help="get them from the AWS Price List, and write them to FILE (culling-prices-REGION.json)",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON")
    form.add_argument("--csv", action="store_true", help="print CSV")
    form.add_argument("--html", metavar="FILE", help="write a page, one file that needs no network")


def main(argv: list[str] | None = None) -> int:
    """Read, count, tell, and give the exit code."""
    parser, asked = arguments(argv)
    now = datetime.now(timezone.utc)
    try:
        found = report(asked, now)
        tell(asked, found)
    except SettingError as error:
        parser.error(str(error))
    except (CallError, ReadError) as error:
        sys.stderr.write(f"culling-fleet-report: {error}\n")
        return EXIT_FAILED
    except KeyboardInterrupt:
        sys.stderr.write("culling-fleet-report: interrupted\n")
        return 130
    return EXIT_FINE


def report(asked: argparse.Namespace, now: datetime) -> dict[str, Any]:
    """The report that was asked for, as a document.

    Raises
    ------
    SettingError
        For something on the command line, or in the price file, that cannot be meant.
    CallError, ReadError
        When a query or a file failed: there is no sum then.
    """
    if asked.log_files and asked.days:
        raise SettingError("--days", asked.days, "absent where --log-files is given")
    soon = number("--soon", asked.soon, low=0, high=525_600, accepted="a number of minutes from 0 to 525600")
    cost = number("--restart-cost", asked.restart_cost, low=0, high=1e9, accepted="an amount of 0 or more")
    by = groups(asked.by) | ({"day", "reason"} if asked.html else set())
    options = FleetOptions(domains=tuple(asked.domain), region=asked.region, log_group=asked.log_group)
    calls = FleetCalls(options)
    window, read = _source(asked, now, calls, options)
    prices, remarks = _prices(asked, calls, now)
    source = read(window)
    wanted = Asked(
        window=window,
        until=source.until,
        prices=prices,
        soon=soon * 60,
        restart_cost=cost,
        timeouts=tuple(each * 60 for each in USUAL),
        by=frozenset(by),
        anonymous=asked.anonymous,
        owners=source.account.owners,
        types=source.account.types,
        native=source.account.native,
        notes=(*source.notes, *remarks),
    )
    found = document(source.runs, wanted)
    if asked.reconcile:
        found["reconcile"] = billed_hours(calls, window, source.runs, source.account.types)
    return found


def groups(asked: Iterable[str]) -> set[str]:
    """By what it is to be told; comma-separated too. Raises `SettingError`."""
    found = {part.strip() for each in asked for part in each.split(",")} | {"type"}
    for each in sorted(found - set(GROUPS)):
        raise SettingError("--by", each, f"one or more of {', '.join(GROUPS)}")
    return found


def _source(
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
    notes = []
    if log.odd:
        notes.append(f"{log.odd} lines are marked as ours and are not as we write them: they count for nothing.")
    if log.last is not None and window.end - log.last > 3900:
        told = datetime.fromtimestamp(log.last, timezone.utc)
        notes.append(
            f"These logs end at {told:%Y-%m-%d %H:%M} UTC, before the report does: later returns are not seen."
        )
    return Source(runs=log.runs(), until=max(window.end, log.last or window.end), notes=tuple(notes))


def _from_days(paths: list[str], window: Window) -> Source:
    """Days as the daily check stores them; one that is missing within the window fails."""
    found: dict[str, Path] = {path.stem: path for path in files_of(paths) if path.suffix == ".json"}
    missing = [each.isoformat() for each in window.dates() if each.isoformat() not in found]
    if missing:
        raise ReadError(f"{len(missing)} of the days of the report are missing, the first is {missing[0]}")
    days = (from_text(_bytes(path), str(path)) for _, path in sorted(found.items()) if path.stem != "account")
    runs = together(days)
    account = Account.from_json(json.loads(_bytes(found["account"]))) if "account" in found else Account()
    last = max((run.end for _, _, run in runs), default=window.end)
    return Source(runs=runs, until=max(window.end, last), account=account)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ReadError(f"{path} cannot be read: {error}") from error


def _from_aws(calls: FleetCalls, options: FleetOptions, window: Window, now: datetime) -> Source:
    account = read_account(calls, options)
    log, until = read_log(calls, options, window, now)
    return Source(runs=log.runs(), until=until, account=account, notes=account.notes)


def _prices(asked: argparse.Namespace, calls: FleetCalls, now: datetime) -> tuple[Prices | None, tuple[str, ...]]:
    """The prices, and what is to be said of them. Another region's are none."""
    if asked.fetch_prices is not None:
        prices = fetch_prices(calls, now)
        path = Path(asked.fetch_prices or f"culling-prices-{prices.region}.json")
        try:
            path.write_text(json.dumps(prices.as_json(), indent=1) + "\n")
        except OSError as error:
            raise ReadError(f"the prices could not be written to {path}: {error}") from error
        return prices, (f"These prices were written to {path}.",)
    if not asked.prices:
        return None, ()
    prices = read_prices(asked.prices)
    here = asked.region or (None if asked.log_files or asked.days else calls.region)
    if here and prices.region and prices.region != here:
        words = f"The price file is for {prices.region}, not for {here}: another region's prices are none."
        return replace(prices, rates={}), (words,)
    return prices, ()


def tell(asked: argparse.Namespace, found: dict[str, Any]) -> None:
    """Write the report as it was asked for."""
    if asked.html:
        path = Path(asked.html)
        try:
            path.write_text(page(found), "utf-8")
        except OSError as error:
            raise ReadError(f"the page could not be written to {path}: {error}") from error
        sys.stdout.write(f"{path}\n")
    elif asked.json:
        sys.stdout.write(json.dumps(found, indent=1) + "\n")
    elif asked.csv:
        sys.stdout.write(as_csv(found))
    else:
        sys.stdout.writelines(line + "\n" for line in lines(found))


if __name__ == "__main__":
    sys.exit(main())
