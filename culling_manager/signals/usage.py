"""Who uses what: pure judging of readings of the process table. No clock, no I/O."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

#: Two readings tell the start of one process (seconds since 1970) by this much apart, as the clock is adjusted.
START_TOLERANCE_SECONDS = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One process as it was read.

    `session` is the id of its session, 0 when unknown. `cpu_seconds` is its own processor time so far, `child_seconds`
    that of all children it has waited for. `moved_bytes` is what it and those children read and wrote, None when that
    cannot be read. `at` is when it was read (monotonic seconds). `ended` means that only its parent has not noticed.
    """

    pid: int
    parent: int
    session: int = 0
    user: int = 0
    name: str = ""
    started_at: float = 0.0
    cpu_seconds: float = 0.0
    child_seconds: float = 0.0
    moved_bytes: float | None = None
    at: float = 0.0
    ended: bool = False

    def is_the_same_as(self, other: Row | None) -> bool:
        """Whether both are one process, rather than two that had the same number."""
        return other is not None and abs(self.started_at - other.started_at) <= START_TOLERANCE_SECONDS


@dataclass(frozen=True)
class Table:
    """All processes at one moment; `read_at` in seconds since 1970. `count` is how many there are."""

    rows: Mapping[int, Row]
    read_at: float = 0.0
    count: int = field(default=0)

    @cached_property
    def kin(self) -> tuple[dict[int, list[int]], dict[int, list[int]]]:
        """Children of each process, and members of each session."""
        children: dict[int, list[int]] = {}
        sessions: dict[int, list[int]] = {}
        for row in self.rows.values():
            children.setdefault(row.parent, []).append(row.pid)
            if row.session:
                sessions.setdefault(row.session, []).append(row.pid)
        return children, sessions

    def ancestors(self, pid: int) -> list[int]:
        """A process and all above it, as far as they can be seen."""
        line: list[int] = []
        while pid in self.rows and pid not in line:
            line.append(pid)
            pid = self.rows[pid].parent
        return line

    def family(self, roots: Iterable[int], server_pid: int) -> set[int]:
        """`roots`, all below them, and all that share a session with one of these, never the server or one above it.

        A process that was detached and whose parent has ended belongs to init; it is still in the session of the kernel
        or shell that started it, also when that has ended, unless it began a session of its own.
        """
        children, sessions = self.kin
        others = set(self.ancestors(server_pid))
        taken = {self.rows[pid].session for pid in others}
        found: set[int] = set()
        waiting = [pid for root in roots for pid in (root, *sessions.get(root, ())) if pid in self.rows]
        while waiting:
            pid = waiting.pop()
            if pid in found or pid in others:
                continue
            found.add(pid)
            waiting += children.get(pid, ())
            session = self.rows[pid].session
            if session not in taken:
                taken.add(session)
                waiting += sessions.get(session, ())
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What one process uses: `cpu_share` of one core, and `io_rate` in bytes per second.

    `roles` are the names by which it can be ignored; `owner` is what its environment says it belongs to.
    """

    row: Row
    cpu_share: float
    io_rate: float = 0.0
    roles: tuple[str, ...] = ()
    owner: str | None = None

    def over(self, cpu_share: float, io_rate: float) -> bool:
        """Whether it uses more than one of these; exactly as much is not more."""
        return self.cpu_share > cpu_share or self.io_rate > io_rate

    def words(self) -> str:
        """Say what it uses; never its arguments, which may hold secrets."""
        parts = []
        if self.cpu_share >= 0.005:
            parts.append(f"uses {100 * self.cpu_share:.0f}% of a core")
        if self.io_rate >= 1000:
            parts.append(f"moves {amount(self.io_rate)} per second")
        return f"process {shown(self.row.name)} (pid {self.row.pid}) {' and '.join(parts) or 'is at work'}"


def amount(number: float) -> str:
    """Write a number of bytes in a unit that is read at a glance."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number:.0f} B"


def shown(name: str) -> str:
    """A process's name fit to be shown: it is chosen by whoever started it."""
    return "".join(char if char.isprintable() else "?" for char in name)[:40] or "?"


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
        seconds = max(seconds, 1e-3)
        found.append(Usage(row=row, cpu_share=(own + reaped) / seconds, io_rate=moved / seconds))
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
        seconds = row.at - before.at
        found.append(Usage(row=row, cpu_share=own / seconds, io_rate=0.0 if reaped else max(0.0, moved) / seconds))
    return found


def summary(found: Collection[Usage]) -> str | None:
    """One clause for all of them: the busiest by name, the others by number; None for none."""
    if not found:
        return None
    top = max(found, key=lambda usage: (usage.cpu_share, usage.io_rate))
    others = len(found) - 1
    return top.words() + ("" if not others else f", and {others} other process{'es' if others > 1 else ''}")
