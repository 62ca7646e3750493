"""Reading the process table. It blocks, so it runs in a thread; psutil is imported when it is first read."""

from __future__ import annotations

import os
import sys
from typing import Any

from ..engine.clock import epoch, monotonic
from ..errors import ReadError
from ..records import Kind
from .usage import Row, Table

#: A variable in the environment of kernels and terminals that says whose they, and all they start, are.
MARKER = "CULLING_MANAGER_OWNER"
#: Programs whose first argument names what really runs.
INTERPRETERS = ("bash", "bun", "dash", "deno", "java", "node", "perl", "python", "ruby", "sh")
#: Those in which editors and their servers are written. Where a script of another one lies says nothing of whose work
#: it is: an editor's debugger starts a user's program by a script of its own.
EDITORS = ("bun", "deno", "node")


def owner(kind: Kind, identity: str, server_pid: int) -> str:
    """What `MARKER` is for one kernel or terminal of one server."""
    return f"{server_pid}:{kind.value}:{identity}"


def _psutil() -> Any:
    if sys.platform not in ("linux", "darwin"):
        raise ReadError(f"processes cannot be looked at on {sys.platform}")
    try:
        import psutil
    except ImportError as error:
        raise ReadError(f"processes cannot be looked at, because psutil is missing: {error}") from None
    return psutil


def read_table(most: int) -> Table:
    """Read all processes; when there are more than `most`, only their number.

    One that ends meanwhile is left out, and so is one that may not be read.
    """
    psutil = _psutil()
    read_at = epoch()
    pids = psutil.pids()
    rows: dict[int, Row] = {}
    for pid in pids if len(pids) <= most else ():
        row = _read_row(psutil, pid)
        if row is not None:
            rows[pid] = row
    if 2 in rows and rows[2].name == "kthreadd":  # threads of Linux itself, which containers do not see
        rows = {pid: row for pid, row in rows.items() if pid != 2 and row.parent != 2}
    return Table(rows=rows, read_at=read_at, count=len(pids))


def _read_row(psutil: Any, pid: int) -> Row | None:
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            times = process.cpu_times()
            return Row(
                pid=pid,
                parent=process.ppid(),
                session=_session(pid),
                user=process.uids().real,
                name=process.name(),
                started_at=process.create_time(),
                cpu_seconds=times.user + times.system,
                child_seconds=getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0),
                moved_bytes=_moved_bytes(psutil, process),
                at=monotonic(),
                ended=process.status() == psutil.STATUS_ZOMBIE,
            )
    except (psutil.Error, OSError):
        return None


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return 0


def _moved_bytes(psutil: Any, process: Any) -> float | None:
    """Bytes it read and wrote: through system calls, or on disk by mapped memory, whichever is more.

    None where that is not known: on macOS, in some sandboxes, of processes that protect themselves.
    """
    try:
        seen = process.io_counters()
        called = getattr(seen, "read_chars", 0) + getattr(seen, "write_chars", 0)
        return float(max(called, seen.read_bytes + seen.write_bytes))
    except (psutil.Error, OSError, AttributeError, NotImplementedError, RuntimeError, ValueError):
        return None


def read_labels(pid: int) -> tuple[tuple[str, ...], str | None]:
    """The names by which a process can be ignored, and what its environment says it belongs to."""
    psutil = _psutil()
    try:
        process = psutil.Process(pid)
        roles = roles_of(process.name(), process.cmdline())
    except (psutil.Error, OSError):
        return (), None
    try:
        return roles, process.environ().get(MARKER)
    except (psutil.Error, OSError):
        return roles, None


def roles_of(name: str, words: list[str]) -> tuple[str, ...]:
    """The names of a program: its process's, its file's, and of what an interpreter runs; with the path for `EDITORS`.

    >>> roles_of("node", ["/usr/bin/node", "--inspect", "/opt/pyright/langserver.js", "--stdio"])
    ('node', '/usr/bin/node', 'langserver.js', '/opt/pyright/langserver.js')
    """
    roles = [name]
    if words and words[0]:
        program = os.path.basename(words[0])
        roles += [program, words[0]]
        if program.startswith(INTERPRETERS):
            script = next((word for word in words[1:] if not word.startswith("-")), "")
            roles += [os.path.basename(script), script if program.startswith(EDITORS) else ""]
    return tuple(dict.fromkeys(role for role in roles if role))
