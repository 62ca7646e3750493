"""What several policies would have done, as a table: a column for each, with rich in colours, without it as lines."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from ..client.words import printable, short
from ..decisions import Reason
from ..policy import plain
from ..records import Kind
from ..report import duration
from ..simulation.things import Stop
from ..simulation.world import Outlook
from .table import aligned

#: Narrower than this a policy's column is not readable, so the rest goes into a table of its own.
NARROWEST = 24

#: Of so many users at most is told what would have been stopped of theirs.
MOST_USERS = 20

#: What stands above the first column: where things are told, and where users are.
FIRST = ("stopped at, idle for", "most stopped of whom")

#: Lines, each with its style.
Cell = tuple[tuple[str, str], ...]


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
        times = "once" if len(stops) == 1 else f"{len(stops)} times"
        words = (f"stopped {times}", f"{duration(round(outlook.given_back(kind)))} given back") if stops else ("none",)
        found.append((f"{kind.value}s", tuple((each, "" if stops else "dim") for each in words)))
    missed = len(outlook.regretted)
    share = f"{missed} ({100 * missed / len(outlook.stops):.0f} %)" if missed else "none"
    found.append(("of all, used again", ((share, "bold yellow" if missed else "green"),)))
    return found


def of_user(outlook: Outlook, user: str) -> Cell:
    """What one policy would have done to what one user has."""
    stops = [each for each in outlook.stops if each.owner == user]
    if not stops:
        return (("-", "dim"),)
    missed = sum(each.used_again is not None for each in stops)
    found = (("1 stop" if len(stops) == 1 else f"{len(stops)} stops", "yellow" if missed else "green"),)
    return (*found, (f"{missed} used again", "yellow")) if missed else found


def apart(users: Sequence[str]) -> dict[str, str]:
    """What tells users apart: their names without the folders, domains and apps that all have in common."""
    parts = {user: user.split("/") for user in users}
    for last in (0, -1):
        while all(len(each) > 1 for each in parts.values()) and len({each[last] for each in parts.values()}) == 1:
            for each in parts.values():
                del each[last]
    return {user: "/".join(each) for user, each in parts.items()}


def most_stopped(outlooks: Sequence[Outlook], users: Sequence[str]) -> list[str]:
    """Those of several users of whose things most would have been stopped, as many as are told."""
    if len(users) < 2:
        return []
    counts = Counter(each.owner for outlook in outlooks for each in outlook.stops)
    return [user for user, _ in sorted(counts.items(), key=lambda each: (-each[1], each[0]))[:MOST_USERS]]


def rows(
    outlooks: Sequence[Outlook], named: Sequence[tuple[Kind, str, str]], users: Sequence[str] = ()
) -> list[tuple[str, list[Cell]]]:
    """The table, without its head: first the things or the users, then the sums, which begin after all of them."""
    names = apart(users) if len(users) > 1 else {user: user for user in users}
    found = [(printable(names[user]), [of_user(each, user) for each in outlooks]) for user in users]
    found += [
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


def print_outlooks(
    outlooks: Sequence[Outlook],
    named: Sequence[tuple[Kind, str, str]],
    console: Any = None,
    users: Sequence[str] = (),
) -> None:
    """Print as many policies side by side as there is room for, the others below: what becomes of things, or users."""
    try:
        from rich.console import Console
    except ImportError:
        for each in outlooks:
            table = [
                (FIRST[bool(users)], *heads([each])),
                *((what, _plain(cells[0])) for what, cells in rows([each], named, users)),
            ]
            sys.stdout.writelines(line + "\n" for line in ["", *aligned(table, 100)])
        return
    console = console or Console(highlight=False)
    many = max(1, (console.width - NARROWEST) // NARROWEST)
    for start in range(0, len(outlooks), many):
        console.print()
        console.print(_table(outlooks[start : start + many], named, users))


def _plain(cell: Cell) -> str:
    return ", ".join(words for words, _ in cell)


def _table(outlooks: Sequence[Outlook], named: Sequence[tuple[Kind, str, str]], users: Sequence[str]) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False, pad_edge=False, header_style="bold")
    table.add_column(FIRST[bool(users)], overflow="fold", max_width=NARROWEST - 2)
    for head in heads(outlooks):
        table.add_column(head, min_width=NARROWEST - 2)
    above = len(named) + len(users)
    for number, (what, cells) in enumerate(rows(outlooks, named, users)):
        if number == above and above:
            table.add_row()
        table.add_row(what, *(Text("\n").join(Text(*line) for line in each) for each in cells))
    return table
