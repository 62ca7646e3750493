"""Pytest plugin: write each test's outcome into a file as soon as it is known, so that a run that dies still tells.

``--outcomes FILE`` is that file; ``--only FILE`` names tests (JSON, a list) that are to run, and no other.
One JSON object per line, ``{"test": node id, "outcome": ..., "words": ...}``; `read` makes one ending per test of them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

#: A later line about a test replaces an earlier one, unless the earlier one weighs more.
WEIGHT = {"died": 0, "passed": 1, "skipped": 2, "xfailed": 2, "failed": 3}

CLOCK_TIME = re.compile(r"\d{1,2} \w{3} \d{4} \d\d:\d\d:\d\d")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a test ended: a key of `WEIGHT`, and the last words when it failed."""

    outcome: str
    words: str = ""


def stable(nodeid: str) -> str:
    """A test's id without the time of day at which it was collected, which upstream makes some parameters of."""
    return CLOCK_TIME.sub("<time>", nodeid)


class Recorder:
    """Writes the file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def _write(self, test: str, outcome: str, words: str = "") -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"test": stable(test), "outcome": outcome, "words": words}) + "\n")

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """A test starts; if nothing more is heard of it, the run died of it."""
        self._write(nodeid, "died", "the run ended in the middle of this test")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Set-up, call or tear-down of a test ended."""
        if report.when == "call" or not report.passed:
            expected = hasattr(report, "wasxfail") and report.skipped
            self._write(report.nodeid, "xfailed" if expected else report.outcome, last_words(report))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A file could not be collected: none of its tests will run."""
        if report.failed:
            self._write(report.nodeid, "failed", last_words(report))


class Chooser:
    """Runs the named tests only."""

    def __init__(self, path: Path) -> None:
        self._tests = set(json.loads(path.read_text(encoding="utf-8")))

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Drop all others."""
        items[:] = [item for item in items if stable(item.nodeid) in self._tests]


def last_words(report: Any) -> str:
    """The line of a failure that says what it was; '' for anything else."""
    if not report.failed:
        return ""
    crash = getattr(report.longrepr, "reprcrash", None)
    lines = str(crash.message if crash else report.longreprtext).strip().splitlines() or [""]
    return lines[0 if crash else -1][:300]


def read(path: Path) -> dict[str, Ending]:
    """Give the ending of each test in the file; of set-up, call and tear-down, the gravest counts."""
    endings: dict[str, Ending] = {}
    for test, ending in _lines(path):
        known = endings.get(test)
        if known is None or WEIGHT[ending.outcome] >= WEIGHT[known.outcome]:
            endings[test] = ending
    return endings


def _lines(path: Path) -> Iterator[tuple[str, Ending]]:
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            found = json.loads(line)
            yield found["test"], Ending(outcome=found["outcome"], words=found["words"])


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--outcomes FILE`` and ``--only FILE``."""
    parser.addoption("--outcomes", type=Path, required=True, help="file that outcomes are appended to")
    parser.addoption("--only", type=Path, help="file with the ids of the tests to run, as in --outcomes")


def pytest_configure(config: pytest.Config) -> None:
    """Start recording, and choosing."""
    config.pluginmanager.register(Recorder(config.getoption("--outcomes")), "outcome-recorder")
    if config.getoption("--only"):
        config.pluginmanager.register(Chooser(config.getoption("--only")), "test-chooser")
