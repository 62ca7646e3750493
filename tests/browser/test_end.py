"""The server ends or is not there for a while, and what a page says of it; in JupyterLab and in Notebook."""

from __future__ import annotations

import time

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

from playwright.sync_api import expect

from .pages import SOON
from .site import until

pytestmark = pytest.mark.timeout(900)
#: A page is told that nobody answers by the next request that fails: JupyterLab asks for its kernels every ten seconds.
WITHIN = 15.0


@pytest.mark.parametrize("where", ["lab", "notebook"])
def test_no_connection_is_said_and_that_it_is_back(see, serve, where):
    """Within seconds of the server's end; when it has come back on the same port, nobody has to reload."""
    site = serve({})
    path = site.notebook("a.ipynb")
    seen = see(site)
    seen.lab(path) if where == "lab" else seen.notebook(path)
    seen.says("Kernel stops in")

    site.stop()
    gone = time.time()
    seen.says(r"^No connection since \d\d?:\d\d$")
    seen.looks("urgent")
    site.start()

    # the kernel went with its server: there is nothing to count down for this document any more
    expect(seen.page.locator("text=No connection since")).to_have_count(0, timeout=3 * SOON)
    assert seen.after(gone - seen.within(WITHIN), "No connection since") <= 2 * seen.within(WITHIN)


def test_a_server_that_ends_itself_warns_tells_was_stopped_and_the_next_one_says_why_once(see, serve):
    """Not just 'no connection': which end it was, and how to go on. What the next server found is told to one page."""
    manager = {"app_manager_class": "culling_manager.apps.JupyterServerProcess", "cull_interval": 1.0}
    site = serve({"CullingKernelManager": manager})
    seen = see(site).lab()
    seen.says("^App stops in (2 h|1 h 5. min)$")

    site.shorten(least=45)
    seen.toasted(r"This server stops at \d\d?:\d\d: nobody uses it")
    seen.toasted(r"This server stops now: nobody used it\. Files are kept\. Start it again to go on")

    seen.says(r"^App was stopped \d\d?:\d\d$")
    seen.taken_back("This server stops at")
    assert site.process.wait(120) == 0

    site.start()
    seen.page.reload()
    seen.toasted(r"This app was stopped at \d\d?:\d\d after .* without use\. Files were kept\.")
    seen.page.reload()
    seen.says("^App stops in")
    assert site.status()["previous_stop"] is not None
    expect(seen.toast("This app was stopped at")).to_have_count(0)


def test_a_server_without_our_extension_shows_nothing(see, serve):
    """Nothing is visible, nothing is asked, and the console has no error."""
    site = serve({"ServerApp": {"jpserver_extensions": {"culling_manager": False}}})
    path = site.notebook("a.ipynb")
    seen = see(site).lab(path)
    until(lambda: seen.page.wait_for_timeout(100) or site.ask("api/sessions"))
    seen.page.wait_for_load_state("networkidle")

    assert seen.page.locator("[id^=culling-manager], .jp-CullingManager-countdown").count() == 0
    assert [url for _, url in seen.asked if "autoshutdown" in url] == []
    assert seen.errors == []


def test_a_server_whose_managers_are_not_ours_says_how_to_select_them(see, serve):
    """No countdown; the panel has the line to configure."""
    ours = "jupyter_server.services.kernels.kernelmanager.AsyncMappingKernelManager"
    theirs = "jupyter_server_terminals.TerminalManager"
    site = serve(
        {
            "ServerApp": {"kernel_manager_class": ours},
            "TerminalsExtensionApp": {"terminal_manager_class": theirs},
            "CullingKernelManager": {},
        }
    )
    seen = see(site).lab(site.notebook("a.ipynb"))

    seen.page.locator("[data-id='culling-manager-panel'], .lm-TabBar-tab[title='Idle shutdown']").first.click(
        timeout=SOON
    )

    expect(seen.panel).to_contain_text("culling_manager.CullingKernelManager", timeout=SOON)
    expect(seen.panel).to_contain_text("Nothing is stopped on this server.")
    expect(seen.countdown).to_be_hidden()


READ_ONLY = '''
from jupyter_server.auth import Authorizer


class ReadOnly(Authorizer):
    """Nobody changes what the culler does."""

    def is_authorized(self, handler, user, action, resource):
        return resource != "culling_manager" or action == "read"
'''


def test_a_user_who_may_only_read_has_no_usable_buttons_and_hears_a_refusal(see, serve, tmp_path):
    """What a user may do is asked first; a command that is run all the same shows the server's words."""
    (tmp_path / "read_only.py").write_text(READ_ONLY)
    site = serve({"ServerApp": {"authorizer_class": "read_only.ReadOnly"}}, python_path=str(tmp_path))
    seen = see(site).lab(site.notebook("a.ipynb"))
    panel = seen.open_panel()
    expect(panel.locator("tbody tr")).to_have_count(1, timeout=SOON)
    expect(panel.get_by_label("Timeout (minutes)")).to_be_disabled(timeout=SOON)

    assert panel.get_by_role("button", name="Keep").count() == panel.get_by_role("button", name="Apply").count() == 0

    allowed = see(site, lambda page: page.route("**/api/me*", lambda route: route.fulfill(json={})))
    allowed.lab("a.ipynb").open_panel().get_by_role("button", name="Keep 1 h").first.click(timeout=SOON)
    allowed.toasted(r"[Ff]orbidden|not authorized")
    assert site.status()["keep_alive"] == []
