"""What all tests share: a real server with our managers, and every deprecation of our own as an error."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# How fast this machine is at the moment is not what the tests are about. A change is judged by the same examples each
# time it is tested; `--hypothesis-profile=explore` looks for new ones.
settings.register_profile("explore", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("steady", settings.get_profile("explore"), derandomize=True)
settings.load_profile("steady")

pytest_plugins = ["pytest_jupyter.jupyter_server"]


#: Files that take long: they begin first, so that no worker is left alone with one at the end.
LONG = ("test_user_day", "test_lcc_scripts", "test_signals_end_to_end", "test_bundle", "test_guest", "test_caps")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests that take long in front."""
    items.sort(key=lambda item: LONG.index(item.path.stem) if item.path.stem in LONG else len(LONG))


@pytest.fixture
def jp_server_config() -> dict[str, Any]:
    """A server with both managers and the extension; tests override it for other settings."""
    return {
        "ServerApp": {
            "jpserver_extensions": {"culling_manager": True, "jupyter_server_terminals": True},
            "kernel_manager_class": "culling_manager.CullingKernelManager",
        },
        "TerminalsExtensionApp": {"terminal_manager_class": "culling_manager.CullingTerminalManager"},
        "AsyncMappingKernelManager": {"allow_tracebacks": True},
    }


@pytest.fixture
def run() -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """Run a coroutine in a loop of its own, for tests that need no server."""
    return asyncio.run


def scenario(function: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an async test in a loop of its own."""

    @functools.wraps(function)
    def test(*args: Any, **kwargs: Any) -> None:
        asyncio.run(function(*args, **kwargs))

    return test


async def until(holds: Callable[[], Any], seconds: float = 10.0) -> Any:
    """Wait until `holds` gives something true, and give that; fails after `seconds`."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while True:
        found = holds()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return found
        assert loop.time() < end, f"still not true after {seconds} s"
        await asyncio.sleep(0.02)
