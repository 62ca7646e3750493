"""What can go wrong, its codes for programs, and a memory of what went wrong lately.

::

    CullingError
    ├── SettingError      a setting is out of its accepted range (also a ValueError)
    │   └── BodyError        the body of a request is not what is read there
    ├── RecordError       what was read is not a usable record (also a ValueError)
    ├── ReadError         a reading failed: doubt keeps, nothing is culled on account of it
    │   └── SaveError        what was to last cannot be written
    ├── StopError         something was asked to stop and is still there
    │   └── TooLateError     it is being stopped already, so that it cannot be kept
    ├── LeaseError        a lease was taken back, or has lasted as long as it may
    ├── HookError         the admin's hook failed
    ├── CallError         a cloud's control plane refused a call, or did not answer it
    │   └── DeniedError      because a permission is missing
    ├── GoneError         what was to be looked at or deleted is gone already
    └── NotOursError      no manager of this server is ours
"""

from __future__ import annotations

from collections import OrderedDict
from datetime import datetime, timedelta
from enum import Enum
from typing import NamedTuple


class ErrorCode(str, Enum):
    """What went wrong, in one word for programs; the sentence beside it is for people and may change.

    The first group is what HTTP answers with. A word keeps its meaning for good.
    """

    BAD_BODY = "bad_body"  # 400: the body is no JSON object, or too long
    BAD_FIELD = "bad_field"  # 400: `field` has a value that is not `accepted`
    BAD_REQUEST = "bad_request"  # 400: Jupyter does not read the request
    FORBIDDEN = "forbidden"  # 401, 403: no login, no permission, or no XSRF token
    OTHER_SITE = "other_site"  # 404: the request comes from another site's page
    NOT_FOUND = "not_found"  # 404: there is no such thing, or nothing was asked for it
    NO_SUCH_METHOD = "no_such_method"  # 405: the header `Allow` has those that there are
    TOO_LATE = "too_late"  # 409: it is being shut down or deleted already
    LEASE_ENDED = "lease_ended"  # 409: a lease was taken back, or has lasted as long as it may
    NOT_OUR_MANAGERS = "not_our_managers"  # 409: no manager of this server is ours
    TURNED_OFF = "turned_off"  # 409: a setting of the admin's says that it does not count
    NOT_SAVED = "not_saved"  # 409: what is to last cannot be written or deleted
    INTERNAL = "internal"  # 5xx: a fault of ours, which the server's log has

    FAILED = "failed"  # whatever has no word of its own
    BAD_RECORD = "bad_record"  # a record that is refused
    UNREAD = "unread"  # the state of a thing could not be read
    NOT_STOPPED = "not_stopped"  # it is still there after its shutdown
    HOOK_FAILED = "hook_failed"  # pre_cull_hook
    SIGNAL_FAILED = "signal_failed"  # an activity signal, which counts as use
    GONE = "gone"  # it is gone already
    CALL_FAILED = "call_failed"  # a cloud refused a call, or did not answer as it should
    PERMISSION_MISSING = "permission_missing"  # a cloud refused a call for want of a permission
    NO_ANSWER = "no_answer"  # an app manager did not answer in time
    APPS_UNREAD = "apps_unread"  # which apps there are cannot be told, so none is deleted
    STRANGERS_UNREAD = "strangers_unread"  # nobody can tell what else is in use on the apps, so none is deleted
    NOT_DELETED = "not_deleted"  # an app could not be deleted
    STILL_IN_SERVICE = "still_in_service"  # an app is there long after its deletion was accepted


#: Codes of which each means that an app stays billed.
STAYS_BILLED = frozenset(
    {
        *(ErrorCode.CALL_FAILED, ErrorCode.PERMISSION_MISSING, ErrorCode.NO_ANSWER, ErrorCode.APPS_UNREAD),
        *(ErrorCode.STRANGERS_UNREAD, ErrorCode.NOT_DELETED, ErrorCode.STILL_IN_SERVICE),
    }
)


def shown(value: object, most: int = 80) -> str:
    """A value as Python writes it, cut to `most` characters: words about it are short whatever it is."""
    try:
        found = repr(value)
    except (ValueError, RecursionError):  # an endless number, lists in lists without end
        return f"a value of type {type(value).__name__} that cannot be written"
    return found if len(found) <= most else f"{found[: most - 3]}..."


class CullingError(Exception):
    """Anything that this package itself reports as wrong; `code` is its class's, or the one that it is given."""

    code = ErrorCode.FAILED

    def __init__(self, *words: object, code: ErrorCode | None = None) -> None:
        super().__init__(*words)
        if code is not None:
            self.code = code


class SettingError(CullingError, ValueError):
    """A setting has a value that is not accepted.

    Attributes hold the three things an operator needs: ``name``, the ``value`` seen, and what is ``accepted``.
    """

    code = ErrorCode.BAD_FIELD

    def __init__(self, name: str, value: object, accepted: str) -> None:
        super().__init__(f"{name} = {shown(value)} is not accepted: it must be {accepted}")
        self.name, self.value, self.accepted = name, value, accepted


class BodyError(SettingError):
    """The body of a request is not what is read there."""

    code = ErrorCode.BAD_BODY


class RecordError(CullingError, ValueError):
    """A record was given something that it refuses, such as a timestamp without a time zone."""

    code = ErrorCode.BAD_RECORD


class ReadError(CullingError):
    """The state of something could not be read just now."""

    code = ErrorCode.UNREAD


class StopError(CullingError):
    """A kernel or terminal was asked to stop, and afterwards it is still there."""

    code = ErrorCode.NOT_STOPPED


class TooLateError(StopError):
    """It is being stopped already, so that nobody can promise to keep it."""

    code = ErrorCode.TOO_LATE


class LeaseError(CullingError):
    """A lease cannot be renewed: it was taken back, or has lasted as long as it may."""

    code = ErrorCode.LEASE_ENDED


class HookError(CullingError):
    """The admin's `pre_cull_hook` raised, took too long, or answered something else than a time."""

    code = ErrorCode.HOOK_FAILED


class CallError(CullingError):
    """A control plane refused a call, or did not answer it as it should."""

    code = ErrorCode.CALL_FAILED


class DeniedError(CallError):
    """A control plane refused a call because a permission is missing, which the message names."""

    code = ErrorCode.PERMISSION_MISSING


class GoneError(CullingError):
    """What was to be looked at or deleted is gone already."""

    code = ErrorCode.GONE


class NotOursError(CullingError):
    """No manager of this server is ours, so there is nothing to set; the message says what to configure."""

    code = ErrorCode.NOT_OUR_MANAGERS


class SaveError(ReadError):
    """What was to last cannot be written, or what was saved cannot be deleted."""

    code = ErrorCode.NOT_SAVED


def code_of(error: BaseException) -> ErrorCode:
    """The code of anything that was raised."""
    return error.code if isinstance(error, CullingError) else ErrorCode.FAILED


class Trouble(NamedTuple):
    """One thing that went wrong: what it concerns, the words, when last, how often, and whether it still holds."""

    subject: str
    message: str
    first_at: datetime
    last_at: datetime
    times: int
    active: bool
    code: ErrorCode = ErrorCode.FAILED


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

    def note(self, subject: str, message: str, now: datetime, code: ErrorCode = ErrorCode.FAILED) -> bool:
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
            code=code,
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
        self._by_subject[subject] = known._replace(active=False)
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

    def codes(self) -> list[ErrorCode]:
        """The codes of all troubles that still hold, each once, oldest first."""
        return list(dict.fromkeys(trouble.code for trouble in self._by_subject.values() if trouble.active))
