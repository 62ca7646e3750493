"""Another kernel manager in the place of ours: a stand-in, and the packages in the wild that do so, where installed.

hatch run jsd:run             with jupyter_server_documents 0.2 and 0.3, and in two images' sets of packages
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.session import DELIM
from tornado.websocket import websocket_connect
from traitlets.config import Config, LoggingConfigurable

from culling_manager import GatewayCullingKernelManager
from culling_manager.decisions import Reason, decide
from culling_manager.engine.clock import utcnow
from culling_manager.engine.culler import IdleCuller
from culling_manager.errors import ReadError
from culling_manager.managers import guest_kernel
from culling_manager.managers.ear import Ear
from culling_manager.managers.guest_settings import settings_of
from culling_manager.managers.guest_source import GuestKernelSource
from culling_manager.managers.guests import asked_for, note_asked_for
from culling_manager.managers.questions import NOTHING_TO_RUN
from culling_manager.policy import CullingPolicy
from culling_manager.rules.proof import proof_at
from tests.conftest import patience, scenario, silent_until, until
from tests.emulator import SageMaker, environment
from tests.stand_in import StandInKernelManager
from tests.test_config_files import Server, jupyter
from tests.test_sagemaker import METADATA

#: What is installed here of those that put a kernel manager of their own in place -> its extension.
WILD = {"jupyter_server_documents": "jupyter_server_documents", "nextgen_kernels_api": "nextgen_kernels_api"}
#: A timeout (minutes) at which nothing is due while a test looks around.
LATER = 50.0
#: The timeout that is set once everything is quiet (minutes): a second and a half.
SHORT = 0.025
#: Once everything is quiet it is gone within this (seconds), on a machine that has other things to do.
PATIENCE = 90.0


@pytest.fixture(autouse=True)
def _stand_in_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))


def installed(name: str) -> str | None:
    """The version of a distribution; None where it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def wild(name: str) -> Any:
    """A test's parameter for a package in the wild, which is skipped where that is not installed, and says so."""
    found = installed(name)
    return pytest.param(WILD[name], id=name, marks=[] if found else pytest.mark.skip(f"{name} is not installed"))


GUESTS = [pytest.param("tests.stand_in", id="stand-in"), *(wild(name) for name in WILD)]


@contextmanager
def server_with(extension: str, home: Path, *arguments: str) -> Iterator[Server]:
    """A server on which our managers are selected, and an extension that has other plans; and no other such."""
    ours = (
        "--ServerApp.kernel_manager_class=culling_manager.CullingKernelManager",
        "--TerminalsExtensionApp.terminal_manager_class=culling_manager.CullingTerminalManager",
        f"--CullingKernelManager.idle_timeout={LATER}",
        "--CullingKernelManager.cull_interval=0.3",
        "--Signals.names=documents",
    )
    enabled = [f"--ServerApp.jpserver_extensions={name}=True" for name in ("jupyter_server_terminals", extension)]
    enabled += [f"--ServerApp.jpserver_extensions={name}=False" for name in WILD.values() if name != extension]
    (home / "data").mkdir(exist_ok=True)  # jupyter_server_fileid has its database there
    with jupyter(home, *ours, *enabled, *arguments) as server:
        yield server


class Page:
    """Talks to a server over HTTP, and to its kernels as its own programs do."""

    def __init__(self, server: Server, home: Path) -> None:
        self.server, self.home, self.url = server, home, f"http://127.0.0.1:{server.port}"
        self.session = requests.Session()
        self.session.get(f"{self.url}/tree", timeout=patience(30))

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        headers = {"X-XSRFToken": self.session.cookies["_xsrf"]}
        answer = self.session.request(method, f"{self.url}/{path}", json=body, headers=headers, timeout=patience(60))
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def start_kernel(self) -> str:
        return self.ask("POST", "api/kernels", {"name": "python3"})["id"]

    def status(self) -> Any:
        return self.ask("GET", "sagemaker-studio-autoshutdown/status")

    def set_timeout(self, minutes: float) -> None:
        self.ask("POST", "sagemaker-studio-autoshutdown/settings", {"idle_time": minutes})

    def kernels(self) -> list[str]:
        return [kernel["id"] for kernel in self.ask("GET", "api/kernels")]

    def client(self, kernel_id: str) -> BlockingKernelClient:
        file = next(self.home.rglob(f"kernel-{kernel_id}.json"))
        client = BlockingKernelClient(connection_file=str(file))
        client.load_connection_file()
        client.start_channels()
        end = time.monotonic() + PATIENCE
        while True:
            try:
                client.wait_for_ready(timeout=patience(60))
            except RuntimeError:  # on a crowded machine its heart does not beat within a second
                assert time.monotonic() < end
            else:
                return client


def eventually(holds: Callable[[], Any], server: Server) -> Any:
    """Wait until `holds` gives something true, and give that."""
    end = time.monotonic() + PATIENCE
    while True:
        found = holds()
        if found:
            return found
        assert time.monotonic() < end, server.log.read_text()
        time.sleep(0.1)


# -- whole servers -----------------------------------------------------------------------------------


@pytest.mark.timeout(900)
@pytest.mark.parametrize("extension", GUESTS)
def test_kernels_terminals_and_a_spaces_app_go_at_their_timeout_and_work_stays(extension, tmp_path, monkeypatch):
    """Whoever's the kernel manager is: the busy kernel keeps all until it is done, then everything goes."""
    metadata = tmp_path / "resource-metadata.json"
    metadata.write_text(json.dumps(METADATA["space"]))
    with SageMaker(region="eu-west-1", account="123456789012") as sagemaker:
        app = sagemaker.add_app("default", "JupyterLab", space="lab")
        for name, value in {"RESOURCE_METADATA_FILE": str(metadata), **environment(sagemaker)}.items():
            monkeypatch.setenv(name, value)
        with server_with(extension, tmp_path) as server:
            page = Page(server, tmp_path)
            idle, busy = page.start_kernel(), page.start_kernel()
            page.ask("POST", "api/terminals")
            client = page.client(busy)
            done = tmp_path / "done"
            client.execute(silent_until(done))
            eventually(lambda: {k["id"]: k["state"] for k in page.status()["kernels"]}.get(busy) == "busy", server)
            before = page.status()
            page.set_timeout(SHORT)
            eventually(lambda: page.kernels() == [busy] and page.ask("GET", "api/terminals") == [], server)
            time.sleep(2)
            meanwhile = page.status()
            done.touch()
            eventually(lambda: app.status == "Deleting", server)
            after = page.kernels()
        client.stop_channels()

    assert before["policy"]["idle_timeout"] == LATER * 60
    assert {kernel["id"] for kernel in before["kernels"]} == {idle, busy}
    assert [(kernel["id"], kernel["reason"]) for kernel in meanwhile["kernels"]] == [(busy, Reason.BUSY.value)]
    assert meanwhile["app_manager"]["class"] == "SpaceApp"
    assert after == []


@pytest.mark.timeout(900)
@pytest.mark.parametrize("extension", GUESTS)
def test_a_server_process_ends_itself(extension, tmp_path):
    """Cleanly, after its kernels."""
    process = "--CullingKernelManager.app_manager_class=culling_manager.apps.JupyterServerProcess"
    with server_with(extension, tmp_path, process) as server:
        page = Page(server, tmp_path)
        page.start_kernel()
        page.set_timeout(SHORT)
        eventually(lambda: server.process.poll() is not None, server)
        code = server.process.poll()

    assert code == 0, server.log.read_text()


@pytest.mark.timeout(900)
def test_status_says_who_took_the_place_and_asks_nobody_to_set_what_is_set(tmp_path):
    """The class, where it comes from, and that it is watched; settings, metrics and keep-alives work as with ours."""
    flags = ("--MappingKernelManager.cull_idle_timeout=7", "--CullingKernelManager.cull_connected=False")
    with server_with("tests.stand_in", tmp_path, *flags) as server:
        page = Page(server, tmp_path)
        kernel = page.start_kernel()
        eventually(lambda: page.status()["kernels"], server)
        page.ask("POST", "sagemaker-studio-autoshutdown/keep-alive", {"kind": "kernel", "id": kernel, "duration": "1h"})
        page.set_timeout(SHORT)
        status = eventually(lambda: next((s for s in [page.status()] if s["kernels"][0]["kept_until"]), None), server)
        settings = page.ask("GET", "sagemaker-studio-autoshutdown/idle_checker")
        metrics = page.session.get(f"{page.url}/metrics", timeout=patience(30)).text
        log = server.log.read_text()

    assert len(status["notices"]) == 1
    assert "tests.stand_in.StandInKernelManager" in status["notices"][0]
    assert "the package tests put it in the place of culling_manager.CullingKernelManager" in status["notices"][0]
    assert "watched as a guest" in status["notices"][0]
    assert "Configure" not in status["notices"][0]
    assert "set ServerApp.kernel_manager_class" not in log
    assert status["kernels"][0]["reason"] == Reason.KEPT_ALIVE.value
    assert status["policy"]["cull_connected"] is False
    assert (settings["idle_time"], settings["errors"]) == (SHORT * 60, None)
    assert 'culling_present{kind="kernel"' in metrics
    assert "Culling kernel" not in log  # upstream's own culler, whose timeout is configured as well


@pytest.mark.timeout(900)
def test_jupyters_own_manager_in_the_place_of_the_one_that_was_selected_is_a_guest_too(tmp_path, monkeypatch):
    """Nobody knows who put it there."""
    own = "jupyter_server.services.kernels.kernelmanager.AsyncMappingKernelManager"
    monkeypatch.setenv("STAND_IN", own)
    with server_with("tests.stand_in", tmp_path) as server:
        page = Page(server, tmp_path)
        page.start_kernel()
        notices = page.status()["notices"]
        page.set_timeout(SHORT)
        eventually(lambda: page.kernels() == [], server)

    assert len(notices) == 1
    assert notices[0].startswith(f"The kernel manager is {own}: an extension put it in the place of")


@pytest.mark.timeout(900)
def test_settings_that_ours_refuses_end_the_start_of_the_server(tmp_path):
    """As they do where our manager itself refuses them."""
    with (
        pytest.raises(pytest.fail.Exception, match="does not answer"),
        server_with("tests.stand_in", tmp_path, "--CullingKernelManager.busy_timeout=-1"),
    ):
        pass

    assert "Bad config encountered during initialization" in (tmp_path / "server.log").read_text()


@pytest.mark.timeout(900)
@pytest.mark.parametrize("extension", GUESTS)
def test_a_connection_that_its_manager_is_not_told_of_keeps_where_connections_keep(extension, tmp_path):
    """`cull_connected = False`: as long as a page is open, and then no longer."""
    with server_with(extension, tmp_path, "--CullingKernelManager.cull_connected=False") as server:
        page = Page(server, tmp_path)
        kernel = page.start_kernel()
        client = page.client(kernel)  # it has started
        client.stop_channels()

        async def look_on():
            socket = await websocket_connect(f"ws://127.0.0.1:{server.port}/api/kernels/{kernel}/channels")
            page.set_timeout(SHORT)
            await asyncio.sleep(4)
            shown = page.status()["kernels"]
            socket.close()
            return shown

        meanwhile = asyncio.run(look_on())
        eventually(lambda: page.kernels() == [], server)

    assert [(each["id"], each["connections"], each["reason"]) for each in meanwhile] == [
        (kernel, 1, Reason.CONNECTED.value)
    ]


# -- what is asked of a source, of a manager in this process -------------------------------------------


@asynccontextmanager
async def guest(**settings: Any) -> AsyncIterator[tuple[GuestKernelSource, str]]:
    """A source that watches a stand-in's manager with one kernel, whose main thread is free."""
    manager = StandInKernelManager(kernel_manager_class="tests.stand_in.StandInKernel")
    own = settings_of("CullingKernelManager", None)
    for name, value in settings.items():
        setattr(own, name, value)
    source = GuestKernelSource(manager, own, IdleCuller(), "a guest")
    kernel_id = await manager.start_kernel(kernel_name="python3")
    try:
        await source.refresh()
        client = manager.get_kernel(kernel_id).client()
        client.start_channels()
        await client.wait_for_ready(timeout=patience(60))
        client.stop_channels()
        yield source, kernel_id
    finally:
        await manager.shutdown_all(now=True)
        await source.refresh()


def decision(source: GuestKernelSource, kernel_id: str, seconds: float = 0.0) -> Any:
    """What is decided on a kernel so many seconds from now."""
    now = utcnow() + timedelta(seconds=seconds)
    return decide(source.read(kernel_id, now), CullingPolicy(idle_timeout=60.0), now)


@scenario
async def test_what_runs_in_a_kernel_is_its_use_and_what_a_page_asks_by_itself_is_not(tmp_path):
    """Its manager tells of neither; it is heard."""
    async with guest() as (source, kernel_id):
        client = source.manager.get_kernel(kernel_id).client()
        client.start_channels()
        ear = source.guests.known[kernel_id].ear
        await until(lambda: client.kernel_info() and ear.talked_at, 60)  # it may not have been heard at first
        used = source.read(kernel_id, utcnow()).last_activity
        talked = ear.talked_at
        client.kernel_info()
        await until(lambda: ear.talked_at > talked, 60)
        polled = source.read(kernel_id, utcnow()).last_activity
        client.execute(silent_until(tmp_path / "done"))
        await until(lambda: source.read(kernel_id, utcnow()).state == "busy", 60)
        busy = decision(source, kernel_id, 3600)
        await asyncio.sleep(1)
        (tmp_path / "done").touch()
        await until(lambda: source.read(kernel_id, utcnow()).state != "busy", 60)
        ran = source.read(kernel_id, utcnow())
        client.stop_channels()

    assert polled == used
    assert busy.reason is Reason.BUSY
    assert ran.last_activity > used
    assert ran.run_seconds >= 0.9


@scenario
async def test_a_kernel_whose_work_nobody_heard_is_asked_and_kept():
    """It was given its cell before we listened; its main thread does not answer, its control channel does."""
    async with guest() as (source, kernel_id):
        client = source.manager.get_kernel(kernel_id).client()
        client.start_channels()
        client.execute(SILENT)
        ear = source.guests.known[kernel_id].ear
        await until(lambda: ear.working, 60)
        ear.started_anew()
        before = source.read(kernel_id, utcnow())
        await source.confirm(before)
        after = source.read(kernel_id, utcnow())
        client.stop_channels()

    assert before.state == "starting"
    assert after.last_activity > before.last_activity


@scenario
async def test_a_kernel_that_was_found_at_work_and_then_free_was_in_use_until_then(monkeypatch):
    """Nobody heard when it ended between two questions; the third finds it free again, and changes nothing."""
    answers = ["busy", None, "free", "free"]

    async def ask(info: Any, seconds: float) -> str | None:
        return answers.pop(0)

    monkeypatch.setattr("culling_manager.managers.guest_source.ask", ask)
    async with guest() as (source, kernel_id):
        used = [source.read(kernel_id, utcnow()).last_activity]
        for _ in range(4):
            with suppress(ReadError):  # it gives no answer once, which says nothing
                await source.confirm(source.read(kernel_id, utcnow())._replace(state="idle"))
            used.append(source.read(kernel_id, utcnow()).last_activity)

    assert [later > earlier for earlier, later in pairwise(used)] == [True, False, True, False]


@scenario
async def test_a_kernel_that_answers_nobody_is_kept_and_that_is_said():
    """Its process is there and stands still: nobody can tell what it is about."""
    async with guest() as (source, kernel_id):
        pid = source.roots(kernel_id).pids[0]
        os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(ReadError, match="nobody can tell"):
                await source.confirm(source.read(kernel_id, utcnow()))
        finally:
            os.kill(pid, signal.SIGCONT)
        await source.confirm(source.read(kernel_id, utcnow()))  # and now it answers


@scenario
async def test_a_state_that_nobody_knows_keeps():
    """As `unknown` does, with which some managers give up."""
    async with guest() as (source, kernel_id):
        source.manager.get_kernel(kernel_id).execution_state = "unknown"
        found = decision(source, kernel_id, 3600)

    assert (found.cull, found.reason) == (False, Reason.UNKNOWN)


@scenario
async def test_a_kernel_shown_as_dead_has_time_to_be_restarted_and_is_then_believed(monkeypatch):
    """Some managers show 'dead' in the middle of a restart."""
    async with guest() as (source, kernel_id):
        source.manager.get_kernel(kernel_id).execution_state = "dead"
        await source.refresh()
        at_first = decision(source, kernel_id)
        monkeypatch.setattr(guest_kernel, "DEAD_SECONDS", 0.0)
        await source.refresh()
        later = decision(source, kernel_id)

    assert not at_first.cull
    assert (later.cull, later.reason) == (True, Reason.DEAD)


@scenario
async def test_a_restart_is_use_and_ends_what_ran():
    """The process is another one."""
    async with guest() as (source, kernel_id):
        known = source.guests.known[kernel_id]
        known.ear.working.add("a request that will never be answered")
        before = source.read(kernel_id, utcnow())
        await source.manager.restart_kernel(kernel_id)
        await source.refresh()
        after = source.read(kernel_id, utcnow())

    assert before.state == "busy"
    assert after.state == "starting"
    assert after.last_activity > before.last_activity


@scenario
async def test_a_kernel_that_somebody_else_ends_was_used_until_then():
    """What it lived on hears of that, though its manager tells nobody."""
    left = []
    async with guest() as (source, kernel_id):
        source._culler.neighbours = SimpleNamespace(left=lambda record, at: left.append((record.identity, at)))
        source.read(kernel_id, utcnow())
        began = utcnow()
        await source.manager.shutdown_kernel(kernel_id, now=True)
        listed = [identity for identity, _, _ in source.glance(CullingPolicy())]
        with pytest.raises(KeyError):
            source.read(kernel_id, utcnow())

    assert listed == []
    assert [identity for identity, _ in left] == [kernel_id]
    assert left[0][1] >= began


@scenario
async def test_a_manager_that_does_not_list_its_kernels_is_an_error_that_names_it():
    """Then nothing is decided on what was known before."""

    def list_kernels():
        raise OSError("no route")

    async with guest() as (source, _):
        working, source.manager.list_kernels = source.manager.list_kernels, list_kernels
        with pytest.raises(ReadError, match=r"StandInKernelManager does not list its kernels: .*no route"):
            await source.refresh()
        source.manager.list_kernels = working


# -- a lost 'idle' ---------------------------------------------------------------------------------------


def our_ear_lost_it(source: GuestKernelSource, kernel_id: str) -> None:
    """An overflow of IOPub: it began something, and nothing was heard since."""
    source.guests.known[kernel_id].ear.working.add("what was done long ago")


def its_manager_lost_it(source: GuestKernelSource, kernel_id: str) -> None:
    """It is shown as busy, whatever it says."""
    source.manager.get_kernel(kernel_id).execution_state = "busy"


LOST = pytest.mark.parametrize("lose", [our_ear_lost_it, its_manager_lost_it])
#: A silent cell that runs for longer than a question takes.
SILENT = "import time; time.sleep(20)"


@LOST
@scenario
async def test_a_kernel_whose_idle_was_lost_is_asked_and_goes_like_any_other(lose):
    """By itself, one timeout after it last said something, and then a timeout after it has shown that it is done."""
    async with guest(idle_timeout=1 / 60, cull_interval=0.2) as (source, kernel_id):
        lose(source, kernel_id)
        busy = source.read(kernel_id, utcnow()).state
        source._culler.attach(source)
        source._culler.start()
        await until(lambda: kernel_id not in source.manager and source._culler.outcomes, 90)
        source._culler.stop()

    assert busy == "busy"
    assert source._culler.outcomes[-1].reason == Reason.IDLE.value
    assert source._culler.outcomes[-1].idle_seconds < 60


@LOST
@scenario
async def test_what_is_used_again_after_it_was_asked_is_busy_again(lose):
    """Only what was lost is not believed any more."""
    async with guest() as (source, kernel_id):
        lose(source, kernel_id)
        await source.prove(source.read(kernel_id, utcnow()))
        asked = source.read(kernel_id, utcnow())
        client = source.manager.get_kernel(kernel_id).client()
        client.start_channels()
        client.execute(SILENT)
        await until(lambda: source.read(kernel_id, utcnow()).state == "busy", 60)
        client.stop_channels()

    assert asked.state != "busy"
    assert asked.checked_at <= asked.last_activity


@pytest.mark.parametrize("subshell", [False, True], ids=["in its main thread", "in a subshell"])
@scenario
async def test_a_silent_cell_of_a_guests_survives_being_asked(subshell):
    """It is as busy as before, and asked again a timeout later."""
    async with guest() as (source, kernel_id):
        client = source.manager.get_kernel(kernel_id).client()
        client.start_channels()
        message = client.session.msg("execute_request", {**NOTHING_TO_RUN, "code": SILENT})
        if subshell:
            client.control_channel.send(client.session.msg("create_subshell_request"))
            made = await client.get_control_msg(timeout=60)
            message["header"]["subshell_id"] = made["content"]["subshell_id"]
        client.shell_channel.send(message)
        ear = source.guests.known[kernel_id].ear
        await until(lambda: ear.working, 60)
        our_ear_lost_it(source, kernel_id)
        await source.prove(source.read(kernel_id, utcnow()))
        after = source.read(kernel_id, utcnow())
        client.stop_channels()

    assert after.state == "busy"
    assert after.checked_at > after.last_activity
    assert proof_at(after, CullingPolicy(idle_timeout=60.0)) == after.checked_at + timedelta(seconds=60)


@scenario
async def test_a_guest_that_cannot_be_asked_stays_busy():
    """Only its manager knows where it listens."""
    async with guest() as (source, kernel_id):
        known = source.guests.known[kernel_id]
        info, known.info = known.info, None
        its_manager_lost_it(source, kernel_id)
        await source.prove(source.read(kernel_id, utcnow()))
        after = source.read(kernel_id, utcnow())
        known.info = info

    assert (after.state, after.checked_at is not None) == ("busy", True)


@pytest.mark.parametrize(
    ("sections", "minutes"),
    [
        ({"CullingKernelManager": {"idle_timeout": 3}}, 3),
        ({"MappingKernelManager": {"cull_idle_timeout": 240}}, 4),
        ({"AsyncMappingKernelManager": {"cull_idle_timeout": 300}}, 5),
        ({"CullingKernelManager": {"idle_timeout": 3}, "MappingKernelManager": {"cull_idle_timeout": 240}}, 3),
        ({}, 120),
    ],
)
def test_settings_are_those_of_our_manager_in_whatever_section(sections, minutes):
    """Also upstream's, which ours inherits."""
    server = SettingsOf(config=Config(sections))

    found = settings_of("CullingKernelManager", server)

    assert found.policy_fields()["idle_timeout"] == minutes * 60


@pytest.mark.parametrize(
    ("config", "wanted"),
    [
        ({"ServerApp": {"kernel_manager_class": "culling_manager.CullingKernelManager"}}, "CullingKernelManager"),
        ({"ServerApp": {"kernel_manager_class": GatewayCullingKernelManager}}, "GatewayCullingKernelManager"),
        ({"CullingKernelManager": {"idle_timeout": 3}}, "CullingKernelManager"),
        ({"ServerApp": {"kernel_manager_class": "elsewhere.Manager"}}, None),
        ({}, None),
    ],
)
def test_ours_was_asked_for_when_it_was_selected_or_has_settings(config, wanted):
    """Whatever is selected later on, by an extension."""
    server = SimpleNamespace(config=Config(config))

    note_asked_for(server)
    server.config.ServerApp.kernel_manager_class = "another.Manager"

    assert asked_for(server) == wanted


class SettingsOf(LoggingConfigurable):
    """Something with a configuration, as a server has one."""


def test_the_gateways_section_counts_where_that_manager_was_asked_for():
    """And ours below it."""
    server = SettingsOf(
        config=Config({"GatewayCullingKernelManager": {"idle_timeout": 3}, "CullingKernelManager": {"cull_busy": True}})
    )

    found = settings_of("GatewayCullingKernelManager", server).policy_fields()

    assert (found["idle_timeout"], found["cull_busy"]) == (180, True)


def message(kind: str, parent: dict[str, str], content: dict[str, str]) -> list[bytes]:
    """A message on IOPub."""
    parts = [json.dumps(part).encode() for part in ({"msg_type": kind}, parent, {}, content)]
    return [b"kernel", DELIM, b"signature", *parts]


@pytest.mark.parametrize(
    ("frames", "used"),
    [
        (message("status", {"msg_type": "execute_request", "msg_id": "1"}, {"execution_state": "idle"}), True),
        (message("stream", {"msg_type": "execute_request", "msg_id": "1"}, {"text": "x"}), True),
        (message("status", {}, {"execution_state": "starting"}), True),
        ([b"nonsense"], True),
        ([DELIM, b"", b"[1]", b"2", b"", b""], True),
        (message("status", {"msg_type": "kernel_info_request", "msg_id": "1"}, {"execution_state": "busy"}), False),
        (message("status", {"msg_type": "usage_request", "msg_id": "1"}, {"execution_state": "busy"}), False),
        (message("iopub_welcome", {}, {}), False),
    ],
)
def test_what_is_heard_is_use_unless_it_is_surely_none(frames, used):
    """What cannot be understood counts."""
    ear = Ear(lambda: None)

    ear.hear(frames)

    assert (ear.used_at is not None, ear.working) == (used, set())
