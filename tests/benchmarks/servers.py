"""A real server as a subprocess, on the loopback, with configuration and data of its own."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

TOKEN = "benchmark"
LIMIT_SECONDS = 60.0
OTHERS = (
    "jupyterlab",
    "notebook",
    "notebook_shim",
    "jupyter_lsp",
    "jupyterlab_git",
    "nbclassic",
    "jupyter_server_ydoc",
    "jupyter_server_proxy",
    "jupyter_resource_usage",
)


def configuration(which: str) -> dict[str, Any]:
    """The whole difference between the two servers, and what they have in common."""
    extensions = dict.fromkeys(OTHERS, False) | {"jupyter_server_terminals": True}
    server: dict[str, Any] = {"jpserver_extensions": {**extensions, "culling_manager": which == "ours"}}
    if which != "ours":
        return {"ServerApp": server}
    server["kernel_manager_class"] = "culling_manager.CullingKernelManager"
    terminals = {"terminal_manager_class": "culling_manager.CullingTerminalManager"}
    return {"ServerApp": server, "TerminalsExtensionApp": terminals}


class Server:
    """One server process, from its start to its end.

    Bytecode is kept in the folder `bytecode`, as an installation has it, whatever this environment does. `program` are
    the arguments of Python that run a server, if not the usual ones.
    """

    def __init__(self, which: str, bytecode: str, *program: str) -> None:
        self.which = which
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self._port = _free_port()
        self._log = Path(self._folder.name, "log")
        config = Path(self._folder.name, "config")
        config.mkdir()
        (config / "jupyter_server_config.json").write_text(json.dumps(configuration(which)))
        command = [sys.executable, *(program or ("-m", "jupyter_server")), "--no-browser", "--ip=127.0.0.1"]
        command += [f"--port={self._port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={TOKEN}"]
        command += ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
        with self._log.open("wb") as log:
            self.started = time.perf_counter()
            self.process = subprocess.Popen(
                command,
                cwd=self._folder.name,
                env=self._environment(config) | with_bytecode(bytecode),
                stdout=log,
                stderr=log,
            )
        self._seen = psutil.Process(self.process.pid)

    def _environment(self, config: Path) -> dict[str, str]:
        own = {name: str(Path(self._folder.name, name.lower())) for name in ("JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")}
        kept = {name: value for name, value in os.environ.items() if not name.startswith("JUPYTER")}
        return {**kept, **own, "JUPYTER_CONFIG_DIR": str(config), "JUPYTER_PREFER_ENV_PATH": "0"}

    def until_it_answers(self) -> dict[str, float]:
        """Wait for GET /api; gives the seconds and the CPU seconds until then."""
        while self.get("/api")[0] != 200:
            assert self.process.poll() is None, f"the {self.which} server ended:\n{self.errors()[-2000:]}"
            assert time.perf_counter() < self.started + LIMIT_SECONDS, f"the {self.which} server does not answer"
            time.sleep(0.005)
        wall = time.perf_counter() - self.started
        times = self._seen.cpu_times()
        return {"wall_seconds": wall, "cpu_seconds": times.user + times.system}

    def check_what_is_selected(self) -> None:
        """Our handlers answer on ours and do not exist on the plain one; and no error is in either log."""
        status, body = self.get(f"/sagemaker-studio-autoshutdown/status?token={TOKEN}")
        assert status == (200 if self.which == "ours" else 404), f"the {self.which} server answers {status} to our URL"
        if self.which == "ours":
            assert json.loads(body)["running"] is True, body
        assert "Traceback" not in self.errors(), self.errors()

    def get(self, path: str) -> tuple[int | None, bytes]:
        """Status and body of the answer to a GET; a status of None when there is no answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            return None, b""
        finally:
            connection.close()

    def memory(self) -> dict[str, float]:
        """Bytes in memory once it has settled: resident, and of those its own alone."""
        time.sleep(0.5)
        found = self._seen.memory_full_info()
        return {"rss_bytes": found.rss, "uss_bytes": found.uss}

    def errors(self) -> str:
        """All it has written."""
        return self._log.read_text(errors="replace")

    def end(self) -> None:
        """Ask it to end, and insist after a while."""
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()
        self._folder.cleanup()


def with_bytecode(folder: str) -> dict[str, str]:
    """Environment variables that make Python keep bytecode in `folder`; an empty string is no prohibition to write."""
    return {"PYTHONPYCACHEPREFIX": folder, "PYTHONDONTWRITEBYTECODE": ""}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
