"""What Jupyter programs of this user note about themselves: servers in runtime files, kernels in connection files.

Whoever runs code as this user can write such files, so none is believed further than the process that it is about. All
of this blocks, so it runs in a thread.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .snapshot import START_TOLERANCE_SECONDS, Table

#: A runtime or connection file of more bytes than this is none.
LONGEST_FILE = 65_536
#: Of a command line at most this many words are looked at.
MOST_WORDS = 64
#: What says of a command line that a kernel was started by it, with a connection file as its word or option.
FILE = re.compile(r"(?:--?[\w.-]+=)?((?:/|[\w~.-]).{0,4000}\.json)", re.DOTALL)
#: Modules that run a kernel, whether or not the file that they were given is still there.
KERNEL = re.compile(r"ipykernel(_launcher)?(/__main__\.py)?|xpython|.*/ipykernel_launcher\.py|IRkernel::main\(\)")
#: Fields that every connection file has.
FIELDS = ("shell_port", "control_port", "hb_port", "iopub_port")


@dataclass(frozen=True, slots=True)
class Kernel:
    """A process that is a kernel: `info` is how to ask it, None where that cannot be learned; `file` is its path."""

    pid: int
    parent: int
    file: str = ""
    info: dict[str, Any] | None = None


def runtime_dir() -> Path:
    """Jupyter's runtime directory."""
    from jupyter_core.paths import jupyter_runtime_dir

    return Path(jupyter_runtime_dir())


def other_servers(table: Table, server_pid: int) -> set[int]:
    """Processes of Jupyter Servers besides ours, by their runtime files.

    A process counts only if it was there when its file was written: numbers are given again.
    """
    found = set()
    with suppress(OSError):
        for path in runtime_dir().iterdir():
            name = re.fullmatch(r"(?:jp|nb)server-(\d{1,10})\.json", path.name)
            row = table.rows.get(int(name[1])) if name else None
            if row is None or row.pid == server_pid:
                continue
            with suppress(OSError):
                status = path.lstat()
                theirs = stat.S_ISREG(status.st_mode) and status.st_uid == os.getuid() == row.user
                if theirs and row.started_at <= status.st_mtime + START_TOLERANCE_SECONDS:
                    found.add(row.pid)
    return found


def kernels(table: Table, user: int) -> list[Kernel]:
    """All kernels of a user among the processes, by their command lines, or by a file that bears their number."""
    import psutil

    found = []
    for row in table.rows.values():
        if row.user != user or row.ended:
            continue
        try:
            words = [word[:LONGEST_FILE] for word in psutil.Process(row.pid).cmdline()[:MOST_WORDS]]
        except (psutil.Error, OSError):
            continue
        kernel = kernel_of(row.pid, row.parent, words) or _by_number(row.pid, row.parent, row.started_at)
        if kernel is not None:
            found.append(kernel)
    return found


def kernel_of(pid: int, parent: int, words: Iterable[str]) -> Kernel | None:
    """The kernel that a command line started; None when it started none."""
    words = list(words)
    named = any(KERNEL.fullmatch(word) for word in words)
    for word in words[1:]:
        path = FILE.fullmatch(word)
        info = read_connection(Path(path[1])) if path else None
        if path and info:
            return Kernel(pid, parent, os.path.realpath(path[1]), info)
    return Kernel(pid, parent) if named else None


def _by_number(pid: int, parent: int, started_at: float) -> Kernel | None:
    """A kernel that somebody started by hand: its file has its process's number for a name."""
    path = runtime_dir() / f"kernel-{pid}.json"
    with suppress(OSError):
        if path.lstat().st_mtime + START_TOLERANCE_SECONDS >= started_at:
            info = read_connection(path)
            return Kernel(pid, parent, os.path.realpath(path), info) if info else None
    return None


def read_connection(path: Path) -> dict[str, Any] | None:
    """How to ask a kernel on this machine, from its connection file; None when it is no such file of this user's."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (OSError, ValueError):
        return None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.getuid() or status.st_size > LONGEST_FILE:
            return None
        info = json.loads(os.read(descriptor, LONGEST_FILE))
    except (OSError, ValueError, RecursionError):
        return None
    finally:
        os.close(descriptor)
    known = isinstance(info, dict) and all(type(info.get(name)) is int for name in FIELDS)
    return info if known and isinstance(info.get("key"), str) else None
