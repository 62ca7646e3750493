"""Which run of an app this is: the same for every server that is started within it, another after it was gone."""

from __future__ import annotations

import os
import uuid
from functools import cache
from hashlib import sha256
from pathlib import Path

#: Where Linux says which start of the machine this is, and when the first process of this container was started.
BOOT = Path("/proc/sys/kernel/random/boot_id")
PROCESSES = Path("/proc")


def digest(*parts: object) -> str:
    """A short name that tells nothing of what it is made of."""
    return sha256("\0".join(map(str, parts)).encode("utf-8", "replace")).hexdigest()[:16]


@cache
def container_run() -> str:
    """The run of this container or machine; where that cannot be told, of this process."""
    try:
        return digest(BOOT.read_text(), os.uname().nodename, _begun(1))
    except (OSError, ValueError, IndexError):
        return digest(uuid.uuid4())


@cache
def process_run() -> str:
    """The run of this process."""
    return digest(container_run(), os.getpid(), uuid.uuid4())


def _begun(pid: int) -> str:
    """When a process was started (ticks since the machine was)."""
    return (PROCESSES / str(pid) / "stat").read_text().rpartition(")")[2].split()[19]
