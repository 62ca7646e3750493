"""For everybody: contrast, names and roles in three themes, a narrow panel, and German."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

from playwright.sync_api import expect

from .pages import SOON, judged

pytestmark = pytest.mark.timeout(900)
AXE = Path(__file__).parent / "node_modules" / "axe-core" / "axe.min.js"
THEMES = ["JupyterLab Light", "JupyterLab Dark", "JupyterLab Dark High Contrast"]
LONG = "a name of a document that is much longer than any panel is wide and hasnoplacetobreakitanywhereatall.ipynb"


def nodes(rules: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """Each element that a rule of axe's has something to say about, with the rule's name."""
    return [(rule["id"], node) for rule in rules for node in rule["nodes"]]


@pytest.mark.skipif(not AXE.exists(), reason="axe is not fetched: npm ci in tests/browser")
@pytest.mark.parametrize("theme", THEMES)
def test_axe_finds_nothing(see, site, document, theme):
    """In countdown, toast and panel, when amber; and it has judged colours, which it cannot where nothing is seen."""
    site.set("@jupyterlab/apputils-extension:themes", {"theme": theme})
    path = document("amber.ipynb")
    seen = see(site).lab(path)
    panel = seen.open_panel()
    expect(panel.get_by_label("Timeout (minutes)")).to_be_visible(timeout=SOON)
    seen.warned(path)
    seen.looks("warned")
    expect(panel.locator("[data-level=warned]")).to_have_count(1, timeout=SOON)
    seen.at_rest(".Toastify__toast")

    for within in (".jp-CullingManager-panel", ".jp-CullingManager-countdown", ".Toastify__toast"):
        found = judged(seen.page, AXE.read_text(), within)

        said = [(rule, node["html"][:200], node["failureSummary"]) for rule, node in nodes(found["violations"])]
        assert said == []
        assert "color-contrast" in [rule for rule, _ in nodes(found["passes"])], f"it judged no colour in {within}"
        doubts = [node["html"] for rule, node in nodes(found["incomplete"]) if rule == "color-contrast"]
        assert [each for each in doubts if "CullingManager" in each or "button" in each] == []


def test_at_250_px_there_is_no_scroll_bar_and_roles_are_kept(see, site, document):
    """A long name breaks; rows are cards, and still rows of a table."""
    path = document(LONG)
    seen = see(site).lab(path)
    panel = seen.open_panel()
    expect(panel.get_by_role("table", name="Kernels, terminals and apps")).to_be_visible(timeout=SOON)
    expect(panel.get_by_label("Timeout (minutes)")).to_be_visible(timeout=SOON)

    panel.evaluate("node => { node.style.width = '250px'; node.style.minWidth = '250px'; }")
    wide, seen_wide = panel.evaluate("node => [node.scrollWidth, node.clientWidth]")

    assert seen_wide <= 250
    assert wide <= seen_wide
    expect(panel.get_by_role("row")).to_have_count(2)
    expect(panel.get_by_role("rowheader", name=LONG[:30])).to_have_count(1)


def test_german_is_spoken_where_jupyterlab_speaks_it(see, site, document):
    """Countdown, toast and panel. JupyterLab itself speaks it where its language pack is installed."""
    pytest.importorskip("jupyterlab_language_pack_de_DE", reason="JupyterLab's German is not installed")
    site.set("@jupyterlab/translation-extension:plugin", {"locale": "de_DE"})
    path = document("analyse.ipynb")
    seen = see(site).lab(path)

    seen.says(r"^Kernel stoppt in (2 Std\.|1 Std\. 5\d Min\.)$")
    seen.warned(path, r"Kernel von analyse\.ipynb stoppt um \d\d?:\d\d: keine Benutzung\.")
    seen.countdown.click()

    expect(seen.panel.get_by_role("heading", name="Leerlauf-Abschaltung")).to_be_visible(timeout=SOON)
    expect(seen.panel.get_by_role("button", name="1 Std. behalten: Kernel von analyse.ipynb")).to_be_visible()


def test_the_settings_editor_speaks_german_too(see, site):
    """JupyterLab's server has no German for settings of others; the page itself translates its own."""
    pytest.importorskip("jupyterlab_language_pack_de_DE", reason="JupyterLab's German is not installed")
    site.set("@jupyterlab/translation-extension:plugin", {"locale": "de_DE"})
    seen = see(site).lab()

    seen.page.keyboard.press("Control+,")

    entry = seen.page.locator(".jp-PluginList-entry", has_text="Leerlauf-Abschaltung").first
    entry.click(timeout=SOON)
    expect(seen.page.get_by_role("checkbox", name="Anwesenheit")).to_be_visible(timeout=SOON)
