"""Run upstream's own tests for kernels, sessions, gateway, API and terminals with our managers in place of theirs.

``python tests/upstream/run.py [--work DIR] [pytest arguments]`` fetches the sources of the jupyter_server and
jupyter_server_terminals that are installed beside this Python, unpacks their tests, and runs them twice: as they are,
and with our classes substituted (see `substitute`). Whatever passes as it is must pass with ours. Exit status 0: it
does, and managers of ours were really at work.

Needs what upstream's tests need: the ``test`` extra of each, see their pyproject.toml.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from outcomes import Ending, read

HERE = Path(__file__).resolve().parent
MISSING = Ending(outcome="missing", words="it did not run")


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """One distribution's tests: whole folders, and every other test file that has the word in it."""

    distribution: str
    folders: tuple[str, ...]
    mentioning: str = ""


SUITES = (
    Suite(
        distribution="jupyter_server",
        folders=(
            "tests/services/kernels",
            "tests/services/sessions",
            "tests/services/api",
            "tests/services/kernelspecs",
        ),
        mentioning="kernel|terminal",
    ),
    Suite(distribution="jupyter_server_terminals", folders=("tests",)),
)

#: Tests that are not run with ours, each with the reason why it cannot hold for any subclass.
DESELECTED: Mapping[str, str] = {
    "tests/test_gateway.py::test_gateway_class_mappings": (
        "asserts the __name__ of the class that is the default with a gateway, which is what the substitution replaces"
    ),
}

#: Warnings of dependencies newer than the tests, which upstream's own filter ("error") would make failures of, with
#: whatever classes: pytest's -W.
NEWER_THAN_THE_TESTS = (
    # tornado 6.6: the tests build their requests in the old way
    "ignore:The method, uri, and version arguments to HTTPServerRequest:DeprecationWarning",
    "ignore:The start_line argument to HTTPServerRequest will be required:DeprecationWarning",
    # tornado 6.6: the server's own handling of signals, in its versions before the deprecation
    "ignore:add_callback_from_signal is deprecated:DeprecationWarning",
    # jupyter_events 0.11: jupyter_server before 2.15 has numbers as versions in its event schemas
    "ignore:The `version` property of an event schema must be a string",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of a suite: how each test ended, which only passed when tried again, and what was created."""

    endings: Mapping[str, Ending]
    unsteady: frozenset[str]
    census: Mapping[str, Any]
    status: int

    def passed(self) -> set[str]:
        """The tests that passed."""
        return {test for test, ending in self.endings.items() if ending.outcome == "passed"}

    def counts(self) -> str:
        """How many tests ended in which way, in words."""
        found = Counter(ending.outcome for ending in self.endings.values())
        return ", ".join(f"{found[outcome]} {outcome}" for outcome in sorted(found)) or "no test"


# -- getting the tests -----------------------------------------------------------------------------


def unpacked(suite: Suite, work: Path) -> Path:
    """Give the folder that holds the tests (and their pytest settings) of the installed version; fetched once."""
    wanted = version(suite.distribution)
    root = work / f"{suite.distribution}-{wanted}"
    if not root.exists():
        archive = _fetched(suite.distribution, wanted, work)
        with tarfile.open(archive) as tar:
            tar.extractall(work, members=_tests_in(tar), filter="data")
    return root


def _fetched(distribution: str, wanted: str, work: Path) -> Path:
    archive = work / f"{distribution}-{wanted}.tar.gz"
    if not archive.exists():
        options = ["--quiet", "--no-deps", "--no-binary", ":all:", "--dest", str(work)]
        command = [sys.executable, "-m", "pip", "download", *options, f"{distribution}=={wanted}"]
        subprocess.run(command, check=True)
    return archive


def _tests_in(tar: tarfile.TarFile) -> Iterable[tarfile.TarInfo]:
    """The tests and the pytest settings; not the package, which must be the installed one."""
    return [member for member in tar if re.match(r"[^/]+/(tests/|pyproject\.toml$)", member.name)]


def selection(suite: Suite, root: Path) -> list[str]:
    """Give the folders and files of a suite, relative to its root."""
    chosen = []
    for file in sorted(root.glob("tests/**/test_*.py")) if suite.mentioning else []:
        name = file.relative_to(root).as_posix()
        inside = any(name.startswith(f"{folder}/") for folder in suite.folders)
        if not inside and re.search(suite.mentioning, file.read_text(encoding="utf-8"), re.IGNORECASE):
            chosen.append(name)
    return [*chosen, *suite.folders]


# -- running them ----------------------------------------------------------------------------------


def run(root: Path, tests: list[str], ours: bool, extra: list[str], logs: Path) -> Run:
    """Run the tests, and those that failed once more, alone."""
    name = f"{root.name}-{'ours' if ours else 'upstream'}"
    skipped = [f"--deselect={test}" for test in DESELECTED] if ours else []
    first, census, status = _pytest(root, [*tests, *skipped, *extra], ours, logs / name)
    failed = [test for test, ending in first.items() if ending.outcome in ("failed", "died")]
    if not failed:
        return Run(endings=first, unsteady=frozenset(), census=census, status=status)
    only = logs / f"{name}-again-only.json"
    only.write_text(json.dumps(failed), encoding="utf-8")
    files = sorted({test.partition("::")[0] for test in failed})
    again, _, _ = _pytest(root, [f"--only={only}", *files], ours, logs / f"{name}-again")
    passed = {test: ending for test, ending in again.items() if ending.outcome == "passed"}
    return Run(endings={**first, **passed}, unsteady=frozenset(passed), census=census, status=status)


def _pytest(root: Path, arguments: list[str], ours: bool, stem: Path) -> tuple[dict[str, Ending], Any, int]:
    """Give endings, census and exit status of one pytest process; its output goes to `stem`.log."""
    outcomes, census = stem.with_name(f"{stem.name}.jsonl"), stem.with_name(f"{stem.name}-census.json")
    for old in (outcomes, census):
        old.unlink(missing_ok=True)
    plugins = ["-p", "outcomes", f"--outcomes={outcomes}"]
    if ours:
        plugins += ["-p", "substitute", f"--census={census}"]
    # A timeout of method 'thread', as upstream sets it, would end the whole run.
    # Managers are counted in one process, so the tests are not spread over several.
    settings = ["-p", "no:cacheprovider", "-p", "no:xdist", "--timeout-method=signal", "--color=no"]
    settings += [f"-W{words}" for words in NEWER_THAN_THE_TESTS]
    path = os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")]))
    with stem.with_name(f"{stem.name}.log").open("w", encoding="utf-8") as log:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *plugins, *settings, *arguments],
            cwd=root,
            env={**os.environ, "PYTHONPATH": path},
            stdout=log,
            stderr=subprocess.STDOUT,
            check=False,
        )
    counted = json.loads(census.read_text(encoding="utf-8")) if census.exists() else {}
    return read(outcomes), counted, done.returncode


# -- telling ---------------------------------------------------------------------------------------


def differences(upstream: Run, ours: Run) -> dict[str, Ending]:
    """Tests that pass with upstream's classes and do not with ours, with their ending."""
    lost = upstream.passed() - ours.passed() - set(DESELECTED)
    return {test: ours.endings.get(test, MISSING) for test in sorted(lost)}


def tell(name: str, upstream: Run, ours: Run) -> list[str]:
    """Print how both runs of a suite went; give what is wrong, in words."""
    census = ours.census
    created = ", ".join(f"{count} {cls}" for cls, count in sorted(census.get("ours", {}).items()))
    say(f"{name}\n  upstream: {upstream.counts()}\n  ours:     {ours.counts()}")
    say(f"  created:  {created or 'nothing of ours'}, in {len(census.get('tests', ()))} tests")
    for whose, found in (("upstream", upstream), ("ours", ours)):
        for test in sorted(found.unsteady):
            say(f"  unsteady ({whose}; passed when tried again, alone): {test}")
    for test in sorted(set(DESELECTED) & set(upstream.endings)):
        say(f"  not run with ours: {test}: {DESELECTED[test]}")
    wrong = [f"{test}: {ending.outcome}: {ending.words}" for test, ending in differences(upstream, ours).items()]
    wrong += [f"not substituted: {words}" for words in census.get("escaped", ())]
    wrong += [f"pytest ended with {found.status}" for found in (upstream, ours) if found.status not in (0, 1, 5)]
    return wrong


def say(words: str) -> None:
    """Print at once."""
    print(words, flush=True)  # noqa: T201


def check(work: Path, extra: list[str]) -> int:
    """Run both suites both ways; give the exit status."""
    logs = work / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    wrong, created = [], 0
    for suite in SUITES:
        root = unpacked(suite, work)
        tests = selection(suite, root)
        say(f"Running {root.name} twice: {' '.join(tests)}")
        upstream, ours = (run(root, tests, ours, extra, logs) for ours in (False, True))
        wrong += [f"{root.name}: {words}" for words in tell(root.name, upstream, ours)]
        created += sum(ours.census.get("ours", {}).values())
    if not created:
        wrong.append("no test created a manager of ours: nothing was shown")
    for words in wrong:
        say(f"WRONG: {words}")
    say(f"{len(wrong)} differences; managers of ours created: {created}; output in {logs}")
    return 1 if wrong else 0


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, help="folder for sources and logs (default: a new one)")
    options, extra = parser.parse_known_args()
    work = (options.work or Path(tempfile.mkdtemp(prefix="upstream-tests-"))).resolve()
    return check(work, extra)


if __name__ == "__main__":
    raise SystemExit(main())
