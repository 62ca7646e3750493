"""Misspelt sections of the configuration: one of ours is recognised, another's never taken for it."""

from __future__ import annotations

import importlib
import pkgutil

import pytest
from traitlets.config import Configurable

import culling_manager
from culling_manager.server.extension import OUR_CLASSES
from culling_manager.server.sections import loaded_classes, misspelt


@pytest.mark.parametrize(
    ("section", "meant"),
    [
        ("CullingKernelManger", "CullingKernelManager"),
        ("CullingkernelManager", "CullingKernelManager"),
        ("CullingTerminalsManager", "CullingTerminalManager"),
        ("GatewayCulingKernelManager", "GatewayCullingKernelManager"),
        ("Safeguard", "Safeguards"),
        ("ProcessSignals", "ProcessSignal"),
        ("GPUSignal", "GpuSignal"),
        ("ResourceMetaDataFile", "ResourceMetadataFile"),
        ("SageMakerAppManger", "SageMakerAppManager"),
        ("AppManger", "AppManager"),
    ],
)
def test_a_misspelt_section_is_told_with_the_one_that_was_meant(section, meant):
    """A letter too few or too many, other capitals."""
    assert misspelt([section], OUR_CLASSES, []) == {section: meant}


def test_a_section_that_exists_or_is_like_none_of_ours_is_nobodys_business():
    """Ours, others that are loaded, others that are not, and one that is ours but for a letter and theirs."""
    sections = [*OUR_CLASSES, "ServerApp", "KernelManager", "MappingKernelManager", "TerminalManager", "LabApp", "x"]

    assert misspelt([*sections, "Safeguard"], OUR_CLASSES, ["Safeguard"]) == {}


def test_none_of_the_classes_that_are_loaded_beside_ours_looks_like_one_of_ours():
    """What a server has at its start: no false word about any of it, even if it were not known."""
    importlib.import_module("jupyter_server.serverapp")

    assert misspelt(loaded_classes() - _of_ours(), OUR_CLASSES, []) == {}


def test_every_class_of_ours_with_settings_is_a_section():
    """A new one is missed neither here nor in jupyter_server_config.d."""
    mixed_in = {"KernelSettings", "TerminalSettings"}

    assert _of_ours(with_settings=True) - mixed_in <= set(OUR_CLASSES)


def _of_ours(with_settings: bool = False) -> set[str]:
    """The names of our configurable classes, of all our modules, or of those with settings of their own."""
    for module in pkgutil.walk_packages(culling_manager.__path__, "culling_manager."):
        if "__main__" not in module.name:
            importlib.import_module(module.name)
    found, left = set(), [Configurable]
    while left:
        below = left.pop().__subclasses__()
        ours = [each for each in below if each.__module__.startswith("culling_manager")]
        found |= {each.__name__ for each in ours if not with_settings or each.class_own_traits(config=True)}
        left += below
    return found
