"""Which tests execute a line: only those can notice a fault in it, and the quickest of them are tried first."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import pytest


@dataclass
class Recorder:
    """A plugin of pytest that writes down how long each test took, and which lines of some files it executed.

    `rooms` are the names of these files; tests with one of the words of `left_out` in their name are not run.
    """

    rooms: dict[str, str]
    record: Path
    left_out: tuple[str, ...] = ()
    found: dict[str, Any] = field(default_factory=dict)
    _lines: dict[str, set[int]] = field(default_factory=dict)

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Leave out some."""
        items[:] = [each for each in items if not any(word in each.name for word in self.left_out)]

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Follow one test."""
        self._lines = {room: set() for room in self.rooms.values()}
        began = time.monotonic()
        threading.settrace(self._trace)
        sys.settrace(self._trace)
        yield
        sys.settrace(None)
        threading.settrace(None)
        lines = {room: sorted(found) for room, found in self._lines.items() if found}
        self.found[item.nodeid] = [time.monotonic() - began, lines]

    def pytest_sessionfinish(self) -> None:
        """Leave it to who reads it."""
        self.record.write_text(json.dumps(self.found))

    def _trace(self, frame: FrameType, event: str, arg: object) -> Any:
        room = self.rooms.get(frame.f_code.co_filename)
        if room is None:
            return None
        lines = self._lines[room]

        def line(frame: FrameType, event: str, arg: object) -> Any:
            lines.add(frame.f_lineno)
            return line

        return line


@dataclass
class Seen:
    """What a recorder has written down: of each test, the quickest first, its seconds and the lines of each room."""

    seconds: dict[str, float]
    lines: dict[str, dict[str, set[int]]]

    @classmethod
    def read(cls, record: Path, slow: float) -> Seen:
        """Take what is not `slow` (seconds)."""
        taken = {test: each for test, each in json.loads(record.read_text()).items() if each[0] <= slow}
        seconds = {test: taken[test][0] for test in sorted(taken, key=lambda test: taken[test][0])}
        return cls(seconds, {test: {room: set(lines) for room, lines in taken[test][1].items()} for test in taken})

    def tests(self, room: str, first: int, last: int, files: Collection[str]) -> dict[str, float]:
        """Those in these files that execute one of these lines, with their seconds; all that execute any where `last`
        is 0.
        """
        wanted, found = range(first, last + 1), {}
        for test, seconds in self.seconds.items():
            lines = self.lines[test].get(room, set())
            if Path(test.split("::")[0]).stem in files and (lines if last == 0 else lines.intersection(wanted)):
                found[test] = seconds
        return found

    def all(self, files: Collection[str]) -> dict[str, float]:
        """Those in these files, whatever they execute: a figure, or a word, may only be read."""
        return {test: seconds for test, seconds in self.seconds.items() if Path(test.split("::")[0]).stem in files}


@dataclass
class Selection:
    """A plugin of pytest that runs these tests only, in this order."""

    tests: list[str]

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Leave out the others."""
        order = {test: index for index, test in enumerate(self.tests)}
        items[:] = sorted((each for each in items if each.nodeid in order), key=lambda each: order[each.nodeid])
