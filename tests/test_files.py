"""Replacing a small file of our own: whole or not at all, readable as asked for, whatever stands there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from culling_manager.files import replace_file


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_it_is_whole_and_as_readable_as_asked_for(tmp_path, mode):
    """Whatever the file before it was, and nothing is left beside it."""
    path = tmp_path / "it"
    path.write_text("before")
    path.chmod(0o666)

    replace_file(path, b"after", mode)

    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"after", mode)
    assert os.listdir(tmp_path) == ["it"]


@pytest.mark.parametrize("durable", [True, False])
def test_it_is_on_the_disk_where_that_was_asked_for(tmp_path, monkeypatch, durable):
    """Before it takes the place of the other."""
    synced = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append((tmp_path / "it").exists()))

    replace_file(tmp_path / "it", b"after", durable=durable)

    assert synced == ([False] if durable else [])


def test_a_link_is_replaced_and_not_followed(tmp_path):
    """What it leads to stays as it is."""
    victim = tmp_path / "victim"
    victim.write_text("before")
    (tmp_path / "it").symlink_to(victim)

    replace_file(tmp_path / "it", b"after")

    assert victim.read_text() == "before"
    assert not (tmp_path / "it").is_symlink()


def test_a_folder_in_its_place_is_an_error_and_leaves_nothing(tmp_path):
    """The words are the system's; the caller's say what it was for."""
    (tmp_path / "it").mkdir()

    with pytest.raises(OSError, match="directory"):
        replace_file(Path(tmp_path, "it"), b"after")

    assert os.listdir(tmp_path) == ["it"]
