"""What CloudWatch Logs Insights makes of a query, as far as our queries go; anything else is refused as unlawful.

Understood: fields, filter (like, not like, numbers), parse by a regular expression, stats with by and bin, sort, limit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import datetime, timezone
from typing import Any

from tests.emulator.faults import Unlawful

Row = dict[str, str]


def run_query(query: str, events: Iterable[Any]) -> tuple[list[Row], int]:
    """Rows, and how many events were matched before any limit."""
    rows = [
        {
            "@timestamp": str(event.at),
            "@ingestionTime": str(event.at + 2000),
            "@logStream": event.stream,
            "@message": event.message,
        }
        for event in events
    ]
    matched, shown = len(rows), ["@timestamp", "@message"]
    for command in query.split("\n| "):
        name, _, rest = command.partition(" ")
        if name == "fields":
            shown = [part.rpartition(" as ")[2].strip() for part in rest.split(",")]
            for part in rest.split(","):
                expression, _, alias = part.strip().partition(" as ")
                for row in rows:
                    row[alias or expression] = value(expression, row)
        elif name == "filter":
            test = condition(rest)
            rows = [row for row in rows if test(row)]
            matched = len(rows)
        elif name == "parse":
            parse(rest, rows)
        elif name == "stats":
            rows, shown = stats(rest, rows)
        elif name == "sort":
            if rest != "@timestamp asc":
                raise Unlawful(f"the emulator does not sort by {rest!r}")
            rows.sort(key=lambda row: int(row["@timestamp"]))
        elif name == "limit":
            rows = rows[: int(rest)]
        else:
            raise Unlawful(f"{name!r} is no command that the emulator knows", "MalformedQueryException")
    return [{name: row[name] for name in [*shown, "@ptr"] if name in row} for row in rows], matched


def value(expression: str, row: Row) -> str:
    """A field, or a time in milliseconds."""
    found = re.fullmatch(r"tomillis\((@\w+)\)|(@\w+)", expression)
    if found is None or (found[1] or found[2]) not in row:
        raise Unlawful(f"{expression!r} is no expression that the emulator knows", "MalformedQueryException")
    return row[found[1]] if found[1] else shown_time(found[2], row)


def shown_time(field: str, row: Row) -> str:
    """A field as a result has it."""
    if field not in ("@timestamp", "@ingestionTime"):
        return row[field]
    return f"{datetime.fromtimestamp(int(row[field]) / 1000, timezone.utc):%Y-%m-%d %H:%M:%S}.000"


def condition(text: str) -> Callable[[Row], bool]:
    """Comparisons with numbers joined by 'and', or likes joined by 'or'."""
    if " like " in text:
        likes = [like(part) for part in text.split(" or @message")]
        return lambda row: any(each(row["@message"]) for each in likes)
    tests = []
    for part in text.split(" and "):
        found = re.fullmatch(r"(\w+) (>=|<) (\d+)", part)
        if found is None:
            raise Unlawful(f"{part!r} is no condition that the emulator knows", "MalformedQueryException")
        tests.append((found[1], found[2], int(found[3])))
    return lambda row: all(
        int(row[name]) >= number if sign == ">=" else int(row[name]) < number for name, sign, number in tests
    )


def like(text: str) -> Callable[[str], bool]:
    """A text in double quotes, or a regular expression between slashes."""
    found = re.fullmatch(r'(?:@message)? ?(?P<no>not )?like (?:"(?P<text>[^"]*)"|/(?P<pattern>.*)/)', text.strip())
    if found is None:
        raise Unlawful(f"{text!r} is no like that the emulator knows", "MalformedQueryException")
    pattern = re.compile(re.escape(found["text"]) if found["text"] is not None else found["pattern"])
    return lambda message: (pattern.search(message) is None) == bool(found["no"])


def parse(text: str, rows: list[Row]) -> None:
    """Named groups become fields where the expression is found."""
    found = re.fullmatch(r"@message /(.*)/", text)
    if found is None:
        raise Unlawful(f"{text!r} is no parse that the emulator knows", "MalformedQueryException")
    pattern = re.compile(found[1].replace("(?<", "(?P<"))
    for row in rows:
        hit = pattern.search(row["@message"])
        row |= hit.groupdict() if hit else {}


def stats(text: str, rows: list[Row]) -> tuple[list[Row], list[str]]:
    """min, max, sum, latest, count and count_distinct by fields, of which one may be the time in pieces."""
    what, _, by = text.partition(" by ")
    keys = [part.strip() for part in by.split(",")]
    for row in rows:
        row |= {key: binned(key, row) for key in keys if key.startswith("bin(")}
    asked = re.findall(r"(min|max|sum|latest|count|count_distinct)\(([@\w]+|\*)\) as (\w+)", what)
    if len(asked) != len(what.split(",")):
        raise Unlawful(f"{what!r} has a function that the emulator does not know", "MalformedQueryException")
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in sorted(rows, key=lambda each: int(each["@timestamp"])):
        groups.setdefault(tuple(row.get(key, "") for key in keys), []).append(row)
    found = []
    for names, members in groups.items():
        row = {key: name for key, name in zip(keys, names, strict=True) if name}
        for function, field, alias in asked:
            values = [member[field] for member in members if field in member]
            if function.startswith("count"):
                row[alias] = str(len(members) if field == "*" else len(set(values)))
            elif values:
                row[alias] = values[-1] if function == "latest" else number(function, [float(each) for each in values])
        found.append(row)
    return found, [*keys, *(alias for _, _, alias in asked)]


def number(function: str, values: list[float]) -> str:
    """A number as Insights writes it."""
    return str({"min": min, "max": max, "sum": sum}[function](values))


def binned(key: str, row: Row) -> str:
    """The beginning of the hour or day in which a row is, as a result has it."""
    found = re.fullmatch(r"bin\(1(h|d)\)", key)
    if found is None:
        raise Unlawful(f"{key!r} is no bin that the emulator knows", "MalformedQueryException")
    length = {"h": 3_600_000, "d": 86_400_000}[found[1]]
    return shown_time("@timestamp", {"@timestamp": str(int(row["@timestamp"]) // length * length)})
