"""jupyter-resource-usage, where it is installed: its panel asks a kernel every few seconds how it is.

hatch run resource-usage:run
"""

from __future__ import annotations

import json
from datetime import datetime, timezone

import pytest

from culling_manager.engine.culler import IdleCuller
from culling_manager.records import Kind
from tests.conftest import until
from tests.test_presence import long_ago, open_document

pytest.importorskip(
    "jupyter_resource_usage", reason="jupyter-resource-usage is not installed: hatch run resource-usage:run"
)


@pytest.fixture
def jp_server_config(jp_server_config):
    """Our managers, and its server extension."""
    extensions = {**jp_server_config["ServerApp"]["jpserver_extensions"], "jupyter_resource_usage": True}
    return {**jp_server_config, "ServerApp": {**jp_server_config["ServerApp"], "jpserver_extensions": extensions}}


async def test_its_panel_keeps_no_kernel(jp_fetch, jp_serverapp):
    """The kernel answers, and is as idle as before, by our word and by Jupyter's."""
    manager = jp_serverapp.kernel_manager
    kernel_id = await open_document(jp_fetch, "a.ipynb")
    kernel, activity = manager.get_kernel(kernel_id), manager._source.activity(kernel_id)
    client = kernel.client()
    client.start_channels()
    client.execute("1")
    await until(lambda: activity.settled and kernel.execution_state == "idle" and not activity.outstanding, 60)
    client.stop_channels()
    long_ago(jp_serverapp, kernel_id)
    activity.noted_at, used = None, kernel.last_activity

    answers = []
    for _ in range(3):
        answer = await jp_fetch("api", "metrics", "v1", "kernel_usage", "get_usage", kernel_id)
        answers.append(json.loads(answer.body)["content"])
    await until(lambda: not activity.polls)  # it has said 'idle' to each

    now = datetime.now(timezone.utc)
    record = IdleCuller.of(jp_serverapp).watches[Kind.KERNEL].record_of(kernel_id, now)
    assert all("kernel_cpu" in answer for answer in answers), answers
    assert (record.state, record.last_activity) == ("idle", used)
    assert kernel.last_activity == used
