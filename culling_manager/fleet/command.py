"""The fleet check: for every Jupyter Server app of every domain, whether it is culled as it should be.

The source logs believes what is written: a role that may write into the whole log group, as SageMaker's own execution
roles may, can write a heartbeat into another user's stream. The source presigned asks each server itself.

exit codes: 0 every running app is culled as it should be; 1 some are not; 2 usage; 3 the check itself failed, in whole
or for a domain (AWS refused, or users log in by SSO and the source is presigned); 4 some are not, and of these one
stays billed because its role lacks a permission.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from contextlib import nullcontext

from ..errors import CallError, SettingError
from .check import check_fleet
from .options import FleetOptions, Source, minutes_of
from .report import EXIT_FAILED
from .table import print_report, progress_bar


def arguments(argv: list[str] | None = None) -> tuple[argparse.Namespace, FleetOptions]:
    """Read the command line; a wrong one ends the program with 2."""
    summary, _, codes = (__doc__ or "").partition("exit codes")
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="culling-fleet-check",
        description=summary.splitlines()[0],
        epilog=f"exit codes{codes}",
        formatter_class=raw,
    )
    add = parser.add_argument
    add(
        "--source", choices=[each.value for each in Source], default="logs", help="logs (default) works in SSO mode too"
    )
    add("--domain", action="append", default=[], metavar="ID", help="only this domain; may be given more than once")
    add("--region", help="AWS region (default: as configured for AWS)")
    words = "the idle timeout that everybody should have, or a range such as 60-240"
    add("--expected-timeout", default="", metavar="MINUTES", help=words)
    add("--dry-run-planned", action="store_true", help="a dry run is no fault")
    add("--expected-keep-terminals", choices=["true", "false"], help="what keep_terminals should be for everybody")
    add("--max-age", type=float, default=130.0, metavar="MINUTES", help="age of a heartbeat that is too old (130)")
    add("--concurrency", type=int, default=16, metavar="N", help="apps that are asked at the same time (16)")
    add("--rate", type=float, default=8.0, metavar="N", help="calls per second to SageMaker (8)")
    add("--log-group", default="/aws/sagemaker/studio", metavar="NAME", help="where Studio's logs are")
    add("--only-problems", action="store_true", help="list only those that need care")
    add("--json", action="store_true", help="print JSON")
    asked = parser.parse_args(argv)
    try:
        return asked, _options(asked)
    except SettingError as error:
        parser.error(str(error))


def _options(asked: argparse.Namespace) -> FleetOptions:
    keep = asked.expected_keep_terminals
    least, most = minutes_of(asked.expected_timeout)
    return FleetOptions(
        source=Source(asked.source),
        domains=tuple(asked.domain),
        region=asked.region,
        expected_minutes=least,
        most_minutes=most,
        planned_dry_run=asked.dry_run_planned,
        expected_keep_terminals=None if keep is None else keep == "true",
        max_age_seconds=asked.max_age * 60,
        concurrency=asked.concurrency,
        rate=asked.rate,
        log_group=asked.log_group,
    )


def main(argv: list[str] | None = None) -> int:
    """Check, tell, and give the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # what a terminal has no sign for is no reason to fail
    asked, options = arguments(argv)
    try:
        with nullcontext() if asked.json else progress_bar() as tell:
            report = check_fleet(options, tell=tell)
    except CallError as error:
        sys.stderr.write(f"culling-fleet-check: {error}\n")
        return EXIT_FAILED
    except KeyboardInterrupt:
        sys.stderr.write("culling-fleet-check: interrupted\n")
        return 130
    if asked.json:
        sys.stdout.write(json.dumps(report.as_json(), indent=1) + "\n")
    else:
        print_report(report, asked.only_problems)
    return report.exit_code
