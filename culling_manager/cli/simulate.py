"""`jupyter culling simulate`: what several policies would have done with one history, side by side."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, BooleanOptionalAction, Namespace, RawDescriptionHelpFormatter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from ..client.servers import Code
from ..client.words import ACCEPTED_UNTIL
from ..errors import SettingError
from ..money.curve import SOON, Gap, curve
from ..money.document import advice
from ..money.prices import read_prices
from ..money.report import UNKNOWN
from ..money.words import CURVE, curve_row, table
from ..policy import CullingPolicy, minutes, number
from ..records import Kind
from ..report import duration, iso, moment
from ..simulation import history as cli_history
from ..simulation import users as cli_users
from ..simulation.things import Stop
from ..simulation.users import Lived, live, users_in
from .outlooks import most_stopped, print_outlooks, things

SUMMARY = "What would have been stopped, and when, under other settings, and what of it was used again."
#: The timeouts (minutes) that are compared where none is given.
USUAL = (30.0, 60.0, 120.0, 240.0)


def add_arguments(parser: ArgumentParser) -> None:
    """The options of the command."""
    format_words = (cli_history.__doc__ or "").partition("\n\n")[2].replace("::", ":").replace("``", "")
    users_words = (cli_users.__doc__ or "").partition("\n\n")[2].replace("``", "")
    parser.formatter_class = RawDescriptionHelpFormatter
    parser.epilog = (
        "FILE has JSON lines: a history as follows, or the log of the server's event bus\n"
        f"(c.EventLogger.handlers). {format_words}\n{users_words}"
    )
    add = parser.add_argument
    words = "a history or an event log, or a directory of them; each file is one user's; - is the standard input"
    add("files", metavar="FILE", nargs="+", help=words)
    words = "to compare; may be given more than once (30, 60, 120, 240)"
    add("--idle-timeout", type=float, action="append", metavar="MINUTES", help=words)
    words = "by --instance-type, such as ml.p*=15,*=120 (the first match counts)"
    add("--idle-timeouts", default="", metavar="PATTERN=MINUTES,...", help=words)
    add("--terminal-timeout", type=float, metavar="MINUTES", help="for terminals, where it is another one")
    add("--busy-timeout", type=float, default=0.0, metavar="MINUTES", help="busy for longer is stopped (0: never)")
    add("--long-run", type=float, default=10.0, metavar="MINUTES", help="a run from which on there is grace (10)")
    add("--grace", type=float, default=0.0, metavar="MINUTES", help="kept for so long after a long run (0: no grace)")
    add(
        "--max-age",
        type=float,
        default=0.0,
        metavar="MINUTES",
        help="older apps are deleted whatever is on them (0: no)",
    )
    words = "what only a signal sees keeps for so long at most (0: no end)"
    add("--max-at-work", type=float, default=0.0, metavar="MINUTES", help=words)
    add("--keep-terminals", action=BooleanOptionalAction, default=False, help="terminals are left alone")
    add("--cull-connected", action=BooleanOptionalAction, default=True, help="an open tab keeps nothing")
    add("--until", metavar="TIME", help="how long the history goes on (to the last that it tells)")
    add("--soon", type=float, default=SOON, metavar="MIN", help="who is back within this was stopped too early (30)")
    add("--prices", metavar="FILE", help="a price file; without one there are hours only")
    add("--instance-type", metavar="TYPE", help="what it ran on, where the history does not say")
    add("--app-type", default="JupyterLab", metavar="TYPE", help="as what, for the price (JupyterLab)")
    add("--restart-cost", type=float, default=0.0, metavar="N", help="what one restart costs a person, in the currency")
    add("--totals", action="store_true", help="only the sums")
    add("--json", action="store_true", help="print JSON")


def policies(options: Namespace) -> list[CullingPolicy]:
    """One policy for each timeout. Raises `SettingError`."""
    terminals, table = options.terminal_timeout, by_type(options.idle_timeouts)
    return [
        CullingPolicy(
            idle_timeout=minutes("--idle-timeout", timeout) * 60,
            terminal_idle_timeout=None if terminals is None else minutes("--terminal-timeout", terminals) * 60,
            busy_timeout=minutes("--busy-timeout", options.busy_timeout) * 60,
            long_run=minutes("--long-run", options.long_run) * 60,
            grace=minutes("--grace", options.grace) * 60,
            max_age=minutes("--max-age", options.max_age) * 60,
            max_at_work=minutes("--max-at-work", options.max_at_work) * 60,
            idle_timeouts=table,
            instance_type=options.instance_type,
            keep_terminals=options.keep_terminals,
            cull_connected=options.cull_connected,
        )
        for timeout in dict.fromkeys(options.idle_timeout or USUAL)
    ]


def by_type(text: str) -> tuple[tuple[str, float], ...]:
    """The table of ``idle_timeouts``, in seconds. Raises `SettingError`."""
    found = []
    for part in filter(None, (each.strip() for each in text.split(","))):
        pattern, equals, value = part.rpartition("=")
        try:
            found.append((pattern, minutes("--idle-timeouts", float(value)) * 60))
        except ValueError:
            equals = ""
        if not equals or not pattern:
            raise SettingError("--idle-timeouts", part, "a pattern and minutes, such as ml.p*=15")
    return tuple(found)


def simulate(options: Namespace) -> Code:
    """Read, live it under each policy, tell."""
    wanted, until = policies(options), _until(options.until)
    lived = live(users_in(options.files), wanted, until)
    curve = timeouts(options, lived.gaps, wanted)
    if options.json:
        sys.stdout.write(json.dumps(as_json(lived) | curve, indent=1) + "\n")
        return Code.OK
    for line in notices(lived):
        sys.stdout.write(line + "\n")
    if lived.events:
        several = len(lived.users) > 1
        users = [] if options.totals else most_stopped(lived.outlooks, lived.users)
        print_outlooks(lived.outlooks, [] if options.totals or several else things(lived.outlooks), users=users)
        for line in [*hidden(lived, users), *curve_lines(curve)]:
            sys.stdout.write(line + "\n")
    return Code.OK


def hidden(lived: Lived, shown: Sequence[str]) -> Iterable[str]:
    """How many users have no line in the table, and where they have one."""
    left = len({each.owner for outlook in lived.outlooks for each in outlook.stops}) - len(shown)
    if shown and left:
        yield f"And {left} more users, with as many stops or fewer: --json has all."


def timeouts(
    options: Namespace, idle: Mapping[str | None, Sequence[Gap]], wanted: Sequence[CullingPolicy]
) -> dict[str, Any]:
    """The curve over the idle gaps of apps, and which timeout follows from it. Raises `SettingError`, `ReadError`."""
    soon = number("--soon", options.soon, low=0, high=525_600, accepted="a number of minutes from 0 to 525600")
    cost = number("--restart-cost", options.restart_cost, low=0, high=1e9, accepted="an amount of 0 or more")
    prices = None if options.prices is None else read_prices(options.prices)
    waits = [each.idle_timeout for each in wanted if each.idle_timeout > 0]
    gaps: dict[str, list[Gap]] = {}
    for name, told in idle.items():
        gaps.setdefault(name or options.instance_type or UNKNOWN, []).extend(told)
    rates = {name: None if prices is None else prices.rate(options.app_type, name) for name in gaps}
    found: dict[str, Any] = {
        "curve": {
            name: [each.as_json() for each in curve(told, waits, soon * 60, rates[name], cost)]
            for name, told in sorted(gaps.items())
            if waits
        },
        "timeouts": {},
        "advice": {},
        "soon_minutes": soon,
        "restart_cost": cost,
        "prices": None if prices is None else {"currency": prices.currency, "as_of": prices.as_of},
    }
    for name in found["curve"]:
        found["timeouts"][name], found["advice"][name] = advice(found, name, rates[name])
    return found


def curve_lines(found: dict[str, Any]) -> Iterable[str]:
    """The curve as a table for people, and the answer in one sentence."""
    if not found["curve"]:
        yield ""
        yield "Nothing was idle in this history, so no timeout would have given anything back."
    for kind, rows in found["curve"].items():
        yield ""
        yield kind
        yield from table(CURVE, [curve_row(each) for each in rows])
        yield found["advice"][kind]


def _until(text: str | None) -> datetime | None:
    try:
        return None if text is None else moment(text)
    except ValueError:
        raise SettingError("--until", text, ACCEPTED_UNTIL.partition(", or ")[2]) from None


def notices(lived: Lived) -> Iterable[str]:
    """What a reader has to know of the histories."""
    if lived.first is None or lived.last is None:
        yield "Nothing in this history tells of a kernel, terminal or app."
        return
    span = f"{lived.first.astimezone():%Y-%m-%d %H:%M} to {lived.last.astimezone():%Y-%m-%d %H:%M}"
    of = f" of {len(lived.users)} users" if len(lived.users) > 1 else ""
    yield f"{lived.events} events{of} in {duration((lived.last - lived.first).total_seconds())}, {span}."
    if lived.unseen:
        yield (
            "An event log does not tell of each use, and where it tells nothing that counts as use: "
            "short timeouts would have stopped more than is shown."
        )
    if lived.skipped:
        yield f"{lived.skipped} lines tell of nothing that matters here."
    if lived.cut:
        yield f"The last line of {lived.cut} {'file' if lived.cut == 1 else 'files'} is cut short and left out."
    if lived.culled:
        words = "what would have become of it under longer timeouts cannot be known"
        yield f"The culler of that time really stopped some of it ({lived.culled}): {words}."


def as_json(lived: Lived) -> dict[str, Any]:
    """For programs: durations in seconds, times in ISO 8601."""
    several = len(lived.users) > 1
    found = [
        {
            "idle_timeout": each.policy.idle_timeout,
            "stopped": len(each.stops),
            "regretted": len(each.regretted),
            "given_back": {kind.value: each.given_back(kind) for kind in Kind},
            "stops": [_stop_json(stop) | ({"user": stop.owner} if several else {}) for stop in each.stops],
        }
        for each in lived.outlooks
    ]
    events = {"events": lived.events, "skipped": lived.skipped, "culled": lived.culled, "cut": lived.cut}
    return {"users": len(lived.users), **events, "policies": found}


def _stop_json(stop: Stop) -> dict[str, Any]:
    return {
        "kind": stop.kind.value,
        "id": stop.identity,
        "name": stop.name,
        "at": iso(stop.at),
        "reason": stop.reason.value,
        "idle_seconds": stop.idle_seconds,
        "given_back": stop.given_back,
        "used_again": iso(stop.used_again),
    }
