"""Pages that are connected keep their kernel where `cull_connected` is False, whatever class has their websockets."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime, timedelta, timezone
from importlib.util import find_spec
from types import SimpleNamespace

import pytest
from jupyter_server.services.kernels.connection.base import BaseKernelWebsocketConnection
from tornado.web import Application, RequestHandler
from traitlets.config import Config

from culling_manager import CullingKernelManager
from culling_manager.decisions import Reason, decide_kernel
from culling_manager.managers.sockets import Sockets
from culling_manager.records import Kind
from tests.conftest import until


class QuietConnection(BaseKernelWebsocketConnection):
    """A websocket class as that of jupyter_server_documents: it tells the kernel manager of nothing."""

    kernel_ws_protocol = "v1.kernel.websocket.jupyter.org"

    async def connect(self) -> None:
        """Nothing is sent."""

    def disconnect(self) -> None:
        """Nothing was connected."""


QUIET = f"{__name__}.QuietConnection"
UPSTREAMS = "jupyter_server.services.kernels.connection.channels.ZMQChannelsWebsocketConnection"


DOCUMENTS = "jupyter_server_documents.websocket_connection.KernelWebsocketConnection"
#: `hatch run documents:run` has it.
HAS_DOCUMENTS = pytest.mark.skipif(find_spec("jupyter_server_documents") is None, reason="it is not installed")


@pytest.fixture(
    params=[QUIET, UPSTREAMS, pytest.param(DOCUMENTS, marks=HAS_DOCUMENTS)],
    ids=["a class that tells nobody", "upstream's", "that of jupyter_server_documents"],
)
def jp_server_config(jp_server_config, request):
    """An open page keeps its kernel, and some class has the websockets."""
    jp_server_config["ServerApp"]["kernel_websocket_connection_class"] = request.param
    return Config({**jp_server_config, "CullingKernelManager": {"cull_connected": False, "idle_timeout": 600}})


async def test_an_open_page_keeps_its_kernel_and_one_that_was_closed_does_not(jp_serverapp, jp_fetch, jp_ws_fetch):
    """The connection is counted when it opens, and its end is noted, so that a reload has its half minute."""
    manager = jp_serverapp.kernel_manager
    answer = await jp_fetch("api", "kernels", method="POST", body=json.dumps({"name": "python3"}))
    kernel_id = json.loads(answer.body)["id"]
    await manager._kernels[kernel_id].ready
    watch = manager._culler.watches[Kind.KERNEL]
    page = await jp_ws_fetch("api", "kernels", kernel_id, "channels")

    def seen(later: timedelta):
        now = datetime.now(timezone.utc)
        record = watch.record_of(kernel_id, now)
        manager._kernels[kernel_id].last_activity = now - timedelta(days=1)
        return record, decide_kernel(watch.record_of(kernel_id, now), manager._culler.policy, now + later)

    await until(lambda: seen(timedelta())[0].connections == 1)
    manager._kernels[kernel_id].execution_state = "idle"
    manager._source.activity(kernel_id).outstanding.forget()
    while_open = seen(timedelta(days=2))[1]
    page.close()
    await until(lambda: seen(timedelta())[0].connections == 0)
    just_closed, later = seen(timedelta())[1], seen(timedelta(days=2))[1]

    assert (while_open.cull, while_open.reason) == (False, Reason.CONNECTED)
    assert (just_closed.cull, just_closed.reason) == (False, Reason.DISCONNECTED)
    assert later.cull


class NoSocket(RequestHandler):
    """What serves kernels' channels by some other protocol."""


def test_where_nobody_can_tell_who_is_connected_a_kernel_is_kept_and_it_is_said(caplog):
    """Whatever is not a websocket handler cannot be counted."""

    async def check():
        manager = CullingKernelManager(cull_connected=False, idle_timeout=0.01)
        web_app = Application([(r"/api/kernels/(.*)/channels", NoSocket)], base_url="/")
        kernel_id = await manager.start_kernel(kernel_name="python3")
        try:
            manager._source.sockets.look(SimpleNamespace(web_app=web_app))
            manager._culler.wake_soon(Kind.KERNEL)
            manager._kernels[kernel_id].last_activity = datetime.now(timezone.utc) - timedelta(days=1)

            await manager.cull_kernels()

            assert kernel_id in manager
            assert "NoSocket serves the channels" in caplog.text
        finally:
            await manager.shutdown_all(now=True)
            manager._culler.stop()

    asyncio.run(check())


def test_a_socket_is_counted_once_and_one_that_is_lost_not_at_all():
    """Two handlers' calls of one socket, and a handler that nobody holds any more."""
    left = []
    sockets, page = Sockets(left.append), QuietConnection()

    sockets.opened("k", page)
    sockets.opened("k", page)
    counted = sockets.count("k")
    sockets.closed("k", page)
    sockets.closed("k", page)

    assert (counted, sockets.count("k"), left) == (1, 0, ["k"])
