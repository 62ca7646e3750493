"""Leases: keep-alives of a few minutes, each renewed by whoever holds it, so that what it keeps goes when that ends."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from ..errors import LeaseError, SettingError
from ..records import KeepAlive, Kind
from ..report import iso

#: For how long a lease holds when it is begun or renewed (seconds).
LEASE_SECONDS = 300.0
#: So many may hold at a time; a program that begins one after the other instead of renewing it is told so.
MOST = 500
#: The names of so many that cannot be renewed any more are remembered.
REMEMBERED = 1000

Thing = tuple[Kind | None, str | None]


class Leases:
    """All leases, by what they keep: of one thing there may be many, and each ends by itself."""

    def __init__(self) -> None:
        self._found: dict[Thing, dict[str, KeepAlive]] = {}
        self._over: dict[str, str] = {}

    def __iter__(self) -> Iterator[KeepAlive]:
        for leases in self._found.values():
            yield from leases.values()

    @property
    def any(self) -> bool:
        """Whether anything may be kept by a lease."""
        return bool(self._found)

    def on(self, kind: Kind | None, identity: str | None) -> Iterable[KeepAlive]:
        """Those that keep just this thing."""
        return self._found.get((kind, identity), {}).values()

    def begin(self, request: KeepAlive) -> None:
        """Take one on, which has a name of its own.

        Raises
        ------
        SettingError
            When there are too many.
        """
        if sum(len(leases) for leases in self._found.values()) >= MOST:
            raise SettingError("lease", True, f"the name of one that is to be renewed, for {MOST} leases hold already")
        self._put(request)

    def renew(self, name: str, now: datetime) -> KeepAlive:
        """Have one hold for `LEASE_SECONDS` more, not beyond its end; gives it.

        Raises
        ------
        LeaseError
            When it was taken back or has lasted as long as it may.
        KeyError
            When there is none of this name: it was not renewed in time, or what it kept is gone.
        """
        if name in self._over:
            raise LeaseError(f"the lease {name} {self._over[name]}")
        request = self._of(name)._replace(until=self._until(name, now))
        self._put(request)
        return request

    def end(self, name: str, now: datetime, seconds: float) -> KeepAlive:
        """Let one go: it holds for `seconds` more at most, the time of a warning, and cannot be renewed; gives it.

        One that has been ended before is let go at once. KeyError when there is none of this name.
        """
        request = self._of(name)
        again = name in self._over
        until = now if again else min(request.until, now + timedelta(seconds=seconds))
        self._remember(name, "was ended")
        ended = request._replace(until=until, ends=until)
        if until <= now:
            self._take_out(ended)
        else:
            self._put(ended)
        return ended

    def drop(self, kind: Kind | None, identity: str | None) -> None:
        """Forget those that keep something that is gone."""
        self._found.pop((kind, identity), None)

    def forget_past(self, now: datetime) -> None:
        """Drop those that do not hold any more; one that has lasted as long as it may cannot be renewed."""
        for request in [each for each in self if each.until < now]:
            if not request.renewable and request.lease not in self._over:
                self._remember(str(request.lease), f"has lasted as long as it may, until {iso(request.ends)}")
            self._take_out(request)

    def shift(self, by: timedelta) -> None:
        """The clock was set: what was asked for lasts as long as before."""
        for each in list(self):
            ends = None if each.ends is None else each.ends + by
            self._put(each._replace(until=each.until + by, asked_at=each.asked_at + by, ends=ends))

    def _until(self, name: str, now: datetime) -> datetime:
        request = self._of(name)
        until = now + timedelta(seconds=LEASE_SECONDS)
        return until if request.ends is None else min(until, request.ends)

    def _of(self, name: str) -> KeepAlive:
        for leases in self._found.values():
            if name in leases:
                return leases[name]
        raise KeyError(name)

    def _put(self, request: KeepAlive) -> None:
        self._found.setdefault((request.kind, request.identity), {})[str(request.lease)] = request

    def _take_out(self, request: KeepAlive) -> None:
        leases = self._found.get((request.kind, request.identity), {})
        leases.pop(str(request.lease), None)
        if not leases:
            self._found.pop((request.kind, request.identity), None)

    def _remember(self, name: str, why: str) -> None:
        self._over[name] = why
        while len(self._over) > REMEMBERED:
            del self._over[next(iter(self._over))]
