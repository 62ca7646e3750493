"""Kernels that another program started: while they work they keep the app, whoever lists them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from culling_manager.managers.local import local_pid
from culling_manager.records import Kind
from culling_manager.signals import OtherKernelsSignal, ProcessSignal, Signals
from culling_manager.signals.runtime import kernel_of, kernels, other_servers, read_connection
from culling_manager.signals.sampler import Sample
from culling_manager.signals.snapshot import Row, Table
from culling_manager.signals.table import read_table
from culling_manager.signals.usage import Usage
from tests.conftest import scenario, until
from tests.test_signals_runner import subject

APP = subject(Kind.APP, here=True)
#: A program as papermill and nbconvert are: it starts a kernel, gives it a cell, and waits.
JOB = """
import sys
from jupyter_client.manager import start_new_kernel
manager, client = start_new_kernel(kernel_name="python3")
print(manager.connection_file, manager.provisioner.pid, flush=True)
client.execute(sys.argv[1])
sys.stdin.readline()
"""


@pytest.fixture
def runtime(tmp_path, monkeypatch):
    """An empty runtime directory."""
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    return tmp_path


class Job:
    """A program with a kernel that runs a cell; both are ended by their pids."""

    def __init__(self, cell: str) -> None:
        command = [sys.executable, "-c", JOB, cell]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(command, **pipes)
        assert self.process.stdout
        self.file, pid = self.process.stdout.readline().decode().split()
        self.kernel = int(pid)

    def end(self) -> None:
        for pid in (self.kernel, self.process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                pipe.close()


@pytest.fixture
def job(request, runtime):
    made = Job(request.param)
    yield made
    made.end()


def only(monkeypatch, *pids: int) -> None:
    """See these processes, the tests and what is above them: other tests have kernels, too."""

    def read(most: int) -> Table:
        found = read_table(100_000)
        wanted = {*pids, *found.ancestors(os.getpid())}
        rows = {pid: row for pid, row in found.rows.items() if pid in wanted}
        return Table(rows=rows, read_at=found.read_at, count=len(rows))

    monkeypatch.setattr("culling_manager.signals.table.read_table", read)


SILENT = "import time; time.sleep(600)"


@pytest.mark.parametrize("job", [SILENT], indirect=True)
@scenario
async def test_a_silent_cell_of_a_scheduled_job_keeps_the_app(job, monkeypatch):
    """It uses nothing and says nothing; only its control channel answers."""
    only(monkeypatch, job.process.pid, job.kernel)
    made = OtherKernelsSignal()

    words = await until(lambda: made.check(APP), 30)

    assert words.startswith("a kernel that python")
    assert words.endswith(f" started runs a cell (pid {job.kernel})")


@pytest.mark.parametrize("job", ["1 + 1"], indirect=True)
@scenario
async def test_a_kernel_of_another_program_that_is_idle_keeps_nothing(job, monkeypatch):
    """A console that was left open is no use."""
    only(monkeypatch, job.process.pid, job.kernel)
    made = OtherKernelsSignal(answer_seconds=10)

    async def rests():
        return await made.check(APP) is None

    assert await until(rests, 60)


@pytest.mark.parametrize("job", [SILENT], indirect=True)
@scenario
async def test_a_kernel_of_this_servers_own_list_is_not_another_programs(job, monkeypatch):
    """It is looked after by its manager."""
    only(monkeypatch, job.process.pid, job.kernel)
    made = OtherKernelsSignal(answer_seconds=0.1)
    kernel = SimpleNamespace(connection_file=job.file, provisioner=None)
    made.start(SimpleNamespace(kernel_manager=SimpleNamespace(_kernels={"k": kernel})))

    assert await made.check(APP) is None


@pytest.mark.parametrize("job", ["1 + 1"], indirect=True)
@scenario
async def test_a_kernel_that_nobody_can_ask_keeps_while_the_program_that_started_it_lives(job, monkeypatch):
    """Its connection file is gone; then so is the program; then the program is another server."""
    only(monkeypatch, job.process.pid, job.kernel)
    Path(job.file).unlink()
    made = OtherKernelsSignal()

    words = await made.check(APP)
    monkeypatch.setattr("culling_manager.signals.runtime.other_servers", lambda table, pid: {job.process.pid})
    of_another_server = await made.check(APP)
    monkeypatch.undo()
    only(monkeypatch, job.kernel)
    without_parent = await made.check(APP)

    assert "cannot be asked, and the program that started it lives" in words
    assert of_another_server is without_parent is None


@pytest.mark.parametrize("job", [SILENT], indirect=True)
@scenario
async def test_a_cell_in_a_second_servers_kernel_is_not_killed_either(job, monkeypatch):
    """Both live on this machine, which goes as a whole."""
    only(monkeypatch, job.process.pid, job.kernel)
    monkeypatch.setattr("culling_manager.signals.runtime.other_servers", lambda table, pid: {job.process.pid})
    made = OtherKernelsSignal()

    assert "runs a cell" in await until(lambda: made.check(APP), 30)


def connection(**what) -> dict:
    ports = dict.fromkeys(("shell_port", "control_port", "hb_port", "iopub_port", "stdin_port"), 1)
    return {**ports, "key": "k", "ip": "127.0.0.1", "transport": "tcp", "signature_scheme": "hmac-sha256", **what}


def test_a_connection_file_is_a_regular_small_one_of_this_user(tmp_path):
    """No symbolic link, no pipe that hangs, nothing large, nothing else."""
    good, link, pipe, large = (tmp_path / f"{name}.json" for name in ("good", "link", "pipe", "large"))
    good.write_text(json.dumps(connection()))
    link.symlink_to(good)
    os.mkfifo(pipe)
    large.write_text(json.dumps(connection(more="x" * 70_000)))
    bad = ("", "[", "[1]", "[" * 50_000, '{"shell_port": 1}', json.dumps(connection(hb_port="x")))
    for number, text in enumerate(bad):
        (tmp_path / f"bad{number}.json").write_text(text)

    assert read_connection(good) == connection()
    assert [read_connection(path) for path in (link, pipe, large, tmp_path, tmp_path / "none.json")] == [None] * 5
    assert [read_connection(path) for path in sorted(tmp_path.glob("bad*"))] == [None] * 6


def test_a_kernel_is_known_by_its_command_line(tmp_path):
    """Of any language; a program with another JSON file is none."""
    file, other = tmp_path / "kernel-1.json", tmp_path / "config.json"
    file.write_text(json.dumps(connection()))
    other.write_text("{}")

    found = [
        kernel_of(7, 1, words)
        for words in (
            ["python", "-m", "ipykernel_launcher", "-f", str(file)],
            ["python", "-m", "ipykernel_launcher", f"--f={file}"],
            ["R", "--slave", "-e", "IRkernel::main()", "--args", str(file)],
            ["python", "-m", "ipykernel_launcher", "-f", "/gone.json"],
            ["python", "train.py", "--config", str(other)],
            [],
        )
    ]

    assert [each and (each.file, bool(each.info)) for each in found] == [
        *[(str(file.resolve()), True)] * 3, ("", False), None, None,
    ]  # fmt: skip


def test_a_kernel_that_was_started_by_hand_is_known_by_its_number(runtime):
    """`ipython kernel` is given no file, and names its own by its process."""
    (runtime / f"kernel-{os.getpid()}.json").write_text(json.dumps(connection()))
    table = read_table(100_000)

    [found] = [each for each in kernels(table, os.getuid()) if each.pid == os.getpid()]

    assert found.info == connection()


def test_another_server_is_known_by_its_runtime_file(runtime):
    """Unless its number was given to another process since, or the file is somebody's trick."""
    numbers = (11, 12, 13, 14)
    for number in numbers:
        (runtime / f"jpserver-{number}.json").write_text("{}")
    (runtime / "jpserver-15.json").symlink_to(runtime / "jpserver-11.json")
    written = (runtime / "jpserver-11.json").stat().st_mtime
    rows = [Row(pid=number, parent=1, user=os.getuid(), started_at=written - 1) for number in (11, 13, 15)]
    rows += [Row(pid=12, parent=1, user=os.getuid(), started_at=written + 60), Row(pid=16, parent=1)]

    assert other_servers(Table(rows={row.pid: row for row in rows}), server_pid=13) == {11}


def test_two_servers_of_one_user_do_not_keep_each_other_alive():
    """What a server does itself is no work; what it has started is."""
    rows = [Row(pid=1, parent=0), Row(pid=os.getpid(), parent=1, user=5)]
    rows += [Row(pid=70, parent=1, user=5), Row(pid=71, parent=70, user=5)]
    table = Table(rows={row.pid: row for row in rows}, count=4)

    def found(*pids: int) -> str | None:
        busy = [Usage(row=table.rows[pid], cpu_share=0.5) for pid in pids]
        what = {"busy_since": [], "earlier_at": None, "workers": frozenset(), "servers": frozenset({70})}
        sample = Sample(table=table, count=4, busy=busy, **what)
        return ProcessSignal()._sampler.found(sample, APP)

    assert found(70) is None
    assert "(pid 71)" in found(70, 71)


@scenario
async def test_a_port_at_which_something_else_listens_is_nobody_who_answers(runtime, monkeypatch):
    """It neither hangs nor fails."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        file = runtime / f"kernel-{os.getpid()}.json"
        file.write_text(json.dumps(connection(shell_port=port, control_port=port)))
        only(monkeypatch, os.getpid())
        made = OtherKernelsSignal(answer_seconds=0.2)

        words = await made.check(APP)

    assert words is None or "cannot be asked" in words


def test_it_is_asked_by_default_about_the_app_of_this_machine_alone():
    """A kernel or terminal is no matter of it."""
    made = Signals().signals["other_kernels"]

    assert made.applies(APP)
    assert not made.applies(subject(Kind.APP))
    assert not made.applies(subject(Kind.KERNEL, pids=(1,)))
    assert psutil.pid_exists(os.getpid())


def test_the_number_of_a_process_elsewhere_is_none_of_ours():
    """A remote provisioner tells a number that here belongs to somebody else, or to nobody."""
    from jupyter_client.provisioning import LocalProvisioner

    local = LocalProvisioner()
    local.pid = 7
    with subprocess.Popen([sys.executable, "-c", "pass"]) as process:
        found = [
            local_pid(SimpleNamespace(provisioner=each))
            for each in (
                local,
                SimpleNamespace(pid=process.pid, process=process),
                SimpleNamespace(pid=os.getpid(), process=None),
                SimpleNamespace(pid=os.getpid(), process=SimpleNamespace(pid=os.getpid())),
                SimpleNamespace(pid="7", process=process),
                None,
            )
        ]

    assert found == [7, process.pid, None, None, None, None]
