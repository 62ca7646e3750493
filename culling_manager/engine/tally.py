"""What a culler has done so far, in numbers for monitoring."""

from __future__ import annotations

from collections import Counter
from datetime import datetime

from ..records import Happening, Kind

#: Upper bounds (seconds) of the buckets in which the duration of passes is counted.
BUCKETS = (0.0001, 0.001, 0.01, 0.1, 1.0, 10.0)


class Durations:
    """How long something took: how often up to each of `BUCKETS`, how often at all, and the sum (seconds)."""

    def __init__(self) -> None:
        self.within = [0] * len(BUCKETS)
        self.count = 0
        self.total = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        self.count += 1
        self.total += seconds
        for index, bound in enumerate(BUCKETS):
            self.within[index] += seconds <= bound


class Tally:
    """Counts by kind and reason. Reasons are those of `decisions.Reason`, so that there are few of them.

    Those of what has `failed` say what: ``stop`` (a shutdown or deletion, for a hook too), ``read`` (fetching facts),
    ``signal`` (an activity signal), ``hook`` (one that does not keep anything).
    """

    def __init__(self) -> None:
        self.passes: dict[Kind, Durations] = {}
        self.culled: Counter[tuple[Kind, str]] = Counter()
        self.kept: Counter[tuple[Kind, str]] = Counter()
        self.warned: Counter[Kind] = Counter()
        self.failed: Counter[tuple[Kind, str]] = Counter()
        self._deleted: dict[str, datetime] = {}
        self._given_back = 0.0

    def passed(self, kind: Kind, seconds: float) -> None:
        """Count one pass over everything of a kind."""
        self.passes.setdefault(kind, Durations()).add(seconds)

    def told(self, happening: Happening) -> None:
        """Count what happened."""
        kind, reason = happening.kind, happening.reason
        match happening.action:
            case "culled":
                self.culled[kind, reason] += 1
                if kind is Kind.APP:
                    self._deleted.setdefault(happening.record.identity, happening.at)
            case "kept":
                self.kept[kind, reason] += 1
            case "warned":
                self.warned[kind] += 1
            case "failed":
                self.failed[kind, "stop"] += 1

    def returned(self, identity: str, now: datetime) -> None:
        """An app that was deleted is in service again: from now on it is billed again."""
        since = self._deleted.pop(identity, None)
        if since is not None:
            self._given_back += max(0.0, (now - since).total_seconds())

    def given_back(self, now: datetime) -> float:
        """For how many seconds the apps that were deleted have not been running since; all of them together."""
        return self._given_back + sum(max(0.0, (now - since).total_seconds()) for since in self._deleted.values())
