"""The offline bundle: same bytes twice, nothing missing, nothing tampered with, and it installs with no network.

The wheels are downloaded once for all tests of this file, into a temporary cache; without a package index it fails.
The commands of the README's roll-out are typed as they stand there, from the bundle to the fleet check.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest
import yaml
from botocore import xform_name

from tests.conftest import patience
from tests.emulator import DOMAIN, SageMaker, environment, sagemaker
from tests.emulator.operations import OPERATIONS
from tests.emulator.shapes import Law, service_model
from tests.emulator_logs import CloudWatchLogs, logs_environment
from tests.sandbox import HEARTBEAT, Sandbox, free_port, make_farm, make_wheel

ROOT = Path(__file__).parents[1]
NAME = "sagemaker_studio_autoshutdown"
SOURCES = (".ci", "culling_manager", "config", "lcc")
FILES = ("LICENSE", "README.md", "CHANGELOG.md", "pyproject.toml", "hatch.toml", ".gitignore")
FILES += ("tests/benchmarks/README.md",)
#: Other versions than those of the bundle, within our ranges: (b) of the promise.
OTHERS = {"jupyter_server": "2.14.2", "tornado": "6.4.1", "boto3": "1.34.100"}
#: What that boto3 needs of its own kind.
WITH_BOTO3 = {"botocore": "1.34.100", "s3transfer": "0.10.1", "urllib3": "2.2.3"}
#: An index that refuses at once; for pip in case that there is no network namespace to be had.
NOWHERE = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy"), "http://127.0.0.1:9")
#: One wheel that everything needs and that is small.
VICTIM = "six"

pytestmark = pytest.mark.timeout(900)


class Built(NamedTuple):
    """A bundle that was built, unpacked, and what was said about it."""

    tarball: Path
    top: Path
    cache: Path
    said: str


def call(*command: str | Path, **options) -> subprocess.CompletedProcess:
    """Run a command to its end and keep what it says."""
    return subprocess.run([*map(str, command)], capture_output=True, text=True, **options)


def must(*command: str | Path, **options) -> str:
    """The stdout of a command that must succeed; what it said when it does not."""
    done = call(*command, **options)
    assert done.returncode == 0, f"{command} failed:\n{done.stdout}{done.stderr}"
    return done.stdout


def bundle(tree: Path, *arguments: str | Path, prefix: tuple[str, ...] = (), **env: str) -> subprocess.CompletedProcess:
    """Run the one command of a tree, with the Python of the tests."""
    return call(*prefix, tree / ".ci" / "bundle", *arguments, env=os.environ | {"PYTHON": sys.executable} | env)


def isolated() -> dict[str, str]:
    """An environment in which pip knows of no index, no proxy but a dead one, and no other wheels."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHON", "JUPYTER"))}
    quickly = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_COMPILE": "0"}
    return kept | NOWHERE | quickly | {"PIP_CONFIG_FILE": os.devnull}


@pytest.fixture(scope="module")
def cut_off() -> tuple[str, ...]:
    """What to put before a command so that it has no network; nothing where namespaces are not permitted."""
    for prefix in (("unshare", "--net"), ("unshare", "--map-root-user", "--net")):
        if shutil.which("unshare") and not call(*prefix, "true").returncode:
            return prefix
    return ()


@pytest.fixture(scope="module")
def copied(tmp_path_factory) -> Callable[[], Path]:
    """A maker of copies of the tree, without git, to be broken at will."""

    def copy() -> Path:
        tree = tmp_path_factory.mktemp("tree")
        for name in SOURCES:
            shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__", "node_modules"))
        for name in FILES:
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tree / name)
        return tree

    return copy


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Built:
    """The bundle of this tree, built once."""
    folder = tmp_path_factory.mktemp("bundle")
    env = {"SOURCE_DATE_EPOCH": ""} if (ROOT / ".git").exists() else {"SOURCE_DATE_EPOCH": "1790000000"}
    done = bundle(ROOT, "--out", folder / "out", "--cache", folder / "cache", **env)
    assert done.returncode == 0, f".ci/bundle must be able to download wheels:\n{done.stderr}"
    [tarball] = (folder / "out").glob("*.tar.gz")
    with tarfile.open(tarball) as opened:
        opened.extractall(folder / "unpacked")
    [top] = (folder / "unpacked").iterdir()
    return Built(tarball, top, folder / "cache", done.stdout)


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    """What builds the bundle, to be asked for its parts."""
    spec = importlib.util.spec_from_file_location("make_bundle", ROOT / ".ci" / "make_bundle.py")
    assert spec is not None
    assert spec.loader is not None
    sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def epoch_of(tarball: Path) -> str:
    """The one time that all members of a tarball have (seconds)."""
    with tarfile.open(tarball) as opened:
        [seconds] = {int(member.mtime) for member in opened}
    return str(seconds)


def new_venv(folder: Path) -> Path:
    """An empty virtual environment of the running Python, with the pip of the tests; its directory of commands."""
    must(sys.executable, "-m", "venv", "--without-pip", folder)
    [packages] = folder.glob("lib/python*/site-packages")
    for file in importlib.metadata.files("pip") or ():
        if file.suffix != ".pyc" and ".." not in file.parts:
            (packages / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file.locate(), packages / file)
    pip = folder / "bin" / "pip"
    pip.write_text(f"#!{folder}/bin/python\nimport sys\nfrom pip._internal.cli.main import main\nsys.exit(main())\n")
    pip.chmod(0o755)
    return folder / "bin"


def freeze(commands: Path) -> set[str]:
    """The distributions in an environment, with versions."""
    return set(must(commands / "pip", "freeze", env=isolated()).split("\n")) - {""}


def install_offline(commands: Path, top: Path, cut_off: tuple[str, ...]) -> None:
    """Install from the unpacked bundle as README says, without a network."""
    options = ("--quiet", "--no-index", "--find-links", top / "wheels")
    must(*cut_off, commands / "pip", "install", *options, NAME, env=isolated())


def edit(path: Path, pattern: str, replacement: str) -> None:
    """Change the lines of a file that match."""
    text, changes = re.subn(pattern, replacement, path.read_text(), flags=re.MULTILINE)
    assert changes, f"{pattern} is not in {path}"
    path.write_text(text)


# What is built


@pytest.fixture(scope="module")
def built_by_the_guide(built, copied, cut_off) -> Path:
    """A copy of the tree in which the README's command was typed, with no network but a Python that adds a cache."""
    tree = copied()
    python, there = tree / "python", f"--cache {shlex.quote(str(built.cache))}"
    python.write_text(f'#!/bin/sh\n[ "$1" = -c ] || set -- "$@" {there}\nexec {shlex.quote(sys.executable)} "$@"\n')
    python.chmod(0o755)
    env = isolated() | {"SOURCE_DATE_EPOCH": epoch_of(built.tarball), "TZ": "Asia/Tokyo", "PYTHON": str(python)}
    must(*cut_off, "bash", "-euc", "umask 077\n" + guide(".ci/bundle"), cwd=tree, env=env)
    return tree


def test_two_builds_in_different_places_give_the_same_bytes(built, built_by_the_guide):
    """Another directory, umask, time of day and no git change nothing; with a full cache no network is needed."""
    again = built_by_the_guide / "dist" / built.tarball.name

    assert again.read_bytes() == built.tarball.read_bytes()


def test_our_wheel_is_the_one_that_the_tests_make(built, tmp_path):
    """The sandbox of the lifecycle scripts installs a wheel without hatch, which has the same files in it."""
    [real] = (built.top / "wheels").glob(f"{NAME}-*.whl")
    made = make_wheel(tmp_path, real.name.split("-")[1])
    contents = []
    for wheel in (real, made):
        with zipfile.ZipFile(wheel) as opened:
            named = {name: opened.read(name) for name in opened.namelist()}
        contents.append({name: data for name, data in named.items() if ".dist-info/" not in name})

    page = [name for name in contents[0] if "share/jupyter/labextensions/culling-manager/" in name]  # npm makes it
    assert {name: data for name, data in contents[0].items() if name not in page} == contents[1]
    assert any(name.endswith("/package.json") for name in page)
    assert any(name.endswith("share/culling_manager/set-time-interval.sh") for name in contents[0])


def test_the_bundle_has_the_time_of_the_last_commit(built):
    """So a tag gives the same bundle forever."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout")

    assert epoch_of(built.tarball) == must("git", "log", "-1", "--format=%ct", cwd=ROOT).strip()


def test_one_line_on_stdout_says_where_and_how_large(built):
    """Progress goes to stderr."""
    size = built.tarball.stat().st_size / 1e6

    assert re.fullmatch(
        rf"{re.escape(str(built.tarball))}: {size:.1f} MB, \d+ files, \d+ wheels for CPython 3.10 to 3.13\n", built.said
    )


def test_all_members_are_nobodys_readable_and_sorted_under_one_directory(built):
    """Names, owners and modes do not tell who built it, nor where."""
    with tarfile.open(built.tarball) as opened:
        members = opened.getmembers()

    names = [member.name for member in members]
    assert names == sorted(names, key=lambda name: name.split("/"))
    assert {name.split("/")[0] for name in names} == {built.tarball.name.removesuffix("-bundle.tar.gz")}
    assert {(member.uid, member.gid, member.uname, member.gname) for member in members} == {(0, 0, "root", "root")}
    assert {member.mode for member in members} <= {0o755, 0o644}
    assert all(member.isdir() or member.isreg() for member in members)


def test_scripts_configuration_and_policies_are_those_of_the_tree(built):
    """All of `lcc/` and `config/`, byte by byte, executable where they were, and nothing else."""
    expected = {path.relative_to(ROOT) for folder in ("lcc", "config") for path in (ROOT / folder).rglob("*")}
    expected = {path for path in expected if (ROOT / path).is_file() and "__pycache__" not in path.parts}
    expected |= {Path(name) for name in ("LICENSE", "README.md", "CHANGELOG.md", "tests/benchmarks/README.md")}

    found = {path.relative_to(built.top) for path in built.top.rglob("*") if path.is_file()}
    assert {path for path in found if path.parts[0] != "wheels"} == expected | {Path("SHA256SUMS")}
    for path in expected:
        assert (built.top / path).read_bytes() == (ROOT / path).read_bytes()
        assert os.access(built.top / path, os.X_OK) == bool((ROOT / path).stat().st_mode & 0o100)
    assert Path("config/iam/space-app.json") in found


def test_the_wheels_are_ours_and_those_of_the_lock(built):
    """One for each line, none of the build tools, none of the tests' packages, none that needs a glibc after 2.17."""
    lock = (ROOT / ".ci" / "bundle-requirements.txt").read_text()
    locked = set(re.findall(r"# (\S+\.whl)$", lock, re.MULTILINE))

    wheels = {path.name for path in (built.top / "wheels").iterdir()}
    [ours] = wheels - locked
    assert ours.startswith(NAME)
    assert locked < wheels
    names = {name.split("-")[0].lower() for name in wheels}
    assert {"boto3", "botocore", "jupyter_server", "tornado", "pyzmq", "psutil", "exceptiongroup"} <= names
    assert not names & {"hatchling", "pytest", "hypothesis", "jupyterlab", "notebook", "ipykernel"}
    assert all(re.search(r"-none-any|manylinux(_2_17|2014|_2_12|2010|_2_5|1)_x86_64", name) for name in wheels)


# Checksums


def test_sha256sum_accepts_the_tarball_and_every_file_in_it(built):
    """The two commands that README gives."""
    outer = must("sha256sum", "-c", f"{built.tarball.name}.sha256", cwd=built.tarball.parent)
    inner = must("sha256sum", "-c", "--strict", "SHA256SUMS", cwd=built.top).splitlines()

    assert outer == f"{built.tarball.name}: OK\n"
    assert len(inner) == sum(path.is_file() for path in built.top.rglob("*")) - 1


@pytest.mark.parametrize("victim", ["lcc/set-time-interval.sh", "config/iam/space-app.json", "wheels/six-*.whl"])
def test_one_changed_byte_is_detected(built, tmp_path, victim):
    """And the file is named."""
    top = tmp_path / "top"
    shutil.copytree(built.top, top)
    [path] = top.glob(victim)
    changed = bytearray(path.read_bytes())
    changed[len(changed) // 2] ^= 1
    path.write_bytes(changed)

    done = call("sha256sum", "-c", "--quiet", "SHA256SUMS", cwd=top)

    assert done.returncode == 1
    assert done.stdout == f"{path.relative_to(top)}: FAILED\n"


# Installing it


def guide(word: str) -> str:
    """The one block of commands in the page about the roll-out that has a word."""
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / "lcc/README.md").read_text(), re.DOTALL)
    [found] = [block for block in blocks if word in block]
    return found


@pytest.fixture(scope="module")
def by_the_guide(built, tmp_path_factory, cut_off) -> Path:
    """The commands of an environment into which somebody installed by hand, as the README says, without a network."""
    folder = tmp_path_factory.mktemp("by-hand")
    commands = new_venv(folder / "venv")
    shutil.copy(built.tarball, folder)
    follow(guide("sha256sum --quiet"), commands, folder, cut_off)
    return commands


def follow(block: str, commands: Path, folder: Path, prefix: tuple[str, ...] = ()) -> None:
    """Type a block of the README into a terminal of a server's environment."""
    must(*prefix, "bash", "-euc", block, cwd=folder, env=isolated() | {"PATH": f"{commands}:{os.environ['PATH']}"})


def server_of(commands: Path, home: Path) -> tuple[int, str]:
    """Start the environment's server, ask our check script; its exit code and the server's log."""
    home.mkdir()
    env = isolated() | {"HOME": str(home), "JUPYTER_RUNTIME_DIR": str(home / "runtime")}
    port, log = free_port(), home / "log"
    line = [commands / "jupyter", "server", "--allow-root", "--no-browser", f"--ServerApp.port={port}", *HEARTBEAT]
    with log.open("w") as output:
        server = subprocess.Popen([*map(str, line)], cwd=home, env=env, stdout=output, stderr=output)
    try:
        end = time.monotonic() + patience(60)
        while "is running at" not in log.read_text():
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.1)
        env |= {"NO_PROXY": "*", "no_proxy": "*"}
        asked = call(commands / "python", ROOT / "lcc" / "check_idle_timeout_configuration.py", env=env)
        return asked.returncode, asked.stdout + asked.stderr + log.read_text()
    finally:
        server.terminate()
        server.wait(20)


def test_it_installs_into_an_empty_environment_without_a_network(built, by_the_guide, tmp_path):
    """And then everything is there, and nothing that does not fit."""
    commands = by_the_guide

    version = built.top.name.removeprefix(f"{NAME}-")
    code = "import culling_manager as c; c.CullingKernelManager, c.CullingTerminalManager; print(c.__version__)"
    assert must(commands / "python", "-c", code, cwd=tmp_path, env=isolated()).strip() == version
    assert must(commands / "pip", "check", env=isolated()).strip() == "No broken requirements found."


def test_installed_and_uninstalled_by_the_guide_a_server_culls_and_then_starts_without_us(by_the_guide, tmp_path):
    """What is left behind in the configuration directory locks nobody out."""
    culling, words = server_of(by_the_guide, tmp_path / "with")
    follow(guide("pip uninstall"), by_the_guide, tmp_path)
    missing, log = server_of(by_the_guide, tmp_path / "without")

    assert culling == 0, words
    assert missing == 7, log  # the check script's code for: the extension is missing
    assert "is running at" in log


def test_it_changes_no_version_that_is_there_already(built, tmp_path, cut_off):
    """Only what is missing is added: an image's own jupyter_server, tornado and boto3 stay as they are."""
    commands = new_venv(tmp_path / "venv")
    pins = [f"{name}=={version}" for name, version in OTHERS.items()]
    more = [f"{name}=={version}" for name, version in WITH_BOTO3.items()]
    must(commands / "pip", "install", "--quiet", "--only-binary=:all:", "--no-compile", "--no-deps", *pins, *more)
    here = ("--no-index", "--find-links", built.top / "wheels")
    must(commands / "pip", "install", "--quiet", *here, *pins, env=isolated())
    before = freeze(commands)

    install_offline(commands, built.top, cut_off)

    after = freeze(commands)
    assert set(pins) <= before <= after
    assert {line.split("==")[0].split(" ")[0] for line in after - before} == {NAME, "psutil"}
    assert must(commands / "pip", "check", env=isolated()).strip() == "No broken requirements found."


# The admin's path: from the bundle to the fleet check

AWS = """#!/usr/bin/env bash
printf '%s\\0' "$@" | base64 -w0 >>@FOLDER@/calls
echo >>@FOLDER@/calls
[ "$1 $2" != "s3 cp" ] || cp -- "$3" @FOLDER@/"${4#s3://}"
"""


class Admin(NamedTuple):
    """Somebody with an account, an aws command that notes what it is told, and the unpacked bundle."""

    account: SageMaker
    aws: Path
    top: Path
    env: dict[str, str]

    def types(self, word: str) -> str:
        """Type the README's block that has a word, in the unpacked bundle; what it prints."""
        return must("bash", "-euc", guide(word), cwd=self.top, env=self.env)

    def told(self) -> list[list[str]]:
        """What the aws command was told since the last time."""
        log = self.aws / "calls"
        lines = log.read_text().splitlines()
        log.unlink()
        return [base64.b64decode(line).decode().split("\0")[:-1] for line in lines]


@pytest.fixture
def control_plane(monkeypatch) -> Iterator[dict[str, Any]]:
    """Teach the emulator what the attaching of a lifecycle configuration needs; gives what it was told."""
    told: dict[str, Any] = {}

    def describe(account: Any, asked: dict[str, Any]) -> dict[str, Any]:
        if asked["StudioLifecycleConfigName"] not in told:
            raise sagemaker.ServiceError("ResourceNotFound", "There is none.")
        return {"StudioLifecycleConfigArn": account.arn("studio-lifecycle-config", asked["StudioLifecycleConfigName"])}

    def create(account: Any, asked: dict[str, Any]) -> dict[str, Any]:
        told[asked["StudioLifecycleConfigName"]] = asked
        return describe(account, asked)

    def update(_: Any, asked: dict[str, Any]) -> dict[str, Any]:
        domain.update(asked)
        return {}

    told["domain"] = domain = {
        "DomainId": DOMAIN,
        "DefaultUserSettings": {"ExecutionRole": "arn:aws:iam::123456789012:role/r"},
    }
    operations = {"DescribeStudioLifecycleConfig": describe, "CreateStudioLifecycleConfig": create}
    operations |= {"UpdateDomain": update, "DescribeDomain": lambda *_: domain}
    for name, operation in operations.items():
        monkeypatch.setitem(OPERATIONS, name, operation)
    sagemaker.law.cache_clear()
    yield told
    sagemaker.law.cache_clear()


@pytest.fixture
def admin(built_by_the_guide, by_the_guide, control_plane, tmp_path) -> Iterator[Admin]:
    """Somebody who has typed the first two steps."""
    aws = tmp_path / "aws"
    (aws / "my-bucket").mkdir(parents=True)
    (aws / "aws").write_text(AWS.replace("@FOLDER@", shlex.quote(str(aws))))
    (aws / "aws").chmod(0o755)
    tree, long_ago = built_by_the_guide, datetime.now(timezone.utc) - timedelta(days=1)
    with SageMaker() as account, CloudWatchLogs() as logs:
        account.add_app("default", "JupyterServer", user_profile="alice", created=long_ago)
        logs.heartbeat(f"{DOMAIN}/alice/JupyterServer/default", idle_timeout=7200)
        env = isolated() | environment(account) | logs_environment(logs)
        env |= {"AWS_DEFAULT_REGION": "eu-west-1", "NO_PROXY": "*", "no_proxy": "*"}
        env |= {"PATH": f"{aws}:{by_the_guide}:{os.environ['PATH']}"}
        said = must("bash", "-euc", f"{guide('tar xzf dist/')}\nls SHA256SUMS", cwd=tree, env=env)
        [top] = [path for path in tree.glob(f"{NAME}-*") if path.is_dir()]
        (aws / "sum").write_text(said.split()[0])
        yield Admin(account, aws, top, env)
        shutil.rmtree(top)
        assert not account.violations
        assert not logs.violations


def lawful(words: list[str]) -> dict[str, Any]:
    """The parameters of `aws sagemaker OPERATION --OPTION VALUE ...`, as the aws command makes them of its options."""
    names = {xform_name(name, "-"): name for name in service_model().operation_names}
    shape = service_model().operation_model(names[words[1]]).input_shape
    members = {xform_name(name, "-"): name for name in shape.members}
    given: dict[str, Any] = {}
    for option, value in zip(words[2::2], words[3::2], strict=True):
        name = members[option.removeprefix("--")]
        pair = value.partition("=")
        given[name] = [{pair[0]: pair[2]}] if shape.members[name].type_name == "list" else value
    assert Law([names[words[1]]]).request(names[words[1]], given) == []
    return given


def test_the_commands_of_the_guide_lead_from_the_bundle_to_the_default_of_a_domain(admin, control_plane, tmp_path):
    """Step 1 to 3: what is uploaded is what the edited script installs, and what the domain gets is that script."""
    [told] = admin.told()
    checksum, script = (admin.aws / "sum").read_text(), admin.top / "lcc" / "on-jupyterlab-start.sh"
    bucket = f"s3://my-bucket/{Path(told[2]).name}"
    edit(script, "^BUNDLE=''", f"BUNDLE='{bucket}'")
    edit(script, "^BUNDLE_SHA256=''", f"BUNDLE_SHA256='{checksum}'")

    said = admin.types("attach_lifecycle_config.py")
    again = admin.types("attach_lifecycle_config.py")

    assert told[:2] + told[3:] == ["s3", "cp", "s3://my-bucket/"]
    assert '"result": "set in DefaultUserSettings"' in said
    assert '"result": "it was the default already"' in again
    [name] = set(control_plane) - {"domain"}
    attached = control_plane["domain"]["DefaultUserSettings"]["JupyterLabAppSettings"]["LifecycleConfigArns"]
    assert [each.rpartition("/")[2] for each in attached] == [name]
    assert base64.b64decode(control_plane[name]["StudioLifecycleConfigContent"]) == script.read_bytes()

    place = Sandbox(tmp_path / "place", make_farm(tmp_path / "farm"))
    (admin.aws / "my-bucket").rename(place.root / "s3" / "my-bucket")
    edit(script, "^CONDA_DIR=.*", f"CONDA_DIR={place.conda}")
    ran = place.execute([str(script)])
    assert (ran.code, ran.lines("ERROR", "WARNING")) == (0, []), ran
    assert place.config.exists()


def test_the_commands_of_the_guide_for_notebook_instances_are_lawful(admin):
    """By botocore's model, with every bound and pattern in it."""
    admin.told()

    admin.types("create-notebook-instance-lifecycle-config")
    create, update = map(lawful, admin.told())

    script = (admin.top / "lcc" / "on-notebook-instance-start.sh").read_bytes()
    assert base64.b64decode(create["OnStart"][0]["Content"]) == script
    assert create["NotebookInstanceLifecycleConfigName"] == update["LifecycleConfigName"]


def test_the_commands_of_the_guide_check_the_fleet(admin):
    """Step 5, from the wheels of the bundle; here all is well."""
    assert "1 of 1 running apps are culled as they should be" in " ".join(
        admin.types("culling-fleet-check --ex").split()
    )


def test_the_commands_of_the_guide_deploy_the_daily_check(admin):
    """The wheel is there under its key, and each parameter is one of the template's that takes the value."""
    admin.told()

    admin.types("cloudformation deploy")
    upload, words = admin.told()

    assert words[:2] == ["cloudformation", "deploy"]
    at = words.index("--parameter-overrides")
    options = dict(zip(words[2:at:2], words[3:at:2], strict=True))
    given = dict(each.split("=", 1) for each in words[at + 1 :])
    assert set(options) == {"--stack-name", "--template-file", "--capabilities"}
    text = (admin.top / options["--template-file"]).read_text()
    for function in ("!Ref", "!Sub", "!GetAtt", "!Equals", "!Not"):
        text = text.replace(function, "")
    parameters = yaml.safe_load(text.partition("\nConditions:")[0])["Parameters"]
    assert set(given) <= set(parameters)
    assert all(re.fullmatch(parameters[name].get("AllowedPattern", ".*"), value) for name, value in given.items())
    assert {name for name, each in parameters.items() if "Default" not in each} <= set(given)
    assert (admin.aws / "my-bucket" / given["CodeKey"]).read_bytes() == (admin.top / upload[2]).read_bytes()
    with zipfile.ZipFile(admin.top / upload[2]) as wheel:
        assert "culling_manager/fleet_lambda.py" in wheel.namelist()


# What can go wrong: one clear line, and nothing half-made


def refused(done: subprocess.CompletedProcess, *words: str) -> None:
    """It failed with one line that has all these words, and stdout stayed empty."""
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(errors) == 1, done.stderr
    for word in words:
        assert word in errors[0]


def test_a_download_with_another_hash_is_refused(built, copied, tmp_path):
    """The message has the package, the hash that was expected and the one that came; nothing stays behind."""
    tree, cache = copied(), tmp_path / "cache"
    shutil.copytree(built.cache, cache)
    [wheel] = cache.glob(f"{VICTIM}-*.whl")
    wheel.unlink()
    edit(tree / ".ci" / "bundle-requirements.txt", rf"^({VICTIM}==.*sha256:)\w+", rf"\g<1>{'0' * 64}")

    done = bundle(tree, "--out", tmp_path / "out", "--cache", cache, SOURCE_DATE_EPOCH="1790000000")

    genuine = hashlib.sha256((built.cache / wheel.name).read_bytes()).hexdigest()
    refused(done, "refused", f"{VICTIM}==", f"expected sha256 {'0' * 64}", f"got {genuine}")
    assert not [*(tmp_path / "out").iterdir()]
    assert sorted(path.name for path in cache.iterdir()) == sorted(
        path.name for path in built.cache.iterdir() if path.name != wheel.name
    )


def test_a_cached_file_with_another_hash_is_refused(built, copied, tmp_path):
    """A cache is trusted no more than the network."""
    cache = tmp_path / "cache"
    shutil.copytree(built.cache, cache)
    [wheel] = cache.glob(f"{VICTIM}-*.whl")
    wheel.write_bytes(wheel.read_bytes() + b"x")

    done = bundle(copied(), "--out", tmp_path / "out", "--cache", cache, SOURCE_DATE_EPOCH="1790000000")

    refused(done, str(wheel), "its sha256 is", "expects", "delete it")
    assert not [*(tmp_path / "out").iterdir()]


@pytest.mark.parametrize("named", ["pathspec-99", "hatchling-1.33.0-9"])
def test_a_cached_wheel_that_is_not_in_the_lock_is_not_run(built, maker, copied, tmp_path, named):
    """A newer version of a build tool, or another build of the one that is locked, would be what pip prefers."""
    cache, ran = tmp_path / "cache", tmp_path / "ran"
    shutil.copytree(built.cache, cache)
    name, version = named.split("-")[:2]
    [pinned] = [wheel.version for wheel in maker.read_lock(maker.LOCK) if wheel.name == name]
    named, version = named.replace("1.33.0", pinned), version.replace("1.33.0", pinned)
    stem = f"{name}-{version}"
    with zipfile.ZipFile(cache / f"{named}-py3-none-any.whl", "w") as wheel:
        for module in ("__init__", "__main__"):
            wheel.writestr(f"{name}/{module}.py", f"open({str(ran)!r}, 'w')\n")
        wheel.writestr(f"{stem}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(f"{stem}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{stem}.dist-info/RECORD", "")

    epoch = epoch_of(built.tarball)
    done = bundle(copied(), "--out", tmp_path / "out", "--cache", cache, SOURCE_DATE_EPOCH=epoch)

    assert (done.returncode, ran.exists()) == (0, False), done.stderr
    assert f"refused: {named}-py3-none-any.whl" in done.stderr
    assert (tmp_path / "out" / built.tarball.name).read_bytes() == built.tarball.read_bytes()


def test_no_network_is_said_in_words(copied, tmp_path, cut_off):
    """Not a page of pip's retries."""
    env = {"PIP_RETRIES": "0", "PIP_NO_CACHE_DIR": "1", "PIP_FIND_LINKS": "", "PIP_CONFIG_FILE": os.devnull}
    env |= {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_EXTRA_INDEX_URL": ""}
    env["SOURCE_DATE_EPOCH"] = "1790000000"

    done = bundle(copied(), "--out", tmp_path / "out", prefix=cut_off, **env)

    refused(done, "wheels for CPython 3.10 could not be had", "no network, or an index without them")


@pytest.mark.parametrize(
    ("lost", "said"),
    [
        ("boto3", f"{NAME}-.* needs boto3"),
        ("exceptiongroup", "needs exceptiongroup.* on CPython 3.10, the lock has none"),
        ("webcolors", "needs webcolors"),
    ],
    ids=["our own", "of Python 3.10 only", "of an extra"],
)
def test_a_lock_that_lacks_a_dependency_is_refused(built, maker, lost, said):
    """Whether we ask for it, or one Python only, or an extra of a dependency of a dependency."""
    [ours] = (built.top / "wheels").glob(f"{NAME}-*.whl")
    lock = maker.read_lock(maker.LOCK)
    maker.check_closed(ours, lock, built.cache)

    with pytest.raises(maker.Trouble, match=rf"(?s){said}.*run \.ci/bundle --update-lock"):
        maker.check_closed(ours, [wheel for wheel in lock if wheel.name != lost], built.cache)


def test_a_lock_line_without_a_hash_is_refused(copied, tmp_path):
    """With its number."""
    tree = copied()
    edit(tree / ".ci" / "bundle-requirements.txt", rf"^({VICTIM}==\S+) .*", r"\1")

    done = bundle(tree, "--out", tmp_path / "out", SOURCE_DATE_EPOCH="1790000000")

    refused(done, "bundle-requirements.txt:", f"not a pinned wheel with its hash: {VICTIM}==")


def test_another_bundle_of_the_same_version_is_not_overwritten(built, maker, tmp_path):
    """Who has published it shall not have two of them."""
    there = tmp_path / built.tarball.name
    there.write_text("published")

    with pytest.raises(maker.Trouble, match=r"other contents.* delete it, or give --out another directory") as refusal:
        maker.publish(built.tarball, tmp_path)

    assert str(there) in str(refusal.value)
    assert [*tmp_path.iterdir()] == [there]
    assert there.read_text() == "published"


def test_a_place_that_cannot_be_written_is_refused_before_any_work(copied, tmp_path):
    """Here the output directory is a file."""
    place = tmp_path / "place"
    place.write_text("")

    done = bundle(copied(), "--out", place, SOURCE_DATE_EPOCH="1790000000")

    refused(done, f"cannot write into {place}", "--out")
    assert "fetching" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "env", "said"),
    [
        (["--update-lock"], {"PATH": "/usr/bin:/bin"}, "uv is missing: install it"),
        ([], {"PYTHON": "no-such-python"}, "no-such-python is missing, older than 3.10 or without pip"),
        ([], {"SOURCE_DATE_EPOCH": "soon"}, "SOURCE_DATE_EPOCH is 'soon', expected whole seconds"),
        ([], {"SOURCE_DATE_EPOCH": ""}, "no last commit to take the time from; set SOURCE_DATE_EPOCH"),
    ],
    ids=["uv", "python", "time", "git"],
)
def test_a_missing_tool_is_named(copied, tmp_path, arguments, env, said):
    """With what to do about it."""
    if "--update-lock" in arguments and sys.version_info < (3, 11):
        said = "--update-lock needs Python 3.11 or newer"

    done = bundle(copied(), "--out", tmp_path / "out", *arguments, **env)

    refused(done, said)
