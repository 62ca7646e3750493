"""What our pages say can be done: their configuration loads, their files are there, their commands are those of CI."""

from __future__ import annotations

import asyncio
import re
from importlib.metadata import metadata
from pathlib import Path
from types import ModuleType

import pytest
from traitlets.config import Config, LoggingConfigurable

from culling_manager import CullingKernelManager, CullingTerminalManager
from culling_manager.apps import SpaceApp
from culling_manager.apps.auto import make
from culling_manager.engine.culler import IdleCuller
from culling_manager.safeguards.guard import Safeguards
from culling_manager.server.metrics import CullingCollector
from culling_manager.server.recording import Recording
from culling_manager.signals import GpuSignal, ProcessSignal, Signals, StampFileSignal

ASKED = (Safeguards, Signals, Recording, ProcessSignal, GpuSignal, StampFileSignal, SpaceApp)

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / name for name in ("README.md", "config/README.md", "lcc/README.md", "tests/benchmarks/README.md")]
PAGES += [ROOT / "config/iam/README.md", ROOT / "CONTRIBUTING.md"]
REFERENCE = (ROOT / "config/README.md").read_text()


def blocks(language: str) -> list[str]:
    """The code blocks in a language of the README and of the reference."""
    return re.findall(rf"```{language}\n(.*?)```", README + REFERENCE, re.DOTALL)


def test_the_configuration_block_loads_and_names_real_settings():
    """Six lines that somebody copies."""
    found = Config()

    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), {"c": found, "__name__": "readme"})

    assert found.ServerApp.kernel_manager_class == "culling_manager.CullingKernelManager"
    for ours in (CullingKernelManager, CullingTerminalManager):
        assert set(found[ours.__name__]) <= set(ours.class_traits(config=True))


@pytest.mark.parametrize("ours", [CullingKernelManager, CullingTerminalManager, *ASKED])
def test_every_setting_of_ours_has_its_line_in_the_tables(ours):
    """A new trait without a word in the README fails here."""
    own = {name for name in vars(ours) | vars(ours.__mro__[1]) if name in ours.class_traits(config=True)}

    assert own
    assert {
        name for name in own if f"`{name}`" not in REFERENCE and f"`{ours.__name__}.{name}`" not in REFERENCE
    } == set()


def test_the_signal_of_the_readme_is_one(tmp_path):
    """A class with one method; its sentence or nothing."""
    (block,) = [block for block in blocks("python") if "class BuildSignal" in block]
    lock = tmp_path / "build.lock"
    found = {"__name__": "readme"}
    exec(compile(block.replace("/tmp/build.lock", str(lock)), "README.md", "exec"), found)
    signal = found["BuildSignal"]()

    before = asyncio.run(signal.check(None))
    lock.touch()

    assert (before, asyncio.run(signal.check(None))) == (None, "a build is running")


def test_the_metrics_of_the_readme_are_those_that_there_are():
    """A name that somebody builds a dashboard on."""
    collector = CullingCollector()
    collector.add(IdleCuller())
    names = {sample for family in collector.collect() for sample in (family.name, f"{family.name}_total")}
    written = set(re.findall(r"`(culling_[a-z_]+)`", REFERENCE)) - {"culling_manager"}

    assert len(written) >= 9
    assert {name for name in written if name not in names} == set()


def test_the_app_manager_of_the_readme_is_one_and_short():
    """Under 30 lines for another cloud, and it works."""
    (block,) = [block for block in blocks("python") if "AppManager" in block]
    found = {"c": Config(), "__name__": "readme"}
    exec(compile(block, "README.md", "exec"), found)

    manager = make(found["ThisMachine"], LoggingConfigurable())
    (app,) = asyncio.run(manager.list_apps())

    assert len(block.splitlines()) < 30
    assert app.state == "InService"


def test_the_test_command_is_the_one_that_ci_calls():
    """What is promised to newcomers is what is checked."""
    assert any(block.strip() == ".ci/test" for block in blocks("bash"))
    assert re.search(r"^\.ci/test\b", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """What a link may name in a page: its headings, as they are turned into anchors."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_linked_files_are_there(page):
    """No link into nothing, nor to a heading that there is not."""
    links = re.findall(r"\]\((?!https?://)([^)#]*)(?:#([^)]+))?\)", page.read_text())
    targets = [(page.parent / path if path else page, anchor) for path, anchor in links]

    assert [path for path, _ in targets if not path.exists()] == []
    assert [(path, anchor) for path, anchor in targets if anchor and anchor not in anchors(path)] == []


def test_a_package_index_shows_no_link_into_nothing():
    """Its long description is the README, with words where links into the repository are, and no picture of it."""
    hook = ModuleType("hatch_readme")
    exec((ROOT / ".ci/hatch_readme.py").read_text(), vars(hook))

    shown, installed = hook.for_index(README), metadata("sagemaker_studio_autoshutdown")["Description"] or ""

    for text in (shown, installed):
        assert text.startswith("# culling_manager")
        assert re.findall(r"\]\((?!https?://|#)", text) == []
    assert "lcc/README.md" in shown


def test_the_front_page_is_one_that_is_read_to_its_end():
    """A newcomer finishes it; the rest stands beside what it is about."""
    assert len(README.splitlines()) <= 160


def test_no_placeholder_is_left():
    """TRANSCRIPT and FIGURES were promises to ourselves."""
    assert not re.search(r"^[A-Z]{5,}$", README, re.MULTILINE)
