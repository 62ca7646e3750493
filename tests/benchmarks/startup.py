"""What our managers and handlers add to a server's start, with no app to manage.

Two servers are started in turns: *ours* (both managers selected, our extension enabled) and *plain* (neither), each
with terminals and no other extension. Measured: from the start of the process until GET /api answers; CPU time until
then; and memory half a second later (RSS and USS). Nine tenths of that is importing what both import, and its noise, on
a machine that others use, is greater than what we add. So the budget is held against the rest: the CPU time from when
upstream's modules are imported until the server is up and has nothing left to do. A first start of each tells what is
in its `sys.modules` at the end, boto3 for one; and what our own modules take to import is measured by itself.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile

from .measure import Results, Row, spread, turns
from .servers import LIMIT_SECONDS, Server, with_bytecode

BUDGET_SECONDS = 0.050
BUDGET_BYTES = 5_000_000
MARK = "told: "
#: How long a server has had nothing to do (seconds) when it counts as up.
REST_SECONDS = 0.3
#: A server that tells what it has imported when it ends.
TELLING = f"""
import atexit, json, sys
atexit.register(lambda: print({MARK!r} + json.dumps(sorted(sys.modules)), flush=True))
from jupyter_server.serverapp import main
main()
"""
#: A server that tells its CPU time since upstream's modules were imported, once it is up and rests, and ends.
WORKING = f"""
import time
import jupyter_server.serverapp, jupyter_server.services.kernels.kernelmanager, jupyter_server_terminals.app
start = time.process_time()
from tornado.ioloop import IOLoop
app = jupyter_server.serverapp.ServerApp.instance()
app.initialize()
def tell():
    print({MARK!r} + str(time.process_time() - start), flush=True)
    app.stop()
IOLoop.current().call_later({REST_SECONDS}, tell)
app.start()
"""
IMPORTING = """
import time
import jupyter_server.serverapp, jupyter_server.services.kernels.kernelmanager, jupyter_server_terminals.app
start = time.process_time()
import culling_manager.managers.kernels, culling_manager.managers.terminals, culling_manager.server.extension
print(time.process_time() - start)
"""


async def run(quick: bool) -> Results:
    """One start of each that tells its imports and warms up, then those that are measured."""
    with tempfile.TemporaryDirectory() as bytecode:
        return _run(bytecode, 2 if quick else 24)


def _run(bytecode: str, count: int) -> Results:
    results = Results()
    modules = {which: _modules(which, bytecode) for which in ("ours", "upstream")}  # these write the bytecode
    found: dict[str, dict[str, list[float]]] = {"ours": {}, "upstream": {}}
    for order in turns(count):
        for which in order:
            figures = {**_start(which, bytecode), "work_seconds": _work_seconds(which, bytecode)}
            for name, value in figures.items():
                found[which].setdefault(name, []).append(value)
    results.figures.update({which: {name: spread(v) for name, v in each.items()} for which, each in found.items()})
    for name, words, unit, more, of_all in (
        (
            "work_seconds",
            "CPU time of a start but for upstream's imports",
            "s",
            BUDGET_SECONDS,
            statistics.median,
        ),
        ("wall_seconds", "start until GET /api answers, median", "s", None, statistics.median),
        ("wall_seconds", "start until GET /api answers, fastest", "s", None, min),
        ("cpu_seconds", "CPU time until GET /api answers, median", "s", None, statistics.median),
        ("rss_bytes", "RSS after start, median", "B", BUDGET_BYTES, statistics.median),
        ("uss_bytes", "USS after start, median", "B", None, statistics.median),
    ):
        pair = [of_all(found[which][name]) for which in ("ours", "upstream")]
        pairs = zip(found["ours"][name], found["upstream"][name], strict=True)
        results.figures[f"over plain, {name}"] = {"pair by pair": spread([ours - plain for ours, plain in pairs])}
        promised = "" if more is None else f"plain + {'50 ms' if unit == 's' else '5 MB'}"
        budget = None if more is None else pair[1] + more
        what = f"{words} (upstream: plain server)"
        results.rows.append(
            Row(what=what, unit=unit, ours=pair[0], upstream=pair[1], budget=budget, budget_words=promised)
        )
    _report_imports(results, modules, [_import_seconds(bytecode) for _ in range(5)])
    return results


def _start(which: str, bytecode: str) -> dict[str, float]:
    """Start one server, measure, end it."""
    with Server(which, bytecode) as server:
        figures = {**server.until_it_answers(), **server.memory()}
        server.check_what_is_selected()
        return figures


def _modules(which: str, bytecode: str) -> set[str]:
    """What a server has imported in its life, which ends after it has answered."""
    with Server(which, bytecode, "-c", TELLING) as server:
        server.until_it_answers()
        server.check_what_is_selected()
        server.end()
        return set(json.loads(_told(server)))


def _work_seconds(which: str, bytecode: str) -> float:
    """CPU time of a start besides the imports of upstream's modules."""
    with Server(which, bytecode, "-c", WORKING) as server:
        server.process.wait(LIMIT_SECONDS)
        return float(_told(server))


def _told(server: Server) -> str:
    """What a server's program has told, of all that it has written."""
    assert "Traceback" not in server.errors(), server.errors()
    return next(line for line in server.errors().splitlines() if line.startswith(MARK)).removeprefix(MARK)


def _import_seconds(bytecode: str) -> float:
    """CPU time of importing all of ours into a process that has imported upstream's."""
    environment = {**os.environ, **with_bytecode(bytecode)}
    told = subprocess.run([sys.executable, "-c", IMPORTING], env=environment, stdout=subprocess.PIPE, check=True)
    return float(told.stdout)


def _report_imports(results: Results, modules: dict[str, set[str]], seconds: list[float]) -> None:
    boto = {
        which: [name for name in names if name.partition(".")[0] in ("boto3", "botocore")]
        for which, names in modules.items()
    }
    ours, plain = (float(len(boto[which])) for which in ("ours", "upstream"))
    what = "modules of boto3 imported"
    results.rows.append(Row(what=what, unit="", ours=ours, upstream=plain, budget=0.0, budget_words="none"))
    results.rows.append(
        Row(what="CPU time of importing our modules, median", unit="s", ours=statistics.median(seconds))
    )
    results.figures["CPU seconds of importing our modules"] = spread(seconds)
    results.figures["modules that only ours imports"] = sorted(modules["ours"] - modules["upstream"])
