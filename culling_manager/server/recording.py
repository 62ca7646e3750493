"""The event log that `jupyter culling simulate` plays: what happens to kernels, terminals, apps, and nothing else."""

from __future__ import annotations

import logging
import os
import re
import sys
from copy import copy
from logging.handlers import RotatingFileHandler
from typing import Any

from traitlets import Integer, Unicode
from traitlets.config import LoggingConfigurable

from ..engine.culler import IdleCuller

#: Schemas of which `simulate` makes anything. Others may hold paths, names and what somebody typed.
NEEDED = r"/jupyter_server/kernel_actions/|/culling_manager/(culling|app)$"
#: And what of them: no paths, no sentences.
FIELDS = frozenset(
    ("__schema__", "__timestamp__", "__schema_version__", "__metadata_version__", "action", "kind", "identity", "name")
) | {"reason", "idle_seconds", "kernel_id", "kernel_name", "status", "app", "app_type"}
#: What trouble with the event log is noted under.
SUBJECT = "event log"


class Recording(LoggingConfigurable):
    """Writes the events that `simulate` needs into a file of its own, or to where the server's log goes."""

    path = Unicode(
        "",
        config=True,
        help="""Where the events go that `jupyter culling simulate` needs, a JSON object a line: a file, readable for
        its owner only, whose directory is made if it is missing (`~` is the home directory), or `-` for the standard
        error, which SageMaker Studio collects in CloudWatch with the server's log. Empty: they are not written.""",
    )
    max_bytes = Integer(
        5_000_000,
        min=10_000,
        config=True,
        help="A file is rotated before it is larger than this (bytes); `events.jsonl.1` is the one before.",
    )
    backups = Integer(4, min=0, config=True, help="So many rotated files are kept; older ones are deleted.")

    def start(self, server: Any, culler: IdleCuller) -> None:
        """Begin, where it is configured; what fails is told, and is never in the way of the server."""
        bus = getattr(server, "event_logger", None)
        if not self.path or bus is None:
            return

        def failed(error: BaseException | None) -> None:
            words = f"the event log {self.path} cannot be written: {getattr(error, 'strerror', None) or error}"
            culler.trouble(SUBJECT, words)

        try:
            handler = self._handler()
        except OSError as error:
            failed(error)
            return
        handler.addFilter(needed)
        # a full disk is no reason to print a traceback for each event
        handler.handleError = lambda record: failed(sys.exc_info()[1])  # type: ignore[method-assign]
        bus.register_handler(handler)

    def _handler(self) -> logging.Handler:
        if self.path == "-":
            return ToLog()
        path = os.path.abspath(os.path.expanduser(self.path))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return ToFile(path, maxBytes=self.max_bytes, backupCount=self.backups, encoding="utf-8")


class Reduced(logging.Handler):
    """Writes of an event only what `simulate` reads."""

    def format(self, record: logging.LogRecord) -> str:
        """The event as a line of JSON."""
        reduced = copy(record)
        event = record.msg if isinstance(record.msg, dict) else {}
        reduced.msg = {name: value for name, value in event.items() if name in FIELDS}
        return super().format(reduced)


class ToLog(Reduced, logging.StreamHandler):  # type: ignore[type-arg]
    """Where the server's log goes."""


class ToFile(Reduced, RotatingFileHandler):
    """A rotating file that only its owner can read."""

    def _open(self) -> Any:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        return open(os.open(self.baseFilename, flags, 0o600), self.mode, encoding=self.encoding)


def needed(record: logging.LogRecord) -> bool:
    """Whether an event is one of those that `simulate` reads."""
    event = record.msg if isinstance(record.msg, dict) else {}
    return re.search(NEEDED, str(event.get("__schema__", ""))) is not None
