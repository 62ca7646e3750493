"""The tool that puts faults in on purpose: what it changes, and what it leaves alone."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from tests.mutation.__main__ import EQUIVALENT, NEAREST
from tests.mutation.mutants import mutants
from tests.mutation.selection import Seen

HERE = Path(__file__).parent
FAULTS = {
    # what stands there: what is put in its place, one at a time
    "x = a < 1": {"x = a <= 1", "x = a >= 1", "x = a < 2"},
    "x = 0 < a <= b": {"x = 0 <= a <= b", "x = 0 >= a <= b", "x = 0 < a < b", "x = 0 < a > b", "x = 1 < a <= b"},
    "x = a is None": {"x = a is not None"},
    "x = a and b": {"x = a or b", "x = a", "x = b"},
    "x = not a": {"x = a"},
    "x = a + b": {"x = a - b"},
    "x = a if b else c": {"x = c if b else a"},
    "x = min(a, b)": {"x = max(a, b)"},
    "x = 'word'": {"x = 'xword'"},
    "x = True": {"x = False"},
    "x = (a, b)": {"x = (b,)", "x = (a,)"},
    "x = {a, b}": {"x = {b}", "x = {a}"},
    "raise a": {"pass"},
    "a.b()": {"pass"},
    "x += a": {"pass"},
}


@pytest.mark.parametrize(("line", "expected"), FAULTS.items(), ids=FAULTS)
def test_each_line_has_its_faults(line, expected):
    """One at a time, and each is a program."""
    found = mutants(line)

    assert {each.text for each in found} == expected
    for each in found:
        ast.parse(each.text)


def test_a_fault_says_where_it_is():
    """The function, its line, what stood there and what stands there now; the rest is as it was."""
    source = "def f(a):\n    if a:\n        return 1\n    return None\n"

    found = {each.key: (each.line, each.text) for each in mutants(source)}

    assert found == {
        ("f", "if a:", "if not a:"): (2, "def f(a):\n    if not a:\n        return 1\n    return None"),
        ("f", "return 1", "return None"): (3, "def f(a):\n    if a:\n        return None\n    return None"),
        ("f", "return 1", "return 2"): (3, "def f(a):\n    if a:\n        return 2\n    return None"),
    }


def test_a_fault_is_tried_where_its_line_is_executed():
    """A statement on all its lines, of a condition its head only; what is executed at import by all tests."""
    source = """
A = 1
def f(a,
      b=1):
    if (a and
        b):
        return 1
    return (a +
            b)
"""

    found = {(each.before, each.line, each.last) for each in mutants(source)}

    assert found == {
        ("A = 1", 2, 0),
        ("a, b=1", 3, 0),
        ("if a and b:", 5, 6),
        ("return 1", 7, 7),
        ("return a + b", 8, 9),
    }


def test_the_quickest_tests_of_a_line_come_first(tmp_path):
    """And those that take long are left out."""
    record = tmp_path / "seen.json"
    lines = {"a": (2.0, [1, 2]), "b": (1.0, [2, 3]), "c": (9.0, [1, 2, 3]), "d": (0.1, []), "other": (0.1, [1, 2])}
    record.write_text(json.dumps({f"{test}.py::t": (took, {"room": found}) for test, (took, found) in lines.items()}))

    seen = Seen.read(record, slow=3.0)

    found = [list(seen.tests("room", *each, {"a", "b", "c", "d"})) for each in ((2, 2), (1, 1), (4, 9), (7, 0))]
    assert found == [["b.py::t", "a.py::t"], ["a.py::t"], [], ["b.py::t", "a.py::t"]]
    assert list(seen.all({"a", "b", "c", "d"})) == ["d.py::t", "b.py::t", "a.py::t"]
    assert seen.tests("elsewhere", 1, 9, {"a"}) == {}
    assert seen.tests("room", 1, 1, {"a"}) == {"a.py::t": 2.0}


def test_words_about_the_code_are_no_code():
    """Docstrings, annotations, decorators, imports and the names that a room offers are left alone."""
    source = (
        '"""Words."""\nfrom a import b\n__all__ = ["f"]\n@c(1)\ndef f(x: "int" = 2) -> "str":\n    """More words."""\n'
    )

    assert [each.after for each in mutants(source)] == ["x: 'int'=3"]


@pytest.mark.parametrize("room", NEAREST)
def test_what_is_called_equivalent_can_still_be_put_in(room):
    """A line that is written otherwise by now has no place in that list, and each says why."""
    keys = {
        each.key for each in mutants((HERE.parent / "culling_manager" / f"{room.replace('.', '/')}.py").read_text())
    }
    listed = [each for each in json.loads(EQUIVALENT.read_text()) if each["room"] == room]

    assert [each for each in listed if tuple(each["key"]) not in keys] == []
    assert all(len(each["why"]) > 20 for each in listed)
    assert all((HERE / f"{name}.py").is_file() for name in NEAREST[room])


def test_every_room_of_that_list_is_one_that_is_tried():
    """None is listed for nothing."""
    assert {each["room"] for each in json.loads(EQUIVALENT.read_text())} <= NEAREST.keys()
