"""The ledger in the home directory: written before a deletion, closed at the next start, bounded."""

from __future__ import annotations

import os

import pytest

from culling_manager.errors import ReadError
from culling_manager.money.ledger import LONGEST, Ledger, in_short, savings
from culling_manager.money.lines import AppLine, app_line, read_app
from tests.money_log import at


def entry(event: str, hour: float, run: str = "r1", **more) -> AppLine:
    """One line about this user's app."""
    given = {"app_type": "JupyterLab", "app": "default", "instance_type": "ml.t3.medium", "reason": "idle", **more}
    return AppLine(event=event, at=at(hour), run=run, **given)


NIGHT = [entry("started", 9), entry("deleting", 18), entry("accepted", 18), entry("started", 33, "r2")]


@pytest.fixture
def ledger(tmp_path) -> Ledger:
    """An empty one."""
    return Ledger(tmp_path / "new" / "folder")


def test_what_is_written_is_read_back(ledger):
    """Every field, in a file that nobody else may read."""
    for each in NIGHT:
        ledger.write(each)

    assert ledger.lines() == NIGHT
    assert ledger.path.stat().st_mode & 0o777 == 0o600


def test_no_file_is_nothing_saved(ledger):
    """Before the first start there is nothing to tell."""
    assert ledger.lines() == []
    assert in_short([], at(0)) == {
        "since": None,
        "stops": 0,
        "false_stops": 0,
        "at_least_seconds": 0,
        "at_most_seconds": 0,
    }


def test_a_night_is_counted_as_a_fleet_counts_it():
    """The same lines, the same bounds."""
    found = savings(NIGHT, at(40))

    assert found["given_back"]["hours"] == {"at_least": 14.8333, "at_most": 15.0}
    assert in_short(NIGHT, at(40))["at_most_seconds"] == 15 * 3600


def test_since_leaves_out_what_was_before():
    """Clipped to the instant."""
    assert savings(NIGHT, at(40), since=at(30))["given_back"]["hours"]["at_most"] == 3.0


def test_a_stop_that_never_came_about_gives_nothing():
    """The same run starts a server again: the app was not deleted."""
    lines = [entry("deleting", 18), entry("accepted", 18), entry("started", 18.5)]

    assert in_short(lines, at(40))["stops"] == 0


def test_a_torn_line_takes_no_other_with_it(ledger):
    """A crash in the middle of writing leaves half a line; what follows stands on a line of its own."""
    ledger.write(NIGHT[0])
    with ledger.path.open("ab") as file:
        file.write(b'{"event": "dele')
    ledger.write(NIGHT[1])

    assert ledger.lines() == NIGHT[:2]


def test_it_is_on_the_disk_before_anything_is_deleted(ledger, monkeypatch):
    """File and directory are synced."""
    synced = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.readlink(f"/proc/self/fd/{descriptor}")))

    ledger.write(NIGHT[0])

    assert synced == [str(ledger.path), str(ledger.path.parent)]


def test_it_stays_bounded_and_keeps_the_newest(ledger):
    """The oldest lines go first, and with them what they gave back: the sum is never larger for it."""
    text = app_line(NIGHT[0])
    for number in range(2 * LONGEST // len(text)):
        ledger.write(entry("started", number / 100, f"r{number}"))

    assert ledger.path.stat().st_size <= LONGEST
    assert ledger.lines()[-1].run == f"r{number}"
    assert len(ledger.lines()) > 100


def test_a_ledger_that_cannot_be_written_is_said_so(tmp_path):
    """With the path, and what the system says."""
    (tmp_path / "folder").write_text("a file")

    with pytest.raises(ReadError, match="could not be written"):
        Ledger(tmp_path / "folder").write(NIGHT[0])


def test_a_line_in_the_log_is_one_line_whatever_the_names_are():
    """Nobody can end a line by a name and begin one of their own."""
    odd = entry("started", 9, app="x\nculling_manager app: {}\r\x85\u2028", run="</script>")

    assert len(app_line(odd).splitlines()) == 1
    assert read_app(app_line(odd)) == odd


def test_a_line_stays_within_what_is_read():
    """However long names are."""
    long = entry("started", 9, app="é" * 300, run="r" * 300)

    found = read_app(app_line(long))

    assert found is not None
    assert len(found.app) == len(found.run) == 256
