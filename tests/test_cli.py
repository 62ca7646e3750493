"""`jupyter culling` against a server that speaks the contract: what it asks for, what it tells, how it fails."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import re
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jupyter_server.serverapp import list_running_servers
from rich.console import Console

from culling_manager import fleet
from culling_manager.cli import main, shared
from culling_manager.cli import status as cli_status
from culling_manager.cli.keeping import found_among
from culling_manager.cli.screen import screen
from culling_manager.cli.table import drawn
from culling_manager.client.servers import Code, Failure, parse_url, running_servers
from culling_manager.client.words import asked_duration, clock, kept, until_iso
from culling_manager.errors import SettingError
from tests.cli_double import ARN, BUSY, IDLE, NOW, SPACE, document, entry, running
from tests.conftest import patience

NOON = datetime(2026, 6, 1, 12, 30, tzinfo=timezone.utc)
SECRET = "s3cret-t0ken"


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """A runtime directory of the test's own, a fixed time and a fixed zone, two hours ahead of UTC."""
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("JUPYTER_TOKEN", raising=False)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(shared, "now", lambda: NOON)
    monkeypatch.setenv("TZ", "Europe/Madrid")
    time.tzset()
    yield tmp_path
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def double(place):
    """One server that runs here."""
    with running() as found:
        found.write_runtime_file(place)
        yield found


def said(capsys) -> str:
    """What was printed, on stdout or stderr."""
    captured = capsys.readouterr()
    return captured.out + captured.err


# -- status ------------------------------------------------------------------------------------------


def test_status_shows_what_when_and_why(double, capsys):
    """Each kernel, terminal and app has its line; ids are short, times are words, the most urgent is first."""
    assert main(["status"]) == 0

    text = said(capsys)
    assert double.url in text
    assert "culler running · idle timeout 1 h · next wake-up in 8 s" in text
    idle, busy = text.index("deadc0de python3"), text.index("deadbeef python3")
    assert idle < busy
    assert "in 50 min" in text[idle:busy]
    assert "last used 14:20" in text[idle:busy]
    assert "never: busy" in text[busy:]
    assert "ml.t3.medium" in text
    assert BUSY not in text


def test_status_as_json_is_the_servers_own_document(double, capsys):
    """Programs get everything, with the URL and the code of each server, and no token."""
    double.token = SECRET
    double.write_runtime_file(Path(os.environ["JUPYTER_RUNTIME_DIR"]))

    assert main(["status", "--json"]) == 0

    text = said(capsys)
    (found,) = json.loads(text)["servers"]
    assert found == {"url": double.url, "code": 0, "error": None, "status": double.status}
    assert SECRET not in text


def test_status_asks_without_counting_as_activity(double):
    """Being looked at keeps nothing alive."""
    main(["status"])

    assert double.asked == [("GET", f"{SPACE}/status?no_track_activity=1", None)]


def test_status_shows_every_server_and_ends_with_the_worst_code(double, place, capsys):
    """One that lacks the extension is said so, and the others are shown all the same."""
    missing = {("GET", "status"): (404, "<html>", {})}
    with running(instead=missing, base_url="/") as bare:
        bare.write_runtime_file(place)
        code = main(["status"])

    text = said(capsys)
    assert code == Code.EXTENSION_MISSING
    assert "deadc0de" in text
    assert "extension culling_manager is missing" in text


def test_watching_looks_again_until_ctrl_c(double, monkeypatch, capsys):
    """Two looks, then Ctrl-C, which is how it is meant to end."""
    looks = []

    def pause(seconds):
        looks.append(seconds)
        if len(looks) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(cli_status, "pause", pause)

    assert main(["status", "--watch", "5"]) == 0
    assert looks == [5.0, 5.0]
    assert said(capsys).count("culler running") == 2


def seen(output: str, height: int) -> list[str]:
    """What a terminal shows after this output: a line for each of its rows."""
    rows, row, column = [""] * height, 0, 0
    for text, argument, command, char in re.findall(r"([^\x1b\r\n]+)|\x1b\[([?0-9;]*)([a-zA-Z])|([\r\n])", output):
        if text:
            rows[row] = rows[row][:column].ljust(column) + text + rows[row][column + len(text) :]
            column += len(text)
        elif char == "\r":
            column = 0
        elif char == "\n":  # which a terminal's driver makes a return of, too
            row, column = row + 1, 0
            if row == height:
                rows, row = [*rows[1:], ""], height - 1
        elif command == "A":
            row = max(0, row - int(argument or 1))
        elif command == "H":
            row, column = 0, 0
        elif command == "K":
            rows[row] = "" if argument == "2" else rows[row][:column]
        elif command == "J":
            rows[row:] = [rows[row][:column], *[""] * (height - row - 1)]
    return rows


@pytest.mark.parametrize("rich", [True, False])
@pytest.mark.parametrize("many", [1, 60])
def test_watching_draws_in_the_place_of_what_was_there(double, place, rich, many):
    """On a real terminal, with rich and without it, also where there is more to show than the terminal has lines."""
    double.status["kernels"] *= many
    double.status["notices"] = ["A long story, " * 20]
    hide = "" if rich else "sys.modules['rich.console'] = None; "
    # whoever runs the tests in the background may have Ctrl-C ignored
    heed = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    code = f"{heed}{hide}from culling_manager.cli import main; sys.exit(main(['status', '--watch', '0.05']))"
    us, them = pty.openpty()
    fcntl.ioctl(us, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    env = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    env["TERM"] = "xterm"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=them, stdout=them, stderr=them, env=env)
    os.close(them)
    output, counts = b"", []
    while output.count(b"culler running") < 5:
        output += os.read(us, 65_536)
        shown = seen(output.decode(errors="ignore"), 24)
        counts.append(sum("culler running" in row for row in shown))
    process.send_signal(signal.SIGINT)
    with suppress(OSError):  # what Linux says at the end of a terminal
        while os.read(us, 65_536):
            pass
    os.close(us)

    assert process.wait() == 0
    assert max(counts) == 1, counts


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_who_reads_along_reads_each_look_at_once(double, more):
    """As in `| tee log`, without rich: nothing waits in a buffer until the next look, which here is an hour ahead."""
    hide = "import sys; sys.modules['rich.console'] = None; "
    code = f"{hide}from culling_manager.cli import main; sys.exit(main(['status', '--watch', '3600', *{more}]))"
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=env) as process:
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
        finally:  # also when that came to nothing within the limit of tests
            process.kill()

    assert double.url in line


def test_in_a_file_one_sees_where_the_next_look_begins(double, monkeypatch, capsys):
    """An empty line stands between two looks, and neither before the first nor after the last."""
    monkeypatch.setattr(cli_status, "WATCH_SECONDS", 0.5)
    main(["status", "--watch", "0.1"])

    looks = capsys.readouterr().out.split(f"{double.url}\n")

    assert looks[0] == ""
    assert len(looks) > 2
    assert [each.endswith("\n\n") for each in looks[1:]] == [True] * (len(looks) - 2) + [False]


def test_watching_ends_by_itself_so_that_it_keeps_no_terminal_for_ever(double, monkeypatch, capsys):
    """What it prints is output of the terminal that it runs in."""
    monkeypatch.setattr(cli_status, "WATCH_SECONDS", 0.5)

    assert main(["status", "--watch", "0.1"]) == 0
    assert "ended after an hour" in said(capsys)


def test_ctrl_c_in_the_first_look_ends_watching(double, monkeypatch):
    """Without a traceback."""

    def look(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli_status, "look", look)

    assert main(["status", "--watch"]) == 0


def test_while_watching_what_is_urgent_is_not_cut_off(double):
    """A screen that is not high enough shows it above the table."""
    many = [entry(f"k{number}") for number in range(60)]
    trouble = {"subject": "apps", "message": "disk full", "first_at": NOW, "last_at": NOW, "times": 1, "active": True}
    shown = screen("http://s/", document(kernels=many, errors=[trouble]), "")
    console = Console(width=80, file=io.StringIO(), record=True)

    console.print(drawn([shown], 80, foot_first=True))

    text = console.export_text()
    assert text.index("error: disk full") < text.index("idle for")


def test_without_rich_the_same_is_told_in_plain_lines(double, monkeypatch, capsys):
    """Rich is an extra."""
    monkeypatch.setitem(__import__("sys").modules, "rich.console", None)

    assert main(["status"]) == 0

    text = said(capsys)
    assert "2 kernels" in text
    assert "never: busy" in text
    assert "\x1b" not in text


@pytest.mark.parametrize(("idle", "more"), [(7260.0, ", 2 h 1 min without use"), (None, "")])
def test_what_became_of_the_server_before_is_told(double, capsys, idle, more):
    """Who comes back to an empty server reads in a terminal, too, when it went and why."""
    double.status["previous_stop"] = {"at": "2026-06-01T01:05:00Z", "reason": "idle", "idle_seconds": idle}

    assert main(["status"]) == 0
    assert f"03:05  the server before this one was stopped: idle{more}\n" in said(capsys)


@pytest.mark.parametrize("width", [80, 120])
def test_without_rich_a_long_name_keeps_its_row_in_the_terminal(double, monkeypatch, capsys, width):
    """In its middle it is cut, as with rich, and all columns stand where they stood; a program reads it whole."""
    monkeypatch.setitem(sys.modules, "rich.console", None)
    double.status["kernels"][0] |= {"path": f"{'a' * 40}/{'b' * 40}.ipynb", "name": "python3"}
    main(["status"])
    piped = said(capsys)
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)

    assert main(["status"]) == 0

    lines = said(capsys).splitlines()
    titles = next(line for line in lines if line.startswith("what "))
    place = next(at for at, line in enumerate(lines) if line.startswith("aaaa"))
    assert max(map(len, lines)) <= width
    assert "…" in lines[place]
    assert lines[place + 1].startswith("python3")
    assert len(re.match(r"\S+ +(?=\S)", lines[place])[0]) == titles.index("state")
    assert f"{'a' * 40}/{'b' * 40}.ipynb" in piped


def test_on_a_terminal_no_line_of_a_refusal_ends_within_a_word(double, monkeypatch, capsys):
    """In a file it is one line, for whoever searches it."""
    main(["keep-alive", "1h", "--kernel", "nonsense"])
    whole = said(capsys)
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)

    main(["keep-alive", "1h", "--kernel", "nonsense"])

    lines = said(capsys).splitlines()
    assert whole.count("\n") == 1
    assert len(lines) > 1
    assert max(map(len, lines)) <= 40
    assert " ".join(lines) == whole.strip()


@pytest.mark.parametrize("broken", [{"now": "soon"}, {"kernels": [{}]}, {"policy": []}, {"errors": "x"}])
def test_a_document_of_another_shape_is_no_traceback(double, capsys, broken):
    """A newer or broken server is told as such."""
    double.status = document(**broken)

    main(["status"])

    assert "is not the one that this command knows" in said(capsys)


def test_what_stops_soon_comes_with_the_command_that_keeps_it(double, place, capsys):
    """The next one to stop, quoted for a shell, and on which server when several run."""
    soon = {"warned": True, "due_at": "2026-06-01T12:33:00.000000Z"}
    later = {"warned": True, "due_at": "2026-06-01T12:34:00.000000Z"}
    double.status["kernels"][1] |= later
    double.status["terminals"][0] |= soon | {"name": "my shell"}

    main(["status"])
    alone = said(capsys)
    with running(base_url="/") as other:
        other.write_runtime_file(place)
        main(["status"])

    assert "stops soon: terminal my shell in 3 min, kernel deadc0de in 4 min" in alone
    assert "jupyter culling keep-alive 1h --terminal 'my shell'\n" in alone
    assert f"--terminal 'my shell' --server {double.port}" in said(capsys)


def test_errors_notices_and_what_was_stopped_stand_below(double, capsys):
    """In that order; nothing from outside commands the terminal."""
    trouble = {"subject": "apps", "last_at": "2026-06-01T12:29:00Z", "times": 3, "active": True}
    double.status |= {
        "errors": [trouble | {"message": "it may\x1b[2J not"}, trouble | {"message": "was", "active": False}],
        "notices": ["Terminals are not culled"],
        "recent": [
            {"kind": "kernel", "identity": BUSY, "result": "culled", "reason": "idle", "idle_seconds": 7200.0}
            | {"at": "2026-06-01T11:00:00Z", "message": ""}
        ],
    }

    main(["status"])

    text = said(capsys)
    assert "error: it may [2J not (3 times, last 14:29)" in text
    assert "13:00  kernel deadbeef culled: idle, 2 h without use" in text
    places = [text.index(each) for each in ("error: ", "notice: Terminals", "over: was", "13:00  kernel")]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"policy": None, "running": False}, "culling_manager culls nothing here"),
        ({"running": False, "next_wake_up": None}, "culler NOT running"),
        ({"policy": {"idle_timeout": 0.0}}, "culling is off"),
        ({"policy": {"idle_timeout": 60.0, "dry_run": True}}, "nothing is really stopped"),
        ({"policy": {"idle_timeout": 60.0, "keep_terminals": True}}, "terminals are kept"),
        ({"policy": {"idle_timeout": 60.0, "terminal_idle_timeout": 120.0}}, "terminals 2 min"),
        ({"kernels": [], "terminals": [], "apps": []}, "no kernels, no terminals, no apps"),
        ({"apps": [entry(ARN, decision="cull", due_at=NOW)]}, " now "),
        ({"terminals": [entry("1", reason="goes with its app", due_at=None)]}, "with its app"),
        ({"kernels": [entry(IDLE, used_by="python train.py uses CPU", reason="at work")]}, "python train.py"),
        ({"kernels": [entry(IDLE, reason="kept alive", kept_until="2026-06-01T16:30:00Z")]}, "until 18:30"),
        ({"kernels": [entry(IDLE, reason="kept alive", kept_until=NOW, leased=True, due_at=None)]}, "kept by a lease"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_each_state_has_its_words(double, capsys, change, words):
    """No empty cell where there is something to say."""
    double.status |= change

    assert main(["status"]) == 0
    assert words in said(capsys)


@pytest.mark.parametrize("width", [80, 120])
def test_no_line_is_wider_than_the_terminal(double, capsys, monkeypatch, width):
    """And ids, times and states are never cut."""
    monkeypatch.setenv("COLUMNS", str(width))
    double.status["apps"][0]["name"] = "datascience-1-0-ml-g4dn-xlarge-0123456789abcdef"
    double.status["kernels"][1] |= {"name": "conda-env-with-a-very-long-name-py", "idle_seconds": 100_000.0}

    main(["status"])

    text = said(capsys)
    assert max(map(len, text.splitlines())) <= width
    assert all(each in text for each in ("deadc0de", "1 d 3 h", "in 50 min", "never: in use", "InService"))


# -- which server ------------------------------------------------------------------------------------


def test_servers_are_found_as_jupyter_server_list_finds_them(double, place):
    """The same files give the same servers; those of the dead are left out."""
    with running(base_url="/") as other:
        other.write_runtime_file(place)
        double.write_runtime_file(place, pid=2**22 + 1).rename(place / "jpserver-dead.json")
        (place / "jpserver-9.json").write_text("{")
        double.write_runtime_file(place)

        ours = {each.url for each in running_servers(place)}

    assert ours == {each["url"] for each in list_running_servers(str(place))}
    assert len(ours) == 2


def test_a_file_that_a_server_left_behind_is_no_second_server(double, place, capsys):
    """Its process number is another one's by now, and the newest file of an address is the server that runs there."""
    left = double.write_runtime_file(place, token="old").rename(place / "jpserver-7.json")
    os.utime(left, (1, 1))
    double.write_runtime_file(place)

    code = main(["keep-alive", "4h"])

    assert (code, len(double.changes)) == (0, 1)


def test_no_server_is_said_and_where_it_was_looked_for(place, capsys):
    """Exit code 3."""
    assert main(["status"]) == Code.NO_SERVER
    assert str(place) in said(capsys)


@pytest.mark.parametrize("words", [["keep-alive", "4h"], ["resume"], ["set", "--idle-timeout", "60"]])
def test_a_change_needs_a_choice_when_several_run(double, place, capsys, words):
    """Nothing is changed; the choice is listed, and taken by port or by URL."""
    with running(base_url="/", keep_alive=[{"kind": "all", "id": None, "until": "2026-06-01T16:30:00Z"}]) as other:
        other.write_runtime_file(place)
        refused = main(words)
        listed = said(capsys)
        by_port = main([*words, "--server", str(other.port)])
        double.keep_alive.append({"kind": "all", "id": None, "until": "2026-06-01T16:30:00Z"})
        by_url = main([*words, "--server", double.url.rstrip("/")])

        assert (refused, by_port, by_url) == (Code.USAGE, 0, 0)
        assert double.url in listed
        assert other.url in listed
        assert (len(double.changes), len(other.changes)) == (1, 1)


def test_an_unknown_choice_lists_what_there_is(double, capsys):
    """Exit code 3, and the one that runs."""
    assert main(["status", "--server", "1"]) == Code.NO_SERVER
    assert double.url in said(capsys)


def test_a_url_pasted_from_the_log_brings_its_token(capsys):
    """With ``/lab`` and the token behind it; the token is never printed."""
    with running(token=SECRET) as double:
        code = main(["status", "--url", f"{double.url}lab/tree/a.ipynb?token={SECRET}"])

    text = said(capsys)
    assert code == 0
    assert double.url in text
    assert SECRET not in text


@pytest.mark.parametrize("how", ["option", "environment", "runtime file"])
def test_the_token_comes_from_three_places(place, monkeypatch, how):
    """``--token``, JUPYTER_TOKEN, or the file of just that server."""
    with running(token=SECRET) as double:
        if how == "environment":
            monkeypatch.setenv("JUPYTER_TOKEN", SECRET)
        if how == "runtime file":
            double.write_runtime_file(place)
        extra = ["--token", SECRET] if how == "option" else []

        assert main(["keep-alive", "4h", "--url", double.url, *extra]) == 0


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("http://localhost:8888", "http://localhost:8888/"),
        ("http://localhost:8888/jupyter/default/lab?token=x", "http://localhost:8888/jupyter/default/"),
        ("https://nb.example/user/a/tree/b/c.ipynb", "https://nb.example:443/user/a/"),
        ("http://[::1]:8888/", "http://[::1]:8888/"),
        ("http+unix://%2Ftmp%2Fj.sock/", "http+unix://%2Ftmp%2Fj.sock/"),
    ],
)
def test_urls_are_cut_to_the_base_url(url, base):
    """What was pasted from a browser or a log means the server."""
    assert parse_url(url).url == base


@pytest.mark.parametrize("url", ["", "localhost", "ftp://x/", "http://", "http://a b/", "http://x/?token=ü€"])
def test_what_is_no_url_is_refused_without_repeating_it(url, capsys):
    """It may hold a token."""
    with pytest.raises(SystemExit) as ended:
        main(["status", "--url", url])

    assert ended.value.code == 2
    assert "token=" not in said(capsys)


def test_a_server_shows_no_token():
    """Not in its repr either."""
    assert SECRET not in repr(parse_url("http://localhost:8888/", SECRET))


@pytest.mark.parametrize(
    ("name", "told"), [("alice", " (asked by alice)"), ("0" * 32, " (asked by somebody on this server)"), (None, "")]
)
def test_who_asked_is_told_where_there_is_a_name(double, capsys, name, told):
    """Somebody who did not log in has only a number."""
    double.keep_alive = [{"kind": "all", "id": None, "until": "2026-06-01T16:30:00Z", "asked_by": name}]

    main(["status"])

    assert f"kept alive: everything is kept until 18:30, for 4 h{told}\n" in said(capsys)


# -- keep-alive and resume ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "body"),
    [
        (["4h"], {"duration": "4h", "kind": "all"}),
        (["240"], {"duration": 240, "kind": "all"}),
        (["1h", "30m"], {"duration": "1h 30m", "kind": "all"}),
        (["1", "30"], {"duration": "1 30", "kind": "all"}),
        (["--until", "18:30"], {"until": "2026-06-01T18:30:00+02:00", "kind": "all"}),
        (["90m", "--kernel", "deadb"], {"duration": "90m", "kind": "kernel", "id": BUSY}),
        (["--kernel", IDLE, "90m"], {"duration": "90m", "kind": "kernel", "id": IDLE}),
        (["2d", "--terminal", "1"], {"duration": "2d", "kind": "terminal", "id": "1"}),
        (["4h", "--app", "default"], {"duration": "4h", "kind": "app", "id": ARN}),
        (["4h", "--app", "arn:aws"], {"duration": "4h", "kind": "app", "id": ARN}),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, list) else "",
)
def test_keep_alive_asks_for_what_was_typed(double, words, body):
    """Durations go as they are, times of day as ISO 8601 with the zone of who types, ids in full."""
    assert main(["keep-alive", *words]) == 0
    assert double.changes == [("POST", f"{SPACE}/keep-alive", body)]


def test_keep_alive_tells_until_when_and_for_how_long(double, capsys):
    """In local time."""
    main(["keep-alive", "4h"])
    main(["keep-alive", "4h", "--kernel", "deadbeef"])

    assert said(capsys).splitlines() == [
        "Everything is kept until 18:30, for 4 h.",
        "Kernel deadbeef is kept until 18:30, for 4 h.",
    ]


NOTEBOOKS = {
    "kernels": [
        entry(BUSY, path="work/explore.ipynb", session_name="explore.ipynb"),
        entry(IDLE, path="old/explore.ipynb", session_name="explore.ipynb"),
        entry("cafe0000-0000-0000-0000-000000000003", path="train.ipynb", session_name="Training"),
    ]
}


@pytest.mark.parametrize(
    ("wanted", "kernel"),
    [
        ("work/explore.ipynb", BUSY),
        ("/old/explore.ipynb", IDLE),
        ("train.ipynb", "cafe0000-0000-0000-0000-000000000003"),
        ("Training", "cafe0000-0000-0000-0000-000000000003"),
        ("deadc", IDLE),
    ],
)
def test_a_kernel_is_named_by_its_notebook(wanted, kernel):
    """By path, file, session, or the beginning of its id."""
    assert found_among("kernel", wanted, NOTEBOOKS["kernels"]) == kernel


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ("explore.ipynb", "may be any of: old/explore.ipynb (deadc0de), work/explore.ipynb (deadbeef). Give more"),
        ("gone.ipynb", "There are: old/explore.ipynb (deadc0de), train.ipynb (cafe0000), work/explore.ipynb"),
        ("", "There is no kernel"),
    ],
)
def test_a_notebook_that_may_be_two_or_none_is_asked_back_by_path(wanted, told):
    """Never kept is what was not meant."""
    with pytest.raises(Failure, match=re.escape(told)):
        found_among("kernel", wanted, NOTEBOOKS["kernels"])


def test_status_names_notebooks_and_this_space(double, capsys):
    """The id of a kernel stands only where there is no notebook; what is to be pasted names it as well."""
    app = entry(ARN, name="default", type="JupyterLab", warned=True, due_at="2026-06-01T12:34:00.000000Z")
    first = NOTEBOOKS["kernels"][0] | {"warned": True, "due_at": "2026-06-01T12:32:00.000000Z"}
    double.status = document(kernels=[first, entry(IDLE, path=None)], apps=[app])

    main(["status", "--url", double.url])

    told = said(capsys)
    assert "work/explore.ipynb" in told
    assert "deadc0de" in told
    assert "deadbeef" not in told
    assert "this space 'alice' (billed) in 4 min" in told
    assert "keep-alive 1h --kernel work/explore.ipynb" in told
    row = drawn([screen("http://x/", double.status | {"keep_alive": []}, "")], 80)
    narrow = Console(width=80, record=True, file=io.StringIO())
    narrow.print(row)
    assert re.search(r"this space 'alice' +idle", narrow.export_text())


def test_keep_alive_off_takes_a_notebook_back_by_its_path(double):
    """What was asked for by name is taken back by name."""
    double.status = document(**NOTEBOOKS)
    double.keep_alive = [{"kind": "kernel", "id": BUSY, "until": "2026-06-01T16:30:00Z", "asked_by": ""}]

    main(["keep-alive", "off", "--kernel", "work/explore.ipynb", "--url", double.url])

    assert [each[1] for each in double.changes] == [f"{SPACE}/keep-alive?kind=kernel&id={BUSY}"]


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        ([], Code.USAGE, "Say for how long"),
        (["4h", "--until", "18:30"], Code.USAGE, "not both"),
        (["--until", "tomorrow"], Code.USAGE, "a time of day such as 18:30"),
        (["--until", "25:00"], Code.USAGE, "'25:00'"),
        (["1h", "2h"], Code.USAGE, "'1h 2h' is not accepted: it must be one duration, each unit once, such as 3h"),
        (["4h", "--kernel", "dead"], Code.USAGE, "deadbeef, deadc0de"),
        (["4h", "--kernel", "beef"], Code.REFUSED, "There is no kernel beef"),
        (["4h", "--kernel", ""], Code.REFUSED, "There is no kernel"),
        (["4h", "--terminal", "7"], Code.REFUSED, "There are: 1"),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, list) else "",
)
def test_keep_alive_refuses_what_cannot_be_meant(double, capsys, words, code, told):
    """A clear line, and nothing is asked for."""
    assert main(["keep-alive", *words]) == code
    assert told in said(capsys)
    assert double.changes == []


KEPT = [
    {"kind": "all", "id": None, "until": "2026-06-01T16:30:00Z"},
    {"kind": "kernel", "id": BUSY, "until": "2026-06-01T13:30:00Z"},
]


@pytest.mark.parametrize(
    ("words", "left"),
    [([], KEPT[1:]), (["--kernel", "dead"], KEPT[:1]), (["--all"], [])],
    ids=["everything", "kernel", "all"],
)
def test_resume_takes_back_what_is_named_and_tells_what_is_left(double, capsys, words, left):
    """Without options the one for everything; a kernel's by the beginning of its id; or each of them."""
    double.keep_alive = [*KEPT]

    assert main(["resume", *words]) == 0

    assert double.keep_alive == left
    assert said(capsys).count("Still:") == len(left)


@pytest.mark.parametrize(("left", "words"), [(1.9, "2 s"), (59.2, "59 s"), (59.9, "1 min"), (14_399.0, "4 h")])
def test_what_was_asked_for_is_what_is_said_a_moment_later(left, words):
    """Two seconds are no second, and four hours are not 3 h 59 min."""
    asked = datetime(2026, 6, 1, 12, 0, tzinfo=timezone.utc)

    told = kept({"kind": "all", "until": (asked + timedelta(seconds=left)).isoformat()}, asked)

    assert told.endswith(f", for {words}")


def test_what_is_taken_back_is_called_by_its_name(double, capsys):
    """As it was when it was asked for, and not by an id that nobody typed."""
    double.keep_alive = [KEPT[1] | {"name": "work/a.ipynb"}]

    assert main(["keep-alive", "off", "--all"]) == 0
    assert said(capsys) == f"No longer kept by request: kernel work/a.ipynb ({BUSY[:8]}).\n"


def test_resume_says_what_there_is_when_everything_was_never_kept(double, capsys):
    """Exit code 1; nothing is taken back by guessing."""
    double.keep_alive = KEPT[1:]

    assert main(["resume"]) == Code.REFUSED
    assert "kernel deadbeef is kept until 15:30" in said(capsys)
    assert double.keep_alive == KEPT[1:]


def test_resume_of_nothing_is_the_servers_refusal(double, capsys):
    """Its own words, exit code 1."""
    assert main(["resume"]) == Code.REFUSED
    assert "Nothing keeps all." in said(capsys)


# -- set ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "body"),
    [
        (["--idle-timeout", "60"], {"idle_time": 60.0, "save": False}),
        (["--idle-timeout", "60", "--save"], {"idle_time": 60.0, "save": True}),
        (["--no-keep-terminals"], {"idle_time": 60.0, "save": False, "keep_terminals": False}),
        (["--keep-terminals", "--save"], {"idle_time": 60.0, "save": ["keep_terminals"], "keep_terminals": True}),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, list) else "",
)
def test_set_changes_what_is_named_and_leaves_the_rest(double, words, body):
    """The server wants an idle timeout each time: then it is the present one."""
    assert main(["set", *words]) == 0
    assert double.changes == [("POST", f"{SPACE}/settings", body)]


def test_an_older_server_saves_both(double):
    """It knows only yes and no; what is asked for is done, and the present timeout with it."""
    message = "save = ['keep_terminals'] is not accepted: it must be true or false"
    double.refused.append((f"{SPACE}/settings", {"save": ["keep_terminals"]}, message))

    assert main(["set", "--keep-terminals", "--save"]) == 0
    assert [body["save"] for _, _, body in double.changes] == [["keep_terminals"], True]


def test_set_shows_settings_bounds_and_what_is_saved(double, capsys):
    """Also when nothing is to be changed."""
    main(["set"])
    assert double.changes == []
    main(["set", "--idle-timeout", "90", "--save"])

    text = said(capsys)
    assert "Idle timeout 1 h, terminals are culled like kernels." in text
    assert "at least 10 and at most 480 minutes" in text
    assert "Nothing is saved" in text
    assert "Saved for the next start: idle timeout 1 h 30 min" in text


def test_set_reset_goes_back(double, capsys):
    """And goes alone."""
    assert main(["set", "--reset", "--save"]) == Code.USAGE
    assert main(["set", "--reset"]) == 0
    assert double.changes == [("DELETE", f"{SPACE}/settings", None)]
    assert "idle timeout 2 h" in said(capsys).lower()


# -- every way to fail -------------------------------------------------------------------------------

FAILURES = {
    "400": ((400, {"message": "idle_time = 5 is not accepted: from 10"}, {}), Code.REFUSED, "from 10"),
    "409": ((409, {"message": "the manager is theirs. Configure this"}, {}), Code.NOT_SELECTED, "Configure this"),
    "too late": ((409, {"message": "it is too late"}, {}), Code.REFUSED, "too late"),
    "403": ((403, {"message": "Forbidden"}, {}), Code.TOKEN_REFUSED, "wants a token"),
    "login": ((302, "", {"Location": "/login?next=x"}), Code.TOKEN_REFUSED, "wants a token"),
    "moved": ((302, "", {"Location": "http://else.where/x?secret"}), Code.UNEXPECTED, "else.where/x,"),
    "older": ((405, {"message": "Method Not Allowed"}, {}), Code.UNEXPECTED, "older than this command"),
    "crash": ((500, "<html>", {}), Code.UNEXPECTED, "HTTP status 500"),
    "no JSON": ((200, "hello", {}), Code.UNEXPECTED, "no JSON object"),
    "a list": ((200, [1], {}), Code.UNEXPECTED, "no JSON object"),
    "evil": ((400, {"message": "\x1b[2Jgone\n"}, {}), Code.REFUSED, " [2Jgone "),
}


@pytest.mark.parametrize(("answer", "code", "told"), FAILURES.values(), ids=FAILURES.keys())
def test_each_refusal_has_its_code_and_its_line(double, capsys, answer, code, told):
    """No traceback, no control characters, no query of a URL."""
    double.instead["POST", "keep-alive"] = answer

    assert main(["keep-alive", "4h"]) == code

    text = said(capsys)
    assert told in text
    assert "\x1b" not in text
    assert "secret" not in text


@pytest.mark.parametrize("words", [["resume"], ["set"], ["set", "--reset"], ["keep-alive", "1h", "--kernel", "dead"]])
def test_an_answer_of_another_shape_is_no_traceback(double, capsys, words):
    """Exit code 9."""
    for method, name in (("GET", "keep-alive"), ("GET", "settings"), ("DELETE", "settings"), ("GET", "status")):
        double.instead[method, name] = (200, {"something": "else"}, {})

    assert main(words) == Code.UNEXPECTED
    assert "is not the one that this command knows" in said(capsys)


def test_a_wrong_token_is_said(double, place, capsys):
    """Exit code 8."""
    double.token = "right"

    assert main(["status", "--token", SECRET]) == Code.TOKEN_REFUSED
    text = said(capsys)
    assert "The token is wrong" in text
    assert SECRET not in text


@pytest.mark.parametrize("words", [["status"], ["keep-alive", "4h"], ["set"]])
def test_a_missing_extension_is_told_from_a_wrong_url(capsys, words):
    """Both are a 404; one has a Jupyter Server behind it."""
    gone = {(method, name): (404, "<html>", {}) for method in ("GET", "POST") for name in ("status", "keep-alive")}
    gone["GET", "settings"] = (404, "<html>", {})
    with running(instead=gone) as double:
        bare = main([*words, "--url", double.url])
        double.instead["GET", "api"] = (404, "<html>", {})
        wrong = main([*words, "--url", double.url])

    assert (bare, wrong) == (Code.EXTENSION_MISSING, Code.NO_SERVER)
    text = said(capsys)
    assert "extension culling_manager is missing" in text
    assert "No Jupyter Server has this base URL" in text


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (409, {"code": "not_our_managers", "message": "Select them."}, Code.NOT_SELECTED),
        (409, {"code": "too_late", "message": "The terminal manager is being shut down just now."}, Code.REFUSED),
        (404, {"code": "not_found", "message": "Nothing is kept."}, Code.REFUSED),
        (400, {"code": "bad_field", "message": "x = 1 is not accepted"}, Code.REFUSED),
        (500, {"code": "internal", "message": "Internal Server Error"}, Code.UNEXPECTED),
        (409, {"code": "a_later_code", "message": "Not now."}, Code.REFUSED),
        (409, {"message": "Kernels are not culled: the kernel manager is X."}, Code.NOT_SELECTED),
        (409, {"message": "It is being deleted."}, Code.REFUSED),
    ],
)
def test_what_a_refusal_means_is_told_by_its_code(double, capsys, status, body, code):
    """And by its words only where an older server gives no code, or a later one a code that is not known here."""
    double.instead["GET", "settings"] = (status, body, {})

    assert main(["set"]) == code
    assert body["message"] in said(capsys)


def test_silence_and_nonsense_are_told_apart(capsys):
    """Nothing listens; somebody listens and says nothing; somebody speaks something else."""
    with socket.socket() as quiet:
        quiet.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{quiet.getsockname()[1]}/"
        closed = main(["status", "--url", url])
        quiet.listen()
        silent = main(["status", "--url", url, "--timeout", "0.1"])

    assert (closed, silent) == (Code.NO_SERVER, Code.NO_ANSWER)
    text = said(capsys)
    assert "Nothing listens there." in text
    assert "No answer within 0.1 s" in text


def test_no_proxy_is_shown_the_token(double, monkeypatch):
    """Whatever the environment says."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")

    assert main(["status"]) == 0


@pytest.mark.parametrize("words", [["nonsense"], [], ["status", "--stat"], ["set", "--idle-timeout", "nan"]])
def test_wrong_usage_ends_with_2(words):
    """As argparse does it."""
    with pytest.raises(SystemExit) as ended:
        main(words)

    assert ended.value.code == 2


def test_every_exit_code_is_in_the_help(capsys):
    """Scripts rely on them."""
    with pytest.raises(SystemExit):
        main(["--help"])

    text = said(capsys)
    assert all(f"  {code:d}  " in text for code in Code)


def test_a_process_of_somebody_else_is_not_the_server_of_a_stale_file(place, double, monkeypatch):
    """Its number was given away again, and what listens at its port may be somebody else's too."""

    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "kill", refuse)

    assert running_servers() == []


@pytest.mark.parametrize("kind", ["fifo", "folder", "huge", "device"])
def test_a_runtime_file_that_is_none_is_neither_waited_for_nor_read(place, double, kind):
    """A pipe that nobody writes into, and a file without an end, would hold up every command."""
    path = place / "jpserver-0.json"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        info = json.loads(double.write_runtime_file(place).read_text())
        path.write_text(json.dumps(info | {"url": "http://127.0.0.1:1/", "more": "x" * 100_000}))

    assert [each.url for each in running_servers()] == [double.url]


def test_nothing_in_a_runtime_file_or_an_answer_commands_the_terminal(place, capsys):
    """An escape sequence in a URL or a refusal is shown as what it is, harmless."""
    with running() as found:
        found.write_runtime_file(place, url="http+unix://\x07owned\x1bc%1b/", port=0)
        main(["status"])
        main(["set", "--server", "nonsense\x1b[2J"])
    with running(instead={("GET", "settings"): (302, "", {"Location": "http://x/\x1b[2J"})}) as found:
        main(["set", "--url", found.url])

    text = said(capsys)
    assert "owned" in text
    assert "It redirects to x/" in text
    assert "\x1b" not in text.replace("\x1b[0m", "")
    assert "\x07" not in text


# -- what people type ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "sent"),
    [
        ("4hours", "4h"), ("4 hours", "4h"), ("1h30", "1h30m"), ("1 hour and 30 minutes", "1h30m"),
        ("90 min", "90m"),
        ("2 days, 3 hrs", "2d3h"), ("1.5h", "1.5h"), ("90", 90), ("45 secs", "45s"), ("soon", "soon"),
        ("4 weeks", "4 weeks"), ("30 1", "30 1"), ("", ""),
    ],
)  # fmt: skip
def test_a_duration_is_read_as_it_is_meant(typed, sent):
    """What is not understood goes as it is, so that the server says what it accepts."""
    assert asked_duration(typed) == sent


def test_keep_alive_off_takes_back_what_keep_alive_asked_for(double, capsys):
    """One word for both ways; `resume` says the same."""
    asked = [["keep-alive", "4hours"], ["keep-alive", "off"], ["keep-alive", "1h30", "--kernel", "deadc"]]
    asked += [["keep-alive", "off", "--kernel", "deadc"], ["keep-alive", "1h", "--all"], ["keep-alive", "off", "--all"]]

    assert [main(each) for each in asked] == [0] * 6
    assert [(method, path.partition("?")[2] or body.get("duration")) for method, path, body in double.changes] == [
        ("POST", "4h"), ("DELETE", "kind=all"), ("POST", "1h30m"), ("DELETE", f"kind=kernel&id={IDLE}"), ("POST", "1h"),
        ("DELETE", "kind=all"),
    ]  # fmt: skip
    assert said(capsys).count("No longer kept by request: everything.") == 2


@pytest.mark.parametrize("options", [["--timeout", "90"], ["--idle_timeout", "90"], ["--idle-timeout=90"]])
def test_each_way_to_say_the_idle_timeout_sets_that(double, options):
    """`--timeout` is what a person means by it, and the trait's own spelling is understood."""
    assert main(["set", *options]) == 0

    ((_, _, body),) = double.changes
    assert body["idle_time"] == 90


@pytest.mark.parametrize(
    ("typed", "minutes"), [("4h", 240), ("90m", 90), ("1h30", 90), ("1.5 hours", 90), ("30s", 0.5), ("1d", 1440)]
)
def test_a_timeout_may_be_typed_as_a_duration(double, typed, minutes):
    """Who asks for `keep-alive 4h` sets a timeout of 4h."""
    assert main(["set", "--idle-timeout", typed]) == 0

    ((_, _, body),) = double.changes
    assert body["idle_time"] == minutes


@pytest.mark.parametrize("typed", ["two", "4x", "1h 2h", "inf", ""])
def test_a_timeout_that_is_none_is_refused_in_words(double, capsys, typed):
    """With what was typed and what is accepted, and nothing is asked for."""
    with pytest.raises(SystemExit) as ended:
        main(["set", "--idle-timeout", typed])

    assert ended.value.code == Code.USAGE
    assert f"{typed!r} is not accepted: it must be a number of minutes, or a duration such as 4h" in said(capsys)
    assert double.changes == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["statsu"], "there is no command 'statsu' (did you mean status?); there are status, keep-alive, "),
        (["xyzzy"], "there is no command 'xyzzy'; there are status, keep-alive, "),
        ([], "say which command: there are status, keep-alive, "),
        (["status", "--wach"], "jupyter culling status: error: unrecognized arguments: --wach (did you mean --watch?)"),
        (["set", "--idle-timout=9"], "unrecognized arguments: --idle-timout=9 (did you mean --idle-timeout?)"),
        (["keep-alive", "-4h"], "jupyter culling keep-alive: error: unrecognized arguments: -4h\n"),
    ],
)
def test_a_mistyped_word_is_answered_with_the_one_that_was_meant(capsys, words, told):
    """By the command that it was for, with the options of that one."""
    with pytest.raises(SystemExit) as ended:
        main(words)

    assert ended.value.code == Code.USAGE
    assert told in said(capsys)


def test_how_long_to_wait_for_an_answer_has_a_word_of_its_own(capsys):
    """And the old one still does, where it cannot be taken for something else."""
    with socket.socket() as quiet:
        quiet.bind(("127.0.0.1", 0))
        quiet.listen()
        url = f"http://127.0.0.1:{quiet.getsockname()[1]}/"
        for options in (["set", "--answer-within", "0.1"], ["status", "--timeout", "0.1"]):
            assert main([*options, "--url", url]) == Code.NO_ANSWER

    assert said(capsys).count("No answer within 0.1 s (--answer-within)") == 2


def test_a_server_may_be_named_without_http(double, capsys):
    """As `localhost:8888` in a browser."""
    named = f"localhost:{double.port}"

    assert main(["status", "--url", named + double.base_url]) == 0
    assert main(["set", "--server", named + double.base_url]) == 0
    assert "deadc0de" in said(capsys)
    assert parse_url("localhost:8888").url == "http://localhost:8888/"


# -- this notebook, this terminal ---------------------------------------------------------------------


@pytest.fixture
def several(place, monkeypatch):
    """Two servers of one user; ours is the second."""
    for name in ("JPY_PARENT_PID", "JUPYTER_SERVER_URL", "JPY_SESSION_NAME"):
        monkeypatch.delenv(name, raising=False)
    with running(base_url="/") as other, running(sessions={"work/explore.ipynb": IDLE, "explore.ipynb": BUSY}) as found:
        other.write_runtime_file(place, pid=os.getppid())
        found.write_runtime_file(place)
        yield found
        assert other.changes == []


@pytest.mark.parametrize(("name", "kernel"), [("/home/me/work/explore.ipynb", IDLE), ("/home/me/explore.ipynb", BUSY)])
def test_this_in_a_notebook_is_its_own_kernel_on_its_own_server(several, monkeypatch, name, kernel):
    """Nobody is asked which server, nor for an id, though another notebook in another folder has the same name."""
    monkeypatch.setenv("JPY_PARENT_PID", str(os.getpid()))
    monkeypatch.setenv("JUPYTER_SERVER_URL", "http://localhost:1/outer/")
    monkeypatch.setenv("JPY_SESSION_NAME", name)

    assert main(["keep-alive", "4h", "--this"]) == 0
    assert main(["keep-alive", "off", "--this"]) == 0
    assert several.changes == [
        ("POST", f"{SPACE}/keep-alive", {"duration": "4h", "kind": "kernel", "id": kernel}),
        ("DELETE", f"{SPACE}/keep-alive?kind=kernel&id={kernel}", None),
    ]


def test_this_in_a_terminal_is_everything_on_its_server(several, monkeypatch):
    """A terminal knows its server's address and not its own name."""
    monkeypatch.setenv("JUPYTER_SERVER_URL", several.url)

    assert main(["keep-alive", "4h", "--this"]) == 0
    assert several.changes == [("POST", f"{SPACE}/keep-alive", {"duration": "4h", "kind": "all"})]


def test_in_a_terminal_of_one_of_several_servers_that_one_is_meant(several, monkeypatch, capsys):
    """Nobody there is asked which server; in a shell of nobody's somebody is."""
    elsewhere = main(["keep-alive", "4h"])
    monkeypatch.setenv("JUPYTER_SERVER_URL", several.url)
    there = main(["keep-alive", "4h"])

    assert (elsewhere, there) == (Code.USAGE, 0)
    assert "Which server?" in said(capsys)
    assert several.changes == [("POST", f"{SPACE}/keep-alive", {"duration": "4h", "kind": "all"})]


def test_this_elsewhere_says_what_to_give_instead(several, capsys, monkeypatch):
    """In a shell of nobody's, and in a notebook that was renamed or is closed."""
    nowhere = main(["keep-alive", "4h", "--this"])
    monkeypatch.setenv("JPY_PARENT_PID", str(os.getpid()))
    monkeypatch.setenv("JPY_SESSION_NAME", "/home/me/gone.ipynb")
    gone = main(["keep-alive", "4h", "--this"])

    text = said(capsys)
    assert (nowhere, gone) == (Code.USAGE, Code.REFUSED)
    assert "--this is for a notebook and for a terminal" in text
    assert "no open notebook of the name gone.ipynb: give --kernel ID" in text


# -- words -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("18:30", "2026-06-01T18:30:00+02:00"),
        ("14:30", "2026-06-02T14:30:00+02:00"),
        ("7:05", "2026-06-02T07:05:00+02:00"),
        ("14:30:01", "2026-06-01T14:30:01+02:00"),
        ("2026-12-24T18:00", "2026-12-24T18:00:00+01:00"),
        ("2026-06-01T18:30:00Z", "2026-06-01T20:30:00+02:00"),
    ],
)
def test_until_is_the_next_such_time_here(text, expected):
    """The very minute that it is now is tomorrow's; a date has the offset of that date."""
    assert until_iso(text, NOON) == expected


def test_until_knows_when_clocks_change_over_night():
    """18:30 on the day after the change has the new offset."""
    before = datetime(2026, 10, 24, 20, 0, tzinfo=timezone.utc)

    assert until_iso("18:30", before) == "2026-10-25T18:30:00+01:00"


@given(st.text(max_size=12))
def test_until_is_a_time_or_refused(text):
    """Nothing else is raised."""
    with suppress(SettingError):
        assert datetime.fromisoformat(until_iso(text, NOON)).utcoffset() is not None


@pytest.mark.parametrize(
    ("days", "words"), [(0, "14:30"), (1, "Tue 14:30"), (-1, "Sun 14:30"), (9, "2026-06-10 14:30")]
)
def test_times_are_as_short_as_they_can_be(days, words):
    """The day only when it is another one."""
    assert clock(NOON.replace(day=1 + days) if days >= 0 else NOON.replace(month=5, day=31), NOON) == words


def test_what_is_left_of_four_hours_a_moment_later_is_four_hours():
    """Not 3 h 59 min."""
    entry = {"kind": "all", "id": None, "until": "2026-06-01T16:29:59.200000Z"}

    assert kept(entry, NOON) == "everything is kept until 18:30, for 4 h"


@pytest.mark.parametrize("rich", [True, False])
def test_a_terminal_that_knows_only_ascii_gets_its_table(double, rich):
    """What it has no sign for is said in others; a program that reads on is not ended by a dot."""
    hide = "" if rich else "sys.modules['rich.console'] = None; "
    code = f"import sys; {hide}from culling_manager.cli import main; sys.exit(main(['status']))"
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    double.status["kernels"][0] |= {"name": "Ünïcode 内核"}

    ran = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, timeout=patience(60))

    text = ran.stdout.decode("ascii")
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert "culler running - idle timeout 1 h - next wake-up" in text
    assert "deadbeef ?n?code ??" in text
    assert "never: busy" in text


# -- the doors ---------------------------------------------------------------------------------------


def run_python(*line: str) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter."""
    return subprocess.run([sys.executable, *line], capture_output=True, text=True, timeout=patience(60))


@pytest.mark.parametrize(("package", "program"), [("cli", "jupyter culling"), ("fleet", "culling-fleet-check")])
def test_each_command_has_a_door_for_scripts_and_one_for_python(package, program):
    """Entry points of one's own say ``package:main``; ``python -m`` serves where no script is on the PATH."""
    code = f"import sys; from culling_manager.{package} import main; sys.exit(main(['--help']))"

    imported, ran = run_python("-c", code), run_python("-m", f"culling_manager.{package}", "--help")

    assert (imported.returncode, imported.stderr, ran.returncode, ran.stderr) == (0, "", 0, "")
    assert imported.stdout.startswith(f"usage: {program} ")
    assert ran.stdout == imported.stdout


@pytest.mark.parametrize("script", ["jupyter-culling", "culling-fleet-check"])
def test_the_console_scripts_name_what_is_there(script):
    """As the installed metadata has them."""
    (found,) = entry_points(group="console_scripts", name=script)

    assert callable(found.load())


def test_what_the_fleet_check_offers_python_is_there():
    """Every public name of the package, fetched from its room."""
    assert [name for name in fleet.__all__ if not hasattr(fleet, name)] == []
