"""`jupyter culling simulate`: the history's rules are the culler's, and the sums are right."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import logging
import random
import re
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace

import jupyter_server
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jupyter_events import EventLogger
from rich.console import Console

from culling_manager.cli import main
from culling_manager.cli import outlooks as outlooks_table
from culling_manager.cli import simulate as cli_simulate
from culling_manager.client.servers import Code
from culling_manager.decisions import Reason
from culling_manager.events import CULLING, SETTINGS, culling, emit_app, register
from culling_manager.policy import CullingPolicy
from culling_manager.records import AppRecord, Happening, KernelRecord, Kind
from culling_manager.report import iso
from culling_manager.simulation.gaps import idle_gaps
from culling_manager.simulation.history import from_line, read_history
from culling_manager.simulation.things import Event, EventType
from culling_manager.simulation.users import live, users_in
from culling_manager.simulation.world import JUST_AFTER, simulate

START = datetime(2026, 6, 1, 8, 0, tzinfo=timezone.utc)
JUPYTER = "https://events.jupyter.org/jupyter_server"
KERNEL, TERMINAL, APP = Kind.KERNEL, Kind.TERMINAL, Kind.APP


def at(minutes: float) -> datetime:
    """So many minutes after the start."""
    return START + timedelta(minutes=minutes)


def event(minutes: float, what: str, kind: Kind = KERNEL, identity: str = "k", **more) -> Event:
    """One event."""
    return Event(at=at(minutes), kind=kind, identity=identity, event=EventType(what), **more)


def policy(minutes: float, **more) -> CullingPolicy:
    """A policy with an idle timeout in minutes."""
    return CullingPolicy(idle_timeout=minutes * 60, **more)


def told(outlook) -> list[tuple[str, str, float, float, float | None]]:
    """Each stop: kind, id, when, how much was given back, when it was used again (minutes, rounded)."""
    return [
        (
            *(each.kind.value, each.identity, round((each.at - START).total_seconds() / 60, 3)),
            round(each.given_back / 60, 3),
            None if each.used_again is None else round((each.used_again - START).total_seconds() / 60, 3),
        )
        for each in outlook.stops
    ]


# -- one thing ---------------------------------------------------------------------------------------


def test_a_kernel_is_stopped_just_after_its_deadline_until_it_really_ended():
    """Idle since 10, due at 40, ended at 100: 60 minutes given back."""
    history = [event(0, "started"), event(5, "busy"), event(10, "idle"), event(100, "ended")]

    (stop,) = simulate(history, policy(30)).stops

    assert stop.at - at(40) == timedelta(microseconds=1)
    assert (stop.reason, round(stop.idle_seconds), round(stop.given_back)) == (Reason.IDLE, 1800, 3600)
    assert stop.used_again is None


def test_what_is_used_again_is_regretted_and_starts_anew():
    """Each time that it would have been missed is a stop of its own."""
    history = [event(0, "started"), event(50, "busy"), event(55, "idle"), event(100, "activity"), event(110, "ended")]

    outlook = simulate(history, policy(30))

    assert told(outlook) == [("kernel", "k", 30, 20, 50), ("kernel", "k", 85, 15, 100)]
    assert len(outlook.regretted) == 2


def test_use_at_the_very_deadline_is_in_time():
    """Strictly after it, as in the rules."""
    assert simulate([event(0, "started"), event(30, "activity"), event(60, "ended")], policy(30)).stops == ()


def test_a_busy_kernel_is_kept_however_long_and_a_busy_timeout_ends_that():
    """A kernel that would have been stopped at work is regretted when its work really ended."""
    history = [event(0, "started"), event(0, "busy"), event(600, "idle"), event(601, "ended")]

    assert simulate(history, policy(30)).stops == ()
    (stop,) = simulate(history, policy(30, busy_timeout=7200.0)).stops
    assert (stop.reason, stop.at > at(120), stop.used_again) == (Reason.BUSY_TOO_LONG, True, at(600))


def test_an_open_tab_keeps_only_where_it_is_told_to():
    """With `cull_connected` False until it is closed, and half a minute longer, as for a page that is reloaded."""
    history = [event(0, "started"), event(1, "connected"), event(90, "disconnected"), event(200, "ended")]

    assert told(simulate(history, policy(30))) == [("kernel", "k", 30, 170, None)]
    assert told(simulate(history, policy(30, cull_connected=False))) == [("kernel", "k", 90.5, 109.5, None)]


def test_a_kernelspecs_own_timeout_and_a_grace_are_heeded():
    """The record carries them, the rules know them."""
    own = [event(0, "started", idle_timeout=600.0), event(60, "ended")]
    long = [event(0, "busy"), event(60, "idle"), event(300, "ended")]

    assert told(simulate(own, policy(30))) == [("kernel", "k", 10, 50, None)]
    assert told(simulate(long, policy(30, grace=7200.0, long_run=600.0))) == [("kernel", "k", 180, 120, None)]


def test_a_short_run_does_not_make_a_long_one_forgotten():
    """As on the server: a cell of 3 s after one of an hour; its results are kept for their two hours all the same."""
    history = [event(0, "busy"), event(60, "idle"), event(61, "busy"), event(61.05, "idle"), event(300, "ended")]

    assert told(simulate(history, policy(10, grace=7200.0))) == [("kernel", "k", 180, 120, None)]


def test_one_that_is_started_anew_has_run_nothing():
    """What was stopped and missed is another process afterwards: the grace for its earlier run is over."""
    busy = [event(0, "busy"), event(20, "idle"), event(21, "busy"), event(90, "idle"), event(300, "ended")]

    outlook = simulate(busy, policy(10, grace=7200.0, busy_timeout=1800.0))

    assert told(outlook) == [("kernel", "k", 51, 39, 90), ("kernel", "k", 100, 200, None)]


def test_terminals_have_a_timeout_of_their_own_or_are_kept():
    """As configured."""
    history = [event(0, "started", TERMINAL, "1"), event(100, "ended", TERMINAL, "1")]

    assert told(simulate(history, policy(30, terminal_idle_timeout=3600.0))) == [("terminal", "1", 60, 40, None)]
    assert simulate(history, policy(30, keep_terminals=True)).stops == ()


def test_a_history_may_go_on_after_its_last_event():
    """Until then whatever is there stays there."""
    history = [event(0, "started")]

    assert simulate(history, policy(30)).stops == ()
    assert told(simulate(history, policy(30), at(100))) == [("kernel", "k", 30, 70, None)]


# -- apps --------------------------------------------------------------------------------------------

ON = {"app": "a"}


def test_an_app_goes_with_its_last_kernel():
    """In the same pass, after its kernels; the first one's end does not matter."""
    history = [
        *(event(0, "started", APP, "a"), event(0, "started", **ON), event(20, "started", identity="l", **ON)),
        event(200, "ended", APP, "a"),
    ]

    assert told(simulate(history, policy(30))) == [
        ("kernel", "k", 30, 170, None),
        ("kernel", "l", 50, 150, None),
        ("app", "a", 50, 150, None),
    ]


@pytest.mark.parametrize("app", ["a", None])
def test_whatever_is_kept_keeps_its_app_also_where_nobody_knows_on_which_it_runs(app):
    """Doubt keeps; and it is kept no longer than that."""
    history = [event(0, "started", APP, "a"), event(0, "busy", app=app), event(90, "idle"), event(200, "ended")]

    assert told(simulate(history, policy(30))) == [("kernel", "k", 120, 80, None), ("app", "a", 120, 80, None)]


def test_a_kernel_that_somebody_ends_or_starts_is_use_of_its_app():
    """As it is for the culler; and an app that is gone by then is missed."""
    history = [
        *(event(0, "started", APP, "a"), event(0, "started", **ON), event(20, "ended")),
        *(event(100, "started", identity="l", **ON), event(110, "ended", identity="l"), event(130, "ended", APP, "a")),
    ]

    assert told(simulate(history, policy(30))) == [("app", "a", 50, 50, 100)]


def test_saved_documents_are_use_of_every_app():
    """Whoever writes text without a kernel is there."""
    saved = [Event(at=at(each), kind=APP, identity=None, event=EventType.ACTIVITY) for each in (20, 40)]

    assert told(simulate([event(0, "started", APP, "a"), *saved], policy(30), at(100))) == [("app", "a", 70, 30, None)]


# -- laws --------------------------------------------------------------------------------------------


def days() -> st.SearchStrategy[list[Event]]:
    """Histories of a few kernels and terminals on an app, in no order, with whole minutes."""
    kinds = st.sampled_from([(KERNEL, "k"), (KERNEL, "l"), (TERMINAL, "1"), (APP, "a")])
    what = st.sampled_from([each.value for each in EventType if each is not EventType.UNSEEN])
    one = st.builds(
        lambda minute, thing, what, app: event(minute, what, *thing, app=app),
        *(st.integers(0, 600), kinds, what, st.sampled_from([None, "a"])),
    )
    return st.lists(one, max_size=30)


@given(days(), st.integers(1, 200))
def test_nothing_in_use_is_ever_stopped(history, minutes):
    """Before each stop there is a whole timeout without any use of it; busy kernels and their app are left alone."""
    ordered = sorted(history, key=lambda each: each.at)

    for stop in simulate(history, policy(minutes), at(2000)).stops:
        mine = [each for each in ordered if (each.kind, each.identity) == (stop.kind, stop.identity)]
        before = [each for each in mine if stop.at - timedelta(minutes=minutes) <= each.at < stop.at]
        worked = any(each.event is EventType.WORKING and each.at < stop.at for each in mine)
        no_news = {EventType.CONNECTED, EventType.DISCONNECTED} | (set() if worked else {EventType.RESTING})
        assert {each.event for each in before} <= no_news
        assert stop.given_back >= 0
        assert stop.used_again is None or stop.used_again >= stop.at


@given(days(), st.integers(1, 100), st.integers(1, 100))
def test_a_longer_timeout_never_gives_more_kernel_time_back(history, minutes, more):
    """Nor terminal time."""
    short, long = (simulate(history, policy(each), at(2000)) for each in (minutes, minutes + more))

    for kind in (KERNEL, TERMINAL):
        assert long.given_back(kind) <= short.given_back(kind) + 1e-3


@given(st.lists(st.integers(1, 500), min_size=1, max_size=20), st.integers(1, 200))
def test_one_kernel_is_stopped_once_for_each_gap_that_is_too_long(gaps, minutes):
    """Counted without a simulation."""
    times = [sum(gaps[:each]) for each in range(len(gaps) + 1)]
    history = [event(0, "started"), *(event(each, "activity") for each in times[1:])]

    outlook = simulate(history, policy(minutes))

    too_long = [gap - minutes for gap in gaps if gap > minutes]
    assert [round(each.given_back / 60, 3) for each in outlook.stops] == too_long
    assert len(outlook.regretted) == len(too_long)


def test_order_in_the_file_does_not_matter():
    """Logs of several servers may be put together."""
    history = [event(minute, what) for minute, what in ((0, "started"), (50, "busy"), (60, "idle"), (200, "ended"))]
    expected = told(simulate(history, policy(30)))
    random.Random(1).shuffle(history)

    assert told(simulate(history, policy(30))) == expected


def test_a_month_of_a_hundred_kernels_is_lived_in_steps_and_not_in_seconds():
    """20,000 events; each costs a look at what it is about, not at everything."""
    history = [event(0, "started", APP, "a")]
    for number in range(20_000):
        history.append(event(number * 2, ("busy", "idle", "activity")[number % 3], identity=f"k{number % 100}", **ON))

    outlook = simulate(history, policy(60))

    assert len(outlook.of(KERNEL)) > 100


# -- reading -----------------------------------------------------------------------------------------


def line(**more) -> dict[str, object]:
    """One line of a history."""
    return {"at": "2026-06-01T08:00:00Z", "kind": "kernel", "id": "k", "event": "busy"} | more


def test_a_line_becomes_an_event():
    """Every field."""
    assert from_line(line(name="python3", app="a", idle_timeout=60)) == Event(
        at=START, kind=KERNEL, identity="k", event=EventType.BUSY, name="python3", app="a", idle_timeout=60.0
    )


BAD = {
    "not JSON": ("{", "a JSON object"),
    "a list": ("[]", "a JSON object"),
    "not UTF-8": (b"\xff", "a JSON object"),
    "deep": ("[" * 100_000, "a JSON object"),
    "no time": (line(at=None), "at = None"),
    "no zone": (line(at="2026-06-01T08:00:00"), "a time with its zone"),
    "no such day": (line(at="2026-06-41T08:00:00Z"), "2026-06-41"),
    "kind": (line(kind="pod"), "one of kernel, terminal, app"),
    "event": (line(event=["x"]), "one of started, busy"),
    "id": (line(id=""), "id = ''"),
    "name": (line(name=7), "name = 7"),
    "timeout": (line(idle_timeout=-1), "0 or more"),
    "log without time": ({"__schema__": "x/jupyter_server/kernel_actions/v1"}, "__timestamp__"),
}


@pytest.mark.parametrize(("bad", "words"), BAD.values(), ids=BAD.keys())
def test_a_bad_line_is_named_with_its_value_and_what_is_accepted(tmp_path, capsys, bad, words):
    """File, line, value; exit code 1."""
    path = tmp_path / "history.jsonl"
    raw = bad if isinstance(bad, bytes) else (bad if isinstance(bad, str) else json.dumps(bad)).encode()
    path.write_bytes(json.dumps(line()).encode() + b"\n\n" + raw + b"\n")

    assert main(["simulate", str(path)]) == Code.REFUSED

    text = capsys.readouterr().err
    assert f"{path}, line 3: " in text
    assert words in text


def test_a_missing_file_and_bad_settings_are_said(tmp_path, capsys):
    """Exit codes 1 and 2."""
    path = tmp_path / "history.jsonl"
    path.write_text(json.dumps(line()))

    assert main(["simulate", str(tmp_path / "none")]) == Code.REFUSED
    assert main(["simulate", str(path), "--idle-timeout", "-1"]) == Code.USAGE
    assert main(["simulate", str(path), "--until", "soon"]) == Code.USAGE
    text = capsys.readouterr().err
    assert "none cannot be read: No such file" in text
    assert "--idle-timeout = -1.0 is not accepted" in text


def test_a_real_event_log_can_be_read(tmp_path):
    """As jupyter_events writes it: jupyter_server's own schemas, and ours; what else there is, is counted."""
    schemas = Path(jupyter_server.__path__[0]) / "event_schemas"
    path = tmp_path / "events.log"
    bus = EventLogger(handlers=[logging.FileHandler(path)])
    for name in ("kernel_actions", "contents_service"):
        bus.register_event_schema(schemas / name / "v1.yaml")
    register(SimpleNamespace(event_logger=bus))
    server = "https://events.jupyter.org/jupyter_server/"
    more = {"kind": "kernel", "identity": "k", "detail": "", "name": "python3", "due_at": None}

    def emit(minutes, schema, **data):
        bus.emit(schema_id=schema, data=data, timestamp_override=at(minutes))

    async def record():
        emit(0, f"{server}kernel_actions/v1", action="start", kernel_id="k", kernel_name="python3", msg="started")
        emit(10, f"{server}contents_service/v1", action="save", path="a.ipynb")
        emit(11, f"{server}contents_service/v1", action="get", path="a.ipynb")
        emit(50, CULLING, action="warned", reason="active", idle_seconds=600.0, **more)
        emit(60, CULLING, action="kept", reason="at work", idle_seconds=1200.0, **more)
        emit(120, CULLING, action="culled", reason="idle", idle_seconds=3600.0, **more)
        emit(121, SETTINGS, action="reset", asked_by="alice", idle_time=60.0, keep_terminals=False, saved=False)

    asyncio.run(record())
    history = read_history(str(path))

    assert (history.skipped, history.culled) == (2, 1)
    assert history.unseen
    assert told(simulate(history.events, policy(30))) == [("kernel", "k", 90, 30, None)]


# -- many users --------------------------------------------------------------------------------------


def write(path: Path, *lines: dict, end: str = "\n") -> Path:
    """A file of JSON lines, as a server writes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "\n".join(json.dumps(each) for each in lines) + end
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def used(*minutes: float, kind: str = "terminal", identity: str = "1") -> list[dict]:
    """The same terminal of the same name, used at these minutes."""
    return [line(at=iso(at(each)), kind=kind, id=identity, event="activity") for each in minutes]


def test_terminal_1_of_two_users_is_two_terminals(tmp_path, capsys):
    """And kernels and apps likewise: what one does is no use of what the other has."""
    gone = {"event": "ended", "at": iso(at(600))}
    for kind in ("terminal", "kernel", "app"):
        write(tmp_path / kind / "alice" / "events.jsonl", *used(0, kind=kind), line(kind=kind, id="1") | gone)
        write(tmp_path / kind / "bob" / "events.jsonl", *used(*range(0, 601, 20), kind=kind))

        assert main(["simulate", str(tmp_path / kind), "--idle-timeout", "30", "--json"]) == Code.OK

        found = json.loads(capsys.readouterr().out)
        (policy,) = found["policies"]
        assert found["users"] == 2
        assert [(each["user"], each["id"], each["kind"]) for each in policy["stops"]] == [("alice", "1", kind)]
        assert policy["given_back"][kind] == pytest.approx(570 * 60)


def test_files_into_which_a_log_was_rotated_are_one_history(tmp_path):
    """Also when they are compressed, and in whatever order; a file that is no log is none in a directory."""
    write(tmp_path / "alice" / "events.jsonl", *used(60))
    write(tmp_path / "alice" / "events.jsonl.1", *used(30))
    write(tmp_path / "alice" / "events.jsonl.2026-06-01.gz", *used(0))
    write(tmp_path / "bob" / "events.jsonl", *used(0, 60))
    (tmp_path / "alice" / "notes.txt").write_text("no history")

    lived = live(users_in([str(tmp_path)]), [policy(40)])

    assert lived.users == ("alice", "bob")
    assert [(each.owner, each.identity) for each in lived.outlooks[0].stops] == [("bob", "1")]
    assert lived.events == 5


def test_users_are_called_by_what_tells_them_apart(tmp_path):
    """Files of their own by name, the same file in folders by the folders; what is named twice counts once."""
    files = [write(tmp_path / name, *used(0)) for name in ("alice.jsonl", "bob.jsonl", "space/bob.log")]
    (alone,) = users_in([str(files[0])])

    named = users_in([*map(str, files[:2]), str(tmp_path), str(files[0])])

    assert alone.name == str(files[0])
    assert [each.name for each in named] == ["alice.jsonl", "bob.jsonl", "space/bob.log"]
    assert [len(each.paths) for each in named] == [1, 1, 1]


def test_the_answer_for_all_adds_up_and_the_curve_is_over_all(tmp_path, capsys, monkeypatch):
    """Each figure of all is the sum of those of each; the advice has everybody's returns in it."""
    monkeypatch.setenv("COLUMNS", "120")
    gaps = {"alice": (10, 40, 900), "bob": (100, 20), "carol": (180, 90)}
    files = [write(tmp_path / f"{name}.jsonl", *with_gaps(*each)) for name, each in gaps.items()]

    def asked(*paths: Path) -> dict:
        main(["simulate", *map(str, paths), "--json"])
        return json.loads(capsys.readouterr().out)

    each, all_of_them = [asked(path) for path in files], asked(tmp_path)
    main(["simulate", str(tmp_path)])
    told = capsys.readouterr().out

    assert [row["stopped"] for row in all_of_them["policies"]] == [
        sum(one["policies"][index]["stopped"] for one in each) for index in range(4)
    ]
    for index, row in enumerate(all_of_them["curve"]["unknown"]):
        rows = [one["curve"]["unknown"][index] for one in each]
        for name in ("given_back_hours", "idle_hours", "stops", "returns", "false_stops"):
            assert row[name] == pytest.approx(sum(one[name] for one in rows), abs=0.001)
    assert "of 3 users" in told
    assert "most stopped of whom" in told
    assert re.search(r"^alice.jsonl +2 stops +1 stop +1 stop +1 stop", told, re.MULTILINE)
    assert all_of_them["advice"]["unknown"] in told


@pytest.mark.parametrize(
    ("users", "names"),
    [
        (["d-1/alice/JupyterLab/default", "d-1/bob/JupyterLab/default"], ["alice", "bob"]),
        (["d-1/alice/JupyterLab/default", "d-1/alice/CodeEditor/default"], ["JupyterLab", "CodeEditor"]),
        (["a.jsonl", "b.jsonl"], ["a.jsonl", "b.jsonl"]),
        (["x/a/b", "x/b"], ["a/b", "b"]),
    ],
)
def test_in_a_table_users_stand_without_what_all_have_in_common(users, names):
    """A domain and an app type tell nobody apart; something of each name is left."""
    assert list(outlooks_table.apart(users).values()) == names


def test_of_a_great_many_users_those_with_most_stops_are_told(tmp_path, capsys, monkeypatch):
    """And how many more there are; the sums are over all of them."""
    monkeypatch.setenv("COLUMNS", "120")
    for number in range(25):
        write(tmp_path / f"{number:02}" / "events.jsonl", *used(*range(0, 60 * (number + 1), 59)))

    main(["simulate", str(tmp_path), "--idle-timeout", "30"])
    told = capsys.readouterr().out
    main(["simulate", str(tmp_path), "--idle-timeout", "30", "--totals"])
    sums = capsys.readouterr().out

    assert re.search(r"^24 +\d+ stops", told, re.MULTILINE)
    assert "And 5 more users, with as many stops or fewer: --json has all." in told
    assert "terminals" in sums
    assert not re.search(r"^24 ", sums, re.MULTILINE)


def test_a_log_that_ends_in_the_middle_of_a_line_is_read_up_to_there_and_it_is_said(tmp_path, capsys):
    """A server that was killed leaves such; anywhere else it is a fault with its place, in whosever file it is."""
    start = {"__schema__": f"{JUPYTER}/kernel_actions/v1", "__timestamp__": iso(at(0)), "action": "start"}
    good = write(tmp_path / "alice.jsonl", start | {"kernel_id": "k"}, end='\n{"__schema__": "https://ev')
    write(tmp_path / "bob.jsonl", *used(0))

    assert main(["simulate", str(tmp_path)]) == Code.OK
    told = capsys.readouterr().out
    good.write_bytes(good.read_bytes() + b"\n")
    assert main(["simulate", str(tmp_path)]) == Code.REFUSED

    assert "The last line of 1 file is cut short and left out." in told
    assert f"{good}, line 2: " in capsys.readouterr().err


def test_of_events_out_of_cloudwatch_each_stream_is_a_user(tmp_path, capsys):
    """Also where they are in several files; the server's other lines tell nothing."""
    ours = {"kind": "terminal", "identity": "1", "action": "dry run", "reason": "idle", "idle_seconds": 7200.0}
    message = log_line(500, CULLING, **ours)
    streams = [f"d-1/{name}/JupyterLab/default" for name in ("alice", "bob")]
    found = [{"logStreamName": each, "timestamp": 1, "message": message} for each in streams]
    write(tmp_path / "monday.jsonl", *found, found[0] | {"message": "[I 2026 ServerApp] Kernel started: {"})
    later = found[0] | {"message": log_line(700, CULLING, **ours)}
    write(tmp_path / "tuesday.jsonl", later)

    main(["simulate", str(tmp_path), "--idle-timeout", "60", "--json"])

    told = json.loads(capsys.readouterr().out)
    assert (told["users"], told["skipped"]) == (2, 1)
    stops = [(each["user"], each["id"]) for each in told["policies"][0]["stops"]]
    assert stops == [(streams[0], "1"), (streams[0], "1"), (streams[1], "1")]


def test_a_directory_without_a_history_is_said(tmp_path, capsys):
    """And what such files are called; a damaged archive is named."""
    (tmp_path / "notes.txt").write_text("")
    broken = tmp_path / "logs" / "events.jsonl.gz"

    assert main(["simulate", str(tmp_path)]) == Code.REFUSED
    broken.parent.mkdir()
    broken.write_bytes(gzip.compress(b"{}")[:-9])
    assert main(["simulate", str(broken.parent)]) == Code.REFUSED

    told = capsys.readouterr().err
    assert "has no history: no file below it is called *.jsonl or *.log" in told
    assert f"{broken} cannot be read: " in told


# -- telling -----------------------------------------------------------------------------------------


@pytest.fixture
def recorded(tmp_path):
    """A morning with one kernel that came back after 45 minutes."""
    path = tmp_path / "history.jsonl"
    lines = [("08:00", "started"), ("08:10", "busy"), ("08:15", "idle"), ("09:00", "busy"), ("09:05", "idle")]
    found = [line(at=f"2026-06-01T{clock}:00Z", event=what, id="1a2b3c4d-5e6f") for clock, what in lines]
    path.write_text("".join(json.dumps(each) + "\n" for each in found))
    return path


def log_line(minutes: float, schema: str, **more) -> str:
    return json.dumps({"__schema__": schema, "__timestamp__": at(minutes).isoformat(), **more})


def test_where_an_event_log_tells_nothing_no_stop_is_claimed(tmp_path, capsys):
    """A kernel that was used all the time leaves no line until it is first warned of: that was use, for all we know."""
    ours = {"kind": "kernel", "identity": "k", "action": "dry run", "reason": "idle"}
    path = tmp_path / "events.jsonl"
    path.write_text(
        "\n".join(
            [
                log_line(0, f"{JUPYTER}/kernel_actions/v1", action="start", kernel_id="k"),
                log_line(500, CULLING, **ours, idle_seconds=120 * 60.0),
                log_line(700, CULLING, **ours, idle_seconds=10 * 60.0),
            ]
        )
    )

    main(["simulate", str(path), "--idle-timeout", "60", "--json"])
    (found,) = json.loads(capsys.readouterr().out)["policies"]
    main(["simulate", str(path)])

    assert [stop["at"] for stop in found["stops"]] == [iso(at(440) + JUST_AFTER)]
    assert "does not tell of each use" in " ".join(capsys.readouterr().out.split())


def test_timeouts_stand_side_by_side(recorded, capsys, monkeypatch):
    """What, when, how long idle, when it was missed, and the sums."""
    monkeypatch.setenv("COLUMNS", "120")

    words = ["--idle-timeout", "30", "--idle-timeout", "60", "--until", "2026-06-01T12:00:00Z"]
    assert main(["simulate", str(recorded), *words]) == 0

    text = capsys.readouterr().out
    rows = {part[:22].strip(): part[22:] for part in text.splitlines()}
    assert "idle 30 min" in rows["stopped at, idle for"]
    assert "used 15 min later" in text
    assert re.search(r"stopped 2 times +stopped once", rows["kernels"])
    assert re.search(r"2 h 40 min given back +1 h 55 min given back", text)
    assert "1 (50 %)" in rows["of all, used again"]


def test_as_json_everything_has_its_number(recorded, capsys):
    """Seconds, and ISO 8601."""
    assert main(["simulate", str(recorded), "--idle-timeout", "30", "--json"]) == 0

    found = json.loads(capsys.readouterr().out)
    (one,) = found["policies"]
    (stop,) = one["stops"]
    assert (found["events"], one["idle_timeout"], one["stopped"], one["regretted"]) == (5, 1800.0, 1, 1)
    assert (stop["id"], stop["used_again"]) == ("1a2b3c4d-5e6f", "2026-06-01T09:00:00.000000Z")
    assert round(one["given_back"]["kernel"]) == 900


def test_without_rich_and_for_an_empty_history_there_are_words(recorded, capsys, monkeypatch):
    """No traceback, no colours."""
    monkeypatch.setitem(__import__("sys").modules, "rich.console", None)

    main(["simulate", str(recorded), "--totals"])
    recorded.write_text("\n")
    main(["simulate", str(recorded)])

    text = capsys.readouterr().out
    assert re.search(r"^kernels +stopped once, .* given back$", text, re.MULTILINE)
    assert "1a2b3c4d" not in text
    assert "Nothing in this history" in text


@pytest.mark.parametrize(("width", "tables"), [(80, 2), (120, 1), (40, 4)])
def test_policies_that_find_no_room_get_a_table_below(recorded, width, tables):
    """Never a line that is wider than the terminal."""
    console = Console(width=width, record=True, highlight=False, file=io.StringIO())
    history = read_history(str(recorded))
    outlooks = [simulate(history.events, policy(each), at(600)) for each in cli_simulate.USUAL]

    outlooks_table.print_outlooks(outlooks, outlooks_table.things(outlooks), console)

    text = console.export_text()
    assert text.count("of all, used again") == tables
    assert max(map(len, text.splitlines())) <= width


# -- the curve ---------------------------------------------------------------------------------------

KNOWN = {
    30: (28.8333, 3.5, 6, 5, 1, 14.94),
    60: (26.1667, 6.1667, 5, 4, 1, 16.70),
    120: (22.0, 10.3333, 3, 2, 0, 18.57),
    240: (17.0, 15.3333, 2, 1, 0, 23.62),
}


def with_gaps(*minutes: float, kind: Kind = APP) -> list[dict]:
    """A history of something that is used again after each of these."""
    found, now = [{"at": iso(at(0)), "kind": kind.value, "id": "a", "event": "started"}], 0.0
    for each in minutes:
        now += each
        found.append({"at": iso(at(now)), "kind": kind.value, "id": "a", "event": "activity"})
    return found


@pytest.mark.parametrize("kind", [APP, KERNEL], ids=["an app", "a history without apps"])
def test_the_curve_has_the_known_answers(tmp_path, capsys, kind):
    """Given back, idle, stops, returns, false stops and cost, for gaps that ended and one that did not."""
    path, prices = tmp_path / "history.jsonl", tmp_path / "prices.json"
    gaps = (10, 20, 40, 90, 100, 180, 900)
    path.write_text("".join(json.dumps(each) + "\n" for each in with_gaps(*gaps, kind=kind)))
    prices.write_text(json.dumps({"currency": "USD", "rates": {"Studio:JupyterLab": {"ml.g5.xlarge": 1.41}}}))
    options = ["--until", iso(at(sum(gaps) + 600)), "--prices", str(prices), "--instance-type", "ml.g5.xlarge"]

    assert main(["simulate", str(path), "--json", "--restart-cost", "2", *options]) == Code.OK

    found = json.loads(capsys.readouterr().out)
    rows = {row["timeout_minutes"]: list(row.values())[1:] for row in found["curve"]["ml.g5.xlarge"]}
    for minutes, (*figures, cost) in KNOWN.items():
        assert rows[minutes][:5] == figures
        assert rows[minutes][5] == pytest.approx(cost, abs=0.0051)
    assert found["timeouts"] == {"ml.g5.xlarge": 85.1064}


def test_the_answer_is_one_sentence(tmp_path, capsys):
    """Which timeout, for which instance type, and why; without prices no currency stands anywhere."""
    path = tmp_path / "history.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in with_gaps(10, 35, 400)))

    assert main(["simulate", str(path), "--totals", "--soon", "10"]) == Code.OK

    out = capsys.readouterr().out
    assert "unknown: 1 h is the shortest of those compared after which nobody came back within 10 min" in out
    assert "$" not in out


@pytest.mark.parametrize(
    ("gaps", "more", "words"),
    [
        ([], 0, "Nothing was idle in this history, so no timeout would have given anything back."),
        ([5, 5, 9], 0, "unknown: 30 min is as good as any that is longer, for nothing was idle for longer than that"),
        ([], 6000, "unknown: 30 min is the shortest of those compared after which nobody came back within 30 min"),
        ([45], 0, "unknown: 1 h is the shortest of those compared after which nobody came back within 30 min"),
        (
            [40, 41, 70, 71, 130, 131, 132, 250, 251],
            0,
            "unknown: 30 min is the shortest of those compared after which the fewest (2) came back within 30 min",
        ),
    ],
    ids=["no idle time", "short gaps", "everything idle", "one user", "false stops at every timeout"],
)
def test_the_answer_is_right_for_odd_histories(tmp_path, capsys, gaps, more, words):
    """It says what the rows say, also where there is little to say."""
    path = tmp_path / "history.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in with_gaps(*gaps)))

    assert main(["simulate", str(path), "--totals", "--until", iso(at(sum(gaps) + more))]) == Code.OK

    assert words in capsys.readouterr().out


def test_a_return_after_days_is_not_soon(tmp_path, capsys):
    """Who is back after three days has lost nothing by the stop."""
    path = tmp_path / "history.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in with_gaps(3 * 24 * 60)))

    main(["simulate", str(path), "--json"])

    rows = json.loads(capsys.readouterr().out)["curve"]["unknown"]
    assert {(row["returns"], row["false_stops"]) for row in rows} == {(1, 0)}


def test_a_run_is_use_to_its_end_and_an_end_is_no_return(tmp_path):
    """A gap begins when the last kernel is idle; nobody comes back to an app that somebody has ended."""
    found = idle_gaps(
        [
            event(0, "started", APP, "a"),
            event(10, "busy", app="a"),
            event(70, "idle", app="a"),
            event(71, "connected", app="a"),
            event(100, "activity", app="a"),
            event(130, "ended", APP, "a"),
        ]
    )

    assert [(each.seconds / 60, each.ended) for each in found] == [(10, True), (30, True), (30, False)]


@pytest.mark.parametrize(("option", "value"), [("--soon", "-1"), ("--restart-cost", "inf")])
def test_what_the_curve_cannot_mean_is_refused(tmp_path, capsys, option, value):
    """With the option and what is accepted."""
    path = tmp_path / "history.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in with_gaps(10)))

    assert main(["simulate", str(path), f"{option}={value}"]) == Code.USAGE

    assert option in capsys.readouterr().err


# -- by instance type --------------------------------------------------------------------------------

BIG, SMALL = "ml.p3.2xlarge", "ml.t3.medium"


def two_apps() -> list[dict]:
    """Two apps of Studio Classic, a kernel on each, idle from the same minute on; the dear one is used again."""
    found = []
    for app, kind in (("big", BIG), ("small", SMALL)):
        found.append({"at": iso(at(0)), "kind": "app", "id": app, "event": "started", "instance_type": kind})
        found.append({"at": iso(at(0)), "kind": "kernel", "id": f"k-{app}", "event": "started", "app": app})
    found.append({"at": iso(at(100)), "kind": "kernel", "id": "k-big", "event": "activity"})
    return found


def test_a_history_that_tells_instance_types_has_a_timeout_and_a_price_for_each(tmp_path, capsys):
    """Apps and what runs on them go by the table; each type has its own curve, price and answer."""
    path, prices = tmp_path / "history.jsonl", tmp_path / "prices.json"
    path.write_text("".join(json.dumps(each) + "\n" for each in two_apps()))
    rates = {"Studio:KernelGateway": {BIG: 4.0, SMALL: 0.05}}
    prices.write_text(json.dumps({"currency": "USD", "rates": rates}))
    words = ["--idle-timeout", "120", "--idle-timeouts", "ml.p*=15", "--until", iso(at(300))]
    words += ["--prices", str(prices), "--app-type", "KernelGateway", "--restart-cost", "1"]

    assert main(["simulate", str(path), "--json", *words]) == Code.OK

    found = json.loads(capsys.readouterr().out)
    stops = {stop["id"]: stop["at"][11:16] for stop in reversed(found["policies"][0]["stops"])}
    assert stops == {"k-big": "08:15", "big": "08:15", "k-small": "10:00", "small": "10:00"}
    assert {kind: rows[0]["idle_hours"] for kind, rows in found["curve"].items()} == {BIG: 3.6667, SMALL: 2.0}
    assert found["timeouts"] == {BIG: 15.0, SMALL: 1200.0}
    assert {kind: rows[0]["cost"] for kind, rows in found["curve"].items()} == {BIG: 14.6667, SMALL: 0.1}


def test_our_events_tell_the_instance_type_and_old_ones_need_not(tmp_path):
    """Written by the event bus under our schemas, and read back; a line without it is as good as before."""
    bus = EventLogger(handlers=[logging.FileHandler(tmp_path / "events.log")])
    server = SimpleNamespace(event_logger=bus, log=logging.getLogger())
    register(server)
    app = AppRecord(
        identity="a", name="a", state="InService", app_type="KernelGateway", created_at=at(0), watched_since=at(0)
    )

    async def record():
        for kind in (BIG, None):
            emit_app(server, "deleting", app._replace(instance_type=kind), at(60))
            kernel = KernelRecord(identity="k", state="idle", last_activity=at(0), instance_type=kind)
            happened = Happening(kind=KERNEL, record=kernel, action="warned", reason="active", at=at(60))
            bus.emit(schema_id=CULLING, data=culling(happened))

    asyncio.run(record())

    lines = [json.loads(each) for each in (tmp_path / "events.log").read_text().splitlines()]
    assert [each.get("instance_type") for each in lines] == [BIG, BIG, None, None]
    history = read_history(str(tmp_path / "events.log"))
    assert {each.instance_type for each in history.events} == {BIG, None}
