"""`jupyter culling savings`: what stops of one's own apps gave back, out of the ledger in the home directory."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from datetime import datetime
from pathlib import Path
from shutil import get_terminal_size

from ..client.servers import Code
from ..errors import SettingError
from ..money import ledger as books
from ..money.lines import moment
from ..money.prices import read_prices
from ..money.words import lines, wrapped
from . import shared
from .shared import tell, tell_json

SUMMARY = "What was given back by stopping your own idle apps: at least, and at most."


def add_arguments(parser: ArgumentParser) -> None:
    """The options of the command."""
    add = parser.add_argument
    add("--since", metavar="DATE", help="from this day or instant on, in UTC (default: all that is known)")
    add("--prices", metavar="FILE", help="a price file; without one there are hours only")
    add("--json", action="store_true", help="print JSON")


def savings(options: Namespace) -> Code:
    """Read the ledger, count, tell."""
    since = None if options.since is None else _since(options.since)
    prices = None if options.prices is None else read_prices(options.prices)
    from jupyter_core.paths import jupyter_config_dir

    ledger = books.Ledger(jupyter_config_dir())
    found = ledger.lines()
    told = books.savings(found, shared.now(), since, prices)
    if options.json:
        tell_json(told)
    elif not found:
        tell(_nothing(ledger.path))
    else:
        width = get_terminal_size().columns
        for line in lines(told):
            for part in wrapped(line, width) or [""]:
                tell(part)
    return Code.OK


def _nothing(path: Path) -> str:
    """Say that nothing is known yet, and where it will stand, or does."""
    if path.exists():
        return f"No app has been started or stopped here yet, as far as {path} knows."
    return f"No app has been started or stopped here yet, so there is no ledger. It will be {path}."


def _since(text: str) -> datetime:
    at = moment(text if "T" in text else f"{text}T00:00:00Z")
    if at is None or at > shared.now():
        raise SettingError(
            "--since", text, "a day such as 2026-06-01, or a time such as 2026-06-01T08:00:00Z, not ahead"
        )
    return at
