"""`Recording`: the events that `simulate` needs, and no others, where an admin wants them."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import logging
import os
import stat
from pathlib import Path
from types import SimpleNamespace

import jupyter_server
import pytest
from jupyter_events import EventLogger
from traitlets import TraitError

from culling_manager.engine.culler import IdleCuller
from culling_manager.events import APP, CULLING, SETTINGS, register
from culling_manager.server.recording import SUBJECT, Recording
from culling_manager.simulation.history import read_history

JUPYTER = "https://events.jupyter.org/jupyter_server/"
WARNED = {"action": "warned", "kind": "kernel", "identity": "k", "reason": "active", "detail": "Idle for 10 min."}
WARNED |= {"name": "python3", "idle_seconds": 600.0, "due_at": None, "document": "secret plans.ipynb"}


@pytest.fixture
def bus():
    """A server's event bus with Jupyter's schemas and ours."""
    found = EventLogger()
    for name in ("kernel_actions", "contents_service"):
        found.register_event_schema(Path(jupyter_server.__path__[0]) / "event_schemas" / name / "v1.yaml")
    register(SimpleNamespace(event_logger=found))
    yield found
    for handler in list(found.handlers):
        found.remove_handler(handler)
        with contextlib.suppress(OSError):
            handler.close()


def record(bus, **settings) -> IdleCuller:
    culler = IdleCuller(log=logging.getLogger("recording"))
    Recording(**settings).start(SimpleNamespace(event_logger=bus), culler)
    return culler


def emit_each(bus) -> None:
    """One event of every schema."""

    async def emit():
        started = {"action": "start", "kernel_id": "k", "kernel_name": "python3", "msg": "Kernel k was started"}
        bus.emit(schema_id=f"{JUPYTER}kernel_actions/v1", data=started)
        bus.emit(schema_id=f"{JUPYTER}contents_service/v1", data={"action": "save", "path": "secret plans.ipynb"})
        bus.emit(schema_id=CULLING, data=WARNED)
        bus.emit(
            schema_id=SETTINGS, data={"action": "reset", "asked_by": "alice", "idle_time": 1.0, "keep_terminals": True}
        )
        app = {"action": "deleting", "app": "default", "app_type": "JupyterLab", "identity": "arn:x"}
        bus.emit(schema_id=APP, data=app | {"idle_seconds": 7200.0})

    asyncio.run(emit())


def test_what_simulate_needs_is_written_and_nothing_else(bus, tmp_path):
    """Kernels that come and go, and what becomes of things; no document, no sentence, nobody's name."""
    path = tmp_path / "new" / "events.jsonl"

    record(bus, path=str(path))
    emit_each(bus)

    lines = [json.loads(each) for each in path.read_text().splitlines()]
    assert [each["action"] for each in lines] == ["start", "warned", "deleting"]
    assert "secret" not in path.read_text()
    assert not {"detail", "msg", "document", "path", "asked_by"} & {name for each in lines for name in each}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len([each for each in read_history(str(path)).events if each.identity == "k"]) >= 2


def test_a_minus_is_where_the_log_goes(bus, monkeypatch):
    """In Studio that is CloudWatch."""
    heard = io.StringIO()
    monkeypatch.setattr("sys.stderr", heard)

    record(bus, path="-")
    emit_each(bus)

    assert [json.loads(each)["action"] for each in heard.getvalue().splitlines()] == ["start", "warned", "deleting"]


def test_a_file_is_rotated_before_it_is_too_large(bus, tmp_path):
    """Two of 10 kB at most, each for its owner only."""
    record(bus, path=str(tmp_path / "events.jsonl"), max_bytes=10_000, backups=1)

    for _ in range(40):
        emit_each(bus)

    found = sorted(tmp_path.iterdir())
    assert [each.name for each in found] == ["events.jsonl", "events.jsonl.1"]
    assert all(each.stat().st_size <= 10_000 and stat.S_IMODE(each.stat().st_mode) == 0o600 for each in found)


def test_without_a_path_or_a_bus_nothing_is_written(bus):
    """The default; and a server without an event bus starts as well."""
    record(bus)
    record(None, path="-")

    assert bus.handlers == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no full device here")
def test_a_place_that_cannot_be_written_is_told_once_and_stops_nothing(bus, tmp_path, caplog, capsys):
    """A directory that cannot be made, at the start; a full disk, once and not for each event."""
    (tmp_path / "file").touch()
    nowhere = record(bus, path=str(tmp_path / "file" / "events.jsonl"))
    full = record(bus, path="/dev/full", backups=0)

    emit_each(bus)

    (first,), (second,) = nowhere.troubles.recent(nowhere.now()), full.troubles.recent(full.now())
    assert first.subject == second.subject == SUBJECT
    assert "events.jsonl cannot be written: " in first.message
    assert (second.message, second.times) == ("the event log /dev/full cannot be written: No space left on device", 3)
    assert caplog.text.count("No space left") == 1
    assert "Traceback" not in capsys.readouterr().err


def test_what_makes_no_sense_is_refused():
    """With the name of the setting."""
    with pytest.raises(TraitError, match="max_bytes"):
        Recording(max_bytes=5)
