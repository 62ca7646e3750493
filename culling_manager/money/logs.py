"""Exported logs: files of JSON lines, one log event each, as CloudWatch gives them; ``.gz`` too.

A file that is cut off, or holds anything else, ends the reading: a part of a log would give a part of a sum.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ..errors import ReadError
from .runs import Event

#: No log event is longer than this (bytes): CloudWatch takes 256 kB, which JSON may write six times as long.
LONGEST = 2_000_000


def files_of(paths: Iterable[str | Path]) -> list[Path]:
    """Every file that is meant: those named, and all below a directory, but none that begins with a dot.

    Raises
    ------
    ReadError
        When there is no such file, or none at all.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = [each for each in path.rglob("*") if each.is_file()]
            found += [each for each in inside if not each.name.startswith(".")]
        elif path.exists():
            found.append(path)
        else:
            raise ReadError(f"there is no file {path}")
    if not found:
        raise ReadError("there is no file in what was given as logs")
    return sorted({each.resolve() for each in found})


def read_events(paths: Iterable[str | Path]) -> Iterator[Event]:
    """All events of all files, in no order.

    Raises
    ------
    ReadError
        For a file that cannot be read to its end, or a line that is no log event, naming file and line.
    """
    for path in files_of(paths):
        number = 0
        try:
            with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
                while line := file.readline(LONGEST):
                    number += 1
                    if line.strip():
                        yield event_of(json.loads(line))
        except (OSError, EOFError, zlib.error, ValueError, RecursionError) as error:
            raise ReadError(
                f"the log {path} cannot be read at line {number}: {error or type(error).__name__}"
            ) from error


def event_of(found: Any) -> Event:
    """A log event in CloudWatch's names, times in milliseconds. Raises ValueError."""
    names = ("logStreamName", "timestamp", "message")
    stream, logged, message = (found.get(name) for name in names) if isinstance(found, dict) else (None, None, None)
    at = time_of(logged)
    if not isinstance(stream, str) or at is None or not isinstance(message, str):
        raise ValueError('it is no log event {"logStreamName": ..., "timestamp": milliseconds, "message": ...}')
    return Event(stream, at, message, time_of(found.get("ingestionTime")))


def time_of(milliseconds: Any) -> float | None:
    """Seconds since 1970, of this calendar; None for anything else."""
    fits = isinstance(milliseconds, (int, float)) and not isinstance(milliseconds, bool)
    return milliseconds / 1000 if fits and 0 <= milliseconds < 253_402_300_800_000 else None
