"""What the commands share: the time, lines on the standard output, and the one server that is to be changed."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from datetime import datetime
from typing import Any

from ..client.here import this_server
from ..client.http import Client
from ..client.servers import the_one, wanted_servers
from ..engine.clock import utcnow


def now() -> datetime:
    """The time."""
    return utcnow()


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
    return Client(the_one(wanted_servers(options.url, options.token, options.server)), options.answer_within)
