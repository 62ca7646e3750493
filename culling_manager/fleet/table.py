"""The report on a terminal: a progress bar on stderr, a table on stdout. rich is imported when it is needed."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from .records import Finding, State
from .report import MANY, FleetReport, category, lacks_permission, settings
from .targets import Tell

#: Below this width the settings stand in the sentence and not in columns of their own.
WIDE = 110

STYLES = {
    State.UNREACHABLE: "red",
    State.NOT_INSTALLED: "bold red",
    State.NOT_RUNNING: "bold red",
    State.WRONG_SETTINGS: "yellow",
    State.STARTING: "cyan",
    State.RUNNING: "green",
    State.NO_APP: "dim",
}


def shown(report: FleetReport, only_problems: bool) -> list[Finding]:
    """The rows of the table: every running app, or those that need care; the rest is counted in the summary."""
    return [each for each in report.findings if each.state.needs_care or (not only_problems and _has_app(each))]


def print_report(report: FleetReport, only_problems: bool = False, console: Any = None) -> None:
    """Print the table and what is to be said besides; plain lines where there is no rich."""
    rows = shown(report, only_problems)
    try:
        from rich.console import Console
        from rich.text import Text
    except ImportError:
        sys.stdout.writelines(line + "\n" for line in report.lines(rows))
        return
    console = console or Console(highlight=False)
    if rows:
        console.print(_table(rows, console.width))
    for words, style in [*((each, "red") for each in report.problems), *((each, "yellow") for each in report.notices)]:
        console.print(Text(words, style=style))
    console.print(Text(report.summary(), style="bold"))


def _has_app(finding: Finding) -> bool:
    return finding.state is not State.NO_APP


def _table(rows: list[Finding], width: int) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    wide = width >= WIDE
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False, expand=False)
    table.add_column("user or space", overflow="fold", min_width=14, max_width=28 if wide else 24)
    table.add_column("state", min_width=11, max_width=13)
    if wide:
        for title in ("minutes", "terminals", "count"):
            table.add_column(title, justify="right", no_wrap=True)
        table.add_column("version", no_wrap=True, max_width=16, overflow="ellipsis")
    table.add_column("why", overflow="fold", min_width=24)
    several, domain = len({each.target.domain for each in rows}) > 1, None
    for same in _grouped(sorted(rows, key=lambda row: (not lacks_permission(row), row.target.domain))):
        each = same[0]
        if several and each.target.domain != domain:
            table.add_row(Text(each.target.domain, style="bold"))
        domain = each.target.domain
        cells = _common([settings(one) for one in same]) if wide else ()
        style = "bold red" if lacks_permission(each) else STYLES[each.state]
        who, state = Text(_who_all(same)), Text(category(each), style=style)
        why = each.reason if wide or same[1:] else _why(each)
        table.add_row(who, state, *(Text(cell) for cell in cells), Text(why))
    return table


def _grouped(rows: Iterable[Finding]) -> list[list[Finding]]:
    """Rows by domain, category and reason in one where `MANY` of those that need care are alike; else one by one."""
    alike: dict[tuple[str, str, str], list[Finding]] = {}
    for each in rows:
        alike.setdefault((each.target.domain, category(each), each.reason), []).append(each)
    found = []
    for same in alike.values():
        together = len(same) >= MANY and same[0].state.needs_care
        found += [same] if together else [[each] for each in same]
    return found


def _common(cells: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """What all have in common, column by column; empty where they differ."""
    return tuple(column[0] if len(set(column)) == 1 else "" for column in zip(*cells, strict=True))


def _who_all(same: Sequence[Finding]) -> str:
    """Who it is; of several the first two, and how many they are."""
    if len(same) == 1:
        return _who(same[0])
    return f"{len(same)}: {_who(same[0])}, {_who(same[1])} and {len(same) - 2} more"


def _who(finding: Finding) -> str:
    target = finding.target
    return f"{target.space} ({target.profile})" if target.space and target.profile else target.owner


def _why(finding: Finding) -> str:
    """The reason, and the settings where there is no column for them."""
    timeout, keep, count, version = settings(finding)
    if not timeout:
        return finding.reason
    parts = [f"{timeout} min", f"terminals {keep}" if keep == "kept" else "", f"count {count}", version]
    return f"{finding.reason} ({', '.join(part for part in parts if part)})"


@contextmanager
def progress_bar() -> Iterator[Tell | None]:
    """A progress bar on stderr; nothing where that is no terminal, or without rich."""
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
    except ImportError:
        yield None
        return
    if not sys.stderr.isatty():
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    tasks: dict[str, Any] = {}
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:

        def tell(what: str, done: int, total: int | None) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total)
            progress.update(tasks[what], completed=done, total=total)

        yield tell
