"""The kernel manager with real kernels: settings, seams, and what must survive or go."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import os
import signal
import sys
import time
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager
from traitlets import TraitError
from traitlets.config import Config

from culling_manager import CullingKernelManager
from culling_manager.decisions import Reason, decide_kernel
from culling_manager.engine.ports import KEPT
from culling_manager.errors import CullingError, StopError
from culling_manager.managers.kernel_source import KernelSource
from culling_manager.policy import CullingPolicy
from culling_manager.records import MARKER, Kind, Result
from tests.conftest import patience, silent_until, until


def ago(**how_long) -> datetime:
    """A moment in the past."""
    return datetime.now(timezone.utc) - timedelta(**how_long)


class Kernels:
    """A manager with real kernels, for tests without a server."""

    def __init__(self, manager_class=CullingKernelManager, **settings) -> None:
        self.manager = manager_class(**settings)

    async def __aenter__(self) -> Kernels:
        return self

    async def __aexit__(self, *_error) -> None:
        for kernel in list(self.manager._kernels.values()):
            pid = getattr(kernel.provisioner, "pid", None)
            if pid and kernel.provisioner.process:
                kernel.provisioner.process.send_signal(signal.SIGCONT)
        await self.manager.shutdown_all(now=True)
        self.manager._culler.stop()

    async def start(self, **kwargs) -> str:
        return await self.manager.start_kernel(kernel_name="python3", **kwargs)

    async def execute(self, kernel_id: str, code: str, wait: bool = True):
        """Send a cell as a browser does, through the kernel's shell stream; waits until its 'idle' was heard.

        The reply comes on another channel than that, so the state may still be the one from before the request.
        """
        kernel = self.manager.get_kernel(kernel_id)
        activity = self.manager._source.activity(kernel_id)
        await self.heard(kernel)
        stream = await self.send(kernel_id, code)
        replies: list = []
        stream.on_recv(replies.append)
        if wait:
            await until(lambda: replies and not activity.outstanding and kernel.execution_state == "idle", 30)
            await until(lambda: ago(milliseconds=300) > kernel.last_activity)  # output is flushed every 200 ms
            stream.close()
        return stream

    async def send(self, kernel_id: str, code: str):
        """Forward a cell as the server does, and wait until it is on its way; gives the open stream."""
        kernel = self.manager.get_kernel(kernel_id)
        stream = kernel.connect_shell(identity=b"browser")
        content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False}
        kernel.session.send(stream, "execute_request", content)
        await until(lambda: not stream.sending())
        return stream

    async def heard(self, kernel) -> None:
        """Ask until the server's own IOPub connection has heard the kernel; what was sent before it was up is lost."""
        client = kernel.client()
        client.start_channels()
        try:
            await client.wait_for_ready(timeout=patience(60))
            while kernel.execution_state == "starting":
                client.execute("pass")
                await client.get_shell_msg(timeout=patience(60))
                await asyncio.sleep(0.05)
        finally:
            client.stop_channels()

    def results(self) -> list[Result]:
        return [outcome.result for outcome in self.manager._culler.outcomes]


# -- settings --------------------------------------------------------------------------------------


def test_without_configuration_the_timeout_is_two_hours_and_the_heartbeat_ten_seconds():
    """The defaults are those of the contract."""
    manager = CullingKernelManager()

    assert (manager.idle_timeout, manager.cull_interval, manager.cull_connected, manager.cull_busy) == (
        120, 10, True, False,
    )  # fmt: skip
    assert (manager.min_idle_timeout, manager.max_idle_timeout, manager.busy_timeout, manager.dry_run) == (
        0, 0, 0, False,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["idle_timeout", "min_idle_timeout", "max_idle_timeout", "busy_timeout"])
@pytest.mark.parametrize("value", [-1, math.nan, math.inf, 1e308, "abc", None, True])
def test_a_bad_number_of_minutes_is_a_trait_error_that_names_trait_value_and_range(name, value):
    """As configuration, and at run time, where nothing changes."""
    with pytest.raises(TraitError, match=f"{name} = .* is not accepted: it must be a number of minutes from 0"):
        CullingKernelManager(**{name: value})
    manager = CullingKernelManager()
    before = manager._culler.policy

    with pytest.raises(TraitError, match=name):
        setattr(manager, name, value)

    assert manager._culler.policy == before


@pytest.mark.parametrize("text", ["-1", "nan", "1e400", "abc", ""])
def test_a_bad_command_line_value_is_a_trait_error(text):
    """`--CullingKernelManager.idle_timeout=abc` ends the start with name, value and range."""
    from traitlets.config.loader import DeferredConfigString

    config = Config({"CullingKernelManager": {"idle_timeout": DeferredConfigString(text)}})

    with pytest.raises(TraitError, match="idle_timeout"):
        CullingKernelManager(config=config)


def test_bounds_without_anything_between_them_are_a_trait_error():
    """The admin hears of it at start."""
    with pytest.raises(TraitError, match="min_idle_timeout"):
        CullingKernelManager(min_idle_timeout=10, max_idle_timeout=5)


@pytest.mark.parametrize(
    ("section", "configured", "minutes"),
    [
        ("CullingKernelManager", {"idle_timeout": 3}, 3),
        ("CullingKernelManager", {"cull_idle_timeout": 90}, 1.5),
        ("MappingKernelManager", {"cull_idle_timeout": 90}, 1.5),
        ("AsyncMappingKernelManager", {"cull_idle_timeout": 90}, 1.5),
        ("MappingKernelManager", {"cull_idle_timeout": 0}, 0),
        ("MappingKernelManager", {"cull_idle_timeout": -1}, 0),
        ("MappingKernelManager", {}, 120),
    ],
)
def test_upstreams_own_settings_keep_their_meaning(section, configured, minutes):
    """`cull_idle_timeout` (seconds) of an existing configuration counts, 0 and less being off."""
    manager = CullingKernelManager(config=Config({section: configured}))

    assert manager.idle_timeout == minutes
    assert manager._culler.policy.idle_timeout == minutes * 60


def test_if_both_timeouts_are_set_ours_wins_and_one_warning_says_so(caplog):
    """Nobody has to guess which one counts."""
    config = Config({"CullingKernelManager": {"idle_timeout": 5}, "MappingKernelManager": {"cull_idle_timeout": 60}})

    with caplog.at_level(logging.WARNING):
        manager = CullingKernelManager(config=config, log=logging.getLogger("both"))

    assert manager.idle_timeout == 5
    assert len([record for record in caplog.records if "idle_timeout is used" in record.message]) == 1


def test_upstreams_timeout_can_be_changed_at_run_time_too():
    """Extensions that set `cull_idle_timeout` keep working."""
    manager = CullingKernelManager()

    manager.cull_idle_timeout = 30

    assert manager._culler.policy.idle_timeout == 30


@pytest.mark.parametrize("value", [0, -5])
def test_a_heartbeat_of_zero_is_replaced_with_a_warning_as_upstream_does(value, caplog):
    """A server with a slip in its configuration starts, and says so."""
    with caplog.at_level(logging.WARNING):
        manager = CullingKernelManager(cull_interval=value, log=logging.getLogger("interval"))

    assert manager.cull_interval == 10
    assert "Invalid value for 'CullingKernelManager.cull_interval' detected" in caplog.text


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_heartbeat_that_is_no_number_is_a_trait_error(value):
    """NaN never wakes up."""
    with pytest.raises(TraitError, match="cull_interval"):
        CullingKernelManager(cull_interval=value)


def test_settings_at_run_time_reach_the_policy_at_once():
    """Each trait is the policy."""
    manager = CullingKernelManager()

    manager.busy_timeout, manager.cull_connected, manager.dry_run = 30, False, True

    policy = manager._culler.policy
    assert (policy.busy_timeout, policy.cull_connected, policy.dry_run) == (1800, False, True)


# -- upstream's seams: each fails loudly when upstream renames it ------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "initialize_culler",
        "cull_kernels",
        "cull_kernel_if_idle",
        "pre_start_kernel",
        "start_watching_activity",
        "notify_disconnect",
        "remove_kernel",
        "restart_kernel",
        "shutdown_all",
        "shutdown_kernel",
    ],
)
def test_the_method_of_upstream_that_we_override_or_call_is_there(name):
    """An override of a method that upstream no longer calls would be silent."""
    assert callable(getattr(AsyncMappingKernelManager, name))


def test_a_kernels_environment_says_whose_it_is(run, monkeypatch):
    """With what the server's has, or what was asked for; and again after a restart."""
    monkeypatch.setenv("FROM_SERVER", "yes")

    async def check():
        async with Kernels() as kernels:
            first, second = await kernels.start(), await kernels.start(env={**os.environ, "ASKED": "for"})
            await kernels.manager.restart_kernel(first)
            found = []
            for kernel_id in (first, second):
                pid = kernels.manager.get_kernel(kernel_id).provisioner.pid
                with open(f"/proc/{pid}/environ", "rb") as file:
                    found.append(dict(line.split("=", 1) for line in file.read().decode().split("\0") if line))
            return [first, second], found

    ids, found = run(check())

    assert [each[MARKER] for each in found] == [f"{os.getpid()}:kernel:{kernel_id}" for kernel_id in ids]
    assert [each["FROM_SERVER"] for each in found] == ["yes", "yes"]
    assert found[1]["ASKED"] == "for"


def test_the_attributes_of_upstream_that_we_read_are_there(run):
    """`_kernels`, `_kernel_connections`, `_pending_kernels`, and a kernel's `_activity_stream` and its callback."""

    async def check():
        async with Kernels() as kernels:
            kernel_id = await kernels.start()
            kernel = kernels.manager._kernels[kernel_id]

            assert kernels.manager._kernel_connections[kernel_id] == 0
            assert kernel_id not in kernels.manager._pending_kernels
            assert kernel._activity_stream._recv_callback.__module__ == "culling_manager.managers.activity"
            assert kernel._restarter is not None
            assert kernel.owns_kernel

    run(check())


def test_upstream_starts_our_culler_and_no_loop_of_its_own(run):
    """`initialize_culler` is still upstream's call after a start."""

    async def check():
        async with Kernels(config=Config({"MappingKernelManager": {"cull_idle_timeout": 10}})) as kernels:
            await kernels.start()

            assert kernels.manager._initialized_culler
            assert kernels.manager._culler_callback is None
            assert kernels.manager._culler.running

    run(check())


class PoolingManager(CullingKernelManager):
    """A manager that keeps some kernels ready, as Voila's does with its pre-heated ones."""

    def __init__(self, **settings) -> None:
        super().__init__(**settings)
        self.pool, self.asked = set(), []

    async def cull_kernel_if_idle(self, kernel_id: str) -> None:
        self.asked.append(kernel_id)
        if kernel_id not in self.pool:
            await super().cull_kernel_if_idle(kernel_id)


def test_a_subclass_that_keeps_a_kernel_from_being_culled_keeps_it(run):
    """Upstream calls `cull_kernel_if_idle` for each; so do we for each that is due, and that is no failure."""

    async def check():
        async with Kernels(PoolingManager, idle_timeout=0.02, warn_before=0, cull_interval=0.2) as kernels:
            manager = kernels.manager
            pooled, other = [await kernels.start() for _ in range(2)]
            manager.pool.add(pooled)
            await until(lambda: other not in manager and pooled in manager.asked, 30)
            stays, words = pooled in manager, manager._culler.troubles.last_text()
            manager.pool.clear()
            await until(lambda: pooled not in manager, 90)
            return stays, words, Result.FAILED in kernels.results()

    assert run(check()) == (True, None, False)


def test_a_kernel_that_is_started_anew_just_now_is_waited_for(run):
    """One that exits at once, again and again, was told as 'could not be culled: Exception is not set.'."""

    async def check():
        async with Kernels(idle_timeout=120, warn_before=0) as kernels:
            kernel_id = await kernels.start()
            kernel = kernels.manager.get_kernel(kernel_id)
            await kernels.heard(kernel)
            record = kernels.manager._source.read(kernel_id, datetime.now(timezone.utc))
            kernel._ready = started = asyncio.get_running_loop().create_future()
            stopping = asyncio.ensure_future(kernels.manager._source.stop(record))
            await asyncio.sleep(0.2)
            waits = not stopping.done()
            started.set_result(None)
            return waits, await stopping, kernel_id in kernels.manager

    assert run(check()) == (True, None, False)


def test_a_kernel_whose_start_does_not_end_is_told_in_words(run, monkeypatch):
    """And it is tried again later."""
    monkeypatch.setattr("culling_manager.managers.kernel_stops.START_SECONDS", 0.1)

    async def check():
        async with Kernels(idle_timeout=120, warn_before=0) as kernels:
            kernel_id = await kernels.start()
            kernel = kernels.manager.get_kernel(kernel_id)
            record = kernels.manager._source.read(kernel_id, datetime.now(timezone.utc))
            kernel._ready = started = asyncio.get_running_loop().create_future()
            with pytest.raises(StopError, match=r"being started anew, which has not ended within 0.1 s"):
                await kernels.manager._source.stop(record)
            started.set_result(None)
            return await kernels.manager._source.stop(record)

    assert run(check()) is None


# -- what a glance leaves out --------------------------------------------------------------------------


@settings(max_examples=400, deadline=None)
@given(
    state=st.sampled_from(["idle", "busy", "starting", "restarting", "dead", "odd", None]),
    idle_for=st.floats(-100, 20_000),
    connections=st.integers(0, 1),
    own=st.sampled_from([None, 0, -5, 1e-9, 60, 7200.5, "odd"]),
    most=st.sampled_from([0.0, 1.0, 90.0]),
    naive=st.sampled_from([False, False, False, True]),
    timeout=st.sampled_from([0.0, 1.0, 120.0]),
    rules=st.fixed_dictionaries(
        {"cull_busy": st.booleans(), "cull_connected": st.booleans(), "busy_timeout": st.sampled_from([0.0, 1.0])}
    ),
)
def test_what_a_glance_leaves_out_is_kept_by_the_rules(state, idle_for, connections, own, most, naive, timeout, rules):
    """The quick look and the rules never disagree: what is not read is kept, at least until what the look says."""
    rules |= {"idle_timeout": timeout * 60, "max_idle_timeout": most * 60, "busy_timeout": rules["busy_timeout"] * 60}
    policy = CullingPolicy(**rules)
    now = datetime.now(timezone.utc)
    last = (now - timedelta(seconds=idle_for)).replace(tzinfo=None if naive else timezone.utc)
    metadata = {} if own is None else {"cull_idle_timeout": own}
    spec = SimpleNamespace(metadata=metadata)
    kernel = SimpleNamespace(execution_state=state, last_activity=last, kernel_spec=spec, kernel_name="x")
    source = KernelSource(SimpleNamespace(_kernels={"k": kernel}, _kernel_connections={"k": connections}, parent=None))

    [(_, seen, seen_own)] = source.glance(policy)

    if seen is None:
        return
    try:
        record = source.read("k", now)
    except CullingError as error:
        record = source.unreadable("k", str(error))
    decision = decide_kernel(record, policy, now)
    if seen is KEPT:
        assert not decision.cull
        assert decision.due_at is None
    elif policy.idle_timeout > 0:
        due_at = min(seen, now) + timedelta(seconds=policy.idle_timeout if seen_own is None else seen_own)
        assert decision.due_at == due_at


# -- real kernels ------------------------------------------------------------------------------------


def test_a_flood_of_output_is_followed_to_its_end(run):
    """Messages are fetched in batches while a kernel is busy: none is lost, least of all the 'idle' at the end."""

    async def check():
        async with Kernels() as kernels:
            kernel_id = await kernels.start()
            kernel = kernels.manager.get_kernel(kernel_id)
            await kernels.execute(kernel_id, "1")
            cell = "for i in range(3000): get_ipython().display_pub.publish({'text/plain': 'x' * 500})"
            before = kernel.last_activity

            await kernels.execute(kernel_id, cell)

            assert kernel.execution_state == "idle"
            assert kernel.last_activity > before

    run(check())


def test_an_idle_kernel_goes_and_a_busy_one_stays(run):
    """The one thing that everything else is about."""

    async def check():
        async with Kernels() as kernels:
            idle, busy = await kernels.start(), await kernels.start()
            await kernels.execute(idle, "1")
            await kernels.execute(busy, "1")
            stream = await kernels.execute(busy, "import time; time.sleep(60)", wait=False)
            await until(lambda: kernels.manager.get_kernel(busy).execution_state == "busy")
            kernels.manager._source.activity(busy).noted_at = None
            for kernel_id in (idle, busy):
                kernels.manager.get_kernel(kernel_id).last_activity = ago(hours=3)
                kernels.manager._source.activity(kernel_id).noted_at = ago(hours=3)

            await kernels.manager.cull_kernels()
            stream.close()

            assert kernels.manager.list_kernel_ids() == [busy]

    run(check())


def test_a_kernel_that_nobody_connected_to_gets_its_exit_handlers(run, tmp_path):
    """Started by REST, 'starting' for ever: asked to shut down like any other, not killed."""
    witness = tmp_path / "exited"

    async def check():
        async with Kernels(idle_timeout=0.02) as kernels:
            kernel_id = await kernels.start(env={**os.environ, "PYTHONSTARTUP": ""})
            kernel = kernels.manager.get_kernel(kernel_id)
            client = kernel.client()
            client.start_channels()
            await client.wait_for_ready(timeout=patience(60))
            client.execute(f"import atexit; atexit.register(lambda: open({str(witness)!r}, 'w').close())")
            await client.get_shell_msg(timeout=patience(30))
            client.stop_channels()
            kernel.execution_state = "starting"
            kernels.manager._source.activity(kernel_id).settled = False

            await until(lambda: kernel_id not in kernels.manager, 20)

    run(check())
    assert witness.exists()


async def unheard(kernels: Kernels, kernel_id: str) -> None:
    """Make the server deaf to a kernel and its knowledge three hours old, as if it had never heard it."""
    kernel = kernels.manager.get_kernel(kernel_id)
    await asyncio.sleep(0.1)  # a busy kernel's messages are fetched every 10 ms
    kernel._activity_stream.on_recv(None)
    kernel.execution_state = "starting"
    activity = kernels.manager._source.activity(kernel_id)
    activity.started_anew()
    activity.noted_at = kernel.last_activity = ago(hours=3)


SILENT_BUT_WORKING = {
    "asleep in its cell: only its control channel answers": "import time; time.sleep(60)",
    "deep in C code that holds the interpreter: only its CPU tells": "import re; re.match('(a+)+$', 'a' * 60 + 'b')",
}


@pytest.mark.parametrize("cell", SILENT_BUT_WORKING.values(), ids=SILENT_BUT_WORKING.keys())
def test_a_kernel_that_was_never_heard_but_works_survives(run, cell):
    """jupyter_server 2.10 to 2.17 can miss 'busy' at start; such a kernel is asked, and its process looked at."""

    async def check():
        async with Kernels() as kernels:
            kernel_id = await kernels.start()
            kernel = kernels.manager.get_kernel(kernel_id)
            await kernels.heard(kernel)
            stream = await kernels.send(kernel_id, cell)
            await asyncio.sleep(1)
            await unheard(kernels, kernel_id)

            await kernels.manager.cull_kernels()
            stream.close()

            assert kernel_id in kernels.manager
            assert kernels.results() == [Result.CHANGED]
            assert kernels.manager._source.activity(kernel_id).noted_at > ago(minutes=1)

    run(check())


def test_a_run_that_was_heard_neither_to_begin_nor_to_end_counts_until_it_is_found_finished(run):
    """Both of its states were lost, so it may have ended a moment ago: a timeout from now, and not a second more."""

    async def check():
        async with Kernels() as kernels:
            kernel_id = await kernels.start()
            kernel, activity = kernels.manager.get_kernel(kernel_id), kernels.manager._source.activity(kernel_id)
            await kernels.execute(kernel_id, "1")
            await until(lambda: not activity.outstanding)
            kernel._activity_stream.on_recv(None)
            stream = await kernels.send(kernel_id, "2")
            activity.noted_at = kernel.last_activity = ago(hours=3)

            await kernels.manager.cull_kernels()
            kept = kernels.results(), activity.noted_at > ago(minutes=1), len(activity.outstanding)
            activity.noted_at = ago(hours=3)
            activity.version += 1
            await kernels.manager.cull_kernels()
            stream.close()

            assert kept == ([Result.CHANGED], True, 0)
            assert kernels.results() == [Result.CHANGED, Result.CULLED]

    run(check())


def test_a_kernel_that_was_found_at_work_and_then_free_was_in_use_until_then(run, tmp_path):
    """It was deaf to us from the start: nobody knows when between two questions the run has ended."""

    async def check():
        async with Kernels() as kernels:
            kernel_id = await kernels.start()
            kernel, activity = kernels.manager.get_kernel(kernel_id), kernels.manager._source.activity(kernel_id)
            await kernels.heard(kernel)
            stream = await kernels.send(kernel_id, silent_until(tmp_path / "end"))
            await asyncio.sleep(1)
            await unheard(kernels, kernel_id)

            for end in (False, True, True):
                if end:
                    (tmp_path / "end").touch()
                activity.noted_at = ago(hours=3)
                activity.version += 1
                await kernels.manager.cull_kernels()
            stream.close()

            assert kernels.results() == [Result.CHANGED, Result.CHANGED, Result.CULLED]

    run(check())


def test_a_kernel_whose_cell_holds_the_interpreter_survives_though_it_still_shows_idle(run):
    """Its 'busy' never leaves it; the request without a word since is enough to ask before anything happens."""

    async def check():
        async with Kernels() as kernels:
            kernel_id = await kernels.start()
            kernel = kernels.manager.get_kernel(kernel_id)
            await kernels.execute(kernel_id, "1")
            stream = await kernels.send(kernel_id, "import re; re.match('(a+)+$', 'a' * 60 + 'b')")
            await asyncio.sleep(1)
            kernels.manager._source.activity(kernel_id).noted_at = kernel.last_activity = ago(hours=3)

            await kernels.manager.cull_kernels()
            stream.close()

            assert kernel_id in kernels.manager

    run(check())


def test_a_second_cell_in_the_queue_that_holds_the_interpreter_survives_too(run):
    """'Run All': the first cell's 'idle' says nothing of the second, whose 'busy' never leaves the kernel."""

    async def check():
        async with Kernels() as kernels:
            kernel_id = await kernels.start()
            kernel = kernels.manager.get_kernel(kernel_id)
            await kernels.execute(kernel_id, "1")
            first = await kernels.send(kernel_id, "import time; time.sleep(0.3)")
            second = await kernels.send(kernel_id, "import re; re.match('(a+)+$', 'a' * 60 + 'b')")
            await asyncio.sleep(1.5)
            kernels.manager._source.activity(kernel_id).noted_at = kernel.last_activity = ago(hours=3)
            outstanding = len(kernels.manager._source.activity(kernel_id).outstanding)

            await kernels.manager.cull_kernels()
            first.close()
            second.close()

            assert outstanding >= 1
            assert kernel_id in kernels.manager

    run(check())


def test_answered_requests_are_not_outstanding(run):
    """Each 'idle' takes its own request off the list, so that an idle kernel goes without being asked."""

    async def check():
        async with Kernels() as kernels:
            kernel_id = await kernels.start()
            for _ in range(3):
                await kernels.execute(kernel_id, "1")

            await until(lambda: not kernels.manager._source.activity(kernel_id).outstanding)
            assert kernels.manager._source.activity(kernel_id).settled

    run(check())


def test_a_request_counts_as_activity_when_it_is_forwarded_though_the_kernel_has_not_said_a_word(run):
    """The kernel is frozen, so its state cannot show anything; the request alone moves the deadline."""

    async def check():
        async with Kernels() as kernels:
            kernel_id = await kernels.start()
            kernel = kernels.manager.get_kernel(kernel_id)
            await kernels.execute(kernel_id, "1")
            os.kill(kernel.provisioner.pid, signal.SIGSTOP)
            kernel.last_activity = ago(hours=3)
            stream = await kernels.send(kernel_id, "1")

            await kernels.manager.cull_kernels()
            stream.close()

            assert kernel_id in kernels.manager
            assert kernels.results() == []

    run(check())


def test_a_kernel_that_turns_dead_goes_at_once_though_its_deadline_is_hours_away(run):
    """Upstream sets 'dead' for a kernel that failed to start; nobody else tells."""

    async def check():
        async with Kernels() as kernels:
            kernel_id = await kernels.start()
            await kernels.execute(kernel_id, "1")
            kernels.manager._culler.start()
            await asyncio.sleep(0.1)

            kernels.manager.get_kernel(kernel_id).execution_state = "dead"

            await until(lambda: kernel_id not in kernels.manager, 10)

    run(check())


def test_a_kernel_whose_shutdown_failed_is_heard_again(run):
    """Upstream stops listening before it stops the kernel; a kernel that stays must not look idle for ever."""

    async def check():
        async with Kernels() as kernels:
            kernel_id = await kernels.start()
            kernel = kernels.manager.get_kernel(kernel_id)
            await kernels.execute(kernel_id, "1")
            kernel.last_activity = long_ago = ago(hours=3)
            kernels.manager._source.activity(kernel_id).noted_at = None
            shutdown = kernel.shutdown_kernel

            async def refuse(*_args, **_kwargs):
                raise RuntimeError("not now")

            kernel.shutdown_kernel = refuse
            await kernels.manager.cull_kernels()
            await asyncio.sleep(0.2)  # a kernel greets a new connection, and that is no activity
            listening, last_activity = kernel._activity_stream, kernel.last_activity
            kernel.shutdown_kernel = shutdown
            kernels.manager._pending_kernels.pop(kernel_id, None)

            assert kernels.results() == [Result.FAILED]
            assert listening is not None
            assert last_activity == long_ago

    run(check())


def test_a_restart_that_takes_longer_than_the_timeout_is_not_culled(run):
    """While it is being restarted it is in use."""

    async def check():
        async with Kernels() as kernels:
            kernel_id = await kernels.start()
            await kernels.execute(kernel_id, "1")
            activity = kernels.manager._source.activity(kernel_id)
            activity.restarting += 1
            kernels.manager.get_kernel(kernel_id).last_activity = activity.noted_at = ago(hours=3)

            await kernels.manager.cull_kernels()
            during = kernel_id in kernels.manager
            activity.restarting -= 1
            await kernels.manager.cull_kernels()

            assert during
            assert kernel_id not in kernels.manager

    run(check())


def test_a_cancelled_shutdown_of_all_does_not_end_culling(run):
    """An extension that gives up waiting leaves a culler that runs."""

    async def check():
        async with Kernels() as kernels:
            kernels.manager._culler.start()
            forever = asyncio.get_running_loop().create_future()
            kernels.manager._culler.watches[Kind.KERNEL].looking = asyncio.ensure_future(asyncio.shield(forever))
            shutting = asyncio.ensure_future(kernels.manager.shutdown_all())
            await asyncio.sleep(0)
            shutting.cancel()
            await asyncio.wait([shutting])
            kernels.manager._culler.watches[Kind.KERNEL].looking = None

            assert kernels.manager._culler.running

    run(check())


@pytest.mark.parametrize("asked", [True, False], ids=["a request is unanswered", "nobody asked it anything"])
def test_a_frozen_kernel_that_was_never_heard_survives_only_with_an_unanswered_request(run, asked):
    """Stopped: silent on both channels, no CPU. What somebody waits for is kept; what is silent and unused goes."""

    async def check():
        async with Kernels() as kernels:
            kernel_id = await kernels.start()
            kernel = kernels.manager.get_kernel(kernel_id)
            kernel.shutdown_wait_time = 0.5
            await kernels.heard(kernel)
            await unheard(kernels, kernel_id)
            os.kill(kernel.provisioner.pid, signal.SIGSTOP)
            if asked:
                stream = await kernels.send(kernel_id, "1")
                kernels.manager._source.activity(kernel_id).noted_at = ago(hours=3)

            await kernels.manager.cull_kernels()
            if asked:
                stream.close()

            assert (kernel_id in kernels.manager) == asked

    run(check())


def test_a_kernel_that_never_starts_is_killed(run):
    """Stopped by SIGSTOP right after its start: silent on every channel, no CPU, unused; it goes within the grace."""

    async def check():
        async with Kernels() as kernels:
            kernel_id = await kernels.start()
            kernel = kernels.manager.get_kernel(kernel_id)
            kernel.shutdown_wait_time = 0.5
            os.kill(kernel.provisioner.pid, signal.SIGSTOP)
            await asyncio.sleep(0.2)
            kernel.last_activity = ago(hours=3)

            await kernels.manager.cull_kernels()

            assert kernel_id not in kernels.manager

    run(check())


def test_hung_kernels_do_not_delay_the_healthy_ones(run):
    """Those that answer are gone while those that were stopped still have their grace (8 and 4 in the benchmark)."""

    async def check():
        async with Kernels() as kernels:
            ids = await asyncio.gather(*(kernels.start() for _ in range(4)))
            for kernel_id in ids:
                await kernels.execute(kernel_id, "1")
            hung, healthy = ids[:2], ids[2:]
            for kernel_id in hung:
                kernels.manager.get_kernel(kernel_id).shutdown_wait_time = 4.0
                os.kill(kernels.manager.get_kernel(kernel_id).provisioner.pid, signal.SIGSTOP)
            for kernel_id in ids:
                kernels.manager.get_kernel(kernel_id).last_activity = ago(hours=3)
                kernels.manager._source.activity(kernel_id).noted_at = None

            passing = asyncio.ensure_future(kernels.manager.cull_kernels())
            await until(lambda: all(kernel_id not in kernels.manager for kernel_id in healthy), 20)

            assert all(kernel_id in kernels.manager for kernel_id in hung)
            assert not passing.done()
            await passing
            assert kernels.manager.list_kernel_ids() == []

    run(check())


def test_a_killed_kernel_that_nothing_restarts_goes_at_the_next_heartbeat(run):
    """It stays 'busy' in the list for ever; its process is gone, so it is culled now."""

    async def check():
        config = Config({"KernelManager": {"autorestart": False}})
        async with Kernels(config=config, cull_interval=0.2) as kernels:
            kernel_id = await kernels.start()
            kernel = kernels.manager.get_kernel(kernel_id)
            await kernels.execute(kernel_id, "1")
            stream = await kernels.execute(kernel_id, "import time; time.sleep(60)", wait=False)
            await until(lambda: kernel.execution_state == "busy")
            os.kill(kernel.provisioner.pid, signal.SIGKILL)

            await until(lambda: kernel_id not in kernels.manager and kernels.manager._culler.outcomes, 20)
            stream.close()

            assert kernels.manager._culler.outcomes[-1].reason == "dead"

    run(check())


def test_a_page_that_is_reloaded_does_not_cost_its_kernel(run):
    """Where an open page keeps a kernel, closing it leaves half a minute, or half the timeout, to come back."""

    async def check():
        async with Kernels(idle_timeout=0.1, cull_connected=False) as kernels:
            manager, kernel_id = kernels.manager, await kernels.start()
            await kernels.execute(kernel_id, "1")
            manager.notify_connect(kernel_id)
            manager.get_kernel(kernel_id).last_activity = ago(hours=3)
            manager._source.activity(kernel_id).noted_at = None
            seen = []
            for change in (manager.notify_disconnect, manager.notify_connect, manager.notify_disconnect):
                change(kernel_id)
                await asyncio.sleep(1)
                seen.append(manager._culler.watches[Kind.KERNEL].current(manager._culler.now())[0][1].reason)

            await until(lambda: kernel_id not in manager, 10)

            return seen

    assert run(check()) == [Reason.DISCONNECTED, Reason.CONNECTED, Reason.DISCONNECTED]


def test_a_busy_kernel_that_dies_and_is_started_anew_is_not_busy_for_ever(run):
    """Its new process has nothing to do, also when nothing was heard of it; a whole timeout after its death it goes."""

    async def check():
        async with Kernels(idle_timeout=0.05) as kernels:
            kernel_id = await kernels.start()
            kernel = kernels.manager.get_kernel(kernel_id)
            await kernels.execute(kernel_id, "1")
            stream = await kernels.execute(kernel_id, "import time; time.sleep(600)", wait=False)
            await until(lambda: kernel.execution_state == "busy")
            kernel._activity_stream.on_recv(None)
            await asyncio.sleep(0.1)
            kernel._activity_stream.on_recv(None)  # and what was at rest is deaf, too
            kernel.last_activity = ago(hours=3)
            pid = kernel.provisioner.pid
            os.kill(pid, signal.SIGKILL)
            await until(lambda: kernel.provisioner.pid != pid, 20)
            restarted_at = datetime.now(timezone.utc)
            before = kernels.manager._culler.watches[Kind.KERNEL].current(restarted_at)[0][1]

            await until(lambda: kernels.manager._culler.outcomes, 20)
            stream.close()

            return before, kernels.manager._culler.outcomes[-1], (datetime.now(timezone.utc) - restarted_at)

    before, outcome, took = run(check())

    assert not before.cull
    assert (outcome.result, outcome.reason) == (Result.CULLED, "idle")
    assert took > timedelta(seconds=1)


def test_a_kernel_that_dies_young_is_heard_again(run):
    """Its restarter says that it gets new ports then."""

    async def check():
        async with Kernels() as kernels:
            kernel_id = await kernels.start()
            kernel = kernels.manager.get_kernel(kernel_id)
            pid = kernel.provisioner.pid
            os.kill(pid, signal.SIGKILL)
            await until(lambda: kernel.provisioner.pid != pid, 20)
            await asyncio.sleep(1)

            await kernels.execute(kernel_id, "1")
            await until(lambda: kernel.execution_state == "idle", 10)

            return kernels.manager._source.activity(kernel_id).settled

    assert run(check())


def test_a_kernel_that_is_being_restarted_is_not_taken_for_dead(run):
    """Restarting it is use of it: nothing is culled in the middle, and the clock starts anew."""

    async def check():
        async with Kernels() as kernels:
            kernel_id = await kernels.start()
            await kernels.execute(kernel_id, "1")
            kernels.manager.get_kernel(kernel_id).last_activity = ago(hours=3)
            restarting = asyncio.ensure_future(kernels.manager.restart_kernel(kernel_id))
            await asyncio.sleep(0)

            await kernels.manager.cull_kernels()
            await restarting
            await kernels.manager.cull_kernels()

            assert kernel_id in kernels.manager

    run(check())


@pytest.fixture
def special_kernelspec(tmp_path, monkeypatch):
    """Install a kernelspec with metadata of the test's own; gives a function."""
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))

    def install(name: str, metadata: dict) -> None:
        spec = {
            "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
            "display_name": name,
            "language": "python",
            "metadata": metadata,
        }
        folder = tmp_path / "kernels" / name
        folder.mkdir(parents=True)
        (folder / "kernel.json").write_text(json.dumps(spec))

    return install


@pytest.mark.parametrize(
    ("own", "idle_for", "stays"),
    [(60, 90, False), (86_400, 9000, True), (0, 90_000, True), ("soon", 90_000, True), (True, 90_000, True)],
)
def test_a_kernelspecs_own_timeout_overrides(special_kernelspec, run, own, idle_for, stays):
    """Shorter, longer, 0 for never; what is no number keeps the kernel and is told."""
    special_kernelspec("special", {"cull_idle_timeout": own})

    async def check():
        specs = KernelSpecManager()
        async with Kernels(kernel_spec_manager=specs) as kernels:
            kernel_id = await kernels.manager.start_kernel(kernel_name="special")
            await kernels.execute(kernel_id, "1")
            kernels.manager.get_kernel(kernel_id).last_activity = ago(seconds=idle_for)
            kernels.manager._source.activity(kernel_id).noted_at = None

            await kernels.manager.cull_kernels()

            assert (kernel_id in kernels.manager) == stays
            words = kernels.manager._culler.troubles.last_text()
            assert (words is None) == (not isinstance(own, (str, bool)))

    run(check())


@pytest.mark.parametrize(("own", "odd"), [(0, False), (-5, False), (86_400, False), ("soon", True), (True, True)])
def test_no_kernelspec_gets_around_the_admins_bound(special_kernelspec, run, own, odd):
    """Under `max_idle_timeout` off and nonsense are no timeout, and nothing is longer; only nonsense is told."""
    special_kernelspec("special", {"cull_idle_timeout": own})

    async def check():
        specs = KernelSpecManager()
        async with Kernels(kernel_spec_manager=specs, idle_timeout=60, max_idle_timeout=120) as kernels:
            kernel_id = await kernels.manager.start_kernel(kernel_name="special")
            await kernels.execute(kernel_id, "1")
            kernels.manager.get_kernel(kernel_id).last_activity = ago(seconds=50 * 60)
            kernels.manager._source.activity(kernel_id).noted_at = None
            await kernels.manager.cull_kernels()
            kept, words = kernel_id in kernels.manager, kernels.manager._culler.troubles.last_text()
            kernels.manager.get_kernel(kernel_id).last_activity = ago(seconds=130 * 60)
            await kernels.manager.cull_kernels()

            assert kept
            assert kernel_id not in kernels.manager
            assert ("not a number of seconds; idle_timeout counts in its place" in str(words)) == odd
            assert kernels.manager._culler.troubles.last_text() is None

    run(check())


def test_missing_and_naive_timestamps_keep_and_are_told(run):
    """Doubt keeps: nobody can tell how long it has been idle."""

    async def check():
        async with Kernels() as kernels:
            kernel_id = await kernels.start()
            await kernels.execute(kernel_id, "1")
            kernel = kernels.manager.get_kernel(kernel_id)
            kernels.manager._source.activity(kernel_id).noted_at = None
            kernel.last_activity = datetime(2000, 1, 1)

            await kernels.manager.cull_kernels()
            words = kernels.manager._culler.troubles.last_text()

            assert kernel_id in kernels.manager
            assert "last_activity = 2000-01-01T00:00:00 has no time zone" in words

    run(check())


def test_a_pending_kernel_that_failed_to_start_is_removed_at_its_deadline(run, tmp_path, monkeypatch):
    """With `use_pending_kernels` a kernel whose start failed stays listed; it does not stay for ever."""

    async def check():
        async with Kernels(use_pending_kernels=True, idle_timeout=0.01) as kernels:
            kernels.manager.kernel_spec_manager = KernelSpecManager()
            kernel_id = await kernels.start()
            kernel = kernels.manager._kernels[kernel_id]
            await until(lambda: kernel.ready.done(), 30)

            await until(lambda: kernel_id not in kernels.manager, 20)

    run(check())


def test_upstreams_single_kernel_method_culls_one_that_is_due(run):
    """`cull_kernel_if_idle` stays usable for subclasses and extensions."""

    async def check():
        async with Kernels() as kernels:
            first, second = await kernels.start(), await kernels.start()
            for kernel_id in (first, second):
                await kernels.execute(kernel_id, "1")
                kernels.manager.get_kernel(kernel_id).last_activity = ago(hours=3)
                kernels.manager._source.activity(kernel_id).noted_at = None

            await kernels.manager.cull_kernel_if_idle(first)

            assert kernels.manager.list_kernel_ids() == [second]

    run(check())


def test_memory_of_a_kernel_goes_with_it(run):
    """A server that starts a thousand kernels does not remember a thousand."""

    async def check():
        async with Kernels() as kernels:
            kernel_id = await kernels.start()
            await kernels.manager.shutdown_kernel(kernel_id)
            await kernels.manager.cull_kernels()

            assert kernels.manager._source.activities == {}
            assert kernels.manager._source.own_timeouts == {}
            assert kernels.manager._source.special == set()
            assert kernels.manager._culler.watches[Kind.KERNEL].items == {}

    run(check())


def test_the_deadline_of_a_real_kernel_is_met_within_a_tenth_of_a_second(run):
    """Not a speed test but the promise: at the deadline, not at the next heartbeat (10 s)."""

    async def check():
        async with Kernels(idle_timeout=0.02) as kernels:
            kernel_id = await kernels.start()
            await kernels.execute(kernel_id, "1")
            shut = []
            original = kernels.manager.shutdown_kernel

            async def note(kernel_id, **kwargs):
                shut.append(time.time())
                return await original(kernel_id, **kwargs)

            kernels.manager.shutdown_kernel = note
            last = kernels.manager._source.read(kernel_id, datetime.now(timezone.utc)).last_activity.timestamp()

            await until(lambda: shut, 20)

            assert shut[0] > last + 1.2
            assert shut[0] - last < 8

    run(check())
