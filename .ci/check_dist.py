"""Checks what is inside the wheel and the sdist in a folder: nothing missing, nothing that does not belong."""

from __future__ import annotations

import gzip
import json
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

#: Where the wheel has the page for JupyterLab and Notebook, and what of it may be how large (bytes, compressed).
PAGE = ".data/data/share/jupyter/labextensions/culling-manager"
PAGE_MOST = 60_000
IN_WHEEL = [
    "culling_manager/__init__.py",
    "culling_manager/py.typed",
    "culling_manager/managers/kernels.py",
    "culling_manager/apps/space.py",
    "culling_manager/locale/de_DE/LC_MESSAGES/culling_manager.json",
    "culling_manager/money/assets/LICENSE.txt",
    "culling_manager/money/assets/report.css",
    "culling_manager/money/assets/report.js",
    "culling_manager/money/assets/vega-lite.min.js",
    "culling_manager/money/assets/vega.min.js",
    "culling_manager/schemas/app.json",
    "culling_manager/schemas/culling.json",
    "culling_manager/schemas/openapi.json",
    "culling_manager/schemas/settings.json",
    ".data/data/etc/jupyter/jupyter_server_config.d/culling_manager.json",
    f"{PAGE}/package.json",
    f"{PAGE}/install.json",
    f"{PAGE}/schemas/culling-manager/plugin.json",
    f"{PAGE}/static/style.js",
    ".data/data/share/culling_manager/check_idle_timeout_configuration.py",
    ".data/data/share/culling_manager/lifecycle.py",
    ".data/data/share/culling_manager/set-time-interval.sh",
    ".dist-info/licenses/LICENSE",
]
IN_SDIST = [
    "culling_manager/lab/package-lock.json",
    "culling_manager/lab/src/index.ts",
    "culling_manager/labextension/built-from",
    "culling_manager/labextension/package.json",
    "culling_manager/money/assets/LICENSE.txt",
    "culling_manager/money/assets/vega-lite.min.js",
    "culling_manager/money/assets/vega.min.js",
    "culling_manager/py.typed",
    "config/jupyter_server_config.py",
    "config/jupyter_server_config.d/culling_manager.json",
    "config/iam/space-app.json",
    "config/fleet-check.template.yaml",
    "config/grafana-culling.json",
    "lcc/check_idle_timeout_configuration.py",
    "lcc/on-jupyterlab-start.sh",
    "lcc/on-jupyter-server-start.sh",
    "lcc/on-notebook-instance-start.sh",
    "lcc/lifecycle.py",
    "lcc/set-time-interval.sh",
    "tests/test_decisions.py",
    ".ci/run",
    "hatch.toml",
    "README.md",
    "CHANGELOG.md",
    "LICENSE",
]
NOT_IN_WHEEL = [
    "tests/",
    ".ci/",
    "lcc/",
    ".pyc",
    "culling_manager/lab/",
    "culling_manager/labextension/",
    "node_modules",
]


def missing(names: list[str], wanted: list[str]) -> list[str]:
    """Which of the wanted endings no name has."""
    return [each for each in wanted if not any(name.endswith(each) for name in names)]


def page_problems(wheel: zipfile.ZipFile) -> Iterator[str]:
    """What is wrong with the page: an entry that is not there, more bytes than promised, or a built tree twice."""
    names = [name for name in wheel.namelist() if f"{PAGE}/" in name]
    described = next((name for name in names if name.endswith(f"{PAGE}/package.json")), None)
    if described is None:
        return
    entry = json.loads(wheel.read(described))["jupyterlab"]["_build"]["load"]
    if not any(name.endswith(f"{PAGE}/{entry}") for name in names):
        yield f"the page has no {entry}, which its package.json names"
    entries = [name for name in names if "remoteEntry" in name]
    if len(entries) != 1:
        yield f"the page has {len(entries)} entries: {', '.join(entries)}"
    size = sum(len(gzip.compress(wheel.read(name), 6)) for name in names if name.endswith(".js"))
    if size > PAGE_MOST:
        yield f"the page's scripts have {size} bytes compressed, at most {PAGE_MOST} are promised"


def main(folder: Path) -> int:
    """Check the one wheel and the one sdist in `folder`; 1 and words when something is wrong."""
    [wheel], [sdist] = folder.glob("sagemaker_studio_autoshutdown-*.whl"), folder.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as opened, tarfile.open(sdist) as unpacked:
        in_wheel, in_sdist = opened.namelist(), unpacked.getnames()
        about_page = [f"{wheel.name}: {words}" for words in page_problems(opened)]
    problems = [f"{wheel.name} lacks {name}" for name in missing(in_wheel, IN_WHEEL)]
    problems += [f"{sdist.name} lacks {name}" for name in missing(in_sdist, IN_SDIST)]
    problems += about_page
    problems += [f"{wheel.name} has {name}" for name in in_wheel for part in NOT_IN_WHEEL if part in name]
    print(
        "\n".join(problems)
        or f"{wheel.name}: {len(in_wheel)} files, {sdist.name}: {len(in_sdist)} files, as they should be"
    )
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
