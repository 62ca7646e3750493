"""A user's own stops, in one file of the home directory: written before a deletion, closed at the next start.

The file has the lines of the log, one JSON object each, so that it is counted as a log is. It stays under `LONGEST`
bytes: the oldest lines go first, and with them what they gave back.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ..errors import ReadError
from ..files import replace_file
from ..report import iso
from .lines import AppLine, app_object, app_of

if TYPE_CHECKING:  # a server that only writes needs none of it
    from .prices import Prices
    from .report import Asked
    from .runs import Runs

FILE_NAME = "culling_manager_savings.jsonl"
#: The file is cut to half of this (bytes) before it would grow beyond it.
LONGEST = 256_000
#: How often a line is added to a file that others replace at that moment.
MOST_TRIES = 3
#: What a file system says that has no locks: there nobody can do better.
WITHOUT_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP})
#: How long (seconds) after the line before it a line was written at least.
TICK = 1e-5


class Ledger:
    """The file. Every method raises `ReadError` when the file cannot be read or written."""

    def __init__(self, directory: str | Path) -> None:
        self.path = Path(directory) / FILE_NAME

    def write(self, line: AppLine) -> None:
        """Add a line; when this returns it is on the disk, and in the file that others read.

        Another server of this user may cut the file at that moment; then the line is added once more, which changes no
        sum.
        """
        text = json.dumps(app_object(line)).encode() + b"\n"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if self._size() + len(text) > LONGEST:
                self._cut()
            self._add(text)
        except OSError as error:
            raise ReadError(f"the ledger {self.path} could not be written: {error}") from error

    def _add(self, text: bytes) -> None:
        """Add lines to the file that others read, also when they replace it at that moment."""
        for _ in range(MOST_TRIES):
            if self._append(text):
                return

    def _append(self, text: bytes) -> bool:
        """Add lines; gives whether the file is still that which others read."""
        descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK, 0o600)
        with os.fdopen(descriptor, "r+b", buffering=0) as file:
            end = file.seek(0, os.SEEK_END)
            torn = end > 0 and (file.seek(end - 1), file.read(1))[1] != b"\n"
            whole = b"\n" + text if torn else text  # one write, after whatever a crash has left
            if file.write(whole) != len(whole):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(file.fileno())
            same = os.path.samestat(os.fstat(file.fileno()), self.path.stat())
        if end == 0:
            self._sync_directory()
        return same

    def lines(self) -> list[AppLine]:
        """Every line that is one of ours; no file is no lines."""
        found = (_decoded(each) for each in self._bytes().splitlines())
        read = (app_of(each) for each in found if isinstance(each, dict))
        return [each for each in read if each is not None]

    @property
    def mark(self) -> tuple[int, int]:
        """What changes whenever the file does."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return (0, 0)
        except OSError as error:
            raise ReadError(f"the ledger {self.path} cannot be read: {error}") from error
        return (found.st_size, found.st_mtime_ns)

    def _bytes(self) -> bytes:
        """The newest lines, as many as we keep; of a file that somebody else has made longer the oldest go."""
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)  # whatever kind of file somebody put there
            with os.fdopen(descriptor, "rb") as file:
                return _newest(file, 2 * LONGEST)
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise ReadError(f"the ledger {self.path} cannot be read: {error}") from error

    def _size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def _cut(self) -> None:
        """Keep the newest lines, half as much as fits; all or nothing. What another server adds meanwhile stays.

        Only one cuts at a time: whoever finds the file locked, or replaced since it was opened, leaves it to the other.
        """
        with self.path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno not in WITHOUT_LOCKS:
                    raise
            if not os.path.samestat(os.fstat(file.fileno()), self.path.stat()):
                return
            replace_file(self.path, _newest(file, LONGEST // 2), durable=True)
            late = file.read()
        if late:
            self._add(late)

    def _sync_directory(self) -> None:
        descriptor = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _newest(file: BinaryIO, most: int) -> bytes:
    """The whole lines at the end of a file, in at most so many bytes; it has been read to its end then."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - most))
    found = file.read()
    return found.partition(b"\n")[2] if size > most else found


def _decoded(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _asked(lines: Iterable[AppLine], now: datetime, since: datetime | None, more: dict[str, Any]) -> tuple[Runs, Asked]:
    """The lines as a log that reaches up to `now`."""
    from .days import Window
    from .report import Asked
    from .runs import Event, Runs

    lines = list(dict.fromkeys(lines))
    first = since or min((each.at for each in lines), default=now)
    window = Window(begin=min(first, now).timestamp(), end=now.timestamp())
    runs = Runs()
    for line, logged in zip(lines, _in_order(each.at.timestamp() for each in lines), strict=True):
        runs.add_line(Event("ledger", logged, ""), line)
    return runs, Asked(window=window, until=now.timestamp(), **more)


def _in_order(times: Iterable[float]) -> Iterator[float]:
    """When each line was written, if the clock was set back by no more than a day meanwhile: after the one before it.

    Else a start after a stop could seem to have been before it, and the app to be away since.
    """
    last = float("-inf")
    for each in times:
        last = each if each > last or each < last - 86_400 else last + TICK
        yield last


def savings(
    lines: Iterable[AppLine], now: datetime, since: datetime | None = None, prices: Prices | None = None, **more: Any
) -> dict[str, Any]:
    """The report on one's own stops, since an instant or since the first of them; as a fleet's, with ``by_reason``."""
    from .document import document

    runs, asked = _asked(lines, now, since, {"prices": prices, "by": frozenset({"type", "reason"}), **more})
    return document(runs, asked)


def in_short(lines: Iterable[AppLine], now: datetime) -> dict[str, Any]:
    """What `status` shows: since when, how many stops, how many of them false, and seconds at least and at most."""
    from .report import Counted

    runs, asked = _asked(lines, now, None, {})
    counted = Counted(runs, asked)
    return {
        "since": iso(datetime.fromtimestamp(asked.window.begin, now.tzinfo)) if runs.known else None,
        "stops": len(counted.stops),
        "false_stops": sum(each.false(asked.soon) for each in counted.stops),
        "at_least_seconds": round(sum(each.least for each in counted.worths), 1),
        "at_most_seconds": round(sum(each.most for each in counted.worths), 1),
    }
