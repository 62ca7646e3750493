"""`jupyter culling`: what stops when and why, keeping things alive, settings, and what other settings would have done.

exit codes (of several servers, the highest):
   0  done
   1  refused: a value, a thing that is not there, a line of a history file
   2  wrong usage of this command, or a choice among servers or ids is missing
   3  no Jupyter Server was found, or none is at this URL
   6  nothing is culled there: the managers are not those of culling_manager
   7  the server extension culling_manager is missing
   8  the token is wrong or missing, or does not allow this
   9  the answer is not the one that the extension gives
  10  the server does not answer
 130  interrupted
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable

from .._version import __version__
from ..client.servers import Code, Failure, parse_url
from ..client.words import printable, speak_plainly
from ..errors import CullingError, SettingError
from . import keeping, savings, selection, settings, simulate, status

PROGRAM = "jupyter culling"
Command = Callable[[argparse.Namespace], Code]


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
    """Read a finite number of minutes; what range is accepted is the server's to say."""
    if not math.isfinite(float(text)):
        raise ValueError(text)
    return float(text)


def where() -> argparse.ArgumentParser:
    """The options that say which server, shared by the commands that ask one."""
    parser = argparse.ArgumentParser(add_help=False)
    group = parser.add_argument_group("which server", "where it has only a password, that goes into JUPYTER_PASSWORD")
    group.add_argument(
        "--server", metavar="PORT|URL", help="one of those that run here (default: all, or the only one)"
    )
    group.add_argument("--url", type=url, help="any server, such as http://localhost:8888/jupyter/default")
    group.add_argument("--token", help="others on this machine can see it here; they cannot see JUPYTER_TOKEN")
    group.add_argument("--timeout", type=seconds, default=10.0, metavar="SECONDS", help="for an answer (default: 10)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def one_thing(parser: argparse.ArgumentParser) -> argparse._MutuallyExclusiveGroup:
    """The options that name one thing; without any it is everything."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--kernel", metavar="ID", help="only this kernel; the beginning of its id will do")
    group.add_argument("--terminal", metavar="NAME", help="only this terminal")
    group.add_argument("--app", metavar="ID", help="only this app, by id or name; the beginning will do")
    return group


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line; a wrong one ends the program with 2."""
    summary, _, codes = (__doc__ or "").partition("exit codes")
    raw = argparse.RawDescriptionHelpFormatter
    text = summary.partition(": ")[2].strip().capitalize()
    parser = argparse.ArgumentParser(
        prog=PROGRAM, description=text, epilog=f"exit codes{codes}", formatter_class=raw, allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(name: str, run: Command, words: str, shared: bool = True) -> argparse.ArgumentParser:
        parents = [where()] if shared else []
        added = commands.add_parser(name, help=words, description=words, parents=parents, allow_abbrev=False)
        added.set_defaults(run=run)
        return added

    _status(command("status", status.status, "What is there, when it stops, and why."))
    _keep_alive(command("keep-alive", keeping.keep_alive, "Keep everything, or one thing, for a time."))
    added = command("resume", keeping.resume, "Take a keep-alive back; without options the one for everything.")
    one_thing(added).add_argument("--all", action="store_true", help="every keep-alive that there is")
    _set(command("set", settings.settings, "Show or change the settings of a running server."))
    for name, run, words in (
        ("enable", selection.enable, "Select culling_manager's managers where Jupyter reads it."),
        ("disable", selection.disable, "Take that selection away again; from everywhere, unless one place is given."),
    ):
        selection.add_arguments(command(name, run, words, shared=False), enabling=name == "enable")
    savings.add_arguments(command("savings", savings.savings, savings.SUMMARY, shared=False))
    simulate.add_arguments(command("simulate", simulate.simulate, simulate.SUMMARY, shared=False))
    return parser.parse_args(argv)


def _status(parser: argparse.ArgumentParser) -> None:
    words = "show it again every SECONDS (2), until Ctrl-C, for an hour at most"
    parser.add_argument("--watch", type=seconds, nargs="?", const=2.0, metavar="SECONDS", help=words)


def _keep_alive(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("duration", nargs="*", metavar="TIME", help="4h, 90m, 1h30m, 2d, or a number of minutes")
    parser.add_argument("--until", metavar="TIME", help="18:30 (local time, the next one), or a date and time")
    one_thing(parser)


def _set(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--idle-timeout", type=minutes, metavar="MINUTES", help="minutes without activity")
    keep = argparse.BooleanOptionalAction
    parser.add_argument("--keep-terminals", action=keep, help="whether terminals are left alone")
    parser.add_argument("--save", action="store_true", help="also for the next start of the server")
    parser.add_argument("--reset", action="store_true", help="back to what is configured; forget what was saved")


def main(argv: list[str] | None = None) -> int:
    """Run a command, and give the exit code."""
    speak_plainly()
    options = arguments(argv)
    try:
        return int(options.run(options))
    except Failure as failure:
        code, words = failure.exit_code, str(failure)
    except SettingError as error:
        code, words = Code.USAGE, str(error)
    except CullingError as error:
        code, words = Code.REFUSED, str(error)
    except (LookupError, TypeError, AttributeError) as error:
        if options.run is simulate.simulate:
            raise
        told = f"{type(error).__name__}: {error}"
        code, words = Code.UNEXPECTED, f"The answer is not the one that this command knows ({told})."
    except KeyboardInterrupt:
        sys.stderr.write(f"{PROGRAM}: interrupted\n")
        return 130
    except BrokenPipeError:
        sys.stderr.close()  # nobody reads on, as with `| head`; Python would complain of it at its end
        return 0
    # a line at a time, for some of the words are lists; what is in them may come from a server, a file or a URL
    told = "\n".join(printable(line) for line in words.split("\n"))
    sys.stderr.write(f"{PROGRAM}: {told}\n")
    return int(code)
