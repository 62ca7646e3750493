"""JupyterLab: countdown, warning, keep and resume, the end."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

from playwright.sync_api import expect

from .pages import HOUR_OFF, SOON, deny_events, mute
from .site import Site, until

pytestmark = pytest.mark.timeout(900)


def kernel(site: Site, path: str) -> dict[str, Any]:
    """The kernel of a document, once it has one."""
    found: dict[str, Any] = until(lambda: site.kernel_of(path), SOON / 1000)
    return found


def test_the_countdown_speaks_of_the_document_in_front(see, site, document):
    """Of two kernels one is kept: the words change with the tab, and name nothing else."""
    first, second = document("first.ipynb"), document("second.ipynb")
    seen = see(site).lab(first, second)
    site.keep(kernel(site, second)["id"], 60)

    seen.says(r"^Kernel is kept until \d\d?:\d\d$")
    seen.front(first)
    seen.says(r"^Kernel stops in (2 h|1 h 5\d min)$")
    seen.front(second)

    seen.says(r"^Kernel is kept until \d\d?:\d\d$")
    assert seen.errors == []


def test_the_panel_opens_by_keyboard_and_the_focus_moves_in(see, site, document):
    """Enter on the countdown; from the panel's heading Tab goes on to what can be done."""
    seen = see(site).lab(document())
    seen.says("Kernel stops in")

    seen.countdown.focus()
    seen.page.keyboard.press("Enter")

    expect(seen.panel.locator("h2")).to_be_focused(timeout=SOON)
    seen.page.keyboard.press("Tab")
    expect(seen.panel.locator(":focus")).to_have_count(1, timeout=SOON)


def test_a_warning_comes_within_two_seconds_and_one_hour_is_kept(see, site, document):
    """The toast names document, time and why; the server says that it is kept, and the toast goes.

    It was pushed: by itself the page would have asked again within a minute.
    """
    path = document("analysis.ipynb")
    seen = see(site).lab(path)
    seen.says("Kernel stops in")

    toast = seen.warned(path, r"Kernel of analysis\.ipynb stops at \d\d?:\d\d: nobody uses it\.")
    assert site.kernel_of(path)["warned"]
    assert seen.after(site.told("warned")["at"], "nobody uses it") <= seen.within(2)
    seen.looks("warned")
    toast.get_by_role("button", name="Keep for 1 hour").click()

    seen.taken_back("nobody uses it")
    assert site.kernel_of(path)["reason"] == "kept alive"
    seen.says("Kernel is kept until")


def test_keep_and_resume_show_in_another_tab_within_two_seconds(see, site, document):
    """Asked for in one tab's panel, both tabs say so; taken back there, too."""
    path = document()
    seen, other = see(site).lab(path), see(site).lab(path)
    other.says("Kernel stops in")
    panel = seen.open_panel()

    panel.get_by_role("button", name=f"Keep 1 h: Kernel of {path}").click()
    other.says("Kernel is kept until")
    kept = other.after(site.told("keep-alive")["at"], "Kernel is kept until")
    panel.get_by_role("button", name=f"Resume: Kernel of {path}").click()
    other.says("Kernel stops in")
    resumed = other.after(site.told("resume")["at"], "Kernel stops in")

    assert kept <= other.within(2)
    assert resumed <= other.within(2)
    assert site.status()["keep_alive"] == []


def test_a_page_that_is_opened_after_the_warning_warns_and_a_run_takes_it_back_everywhere(see, site, document):
    """Two pages warn of the same deadline; one cell that runs is the end of both warnings."""
    path = document()
    seen = see(site).lab(path)
    seen.warned(path)
    late = see(site).lab(path)

    late.warned(path)
    seen.run("1 + 1")

    seen.taken_back("nobody uses it")
    late.taken_back("nobody uses it")
    assert site.kernel_of(path) is not None


def test_without_the_event_bus_it_warns_all_the_same(see, site, document):
    """The page has its own appointments: when something is to be warned of it asks."""
    path = document()
    seen = see(site, deny_events).lab(path)
    seen.says("Kernel stops in")
    site.aged(path, 310)

    seen.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")  # that time went by is news to it

    seen.toasted("nobody uses it")


def test_a_warning_that_was_put_away_stays_away_for_its_deadline(see, site, document):
    """Also when the page is loaded again; the countdown stays amber."""
    path = document()
    seen = see(site).lab(path)

    seen.warned(path).get_by_title("Hide notification").click()
    seen.taken_back("nobody uses it")
    mute(seen.page)  # a new deadline would be another warning
    seen.page.reload()
    seen.says("Kernel stops in")

    seen.looks("warned")
    expect(seen.toast("nobody uses it")).to_have_count(0)


def test_what_was_stopped_is_told_and_a_new_kernel_starts(see, site, document):
    """JupyterLab goes on to say Idle; we say that its kernel was stopped, when, and that the file is there."""
    path = document("gone.ipynb")
    seen = see(site).lab(path)
    before = kernel(site, path)["id"]
    seen.warned(path)
    site.over(path)

    toast = seen.toasted(r"Kernel of gone\.ipynb was stopped at .* after 2 h without use\. Its variables are gone")
    seen.says(r"^Kernel was stopped \d\d?:\d\d$")
    seen.taken_back("nobody uses it")
    toast.get_by_role("button", name="Start a new kernel").click()

    seen.says("Kernel stops in")
    assert kernel(site, path)["id"] != before
    seen.run("6 * 7")
    expect(seen.page.locator(".jp-OutputArea-output", has_text="42")).to_be_visible(timeout=SOON)


def test_a_client_whose_clock_is_an_hour_off_counts_right(see, site, document):
    """It counts by the server's clock."""
    seen = see(site, lambda page: page.add_init_script(HOUR_OFF)).lab(document())

    seen.says(r"^Kernel stops in (2 h|1 h 5\d min)$")


def test_a_name_of_markup_stays_text(see, site, document):
    """In countdown, toast and panel: nothing of it runs."""
    path = document("<img src=x onerror=document.title='caught'>.ipynb")
    seen = see(site).lab(path)

    seen.warned(path, "Kernel of <img src=x")
    panel = seen.open_panel()

    expect(panel.locator("tbody th", has_text="<img src=x onerror")).to_be_visible(timeout=SOON)
    assert panel.locator("img").count() == seen.page.locator(".Toastify__toast img").count() == 0
    assert seen.page.title() != "caught"
