"""What all tests share: a real server with our managers, and every deprecation of our own as an error."""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
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


def patience(seconds: float) -> float:
    """How long (seconds) is waited here for what a quiet machine does well within `seconds`.

    Four times that, and on a crowded machine as much longer as more processes want a core, up to twelve times. A limit
    is for what hangs: no test may fail because something took its time.
    """
    crowd = os.getloadavg()[0] / (os.cpu_count() or 1) if hasattr(os, "getloadavg") else 1.0
    return seconds * min(12.0, max(4.0, 3.0 * crowd))


async def until(holds: Callable[[], Any], seconds: float = 10.0) -> Any:
    """Wait until `holds` gives something true, and give that; fails with what it saw after `patience(seconds)`."""
    loop = asyncio.get_running_loop()
    limit = patience(seconds)
    end = loop.time() + limit
    while True:
        found = holds()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return found
        assert loop.time() < end, f"still {found!r} after {limit:.0f} s: {source_of(holds)}"
        await asyncio.sleep(0.02)


def silent_until(done: Path) -> str:
    """A cell that is at work and says nothing until there is a file of that name."""
    return f"import os, time\nwhile not os.path.exists({str(done)!r}): time.sleep(0.05)"


def source_of(function: Callable[..., Any]) -> str:
    """What a condition looks like in its test, on one line."""
    try:
        return " ".join(inspect.getsource(function).split())
    except (OSError, TypeError):
        return repr(function)
