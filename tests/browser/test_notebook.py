"""Notebook: the same cycle, with the countdown in the menu bar."""

from __future__ import annotations

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

from playwright.sync_api import expect

from .pages import SOON
from .test_lab import kernel

pytestmark = pytest.mark.timeout(900)


def test_the_countdown_stands_in_the_menu_bar_and_opens_the_panel(see, site, document):
    """It speaks of the page's one document."""
    seen = see(site).notebook(document())

    seen.says(r"^Kernel stops in (2 h|1 h 5\d min)$")
    seen.open_panel()

    expect(seen.panel.locator("h2")).to_be_focused(timeout=SOON)
    expect(seen.page.locator("#menu-panel #culling-manager-countdown, #menu-panel-wrapper button")).not_to_have_count(0)


def test_it_warns_within_two_seconds_keeps_and_the_server_knows(see, site, document):
    """As in JupyterLab."""
    path = document("paper.ipynb")
    seen = see(site).notebook(path)
    seen.says("Kernel stops in")

    toast = seen.warned(path, r"Kernel of paper\.ipynb stops at .*: nobody uses it\.")
    assert seen.after(site.told("warned")["at"], "nobody uses it") <= seen.within(2)
    toast.get_by_role("button", name="Keep for 1 hour").click()

    seen.taken_back("nobody uses it")
    assert site.kernel_of(path)["reason"] == "kept alive"
    seen.says("Kernel is kept until")


def test_the_end_is_told_and_a_new_kernel_starts(see, site, document):
    """Notebook's own red 'Kernel Dead' gives no reason; we do."""
    path = document("ended.ipynb")
    seen = see(site).notebook(path)
    before = kernel(site, path)["id"]
    seen.says("Kernel stops in")
    site.over(path)

    toast = seen.toasted(r"Kernel of ended\.ipynb was stopped at .* without use")
    seen.says("Kernel was stopped")
    toast.get_by_role("button", name="Start a new kernel").click()

    seen.says("Kernel stops in")
    assert kernel(site, path)["id"] != before


def test_the_kernel_menu_keeps_the_kernel(see, site, document):
    """As in JupyterLab."""
    path = document("menu.ipynb")
    seen = see(site).notebook(path)
    seen.says("Kernel stops in")

    seen.menu("Kernel", "Keep Kernel Alive")
    seen.page.get_by_role("dialog").get_by_role("button", name="Keep", exact=True).click(timeout=SOON)

    seen.says("^Kernel is kept until")
    assert site.kernel_of(path)["reason"] == "kept alive"
