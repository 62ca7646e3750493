"""What stands in one line of a history or a log, read strictly: what is not accepted is named with its value."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from ..errors import SettingError
from ..report import moment

#: Times before and after these years are mistakes.
YEARS = (1970, 2970)

Line = Mapping[str, Any]


def object_in(text: bytes) -> Line:
    """The JSON object that a line is. Raises `SettingError`."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise SettingError("the line", text[:60].decode("utf-8", "replace"), "a JSON object")
    return found


def time_in(line: Line, name: str) -> datetime:
    """A time with its zone; the event bus writes one and a 'Z' behind it. Raises `SettingError`."""
    value = line.get(name)
    try:
        text = re.sub(r"([+-]\d\d:\d\d)Z$", r"\1", str(value))
        if isinstance(value, str) and re.search(r"(Z|z|[+-]\d\d:?\d\d)$", text):
            found = moment(text)
            if YEARS[0] <= found.year < YEARS[1]:  # so that no deadline leaves the calendar
                return found
    except (ValueError, OverflowError):
        pass
    accepted = f"a time with its zone in the years {YEARS[0]} to {YEARS[1]}, such as 2026-06-01T12:00:00Z"
    raise SettingError(name, value, accepted)


def text_in(line: Line, name: str, default: str | None = None) -> str:
    """A text of a line; without a `default` it has to be there. Raises `SettingError`."""
    value = line.get(name, default)
    if not isinstance(value, str) or (default is None and not value):
        raise SettingError(name, value, "a text")
    return value


def one_of(line: Line, name: str, accepted: Iterable[str]) -> str:
    """One of the accepted texts. Raises `SettingError`."""
    value, known = line.get(name), tuple(accepted)
    if not isinstance(value, str) or value not in known:
        raise SettingError(name, value, f"one of {', '.join(known)}")
    return value
