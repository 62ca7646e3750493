"""Processes at work, with real processes: what keeps a kernel, a terminal or an app, and what does not."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timezone

import psutil
import pytest
from ptyprocess import PtyProcess
from traitlets import TraitError

from culling_manager.errors import ReadError
from culling_manager.records import MARKER, Kind, owner
from culling_manager.signals import ProcessSignal, Signals
from culling_manager.signals import table as table_module
from culling_manager.signals.network import connections, talks_outside
from culling_manager.signals.processes import COMES_WITH_IMAGES
from culling_manager.signals.table import read_table, roles_of
from culling_manager.signals.usage import Row, Table, Usage
from tests.conftest import patience, scenario, until
from tests.test_signals_runner import subject

BURN = "while True: pass"
SLEEP = "import time; time.sleep(100)"
#: Works for a tenth of a second and rests for four; says so when it has done that twice.
BURSTS = """
import time
for turn in range(1000):
    end = time.process_time() + 0.1
    while time.process_time() < end: pass
    if turn == 1: print("ready", flush=True)
    time.sleep(0.4)
"""


class Started:
    """Starts processes, and ends in the end those that it started and whatever they started."""

    def __init__(self) -> None:
        self.found: list[subprocess.Popen | PtyProcess] = []

    def python(self, code: str, *words: str, **how) -> int:
        return self.run(sys.executable, "-c", code, *words, **how)

    def run(self, *command: str, **how) -> int:
        how = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True, **how}
        self.found.append(subprocess.Popen(command, **how))
        return self.found[-1].pid

    def in_terminal(self, *command: str) -> PtyProcess:
        process = PtyProcess.spawn(list(command), env={**os.environ, "TERM": "xterm", "PS1": "$ "})
        self.found.append(process)
        threading.Thread(target=drain, args=(process,), daemon=True).start()
        return process

    def marked(self, identity: str) -> dict[str, str]:
        """The environment of a terminal's processes, by which they are found again wherever they went."""
        return {**os.environ, MARKER: owner(Kind.TERMINAL, identity, os.getpid())}

    def end(self) -> None:
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get(MARKER, "").startswith(f"{os.getpid()}:"):
                    process.kill()
        for process in self.found:
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGSTOP)  # so that it starts no more while its children are ended
            for pid in [*below(process.pid), process.pid]:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if isinstance(process, PtyProcess):
                process.close(force=True)
                continue
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe:
                    pipe.close()


def below(pid: int) -> set[int]:
    """All processes of a session and below it; nothing when the session is that of the tests."""
    return read_table(100_000).family([pid], os.getpid())


def drain(process: PtyProcess) -> None:
    """Take what a terminal shows, as a terminal manager does."""
    with suppress(EOFError, OSError, ValueError):
        while True:
            process.read()


@pytest.fixture
def started():
    made = Started()
    yield made
    made.end()


def terminal(pid: int, **what):
    return subject(Kind.TERMINAL, pids=(pid,), since=datetime.now(timezone.utc), **what)


EXTENSION = "/home/u/.vscode-server/extensions/ms-python-2026"
APP = subject(Kind.APP, here=True, since=datetime.now(timezone.utc))


def processes(**settings) -> ProcessSignal:
    return ProcessSignal(**{"sample_seconds": 0.2, "second_look_seconds": 0, **settings})


async def used(pid: int, **settings) -> str:
    """Wait until it is found in use, and say why: on a crowded machine even a busy process may get no turn."""
    made = processes(**settings)
    return await until(lambda: made.check(terminal(pid)))


async def unused(pid: int, asked=None, seconds: float = 10.0, **settings) -> bool:
    """Wait until it is not in use: what was just started does work at first."""
    made = processes(**settings)

    async def rests():
        return await made.check(asked or terminal(pid)) is None

    return await until(rests, seconds)


@scenario
async def test_a_silent_program_in_a_shell_is_use_until_it_ends(started):
    """A terminal with `python train.py` in it that prints nothing."""
    shell = started.in_terminal("/bin/sh")
    assert await unused(shell.pid)

    shell.write(f'{sys.executable} -c "{BURN}" &\n'.encode())

    words = await used(shell.pid)
    assert re.match(r"process python\S* \(pid \d+\) uses \d+% of a core", words)
    shell.write(b"kill %1; wait\n")
    assert await unused(shell.pid)


DETACHED = [
    'nohup "$0" -c "$1" >/dev/null 2>&1 &',
    '(setsid "$0" -c "$1" >/dev/null 2>&1 &)',
    '("$0" -c "$1" & ) &',
    'nohup sh -c "\\"$0\\" -c \\"$1\\"" >/dev/null 2>&1 &',
    'setsid -f "$0" -c "$1" >/dev/null 2>&1',
]


@pytest.mark.parametrize("line", DETACHED)
@scenario
async def test_a_detached_job_is_its_terminals(started, line):
    """With nohup, in a subshell, in a session of its own: by its parent, its session, or at last by its mark."""
    command = ("/bin/sh", "-c", f"{line}\nexec sleep 100", sys.executable, BURN)
    shell = started.run(*command, env=started.marked("1"))

    assert re.search(r"python\S* \(pid \d+\) uses \d+%", await used(shell))


@scenario
async def test_a_job_that_left_both_its_parent_and_its_session_is_told_by_its_mark_alone(started):
    """It is not the terminal's whose mark it does not bear; it outlives that anyway, and keeps the app."""
    command = ("/bin/sh", "-c", f"{DETACHED[-1]}\nexec sleep 100", sys.executable, BURN)
    shell = started.run(*command, env=started.marked("2"))
    made, first, second = processes(), terminal(shell, identity="1"), terminal(shell, identity="2")

    words = await until(lambda: made.check(second))

    job = int(re.search(r"pid (\d+)", words)[1])
    assert job not in below(shell)
    assert job in made.members(read_table(100_000), APP)
    assert await unused(first.pids[0], asked=first)


@scenario
async def test_a_job_in_a_session_of_another_terminal_is_not_this_ones(started):
    """Each has its own."""
    burns = started.python(BURN)
    rests = started.python(SLEEP)

    assert await used(burns)
    assert await unused(rests)


IDLE = {
    "bash": ["bash", "-i"],
    "vim": ["vim", "-n", "-u", "NONE", __file__],
    "less": ["less", __file__],
    "python": [sys.executable, "-i"],
    "cat": ["cat"],
    "sleep": ["sleep", "100"],
}


@scenario
async def test_idle_programs_in_terminals_are_no_use(started):
    """A bare shell, an editor or pager that waits for a key, a prompt, a daemon that sleeps."""
    found = [started.in_terminal(*command) for command in IDLE.values() if shutil.which(command[0])]

    assert all(await asyncio.gather(*(unused(process.pid) for process in found)))
    assert all(process.isalive() for process in found)


def slow_server(rate: int) -> tuple[socket.socket, int]:
    """Sends so many bytes per second to whoever connects, for ever."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            connection, _ = listening.accept()
            with connection:
                while True:
                    connection.sendall(b"x" * (rate // 20))
                    time.sleep(0.05)

    threading.Thread(target=serve, daemon=True).start()
    return listening, listening.getsockname()[1]


DOWNLOAD = """
import socket, sys
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as source, open(sys.argv[2], "wb") as target:
    while data := source.recv(4096):
        target.write(data)
"""


def test_a_silent_download_is_use_by_what_it_moves(started, tmp_path, run):
    """Half a megabyte per second takes no processor time to speak of."""
    listening, port = slow_server(500_000)
    with listening:
        pid = started.python(DOWNLOAD, str(port), str(tmp_path / "big"))

        words = run(used(pid, cpu_share=100))

    assert re.fullmatch(r"process python\S* \(pid \d+\) .*moves \d+\.\d [kM]B per second", words)


def test_a_trickle_is_no_use(started, tmp_path, run):
    """A daemon that says each second that it lives."""
    pid = started.python("import time\nwhile True:\n    open('/dev/null', 'w').write('alive'); time.sleep(0.1)")

    assert run(unused(pid))


def test_a_loop_of_short_commands_is_use(started, run):
    """None of them lives for long; whoever waits for them is charged."""
    pid = started.run("/bin/sh", "-c", "while :; do /bin/ls / >/dev/null; done")

    assert run(used(pid, io_rate=1e12))


def test_a_job_that_rests_when_it_is_looked_at_is_seen_by_a_longer_look(started, run):
    """It has worked for much of its life, so one short look is not believed."""
    pid = started.run("/bin/sh", "-c", '"$0" -c "$1" & wait', sys.executable, BURSTS, stdout=subprocess.PIPE)
    assert started.found[-1].stdout.readline() == b"ready\n"
    short = processes(sample_seconds=0.05)
    long = processes(sample_seconds=0.05, second_look_seconds=2)

    async def missed_by_a_short_look():
        return await short.check(terminal(pid)) is None

    async def look():
        await until(missed_by_a_short_look)
        return [await long.check(terminal(pid)) for _ in range(2)]

    found = run(look())
    assert all(found), found


ONE_PIECE = """
import sys, time
print("ready", flush=True)
sys.stdin.readline()
while time.process_time() < 0.5: pass
print("done", flush=True)
time.sleep(100)
"""


def test_a_job_that_works_between_two_looks_is_seen_by_the_second(started, run):
    """On average since the first look, if that was after the last known activity; at each look it rests."""
    pid = started.python(ONE_PIECE, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    process, made, asked = started.found[-1], processes(sample_seconds=0.05), terminal(pid)

    async def look():
        assert process.stdout.readline() == b"ready\n"
        before = await made.check(asked)
        process.stdin.write(b"go\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"done\n"
        await asyncio.sleep(0.05)
        later = asked._replace(since=datetime.now(timezone.utc))
        return before, await made.check(asked), await made.check(later)

    before, after, since_then = run(look())

    assert before is None
    assert "uses" in after
    assert since_then is None


def test_an_idle_kernel_is_no_use_and_its_silent_job_is(started, tmp_path, run):
    """A real ipykernel, at rest, then with a job that was detached from it, then at rest again."""
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(kernel_name="python3")
    kernel = subject(Kind.KERNEL, pids=(manager.provisioner.pid,), since=datetime.now(timezone.utc))
    job = (
        f'import os, subprocess, sys\nos.system(\'nohup {sys.executable} -c "{BURN}" >/dev/null 2>&1 & '
        f"echo $! > {tmp_path}/pid')"
    )

    async def use_it():
        made = processes(sample_seconds=0.5)

        async def rests():
            return await made.check(kernel) is None

        assert await until(rests)
        client.execute_interactive(job, timeout=patience(20))
        words = await until(lambda: made.check(kernel))
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
        assert await until(rests)
        return words

    try:
        assert "uses" in run(use_it())
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def test_any_process_of_the_user_is_use_of_the_app(started, run):
    """Whatever started it, also what nobody can be told to own; a bystander's use is not ours to rule out here."""
    pid = started.run("/bin/sh", "-c", 'setsid "$0" -c "$1" & wait', sys.executable, BURN)
    made = processes()

    async def look():
        return await until(lambda: made.check(APP))

    assert "process" in run(look())
    table = read_table(100_000)
    assert {pid, *below(pid)} <= made.members(table, APP)
    assert not {os.getpid(), os.getppid(), 1} & made.members(table, APP)


def app_table(*names: str) -> Table:
    """A container: init, a supervisor, the server, and processes of these names."""
    rows = [Row(pid=1, parent=0), Row(pid=2, parent=1, user=5), Row(pid=os.getpid(), parent=2, user=5)]
    rows += [Row(pid=100_000_000 + number, parent=1, user=5, name=name) for number, name in enumerate(names)]
    return Table(rows={row.pid: row for row in rows}, count=len(rows))


def test_others_and_whatever_started_the_server_are_not_the_apps():
    """Processes of another user count only below the server."""
    table = app_table("job")
    more = [
        Row(pid=50, parent=1, user=0),
        Row(pid=51, parent=os.getpid(), user=0),
        Row(pid=52, parent=51, user=7),
        Row(pid=53, parent=2, user=5),
    ]
    table = Table(rows={**table.rows, **{row.pid: row for row in more}}, count=9)

    assert processes().members(table, APP) == {100_000_000, 51, 52, 53}


@pytest.mark.parametrize(
    ("roles", "ignored"),
    [
        (("supervisord", "/opt/conda/bin/supervisord"), True),
        (
            (
                "node",
                "/usr/bin/node",
                "server-main.js",
                "/opt/amazon/sagemaker/sagemaker-code-editor/out/server-main.js",
            ),
            1,
        ),
        (("node", "node", "pyright-langserver.js", "/opt/conda/bin/pyright-langserver.js"), True),
        (("node", "/home/u/.vscode-server/cli/servers/Stable-1/server/node"), True),
        (("ssm-session-worker",), True),
        (("amazon-ssm-agent",), True),
        (("pylsp", "/opt/conda/bin/python", "python"), True),
        (("aws-lsp-codewhisperer.js", "node"), True),
        (("python", "python3", "train.py", "/home/u/train.py"), False),
        (("python", "train.py", "/home/u/my-language-server/train.py"), False),
        (("node", "build.js"), False),
        (("bash",), False),
        (("aws", "/usr/local/bin/aws", "python"), False),
        (("tmux: server", "tmux"), False),
        # an editor's debugger starts the user's program by a script of its own
        (roles_of("python", ["/opt/conda/bin/python", f"{EXTENSION}/debugpy/launcher", "0", "--", "train.py"]), False),
        (roles_of("python3", ["python3", f"{EXTENSION}/python_files/vscode_pytest/run_pytest_script.py"]), False),
        (roles_of("node", ["/usr/bin/node", f"{EXTENSION}/dist/server.js"]), True),
    ],
)
def test_what_comes_with_the_image_does_not_keep_the_app(roles, ignored):
    """By name of the process, of its program, or of the script that an interpreter runs."""
    usage = Usage(row=Row(pid=9, parent=1), cpu_share=1.0, roles=roles)

    assert processes().ignores(usage) is bool(ignored)


def test_a_name_alone_excuses_only_what_is_quiet(started, run, monkeypatch):
    """A program called `code-server` that works is at work."""
    pid = started.python(BURN)
    made = processes(ignored_names=["python*"])

    def only_this(most: int) -> Table:
        found = read_table(most)
        kept = {each: row for each, row in found.rows.items() if each in {pid, *found.ancestors(os.getpid())}}
        return Table(rows=kept, count=len(kept))

    monkeypatch.setattr("culling_manager.signals.sampler.read_table", only_this)

    assert "python" in run(until(lambda: made.check(APP)))


MANY = """
import os, sys, time
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
for number in range(int(sys.argv[1])):
    if os.fork() == 0:
        os.nice(19)
        while True: pass
time.sleep(100)
"""


def test_workers_that_share_a_core_are_at_work_although_each_gets_next_to_nothing(started, run):
    """Forty of the lowest priority: none of them uses as much as the threshold, and no sum is taken here."""
    pid = started.python(MANY, "40")
    made = processes(cpu_share=1000, io_rate=1e12)

    words = run(until(lambda: made.check(terminal(pid)), 60))

    assert re.search(r"process python\S* \(pid \d+\) .*waits for a core \d+% of the time", words)


#: Beats as an idle scheduler does: looks at its own statistics many times a second, in a fraction of a millisecond. Far
#: within the bounds of a heartbeat on any machine (30 kB per second of 1 MB, a tenth of a millisecond or so at a time).
BEATS = """
import time
while True:
    open('/proc/self/stat').read()
    time.sleep(0.01)
"""


@pytest.mark.timeout(300)
def test_what_only_beats_is_no_use_and_work_beside_it_is(started, run):
    """As an idle dask does: more of a core than the threshold, and more bytes, a little at a time."""
    shell = started.run("/bin/sh", "-c", '"$0" -c "$1" & "$0" -c "$2" & wait', sys.executable, BEATS, SLEEP)

    assert run(unused(shell, seconds=200, cpu_share=0.001, io_rate=1000))
    started.run("/bin/sh", "-c", "kill $0", str(shell))
    busy = started.run("/bin/sh", "-c", '"$0" -c "$1" & "$0" -c "$2" & wait', sys.executable, BEATS, BURN)
    assert run(used(busy))


#: Interrupts whoever is beside it, whenever it may.
WAKES = """
import time
while True:
    time.sleep(0.0005)
    for turn in range(2000): pass
"""


def test_work_that_is_interrupted_all_the_time_is_not_taken_for_a_heartbeat(started, run):
    """Beside processes that wake whenever they may: that it is often given a core is no matter, it seldom sleeps."""
    for _ in range(8):
        started.python(WAKES)
    pid = started.python(BURSTS, stdout=subprocess.PIPE)
    assert started.found[-1].stdout.readline() == b"ready\n"

    def so_far():
        ran, _, slept = read_table(100_000).rows[pid].threads[pid]
        return ran, slept

    ran, slept = so_far()
    ran_later, slept_later = run(until(lambda: (now := so_far())[0] > ran + 0.3 and now, 60))

    assert slept_later - slept < 100 * (ran_later - ran), (slept, slept_later, ran, ran_later)
    assert run(used(pid, sample_seconds=1, io_rate=1e12))


def test_who_talks_to_another_machine_is_not_taken_for_a_heartbeat(started, run, monkeypatch):
    """A crawler or a client of a database moves bytes that nobody counts."""
    pid = started.python(BEATS)
    monkeypatch.setattr("culling_manager.signals.sampler.talks_outside", lambda pid, known: True)

    assert run(used(pid, cpu_share=0.001, io_rate=1000))


def test_connections_are_found_where_they_are_held():
    """One over the loopback is none to another machine; where they cannot be listed, everybody may hold one."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        inode = os.readlink(f"/proc/self/fd/{client.fileno()}")[8:-1]

        found = connections()

        assert found is not None
        assert inode not in found
        assert talks_outside(os.getpid(), {inode})
        assert not talks_outside(os.getpid(), {"1"})
        assert talks_outside(os.getpid(), None)
        assert talks_outside(2**22 + 1, {"1"})


def test_a_command_is_named_by_its_script(started, run, tmp_path):
    """`train.py`, not `python`."""
    script = tmp_path / "train.py"
    script.write_text(BURN)

    words = run(used(started.run(sys.executable, str(script), "--password=hunter2")))

    assert re.match(r"process train\.py \(pid \d+\) ", words)


def test_long_command_lines_do_not_stop_the_server_from_answering(started, run):
    """Two hundred busy processes with a hundred thousand characters each: the event loop goes on turning."""
    long = "x" * 100_000
    usages = [
        Usage(row=Row(pid=number, parent=1), cpu_share=1.0, roles=roles_of("python", [long, f"/{long}", long]))
        for number in range(200)
    ]
    made = processes()

    assert max(len(role) for usage in usages for role in usage.roles) <= 1000
    assert not any(made.ignores(usage) for usage in usages)
    sample = made._sampler._labelled([])
    assert sample == []


def test_an_ignored_name_keeps_no_app_but_its_own_terminal(started, run, monkeypatch):
    """Who starts one by hand wants it; and what it starts counts for the app unless it is ignored too."""
    pid = started.python(BURN)
    mine = Table(rows={}, count=0)
    made = processes(ignored_names=["python*"], ignored_cpu_share=1000)

    def only_this(most: int) -> Table:
        found = read_table(most)
        kept = {each: row for each, row in found.rows.items() if each in {pid, *found.ancestors(os.getpid())}}
        return replace(mine, rows=kept, count=len(kept))

    monkeypatch.setattr("culling_manager.signals.sampler.read_table", only_this)

    assert run(until(lambda: made.check(terminal(pid))))
    assert run(made.check(APP)) is None
    made.ignored_names = ["sh"]
    assert run(until(lambda: made.check(APP)))


def test_admins_add_names_to_those_that_are_ignored():
    """As to any list of traitlets."""
    from traitlets.config import Config, LazyConfigValue

    more = LazyConfigValue()
    more.append("my-agent")
    made = ProcessSignal(config=Config({"ProcessSignal": {"ignored_names": more}}))

    assert made.ignored_names == [*COMES_WITH_IMAGES, "my-agent"]


def test_too_many_processes_are_not_looked_at_and_count_as_use(started, run):
    """The time that a look takes is bounded."""
    pid = started.python(SLEEP)

    words = run(processes(max_processes=1).check(terminal(pid)))

    assert words == "more than 1 processes run, too many to be looked at"


def readings(monkeypatch, *changes) -> None:
    """Change each reading of the process table as it is made."""
    left = list(changes)
    monkeypatch.setattr("culling_manager.signals.sampler.read_table", lambda most: left.pop(0)(read_table(100_000)))


def test_too_many_processes_at_one_reading_of_two_are_too_many(started, run, monkeypatch):
    """Of those that were not read then nobody knows what they used since."""
    pid = started.python(SLEEP)
    readings(monkeypatch, lambda table: Table(rows={}, count=9999), lambda table: table)

    assert "too many" in run(processes().check(terminal(pid)))


def test_a_clock_that_is_set_during_a_look_is_a_failed_check(started, run, monkeypatch):
    """Then no process seems to be the one that it was; nothing is culled on account of that."""
    pid = started.python(BURN)

    def later(table):
        return replace(
            table, rows={pid: replace(row, started_at=row.started_at + 60) for pid, row in table.rows.items()}
        )

    readings(monkeypatch, lambda table: table, later)

    with pytest.raises(ReadError, match="the clock was set"):
        run(processes().check(terminal(pid)))


def test_a_kernel_that_is_gone_uses_nothing(started, run):
    """Its number belongs to nobody any more."""
    pid = started.python("pass")
    started.found[-1].wait()

    assert run(processes().check(terminal(pid))) is None


def test_a_server_that_is_not_in_the_table_is_a_failed_check(started, run):
    """Then nobody can tell what is its user's."""
    asked = terminal(started.python(SLEEP))._replace(server_pid=2**22 + 1)

    with pytest.raises(ReadError, match="is not among"):
        run(processes().check(asked))


@pytest.mark.parametrize("missing", ["psutil", "linux"])
@scenario
async def test_where_processes_cannot_be_looked_at_everything_is_kept_and_reported(missing):
    """Doubt keeps, and says why."""
    with pytest.MonkeyPatch.context() as patch:
        if missing == "psutil":
            patch.setitem(sys.modules, "psutil", None)
        else:
            patch.setattr(table_module.sys, "platform", "win32")
        finding = await Signals(names=["processes"]).ask(terminal(os.getpid()))

    assert "processes cannot be looked at" in finding.words
    assert len(finding.errors) == 1


def test_a_process_that_ends_while_it_is_read_is_left_out(monkeypatch):
    """As is one that may not be read; a process whose I/O may not be read has none."""
    pids = [os.getpid(), 2**22 + 1]
    monkeypatch.setattr(psutil, "pids", lambda: pids)
    monkeypatch.setattr(psutil.Process, "io_counters", lambda self: (_ for _ in ()).throw(psutil.AccessDenied(1)))

    found = read_table(10)

    assert list(found.rows) == [os.getpid()]
    assert found.rows[os.getpid()].moved_bytes is None


def test_no_argument_of_a_command_is_told(started, run):
    """It may be a password."""
    pid = started.python(BURN, "--password=hunter2", "/home/hunter2/x")

    assert "hunter2" not in run(used(pid))


def test_it_applies_to_what_is_on_this_machine():
    """Not to kernels on a gateway, nor to apps elsewhere."""
    made = processes()

    assert made.applies(terminal(1))
    assert made.applies(APP)
    assert not made.applies(subject(Kind.KERNEL))
    assert not made.applies(subject(Kind.APP))


@pytest.mark.parametrize("name", ["cpu_share", "io_rate", "sample_seconds", "second_look_seconds"])
def test_a_threshold_that_is_no_number_is_refused(name):
    """Against NaN nothing is ever over, so nothing would ever be kept."""
    with pytest.raises(TraitError, match=rf"ProcessSignal\.{name}"):
        ProcessSignal(**{name: float("nan")})


def test_a_hundred_checks_share_one_sample(started, run, monkeypatch):
    """The process table is read twice, not 200 times."""
    reads = []
    monkeypatch.setattr("culling_manager.signals.sampler.read_table", lambda most: reads.append(1) or read_table(most))
    made, pid = processes(), started.python(SLEEP)

    async def ask():
        return await asyncio.gather(*(made.check(terminal(pid, identity=str(number))) for number in range(100)))

    run(ask())

    assert len(reads) == 2


FORK = """
import os, sys, time
for number in range(500):
    if os.fork() == 0:
        time.sleep(100)
print("forked", flush=True)
time.sleep(100)
"""


def test_five_hundred_processes_do_not_stop_the_server_from_answering(started, run):
    """They are read off the event loop, which goes on turning while that is done."""
    pid = started.python(FORK, stdout=subprocess.PIPE)
    assert started.found[-1].stdout.readline() == b"forked\n"
    made = processes()
    turns = []

    async def ask():
        checking = asyncio.ensure_future(made.check(terminal(pid)))
        while not checking.done():
            turns.append(1)
            await asyncio.sleep(0.005)
        return await checking

    run(ask())

    assert len(below(pid)) == 501
    assert len(turns) > 20


def test_nothing_is_imported_before_the_first_check():
    """Psutil and pynvml cost time and memory that a server without anything due does not need."""
    code = (
        "import sys; from culling_manager.signals import Signals; s = Signals(); s.start(None); "
        "print([name for name in ('psutil', 'pynvml', 'jupyter_server', 'boto3') if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout

    assert shown.strip() == "[]"
