"""The house: who may import whom, how large rooms and functions are, and what importing the package costs."""

from __future__ import annotations

import ast
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[1] / "culling_manager"

#: Room -> rooms it may import. The table is acyclic: each room stands below those that import it.
MAY_IMPORT = {
    "_version": set(),
    "_lazy": set(),
    "errors": set(),
    "clock": set(),
    "records": {"errors"},
    "policy": {"errors"},
    "decisions": {"records", "policy"},
    "report": {"records", "decisions", "policy", "errors", "keepalive"},
    "source": {"records", "policy", "decisions"},
    "attention": {"records", "decisions", "report", "source"},
    "watch": {"attention", "records", "decisions", "errors", "source"},
    "events": {"decisions", "records", "report"},
    "residents": {"decisions", "errors", "records"},
    "appsource": {
        *("apps.auto", "apps.none", "bridge", "decisions", "errors", "events", "policy", "records", "residents"),
        "source",
    },
    "keepalive": {"errors", "policy", "records"},
    "culler": {
        *("_version", "attention", "clock", "records", "policy", "decisions", "errors", "keepalive", "report"),
        *("source", "tally", "watch"),
    },
    "tally": {"records"},
    "bridge": {"decisions", "records", "signals.stamp_file", "source", "threads"},
    "metrics": {"culler", "records", "tally"},
    "saved": {"errors", "policy"},
    "desk": {"_version", "culler", "errors", "events", "keepalive", "policy", "records", "report", "saved"},
    "limits": set(),
    "hooks": {"decisions", "errors", "limits", "policy", "records", "threads"},
    "guards": {
        *("culler", "decisions", "errors", "events", "hooks", "limits", "policy", "records", "settings"),
        *("signals.base", "signals.runner", "source"),
    },
    "settings": {"policy", "errors"},
    "activity": set(),
    "kernelsource": {"activity", "records", "policy", "decisions", "errors", "settings", "source"},
    "kernels": {
        *("activity", "appsource", "kernelsource", "culler", "records", "errors", "guards", "settings"),
        "signals.table",
    },
    "gateway": {"kernels", "kernelsource", "decisions", "errors", "policy", "records", "source"},
    "terminals": {
        *("culler", "records", "policy", "decisions", "errors", "guards", "settings", "source"),
        "signals.table",
    },
    "handlers": {"report", "errors"},
    "extension": {"culler", "desk", "events", "handlers", "metrics", "records", "saved", "terminals"},
    "fleet_records": {"errors", "policy", "report"},
    "fleet_judge": {"fleet_records", "policy", "records", "report"},
    "fleet_calls": {"apps.words", "errors", "fleet_records"},
    "fleet_http": {"errors", "fleet_records"},
    "fleet_targets": {"errors", "fleet_calls", "fleet_records"},
    "fleet_logs": {"fleet_calls", "fleet_judge", "fleet_records", "fleet_targets", "report"},
    "fleet_presigned": {"errors", "fleet_calls", "fleet_http", "fleet_judge", "fleet_records"},
    "fleet_report": {"fleet_records", "policy", "report"},
    "fleet_table": {"fleet_records", "fleet_report", "fleet_targets"},
    "fleet": {
        *("errors", "fleet_calls", "fleet_judge", "fleet_logs", "fleet_presigned", "fleet_records", "fleet_report"),
        *("fleet_table", "fleet_targets"),
    },
    "fleet_lambda": {"errors", "fleet", "fleet_calls", "fleet_judge"},
    "cli_words": {"errors", "report"},
    "cli_servers": {"errors"},
    "cli_client": {"cli_servers"},
    "cli_rows": {"cli_words", "report"},
    "cli_table": {"cli_rows"},
    "cli_commands": {"cli_client", "cli_rows", "cli_servers", "cli_table", "cli_words", "report"},
    "simulate": {"decisions", "policy", "records"},
    "cli_history": {"cli_words", "errors", "policy", "records", "simulate"},
    "cli_simulate": {
        *("cli_history", "cli_servers", "cli_table", "cli_words", "decisions", "errors", "policy", "records"),
        *("report", "simulate"),
    },
    "cli": {"_version", "cli_commands", "cli_servers", "cli_simulate", "errors"},
    "magic": {"cli_client", "cli_servers", "cli_words", "errors"},
    "__init__": {"_lazy", "_version"},
    "apps.__init__": {"_lazy"},
    "threads": set(),
    "apps.words": set(),
    "apps.base": {"records"},
    "apps.none": {"apps.base", "records"},
    "apps.process": {"apps.base", "errors", "records"},
    "apps.metadata": {"errors"},
    "apps.sagemaker": {"apps.base", "apps.metadata", "threads", "apps.words", "errors"},
    "apps.space": {"apps.sagemaker", "errors", "records"},
    "apps.notebook": {"apps.sagemaker", "errors", "records"},
    "apps.classic": {"apps.sagemaker", "errors", "records"},
    "signals.__init__": {"_lazy"},
    "signals.base": {"errors", "policy", "records"},
    "signals.runner": {"errors", "limits", "records", "signals.base"},
    "signals.usage": set(),
    "signals.table": {"errors", "records", "signals.usage"},
    "signals.processes": {"threads", "errors", "records", "signals.base", "signals.table", "signals.usage"},
    "signals.gpu": {"threads", "records", "signals.base", "signals.table", "signals.usage"},
    "signals.stamp_file": {"threads", "records", "signals.base"},
    "signals.documents": {"records", "signals.base"},
    "apps.auto": {"apps.base", "apps.classic", "apps.metadata", "apps.none", "apps.notebook", "apps.space"},
}
#: Rooms that import only the standard library besides rooms.
PURE = {
    "errors",
    "clock",
    "records",
    "policy",
    "decisions",
    "report",
    "source",
    "watch",
    "culler",
    "signals.usage",
    "simulate",
}


def imports(path: Path) -> tuple[set[str], set[str]]:
    """Rooms and outside packages that a module imports when it runs (not for type checking only)."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            node.body = [ast.Pass()]
    rooms, outside = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            found = [node.module] if node.module else [alias.name for alias in node.names]
            inside = f"{path.parent.name}." if node.level == 1 and path.parent != HOUSE else ""
            rooms.update(inside + name for name in found)
        elif isinstance(node, ast.ImportFrom):
            outside.add(node.module.split(".")[0])
        elif isinstance(node, ast.Import):
            outside.update(alias.name.split(".")[0] for alias in node.names)
    return rooms, outside


ROOMS = sorted([*HOUSE.glob("*.py"), *HOUSE.glob("apps/*.py"), *HOUSE.glob("signals/*.py")])


def room(path: Path) -> str:
    """The name of a room: 'culler', 'apps.space'."""
    return ".".join(path.relative_to(HOUSE).with_suffix("").parts)


@pytest.mark.parametrize("path", ROOMS, ids=room)
def test_a_room_imports_only_the_rooms_below_it(path):
    """The table is the architecture; a new import is a decision to be made there."""
    rooms, outside = imports(path)

    assert rooms <= MAY_IMPORT[room(path)]
    if room(path) in PURE:
        assert outside - {"typing_extensions"} <= set(sys.stdlib_module_names)


def test_the_table_has_no_cycle():
    """Every room can be laid on the rooms below it."""
    left = {room: set(below) for room, below in MAY_IMPORT.items()}
    while left:
        ready = {room for room, below in left.items() if not below & set(left)}
        assert ready, f"a cycle among {sorted(left)}"
        left = {room: below for room, below in left.items() if room not in ready}


def test_functions_stay_small():
    """No function passes 40 lines; the median is 12 or less, docstring included."""
    lengths = {}
    for path in ROOMS:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                lengths[f"{room(path)}.{node.name}"] = node.end_lineno - node.lineno + 1

    too_long = {name: length for name, length in lengths.items() if length > 42}
    assert not too_long
    assert statistics.median(lengths.values()) <= 12


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


def test_words_of_sagemakers_api_live_only_in_the_room_of_apps():
    """Another cloud is another file there; nothing else of the house knows of either."""
    elsewhere = [path for path in ROOMS if path.parent == HOUSE]

    words = ("KernelGatewayApp", "DeleteApp", "boto3", "SpaceName", "UserProfileName", "list_apps(Domain")
    found = {room(path): word for path in elsewhere for word in words if word in path.read_text()}
    found = {name: word for name, word in found.items() if not name.startswith("fleet")}  # a tool of its own
    assert set(found) <= {"extension"}  # which names the classes whose configuration it reads
