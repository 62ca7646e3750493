"""What a person does and sees in a page, in words of the page."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator
from typing import Any

from playwright.sync_api import ConsoleMessage, Locator, Page, WebSocket, WebSocketRoute, expect

from .site import SPACE, Site, until

#: How long (ms) something may take to show on a machine that is busy with other things.
SOON = 120_000
COUNTDOWN = "#culling-manager-countdown"
PANEL = "#culling-manager-panel"
#: Puts a page's clock an hour forward, as if somebody had set it wrong.
HOUR_OFF = """
(() => {
  const Real = Date, off = 3600_000;
  globalThis.Date = class extends Real {
    constructor(...given) { given.length ? super(...given) : super(Real.now() + off); }
    static now() { return Real.now() + off; }
  };
})();
"""
#: No toast slides in: what moves cannot be clicked, and half transparent it has other colours.
STILL = """
addEventListener('DOMContentLoaded', () => {
  const style = document.createElement('style');
  style.textContent = '.Toastify__toast { animation-duration: 1ms !important; transition: none !important; }';
  document.head.append(style);
});
"""
#: Notes when (ms since 1970, by the machine's clock) a toast or the countdown first said something.
NOTE = """
(() => {
  const said = globalThis.said = [];
  new MutationObserver(() => {
    for (const node of document.querySelectorAll('.Toastify__toast, #culling-manager-countdown')) {
      const text = node.textContent;
      if (text && said.at(-1)?.text !== text) {
        said.push({ text, at: performance.timeOrigin + performance.now() });
      }
    }
  }).observe(document, { childList: true, subtree: true, characterData: true });
})();
"""
#: A page that has been silent towards its kernels for so long (seconds) says no more.
SPOKEN = 20.0
#: An error that is not ours: jupyter_server 2.10 has no answer about its kernels while one of them is starting.
THEIRS = re.compile(r"'last_activity' trait|/api/(kernels|sessions)\?")
#: In so many seconds a page opens on a machine with two cores and nothing else to do.
QUICKLY = 4.0
#: Has a page believe that nobody sees it.
HIDE = """
Object.defineProperty(document, 'hidden', { configurable: true, get: () => true });
Object.defineProperty(document, 'visibilityState', { configurable: true, get: () => 'hidden' });
document.dispatchEvent(new Event('visibilitychange'));
"""
#: And again that somebody does.
SHOW = """
delete document.hidden; delete document.visibilityState;
document.dispatchEvent(new Event('visibilitychange'));
"""


class Seen:
    """A page of JupyterLab or Notebook, and what it has asked, logged and failed with."""

    def __init__(self, page: Page, site: Site) -> None:
        self.page, self.site = page, site
        page.add_init_script(STILL)
        page.add_init_script(NOTE)
        self.asked: list[tuple[str, str]] = []
        self.errors: list[str] = []
        self.opened_in = 0.0
        self.talked, self.spoke_at = 0, 0.0
        page.on("websocket", self._listen)
        page.on("request", lambda request: self.asked.append((request.method, request.url)))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", self._logged)

    # -- opening -----------------------------------------------------------------------------------

    def lab(self, *paths: str) -> Seen:
        """Open JupyterLab with documents; the last is in front."""
        self._go(f"lab/tree/{paths[0]}" if paths else "lab", ".jp-NotebookPanel" if paths else "#jp-main-dock-panel")
        for path in paths[1:]:
            self.open(path)
        self.talked_out(len(paths))
        return self

    def notebook(self, path: str) -> Seen:
        """Open one document in Notebook."""
        self._go(f"notebooks/{path}", ".jp-Notebook")
        self.talked_out(1)
        return self

    def _go(self, path: str, shows: str) -> None:
        began = time.monotonic()
        self.page.goto(self.site.url(path), timeout=SOON)
        self.page.wait_for_selector(shows, timeout=SOON)
        self.opened_in = time.monotonic() - began

    def _logged(self, words: ConsoleMessage) -> None:
        """Note an error."""
        if words.type == "error" and not THEIRS.search(f"{words.text} {words.location.get('url', '')}"):
            self.errors.append(words.text)

    def _listen(self, socket: WebSocket) -> None:
        """Note when a document asks its kernel what was run before: of what it says by itself, all that is use."""

        def said(words: str | bytes) -> None:
            self.spoke_at = time.monotonic()
            self.talked += (words.encode() if isinstance(words, str) else words).count(b"history_request")

        if "/channels" in socket.url:
            socket.on("framesent", said)

    def talked_out(self, documents: int) -> None:
        """Wait until that many documents have said to their kernels what they say when they open, or nothing more."""

        def done() -> bool:
            self.page.wait_for_timeout(50)
            return self.talked >= documents or 0 < self.spoke_at < time.monotonic() - SPOKEN

        until(done, SOON / 1000)

    def open(self, path: str) -> None:
        """Open another document from the file browser."""
        self.page.locator(".jp-DirListing-item", has_text=path).dblclick(timeout=SOON)
        expect(self.page.locator(".lm-TabBar-tab.jp-mod-current", has_text=path)).to_be_visible(timeout=SOON)

    def front(self, path: str) -> None:
        """Put a document that is open in front."""
        self.page.locator("#jp-main-dock-panel .lm-TabBar-tab", has_text=path).click()

    # -- the countdown and the toasts ----------------------------------------------------------------

    @property
    def countdown(self) -> Locator:
        """The button that counts down."""
        return self.page.locator(COUNTDOWN)

    def says(self, words: str) -> None:
        """Wait until the countdown says so; a regular expression."""
        expect(self.countdown).to_have_text(re.compile(words), timeout=SOON)

    def looks(self, level: str) -> None:
        """Wait until the countdown is plain, warned or urgent."""
        expect(self.countdown).to_have_attribute("data-level", level, timeout=SOON)

    def toast(self, words: str) -> Locator:
        """A toast that says so."""
        return self.page.locator(".Toastify__toast", has_text=re.compile(words))

    def toasted(self, words: str) -> Locator:
        """Wait for a toast that says so."""
        found = self.toast(words)
        expect(found.first).to_be_visible(timeout=SOON)
        return found.first

    def warned(self, path: str, words: str = "nobody uses it") -> Locator:
        """Have a document's kernel be near its end, and wait for the toast that says so.

        A page that is slow to open may have a word with its kernel in between: then it is not near its end any more.
        """
        self.talked_out(1)
        found = self.toast(words).first
        until(lambda: self.site.near(path) or self.page.wait_for_timeout(100) or found.is_visible(), SOON / 1000)
        return found

    def taken_back(self, words: str) -> None:
        """Wait until no toast says so any more."""
        expect(self.toast(words)).to_have_count(0, timeout=SOON)

    def at_rest(self, selector: str) -> None:
        """Wait until nothing moves in there: half transparent it has other colours."""
        moving = """each => [...document.querySelectorAll(each)].some(node =>
            node.getAnimations({ subtree: true }).some(animation => animation.playState === 'running'))"""
        until(lambda: not self.page.evaluate(moving, selector))

    def calm(self, seconds: float) -> None:
        """Wait until the page has asked our handlers nothing for so long."""
        quiet = [len(self.asked), time.monotonic()]

        def calm() -> bool:
            self.page.wait_for_timeout(200)
            if any(f"/{SPACE}/" in url for _, url in self.asked[int(quiet[0]) :]):
                quiet[:] = [len(self.asked), time.monotonic()]
            return time.monotonic() - quiet[1] > seconds

        until(calm, SOON / 1000)

    # -- how soon ---------------------------------------------------------------------------------------

    def after(self, began: float, words: str) -> float:
        """Seconds from an instant (since 1970) until toast or countdown said so, by the clock of this machine."""
        said = self.page.evaluate("said")
        times = [each["at"] / 1000 - began for each in said if re.search(words, each["text"])]
        return float(min(each for each in times if each > -0.1))

    def within(self, seconds: float) -> float:
        """What is promised for a machine that has nothing else to do, on this one as it is today."""
        return seconds * max(1.0, self.opened_in / QUICKLY)

    # -- the panel -----------------------------------------------------------------------------------

    @property
    def panel(self) -> Locator:
        """The panel, wherever it is."""
        return self.page.locator(PANEL)

    def open_panel(self) -> Locator:
        """Open it by its button, as people do."""
        expect(self.countdown).to_be_visible(timeout=SOON)
        self.countdown.click()
        expect(self.panel.locator("h2")).to_be_visible(timeout=SOON)
        return self.panel

    def row(self, words: str) -> Locator:
        """A row of the panel's table."""
        return self.panel.locator("tbody tr", has_text=words)

    # -- deeds ---------------------------------------------------------------------------------------

    def run(self, code: str) -> None:
        """Run code in the first cell of the document in front."""
        cell = self.page.locator(".jp-NotebookPanel:visible .jp-CodeCell .cm-content").first
        cell.click()
        cell.press_sequentially(code)
        self.page.keyboard.press("Shift+Enter")

    def command(self, label: str) -> None:
        """Run a command from the palette."""
        self.page.keyboard.press("Control+Shift+C")
        words = self.page.locator(".lm-CommandPalette-input:visible")
        words.fill(label, timeout=SOON)
        self.page.locator(".lm-CommandPalette-item", has_text=label).first.click(timeout=SOON)

    def menu(self, menu: str, label: str) -> None:
        """Choose something in a menu of the menu bar."""
        self.page.get_by_role("menuitem", name=menu, exact=True).click(timeout=SOON)
        self.page.locator(".lm-Menu .lm-Menu-item", has_text=label).click(timeout=SOON)

    @contextlib.contextmanager
    def counting(self) -> Iterator[list[str]]:
        """The GETs to our handlers while something is done."""
        before, found = len(self.asked), list[str]()
        yield found
        found += [url for method, url in self.asked[before:] if method == "GET" and f"/{SPACE}/" in url]

    def posts(self, path: str) -> int:
        """How often something was sent to one of our handlers."""
        return sum(1 for method, url in self.asked if method != "GET" and f"/{SPACE}/{path}" in url)


def deny_events(page: Page) -> None:
    """Have the server's event bus refuse this page."""

    def refuse(socket: WebSocketRoute) -> None:
        socket.close(code=1008, reason="not allowed")

    page.route_web_socket(re.compile(r"/api/events/subscribe"), refuse)


def mute(page: Page) -> None:
    """Have nothing of what a page says to kernels arrive: opening a document is use of its kernel."""
    page.route_web_socket(re.compile(r"/api/kernels/[^/]+/channels"), lambda socket: None)


def judged(page: Page, axe: str, within: str) -> dict[str, Any]:
    """What axe finds within a part of a page, once it can see it: JupyterLab's body is 0 px high and cuts it off."""
    page.add_style_tag(content="body, .Toastify, .Toastify__toast-container { min-height: 100vh; overflow: visible; }")
    page.evaluate(axe)
    found: dict[str, Any] = page.evaluate(
        "within => axe.run(within, { resultTypes: ['violations', 'passes', 'incomplete'] })", within
    )
    return found
