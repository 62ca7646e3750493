# ruff: noqa: F811  (fixtures that are imported)
"""The bridge to SageMaker's native idle shutdown: a stamp while it is needed, and none otherwise."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from datetime import timedelta

import pytest
from traitlets.config import Config, LoggingConfigurable

from culling_manager.apps.native_shutdown import BRIDGE_SECONDS, Bridge
from culling_manager.engine.culler import IdleCuller
from culling_manager.records import Kind
from culling_manager.signals.stamp_file import StampFileSignal, read_stamp, stamp_text
from tests.conftest import patience, scenario, silent_until
from tests.doubles import NOON, FakeClock, FakeKernels
from tests.emulator import SageMaker
from tests.test_appsource import World as AppWorld
from tests.test_attention import FakeGuard
from tests.test_config_files import jupyter
from tests.test_end_to_end import (
    BOTH,
    Client,
    eventually,
    eventually_later,
    hang_up,
    place,  # noqa: F401  (fixtures)
    sagemaker,  # noqa: F401  (fixtures)
)
from tests.test_gateway import websocket_execute

TIMEOUT = 7200.0
MONITOR = "--ServerApp.jpserver_extensions=jupyter_activity_monitor_extension=True"


class World:
    """A culler with one kernel and a bridge that writes into a file of the test's."""

    def __init__(self, path, wanted: bool = True, **own_settings) -> None:
        self.clock = FakeClock()
        self.path = path
        self.kernels = FakeKernels(own_settings={"idle_timeout": TIMEOUT, **own_settings})
        self.culler = IdleCuller(logging.getLogger("test"), self.clock)
        self.culler.attach(self.kernels)
        owner = LoggingConfigurable(config=Config({"StampFileSignal": {"stamp_path": str(path)}}))
        self.bridge = Bridge(self.culler, lambda: wanted, owner)
        self.culler.beats.append(self.bridge.beat)
        self.culler.start()

    def stamp(self):
        return read_stamp(self.path.read_text()) if self.path.exists() else None


@scenario
async def test_a_busy_silent_kernel_keeps_the_stamp_fresh_and_once_it_is_idle_nothing_does(tmp_path):
    """Every five minutes while it is busy; afterwards the stamp grows old."""
    world = World(tmp_path / "stamp")
    world.kernels.put("a", state="busy")
    await world.clock.run_for(4 * 3600)
    age = world.clock.wall - world.stamp()
    world.kernels.put("a", state="idle", last_activity=world.clock.wall)
    await world.clock.run_for(BRIDGE_SECONDS)
    last = world.stamp()

    await world.clock.run_for(3600)

    assert age <= timedelta(seconds=BRIDGE_SECONDS + 10)
    assert world.stamp() == last


@pytest.mark.parametrize("changes", [{}, {"connections": 1}, {"state": "starting"}])
@scenario
async def test_what_the_native_probe_can_see_or_nobody_uses_writes_nothing(tmp_path, changes):
    """An idle kernel, an open tab, a kernel that never answered: those are its own to judge."""
    world = World(tmp_path / "stamp")
    world.kernels.put("a", **changes)

    await world.clock.run_for(TIMEOUT - 10)

    assert world.stamp() is None


@scenario
async def test_it_is_off_unless_it_is_wanted(tmp_path):
    """The trait is off by default."""
    world = World(tmp_path / "stamp", wanted=False)
    world.kernels.put("a", state="busy")

    await world.clock.run_for(TIMEOUT)

    assert world.stamp() is None


@scenario
async def test_a_keep_alive_holds_the_native_shutdown_off_too(tmp_path):
    """Until it ends."""
    world = World(tmp_path / "stamp")
    world.kernels.put("a")
    until = world.clock.wall + timedelta(hours=1)
    world.culler.keep_alive(Kind.KERNEL, "a", until, "somebody")

    await world.clock.run_for(TIMEOUT - 10)

    assert timedelta(0) <= until - world.stamp() < timedelta(seconds=BRIDGE_SECONDS + 10)


@scenario
async def test_a_background_process_is_asked_for_and_holds_it_off(tmp_path):
    """Also while the app is not due by our own timeout, for the native one may be shorter."""
    world = AppWorld(idle_timeout=TIMEOUT)
    world.apps.lists = False
    world.apps.put("a")
    world.culler.guard = FakeGuard(world.clock, at_work={"a": "process train.py uses 98% of a core"})
    bridge = Bridge(world.culler, lambda: True, None)
    world.culler.beats.append(bridge.beat)
    path = tmp_path / "stamp"
    bridge._stamp_file = lambda: StampFileSignal(stamp_path=str(path))
    world.start()
    await world.clock.run_for(1800)
    age = world.clock.wall - read_stamp(path.read_text())

    bridge._stamp_file = lambda: StampFileSignal(stamp_path="/nowhere/at/all/stamp")
    await world.clock.run_for(1800)

    assert age < timedelta(seconds=BRIDGE_SECONDS + 10)
    assert "stamp cannot be written" in world.culler.troubles.last_text()


@scenario
async def test_a_stamp_that_ours_replaces_is_not_forgotten(tmp_path):
    """An editor was used a moment ago, and a kernel is busy: ours stands there now, but theirs counts for the app."""
    path = tmp_path / "stamp"
    world = World(path)
    signal = StampFileSignal(stamp_path=str(path))
    signal.now = world.clock.now
    used_at = world.clock.wall
    path.write_text(stamp_text(used_at))
    world.bridge._stamp_file = lambda: signal
    world.kernels.put("a", state="busy")

    await world.clock.run_for(60)

    assert world.stamp() != used_at
    assert signal.last_use(None) == used_at


@scenario
async def test_what_the_probe_reads_itself_needs_no_stamp_of_ours(tmp_path):
    """An editor's stamp is seen without us."""
    world = AppWorld(idle_timeout=TIMEOUT)
    world.apps.lists = False
    world.apps.put("a")
    used_at = world.clock.wall + timedelta(seconds=100)
    world.culler.guard = FakeGuard(world.clock, used_at={"a": used_at})
    bridge = Bridge(world.culler, lambda: True, None)
    world.culler.beats.append(bridge.beat)
    path = tmp_path / "stamp"
    path.write_text(stamp_text(used_at))
    bridge._stamp_file = lambda: StampFileSignal(stamp_path=str(path))
    world.start()

    await world.clock.run_for(1800)

    assert read_stamp(path.read_text()) == used_at


@pytest.mark.parametrize("kept", [{"connections": 1}, {"disconnected_at": NOON}])
@scenario
async def test_an_open_tab_that_keeps_holds_it_off_too(tmp_path, kept):
    """The probe does not know of connections."""
    world = World(tmp_path / "stamp", cull_connected=False)
    world.kernels.put("a", last_activity=NOON - timedelta(days=1), **kept)

    await world.clock.run_for(20)

    assert world.stamp() is not None


@scenario
async def test_our_own_stamp_is_no_use_to_ourselves(tmp_path):
    """What we write must not keep what it was written for."""
    path = tmp_path / "stamp"
    world = World(path)
    signal = StampFileSignal(stamp_path=str(path))
    signal.now = world.clock.now
    world.kernels.put("a", state="busy")
    await world.clock.run_for(3600)

    assert world.stamp() is not None
    assert await signal.read() is None


@scenario
async def test_a_link_in_place_of_the_file_is_replaced_and_not_followed(tmp_path):
    """In a directory that everybody may write to."""
    path, victim = tmp_path / "stamp", tmp_path / "victim"
    victim.write_text("mine")
    path.symlink_to(victim)
    world = World(path)
    world.kernels.put("a", state="busy")

    await world.clock.run_for(60)

    assert victim.read_text() == "mine"
    assert not path.is_symlink()
    assert world.stamp() is not None


# -- with the real extension that answers the native probe --------------------------------------------------


@pytest.fixture(scope="module")
def activity_monitor(tmp_path_factory):
    """SageMaker's own jupyter-activity-monitor-extension, from PyPI, beside what is installed."""
    target = tmp_path_factory.mktemp("activity_monitor")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--disable-pip-version-check"]
    package = "jupyter-activity-monitor-extension==0.3.2"
    subprocess.run([*command, "--target", str(target), package], check=True, timeout=patience(120))
    return target


def test_the_native_probe_sees_a_busy_silent_kernel_as_active_only_with_the_bridge(
    tmp_path,
    place,
    sagemaker: SageMaker,
    activity_monitor,
    monkeypatch,
):
    """`/api/idle` goes on telling a fresh time while a silent cell runs, and stays where it is once that has ended."""
    place("space")
    sagemaker.add_app("default", "JupyterLab", space="lab")
    stamp = tmp_path / "stamp"
    monkeypatch.setenv("PYTHONPATH", str(activity_monitor))
    config = tmp_path / "bridge_config.py"
    config.write_text(
        "import culling_manager.apps.native_shutdown\n"
        "culling_manager.apps.native_shutdown.BRIDGE_SECONDS = 1.0\n"
        "from jupyter_activity_monitor_extension import idle_status_detector\n"
        "Reader = idle_status_detector.LocalFileActiveTimestampChecker\n"
        f"Reader.read_last_active_timestamp.__defaults__ = ({str(stamp)!r},)\n"
        "c = get_config()\n"
        "c.SpaceApp.hold_native_shutdown = True\n"
        f"c.StampFileSignal.stamp_path = {str(stamp)!r}\n"
        "c.CullingKernelManager.cull_interval = 0.5\n"
    )
    with jupyter(tmp_path, *BOTH, f"--config={config}", MONITOR) as server:
        client = Client(server)
        session = {"kernel": {"name": "python3"}, "name": "n", "path": "n.ipynb", "type": "notebook"}
        kernel = client.ask("POST", "api/sessions", session)["kernel"]["id"]

        def probe() -> str:
            return client.ask("GET", "api/idle")["lastActiveTimestamp"]

        def state() -> str:
            return client.ask("GET", f"api/kernels/{kernel}")["execution_state"]

        def said() -> str:
            return client.ask("GET", f"api/kernels/{kernel}")["last_activity"].replace("Z", "z")

        loop = asyncio.new_event_loop()
        socket = loop.run_until_complete(websocket_execute(client.url, kernel, silent_until(tmp_path / "done")))
        eventually(lambda: state() == "busy", server)
        eventually(stamp.exists, server)
        eventually_later(probe, said, 2, server, 5)  # the cell is silent: only the stamp moves
        (tmp_path / "done").touch()
        eventually(lambda: state() == "idle", server)
        ended = said()
        eventually(lambda: probe() >= ended, server)
        loop.run_until_complete(hang_up(socket))
        loop.close()
