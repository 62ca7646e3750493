"""Makes the picture of the page that the README shows, and with `--all` those that a person looks at after a change.

    python -m tests.browser.picture [--all FOLDER]

It needs what the page's tests need: a browser, and the extra `browser`.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, sync_playwright

from .conftest import FLAGS, browser_path
from .pages import Seen
from .site import Site, running, until

ROOT = Path(__file__).parents[2]
#: What the README shows.
PICTURE = ROOT / "culling_manager" / "lab" / "page.png"
SIZE = {"width": 1040, "height": 520}
CONFIG = {"CullingKernelManager": {"cull_interval": 1.0}, "Signals": {"names": []}}
ENGLISH: dict[str, Any] = {"locale": "default"}
LOOKS = {
    "light": ("JupyterLab Light", "lab", ENGLISH),
    "dark": ("JupyterLab Dark", "lab", ENGLISH),
    "contrast": ("JupyterLab Dark High Contrast", "lab", ENGLISH),
    "german": ("JupyterLab Light", "lab", {"locale": "de_DE"}),
    "notebook": ("JupyterLab Light", "notebook", ENGLISH),
}


def warned(browser: Browser, site: Site, look: str) -> Seen:
    """A page with a document whose kernel is near its end, another one that is kept, and the panel."""
    theme, where, language = LOOKS[look]
    site.rest()
    site.set("@jupyterlab/apputils-extension:themes", {"theme": theme})
    site.set("@jupyterlab/translation-extension:plugin", language)
    for name in ("analysis.ipynb", "training.ipynb"):
        site.notebook(name)
        body = {"path": name, "name": name, "type": "notebook", "kernel": {"name": "python3"}}
        site.ask("api/sessions", "POST", body)
    kept = until(lambda: site.kernel_of("training.ipynb"))
    site.keep(kept["id"], 240)
    page = browser.new_context(viewport=SIZE, locale="en-GB", device_scale_factor=1).new_page()
    seen = Seen(page, site)
    seen.lab("analysis.ipynb") if where == "lab" else seen.notebook("analysis.ipynb")
    seen.open_panel()
    if where == "lab":
        widen(seen)  # now, for that is use of the document in front
    seen.warned("analysis.ipynb", "analysis.ipynb")
    seen.looks("warned")
    page.mouse.move(400, 300)
    seen.at_rest(".Toastify__toast")
    return seen


def widen(seen: Seen) -> None:
    """Give the panel room for its table, and take the file browser away."""
    page = seen.page
    page.keyboard.press("Control+b")
    page.wait_for_timeout(400)
    box = page.locator("#jp-right-stack").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] - 2, 200)
    page.mouse.down()
    page.mouse.move(box["x"] - 380, 200, steps=5)
    page.mouse.up()
    page.wait_for_timeout(400)


def main() -> None:
    """Make the README's picture, or all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--all", type=Path, metavar="FOLDER", help="make every look, into this folder")
    parser.add_argument("--look", choices=LOOKS, action="append", help="only these looks")
    asked = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        running(Path(folder), CONFIG) as site,
        sync_playwright() as api,
    ):
        browser = api.chromium.launch(executable_path=browser_path(), args=FLAGS)
        for look in (asked.look or LOOKS) if asked.all else ["light"]:
            seen = warned(browser, site, look)
            target = asked.all / f"{look}.png" if asked.all else PICTURE
            seen.page.screenshot(path=target)
            print(target)  # noqa: T201
            seen.page.context.close()
        browser.close()


if __name__ == "__main__":
    main()
