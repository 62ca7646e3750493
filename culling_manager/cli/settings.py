"""`jupyter culling set`: the settings of a running server, shown, changed, or back to what is configured."""

from __future__ import annotations

import re
from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from ..client.http import Client
from ..client.servers import Code, Failure
from ..client.words import printable
from ..policy import LEAST_USER_MINUTES, LONGEST_MINUTES
from ..report import duration
from .shared import chosen, tell, tell_json


def settings(options: Namespace) -> Code:
    """Show the settings, change them, or go back to what is configured."""
    client = chosen(options)
    minutes, keep = options.idle_timeout, options.keep_terminals
    if options.reset:
        if minutes is not None or keep is not None or options.save:
            raise Failure(Code.USAGE, "--reset goes alone.")
        return _tell_settings(options, client.delete("settings"))
    if minutes is not None or keep is not None or options.save:
        if minutes is None:
            minutes = client.get("settings")["idle_time"] / 60
        body: dict[str, Any] = {"idle_time": minutes, "save": options.save}
        try:
            _post(client, body if keep is None else body | {"keep_terminals": keep}, options)
        except Failure as failure:
            raise Failure(failure.exit_code, _as_typed(str(failure), options.idle_timeout)) from None
    return _tell_settings(options, client.get("settings"))


def _post(client: Client, body: dict[str, Any], options: Namespace) -> None:
    """Change settings; what was not given goes with its present value, and is not saved."""
    if not options.save or options.idle_timeout is not None or options.keep_terminals is None:
        client.post("settings", body)
        return
    try:
        client.post("settings", body | {"save": ["keep_terminals"]})
    except Failure as failure:
        if failure.exit_code is not Code.REFUSED or not str(failure).startswith("save ="):
            raise
        client.post("settings", body)  # an older server saves both, or nothing


def _as_typed(words: str, minutes: float | None) -> str:
    """A refusal with the options of this command in place of the fields of its request; who wants none reads how."""
    for field, option in (("idle_time", "--idle-timeout"), ("keep_terminals", "--keep-terminals")):
        words = re.sub(rf"^{field} = ", f"{option} = ", words)
    # nobody thinks in parts of a minute, nor in as many as 100 years have
    words = words.replace(f"a number of minutes from {LEAST_USER_MINUTES} to ", "at least one second and at most ")
    words = re.sub(r"(?<=one second and at most )[\d.]*\d", _at_most, words)
    if minutes is not None and minutes <= 0:
        words = f"{words.removesuffix('.')}. To have nothing stopped for a time: jupyter culling keep-alive 8h"
    return words


def _at_most(found: re.Match[str]) -> str:
    """A bound in minutes as a person says it."""
    return "100 years" if float(found[0]) == LONGEST_MINUTES else duration(60 * float(found[0]))


def _tell_settings(options: Namespace, found: Mapping[str, Any]) -> Code:
    if options.json:
        tell_json(found)
        return Code.OK
    now = _pair({name: found[name] for name in ("idle_time", "keep_terminals")})
    tell(f"{now[:1].upper()}{now[1:]}.")
    for pattern, seconds in (found.get("idle_timeouts") or {}).items():
        if seconds != found["idle_time"]:
            tell(f"On {printable(pattern)}: {f'idle timeout {duration(seconds)}' if seconds else 'culling is off'}.")
    tell(f"Configured: {_pair(found['configured'])}." if found.get("configured") else "Nothing is configured.")
    saved = found.get("saved")
    tell(f"Saved for the next start: {_pair(saved)}." if saved else "Nothing is saved for the next start.")
    bounds = found.get("bounds") or {}
    low, high = bounds.get("min_idle_timeout") or 0, bounds.get("max_idle_timeout") or 0
    limits = [f"at least {low:g}"] * bool(low) + [f"at most {high:g}"] * bool(high)
    if limits:
        tell(f"You may set an idle timeout of {' and '.join(limits)} minutes.")
    if bounds.get("keep_terminals") == "fixed":
        tell("What becomes of terminals is set by your admin.")
    return Code.OK


def _pair(found: Mapping[str, Any]) -> str:
    """Both settings in words, or the one that is there."""
    words = []
    if found.get("idle_time") is not None:
        seconds = float(found["idle_time"])
        words.append(f"idle timeout {duration(seconds)}" if seconds else "culling is off (idle timeout 0)")
    if found.get("keep_terminals") is not None:
        words.append(f"terminals are {'kept' if found['keep_terminals'] else 'culled like kernels'}")
    return ", ".join(words)
