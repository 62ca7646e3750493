"""The fleet check on AWS's own distributed engine: the three Lambda functions of ``config/fleet-check.template.yaml``.

A Step Functions execution calls `list_handler` once, `check_handler` for every batch of targets side by side
(Distributed Map), and `report_handler` once. What they hand on lies in the template's bucket under ``runs/<run>/``, so
that no state's output grows with the fleet. The settings come from environment variables that the template sets.
"""

from __future__ import annotations

import functools
import json
import math
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

from .errors import CallError, SettingError
from .fleet.calls import action, in_words
from .fleet.check import (
    Finding,
    FleetCalls,
    FleetOptions,
    FleetReport,
    Heartbeats,
    Source,
    Target,
    check_batch,
    list_targets,
    read_heartbeats,
    summarise,
)
from .fleet.judge import unreachable, without_app

#: SNS takes 262,144 bytes per message; what is longer is cut and linked to the whole report in S3.
LONGEST_MESSAGE = 250_000
#: A batch has to be done before Lambda ends its worker after 900 seconds.
LONGEST_BATCH_SECONDS = 600
#: The log as a whole is searched no longer than this; then the workers go on, each in the streams of its own batch.
LONGEST_SEARCH_SECONDS = 300
#: So long before Lambda ends a function no call is begun any more, so that what was found can be stored.
SPARE_SECONDS = 90
#: Calls per second that a worker has at least.
LEAST_RATE = 0.1
#: SNS takes subjects of up to 100 characters.
LONGEST_SUBJECT = 100


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
        beats = read_heartbeats(search, listing.targets, options, datetime.now(timezone.utc))
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
    store.put(f"runs/{run}/listing.json", {**found, "started_at": time.time(), "calls": counts})
    return {"run": run, "key": f"runs/{run}/batches.json", "batches": len(items), "targets": len(listing.targets)}


def deadline(context: object, most: float = math.inf) -> float | None:
    """When to begin no more calls (of `time.monotonic`): after `most` seconds, or SPARE_SECONDS before Lambda ends us.

    None for never, where nothing says when that is.
    """
    left = getattr(context, "get_remaining_time_in_millis", lambda: math.inf)() / 1000 - SPARE_SECONDS
    return None if math.isinf(min(most, left)) else time.monotonic() + min(most, left)


def rates_of_each(options: FleetOptions, batches: int, size: int) -> dict[str, float]:
    """Calls per second of each worker, so that all together keep the pace: `rate` and `logs_rate` of its options.

    Raises
    ------
    SettingError
        When that is too little for a batch to be asked over presigned URLs before Lambda ends the worker. Those that
        judge by logs call SageMaker for nothing.
    """
    workers = max(1, min(int(os.environ.get("MAX_CONCURRENCY", "1")), batches))
    rate = options.rate / workers
    slow = size / rate > LONGEST_BATCH_SECONDS or rate < LEAST_RATE
    if options.source is Source.PRESIGNED and slow:
        accepted = f"small enough that BatchSize / (CallsPerSecond / MaxConcurrency) <= {LONGEST_BATCH_SECONDS} seconds"
        raise SettingError("MaxConcurrency", workers, f"{accepted}, and each worker has {LEAST_RATE} calls per second")
    return {"rate": max(LEAST_RATE, rate), "logs_rate": max(LEAST_RATE, options.logs_rate / workers)}


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
    return summarise((), source=options.source.value, checked_at=datetime.now(timezone.utc), problems=[problem])


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
        checked_at=datetime.now(timezone.utc),
        domains=listing["domains"],
        problems=problems,
        notices=listing["notices"],
        seconds=time.time() - listing["started_at"],
        calls=calls,
    )


def lost(number: int, batch: Mapping[str, Any]) -> list[Finding]:
    """What is known of the targets of a batch whose workers all failed."""
    words = f"The worker that should have checked it (batch {number}) failed; its log says why."
    targets = [Target.from_json(each) for each in batch["targets"]]
    return [unreachable(each, words) if each.in_service else without_app(each) for each in targets]


def publish(report: FleetReport, link: str) -> None:
    """Publish the report to the SNS topic as one message; a long one is cut and says where the whole of it is."""
    lines = report.lines()
    told, size = [], len(link) + 200
    for line in lines:
        size += len(line.encode()) + 1
        if size > LONGEST_MESSAGE:
            break
        told.append(line)
    rest = [f"... and {len(lines) - len(told)} more lines."] if len(told) < len(lines) else []
    text = "\n".join([*told, *rest, f"The whole report: {link}"])
    number = len(report.needing_care)
    subject = f"culling_manager: {number} of {len(report.findings)} need care" if number else "culling_manager: check"
    topic = os.environ["TOPIC_ARN"]
    _aws("sns", "publish", topic, TopicArn=topic, Subject=subject[:LONGEST_SUBJECT], Message=text)


def options_from(settings: Mapping[str, str]) -> FleetOptions:
    """Read the options from environment variables; an empty one is the default.

    Raises
    ------
    SettingError
        For a number that makes no sense.
    """
    keep = settings.get("EXPECTED_KEEP_TERMINALS", "")
    expected = settings.get("EXPECTED_TIMEOUT_IN_MINS", "")
    return FleetOptions(
        source=Source(settings.get("SOURCE") or "logs"),
        domains=tuple(each.strip() for each in settings.get("DOMAINS", "").split(",") if each.strip()),
        expected_minutes=float(expected) if expected else None,
        expected_keep_terminals=None if not keep else keep == "true",
        max_age_seconds=float(settings.get("MAX_AGE_IN_MINS") or 130) * 60,
        rate=float(settings.get("CALLS_PER_SECOND") or 8),
        log_group=settings.get("LOG_GROUP") or "/aws/sagemaker/studio",
    )


class Store:
    """JSON in the template's bucket."""

    def __init__(self) -> None:
        self.bucket = os.environ["BUCKET"]

    def put(self, key: str, found: Any) -> None:
        """Write one object."""
        body = json.dumps(found).encode()
        _aws("s3", "put_object", self._arn(key), Bucket=self.bucket, Key=key, Body=body, ContentType="application/json")

    def get(self, key: str) -> Any:
        """Read one object. Raises CallError."""
        return json.loads(_aws("s3", "get_object", self._arn(key), Bucket=self.bucket, Key=key)["Body"].read())

    def keys(self, prefix: str) -> set[str]:
        """The keys of all objects under a prefix."""
        found: set[str] = set()
        more: dict[str, str] = {}
        while True:
            page = _aws("s3", "list_objects_v2", self._arn(""), Bucket=self.bucket, Prefix=prefix, **more)
            found |= {each["Key"] for each in page.get("Contents", [])}
            if not page.get("IsTruncated"):
                return found
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def _arn(self, key: str) -> str:
        return f"arn:aws:s3:::{self.bucket}/{key}"


@functools.cache
def _client(service: str) -> Any:
    """A client, which a warm Lambda function has from its last call."""
    import boto3

    return boto3.client(service)


def _aws(service: str, operation: str, resource: str, **parameters: Any) -> Any:
    """Call one operation with botocore's retries; a refusal names action and resource."""
    try:
        return getattr(_client(service), operation)(**parameters)
    except Exception as error:
        told: CallError = in_words(error, action(service, operation), resource)
    raise told
