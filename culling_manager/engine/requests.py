"""Keep-alives: requests that something is kept until an instant. They live in memory and go with what they are for.

Beside the requests there are `leases`, of which one thing may have many.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta, timezone, tzinfo

from ..errors import SettingError
from ..policy import LONGEST_MINUTES, LONGEST_SECONDS, number, plain
from ..records import KeepAlive, Kind, Record, utc
from ..report import duration as duration_words
from .leases import LEASE_SECONDS, Leases

_PART = r"(?i)([0-9]{1,9}(?:\.[0-9]{1,6})?)\s*(d|h|min|m|s)"
_SECONDS = {"d": 86_400.0, "h": 3600.0, "min": 60.0, "m": 60.0, "s": 1.0}
_CLOCK = r"([01]?[0-9]|2[0-3]):([0-5][0-9])"
#: Who asks in the name of the admin's hook: no user.
HOOK = "pre_cull_hook"
DURATION_ACCEPTED = "a duration of a second or more such as '4h', '90m' or '1h30m', or a number of minutes"
UNTIL_ACCEPTED = "a clock time such as '18:30', or an ISO 8601 time to come with its time zone"


class KeepAlives:
    """All requests that hold, one for each thing at most: a new one replaces the old. Beside them stand `leases`.

    Whoever decides by them is called with kind and identity (None: everything) when one comes, or is ended.
    """

    def __init__(self) -> None:
        self._found: dict[tuple[Kind | None, str | None], KeepAlive] = {}
        self._asked_at: dict[tuple[Kind | None, str | None], datetime] = {}
        self.leases = Leases()
        self.when_changed: list[Callable[[Kind | None, str | None], None]] = []

    @property
    def any(self) -> bool:
        """Whether anything may be kept by a request."""
        return bool(self._found) or self.leases.any

    def put(self, request: KeepAlive) -> None:
        """Take a request on."""
        self._found[request.kind, request.identity] = request
        if request.asked_by != HOOK:
            self._asked_at[request.kind, request.identity] = request.asked_at
        self._changed(request)

    def end(self, kind: Kind | None, identity: str | None) -> KeepAlive | None:
        """Let go what was kept by a request, and give that; None when there was none."""
        self._asked_at.pop((kind, identity), None)
        found = self._found.pop((kind, identity), None)
        if found is not None:
            self._changed(found)
        return found

    def lease(self, kind: Kind | None, identity: str | None, now: datetime, ends: datetime, asked_by: str) -> KeepAlive:
        """Begin a lease that may be renewed until `ends`; gives it.

        Raises
        ------
        SettingError
            When there are too many.
        """
        until, name = min(now + timedelta(seconds=LEASE_SECONDS), ends), uuid.uuid4().hex
        request = KeepAlive(
            kind=kind, identity=identity, until=until, asked_at=now, asked_by=asked_by, lease=name, ends=ends
        )
        self.leases.forget_past(now)
        self.leases.begin(request)
        self._asked_at[kind, identity] = now
        self._changed(request)
        return request

    def renew(self, name: str, now: datetime) -> KeepAlive:
        """Renew a lease, which is no new request of a user's; gives it. Raises as `Leases.renew`."""
        self.leases.forget_past(now)
        request = self.leases.renew(name, now)
        self._changed(request)
        return request

    def end_lease(self, name: str, now: datetime, seconds: float) -> KeepAlive:
        """End a lease, within `seconds`; gives it. KeyError when there is none of this name."""
        self.leases.forget_past(now)
        request = self.leases.end(name, now, seconds)
        self._changed(request)
        return request

    def _changed(self, request: KeepAlive) -> None:
        for call in self.when_changed:
            call(request.kind, request.identity)

    def shift(self, seconds: float) -> None:
        """The clock was set back: what was asked for lasts as long as before."""
        by = timedelta(seconds=seconds)
        self._found = {
            key: each._replace(until=each.until + by, asked_at=each.asked_at + by) for key, each in self._found.items()
        }
        self._asked_at = {key: at + by for key, at in self._asked_at.items()}
        self.leases.shift(by)

    def take_back(self, kind: Kind | None, identity: str | None) -> KeepAlive | None:
        """Forget one, and leases, without a word, because what it was for is gone; None when there was none."""
        self.leases.drop(kind, identity)
        self._asked_at.pop((kind, identity), None)
        return self._found.pop((kind, identity), None)

    def asked_for(self, kind: Kind) -> list[str]:
        """Identities of what is kept by a request of its own."""
        if not self.any:
            return []  # as at nearly every pass
        asked = [*self._found, *((each.kind, each.identity) for each in self.leases)]
        return [str(identity) for each, identity in dict.fromkeys(asked) if each is kind]

    def until(self, kind: Kind, identity: str) -> datetime | None:
        """Until when something is kept by request; None when it is not."""
        found = self.longest(kind, identity)
        return None if found is None else found.until

    def longest(self, kind: Kind, identity: str) -> KeepAlive | None:
        """The request that keeps something the longest; None when there is none."""
        if not self.any:
            return None
        asked = [self._found.get((None, None)), self._found.get((kind, identity))]
        asked += [*self.leases.on(None, None), *self.leases.on(kind, identity)]
        return max((each for each in asked if each is not None), key=lambda each: each.until, default=None)

    def noted_on(self, record: Record) -> Record:
        """The record with what was asked for it."""
        request, asked_at = self.longest(record.kind, record.identity), self.asked_at(record.kind, record.identity)
        if request is not None:
            until = max(request.until, record.kept_until or request.until)
            record = record._replace(kept_until=until, asked_by=request.asked_by, leased=request.renewable)
        return record if asked_at is None else record._replace(asked_at=asked_at)

    def asked_at(self, kind: Kind, identity: str) -> datetime | None:
        """When a user last asked that something is kept, or everything, also where that has ended; None for never."""
        if not self._asked_at:
            return None
        asked = (self._asked_at.get((None, None)), self._asked_at.get((kind, identity)))
        return max((at for at in asked if at is not None), default=None)

    def current(self, now: datetime) -> list[KeepAlive]:
        """The requests that hold at `now`; those that have ended are dropped."""
        self._found = {key: each for key, each in self._found.items() if each.until >= now}
        self.leases.forget_past(now)
        return sorted([*self._found.values(), *self.leases], key=lambda each: (each.until, each.identity or ""))


def seconds_of(value: object) -> float:
    """Read a duration: '4h', '90m', '1h30m', '2d', or a number of minutes; gives seconds.

    Raises
    ------
    SettingError
        When it is none, or not over 0.
    """
    found = None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        found = number("duration", value, low=0, high=LONGEST_MINUTES, accepted=DURATION_ACCEPTED) * 60
    elif isinstance(value, str):
        text = value.strip()
        parts = re.findall(_PART, text)
        if parts and not re.sub(_PART, "", text).strip():
            found = sum(float(number) * _SECONDS[unit.lower()] for number, unit in parts)
        elif re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,6})?", text):
            found = float(text) * 60
    if found is None or not 1 <= found <= LONGEST_SECONDS:
        raise SettingError("duration", value, DURATION_ACCEPTED)
    return found


def instant_of(value: object, now: datetime, zone: tzinfo | None = None) -> datetime:
    """Read when a keep-alive ends: the next time that a clock in `zone` shows 'HH:MM', or an ISO 8601 time.

    Raises
    ------
    SettingError
        When it is neither, has no time zone, or is past.
    """
    found = None
    clock = re.fullmatch(_CLOCK, value.strip()) if isinstance(value, str) else None
    if clock is not None:
        found = _next(int(clock[1]), int(clock[2]), now, zone)
    elif isinstance(value, str):
        try:
            found = utc(datetime.fromisoformat(value.strip().replace("Z", "+00:00")), "until")
        except (ValueError, OverflowError):
            found = None
    if found is None or found <= now:
        raise SettingError("until", value, UNTIL_ACCEPTED)
    return found


def _next(hour: int, minute: int, now: datetime, zone: tzinfo | None) -> datetime:
    """The next instant at which a clock in `zone` (None: this machine's) shows a time of day.

    When clocks are set back it may come twice in a night. When they are set forward and skip it, it comes as much later
    as they are set forward.
    """
    today = now.astimezone(zone).replace(tzinfo=None, hour=hour, minute=minute, second=0, microsecond=0)
    found = []
    for shown in (today, today + timedelta(days=1)):
        local = [shown.replace(tzinfo=zone, fold=fold) for fold in (0, 1)]
        first, second = (each.astimezone(timezone.utc) for each in local)
        found += [first, max(first, second)]
    return min(each for each in found if each > now)


def end_of(duration: object, until: object, now: datetime, longest: float) -> datetime:
    """Give when a keep-alive ends that was asked for by `duration` or by `until`; `longest` (seconds) 0 is no bound.

    Raises
    ------
    SettingError
        When neither or both are given, or what is given is not accepted.
    """
    if duration is None and until is None:
        raise SettingError("duration", duration, f"given, or else 'until': {DURATION_ACCEPTED}; {UNTIL_ACCEPTED}")
    if duration is not None and until is not None:
        raise SettingError("until", until, "absent when 'duration' is given")
    if until is None:
        name, value, seconds = "duration", duration, seconds_of(duration)
    else:
        name, value, seconds = "until", until, (instant_of(until, now) - now).total_seconds()
    if seconds > (longest or LONGEST_SECONDS):
        bound = f"at most max_keep_alive = {plain((longest or LONGEST_SECONDS) / 60)} minutes"
        raise SettingError(name, value, f"{bound}{_how_to_have_more(longest)}" if longest else bound)
    return now + timedelta(seconds=seconds)


def _how_to_have_more(longest: float) -> str:
    """What whoever needs more than the longest keep-alive (seconds) can do."""
    return f" ({duration_words(longest)}); ask again before that ends, or let the admin set it higher (0: no bound)"
