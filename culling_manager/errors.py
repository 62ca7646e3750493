"""What can go wrong, and a memory of what went wrong lately.

::

    CullingError
    ├── SettingError   a setting is out of its accepted range (also a ValueError)
    ├── RecordError    what was read is not a usable record (also a ValueError)
    ├── ReadError      a reading failed: doubt keeps, nothing is culled on account of it
    ├── StopError      something was asked to stop and is still there
    ├── HookError      the admin's hook failed
    ├── CallError      a cloud's control plane refused a call, or did not answer it
    │   └── DeniedError   because a permission is missing
    └── GoneError      what was to be looked at or deleted is gone already
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta


class CullingError(Exception):
    """Anything that this package itself reports as wrong."""


class SettingError(CullingError, ValueError):
    """A setting has a value that is not accepted.

    Attributes hold the three things an operator needs: ``name``, the ``value`` seen, and what is ``accepted``.
    """

    def __init__(self, name: str, value: object, accepted: str) -> None:
        shown = repr(value)
        if len(shown) > 80:
            shown = shown[:77] + "..."
        super().__init__(f"{name} = {shown} is not accepted: it must be {accepted}")
        self.name, self.value, self.accepted = name, value, accepted


class RecordError(CullingError, ValueError):
    """A record was given something that it refuses, such as a timestamp without a time zone."""


class ReadError(CullingError):
    """The state of something could not be read just now."""


class StopError(CullingError):
    """A kernel or terminal was asked to stop, and afterwards it is still there."""


class HookError(CullingError):
    """The admin's `pre_cull_hook` raised, took too long, or answered something else than a time."""


class CallError(CullingError):
    """A control plane refused a call, or did not answer it as it should."""


class DeniedError(CallError):
    """A control plane refused a call because a permission is missing, which the message names."""


class GoneError(CullingError):
    """What was to be looked at or deleted is gone already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """One thing that went wrong: what it concerns, the words, when last, how often, and whether it still holds."""

    subject: str
    message: str
    first_at: datetime
    last_at: datetime
    times: int
    active: bool


def printable(text: str) -> str:
    """The text on one line, whatever names somebody has chosen: what is not printable is written as Python does."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


class Troubles:
    """Remembers what went wrong in the last 24 hours, at most `limit` subjects, newest last.

    `note` answers whether the words are news, so that a caller logs each change once and not each repetition.
    """

    KEPT = timedelta(hours=24)

    def __init__(self, limit: int = 50) -> None:
        self._limit = limit
        self._by_subject: OrderedDict[str, Trouble] = OrderedDict()

    def note(self, subject: str, message: str, now: datetime) -> bool:
        """Remember that `subject` is in trouble; True when this is news (first time, or other words)."""
        known = self._by_subject.pop(subject, None)
        same = known is not None and known.active and known.message == message
        self._by_subject[subject] = Trouble(
            subject=subject,
            message=message,
            first_at=known.first_at if known and same else now,
            last_at=now,
            times=known.times + 1 if known and same else 1,
            active=True,
        )
        while len(self._by_subject) > self._limit:
            ended = (each for each, trouble in self._by_subject.items() if not trouble.active)
            del self._by_subject[next(ended, next(iter(self._by_subject)))]
        return not same

    def over(self, subject: str) -> bool:
        """Mark the trouble with `subject` as over; True when there was one."""
        known = self._by_subject.get(subject)
        if known is None or not known.active:
            return False
        self._by_subject[subject] = Trouble(
            subject=subject,
            message=known.message,
            first_at=known.first_at,
            last_at=known.last_at,
            times=known.times,
            active=False,
        )
        return True

    def recent(self, now: datetime) -> list[Trouble]:
        """Everything noted in the last 24 hours or still active, oldest first."""
        for subject, trouble in list(self._by_subject.items()):
            if not trouble.active and now - trouble.last_at > self.KEPT:
                del self._by_subject[subject]
        return list(self._by_subject.values())

    def last_text(self) -> str | None:
        """The words of the newest trouble that still holds, or None."""
        for trouble in reversed(self._by_subject.values()):
            if trouble.active:
                return trouble.message
        return None
