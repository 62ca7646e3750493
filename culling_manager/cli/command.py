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
 126  run: the command is no program; 127: there is no such command; else run's is the command's own
 130  interrupted
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn

from .._version import __version__
from ..client.servers import Code, Failure
from ..client.words import printable, speak_plainly
from ..errors import CullingError, SettingError
from . import keeping, options, running, savings, selection, settings, simulate, status
from .shared import folded

PROGRAM = "jupyter culling"
Command = Callable[[argparse.Namespace], int]

#: The commands that ask a server; a fault in another is ours and not that of an answer.
ASKING = (status.status, keeping.keep_alive, keeping.resume, running.run, settings.settings)


class Parser(argparse.ArgumentParser):
    """A command line whose refusals are folded as all other words are."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, and end the program with 2."""
        super().error(folded(message, len(f"{self.prog}: error: ")))


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line; a wrong one ends the program with 2."""
    parser, known = _parsers()
    ours, after = apart(sys.argv[1:] if argv is None else argv)
    _refuse_unknown_command(parser, ours, known)
    asked, unknown = parser.parse_known_args([hyphened(each) for each in ours], argparse.Namespace(command=after))
    if unknown:
        own = known.get(ours[0], parser)
        options_of = [each for action in own._actions for each in action.option_strings]
        likely = meant(unknown[0], options_of) if unknown[0].startswith("--") else ""
        own.error(f"unrecognized arguments: {' '.join(unknown)}{likely}")
    return asked


def _parsers() -> tuple[argparse.ArgumentParser, Mapping[str, argparse.ArgumentParser]]:
    """The parser of the command line, and those of the commands by name."""
    summary, _, codes = (__doc__ or "").partition("exit codes")
    raw = argparse.RawDescriptionHelpFormatter
    text = summary.partition(": ")[2].strip().capitalize()
    parser = Parser(
        prog=PROGRAM, description=text, epilog=f"exit codes{codes}", formatter_class=raw, allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(name: str, run: Command, words: str, shared: bool = True) -> argparse.ArgumentParser:
        parents: list[Any] = [options.where(timeout=name != "set")] if shared else []
        added = commands.add_parser(name, help=words, description=words, parents=parents, allow_abbrev=False)
        added.set_defaults(run=run)
        return added

    options.for_status(command("status", status.status, "What is there, when it stops, and why."))
    words = "Keep everything, or one thing, for a time; `keep-alive off` takes that back."
    options.for_keep_alive(command("keep-alive", keeping.keep_alive, words))
    options.for_resume(command("resume", keeping.resume, "The same as `keep-alive off`."))
    options.for_run(command("run", running.run, "Run a command, and keep what it runs on for as long as it lives."))
    options.for_set(command("set", settings.settings, "Show or change the settings of a running server."))
    for name, run, told in (
        ("enable", selection.enable, "Select culling_manager's managers where Jupyter reads it."),
        ("disable", selection.disable, "Take that selection away again; from everywhere, unless one place is given."),
    ):
        selection.add_arguments(command(name, run, told, shared=False), enabling=name == "enable")
    savings.add_arguments(command("savings", savings.savings, savings.SUMMARY, shared=False))
    simulate.add_arguments(command("simulate", simulate.simulate, simulate.SUMMARY, shared=False))
    return parser, commands.choices


def _refuse_unknown_command(parser: argparse.ArgumentParser, words: list[str], known: Iterable[str]) -> None:
    """End the program with 2, and the commands that there are, where the first word is none of them."""
    there = f"there are {', '.join(known)}; --help says what each does"
    if not words:
        parser.error(f"say which command: {there}")
    if not words[0].startswith("-") and words[0] not in known:
        parser.error(f"there is no command {printable(words[0])!r}{meant(words[0], known)}; {there}")


def meant(word: str, known: Iterable[str]) -> str:
    """Which of those that are known may have been meant; nothing where none is like it."""
    from difflib import get_close_matches

    found = get_close_matches(word.partition("=")[0], list(known), 1)
    return f" (did you mean {found[0]}?)" if found else ""


def apart(words: list[str]) -> tuple[list[str], list[str]]:
    """The words for this command, and those of the command that is to be run, which are not ours to read."""
    if words[:1] != ["run"] or "--" not in words:
        return words, []
    place = words.index("--")
    return words[:place], words[place + 1 :]


def hyphened(word: str) -> str:
    """An option with hyphens: --idle_timeout is how the trait is spelt, and so how one remembers it."""
    return re.sub(r"^--[a-z_]+", lambda found: found[0].replace("_", "-"), word)


def main(argv: list[str] | None = None) -> int:
    """Run a command, and give the exit code."""
    speak_plainly()
    asked = arguments(argv)
    try:
        return int(asked.run(asked))
    except Failure as failure:
        code, words = failure.exit_code, str(failure)
    except SettingError as error:
        code, words = Code.USAGE, str(error)
    except CullingError as error:
        code, words = Code.REFUSED, str(error)
    except (LookupError, TypeError, AttributeError) as error:
        if asked.run not in ASKING:
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
    told = "\n".join(folded(printable(line)) for line in words.split("\n"))
    sys.stderr.write(f"{PROGRAM}: {told}\n")
    return int(code)
