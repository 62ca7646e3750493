"""Containers at work, asked of a Docker daemon that a test plays on a unix socket, and of AWS's own extension."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from socketserver import ThreadingMixIn, ThreadingUnixStreamServer
from types import SimpleNamespace

import pytest

from culling_manager.records import AppRecord, KernelRecord, Kind
from culling_manager.signals import ContainerSignal, Signals, Subject
from culling_manager.signals import docker as docker_module
from culling_manager.signals.docker import LABEL, own_ids
from tests.conftest import scenario
from tests.doubles import NOON

SPACE_ARN = "arn:aws:sagemaker:eu-west-1:1:app/d-1/mine/JupyterLab/default"


def app(identity: str = SPACE_ARN, here: bool = True) -> Subject:
    """The app that is this machine."""
    record = AppRecord(identity=identity, name="default", state="InService")
    return Subject(kind=Kind.APP, identity=identity, record=record, here=here, server_pid=os.getpid(), since=NOON)


@dataclass
class Daemon:
    """What runs, by its 64 hex digits: entries of the list, and what each has used at each further look."""

    running: dict[str, dict] = field(default_factory=dict)
    used: dict[str, list[dict]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    status: int = 200
    hang: threading.Event | None = None

    def put(
        self, name: str, *, cpu: tuple[float, float] = (5, 5), moved=(0, 0), labels=None, network="sagemaker"
    ) -> str:
        """Run a container that uses so much (seconds of processor, bytes) until the first look, and the second."""
        identity = (name.encode().hex() + "0" * 64)[:64]
        entry = {"Id": identity, "Names": [f"/{name}"], "Labels": labels, "HostConfig": {"NetworkMode": network}}
        self.running[identity] = entry | {"State": "running", "Image": "busybox"}
        self.used[identity] = [
            {
                "cpu_stats": {"cpu_usage": {"total_usage": int(seconds * 1e9)}},
                "blkio_stats": {
                    "io_service_bytes_recursive": [{"op": "read", "value": size}, {"op": "Total", "value": 9e9}]
                },
                "networks": {"eth0": {"rx_bytes": size, "tx_bytes": 0}},
            }
            for seconds, size in zip(cpu, moved, strict=True)
        ]
        return identity

    def answer(self, path: str) -> tuple[int, object]:
        """What Docker says."""
        self.asked.append(path)
        if self.hang is not None:
            self.hang.wait(60)
        if self.status != 200:
            return self.status, {"message": "no"}
        if path == "/containers/json":
            return 200, list(self.running.values())
        looks = self.used.get(path.split("/")[2], [])
        return (200, looks.pop(0) if len(looks) > 1 else looks[0]) if looks else (404, {"message": "No such container"})


class Handler(BaseHTTPRequestHandler):
    """Speaks HTTP for whoever its server belongs to."""

    def do_GET(self) -> None:
        self._answer("")

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers["Content-Length"])).decode())

    def _answer(self, body: str) -> None:
        status, found = self.server.plays(self.path, body)
        raw = found if isinstance(found, bytes) else json.dumps(found).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def address_string(self) -> str:
        return "here"

    def log_message(self, *args) -> None:
        """Quiet."""


@contextmanager
def serving(server, plays):
    """Have a server answer in threads."""
    server.plays, server.daemon_threads = plays, True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def daemon(tmp_path, monkeypatch):
    """Docker, where its own variable says that it is."""
    found, path = Daemon(), tmp_path / "docker.sock"
    monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
    with serving(ThreadingUnixStreamServer(str(path), Handler), lambda path, _: found.answer(path)):
        yield found


class Web(ThreadingMixIn, HTTPServer):
    """A server on a port."""


@pytest.fixture
def sidecar():
    """A container's own server; `says` is what it answers, `heard` what it was asked."""
    found = SimpleNamespace(says=(200, {"jobs": 0}), heard=[])

    def plays(path: str, body: str):
        found.heard.append((path, body))
        return found.says

    with serving(Web(("127.0.0.1", 0), Handler), plays) as server:
        found.port = server.server_port
        yield found


def labels(sidecar, response: str = "jobs", **more: str) -> dict[str, str]:
    """By which it is asked."""
    known = {"port": str(sidecar.port), "endpoint": "idle", "response": response, **more}
    return {LABEL + name: value for name, value in known.items()}


def signal(**settings) -> ContainerSignal:
    """The signal of a server at the root, which looks for a moment only."""
    return ContainerSignal(sample_seconds=0.05, **settings)


# -- what there is no Docker for -----------------------------------------------------------------------


def test_where_there_is_no_docker_nothing_is_asked_or_imported(tmp_path):
    """Nor does it take any time before a deadline."""
    code = (
        "import sys; from culling_manager.signals import ContainerSignal; import tests.test_signals_containers as t\n"
        "for name in ('culling_manager.signals.docker', 'jmespath'): sys.modules.pop(name, None)\n"
        "signal = ContainerSignal()\n"
        "print(signal.applies(t.app()), signal.takes_seconds, 'culling_manager.signals.docker' in sys.modules)"
    )
    env = {**os.environ, "DOCKER_HOST": f"unix://{tmp_path}/none"}

    shown = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True, timeout=60
    )

    assert shown.stdout.split() == ["False", "0.0", "False"]


@pytest.mark.parametrize(
    "host", ["tcp://10.0.0.1:2375", "tcp://localhost.example.org:2375", "ssh://me@here", "nonsense"]
)
def test_another_machines_docker_is_not_asked(host):
    """What runs there does not run on this app."""
    assert not ContainerSignal(docker_host=host).applies(app())


@pytest.mark.parametrize("host", ["tcp://localhost:2375", "tcp://127.0.0.1:2376", "https://[::1]:2376"])
def test_one_on_a_port_of_this_machine_is(host):
    """As Docker's own clients would."""
    assert ContainerSignal(docker_host=host).applies(app())


def test_only_the_app_that_is_this_machine_has_containers(daemon):
    """No kernel, no terminal, and no app elsewhere."""
    kernel = KernelRecord(identity="k", state="idle", last_activity=NOON)

    assert signal().applies(app())
    assert not signal().applies(app(here=False))
    assert not signal().applies(
        Subject(kind=Kind.KERNEL, identity="k", record=kernel, pids=(1,), server_pid=1, since=NOON)
    )
    assert daemon.asked == []


@scenario
async def test_a_socket_on_which_nobody_listens_keeps_nothing(tmp_path):
    """Docker is not started; or it is not ours to ask."""
    path = tmp_path / "dead.sock"
    ThreadingUnixStreamServer(str(path), Handler).server_close()

    assert path.exists()
    assert await signal(docker_host=f"unix://{path}").check(app()) is None


# -- by what they use --------------------------------------------------------------------------------------


USE = {
    "processor": ({"cpu": (5, 6)}, "container trainer uses"),
    "disk and network": ({"moved": (0, 10**6)}, "container trainer reads and writes"),
    "nothing": ({}, None),
    "little": ({"cpu": (5, 5.0001), "moved": (0, 100)}, None),
}


@pytest.mark.parametrize(("used", "words"), USE.values(), ids=USE)
async def test_a_container_is_at_work_when_it_uses_something(daemon, used, words):
    """Between two looks, and nothing that it used before them."""
    daemon.put("trainer", **used)

    found = await signal().check(app())

    assert (found or "").startswith(words or "")
    assert (found is None) == (words is None)
    assert len(daemon.asked) == 3


async def test_one_that_ends_between_the_looks_is_not_at_work(daemon):
    """And hides no other."""
    gone = daemon.put("gone", cpu=(5, 9))
    daemon.put("trainer", cpu=(5, 9))
    del daemon.used[gone]

    assert str(await signal().check(app())).startswith("container trainer uses")


async def test_the_container_that_the_server_runs_in_is_not_one_of_its_own(daemon, monkeypatch):
    """However it is told which that is."""
    own = daemon.put("us", cpu=(5, 9))
    monkeypatch.setattr(docker_module, "own_ids", lambda: frozenset({own[:12]}))

    assert await signal().check(app()) is None


def test_own_ids_come_from_linux_and_not_from_the_mounts_of_others(tmp_path, monkeypatch):
    """A machine's own table of mounts names every container there is; a container's its own."""
    ours, others = "a1" * 32, "b2" * 32
    (tmp_path / "cgroup").write_text(f"0::/system.slice/docker-{ours}.scope\n")
    (tmp_path / "mountinfo").write_text(
        f"1 2 0:1 / /var/lib/docker/overlay2/{others}/merged rw - overlay overlay rw\n"
        f"3 2 0:2 / /var/lib/docker/containers/{others}/mounts/shm rw - tmpfs shm rw\n"
        f"4 2 0:3 /var/lib/docker/containers/{'c3' * 32}/hostname /etc/hostname rw - ext4 /dev/x rw\n"
    )
    patterns = dict(zip((tmp_path / "cgroup", tmp_path / "mountinfo"), docker_module._OWN.values(), strict=True))
    monkeypatch.setattr(docker_module, "_OWN", {str(path): each for path, each in patterns.items()})
    monkeypatch.setattr(docker_module.socket, "gethostname", lambda: "host")

    assert own_ids() == {"host", "a1" * 6, "c3" * 6}


@pytest.mark.parametrize(
    ("settings", "network", "counts"),
    [({}, "bridge", False), ({}, "container:c3c3c3c3c3c3", True), ({"all_containers": True}, "bridge", True)],
)
async def test_elsewhere_than_on_sagemaker_others_containers_do_not_count(
    daemon, monkeypatch, settings, network, counts
):
    """A machine's Docker may serve many; its own are those that share its network, or all where the admin says so."""
    daemon.put("somebody", cpu=(5, 9), network=network)
    monkeypatch.setattr(docker_module, "own_ids", lambda: frozenset({"c3" * 6}))

    found = await signal(**settings).check(app("jupyter-server-7"))

    assert (found is not None) == counts


# -- by what they say ----------------------------------------------------------------------------------------


async def test_a_labelled_container_is_asked_what_it_does(daemon, sidecar):
    """Under the server's base URL, as through the proxy; what it uses is nobody's concern."""
    daemon.put("worker", cpu=(5, 9), labels=labels(sidecar))
    asking = signal()
    asking.start(SimpleNamespace(base_url="/jupyterlab/default/"))
    idle = await asking.check(app())

    sidecar.says = (200, {"jobs": 3})
    busy = await asking.check(app("jupyter-server-7"))

    assert (idle, busy) == (None, "container worker says that it is at work")
    assert sidecar.heard == [(f"/jupyterlab/default/proxy/absolute/{sidecar.port}/idle", "")] * 2
    assert daemon.asked == ["/containers/json"] * 2


@pytest.mark.parametrize(
    ("says", "more"),
    [((500, {}), {}), ((200, b"no JSON"), {}), ((200, {}), {"response": "["}), ((200, {}), {"payload": "{"}),
     ((200, {}), {"port": "no port"}), ((200, {}), {"port": "1"})],
)  # fmt: skip
async def test_one_that_does_not_answer_as_it_says_is_judged_by_what_it_uses(daemon, sidecar, says, more):
    """Silence is no work, and no proof of none."""
    sidecar.says = says
    daemon.put("worker", cpu=(5, 9), labels=labels(sidecar, **more))
    daemon.put("quiet", labels=labels(sidecar, **more))

    assert str(await signal().check(app())).startswith("container worker uses")


# -- what fails ------------------------------------------------------------------------------------------------


async def test_a_docker_that_fails_keeps_and_is_reported(daemon):
    """Doubt keeps, and status says what Docker answered."""
    daemon.put("trainer")
    daemon.status = 403

    finding = await Signals(names=["containers"]).ask(app())

    assert finding.words is not None
    assert "HTTP status 403" in finding.errors[0]


async def test_a_docker_that_hangs_holds_nobody_up(daemon, monkeypatch):
    """The event loop goes on, and after its limit it counts as use."""
    daemon.hang = threading.Event()
    ticks = 0
    runner = Signals(names=["containers"], limit_seconds=0.3)

    asking = asyncio.get_running_loop().create_task(runner.ask(app()))
    while not asking.done():
        await asyncio.sleep(0.01)
        ticks += 1
    daemon.hang.set()

    assert "did not answer within 0.3 s" in asking.result().errors[0]
    assert ticks > 3


async def test_too_many_to_look_at_are_kept(daemon, monkeypatch):
    """And said to be."""
    monkeypatch.setattr(docker_module, "MOST", 1)
    daemon.put("a")
    daemon.put("b")

    assert await signal().check(app()) == "2 containers run, which are too many to look at"


# -- as AWS's extension does -----------------------------------------------------------------------------------


ANSWERS = {
    "nothing to do": ({"jobs": 0}, "jobs", None),
    "something to do": ({"jobs": 2}, "jobs", None),
    "no such field": ({"other": 0}, "jobs", None),
    "a text": ({"jobs": "0"}, "jobs", None),
    "false is nothing": ({"jobs": False}, "jobs", None),
    "a sum of many": ({"queues": [{"n": 0}, {"n": 4}]}, "sum(queues[].n)", None),
    "no sum": ({"queues": [{"n": 0}]}, "sum(queues[].n)", None),
    "it is sent what its label says": ({"jobs": 0}, "jobs", '{"method": "status"}'),
}


@pytest.mark.parametrize(("answer", "response", "payload"), ANSWERS.values(), ids=ANSWERS)
async def test_a_labelled_container_means_what_it_means_for_awss_extension(
    daemon, sidecar, tmp_path, monkeypatch, answer, response, payload
):
    """The same request reaches it, and its answer is understood alike."""
    words = "jupyter-activity-monitor-extension is not installed: hatch run sidecars:run"
    theirs = pytest.importorskip("jupyter_activity_monitor_extension.docker_sidecar_check", reason=words)
    known = labels(sidecar, response, **({"payload": payload} if payload else {}))
    sidecar.says = (200, answer)
    daemon.put("worker", labels=known)
    docker = tmp_path / "bin" / "docker"
    docker.parent.mkdir()
    docker.write_text(f"#!/bin/sh\ncase $1 in container) echo c1;; *) echo \"'\"'{json.dumps(known)}'\"'\";; esac\n")
    docker.chmod(docker.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{docker.parent}{os.pathsep}{os.environ['PATH']}")
    server = [{"url": f"http://localhost:{sidecar.port}/"}]
    monkeypatch.setattr(theirs.serverapp, "list_running_servers", lambda: iter(server))
    at_work = await signal().check(app()) is not None

    idle = theirs.check_if_sidecars_idle()

    assert at_work == (not idle)
    (path, body), (their_path, their_body) = sidecar.heard
    assert (path, json.loads(body or "null")) == (their_path, json.loads(their_body or "null"))
