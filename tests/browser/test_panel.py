"""The panel and all other places where something is kept or set: palette, Kernel menu, Running panel, the dialog."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

from playwright.sync_api import expect

from .pages import SOON
from .site import until
from .test_lab import kernel

pytestmark = pytest.mark.timeout(900)


def test_a_timeout_within_bounds_takes_effect_and_one_outside_is_not_sent(see, site, document):
    """The form says which bounds there are."""
    seen = see(site).lab(document())
    panel = seen.open_panel()
    field = panel.get_by_label("Timeout (minutes)")
    expect(panel.get_by_text("1 to 480")).to_be_visible(timeout=SOON)

    field.fill("481")
    panel.get_by_role("button", name="Apply").click()
    expect(panel.get_by_role("status")).to_have_text("Timeout (minutes): 1 to 480", timeout=SOON)
    sent = seen.posts("settings")
    field.fill("60")
    panel.get_by_role("button", name="Apply").click()

    until(lambda: site.timeout == 3600)
    assert sent == 0
    seen.says(r"^Kernel stops in (1 h|5\d min)$")


def test_what_is_set_holds_after_a_restart_where_that_is_wanted_and_reset_takes_it_back(see, site, document):
    """A tick in a box is the difference; *Reset* goes back to what the admin has configured."""
    seen = see(site).lab(document())
    panel = seen.open_panel()
    field = panel.get_by_label("Timeout (minutes)")
    field.fill("60")
    panel.get_by_label("Keep terminals").check()
    panel.get_by_label("Also after a restart").check()

    panel.get_by_role("button", name="Apply").click()
    until(lambda: site.settled()["saved"] is not None)
    set_to = site.settled()
    panel.get_by_role("button", name="Reset").click()

    expect(field).to_have_value("120", timeout=SOON)
    expect(panel.get_by_label("Also after a restart")).not_to_be_checked(timeout=SOON)
    expect(panel.get_by_label("Keep terminals")).not_to_be_checked(timeout=SOON)
    found = site.settled()
    assert (set_to["idle_time"], set_to["keep_terminals"]) == (3600, True)
    assert (found["idle_time"], found["keep_terminals"], found["saved"]) == (7200, False, None)


def test_until_a_time_of_day_is_asked_for_in_a_dialog(see, site, document):
    """The panel's *Until…*: the next time that a clock here shows what was chosen."""
    path = document("night.ipynb")
    seen = see(site).lab(path)
    wanted = (datetime.now() + timedelta(hours=3)).replace(second=0, microsecond=0)
    seen.open_panel().get_by_role("button", name="Until… Kernel of night.ipynb").click(timeout=SOON)
    dialog = seen.page.get_by_role("dialog")
    expect(dialog).to_contain_text("Keep Kernel of night.ipynb", timeout=SOON)

    dialog.get_by_label("Time of day").fill(f"{wanted:%H:%M}")
    expect(dialog.get_by_role("radio", name="Until…")).to_be_checked()
    dialog.get_by_role("button", name="Keep", exact=True).click()

    seen.says("^Kernel is kept until")
    until_ = site.kernel_of(path)["kept_until"]
    assert datetime.fromisoformat(until_.replace("Z", "+00:00")).timestamp() == wanted.timestamp()


def test_a_dialog_that_is_cancelled_keeps_nothing(see, site, document):
    """Escape, as in any dialog."""
    path = document()
    seen = see(site).lab(path)
    seen.open_panel().get_by_role("button", name="Until…").first.click(timeout=SOON)
    expect(seen.page.get_by_role("dialog")).to_be_visible(timeout=SOON)

    seen.page.keyboard.press("Escape")

    expect(seen.page.get_by_role("dialog")).to_have_count(0, timeout=SOON)
    assert seen.posts("keep-alive") == 0
    assert site.status()["keep_alive"] == []


def test_the_palette_keeps_everything_and_resumes_a_kernel(see, site, document):
    """All commands are found under one heading, and do what they say."""
    path = document()
    seen = see(site).lab(path)
    seen.says("Kernel stops in")

    seen.command("Keep Everything Alive")
    dialog = seen.page.get_by_role("dialog")
    expect(dialog).to_contain_text("Keep everything", timeout=SOON)
    dialog.get_by_role("radio", name="Keep for 4 hours").check()
    dialog.get_by_role("button", name="Keep", exact=True).click()
    until(lambda: [each["kind"] for each in site.status()["keep_alive"]] == ["all"])
    seen.says("^Kernel is kept until")
    panel = seen.open_panel()
    expect(panel).to_contain_text(re.compile(r"Everything is kept until \d\d?:\d\d, asked for by "), timeout=SOON)
    panel.get_by_role("button", name="Resume", exact=True).click()
    seen.says("^Kernel stops in")

    site.keep(kernel(site, path)["id"], 60)
    seen.says("^Kernel is kept until")
    seen.front(path)
    seen.command("Resume Idle Shutdown of Kernel")

    seen.says("^Kernel stops in")
    assert site.status()["keep_alive"] == []


def test_the_palette_opens_the_panel_as_a_tab_of_its_own(see, site, document):
    """JupyterLab has those; a second time it comes to the front."""
    path = document("front.ipynb")
    seen = see(site).lab(path)
    seen.says("Kernel stops in")

    for _ in range(2):
        seen.command("Show What Stops When in a Tab")

        tab = seen.page.locator("#culling-manager-panel-main")
        expect(tab.locator("h2")).to_be_visible(timeout=SOON)
        expect(tab.locator("tbody tr")).to_have_count(1, timeout=SOON)
        seen.front(path)
    expect(seen.page.locator("#jp-main-dock-panel .lm-TabBar-tab", has_text="Idle shutdown")).to_have_count(1)


def test_the_kernel_menu_keeps_the_kernel_in_front(see, site, document):
    """*Keep Kernel Alive…* is about the document in front, and *Resume* can be chosen only when it is kept."""
    path, other = document("front.ipynb"), document("behind.ipynb")
    seen = see(site).lab(other, path)
    kernel(site, path)
    seen.says("Kernel stops in")

    seen.menu("Kernel", "Keep Kernel Alive")
    dialog = seen.page.get_by_role("dialog")
    expect(dialog).to_contain_text("Keep Kernel of front.ipynb", timeout=SOON)
    dialog.get_by_role("button", name="Keep", exact=True).click()

    seen.says("^Kernel is kept until")
    assert [each["id"] for each in site.status()["keep_alive"]] == [kernel(site, path)["id"]]
    seen.menu("Kernel", "Resume Idle Shutdown of Kernel")
    seen.says("^Kernel stops in")


#: Types into a terminal, as its page does.
TYPE = """([url, words]) => new Promise((resolve, reject) => {
  const socket = new WebSocket(url);
  socket.onmessage = () => { socket.send(JSON.stringify(['stdin', words])); socket.onmessage = null; resolve(); };
  socket.onerror = () => reject('no terminal answers');
})"""


def test_the_panel_says_what_runs_in_a_terminal_and_markup_stays_text(see, site, document):
    """In its row and in the names of its buttons; a terminal with nothing but its shell has only its number."""
    script = "<img src=x onerror=document.title='caught'>.py"
    (site.files / script).write_text("import time\ntime.sleep(3600)\n")
    busy, idle = (site.ask("api/terminals", "POST", {})["name"] for _ in range(2))
    seen = see(site).lab(document())
    socket = f"{site.root.replace('http', 'ws', 1)}terminals/websocket/{busy}"
    seen.page.evaluate(TYPE, [socket, f'exec python3 "{script}"\r'])
    until(lambda: script in [each["runs"] for each in site.status()["terminals"]])

    seen.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")  # it asks within a minute anyway
    seen.open_panel()

    name = f"Terminal {busy} ({script})"
    expect(seen.panel.get_by_role("rowheader").filter(has_text=name)).to_have_text(name, timeout=SOON)
    expect(seen.panel.get_by_role("rowheader").filter(has_text=f"Terminal {idle}")).to_have_text(f"Terminal {idle}")
    expect(seen.panel.get_by_role("button", name=f"Keep 1 h: {name}")).to_be_visible()
    assert seen.panel.locator("img").count() == 0
    assert seen.page.title() != "caught"


def test_the_running_panel_has_a_section_that_takes_back_what_was_asked_for(see, site, document):
    """It lists what stops when; its button stops nothing."""
    path = document("listed.ipynb")
    seen = see(site).lab(path)
    seen.says("Kernel stops in")
    seen.page.locator("[data-id='jp-running-sessions']").click()
    row = seen.page.locator("#jp-running-sessions .jp-RunningSessions-item", has_text="Kernel of listed.ipynb")
    expect(row).to_contain_text(re.compile("stops in (2 h|1 h 5. min)"), timeout=SOON)

    site.keep(kernel(site, path)["id"], 60)
    expect(row).to_contain_text("kept until", timeout=SOON)
    row.hover()
    row.get_by_title("Resume").click()

    expect(row).to_contain_text("stops in", timeout=SOON)
    assert site.status()["keep_alive"] == []
    assert site.kernel_of(path) is not None


def test_a_line_to_paste_keeps_the_kernel_that_it_is_run_in(see, site, document):
    """What the panel shows is run in a cell as it stands, and the page says that the kernel is kept."""
    path = document("pasted.ipynb")
    seen = see(site).lab(path)
    panel = seen.open_panel()
    panel.get_by_text("Keep a kernel from its own code").click(timeout=SOON)
    line = panel.get_by_label("A line to paste").input_value()

    cell = seen.page.locator(".jp-NotebookPanel:visible .jp-CodeCell .cm-content").first
    cell.click()
    seen.page.keyboard.insert_text(line)
    seen.page.keyboard.press("Shift+Enter")

    seen.says("^Kernel is kept until")
    assert site.kernel_of(path)["reason"] in ("kept alive", "busy")


def test_what_is_over_the_bound_is_not_offered_and_the_bound_is(see, serve):
    """`max_keep_alive` of two hours: one hour, two hours, and not four; also in the dialog."""
    site = serve({"CullingKernelManager": {"cull_interval": 1.0, "max_keep_alive": 120}})
    seen = see(site).lab(site.notebook("bound.ipynb"))
    row = seen.open_panel().locator("tbody tr").first
    expect(row).to_be_visible(timeout=SOON)

    names = [each.strip() for each in row.get_by_role("button").all_inner_texts()]
    row.get_by_role("button", name="Until…").click()
    offered = seen.page.locator(".jp-CullingManager-until label")

    expect(offered).to_have_text(["Keep for 1 hour", "Keep for 2 hours", "Until…"], timeout=SOON)
    assert names[-3:] == ["Keep 1 h", "Keep 2 h", "Until…"]


def test_a_server_with_a_password_shows_it_all_to_who_has_logged_in(see, serve):
    """No token in the page's address: a cookie is what its requests have, and the event bus, too."""
    from jupyter_server.auth.security import passwd

    site = serve({"PasswordIdentityProvider": {"hashed_password": passwd("open sesame", "sha1")}})
    path = site.notebook("a.ipynb")
    seen = see(site)

    seen.page.goto(f"{site.root}lab/tree/{path}")
    seen.page.get_by_label("Password or token").fill("open sesame")
    seen.page.get_by_role("button", name="Log in", exact=True).click()

    toast = seen.warned(path)
    toast.get_by_role("button", name="Keep for 1 hour").click()
    seen.says("Kernel is kept until")
    assert site.kernel_of(path)["reason"] == "kept alive"
