"""What our managers and handlers add to a server's start, with no app to manage.

Two servers are started in turns: *ours* (both managers selected, our extension enabled) and *plain* (neither), each
with terminals and no other extension. Measured: from the start of the process until GET /api answers; CPU time until
then; and memory half a second later (RSS and USS). Noise only ever adds to wall time, so on a machine that others use
the fastest start tells more than the median; both are held against the budget. One more start of each tells every
import, so that the report can say whether boto3 is among them, and what only one of the two imports.
"""

from __future__ import annotations

import re
import statistics
from typing import Any

from .measure import Results, Row, spread, turns
from .servers import Server

BUDGET_SECONDS = 0.050
BUDGET_BYTES = 5_000_000
IMPORT = re.compile(r"^import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)$", re.MULTILINE)


async def run(quick: bool) -> Results:
    """Some warm starts of each, then one of each that tells its imports."""
    results = Results()
    found: dict[str, dict[str, list[float]]] = {"ours": {}, "upstream": {}}
    for number, order in enumerate(turns(3 if quick else 12)):
        for which in order:
            figures = _start(which)
            if number:  # the first of each wrote its bytecode and warmed the disk's cache
                for name, value in figures.items():
                    found[which].setdefault(name, []).append(value)
    results.figures.update({which: {name: spread(v) for name, v in each.items()} for which, each in found.items()})
    for name, words, unit, more, of_all in (
        ("wall_seconds", "start until GET /api answers, median", "s", BUDGET_SECONDS, statistics.median),
        ("wall_seconds", "start until GET /api answers, fastest", "s", BUDGET_SECONDS, min),
        ("cpu_seconds", "CPU time until GET /api answers, median", "s", None, statistics.median),
        ("rss_bytes", "RSS after start, median", "B", BUDGET_BYTES, statistics.median),
        ("uss_bytes", "USS after start, median", "B", None, statistics.median),
    ):
        pair = [of_all(found[which][name]) for which in ("ours", "upstream")]
        pairs = zip(found["ours"][name], found["upstream"][name], strict=True)
        results.figures[f"over plain, {name}"] = {"pair by pair": spread([ours - plain for ours, plain in pairs])}
        promised = "" if more is None else f"plain + {'50 ms' if unit == 's' else '5 MB'}"
        budget = None if more is None else pair[1] + more
        what = f"{words} (upstream: plain server)"
        results.rows.append(
            Row(what=what, unit=unit, ours=pair[0], upstream=pair[1], budget=budget, budget_words=promised)
        )
    _report_imports(results, {which: _imports(which) for which in ("ours", "upstream")})
    return results


def _start(which: str) -> dict[str, float]:
    """Start one server, measure, end it."""
    with Server(which) as server:
        figures = {**server.until_it_answers(), **server.memory()}
        server.check_what_is_selected()
        return figures


def _imports(which: str) -> dict[str, int]:
    """Microseconds of each import of a server that has answered, without the imports that it caused in turn."""
    with Server(which, "-X", "importtime") as server:
        server.until_it_answers()
        server.check_what_is_selected()
        server.end()
        return {name: int(own) for own, name in IMPORT.findall(server.errors())}


def _report_imports(results: Results, imports: dict[str, dict[str, int]]) -> None:
    def of_boto(names: Any) -> list[str]:
        return [name for name in names if name.partition(".")[0] in ("boto3", "botocore", "s3transfer")]

    counts = {which: len(of_boto(names)) for which, names in imports.items()}
    for which, names in imports.items():
        assert "jupyter_server.serverapp" in names, f"the imports of the {which} server could not be read"
    results.rows.append(
        Row(
            what="modules of boto3 imported",
            unit="",
            ours=counts["ours"],
            upstream=counts["upstream"],
            budget=0.0,
            budget_words="none",
        )
    )
    only = {
        which: {name: own / 1e6 for name, own in imports[which].items() if name not in imports[other]}
        for which, other in (("ours", "upstream"), ("upstream", "ours"))
    }
    ours, plain = (sum(only[which].values()) for which in ("ours", "upstream"))
    results.rows.append(Row(what="time in modules that the other does not import", unit="s", ours=ours, upstream=plain))
    results.figures["modules that the other does not import: seconds each"] = only
