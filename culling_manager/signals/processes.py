"""Processes at work that Jupyter does not see: background jobs, tmux, silent programs in terminals, downloads.

What belongs to a kernel or terminal is its process tree, and what shares a session with it: a job that was detached
(nohup, double fork) is in there, also after its parent has ended. A job that began a session of its own and lost its
parent is told by the variable `table.MARKER` in its environment. Where that is missing it belongs to no kernel or
terminal, but such a job outlives these, and as the user's process it keeps the app that it runs on.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import partial

from traitlets import Integer, List, Unicode

from ..concurrency import in_thread
from ..errors import ReadError
from ..records import Kind, owner
from .base import Bounded, Shared, Signal, Subject
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

#: What comes with images and works without being used: init, agents of SageMaker and EC2, editors and their servers.
COMES_WITH_IMAGES = [
    *("supervisord", "tini", "dumb-init", "docker-init", "catatonit", "systemd", "systemd-*", "(sd-pam)", "dbus-*"),
    *("sshd", "sshd-*", "sshd: *", "ssh-agent", "gpg-agent", "cron", "crond", "rsyslogd", "dockerd", "containerd*"),
    *("amazon-*-agent", "amazon-efs-*", "ssm-agent*", "ssm-session-*", "sagemaker-*-agent", "stunnel*", "nvidia-*"),
    *("*langserver*", "*language-server*", "*languageserver*", "*language_server*", "*-lsp", "*-lsp.js", "aws-lsp-*"),
    *("pylsp", "pyls", "pyright*", "tsserver*", "jupyter-lsp*", "typingsInstaller.js"),
    *("code-server", "sagemaker-code-editor*", "*/code-server/*", "*/sagemaker-code-editor/*", "*/.vscode-server/*"),
    *("*/.vscode-server-*/*", "*/.cursor-server/*", "*/.windsurf-server/*", "*/.kiro-server/*"),
]


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


class ProcessSignal(Signal):
    """Processes that use the processor, want it and do not get it, or move data; each alone, or a job of many together.

    For a kernel or terminal its own; for the app that this server runs on every process of the server's user, and of
    everything that the server started, except the server, what it was started by, and `ignored_names`. What only beats
    does not count: see `usage`.
    """

    # An idle ipykernel was measured at 0.0 to 0.1% of a core (at most one tick of 10 ms in a second, also with a
    # kernel_info_request in it) and at 1 to 32 bytes per second (under 400 with that request). Idle bash, vim, less and
    # tmux were measured at 0 and 0. So there is a factor of five, or more, on each side of the defaults. What beats
    # more than that is in the table of `usage`.
    cpu_share = Bounded(
        0.05,
        low=0.001,
        high=1000,
        config=True,
        help="""A process that uses more than this share of one core counts as use (0.001 to 1000; 0.05 is 5% of a
        core), and so do several of one kernel, terminal or job that use it together. Processor time of children
        that it has waited for is its own.""",
    )
    io_rate = Bounded(
        20_000.0,
        low=1,
        high=1e15,
        config=True,
        help="""A process that reads and writes more than this counts as use (bytes per second, files, pipes and most
        sockets together). Not known on macOS.""",
    )
    sample_seconds = Bounded(
        1.0, low=0.05, high=60, config=True, help="How far apart two readings of the process table are (seconds)."
    )
    second_look_seconds = Bounded(
        4.0,
        low=0,
        high=60,
        config=True,
        help="""How much longer to look (seconds) before a process counts as unused that has worked for much of its
        life: it may be resting. 0: do not look again.""",
    )
    max_processes = Integer(
        5000,
        min=1,
        config=True,
        help="""With more processes than this on the machine they are not looked at one by one, and that counts as
        use.""",
    )
    ignored_names = List(
        Unicode(),
        COMES_WITH_IMAGES,
        config=True,
        help="""Processes that never keep an app: what comes with the image rather than being started for work. Each is
        a pattern (`*` any characters, `?` one) for the name of a process, of its program, or of the script that an
        interpreter runs; one with a `/` is for their whole paths. What such a process starts counts unless it matches
        too. To add to the default: `c.ProcessSignal.ignored_names.append("my-agent")`.""",
    )

    ignored_cpu_share = Bounded(
        0.1,
        low=0,
        high=1000,
        config=True,
        help="""A process of an ignored name that uses more than this share of one core counts all the same (0.1 is 10%
        of a core): a name alone excuses only what is quiet.""",
    )

    def __init__(self, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self._earlier: list[Table] = []
        self._look = Shared(lambda: self._sample(self.sample_seconds))
        self._look_longer = Shared(lambda: self._sample(self.second_look_seconds))

    @property
    def takes_seconds(self) -> float:
        """Both looks."""
        return self.sample_seconds + self.second_look_seconds

    def applies(self, subject: Subject) -> bool:
        """To kernels and terminals with processes on this machine, and to the app that is this machine."""
        return subject.here if subject.kind is Kind.APP else bool(subject.pids)

    async def check(self, subject: Subject) -> str | None:
        """Say which of its processes is at work."""
        sample = await self._look()
        found = self._found(sample, subject)
        if found is None and self.second_look_seconds and self._may_rest(sample, subject):
            found = self._found(await self._look_longer(), subject)
        return found

    async def _sample(self, seconds: float) -> Sample:
        """Read the table twice, so many seconds apart, off the event loop."""
        first = await in_thread(partial(read_table, self.max_processes))
        await asyncio.sleep(seconds)
        return await in_thread(partial(self._second_reading, first))

    def _second_reading(self, first: Table) -> Sample:
        table = read_table(self.max_processes)
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
                if row.cpu_seconds > self.cpu_share * max(table.read_at - row.started_at, 1.0)
            ),
            servers=frozenset(other_servers(table, os.getpid())),
        )

    def _labelled(self, found: Iterable[Usage]) -> list[Usage]:
        """Those that may count, busiest first, with their names and owners as far as that many can be looked up."""
        busy = sorted(
            (each for each in found if each.over(self.cpu_share, self.io_rate) or self._adds(each)),
            key=lambda each: -each.cpu_share,
        )
        outside = connections() if any(each.beats for each in busy) else None
        for index, usage in enumerate(busy):
            beats = usage.beats and index < MOST_LABELS and not talks_outside(usage.row.pid, outside)
            labels = read_labels(usage.row.pid) if index < MOST_LABELS else ((), None, "")
            usage = replace(usage, beats=beats, roles=labels[0], owner=labels[1], command=labels[2])
            busy[index] = replace(usage, ignored=self.ignores(usage))
        return busy

    @staticmethod
    def _adds(usage: Usage) -> bool:
        """Whether it adds to what its tree uses together."""
        return usage.cpu_share > LEAST_SHARE and not usage.beats

    def _found(self, sample: Sample, subject: Subject) -> str | None:
        """What of a sample concerns `subject`, in words."""
        if sample.count > self.max_processes:
            return f"more than {self.max_processes} processes run, too many to be looked at"
        if subject.server_pid not in sample.table.rows:
            raise ReadError(f"the server's own process {subject.server_pid} is not among {sample.count} processes")
        unseen = sample.earlier_at is not None and sample.earlier_at >= subject.since.timestamp()
        for busy in (sample.busy, sample.busy_since if unseen else []):
            found = self._of(subject, busy, sample)
            alone = [each for each in found if each.over(self.cpu_share, self.io_rate) and not each.beats]
            words = summary(alone) or together(found, sample.table, subject.server_pid, self.cpu_share)
            if words:
                return words
        return None

    def _of(self, subject: Subject, busy: list[Usage], sample: Sample) -> list[Usage]:
        """Those of the busy that are `subject`'s; another server is none of an app's, what it started is."""
        if not busy:
            return []
        members = self.members(sample.table, subject)
        theirs = subject.owner or owner(subject.kind, subject.identity, subject.server_pid)
        found = [each for each in busy if each.row.pid in members or each.owner == theirs]
        if subject.kind is not Kind.APP:
            return found
        return [each for each in found if not self._excused(each) and each.row.pid not in sample.servers]

    def _excused(self, usage: Usage) -> bool:
        """Whether it is ignored, and quiet."""
        return usage.ignored and usage.cpu_share <= self.ignored_cpu_share

    def members(self, table: Table, subject: Subject) -> set[int]:
        """Which processes are those of `subject`, before any is ignored. KeyError when the server is not among them."""
        server = table.rows[subject.server_pid]
        if subject.kind is not Kind.APP:
            return table.family(subject.pids, server.pid)
        users = {pid for pid, row in table.rows.items() if row.user == server.user}
        below = table.family(table.kin[0].get(server.pid, ()), server.pid)
        return (users | below) - set(table.ancestors(server.pid))

    def ignores(self, usage: Usage) -> bool:
        """Whether one of its names is among `ignored_names`; a path only by a pattern that is about paths."""
        return any(
            fnmatchcase(role, pattern)
            for role in usage.roles
            for pattern in self.ignored_names
            if "/" in pattern or "/" not in role
        )

    def _may_rest(self, sample: Sample, subject: Subject) -> bool:
        """Whether a process of `subject`, other than its roots, has worked for much of its life."""
        workers = sample.workers.difference(subject.pids)
        return bool(workers) and not workers.isdisjoint(self.members(sample.table, subject))
