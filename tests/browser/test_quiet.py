"""What a page costs a server, and what keeps a kernel: looking keeps nothing, working does."""

from __future__ import annotations

import json
import time
from urllib.parse import urlsplit

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

from playwright.sync_api import expect

from .pages import HIDE, SHOW, SOON
from .site import NOTIFICATIONS, SETTINGS, until
from .test_lab import kernel

pytestmark = pytest.mark.timeout(900)
CELL = ".jp-NotebookPanel:visible .jp-CodeCell .cm-content"


def test_a_quiet_minute_asks_at_most_three_times_and_a_hidden_one_never(see, site, document):
    """One page is seen and one is not, for the same minute; whatever is asked counts as no use, and is asked of us."""
    seen, hidden = see(site).lab(document()), see(site).lab(document())
    for each in (seen, hidden):
        each.says("Kernel stops in")
        each.calm(12)  # what an opened document sets off is over: every ten seconds JupyterLab asks for its kernels
    hidden.page.evaluate(HIDE)

    with seen.counting() as asked, hidden.counting() as asked_hidden:
        seen.page.wait_for_timeout(60_000)
    with hidden.counting() as asked_again:
        before = len(hidden.asked)
        hidden.page.evaluate(SHOW)
        until(lambda: hidden.page.wait_for_timeout(100) or any("/status" in url for _, url in hidden.asked[before:]))

    assert 1 <= len(asked) <= 3
    assert all("no_track_activity=1" in url for url in [*asked, *asked_again])
    assert asked_hidden == []
    assert len(asked_again) >= 1
    hosts = {urlsplit(url).netloc for _, url in seen.asked if not url.startswith(("data:", "blob:"))}
    assert hosts == {urlsplit(site.root).netloc}


def test_who_writes_keeps_the_kernel_and_who_only_has_it_open_does_not(see, site, document):
    """For two timeouts somebody types and runs nothing; a second document only lies open, and is stopped in time."""
    written, open_only = document("written.ipynb"), document("open.ipynb")
    seen, other = see(site).lab(written), see(site).lab(open_only)
    before, other_id = [kernel(site, path)["id"] for path in (written, open_only)]
    seen.says("Kernel stops in")
    other.says("Kernel stops in")
    seen.page.locator(CELL).first.click()
    timeout = 24.0
    site.set_timeout(timeout / 60)
    began = time.monotonic()

    # what a person makes overdue is warned of first, so the one that lies open has half a timeout more at most
    def typed():
        seen.page.keyboard.press("x")
        seen.page.wait_for_timeout(400)
        return time.monotonic() - began > 2 * timeout and site.kernel_of(open_only) is None

    until(typed)

    found = site.kernel_of(written)
    assert found is not None
    assert found["id"] == before
    assert found["reason"] in ("in use by a person", "active")
    stopped = [each for each in site.status()["recent"] if each["identity"] in (before, other_id)]
    assert [(each["identity"], each["idle_seconds"] >= timeout) for each in stopped] == [(other_id, True)]
    assert seen.posts("presence") >= 2
    assert other.posts("presence") == 0
    other.says("Kernel was stopped")


def test_what_is_told_is_a_path_and_never_what_was_typed(see, site, document):
    """One message a minute at most, with one field."""
    path = document("secret.ipynb")
    seen = see(site).lab(path)
    seen.says("Kernel stops in")
    bodies = []
    seen.page.on("request", lambda request: "/presence" in request.url and bodies.append(request.post_data))

    seen.page.locator(CELL).first.press_sequentially("hunter2")
    until(lambda: seen.page.wait_for_timeout(100) or bodies)
    expect(seen.page.locator(CELL).first).to_have_text("hunter2", timeout=SOON)

    assert [json.loads(each) for each in bodies] == [{"path": path}]


def test_with_the_pages_setting_off_nothing_is_told(see, site, document):
    """The setting is the page's own. What a click or a key sets off would have been sent before the next question."""
    site.set("culling-manager:plugin", {"presence": False})
    path = document()
    seen = see(site).lab(path)
    seen.says("Kernel stops in")

    seen.page.locator(CELL).first.press_sequentially("abc")
    panel = seen.open_panel()
    panel.get_by_role("button", name="Keep 1 h").first.click(timeout=SOON)
    seen.says("Kernel is kept until")

    assert seen.posts("keep-alive") == 1
    assert seen.posts("presence") == 0


def test_do_not_disturb_shows_no_toast_and_the_countdown_is_amber(see, site, document):
    """JupyterLab's own setting is the user's word. The countdown turns in the same turn as a toast would come."""
    site.set(NOTIFICATIONS, {**SETTINGS[NOTIFICATIONS], "doNotDisturbMode": True})
    path = document()
    seen = see(site).lab(path)
    seen.says("Kernel stops in")
    site.near(path)

    seen.looks("warned")
    expect(seen.page.locator("#jp-bottom-panel, #jp-status-bar").first).to_be_visible()
    seen.open_panel()

    expect(seen.row("Kernel of")).to_have_attribute("data-level", "warned", timeout=SOON)
    expect(seen.toast("nobody uses it")).to_have_count(0)


def test_the_countdown_can_be_shown_only_when_something_is_near(see, site, document):
    """The page's setting `countdown`: near."""
    site.set("culling-manager:plugin", {"countdown": "near"})
    path = document()
    seen = see(site).lab(path)
    kernel(site, path)
    seen.calm(3)
    expect(seen.countdown).to_be_hidden()

    site.near(path)

    expect(seen.countdown).to_be_visible(timeout=SOON)
    seen.looks("warned")
