"""The fleet check: for every Jupyter Server app of every domain, whether it is culled as it should be.

`check_fleet` does it all. For machines that share the work there are its pieces: `list_targets`, then `check_batch` for
any part of the targets, then `summarise`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import datetime

from ..engine.clock import monotonic, utcnow
from ..errors import CallError
from .calls import FleetCalls
from .judge import from_log, unreachable, without_app
from .logs import Heartbeats, read_heartbeats, read_streams
from .options import FleetOptions, Source
from .presigned import USE_LOGS, Presigned
from .records import Finding, Target
from .report import FleetReport, summarise
from .targets import Tell, list_targets


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
    start = monotonic()
    listing = list_targets(calls, options, tell)
    now = now or utcnow()
    batch = check_batch(listing.targets, options, calls=calls, now=now, tell=tell)
    return summarise(
        batch.findings,
        source=options.source.value,
        checked_at=now,
        domains=listing.domains,
        problems=[*listing.problems, *batch.problems],
        notices=listing.notices,
        seconds=monotonic() - start,
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
    now = now or utcnow()
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
