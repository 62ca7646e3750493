"""The fleet check: for every Jupyter Server app of every domain, whether it is culled as it should be.

``culling-fleet-check`` is the command; `check_fleet` does the same for Python. For machines that share the work there
are its pieces: `list_targets`, then `check_batch` for any part of the targets, then `summarise`.

exit codes: 0 every running app is culled as it should be; 1 some are not; 2 usage; 3 the check itself failed, in whole
or for a domain (AWS refused, or users log in by SSO and the source is presigned).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime, timezone

from ..errors import CallError, SettingError
from .calls import FleetCalls
from .judge import from_log, unreachable, without_app
from .logs import Heartbeats, read_heartbeats, read_streams
from .presigned import USE_LOGS, Presigned
from .records import Finding, FleetOptions, Reading, Source, State, Target
from .report import EXIT_FAILED, FleetReport, summarise
from .table import print_report, progress_bar
from .targets import Listing, Tell, list_targets

__all__ = [
    "Batch",
    "Finding",
    "FleetCalls",
    "FleetOptions",
    "FleetReport",
    "Heartbeats",
    "Listing",
    "Reading",
    "Source",
    "State",
    "Target",
    "check_batch",
    "check_fleet",
    "list_targets",
    "main",
    "read_heartbeats",
    "summarise",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What was found of some targets, one finding each and in their order, and what was wrong with the check itself."""

    findings: tuple[Finding, ...]
    problems: tuple[str, ...] = ()


def check_fleet(
    options: FleetOptions | None = None,
    *,
    calls: FleetCalls | None = None,
    now: datetime | None = None,
    tell: Tell | None = None,
) -> FleetReport:
    """List what there is, check all of it, and report.

    Raises
    ------
    CallError
        When not even the domains can be listed. Anything less is a problem or a finding in the report.
    """
    options = options or FleetOptions()
    calls = calls or FleetCalls(options)
    start = time.monotonic()
    listing = list_targets(calls, options, tell)
    now = now or datetime.now(timezone.utc)
    batch = check_batch(listing.targets, options, calls=calls, now=now, tell=tell)
    return summarise(
        batch.findings,
        source=options.source.value,
        checked_at=now,
        domains=listing.domains,
        problems=[*listing.problems, *batch.problems],
        notices=listing.notices,
        seconds=time.monotonic() - start,
        calls=dict(calls.count),
    )


def check_batch(
    targets: Iterable[Target],
    options: FleetOptions,
    *,
    calls: FleetCalls | None = None,
    now: datetime | None = None,
    heartbeats: Heartbeats | None = None,
    tell: Tell | None = None,
) -> Batch:
    """Check these targets, each once. Never raises for what one of them, or AWS, does.

    `heartbeats` (from `read_heartbeats`) spares reading the log, where many batches share one reading; what that did
    not come to is read here, stream by stream.
    """
    targets = tuple(targets)
    calls = calls or FleetCalls(options)
    now = now or datetime.now(timezone.utc)
    if options.source is Source.PRESIGNED:
        return _ask(targets, options, calls, now, tell)
    beats = _beats(targets, options, calls, now, heartbeats, tell)
    left = any(each.in_service and each.stream in beats.unread for each in targets)
    findings = tuple(_heard(each, beats, options, now) for each in targets)
    return Batch(findings=findings, problems=(beats.why,) if left else ())


def _beats(
    targets: tuple[Target, ...],
    options: FleetOptions,
    calls: FleetCalls,
    now: datetime,
    known: Heartbeats | None,
    tell: Tell | None,
) -> Heartbeats:
    """What the log says of these targets, as far as it can be read."""
    found = known.found if known else {}
    left = [each for each in targets if known is None or each.stream in known.unread]
    read = read_heartbeats if known is None else read_streams
    try:
        more = read(calls, left, options, now, tell)
    except CallError as error:
        why = f"The log group {options.log_group} cannot be read: {error}"
        return Heartbeats(found=found, unread=frozenset(each.stream for each in left), why=why)
    return Heartbeats(found={**found, **more.found}, unread=more.unread, why=more.why)


def _heard(target: Target, beats: Heartbeats, options: FleetOptions, now: datetime) -> Finding:
    """Judge by the log, in which nobody is looked for who has no running app."""
    if not target.in_service:
        return without_app(target)
    if target.stream in beats.unread:
        return unreachable(target, f"{beats.why}: whether its culler runs is not known.")
    return from_log(target, beats.found.get(target.stream), options, now)


def _ask(
    targets: tuple[Target, ...], options: FleetOptions, calls: FleetCalls, now: datetime, tell: Tell | None
) -> Batch:
    """Ask every app itself, `concurrency` of them at a time."""
    presigned = Presigned(calls, options, now)
    findings = _all(presigned.check, targets, options.concurrency, tell)
    running = [each for each in targets if each.in_service]
    domains = sorted({each.domain for each in running if each.auth == "SSO"})
    problems = [
        f"Domain {each}: its users log in by SSO, which allows no presigned URL: {USE_LOGS}." for each in domains
    ]
    problems += [presigned.problem] if presigned.problem else []
    return Batch(findings=findings, problems=tuple(problems))


def _all(
    check: Callable[[Target], Finding], targets: tuple[Target, ...], workers: int, tell: Tell | None
) -> tuple[Finding, ...]:
    """Check every target in a bounded pool of threads; what nobody foresaw is a finding too, by its type only."""

    def one(target: Target) -> Finding:
        try:
            return check(target)
        except Exception as error:
            name = type(error).__name__
        return unreachable(target, f"The check of it failed ({name}).")

    pool = ThreadPoolExecutor(max_workers=int(workers), thread_name_prefix="fleet")
    try:
        futures = {pool.submit(one, target): target for target in targets}
        for done, _ in enumerate(as_completed(futures), 1):
            if tell is not None:
                tell("asking apps", done, len(futures))
        return tuple(future.result() for future in futures)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


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
    add("--expected-timeout", type=float, metavar="MINUTES", help="the idle timeout that everybody should have")
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
    return FleetOptions(
        source=Source(asked.source),
        domains=tuple(asked.domain),
        region=asked.region,
        expected_minutes=asked.expected_timeout,
        expected_keep_terminals=None if keep is None else keep == "true",
        max_age_seconds=asked.max_age * 60,
        concurrency=asked.concurrency,
        rate=asked.rate,
        log_group=asked.log_group,
    )


def main(argv: list[str] | None = None) -> int:
    """Check, tell, and give the exit code."""
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


if __name__ == "__main__":
    sys.exit(main())
