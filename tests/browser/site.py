"""A real Jupyter server with JupyterLab and Notebook, in a folder of its own, and what a test asks of it over HTTP."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
TOKEN = "browser-tests"
SPACE = "sagemaker-studio-autoshutdown"
#: How long (seconds) before its end a kernel is that is warned of: longer than any test takes.
NEAR = 280.0
#: After so long (seconds) without a word to or from a kernel a page has said all that it has to when it opens.
SILENT = 1.5
#: How long a server may take to start or to stop (seconds).
PATIENCE = 180.0
#: Both managers are ours. Nothing is fetched from outside, and nobody is asked about news. No activity signal: on a
#: machine that is busy with tests a kernel that has only just started is at work.
CONFIG: dict[str, Any] = {
    "ServerApp": {
        "kernel_manager_class": "culling_manager.CullingKernelManager",
        "allow_root": True,
        "open_browser": False,
        "ip": "127.0.0.1",
        "port": 0,
        "port_retries": 0,
        "jpserver_extensions": {"tests.browser.elapse": True},
    },
    "TerminalsExtensionApp": {"terminal_manager_class": "culling_manager.CullingTerminalManager"},
    "IdentityProvider": {"token": TOKEN},
    "CullingKernelManager": {"cull_interval": 1.0},
    "Signals": {"names": []},
}
#: JupyterLab's own settings of its toasts.
NOTIFICATIONS = "@jupyterlab/apputils-extension:notification"
#: The settings that a page finds. Nobody outside is asked, for news or a newer version. Nothing is saved by itself: it
#: is use of a kernel, and would come two minutes after a page was opened: on a slow machine in the midst of a test.
SETTINGS: dict[str, dict[str, Any]] = {
    NOTIFICATIONS: {"fetchNews": "false", "checkForUpdates": False},
    "@jupyterlab/docmanager-extension:plugin": {"autosave": False},
}
EMPTY_NOTEBOOK = {
    "cells": [],
    "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    "nbformat": 4,
    "nbformat_minor": 5,
}


def merged(base: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """Two configurations as one; `more` wins."""
    found = {name: dict(values) if isinstance(values, dict) else values for name, values in base.items()}
    for name, values in more.items():
        found[name] = {**found.get(name, {}), **values} if isinstance(values, dict) else values
    return found


def free_port() -> int:
    """A port on which nobody listens; jupyter_server 2.10 does not say which one it found by itself."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Site:
    """One server: started, stopped and started again on the same port with the same files."""

    def __init__(self, folder: Path, config: dict[str, Any], *, python_path: str = "") -> None:
        self.folder, self.python_path = folder, os.pathsep.join(filter(None, (str(ROOT), python_path)))
        self.config = merged(CONFIG, config)
        self.base_url = self.config["ServerApp"].get("base_url", "/")
        self.files = folder / "files"
        self.settings = folder / "settings"
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        for each in (self.files, self.settings, folder / "config", folder / "runtime", folder / "home"):
            each.mkdir(parents=True, exist_ok=True)
        self._set_all()

    def _set_all(self) -> None:
        for plugin, values in SETTINGS.items():
            self.set(plugin, values)

    def set(self, plugin: str, values: dict[str, Any]) -> None:
        """Write the settings of one of the page's plugins, as its settings editor does."""
        package, name = plugin.split(":")
        path = self.settings / package / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))

    def notebook(self, name: str, metadata: dict[str, Any] | None = None) -> str:
        """Put an empty notebook into the files; gives its path."""
        path = self.files / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(EMPTY_NOTEBOOK if metadata is None else {**EMPTY_NOTEBOOK, "metadata": metadata}))
        return name

    # -- the process -------------------------------------------------------------------------------

    def start(self) -> None:
        """Start it, and wait until it answers."""
        config = merged(self.config, {"ServerApp": {"root_dir": str(self.files), "port": self.port}})
        written = self.folder / "config" / "jupyter_server_config.json"
        written.write_text(json.dumps(config))
        runtime = self.folder / "runtime"
        for each in runtime.glob("jpserver-*.json"):
            each.unlink()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", f"--config={written}"],
            env=self._environment(),
            cwd=self.files,
            stdout=subprocess.DEVNULL,
            stderr=(self.folder / "server.log").open("ab"),
        )
        self.port = self._found_port(runtime)

    def _environment(self) -> dict[str, str]:
        folders = {
            "HOME": "home",
            "JUPYTER_CONFIG_DIR": "config",
            "JUPYTER_RUNTIME_DIR": "runtime",
            "JUPYTERLAB_SETTINGS_DIR": "settings",
            "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
            "IPYTHONDIR": "home",
        }
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER", "JPY_"))}
        paths = {name: str(self.folder / each) for name, each in folders.items()}
        return kept | paths | {"PYTHONPATH": self.python_path}

    def _found_port(self, runtime: Path) -> int:
        """The port on which it answers; an error with the end of its log when it does not."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and self.process is not None and self.process.poll() is None:
            for each in runtime.glob("jpserver-*.json"):
                with contextlib.suppress(OSError, ValueError, urllib.error.URLError):
                    self.port = int(json.loads(each.read_text())["port"])
                    self.ask("api")
                    return self.port
            time.sleep(0.1)
        raise RuntimeError(f"the server does not answer:\n{self.log()[-3000:]}")

    def log(self) -> str:
        """What it has logged."""
        path = self.folder / "server.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def stop(self) -> None:
        """End it and its kernels, at once."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(20)
        self.process = None

    # -- over HTTP -----------------------------------------------------------------------------------

    @property
    def root(self) -> str:
        """The URL of the server, with its base URL."""
        return f"http://127.0.0.1:{self.port}{self.base_url}"

    def url(self, path: str) -> str:
        """A URL that logs in."""
        return f"{self.root}{path}{'&' if '?' in path else '?'}token={TOKEN}"

    def ask(self, path: str, method: str = "GET", body: Any = None, token: str = TOKEN) -> Any:
        """What the server answers, as JSON."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"token {token}", "Content-Type": "application/json"}
        request = urllib.request.Request(self.root + path, data=data, method=method, headers=headers)
        with urllib.request.urlopen(request, timeout=20) as answer:
            raw = answer.read()
        return json.loads(raw) if raw else None

    def status(self) -> dict[str, Any]:
        """The state document."""
        found: dict[str, Any] = self.ask(f"{SPACE}/status?no_track_activity=1")
        return found

    def kernels(self) -> list[dict[str, Any]]:
        """The kernels in the state document."""
        found: list[dict[str, Any]] = self.status()["kernels"]
        return found

    def settled(self) -> dict[str, Any]:
        """What users may set, and have."""
        found: dict[str, Any] = self.ask(f"{SPACE}/settings?no_track_activity=1")
        return found

    def keep(self, kernel_id: str, minutes: float) -> None:
        """Keep a kernel, as a user does."""
        self.ask(f"{SPACE}/keep-alive", "POST", {"kind": "kernel", "id": kernel_id, "duration": minutes})

    def kernel_of(self, path: str) -> dict[str, Any] | None:
        """The kernel of a document in the state document; None when it has none."""
        return next((each for each in self.kernels() if each["path"] == path), None)

    def aged(self, path: str, left: float) -> None:
        """Have a document's kernel be as if nobody had used it until `left` seconds before its end.

        What a page has still to say to its kernel is waited for, and where it comes later, time goes by once more.
        """
        until(lambda: self._aged(path, left), PATIENCE)

    def near(self, path: str, left: float = NEAR) -> None:
        """The same, until it is warned of."""
        until(
            lambda: self._aged(path, left) and ((kernel := self.kernel_of(path)) is None or kernel["warned"]), PATIENCE
        )

    def over(self, path: str) -> None:
        """The same until a moment before its end, and then it is stopped."""
        until(lambda: self._aged(path, 2.0) and self.kernel_of(path) is None, PATIENCE)

    def _aged(self, path: str, left: float) -> bool:
        """Whether a document's kernel is that near its end; if not, time goes by once its page has no more to say."""
        kernel, timeout = self.kernel_of(path), self.timeout
        if kernel is None or (kernel["idle_seconds"] or 0) >= timeout - left:
            return True
        if kernel["state"] == "idle" and kernel["connections"] and (kernel["idle_seconds"] or 0) > SILENT:
            self.ask("tests/elapse", "POST", {"kernel": kernel["id"], "seconds": timeout - left})
        return False

    @property
    def timeout(self) -> float:
        """Seconds."""
        return float(self.status()["policy"]["idle_timeout"])

    def shorten(self, least: float) -> None:
        """Have whatever is on the server be due in half of `least` seconds at the earliest, and warned of by then."""
        found = self.status()
        idle = max(each["idle_seconds"] or 0 for each in [*found["kernels"], *found["apps"]])
        self.set_timeout(max(least, idle + least / 2) / 60)

    def rest(self) -> None:
        """Be as at the start: no kernel, no request, two hours of timeout, each setting of a page its default."""
        self.ask(f"{SPACE}/settings", "DELETE")
        self.set_timeout(120)
        for each in self.status()["keep_alive"]:
            whom = {name: each[name] for name in ("kind", "id") if each[name] is not None}
            with contextlib.suppress(urllib.error.HTTPError):  # it has gone meanwhile
                self.ask(f"{SPACE}/keep-alive?{urllib.parse.urlencode(whom)}", "DELETE")
        for kind in ("sessions", "kernels", "terminals"):
            for each in self.ask(f"api/{kind}"):
                with contextlib.suppress(urllib.error.HTTPError):  # it has gone meanwhile
                    self.ask(f"api/{kind}/{each.get('id') or each['name']}", "DELETE")
        until(lambda: self.kernels() == [], PATIENCE)
        for folder in (self.settings, self.folder / "workspaces", self.files):
            for each in folder.glob("*"):  # not the folder itself, in which the server is
                shutil.rmtree(each) if each.is_dir() else each.unlink()
        self._set_all()

    def told(self, action: str) -> dict[str, Any]:
        """The last event of ours of that action, with `at`: when (seconds since 1970) the server told it."""
        found: list[dict[str, Any]] = until(lambda: [e for e in self.ask("tests/told") if e.get("action") == action])
        return found[-1]

    def set_timeout(self, minutes: float) -> None:
        """Set the idle timeout, as a user does."""
        self.ask(f"{SPACE}/settings", "POST", {"idle_time": minutes})


@contextlib.contextmanager
def running(folder: Path, config: dict[str, Any] | None = None, **more: Any) -> Iterator[Site]:
    """A server while a test needs it."""
    site = Site(folder, config or {}, **more)
    site.start()
    try:
        yield site
    finally:
        site.stop()


def until(holds: Any, seconds: float = 120.0, every: float = 0.1) -> Any:
    """Wait until `holds` gives something true, and give that."""
    end = time.monotonic() + seconds
    while True:
        found = holds()
        if found:
            return found
        assert time.monotonic() < end, f"still not true after {seconds} s"
        time.sleep(every)
