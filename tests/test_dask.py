"""A real dask cluster in a kernel, where distributed is installed: idle it is no use, at work it is.

hatch run dask:run
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.test_signals_processes import Started, unused, used

pytest.importorskip("distributed", reason="dask's distributed is not installed: hatch run dask:run")

#: As somebody has it in a notebook; it works on whatever comes until there is a file of that name.
CLUSTER = """
import os, sys, time
from distributed import Client, LocalCluster

def work(until):
    while not os.path.exists(until):
        pass

if __name__ == "__main__":
    client = Client(LocalCluster(n_workers=4, threads_per_worker=1, dashboard_address=None))
    print("ready", flush=True)
    for line in sys.stdin:
        client.submit(work, line.strip()).result()
        print("done", flush=True)
"""


@pytest.mark.timeout(600)
def test_an_idle_cluster_is_no_use_and_one_at_work_is(tmp_path, run):
    """Four workers that only beat; then one that computes, and then again none."""
    script, stop = tmp_path / "cluster.py", tmp_path / "stop"
    script.write_text(CLUSTER)
    started = Started()
    try:
        pid = started.run(
            *(sys.executable, str(script)), cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        cluster = started.found[-1]
        assert cluster.stdout.readline() == "ready\n"

        idle = run(unused(pid, seconds=200, sample_seconds=1.0))
        cluster.stdin.write(f"{stop}\n")
        cluster.stdin.flush()
        words = run(used(pid, sample_seconds=1.0))
        stop.touch()
        assert cluster.stdout.readline() == "done\n"
        idle_again = run(unused(pid, seconds=200, sample_seconds=1.0))
    finally:
        started.end()

    assert (idle, idle_again) == (True, True)
    assert "process" in words
