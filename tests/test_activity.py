"""Activity tracking gives upstream's results for every message sequence, and sees requests when they are forwarded."""

from __future__ import annotations

import asyncio
from datetime import datetime, timezone
from functools import partial
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jupyter_client.session import DELIM, Session
from jupyter_server.services.kernels.kernelmanager import (
    AsyncMappingKernelManager,
    MappingKernelManager,
    ServerKernelManager,
)

from culling_manager import CullingKernelManager
from culling_manager.managers.activity import KernelActivity, follow_iopub, may_be_status, parent_of
from tests.conftest import until

LONG_AGO = datetime(2000, 1, 1, tzinfo=timezone.utc)
STATES = ["starting", "busy", "idle"]
TYPES = ["status", "stream", "execute_input", "execute_result", "error", "display_data", "comm_msg", "clear_output"]
#: Before jupyter_server 2.15 upstream counts what is no use, and we do not: see below.
COUNTS_ALL = not hasattr(AsyncMappingKernelManager, "track_message_type")
NO_USE = [] if COUNTS_ALL else ["kernel_info_request", "debug_request", "shutdown_request"]
PARENTS = ["execute_request", "comm_msg", None, *NO_USE]


class FakeStream:
    """The part of a ZMQStream that watching uses."""

    def __init__(self) -> None:
        self._recv_callback = None
        self.socket = SimpleNamespace(closed=True)

    def on_recv(self, callback) -> None:
        self._recv_callback = callback


class Side:
    """One manager with one kernel whose IOPub messages a test feeds."""

    def __init__(self, manager, key: bytes) -> None:
        self.manager = manager
        self.kernel = ServerKernelManager()
        self.kernel.session = Session(key=key)
        self.kernel.execution_state = "starting"
        self.kernel.connect_iopub = FakeStream
        manager._kernels["k"] = self.kernel
        manager.start_watching_activity("k")

    def feed(self, frames) -> tuple:
        """What one message changes: (state, whether activity was stamped, on the manager too, error)."""
        self.kernel.last_activity = self.manager.last_kernel_activity = LONG_AGO
        error = None
        try:
            self.kernel._activity_stream._recv_callback(list(frames))
        except Exception as raised:
            error = type(raised)
        return (
            self.kernel.execution_state,
            self.kernel.last_activity > LONG_AGO,
            self.manager.last_kernel_activity > LONG_AGO,
            error,
        )


def both_sides(key: bytes) -> tuple[Side, Side]:
    """Upstream's manager and ours, each with its kernel."""
    return Side(AsyncMappingKernelManager(), key), Side(CullingKernelManager(), key)


def message(session: Session, kind: str, parent: str | None, state: str) -> list[bytes]:
    """The frames of one signed IOPub message."""
    content = {"execution_state": state} if kind == "status" else {"text": f"status {state}", "name": "stdout"}
    header = session.msg_header(kind)
    parent_header = {**session.msg_header(parent), "msg_id": "the only request"} if parent else {}
    return [b"topic", *session.serialize({"header": header, "parent_header": parent_header, "content": content,
                                          "metadata": {}})]  # fmt: skip


messages = st.tuples(st.sampled_from(TYPES), st.sampled_from(PARENTS), st.sampled_from(STATES))


@settings(max_examples=200, deadline=None)
@given(st.lists(messages, max_size=40))
def test_every_generated_sequence_gives_upstreams_results(sequence):
    """State and stamps after each message are those of upstream's manager."""

    async def run():
        session = Session(key=b"key")
        upstream, ours = both_sides(b"key")
        for kind, parent, state in sequence:
            frames = message(session, kind, parent, state)
            assert ours.feed(frames) == upstream.feed(frames)

    asyncio.run(run())


@pytest.mark.parametrize("state", ["idle", "starting"])
def test_a_forged_message_is_no_activity_while_a_kernel_is_not_busy(state):
    """A bad signature is refused exactly as upstream refuses it."""

    async def run():
        upstream, ours = both_sides(b"key")
        upstream.kernel.execution_state = ours.kernel.execution_state = state
        forged = message(Session(key=b"other"), "status", "execute_request", "busy")

        assert ours.feed(forged) == upstream.feed(forged)
        assert ours.kernel.execution_state == state

    asyncio.run(run())


def test_a_forged_status_is_refused_while_busy():
    """Only what cannot be a status takes the short cut: a forged 'idle' does not end a busy kernel's protection."""

    async def run():
        _, ours = both_sides(b"key")
        ours.kernel.execution_state = "busy"

        ours.feed(message(Session(key=b"other"), "status", "execute_request", "idle"))

        assert ours.kernel.execution_state == "busy"

    asyncio.run(run())


@pytest.mark.parametrize(
    "frames",
    [[], [b"topic"], [DELIM], [b"t", DELIM, b"sig"], [b"t", DELIM, b"sig", b'{"msg_type": "status"}'], [b"a"] * 9],
    ids=["nothing", "no delimiter", "only it", "no header", "status", "rubbish"],
)
def test_in_doubt_a_message_may_be_a_status(frames):
    """What cannot be told goes the whole way through upstream's callback."""
    assert may_be_status(frames)


def test_without_upstreams_seam_nothing_is_replaced():
    """If pyzmq renames its attribute, tracking is upstream's own and it is said so."""
    kernel = SimpleNamespace(_activity_stream=object())

    assert not follow_iopub(SimpleNamespace(), kernel, KernelActivity(), bool)


def test_busy_since_is_the_beginning_of_this_run():
    """A run that ends and another that begins are two runs."""

    async def run():
        session = Session(key=b"key")
        _, ours = both_sides(b"key")
        activity = ours.manager._source.activity("k")
        ours.feed(message(session, "status", "execute_request", "busy"))
        first = activity.run.busy_since
        ours.feed(message(session, "stream", "execute_request", "busy"))
        during = activity.run.busy_since
        ours.feed(message(session, "status", "execute_request", "idle"))
        between = activity.run.busy_since
        ours.feed(message(session, "status", "execute_request", "busy"))

        assert first is not None
        assert during == first
        assert between is None
        assert activity.run.busy_since > first

    asyncio.run(run())


CELLS = ["1+1", "print('hi')", "1/0", "from IPython.display import display; display({'text/plain': 'x'}, raw=True)"]


def ended(frames: list[bytes], request: str) -> bool:
    """Whether a message says that the kernel is done with a request."""
    return parent_of(frames).get("msg_id") == request and b'"idle"' in frames[-1]


async def record_real_messages() -> tuple[list[list[bytes]], bytes]:
    """All IOPub frames of a real ipykernel from start over some cells, and its key."""
    manager = CullingKernelManager()
    kernel_id = await manager.start_kernel(kernel_name="python3")
    kernel = manager.get_kernel(kernel_id)
    frames: list[list[bytes]] = []
    stream = kernel.connect_iopub()
    stream.on_recv(frames.append)
    client = kernel.client()
    client.start_channels()
    try:
        await client.wait_for_ready(timeout=60)
        await until(lambda: client.kernel_info() and frames, 60)  # what was said before our connection was up is lost
        for cell in CELLS:
            request = client.execute(cell)
            await until(lambda asked=request: any(ended(f, asked) for f in frames), 60)
    finally:
        client.stop_channels()
        stream.close()
        await manager.shutdown_all(now=True)
    return frames, kernel.session.key


def test_recorded_messages_of_a_real_kernel_give_upstreams_results():
    """The frames of a real ipykernel, replayed into both managers."""

    async def run():
        frames, key = await record_real_messages()
        upstream, ours = both_sides(key)

        for each in frames:
            if not COUNTS_ALL or parent_of(each).get("msg_type") == "execute_request":
                assert ours.feed(each) == upstream.feed(each)
        assert len(frames) > 10
        assert ours.kernel.execution_state == "idle"

    asyncio.run(run())


def test_a_forwarded_request_counts_at_the_moment_it_is_accepted():
    """Before the kernel has even read it, the second look sees it: on its way, then sent."""

    async def run():
        manager = CullingKernelManager()
        kernel_id = await manager.start_kernel(kernel_name="python3")
        try:
            kernel = manager.get_kernel(kernel_id)
            before = manager._source.fingerprint(kernel_id)
            stream = kernel.connect_shell(identity=b"browser")
            kernel.session.send(stream, "execute_request", {"code": "1"})

            manager._source.catch_up(kernel_id)
            on_its_way = manager._source.fingerprint(kernel_id)
            await until(lambda: not stream.sending())
            record = manager._source.read(kernel_id, datetime.now(timezone.utc))
            stream.close()
        finally:
            await manager.shutdown_all(now=True)

        assert on_its_way != before
        assert (datetime.now(timezone.utc) - record.last_activity).total_seconds() < 30
        assert record.last_activity > kernel.last_activity or record.state == "busy"

    asyncio.run(run())


def test_a_page_reload_is_no_activity_where_upstream_does_not_count_it():
    """kernel_info_request of a nudge does not reset the clock on jupyter_server 2.15 and later."""

    async def run():
        manager = CullingKernelManager()
        if not hasattr(manager, "track_message_type"):
            pytest.skip("before jupyter_server 2.15 every message counts, upstream's too")
        kernel_id = await manager.start_kernel(kernel_name="python3")
        try:
            kernel = manager.get_kernel(kernel_id)
            stream = kernel.connect_shell(identity=b"browser")
            kernel.session.send(stream, "kernel_info_request")
            await until(lambda: not stream.sending())
            noted = manager._source.activity(kernel_id).noted_at
            stream.close()
        finally:
            await manager.shutdown_all(now=True)

        assert noted is None

    asyncio.run(run())


# -- what is no use --------------------------------------------------------------------------------------


def before_2_15(monkeypatch) -> None:
    """Give upstream the callback that it had before jupyter_server 2.15: every message is activity, every status one.

    On such a version it stands there already.
    """

    def start_watching_activity(self, kernel_id):
        kernel = self._kernels[kernel_id]
        kernel.last_activity = datetime.now(timezone.utc)
        kernel._activity_stream = kernel.connect_iopub()
        session = Session(key=kernel.session.key)

        def record_activity(frames):
            self.last_kernel_activity = kernel.last_activity = datetime.now(timezone.utc)
            _, parts = session.feed_identities(frames)
            found = session.deserialize(parts)
            if found["header"]["msg_type"] == "status":
                kernel.execution_state = found["content"]["execution_state"]

        kernel._activity_stream.on_recv(record_activity)

    monkeypatch.setattr(AsyncMappingKernelManager, "start_watching_activity", start_watching_activity)
    monkeypatch.delattr(MappingKernelManager, "track_message_type", raising=False)


@pytest.mark.parametrize("old", [False, True], ids=["this jupyter_server", "before 2.15"])
@pytest.mark.parametrize("asked", ["kernel_info_request", "comm_info_request", "debug_request"])
@pytest.mark.parametrize("state", ["idle", "starting", "busy"])
def test_answers_to_what_a_page_asks_by_itself_are_no_activity_on_any_version(monkeypatch, old, asked, state):
    """A page that reconnects neither moves the clock nor the state; of one that is 'starting' it shows that it runs."""
    if old:
        before_2_15(monkeypatch)

    async def run():
        session = Session(key=b"key")
        ours = Side(CullingKernelManager(), b"key")
        ours.kernel.execution_state = state

        found = [ours.feed(message(session, "status", asked, each)) for each in ("busy", "idle")]

        expected = "idle" if state == "starting" else state
        assert [each[0] for each in found] == [expected] * 2
        assert [each[3] for each in found] == [None] * 2
        if state != "busy":
            assert not any(moved for each in found for moved in each[1:3])

    asyncio.run(run())


def test_before_2_15_what_a_person_runs_is_activity_as_ever(monkeypatch):
    """A cell and its output count, and the kernel is busy with it."""
    before_2_15(monkeypatch)

    async def run():
        session = Session(key=b"key")
        ours = Side(CullingKernelManager(), b"key")
        ours.kernel.execution_state = "idle"

        found = [
            ours.feed(message(session, kind, "execute_request", state))
            for kind, state in [("status", "busy"), ("stream", ""), ("status", "idle"), ("stream", "late")]
        ]

        assert [each[0] for each in found] == ["busy", "busy", "idle", "idle"]
        assert all(each[1] and each[2] for each in found[:3])

    asyncio.run(run())


def test_a_page_that_reconnects_keeps_no_kernel(run, monkeypatch):
    """With a real kernel, on the oldest callback: what the page asks by itself leaves the clock where it was."""
    before_2_15(monkeypatch)

    async def check():
        manager = CullingKernelManager()
        kernel_id = await manager.start_kernel(kernel_name="python3")
        kernel, heard = manager.get_kernel(kernel_id), []
        shell, control, iopub = kernel.connect_shell(), kernel.connect_control(), kernel.connect_iopub()
        try:
            iopub.on_recv(heard.append)
            await until(lambda: kernel.session.send(shell, "kernel_info_request") and heard, 60)
            await until(lambda: kernel.execution_state == "idle")
            kernel.last_activity = LONG_AGO
            said = len(heard)
            kernel.session.send(shell, "comm_info_request", {})
            kernel.session.send(control, "debug_request", {"type": "request", "seq": 1, "command": "debugInfo"})
            await until(lambda: len(heard) >= said + 4)

            return kernel.last_activity, manager._source.activity(kernel_id).noted_at
        finally:
            for stream in (shell, control, iopub):
                stream.close()
            await manager.shutdown_all(now=True)

    assert run(check()) == (LONG_AGO, None)


@pytest.mark.parametrize("poll", ["usage_request", "list_subshell_request", "what_some_panel_asks_request"])
def test_what_a_page_polls_on_the_control_channel_keeps_no_kernel(run, poll):
    """jupyter-resource-usage's panel asks every few seconds; whatever is asked there, nobody uses the kernel for it."""

    async def check():
        manager = CullingKernelManager()
        kernel_id = await manager.start_kernel(kernel_name="python3")
        kernel, heard = manager.get_kernel(kernel_id), []
        shell, control, iopub = kernel.connect_shell(), kernel.connect_control(), kernel.connect_iopub()
        try:
            iopub.on_recv(heard.append)
            asks = partial(kernel.session.send, shell, "kernel_info_request")
            await until(lambda: asks() and heard and kernel.execution_state == "idle", 60)
            kernel.last_activity = LONG_AGO
            request = kernel.session.send(control, poll)["header"]["msg_id"]
            await until(lambda: any(ended(each, request) for each in heard), 30)
            await asyncio.sleep(0.1)
            activity = manager._source.activity(kernel_id)

            return kernel.last_activity, activity.noted_at, len(activity.outstanding), len(activity.polls)
        finally:
            for stream in (shell, control, iopub):
                stream.close()
            await manager.shutdown_all(now=True)

    assert run(check()) == (LONG_AGO, None, 0, 0)


def test_what_is_run_on_the_control_channel_is_use(run):
    """A client that executes there works with the kernel."""

    async def check():
        manager = CullingKernelManager()
        kernel_id = await manager.start_kernel(kernel_name="python3")
        kernel = manager.get_kernel(kernel_id)
        control = kernel.connect_control()
        try:
            kernel.session.send(control, "execute_request", {"code": "1"})
            await until(lambda: not control.sending())

            return manager._source.activity(kernel_id).noted_at
        finally:
            control.close()
            await manager.shutdown_all(now=True)

    assert run(check()) is not None
