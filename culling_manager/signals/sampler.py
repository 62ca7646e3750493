"""Samples of the process table for one signal: read twice, judged, and put into words."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from ..concurrency import in_thread
from ..errors import ReadError
from ..records import Kind, owner
from .base import Subject
from .network import connections, talks_outside
from .runtime import other_servers
from .snapshot import Table
from .table import read_labels, read_table
from .usage import LEAST_SHARE, Usage, summary, together, usages, usages_since

#: An earlier reading that is older than this (seconds) says nothing about now; some are kept, this far apart.
EARLIER_SECONDS = 90.0
EARLIER_APART_SECONDS = 15.0
#: At most this many busy processes are looked at for their names and owners.
MOST_LABELS = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Who was busy just now, and who was on average since an earlier reading at `earlier_at` (seconds since 1970).

    `workers` are those that have been busy for much of their lives, `servers` other Jupyter Servers of this user.
    `count` is how many processes there were at most.
    """

    table: Table
    count: int
    busy: list[Usage]
    busy_since: list[Usage]
    earlier_at: float | None
    workers: frozenset[int]
    servers: frozenset[int]


class Judging(Protocol):
    """What a sampler needs of its signal: settings, which processes belong to a subject, and which are ignored."""

    @property
    def max_processes(self) -> int:
        """More than these are not looked at one by one."""

    @property
    def cpu_share(self) -> float:
        """More than this share of one core counts as use."""

    @property
    def io_rate(self) -> float:
        """More than these bytes per second count as use."""

    @property
    def ignored_cpu_share(self) -> float:
        """More than this share of one core counts whatever the name is."""

    def members(self, table: Table, subject: Subject) -> set[int]:
        """Which processes are those of `subject`, before any is ignored."""

    def ignores(self, usage: Usage) -> bool:
        """Whether it is of an ignored name."""


class Sampler:
    """Reads the processes as the settings of a `signal` say, and remembers earlier readings."""

    def __init__(self, signal: Judging) -> None:
        self.signal = signal
        self._earlier: list[Table] = []

    async def sample(self, seconds: float) -> Sample:
        """Read the table twice, so many seconds apart, off the event loop."""
        first = await in_thread(partial(read_table, self.signal.max_processes))
        await asyncio.sleep(seconds)
        return await in_thread(partial(self._second_reading, first))

    def _second_reading(self, first: Table) -> Sample:
        table = read_table(self.signal.max_processes)
        before, after = first.rows.get(os.getpid()), table.rows.get(os.getpid())
        if before is not None and after is not None and not before.is_the_same_as(after):
            raise ReadError("the clock was set between two readings of the processes, so they cannot be compared")
        known = [each for each in self._earlier if 0 < first.read_at - each.read_at <= EARLIER_SECONDS]
        earlier = known[0] if known else None
        if table.rows and (not known or table.read_at - known[-1].read_at >= EARLIER_APART_SECONDS):
            known.append(table)
        self._earlier = known
        return Sample(
            table=table,
            count=max(first.count, table.count),
            busy=self._labelled(usages(first, table)),
            busy_since=[] if earlier is None else self._labelled(usages_since(earlier, table)),
            earlier_at=None if earlier is None else earlier.read_at,
            workers=frozenset(
                row.pid
                for row in table.rows.values()
                if row.cpu_seconds > self.signal.cpu_share * max(table.read_at - row.started_at, 1.0)
            ),
            servers=frozenset(other_servers(table, os.getpid())),
        )

    def _labelled(self, found: Iterable[Usage]) -> list[Usage]:
        """Those that may count, busiest first, with their names and owners as far as that many can be looked up."""
        busy = sorted(
            (each for each in found if each.over(self.signal.cpu_share, self.signal.io_rate) or self._adds(each)),
            key=lambda each: -each.cpu_share,
        )
        outside = connections() if any(each.beats for each in busy) else None
        for index, usage in enumerate(busy):
            beats = usage.beats and index < MOST_LABELS and not talks_outside(usage.row.pid, outside)
            labels = read_labels(usage.row.pid) if index < MOST_LABELS else ((), None, "")
            usage = replace(usage, beats=beats, roles=labels[0], owner=labels[1], command=labels[2])
            busy[index] = replace(usage, ignored=self.signal.ignores(usage))
        return busy

    @staticmethod
    def _adds(usage: Usage) -> bool:
        """Whether it adds to what its tree uses together."""
        return usage.cpu_share > LEAST_SHARE and not usage.beats

    def found(self, sample: Sample, subject: Subject) -> str | None:
        """What of a sample concerns `subject`, in words."""
        if sample.count > self.signal.max_processes:
            return f"more than {self.signal.max_processes} processes run, too many to be looked at"
        if subject.server_pid not in sample.table.rows:
            raise ReadError(f"the server's own process {subject.server_pid} is not among {sample.count} processes")
        unseen = sample.earlier_at is not None and sample.earlier_at >= subject.since.timestamp()
        for busy in (sample.busy, sample.busy_since if unseen else []):
            found = self._of(subject, busy, sample)
            alone = [each for each in found if each.over(self.signal.cpu_share, self.signal.io_rate) and not each.beats]
            words = summary(alone) or together(found, sample.table, subject.server_pid, self.signal.cpu_share)
            if words:
                return words
        return None

    def _of(self, subject: Subject, busy: list[Usage], sample: Sample) -> list[Usage]:
        """Those of the busy that are `subject`'s; another server is none of an app's, what it started is."""
        if not busy:
            return []
        members = self.signal.members(sample.table, subject)
        theirs = subject.owner or owner(subject.kind, subject.identity, subject.server_pid)
        found = [each for each in busy if each.row.pid in members or each.owner == theirs]
        if subject.kind is not Kind.APP:
            return found
        return [each for each in found if not self._excused(each) and each.row.pid not in sample.servers]

    def _excused(self, usage: Usage) -> bool:
        """Whether it is ignored, and quiet."""
        return usage.ignored and usage.cpu_share <= self.signal.ignored_cpu_share

    def may_rest(self, sample: Sample, subject: Subject) -> bool:
        """Whether a process of `subject`, other than its roots, has worked for much of its life."""
        workers = sample.workers.difference(subject.pids)
        return bool(workers) and not workers.isdisjoint(self.signal.members(sample.table, subject))
