"""Ports for servers that tests start: none that the system gives away by itself, nor two test processes the same."""

from __future__ import annotations

import itertools
import os
import re
import socket
from contextlib import closing

#: Below the range from which Linux takes ports for whoever does not mind which (32768 and above).
FIRST, EACH = 12_000, 4_000
_worker = int(re.sub(r"\D", "", os.environ.get("PYTEST_XDIST_WORKER", "")) or 0) % 4
_tried = itertools.count(os.getpid())


def free_port() -> int:
    """A port on which nobody listens, and that nobody else takes before the server that it is for has started."""
    for _ in range(EACH):
        port = FIRST + EACH * _worker + next(_tried) % EACH
        with closing(socket.socket()) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no port is free")
