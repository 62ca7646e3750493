"""The server ends or is not there for a while, and what a page says of it; in JupyterLab and in Notebook."""

from __future__ import annotations

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

from playwright.sync_api import expect

from .pages import SOON
from .site import running

pytestmark = pytest.mark.timeout(600)


@pytest.mark.parametrize("where", ["lab", "notebook"])
def test_no_connection_is_said_and_that_it_is_back(see, browser, tmp_path, where):
    """Within seconds of the server's end; when it has come back on the same port, nobody has to reload."""
    with running(tmp_path) as site:
        path = site.notebook("a.ipynb")
        seen = see(site)
        seen.lab(path) if where == "lab" else seen.notebook(path)
        seen.says("Kernel stops in")

        site.stop()
        seen.says(r"^No connection since \d\d?:\d\d$")
        seen.looks("urgent")
        site.start()

        # the kernel went with its server: there is nothing to count down for this document any more
        expect(seen.page.locator("text=No connection since")).to_have_count(0, timeout=2 * SOON)


def test_a_server_that_ends_itself_warns_tells_and_was_stopped(see, browser, tmp_path):
    """Not just 'no connection': which end it was, and how to go on."""
    manager = {
        "app_manager_class": "culling_manager.apps.JupyterServerProcess",
        "idle_timeout": 40 / 60,
        "cull_interval": 1.0,
    }
    # whatever else runs on this machine is no work of this server's
    with running(tmp_path, {"CullingKernelManager": manager, "Signals": {"names": []}}) as site:
        seen = see(site).lab()

        seen.says("App stops in")
        seen.toasted(r"This server stops at \d\d?:\d\d: nobody uses it")
        seen.toasted(r"This server stops now: nobody used it\. Files are kept\. Start it again to go on")

        seen.says(r"^App was stopped \d\d?:\d\d$")
        seen.taken_back("This server stops at")
        assert site.process.wait(60) == 0


def test_a_server_without_our_extension_shows_nothing(see, browser, tmp_path):
    """Nothing is visible, nothing is asked, and the console has no error."""
    with running(tmp_path, {"ServerApp": {"jpserver_extensions": {"culling_manager": False}}}) as site:
        seen = see(site).lab(site.notebook("a.ipynb"))
        expect(seen.page.locator(".jp-NotebookPanel")).to_be_visible(timeout=SOON)
        seen.page.wait_for_timeout(3_000)

        assert seen.page.locator("[id^=culling-manager], .jp-CullingManager-countdown").count() == 0
        assert [url for _, url in seen.asked if "autoshutdown" in url] == []
        assert seen.errors == []


def test_a_server_whose_managers_are_not_ours_says_how_to_select_them(see, browser, tmp_path):
    """No countdown; the panel has the line to configure."""
    ours = "jupyter_server.services.kernels.kernelmanager.AsyncMappingKernelManager"
    theirs = "jupyter_server_terminals.TerminalManager"
    config = {
        "ServerApp": {"kernel_manager_class": ours},
        "TerminalsExtensionApp": {"terminal_manager_class": theirs},
        "CullingKernelManager": {},
    }
    with running(tmp_path, config) as site:
        seen = see(site).lab(site.notebook("a.ipynb"))
        expect(seen.page.locator(".jp-NotebookPanel")).to_be_visible(timeout=SOON)

        expect(seen.countdown).to_be_hidden()
        seen.page.locator("[data-id='culling-manager-panel'], .lm-TabBar-tab[title='Idle shutdown']").first.click()

        expect(seen.panel).to_contain_text("culling_manager.CullingKernelManager", timeout=SOON)
        expect(seen.panel).to_contain_text("Nothing is stopped on this server.")


READ_ONLY = '''
from jupyter_server.auth import Authorizer


class ReadOnly(Authorizer):
    """Nobody changes what the culler does."""

    def is_authorized(self, handler, user, action, resource):
        return resource != "culling_manager" or action == "read"
'''


def test_a_user_who_may_only_read_has_no_usable_buttons_and_hears_a_refusal(see, browser, tmp_path):
    """What a user may do is asked first; a command that is run all the same shows the server's words."""
    (tmp_path / "read_only.py").write_text(READ_ONLY)
    config = {"ServerApp": {"authorizer_class": "read_only.ReadOnly"}}
    with running(tmp_path, config, python_path=str(tmp_path)) as site:
        seen = see(site).lab(site.notebook("a.ipynb"))
        panel = seen.open_panel()
        expect(panel.locator("tbody tr")).to_have_count(1, timeout=SOON)
        expect(panel.get_by_label("Timeout (minutes)")).to_be_disabled(timeout=SOON)

        assert (
            panel.get_by_role("button", name="Keep").count() == panel.get_by_role("button", name="Apply").count() == 0
        )

        allowed = see(site, lambda page: page.route("**/api/me*", lambda route: route.fulfill(json={})))
        allowed.lab("a.ipynb").open_panel().get_by_role("button", name="Keep 1 h").first.click()
        allowed.toasted(r"[Ff]orbidden|not authorized")
        assert site.status()["keep_alive"] == []
