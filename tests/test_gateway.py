"""Remote kernels on a real Jupyter Kernel Gateway: fresh models, few requests, and a gateway that is away."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import time
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace

import pytest
import requests
from jupyter_server.gateway.gateway_client import GatewayClient
from jupyter_server.gateway.managers import GatewayKernelSpecManager, GatewayMappingKernelManager
from tornado.httpclient import HTTPClientError
from tornado.web import HTTPError

from culling_manager import CullingKernelManager, GatewayCullingKernelManager
from culling_manager.decisions import Reason
from culling_manager.engine.clock import utcnow
from culling_manager.policy import CullingPolicy
from culling_manager.records import Kind, Result
from culling_manager.rules.own_timeout import OwnTimeout
from tests.conftest import patience, until
from tests.doubles import NOON
from tests.test_clients import free_port


class Gateway:
    """A gateway process of this test's own, which can be stopped, continued and asked how often it was asked."""

    def __init__(self, folder, *arguments: str, allow_listing: bool = True) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "gateway.log"
        environment = {
            **os.environ,
            "JUPYTER_PATH": str(folder / "share"),
            "JUPYTER_CONFIG_DIR": str(folder / "config"),
            "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        }
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable, "-m", "jupyter", "kernelgateway", f"--KernelGatewayApp.port={self.port}",
                    "--KernelGatewayApp.ip=127.0.0.1", f"--JupyterWebsocketPersonality.list_kernels={allow_listing}",
                    "--KernelGatewayApp.port_retries=0", "--KernelGatewayApp.log_level=INFO", *arguments,
                ],
                env=environment, cwd=folder, stdout=log, stderr=log,
            )  # fmt: skip

    def wait(self) -> Gateway:
        end = time.monotonic() + patience(60)
        while True:
            try:
                requests.get(f"{self.url}/api", timeout=patience(2))
                return self
            except requests.RequestException:
                assert self.process.poll() is None, self.log.read_text()
                assert time.monotonic() < end, self.log.read_text()
                time.sleep(0.1)

    def asked(self) -> int:
        """How many requests about kernels it has answered (as its access log has them)."""
        return self.log.read_text().count("/api/kernels")

    def end(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:  # some versions wait for their kernels without end
            self.process.kill()
            self.process.wait(10)


@pytest.fixture
def gateway(tmp_path):
    """A running gateway that allows listing."""
    found = Gateway(tmp_path).wait()
    yield found
    found.end()


@pytest.fixture
def forbidding_gateway(tmp_path):
    """A running gateway as it is by default: it forbids listing kernels."""
    found = Gateway(tmp_path, allow_listing=False).wait()
    yield found
    found.end()


@pytest.fixture
def connect():
    """Point Jupyter Server's gateway client at a URL, with short patience; undone afterwards."""

    def point(url: str) -> None:
        GatewayClient.clear_instance()
        client = GatewayClient.instance()
        client.url = url
        client.request_timeout = client.connect_timeout = 2.0
        client.gateway_retry_max = 0

    yield point
    GatewayClient.clear_instance()


class Remote:
    """Our manager on a gateway, without a server."""

    def __init__(self, **settings) -> None:
        self.manager = GatewayCullingKernelManager(log=logging.getLogger("remote"), **settings)

    async def __aenter__(self) -> GatewayCullingKernelManager:
        return self.manager

    async def __aexit__(self, *_error) -> None:
        try:
            await self.manager.shutdown_all()
        finally:
            self.manager._culler.stop()


async def websocket_execute(url: str, kernel_id: str, code: str):
    """Run a cell as a browser would, over the gateway's WebSocket; gives the open connection."""
    from tornado.websocket import websocket_connect

    try:
        socket = await websocket_connect(f"{url.replace('http', 'ws')}/api/kernels/{kernel_id}/channels")
    except HTTPClientError:
        if hasattr(GatewayMappingKernelManager, "track_message_type"):
            raise
        pytest.skip("kernel gateway 2.5 on jupyter_server 2.10 never ends its WebSocket handshake, with us or without")
    header = {"msg_id": "m1", "msg_type": "execute_request", "session": "s1", "username": "u", "version": "5.3"}
    content = {"code": code, "silent": False, "store_history": False, "user_expressions": {}, "allow_stdin": False}
    await socket.write_message(
        json.dumps({"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"})
    )
    return socket


def test_the_class_is_both_ours_and_upstreams():
    """Upstream's gateway session manager insists on its class; the flag of the owner works for ours."""
    assert issubclass(GatewayCullingKernelManager, GatewayMappingKernelManager)
    assert issubclass(GatewayCullingKernelManager, CullingKernelManager)


@pytest.mark.parametrize("name", ["list_kernels", "start_kernel", "shutdown_kernel", "shutdown_all", "remove_kernel"])
def test_the_method_of_upstream_that_we_override_or_call_is_there(name):
    """A renamed one fails here and not silently."""
    assert callable(getattr(GatewayMappingKernelManager, name))


def test_an_idle_remote_kernel_goes_at_its_deadline(gateway, connect, run):
    """By itself, at its deadline, from a fresh model; and a kernel of somebody else stays."""
    connect(gateway.url)
    others = requests.post(f"{gateway.url}/api/kernels", json={}).json()["id"]

    async def check():
        async with Remote(idle_timeout=0.03) as manager:
            kernel_id = await manager.start_kernel(kernel_name="python3")

            await until(lambda: kernel_id not in manager and manager._culler.outcomes, 30)

            return [outcome.result for outcome in manager._culler.outcomes]

    results = run(check())
    left = [kernel["id"] for kernel in requests.get(f"{gateway.url}/api/kernels").json()]

    assert results[-1] is Result.CULLED
    assert left == [others]


@pytest.mark.parametrize("what", ["model", "odd model"])
def test_one_kernel_that_the_gateway_cannot_answer_for_does_not_keep_the_others(
    forbidding_gateway, connect, run, monkeypatch, what
):
    """It is kept itself, which is reported, and judged again once it can be."""
    connect(forbidding_gateway.url)

    async def check():
        async with Remote(idle_timeout=0.03, warn_before=0) as manager:
            source, culler = manager._source, manager._culler
            ids = [await manager.start_kernel(kernel_name="python3") for _ in range(3)]
            fetch, bad = source.models.fetch, {ids[0]}

            async def fetch_model(kernel):
                if kernel.kernel_id in bad and what == "model":
                    raise HTTPError(500, "backend away")
                model = await fetch(kernel)
                return {**model, "last_activity": None} if kernel.kernel_id in bad and what == "odd model" else model

            monkeypatch.setattr(source.models, "fetch", fetch_model)
            await until(lambda: not set(ids[1:]) & set(manager.list_kernel_ids()), 30)
            kept = [each for each in culler.watches[Kind.KERNEL].current(culler.now()) if each[0].identity == ids[0]]
            told = culler.troubles.last_text()
            bad.clear()
            monkeypatch.undo()
            culler.watches[Kind.KERNEL].refresh_within(0)
            await until(lambda: ids[0] not in manager, 30)
            return kept[0][1].reason, told

    reason, told = run(check())

    assert reason is Reason.UNKNOWN
    assert "is kept, for reading it failed" in told


def test_a_kernelspec_that_cannot_be_had_is_the_doubt_of_its_kernels_only(gateway, connect, run, monkeypatch):
    """The round goes on; why it cannot be had is said of each of them."""
    connect(gateway.url)

    async def check():
        async with Remote(idle_timeout=60) as manager:
            source, culler = manager._source, manager._culler
            ids = [await manager.start_kernel(kernel_name="python3") for _ in range(2)]
            manager.get_kernel(ids[0]).kernel["name"] = "gone"
            source.own_timeouts.clear()
            monkeypatch.setattr(source.models, "fetch_spec", refuse)
            monkeypatch.setattr(source.models, "take_all", nothing)
            await source.refresh()
            culler.watches[Kind.KERNEL].forget_decisions()
            return {
                each.identity: decision.reason for each, decision in culler.watches[Kind.KERNEL].current(culler.now())
            }

    async def refuse(name):
        raise HTTPError(500, f"kernelspec {name} is away")

    async def nothing(_kernels, _models):
        return {}

    assert sorted(each.value for each in run(check()).values()) == ["active", "unknown"]


def test_many_models_are_fetched_side_by_side(forbidding_gateway, connect, run, monkeypatch):
    """Where listing is forbidden, a slow answer for each of many does not make the round too long."""
    connect(forbidding_gateway.url)
    monkeypatch.setattr("culling_manager.managers.gateway_models.ANSWER_SECONDS", 1.0)

    async def check():
        async with Remote(idle_timeout=0) as manager:
            source, kernel_id = manager._source, await manager.start_kernel(kernel_name="python3")
            kernel = manager.get_kernel(kernel_id)
            at_once, most = set(), []

            async def take_model(identity, _kernel, _model):
                at_once.add(identity)
                most.append(len(at_once))
                await asyncio.sleep(0.2)
                at_once.discard(identity)

            monkeypatch.setattr(source.models, "take", take_model)

            errors = await source.models.take_all({str(number): kernel for number in range(100)}, {})
            return errors, max(most)

    assert run(check()) == ({}, 10)


def test_one_model_that_hangs_does_not_keep_the_others_from_being_judged(forbidding_gateway, connect, run, monkeypatch):
    """Its kernel is in doubt; only a gateway that answers nobody counts as away."""
    hanging = {"7"}
    connect(forbidding_gateway.url)
    monkeypatch.setattr("culling_manager.managers.gateway_models.ANSWER_SECONDS", 0.2)

    async def check():
        async with Remote(idle_timeout=0) as manager:
            source, kernel_id = manager._source, await manager.start_kernel(kernel_name="python3")
            kernel = manager.get_kernel(kernel_id)

            async def take_model(identity, _kernel, _model):
                await asyncio.sleep(60 if identity in hanging else 0)

            monkeypatch.setattr(source.models, "take", take_model)
            kernels = {str(number): kernel for number in range(40)}
            one_hangs = await source.models.take_all(kernels, {})
            hanging.update(kernels)
            all_hang = await source.models.take_all(kernels, {})
            return len(one_hangs), len(all_hang)

    assert run(check()) == (1, 40)


SPECS = {"never": 0, "soon": 1, "odd": "1h"}


@pytest.fixture
def gateway_with_specs(tmp_path):
    """A running gateway whose kernelspecs have timeouts of their own."""
    for name, own in SPECS.items():
        folder = tmp_path / "share" / "kernels" / name
        folder.mkdir(parents=True)
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        spec = {"argv": argv, "display_name": name, "language": "python", "metadata": {"cull_idle_timeout": own}}
        (folder / "kernel.json").write_text(json.dumps(spec))
    found = Gateway(tmp_path).wait()
    yield found
    found.end()


def test_the_gateways_kernelspecs_have_their_say_from_the_start(gateway_with_specs, connect, run):
    """Never, sooner than ours, and nonsense that keeps its own kernel and nobody else's."""
    connect(gateway_with_specs.url)

    async def check():
        async with Remote(idle_timeout=0.05, kernel_spec_manager=GatewayKernelSpecManager()) as manager:
            started = asyncio.get_running_loop().time()
            ids = {name: await manager.start_kernel(kernel_name=name) for name in (*SPECS, "python3")}
            await until(lambda: ids["soon"] not in manager, 30)
            soon = asyncio.get_running_loop().time() - started
            python3_was_there = ids["python3"] in manager
            await until(lambda: ids["python3"] not in manager, 30)
            await manager.list_kernels()
            await manager.cull_kernels()
            left = {name for name, kernel_id in ids.items() if kernel_id in manager}
            return soon, python3_was_there, left, [t.message for t in manager._culler.troubles.recent(NOON)]

    _soon, python3_was_there, left, troubles = run(check())

    assert python3_was_there
    assert left == {"never", "odd"}
    assert any("metadata.cull_idle_timeout = '1h' is not a number" in words for words in troubles)


def test_a_timeout_of_next_to_nothing_at_the_gateway_makes_nobody_spin(monkeypatch):
    """A kernelspec's 1e-9 s is a second; off, or beyond the admin's bound, is no reason to ask more often."""
    manager = GatewayCullingKernelManager()
    source = manager._source
    monkeypatch.setattr(manager, "_kernels", {"k": object()})  # upstream's is shared by all managers of a process

    def stale_after(own, **changes):
        source.own_timeouts["k"] = OwnTimeout(own)
        return source.stale_after(CullingPolicy(idle_timeout=7200.0, **changes))

    assert stale_after(1e-9) == 1
    assert stale_after(60.0) == 60
    assert stale_after(0.0) == stale_after(None) == stale_after(86_400.0) == 7200
    assert stale_after(0.0, max_idle_timeout=7200.0) == 7200
    assert stale_after(86_400.0, max_idle_timeout=600.0) == 600


def test_a_run_that_begins_later_is_bounded_by_busy_timeout(gateway, connect, run, monkeypatch):
    """The gateway is asked regularly while that matters, so that a run's beginning is seen."""
    connect(gateway.url)
    monkeypatch.setattr("culling_manager.managers.gateway_source.POLL_SECONDS", 0.3)

    async def check():
        async with Remote(busy_timeout=0.02) as manager:
            kernel_id = await manager.start_kernel(kernel_name="python3")
            socket = await websocket_execute(gateway.url, kernel_id, "import time; time.sleep(60)")
            await until(lambda: kernel_id not in manager and manager._culler.outcomes, 30)
            socket.close()
            return manager._culler.outcomes[-1].reason

    assert run(check()) == "busy too long"


def test_a_kernel_that_is_there_already_is_taken_in_and_left_alone(gateway, connect, run):
    """Upstream can adopt a kernel by its id; this server did not start it, so it is not its to stop."""
    connect(gateway.url)
    others = requests.post(f"{gateway.url}/api/kernels", json={}).json()["id"]

    async def check():
        async with Remote(idle_timeout=0.02) as manager:
            await manager.start_kernel(kernel_id=others)
            await asyncio.sleep(2)
            await manager.cull_kernels()
            record, decision = manager._culler.watches[manager._source.kind].current(manager._culler.now())[0]
            manager._kernels.clear()
            return record.identity, decision.reason.value

    assert run(check()) == (others, "external")


def test_user_and_password_of_the_gateways_url_are_told_to_nobody(connect, run, caplog):
    """Neither in the log nor in the status."""
    connect(f"http://somebody:secret@127.0.0.1:{free_port()}")

    async def check():
        async with Remote() as manager:
            source = manager._source
            manager._kernels["k"] = SimpleNamespace(kernel={"name": "x"}, kernel_url=f"{source.manager.kernels_url}/k")
            await manager.cull_kernels()
            manager._kernels.clear()
            return manager._culler.troubles.last_text()

    words = run(check())

    assert "cannot be read" in words
    assert "secret" not in words
    assert "secret" not in "".join(record.message for record in caplog.records if record.name == "remote")


def test_a_remote_kernel_that_works_stays_though_our_model_of_it_is_old(gateway, connect, run):
    """What we remember looks idle for hours; the gateway knows better, and is asked before anything happens."""
    connect(gateway.url)

    async def check():
        async with Remote() as manager:
            kernel_id = await manager.start_kernel(kernel_name="python3")
            socket = await websocket_execute(gateway.url, kernel_id, "import time; time.sleep(60)")
            model = f"{gateway.url}/api/kernels/{kernel_id}"
            await until(lambda: requests.get(model).json()["execution_state"] == "busy", 20)
            manager._kernels[kernel_id].last_activity = datetime.now(timezone.utc) - timedelta(hours=3)
            manager._kernels[kernel_id].execution_state = "idle"

            await manager.cull_kernels()
            stays = kernel_id in manager
            socket.close()
            return stays

    assert run(check())


def test_a_silent_remote_kernel_that_was_never_connected_goes(gateway, connect, run):
    """'starting' for ever on the gateway: it answers when asked, it is unused, it goes."""
    connect(gateway.url)

    async def check():
        async with Remote() as manager:
            kernel_id = await manager.start_kernel(kernel_name="python3")
            state = requests.get(f"{gateway.url}/api/kernels/{kernel_id}").json()["execution_state"]
            manager._culler.change_settings(idle_timeout=0.5)

            await until(lambda: kernel_id not in manager, 30)
            return state

    assert run(check()) == "starting"


def test_a_remote_kernel_that_was_found_at_work_and_then_free_was_in_use_until_then(gateway, connect, run, monkeypatch):
    """Never connected on the gateway, so it cannot show it; nobody knows when between two questions it has finished."""
    connect(gateway.url)
    answers = [True, False, False]

    async def works(kernel_id):
        return answers.pop(0)

    monkeypatch.setattr("culling_manager.managers.gateway_source.remote_at_work", works)

    async def check():
        async with Remote() as manager:
            kernel_id = await manager.start_kernel(kernel_name="python3")
            source, noted = manager._source, [None]
            for _ in range(3):
                await source.confirm(source.read(kernel_id, utcnow()))
                noted.append(source.activity(kernel_id).noted_at)
            return noted

    never, at_work, finished, free = run(check())

    assert never is None
    assert at_work < finished == free


def test_between_deadlines_the_gateway_is_not_asked(gateway, connect, run):
    """Heartbeats every 50 ms for a while: no request that could not change a decision."""
    connect(gateway.url)

    async def check():
        async with Remote(cull_interval=0.05) as manager:
            await manager.start_kernel(kernel_name="python3")
            manager._culler.start()
            await asyncio.sleep(0.2)
            before, count = gateway.asked(), manager._culler.count
            await asyncio.sleep(1)
            return gateway.asked() - before, manager._culler.count - count

    requests_made, heartbeats = run(check())

    assert heartbeats > 10
    assert requests_made == 0


def test_a_gateway_that_is_away_culls_nothing_breaks_nothing_and_is_reported(gateway, connect, run, caplog):
    """Refused and, later, back: told once each, and the kernel goes once the gateway answers."""
    connect(gateway.url)

    async def check():
        async with Remote() as manager:
            kernel_id = await manager.start_kernel(kernel_name="python3")
            manager._kernels[kernel_id].last_activity = datetime.now(timezone.utc) - timedelta(hours=3)
            GatewayClient.instance().url = f"http://127.0.0.1:{free_port()}"
            manager.kernels_url, kept_url = f"{GatewayClient.instance().url}/api/kernels", manager.kernels_url

            await manager.cull_kernels()
            await manager.cull_kernels()
            away = kernel_id in manager, manager._culler.troubles.last_text()
            _, decision = manager._culler.watches[manager._source.kind].current(manager._culler.now())[0]
            manager.kernels_url, GatewayClient.instance().url = kept_url, gateway.url
            await manager.cull_kernels()
            back = manager._culler.troubles.last_text()
            manager._culler.change_settings(idle_timeout=0.5)
            await until(lambda: kernel_id not in manager, 30)
            return away, decision.reason.value, back

    with caplog.at_level(logging.INFO, "remote"):
        (stays, words), reason, back = run(check())

    assert stays
    assert "the gateway at http://127.0.0.1" in words
    assert "nothing is culled on old facts" in words
    assert reason == "unknown"
    assert back is None
    told = [record.message for record in caplog.records if record.message.startswith("Culling: the gateway at")]
    assert len(told) == 1


def test_a_gateway_that_hangs_does_not_stop_the_heart(gateway, connect, run, monkeypatch):
    """Stopped by SIGSTOP: requests time out, the loop goes on, the kernel stays, and it is told before long."""
    connect(gateway.url)
    monkeypatch.setattr("culling_manager.managers.gateway_models.ANSWER_SECONDS", 1.5)

    async def check():
        async with Remote(cull_interval=0.1) as manager:
            kernel_id = await manager.start_kernel(kernel_name="python3")
            manager._kernels[kernel_id].last_activity = datetime.now(timezone.utc) - timedelta(hours=3)
            gateway.process.send_signal(signal.SIGSTOP)
            manager._culler.start()
            count = manager._culler.count
            await asyncio.sleep(1)
            beats = manager._culler.count - count
            await until(lambda: manager._culler.troubles.last_text(), 10)
            gateway.process.send_signal(signal.SIGCONT)
            return beats, kernel_id in manager

    beats, stays = run(check())

    assert beats > 4
    assert stays


def test_a_name_that_does_not_resolve_is_no_word_of_the_gateway(gateway, connect, run):
    """Upstream reports a failed name look-up as 404; our kernel stays in the list all the same."""
    connect(gateway.url)

    async def check():
        async with Remote() as manager:
            kernel_id = await manager.start_kernel(kernel_name="python3")
            kernel = manager._kernels[kernel_id]
            kept = kernel.kernel_url
            kernel.kernel_url = "http://no-such-host.invalid/api/kernels/x"
            manager._source.models.may_list = False
            kernel.last_activity = datetime.now(timezone.utc) - timedelta(hours=3)

            await manager.cull_kernels()

            kernel.kernel_url = kept
            return kernel_id in manager, manager._culler.troubles.last_text()

    stays, words = run(check())

    assert stays
    assert "cannot be read" in words


def test_a_remote_kernel_that_is_gone_is_no_error(gateway, connect, run):
    """Culled by the gateway itself or by somebody else: dropped, without a word of trouble."""
    connect(gateway.url)

    async def check():
        async with Remote() as manager:
            kernel_id = await manager.start_kernel(kernel_name="python3")
            requests.delete(f"{gateway.url}/api/kernels/{kernel_id}")
            manager._kernels[kernel_id].last_activity = datetime.now(timezone.utc) - timedelta(hours=3)

            await manager.cull_kernels()

            return kernel_id in manager, manager._culler.troubles.last_text()

    assert run(check()) == (False, None)


def test_a_gateway_that_forbids_listing_is_asked_for_each_kernel(forbidding_gateway, connect, run):
    """The default of Jupyter Kernel Gateway: culling works all the same."""
    connect(forbidding_gateway.url)

    async def check():
        async with Remote(idle_timeout=0.03) as manager:
            kernel_id = await manager.start_kernel(kernel_name="python3")

            await until(lambda: kernel_id not in manager, 30)

    run(check())


class TestServer:
    """A whole Jupyter Server behind `--gateway-url`."""

    @pytest.fixture
    def jp_server_config(self, gateway):
        GatewayClient.clear_instance()
        return {
            "GatewayClient": {"url": gateway.url},
            "ServerApp": {
                "jpserver_extensions": {"culling_manager": True},
                "kernel_manager_class": "culling_manager.GatewayCullingKernelManager",
            },
            "CullingKernelManager": {"idle_timeout": 0.05},
        }

    @pytest.fixture(autouse=True)
    def _no_client_left(self):
        yield
        GatewayClient.clear_instance()

    async def test_a_session_of_a_remote_kernel_works_and_its_kernel_goes_at_the_deadline(self, jp_fetch, gateway):
        """Sessions, kernels and status as ever; the owner's flag section counts for the gateway class too."""
        body = json.dumps({"path": "x.ipynb", "type": "notebook", "name": "", "kernel": {"name": "python3"}})
        session = json.loads((await jp_fetch("api", "sessions", method="POST", body=body)).body)
        status = json.loads((await jp_fetch("sagemaker-studio-autoshutdown", "status")).body)

        async def gone():
            return json.loads((await jp_fetch("api", "kernels")).body) == []

        await until(gone, 30)

        assert status["kernels"][0]["id"] == session["kernel"]["id"]
        assert status["kernels"][0]["name"] == "python3"
        assert requests.get(f"{gateway.url}/api/kernels").json() == []
        with pytest.raises(HTTPClientError):
            await jp_fetch("api", "kernels", session["kernel"]["id"])

    async def test_a_request_counts_when_it_is_forwarded(self, jp_fetch, jp_ws_fetch, jp_serverapp):
        """Sent through our server's WebSocket, it is activity before the gateway's model can show it."""
        kernel = json.loads((await jp_fetch("api", "kernels", method="POST", body="{}")).body)
        activity = jp_serverapp.kernel_manager._source.activity(kernel["id"])
        socket = await jp_ws_fetch("api", "kernels", kernel["id"], "channels")
        header = {"msg_id": "m", "msg_type": "execute_request", "session": "s", "username": "u", "version": "5.3"}
        message = {"header": header, "parent_header": {}, "metadata": {}, "content": {"code": "1"}, "channel": "shell"}

        await socket.write_message(json.dumps(message))
        await until(lambda: activity.noted_at is not None)
        noted_at = activity.noted_at
        socket.close()
        await jp_fetch("api", "kernels", kernel["id"], method="DELETE")

        assert datetime.now(timezone.utc) - noted_at < timedelta(seconds=20)
