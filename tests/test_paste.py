"""The line to paste where the package is not: the standard library alone, against a real server."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys

import pytest
import requests

from culling_manager.cli import main
from culling_manager.client.paste import LINE
from tests.conftest import patience
from tests.test_clients import SPACE
from tests.test_extension import TWIN, ServerProcess


@pytest.fixture
def server(tmp_path):
    """A server that the test starts; it is ended afterwards."""
    found = ServerProcess(tmp_path)
    yield found
    if found.process is not None and found.process.poll() is None:
        found.end()


def pasted(server: ServerProcess, kernel: str) -> subprocess.CompletedProcess[str]:
    """What the line says in a Python without any package, started as a kernel of the server is."""
    environment = {**os.environ, "JPY_PARENT_PID": str(server.process.pid), "http_proxy": "http://127.0.0.1:9"}
    connection = str(server.home / "runtime" / f"kernel-{kernel}.json")
    command = [sys.executable, "-I", "-S", "-c", LINE, "-f", connection]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=patience(60))


def test_the_line_keeps_its_own_kernel_with_the_standard_library_alone(server):
    """On a server without a token, as SageMaker's are, whose changes need an XSRF cookie; a proxy is not asked."""
    shutil.copy(TWIN, server.config / "jupyter_server_config.json")
    server.start()
    session = requests.Session()
    session.get(f"{server.base}/tree")
    headers = {"X-XSRFToken": session.cookies["_xsrf"]}
    kernel = session.post(f"{server.base}/api/kernels", json={}, headers=headers, timeout=patience(60)).json()["id"]

    said = pasted(server, kernel)

    assert said.returncode == 0, said.stderr
    assert json.loads(said.stdout)["id"] == kernel
    kept = requests.get(f"{server.base}/{SPACE}/keep-alive", timeout=patience(10)).json()["keep_alive"]
    assert [each["id"] for each in kept] == [kernel]


async def test_the_line_takes_the_token_from_where_its_server_wrote_it(
    jp_serverapp, jp_fetch, http_server_client, jp_base_url, jp_http_port, tmp_path
):
    """Beside the kernel's connection file."""
    kernel = json.loads((await jp_fetch("api", "kernels", method="POST", body="{}")).body)["id"]
    url = f"http://127.0.0.1:{jp_http_port}{jp_base_url}"
    info = {"url": url, "token": jp_serverapp.identity_provider.token}
    (tmp_path / "jpserver-77.json").write_text(json.dumps(info))
    command = [sys.executable, "-I", "-S", "-c", LINE, f"--f={tmp_path}/kernel-{kernel}.json"]
    environment = {**os.environ, "JPY_PARENT_PID": "77"}

    process = await asyncio.create_subprocess_exec(*command, env=environment, stdout=subprocess.PIPE)
    said, _ = await process.communicate()

    assert info["token"]
    assert json.loads(said)["id"] == kernel


def test_the_help_of_keep_alive_shows_the_line(capsys):
    """Whole, on one line, so that it can be pasted; and what it needs."""
    with pytest.raises(SystemExit):
        main(["keep-alive", "--help"])

    told = capsys.readouterr().out
    assert LINE in told.splitlines()
    assert "standard library alone" in told
