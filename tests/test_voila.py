"""A real Voila with our kernel manager, where it is installed: its pre-heated kernels stay, those that were used go.

hatch run voila:run
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest
import requests

from tests.conftest import patience
from tests.ports import free_port
from tests.test_config_files import end, environment

pytest.importorskip("voila", reason="Voila is not installed: hatch run voila:run")

#: Seconds; the pool is looked at for some of them.
TIMEOUT = 2.0


@contextmanager
def voila(home: Path) -> Iterator[tuple[psutil.Process, str, Path]]:
    """Voila with one kernel in its pool for one notebook: its process, where it is, and its log."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("print(6 * 7)")])
    nbformat.write(notebook, home / "a.ipynb")
    port, log = free_port(), home / "voila.log"
    command = [
        *(sys.executable, "-m", "voila", str(home / "a.ipynb"), "--no-browser", f"--port={port}"),
        *("--VoilaConfiguration.preheat_kernel=True", "--VoilaKernelManager.default_pool_size=1"),
        "--VoilaConfiguration.multi_kernel_manager_class=culling_manager.CullingKernelManager",
        *(f"--CullingKernelManager.idle_timeout={TIMEOUT / 60}", "--CullingKernelManager.cull_interval=0.2"),
        "--Signals.names=documents",
    ]
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=home, env=environment(home), stdout=output, stderr=subprocess.STDOUT)
    try:
        yield psutil.Process(process.pid), f"http://127.0.0.1:{port}/", log
    finally:
        end(process)


def eventually(holds: Callable[[], Any], log: Path, seconds: float = 120.0) -> Any:
    """Wait until `holds` gives something true, and give that."""
    deadline = time.monotonic() + patience(seconds)
    while not (found := holds()):
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)
    return found


def kernels(process: psutil.Process) -> set[int]:
    """The processes of its kernels; one that has ended is none."""
    found = set()
    for each in process.children():
        with suppress(psutil.Error):
            found |= {each.pid} if "ipykernel_launcher" in " ".join(each.cmdline()) else set()
    return found


@pytest.mark.timeout(400)
def test_its_pre_heated_kernel_stays_and_the_one_that_somebody_looked_at_goes(tmp_path):
    """The pool's is asked about and kept, time and again; once it was used it goes at its timeout like any other."""
    with voila(tmp_path) as (process, url, log):
        pooled = eventually(lambda: kernels(process), log)
        eventually(lambda: log.read_text().count("Culling 'idle' kernel") >= 2, log)
        time.sleep(TIMEOUT)
        stayed = kernels(process)
        page = requests.get(url, timeout=patience(120))
        eventually(lambda: not pooled & kernels(process), log)
        after = kernels(process)

    assert stayed == pooled
    assert page.status_code == 200
    assert ">42" in page.text
    assert len(after) == 1  # the pool was filled again
