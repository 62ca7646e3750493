"""A browser for each worker and pages for each test; without a browser these tests are skipped, which they say."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from .site import Site, running

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from .pages import Seen

#: Programs that are a browser for us, best first. `CULLING_BROWSER` names another one.
BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
#: A page sees only our server: the browser's own business with the world is turned off.
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"),
    *("--disable-renderer-backgrounding", "--disable-background-timer-throttling", "--lang=en-GB"),
]


def browser_path() -> str | None:
    """The browser of this machine."""
    named = os.environ.get("CULLING_BROWSER")
    return named or next(filter(None, map(shutil.which, BROWSERS)), None)


@pytest.fixture(autouse=True)
def jp_asyncio_loop() -> None:
    """No loop for a server in this process: ours is one of its own, and the browser has its loop."""


@pytest.fixture(autouse=True)
def jp_server_cleanup() -> None:
    """Nor anything of it to clean up."""


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """One browser for all tests of a worker."""
    path = browser_path()
    if path is None:
        pytest.skip(f"no browser: install chromium (one of {', '.join(BROWSERS)}), or set CULLING_BROWSER")
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    pytest.importorskip("jupyterlab", reason="JupyterLab is not installed")
    with api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield found
        found.close()


@pytest.fixture
def see(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Callable[..., Seen]]:
    """Make a page: `see(site)`, with `prepare` called on it first. Those of one call of `see` share their cookies."""
    from .pages import Seen

    found: list[Any] = []

    def make(site: Site, prepare: Callable[[Any], None] | None = None, **how: Any) -> Seen:
        context = browser.new_context(viewport={"width": 1280, "height": 800}, locale="en-GB", **how)
        found.append(context)
        page = context.new_page()
        if prepare is not None:
            prepare(page)
        return Seen(page, site)

    yield make
    for context in found:
        context.close()


@pytest.fixture(scope="package")
def common(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One server for all tests of a worker that need none of their own: as a hub has it, not at the root."""
    bounds = {"idle_timeout": 120, "max_idle_timeout": 480, "cull_interval": 1.0}
    with running(
        tmp_path_factory.mktemp("site"), {"CullingKernelManager": bounds, "ServerApp": {"base_url": "/user/jo/"}}
    ) as found:
        yield found


@pytest.fixture
def site(common: Site) -> Site:
    """That server as it was at the start: nothing runs, nothing is kept, no file, no setting.

    Before a test, not after it: a page of the last test that was still open might have had a word in it.
    """
    common.rest()
    return common


@pytest.fixture
def document(site: Site, request: pytest.FixtureRequest) -> Callable[..., str]:
    """Make a notebook of a name of its own."""
    made = 0

    def make(name: str = "") -> str:
        nonlocal made
        made += 1
        return site.notebook(name or f"{request.node.name[5:25]}-{made}.ipynb")

    return make


@pytest.fixture
def serve(browser: Browser, tmp_path: Path) -> Iterator[Callable[..., Site]]:
    """Start a server of a test's own: `serve(config)`."""
    with contextlib.ExitStack() as stack:
        yield lambda config, **more: stack.enter_context(running(tmp_path / "site", config, **more))
