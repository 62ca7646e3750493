"""Botocore's service model as law: each shape becomes one check, compiled once, for requests and for answers.

Botocore's own client looks at types, required members and lower bounds only; here every bound, pattern and enum counts.
"""

from __future__ import annotations

import functools
import itertools
import re
import sys
import unicodedata
from collections.abc import Callable, Collection, Iterator
from typing import Any

import botocore.session
from botocore.model import ServiceModel, Shape

#: What a check gives for a value and the place where it stands: one sentence for each thing that is wrong.
Check = Callable[[Any, str], Iterator[str]]

#: Operation -> whether an owner must be named. Prose in the API reference, not part of the model.
NEEDS_AN_OWNER = {"CreateApp": True, "DeleteApp": True, "DescribeApp": True, "ListApps": False}
OWNERS = {"UserProfileName", "SpaceName", "UserProfileNameEquals", "SpaceNameEquals"}

WHOLE, REAL = (int,), (int, float)
NUMBER: dict[str, Any] = {
    "integer": WHOLE,
    "long": WHOLE,
    "float": REAL,
    "double": REAL,
    "timestamp": REAL,
}


@functools.cache
def service_model() -> ServiceModel:
    """SageMaker's model as botocore ships it; loaded once per process."""
    return botocore.session.get_session().get_service_model("sagemaker")


class Law:
    """What the model says about the requests and answers of these operations."""

    def __init__(self, operations: Collection[str]) -> None:
        model = service_model()
        self._checks: dict[str, Check] = {}
        self._sides: dict[tuple[str, str], Check] = {}
        for name in operations:
            operation = model.operation_model(name)
            self._sides[name, "request"] = self._compiled(operation.input_shape)
            self._sides[name, "answer"] = self._compiled(operation.output_shape)

    def request(self, operation: str, parameters: Any) -> list[str]:
        """Everything that is wrong with a request; nothing if it is lawful."""
        found = list(self._sides[operation, "request"](parameters, ""))
        return found or list(_ownership(operation, parameters))

    def answer(self, operation: str, answer: Any) -> list[str]:
        """Everything that is wrong with an answer; nothing if it is lawful."""
        return list(self._sides[operation, "answer"](answer, ""))

    def _compiled(self, shape: Shape | None) -> Check:
        """One check per shape name; no shape of these operations contains itself, and none is a map or a blob."""
        if shape is None:
            return _structure({}, set(), False)
        if shape.name not in self._checks:
            self._checks[shape.name] = self._compile(shape)
        return self._checks[shape.name]

    def _compile(self, shape: Shape) -> Check:
        kind = shape.type_name
        if kind == "structure":
            members = {name: self._compiled(member) for name, member in shape.members.items()}
            return _structure(members, set(shape.required_members), shape.is_tagged_union)
        if kind == "list":
            return _list(self._compiled(shape.member), shape.metadata)
        return _scalar(kind, shape.metadata)


def _ownership(operation: str, parameters: dict[str, Any]) -> Iterator[str]:
    """An app belongs to a user profile or to a space: one must be named, or at most one where it is a filter."""
    named = sorted(OWNERS & parameters.keys())
    if operation in NEEDS_AN_OWNER and len(named) > 1:
        yield f"only one of {' and '.join(named)} may be given"
    elif NEEDS_AN_OWNER.get(operation) and not named:
        yield "one of UserProfileName and SpaceName must be given"


def _structure(members: dict[str, Check], required: set[str], union: bool) -> Check:
    def check(value: Any, path: str) -> Iterator[str]:
        if not isinstance(value, dict):
            yield _not_a("structure", value, path)
            return
        for name in sorted(required - value.keys()):
            yield f"{_at(path, name)}: is required and missing"
        for name, each in value.items():
            yield from members.get(name, _no_member)(each, _at(path, name))
        if union and len(value) != 1:
            yield f"{path}: exactly one member must be given, not {len(value)}"

    return check


def _list(member: Check, bounds: dict[str, Any]) -> Check:
    def check(value: Any, path: str) -> Iterator[str]:
        if not isinstance(value, list):
            yield _not_a("list", value, path)
            return
        yield from _out_of_bounds(len(value), bounds, path, "items")
        for index, each in enumerate(value):
            yield from member(each, f"{path}[{index}]")

    return check


def _scalar(kind: str, bounds: dict[str, Any]) -> Check:
    if kind == "string":
        return _string(bounds)
    return _boolean if kind == "boolean" else _number(kind, bounds)


def _string(bounds: dict[str, Any]) -> Check:
    enum, pattern = bounds.get("enum"), bounds.get("pattern")

    def check(value: Any, path: str) -> Iterator[str]:
        if not isinstance(value, str):
            yield _not_a("string", value, path)
        elif wrong := list(_out_of_bounds(len(value), bounds, path, "characters")):
            yield from wrong
        elif enum is not None and value not in enum:
            yield f"{path}: {value!r} is none of {', '.join(enum)}"
        elif pattern is not None and not compiled(pattern).fullmatch(value):
            yield f"{path}: {value!r} does not match {pattern}"

    return check


def _number(kind: str, bounds: dict[str, Any]) -> Check:
    def check(value: Any, path: str) -> Iterator[str]:
        if isinstance(value, bool) or not isinstance(value, NUMBER[kind]):
            yield _not_a(kind, value, path)
        else:
            yield from _out_of_bounds(value, bounds, path)

    return check


def _no_member(value: Any, path: str) -> Iterator[str]:
    yield f"{path}: no such member, its value is {value!r}"


def _boolean(value: Any, path: str) -> Iterator[str]:
    if not isinstance(value, bool):
        yield _not_a("boolean", value, path)


def _out_of_bounds(size: float, bounds: dict[str, Any], path: str, unit: str = "") -> Iterator[str]:
    """Both bounds belong to what is allowed."""
    if not bounds.get("min", size) <= size <= bounds.get("max", size):
        limits = f"{bounds.get('min', '')}..{bounds.get('max', '')}"
        yield f"{path}: {size} {unit}".rstrip() + f" is outside of {limits}"


def _not_a(kind: str, value: Any, path: str) -> str:
    return f"{path or 'the body'}: {value!r} is no {kind}"


def _at(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


@functools.cache
def compiled(pattern: str) -> re.Pattern[str]:
    """A pattern of the model for Python's `re`: Java's classes are ASCII unless they are Unicode properties."""
    return re.compile(re.sub(r"\\p\{(\w+)\}", lambda found: _property(found[1]), pattern), re.ASCII)


def _property(name: str) -> str:
    r"""What stands for `\p{L}` and the like inside of a character class."""
    if name == "Alnum":
        return "a-zA-Z0-9"
    runs = [(first, last) for category, first, last in _runs() if category.startswith(name)]
    return "".join(f"{re.escape(chr(first))}-{re.escape(chr(last))}" for first, last in runs)


@functools.cache
def _runs() -> list[tuple[str, int, int]]:
    """Category, first and last code point of each run of one Unicode category."""
    grouped = itertools.groupby(range(sys.maxunicode + 1), key=lambda code: unicodedata.category(chr(code)))
    codes = ((category, list(run)) for category, run in grouped)
    return [(category, run[0], run[-1]) for category, run in codes]
