"""What runs in a terminal, as a person calls it: read when it is asked for, a few processes and not the whole table."""

from __future__ import annotations

import os
from collections.abc import Iterable

from .table import read_command

#: Programs that only wait for what is typed.
SHELLS = frozenset({"bash", "sh", "dash", "zsh", "fish", "ksh", "tcsh", "csh", "ash"})
#: Of more programs than this only the number is told, and shells in shells are looked into this deep.
MOST_NAMED, DEEPEST = 2, 4


def runs_in(shell: int, terminal: int | None) -> str | None:
    """Name what is in the foreground of a terminal, else what its shell started: 'train.py', 'make and 2 more'.

    None where only shells are, and where nobody can tell. `shell` is its first process, `terminal` its descriptor. No
    argument is ever told: see `command_of`. What runs in the background is seen on Linux only.
    """
    foreground = _foreground(terminal)
    found = list(dict.fromkeys(_below(foreground, DEEPEST))) if foreground else []
    found = found or list(dict.fromkeys(_below(shell, DEEPEST)))
    if len(found) > MOST_NAMED:
        return f"{found[0]} and {len(found) - 1} more"
    return ", ".join(found) or None


def _below(pid: int, depth: int) -> Iterable[str]:
    """The command of a process; of a shell, those of what it started, the oldest first."""
    command = read_command(pid)
    if command and command.lstrip("-") not in SHELLS:
        yield command
    elif command and depth:
        for child in _children(pid):
            yield from _below(child, depth - 1)


def _foreground(terminal: int | None) -> int | None:
    """The leader of the process group to which the terminal's keys go."""
    try:
        return None if terminal is None else os.tcgetpgrp(terminal)
    except OSError:  # closed meanwhile, or no terminal
        return None


def _children(pid: int) -> list[int]:
    """What a process started and still has; nothing where Linux does not say, or there is none."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children", "rb") as file:
            return [int(each) for each in file.read().split()]
    except (OSError, ValueError):
        return []
