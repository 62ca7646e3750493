"""The fleet check on AWS's own distributed engine: the three Lambda functions of ``config/fleet-check.template.yaml``.

A Step Functions execution calls `list_handler` once, `check_handler` for every batch of targets side by side
(Distributed Map), and `report_handler` once. What they hand on lies in the template's bucket under ``runs/<run>/``, so
that no state's output grows with the fleet. The settings come from environment variables that the template sets.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from ..engine.clock import epoch, utcnow
from .budget import deadline, options_from, rates_of_each
from .calls import FleetCalls
from .check import check_batch
from .daily import save_days
from .judge import unreachable, without_app
from .logs import Heartbeats, read_heartbeats
from .options import FleetOptions, Source
from .records import Finding, Target
from .report import FleetReport, summarise
from .store import Store, publish
from .targets import list_targets

#: The log as a whole is searched no longer than this; then the workers go on, each in the streams of its own batch.
LONGEST_SEARCH_SECONDS = 300


def list_handler(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    """List all targets, cut them into batches and store these; the items of the Distributed Map only name them.

    `event` is ``{"run": name}``; answers ``{"run", "key", "batches", "targets"}``. With the source *logs* the
    heartbeats are read here, once for all, and go with the batches; a log that is too large for that is left to the
    workers.

    Raises
    ------
    CallError
        When the domains cannot be listed, or the log not read: then there is nothing to check.
    SettingError
        When the settings leave the workers no time to check their batches.
    """
    run, options, store = str(event["run"]), options_from(os.environ), Store()
    calls = FleetCalls(options, deadline(context))
    listing = list_targets(calls, options)
    beats, search = Heartbeats(), FleetCalls(options, deadline(context, LONGEST_SEARCH_SECONDS))
    if options.source is Source.LOGS:
        beats = read_heartbeats(search, listing.targets, options, utcnow())
    size = int(os.environ.get("BATCH_SIZE", "50"))
    rates = rates_of_each(options, -(-len(listing.targets) // size), size)
    items = []
    for number, batch in enumerate(cut(listing.targets, beats, size)):
        key = f"runs/{run}/batches/{number:06d}.json"
        store.put(key, batch)
        items.append({"run": run, "number": number, "key": key, **rates})
    store.put(f"runs/{run}/batches.json", items)
    found = {"domains": listing.domains, "problems": listing.problems, "notices": listing.notices}
    counts = dict(calls.count + search.count)
    store.put(f"runs/{run}/listing.json", {**found, "started_at": epoch(), "calls": counts})
    return {"run": run, "key": f"runs/{run}/batches.json", "batches": len(items), "targets": len(listing.targets)}


def cut(targets: Iterable[Target], beats: Heartbeats, size: int) -> Iterator[dict[str, Any]]:
    """Give batches of `size` targets, each with what the log said of its own."""
    targets = list(targets)
    for start in range(0, len(targets), size):
        part = targets[start : start + size]
        yield {
            "targets": [each.as_json() for each in part],
            "heartbeats": beats.part({each.stream for each in part}).as_json(),
        }


def check_handler(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    """Check one batch, which an item of the Distributed Map names, and store its findings; answers with how many.

    What cannot be looked at before Lambda would end this function is found to be unreachable, with that reason.
    """
    options = replace(options_from(os.environ), rate=float(event["rate"]), logs_rate=float(event["logs_rate"]))
    calls, store = FleetCalls(options, deadline(context)), Store()
    stored = store.get(event["key"])
    batch = check_batch(
        [Target.from_json(each) for each in stored["targets"]],
        options,
        calls=calls,
        heartbeats=Heartbeats.from_json(stored["heartbeats"]),
    )
    findings = [each.as_json() for each in batch.findings]
    found = {"findings": findings, "problems": batch.problems, "calls": dict(calls.count)}
    store.put(f"runs/{event['run']}/findings/{int(event['number']):06d}.json", found)
    return {"number": event["number"], "findings": len(findings)}


def report_handler(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    """Put all findings together, store the report, and publish it if somebody needs care or the check had problems.

    Where the template says so the savings of yesterday are stored, too; when they cannot be that is such a problem.

    `event` is ``{"run"}``, with ``"error"`` when the listing failed, or ``"map_error"`` when the map as a whole did. A
    batch without findings is one whose workers failed: its targets are reported as unreachable, never dropped.

    Raises
    ------
    CallError
        When SNS or S3 refuses; the execution fails then, which EventBridge and the console show.
    """
    run, options, store = str(event["run"]), options_from(os.environ), Store()
    if "error" in event:
        report = failed(event["error"], options)
    else:
        broken = [f"Not all could be checked: {words_of(event['map_error'])}"] if "map_error" in event else []
        if os.environ.get("SAVINGS") == "true":
            calls = FleetCalls(options, deadline(context))
            broken += save_days(calls, options, store, utcnow())
        report = gathered(run, options, store, broken)
    key = f"runs/{run}/report.json"
    store.put(key, report.as_json())
    told = bool(report.needing_care or report.problems) or os.environ.get("ALWAYS_PUBLISH") == "true"
    if told:
        publish(report, f"s3://{store.bucket}/{key}")
    return {"run": run, "summary": report.summary(), "exit_code": report.exit_code, "published": told, "report": key}


def failed(error: Any, options: FleetOptions) -> FleetReport:
    """The report of a run that did not even get a list."""
    problem = f"The fleet could not be listed: {words_of(error)}"
    return summarise((), source=options.source.value, checked_at=utcnow(), problems=[problem])


def words_of(error: Any) -> Any:
    """What a state's error says; of one that a Lambda function raised, its own words."""
    words = error.get("Cause", error) if isinstance(error, Mapping) else error
    with suppress(TypeError, ValueError, KeyError):  # what is no Lambda function's own error is told as it is
        words = json.loads(words)["errorMessage"]
    return words


def gathered(run: str, options: FleetOptions, store: Store, broken: Iterable[str] = ()) -> FleetReport:
    """The report on all batches of a run; `broken` says what was wrong with the run as a whole."""
    listing = store.get(f"runs/{run}/listing.json")
    findings: list[Finding] = []
    problems, calls = [*broken, *listing["problems"]], dict(listing["calls"])
    done = store.keys(f"runs/{run}/findings/")
    for item in store.get(f"runs/{run}/batches.json"):
        key = f"runs/{run}/findings/{item['number']:06d}.json"
        if key not in done:
            findings += lost(item["number"], store.get(item["key"]))
            continue
        found = store.get(key)
        findings += [Finding.from_json(each) for each in found["findings"]]
        problems += found["problems"]
        for name, number in found["calls"].items():
            calls[name] = calls.get(name, 0) + number
    return summarise(
        findings,
        source=options.source.value,
        checked_at=utcnow(),
        domains=listing["domains"],
        problems=problems,
        notices=listing["notices"],
        seconds=epoch() - listing["started_at"],
        calls=calls,
    )


def lost(number: int, batch: Mapping[str, Any]) -> list[Finding]:
    """What is known of the targets of a batch whose workers all failed."""
    words = f"The worker that should have checked it (batch {number}) failed; its log says why."
    targets = [Target.from_json(each) for each in batch["targets"]]
    return [unreachable(each, words) if each.in_service else without_app(each) for each in targets]
