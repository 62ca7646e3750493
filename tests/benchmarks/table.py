"""The table: figures with units that can be read, in aligned columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .measure import Row

HEADINGS = ("what", "ours", "upstream", "ours/upstream", "budget", "met")


def humane(value: float | None, unit: str) -> str:
    """Write a figure with a unit of fitting size; "-" for None."""
    if value is None:
        return "-"
    if unit == "B":
        return f"{value / 1e6:.2f} MB"
    if unit == "s":
        size = abs(value)
        for factor, name in ((1.0, "s"), (1e-3, "ms"), (1e-6, "us")):
            if size >= factor:
                return f"{value / factor:.{2 if size / factor < 100 else 0}f} {name}"
        return f"{value * 1e6:.2f} us"
    return f"{value:.2f}"


def cells(row: Row) -> tuple[str, ...]:
    """One row as text."""
    budget = row.budget_words if row.budget_words else humane(row.budget, row.unit)
    return (
        row.what,
        humane(row.ours, row.unit),
        humane(row.upstream, row.unit),
        "-" if row.ratio is None else f"{row.ratio:.3g}",
        budget,
        {True: "met", False: "MISSED", None: ""}[row.met],
    )


def lines(rows: Iterable[Row]) -> list[str]:
    """The rows under a heading: words to the left, figures to the right."""
    body = [HEADINGS, *(cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in body) for column in range(len(HEADINGS))]
    return [_line(line, widths) for line in (body[0], ["-" * width for width in widths], *body[1:])]


def _line(texts: Sequence[str], widths: Sequence[int]) -> str:
    aligned = [
        text.rjust(width) if column in (1, 2, 3) else text.ljust(width)
        for column, (text, width) in enumerate(zip(texts, widths, strict=True))
    ]
    return "  ".join(aligned).rstrip()
