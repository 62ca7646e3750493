"""What a reading of the process table gave: rows, and who belongs together. No clock, no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

#: Two readings tell the start of one process (seconds since 1970) by this much apart, as the clock is adjusted.
START_TOLERANCE_SECONDS = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One process as it was read.

    `session` is the id of its session, 0 when unknown. `cpu_seconds` is its own processor time so far, `child_seconds`
    that of all children it has waited for. `moved_bytes` is what it and those children read and wrote, None when that
    cannot be read; `kept_bytes` is what of it was written, or read from a disk. `at` is when it was read (monotonic
    seconds). `ended` means that only its parent has not noticed. `state` is its main thread's, one letter. `threads`
    says of each how long it has run and waited for a core (seconds), and how often it has slept (gave it up itself);
    none where nobody knows.
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
    kept_bytes: float | None = None
    state: str = ""
    threads: Mapping[int, tuple[float, float, int]] = field(default_factory=dict)

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

    def tree_of(self, pid: int, server_pid: int) -> int:
        """The session in which the first process of its job is: the topmost that is neither the server nor above it."""
        above, top = set(self.ancestors(server_pid)), pid
        for each in self.ancestors(pid):
            if each in above:
                break
            top = each
        return (self.rows[top].session if top in self.rows else 0) or top

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
