"""The stamp file of remote editors, and documents that are saved through the contents API."""

from __future__ import annotations

import json
import os
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from culling_manager.records import Kind
from culling_manager.signals import DocumentSignal, Finding, Signals, StampFileSignal
from culling_manager.signals.stamp_file import our_stamp, read_stamp, stamp_text, stamp_used_at
from tests.conftest import until
from tests.doubles import NOON
from tests.test_signals_runner import subject

APP = subject(Kind.APP, here=True)
HOUR = timedelta(hours=1)


@pytest.fixture
def jp_server_config():
    """A plain server: this is about its event bus."""
    return {}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "stamp"


def signal(path) -> StampFileSignal:
    made = StampFileSignal(stamp_path=str(path))
    made.now = lambda: NOON
    return made


async def last_use(stamp: StampFileSignal) -> datetime | None:
    """What it answers to the runner: nothing, and an instant."""
    assert await stamp.check(APP) is None
    return stamp.last_use(APP)


def test_a_stamp_is_use_of_the_app_at_that_instant(path, run):
    """As Code Editor and remote VS Code write it."""
    path.write_text("2026-06-01T11:00:00.250000Z\n")

    assert run(last_use(signal(path))) == NOON - HOUR + timedelta(milliseconds=250)


@pytest.mark.parametrize(
    "text",
    [
        *("", "\n", "yesterday", "2026-06-01T11:00:00Z", "2026-06-01T11:00:00.000000"),
        *("2026-13-01T11:00:00.000000Z", "1780311600", "2026-06-01T11:00:00.000000+00:00", "é" * 10, "x" * 100_000),
        "2026-06-01T11:00:00.000000Z 2026-06-01T11:00:00.000000Z",
    ],
)
def test_whatever_is_no_stamp_is_ignored(path, run, text):
    """The file's other readers ignore it as well."""
    path.write_text(text)

    assert run(last_use(signal(path))) is None


def test_a_bad_file_is_told_once_and_what_was_read_before_still_counts(path, run, caplog):
    """Not at every look."""
    caplog.set_level("INFO")
    stamp = signal(path)
    path.write_text(stamp_text(NOON - HOUR))
    assert run(last_use(stamp)) == NOON - HOUR

    path.write_text("bad")

    assert [run(last_use(stamp)), run(last_use(stamp))] == [NOON - HOUR] * 2
    assert len([each for each in caplog.records if "is ignored until it can be read" in each.message]) == 1


def test_a_missing_file_is_nothing(path, run, caplog):
    """Most apps have none; not a word about it."""
    caplog.set_level("INFO")

    assert run(last_use(signal(path))) is None
    assert not caplog.records


def test_a_folder_or_a_pipe_in_its_place_blocks_nothing(path, run):
    """Whatever somebody put there: it is not waited for."""
    path.mkdir()
    assert run(last_use(signal(path))) is None
    path.rmdir()
    os.mkfifo(path)
    assert run(last_use(signal(path))) is None


def test_a_link_in_its_place_is_not_followed(path, run, caplog):
    """Else anybody could have us read what only we may, and keep an app by a file of somebody's."""
    caplog.set_level("INFO")
    target = path.with_name("target")
    target.write_text(stamp_text(NOON - HOUR))
    path.symlink_to(target)

    assert run(last_use(signal(path))) is None
    assert "is ignored until it can be read" in caplog.text


@pytest.mark.parametrize(
    "text", ["hunter2", "2026-06-01T12:00:00.000000Z hunter2", "2026-06-01T12:00:00.0000001hunter2"]
)
def test_what_a_bad_file_holds_is_not_told(path, run, caplog, text):
    """It may be a link's or an editor's secret; the log is read by others."""
    caplog.set_level("DEBUG")
    path.write_text(text)

    assert run(last_use(signal(path))) is None
    assert "what it holds is no time of the form" in caplog.text
    assert "hunter2" not in caplog.text


def test_what_we_wrote_ourselves_is_no_use(path, run):
    """Else an app that we keep for a reason would keep itself for ever; what others wrote before is remembered."""
    stamp = signal(path)
    path.write_text(stamp_text(NOON - HOUR))
    assert run(last_use(stamp)) == NOON - HOUR

    path.write_text(our_stamp(NOON))

    assert run(last_use(stamp)) == NOON - HOUR


def test_what_another_of_our_servers_wrote_is_no_use_either(path, run):
    """Two servers in one space must not keep each other; nor the one before a restart the one after it."""
    path.write_text(our_stamp(NOON - HOUR))

    assert run(last_use(signal(path))) is None


@pytest.mark.parametrize("microsecond", [0, 314_158, 314_159, 314_160, 999_999])
def test_our_stamp_is_never_in_the_future_and_at_most_a_second_old(microsecond):
    """The native probe takes it as it is."""
    at = NOON.replace(microsecond=microsecond)

    assert 0 <= (at - read_stamp(our_stamp(at))).total_seconds() < 1


def test_a_stamp_of_the_future_counts_once_as_when_it_was_written(path, run):
    """Never later than now, and not again with each look: such a file would keep the app for ever."""
    path.write_text("2099-01-01T00:00:00.000000Z")
    written_at = (NOON - 3 * HOUR).timestamp()
    os.utime(path, (written_at, written_at))

    assert run(last_use(signal(path))) == NOON - 3 * HOUR


instants = st.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1), timezones=st.just(timezone.utc))


@given(instants)
def test_what_is_written_is_what_is_read(at):
    """One format, both ways."""
    assert read_stamp(stamp_text(at)) == at


@given(instants, instants, instants)
def test_no_stamp_is_use_in_the_future(stamp, written_at, now):
    """Whatever the clocks of the writers say."""
    assert stamp_used_at(stamp, written_at, now) <= now


def test_the_stamp_file_is_about_this_very_app():
    """Not about another one, nor about a kernel; an empty path turns it off."""
    assert StampFileSignal().applies(APP)
    assert not StampFileSignal().applies(subject(Kind.APP))
    assert not StampFileSignal().applies(subject(Kind.KERNEL, pids=(1,)))
    assert not StampFileSignal(stamp_path="").applies(APP)


async def test_a_save_a_rename_and_an_upload_are_use_and_looking_is_not(jp_fetch, jp_serverapp):
    """Through a real server's contents API and its event bus."""
    signals = Signals(names=["documents"])
    signals.start(jp_serverapp)
    documents = signals.signals["documents"]

    async def used(*path, **request) -> bool:
        """Whether this request is heard as use."""
        documents._used_at = None
        await jp_fetch("api", "contents", *path, **request)
        await until(lambda: not jp_serverapp.event_logger._active_listeners)
        return documents._used_at is not None

    text = json.dumps({"type": "file", "format": "text", "content": "x = 1"})

    assert not await used()
    assert await used("a.py", method="PUT", body=text)
    assert not await used("a.py")
    assert await used("a.py", method="PATCH", body=json.dumps({"path": "b.py"}))
    assert await used(method="POST", body=json.dumps({"copy_from": "b.py"}))
    assert await used("b.py", method="DELETE")
    used_at = documents._used_at
    assert await signals.ask(APP) == Finding(used_at=used_at)
    assert abs(used_at - datetime.now(timezone.utc)) < HOUR
    signals.stop()
    assert not await used("c.py", method="PUT", body=text)


@pytest.mark.parametrize("server", [None, object()])
def test_a_server_without_an_event_bus_is_not_listened_to(server, run):
    """Nothing is heard, nothing is wrong."""
    signals = Signals(names=["documents"])
    signals.start(server)
    signals.stop()

    assert run(signals.ask(APP)) == Finding()


def test_documents_are_use_of_the_app_only():
    """Nobody can tell which kernel a saved file belongs to."""
    assert DocumentSignal().applies(APP)
    assert not DocumentSignal().applies(subject(Kind.KERNEL, pids=(1,)))
    assert not DocumentSignal().applies(subject(Kind.APP))
