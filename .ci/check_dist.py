"""Checks what is inside the wheel and the sdist in a folder: nothing missing, nothing that does not belong."""

from __future__ import annotations

import sys
import tarfile
import zipfile
from pathlib import Path

IN_WHEEL = [
    "culling_manager/__init__.py",
    "culling_manager/py.typed",
    "culling_manager/managers/kernels.py",
    "culling_manager/apps/space.py",
    "culling_manager/schemas/app.yaml",
    "culling_manager/schemas/culling.yaml",
    "culling_manager/schemas/openapi.json",
    "culling_manager/schemas/settings.yaml",
    ".data/data/etc/jupyter/jupyter_server_config.d/culling_manager.json",
    ".data/data/share/culling_manager/check_idle_timeout_configuration.py",
    ".data/data/share/culling_manager/lifecycle.py",
    ".data/data/share/culling_manager/set-time-interval.sh",
    ".dist-info/licenses/LICENSE",
]
IN_SDIST = [
    "culling_manager/py.typed",
    "config/jupyter_server_config.py",
    "config/jupyter_server_config.d/culling_manager.json",
    "config/iam/space-app.json",
    "config/fleet-check.template.yaml",
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
NOT_IN_WHEEL = ["tests/", ".ci/", "lcc/", ".pyc"]


def missing(names: list[str], wanted: list[str]) -> list[str]:
    """Which of the wanted endings no name has."""
    return [each for each in wanted if not any(name.endswith(each) for name in names)]


def main(folder: Path) -> int:
    """Check the one wheel and the one sdist in `folder`; 1 and words when something is wrong."""
    [wheel], [sdist] = folder.glob("sagemaker_studio_autoshutdown-*.whl"), folder.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as opened, tarfile.open(sdist) as unpacked:
        in_wheel, in_sdist = opened.namelist(), unpacked.getnames()
    problems = [f"{wheel.name} lacks {name}" for name in missing(in_wheel, IN_WHEEL)]
    problems += [f"{sdist.name} lacks {name}" for name in missing(in_sdist, IN_SDIST)]
    problems += [f"{wheel.name} has {name}" for name in in_wheel for part in NOT_IN_WHEEL if part in name]
    print(
        "\n".join(problems)
        or f"{wheel.name}: {len(in_wheel)} files, {sdist.name}: {len(in_sdist)} files, as they should be"
    )
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
