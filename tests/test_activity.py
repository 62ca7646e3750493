"""Activity tracking gives upstream's results for every message sequence, and sees requests when they are forwarded."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta, timezone
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import zmq
from hypothesis import given, settings
from hypothesis import strategies as st
from jupyter_client.session import DELIM, Session
from jupyter_server.services.kernels.kernelmanager import (
    AsyncMappingKernelManager,
    MappingKernelManager,
    ServerKernelManager,
)
from zmq.eventloop.zmqstream import ZMQStream

from culling_manager import CullingKernelManager
from culling_manager.managers.activity import (
    BATCH,
    REST_SECONDS,
    KernelActivity,
    arrived,
    follow_iopub,
    hear_no_use,
    may_be_status,
    parent_of,
)
from tests.conftest import patience, scenario, until

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


async def all_ended(heard: list[list[bytes]], *messages: dict[str, Any]) -> None:
    """Wait until the kernel has said that it is done with each of these requests."""
    for message in messages:
        request = message["header"]["msg_id"]
        await until(lambda request=request: any(ended(each, request) for each in heard), 60)


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
        await client.wait_for_ready(timeout=patience(60))
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
            ask = partial(kernel.session.send, shell)
            await until(lambda: ask("kernel_info_request") and heard and kernel.execution_state == "idle", 60)
            await all_ended(heard, ask("kernel_info_request"))
            kernel.last_activity = LONG_AGO
            debug = {"type": "request", "seq": 1, "command": "debugInfo"}
            asked = ask("comm_info_request", {}), kernel.session.send(control, "debug_request", debug)
            await all_ended(heard, *asked)

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
            await all_ended(heard, asks())
            kernel.last_activity = LONG_AGO
            await all_ended(heard, kernel.session.send(control, poll))
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


# -- what is known of a kernel, besides upstream's own -----------------------------------------------------


def at(seconds: float) -> datetime:
    """An instant, so long after a certain one."""
    return LONG_AGO + timedelta(seconds=seconds)


def test_of_a_kernel_that_nobody_told_of_nothing_is_known():
    """Its state is believed, no greeting is expected, and none of it is a change."""
    activity = KernelActivity()

    assert (activity.settled, activity.welcome_expected, activity.gone, activity.restarting) == (True, False, False, 0)
    assert (activity.noted_at, activity.started_at, activity.person_at, activity.version) == (None, None, None, 0)
    assert activity.asking != KernelActivity().asking


def test_each_use_that_upstream_does_not_see_is_a_change():
    """A note, a request and a disconnect: whoever has read it before reads it again."""
    activity = KernelActivity()

    activity.note(at(1))
    noted = activity.noted_at, activity.version
    activity.given("a", at(2))
    given = activity.noted_at, activity.version, list(activity.outstanding.sent)
    activity.disconnected(at(3))

    assert noted == (at(1), 1)
    assert given == (at(2), 2, ["a"])
    assert (activity.disconnected_at, activity.noted_at, activity.version) == (at(3), at(2), 3)


WORKS = {
    # state of upstream's, has it begun with a request: does it work?
    ("busy", True): True, ("busy", False): True, ("idle", True): True, ("idle", False): False,
    ("starting", True): True, ("restarting", False): False, ("dead", True): False, ("what is this", True): False,
    (None, True): False,
}  # fmt: skip


@pytest.mark.parametrize(("seen", "works"), WORKS.items(), ids=str)
def test_it_works_while_a_request_that_it_has_begun_is_not_answered(seen, works):
    """Whatever upstream says of one that is alive; one that was only sent shows nothing."""
    state, begun = seen
    activity = KernelActivity()
    activity.given("only sent", at(0))
    if begun:
        activity.heard_status("busy", {"msg_id": "begun"})

    assert activity.works(state) is works


def test_one_busy_shows_that_it_is_heard_and_its_run_goes_on_until_all_is_answered():
    """'idle' shows nothing of a kernel that was never heard; and none of two requests ends the run of both."""
    activity = KernelActivity()
    activity.settled = False

    activity.heard("idle")
    unheard = activity.settled
    for request in ("in the main shell", "in a subshell"):
        activity.heard_status("busy", {"msg_id": request})
        activity.heard("busy")
    since = activity.run.busy_since
    activity.heard_status("idle", {"msg_id": "in the main shell"})
    activity.heard("idle")
    between = activity.run.busy_since
    activity.heard_status("idle", {"msg_id": "in a subshell"})
    activity.heard("idle")

    assert (unheard, activity.settled) == (False, True)
    assert since is not None
    assert between == since
    assert activity.run.busy_since is None
    assert activity.run.ran_until is not None


def test_a_status_is_a_change_when_it_is_news():
    """Told again, or of nothing that is known, or without the id of a request, it is none."""
    activity = KernelActivity()
    versions = []

    for status, parent in [
        ("busy", {"msg_id": "a"}), ("busy", {"msg_id": "a"}), ("idle", {"msg_id": "b"}), ("idle", {"msg_id": "a"}),
        ("idle", {"msg_id": "a"}), ("busy", {}), ("busy", {"msg_id": ["a"]}), ("starting", {"msg_id": "c"}),
    ]:  # fmt: skip
        activity.heard_status(status, parent)
        versions.append((activity.version, list(activity.outstanding)))

    begun = [(1, ["a"])] * 3
    assert versions == [*begun, *[(2, [])] * 5]


def test_what_it_has_shown_to_have_done_is_done():
    """Some of it; and all of it, which was a run, and use of it, until now."""
    activity = KernelActivity()
    for request in ("a", "b", "c"):
        activity.given(request, at(0))
    activity.run.follow(True, at(0))
    before = activity.version

    activity.answered(["a", "b"])
    some = list(activity.outstanding), activity.version, activity.noted_at, activity.run.busy_since
    activity.finished(at(60))

    assert some == (["c"], before + 1, at(0), at(0))
    assert (list(activity.outstanding), activity.version, activity.noted_at) == ([], before + 2, at(60))
    assert (activity.run.busy_since, activity.run.ran_until, activity.run.run_seconds) == (None, at(60), 60.0)


def test_a_poll_is_known_by_its_type_or_by_the_channel_that_it_went_to():
    """Nothing else is one, nor what has no id."""
    activity = KernelActivity()
    cell = {"msg_type": "execute_request", "msg_id": "a cell"}
    unknown = {"msg_type": "what_some_panel_asks_request", "msg_id": "a poll"}

    before = [activity.polls_with(each) for each in ({"msg_type": "usage_request"}, unknown, cell, {})]
    activity.polls.send("a poll")
    after = [activity.polls_with(each) for each in ({"msg_type": "usage_request"}, unknown, cell, {})]

    assert before == [True, False, False, False]
    assert after == [True, True, False, False]


def test_of_another_process_nothing_was_heard_and_nothing_asked():
    """What the one before it was given, or had run, is not its own; that it is another one is a change."""
    activity = KernelActivity()
    activity.checked_at = at(0)
    activity.given("a", at(0))
    activity.polls.send("b")
    activity.run.follow(True, at(0))
    activity.run.follow(False, at(9))
    before = activity.version

    activity.started_anew()

    assert (activity.settled, activity.checked_at, activity.version) == (False, None, before + 1)
    assert (list(activity.outstanding), list(activity.polls)) == ([], [])
    assert (activity.run.ran_until, activity.run.run_seconds) == (None, 0.0)


class Outgoing:
    """A stream with or without something on its way; a closed one cannot be asked."""

    def __init__(self, sends: bool = False, is_closed: bool = False) -> None:
        self.sends, self.is_closed = sends, is_closed

    def sending(self) -> bool:
        assert not self.is_closed
        return self.sends

    def closed(self) -> bool:
        return self.is_closed


@pytest.mark.parametrize(
    ("streams", "counts"),
    [
        ([], False),
        ([Outgoing()], False),
        ([Outgoing(sends=True)], True),
        ([Outgoing(), Outgoing(sends=True), Outgoing(is_closed=True)], True),
        ([Outgoing(sends=True, is_closed=True)], False),
    ],
)
def test_what_is_on_its_way_to_it_is_use_now(streams, counts):
    """Through any of the streams that are open."""
    activity = KernelActivity()
    for each in streams:
        activity.streams.add(each)

    activity.catch_waiting(at(5))

    assert (activity.noted_at, activity.version) == ((at(5), 1) if counts else (None, 0))


# -- what is let pass, and what is not ---------------------------------------------------------------------

NO_USE_HEARD = {
    # id: state before, state that upstream takes it for, polled: state after, whether upstream's stamps stand
    "an idle one": ("idle", "busy", False, "idle", False),
    "an idle one that is polled": ("idle", "busy", True, "idle", False),
    "a busy one goes on counting": ("busy", "idle", False, "busy", True),
    "a busy one that is polled does not": ("busy", "idle", True, "busy", False),
    "one that is starting has started": ("starting", "busy", False, "idle", False),
    "or has not": ("starting", "starting", False, "starting", False),
    "or nobody knows": ("starting", None, False, "starting", False),
}


@pytest.mark.parametrize(("before", "upstream", "polled", "after", "stamped"), NO_USE_HEARD.values(), ids=NO_USE_HEARD)
def test_an_answer_to_what_is_no_use_moves_neither_clock_nor_state(before, upstream, polled, after, stamped):
    """Whatever upstream makes of it, on whichever version."""
    kernel = SimpleNamespace(execution_state=before, last_activity=at(0))
    manager, heard = SimpleNamespace(last_kernel_activity=at(1)), []

    def callback(frames):
        heard.append(frames)
        kernel.execution_state, kernel.last_activity, manager.last_kernel_activity = upstream, at(9), at(9)

    hear_no_use(manager, kernel, callback, [b"frame"], polled)

    assert heard == [[b"frame"]]
    assert kernel.execution_state == after
    assert (kernel.last_activity, manager.last_kernel_activity) == ((at(9), at(9)) if stamped else (at(0), at(1)))


def test_answers_to_our_own_questions_are_not_even_heard():
    """Neither activity nor a state: who asks whether a kernel is still busy must not make it so."""

    async def run():
        ours = Side(CullingKernelManager(), b"key")
        ours.kernel.execution_state = "idle"
        activity = ours.manager._source.activity("k")
        asker, another = Session(key=b"key", session=activity.asking), Session(key=b"key")

        found = [ours.feed(message(each, "status", "execute_request", "busy")) for each in (asker, another)]

        assert found == [("idle", False, False, None), ("busy", True, True, None)]
        assert list(activity.outstanding.begun) == ["the only request"]

    asyncio.run(run())


def test_only_the_greeting_that_was_expected_is_not_heard():
    """It comes once for each connection; whatever else comes is heard, and one more greeting is upstream's matter."""

    async def run():
        session = Session(key=b"key")
        upstream, ours = both_sides(b"key")
        upstream.kernel.execution_state = ours.kernel.execution_state = "idle"
        activity = ours.manager._source.activity("k")
        activity.welcome_expected = True
        cell, greeting = (message(session, kind, "execute_request", "idle") for kind in ("stream", "iopub_welcome"))

        first = ours.feed(cell)
        still = activity.welcome_expected
        found = [ours.feed(greeting), ours.feed(greeting)]

        assert (first, still) == (upstream.feed(cell), True)
        assert found == [("idle", False, False, None), upstream.feed(greeting)]
        assert activity.welcome_expected is False

    asyncio.run(run())


def test_a_poll_is_over_with_its_idle_and_not_before():
    """Until then all that answers it is no use of the kernel; the 'idle' of another ends nothing."""

    async def run():
        session = Session(key=b"key")
        ours = Side(CullingKernelManager(), b"key")
        ours.kernel.execution_state = "idle"
        polls = ours.manager._source.activity("k").polls
        for poll in ("the only request", "another"):
            polls.send(poll)

        found = []
        for state in ("busy", "idle"):
            found.append(ours.feed(message(session, "status", "some_panels_request", state)))
            found.append(list(polls))

        none = ("idle", False, False, None)
        assert found == [none, ["the only request", "another"], none, ["another"]]

    asyncio.run(run())


# -- a kernel that says much -------------------------------------------------------------------------------


class Stream(ZMQStream):
    """A real stream that counts how often nobody listens to it, and tells when that begins."""

    rests = 0

    def on_recv(self, callback, *args, **kwargs) -> None:
        super().on_recv(callback, *args, **kwargs)
        self.rests += callback is None

    def then(self, listener) -> None:
        """Have somebody else listen as soon as nobody does."""
        before, on_recv = self.rests, self.on_recv

        def watch(callback, *args, **kwargs) -> None:
            on_recv(callback, *args, **kwargs)
            if self.rests > before:
                self.on_recv = on_recv
                on_recv(listener)

        self.on_recv = watch


class Pipe:
    """A stream, and the socket that feeds it."""

    def __enter__(self):
        context = zmq.Context.instance()
        self.source, sink = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
        for each in (self.source, sink):
            each.setsockopt(zmq.LINGER, 0)
            each.set_hwm(0)
        self.source.bind(f"inproc://{id(self)}")
        sink.connect(f"inproc://{id(self)}")
        self.stream = Stream(sink)
        return self

    def __exit__(self, *error) -> None:
        self.stream.close()
        self.source.close()


@scenario
async def test_what_has_arrived_is_handled_in_one_turn_and_a_flood_leaves_turns_to_others():
    """The first, and 500 behind it at most; of what is closed, or no stream, the first alone."""
    with Pipe() as pipe:
        for number in range(BATCH + 9):
            pipe.source.send_multipart([str(number).encode()])

        first = [int(frames[0]) for frames in arrived(pipe.stream, [b"-1"])]
        rest = [int(frames[0]) for frames in arrived(pipe.stream, [b"-1"])]
        nothing = [int(frames[0]) for frames in arrived(pipe.stream, [b"-1"])]
    closed, none = list(arrived(pipe.stream, [b"-1"])), list(arrived(object(), [b"-1"]))

    assert 1000 / REST_SECONDS == 100_000  # messages a second, of which ZeroMQ keeps 1,000 while the stream rests
    assert first == list(range(-1, 500))
    assert rest == [-1, *range(500, 509)]
    assert nothing == [-1]
    assert (closed, none) == ([[b"-1"]], [[b"-1"]])


@scenario
async def test_while_it_is_busy_its_messages_are_fetched_together_and_none_is_lost():
    """The stream rests a moment and goes on by itself; each message is counted, and the last one shows it idle."""
    session, heard = Session(key=b"key"), []
    with Pipe() as pipe:
        kernel = SimpleNamespace(_activity_stream=pipe.stream, execution_state="idle", last_activity=LONG_AGO)

        def upstream(frames):
            heard.append(b"".join(frames))
            kernel.execution_state = "busy" if b'"busy"' in heard[-1] else "idle"

        pipe.stream.on_recv(upstream)
        manager = SimpleNamespace(last_kernel_activity=LONG_AGO)
        activity = KernelActivity()
        followed = follow_iopub(manager, kernel, activity, lambda kind: kind == "execute_request")
        for kind, state in [("status", "busy"), *[("stream", "out")] * 20]:
            pipe.source.send_multipart(message(session, kind, "execute_request", state))
        await until(lambda: kernel.last_activity > LONG_AGO)
        stamps = kernel.last_activity == manager.last_kernel_activity
        pipe.source.send_multipart(message(session, "status", "execute_request", "idle"))
        await until(lambda: kernel.execution_state == "idle")
        await until(lambda: pipe.stream._recv_callback is not None)
        rests, said = pipe.stream.rests, len(heard)
        pipe.source.send_multipart(message(session, "stream", "execute_request", "late"))
        await until(lambda: len(heard) > said)

        assert pipe.stream.rests == rests  # an idle one is listened to all the time
    assert rests > 0
    assert (followed, stamps) == (True, True)
    assert said == 2  # of what is said in between upstream need not parse anything
    assert activity.run.ran_until is not None
    assert list(activity.outstanding) == []


@scenario
async def test_a_stream_that_somebody_else_listens_to_by_now_is_left_to_them():
    """As when the kernel is watched anew while its stream rests."""
    session = Session(key=b"key")
    with Pipe() as pipe:
        kernel = SimpleNamespace(_activity_stream=pipe.stream, execution_state="busy", last_activity=LONG_AGO)
        pipe.stream.on_recv(lambda frames: None)
        follow_iopub(SimpleNamespace(last_kernel_activity=LONG_AGO), kernel, KernelActivity(), bool)
        others: list = []
        pipe.stream.then(others.append)
        pipe.source.send_multipart(message(session, "stream", "execute_request", "out"))
        await until(lambda: pipe.stream.rests)

        await asyncio.sleep(0.05)
        pipe.source.send_multipart([b"theirs"])
        await until(lambda: others)

    assert others == [[b"theirs"]]


@pytest.mark.parametrize("when", ["at once", "while it rests"])
@scenario
async def test_a_stream_that_is_closed_while_it_is_followed_is_left_alone(when):
    """By the kernel's end, in the middle of its work: nobody listens to it, and nothing fails."""
    session, heard, failed = Session(key=b"key"), [], []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: failed.append(context))
    with Pipe() as pipe:
        kernel = SimpleNamespace(_activity_stream=pipe.stream, execution_state="idle", last_activity=LONG_AGO)

        def upstream(frames):
            heard.append(frames)
            kernel.execution_state = "busy"
            if when == "at once":
                pipe.stream.close()

        pipe.stream.on_recv(upstream)
        follow_iopub(SimpleNamespace(last_kernel_activity=LONG_AGO), kernel, KernelActivity(), bool)
        follow = pipe.stream._recv_callback
        if when == "at once":
            follow(message(session, "status", "execute_request", "busy"))
        else:
            follow(message(session, "status", "execute_request", "busy"))
            pipe.stream.close()
        await asyncio.sleep(0.05)

    assert len(heard) == 1
    assert failed == []
