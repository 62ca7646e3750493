"""Source *logs*: the latest heartbeat of each app in the log group of Studio. For every domain, also in SSO mode.

What stands there is what its writer says. SageMaker's execution roles may write into every stream of the group, so one
user can add a heartbeat to another's stream (not change what is there), dated as they like. The source *presigned*
asks each server itself.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

from ..report import HEARTBEAT_MARKER
from .calls import FleetCalls, TimeOverError
from .judge import FUTURE_SECONDS, read_heartbeat
from .options import FleetOptions
from .records import Reading, Target
from .targets import Tell

#: CloudWatch's pattern for lines with exactly these words.
PATTERN = f'"{HEARTBEAT_MARKER}"'
#: As many streams are searched one by one for older heartbeats; for more, the whole group is.
FEW = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeats:
    """The latest heartbeat by log stream; streams in `unread` were not searched to their end, and `why` says why.

    Of those nothing is known: a part of a log proves neither that heartbeats are written nor that none are.
    """

    found: Mapping[str, Reading] = field(default_factory=dict)
    unread: frozenset[str] = frozenset()
    why: str = ""

    def part(self, streams: Collection[str]) -> Heartbeats:
        """What is known of these streams."""
        found = {name: self.found[name] for name in sorted(streams) if name in self.found}
        return Heartbeats(found=found, unread=self.unread.intersection(streams), why=self.why)

    def as_json(self) -> dict[str, Any]:
        """Every field; times in ISO 8601."""
        found = {name: said.as_json() for name, said in self.found.items()}
        return {"found": found, "unread": sorted(self.unread), "why": self.why}

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Heartbeats:
        """What `as_json` wrote."""
        found = {name: Reading.from_json(each) for name, each in said["found"].items()}
        return cls(found=found, unread=frozenset(said["unread"]), why=said["why"])


def read_heartbeats(
    calls: FleetCalls, targets: Iterable[Target], options: FleetOptions, now: datetime, tell: Tell | None = None
) -> Heartbeats:
    """Give the latest heartbeat by log stream, for those targets in service that have one.

    One search over the whole group (or one domain) finds those that are recent enough. Only for apps without one is
    there a search for older ones, which tells a culler that has stopped from one that never was. When the deadline of
    `calls` ends a search, all that it was for is `unread`.

    Raises
    ------
    CallError
        When the log cannot be read.
    """
    wanted = {each.stream: each for each in targets if each.in_service}
    if not wanted:
        return Heartbeats()
    search = _Search(calls, options, wanted, now, tell)
    recent = now - timedelta(seconds=options.max_age_seconds)
    if not search.run(_common(wanted.values()), recent, None):
        return search.result(wanted)
    missing = [name for name in wanted if name not in search.found]
    start = min(_first(options, now), recent)
    if len(missing) <= FEW:
        return search.one_by_one(missing, start, recent)
    finished = search.run(_common(wanted[name] for name in missing), start, recent)
    return search.result(() if finished else missing)


def read_streams(
    calls: FleetCalls, targets: Iterable[Target], options: FleetOptions, now: datetime, tell: Tell | None = None
) -> Heartbeats:
    """Give the same by one search for each target in service, through its own stream only.

    For workers that share a group too large to be searched as a whole. What the deadline keeps from being searched to
    its end is `unread`.

    Raises
    ------
    CallError
        When the log cannot be read.
    """
    wanted = {each.stream: each for each in targets if each.in_service}
    start = min(_first(options, now), now - timedelta(seconds=options.max_age_seconds))
    return _Search(calls, options, wanted, now, tell).one_by_one(wanted, start, None)


class _Search:
    """Collects the latest heartbeat of each stream that is wanted."""

    def __init__(
        self,
        calls: FleetCalls,
        options: FleetOptions,
        wanted: dict[str, Target],
        now: datetime,
        tell: Tell | None = None,
    ) -> None:
        self.found: dict[str, Reading] = {}
        self._calls, self._options, self._wanted, self._tell = calls, options, wanted, tell
        self._believed_until = now + timedelta(seconds=FUTURE_SECONDS)

    def result(self, unread: Iterable[str]) -> Heartbeats:
        """What all searches have found, and what they have not come to because time was over."""
        left = frozenset(unread)
        why = f"The log group {self._options.log_group} could not be searched to its end in time" if left else ""
        return Heartbeats(found=self.found, unread=left, why=why)

    def one_by_one(self, streams: Iterable[str], start: datetime, end: datetime | None) -> Heartbeats:
        """Search each of these streams."""
        return self.result([each for each in streams if not self.run(each, start, end)])

    def run(self, prefix: str | None, start: datetime, end: datetime | None) -> bool:
        """Search the streams with this prefix, from `start` to `end`, both inclusive; False when time was over first.

        What an unfinished search has found does not count, for the latest may be yet to come.
        """
        parameters: dict[str, Any] = {"startTime": _milliseconds(start)}
        if end is not None:
            parameters["endTime"] = _milliseconds(end)
        if prefix:
            parameters["logStreamNamePrefix"] = prefix
        common = {"logGroupName": self._options.log_group, "filterPattern": PATTERN}
        latest = dict(self.found)
        try:
            for events in self._calls.pages("logs", "filter_log_events", "events", "nextToken", **common, **parameters):
                self._keep(events, latest)
        except TimeOverError:
            return False
        self.found = latest
        return True

    def _keep(self, events: list[dict[str, Any]], latest: dict[str, Reading]) -> None:
        for event in events:
            name = event.get("logStreamName")
            if name not in self._wanted:
                continue
            at = datetime.fromtimestamp(event.get("timestamp", 0) / 1000, timezone.utc)
            known = latest.get(name)
            if known is not None and self._rank(known.at) >= self._rank(at):
                continue
            said = read_heartbeat(str(event.get("message", "")), at)
            if said is not None:
                latest[name] = said
        if self._tell is not None:
            self._tell("reading logs", len(latest), len(self._wanted))

    def _rank(self, at: datetime | None) -> tuple[bool, float]:
        """The latest counts, and before any that is dated in the future, which would hide all others."""
        return (False, 0.0) if at is None else (at <= self._believed_until, at.timestamp())


def _first(options: FleetOptions, now: datetime) -> datetime:
    """How far back to look."""
    return now - timedelta(seconds=options.look_back_seconds)


def _common(targets: Iterable[Target]) -> str | None:
    """The beginning that all their streams share: that of their domain, where it is one."""
    domains = {each.domain for each in targets}
    return f"{domains.pop()}/" if len(domains) == 1 else None


def _milliseconds(at: datetime) -> int:
    return int(at.timestamp() * 1000)
