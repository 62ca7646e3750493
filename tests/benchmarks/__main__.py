"""`python -m tests.benchmarks`: run the benchmarks, print the table, write every figure to a JSON file."""

from __future__ import annotations

import argparse
import asyncio
import gc
import importlib
import json
import sys
import time
from pathlib import Path
from typing import Any

from .measure import Results, environment
from .table import lines

#: In this order; each is a module here with `async def run(quick) -> Results`.
NAMES = ("startup", "latency", "heartbeat", "passes", "residents", "output", "hung")
#: How often each is tried.
TRIES = 3


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks", description="Ours and upstream's, side by side."
    )
    parser.add_argument("--quick", action="store_true", help="fewer rounds and sizes; under a minute")
    parser.add_argument("--only", metavar="NAME", action="append", choices=NAMES, help=f"only this: {', '.join(NAMES)}")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a budget is missed")
    default = Path(__file__).with_name("results.json")
    parser.add_argument("--json", metavar="FILE", type=Path, default=default, help="where the figures go")
    return parser.parse_args()


def run_one(name: str, quick: bool) -> Results:
    """Run one benchmark in an event loop of its own and print its rows."""
    module = importlib.import_module(f"{__package__}.{name}")
    print(f"\n{name}: {(module.__doc__ or '').partition(chr(10))[0]}", flush=True)
    start = time.perf_counter()
    results: Results = asyncio.run(module.run(quick))
    gc.collect()
    print(*lines(results.rows), f"({time.perf_counter() - start:.0f} s)", sep="\n", flush=True)
    return results


def run_steadily(name: str, quick: bool) -> Results | None:
    """Run one benchmark, again when it could not measure (a busy machine loses messages); None when it never could."""
    for _ in range(TRIES):
        try:
            return run_one(name, quick)
        except AssertionError as error:
            print(f"{name} could not be measured: {error}", flush=True)
    return None


def main() -> int:
    """Run what was asked for; 1 when something could not be measured, or with ``--check`` when a budget is missed."""
    asked = options()
    document: dict[str, Any] = {"environment": environment(), "quick": asked.quick, "benchmarks": {}}
    missed = unmeasured = 0
    for name in NAMES if not asked.only else asked.only:
        results = run_steadily(name, asked.quick)
        if results is None:
            unmeasured += 1
            continue
        rows = [row.as_json() for row in results.rows]
        document["benchmarks"][name] = {"rows": rows, "figures": results.figures}
        missed += sum(row.met is False for row in results.rows)
    asked.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(f"\n{missed} figures missed their budget")
    return 1 if unmeasured or (asked.check and missed) else 0


if __name__ == "__main__":
    sys.exit(main())
