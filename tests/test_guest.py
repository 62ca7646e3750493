"""Another kernel manager in the place of ours: a stand-in, and the packages in the wild that do so, where installed.

hatch run jsd:run             with jupyter_server_documents 0.2 and 0.3, and in two images' sets of packages
"""

from __future__ import annotations

import importlib.metadata
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from jupyter_client.blocking.client import BlockingKernelClient

from culling_manager.decisions import Reason
from tests.emulator import SageMaker, environment
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
    """A server on which our managers are selected, and an extension that has other plans."""
    ours = (
        "--ServerApp.kernel_manager_class=culling_manager.CullingKernelManager",
        "--TerminalsExtensionApp.terminal_manager_class=culling_manager.CullingTerminalManager",
        f"--CullingKernelManager.idle_timeout={LATER}",
        "--CullingKernelManager.cull_interval=0.3",
        "--Signals.names=documents",
    )
    enabled = [f"--ServerApp.jpserver_extensions={name}=True" for name in ("jupyter_server_terminals", extension)]
    (home / "data").mkdir(exist_ok=True)  # jupyter_server_fileid has its database there
    with jupyter(home, *ours, *enabled, *arguments) as server:
        yield server


class Page:
    """Talks to a server over HTTP, and to its kernels as its own programs do."""

    def __init__(self, server: Server, home: Path) -> None:
        self.server, self.home, self.url = server, home, f"http://127.0.0.1:{server.port}"
        self.session = requests.Session()
        self.session.get(f"{self.url}/tree", timeout=30)

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        headers = {"X-XSRFToken": self.session.cookies["_xsrf"]}
        answer = self.session.request(method, f"{self.url}/{path}", json=body, headers=headers, timeout=60)
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
        client.wait_for_ready(timeout=60)
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


@pytest.mark.timeout(300)
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
            client.execute(f"import os, time\nwhile not os.path.exists({str(done)!r}): time.sleep(0.1)")
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


@pytest.mark.timeout(300)
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


@pytest.mark.timeout(300)
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
        metrics = page.session.get(f"{page.url}/metrics", timeout=30).text
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


@pytest.mark.timeout(120)
def test_settings_that_ours_refuses_end_the_start_of_the_server(tmp_path):
    """As they do where our manager itself refuses them."""
    with (
        pytest.raises(pytest.fail.Exception, match="does not answer"),
        server_with("tests.stand_in", tmp_path, "--CullingKernelManager.busy_timeout=-1"),
    ):
        pass

    assert "Bad config encountered during initialization" in (tmp_path / "server.log").read_text()
