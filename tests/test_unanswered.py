"""A kernel works for as long as anything that it was given is unanswered, whoever gave it, whichever thread has it."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from culling_manager.records import Result
from culling_manager.rules.unanswered import MOST, Unanswered
from tests.conftest import until
from tests.test_kernels import Kernels, ago

SILENT = "import time; time.sleep(60)"


# -- the bookkeeping ---------------------------------------------------------------------------------


def test_an_answer_ends_its_own_request_and_no_other():
    """Two threads of a kernel answer each for itself."""
    requests = Unanswered()
    requests.begin("in a subshell")
    requests.begin("in the main shell")

    requests.end("in the main shell")

    assert list(requests) == ["in a subshell"]


def test_a_request_that_has_begun_before_it_is_known_to_be_sent_is_one_request():
    """A kernel may be faster than the note of what was sent to it."""
    requests = Unanswered()
    requests.begin("a")

    requests.send("a")
    requests.end("a")

    assert not requests


def test_no_more_requests_are_remembered_than_a_thousand_and_one_that_has_begun_is_forgotten_last():
    """A page that sends for ever to a kernel that is stopped takes no memory, and hides nothing that is at work."""
    requests = Unanswered()
    requests.begin("at work")

    for number in range(3 * MOST):
        requests.send(str(number))

    assert len(requests) == MOST == 1000
    assert "at work" in requests


def test_where_all_have_begun_the_oldest_is_forgotten():
    """There is nothing else to forget, and the last is the one that may matter."""
    requests = Unanswered()

    for number in range(1002):
        requests.begin(str(number))

    assert len(requests) == 1000
    assert next(iter(requests)) == "2"


def test_those_that_were_only_sent_come_before_those_that_it_has_begun():
    """Each once, and both count."""
    requests = Unanswered()
    requests.begin("begun")
    requests.send("sent")
    requests.send("sent, then begun")
    requests.begin("sent, then begun")

    assert list(requests) == ["sent", "begun", "sent, then begun"]
    assert len(requests) == 3


def test_it_is_news_when_one_begins_or_ends_and_only_then():
    """Told again it is none; the end of what nobody knows is none either."""
    requests = Unanswered()
    requests.send("a")

    began = [requests.begin("a"), requests.begin("a"), requests.begin("b")]
    requests.send("c")
    ended = [requests.end("a"), requests.end("a"), requests.end("c"), requests.end("never heard of")]

    assert began == [True, False, True]
    assert ended == [True, False, True, False]
    assert list(requests) == ["b"]


def test_all_that_it_has_shown_to_have_done_ends_and_another_process_has_been_given_nothing():
    """Whether it had begun with it or not."""
    requests = Unanswered()
    for request in ("a", "b", "c"):
        requests.send(request)
        requests.begin(request if request != "b" else "d")

    requests.end_all(["b", "c", "not this one"])
    left = list(requests)
    requests.send("e")
    requests.forget()

    assert left == ["a", "d"]
    assert list(requests) == []


# -- real kernels ------------------------------------------------------------------------------------


async def in_subshell(kernels: Kernels, kernel_id: str, code: str, subshell: str):
    """Send a cell to a subshell as a page does; gives the open stream and the request's id."""
    kernel = kernels.manager.get_kernel(kernel_id)
    stream = kernel.connect_shell(identity=b"browser in a subshell")
    header = kernel.session.msg_header("execute_request")
    header["subshell_id"] = subshell
    content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False}
    kernel.session.send(stream, kernel.session.msg("execute_request", content, header=header))
    await until(lambda: not stream.sending())
    return stream, header["msg_id"]


async def a_subshell(kernels: Kernels, kernel_id: str) -> str:
    """Have a kernel open a subshell; gives its id. Skips where this ipykernel has none."""
    kernel = kernels.manager.get_kernel(kernel_id)
    info, made = [], []
    shell, control = kernel.connect_shell(), kernel.connect_control()
    try:
        shell.on_recv(info.append)
        kernel.session.send(shell, "kernel_info_request")
        await until(lambda: info, 30)
        if b"kernel subshells" not in b"".join(info[0]):
            pytest.skip("this ipykernel has no subshells")
        control.on_recv(made.append)
        kernel.session.send(control, "create_subshell_request")
        await until(lambda: made, 30)
    finally:
        shell.close()
        control.close()
    _, parts = kernel.session.feed_identities(made[0])
    return kernel.session.deserialize(parts)["content"]["subshell_id"]


def three_hours_later(kernels: Kernels, kernel_id: str) -> None:
    """Whatever was seen of a kernel was seen three hours ago."""
    kernel = kernels.manager.get_kernel(kernel_id)
    kernels.manager._source.activity(kernel_id).noted_at = kernel.last_activity = ago(hours=3)


def test_a_silent_cell_in_a_subshell_survives_what_the_main_shell_answers_meanwhile(run):
    """The 'idle' of `2+2` is not that of the cell beside it, though upstream's state says 'idle'."""

    async def check():
        async with Kernels() as kernels:
            kernel_id = await kernels.start()
            kernel = kernels.manager.get_kernel(kernel_id)
            await kernels.execute(kernel_id, "1")
            outstanding = kernels.manager._source.activity(kernel_id).outstanding
            stream, request = await in_subshell(kernels, kernel_id, SILENT, await a_subshell(kernels, kernel_id))
            await until(lambda: request in outstanding.begun, 30)
            beside = await kernels.send(kernel_id, "2+2")
            await until(lambda: list(outstanding) == [request] and kernel.execution_state == "idle", 30)
            three_hours_later(kernels, kernel_id)

            await kernels.manager.cull_kernels()
            stream.close()
            beside.close()

            assert kernel_id in kernels.manager
            assert kernels.manager._source.read(kernel_id, datetime.now(timezone.utc)).state == "busy"

    run(check())


@pytest.mark.parametrize(("cell", "survives"), [(SILENT, True), ("1", False)], ids=["at work", "done"])
def test_a_subshell_that_was_not_heard_is_asked_itself(run, cell, survives):
    """What it said was lost, and its main thread is free: only the subshell can tell whether it has finished.

    Once it has, it goes a timeout later: nobody can tell since when.
    """

    async def check():
        async with Kernels() as kernels:
            kernel_id = await kernels.start()
            await kernels.execute(kernel_id, "1")
            outstanding = kernels.manager._source.activity(kernel_id).outstanding
            stream, request = await in_subshell(kernels, kernel_id, cell, await a_subshell(kernels, kernel_id))
            await until(lambda: (request in outstanding.begun) if survives else not outstanding, 30)
            outstanding.forget()
            outstanding.send(request)
            kernels.manager.get_kernel(kernel_id).execution_state = "idle"

            for _ in range(2):
                three_hours_later(kernels, kernel_id)
                await kernels.manager.cull_kernels()
            stream.close()

            assert (kernel_id in kernels.manager) is survives
            assert kernels.results() == [Result.CHANGED, Result.CHANGED if survives else Result.CULLED]

    run(check())


def test_what_an_ended_process_was_given_keeps_the_next_one_not_busy(run):
    """After a restart no answer to it can come."""

    async def check():
        async with Kernels() as kernels:
            kernel_id = await kernels.start()
            await kernels.execute(kernel_id, "1")
            stream = await kernels.send(kernel_id, SILENT)
            outstanding = kernels.manager._source.activity(kernel_id).outstanding
            await until(lambda: outstanding.begun, 30)

            await kernels.manager.restart_kernel(kernel_id, now=True)
            stream.close()

            assert not outstanding

    run(check())


# -- clients that the server itself makes -------------------------------------------------------------


def by_its_manager(kernel):
    """A client as jupyter-server-nbmodel and the websocket of jupyter_server_documents make it."""
    return kernel.client()


def by_its_class(kernel):
    """A client as the notebook rooms of jupyter_server_documents make it, with a session of its own."""
    client = kernel.client_factory(parent=kernel)
    client.load_connection_info(kernel.get_connection_info())
    return client


def with_the_managers_session(kernel):
    """A client as nextgen-kernels-api makes it."""
    return kernel.client(session=kernel.session)


def execute(client, code: str) -> str:
    """Send a cell as a client does."""
    return client.execute(code)


def forward(client, code: str) -> str:
    """Forward a cell as a websocket class does that sends frames as they came."""
    session = client.session
    message = session.msg("execute_request", {"code": code, "silent": False})
    parts = [session.pack(message[part]) for part in ("header", "parent_header", "metadata", "content")]
    session.send_raw(client.shell_channel.socket, parts)
    return message["header"]["msg_id"]


@pytest.mark.parametrize("send", [execute, forward])
@pytest.mark.parametrize("make", [by_its_manager, by_its_class, with_the_managers_session])
def test_what_the_servers_own_clients_send_counts_when_it_is_sent(run, make, send):
    """Before the kernel has said a word: a silent cell is on its way in a socket that no page has."""

    async def check():
        async with Kernels() as kernels:
            kernel_id = await kernels.start()
            kernel = kernels.manager.get_kernel(kernel_id)
            await kernels.heard(kernel)
            activity = kernels.manager._source.activity(kernel_id)
            await until(lambda: not activity.outstanding)
            client = make(kernel)
            client.start_channels(hb=False)
            three_hours_later(kernels, kernel_id)

            request = send(client, SILENT)
            on_its_way, noted_at = list(activity.outstanding), activity.noted_at
            three_hours_later(kernels, kernel_id)
            await kernels.manager.cull_kernels()
            client.stop_channels()

            assert on_its_way == [request]
            assert noted_at > ago(minutes=1)
            assert kernel_id in kernels.manager

    run(check())


def test_what_the_servers_own_clients_poll_is_no_use(run):
    """A panel's requests on the control channel, and a page's of the kernel's info."""

    async def check():
        async with Kernels() as kernels:
            kernel_id = await kernels.start()
            kernel = kernels.manager.get_kernel(kernel_id)
            activity = kernels.manager._source.activity(kernel_id)
            client = kernel.client()
            client.start_channels(hb=False)

            client.kernel_info()
            client.control_channel.send(client.session.msg("some_panels_request"))
            client.stop_channels()

            return activity.noted_at, len(activity.outstanding)

    assert run(check()) == (None, 0)


def test_clients_are_what_they_are_without_us(run):
    """Of the same class, for whoever asks, and one class for all kernels."""

    async def check():
        async with Kernels() as kernels:
            first, second = [kernels.manager.get_kernel(await kernels.start()) for _ in range(2)]
            plain = type(first)().client_factory

            assert issubclass(first.client_factory, plain)
            assert first.client_factory is second.client_factory
            assert first.client_factory.__name__ == plain.__name__
            assert type(first.client()) is first.client_factory

    run(check())
