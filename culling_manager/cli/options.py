"""The options of the commands, and how their values are read."""

from __future__ import annotations

import argparse
import math
from typing import Any

from ..client import paste
from ..client.servers import parse_url
from ..client.words import asked_minutes
from ..errors import SettingError


def url(text: str) -> str:
    """Check a server's URL; it may hold a token, so argparse must not repeat it."""
    try:
        parse_url(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def seconds(text: str) -> float:
    """Read a number of seconds over 0, at most a day."""
    if not 0 < float(text) <= 86_400:
        raise ValueError(text)
    return float(text)


def minutes(text: str) -> float:
    """Read a finite number of minutes, or a duration such as 4h; what range is accepted is the server's to say."""
    try:
        found = asked_minutes(text)
    except (ValueError, SettingError):
        found = math.nan
    if not math.isfinite(found):
        words = "it must be a number of minutes, or a duration such as 4h or 90m"
        raise argparse.ArgumentTypeError(f"{text!r} is not accepted: {words}")
    return found


def where(timeout: bool) -> argparse.ArgumentParser:
    """The options that say which server, shared by the commands that ask one.

    With `timeout` that word is another one for ``--answer-within``, as it was before that one was there.
    """
    parser = argparse.ArgumentParser(add_help=False)
    group = parser.add_argument_group("which server", "where it has only a password, that goes into JUPYTER_PASSWORD")
    group.add_argument(
        "--server", metavar="PORT|URL", help="one of those that run here (default: all, the only one, or one's own)"
    )
    group.add_argument("--url", type=url, help="any server, such as http://localhost:8888/jupyter/default")
    group.add_argument("--token", help="others on this machine can see it here; they cannot see JUPYTER_TOKEN")
    words, own = "how long to wait for an answer (10)", dict[str, Any](dest="answer_within", type=seconds)
    group.add_argument("--answer-within", default=10.0, metavar="SECONDS", help=words, **own)
    if timeout:
        group.add_argument("--timeout", default=argparse.SUPPRESS, help=argparse.SUPPRESS, **own)
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def one_thing(parser: argparse.ArgumentParser) -> argparse._MutuallyExclusiveGroup:
    """The options that name one thing; without any it is everything."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--kernel", metavar="NOTEBOOK|ID", help="only this notebook's kernel, or by id")
    group.add_argument("--terminal", metavar="NAME", help="only this terminal, by its name or what runs in it")
    words = "this notebook's kernel, or in a terminal everything on its server; nobody asks which server"
    group.add_argument("--this", action="store_true", help=words)
    group.add_argument("--app", metavar="ID", help="only this app, by id or name; the beginning will do")
    return group


def for_status(parser: argparse.ArgumentParser) -> None:
    """The options of `status`."""
    words = "show it again every SECONDS (2), until Ctrl-C, for an hour at most"
    parser.add_argument("--watch", type=seconds, nargs="?", const=2.0, metavar="SECONDS", help=words)


def for_keep_alive(parser: argparse.ArgumentParser) -> None:
    """The options of `keep-alive`, and below them what to paste where this package is not."""
    parser.epilog, parser.formatter_class = paste.HELP.replace("%", "%%"), argparse.RawDescriptionHelpFormatter
    words = "4h, 90m, 1h30m, or a number of minutes; off: no longer"
    parser.add_argument("duration", nargs="*", metavar="TIME", help=words)
    parser.add_argument("--until", metavar="TIME", help="18:30 (local time, the next one), or a date and time")
    for_resume(parser, "with off: ")


def for_resume(parser: argparse.ArgumentParser, when: str = "") -> None:
    """The options of `resume`."""
    one_thing(parser).add_argument("--all", action="store_true", help=f"{when}every keep-alive that there is")


def for_run(parser: argparse.ArgumentParser) -> None:
    """The options of `run`; what is to be run is read before them."""
    parser.usage = "%(prog)s [--for TIME] [options] -- COMMAND [ARGUMENT ...]"
    words = "4h, 90m or a number of minutes: so long at most, however long it runs (default: max_keep_alive)"
    parser.add_argument("--for", dest="most", metavar="TIME", help=words)
    one_thing(parser).add_argument("--all", action="store_true", help="everything on the server")


def for_set(parser: argparse.ArgumentParser) -> None:
    """The options of `set`."""
    words = "minutes without activity, or such as 4h"
    parser.add_argument("--idle-timeout", "--timeout", type=minutes, metavar="MINUTES", help=words)
    keep = argparse.BooleanOptionalAction
    parser.add_argument("--keep-terminals", action=keep, help="whether terminals are left alone")
    parser.add_argument("--save", action="store_true", help="also for the next start of the server")
    parser.add_argument("--reset", action="store_true", help="back to what is configured; forget what was saved")
