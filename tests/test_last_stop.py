"""Why a server ended its own app, for the next one to tell once; never in the way."""

from __future__ import annotations

import json
import os
import time
from datetime import timedelta

import pytest

from culling_manager.apps.source import AppSource
from culling_manager.errors import CallError, ReadError
from culling_manager.money.last_stop import FIELDS, LONGEST, LastStop
from tests.conftest import patience, scenario
from tests.doubles import NOON, FakeApps
from tests.test_appsource import TIMEOUT
from tests.test_appsource import World as AppWorld
from tests.test_config_files import jupyter
from tests.test_end_to_end import ALONE, BOTH, Client

NOTE = {
    "at": "2026-06-01T12:00:00Z", "name": "default", "app_type": "JupyterLab", "identity": "arn:x",
    "manager": "SpaceApp",
    "reason": "idle", "detail": "Idle for 2 h.", "idle_seconds": 7200.0,
}  # fmt: skip


def test_a_note_is_told_once(tmp_path):
    """Private, small, and gone when it was read."""
    last = LastStop(tmp_path / "not" / "yet")
    last.write({**NOTE, "detail": "x" * 5000, "name": "é\n" * 600})
    mode, size = last.path.stat().st_mode & 0o777, last.path.stat().st_size

    found = last.take()

    assert (mode, size <= LONGEST) == (0o600, True)
    assert found is not None
    assert list(found) == list(FIELDS)
    assert "\n" not in found["name"]
    assert last.take() is None


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b'{"at": 5}', b"\xff\xfe", b"[" * 1000, b'{"at": "x"}' + b" " * LONGEST]
)
def test_nonsense_is_no_note(tmp_path, text):
    """Whatever a torn disk has left."""
    last = LastStop(tmp_path)
    last.path.write_bytes(text)

    assert last.take() is None


@pytest.mark.parametrize("what", ["link", "folder", "pipe"])
def test_what_stands_in_its_place_is_left_alone_and_blocks_nothing(tmp_path, what):
    """It is neither followed nor replaced, and nobody waits for it."""
    last, victim = LastStop(tmp_path), tmp_path / "victim"
    victim.write_text(json.dumps(NOTE))
    {"link": lambda: last.path.symlink_to(victim), "folder": last.path.mkdir, "pipe": lambda: os.mkfifo(last.path)}[
        what
    ]()

    with pytest.raises(ReadError, match="could not be noted"):
        last.write(NOTE)

    assert last.take() is None
    assert victim.read_text() == json.dumps(NOTE)
    assert last.path.is_symlink() or not last.path.is_file()


class OwnApp(FakeApps):
    """The app that the server itself runs on."""

    lists = False
    shares_kernels = False


def world(note: LastStop) -> AppWorld:
    made = AppWorld(apps=OwnApp())
    made.source.accounts.last_stop = note
    made.apps.put("a", created_at=NOON - timedelta(days=1))
    return made.start()


@scenario
async def test_it_is_written_before_the_app_is_deleted(tmp_path):
    """The server may be gone before the answer is there."""
    last = LastStop(tmp_path)
    made = world(last)
    there = []
    made.apps.before_delete = lambda record: there.append(last.path.exists())

    await made.clock.run_for(TIMEOUT + 5)

    found = last.take()

    assert there == [True]
    assert found["detail"] == "Idle for 10 min, which is over its timeout."
    assert TIMEOUT < found["idle_seconds"] < TIMEOUT + 1
    assert found | {"at": None, "idle_seconds": None, "detail": None} == {
        **dict.fromkeys(FIELDS), "name": "a", "app_type": made.app()[0].app_type, "identity": "a",
        "manager": "OwnApp", "reason": "idle",
    }  # fmt: skip


@scenario
async def test_a_refused_deletion_takes_it_back(tmp_path):
    """The next server must not tell of a stop that never was."""
    last = LastStop(tmp_path)
    made = world(last)

    def refuse(record):
        raise CallError("no")

    made.apps.before_delete = refuse

    await made.clock.run_for(TIMEOUT + 5)

    assert made.apps.deleted == []
    assert last.take() is None


@scenario
async def test_a_home_that_cannot_be_written_to_stops_nothing(tmp_path):
    """The app goes at its deadline, and the trouble is reported."""
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    made = world(LastStop(in_the_way))

    await made.clock.run_for(TIMEOUT + 5)

    assert made.apps.deleted == ["a"]
    assert "could not be noted" in made.culler.troubles.last_text()


@scenario
async def test_that_a_note_could_not_be_written_is_over_when_one_can(tmp_path):
    """It is told for as long as it is so."""
    made = world(LastStop(tmp_path))
    made.culler.trouble("note of the last stop", "it could not be noted")

    await made.clock.run_for(TIMEOUT + 5)

    assert made.apps.deleted == ["a"]
    assert made.culler.troubles.last_text() is None


def test_apps_of_others_leave_no_note():
    """Only the end of a server's own app ends what could tell it."""
    assert AppWorld().source.accounts.last_stop is None
    assert isinstance(AppWorld().source, AppSource)


def test_the_next_server_tells_it_and_the_one_after_does_not(tmp_path):
    """A real process that ended itself, and two more."""
    line = (*BOTH, ALONE, "--CullingKernelManager.app_manager_class=culling_manager.apps.JupyterServerProcess")
    with jupyter(tmp_path, *line, "--CullingKernelManager.cull_interval=0.5") as server:
        Client(server).set_timeout(0.025)
        deadline = time.monotonic() + patience(60)
        while server.process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
        code = server.process.poll()
    with jupyter(tmp_path, *line) as server:
        stop, log = Client(server).status()["previous_stop"], server.log.read_text()
    with jupyter(tmp_path, *line) as server:
        after = Client(server).status()["previous_stop"]

    assert code == 0
    assert (stop["reason"], stop["app_type"]) == ("idle", "JupyterServerProcess")
    assert "the last server stopped" in log
    assert after is None
