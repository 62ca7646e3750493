"""How what a kernel or terminal starts is told to be its own, wherever it goes: by a variable that is inherited."""

from __future__ import annotations

from ..records import Kind

#: A variable in the environment of kernels and terminals that says whose they, and all they start, are.
MARKER = "CULLING_MANAGER_OWNER"


def owner(kind: Kind, identity: str, server_pid: int) -> str:
    """What `MARKER` is for one kernel or terminal of one server."""
    return f"{server_pid}:{kind.value}:{identity}"
