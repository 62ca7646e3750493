"""The rules' numbers: one frozen policy, in seconds, that refuses nonsense when it is built."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fnmatch import fnmatchcase

from .errors import SettingError

#: The longest timeout that is accepted: 100 years, so that a deadline never leaves the calendar.
LONGEST_SECONDS = 100 * 365 * 86_400.0
LONGEST_MINUTES = LONGEST_SECONDS / 60
#: The policy's durations for which 0 means off.
DURATIONS = (
    *("idle_timeout", "min_idle_timeout", "max_idle_timeout", "busy_timeout", "terminal_idle_timeout"),
    *("warn_before", "max_keep_alive", "long_run", "grace", "max_at_work", "max_age"),
)
#: The least that users may set at run time where nothing else is configured: a second, for less would cull everything.
LEAST_USER_MINUTES = 0.0166
ROUNDING = 1e-9
#: So long ahead (seconds) is warned at least that an app grows too old.
LEAST_AGE_WARNING = 900.0


def number(name: str, value: object, *, low: float, high: float, accepted: str) -> float:
    """Give `value` as a float when it is a finite number from `low` to `high`.

    A bool is not a number here.

    Raises
    ------
    SettingError
        Naming `name`, the value seen and what is `accepted`.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise SettingError(name, value, accepted)
    try:
        found = float(value)
    except OverflowError:
        raise SettingError(name, value, accepted) from None
    if not math.isfinite(found) or not low <= found <= high:
        raise SettingError(name, value, accepted)
    return found


def plain(value: float) -> str:
    """Write a number without a needless fraction: 120, not 120.0."""
    return f"{value:g}" if value != int(value) or abs(value) >= 1e15 else str(int(value))


def minutes(name: str, value: object) -> float:
    """Give `value` (minutes) when it is from 0, which means off, to 100 years; else raise `SettingError`."""
    accepted = f"a number of minutes from 0 (off) to {plain(LONGEST_MINUTES)}"
    return number(name, value, low=0, high=LONGEST_MINUTES, accepted=accepted)


#: The pattern in `idle_timeouts` that means the rest.
REST = "*"


def no_longer(table: tuple[tuple[str, float], ...], seconds: float) -> tuple[tuple[str, float], ...]:
    """What becomes of `idle_timeouts` when a user sets one timeout for everything: it holds where it is shorter.

    What the table names has a short leash for a reason, and a user's wish makes it no longer. The rest (`*`) gives way.
    """
    return tuple((each, seconds if each == REST or own <= 0 else min(own, seconds)) for each, own in table)


@dataclass(frozen=True, slots=True, kw_only=True)
class CullingPolicy:
    """Everything that decides besides the record and the time. All durations are in seconds; 0 is off.

    The defaults here are for tests and simulations: those of a server stand in `managers/kernel_settings.py`.

    `terminal_idle_timeout` None follows `idle_timeout`. `min_idle_timeout` and `max_idle_timeout` bound what users set
    at run time, never what is configured here; nor may they set `keep_terminals` when it is `keep_terminals_fixed`.
    `warn_before` is how long ahead of a deadline a warning is given. `max_keep_alive` bounds a keep-alive; 0 is no
    bound. After a run of a kernel of `long_run` or longer its results are kept for `grace` at least. What activity
    signals see keeps for `max_at_work` at most, and an app for `max_age` at most. `idle_timeouts` are by instance type,
    a pattern and seconds each, of which the first that matches counts in place of `idle_timeout`; `instance_type` is
    that of everything here that does not say its own.

    Raises
    ------
    SettingError
        For a negative, infinite or absurd number, or bounds that leave nothing between them.
    """

    idle_timeout: float = 7200.0
    terminal_idle_timeout: float | None = None
    min_idle_timeout: float = 0.0
    max_idle_timeout: float = 0.0
    busy_timeout: float = 0.0
    cull_interval: float = 10.0
    cull_connected: bool = True
    cull_busy: bool = False
    keep_terminals: bool = False
    keep_terminals_fixed: bool = False
    warn_before: float = 300.0
    max_keep_alive: float = 0.0
    long_run: float = 600.0
    grace: float = 0.0
    max_at_work: float = 0.0
    max_age: float = 0.0
    dry_run: bool = False
    idle_timeouts: tuple[tuple[str, float], ...] = ()
    instance_type: str | None = None

    def __post_init__(self) -> None:
        accepted = f"a number of seconds from 0 (off) to {plain(LONGEST_SECONDS)}"
        for name in DURATIONS:
            value = getattr(self, name)
            if value is not None:
                number(name, value, low=0, high=LONGEST_SECONDS, accepted=accepted)
        for pattern, seconds in self.idle_timeouts:
            number(f"idle_timeouts[{pattern!r}]", seconds, low=0, high=LONGEST_SECONDS, accepted=accepted)
        number("cull_interval", self.cull_interval, low=1e-3, high=LONGEST_SECONDS, accepted="over 0 seconds")
        if 0 < self.max_idle_timeout < self.min_idle_timeout:
            raise SettingError(
                "min_idle_timeout",
                self.min_idle_timeout / 60,
                f"at most max_idle_timeout = {self.max_idle_timeout / 60}",
            )

    @property
    def terminal_timeout(self) -> float:
        """Seconds until an inactive terminal is due; 0 is off."""
        return self.idle_timeout_on(None) if self.terminal_idle_timeout is None else self.terminal_idle_timeout

    def idle_timeout_on(self, instance_type: str | None) -> float:
        """Seconds until something on an instance of this type (None: that of everything here) is due; 0 is off.

        Off for all is off, and where nobody knows the type `idle_timeout` holds.
        """
        rule = self.timeout_rule(instance_type)
        return self.idle_timeout if rule is None else rule[1]

    def timeout_rule(self, instance_type: str | None) -> tuple[str, float] | None:
        """The first of `idle_timeouts` that matches, pattern and seconds; None when `idle_timeout` holds."""
        found = instance_type or self.instance_type
        if self.idle_timeout <= 0 or found is None:
            return None
        return next((rule for rule in self.idle_timeouts if fnmatchcase(found, rule[0])), None)

    @property
    def shortest_idle_timeout(self) -> float:
        """Seconds: the shortest that any type may have; 0 where all are off."""
        if not self.idle_timeouts:
            return max(self.idle_timeout, 0.0)
        known = [self.idle_timeout, *(seconds for _, seconds in self.idle_timeouts)] if self.idle_timeout > 0 else []
        return min((seconds for seconds in known if seconds > 0), default=0.0)

    def warning(self, timeout: float) -> float:
        """Seconds ahead of a deadline at which a warning is given; never more than half the `timeout`."""
        return min(self.warn_before, timeout / 2)

    @property
    def age_warning(self) -> float:
        """Seconds ahead at which is warned that an app grows older than `max_age`: 15 minutes at least, if that allows.

        Also with `warn_before` 0, for everything on it is lost then.
        """
        return min(max(self.warn_before, LEAST_AGE_WARNING), self.max_age / 2)

    def user_keep_terminals(self, name: str, value: bool) -> bool:
        """Give what a user wants `keep_terminals` to be at run time, when that is the user's to say.

        Raises
        ------
        SettingError
            When it is fixed, and another value than that is wanted.
        """
        if self.keep_terminals_fixed and value != self.keep_terminals:
            raise SettingError(name, value, f"{str(self.keep_terminals).lower()}, which the admin has fixed")
        return value

    def user_minutes(self, name: str, value: object) -> float:
        """Give the idle timeout (minutes) that a user asks for at run time, when the bounds allow it.

        Raises
        ------
        SettingError
            When it is not a number, less than a second, or outside `min_idle_timeout` to `max_idle_timeout`.
        """
        high = self.max_idle_timeout / 60 or LONGEST_MINUTES
        low = min(self.min_idle_timeout / 60 or LEAST_USER_MINUTES, high)
        accepted = f"a number of minutes from {low:.4g} to {plain(high)}"
        # seconds do not go back into minutes without a rest
        found = number(name, value, low=low * (1 - ROUNDING), high=high * (1 + ROUNDING), accepted=accepted)
        return min(found, LONGEST_MINUTES)
