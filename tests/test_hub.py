"""A real JupyterHub with its idle culler: what we keep stays, and what nothing keeps goes.

Needs jupyterhub, jupyterhub-idle-culler and configurable-http-proxy (the one in Python): `hatch run hub:run`. The hub's
culler looks every few seconds for servers that were inactive for 25.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import runpy
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from tests.conftest import scenario
from tests.ports import free_port
from tests.test_config_files import NOT_NEEDED, environment

REASON = "{} is not installed: hatch run hub:run"
pytest.importorskip("jupyterhub", reason=REASON.format("jupyterhub"))
pytest.importorskip("configurable_http_proxy", reason=REASON.format("configurable-http-proxy"))
culler = pytest.importorskip("jupyterhub_idle_culler", reason=REASON.format("jupyterhub-idle-culler"))

pytestmark = pytest.mark.timeout(900)
HUB = Path(__file__).parents[1] / "config" / "hub"
#: The culler's own timeout, and how long everything is kept (seconds): more than twice of that.
TIMEOUT, KEPT = 25, 60
#: "within a minute after the last reason", on a machine that has other things to do.
AFTER, SLOW = 60, 4

CONFIG = """
import sys
from pathlib import Path
home = Path({home!r})
c = get_config()
load_subconfig({hub!r})
c.JupyterHub.bind_url = "http://127.0.0.1:{port}/"
c.JupyterHub.hub_bind_url = "http://127.0.0.1:{hub_port}"
c.JupyterHub.db_url = f"sqlite:///{{home}}/hub.sqlite"
c.JupyterHub.cookie_secret_file = str(home / "secret")
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.JupyterHub.spawner_class = "simple"
c.JupyterHub.last_activity_interval = 2
c.ConfigurableHTTPProxy.command = [str(Path(sys.executable).with_name("configurable-http-proxy"))]
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{api_port}"
c.ConfigurableHTTPProxy.pid_file = str(home / "proxy.pid")
c.SimpleLocalProcessSpawner.home_dir_template = str(home / "{{username}}")
c.Spawner.cmd = [sys.executable, "-m", "jupyterhub.singleuser"]
c.Spawner.start_timeout = c.Spawner.http_timeout = 300
c.Spawner.environment = {{"JUPYTERHUB_ACTIVITY_INTERVAL": "2", "JUPYTERHUB_SINGLEUSER_EXTENSION": "1"}}
c.Spawner.args += ["--allow-root", "--debug", "--CullingKernelManager.idle_timeout=0.25",
    "--CullingKernelManager.cull_interval=1", "--CullingKernelManager.warn_before=0", *{off!r}]
culler = c.JupyterHub.services[0]
culler["command"] = [*culler["command"][:3], "--timeout={timeout}", "--cull-every=3"]
c.JupyterHub.services.append({{"name": "test", "api_token": "only-for-this-test"}})
c.JupyterHub.load_roles.append({{"name": "test", "services": ["test"],
    "scopes": ["admin:users", "admin:servers", "access:servers", "list:users", "read:hub"]}})
"""


class Hub:
    """A hub that runs, as whoever may do everything on it."""

    def __init__(self, url: str) -> None:
        self.url, self.session = url, requests.Session()
        self.session.headers["Authorization"] = "token only-for-this-test"

    def ask(self, method: str, path: str, **kwargs: Any) -> Any:
        answer = self.session.request(method, f"{self.url}/{path}", timeout=60, **kwargs)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def servers(self) -> dict[str, Any]:
        """The servers that there are, by user."""
        found = self.ask("GET", "hub/api/users")
        return {each["name"]: each["servers"][""] for each in found if each["servers"]}

    def start(self, user: str) -> str:
        """Start a user's server with a kernel on it; gives the kernel's id."""
        self.ask("POST", f"hub/api/users/{user}")
        self.ask("POST", f"hub/api/users/{user}/server")
        eventually(lambda: self.servers().get(user, {}).get("ready"))
        return self.ask("POST", f"user/{user}/api/kernels", json={"name": "python3"})["id"]

    def keep(self, user: str, **body: Any) -> Any:
        return self.ask("POST", f"user/{user}/sagemaker-studio-autoshutdown/keep-alive", json=body)


def eventually(holds: Any, seconds: float = 300) -> Any:
    """Wait until it holds."""
    end = time.monotonic() + seconds
    while True:
        found = holds()
        if found:
            return found
        assert time.monotonic() < end, "still not so"
        time.sleep(0.5)


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """JupyterHub, its proxy and its idle culler, with our managers on each user's server."""
    home = tmp_path_factory.mktemp("hub")
    port = free_port()
    off = [f"--ServerApp.jpserver_extensions={name}=False" for name in NOT_NEEDED]
    text = CONFIG.format(
        home=str(home), hub=str(HUB / "jupyterhub_config.py"), port=port, hub_port=free_port(), api_port=free_port(),
        timeout=TIMEOUT, off=[*off, "--ServerApp.jpserver_extensions=culling_manager=True"],
    )  # fmt: skip
    (home / "config.py").write_text(text)
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "jupyterhub", f"--config={home / 'config.py'}"],
            cwd=home, env=environment(home), stdout=log, stderr=log,
        )  # fmt: skip
    found = Hub(f"http://127.0.0.1:{port}")
    try:
        eventually(lambda: answers(found, process, home / "log"))
        yield found
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
        logging.getLogger(__name__).info("%s", (home / "log").read_text()[-20_000:])


def answers(hub: Hub, process: subprocess.Popen, log: Path) -> bool:
    """Whether it is up."""
    assert process.poll() is None, log.read_text()[-3000:]
    try:
        return bool(hub.ask("GET", "hub/api/info"))
    except requests.RequestException:
        return False


async def execute(hub: Hub, user: str, kernel: str, code: str) -> None:
    """Have a kernel run code, and hang up as soon as it runs."""
    from jupyter_client.session import Session
    from tornado.httpclient import HTTPRequest
    from tornado.websocket import websocket_connect

    url = f"{hub.url.replace('http', 'ws')}/user/{user}/api/kernels/{kernel}/channels"
    socket = await websocket_connect(HTTPRequest(url, headers=dict(hub.session.headers.items()) | {"Accept": "*/*"}))
    message = Session().msg("execute_request", {"code": code, "silent": False, "store_history": False,
        "user_expressions": {}, "allow_stdin": False, "stop_on_error": True}) | {"channel": "shell"}  # fmt: skip
    await socket.write_message(json.dumps(message, default=str))
    while True:
        found = json.loads(await asyncio.wait_for(socket.read_message(), 60))
        if found["msg_type"] == "execute_input":
            break
    socket.close()


BUSY = f"import time; time.sleep({KEPT})"
JOB = (
    f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time\\nt = time.monotonic() + {KEPT}\\n"
    "while time.monotonic() < t: pass'])"
)


REASONS = {
    "forgotten": lambda hub, kernel: None,
    "cell": lambda hub, kernel: asyncio.run(execute(hub, "cell", kernel, BUSY)),
    "job": lambda hub, kernel: asyncio.run(execute(hub, "job", kernel, JOB)),
    "asked": lambda hub, kernel: hub.keep("asked", duration=f"{KEPT}s"),
    "leased": lambda hub, kernel: hub.keep("leased", lease=True, duration=f"{KEPT}s"),
}


def test_what_is_kept_survives_the_hubs_culler_and_what_is_not_goes(hub):
    """A silent cell, a background job, a keep-alive and a lease outlast its timeout; a forgotten server does not.

    Each server goes within a minute after its last reason, as fast as this machine is.
    """
    ends: dict[str, float] = {}
    gone: dict[str, float] = {}

    def look() -> bool:
        there, now = hub.servers(), time.monotonic()
        for user in ends.keys() - there.keys() - gone.keys():
            gone[user] = now
        early = {user: ends[user] - at for user, at in gone.items() if user != "forgotten" and at < ends[user] - 5}
        assert early == {}, "seconds before the end of their reasons"
        return ends.keys() == gone.keys()

    for user, begin in REASONS.items():
        kernel = hub.start(user)
        begin(hub, kernel)
        ends[user] = time.monotonic() + KEPT
        look()
    eventually(look, KEPT + AFTER * SLOW)

    late = {user: round(at - ends[user]) for user, at in gone.items()}
    logging.getLogger(__name__).info("gone so many seconds after the end of what kept it: %s", late)
    assert late["forgotten"] < min(late[user] for user in late if user != "forgotten")


@scenario
async def test_the_arbiter_asks_the_server_itself(hub, monkeypatch):
    """Whatever the culler's timeout: with one of nothing at all a server with a kernel that works stays, then goes."""
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", "only-for-this-test")
    monkeypatch.setenv("JUPYTERHUB_PROXY_URL", hub.url)
    config = SimpleNamespace(IdleCuller=SimpleNamespace())
    runpy.run_path(str(HUB / "idle_culler_config.py"), {"get_config": lambda: config})
    arbiter = config.IdleCuller.cull_arbiter_hook
    kernel = hub.start("arbiter")
    await execute(hub, "arbiter", kernel, "import time; time.sleep(15)")

    async def cull() -> bool:
        api, token = f"{hub.url}/hub/api", os.environ["JUPYTERHUB_API_TOKEN"]
        await culler.cull_idle(api, token, 0, culler.IdleCuller().log, cull_arbiter=arbiter)
        return "arbiter" in hub.servers()

    working = [await cull() for _ in range(3)]
    deadline = time.monotonic() + 120 * SLOW
    while await cull():
        assert time.monotonic() < deadline
        await asyncio.sleep(1)

    assert working == [True, True, True]


def test_the_arbiter_leaves_servers_of_others_to_the_timeout():
    """One without culling_manager has no status, and nobody's doubt keeps it."""
    config = SimpleNamespace(IdleCuller=SimpleNamespace())
    found = runpy.run_path(str(HUB / "idle_culler_config.py"), {"get_config": lambda: config})
    arbiter = config.IdleCuller.cull_arbiter_hook

    async def nothing(server):
        return {"kernels": [], "terminals": []}

    found["kept_by_nothing"].__globals__["status_of"] = nothing
    limits = [asyncio.run(arbiter(timedelta(seconds=each), 10, {})) for each in (9, 10)]

    assert limits == [False, True]
