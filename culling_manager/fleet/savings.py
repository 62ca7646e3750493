"""What idle shutdown gave back in a whole account, what is still wasted there, and which timeout is right.

It reads the log group of Studio through CloudWatch Logs Insights (two queries a day), and ListApps and ListSpaces for
instance types and owners; with --log-files it reads exported logs instead, and with --days what the daily check stored.
Sums are bounds: at least and at most. Without prices there are hours only.

exit codes: 0 the report is whole; 2 usage; 3 a query, a file or a permission failed: there is no partial sum.
"""

from __future__ import annotations

import argparse
import gc
import io
import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from ..engine.clock import utcnow
from ..errors import CallError, ReadError, SettingError
from ..money.curve import SOON, USUAL
from ..money.document import document
from ..money.page import page
from ..money.prices import Prices, read_prices
from ..money.report import Asked
from ..money.words import GROUPS, as_csv, lines
from ..policy import number
from .billed import billed_hours
from .calls import FleetCalls
from .options import FleetOptions
from .pricing import fetch_prices
from .sources import source_of

EXIT_FINE, EXIT_FAILED = 0, 3


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
    prices.add_argument("--prices", metavar="FILE", help="a price file (see lcc/README.md)")
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
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # what a terminal has no sign for is no reason to fail
    parser, asked = arguments(argv)
    now = utcnow()
    try:
        with uncollected():
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


@contextmanager
def uncollected() -> Iterator[None]:
    """Meanwhile nobody looks for garbage: a month is millions of small objects, and all of them stay."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


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
    window, read = source_of(asked, now, calls, options)
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
            path.write_text(page(found), "utf-8", "replace")
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
