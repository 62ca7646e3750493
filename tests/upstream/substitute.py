"""Pytest plugin: upstream's own tests run with our managers wherever they name, configure or get upstream's.

Names are replaced in upstream's modules before any test is imported: so what a test imports, subclasses, patches or
configures by a dotted path is ours, and so are the defaults. Config sections with upstream's names reach our classes by
inheritance, as they do at our users'. Upstream's modules keep the classes that they already hold: our classes are built
on them, and `isinstance` checks in upstream's code must hold for ours as they do for every subclass. The synchronous
`MappingKernelManager` is not ours to replace.

The run fails when no manager of ours was created, or when one of those that are replaced was.
"""

from __future__ import annotations

import functools
import json
from collections import Counter
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

KERNELS = "jupyter_server.services.kernels.kernelmanager"
GATEWAY = "jupyter_server.gateway.managers"
TERMINALS = "jupyter_server_terminals.terminalmanager"

#: (upstream's module, name in it, name in culling_manager). A name that is no longer there is an error, not a skip.
REPLACED = (
    (KERNELS, "AsyncMappingKernelManager", "CullingKernelManager"),
    ("jupyter_server.serverapp", "AsyncMappingKernelManager", "CullingKernelManager"),
    (GATEWAY, "GatewayMappingKernelManager", "GatewayCullingKernelManager"),
    ("jupyter_server.serverapp", "GatewayMappingKernelManager", "GatewayCullingKernelManager"),
    (TERMINALS, "TerminalManager", "CullingTerminalManager"),
    ("jupyter_server_terminals.app", "TerminalManager", "CullingTerminalManager"),
)


class Census:
    """Counts the managers that are created, and the tests that got one of ours."""

    def __init__(self, report: Path) -> None:
        self.report = report
        self.ours: Counter[str] = Counter()
        self.escaped: list[str] = []
        self.tests: set[str] = set()
        self._test = "(outside a test)"

    def watch(self, replaced: type, ours: type) -> None:
        """Count instances of `ours`, and those of `replaced` that are not ours."""
        initialize: Any = replaced.__init__  # type: ignore[misc]

        @functools.wraps(initialize)
        def counted(manager: Any, *args: Any, **kwargs: Any) -> None:
            if isinstance(manager, ours):
                self.ours[_name_of_ours(manager)] += 1
                self.tests.add(self._test)
            else:
                self.escaped.append(f"{type(manager).__qualname__} in {self._test}")
            initialize(manager, *args, **kwargs)

        replaced.__init__ = counted  # type: ignore[misc]

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Remember which test is running."""
        self._test = nodeid

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the report; no manager of ours, or one that escaped, fails the run."""
        found = {"ours": self.ours, "escaped": self.escaped, "tests": sorted(self.tests)}
        self.report.write_text(json.dumps(found, indent=1), encoding="utf-8")
        if self.escaped or not self.ours:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Print the counts."""
        terminalreporter.section("managers of ours that these tests created")
        for name, count in sorted(self.ours.items()):
            terminalreporter.line(f"{name}: {count}")
        terminalreporter.line(f"tests that created one: {len(self.tests)}")
        if not self.ours:
            terminalreporter.line("ERROR: no test created a manager of ours: nothing was substituted")
        for words in self.escaped:
            terminalreporter.line(f"ERROR: not substituted: {words}")


def _name_of_ours(manager: Any) -> str:
    """The nearest class of ours, also for a test's own subclass of it."""
    return next(cls.__name__ for cls in type(manager).__mro__ if cls.__module__.startswith("culling_manager."))


def substitute(census: Census) -> None:
    """Replace names and defaults, and count from now on."""
    ours = import_module("culling_manager")
    kernels, terminals, app = (import_module(name) for name in (KERNELS, TERMINALS, "jupyter_server_terminals.app"))
    census.watch(kernels.AsyncMappingKernelManager, ours.CullingKernelManager)
    census.watch(terminals.TerminalManager, ours.CullingTerminalManager)
    replacements = [(import_module(module), name, getattr(ours, our_name)) for module, name, our_name in REPLACED]
    for module, name, replacement in replacements:
        if not issubclass(replacement, getattr(module, name)):
            raise pytest.UsageError(f"{replacement.__name__} is no {module.__name__}.{name}")
        setattr(module, name, replacement)
    app.TerminalsExtensionApp.terminal_manager_class.default_value = ours.CullingTerminalManager


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--census FILE``."""
    parser.addoption("--census", type=Path, required=True, help="file that the counts of managers are written to")


def pytest_configure(config: pytest.Config) -> None:
    """Substitute before any test module is imported."""
    census = Census(config.getoption("--census"))
    substitute(census)
    config.pluginmanager.register(census, "census-of-managers")
