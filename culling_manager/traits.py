"""Trait types for settings: they refuse nonsense in the words of `policy`, with name, value and accepted range."""

from __future__ import annotations

import logging
from typing import Any

from traitlets import Any as AnyValue
from traitlets import Float, TraitError
from traitlets.config import Configurable

from .errors import SettingError
from .policy import LONGEST_SECONDS, minutes, number, plain

#: The heartbeat when nothing else is configured (seconds).
DEFAULT_INTERVAL_SECONDS = 10.0


class Minutes(Float[float, "int | float"]):
    """A number of minutes from 0 (off) to 100 years."""

    info_text = "a number of minutes, 0 is off"

    def validate(self, obj: Any, value: Any) -> float:
        """Give `value` as float, or raise a TraitError that names trait, value and range."""
        try:
            return minutes(f"{type(obj).__name__}.{self.name}", value)
        except SettingError as error:
            raise TraitError(str(error)) from None

    def from_string(self, s: str) -> float:
        """Read a number from the command line; what is no number goes on to `validate`, which says so."""
        if self.allow_none and s == "None":
            return None  # type: ignore[return-value]
        try:
            return float(s)
        except ValueError:
            return s  # type: ignore[return-value]


class Seconds(Minutes):
    """A finite number of seconds; what one of 0 or less means is its owner's to say."""

    info_text = "a number of seconds"

    def validate(self, obj: Any, value: Any) -> float:
        """Give `value` as float, or raise a TraitError that names trait, value and range."""
        accepted = f"a number of seconds up to {plain(LONGEST_SECONDS)}"
        name = f"{type(obj).__name__}.{self.name}"
        try:
            return number(name, value, low=-LONGEST_SECONDS, high=LONGEST_SECONDS, accepted=accepted)
        except SettingError as error:
            raise TraitError(str(error)) from None


class ClassOrName(AnyValue):
    """A class or its import name, which is looked up by whoever uses it; from the command line always a name."""

    info_text = "a class or its import name"

    def validate(self, obj: Any, value: Any) -> Any:
        """Refuse what is neither, naming trait, value and what is accepted."""
        if isinstance(value, type) or (isinstance(value, str) and value.strip()):
            return value
        raise TraitError(
            str(SettingError(f"{type(obj).__name__}.{self.name}", value, "'auto', or a class or its import name"))
        )

    def from_string(self, s: str) -> str:
        """A name as it stands."""
        return s


def configured(owner: Configurable, given: dict[str, Any], name: str) -> bool:
    """Whether trait `name` was set by configuration or as an argument, rather than being a default."""
    return name in given or name in owner._find_my_config(owner.config)


def interval(owner: Any, log: logging.Logger) -> float:
    """Give `owner.cull_interval` (seconds); not over 0, it is replaced by 10 s with a warning, as upstream does."""
    interval = float(owner.cull_interval)
    if interval > 0:
        return interval
    log.warning(
        "Invalid value for '%s.cull_interval' detected (%s seconds) - using the default value (%g).",
        type(owner).__name__,
        owner.cull_interval,
        DEFAULT_INTERVAL_SECONDS,
    )
    owner.cull_interval = DEFAULT_INTERVAL_SECONDS
    return DEFAULT_INTERVAL_SECONDS
