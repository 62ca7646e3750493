"""`config/`: the files load as they stand, say what the documentation says, and a real server takes them."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from traitlets.config import Config
from traitlets.config.loader import JSONFileConfigLoader, PyFileConfigLoader

from culling_manager import CullingKernelManager, CullingTerminalManager, GatewayCullingKernelManager
from culling_manager.apps import SpaceApp
from culling_manager.safeguards.guard import Safeguards
from culling_manager.signals import ProcessSignal, Signals
from tests.conftest import patience
from tests.ports import free_port

CONFIG = Path(__file__).parents[1] / "config"
PYTHON = CONFIG / "jupyter_server_config.py"
TWIN = CONFIG / "jupyter_server_config.d" / "culling_manager_settings.json"
NOT_NEEDED = ("jupyterlab", "notebook", "jupyter_lsp", "notebook_shim")
DEFAULTS = {"idle_time": 7200, "keep_terminals": False, "errors": None}
#: Design 3.2, in the units of the traits.
DOCUMENTED = {
    "CullingKernelManager": {
        "idle_timeout": 120,
        "idle_timeouts": {},
        "min_idle_timeout": 0,
        "max_idle_timeout": 0,
        "busy_timeout": 0,
        "warn_before": 5,
        "max_keep_alive": 1440,
        "grace": 0,
        "max_at_work": 0,
        "max_age": 0,
        "long_run": 10,
        "cull_interval": 10,
        "cull_connected": True,
        "cull_busy": False,
        "dry_run": False,
        "app_manager_class": "auto",
    },
    "CullingTerminalManager": {"keep_terminals": False, "idle_timeout": None},
}


@dataclass
class Server:
    """A running server: how to ask it, and what it logs."""

    process: subprocess.Popen[bytes]
    log: Path
    port: int

    def get(self, name: str, ours: bool = True) -> Any:
        """Ask an endpoint, by default one of ours; OSError while the server does not listen."""
        url = f"http://127.0.0.1:{self.port}/{'sagemaker-studio-autoshutdown/' if ours else ''}{name}"
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(url, timeout=patience(20)) as response:
            return json.load(response)

    def settings(self) -> dict[str, Any]:
        """What `idle_checker` answers, without the count."""
        return {name: value for name, value in self.get("idle_checker").items() if name != "count"}


def environment(home: Path) -> dict[str, str]:
    """An environment in which everything that Jupyter reads or writes lies under `home`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER", "XDG", "IPYTHON"))}
    folders = {f"JUPYTER_{name}_DIR": str(home / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
    return {**kept, "HOME": str(home), "IPYTHONDIR": str(home / "ipython"), **folders}


def launch(home: Path, *arguments: str, command: str = "server", extension: bool = True) -> Server:
    """Start ``jupyter server`` (or lab, notebook) without a token, and with no more extensions than it needs."""
    (home / "config").mkdir(exist_ok=True)
    port, log = free_port(), home / "server.log"
    line = [sys.executable, "-m", "jupyter", command, "--allow-root", "--no-browser", "--IdentityProvider.token="]
    line += [f"--ServerApp.port={port}", "--ServerApp.port_retries=0", f"--ServerApp.root_dir={home}"]
    if command == "server":
        line += [f"--ServerApp.jpserver_extensions={name}=False" for name in NOT_NEEDED]
        line += [f"--ServerApp.jpserver_extensions=culling_manager={extension}"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*line, *arguments], cwd=home, env=environment(home), stdout=output, stderr=subprocess.STDOUT
        )
    return Server(process, log, port)


def end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def jupyter(home: Path, *arguments: str, command: str = "server", extension: bool = True) -> Iterator[Server]:
    """A real server that answers; ended by its pid."""
    server = launch(home, *arguments, command=command, extension=extension)
    try:
        deadline = time.monotonic() + patience(60)
        while True:
            try:
                server.get("api", ours=False)
                break
            except OSError as error:
                if server.process.poll() is not None or time.monotonic() > deadline:
                    pytest.fail(f"the server does not answer: {error}\n{server.log.read_text()}")
            time.sleep(0.05)
        yield server
    finally:
        end(server.process)


def installed(home: Path, *files: Path) -> Path:
    """Copy files to the user's Jupyter config directory, as an administrator does."""
    for file in files:
        folder = home / "config" / file.parent.relative_to(CONFIG)
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, folder)
    return home


def load(path: Path) -> Config:
    loader = PyFileConfigLoader if path.suffix == ".py" else JSONFileConfigLoader
    return loader(path.name, path=str(path.parent)).load_config()


@pytest.fixture(autouse=True)
def _no_gateway(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JUPYTER_GATEWAY_URL", raising=False)


# -- what stands in them ---------------------------------------------------------------------------


def test_the_python_file_and_its_json_twin_say_the_same() -> None:
    """Both through the loaders that Jupyter uses."""
    assert load(PYTHON) == load(TWIN)


def test_the_configured_values_are_those_of_the_contract() -> None:
    """The managers are selected, and what is set is set to its documented default."""
    assert load(PYTHON) == {
        "ServerApp": {"kernel_manager_class": "culling_manager.CullingKernelManager"},
        "TerminalsExtensionApp": {"terminal_manager_class": "culling_manager.CullingTerminalManager"},
        "CullingKernelManager": {"idle_timeout": 120},
        "CullingTerminalManager": {"keep_terminals": False},
    }


def test_every_line_that_is_commented_out_shows_a_default(tmp_path: Path) -> None:
    """With all of them active the file still loads, and each value equals its trait's default and the contract's."""
    everything = tmp_path / "everything.py"
    everything.write_text(re.sub(r"(?m)^# (?=c\.)", "", PYTHON.read_text()))

    config = load(everything)

    asked = (Safeguards, Signals, ProcessSignal, SpaceApp)
    for cls in (CullingKernelManager, CullingTerminalManager, *asked):
        section, documented = dict(config[cls.__name__]), DOCUMENTED.get(cls.__name__, {})
        defaults = {name: cls.class_traits()[name].default() for name in section}
        assert section
        assert section == defaults
        assert {name: section[name] for name in documented} == documented


@pytest.mark.parametrize("cls", [CullingKernelManager, CullingTerminalManager, GatewayCullingKernelManager])
def test_every_trait_of_our_managers_is_listed(cls: type[Any]) -> None:
    """A trait that is added has to be described here."""
    text = PYTHON.read_text()
    settings = cls.__mro__[1] if cls.__mro__[1].__name__.endswith("Settings") else cls
    names = [*cls.class_own_traits(config=True), *settings.class_own_traits(config=True)]

    assert names or cls is GatewayCullingKernelManager  # which has those of the kernel manager's and no other
    assert [name for name in names if f"c.{cls.__name__}.{name} = " not in text] == []


def test_every_number_is_described_with_its_unit_and_what_zero_means() -> None:
    """The comment over each numeric setting names minutes or seconds, and 0."""
    blocks = PYTHON.read_text().split("\n\n")
    numeric = [block for block in blocks if re.search(r"(?m)^(# )?c\.Culling\S+ = (\d|None)", block)]

    assert len(numeric) >= 8
    for block in numeric:
        assert re.search("[Mm]inutes|seconds", block), block
        assert re.search(r"\b0\b", block.split("c.Culling")[0]), block


@pytest.mark.parametrize(
    ("variable", "arguments", "expected"),
    [
        (None, [], "CullingKernelManager"),
        ("", [], "CullingKernelManager"),
        ("http://gateway:8888", [], "GatewayCullingKernelManager"),
        (None, ["--gateway-url=http://gateway:8888"], "GatewayCullingKernelManager"),
        (None, ["--gateway-url", "http://gateway:8888"], "GatewayCullingKernelManager"),
        (None, ["--GatewayClient.url=http://gateway:8888"], "GatewayCullingKernelManager"),
        (None, ["--GatewayClient.request_timeout=5"], "CullingKernelManager"),
    ],
)
def test_with_a_gateway_the_gateways_manager_is_selected(
    monkeypatch: pytest.MonkeyPatch, variable: str | None, arguments: list[str], expected: str
) -> None:
    """However the gateway is given, by variable or on the command line."""
    if variable is not None:
        monkeypatch.setenv("JUPYTER_GATEWAY_URL", variable)
    monkeypatch.setattr(sys, "argv", ["jupyter-server", *arguments])

    config = load(PYTHON)

    assert config.ServerApp.kernel_manager_class == f"culling_manager.{expected}"


# -- real servers ----------------------------------------------------------------------------------


def test_the_python_file_is_taken_as_it_stands(tmp_path: Path) -> None:
    """`jupyter server --config=...` culls kernels and terminals after the documented defaults."""
    with jupyter(tmp_path, f"--config={PYTHON}") as server:
        settings, status = server.settings(), server.get("status")

    assert settings == DEFAULTS
    assert status["notices"] == []
    assert "is configured but not" not in server.log.read_text()


def test_the_json_twin_works_as_jupyter_server_config_json_too(tmp_path: Path) -> None:
    """Under Jupyter's own name it works where the Python file does."""
    folder = tmp_path / "config"
    folder.mkdir()
    shutil.copy(TWIN, folder / "jupyter_server_config.json")

    with jupyter(tmp_path) as server:
        settings, status = server.settings(), server.get("status")

    assert settings == DEFAULTS
    assert status["notices"] == []


def test_the_json_twin_may_lie_in_a_config_d_directory(tmp_path: Path) -> None:
    """Jupyter Server itself reads only `jpserver_extensions` there; our extension reads our sections."""
    folder = tmp_path / "config" / "jupyter_server_config.d"
    folder.mkdir(parents=True)
    shutil.copy(TWIN, folder / "zzz.json")

    with jupyter(tmp_path) as server:
        settings, status = server.settings(), server.get("status")

    assert settings == DEFAULTS
    assert status["notices"] == []


@pytest.mark.parametrize(
    ("file", "extension"), [(PYTHON, True), (PYTHON, False), (TWIN, True)], ids=["python", "python-alone", "json"]
)
def test_a_server_with_a_gateway_starts_with_either_file(tmp_path: Path, file: Path, extension: bool) -> None:
    """With the local manager it would not, for its sessions want the gateway's; JSON needs the extension for that."""
    home, gateway = installed(tmp_path, file), f"--gateway-url=http://127.0.0.1:{free_port()}"

    with jupyter(home, gateway, extension=extension) as server:
        version = server.get("api", ours=False)["version"]

    assert version
    assert "Bad config" not in server.log.read_text()


def test_beside_the_python_file_the_twin_does_not_win(tmp_path: Path) -> None:
    """What is edited in the Python file counts, though the JSON lies in the d directory next to it."""
    home = installed(tmp_path, PYTHON, TWIN)
    with (home / "config" / PYTHON.name).open("a") as file:
        file.write("\nc.CullingKernelManager.idle_timeout = 5\n")

    with jupyter(home) as server:
        settings = server.settings()

    assert settings == {**DEFAULTS, "idle_time": 300}
    assert "Collisions detected" not in server.log.read_text()


def test_a_misspelt_setting_is_named_in_the_log(tmp_path: Path) -> None:
    """A warning with section and name; the server starts with the default."""
    home = installed(tmp_path, PYTHON)
    with (home / "config" / PYTHON.name).open("a") as file:
        file.write("\nc.CullingKernelManager.idle_timeuot = 5\nc.CullingTerminalManager.keep_terminal = True\n")

    with jupyter(home) as server:
        settings = server.settings()

    log = server.log.read_text()
    assert settings == DEFAULTS
    assert "Config option `idle_timeuot` not recognized by `CullingKernelManager`." in log
    assert "Config option `keep_terminal` not recognized by `CullingTerminalManager`." in log


def test_the_administrators_own_timeout_is_not_bounded(tmp_path: Path) -> None:
    """The least and the greatest bound what users set at run time, not what stands in the configuration."""
    home = installed(tmp_path, PYTHON)
    with (home / "config" / PYTHON.name).open("a") as file:
        file.write("\nc.CullingKernelManager.min_idle_timeout = 200\nc.CullingKernelManager.max_idle_timeout = 300\n")

    with jupyter(home) as server:
        settings = server.settings()

    assert settings == DEFAULTS


@pytest.mark.parametrize(
    ("command", "package", "least"),
    [("server", "jupyter_server", 2), ("lab", "jupyterlab", 4), ("notebook", "notebook", 7)],
)
def test_the_command_line_wins_over_the_file(tmp_path: Path, command: str, package: str, least: int) -> None:
    """`--CullingKernelManager.idle_timeout=3` works for each way to start a server."""
    try:
        version = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"{package} is not installed")
    if int(version.partition(".")[0]) < least:
        pytest.skip(f"{package} {version} does not run on Jupyter Server 2")

    with jupyter(installed(tmp_path, PYTHON), "--CullingKernelManager.idle_timeout=3", command=command) as server:
        settings = server.settings()

    assert settings == {**DEFAULTS, "idle_time": 180}


@pytest.mark.parametrize(
    ("value", "shown"), [("-1", "-1.0"), ("abc", "'abc'"), ("nan", "nan"), ("1e400", "inf"), ("", "''")]
)
def test_a_bad_timeout_ends_the_start_and_says_why(tmp_path: Path, value: str, shown: str) -> None:
    """A non-zero exit code and one line that names trait, value and accepted range; no traceback."""
    server = launch(tmp_path, f"--config={PYTHON}", f"--CullingKernelManager.idle_timeout={value}")
    try:
        code = server.process.wait(60)
    finally:
        end(server.process)

    log = server.log.read_text()
    assert code not in (0, None)
    assert re.search(
        rf"CullingKernelManager\.idle_timeout = {re.escape(shown)} is not accepted: "
        r"it must be a number of minutes from 0 \(off\) to \d+",
        log,
    )
    assert "Traceback" not in log
