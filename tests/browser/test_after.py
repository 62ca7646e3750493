"""The page's tests leave nothing behind that those after them in the same worker would stumble over."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

pytestmark = pytest.mark.timeout(900)
HERE = Path(__file__)
#: Tests that each make an event loop.
OTHERS = HERE.parents[1] / "test_accounts.py"


def test_a_browser_is_there(browser):
    """The least that a test of the page does."""
    assert browser.is_connected()


def test_what_makes_an_event_loop_runs_after_a_test_of_the_page():
    """All in one process, as `.ci/test` may have it: a browser's own loop ran on to the end there, and failed them."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider"]
    command += [f"{HERE}::test_a_browser_is_there", str(OTHERS)]
    ran = subprocess.run(command, capture_output=True, text=True, env=ours, cwd=HERE.parents[2])

    assert ran.returncode == 0, ran.stdout[-4000:]
    assert " passed" in ran.stdout
