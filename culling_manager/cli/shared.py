"""What the commands share: the time, lines on the standard output, and the one server that is to be changed."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from argparse import Namespace
from datetime import datetime
from typing import Any

from ..client.here import server_here, this_server
from ..client.http import Client
from ..client.servers import the_one, wanted_servers
from ..engine.clock import utcnow


def now() -> datetime:
    """The time."""
    return utcnow()


def folded(line: str, taken: int = len("jupyter culling: ")) -> str:
    """A line for stderr: on a terminal in as many as it needs, none of which ends within a word; else as it is."""
    if not sys.stderr.isatty():
        return line
    width = max(20, shutil.get_terminal_size().columns)
    parts = textwrap.wrap(" " * taken + line, width, break_long_words=False, break_on_hyphens=False)
    return "\n".join(parts)[taken:]


def tell(line: str) -> None:
    """One line for people."""
    sys.stdout.write(line + "\n")


def tell_json(found: Any) -> None:
    """One JSON document for programs."""
    sys.stdout.write(json.dumps(found, indent=1) + "\n")


def chosen(options: Namespace) -> Client:
    """The client of the one server that is to be changed."""
    if getattr(options, "this", False) and options.url is None and options.server is None:
        return Client(this_server(options.token), options.answer_within)
    found = wanted_servers(options.url, options.token, options.server)
    own = server_here(found) if len(found) > 1 else None
    return Client(own or the_one(found), options.answer_within)
