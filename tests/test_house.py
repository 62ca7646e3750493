"""The house: who may import whom, how large rooms and functions are, and what importing the package costs."""

from __future__ import annotations

import ast
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house_rooms import INSIDE

HOUSE = Path(__file__).parents[1] / "culling_manager"
ROOMS = sorted(HOUSE.rglob("*.py"))

LAW = {"errors", "records", "policy", "rules", "decisions", "report", "document"}
#: Wing, or room on the ground floor -> what of the house it may import besides itself: wings, or single rooms of them.
#: `law` is all of `LAW`.
MAY_IMPORT = {
    "_version": set(),
    "_lazy": set(),
    "__init__": {"_lazy", "_version", "client", "managers"},
    "errors": set(),
    "records": {"errors"},
    "policy": {"errors"},
    "rules": {"errors", "policy", "records"},
    "decisions": {"policy", "records", "rules"},
    "report": {"decisions", "errors", "policy", "records"},
    "document": {"decisions", "errors", "records", "report"},
    "concurrency": set(),
    "files": set(),
    "traits": {"errors", "policy"},
    "events": {"law"},
    "engine": {"_version", "law"},
    "money": {"files", "law"},
    "signals": {"_lazy", "concurrency", "engine.clock", "law"},
    "apps": {"_lazy", "_version", "concurrency", "engine", "files", "law", "money", "signals"},
    "safeguards": {"concurrency", "engine", "law", "signals", "traits"},
    "join": {"apps", "engine", "events", "records", "safeguards"},
    "managers": {"concurrency", "engine", "join", "law", "signals", "traits"},
    "server": {"_version", "client.paste", "engine", "events", "files", "law", "managers", "money"},
    "client": {"engine.clock", "law"},
    "simulation": {"law", "money"},
    "cli": {"_version", "client", "engine.clock", "files", "law", "money", "simulation"},
    "fleet": {"_lazy", "apps", "engine.clock", "law", "money"},
    "fleet_lambda": {"fleet"},
}
#: Wings and rooms that import nothing from outside but the standard library.
PURE = {*LAW, "_lazy", "_version", "concurrency", "engine", "files", "money", "simulation"}


def room(path: Path) -> str:
    """The name of a room: 'report', 'engine.culler'."""
    return ".".join(path.relative_to(HOUSE).with_suffix("").parts)


NAMES = {room(path) for path in ROOMS}


def wing(name: str) -> str:
    """The wing of a room, or its own name when it stands on the ground floor."""
    return name.split(".")[0]


def imports(path: Path) -> tuple[set[str], set[str]]:
    """Rooms and outside packages that a module imports, for type checking too."""
    here = room(path).split(".")[:-1]
    rooms, outside = set(), set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = here[: len(here) - node.level + 1] + (node.module.split(".") if node.module else [])
            for alias in node.names:
                rooms.add(_room_of(".".join([*base, alias.name])) or _room_of(".".join(base)) or "nowhere")
        elif isinstance(node, ast.ImportFrom):
            outside.add(node.module.split(".")[0])
        elif isinstance(node, ast.Import):
            outside.update(alias.name.split(".")[0] for alias in node.names)
    return rooms, outside


def _room_of(name: str) -> str | None:
    """The room of a module's name, or None when there is no such module."""
    if name in NAMES:
        return name
    door = f"{name}.__init__" if name else "__init__"
    return door if door in NAMES else None


IMPORTS = {room(path): imports(path) for path in ROOMS}


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_room_imports_only_what_its_wing_may(name):
    """The table is the architecture; a new arrow is a decision to be made there."""
    rooms, outside = IMPORTS[name]
    mine = wing(name)
    allowed = MAY_IMPORT[mine] | (LAW if "law" in MAY_IMPORT[mine] else set())

    assert {wing(each) for each in rooms - allowed} - {mine} <= allowed
    if mine in PURE:
        assert outside - {"typing_extensions"} <= set(sys.stdlib_module_names)


@pytest.mark.parametrize("name", sorted(name for name in NAMES if "." in name))
def test_a_room_imports_only_the_rooms_of_its_wing_that_it_may(name):
    """Within a wing too, an arrow is a decision; and what is allowed and not used goes off the table."""
    mine, inside = name.split(".", 1)
    rooms = {each.split(".", 1)[1] for each in IMPORTS[name][0] if wing(each) == mine and each != name}

    assert rooms == INSIDE[mine][inside]


def layers(below: dict[str, set[str]]) -> list[set[str]]:
    """Lay each on what is below it; fails when some stand in a circle."""
    found, left = [], dict(below)
    while left:
        ready = {name for name, others in left.items() if not (others & left.keys()) - {name}}
        assert ready, f"a circle among {sorted(left)}"
        found.append(ready)
        left = {name: others for name, others in left.items() if name not in ready}
    return found


def test_the_wings_stand_on_each_other_without_a_circle():
    """What the table allows can be laid in layers."""
    layers({name: below | (LAW if "law" in below else set()) for name, below in MAY_IMPORT.items()})


def test_the_rooms_stand_on_each_other_without_a_circle():
    """What is imported can be laid in layers, whether when it runs, when it is called, or for type checking."""
    layers({name: rooms for name, (rooms, _) in IMPORTS.items()})


#: What reads a clock, by the module or class that has it. An event loop's own time is none of it.
READS = {
    "time": {"time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "gmtime", "localtime"},
    "datetime": {"now", "utcnow", "today"},
    "date": {"today"},
}


def reads_of_a_clock(path: Path) -> list[str]:
    """Where a module reads a clock, or imports what does."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute):
            owner = getattr(node.value, "id", getattr(node.value, "attr", ""))
            found += [f"{node.lineno}: {owner}.{node.attr}"] if node.attr in READS.get(owner, ()) else []
        elif isinstance(node, ast.ImportFrom) and node.module == "time":
            found += [f"{node.lineno}: time.{each.name}" for each in node.names if each.name in READS["time"]]
    return found


def test_a_clock_is_read_in_one_room_alone():
    """Everybody else is given the time, or asks `engine.clock` for it."""
    found = {room(path): reads_of_a_clock(path) for path in ROOMS}

    assert found.pop("engine.clock")
    assert {name: reads for name, reads in found.items() if reads} == {}


#: What has many fields, of which nobody sees at a place in a call which one it means.
FACTS = {
    "KernelRecord",
    "TerminalRecord",
    "AppRecord",
    "Use",
    "KeepAlive",
    "Happening",
    "Outcome",
    "Decision",
    "Subject",
}


def calls_by_place(path: Path) -> list[str]:
    """Calls that make such a fact and say by its place what something means."""
    return [
        f"{node.lineno}: {ast.unparse(node.func)}"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in FACTS and node.args
    ]


def test_facts_are_made_by_keyword():
    """They are tuples, because a server starts sooner with those; what is mixed up among them kills work."""
    found = {room(path): calls_by_place(path) for path in ROOMS}

    assert {name: calls for name, calls in found.items() if calls} == {}


def sizes(kinds: tuple[type, ...]) -> dict[str, int]:
    """Lines of each definition of these kinds."""
    return {
        f"{room(path)}.{node.name}": node.end_lineno - node.lineno + 1
        for path in ROOMS
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, kinds)
    }


def test_functions_stay_small():
    """No function passes 40 lines; the median is 12 or less, docstring included."""
    lengths = sizes((ast.FunctionDef, ast.AsyncFunctionDef))

    assert {name: length for name, length in lengths.items() if length > 40} == {}
    assert statistics.median(lengths.values()) <= 12


def test_classes_stay_small():
    """No class passes 200 lines."""
    assert {name: length for name, length in sizes((ast.ClassDef,)).items() if length > 200} == {}


def test_rooms_stay_small():
    """No room passes 260 lines."""
    lengths = {room(path): len(path.read_text().splitlines()) for path in ROOMS}

    assert {name: length for name, length in lengths.items() if length > 260} == {}


def run_python(code: str) -> str:
    """What a fresh interpreter prints."""
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def test_importing_the_package_imports_neither_jupyter_server_nor_boto3():
    """The front door is only names; each is fetched when it is first used."""
    code = (
        "import sys, culling_manager; print([m for m in ('jupyter_server', 'boto3', 'traitlets') if m in sys.modules])"
    )

    assert run_python(code) == "[]"


def test_the_managers_do_not_import_boto3_or_psutil():
    """What is needed rarely is imported when it is needed."""
    code = (
        "import sys, culling_manager as c; c.CullingKernelManager, c.CullingTerminalManager, "
        "c.GatewayCullingKernelManager; print([m for m in ('boto3', 'psutil') if m in sys.modules])"
    )

    assert run_python(code) == "[]"


def test_the_front_door_names_what_it_has_and_refuses_what_it_has_not():
    """`dir` shows the lazy names; an unknown one is an AttributeError as anywhere."""
    import culling_manager

    assert set(culling_manager.__all__) <= set(dir(culling_manager))
    with pytest.raises(AttributeError, match="has no attribute 'Nonsense'"):
        culling_manager.Nonsense  # noqa: B018


def test_words_of_sagemakers_api_live_only_in_the_wings_that_ask_it():
    """Another cloud is another file there; nothing else of the house knows of either."""
    words = ("KernelGatewayApp", "DeleteApp", "boto3", "SpaceName", "UserProfileName", "list_apps(Domain")
    found = {room(path) for path in ROOMS for word in words if word in path.read_text()}

    assert {wing(name) for name in found} <= {"apps", "fleet", "server"}
    assert {name for name in found if wing(name) == "server"} <= {"server.extension"}  # names classes that configure it
