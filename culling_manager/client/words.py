"""Words that the commands and the notebook's magic share: times of day as whoever reads them has them, and names."""

from __future__ import annotations

import codecs
import io
import re
import sys
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from ..errors import SettingError
from ..report import duration, moment

#: How much of a kernel's id is shown; more than enough to tell a person's kernels apart.
SHORT = 8

#: The name that Jupyter Server gives to somebody who did not log in.
_ANONYMOUS = re.compile(r"[0-9a-f]{32}")
#: A duration as servers read it, and what people type for one.
_DURATION = re.compile(r"(\d+(\.\d+)?(d|h|min|m|s)\s*)+", re.IGNORECASE)
_AMOUNT = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)(?:[\s,]+and\s+|[\s,]*)", re.IGNORECASE)
_UNITS = {
    **dict.fromkeys(("d", "day", "days"), "d"),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), "h"),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), "m"),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), "s"),
}
_MINUTES = {"d": 1440.0, "h": 60.0, "m": 1.0, "s": 1 / 60}
#: Signs of ours that not every terminal has.
_PLAIN = {"·": "-", "…": "~", "─": "-", "━": "-"}
_CLOCK = re.compile(r"(\d{1,2}):(\d\d)(?::(\d\d))?")
ACCEPTED_DURATION = "one duration, each unit once, such as 3h or 1h30m"
ACCEPTED_UNTIL = "a time of day such as 18:30, or a date and time such as 2026-06-01T18:30"


def until_iso(text: str, now: datetime) -> str:
    """Turn a time of day, the next one after `now`, or a date and time, into ISO 8601 with the local offset.

    Raises
    ------
    SettingError
        For anything else.
    """
    found = _CLOCK.fullmatch(text.strip())
    try:
        if found is None:
            return moment(text).astimezone().isoformat()
        hour, minute, second = (int(each or 0) for each in found.groups())
        here = now.astimezone().replace(tzinfo=None)
        then = here.replace(hour=hour, minute=minute, second=second, microsecond=0)
        return (then if then > here else then + timedelta(days=1)).astimezone().isoformat()
    except (ValueError, OverflowError):
        raise SettingError("until", text, ACCEPTED_UNTIL) from None


def asked_duration(text: str) -> str | int:
    """What somebody typed as the server reads it: '4hours' is 4h, '1h30' is 1h30m, '90' is a number of minutes.

    What is not understood stays as it is: the server says what it accepts.

    Raises
    ------
    SettingError
        When a unit comes twice: nobody knows whether '1h 2h' is one time or two.
    """
    text = text.strip()
    if text.isdecimal():
        return int(text)
    parts = _AMOUNT.findall(text)
    known = [unit for unit in (_UNITS.get(unit.lower()) for _, unit in parts) if unit is not None]
    if len(set(known)) < len(known):
        raise SettingError("duration", text, ACCEPTED_DURATION)
    if _DURATION.fullmatch(text) or not parts or _AMOUNT.sub("", text):
        return text
    units = [_UNITS.get(unit.lower()) for _, unit in parts]
    if len(parts) > 1 and parts[-1][1] == "" and units[-2] == "h":
        units[-1] = "m"
    if None in units:
        return text
    return "".join(f"{number}{unit}" for (number, _), unit in zip(parts, units, strict=True))


def asked_minutes(text: str) -> float:
    """What somebody typed for a timeout, in minutes: '90', '90m', '1h30' and '1.5 hours' are the same.

    Raises
    ------
    ValueError
        When it is neither a number nor a duration.
    SettingError
        When a unit comes twice.
    """
    found = str(asked_duration(text))
    if not _DURATION.fullmatch(found):
        return float(found)
    parts = ((float(number), _UNITS[unit.lower()]) for number, unit in _AMOUNT.findall(found))
    return sum(number * _MINUTES[unit] for number, unit in parts)


def clock(at: datetime, now: datetime) -> str:
    """A time as the local clock and calendar show it: '18:30', 'Tue 18:30' within six days, else with its date."""
    here, there = now.astimezone(), at.astimezone()
    days = abs((there.date() - here.date()).days)
    if days == 0:
        return f"{there:%H:%M}"
    return f"{there:%a %H:%M}" if days <= 6 else f"{there:%Y-%m-%d %H:%M}"


def minute(at: datetime, now: datetime) -> str:
    """The nearest minute as the local clock shows it: for an end, of which less than a minute is nobody's concern."""
    return clock(at + timedelta(seconds=30), now)


def speak_plainly() -> None:
    """Let stdout and stderr say what their encoding has no sign for in other signs, and never fail for it."""
    codecs.register_error("culling_manager", _plainly)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="culling_manager")


def _plainly(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    words = error.object[error.start : error.end]
    return "".join(_PLAIN.get(each, "?") for each in words), error.end


def printable(text: object) -> str:
    """A text on one line and without control characters, so that nothing from outside can command a terminal."""
    return "".join(each if each.isprintable() else " " for each in str(text))


def short(kind: str, identity: str) -> str:
    """A kernel's id cut short; terminals' names and apps' ids as they are, an ARN by its last parts."""
    if kind == "kernel":
        return identity[:SHORT]
    return "/".join(identity.split("/")[-2:]) if identity.startswith("arn:") else identity


def subject(entry: Mapping[str, Any]) -> str:
    """What a keep-alive entry keeps: 'everything', 'kernel work/a.ipynb (1a2b3c4d)', 'terminal 1 (train.py)'."""
    kind, name = str(entry.get("kind")), entry.get("name")
    which = short(kind, str(entry.get("id")))
    first, last = (which, name) if kind == "terminal" or not name else (name, which)
    return "everything" if kind == "all" else printable(f"{kind} {first}" + (f" ({last})" if last else ""))


def kept(entry: Mapping[str, Any], now: datetime) -> str:
    """A keep-alive entry in words: 'everything is kept until 18:30, for 4 h'."""
    try:
        until = moment(str(entry["until"]))
    except (KeyError, ValueError):
        return f"{subject(entry)} is kept"
    # what is left of 4 h a moment after they were asked for is 3 h 59 min: said to the nearest minute, or second
    left = max(0.0, (until - now).total_seconds())
    words = duration(round(left) if left < 60 else round(left / 60) * 60)
    leased = entry.get("lease") is not None and entry.get("ends") != entry.get("until")
    more = ", by a lease that is renewed" if leased else ""
    return f"{subject(entry)} is kept until {minute(until, now)}, for {words}{more}"


def asker(entry: Mapping[str, Any]) -> str:
    """Who asked for a keep-alive; who has not logged in is somebody, for the name is a new one each time."""
    name = printable(entry.get("asked_by") or "")
    return "somebody on this server" if _ANONYMOUS.fullmatch(name) else name
