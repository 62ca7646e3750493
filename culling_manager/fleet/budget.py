"""What the template asks of its Lambda functions: the options, and how much time and how many calls each has."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping

from ..engine.clock import monotonic
from ..errors import SettingError
from .options import FleetOptions, Source, minutes_of

#: A batch has to be done before Lambda ends its worker after 900 seconds.
LONGEST_BATCH_SECONDS = 600
#: So long before Lambda ends a function no call is begun any more, so that what was found can be stored.
SPARE_SECONDS = 90
#: Calls per second that a worker has at least.
LEAST_RATE = 0.1


def options_from(settings: Mapping[str, str]) -> FleetOptions:
    """Read the options from environment variables; an empty one is the default.

    Raises
    ------
    SettingError
        For a number that makes no sense.
    """
    keep = settings.get("EXPECTED_KEEP_TERMINALS", "")
    least, most = minutes_of(settings.get("EXPECTED_TIMEOUT_IN_MINS", ""))
    return FleetOptions(
        source=Source(settings.get("SOURCE") or "logs"),
        domains=tuple(each.strip() for each in settings.get("DOMAINS", "").split(",") if each.strip()),
        expected_minutes=least,
        most_minutes=most,
        planned_dry_run=settings.get("DRY_RUN_PLANNED") == "true",
        expected_keep_terminals=None if not keep else keep == "true",
        max_age_seconds=float(settings.get("MAX_AGE_IN_MINS") or 130) * 60,
        rate=float(settings.get("CALLS_PER_SECOND") or 8),
        log_group=settings.get("LOG_GROUP") or "/aws/sagemaker/studio",
    )


def deadline(context: object, most: float = math.inf) -> float | None:
    """When to begin no more calls (of `monotonic`): after `most` seconds, or SPARE_SECONDS before Lambda ends us.

    None for never, where nothing says when that is.
    """
    left = getattr(context, "get_remaining_time_in_millis", lambda: math.inf)() / 1000 - SPARE_SECONDS
    return None if math.isinf(min(most, left)) else monotonic() + min(most, left)


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
