"""What follows from a target, what its culler said, and the time: no call, no clock, no log."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any, TypeGuard

from ..errors import STAYS_BILLED
from ..policy import LONGEST_SECONDS, plain
from ..records import Kind
from ..report import HEARTBEAT_MARKER, duration
from .options import FleetOptions
from .records import BASE_PATHS, Finding, Reading, State, Target, quoted, scrubbed, unlinked

#: What says that an app cannot be looked at or deleted, in heartbeats of versions that wrote no codes.
BILLED = re.compile(
    r"^app .* could not be deleted|^app .* is still in service|permission sagemaker:|^sagemaker:|no app is deleted"
    r"|nobody can tell what else is in use|^[A-Z]\w+ did not answer within"
)
#: A heartbeat may be dated so far ahead (seconds), for clocks are never quite the same.
FUTURE_SECONDS = 300.0
#: The longest heartbeat that is read (characters).
LONGEST_LINE = 4096
MOST_CODES = 50


def without_app(target: Target) -> Finding:
    """Nothing runs there that could be checked, and that is no fault."""
    if target.app_type not in BASE_PATHS:
        reason = f"An app of type {target.app_type} has no Jupyter Server."
    elif target.status is None:
        reason = f"It has no {target.app_type} app."
    else:
        reason = f"Its {target.app_type} app is {target.status}."
    return Finding(target=target, state=State.NO_APP, reason=reason)


def unreachable(target: Target, reason: str) -> Finding:
    """It could not be learned whether the culler runs."""
    return Finding(target=target, state=State.UNREACHABLE, reason=scrubbed(reason))


def from_answer(target: Target, said: Reading | None, options: FleetOptions, now: datetime) -> Finding:
    """Judge by the answer of a server; None is a Jupyter Server that does not know our URL.

    The culler runs when its count is over 1, which it is within ten seconds of the server's start.
    """
    if said is None:
        return _blame(target, State.NOT_INSTALLED, "Its server does not have the extension (404).", options, now)
    if said.count <= 1:
        why = f" (it says {quoted(said.errors)})" if said.errors else ""
        reason = f"Its culler has not woken up: count is {said.count}{why}."
        return _blame(target, State.NOT_RUNNING, reason, options, now, said)
    return _settled(target, said, options)


def from_log(target: Target, said: Reading | None, options: FleetOptions, now: datetime) -> Finding:
    """Judge by the latest heartbeat in a log, None when there is none.

    One from before the app's creation is an earlier app's. Older than `max_age_seconds` is too old; exactly that old
    is not. One from the future is refused: whoever writes in a log dates it as they like.
    """
    if said is None or said.at is None or (target.created is not None and said.at < target.created):
        hours = duration(options.look_back_seconds)
        reason = f"No heartbeat in its log within {hours}: not installed, or its role may not write logs."
        return _blame(target, State.NOT_INSTALLED, reason, options, now)
    age = (now - said.at).total_seconds()
    if age < -FUTURE_SECONDS:
        reason = f"Its heartbeat is dated {duration(-age)} ahead of now, and is not believed: whose clock is wrong?"
        return _blame(target, State.NOT_RUNNING, reason, options, now, said)
    if age > options.max_age_seconds:
        reason = f"Its last heartbeat is {duration(age)} old; one is due every hour."
        return _blame(target, State.NOT_RUNNING, reason, options, now, said)
    return _settled(target, said, options)


def wrong_settings(said: Reading, options: FleetOptions) -> list[str]:
    """What is not as it should be, one part of a sentence each."""
    found = []
    minutes, expected = said.idle_seconds / 60, options.expected_minutes
    if said.idle_seconds == 0 and expected != 0:
        found.append("culling is off (the idle timeout is 0)")
    elif expected is not None and not _within(minutes, expected, options.most_minutes):
        most = "" if options.most_minutes is None else f" to {plain(options.most_minutes)}"
        found.append(f"the idle timeout is {plain(minutes)} min, not {plain(expected)}{most} min")
    keep = options.expected_keep_terminals
    if keep is not None and said.keep_terminals != keep:
        found.append(f"keep_terminals is {'on' if said.keep_terminals else 'off'}, not {'on' if keep else 'off'}")
    if said.dry_run and not options.planned_dry_run:
        found.append("it is a dry run that stops nothing")
    if stays_billed(said):
        codes = [each for each in said.codes or () if each in STAYS_BILLED]
        why = f" ({', '.join(codes)})" if codes else ""
        found.append(f"its app stays billed{why}: it says {quoted(said.errors or 'nothing of it')}")
    elif said.app_manager == "NoApps":
        found.append("it manages no app, so its app stays billed (see app_manager_class, and its metadata file)")
    return found


def _within(minutes: float, least: float, most: float | None) -> bool:
    """Whether a timeout is as expected, or within the range, to the second."""
    high = least if most is None else most
    return (least - minutes) * 60 < 1 and (minutes - high) * 60 < 1


def stays_billed(said: Reading) -> bool:
    """Whether something keeps its app from being deleted: by the codes, or by the words where no codes are written."""
    if said.codes is None:
        return bool(said.errors and BILLED.search(said.errors))
    return not STAYS_BILLED.isdisjoint(said.codes)


def _settled(target: Target, said: Reading, options: FleetOptions) -> Finding:
    """Running, unless its settings are wrong."""
    if not said.kernels:
        reason = "Kernels are not culled there: another kernel manager is selected."
        return Finding(target=target, state=State.NOT_RUNNING, reason=reason, reading=said)
    wrong = wrong_settings(said, options)
    if wrong:
        reason = f"It runs, but {'; '.join(wrong)}."
        return Finding(target=target, state=State.WRONG_SETTINGS, reason=reason, reading=said)
    reason = f"Its culler runs, and reports: {quoted(said.errors)}" if said.errors else "Its culler runs."
    return Finding(target=target, state=State.RUNNING, reason=scrubbed(reason), reading=said)


def _blame(
    target: Target, state: State, reason: str, options: FleetOptions, now: datetime, said: Reading | None = None
) -> Finding:
    """Give this state, or `starting` for an app so young that its installation may still be under way."""
    if target.created is not None:
        age = (now - target.created).total_seconds()
        if age < options.young_seconds:
            reason, state = f"Its app is {duration(max(age, 0))} old. {reason}", State.STARTING
    return Finding(target=target, state=state, reason=scrubbed(reason), reading=said)


def read_heartbeat(message: str, at: datetime) -> Reading | None:
    """The reading in a log line, None when it holds none."""
    _, marker, rest = message[:LONGEST_LINE].partition(HEARTBEAT_MARKER)
    if not marker:
        return None
    try:
        found, _ = json.JSONDecoder().raw_decode(rest.lstrip())
    except (ValueError, RecursionError):
        return None
    return reading(found, at)


def reading(found: Any, at: datetime | None = None) -> Reading | None:
    """The reading in a decoded answer or heartbeat, None when its shape is another."""
    if not isinstance(found, dict):
        return None
    seconds, keep, count = (found.get(name) for name in ("idle_time", "keep_terminals", "count"))
    if not _is_number(seconds) or not isinstance(keep, bool) or not _is_number(count) or count != int(count):
        return None
    return Reading(
        idle_seconds=float(seconds),
        keep_terminals=keep,
        count=int(count),
        version=_short(found.get("version")),
        app_manager=_short(found.get("app_manager")),
        dry_run=found.get("dry_run") is True,
        kernels=_culls_kernels(found),
        errors=unlinked(found["errors"], 200) if isinstance(found.get("errors"), str) else None,
        codes=_codes(found.get("codes")),
        at=at,
    )


def _culls_kernels(found: dict[str, Any]) -> bool:
    """Whether kernels are watched; an answer that does not list what is watched says so in its errors."""
    watching, errors = found.get("watching"), found.get("errors")
    if isinstance(watching, list):
        return Kind.KERNEL.value in watching
    return not (isinstance(errors, str) and errors.startswith("Kernels are not culled"))


def _codes(value: Any) -> tuple[str, ...] | None:
    """The codes of what was wrong, those of later versions too; None where none are written."""
    if not isinstance(value, list):
        return None
    return tuple(unlinked(each, 40) for each in value[:MOST_CODES] if isinstance(each, str))


def _is_number(value: Any) -> TypeGuard[float]:
    """Whether it is a finite number from 0 to a hundred years; a bool is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return 0 <= value <= LONGEST_SECONDS  # which NaN is not, and an int of any length may be asked


def _short(value: Any) -> str | None:
    return unlinked(value, 40) if isinstance(value, str) and value else None
