"""The server extension in real processes: selection from jupyter_server_config.d, gateways, forgotten selection."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from culling_manager.server.extension import selected_in, settled_by_upstreams
from tests.conftest import patience
from tests.test_clients import SPACE, free_port, wait_for

TWIN = Path(__file__).parents[1] / "config" / "jupyter_server_config.d" / "culling_manager_settings.json"


class ServerProcess:
    """A Jupyter Server of its own, with a config directory that the test fills."""

    def __init__(self, home: Path) -> None:
        self.home, self.port = home, free_port()
        self.base = f"http://127.0.0.1:{self.port}"
        self.config = home / "config"
        (self.config / "jupyter_server_config.d").mkdir(parents=True)
        self.process: subprocess.Popen | None = None

    def start(self, *flags: str, python: str = sys.executable) -> ServerProcess:
        names = {"CONFIG": "config", "DATA": "data", "RUNTIME": "runtime"}
        environment = {**os.environ, **{f"JUPYTER_{key}_DIR": str(self.home / name) for key, name in names.items()}}
        with (self.home / "log").open("w") as log:
            self.process = subprocess.Popen(
                [
                    python, "-m", "jupyter_server", "--allow-root", "--no-browser", f"--port={self.port}",
                    "--ServerApp.port_retries=0", "--IdentityProvider.token=", *flags,
                ],
                env=environment, cwd=self.home, stdout=log, stderr=log,
            )  # fmt: skip
        wait_for(self.base, self.process)
        return self

    def idle_checker(self) -> dict:
        return requests.get(f"{self.base}/{SPACE}/idle_checker", timeout=patience(10)).json()

    def log(self) -> str:
        return (self.home / "log").read_text()

    def end(self) -> int | None:
        if self.process is None:
            return None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


@pytest.fixture
def server(tmp_path):
    """A server that the test starts; it is ended afterwards."""
    found = ServerProcess(tmp_path)
    yield found
    if found.process is not None and found.process.poll() is None:
        found.end()


def test_the_json_twin_in_the_d_directory_selects_and_sets(server):
    """Dropped into jupyter_server_config.d as it is, with another timeout: kernels and terminals are culled."""
    twin = json.loads(TWIN.read_text())
    twin["CullingKernelManager"]["idle_timeout"] = 33
    (server.config / "jupyter_server_config.d" / "culling.json").write_text(json.dumps(twin))

    server.start()

    assert server.idle_checker()["idle_time"] == 33 * 60
    assert requests.get(f"{server.base}/{SPACE}/status", timeout=patience(10)).json()["notices"] == []


def test_what_is_configured_elsewhere_wins_over_the_d_directory(server):
    """The command line and jupyter_server_config.py are the admin's last word."""
    shutil.copy(TWIN, server.config / "jupyter_server_config.d" / "culling.json")

    server.start("--CullingKernelManager.idle_timeout=7")

    assert server.idle_checker()["idle_time"] == 7 * 60


def test_upstreams_timeout_wins_over_the_d_directory_too(server):
    """Somebody who has configured Jupyter's own setting for years has said what the timeout is."""
    shutil.copy(TWIN, server.config / "jupyter_server_config.d" / "culling.json")

    server.start("--MappingKernelManager.cull_idle_timeout=600", "--TerminalManager.cull_inactive_timeout=300")

    assert server.idle_checker()["idle_time"] == 600
    status = requests.get(f"{server.base}/{SPACE}/status", timeout=patience(10)).json()
    assert status["policy"]["terminal_idle_timeout"] == 300
    assert "are set: idle_timeout is used" not in server.log()


@pytest.mark.parametrize(
    ("section", "config", "settled"),
    [
        ("CullingKernelManager", {"MappingKernelManager": {"cull_idle_timeout": 1}}, {"idle_timeout"}),
        ("CullingKernelManager", {"AsyncMappingKernelManager": {"cull_idle_timeout": 1}}, {"idle_timeout"}),
        ("GatewayCullingKernelManager", {"CullingKernelManager": {"cull_idle_timeout": 1}}, {"idle_timeout"}),
        ("CullingTerminalManager", {"TerminalManager": {"cull_inactive_timeout": 1}}, {"idle_timeout"}),
        ("CullingTerminalManager", {"MappingKernelManager": {"cull_idle_timeout": 1}}, set()),
        ("CullingKernelManager", {"MappingKernelManager": {"cull_interval": 1}}, set()),
        ("SpaceApp", {"MappingKernelManager": {"cull_idle_timeout": 1}}, set()),
    ],
)
def test_which_settings_upstreams_names_settle(section, config, settled):
    """In the section of any class that a manager of ours is one of."""
    assert settled_by_upstreams(section, config) == settled


def test_only_what_is_ours_is_taken_from_the_d_directory():
    """Other people's sections stay as Jupyter treats them: unread."""
    found = {
        "ServerApp": {"port": 1, "kernel_manager_class": "culling_manager.CullingKernelManager"},
        "TerminalsExtensionApp": {"terminal_manager_class": "evil.Manager"},
        "CullingKernelManager": {"idle_timeout": 5},
        "OtherApp": {"x": 1},
        "CullingTerminalManager": "not a section",
    }

    assert selected_in(found) == {
        "ServerApp": {"kernel_manager_class": "culling_manager.CullingKernelManager"},
        "CullingKernelManager": {"idle_timeout": 5},
    }


@pytest.mark.parametrize(
    "flag", ["idle_timeout=-1", "idle_timeout=abc", "idle_timeout=nan", "keep_terminals=maybe", "cull_interval=nan"]
)
def test_bad_terminal_settings_end_the_start(server, flag):
    """Jupyter Server alone would go on without any terminals."""
    shutil.copy(TWIN, server.config / "jupyter_server_config.d" / "culling.json")

    with pytest.raises(AssertionError, match="the server ended"):
        server.start(f"--CullingTerminalManager.{flag}")

    assert server.process.wait(10) == 1
    assert "Bad config encountered during initialization" in server.log()
    assert flag.split("=")[0] in server.log()
    assert "Traceback" not in server.log()


def test_none_for_terminals_follows_the_kernels_on_the_command_line_too(server):
    """The documented default can be given."""
    shutil.copy(TWIN, server.config / "jupyter_server_config.d" / "culling.json")

    server.start("--CullingTerminalManager.idle_timeout=None", "--CullingKernelManager.idle_timeout=3")

    policy = requests.get(f"{server.base}/{SPACE}/status", timeout=patience(10)).json()["policy"]
    assert (policy["idle_timeout"], policy["terminal_idle_timeout"]) == (180, None)


def test_settings_without_selection_are_a_warning(server):
    """`--CullingKernelManager.idle_timeout=5` on a server that does not select the class would fail silently."""
    server.start("--CullingKernelManager.idle_timeout=5")

    assert "CullingKernelManager is configured but not selected" in server.log()
    assert "Kernels are not culled" in server.idle_checker()["errors"]


def test_a_misspelt_section_is_a_warning_with_the_one_that_was_meant(server):
    """On the command line or in jupyter_server_config.d: the server says that it does not count, once each."""
    found = {"CullingTerminalsManager": {"idle_timeout": 5}}
    (server.config / "jupyter_server_config.d" / "mine.json").write_text(json.dumps(found))

    server.start("--CullingKernelManger.idle_timeout=5", "--KernelManager.shutdown_wait_time=3")

    told = [line for line in server.log().splitlines() if "Did you mean" in line]
    assert [line.partition("Did you mean ")[2] for line in told] == [
        "`CullingKernelManager`?",
        "`CullingTerminalManager`?",
    ]


def test_with_a_gateway_the_gateway_class_is_used_whatever_the_configuration_names(server):
    """Upstream would fail with an obscure trait error; here it is one line in the log."""
    shutil.copy(TWIN, server.config / "jupyter_server_config.json")

    server.start(f"--gateway-url=http://127.0.0.1:{free_port()}")

    assert "culling_manager.GatewayCullingKernelManager is used" in server.log()
    assert server.idle_checker()["idle_time"] == 7200


def test_the_server_stops_cleanly_with_a_kernel_a_terminal_and_a_deadline_ahead(server):
    """SIGTERM: exit code 0, nothing pending, no traceback of ours (an ipykernel interrupted at start has its own)."""
    shutil.copy(TWIN, server.config / "jupyter_server_config.json")
    server.start()
    session = requests.Session()
    session.get(f"{server.base}/tree")
    headers = {"X-XSRFToken": session.cookies["_xsrf"]}
    session.post(f"{server.base}/api/kernels", json={}, headers=headers, timeout=patience(30)).raise_for_status()
    session.post(f"{server.base}/api/terminals", json={}, headers=headers, timeout=patience(30)).raise_for_status()

    code = server.end()

    assert code == 0
    assert "/culling_manager/" not in server.log()
    pending = [line for line in server.log().splitlines() if line.startswith("task: <Task pending")]
    assert [line for line in pending if "ipykernel" not in line] == []  # the kernel writes into the same log
    assert "Shutting down 1 kernel" in server.log()
