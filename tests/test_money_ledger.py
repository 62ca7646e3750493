"""The ledger in the home directory: written before a deletion, closed at the next start, bounded."""

from __future__ import annotations

import io
import json
import os
import threading

import pytest

from culling_manager.errors import ReadError
from culling_manager.money import ledger as ledger_room
from culling_manager.money.ledger import LONGEST, Ledger, in_short, savings
from culling_manager.money.lines import AppLine, app_line, app_object, read_app
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


def test_it_stays_bounded_and_keeps_the_newest(ledger, monkeypatch):
    """The oldest lines go first, and with them what they gave back: the sum is never larger for it."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # thousands of them, which is another test's matter
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


def test_a_full_disk_is_said_so_and_takes_no_other_line_with_it(ledger, monkeypatch):
    """A part of a line was written; it is no line, and the next one stands by itself."""
    ledger.write(NIGHT[0])
    written = io.FileIO.write

    class Full(io.FileIO):
        def write(self, text):
            return written(self, text[:20])

    with monkeypatch.context() as patched:
        patched.setattr(os, "fdopen", lambda descriptor, *_, **__: Full(descriptor, "r+"))
        with pytest.raises(ReadError, match="No space left on device"):
            ledger.write(NIGHT[1])
    ledger.write(NIGHT[2])

    assert ledger.lines() == [NIGHT[0], NIGHT[2]]


def test_a_home_that_is_read_only_is_said_so(ledger, monkeypatch):
    """Nothing is written, and nothing else stops for it."""
    ledger.write(NIGHT[0])

    def refused(path, *_):
        raise OSError(30, "Read-only file system", str(path))

    monkeypatch.setattr(os, "open", refused)

    with pytest.raises(ReadError, match="Read-only file system"):
        ledger.write(NIGHT[1])


def test_two_servers_of_one_user_lose_no_line(tmp_path):
    """Both add to the one file, and cut it, at the same time; a line twice changes no sum."""
    servers = [Ledger(tmp_path) for _ in range(2)]
    barrier = threading.Barrier(2)

    def serve(number: int) -> None:
        barrier.wait()
        for count in range(60):
            servers[number].write(entry("started", count / 100, f"{number}-{count}"))

    long = [entry("refused", 0, "x" * 250 + str(count)) for count in range(LONGEST // 520)]
    servers[0].path.write_text("".join(json.dumps(app_object(each)) + "\n" for each in long))
    threads = [threading.Thread(target=serve, args=(number,)) for number in range(2)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    runs = {each.run for each in servers[0].lines()}
    assert {f"{number}-{count}" for number in range(2) for count in range(60)} <= runs
    assert servers[0].path.stat().st_size <= LONGEST


def test_a_line_that_comes_while_the_file_is_cut_is_in_the_new_one(ledger, monkeypatch):
    """Whoever cuts takes over what was added meanwhile, and whoever adds looks whether its file still counts."""
    ledger.write(NIGHT[0])
    other = Ledger(ledger.path.parent)
    replace = ledger_room.replace_file

    def meanwhile(path, contents, **more):
        monkeypatch.setattr(ledger_room, "replace_file", replace)
        other.write(NIGHT[1])
        replace(path, contents, **more)

    monkeypatch.setattr(ledger_room, "replace_file", meanwhile)
    ledger._cut()

    assert ledger.lines() == NIGHT[:2]


@pytest.mark.parametrize("back", [0.5, 5.0])
def test_a_clock_that_was_set_back_hides_no_return(back):
    """The server that starts after a stop writes after it, whatever its clock says: then nothing was given back."""
    lines = [entry("started", 9), entry("accepted", 18), entry("started", 18 - back, "r2")]

    found = in_short(lines, at(40))

    assert (found["stops"], found["false_stops"], found["at_most_seconds"]) == (1, 1, 0)


def test_a_ledger_that_somebody_made_long_is_read_at_its_end(ledger):
    """10 MB of old lines: the newest count, in no time and no memory, and the next line cuts it."""
    text = json.dumps(app_object(entry("started", 1, "old"))).encode() + b"\n"
    ledger.path.parent.mkdir(parents=True)
    ledger.path.write_bytes(text * (10_000_000 // len(text)))

    with ledger.path.open("ab") as file:
        file.writelines(json.dumps(app_object(each)).encode() + b"\n" for each in NIGHT[:3])
    before = ledger.lines()
    ledger.write(NIGHT[3])

    assert before[-3:] == NIGHT[:3]
    assert ledger.lines()[-4:] == NIGHT
    assert ledger.path.stat().st_size <= LONGEST
    assert in_short(ledger.lines(), at(40))["at_most_seconds"] == 15 * 3600


@pytest.mark.parametrize(
    "hostile",
    [
        b"\x00" * 1000,
        b"[" * 100_000,
        b'{"event": "accepted", "at": "2026-06-02T18:00:00Z", "app_type": "x", "app": "x", "run": ["x"]}',
        b'{"event": ["accepted"], "at": 1e999}',
        b'{"event": "accepted", "at": "9999-12-31T23:59:59-23:59", "app_type": "x", "app": "y", "run": "z"}',
        b'"</script>"',
        b"\xff\xfe\r\r\r",
        b'{"event": "accepted", "at": "2026-06-02T18:00:00Z", "app_type": "x", "app": "x", "run": "x", '
        b'"idle_seconds": NaN}',
    ],
)
def test_hostile_content_is_no_line_and_takes_none_with_it(ledger, hostile):
    """Whatever a user, or a program of theirs, has put there."""
    for each in NIGHT[:3]:
        ledger.write(each)
    with ledger.path.open("ab") as file:
        file.write(hostile)
    ledger.write(NIGHT[3])

    assert ledger.lines() == NIGHT
