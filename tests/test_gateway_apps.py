"""Remote kernels and the apps that they live on, with a gateway in memory: what is gone, and what is not ours."""

from __future__ import annotations

import asyncio
import json
import logging
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import jupyter_server.gateway.managers as upstream
import pytest
from jupyter_server.gateway.gateway_client import GatewayClient
from tornado.httpclient import HTTPClientError
from tornado.web import HTTPError

import culling_manager.managers.gateway_models as ours
from culling_manager import GatewayCullingKernelManager
from culling_manager.apps.source import AppSource
from culling_manager.decisions import Reason
from culling_manager.records import Kind
from tests.doubles import FakeApps


class Gateway:
    """Answers requests as a gateway does."""

    def __init__(self) -> None:
        self.models: dict[str, Any] = {}
        self.metadata: dict[str, Any] = {}

    def put(self, kernel_id: str, **fields: Any) -> None:
        """Add a kernel or change one; it was used just now."""
        now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        known = {"id": kernel_id, "name": "python3", "execution_state": "idle", "connections": 0, "app_name": "a"}
        self.models[kernel_id] = {**known, "last_activity": now, **fields}

    async def __call__(self, url: str, method: str = "GET", **_: Any) -> SimpleNamespace:
        name = url.rpartition("/")[2]
        if "kernelspecs" in url:
            found: Any = {"name": name, "spec": {"metadata": self.metadata}, "resources": {}}
        elif method == "POST":
            self.put("k")
            found = self.models["k"]
        elif name == "kernels":
            found = list(self.models.values())
        elif name in self.models:
            found = self.models[name]
        else:
            raise HTTPError(404, "no such kernel") from HTTPClientError(404)
        return SimpleNamespace(body=json.dumps(found).encode())


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch):
    found = Gateway()
    GatewayClient.clear_instance()
    GatewayClient.instance().url = "http://gateway.test"
    for module in (upstream, ours):
        monkeypatch.setattr(module, "gateway_request", found)
    yield found
    GatewayClient.clear_instance()


def server() -> tuple[GatewayCullingKernelManager, AppSource]:
    """A manager on the gateway, and the one app that its kernels live on."""
    manager = GatewayCullingKernelManager(log=logging.getLogger("remote"), idle_timeout=60)
    manager.kernel_spec_manager = upstream.GatewayKernelSpecManager()
    apps = FakeApps()
    apps.put("a", created_at=datetime.now(timezone.utc) - timedelta(days=1))
    source = AppSource(apps, manager._culler)
    manager._culler.neighbours = source
    manager._culler.attach(source)
    return manager, source


def test_a_kernel_that_upstream_finds_gone_was_in_use_until_then(gateway, run):
    """Jupyter Server drops it by itself when a page asks for the list; its app has a whole timeout from then."""

    async def check():
        manager, source = server()
        await source.refresh()
        kernel_id = await manager.start_kernel(kernel_name="python3")
        manager._culler.watches[Kind.KERNEL].current(datetime.now(timezone.utc))
        await asyncio.sleep(0.05)
        before = datetime.now(timezone.utc)
        del gateway.models[kernel_id]

        await manager.list_kernels()

        assert kernel_id not in manager
        assert source.ledger.memories["a"].last_activity >= before

    run(check())


def test_a_kernel_that_is_not_ours_has_its_kernelspecs_own_timeout(gateway, run):
    """After a restart of the server its app is kept for as long as before."""

    async def check():
        gateway.metadata = {"cull_idle_timeout": 86_400}
        gateway.put("s", last_activity="2026-01-01T00:00:00.000000Z")
        manager, _ = server()

        (first,) = await manager._source.strangers()
        gateway.metadata, manager._source.models.specs = {"cull_idle_timeout": "soon"}, {}
        (second,) = await manager._source.strangers()

        assert first.idle_timeout == 86_400
        assert not first.owned
        assert "cull_idle_timeout" in second.odd_timeout

    run(check())


def test_ours_are_brought_up_to_the_list_in_which_others_are_looked_for(gateway, run):
    """A kernel that has become busy unseen keeps its app."""

    async def check():
        manager, source = server()
        await manager.start_kernel(kernel_name="python3")
        gateway.put("k", execution_state="busy")

        await source.refresh()

        ((record, decision),) = manager._culler.watches[Kind.APP].current(datetime.now(timezone.utc))
        assert decision.reason is Reason.IN_USE
        assert "kernel k (busy)" in record.kept_by

    run(check())
