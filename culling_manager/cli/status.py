"""`jupyter culling status`: every server that is asked, shown with what it has, or with why it says nothing."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from ..client.http import Client
from ..client.servers import Code, Failure, Server, wanted_servers
from ..client.words import printable
from ..engine.clock import monotonic
from .rows import Tone
from .screen import Screen, screen
from .table import Show, pause, show, watched

#: How long (seconds) `status --watch` goes on: in a terminal of the server its output is use of that terminal, and one
#: that is forgotten must not keep an instance.
WATCH_SECONDS = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What one server said, or why it said nothing."""

    server: Server
    document: dict[str, Any] | None = None
    failure: Failure | None = None

    @property
    def code(self) -> Code:
        """The exit code; nothing is culled where none of our managers watches anything."""
        if self.failure is not None:
            return self.failure.exit_code
        watching = (self.document or {}).get("watching")
        return Code.NOT_SELECTED if watching == [] else Code.OK

    def as_json(self) -> dict[str, Any]:
        """For programs; the token is not in it."""
        error = None if self.failure is None else str(self.failure)
        return {"url": self.server.url, "code": int(self.code), "error": error, "status": self.document}

    def screen(self, option: str) -> Screen:
        """For people."""
        if self.document is not None:
            try:
                return screen(self.server.url, self.document, option)
            except (KeyError, ValueError, TypeError, AttributeError) as error:
                words = f"Its answer is not the one that this command knows ({type(error).__name__}): {error}"
        else:
            words = str(self.failure)
        return Screen(head=((self.server.url, Tone.HEAD), (printable(words), Tone.BAD)))


def look(servers: Sequence[Server], seconds: float) -> list[Look]:
    """Ask all servers at once."""

    def ask(server: Server) -> Look:
        try:
            return Look(server=server, document=Client(server, seconds).get("status"))
        except Failure as failure:
            return Look(server=server, failure=failure)

    with ThreadPoolExecutor(max_workers=min(16, len(servers))) as pool:
        return list(pool.map(ask, servers))


def status(options: Namespace) -> Code:
    """Show every server; with ``--watch`` again and again, until Ctrl-C or for `WATCH_SECONDS`."""
    if not options.watch:
        return _show_status(options, show)
    code, end = Code.OK, monotonic() + WATCH_SECONDS
    try:
        with watched() as shown:
            while monotonic() < end:
                code = _show_status(options, shown)
                sys.stdout.flush()  # whoever reads along, as in `| tee log`, does not wait for the next look
                pause(options.watch)
    except KeyboardInterrupt:
        return code
    sys.stderr.write("Watching has ended after an hour, for what it prints keeps a terminal alive.\n")
    return code


def _show_status(options: Namespace, shown: Show) -> Code:
    servers = wanted_servers(options.url, options.token, options.server)
    looks = look(servers, options.answer_within)
    if options.json:
        sys.stdout.write(json.dumps({"servers": [each.as_json() for each in looks]}) + "\n")
    else:
        several = len(looks) > 1
        shown([each.screen(f" --server {_choice(each.server)}" if several else "") for each in looks])
    return max(each.code for each in looks)


def _choice(server: Server) -> str:
    return str(server.port or server.url)
