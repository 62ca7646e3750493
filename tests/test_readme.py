"""What the README says can be done: its configuration loads, its files are there, its commands are those of CI."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest
from traitlets.config import Config, LoggingConfigurable

from culling_manager import CullingKernelManager, CullingTerminalManager
from culling_manager.apps import SpaceApp
from culling_manager.apps.auto import make
from culling_manager.engine.culler import IdleCuller
from culling_manager.safeguards.guard import Safeguards
from culling_manager.server.metrics import CullingCollector
from culling_manager.signals import GpuSignal, ProcessSignal, Signals, StampFileSignal

ASKED = (Safeguards, Signals, ProcessSignal, GpuSignal, StampFileSignal, SpaceApp)

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    """The README's code blocks in a language."""
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


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
    assert {name for name in own if f"`{name}`" not in README and f"`{ours.__name__}.{name}`" not in README} == set()


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
    written = set(re.findall(r"`(culling_[a-z_]+)`", README)) - {"culling_manager"}

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


def test_linked_files_are_there():
    """No link into nothing."""
    links = re.findall(r"\]\((?!https?://)([^)#]+)\)", README)

    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_no_placeholder_is_left():
    """TRANSCRIPT and FIGURES were promises to ourselves."""
    assert not re.search(r"^[A-Z]{5,}$", README, re.MULTILINE)
