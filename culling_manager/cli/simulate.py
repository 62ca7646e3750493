"""`jupyter culling simulate`: what several policies would have done with one history, side by side."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, BooleanOptionalAction, Namespace, RawDescriptionHelpFormatter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from ..client.servers import Code
from ..client.words import ACCEPTED_UNTIL
from ..errors import SettingError
from ..money.curve import SOON, curve
from ..money.document import advice
from ..money.prices import read_prices
from ..money.report import UNKNOWN
from ..money.words import CURVE, curve_row, table
from ..policy import CullingPolicy, minutes, number
from ..records import Kind
from ..report import duration, iso, moment
from ..simulation import history as cli_history
from ..simulation.gaps import idle_gaps
from ..simulation.history import History, read_history
from ..simulation.things import Stop
from ..simulation.world import Outlook
from ..simulation.world import simulate as lived
from .outlooks import print_outlooks, things

SUMMARY = "What would have been stopped, and when, under other settings, and what of it was used again."
#: The timeouts (minutes) that are compared where none is given.
USUAL = (30.0, 60.0, 120.0, 240.0)


def add_arguments(parser: ArgumentParser) -> None:
    """The options of the command."""
    format_words = (cli_history.__doc__ or "").partition("\n\n")[2].replace("::", ":").replace("``", "")
    parser.formatter_class = RawDescriptionHelpFormatter
    parser.epilog = (
        "FILE has JSON lines: a history as follows, or the log of the server's event bus\n"
        f"(c.EventLogger.handlers). {format_words}"
    )
    add = parser.add_argument
    add("file", metavar="FILE", help="a history or an event log; - is the standard input")
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
    add("--until", metavar="TIME", help="how long the history goes on after its last event")
    add("--soon", type=float, default=SOON, metavar="MIN", help="who is back within this was stopped too early (30)")
    add("--prices", metavar="FILE", help="a price file; without one there are hours only")
    add("--instance-type", metavar="TYPE", help="what the history ran on, such as ml.g5.xlarge")
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
    wanted, history = policies(options), read_history(options.file)
    until = _until(options.until)
    outlooks = [lived(history.events, policy, until) for policy in wanted]
    curve = timeouts(options, history, wanted, until)
    if options.json:
        sys.stdout.write(json.dumps(as_json(history, outlooks) | curve, indent=1) + "\n")
        return Code.OK
    for line in notices(history):
        sys.stdout.write(line + "\n")
    if history.events:
        print_outlooks(outlooks, [] if options.totals else things(outlooks))
        for line in curve_lines(curve):
            sys.stdout.write(line + "\n")
    return Code.OK


def timeouts(
    options: Namespace, history: History, wanted: Sequence[CullingPolicy], until: datetime | None
) -> dict[str, Any]:
    """The curve over the idle gaps of apps, and which timeout follows from it. Raises `SettingError`, `ReadError`."""
    soon = number("--soon", options.soon, low=0, high=525_600, accepted="a number of minutes from 0 to 525600")
    cost = number("--restart-cost", options.restart_cost, low=0, high=1e9, accepted="an amount of 0 or more")
    prices = None if options.prices is None else read_prices(options.prices)
    price = None if prices is None else prices.rate(options.app_type, options.instance_type)
    gaps = idle_gaps(history.events, until)
    waits = [each.idle_timeout for each in wanted if each.idle_timeout > 0]
    rows = [each.as_json() for each in curve(gaps, waits, soon * 60, price, cost)] if gaps else []
    kind = options.instance_type or UNKNOWN
    found: dict[str, Any] = {
        "curve": {kind: rows} if rows else {},
        "timeouts": {},
        "advice": {},
        "soon_minutes": soon,
        "restart_cost": cost,
        "prices": None if prices is None else {"currency": prices.currency, "as_of": prices.as_of},
    }
    for name in found["curve"]:
        found["timeouts"][name], found["advice"][name] = advice(found, name, price)
    return found


def curve_lines(found: dict[str, Any]) -> Iterable[str]:
    """The curve as a table for people, and the answer in one sentence."""
    for kind, rows in found["curve"].items():
        yield ""
        yield from table([f"{kind}: {CURVE[0]}", *CURVE[1:]], [curve_row(each) for each in rows])
        yield found["advice"][kind]


def _until(text: str | None) -> datetime | None:
    try:
        return None if text is None else moment(text)
    except ValueError:
        raise SettingError("--until", text, ACCEPTED_UNTIL.partition(", or ")[2]) from None


def notices(history: History) -> Iterable[str]:
    """What a reader has to know of the history."""
    events = history.events
    if not events:
        yield "Nothing in this history tells of a kernel, terminal or app."
        return
    first, last = min(each.at for each in events), max(each.at for each in events)
    span = f"{first.astimezone():%Y-%m-%d %H:%M} to {last.astimezone():%Y-%m-%d %H:%M}"
    yield f"{len(events)} events in {duration((last - first).total_seconds())}, {span}."
    if history.unseen:
        yield (
            "An event log does not tell of each use, and where it tells nothing that counts as use: "
            "short timeouts would have stopped more than is shown."
        )
    if history.skipped:
        yield f"{history.skipped} lines tell of nothing that matters here."
    if history.culled:
        words = "what would have become of it under longer timeouts cannot be known"
        yield f"The culler of that time really stopped some of it ({history.culled}): {words}."


def as_json(history: History, outlooks: Sequence[Outlook]) -> dict[str, Any]:
    """For programs: durations in seconds, times in ISO 8601."""
    found = [
        {
            "idle_timeout": each.policy.idle_timeout,
            "stopped": len(each.stops),
            "regretted": len(each.regretted),
            "given_back": {kind.value: each.given_back(kind) for kind in Kind},
            "stops": [_stop_json(stop) for stop in each.stops],
        }
        for each in outlooks
    ]
    return {"events": len(history.events), "skipped": history.skipped, "culled": history.culled, "policies": found}


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
