"""`jupyter culling simulate`: what several policies would have done with one history, side by side."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, BooleanOptionalAction, Namespace, RawDescriptionHelpFormatter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from ..client.servers import Code
from ..client.words import ACCEPTED_UNTIL, moment, printable, short
from ..decisions import Reason
from ..errors import SettingError
from ..policy import CullingPolicy, minutes, plain
from ..records import Kind
from ..report import duration, iso
from ..simulation import history as cli_history
from ..simulation.history import History, read_history
from ..simulation.world import Outlook, Stop
from ..simulation.world import simulate as lived
from .table import aligned

SUMMARY = "What would have been stopped, and when, under other settings, and what of it was used again."
#: The timeouts (minutes) that are compared where none is given.
USUAL = (30.0, 60.0, 120.0, 240.0)
#: Narrower than this a policy's column is not readable, so the rest goes into a table of its own.
NARROWEST = 24

#: Lines, each with its style.
Cell = tuple[tuple[str, str], ...]


def add_arguments(parser: ArgumentParser) -> None:
    """The options of the command."""
    format_words = (cli_history.__doc__ or "").partition("\n\n")[2].replace("::", ":").replace("``", "")
    parser.formatter_class = RawDescriptionHelpFormatter
    parser.epilog = (
        "FILE has JSON lines: a history as follows, or the log of the server's event bus\n"
        f"(c.EventLogger.handlers). {format_words}"
    )
    add = parser.add_argument
    add("file", metavar="FILE", help="a history or an event log; - is the standard input")
    words = "to compare; may be given more than once (30, 60, 120, 240)"
    add("--idle-timeout", type=float, action="append", metavar="MINUTES", help=words)
    add("--terminal-timeout", type=float, metavar="MINUTES", help="for terminals, where it is another one")
    add("--busy-timeout", type=float, default=0.0, metavar="MINUTES", help="busy for longer is stopped (0: never)")
    add("--long-run", type=float, default=10.0, metavar="MINUTES", help="a run from which on there is grace (10)")
    add("--grace", type=float, default=0.0, metavar="MINUTES", help="kept for so long after a long run (0: no grace)")
    add("--keep-terminals", action=BooleanOptionalAction, default=False, help="terminals are left alone")
    add("--cull-connected", action=BooleanOptionalAction, default=True, help="an open tab keeps nothing")
    add("--until", metavar="TIME", help="how long the history goes on after its last event")
    add("--totals", action="store_true", help="only the sums")
    add("--json", action="store_true", help="print JSON")


def policies(options: Namespace) -> list[CullingPolicy]:
    """One policy for each timeout. Raises `SettingError`."""
    terminals = options.terminal_timeout
    return [
        CullingPolicy(
            idle_timeout=minutes("--idle-timeout", timeout) * 60,
            terminal_idle_timeout=None if terminals is None else minutes("--terminal-timeout", terminals) * 60,
            busy_timeout=minutes("--busy-timeout", options.busy_timeout) * 60,
            long_run=minutes("--long-run", options.long_run) * 60,
            grace=minutes("--grace", options.grace) * 60,
            keep_terminals=options.keep_terminals,
            cull_connected=options.cull_connected,
        )
        for timeout in dict.fromkeys(options.idle_timeout or USUAL)
    ]


def simulate(options: Namespace) -> Code:
    """Read, live it under each policy, tell."""
    wanted, history = policies(options), read_history(options.file)
    until = _until(options.until)
    outlooks = [lived(history.events, policy, until) for policy in wanted]
    if options.json:
        sys.stdout.write(json.dumps(as_json(history, outlooks), indent=1) + "\n")
        return Code.OK
    for line in notices(history):
        sys.stdout.write(line + "\n")
    if history.events:
        print_outlooks(outlooks, [] if options.totals else things(outlooks))
    return Code.OK


def _until(text: str | None) -> datetime | None:
    try:
        return None if text is None else moment(text)
    except ValueError:
        raise SettingError("--until", text, ACCEPTED_UNTIL.partition(", or ")[2]) from None


def notices(history: History) -> Iterable[str]:
    """What a reader has to know of the history."""
    events = history.events
    if not events:
        yield "Nothing in this history tells of a kernel, terminal or app."
        return
    first, last = min(each.at for each in events), max(each.at for each in events)
    span = f"{first.astimezone():%Y-%m-%d %H:%M} to {last.astimezone():%Y-%m-%d %H:%M}"
    yield f"{len(events)} events in {duration((last - first).total_seconds())}, {span}."
    if history.unseen:
        yield (
            "An event log does not tell of each use, and where it tells nothing that counts as use: "
            "short timeouts would have stopped more than is shown."
        )
    if history.skipped:
        yield f"{history.skipped} lines tell of nothing that matters here."
    if history.culled:
        words = "what would have become of it under longer timeouts cannot be known"
        yield f"The culler of that time really stopped some of it ({history.culled}): {words}."


def as_json(history: History, outlooks: Sequence[Outlook]) -> dict[str, Any]:
    """For programs: durations in seconds, times in ISO 8601."""
    found = [
        {
            "idle_timeout": each.policy.idle_timeout,
            "stopped": len(each.stops),
            "regretted": len(each.regretted),
            "given_back": {kind.value: each.given_back(kind) for kind in Kind},
            "stops": [_stop_json(stop) for stop in each.stops],
        }
        for each in outlooks
    ]
    return {"events": len(history.events), "skipped": history.skipped, "culled": history.culled, "policies": found}


def _stop_json(stop: Stop) -> dict[str, Any]:
    return {
        "kind": stop.kind.value,
        "id": stop.identity,
        "name": stop.name,
        "at": iso(stop.at),
        "reason": stop.reason.value,
        "idle_seconds": stop.idle_seconds,
        "given_back": stop.given_back,
        "used_again": iso(stop.used_again),
    }


# -- the table -------------------------------------------------------------------------------------


def things(outlooks: Sequence[Outlook]) -> list[tuple[Kind, str, str]]:
    """Everything that any of the policies would have stopped, kernels first, by its first stop."""
    first: dict[tuple[Kind, str], tuple[int, datetime, str]] = {}
    order = list(Kind)
    for stop in (stop for each in outlooks for stop in each.stops):
        key = (stop.kind, stop.identity)
        if key not in first or stop.at < first[key][1]:
            first[key] = (order.index(stop.kind), stop.at, stop.name)
    return [(kind, identity, first[kind, identity][2]) for kind, identity in sorted(first, key=first.__getitem__)]


def cell(outlook: Outlook, kind: Kind, identity: str) -> Cell:
    """What one policy would have done to one thing, a line for each time, and one for each time that it was missed."""
    lines: list[tuple[str, str]] = []
    for stop in outlook.stops:
        if (stop.kind, stop.identity) != (kind, identity):
            continue
        lines.append((_words(stop), "green" if stop.used_again is None else "yellow"))
        if stop.used_again is not None:
            later = round((stop.used_again - stop.at).total_seconds())
            lines.append((f"used {duration(later)} later", "yellow"))
    return tuple(lines) or (("-", "dim"),)


def _words(stop: Stop) -> str:
    why = "" if stop.reason is Reason.IDLE else f" {stop.reason.value}"
    idle = "" if stop.idle_seconds is None else f", {duration(round(stop.idle_seconds))}"
    return f"{stop.at.astimezone():%d %b %H:%M}{why}{idle}"


def totals(outlook: Outlook) -> list[tuple[str, Cell]]:
    """The sums of one policy: their title, words and style."""
    found: list[tuple[str, Cell]] = []
    for kind in Kind:
        stops = outlook.of(kind)
        words = f"{len(stops)}, {duration(round(outlook.given_back(kind)))}" if stops else "none"
        found.append((f"{kind.value}s, given back", ((words, "" if stops else "dim"),)))
    missed = len(outlook.regretted)
    share = f"{missed} ({100 * missed / len(outlook.stops):.0f} %)" if missed else "none"
    found.append(("of all, used again", ((share, "bold yellow" if missed else "green"),)))
    return found


def rows(outlooks: Sequence[Outlook], named: Sequence[tuple[Kind, str, str]]) -> list[tuple[str, list[Cell]]]:
    """The table, without its head: first the things, then the sums, which begin after ``len(named)`` rows."""
    found = [
        (
            printable(f"{kind.value} {short(kind.value, identity)} {name}").rstrip(),
            [cell(each, kind, identity) for each in outlooks],
        )
        for kind, identity, name in named
    ]
    sums = [totals(each) for each in outlooks]
    return found + [(sums[0][line][0], [each[line][1] for each in sums]) for line in range(len(sums[0]))]


def heads(outlooks: Sequence[Outlook]) -> list[str]:
    """What stands above each policy's column."""
    return [
        f"idle {plain(each.policy.idle_timeout / 60)} min" if each.policy.idle_timeout else "off" for each in outlooks
    ]


def print_outlooks(outlooks: Sequence[Outlook], named: Sequence[tuple[Kind, str, str]], console: Any = None) -> None:
    """Print as many policies side by side as there is room for, the others below."""
    try:
        from rich.console import Console
    except ImportError:
        for each in outlooks:
            table = [
                ("stopped at, idle for", *heads([each])),
                *((what, _plain(cells[0])) for what, cells in rows([each], named)),
            ]
            sys.stdout.writelines(line + "\n" for line in ["", *aligned(table, 100)])
        return
    console = console or Console(highlight=False)
    many = max(1, (console.width - NARROWEST) // NARROWEST)
    for start in range(0, len(outlooks), many):
        console.print()
        console.print(_table(outlooks[start : start + many], named))


def _plain(cell: Cell) -> str:
    return "; ".join(words for words, _ in cell)


def _table(outlooks: Sequence[Outlook], named: Sequence[tuple[Kind, str, str]]) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False, pad_edge=False, header_style="bold")
    table.add_column("stopped at, idle for", overflow="fold", max_width=NARROWEST - 2)
    for head in heads(outlooks):
        table.add_column(head, min_width=NARROWEST - 2)
    for number, (what, cells) in enumerate(rows(outlooks, named)):
        if number == len(named) and named:
            table.add_row()
        table.add_row(what, *(Text("\n").join(Text(*line) for line in each) for each in cells))
    return table
