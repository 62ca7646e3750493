"""Real servers, kernels, terminals, gateways, and SageMaker's protocol over HTTP: everything goes quiet, and then."""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from tornado.websocket import websocket_connect

from culling_manager.money.ledger import Ledger, in_short
from culling_manager.money.lines import APP_MARKER, read_app, read_beat
from tests.conftest import patience, silent_until
from tests.emulator import ALICE, DOMAIN, Fault, SageMaker, environment
from tests.test_config_files import Server, jupyter
from tests.test_gateway import Gateway, websocket_execute
from tests.test_sagemaker import METADATA, PLACE

BOTH = (
    "--ServerApp.kernel_manager_class=culling_manager.CullingKernelManager",
    "--TerminalsExtensionApp.terminal_manager_class=culling_manager.CullingTerminalManager",
)
#: Other processes of this machine are none of these servers' business.
ALONE = "--Signals.names=documents"
#: The timeout that is set once everything is quiet (minutes): a second and a half.
SHORT = 0.025


@pytest.fixture
def sagemaker() -> Iterator[SageMaker]:
    """SageMaker; whatever breaks its law fails the test."""
    with SageMaker(region="eu-west-1", account="123456789012") as running:
        yield running
        assert running.violations == []


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sagemaker: SageMaker) -> Callable[[str], Path]:
    """Make the next server believe that it runs in a place of SageMaker's."""

    def put(kind: str) -> Path:
        path = tmp_path / "resource-metadata.json"
        path.write_text(json.dumps(METADATA[kind]))
        monkeypatch.setenv("RESOURCE_METADATA_FILE", str(path))
        for name, value in environment(sagemaker).items():
            monkeypatch.setenv(name, value)
        return path

    return put


class Client:
    """Talks to a server as a browser's page does."""

    def __init__(self, server: Server) -> None:
        self.server, self.url = server, f"http://127.0.0.1:{server.port}"
        self.session = requests.Session()
        self.session.get(f"{self.url}/tree", timeout=patience(20))

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        headers = {"X-XSRFToken": self.session.cookies["_xsrf"]}
        answer = self.session.request(method, f"{self.url}/{path}", json=body, headers=headers, timeout=patience(30))
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def start_kernel(self, name: str = "python3") -> str:
        return self.ask("POST", "api/kernels", {"name": name})["id"]

    def status(self) -> Any:
        return self.ask("GET", "sagemaker-studio-autoshutdown/status")

    def app(self, name: str) -> Any:
        return next(app for app in self.status()["apps"] if app["name"] == name)

    def set_timeout(self, minutes: float) -> None:
        self.ask("POST", "sagemaker-studio-autoshutdown/settings", {"idle_time": minutes})


async def hang_up(socket: Any) -> None:
    """Close a connection, in the event loop that it lives in."""
    socket.close()


def eventually(holds: Callable[[], Any], server: Server, seconds: float = 30) -> Any:
    """Wait until `holds` gives something true, and give that."""
    end = time.monotonic() + patience(seconds)
    while True:
        found = holds()
        if found:
            return found
        assert time.monotonic() < end, server.log.read_text()
        time.sleep(0.05)


def eventually_later(
    moment: Callable[[], str], said: Callable[[], str], times: int, server: Server, seconds: float = 30
) -> None:
    """Wait until `moment` has told so many moments that are later than what `said` tells by then."""
    seen: set[str] = set()

    def moves() -> bool:
        seen.add(moment())
        last = said()
        return sum(each > last for each in seen) >= times

    eventually(moves, server, seconds)


def order_in(log: str, *patterns: str) -> list[int]:
    """Where each pattern is first found in a log."""
    found = [re.search(pattern, log) for pattern in patterns]
    assert all(found), log
    return [match.start() for match in found if match is not None]


def test_a_space_deletes_itself_at_its_deadline_after_its_kernels_and_terminals(tmp_path, place, sagemaker):
    """Two kernels and a terminal; all goes quiet; each is told, in order, and the app is deleted once."""
    place("space")
    app = sagemaker.add_app("default", "JupyterLab", space="lab")
    with jupyter(tmp_path, *BOTH, ALONE) as server:
        client = Client(server)
        kernels = [client.start_kernel() for _ in range(2)]
        client.ask("POST", "api/terminals")
        shown = client.status()
        client.set_timeout(SHORT)
        eventually(lambda: app.status == "Deleting", server)
        after = eventually(lambda: client.status()["apps"][0]["reason"] == "not in service" and client.status(), server)
        log = server.log.read_text()

    assert shown["app_manager"]["class"] == "SpaceApp"
    assert shown["apps"][0]["decision"] == "keep"
    assert shown["apps"][0]["due_at"] is not None
    assert [call.operation for call in sagemaker.calls] == ["DeleteApp"]
    *gone, deleting = order_in(log, *(f"Kernel shutdown: {kernel}" for kernel in kernels), "Terminal 1 closed",
                               "Deleting app 'default'")  # fmt: skip
    assert max(gone) < deleting
    assert after["kernels"] == after["terminals"] == []
    assert [each["result"] for each in after["recent"]] == ["culled"] * 4
    assert after["recent"][-1]["kind"] == "app"


def test_what_a_space_gives_back_stands_in_its_log_and_in_its_users_home(tmp_path, place, sagemaker):
    """One run from start to end; the next server of the same container shows that the app is still there after all."""
    place("space")
    app = sagemaker.add_app("default", "JupyterLab", space="lab")
    with jupyter(tmp_path, *BOTH, ALONE) as server:
        client = Client(server)
        eventually(lambda: client.status()["apps"], server)
        before = client.status()["given_back"]
        client.set_timeout(SHORT)
        eventually(lambda: app.status == "Deleting", server)
        eventually(lambda: "accepted" in server.log.read_text(), server)
        given_back = eventually(
            lambda: client.status()["given_back"]["stops"] and client.status()["given_back"], server
        )
        told = [read_app(line) for line in server.log.read_text().splitlines() if APP_MARKER in line]
        beats = [read_beat(line) for line in server.log.read_text().splitlines() if "heartbeat:" in line]
    (ledger,) = tmp_path.rglob("culling_manager_savings.jsonl")
    written = Ledger(ledger.parent).lines()

    assert [each.event for each in told] == ["started", "deleting", "accepted"]
    assert written == told
    assert {each.run for each in told} == {beats[0].run}
    assert told[-1].app_type == "JupyterLab"
    assert (before["stops"], given_back["stops"]) == (0, 1)
    again = replace(told[0], at=told[-1].at + timedelta(seconds=1))
    assert in_short([*written, again], again.at)["stops"] == 0


def test_a_space_that_may_not_delete_itself_says_so_and_frees_its_kernels(tmp_path, place, sagemaker):
    """The admin reads permission and ARN in the log, in `status` and in the original's monitor."""
    place("space")
    sagemaker.add_app("default", "JupyterLab", space="lab")
    sagemaker.fail("DeleteApp", Fault.ACCESS_DENIED)
    words = f"permission sagemaker:DeleteApp on {PLACE}:app/{DOMAIN}/lab/jupyterlab/default is missing"
    with jupyter(tmp_path, *BOTH, ALONE) as server:
        client = Client(server)
        client.start_kernel()
        client.set_timeout(SHORT)
        eventually(lambda: words in server.log.read_text(), server)
        status, monitor = client.status(), client.ask("GET", "sagemaker-studio-autoshutdown/idle_checker")

    assert status["kernels"] == []
    assert words in status["apps"][0]["error"]
    assert words in monitor["errors"]


def test_while_sagemaker_does_not_answer_the_server_does(tmp_path, place, sagemaker):
    """No call runs on the event loop."""
    place("space")
    sagemaker.add_app("default", "JupyterLab", space="lab")
    sagemaker.fail("DeleteApp", Fault.HANG)
    with jupyter(tmp_path, *BOTH, ALONE) as server:
        client = Client(server)
        client.set_timeout(SHORT)
        eventually(lambda: sagemaker.count("DeleteApp"), server)
        took = []
        for _ in range(20):
            began = time.monotonic()
            client.ask("GET", "api/status")
            took.append(time.monotonic() - began)
        calls = sagemaker.count("DeleteApp")

    assert calls == 1  # the call hangs all the while
    assert sorted(took)[10] < patience(0.5), took


def test_the_event_bus_hears_of_a_deletion_before_and_after_it(tmp_path, place, sagemaker, monkeypatch):
    """Whoever listens may save state."""
    place("space")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    sagemaker.add_app("default", "JupyterLab", space="lab")
    listener = tmp_path / "listen.py"
    listener.write_text(
        "def _load_jupyter_server_extension(server):\n"
        "    async def heard(logger, schema_id, data):\n"
        "        server.log.warning('heard %s %s', data['action'], data['app'])\n"
        "    from culling_manager.events import APP\n"
        "    server.event_logger.add_listener(schema_id=APP, listener=heard)\n"
        "def _jupyter_server_extension_points():\n"
        "    return [{'module': 'listen'}]\n"
    )
    with jupyter(tmp_path, *BOTH, ALONE, "--ServerApp.jpserver_extensions=listen=True") as server:
        Client(server).set_timeout(SHORT)
        eventually(lambda: "heard accepted default" in server.log.read_text(), server)
        log = server.log.read_text()

    assert order_in(log, "heard deleting default", "heard accepted default") == sorted(
        order_in(log, "heard deleting default", "heard accepted default")
    )


def test_a_notebook_instance_stops_itself(tmp_path, place, sagemaker):
    """After its kernel."""
    place("notebook")
    instance = sagemaker.add_notebook_instance("mine")
    with jupyter(tmp_path, *BOTH, ALONE) as server:
        client = Client(server)
        client.start_kernel()
        client.set_timeout(SHORT)
        eventually(lambda: instance.status == "Stopping", server)
        status = client.status()

    assert status["kernels"] == []
    assert status["app_manager"]["class"] == "NotebookInstance"


def test_terminals_of_another_terminal_manager_keep_the_app_while_they_are_used(tmp_path, place, sagemaker):
    """They are not culled, and they count."""
    place("space")
    sagemaker.add_app("default", "JupyterLab", space="lab")
    with jupyter(tmp_path, BOTH[0], ALONE) as server:
        client = Client(server)
        client.ask("POST", "api/terminals")

        async def type_now_and_then():
            socket = await websocket_connect(f"ws://127.0.0.1:{server.port}/terminals/websocket/1")
            client.set_timeout(SHORT)
            for _ in range(8):
                await socket.write_message(json.dumps(["stdin", "echo hello\n"]))
                await asyncio.sleep(0.5)
            return sagemaker.count("DeleteApp")

        meanwhile = asyncio.run(type_now_and_then())
        eventually(lambda: sagemaker.count("DeleteApp"), server)

    assert meanwhile == 0


# -- the server itself -----------------------------------------------------------------------------------


def test_a_server_process_ends_itself_cleanly_though_a_page_is_open(tmp_path):
    """Exit code 0, kernels and terminals gone; pages with open connections do not keep it."""
    process = "--CullingKernelManager.app_manager_class=culling_manager.apps.JupyterServerProcess"
    with jupyter(tmp_path, *BOTH, ALONE, process) as server:
        client = Client(server)
        kernel = client.start_kernel()
        client.ask("POST", "api/terminals")

        async def look_on():
            base = f"ws://127.0.0.1:{server.port}"
            sockets = [
                await websocket_connect(f"{base}/{path}")
                for path in (f"api/kernels/{kernel}/channels", "terminals/websocket/1", "api/events/subscribe")
            ]
            client.set_timeout(SHORT)
            for _ in range(200):
                if server.process.poll() is not None:
                    break
                await asyncio.sleep(0.1)
            for socket in sockets:
                socket.close()

        asyncio.run(look_on())
        log = server.log.read_text()
        code = server.process.poll()

    assert code == 0, log
    assert order_in(log, f"Kernel shutdown: {kernel}", "Deleting app 'jupyter-server-", "Stopping this server")
    assert not re.search("Traceback|Exception", log), log


def test_a_server_process_that_nobody_opens_ends_too_and_without_the_extension(tmp_path):
    """The manager alone does it."""
    process = "--CullingKernelManager.app_manager_class=culling_manager.apps.JupyterServerProcess"
    with jupyter(
        tmp_path, *BOTH, ALONE, process, f"--CullingKernelManager.idle_timeout={SHORT}", extension=False
    ) as server:
        eventually(lambda: server.process.poll() is not None, server)
        code = server.process.poll()

    assert code == 0


#: What an extension does when the server stops -> the last that is done about it.
STUCK = {
    "await asyncio.sleep(3600)  # as one does that waits for a room to be empty": "whatever its extensions still do",
    "raise OSError('the room is full')": "whatever its extensions still do",
    "time.sleep(3600)": "its process exits",
}


@pytest.mark.parametrize("stop", STUCK)
def test_a_server_whose_extension_does_not_stop_ends_all_the_same_and_says_so(tmp_path, monkeypatch, stop):
    """Asked again, ended without its extensions, its process exited: with code 0, and no kernel left behind."""
    (tmp_path / "stuck.py").write_text(
        "import asyncio, time\n"
        "from jupyter_server.extension.application import ExtensionApp\n"
        "class Room(ExtensionApp):\n"
        "    name = 'stuck'\n"
        "    async def stop_extension(self):\n"
        f"        {stop}\n"
        "def _jupyter_server_extension_points():\n"
        "    return [{'module': 'stuck', 'app': Room}]\n"
    )
    config = tmp_path / "stuck_config.py"
    config.write_text(
        "import culling_manager.apps.process\n"
        "culling_manager.apps.process.STOP_SECONDS = 1.0\n"
        "c = get_config()\n"
        "c.CullingKernelManager.app_manager_class = 'culling_manager.apps.JupyterServerProcess'\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    extension = "--ServerApp.jpserver_extensions=stuck=True"
    with jupyter(tmp_path, *BOTH, ALONE, extension, f"--config={config}") as server:
        client = Client(server)
        client.set_timeout(SHORT)
        eventually(lambda: server.process.poll() is not None, server, 60)
        code, log = server.process.poll(), server.log.read_text()

    assert code == 0, log
    assert order_in(log, "Stopping this server", "asked to stop and is still there: it is asked again", STUCK[stop])
    assert log.count("Stopping this server") == 1


def test_a_nonsense_app_manager_ends_the_start_with_its_name(tmp_path):
    """As any bad configuration."""
    from tests.test_config_files import end, launch

    server = launch(tmp_path, *BOTH, ALONE, "--CullingKernelManager.app_manager_class=no.such.Thing")
    try:
        server.process.wait(60)
    finally:
        end(server.process)

    assert server.process.returncode != 0
    assert "CullingKernelManager.app_manager_class = 'no.such.Thing' is not accepted" in server.log.read_text()


# -- Studio Classic --------------------------------------------------------------------------------------

SCIENCE = f"python3__SAGEMAKER_INTERNAL__{PLACE}:image/datascience-1.0"


@pytest.fixture
def classic_gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    """A real gateway that names kernels and fills models as Studio Classic does."""
    folder = tmp_path / "gateway"
    folder.mkdir()
    root = str(Path(__file__).parents[1])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep))
    found = Gateway(
        folder,
        "--KernelGatewayApp.kernel_manager_class=tests.classic_gateway.Kernels",
        "--KernelGatewayApp.kernel_spec_manager_class=tests.classic_gateway.Specs",
    ).wait()
    yield found
    found.end()


@contextmanager
def classic(folder: Path, gateway: Gateway) -> Iterator[tuple[Server, Client]]:
    """A server of Studio Classic on a gateway."""
    arguments = ("--ServerApp.kernel_manager_class=culling_manager.CullingKernelManager", BOTH[1])
    with jupyter(folder, *arguments, f"--gateway-url={gateway.url}") as server:
        yield server, Client(server)


def test_in_classic_only_the_app_goes_on_which_nothing_is_in_use(tmp_path, place, sagemaker, classic_gateway):
    """One kernel is busy, mapped by its model; the other is idle, mapped by its image. Then the busy one ends."""
    place("classic")
    sagemaker.add_app("default", "JupyterServer", user_profile=ALICE)
    sagemaker.add_app("idle-app", user_profile=ALICE, image=f"{PLACE}:image/datascience-1.0")
    sagemaker.add_app("busy-app", user_profile=ALICE, image=f"{PLACE}:image/custom")
    with classic(tmp_path, classic_gateway) as (server, client):
        idle, busy = client.start_kernel(SCIENCE), client.start_kernel()
        started = client.status()
        loop = asyncio.new_event_loop()
        done = tmp_path / "done"
        socket = loop.run_until_complete(websocket_execute(classic_gateway.url, busy, silent_until(done)))
        client.set_timeout(SHORT)
        eventually(lambda: sagemaker.app("idle-app").status == "Deleting", server)
        meanwhile, shown = sagemaker.app("busy-app").status, client.app("busy-app")
        done.touch()
        eventually(lambda: sagemaker.app("busy-app").status == "Deleting", server)
        loop.run_until_complete(hang_up(socket))
        loop.close()
        log = server.log.read_text()

    assert {kernel["name"] for kernel in started["kernels"]} == {SCIENCE, "python3"}
    assert started["errors"] == []
    assert meanwhile == "InService"
    assert shown["reason"] == "in use"
    assert f"kernel {busy} (busy)" in shown["detail"]
    assert sagemaker.app("default").status == "InService"
    assert order_in(
        log, f"Culling '.*{idle}", "Deleting app 'idle-app'", f"Culling '.*{busy}", "Deleting app 'busy-app'"
    )
    assert sagemaker.count("DeleteApp") == 2


def test_after_a_restart_of_the_server_the_app_of_a_surviving_busy_kernel_stays(
    tmp_path, place, sagemaker, classic_gateway
):
    """The new server did not start that kernel; the gateway's list shows it at work."""
    place("classic")
    sagemaker.add_app("idle-app", user_profile=ALICE, image=f"{PLACE}:image/datascience-1.0")
    sagemaker.add_app("busy-app", user_profile=ALICE, image=f"{PLACE}:image/custom")
    with classic(tmp_path, classic_gateway) as (server, client):
        busy = client.start_kernel()
        loop = asyncio.new_event_loop()
        enough = tmp_path / "enough"
        socket = loop.run_until_complete(websocket_execute(classic_gateway.url, busy, silent_until(enough)))
        server.process.kill()  # a clean end would shut its kernels down
        server.process.wait(10)
    with classic(tmp_path, classic_gateway) as (server, client):
        before = client.ask("GET", "api/kernels")
        client.set_timeout(SHORT)
        eventually(lambda: sagemaker.app("idle-app").status == "Deleting", server)
        meanwhile, shown = sagemaker.app("busy-app").status, client.app("busy-app")
        enough.touch()
        eventually(lambda: sagemaker.app("busy-app").status == "Deleting", server)
        loop.run_until_complete(hang_up(socket))
        loop.close()

    assert [kernel["id"] for kernel in before] in ([], [busy])
    assert meanwhile == "InService"
    assert f"kernel {busy} (busy)" in shown["detail"]


def test_in_classic_without_a_gateway_nothing_is_deleted_and_it_is_said_why(tmp_path, place, sagemaker):
    """Who cannot see the kernels on an app does not delete it."""
    place("classic")
    sagemaker.add_app("one", user_profile=ALICE)
    with jupyter(tmp_path, *BOTH, ALONE, f"--CullingKernelManager.idle_timeout={SHORT}") as server:
        client = Client(server)
        errors = eventually(lambda: client.status()["errors"], server)

    assert "has no gateway" in errors[-1]["message"]
    assert sagemaker.count("DeleteApp") == 0
