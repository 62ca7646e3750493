"""What is kept for reasons that others cannot see moves what they read; what is forgotten still looks forgotten."""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import datetime, timedelta
from types import SimpleNamespace

import pytest

from culling_manager.apps.unseen import LOOK_SECONDS, OUR_KEY, ServerTimes, Unseen
from culling_manager.engine.culler import IdleCuller
from culling_manager.records import Kind
from tests.conftest import scenario, silent_until
from tests.doubles import FakeClock, FakeKernels, FakeTerminals
from tests.test_attention import FakeGuard
from tests.test_config_files import jupyter
from tests.test_end_to_end import BOTH, Client, eventually, eventually_later, hang_up
from tests.test_gateway import websocket_execute

TIMEOUT = 7200.0
HOUR = 3600.0
SPACE = "sagemaker-studio-autoshutdown"
#: To ask is no use of a server.
QUIET = "no_track_activity=1"
#: A configuration file with which it is looked often, however slow the machine is.
OFTEN = "import culling_manager.apps.unseen as it\nit.LOOK_SECONDS, it.SHARE = 0.2, 1.0\n"


class World:
    """A culler with one kernel, and the server's settings in which others read."""

    def __init__(self, **own_settings) -> None:
        self.clock = FakeClock()
        self.kernels = FakeKernels(own_settings={"idle_timeout": TIMEOUT, **own_settings})
        self.culler = IdleCuller(logging.getLogger("test"), self.clock)
        self.culler.guard = self.guard = FakeGuard(self.clock)
        self.terminals = FakeTerminals(culler=self.culler)
        self.culler.attach(self.kernels)
        self.culler.attach(self.terminals)
        self.times: dict[str, datetime] = {}
        server = SimpleNamespace(web_app=SimpleNamespace(settings={"last_activity_times": self.times}))
        self.pulse: object = None
        self.unseen = Unseen(self.culler, lambda: self.pulse)
        self.unseen.writers.append(ServerTimes(server).write)
        self.culler.beats.append(self.unseen.beat)
        self.culler.start()

    @property
    def age(self) -> float:
        return (self.clock.wall - self.times[OUR_KEY]).total_seconds()


@scenario
async def test_a_silent_busy_cell_moves_what_others_read_and_its_end_stops_that():
    """Never older than a look and a heartbeat while it runs; within a minute of its end it stands still."""
    world = World()
    world.kernels.put("a", state="busy")
    await world.clock.run_for(4 * HOUR)
    age = world.age
    world.kernels.put("a", state="idle", last_activity=world.clock.wall)
    await world.clock.run_for(60)
    last = world.times[OUR_KEY]

    await world.clock.run_for(HOUR)

    assert age <= 2 * LOOK_SECONDS
    assert world.times[OUR_KEY] == last


@scenario
async def test_a_keep_alive_moves_it_until_it_ends():
    """The hub must not stop what was told to be kept until then."""
    world = World()
    world.kernels.put("a")
    until = world.clock.wall + timedelta(hours=1)
    world.culler.keep_alive(None, None, until, "somebody")

    await world.clock.run_for(1.5 * HOUR)

    assert timedelta(0) <= until - world.times[OUR_KEY] <= timedelta(seconds=2 * LOOK_SECONDS)


@scenario
async def test_a_background_job_that_a_signal_has_seen_moves_it():
    """Once it was asked about, before its own deadline; when it has ended, no more."""
    world = World(idle_timeout=600.0)
    world.kernels.put("a")
    world.guard.at_work["a"] = "process train.py uses 98% of a core"
    await world.clock.run_for(2 * HOUR)
    age = world.age
    world.guard.at_work.clear()
    await world.clock.run_for(90)
    last = world.times[OUR_KEY]

    await world.clock.run_for(300)

    assert age <= 2 * LOOK_SECONDS
    assert world.times[OUR_KEY] == last


@scenario
async def test_grace_moves_it():
    """Results of a long run are kept, so the server is too."""
    world = World(grace=HOUR, long_run=600.0)
    world.kernels.put("a", state="idle", ran_until=world.clock.wall, run_seconds=900.0)

    await world.clock.run_for(1000)

    assert world.age <= 2 * LOOK_SECONDS


@pytest.mark.parametrize("changes", [{}, {"connections": 1}, {"state": "starting"}])
@scenario
async def test_a_forgotten_server_still_looks_forgotten(changes):
    """An idle kernel, an open tab that keeps nothing, a kernel that never answered: nothing is written."""
    world = World()
    world.kernels.put("a", **changes)
    world.terminals.start("1", last_activity=world.clock.wall)

    await world.clock.run_for(TIMEOUT - 10)

    assert world.times == {}


@scenario
async def test_a_quiet_server_is_not_looked_through_again_until_something_stirs():
    """One look, then comparisons; a look again when the pulse is another."""
    world = World()
    world.kernels.put("a")
    world.pulse = "quiet"
    looks = []
    why = world.unseen.why
    world.unseen.why = lambda: (looks.append(1), why())[1]
    await world.clock.run_for(HOUR)
    quiet = len(looks)
    world.kernels.put("a", state="busy")
    world.pulse = "a message came"

    await world.clock.run_for(60)

    assert quiet == 1
    assert world.age <= 2 * LOOK_SECONDS


@scenario
async def test_it_costs_no_wake_up():
    """The culler sleeps as long as before."""
    counts = []
    for writes in (True, False):
        world = World(cull_interval=600.0)
        world.culler.beats[:] = [world.unseen.beat] if writes else []
        world.kernels.put("a")

        await world.clock.run_for(HOUR)
        counts.append(world.culler.count)

    assert counts[0] == counts[1]


def test_a_server_that_is_not_ready_or_has_other_settings_is_left_alone():
    """Settings come late, and a place of that name may be somebody's."""
    odd = {"last_activity_times": "odd"}
    for server in (None, SimpleNamespace(), SimpleNamespace(web_app=SimpleNamespace(settings=odd))):
        ServerTimes(server).write(FakeClock().now())

    assert odd == {"last_activity_times": "odd"}


@pytest.mark.parametrize("apps", ["auto", "culling_manager.apps.JupyterServerProcess"])
def test_the_servers_own_last_activity_follows_a_silent_cell_and_stands_still_after_it(tmp_path, apps):
    """`/api/status`, as the hub reads it, on a real server: with an app to manage and without one."""
    fast = ["--CullingKernelManager.cull_interval=0.3", f"--CullingKernelManager.app_manager_class={apps}"]
    config = tmp_path / "fast.py"
    config.write_text(OFTEN)
    with jupyter(tmp_path, *BOTH, *fast, "--Signals.names=documents", f"--config={config}") as server:
        client = Client(server)
        kernel = client.start_kernel()
        loop = asyncio.new_event_loop()
        done = tmp_path / "done"
        socket = loop.run_until_complete(websocket_execute(client.url, kernel, silent_until(done)))

        def model() -> dict:
            return client.ask("GET", f"api/kernels/{kernel}?{QUIET}")

        def last() -> str:
            return client.ask("GET", "api/status")["last_activity"]

        eventually(lambda: model()["execution_state"] == "busy", server)
        eventually_later(last, lambda: model()["last_activity"], 3, server)  # not by what the kernel says
        done.touch()
        eventually(lambda: model()["execution_state"] == "idle", server)
        loop.run_until_complete(hang_up(socket))
        loop.close()
        eventually(lambda: model()["connections"] == 0, server)

        assert stands_still(Probe(client))


class Probe:
    """When Kubeflow's and other controllers take a server to have been used last, by each of their rules.

    By `/api/status`: what that says. By `/api/kernels`: now, if any kernel is not idle; else the latest of all; nothing
    where there is no kernel. Each keeps the latest that it saw.
    """

    def __init__(self, client: Client) -> None:
        self.client = client
        self.by_status = self.by_kernels = ""

    def look(self) -> None:
        """One round of a controller."""
        kernels, now = self.client.ask("GET", f"api/kernels?{QUIET}"), self.client.ask("GET", f"{SPACE}/status")["now"]
        states = {each["execution_state"] for each in kernels}
        found = "" if not kernels else now if states != {"idle"} else max(each["last_activity"] for each in kernels)
        self.by_kernels = max(self.by_kernels, found)
        self.by_status = max(self.by_status, self.client.ask("GET", "api/status")["last_activity"])


def test_controllers_that_probe_a_server_agree_with_us(tmp_path):
    """By `/api/status` in everything that is kept; by `/api/kernels` in busy cells only, for there is no more in it."""
    config = tmp_path / "fast.py"
    config.write_text(OFTEN)
    more = ["--CullingKernelManager.cull_interval=0.3", "--Signals.names=documents", f"--config={config}"]
    with jupyter(tmp_path, *BOTH, *more) as server:
        client = Client(server)
        probe, kernel = Probe(client), client.start_kernel()
        loop = asyncio.new_event_loop()
        socket = loop.run_until_complete(websocket_execute(client.url, kernel, silent_until(tmp_path / "done")))
        eventually(lambda: client.ask("GET", f"api/kernels/{kernel}?{QUIET}")["execution_state"] == "busy", server)
        probe.look()
        first = probe.by_status, probe.by_kernels
        eventually(lambda: probe.look() or (probe.by_status > first[0] and probe.by_kernels > first[1]), server)
        (tmp_path / "done").touch()
        eventually(lambda: client.ask("GET", f"api/kernels/{kernel}?{QUIET}")["execution_state"] == "idle", server)
        loop.run_until_complete(hang_up(socket))
        loop.close()
        probe.look()
        idle = probe.by_kernels

        client.ask("POST", f"{SPACE}/keep-alive", {"lease": True, "kind": "kernel", "id": kernel})
        asked = client.ask("GET", f"{SPACE}/status")["now"]
        eventually(lambda: probe.look() or probe.by_status > asked, server)

        assert probe.by_kernels == idle
        (lease,) = client.ask("GET", f"{SPACE}/keep-alive")["keep_alive"]
        for _ in range(2):  # ended, and let go at once
            client.ask("DELETE", f"{SPACE}/keep-alive?lease={lease['lease']}")
        eventually(lambda: stands_still(probe), server)


def stands_still(probe: Probe) -> bool:
    """Whether nothing was used for a while, as a controller sees it."""
    probe.look()
    before = probe.by_status
    time.sleep(1)
    probe.look()
    return probe.by_status == before


@scenario
async def test_it_can_say_what_is_kept_and_why():
    """For whoever looks into it."""
    world = World()
    world.kernels.put("a")

    world.culler.keep_alive(Kind.KERNEL, "a", world.clock.wall + timedelta(hours=1), "somebody")

    assert world.unseen.why() == "kernel a: kept alive"
