"""What a page costs a server, and what keeps a kernel: looking keeps nothing, working does."""

from __future__ import annotations

import json
from typing import Any

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

from playwright.sync_api import expect

from .pages import HIDE, SHOW, SOON
from .site import until
from .test_lab import kernel

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    """The defaults, and a bound for keep-alives of two hours."""
    return {"CullingKernelManager": {"cull_interval": 1.0, "max_keep_alive": 120}}


def test_a_quiet_minute_asks_at_most_three_times_and_a_hidden_one_never(see, site, document):
    """One page is seen and one is not, for the same minute; whatever is asked counts as no use."""
    seen, hidden = see(site).lab(document()), see(site).lab(document())
    for each in (seen, hidden):
        each.says("Kernel stops in")
    seen.page.wait_for_timeout(8_000)  # until what an opened document sets off is over
    hidden.page.evaluate(HIDE)

    with seen.counting() as asked, hidden.counting() as asked_hidden:
        seen.page.wait_for_timeout(60_000)
    with hidden.counting() as asked_again:
        hidden.page.evaluate(SHOW)
        until(lambda: hidden.page.wait_for_timeout(100) or len([u for m, u in hidden.asked if "/status" in u]) > 1)

    assert 1 <= len(asked) <= 3
    assert all("no_track_activity=1" in url for url in [*asked, *asked_again])
    assert asked_hidden == []
    assert len(asked_again) >= 1


def test_who_writes_keeps_the_kernel_and_who_only_has_it_open_does_not(see, site, document):
    """For two timeouts somebody types and runs nothing; a second document only lies open, and is stopped in time."""
    written, open_only = document("written.ipynb"), document("open.ipynb")
    seen, other = see(site).lab(written), see(site).lab(open_only)
    before = [kernel(site, path)["id"] for path in (written, open_only)]
    site.set_timeout(30 / 60)
    cell = seen.page.locator(".jp-NotebookPanel:visible .jp-CodeCell .cm-content").first
    cell.click()

    until(lambda: seen.page.keyboard.press("x") or seen.page.wait_for_timeout(400) or not site.kernel_of(open_only), 90)
    for _ in range(60):
        seen.page.keyboard.press("y")
        seen.page.wait_for_timeout(400)

    found = site.kernel_of(written)
    assert found is not None
    assert found["id"] == before[0]
    assert found["reason"] in ("in use by a person", "active")
    sent = [url for method, url in seen.asked if "/presence" in url]
    assert 2 <= len(sent) <= 20
    assert other.posts("presence") == 0
    other.says("Kernel was stopped")


def test_what_is_told_is_a_path_and_never_what_was_typed(see, site, document):
    """One message a minute at most, with one field."""
    path = document("secret.ipynb")
    seen = see(site).lab(path)
    kernel(site, path)
    seen.says("Kernel stops in")
    bodies = []
    seen.page.on("request", lambda request: "/presence" in request.url and bodies.append(request.post_data))

    seen.page.locator(".jp-NotebookPanel:visible .jp-CodeCell .cm-content").first.press_sequentially("hunter2")
    until(lambda: seen.page.wait_for_timeout(100) or bodies)
    seen.page.wait_for_timeout(1_000)

    assert [json.loads(each) for each in bodies] == [{"path": path}]


def test_with_the_pages_setting_off_nothing_is_told(see, site, document):
    """The setting is the page's own."""
    site.set("culling-manager:plugin", {"presence": False})
    path = document()
    seen = see(site).lab(path)
    kernel(site, path)
    seen.says("Kernel stops in")

    seen.page.locator(".jp-NotebookPanel:visible .jp-CodeCell .cm-content").first.press_sequentially("abc")
    seen.page.wait_for_timeout(1_000)
    site.set("culling-manager:plugin", {})

    assert seen.posts("presence") == 0


def test_what_is_over_the_bound_is_not_offered_and_the_bound_is(see, site, document):
    """`max_keep_alive` of two hours: one hour, two hours, and not four."""
    seen = see(site).lab(document())
    row = seen.open_panel().locator("tbody tr").first
    expect(row).to_be_visible(timeout=SOON)

    names = [each.strip() for each in row.get_by_role("button").all_inner_texts()]

    assert names[-3:] == ["Keep 1 h", "Keep 2 h", "Until…"]


def test_do_not_disturb_shows_no_toast_and_the_countdown_is_amber(see, site, document):
    """JupyterLab's own setting is the user's word."""
    site.set("@jupyterlab/apputils-extension:notification", {"fetchNews": "false", "doNotDisturbMode": True})
    path = document()
    seen = see(site).lab(path)
    kernel(site, path)
    site.near(path, 60)

    seen.looks("warned")
    seen.page.wait_for_timeout(1_500)
    site.set("@jupyterlab/apputils-extension:notification", {"fetchNews": "false"})

    expect(seen.toast("nobody uses it")).to_have_count(0)


def test_the_countdown_can_be_shown_only_when_something_is_near(see, site, document):
    """The page's setting `countdown`: near. Never is never."""
    site.set("culling-manager:plugin", {"countdown": "near"})
    path = document()
    seen = see(site).lab(path)
    kernel(site, path)
    seen.page.wait_for_timeout(3_000)
    expect(seen.countdown).to_be_hidden()

    site.near(path)

    expect(seen.countdown).to_be_visible(timeout=SOON)
    site.set("culling-manager:plugin", {})
