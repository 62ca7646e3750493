"""The rehearsal in lcc/README.md, typed as it stands there against an emulated account, and the emulator by hand."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from culling_manager.server.recording import Recording
from tests.conftest import patience
from tests.emulator import DOMAIN, SageMaker
from tests.emulator.__main__ import exports, fill
from tests.emulator_logs import CloudWatchLogs

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "lcc" / "README.md").read_text()
SECTION = PAGE[PAGE.index("## A rehearsal for 300 users") : PAGE.index("## By hand")]
BLOCKS = re.findall(r"```sh\n(.*?)```", SECTION, re.DOTALL)
ON, LOOK, ASK, REAL, CHECK, OFF = range(6)


@pytest.fixture
def place(tmp_path):
    """The unpacked bundle, as far as the page needs it, with a bundle named in the script; and the commands."""
    (tmp_path / "lcc").mkdir()
    for name in ("on-jupyterlab-start.sh", "attach_lifecycle_config.py"):
        shutil.copy(ROOT / "lcc" / name, tmp_path / "lcc")
    script = tmp_path / "lcc" / "on-jupyterlab-start.sh"
    script.write_text(re.sub("(?m)^BUNDLE=''", "BUNDLE='s3://my-bucket/bundle.tar.gz'", script.read_text()))
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    for name, module in {
        "aws": "tests.aws_double",
        "culling-fleet-check": "culling_manager.fleet",
        "python": "",
    }.items():
        words = f"-m {module}" if module else ""
        (bin_folder / name).write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {words} "$@"\n')
    (bin_folder / "jupyter").write_text(
        f'#!/bin/sh\nshift\nexec {shlex.quote(sys.executable)} -m culling_manager.cli "$@"\n'
    )
    for each in bin_folder.iterdir():
        each.chmod(0o755)
    return tmp_path


@pytest.fixture
def account():
    """A domain of three users whose day was rehearsed, and one whose server says nothing of the culler."""
    options = SimpleNamespace(takes=0, space=False, classic=False, notebook=False, users=4)
    with SageMaker() as sagemaker, CloudWatchLogs() as logs:
        fill(sagemaker, logs, options)
        yield sagemaker, logs
        assert sagemaker.violations == logs.violations == []


def typed(place: Path, account: Any, block: str) -> tuple[int, str]:
    """Type a block of the page; exit code and everything that was said."""
    env = {"PATH": f"{place / 'bin'}:{os.environ['PATH']}", "HOME": str(place), "PYTHONPATH": str(ROOT)}
    env |= {"COLUMNS": "120", **exports(*account)}
    block = block.replace("d-abcdefghijkl", DOMAIN)
    done = subprocess.run(
        ["bash", "-euc", block], cwd=place, env=env, capture_output=True, text=True, timeout=patience(60), check=False
    )
    return done.returncode, done.stdout + done.stderr


ATTACH = "python lcc/attach_lifecycle_config.py lcc/on-jupyterlab-start.sh --domain-id d-abcdefghijkl"


def test_the_rehearsal_goes_from_the_dry_run_to_the_real_one_and_off_again(place, account):
    """Each block as it stands, in the order of the page, with step 3 where the page says so."""
    sagemaker, _ = account
    script = place / "lcc" / "on-jupyterlab-start.sh"

    assert len(BLOCKS) == 6
    assert typed(place, account, BLOCKS[ON]) == (0, "")
    rehearsing = script.read_text()
    code, attached = typed(place, account, ATTACH)
    assert (code, '"result": "set in DefaultSpaceSettings and DefaultUserSettings"' in attached) == (0, True), attached

    code, looked = typed(place, account, BLOCKS[LOOK])
    assert code == 1, looked  # the one without a heartbeat
    assert "user000" in looked
    assert "dry run" not in looked

    code, told = typed(place, account, BLOCKS[ASK])
    assert code == 0, told
    assert "of 3 users" in told
    assert re.search(r"^kernels +stopped [0-9]+ times", told, re.MULTILINE), told

    assert typed(place, account, BLOCKS[REAL]) == (0, "")
    code, replaced = typed(place, account, ATTACH)
    assert code == 0, replaced
    code, checked = typed(place, account, BLOCKS[CHECK])
    assert code == 1
    assert "dry run" in checked  # they run what they were started with

    code, off = typed(place, account, BLOCKS[OFF])
    assert (code, '"result": "taken off DefaultSpaceSettings and DefaultUserSettings"' in off) == (0, True), off
    assert "DRY_RUN=true" in rehearsing
    assert "DRY_RUN=false" in script.read_text()
    settings = sagemaker.domains[DOMAIN].settings["DefaultUserSettings"]
    assert settings["JupyterLabAppSettings"]["LifecycleConfigArns"] == []
    assert len(sagemaker.studio_lifecycles) == 2


def test_the_settings_of_the_rehearsal_are_settings(place, account):
    """What the first block writes into the script is what a server takes: JSON, of a class and a trait of ours."""
    typed(place, account, BLOCKS[ON])

    script = (place / "lcc" / "on-jupyterlab-start.sh").read_text()
    (extra,) = re.findall(r"(?m)^EXTRA_SETTINGS='(.*?)'", script)
    (example,) = re.findall(r'`(\{"Recording": \{"path": "~[^`]*)`', SECTION)
    for each in (extra, example):
        (name, traits), *rest = json.loads(each).items()
        assert (name, rest) == ("Recording", [])
        assert set(traits) <= set(Recording.class_traits(config=True))


# -- the emulator by hand ----------------------------------------------------------------------------


@pytest.fixture
def by_hand():
    """`python -m tests.emulator` with two users; gives what it says to export, and what it says of calls."""
    command = [sys.executable, "-u", "-m", "tests.emulator", "--port", "0", "--users", "2"]
    heard: list[str] = []
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            heard.append(line)
            if line.startswith("# domain"):
                break
        reader = threading.Thread(target=lambda: heard.extend(process.stdout or ()), daemon=True)
        reader.start()
        words = [shlex.split(line.removeprefix("export ")) for line in heard if line.startswith("export ")]
        yield dict(each.split("=", 1) for (each,) in words), heard
        process.terminate()
        reader.join(patience(10))


def test_what_the_emulator_prints_keeps_every_try_on_this_machine(by_hand, monkeypatch):
    """Apps, logs and lifecycle configurations are played; a service that is not ends there, too, refused."""
    env, heard = by_hand
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    session, once = boto3.session.Session(), Config(retries={"total_max_attempts": 1})

    apps = session.client("sagemaker").list_apps()["Apps"]
    events = session.client("logs").filter_log_events(logGroupName="/aws/sagemaker/studio", filterPattern="heartbeat")
    made = session.client("sagemaker").create_studio_lifecycle_config(
        StudioLifecycleConfigName="a", StudioLifecycleConfigContent="eA==", StudioLifecycleConfigAppType="JupyterLab"
    )
    with pytest.raises(ClientError) as refused:
        session.client("pricing", config=once).get_products(ServiceCode="AmazonSageMaker")

    assert len(apps) == 2
    assert len(events["events"]) == 24
    assert made["StudioLifecycleConfigArn"].endswith(":studio-lifecycle-config/a")
    assert "does not begin with SageMaker" in str(refused.value)
    urls = [value for name, value in env.items() if name.startswith("AWS_ENDPOINT_URL")]
    assert len(urls) == 3
    assert all(each.startswith("http://127.0.0.1:") for each in urls)
    assert any("FilterLogEvents" in line and "-> 200" in line for line in heard)
