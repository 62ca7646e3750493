"""Reading the process table. It blocks, so it runs in a thread; psutil is imported when it is first read."""

from __future__ import annotations

import os
import re
import sys
from typing import Any

from ..engine.clock import epoch, monotonic
from ..errors import ReadError
from ..records import MARKER
from .snapshot import Row, Table

#: Programs whose first argument names what really runs.
INTERPRETERS = ("bash", "bun", "dash", "deno", "java", "node", "perl", "python", "ruby", "sh")
#: Those in which editors and their servers are written. Where a script of another one lies says nothing of whose work
#: it is: an editor's debugger starts a user's program by a script of its own.
EDITORS = ("bun", "deno", "node")
#: Options of interpreters that say that what follows is code, and those whose value is the next word.
CODE = re.compile(r"-[a-zA-Z]*[ceEp]|--eval|--print|eval")
TAKE_A_VALUE = ("-W", "-X", "-I", "-r", "-cp", "-classpath", "--class-path", "--module-path", "--require", "-o", "-O")
#: A command line can be megabytes long: of so many words at most this many characters are looked at.
LONGEST_NAME, MOST_WORDS = 1000, 64
#: Of a process with more threads than this nobody counts how it runs.
MOST_THREADS = 500
#: What stands before how often a thread has given up its core of its own accord.
SLEEPS = b"\nvoluntary_ctxt_switches:"
#: Those states that matter, as psutil calls them.
STATES = {"running": "R", "disk-sleep": "D"}


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
                **_moved_bytes(psutil, process),
                at=monotonic(),
                ended=process.status() == psutil.STATUS_ZOMBIE,
                state=STATES.get(process.status(), ""),
                threads=_threads(pid),
            )
    except (psutil.Error, OSError):
        return None


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return 0


def _moved_bytes(psutil: Any, process: Any) -> dict[str, float | None]:
    """Bytes it read and wrote: through system calls, or on disk by mapped memory, whichever is more; `Row` says which.

    None where that is not known: on macOS, in some sandboxes, of processes that protect themselves.
    """
    try:
        seen = process.io_counters()
        wrote = getattr(seen, "write_chars", 0)
        return {
            "moved_bytes": float(max(getattr(seen, "read_chars", 0) + wrote, seen.read_bytes + seen.write_bytes)),
            "kept_bytes": float(max(wrote, seen.write_bytes) + seen.read_bytes),
        }
    except (psutil.Error, OSError, AttributeError, NotImplementedError, RuntimeError, ValueError):
        return {}


def _threads(pid: int) -> dict[int, tuple[float, float, int]]:
    """How long each thread has run and waited for a core (seconds), and how often it has slept; none where unknown.

    How often it was given a core (the third figure of schedstat) counts whoever interrupted it too.
    """
    found: dict[int, tuple[float, float, int]] = {}
    try:
        names = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return found
    for name in names if len(names) <= MOST_THREADS else ():
        try:
            with open(f"/proc/{pid}/task/{name}/schedstat", "rb") as file:
                ran, waited, _given = file.read(100).split()
            with open(f"/proc/{pid}/task/{name}/status", "rb") as file:
                _before, _label, rest = file.read().partition(SLEEPS)
            found[int(name)] = (int(ran) / 1e9, int(waited) / 1e9, int(rest.split(None, 1)[0]))
        except (OSError, ValueError, IndexError):
            continue  # it has ended, or this Linux does not count
    return found


def read_labels(pid: int) -> tuple[tuple[str, ...], str | None, str]:
    """The names by which a process can be ignored, what its environment says it belongs to, and what it is called."""
    psutil = _psutil()
    try:
        process = psutil.Process(pid)
        name, words = process.name(), [word[:LONGEST_NAME] for word in process.cmdline()[:MOST_WORDS]]
    except (psutil.Error, OSError):
        return (), None, ""
    roles, command = roles_of(name, words), command_of(name, words)
    try:
        return roles, process.environ().get(MARKER), command
    except (psutil.Error, OSError):
        return roles, None, command


def read_command(pid: int) -> str:
    """What a person calls the program of a process, see `command_of`; '' where there is none, or it may not be read."""
    try:
        psutil = _psutil()
        process = psutil.Process(pid)
        name, words = process.name(), [word[:LONGEST_NAME] for word in process.cmdline()[:MOST_WORDS]]
        return command_of(name, words)
    except (ReadError, OSError):
        return ""
    except psutil.Error:
        return ""


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
    return tuple(dict.fromkeys(role[:LONGEST_NAME] for role in roles if role))


def command_of(name: str, words: list[str]) -> str:
    """What a person calls a program: the script or module that an interpreter runs, else the process's name.

    Code on the command line is no name and is never told, nor is any other argument.

    >>> command_of("python3.11", ["python3.11", "-W", "error", "/home/u/train.py", "--password=x"])
    'train.py'
    >>> command_of("python3", ["python3", "-c", "import secret"])
    'python3'
    """
    if not words or not os.path.basename(words[0]).startswith(INTERPRETERS):
        return name
    program, rest = os.path.basename(words[0]), iter(words[1:])
    for word in rest:
        if not word.startswith(("-", "+")):
            return os.path.basename(word.rstrip("/")) or name
        if word == "-m" and program.startswith("python"):
            return next(rest, name)
        if CODE.fullmatch(word) and not program.startswith("java"):
            return name
        if word in TAKE_A_VALUE:
            next(rest, None)
    return name
