"""Who uses what: pure judging of readings of the process table. No clock, no I/O.

What is at work runs until it is done or has to wait. What only beats (an idle dask, ray or spark, a poller) soon sleeps
again, writes nothing to speak of and talks to nobody outside. Measured on two cores that six to eight others wanted,
idle, at most in one second of ten; the time from one sleep to the next is the longest average of a second, also quiet
and beside eight processes that wake all the time:

=============================== ======= ============== ========= ======= ========= ====== =======================
idle in a kernel                CPU     wants a core   per sleep reads   writes    disk   of all its processes
=============================== ======= ============== ========= ======= ========= ====== =======================
ipykernel 7.4                   0.0%    0.5%           0.01 ms   16 B    16 B      0      0.0%
dask, 4 workers: the kernel     6.0%    20%            0.43 ms   32 kB   16 B      0      19%, with its workers
dask, each worker               4.0%    19%            0.38 ms   5 kB    0         0
dask, 16 workers: the kernel    10.8%   55%            0.44 ms   118 kB  16 B      0      56%, with its workers
ray, 4 cores: the busiest       2.0%    9%             0.39 ms   10 kB   14 kB     16 kB  5%
spark, local[2]: java           1.0%    2%             0.15 ms   4 kB    0         4 kB   1%
ipyparallel, 4 engines          1.0%    0.4%           0.27 ms   32 B    32 B      0      1%
tensorboard                     0.0%    0.4%           0.08 ms   0       0         0      0%
mlflow server, 15 processes     0.8%    8%             0.19 ms   100 B   300 B     300 B  4.5%
=============================== ======= ============== ========= ======= ========= ====== =======================

MLflow was measured in twenty such seconds, at a load of 33; none was taken for work. While a client logs metrics to it,
one after the other, it uses 9 to 13% of a core and moves 1.1 MB a second, which was work in five looks of five.

And at work: a job of 0.1 s of work and 0.4 s of rest sleeps once in 0.1 s of work, whoever is beside it. How often it
is given a core says nothing: among processes that wake all the time it ran in pieces of 0.36 ms, as a heartbeat does.
Sixty loops at the lowest priority have 0.6 to 3% of a core each, want one for 90% of the time or more, and never sleep.
Where more is wanted than there is, a heartbeat is late, and does more before it sleeps: dask, beside four loops and
eight that wake all the time, often wanted a core all the time and ran for 0.4 to 4.7 ms. There it is often taken for
work.

Threads of Python that are all at work take turns, and wake every 5 ms to ask for theirs: beside twelve loops two of
them ran for 0.55 to 0.87 ms before they slept, eight for 0.12 to 0.14. But others than the hungriest wanted a core for
73% of the time or more, and in an idle dask, which is one thread, for 2% at most.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from .snapshot import START_TOLERANCE_SECONDS, Row, Table

#: Whoever runs or waits for a core for more than this share of the time is at work, whatever it was given.
WANTED_SHARE = 0.8
#: Whose busiest thread runs for less than this before it sleeps (seconds, on average), with less than this share of a
#: core, only beats; half as long where one wants a core all the time.
BEAT_SECONDS = 0.001
BEAT_SHARE = 0.25
#: Where other threads than the hungriest together want a core for more than this share of the time, they take turns,
#: and none of them beats.
OTHERS_SHARE = 0.5
#: What it may read besides (bytes per second, from memory: its own statistics), and write, or read from a disk: a log.
BEAT_READS, BEAT_WRITES = 1e6, 20_000.0
#: What uses less than this share of a core does not add to the sum of a tree.
LEAST_SHARE = 0.0025
#: The state of a process that runs or waits for a core, and of one that waits for a disk or a file server.
WANTS, WAITS_FOR_DISK = "R", "D"


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What one process uses: `cpu_share` of one core, and `io_rate` in bytes per second.

    `wanted_share` is for how much of the time its hungriest thread ran or waited for a core, or, where they take turns,
    all of them. `beats` means that it looks like a heartbeat: see above. `roles` are the names by which it can be
    ignored; `ignored` that one of them is; `owner` is what its environment says it belongs to, `command` what it is
    called.
    """

    row: Row
    cpu_share: float
    io_rate: float = 0.0
    wanted_share: float = 0.0
    beats: bool = False
    roles: tuple[str, ...] = ()
    ignored: bool = False
    owner: str | None = None
    command: str = ""

    def over(self, cpu_share: float, io_rate: float) -> bool:
        """Whether it uses more than one of these, or wants a core all the time; exactly as much is not more."""
        return self.cpu_share > cpu_share or self.io_rate > io_rate or self.wanted_share > WANTED_SHARE

    def words(self) -> str:
        """Say what it uses; never its arguments, which may hold secrets."""
        parts = []
        if self.cpu_share > 0.005:  # half a percent is written as none
            parts.append(f"uses {100 * self.cpu_share:.0f}% of a core")
        if self.wanted_share > WANTED_SHARE > self.cpu_share:
            parts.append(
                f"waits for a core {100 * min(1.0, self.wanted_share) - 100 * self.cpu_share:.0f}% of the time"
            )
        if self.io_rate >= 1000:
            parts.append(f"moves {amount(self.io_rate)} per second")
        return f"process {self.name} (pid {self.row.pid}) {' and '.join(parts) or 'is at work'}"

    @property
    def name(self) -> str:
        """What it is called, fit to be shown."""
        return shown(self.command or self.row.name)


def amount(number: float) -> str:
    """Write a number of bytes in a unit that is read at a glance."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number:.0f} B"


def shown(name: str) -> str:
    """A process's name fit to be shown: it is chosen by whoever started it, so it is escaped and cut."""
    escaped = "".join(
        char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode() for char in name[:40]
    )
    return escaped[:40] or "?"


def usages(first: Table, second: Table) -> list[Usage]:
    """What each process used between two readings; one that started in between counts from its start.

    What a child did before it ended is its parent's then; what that child had done by the first reading is not counted.
    """
    ended_cpu: dict[int, float] = {}
    ended_bytes: dict[int, float] = {}
    for row in first.rows.values():
        if not row.is_the_same_as(second.rows.get(row.pid)):
            ended_cpu[row.parent] = ended_cpu.get(row.parent, 0.0) + row.cpu_seconds + row.child_seconds
            ended_bytes[row.parent] = ended_bytes.get(row.parent, 0.0) + (row.moved_bytes or 0.0)
    found = []
    for row in second.rows.values():
        before = first.rows.get(row.pid)
        if not row.is_the_same_as(before):
            before = None
        if before is None and row.started_at < first.read_at - START_TOLERANCE_SECONDS:
            continue  # it was there and could not be read
        seconds = row.at - before.at if before else second.read_at - first.read_at
        own, reaped, moved = _used(row, before)
        reaped = max(0.0, reaped - ended_cpu.get(row.pid, 0.0))
        moved = max(0.0, moved - ended_bytes.get(row.pid, 0.0))
        found.append(_usage(row, before, own, reaped, moved, max(seconds, 1e-3)))
    return found


def _used(row: Row, before: Row | None) -> tuple[float, float, float]:
    """Own processor time, that of ended children, and bytes since `before`, or since it started."""
    if before is None:
        return row.cpu_seconds, row.child_seconds, row.moved_bytes or 0.0
    moved = 0.0 if row.moved_bytes is None or before.moved_bytes is None else row.moved_bytes - before.moved_bytes
    return max(0.0, row.cpu_seconds - before.cpu_seconds), max(0.0, row.child_seconds - before.child_seconds), moved


def usages_since(earlier: Table, table: Table) -> list[Usage]:
    """What each process that was there at an earlier reading, and still is, used by itself on average since."""
    found = []
    for row in table.rows.values():
        before = earlier.rows.get(row.pid)
        if before is None or row.ended or not row.is_the_same_as(before) or row.at <= before.at:
            continue
        own, reaped, moved = _used(row, before)
        found.append(_usage(row, before, own, 0.0, 0.0 if reaped else max(0.0, moved), row.at - before.at))
    return found


def _usage(row: Row, before: Row | None, own: float, reaped: float, moved: float, seconds: float) -> Usage:
    """What a process used in so many seconds, of which it worked `own` by itself."""
    ran, sleeps, wanted, others = _ran(row, before, seconds)
    cpu_share, io_rate = (own + reaped) / seconds, moved / seconds
    beats = (
        before is not None
        and row.kept_bytes is not None
        and before.kept_bytes is not None
        and row.kept_bytes - before.kept_bytes <= BEAT_WRITES * seconds
        and ran < sleeps * (BEAT_SECONDS if wanted <= WANTED_SHARE else BEAT_SECONDS / 2)
        and others <= OTHERS_SHARE
        and reaped == 0
        and cpu_share < BEAT_SHARE
        and io_rate < BEAT_READS
        and WAITS_FOR_DISK not in (row.state, before.state)
    )
    return Usage(row=row, cpu_share=cpu_share, io_rate=io_rate, wanted_share=wanted, beats=beats)


def _ran(row: Row, before: Row | None, seconds: float) -> tuple[float, int, float, float]:
    """How long its busiest thread ran (seconds) and how often it slept; who wanted a core: all in all, other threads.

    A thread's wait is counted by Linux only when it ends: who did not get a single turn shows by its state alone.
    """
    if before is None or not row.threads:
        return 0.0, 0, 0.0, 0.0
    found, wanted = [], []
    for thread, (run, waited, slept) in row.threads.items():
        run_before, waited_before, slept_before = before.threads.get(thread, (0.0, 0.0, 0))
        found.append((run - run_before, slept - slept_before))
        wanted.append(max(0.0, run - run_before + waited - waited_before) / seconds)
    starved = row.threads == before.threads and WANTS == row.state == before.state
    hungriest, others = max(wanted), sum(wanted) - max(wanted)
    share = hungriest if others <= OTHERS_SHARE else hungriest + others
    return *max(found), 1.0 if starved else share, others


def summary(found: Collection[Usage]) -> str | None:
    """One clause for all of them: the busiest by name, the others by number; None for none."""
    if not found:
        return None
    top = max(found, key=lambda usage: (usage.cpu_share, usage.io_rate))
    others = len(found) - 1
    return top.words() + ("" if not others else f", and {others} other process{'es' if others > 1 else ''}")


def together(found: Collection[Usage], table: Table, server_pid: int, cpu_share: float) -> str | None:
    """Say which job among those found uses more than a share of a core in all, though no process of it does alone.

    Heartbeats do not add to it, nor what uses next to nothing. What was detached is in the job of its session.
    """
    jobs: dict[int, list[Usage]] = {}
    for usage in found:
        if not usage.beats and usage.cpu_share > LEAST_SHARE:
            jobs.setdefault(table.tree_of(usage.row.pid, server_pid), []).append(usage)
    for job in jobs.values():
        total = sum(usage.cpu_share for usage in job)
        if len(job) > 1 and total > cpu_share:
            first = max(job, key=lambda usage: usage.cpu_share).name
            return f"{len(job)} processes, {first} among them, use {100 * total:.0f}% of a core together"
    return None
