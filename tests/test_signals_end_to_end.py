"""Work that Jupyter cannot see, with real servers, kernels and processes: it survives, and all goes once it ends.

Three stories, each of one server; each is lived once, and what was seen in it is asserted claim by claim. Apps see all
processes of the machine's user, so the servers are told to count only programs of a name that nothing else here has.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest
from tornado.websocket import websocket_connect

from culling_manager.signals import sampler
from tests.conftest import patience, scenario, until
from tests.emulator import SageMaker, environment
from tests.test_config_files import Server, jupyter
from tests.test_end_to_end import BOTH, Client, eventually
from tests.test_gateway import websocket_execute
from tests.test_sagemaker import METADATA
from tests.test_signals_processes import processes, terminal

#: The idle timeout once everything is under way: 3 seconds, in minutes.
SHORT = 0.05
SECONDS = 60 * SHORT
#: Programs of this name are what a user starts.
WORK = f"work{os.getpid()}"
BURN = "while True: pass"
DOWNLOAD = """
import sys, urllib.request
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
with opener.open(sys.argv[1]) as answer, open(sys.argv[2], "wb") as file:
    while part := answer.read(65536):
        file.write(part)
"""
#: A job that its notebook takes notice of when it ends.
JOB = "import subprocess, threading; threading.Thread(target=subprocess.Popen({}).wait, daemon=True).start()"
#: 500 children, two of which work.
STORM = """
import os, time
for number in range(500):
    if os.fork() == 0:
        while True:
            number < 2 or time.sleep(0.5)
time.sleep(600)
"""
#: Works in a session of its own, and belongs to nobody.
FORK = """
import os
os.fork() and os._exit(0)
os.setsid()
os.fork() and os._exit(0)
while True: pass
"""
HOOKS = """
import asyncio, datetime, pathlib
HERE = pathlib.Path(__file__).parent
def note(record, decision):
    with (HERE / "hooked.txt").open("a") as file:
        file.write(f"{record.identity} {type(record).__name__} {decision.reason.name}\\n")
    try:
        with (HERE / "vetoed.txt").open("x") as file:
            file.write(record.identity)
    except FileExistsError:
        return None
    return datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=2)
async def note_async(record, decision):
    await asyncio.sleep(0.1)
    return note(record, decision)
"""
LISTENER = """
import json, pathlib
def _load_jupyter_server_extension(server):
    async def heard(logger, schema_id, data):
        with pathlib.Path(__file__).with_name("heard.jsonl").open("a") as file:
            file.write(json.dumps(data) + "\\n")
    from culling_manager.events import CULLING, register
    register(server)
    server.event_logger.add_listener(schema_id=CULLING, listener=heard)
def _jupyter_server_extension_points():
    return [{"module": "listen"}]
"""

PROGRAMS = {"my_hooks": HOOKS, "listen": LISTENER, "download": DOWNLOAD, "storm": STORM, "fork": FORK}


def all_but(prefix: str) -> list[str]:
    """Patterns for every name that does not begin with `prefix`."""
    found = [prefix[:length] + f"[!{prefix[length]}]*" for length in range(len(prefix))]
    return found + [prefix[:length] for length in range(1, len(prefix))]


@dataclass
class Story:
    """What was seen, and the means to see it: a server, and a program whose processes are known by its path."""

    folder: Path
    server: Server
    client: Client
    program: Path
    seen: dict[str, Any] = field(default_factory=dict)

    def cell(self, kernel: str, code: str) -> None:
        """Run a cell as a page does that is closed afterwards."""

        async def run() -> None:
            socket = await websocket_execute(self.client.url, kernel, code)
            while True:
                message = json.loads(await asyncio.wait_for(socket.read_message(), 30))
                if message["msg_type"] == "execute_reply":
                    assert message["content"]["status"] == "ok", message
                    break
            socket.close()

        asyncio.run(run())

    def type(self, command: str, wait: bool = True) -> str:
        """Type a command into a new terminal; gives the terminal's name."""
        name: str = self.client.ask("POST", "api/terminals")["name"]

        async def typing() -> None:
            url = self.client.url.replace("http", "ws")
            socket = await websocket_connect(f"{url}/terminals/websocket/{name}")
            await socket.write_message(json.dumps(["stdin", f"{command}{'; echo done' if wait else ''}\n"]))
            shown = ""
            while wait and not re.search(r"[\r\n]done", shown):
                message = await asyncio.wait_for(socket.read_message(), 20)
                if message is None or json.loads(message)[0] == "disconnect":
                    break  # it was left
                shown += json.loads(message)[1] if json.loads(message)[0] == "stdout" else ""
            if not wait:
                await asyncio.sleep(0.5)
            socket.close()

        asyncio.run(typing())
        return name

    def work(self, *words: str) -> list[psutil.Process]:
        """The processes of our program, those with all of `words` in their command line."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                line = process.cmdline()
                if line[:1] == [str(self.program)] and set(words) <= set(line):
                    found.append(process)
        return found

    def end_work(self, *words: str) -> None:
        """End those, each by its id."""
        for process in self.work(*words):
            with suppress(psutil.Error):
                process.kill()

    def names(self) -> tuple[list[str], list[str]]:
        """The kernels and terminals that there are."""
        status = self.client.status()
        return [each["id"] for each in status["kernels"]], [each["id"] for each in status["terminals"]]

    def entries(self) -> dict[str, Any]:
        """Kernels, terminals and apps by identity."""
        status = self.client.status()
        return {each["id"]: each for kind in ("kernels", "terminals", "apps") for each in status[kind]}

    def until(self, holds: Callable[[], Any], seconds: float = 40) -> Any:
        return eventually(holds, self.server, seconds)

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "heard.jsonl").read_text().splitlines()]


@contextmanager
def story(folder: Path, *arguments: str, **environ: str) -> Iterator[Story]:
    """A server with our managers, a hook, a listener and quick signals."""
    for name, text in PROGRAMS.items():
        (folder / f"{name}.py").write_text(text)
    program = folder / WORK
    program.symlink_to(os.path.realpath(sys.executable))
    (folder / "config").mkdir()
    (folder / "config" / "jupyter_server_config.json").write_text(
        json.dumps(
            {
                "ProcessSignal": {
                    "sample_seconds": 0.3,
                    "second_look_seconds": 0,
                    "ignored_names": all_but(WORK),
                    "ignored_cpu_share": 1000,
                },
                # kernels of other tests on this machine are busy, too
                "Signals": {"names": ["processes", "gpu", "stamp_file", "documents"]},
                "CullingKernelManager": {"cull_interval": 1, "long_run": 0.02, "grace": patience(5) / 60},
                "ServerApp": {"jpserver_extensions": {"listen": True}, "terminado_settings": {"shell_command": SHELL}},
            }
        )
    )
    paths = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"PYTHONPATH": paths, **environ}.items():
            patch.setenv(name, value)
        with jupyter(folder, *BOTH, *arguments) as server:
            lived = Story(folder, server, Client(server), program)
            try:
                yield lived
            finally:
                lived.end_work()


SHELL = ["/bin/bash", "--norc", "--noprofile"] if os.path.exists("/bin/bash") else ["/bin/sh"]


@contextmanager
def slow_file(rate: float) -> Iterator[str]:
    """A file that does not end until the `with` block does, at `rate` bytes per second; gives its URL."""
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            with suppress(OSError):  # whoever reads may be ended
                while not over.wait(0.05):
                    self.wfile.write(bytes(int(rate / 20)))

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            over.set()
            server.shutdown()


# -- a space: a job in a notebook, a job and a download in terminals, and what does not count --------------


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """A Studio space in which a notebook's job, a terminal's job and a download go on while all else is quiet."""
    folder = tmp_path_factory.mktemp("space")
    metadata = folder / "resource-metadata.json"
    metadata.write_text(json.dumps(METADATA["space"]))
    with SageMaker(region="eu-west-1", account="123456789012") as sagemaker, slow_file(2e6) as url:
        app = sagemaker.add_app("default", "JupyterLab", space="lab")
        hook = "--Safeguards.pre_cull_hook=my_hooks.note"
        with story(folder, hook, RESOURCE_METADATA_FILE=str(metadata), **environment(sagemaker)) as lived:
            tell_space(lived, app, url)
            lived.seen["calls"] = [call.operation for call in sagemaker.calls]
            assert sagemaker.violations == []
            yield lived


def tell_space(lived: Story, app: Any, url: str) -> None:
    seen, client, program = lived.seen, lived.client, lived.program
    seen["quiet kernel"], seen["working kernel"] = client.start_kernel(), client.start_kernel()
    lived.cell(seen["quiet kernel"], "1 + 1")
    lived.cell(seen["working kernel"], JOB.format([str(program), "-c", BURN, "a"]))
    seen["shell"] = lived.type("true")
    seen["editor"] = lived.type("vim" if shutil.which("vim") else "cat", wait=False)
    seen["job"] = lived.type(f"nohup {program} -c '{BURN}' b >/dev/null 2>&1 & true")
    file = lived.folder / "download"
    seen["download"] = lived.type(f"{program} download.py {url} {file} >/dev/null 2>&1 & true")
    lived.until(lambda: file.exists() and len(lived.work()) == 3)
    client.set_timeout(SHORT)

    working = {seen["working kernel"], seen["job"], seen["download"]}
    lived.until(lambda: set().union(*lived.names()) == working)
    time.sleep(2 * SECONDS)
    seen["while they work"] = lived.entries()
    seen["app while they work"] = app.status
    seen["size"] = file.stat().st_size
    lived.end_work("b")
    lived.end_work(url)
    lived.until(lambda: lived.names() == ([seen["working kernel"]], []))
    seen["while the notebook's job works"] = lived.entries()
    seen["app while the notebook's job works"] = app.status
    lived.end_work()
    lived.until(lambda: app.status == "Deleting")

    def ended() -> Any:
        """What the server says once it has heard that its app is deleted, too: SageMaker knows it first."""
        status = client.status()
        there = status["kernels"] or status["terminals"]
        told = [each for each in status["recent"] if (each["kind"], each["result"]) == ("app", "culled")]
        return None if there or not told else status

    seen["in the end"] = lived.until(ended)


def test_a_silent_job_started_from_a_notebook_keeps_its_kernel_and_says_so(space):
    """The cell is over long ago; the job prints nothing and computes."""
    kernel = space.seen["while they work"][space.seen["working kernel"]]

    assert (kernel["state"], kernel["decision"], kernel["reason"]) == ("idle", "keep", "at work")
    assert re.match(rf"Kept: process {WORK} \(pid \d+\) uses \d+% of a core", kernel["detail"])


def test_a_job_started_with_nohup_keeps_its_terminal(space):
    """So does a large silent download, which hardly computes."""
    entries = space.seen["while they work"]

    assert re.search(r"uses \d+% of a core", entries[space.seen["job"]]["detail"])
    assert re.search(r"moves [\d.]+ MB per second", entries[space.seen["download"]]["detail"])
    assert space.seen["size"] > 2e6


def test_an_idle_editor_and_a_bare_shell_keep_nothing(space):
    """Nor does a kernel that nobody uses; all three went at their deadline, while others worked."""
    gone = {space.seen["quiet kernel"], space.seen["shell"], space.seen["editor"]}

    assert not gone & set(space.seen["while they work"])


def test_jobs_keep_the_app_of_their_space_as_long_as_one_of_them_works(space):
    """Those of terminals end first; the notebook's is enough."""
    assert space.seen["app while they work"] == space.seen["app while the notebook's job works"] == "InService"
    (app,) = (each for each in space.seen["while the notebook's job works"].values() if each.get("type"))
    assert app["reason"] == "in use"
    assert app["detail"] == f"Kept by kernel {space.seen['working kernel']} (at work)."


def test_once_the_jobs_have_ended_all_goes_the_app_last(space):
    """Each is culled, and the app is deleted once."""
    recent = [each for each in space.seen["in the end"]["recent"] if each["result"] == "culled"]

    assert space.seen["calls"] == ["DeleteApp"]
    assert [each["kind"] for each in recent[-2:]] == ["kernel", "app"]
    assert len(recent) == 7


def test_the_hook_named_in_the_configuration_is_called_before_each_and_its_answer_counts(space):
    """A plain function: the first that is about to go is kept for two seconds more, and asked about again then."""
    called = [line.split() for line in (space.folder / "hooked.txt").read_text().splitlines()]
    vetoed = (space.folder / "vetoed.txt").read_text()

    assert {kind for _, kind, _ in called} == {"KernelRecord", "TerminalRecord", "AppRecord"}
    assert {reason for _, _, reason in called} == {"IDLE"}
    assert [identity for identity, _, _ in called].count(vetoed) == 2
    kept = {event["reason"] for event in space.events() if (event["identity"], event["action"]) == (vetoed, "kept")}
    assert kept == {"kept alive"}


# -- a server of its own: jobs that have left their terminal -----------------------------------------------


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """A server that ends itself, with jobs in sessions of their own, whose terminals are gone."""
    stop_server = "--CullingKernelManager.app_manager_class=culling_manager.apps.JupyterServerProcess"
    hook = "--Safeguards.pre_cull_hook=my_hooks.note_async"
    with story(tmp_path_factory.mktemp("process"), stop_server, hook) as lived:
        tell_process(lived)
        yield lived


def tell_process(lived: Story) -> None:
    seen, client, program = lived.seen, lived.client, lived.program
    lived.type(f"{program} fork.py a </dev/null >/dev/null 2>&1; exit", wait=False)
    if shutil.which("setsid"):
        lived.type(f"setsid {program} -c '{BURN}' b </dev/null >/dev/null 2>&1 & sleep 0.2; exit", wait=False)
    if shutil.which("tmux"):
        lived.type(f"tmux -L {WORK} -f /dev/null new -d \"{program} -c '{BURN}' c\"; exit", wait=False)
    started = sum(1 for program in (None, "setsid", "tmux") if program is None or shutil.which(program))
    lived.until(lambda: len(lived.work()) == started and lived.names() == ([], []))
    client.set_timeout(SHORT)

    def found_at_work() -> Any:
        """The app, once it was asked about and seen to be at work."""
        apps = client.status()["apps"]
        return apps if [each["reason"] for each in apps] == ["at work"] else None

    for letter in "cb"[3 - started :]:
        time.sleep(1.2 * SECONDS)
        seen[letter] = lived.until(found_at_work)
        lived.end_work(letter)
    time.sleep(1.2 * SECONDS)
    seen["a"], seen["code"] = lived.until(found_at_work), lived.server.process.poll()
    lived.end_work()
    lived.until(lambda: lived.server.process.poll() is not None)
    seen["log"] = lived.server.log.read_text()


def test_detached_jobs_keep_the_app_though_their_terminals_are_gone(process):
    """A double fork, setsid and tmux; each alone is enough."""
    for letter in set(process.seen) & set("abc"):
        (app,) = process.seen[letter]
        assert app["reason"] == "at work"
        assert f"process {WORK} (pid " in app["detail"]
    assert process.seen["code"] is None


def test_once_they_have_ended_the_server_ends_itself_cleanly(process):
    """With exit code 0; and the hook, a coroutine, was called for it, twice, for it wanted two seconds more."""
    assert process.server.process.returncode == 0, process.seen["log"]
    called = [line.split()[1:] for line in (process.folder / "hooked.txt").read_text().splitlines()]
    assert called == [["AppRecord", "IDLE"]] * 2
    assert not re.search("Traceback|Exception", process.seen["log"]), process.seen["log"]


# -- a plain server: long runs, keep-alives, events, and a storm of processes -------------------------------


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """A server without an app: a long run with grace, a short one without, a keep-alive; then 500 processes."""
    with story(
        tmp_path_factory.mktemp("plain"), "--CullingKernelManager.app_manager_class=culling_manager.apps.NoApps"
    ) as lived:
        tell_plain(lived)
        yield lived


def tell_plain(lived: Story) -> None:
    seen, client = lived.seen, lived.client
    for name in ("kept", "short", "long", "looked at"):
        seen[name] = client.start_kernel()
        lived.cell(seen[name], "0")
    client.ask(
        "POST", "sagemaker-studio-autoshutdown/keep-alive", {"duration": "1h", "kind": "kernel", "id": seen["kept"]}
    )
    threads = [
        threading.Thread(target=lived.cell, args=(seen[name], f"import time; time.sleep({seconds})"))
        for name, seconds in (("long", 2.5), ("looked at", 2.5), ("short", 0.1))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ended = time.monotonic()
    lived.cell(seen["looked at"], "1 + 1")
    client.set_timeout(SHORT)
    lived.until(lambda: seen["short"] not in lived.names()[0])
    time.sleep(SECONDS / 2)
    seen["after one timeout"] = lived.entries()
    lived.until(lambda: seen["long"] not in lived.names()[0])
    seen["grace"] = time.monotonic() - ended
    seen["much later"] = lived.entries()
    storm(lived)
    client.ask("DELETE", f"sagemaker-studio-autoshutdown/keep-alive?kind=kernel&id={seen['kept']}")
    lived.until(lambda: lived.names() == ([], []))


def storm(lived: Story) -> None:
    """500 processes in a terminal, and what the server answers meanwhile."""
    name = lived.type(f"{lived.program} storm.py >/dev/null 2>&1 & true")
    lived.until(lambda: len(lived.work()) == 501)
    lived.until(lambda: lived.entries()[name]["reason"] == "at work")
    took, asked, begun = [], set(), time.monotonic()
    end, latest = begun + 4, begun + patience(20)
    while time.monotonic() < end or (time.monotonic() < latest and (len(took) <= 40 or len(asked) <= 1)):
        began = time.monotonic()
        lived.client.ask("GET", "api/status")
        took.append(time.monotonic() - began)
        if len(took) % 20 == 0:
            asked.add(lived.entries()[name]["used_at"])
    lived.seen["took"], lived.seen["samples"], lived.seen["storm"] = sorted(took), len(asked), lived.entries()[name]
    lived.end_work()


def test_500_processes_do_not_keep_the_server_from_answering_while_they_are_sampled(plain):
    """The process table is read off the event loop."""
    took = plain.seen["took"]
    sys.stdout.write(
        f"{len(took)} answers, median {1000 * took[len(took) // 2]:.1f} ms, longest {1000 * took[-1]:.0f} ms\n"
    )

    assert plain.seen["samples"] > 1
    assert len(took) > 40
    assert took[-1] < patience(2), took
    assert plain.seen["storm"]["reason"] == "at work"


def test_after_a_long_run_its_kernel_is_kept_for_the_grace_period(plain):
    """2 seconds were long; 15 seconds of grace at least. The one that ran for an instant went after its timeout."""
    kernel = plain.seen["after one timeout"][plain.seen["long"]]

    assert plain.seen["short"] not in plain.seen["after one timeout"]
    assert kernel["reason"] == "grace period"
    assert re.match(r"Kept for (\d+ s|1 min): a run of 2 s has ended.", kernel["detail"])
    assert plain.seen["grace"] > 14


def test_a_short_cell_after_a_long_run_does_not_end_the_grace_period(plain):
    """To look at the results is what it is for."""
    kernel = plain.seen["after one timeout"][plain.seen["looked at"]]

    assert plain.seen["short"] not in plain.seen["after one timeout"]
    assert kernel["reason"] == "grace period"


def test_a_keep_alive_by_http_keeps_a_kernel_until_it_is_taken_back(plain):
    """Far past its deadline; then it is gone at once."""
    kernel = plain.seen["much later"][plain.seen["kept"]]

    assert kernel["reason"] == "kept alive"
    assert kernel["idle_seconds"] > 2 * SECONDS


def test_a_listener_on_the_event_bus_hears_of_warnings_and_what_came_of_them(plain):
    """Each once, in order, by the schema that is shipped."""
    heard: dict[str, list[str]] = {}
    for event in plain.events():
        heard.setdefault(event["identity"], []).append(event["action"])

    assert heard[plain.seen["short"]] == ["warned", "culled"]
    assert heard[plain.seen["kept"]][-1] == "culled"
    assert "kept" in heard[plain.seen["kept"]]
    assert heard[plain.seen["long"]].count("culled") == 1


def test_an_event_says_what_is_due_and_why(plain):
    """Reason, idle seconds, deadline, and a sentence."""
    warning = next(event for event in plain.events() if event["action"] == "warned")

    assert warning["kind"] == "kernel"
    assert warning["reason"] == "active"
    assert 0 <= warning["idle_seconds"] <= SECONDS
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", warning["due_at"])
    assert re.match(r"Idle for \d+ s, due in \d+ s(, unless it still works)?\.$", warning["detail"])


# -- what these stories have found ---------------------------------------------------------------------------


@scenario
async def test_a_job_that_has_ended_is_not_at_work_though_nobody_took_notice(monkeypatch):
    """A notebook's `Popen` without `wait` leaves a zombie."""
    monkeypatch.setattr(sampler, "EARLIER_APART_SECONDS", 0.1)
    job = subprocess.Popen([sys.executable, "-c", BURN], start_new_session=True)
    made, asked = processes(), terminal(job.pid)
    asked = asked._replace(since=datetime.fromtimestamp(time.time() - 60, timezone.utc))
    try:
        await until(lambda: made.check(asked))
        await made.check(asked)
    finally:
        job.kill()
    await until(lambda: psutil.Process(job.pid).status() == psutil.STATUS_ZOMBIE)
    await made.check(asked)  # a sample that began before its end

    words = await made.check(asked)
    job.wait()

    assert words is None
