"""Screens on a terminal: with rich in colours, without it as plain lines. rich is imported when it is needed."""

from __future__ import annotations

import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, repeat, zip_longest
from typing import Any

from .rows import Group, Tone
from .screen import Screen

TITLES = ("what", "state", "idle for", "stops", "why")
#: Below this width there is less room for names.
WIDE = 110

Show = Callable[[Sequence[Screen]], None]


def show(screens: Sequence[Screen], console: Any = None) -> None:
    """Print screens, one below the other."""
    try:
        from rich.console import Console
    except ImportError:
        sys.stdout.writelines(line + "\n" for line in _lines(screens))
        return
    console = console or Console(highlight=False)
    console.print(drawn(screens, console.width))


@contextmanager
def watched() -> Iterator[Show]:
    """Gives what shows screens in the place of those before; where stdout is no terminal, below them.

    What is urgent stands on top there, for a table that is longer than the terminal is high is cut off.
    """
    try:
        from rich.console import Console
        from rich.live import Live
    except ImportError:
        yield _redraw if sys.stdout.isatty() else _below()
        return
    console = Console(highlight=False)
    if not console.is_terminal:
        yield _below()
        return
    with Live(console=console, auto_refresh=False, vertical_overflow="ellipsis") as live:
        yield lambda screens: live.update(drawn(screens, console.width, foot_first=True), refresh=True)


def _below() -> Show:
    """Gives what shows screens below those before, and an empty line between them."""
    between = chain(("",), repeat("\n"))

    def shown(screens: Sequence[Screen]) -> None:
        sys.stdout.write(next(between))
        show(screens)

    return shown


def _redraw(screens: Sequence[Screen]) -> None:
    """Print screens as lines in the place of those before, as many as there is room for; the foot above the table."""
    height = shutil.get_terminal_size().lines
    lines = list(_lines(screens, foot_first=True))
    if len(lines) >= height:
        lines = [*lines[: max(1, height - 2)], "..."]
    # home, each line to its end, and what is left below
    sys.stdout.write("\x1b[H" + "".join(f"{line}\x1b[K\n" for line in lines) + "\x1b[J")
    sys.stdout.flush()


def _lines(screens: Sequence[Screen], foot_first: bool = False) -> Iterator[str]:
    """Screens as lines that a terminal is wide enough for; for a file or a program no name is cut."""
    if not sys.stdout.isatty():
        yield from plain(screens, foot_first=foot_first)
        return
    width = shutil.get_terminal_size().columns
    for line in plain(screens, width, foot_first, most=_most(width)):
        yield from textwrap.wrap(line, width) if len(line) > width else [line]


def _most(width: int) -> int:
    """How wide the first column may be."""
    return 34 if width >= WIDE else 20


def pause(seconds: float) -> None:
    """Wait until the next look."""
    time.sleep(seconds)


def drawn(screens: Sequence[Screen], width: int, foot_first: bool = False) -> Any:
    """Screens as one thing that rich can print; what is below the table is above it with `foot_first`."""
    from rich.console import Group as Parts
    from rich.padding import Padding
    from rich.text import Text

    parts: list[Any] = []
    for number, screen in enumerate(screens):
        head = [Text(words, style=tone.value) for words, tone in screen.head]
        foot = [Text(words, style=tone.value) for words, tone in screen.foot]
        below = 1 if foot and not foot_first else 0
        table = [Padding(_table(screen.groups, width), (1, 0, below, 0))] if screen.groups else []
        parts += [Text()] * bool(number) + head + (foot + table if foot_first else table + foot)
    return Parts(*parts)


def _table(groups: Sequence[Group], width: int) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    most = _most(width)
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False, pad_edge=False, header_style="dim")
    table.add_column(TITLES[0], no_wrap=True, max_width=most)
    table.add_column(TITLES[1], no_wrap=True, max_width=12, overflow="ellipsis")
    for title in TITLES[2:4]:
        table.add_column(title, no_wrap=True)
    table.add_column(TITLES[4], overflow="fold", min_width=16)
    for number, group in enumerate(groups):
        if number:
            table.add_row()
        table.add_row(Text(group.title, style="dim bold"))
        for row in group.rows:
            cells = [Text(cell, style=row.tone.value) for cell in row.cells(most)]
            if row.tone in (Tone.PLAIN, Tone.BUSY):
                cells[4].style = "dim"
            table.add_row(*cells)
    return table


def plain(
    screens: Sequence[Screen], width: int = 100, foot_first: bool = False, most: int | None = None
) -> Iterator[str]:
    """Screens as lines without colours; what is below the table is above it with `foot_first`.

    The first column is not wider than `most`, else than all of it.
    """
    for number, screen in enumerate(screens):
        if number:
            yield ""
        yield from (words for words, _ in (*screen.head, *(screen.foot if foot_first else ())))
        if screen.groups:
            rows: list[Sequence[str]] = [TITLES]
            for group in screen.groups:
                rows += [(group.title, "", "", "", ""), *(row.cells(most or width) for row in group.rows)]
            yield from aligned(rows, width)
        yield from (words for words, _ in (() if foot_first else screen.foot))


def aligned(rows: Sequence[Sequence[str]], width: int) -> Iterator[str]:
    """Rows as lines in columns; the last column wraps, and what has several lines goes on below itself."""
    columns = range(len(rows[0]) - 1)
    widths = [2 + max(len(part) for cells in rows for part in cells[column].split("\n")) for column in columns]
    for cells in rows:
        parts = [cell.split("\n") for cell in cells[:-1]]
        parts.append(textwrap.wrap(cells[-1], max(16, width - sum(widths))))
        for *line, last in zip_longest(*parts, fillvalue=""):
            start = "".join(part.ljust(size) for part, size in zip(line, widths, strict=True))
            yield f"{start}{last}".rstrip()
