"""Things by the names that people have for them: terminals by what runs in them, kernels by documents, ids last."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys

import pytest

from culling_manager.apps.census import Household
from culling_manager.cli.command import main
from culling_manager.cli.keeping import found_among
from culling_manager.client.servers import Failure
from culling_manager.decisions import Action, Decision, Reason
from culling_manager.document import entry as document_entry
from culling_manager.records import KernelRecord, TerminalRecord
from culling_manager.report import called, name_of
from culling_manager.signals import foreground
from tests.cli_double import BUSY, IDLE, NOW, SPACE, document, entry, running
from tests.conftest import until
from tests.doubles import NOON
from tests.test_terminals import Terminals

SECRET = "--password=hunter2"
KEEP = Decision(action=Action.KEEP, reason=Reason.BUSY, idle_seconds=1.0, due_at=None)


@pytest.fixture
def script(tmp_path):
    """A program that only waits, as a person starts it."""
    path = tmp_path / "train.py"
    path.write_text("import time\n\ntime.sleep(120)\n")
    return path


def runs(terminals: Terminals, name: str) -> str | None:
    return terminals.manager._source.names(name)["runs"]


# -- what runs in a terminal -------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["in front", "behind", "in a shell of a shell"])
def test_a_terminal_is_called_by_what_runs_in_it_and_its_arguments_are_never_told(run, script, where):
    """In the foreground or the background, also below another shell; alone with its shell it is only its number."""
    command = f"{sys.executable} {script} {SECRET}"
    line = {
        "in front": command,
        "behind": f"{command} &",
        "in a shell of a shell": f"/bin/sh -c 'true; {command}; true'",
    }

    async def check():
        async with Terminals() as terminals:
            name = terminals.create()
            alone = runs(terminals, name)
            await terminals.type(name, line[where])
            await until(lambda: runs(terminals, name) is not None)
            return alone, runs(terminals, name)

    alone, found = run(check())

    assert alone is None
    assert found == "train.py"


def test_several_jobs_are_counted_and_what_is_gone_has_no_name(run, script):
    """Two are named, of more the first; a terminal that is not there, and a process that cannot be read, is nothing."""
    other = script.with_name("load.py")
    other.write_text(script.read_text())

    async def check():
        async with Terminals() as terminals:
            name = terminals.create()
            found = []
            for count, program in enumerate(
                [f"{sys.executable} {script}", "sleep 99", f"{sys.executable} {other}"], start=1
            ):
                before = runs(terminals, name)
                await terminals.type(name, f"{program} &")
                await until(lambda before=before: runs(terminals, name) != before)
                found.append((count, runs(terminals, name)))
            return [words for _, words in found], runs(terminals, "nobody")

    found, nobody = run(check())

    assert found == ["train.py", "train.py, sleep", "train.py and 2 more"]
    assert nobody is None
    assert foreground.runs_in(2**22 + 1, None) is None
    assert foreground.runs_in(os.getpid(), -1) is not None


def test_the_log_and_the_outcome_of_a_culled_terminal_say_what_ran_in_it(run, script, caplog):
    """Read right before it is told, for at its last reading something else may have run."""

    async def check():
        async with Terminals(idle_timeout=60) as terminals:
            name = terminals.create()
            heard = []
            terminals.manager._culler.listeners.append(heard.append)
            await terminals.manager._cull_terminals()
            await terminals.type(name, f"{sys.executable} {script} {SECRET}")
            await until(lambda: runs(terminals, name) == "train.py")
            terminals.age(name, hours=3)
            await terminals.manager._cull_terminals()
            return heard[-1], terminals.manager._culler.outcomes[-1]

    with caplog.at_level(logging.DEBUG):
        told, outcome = asyncio.run(check())

    (line,) = [each.getMessage() for each in caplog.records if "Culling terminal" in each.getMessage()]
    assert line.startswith("Culling terminal '1' (train.py): idle, ")
    assert (told.action, told.record.runs, outcome.name) == ("culled", "train.py", "train.py")
    assert SECRET not in caplog.text


# -- words -------------------------------------------------------------------------------------------


def test_what_a_person_calls_it_stands_before_its_id():
    """A terminal's id is a number that says nothing alone; a kernel's id is for nobody to read."""
    terminal = TerminalRecord(identity="1", last_activity=NOON, runs="train.py")
    kernel = KernelRecord(identity=IDLE, state="busy", last_activity=NOON, path="work/a.ipynb")
    household = Household()

    household.add(kernel, KEEP, NOON)
    household.add(terminal, KEEP, NOON)

    assert [called(each) for each in (terminal, kernel)] == [
        "terminal 1 (train.py)",
        f"kernel of work/a.ipynb ({IDLE})",
    ]
    assert [name_of(each) for each in (terminal, kernel)] == ["train.py", "work/a.ipynb"]
    assert household.keepers == [f"kernel of work/a.ipynb (busy; {IDLE})", "terminal 1 (busy)"]
    assert document_entry(terminal, KEEP, NOON)["runs"] == "train.py"


TERMINALS = [entry(each, name=each, state="running", runs=runs) for each, runs in (("1", "train.py"), ("2", None))]
RECENT = {"result": "culled", "reason": "idle", "idle_seconds": 7200.0, "at": "2026-06-01T11:00:00Z", "message": ""}


@pytest.fixture
def double(runtime, capsys):
    """A server of which the tests say what it answers, and the only one that there is."""
    with running() as found:
        found.write_runtime_file(runtime)
        yield found


@pytest.fixture
def runtime(tmp_path, monkeypatch):
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr("culling_manager.cli.shared.now", lambda: NOON.replace(minute=30))
    return tmp_path


def test_status_tells_names_first_and_ids_last(double, capsys):
    """In the table, in what stops soon, in what is kept, and in what was stopped lately."""
    warned = TERMINALS[0] | {"warned": True, "due_at": "2026-06-01T12:33:00.000000Z"}
    double.status = document(terminals=[warned, TERMINALS[1]])
    double.status["recent"] = [
        RECENT | {"kind": "kernel", "identity": BUSY, "name": "work/a.ipynb"},
        RECENT | {"kind": "terminal", "identity": "3", "name": "sync.sh"},
        RECENT | {"kind": "terminal", "identity": "4", "name": None},
    ]
    double.keep_alive = [
        {"kind": "kernel", "id": BUSY, "name": "work/a.ipynb", "until": NOW, "asked_by": ""},
        {"kind": "terminal", "id": "1", "name": "train.py", "until": NOW, "asked_by": ""},
    ]

    assert main(["status"]) == 0

    told = " ".join(capsys.readouterr().out.split())
    assert "1 (train.py) running" in told
    assert "stops soon: terminal 1 (train.py) in 3 min to keep it: jupyter culling keep-alive 1h --terminal 1" in told
    assert "kernel work/a.ipynb culled: idle, 2 h without use (deadbeef)" in told
    assert "terminal 3 culled: idle, 2 h without use (sync.sh)" in told
    assert "terminal 4 culled: idle, 2 h without use " in told + " "
    assert "kept alive: kernel work/a.ipynb (deadbeef) is kept until" in told
    assert "kept alive: terminal 1 (train.py) is kept until" in told


def test_a_terminal_may_be_meant_by_what_runs_in_it(double):
    """Where that is just one; what there is to choose from is listed with what runs in it."""
    double.status = document(terminals=TERMINALS)

    assert main(["keep-alive", "1h", "--terminal", "train.py"]) == 0
    with pytest.raises(Failure, match=r"There are: 1 \(train\.py\), 2\."):
        found_among("terminal", "make", TERMINALS)

    assert double.changes == [("POST", f"{SPACE}/keep-alive", {"duration": "1h", "kind": "terminal", "id": "1"})]


# -- HTTP --------------------------------------------------------------------------------------------


async def test_status_and_keep_alive_name_what_they_are_about(jp_serverapp, jp_fetch, tmp_path, caplog):
    """A kernel by its document, as Jupyter's sessions have it now; a terminal by what runs in it."""
    body = {"path": "work/a.ipynb", "name": "a.ipynb", "type": "notebook", "kernel": {"name": "python3"}}
    session = json.loads((await jp_fetch("api", "sessions", method="POST", body=json.dumps(body))).body)
    terminal = json.loads((await jp_fetch("api", "terminals", method="POST", body="{}")).body)["name"]
    kernel = session["kernel"]["id"]
    jp_serverapp.web_app.settings["terminal_manager"].terminals[terminal].ptyproc.write("sleep 99\n")

    async def status():
        return json.loads((await jp_fetch(SPACE, "status")).body)

    async def sleeps():
        return (await status())["terminals"][0]["runs"] == "sleep"

    await until(sleeps)
    asked = {"duration": "1h", "kind": "kernel", "id": kernel}
    made = json.loads((await jp_fetch(SPACE, "keep-alive", method="POST", body=json.dumps(asked))).body)
    asked = {"duration": "2h", "kind": "terminal", "id": terminal}
    await jp_fetch(SPACE, "keep-alive", method="POST", body=json.dumps(asked))
    found = await status()

    assert (made["id"], made["name"]) == (kernel, "work/a.ipynb")
    assert [each["name"] for each in found["keep_alive"]] == ["work/a.ipynb", "sleep"]
    lines = [each.getMessage() for each in caplog.records if "keep-alive of" in each.getMessage()]
    assert f"Culling: keep-alive of kernel work/a.ipynb ({kernel}) until" in lines[0]
    assert f"Culling: keep-alive of terminal {terminal} (sleep) until" in lines[1]
