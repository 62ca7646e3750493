"""Source *logs*: the latest heartbeat of each app in the log group of Studio. For every domain, also in SSO mode."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from typing import Any

from .fleet_calls import FleetCalls
from .fleet_judge import heartbeat
from .fleet_records import FleetOptions, Reading, Target
from .fleet_targets import Tell
from .report import HEARTBEAT_MARKER

#: CloudWatch's pattern for lines with exactly these words.
PATTERN = f'"{HEARTBEAT_MARKER}"'
#: As many streams are searched one by one for older heartbeats; for more, the whole group is.
FEW = 20


def read_heartbeats(
    calls: FleetCalls, targets: Iterable[Target], options: FleetOptions, now: datetime, tell: Tell | None = None
) -> dict[str, Reading]:
    """Give the latest heartbeat by log stream, for those targets in service that have one.

    One search over the whole group (or one domain) finds those that are recent enough. Only for apps without one is
    there a search for older ones, which tells a culler that has stopped from one that never was.

    Raises
    ------
    CallError
        When the log cannot be read.
    """
    wanted = {each.stream: each for each in targets if each.in_service}
    if not wanted:
        return {}
    search = _Search(calls, options, wanted, tell)
    recent = now - timedelta(seconds=options.max_age_seconds)
    search.run(_common(wanted.values()), recent, None)
    missing = [name for name in wanted if name not in search.found]
    start = min(now - timedelta(seconds=options.look_back_seconds), recent)
    prefixes = missing if len(missing) <= FEW else [_common(wanted[name] for name in missing)]
    for prefix in prefixes:
        search.run(prefix, start, recent)
    return search.found


class _Search:
    """Collects the latest heartbeat of each stream that is wanted."""

    def __init__(
        self, calls: FleetCalls, options: FleetOptions, wanted: dict[str, Target], tell: Tell | None = None
    ) -> None:
        self.found: dict[str, Reading] = {}
        self._calls, self._options, self._wanted, self._tell = calls, options, wanted, tell

    def run(self, prefix: str | None, start: datetime, end: datetime | None) -> None:
        """Search the streams with this prefix, from `start` to `end`, both inclusive."""
        parameters: dict[str, Any] = {"startTime": _milliseconds(start)}
        if end is not None:
            parameters["endTime"] = _milliseconds(end)
        if prefix:
            parameters["logStreamNamePrefix"] = prefix
        for events in self._calls.pages(
            "logs",
            "filter_log_events",
            "events",
            "nextToken",
            logGroupName=self._options.log_group,
            filterPattern=PATTERN,
            **parameters,
        ):
            self._keep(events)

    def _keep(self, events: list[dict[str, Any]]) -> None:
        for event in events:
            name = event.get("logStreamName")
            if name not in self._wanted:
                continue
            at = datetime.fromtimestamp(event.get("timestamp", 0) / 1000, timezone.utc)
            known = self.found.get(name)
            if known is not None and known.at is not None and known.at >= at:
                continue
            said = heartbeat(str(event.get("message", "")), at)
            if said is not None:
                self.found[name] = said
        if self._tell is not None:
            self._tell("reading logs", len(self.found), len(self._wanted))


def _common(targets: Iterable[Target]) -> str | None:
    """The beginning that all their streams share: that of their domain, where it is one."""
    domains = {each.domain for each in targets}
    return f"{domains.pop()}/" if len(domains) == 1 else None


def _milliseconds(at: datetime) -> int:
    return int(at.timestamp() * 1000)
