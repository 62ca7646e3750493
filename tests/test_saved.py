"""Settings that a user made lasting: one small file, all or nothing, and no trust in what stands in it."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from culling_manager.errors import ReadError
from culling_manager.policy import LONGEST_MINUTES
from culling_manager.server.saved_settings import FILE_NAME, LONGEST, SavedSettings


@pytest.fixture
def saved(tmp_path):
    """Settings in a directory that is not there yet."""
    return SavedSettings(str(tmp_path / "config"))


def test_nothing_is_saved_at_first(saved):
    """And looking makes no directory."""
    assert saved.load() is None
    assert not saved.path.parent.exists()


def test_what_is_saved_is_loaded_again_by_another(saved):
    """After a restart; each saving replaces all that was there."""
    saved.save({"idle_time": 30, "keep_terminals": True})
    saved.save({"idle_time": 90.5})

    assert SavedSettings(str(saved.path.parent)).load() == {"idle_time": 90.5}


def test_only_its_owner_may_read_it_and_nothing_else_is_left_behind(saved):
    """No temporary file stays, and Jupyter does not take it for configuration."""
    saved.save({"idle_time": 30})

    assert [path.name for path in saved.path.parent.iterdir()] == [FILE_NAME]
    assert stat.S_IMODE(saved.path.stat().st_mode) == 0o600
    assert not FILE_NAME.startswith("jupyter_")


def test_what_is_forgotten_is_gone_and_may_be_forgotten_twice(saved):
    """Also when nothing was ever saved."""
    saved.save({"idle_time": 30})

    saved.forget()
    saved.forget()

    assert saved.load() is None


FOREIGN = {
    "empty": "",
    "not JSON": "idle_time: 120",
    "half of it": '{"idle_time": 1',
    "not UTF-8": b"\xff\xfe{}",
    "a list": "[120, false]",
    "a number": "120",
    "null": "null",
    "another name": '{"idle_time": 120, "culling_manager": "evil.Class"}',
    "idle_time text": '{"idle_time": "120"}',
    "idle_time bool": '{"idle_time": true}',
    "idle_time null": '{"idle_time": null}',
    "idle_time NaN": '{"idle_time": NaN}',
    "idle_time infinite": '{"idle_time": Infinity}',
    "idle_time 1e400": '{"idle_time": 1e400}',
    "idle_time beyond float": '{"idle_time": 1' + "0" * 400 + "}",
    "idle_time negative": '{"idle_time": -1}',
    "idle_time beyond the calendar": json.dumps({"idle_time": LONGEST_MINUTES + 1}),
    "keep_terminals 1": '{"keep_terminals": 1}',
    "keep_terminals null": '{"keep_terminals": null}',
    "deeply nested": "[" * LONGEST,
    "too long": '{"idle_time": 120' + " " * LONGEST + "}",
}


@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN.keys())
def test_what_we_did_not_write_is_not_taken_for_settings(saved, content):
    """It is an error that names the file, and no other error."""
    saved.path.parent.mkdir()
    saved.path.write_bytes(content if isinstance(content, bytes) else content.encode())

    with pytest.raises(ReadError, match=FILE_NAME):
        saved.load()


VALUES = st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=9) | st.lists(st.integers())
SETTINGS = st.dictionaries(st.sampled_from(["idle_time", "keep_terminals", "x"]), VALUES)


@given(content=st.binary(max_size=80) | (SETTINGS | VALUES).map(lambda each: json.dumps(each).encode()))
def test_whatever_stands_there_is_settings_or_a_read_error(tmp_path_factory, content):
    """And what is settings has finite numbers and true or false."""
    saved = SavedSettings(str(tmp_path_factory.getbasetemp()))
    saved.path.write_bytes(content)

    try:
        found = saved.load()
    except ReadError:
        return
    assert found is not None
    assert 0 <= found.get("idle_time", 0) <= LONGEST_MINUTES
    assert type(found.get("keep_terminals", False)) is bool


def test_a_directory_in_its_place_is_a_read_error_for_all_three(saved):
    """Nothing is deleted that is not our file, and nothing half-written stays."""
    (saved.path / "something").mkdir(parents=True)

    for act in (saved.load, lambda: saved.save({"idle_time": 30}), saved.forget):
        with pytest.raises(ReadError, match=FILE_NAME):
            act()

    assert [path.name for path in saved.path.parent.iterdir()] == [FILE_NAME]


def test_a_file_in_place_of_the_directory_is_a_read_error(tmp_path):
    """The config directory cannot be made."""
    (tmp_path / "config").write_text("")

    with pytest.raises(ReadError, match="could not be saved"):
        SavedSettings(str(tmp_path / "config")).save({"idle_time": 30})


def test_a_failed_save_leaves_what_was_saved_before(saved, monkeypatch):
    """A full disk in the middle of it."""
    saved.save({"idle_time": 30})

    def full(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(ReadError, match="No space left"):
        saved.save({"idle_time": 90})

    assert saved.load() == {"idle_time": 30}
    assert os.listdir(saved.path.parent) == [FILE_NAME]
