"""A place that looks to a lifecycle script like SageMaker: conda, home, commands, S3, and a real Jupyter Server.

Everything lies under one folder. The server's environment is a virtual one that sees the packages of the tests, all but
ours, so that the script has it to install and nothing has to be downloaded.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import io
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tarfile
import time
import urllib.request
import venv
import zipfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import patience
from tests.ports import free_port

ROOT = Path(__file__).parents[1]
LCC = ROOT / "lcc"
DIST = "sagemaker_studio_autoshutdown"
SETTINGS_FILE = "etc/jupyter/jupyter_server_config.d/culling_manager_settings.json"
#: What the wheel brings besides the package, and where it goes below the environment's prefix.
SHARED = {
    "config/jupyter_server_config.d/culling_manager.json": "etc/jupyter/jupyter_server_config.d/culling_manager.json",
    "lcc/check_idle_timeout_configuration.py": "share/culling_manager/check_idle_timeout_configuration.py",
    "lcc/lifecycle.py": "share/culling_manager/lifecycle.py",
    "lcc/set-time-interval.sh": "share/culling_manager/set-time-interval.sh",
}
#: What the scripts may use besides bash: nothing else is on their PATH but the place's own commands.
TOOLS = (
    *("bash", "cat", "chmod", "cp", "env", "grep", "gzip", "id", "mkdir", "mktemp", "mv", "rm", "sed", "setsid"),
    *("sha256sum", "sleep", "stat", "tail", "touch", "tar", "timeout", "tr"),
)
HEARTBEAT = ("--CullingKernelManager.cull_interval=0.2", "--CullingTerminalManager.cull_interval=0.2")
SERVICE = """#!/usr/bin/env bash
# The service manager behind all stubs: start, stop, restart, status of one real server.
root=@ROOT@
running() { [ -e "$root/pid" ] && grep -qs '^State:.[^Z]' "/proc/$(cat "$root/pid")/status"; }
stop() {
  ! running || kill "$(cat "$root/pid")"
  while running; do sleep 0.05; done
}
start() {
  cd @HOME@ || exit 1
  env -i PATH="$PATH" @ENVIRONMENT@ setsid @COMMAND@ </dev/null >>"$root/server.log" 2>&1 &
  echo $! >"$root/pid"
}
echo "$*" >>"$root/service.log"
case $1 in
start) start ;;
stop) stop ;;
restart) stop && start ;;
status) running ;;
esac
"""
STUBS = {
    "supervisorctl": """while [ $# -gt 0 ] && [[ $1 != status && $1 != restart ]]; do shift; done
[ "$2" = jupyterlabserver ] || exit 2
if [ "$1" = restart ]; then exec @SERVICE@ restart; fi
if @SERVICE@ status; then echo "$2 RUNNING pid 7"; else echo "$2 STOPPED"; exit 3; fi
""",
    "restart-jupyter-server": "exec @SERVICE@ restart\n",
    "systemctl": """case "$*" in
"is-active --quiet jupyter-server") exec @SERVICE@ status ;;
"--no-block restart jupyter-server") @SERVICE@ restart >/dev/null 2>&1 & ;;
*) echo "systemctl: unknown: $*" >&2; exit 1 ;;
esac
""",
    "initctl": """case "$*" in
"status jupyter-server") if @SERVICE@ status; then echo "jupyter-server start/running, process 7"; fi ;;
"restart jupyter-server --no-wait") @SERVICE@ restart >/dev/null 2>&1 & ;;
*) echo "initctl: unknown: $*" >&2; exit 1 ;;
esac
""",
    "sudo": """[ "$1 $2 $3 $4" = "-n -u ec2-user --" ] || { echo "sudo: a password is required" >&2; exit 1; }
shift 4
echo "$*" >>@ROOT@/sudo.log
exec env -i PATH="$PATH" HOME=/nowhere "$@"
""",
    "aws": """[ "$1 $2 $3" = "s3 cp --only-show-errors" ] || exit 252
cp "@ROOT@/s3/${4#s3://}" "$5" 2>/dev/null && exit
echo "fatal error: An error occurred (404) when calling the HeadObject operation: Key \\"${4##*/}\\" does not exist" >&2
exit 1
""",
}


@dataclass
class Ran:
    """What a run of a lifecycle script gave: exit code, log lines by level, and how long it took."""

    code: int
    out: str
    text: str
    seconds: float

    def lines(self, *levels: str) -> list[str]:
        """The log lines of some levels, without prefix."""
        found = [re.fullmatch("auto-shutdown: ([A-Z]+): (.*)", line) for line in self.text.splitlines()]
        assert all(found), f"a line without prefix:\n{self.text}"
        return [each[2] for each in found if each and each[1] in levels]

    @property
    def error(self) -> str:
        """The one ERROR line."""
        (line,) = self.lines("ERROR")
        return line


def wait_until(holds: Any, what: str, seconds: float = 40.0) -> None:
    end = time.monotonic() + patience(seconds)
    while not holds():
        assert time.monotonic() < end, f"still not so after {seconds:g} s: {what}"
        time.sleep(0.05)


# -- what is installed -----------------------------------------------------------------------------


def make_wheel(folder: Path, version: str | None = None, needs: str = "", **changed: str) -> Path:
    """Our wheel as hatch makes it, without any build backend.

    `changed` replaces modules, such as `managers__kernels`; `needs`: one more need.
    """
    found = importlib.metadata.distribution(DIST)
    version = version or found.version
    more = f"\nRequires-Dist: {needs}" if needs else ""
    metadata = re.sub("(?m)^Version: .*", f"Version: {version}{more}", found.read_text("METADATA") or "")
    stem = f"{DIST}-{version}"
    files = {
        str(path.relative_to(ROOT)): path.read_bytes()
        for path in (ROOT / "culling_manager").rglob("*")
        if path.is_file() and not {"__pycache__", "lab", "labextension"} & set(path.relative_to(ROOT).parts)
    }
    files |= {f"culling_manager/{name.replace('__', '/')}.py": text.encode() for name, text in changed.items()}
    for source, place in SHARED.items():
        files[f"{stem}.data/data/{place}"] = (ROOT / source).read_bytes()
    files[f"{stem}.dist-info/METADATA"] = metadata.encode()
    files[f"{stem}.dist-info/entry_points.txt"] = (found.read_text("entry_points.txt") or "").encode()
    files[f"{stem}.dist-info/WHEEL"] = b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    hashes = {name: base64.urlsafe_b64encode(hashlib.sha256(data).digest()) for name, data in files.items()}
    record = [f"{name},sha256={hashes[name].rstrip(b'=').decode()},{len(data)}" for name, data in files.items()]
    files[f"{stem}.dist-info/RECORD"] = "\n".join([*record, f"{stem}.dist-info/RECORD,,", ""]).encode()
    wheel = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as opened:
        for name, data in files.items():
            opened.writestr(name, data)
    return wheel


def make_bundle(folder: Path, version: str | None = None, *, damaged: bool = False, **changed: str) -> Path:
    """A bundle of the layout that `.ci/bundle` gives; `damaged`: a file in it is not the one of SHA256SUMS."""
    folder.mkdir(parents=True, exist_ok=True)
    wheel = make_wheel(folder, version, **changed)
    top = wheel.name.split("-py3")[0]
    files = {f"wheels/{wheel.name}": wheel.read_bytes()}
    files |= {f"{path.parent.name}/{path.name}": path.read_bytes() for path in LCC.iterdir() if path.is_file()}
    sums = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in sorted(files.items()))
    files["SHA256SUMS"] = sums.encode()
    if damaged:
        files["lcc/set-time-interval.sh"] += b"#"
    bundle = folder / f"{top}-bundle.tar.gz"
    with tarfile.open(bundle, "w:gz") as opened:
        for name, data in files.items():
            member = tarfile.TarInfo(f"{top}/{name}")
            member.size, member.mode = len(data), 0o755 if name.endswith(".sh") else 0o644
            opened.addfile(member, io.BytesIO(data))
    return bundle


def make_farm(folder: Path) -> Path:
    """Links to all packages of the tests' own environment but ours."""
    # rfc3987_syntax needs a second for its own import, of jupyter_server's two; jsonschema does without it.
    not_these = (DIST, "culling_manager", "__editable__", "_editable", "rfc3987_syntax")
    folder.mkdir()
    for source in {Path(sysconfig.get_paths()[name]) for name in ("purelib", "platlib")}:
        for path in source.iterdir():
            name = path.name.lower().replace("-", "_")
            wanted = (path.suffix == ".dist-info" and not name.startswith(DIST)) or not name.startswith(not_these)
            if wanted and path.suffix != ".pth" and path.name != "__pycache__":
                with suppress(FileExistsError):
                    (folder / path.name).symlink_to(path)
    return folder


# -- the place -------------------------------------------------------------------------------------


class Sandbox:
    """One place. `environment` is where its server's Python is, below `conda`."""

    def __init__(self, root: Path, farm: Path, environment: str = ".", base_url: str = "/jupyterlab/default") -> None:
        self.root, self.conda, self.home, self.tmp = root, root / "conda", root / "home", root / "tmp"
        self.prefix = (self.conda / environment).resolve()
        self.port, self.base_url = free_port(), base_url
        for folder in (self.home, self.tmp, root / "bin", root / "tools", root / "s3" / "bucket"):
            folder.mkdir(parents=True)
        self._make_environment(farm)
        self._make_commands()

    @property
    def python(self) -> Path:
        """The server's Python."""
        return self.prefix / "bin" / "python"

    @property
    def packages(self) -> Path:
        """Where it has its packages."""
        return self.prefix / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"

    @property
    def config(self) -> Path:
        """The file that selects our managers."""
        return self.prefix / SETTINGS_FILE

    def _make_environment(self, farm: Path) -> None:
        venv.EnvBuilder(with_pip=False, symlinks=True).create(self.prefix)
        (self.packages / "farm.pth").write_text(f"{farm}\n")
        self.config.parent.mkdir(parents=True)
        terminals = {"ServerApp": {"jpserver_extensions": {"jupyter_server_terminals": True}}}
        (self.config.parent / "jupyter_server_terminals.json").write_text(json.dumps(terminals))

    def have_what_is_in(self, prefix: Path) -> None:
        """Take over package and configuration from another place's environment."""
        packages = prefix / self.packages.relative_to(self.prefix)
        for path in [*packages.glob(f"{DIST}-*"), packages / "culling_manager"]:
            shutil.copytree(path, self.packages / path.name)
        for name in ("etc", "share"):
            shutil.copytree(prefix / name, self.prefix / name, dirs_exist_ok=True)

    def _make_commands(self) -> None:
        for name in TOOLS:
            found = shutil.which(name)
            assert found, f"{name} is missing on this machine"
            (self.root / "tools" / name).symlink_to(found)
        for name, text in STUBS.items():
            self.write(name, f"#!/usr/bin/env bash\n{text}")
        self.manage_server()

    def manage_server(self, home: Path | None = None, token: str = "", **variables: str) -> None:
        """Let the place's service manager start the server with another home, token, or with variables."""
        self.home = home or self.home
        command = shlex.join([*self.command, f"--IdentityProvider.token={token}"])
        environment = shlex.join([f"HOME={self.home}", *(f"{name}={value}" for name, value in variables.items())])
        text = SERVICE.replace("@ENVIRONMENT@", environment).replace("@COMMAND@", command)
        self.write("service", text.replace("@HOME@", shlex.quote(str(self.home))))

    def write(self, name: str, text: str) -> Path:
        """Write a command of the place."""
        path = self.root / "bin" / name
        service = shlex.quote(str(self.root / "bin" / "service"))
        path.write_text(text.replace("@SERVICE@", service).replace("@ROOT@", shlex.quote(str(self.root))))
        path.chmod(0o755)
        return path

    def without(self, *names: str) -> None:
        """Take commands away from the place."""
        for name in names:
            (self.root / "bin" / name).unlink()

    # -- its server

    @property
    def command(self) -> list[str]:
        """How the place starts its server: as SageMaker does, and with a quick heartbeat."""
        options = [f"--ServerApp.port={self.port}", "--ServerApp.port_retries=0"]
        options += [f"--ServerApp.base_url={self.base_url}", "--allow-root", "--no-browser"]
        return [str(self.python), "-m", "jupyter_server", *options, *HEARTBEAT]

    def service(self, verb: str) -> None:
        """Start, stop or restart the server as the place's service manager does."""
        path = os.pathsep.join(str(self.root / each) for each in ("bin", "tools"))
        subprocess.run([self.root / "bin" / "service", verb], env={"PATH": path}, check=verb != "status")

    @property
    def pid(self) -> int:
        """The server's process."""
        return int((self.root / "pid").read_text())

    def get(self, name: str) -> Any:
        """Ask the server; OSError while it does not listen."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://127.0.0.1:{self.port}{self.base_url}/{name}", timeout=patience(20)) as response:
            return json.load(response)

    def answers(self) -> bool:
        """Whether the server listens."""
        with suppress(OSError):
            return "version" in self.get("api")
        return False

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        self.service("start")
        wait_until(self.answers, f"the server answers\n{self.log}")

    @property
    def log(self) -> str:
        """What the server has logged."""
        path = self.root / "server.log"
        return path.read_text() if path.exists() else ""

    def settings(self) -> tuple[float, bool]:
        """Idle timeout (minutes) and keep_terminals of the running culler."""
        found = self.get("sagemaker-studio-autoshutdown/idle_checker")
        assert found["errors"] is None, found
        return found["idle_time"] / 60, found["keep_terminals"]

    def end(self) -> None:
        """End the server, if it is ours, by its pid."""
        with suppress(OSError, ValueError):
            pid = self.pid
            if str(self.root).encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGTERM)
                end = time.monotonic() + patience(5)
                while "State:\tZ" not in Path(f"/proc/{pid}/status").read_text():
                    if time.monotonic() > end:
                        os.kill(pid, signal.SIGKILL)
                    time.sleep(0.05)

    def needs_nobody_else(self) -> None:
        """Skip the test where a server of somebody else's has a port at which SageMaker's are looked for."""
        for port in (8888, 8443):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    pytest.skip(f"another server listens at port {port}, where the script looks for SageMaker's")

    # -- running a script in it

    def script(self, name: str, settings: dict[str, str]) -> Path:
        """A copy of a script with settings as an administrator writes them; quotes what needs it."""
        text = (LCC / name).read_text()
        for setting, value in {"CONDA_DIR": str(self.conda), **settings}.items():
            text, count = re.subn(rf"(?m)^{setting}=.*", lambda _, s=setting, v=value: f"{s}={shlex.quote(v)}", text)
            assert count == 1, setting
        path = self.root / name
        path.write_text(text)
        path.chmod(0o755)
        return path

    def variables(self, **more: str) -> dict[str, str]:
        """The environment that SageMaker gives a script."""
        path = os.pathsep.join(str(self.root / each) for each in ("bin", "tools"))
        return {"PATH": path, "HOME": str(self.home), "TMPDIR": str(self.tmp), **more}

    def run(self, name: str, within: tuple[str, ...] = (), more: dict[str, str] | None = None, **settings: str) -> Ran:
        """Run a script as SageMaker does."""
        return self.execute([*within, str(self.script(name, settings))], more)

    def execute(self, command: list[str], more: dict[str, str] | None = None) -> Ran:
        """Run a command in the place, away from the home directory."""
        began = time.monotonic()
        env = self.variables(**(more or {}))
        done = subprocess.run(command, cwd=self.root, env=env, capture_output=True, timeout=patience(100), check=False)
        return Ran(done.returncode, done.stdout.decode(), done.stderr.decode(), time.monotonic() - began)

    def installed(self) -> str | None:
        """The version of our package in the server's environment."""
        found = list(self.packages.glob(f"{DIST}-*.dist-info"))
        return found[0].name.removesuffix(".dist-info").split("-")[1] if found else None

    def left_over(self) -> list[str]:
        """What a script has left lying about in the temporary directory and beside the configuration."""
        return [path.name for path in [*self.tmp.iterdir(), *self.config.parent.glob("*.new")]]

    def strangers_at_home(self) -> set[str]:
        """What is in the home directory besides the user's scripts and Jupyter's data."""
        allowed = (".auto-shutdown/", ".local/share/jupyter/", ".jupyter/migrated")
        found = {str(path.relative_to(self.home)) for path in self.home.rglob("*") if path.is_file()}
        return {name for name in found if not name.startswith(allowed)}
