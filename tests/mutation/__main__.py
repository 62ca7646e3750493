"""Put faults into rooms of the package, one at a time, and see whether the tests nearest to them notice.

``python -m tests.mutation [--most 60] [--minutes 30] [--seed 1] [room ...]``; ends with 1 when under 90 % of those that
are not known to be equivalent were noticed. ``equivalent.json`` says of each fault that changes nothing why that is so.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from .mutants import Mutant, mutants
from .selection import Recorder, Seen, Selection

REPOSITORY = Path(__file__).parents[2]
PACKAGE = "culling_manager"
EQUIVALENT = Path(__file__).parent / "equivalent.json"
LAW = ("test_rules", "test_decisions", "test_caps", "test_by_type")
WATCH = ("test_attention", "test_culler", "test_engine", "test_caps", "test_appsource")
SMALL = ("test_engine", "test_culler", "test_attention", "test_appsource")
APPS = ("test_ledger", "test_appsource", "test_residents", "test_census", "test_accounts", "test_last_stop")
#: Room -> the tests nearest to it.
NEAREST = {
    "rules.verdict": LAW,
    "rules.common": LAW,
    "rules.kernel": LAW,
    "rules.terminal": LAW,
    "rules.app": LAW,
    "rules.own_timeout": LAW,
    "rules.run": LAW,
    "rules.proof": ("test_proof",),
    "rules.unanswered": ("test_unanswered",),
    "decisions": LAW,
    "policy": ("test_policy",),
    "engine.requests": ("test_keepalive", "test_leases"),
    "engine.alarm": SMALL,
    "engine.backoff": SMALL,
    "engine.clock": SMALL,
    "engine.comings": SMALL,
    "engine.culler": (*SMALL, "test_rounds"),
    "engine.horizon": WATCH,
    "engine.item": WATCH,
    "engine.journal": (*SMALL, "test_rounds"),
    "engine.leases": ("test_leases",),
    "engine.notices": WATCH,
    "engine.readings": WATCH,
    "engine.rounds": (*SMALL, "test_accounts", "test_rounds"),
    "engine.settings": (*SMALL, "test_by_type", "test_rounds"),
    "engine.shutdown": WATCH,
    "engine.situation": (*SMALL, "test_rounds"),
    "engine.tally": SMALL,
    "engine.watch": (*WATCH, "test_census"),
    "signals.usage": ("test_signals_usage",),
    "managers.activity": ("test_activity",),
    "apps.census": APPS,
    "apps.deletion": APPS,
    "apps.ledger": APPS,
    "apps.nowhere": APPS,
    "apps.residents": APPS,
    "apps.source": APPS,
}
TESTS = {name for names in NEAREST.values() for name in names}
#: The share of faults that has to be noticed.
ENOUGH = 0.9
#: Tests that take longer than this (seconds) with a fault, or so many times as long as without and followed, have
#: noticed it: it made something endless.
ENDLESS_SECONDS, ENDLESS_TIMES = 20.0, 3.0
#: How pytest ends when it found no test.
NO_TESTS = 5
#: What takes longer than this (seconds, also for being followed) is not among those that are tried.
SLOW_SECONDS = 4.0
#: Nor is what goes through thousands of generated cases: such tests have these words in their names.
LONG = ("histor", "generated")


def main() -> int:
    """Try the rooms that are asked for, tell of each what was not noticed, and judge."""
    options = _options()
    os.nice(5)
    known = {(each["room"], *each["key"]) for each in json.loads(EQUIVALENT.read_text())}
    end = time.monotonic() + options.minutes * 60
    enough = True
    with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
        tree = _copy(Path(folder))
        rooms = options.rooms or list(NEAREST)
        seen = _record(tree, rooms)
        for room in rooms:
            enough = _try(room, tree, seen, known, options, end) and enough
    return 0 if enough else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("rooms", nargs="*", metavar="room", help=f"one of {', '.join(NEAREST)}; default: all")
    parser.add_argument("--most", type=int, default=60, help="faults for each room, chosen at random")
    parser.add_argument("--minutes", type=float, default=30, help="begin no other fault after this time")
    parser.add_argument("--seed", type=int, default=1, help="another choice")
    options = parser.parse_args()
    unknown = set(options.rooms) - set(NEAREST)
    if unknown:
        parser.error(f"no tests are named for {', '.join(sorted(unknown))}")
    return options


def _copy(folder: Path) -> Path:
    """The repository as git knows it, in a folder of its own, so that nobody else meets the faults."""
    listed = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout
    for name in listed.splitlines():
        if (REPOSITORY / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, folder / name)
    return folder


def _path(tree: Path, room: str) -> Path:
    return tree / PACKAGE / f"{room.replace('.', '/')}.py"


def _record(tree: Path, rooms: Iterable[str]) -> Seen:
    """Run all tests of these rooms once, without any fault, and see what each executes."""
    record = tree / "seen.json"
    files = {name for room in rooms for name in NEAREST[room]}
    recorder = Recorder({str(_path(tree, room)): room for room in rooms}, record, LONG)
    if _run(tree, sorted(files), recorder) != 0:
        raise SystemExit(f"the tests of {', '.join(rooms)} fail without any fault")
    return Seen.read(record, SLOW_SECONDS)


def _try(
    room: str, tree: Path, seen: Seen, known: set[tuple[str, ...]], options: argparse.Namespace, end: float
) -> bool:
    """Try one room; whether enough was noticed."""
    path = _path(tree, room)
    source = path.read_text()
    every = [each for each in mutants(source) if (room, *each.key) not in known]
    chosen = random.Random(options.seed).sample(every, min(options.most, len(every)))
    tried, left = 0, []
    for mutant in sorted(chosen, key=lambda each: each.line):
        if time.monotonic() > end:
            break
        path.write_text(mutant.text)
        tried += 1
        tests = seen.tests(room, mutant.line, mutant.last, NEAREST[room])
        if mutant.last == 0:  # the others after those that execute something of it
            tests |= seen.all(NEAREST[room])
        if not _is_noticed(tree, tests, NEAREST[room]):
            left.append(mutant)
            _tell(room, mutant)
    path.write_text(source)
    noticed = tried - len(left)
    _say(f"{room}: {noticed} of {tried} noticed; there are {len(every)} without the equivalent ones")
    return noticed >= ENOUGH * tried


def _is_noticed(tree: Path, tests: dict[str, float], files: Iterable[str]) -> bool:
    """Whether one of these tests fails with the fault that is in the tree; file by file, the nearest first."""
    for name in files:
        chosen = {test: seconds for test, seconds in tests.items() if Path(test.split("::")[0]).stem == name}
        longest = ENDLESS_SECONDS + ENDLESS_TIMES * sum(chosen.values())
        code = _run(tree, [name], Selection(list(chosen)), longest) if chosen else 0
        if code == NO_TESTS:
            raise SystemExit(f"none of these tests was found: {', '.join(list(chosen)[:3])}")
        if code != 0:
            return True
    return False


def _tell(room: str, mutant: Mutant) -> None:
    told = {"room": room, "key": mutant.key}
    _say(f"not noticed, line {mutant.line}: {json.dumps(told, ensure_ascii=False)}")


def _say(words: str) -> None:
    print(words, flush=True)  # noqa: T201


def _run(tree: Path, files: Iterable[str], plugin: object, longest: float = math.inf) -> int:
    """Run tests in a child that has all libraries already, for so long (seconds) at most; 0 when they pass."""
    child = os.fork()
    if child == 0:
        _be_tests(tree, [f"tests/{Path(name).stem}.py" for name in files], plugin)
    end = time.monotonic() + longest
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return -1


def _be_tests(tree: Path, files: list[str], plugin: object) -> None:
    """Run tests in this process, without a word, and end it."""
    os.setsid()
    os.chdir(tree)
    # what is compiled without a fault serves all later runs; the faulty room has another time and is compiled anew
    sys.dont_write_bytecode = not isinstance(plugin, Recorder)
    quiet = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(quiet, stream)
    sys.path.insert(0, str(tree))
    for name in [each for each in sys.modules if each.split(".")[0] in (PACKAGE, "tests")]:
        del sys.modules[name]
    import hypothesis
    import pytest

    phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
    hypothesis.settings.register_profile("mutation", derandomize=True, deadline=None, phases=phases)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    plugins = [f"-p{name}" for name in ("_hypothesis_pytestplugin", "pytest_timeout", "no:cacheprovider")]
    os._exit(pytest.main(["-x", "-q", *plugins, "--hypothesis-profile=mutation", *files], [plugin]))


def _meet_libraries() -> None:
    """Import once, for all children, what takes its time: all that the tests import which is not ours."""
    for name in ("pytest_jupyter.jupyter_server", "pytest_timeout", *(f"tests.{each}" for each in sorted(TESTS))):
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # so that no child looks for garbage in all of that


if __name__ == "__main__":
    _meet_libraries()
    sys.exit(main())
