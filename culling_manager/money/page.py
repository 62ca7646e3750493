"""The report as one HTML file that needs no network and makes no request: charts, and under each of them its table.

Whatever others have named stands in it as text. The library of the charts lies inside, packed; a package that was
built without it (`CULLING_MANAGER_PAGE=0`) makes a page of tables.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from html import escape
from importlib.resources import files
from typing import Any

from ..report import duration
from . import charts
from .words import (
    CURVE,
    GROUPS,
    REASONS,
    curve_row,
    headline,
    money,
    number,
    plural,
    setting,
    span,
    wasted_money,
    whole_minutes,
)

#: What the page may do: run what is in it, and load nothing.
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data:; "
    "base-uri 'none'; form-action 'none'"
)
LIBRARY = ("vega.min.js", "vega-lite.min.js")


def page(found: Mapping[str, Any]) -> str:
    """The report of `document`, told by type, day and reason, as a page."""
    specs: dict[str, charts.Spec] = {}
    text = "\n".join(_Body(found).parts(specs))
    title = f"What idle shutdown gave back, {found['window']['from'][:10]} to {found['window']['to'][:10]}"
    return "\n".join(
        [
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title>\n<style>\n{asset('report.css')}</style>\n</head>\n<body>",
            text,
            f'<script type="application/json" id="charts">{inert(specs)}</script>',
            f'<script type="text/plain" id="library">{library()}</script>',
            f"<script>\n{asset('report.js')}</script>\n</body>\n</html>\n",
        ]
    )


@cache
def asset(name: str) -> str:
    """A file that comes with the package."""
    return files(__package__).joinpath("assets", name).read_text("utf-8")


@cache
def library() -> str:
    """The charts' library, packed so that it is the same bytes every time; nothing where it was built without."""
    if not all(files(__package__).joinpath("assets", name).is_file() for name in LIBRARY):
        return ""
    code = re.sub(r"//# sourceMappingURL=.*", "", ";\n".join(asset(name) for name in LIBRARY))  # it asks for nothing
    return base64.b64encode(gzip.compress(code.encode(), 9, mtime=0)).decode()


def inert(found: Any) -> str:
    """JSON that ends no script, whatever is in it."""
    text = json.dumps(found)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


class _Body:
    """The parts of the page in the order in which they are read."""

    def __init__(self, found: Mapping[str, Any]) -> None:
        self._found = found
        cost = found["given_back"]["cost"]
        self._currency: str | None = cost["currency"] if cost else None
        self._money = bool(cost and found["restart_cost"])

    def parts(self, specs: dict[str, Any]) -> Iterable[str]:
        """The parts; `specs` gets the charts."""
        self._specs = specs
        yield from self._top()
        yield from self._given_back()
        yield from self._wasted()
        yield from self._false_stops()
        yield from self._curves()
        yield from self._rest()

    def _top(self) -> Iterable[str]:
        found = self._found
        window, prices = found["window"], found["prices"]
        as_of = f", prices of {prices['as_of']}" if prices and prices["as_of"] else ""
        yield "<h1>What did idle shutdown give back?</h1>"
        yield _p(
            f"{window['from'][:16].replace('T', ' ')} to {window['to'][:16].replace('T', ' ')} UTC{as_of}.", "soft"
        )
        yield f"<p><strong>{escape(headline(found))}</strong></p>"
        notes = "".join(f"<li>{escape(each)}</li>" for each in found["notes"])
        yield f"<details open><summary>How it is counted</summary><ul>{notes}</ul></details>"
        given, idle = found["given_back"], found["idle_now"]
        figures = [("sure", span(given["hours"], "h"), "given back, at least to at most")]
        if given["cost"]:
            figures.append(("sure", money(given["cost"]), "given back in money"))
        wasted = f"billed and not in use{wasted_money(found)}"
        figures.append(("wasted", f"{number(sum(found['wasted'].values()))} h", wasted))
        hourly = idle["cost_per_hour"]
        cost = (
            f", {number(hourly)} {prices['currency']} an hour" if prices and hourly is not None and idle["apps"] else ""
        )
        figures.append(("wasted", plural(idle["apps"], "app"), f"idle at the end{cost}"))
        figures.append(("", f"{found['false_stops']:,} of {found['stops']:,}", f"stops were false: {self._soon()}"))
        figures.append(("", f"{found['still_away']:,}", "stopped apps whose owners were still away at the end"))
        cells = [
            f'<div class="figure {kind}"><b>{escape(b)}</b><span>{escape(s)}</span></div>' for kind, b, s in figures
        ]
        yield f'<div class="figures">{"".join(cells)}</div>'
        if found["timeouts"]:
            yield from self._timeouts()

    def _timeouts(self) -> Iterable[str]:
        found = self._found
        yield "<h2>Which timeout to set</h2>"
        rows = [[kind, duration(whole_minutes(each) * 60)] for kind, each in found["timeouts"].items()]
        yield _table(["instance type", "idle timeout"], rows)
        line = setting(found["timeouts"])
        if line:
            yield f"<code>{escape(line)}</code>"
        at = f"For a restart that costs a person {found['restart_cost']:g} {self._currency}. " if self._money else ""
        where = "The line has minutes, and goes into jupyter_server_config.py. " if line else ""
        yield _p(f"{at}{where}Why, and what other timeouts would have done, stands for each of them below.", "soft")

    def _soon(self) -> str:
        return f"somebody was back within {self._found['soon_minutes']:g} min"

    def _given_back(self) -> Iterable[str]:
        found = self._found
        yield "<h2>Given back</h2>"
        yield _p("What did not run because an idle app was stopped: surely (at least), and possibly (up to, at most).")
        days = found.get("by_day") or {}
        if found["stops"] and len(days) > 1:
            whole = self._currency if (found["given_back"]["cost"] or {}).get("priced_share") == 1 else None
            yield self._chart("given-back", "given back each day", charts.given_back(days, whole))
            rows = [[day, f"{each['stops']:,}", *self._amounts(each)] for day, each in days.items()]
            yield _folded(["day (UTC)", "stops", *self._amount_heads()], rows)
        if found["by_type"]:
            yield "<h3>By instance type</h3>"
            yield self._chart("by-type", "hours given back by instance type", charts.by_type(found["by_type"]))
            yield self._groups("type")
        for name in ("reason", "owner"):
            if found.get(f"by_{name}"):
                yield f"<h3>By {name}</h3>"
                yield self._groups(name)

    def _groups(self, by: str) -> str:
        rows = [
            [name, f"{each['stops']:,}", f"{each['false_stops']:,}", *self._amounts(each)]
            for name, each in self._found[f"by_{by}"].items()
        ]
        return _table([GROUPS[by], "stops", "false", *self._amount_heads()], rows)

    def _amount_heads(self) -> list[str]:
        return ["hours", *(["cost"] if self._found["prices"] else [])]

    def _amounts(self, each: Mapping[str, Any]) -> list[str]:
        given = each["given_back"]
        return [span(given["hours"], "h"), *([money(given["cost"]) or "no price"] if self._found["prices"] else [])]

    def _wasted(self) -> Iterable[str]:
        yield "<h2>Still wasted</h2>"
        wasted = self._found["wasted"]
        if not wasted:
            yield _p("No heartbeat in this log tells of time that was billed and not in use.", "soft")
            return
        yield _p("Time for which an app was billed and nobody used it, by the reason why it was kept.")
        yield self._chart("wasted", "hours billed and not in use, by reason", charts.wasted(wasted))
        rows = [[REASONS.get(reason, reason), number(hours)] for reason, hours in wasted.items()]
        yield _table(["why it was kept", "hours"], rows)

    def _false_stops(self) -> Iterable[str]:
        found = self._found
        yield "<h2>False stops</h2>"
        yield _p(f"Of {plural(found['stops'], 'stop')}, {found['false_stops']:,} were too early: {self._soon()}.")
        days = found.get("by_day") or {}
        if found["false_stops"] and len(days) > 1:
            yield self._chart("false-stops", "false stops each day", charts.false_stops(days))
            rows = [
                [day, f"{each['stops']:,}", f"{each['false_stops']:,}"] for day, each in days.items() if each["stops"]
            ]
            yield _folded(["day (UTC)", "stops", "false"], rows)

    def _curves(self) -> Iterable[str]:
        yield "<h2>What other timeouts would have done</h2>"
        if not self._found["curve"]:
            yield _p("There is no idle gap in this log from which that could be told.", "soft")
            return
        yield _p("Each row says what that timeout would have done with the idle gaps that were seen.")
        for place, (kind, points) in enumerate(self._found["curve"].items()):
            yield f"<h3>{escape(kind)}</h3>"
            yield _p(self._found["advice"][kind], "advice")
            yield self._chart(f"curve-{place}", f"timeouts of {kind}", charts.timeouts(points, self._currency))
            heads = [head if head != "cost" or self._currency is None else f"cost, {self._currency}" for head in CURVE]
            rows = [curve_row(each) for each in points]
            priced = any(row[-1] for row in rows)
            yield _table(heads if priced else heads[:-1], rows if priced else [row[:-1] for row in rows])

    def _rest(self) -> Iterable[str]:
        found = self._found.get("reconcile")
        if found:
            yield "<h2>Observed against billed</h2>"
            yield _p(
                "Hours for which this log shows apps running, beside the hours on the bill. Neither corrects the other."
            )
            rows = [
                [kind, number(each["observed_hours"]), number(each["billed_hours"])] for kind, each in found.items()
            ]
            yield _table(["instance type", "observed", "billed"], rows)

    def _chart(self, name: str, label: str, spec: charts.Spec) -> str:
        self._specs[name] = spec
        return f'<div class="chart" id="{name}" aria-label="{escape(label)}"></div>'


def _p(text: str, kind: str = "") -> str:
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def _folded(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A long table, which opens when it is wanted or printed."""
    return f"<details class='rows'><summary>Table</summary>{_table(heads, rows)}</details>"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; every cell is text."""
    head = "".join(f'<th scope="col">{escape(each)}</th>' for each in heads)
    body = "".join("<tr>" + "".join(f"<td>{escape(each)}</td>" for each in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
