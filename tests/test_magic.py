"""`%keep_alive` in a real kernel, whose server is a double that speaks the contract."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid

import pytest
from jupyter_client import KernelManager

from culling_manager.client import magic
from culling_manager.client.servers import Failure
from tests.cli_double import SPACE, running
from tests.conftest import patience

KERNEL_ID = str(uuid.uuid4())
SECRET = "s3cret-t0ken"


class Cell:
    """Runs code in a kernel, and gives what it printed or raised."""

    def __init__(self, client) -> None:
        self._client = client

    def __call__(self, code: str) -> str:
        told: list[str] = []

        def hear(message) -> None:
            content = message["content"]
            told.append(content.get("text") or content.get("evalue") or "")

        self._client.execute_interactive(code, timeout=patience(30), output_hook=hear)
        return "".join(told).strip()


@pytest.fixture(scope="module")
def runtime(tmp_path_factory):
    """The runtime directory that kernel and servers share."""
    return tmp_path_factory.mktemp("runtime")


@pytest.fixture(scope="module")
def cell(runtime):
    """A real kernel, started as a server starts one: its connection file has its id, and its parent is we."""
    manager = KernelManager(connection_file=str(runtime / f"kernel-{KERNEL_ID}.json"))
    env = {**os.environ, "JUPYTER_RUNTIME_DIR": str(runtime), "TZ": "Europe/Madrid"}
    env.pop("JUPYTER_TOKEN", None)
    manager.start_kernel(env=env)
    client = manager.blocking_client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=patience(60))
        cell = Cell(client)
        cell("%load_ext culling_manager")
        yield cell
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


@pytest.fixture
def double(runtime):
    """The server of this kernel."""
    with running(kernels=(KERNEL_ID,)) as found:
        path = found.write_runtime_file(runtime)
        yield found
        path.unlink()


def test_the_magic_keeps_the_notebooks_own_kernel(cell, double):
    """Found by its connection file; the server by its pid; told in words."""
    told = cell("%keep_alive 4h")

    assert double.changes == [("POST", f"{SPACE}/keep-alive", {"duration": "4h", "kind": "kernel", "id": KERNEL_ID})]
    assert told.startswith("This kernel is kept until ")


@pytest.mark.parametrize(
    ("line", "method", "body"),
    [
        ("%keep_alive 90", "POST", {"duration": 90, "kind": "kernel", "id": KERNEL_ID}),
        ("%keep_alive '1h 30m'", "POST", {"duration": "1h 30m", "kind": "kernel", "id": KERNEL_ID}),
        ("%keep_alive 4h --all", "POST", {"duration": "4h", "kind": "all"}),
        ("%keep_alive --all 4h", "POST", {"duration": "4h", "kind": "all"}),
        ("from culling_manager import keep_alive; keep_alive('4h')", "POST", {"duration": "4h", "kind": "kernel"}),
        ("import culling_manager; culling_manager.keep_alive(30, everything=True)", "POST", {"duration": 30}),
    ],
)
def test_each_way_to_ask_for_it(cell, double, line, method, body):
    """Magic or function; this kernel or everything; words or minutes."""
    cell(line)

    ((asked, _, sent),) = double.changes
    assert asked == method
    assert body.items() <= sent.items()


def test_until_a_time_of_day_goes_with_the_zone_of_the_kernel(cell, double):
    """The clock of the machine that the user sees."""
    cell("%keep_alive --until 18:30 --all")

    ((_, _, sent),) = double.changes
    assert sent["until"].endswith(("T18:30:00+01:00", "T18:30:00+02:00"))


def test_off_takes_it_back_and_nothing_only_tells(cell, double):
    """One line each."""
    cell("%keep_alive 4h")
    told = cell("%keep_alive")
    off = cell("%keep_alive off")

    assert told.startswith("This kernel is kept until ")
    assert off == "This kernel is no longer kept by request."
    assert double.changes[-1][1] == f"{SPACE}/keep-alive?kind=kernel&id={KERNEL_ID}"
    assert cell("%keep_alive") == "Nothing is kept by request."


def test_a_refusal_is_the_servers_words_without_a_traceback(cell, double):
    """What is accepted stands in them."""
    double.instead["POST", "keep-alive"] = (400, {"message": "duration = 'soon' is not accepted: 4h or so"}, {})

    assert cell("%keep_alive soon") == "UsageError: duration = 'soon' is not accepted: 4h or so"
    assert cell("__import__('culling_manager').keep_alive('soon')").startswith("duration = 'soon'")


@pytest.mark.parametrize("line", ["%keep_alive --nonsense", "%keep_alive --until", "%keep_alive 4h --until 18:30"])
def test_wrong_usage_is_said(cell, double, line):
    """And nothing is asked for."""
    assert cell(line).startswith("UsageError: ")
    assert double.changes == []


@pytest.mark.parametrize("line", ["%keep_alive 1h 2h", "%keep_alive 90min 1m", "%keep_alive 1 hour 2 hrs"])
def test_two_times_are_refused_with_the_right_form(cell, double, line):
    """Nobody is kept for the sum of what may have been meant as a choice."""
    told = cell(line)

    assert told.startswith("UsageError: duration = ")
    assert told.endswith("it must be one duration, each unit once, such as 3h or 1h30m")
    assert double.changes == []


def test_the_kernels_own_server_is_asked_among_several(cell, double, runtime):
    """Others that run here do not have this kernel, or want another token; no token is printed."""
    with running(token=SECRET, kernels=()) as other, running(base_url="/", kernels=()) as third:
        paths = [other.write_runtime_file(runtime), third.write_runtime_file(runtime, pid=os.getppid())]
        told = cell("%keep_alive 4h")
        for path in paths:
            path.unlink()

    assert len(double.changes) == 1
    assert (other.changes, third.changes) == ([], [])
    assert SECRET not in told


def test_without_a_server_here_the_command_is_suggested(cell):
    """A kernel on a remote gateway has its server elsewhere."""
    told = cell("%keep_alive 4h")

    assert "may run on a remote gateway" in told
    assert f"jupyter culling keep-alive 4h --kernel {KERNEL_ID}" in told


def test_unloading_takes_the_magic_away(cell):
    """And loading brings it back."""
    cell("%unload_ext culling_manager")
    gone = cell("%keep_alive")
    cell("%load_ext culling_manager")

    assert "not found" in gone
    assert "not found" not in cell("%keep_alive")


def test_outside_of_a_kernel_the_command_is_suggested():
    """Such as in a script."""
    with pytest.raises(Failure, match="jupyter culling keep-alive"):
        magic.keep_alive("4h")


def test_a_kernel_need_not_have_what_the_server_has():
    """Nothing but the standard library is imported."""
    code = (
        "import sys, culling_manager as c; c.keep_alive, c.load_ipython_extension; print([m for m in "
        "('jupyter_server', 'traitlets', 'tornado', 'requests', 'rich', 'IPython', 'zmq') if m in sys.modules])"
    )

    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert found.stdout.strip() == "[]"
