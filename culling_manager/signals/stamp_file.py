"""The stamp file that SageMaker's remote VS Code and Code Editor write while they are used."""

from __future__ import annotations

import os
import stat
from datetime import datetime, timedelta, timezone
from functools import partial

from traitlets import Unicode

from ..concurrency import in_thread
from ..records import Kind
from .base import Signal, Subject

#: How the writers of the file, and its other readers, write time: in UTC, with a fraction.
FORMAT = "%Y-%m-%dT%H:%M:%S.%fZ"
#: More than this many characters are not a stamp.
LONGEST = 64


#: By these microseconds every server of ours knows the stamps that we write ourselves.
OUR_MICROSECONDS = 314_159


def stamp_text(at: datetime) -> str:
    """Write an instant as it stands in the file."""
    return at.astimezone(timezone.utc).strftime(FORMAT)


def our_stamp(at: datetime) -> str:
    """The text that we write at an instant ourselves: within the second before it, and known as ours."""
    ours = at.replace(microsecond=OUR_MICROSECONDS)
    return stamp_text(ours if ours <= at else ours - timedelta(seconds=1))


def read_stamp(text: str) -> datetime:
    """Read the text of the file. ValueError when it is not exactly such a stamp, as for the file's other readers.

    Its words are without the text, which may be any file's that somebody put there.
    """
    try:
        return datetime.strptime(text, FORMAT).replace(tzinfo=timezone.utc)
    except ValueError:
        raise ValueError(f"what it holds is no time of the form {FORMAT}") from None


def stamp_used_at(stamp: datetime, written_at: datetime, now: datetime) -> datetime:
    """When the use was: the stamp, if it is not later than now.

    A stamp from the future counts once, as use when the file was written (at most now), not again and again.
    """
    return stamp if stamp <= now else min(written_at, now)


class StampFileSignal(Signal):
    """What the stamp file says; it counts for the app that this server runs on.

    A missing file is nothing; one that cannot be read or is not a stamp is ignored, which is logged once. What we write
    into it ourselves does not count: see `our_stamp`. The latest stamp of others is remembered when ours replaces it.
    """

    stamp_path = Unicode(
        "/tmp/.sagemaker-last-active-timestamp",  # noqa: S108
        config=True,
        help="Path of the file in which remote editors note that they are used. Empty: none is read.",
    )

    def __init__(self, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self._used_at: datetime | None = None
        self._told: str | None = None

    def applies(self, subject: Subject) -> bool:
        """Only to the app that is this machine."""
        return subject.kind is Kind.APP and subject.here and bool(self.stamp_path)

    async def check(self, subject: Subject) -> str | None:
        """Read the file, for `last_use`; never a reason of its own."""
        await self.read()
        return None

    def last_use(self, subject: Subject) -> datetime | None:
        """The latest that was read."""
        return self._used_at

    async def read(self) -> datetime | None:
        """Read the file and give the latest use that it ever told of, not counting what we wrote."""
        try:
            text, written_at = await in_thread(partial(_read_file, self.stamp_path))
            stamp = read_stamp(text) if text else None
            if stamp is not None and stamp.microsecond != OUR_MICROSECONDS:
                used_at = stamp_used_at(stamp, written_at, self.now())
                self._used_at = used_at if self._used_at is None else max(self._used_at, used_at)
            self._told = None
        except FileNotFoundError:
            self._told = None
        except (OSError, ValueError) as error:
            self._tell(f"{type(error).__name__}: {error}")
        return self._used_at

    def _tell(self, words: str) -> None:
        if words != self._told:
            self._told = words
            self.log.info("Culling: the stamp file %s is ignored until it can be read: %s", self.stamp_path, words)


def _read_file(path: str) -> tuple[str, datetime]:
    """Its text and when it was written. No link is followed, and nothing waited for, whatever somebody put there."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("it is no regular file")
        text = os.read(descriptor, LONGEST + 1).decode("ascii", errors="replace").strip()
        return text, datetime.fromtimestamp(os.fstat(descriptor).st_mtime, timezone.utc)
    finally:
        os.close(descriptor)
