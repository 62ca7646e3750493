"""Who talks to another machine: told by the sockets that Linux lists. It blocks, so it runs in a thread."""

from __future__ import annotations

import os
from collections.abc import Iterable

#: Where connections are listed, and the state (in hexadecimal) of one that stands.
LISTS = ("tcp", "tcp6", "udp", "udp6")
STANDS = "01"
#: A list of more bytes than this is not read, and a process with more open files than this is not looked at.
LONGEST_LIST, MOST_FILES = 20_000_000, 20_000


def outside(lines: Iterable[str]) -> set[str]:
    """The inodes of connections whose other end is not on this machine, from lines of ``/proc/net/tcp`` and the like.

    The other end is here if its address is of the loopback, or is one that a socket here has, too.
    """
    rows = [words for line in lines if len(words := line.split()) > 9 and ":" in words[1] and ":" in words[2]]
    here = {words[1].rpartition(":")[0] for words in rows}
    return {
        words[9]
        for words in rows
        if words[3] == STANDS and not _is_loopback(far := words[2].rpartition(":")[0]) and far not in here
    }


def _is_loopback(address: str) -> bool:
    """Whether an address, as Linux writes it (in words of four bytes, each back to front), is of the loopback."""
    if len(address) == 8:
        return address.endswith("7F")
    if address.startswith("0000000000000000FFFF0000"):
        return address.endswith("7F")
    return address == "00000000000000000000000001000000"


def connections() -> set[str] | None:
    """The inodes of all connections to other machines; None where they cannot be listed."""
    lines: list[str] = []
    for name in LISTS:
        try:
            with open(f"/proc/net/{name}") as file:
                text = file.read(LONGEST_LIST)
        except FileNotFoundError:
            continue  # a machine without IPv6, or no Linux
        except (OSError, ValueError):
            return None
        if len(text) == LONGEST_LIST:
            return None
        lines += text.splitlines()[1:]
    return outside(lines) if lines else None


def talks_outside(pid: int, known: set[str] | None) -> bool:
    """Whether a process holds one of these connections; so it does in doubt."""
    if known is None:
        return True
    folder = f"/proc/{pid}/fd"
    try:
        names = os.listdir(folder)
    except OSError:
        return True
    if len(names) > MOST_FILES:
        return True
    for name in names if known else ():
        try:
            target = os.readlink(f"{folder}/{name}")
        except FileNotFoundError:
            continue  # closed meanwhile
        except OSError:
            return True
        if target.startswith("socket:[") and target[8:-1] in known:
            return True
    return False
