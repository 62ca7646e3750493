"""Which tests execute a line: only those can notice a fault in it, and the quickest of them are tried first."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import pytest


@dataclass
class Recorder:
    """A plugin of pytest that writes down how long each test took, and which lines of one file it executed."""

    file: Path
    record: Path
    found: dict[str, Any] = field(default_factory=dict)
    _lines: set[int] = field(default_factory=set)

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Follow one test."""
        self._lines = set()
        began = time.monotonic()
        threading.settrace(self._trace)
        sys.settrace(self._trace)
        yield
        sys.settrace(None)
        threading.settrace(None)
        self.found[item.nodeid] = [time.monotonic() - began, sorted(self._lines)]

    def pytest_sessionfinish(self) -> None:
        """Leave it to who reads it."""
        self.record.write_text(json.dumps(self.found))

    def _trace(self, frame: FrameType, event: str, arg: object) -> Any:
        return self._line if frame.f_code.co_filename == str(self.file) else None

    def _line(self, frame: FrameType, event: str, arg: object) -> Any:
        self._lines.add(frame.f_lineno)
        return self._line


@dataclass
class Seen:
    """What a recorder has written down: of each test, the quickest first, the lines."""

    lines: dict[str, set[int]]

    @classmethod
    def read(cls, record: Path, slow: float) -> Seen:
        """Take what is not `slow` (seconds)."""
        found = sorted((seconds, test, lines) for test, (seconds, lines) in json.loads(record.read_text()).items())
        return cls({test: set(lines) for seconds, test, lines in found if seconds <= slow})

    def tests(self, first: int, last: int) -> list[str]:
        """Those that execute one of these lines; all that execute any where `last` is 0."""
        wanted = range(first, last + 1)
        return [test for test, lines in self.lines.items() if (lines if last == 0 else lines.intersection(wanted))]


@dataclass
class Selection:
    """A plugin of pytest that runs these tests only, in this order."""

    tests: list[str]

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Leave out the others."""
        order = {test: index for index, test in enumerate(self.tests)}
        items[:] = sorted((each for each in items if each.nodeid in order), key=lambda each: order[each.nodeid])
