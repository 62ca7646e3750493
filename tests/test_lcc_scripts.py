"""The lifecycle scripts end to end, each in a sandbox like its place, with a real server that really restarts.

A fault means: one clear ERROR line, nothing half-installed, exit code 0, and 1 with STRICT=1.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import patience
from tests.sandbox import LCC, ROOT, Ran, Sandbox, free_port, make_bundle, make_farm, make_wheel, wait_until

LAB, CLASSIC, NOTEBOOK = "on-jupyterlab-start.sh", "on-jupyter-server-start.sh", "on-notebook-instance-start.sh"
SCRIPTS = (LAB, CLASSIC, NOTEBOOK)
PLACES = {
    LAB: (".", "/jupyterlab/default"),
    CLASSIC: ("envs/studio", "/jupyter/default"),
    NOTEBOOK: ("envs/JupyterSystemEnv", ""),
}
LIMIT = 16_384  # characters of base64 that SageMaker takes
VERSION = importlib.metadata.version("sagemaker_studio_autoshutdown")
BROKEN = "raise ImportError('no such kernel')"
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="SageMaker is Linux")


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_farm(tmp_path_factory.mktemp("farm") / "packages")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory, farm: Path, bundle: Path) -> Path:
    """The prefix of a server's environment into which a script has installed the bundle, with 30 minutes."""
    sandbox = Sandbox(tmp_path_factory.mktemp("earlier") / "place", farm)
    ran = sandbox.run(LAB, BUNDLE=str(bundle), TIMEOUT_IN_MINS="30")
    assert (ran.code, ran.lines("ERROR"), sandbox.config.exists()) == (0, [], True), ran
    return sandbox.prefix


@pytest.fixture
def place(tmp_path: Path, farm: Path, bundle: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., Sandbox]]:
    """Make the place of a script, with the bundle in its bucket; its server is ended by its pid."""
    made: list[Sandbox] = []

    def make(script: str = LAB, installed: bool = False) -> Sandbox:
        sandbox = Sandbox(tmp_path / "place", farm, *PLACES[script])
        if installed:
            sandbox.have_what_is_in(request.getfixturevalue("earlier"))
        shutil.copy(bundle, sandbox.root / "s3" / "bucket" / "the bundle.tar.gz")
        made.append(sandbox)
        return sandbox

    yield make
    for sandbox in made:
        sandbox.end()


def settings_for(script: str, sandbox: Sandbox) -> dict[str, str]:
    """What a script has to be told besides conda's place: on a notebook instance root does not know the user's home."""
    return {"USER_HOME": str(sandbox.home)} if script == NOTEBOOK else {}


# -- the texts -------------------------------------------------------------------------------------


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_fits_into_a_lifecycle_configuration(script: str) -> None:
    """With room for a long address and a checksum; and what follows the marker is the same in all of them."""
    text = (LCC / script).read_text()
    longest = text.replace("BUNDLE=''", f"BUNDLE='{'b' * 120}'").replace("256=''", f"256='{'0' * 64}'")

    assert len(base64.b64encode(longest.encode())) <= LIMIT
    marker = "# ---- From here on the same in all three scripts"
    assert text.partition(marker)[2] == (LCC / LAB).read_text().partition(marker)[2]
    assert len(text.partition(marker)[2]) > 5000


@pytest.mark.parametrize("script", SCRIPTS)
def test_each_setting_stands_once_on_top_with_its_unit(script: str) -> None:
    """An administrator edits one line each; minutes and seconds are named."""
    top = (LCC / script).read_text().partition("\nPYTHONS=")[0]

    for name, value in {"TIMEOUT_IN_MINS": "120", "KEEP_TERMINALS": "false", "BUNDLE": "''", "STRICT": "0"}.items():
        assert re.findall(rf"(?m)^{name}=(\S+) +# \S", top) == [value]
    for name in re.findall(r"(?m)^(\w+_IN_(?:MINS|SECS))=", top):
        assert re.search(rf"(?m)^{name}=.*# (minutes|seconds)", top), name


# -- each place ------------------------------------------------------------------------------------


def test_a_jupyterlab_space_from_s3_twice_and_again(place: Any, bundle: Path) -> None:
    """The server restarts with our managers; other settings later are taken over; without changes it is left alone."""
    sandbox = place(LAB)
    sandbox.start()
    checksum = hashlib.sha256(bundle.read_bytes()).hexdigest().upper()
    given = {"BUNDLE": "s3://bucket/the bundle.tar.gz", "BUNDLE_SHA256": checksum, "STRICT": "1"}

    first = sandbox.run(LAB, **given)
    pids = [sandbox.pid]
    assert (first.code, sandbox.settings()) == (0, (120, False)), first
    again = sandbox.run(LAB, **given, TIMEOUT_IN_MINS="0045", KEEP_TERMINALS="True", MAX_TIMEOUT_IN_MINS="60")
    pids.append(sandbox.pid)
    same = sandbox.run(LAB, **given, TIMEOUT_IN_MINS="45", KEEP_TERMINALS="true", MAX_TIMEOUT_IN_MINS="60")
    pids.append(sandbox.pid)

    assert (again.code, same.code, sandbox.settings()) == (0, 0, (45, True)), (again, same)
    assert pids[0] != pids[1] == pids[2]
    url = f"http://localhost:{sandbox.port}/jupyterlab/default/"
    assert first.lines("INFO", "WARNING", "ERROR")[-1] == (
        f"The culler runs at {url}: idle timeout 120 minutes, keep_terminals false."
    )
    assert "keep_terminals true. Nothing has changed, so the server was not restarted." in same.lines("INFO")[-1]
    assert first.out == again.out == same.out == ""
    assert sandbox.left_over() == []
    assert sandbox.strangers_at_home() == set()
    assert max(first.seconds, again.seconds, same.seconds) < 60

    # What the user has now: a script that sets, within the bounds, and goes back to the administrator's settings.
    own = sandbox.home / ".auto-shutdown" / "set-time-interval.sh"
    results = [sandbox.execute([str(own), *each]) for each in (["50", "--keep-terminals", "false"], ["61"])]
    # A run in between leaves the server, its kernels and what the user has set alone.
    pid = sandbox.pid
    between = sandbox.run(LAB, **given, TIMEOUT_IN_MINS="45", KEEP_TERMINALS="true", MAX_TIMEOUT_IN_MINS="60")
    assert (between.code, sandbox.pid, sandbox.settings()) == (0, pid, (50, False)), between
    assert "as its user has set it. Nothing has changed, so the server was not restarted." in between.lines("INFO")[-1]
    results.append(sandbox.execute([str(own)]))
    assert [each.code for each in results] == [0, 11, 0], results
    assert "idle timeout 50 minutes, keep_terminals false (before: idle timeout 45 minutes" in results[0].out
    assert "not set: " in results[1].text
    assert sandbox.settings() == (45, True)
    check = sandbox.execute([str(own.with_name("check_idle_timeout_configuration.py"))])
    assert (check.code, "OK: the culler runs" in check.out) == (0, True), check


def test_what_the_user_has_saved_is_no_fault_and_can_be_taken_back(place: Any, bundle: Path) -> None:
    """It is in the home that outlives the app; the administrator's own timeout may be outside of the user's bounds."""
    sandbox = place(LAB)
    sandbox.start()
    given = {"BUNDLE": str(bundle), "STRICT": "1", "TIMEOUT_IN_MINS": "120", "MAX_TIMEOUT_IN_MINS": "60"}
    saved = sandbox.home / ".jupyter" / "culling_manager_settings.json"
    saved.parent.mkdir(exist_ok=True)
    saved.write_text('{"idle_time": 30}')

    ran = sandbox.run(LAB, **given)
    back = sandbox.execute([str(sandbox.home / ".auto-shutdown" / "set-time-interval.sh")])

    assert (ran.code, ran.lines("ERROR")) == (0, []), ran
    assert "idle timeout 30 minutes, keep_terminals false, as its user has set it." in ran.lines("INFO")[-1]
    assert (back.code, sandbox.settings(), saved.exists()) == (0, (120, False), False), back


def test_studio_classic_in_its_environment_studio_by_supervisorctl(place: Any) -> None:
    """Not the base environment; no restart-jupyter-server there; the aws command beside the server's Python."""
    sandbox = place(CLASSIC)
    sandbox.without("restart-jupyter-server")
    (sandbox.root / "bin" / "aws").rename(sandbox.prefix / "bin" / "aws")
    sandbox.start()

    ran = sandbox.run(CLASSIC, BUNDLE="s3://bucket/the bundle.tar.gz")

    assert (ran.code, ran.lines("ERROR", "WARNING"), sandbox.settings()) == (0, [], (120, False)), ran
    assert sandbox.config.is_relative_to(sandbox.conda / "envs" / "studio")


def test_a_notebook_instance_as_the_servers_user_by_systemctl(place: Any, bundle: Path) -> None:
    """Root calls sudo for whatever touches the environment, nothing else; the restart does not wait."""
    sandbox = place(NOTEBOOK)
    home = sandbox.root / "my home"
    sandbox.home.rename(home)
    sandbox.manage_server(home=home)
    sandbox.start()

    ran = sandbox.run(NOTEBOOK, BUNDLE=str(bundle), USER_HOME=str(home), KEEP_TERMINALS="true")

    assert (ran.code, ran.lines("ERROR", "WARNING"), sandbox.settings()) == (0, [], (120, True)), ran
    log = (sandbox.root / "sudo.log").read_text()
    assert "-m pip" in log
    assert "systemctl" not in log
    assert (home / ".auto-shutdown" / "set-time-interval.sh").exists()


def test_an_old_notebook_instance_is_restarted_by_initctl(place: Any, bundle: Path) -> None:
    """Amazon Linux 1 has no systemctl; the server really restarts, and nothing waits for it but what verifies."""
    sandbox = place(NOTEBOOK)
    sandbox.without("systemctl")
    sandbox.start()
    before = sandbox.pid

    ran = sandbox.run(NOTEBOOK, BUNDLE=str(bundle), USER_HOME=str(sandbox.home), TIMEOUT_IN_MINS="45")

    assert (ran.code, ran.lines("ERROR", "WARNING"), sandbox.settings()) == (0, [], (45, False)), ran
    assert sandbox.pid != before
    assert (sandbox.root / "service.log").read_text().split() == ["start", "restart"]


def test_a_server_that_does_not_run_yet_is_not_started_and_culls_when_it_starts(place: Any, bundle: Path) -> None:
    """An old notebook instance with initctl, a whole script with Windows line ends, run as `bash FILE`."""
    sandbox = place(NOTEBOOK)
    sandbox.needs_nobody_else()
    sandbox.without("systemctl")
    script = sandbox.script(NOTEBOOK, {"BUNDLE": str(bundle), "USER_HOME": str(sandbox.home)})
    script.write_bytes(script.read_bytes().replace(b"\n", b"\r\n"))

    ran = sandbox.execute(["bash", str(script)])

    assert ran.code == 0, ran
    assert ran.lines("INFO")[-1] == "Installed. The server does not run yet; the culler will be active when it starts."
    assert not (sandbox.root / "pid").exists()
    sandbox.start()
    assert sandbox.settings() == (120, False)


def test_the_documented_command_makes_unix_line_ends(tmp_path: Path) -> None:
    """The header says how to upload a file with Windows line ends, which the kernel cannot start by itself."""
    command = re.search(r"`(tr -d [^`]*base64 -w0)`", (LCC / LAB).read_text())
    windows = tmp_path / "FILE"
    windows.write_bytes((LCC / LAB).read_bytes().replace(b"\n", b"\r\n"))

    assert command
    encoded = subprocess.run(["bash", "-c", command[1]], cwd=tmp_path, capture_output=True, check=True).stdout

    assert base64.b64decode(encoded) == (LCC / LAB).read_bytes()


def test_boto3_of_the_server_fetches_where_there_is_no_aws_command(place: Any, bundle: Path) -> None:
    """With the environment's own credentials and endpoint; a missing object is an ERROR line."""
    pytest.importorskip("boto3")
    data = bundle.read_bytes()

    class Bucket(BaseHTTPRequestHandler):
        def do_GET(self, body: bool = True) -> None:
            found = self.path.partition("?")[0] == "/bucket/bundle.tar.gz"
            self.send_response(200 if found else 404)
            self.send_header("Content-Length", str(len(data) if found else 0))
            self.send_header("ETag", '"1"')
            self.send_header("Last-Modified", "Tue, 24 Nov 2026 00:00:00 GMT")
            self.end_headers()
            if found and body:
                self.wfile.write(data)

        def do_HEAD(self) -> None:
            self.do_GET(body=False)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    sandbox = place(LAB)
    sandbox.without("aws")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Bucket)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    more = {
        "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{server.server_port}", "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "y", "AWS_DEFAULT_REGION": "eu-west-1", "AWS_EC2_METADATA_DISABLED": "true",
    }  # fmt: skip
    try:
        missing = sandbox.run(LAB, more=more, BUNDLE="s3://bucket/other.tar.gz")
        ran = sandbox.run(LAB, more=more, BUNDLE="s3://bucket/bundle.tar.gz")
    finally:
        server.shutdown()
        server.server_close()

    assert (missing.code, "(404)" in missing.error) == (0, True), missing
    assert (ran.code, ran.lines("ERROR")) == (0, []), ran
    assert sandbox.config.exists()


def make_index(folder: Path, version: str | None = None, **how: str) -> dict[str, str]:
    """A package index, here a directory, with one wheel; gives the settings that install it."""
    place = folder / "simple" / "sagemaker-studio-autoshutdown"
    place.mkdir(parents=True, exist_ok=True)
    wheel = make_wheel(place, version, **how)
    (place / "index.html").write_text("".join(f'<a href="{each.name}">{each.name}</a>' for each in place.glob("*.whl")))
    return {
        "BUNDLE": f"pip:sagemaker_studio_autoshutdown=={version or VERSION}",
        "BUNDLE_SHA256": hashlib.sha256(wheel.read_bytes()).hexdigest(),
        "INDEX_URL": f"file://{folder}/simple",
    }


def test_pip_as_the_source_is_verified_as_a_bundle_is(place: Any, tmp_path: Path) -> None:
    """From one index, by its hash; twice, then a version that needs what is not there."""
    sandbox = place(LAB)
    index = {"PIP_EXTRA_INDEX_URL": "https://evil.invalid/simple", "PIP_FIND_LINKS": "/nowhere"}  # nobody listens to it
    given = {**make_index(tmp_path), "STRICT": "1"}
    sandbox.start()

    first = sandbox.run(LAB, more=index, **given)
    pid = sandbox.pid
    same = sandbox.run(LAB, more=index, **given)
    refused = sandbox.run(LAB, more=index, **make_index(tmp_path, "99.0", needs="tornado>=99"))

    assert (first.code, first.lines("ERROR", "WARNING"), sandbox.settings()) == (0, [], (120, False)), first
    runs = f"The culler runs at http://localhost:{sandbox.port}/jupyterlab/default/: idle timeout 120 minutes, "
    assert first.lines("INFO")[-1] == f"{runs}keep_terminals false."
    assert same.lines("INFO")[-1].startswith(runs)
    assert same.lines("INFO")[-1].endswith("Nothing has changed, so the server was not restarted.")
    assert (refused.code, sandbox.pid, sandbox.installed()) == (0, pid, VERSION)
    assert "pip cannot install it: " in refused.error
    own = sandbox.execute([str(sandbox.home / ".auto-shutdown" / "set-time-interval.sh"), "50"])
    check = sandbox.execute([str(sandbox.home / ".auto-shutdown" / "check_idle_timeout_configuration.py")])
    assert (own.code, check.code, sandbox.settings()) == (0, 0, (50, False)), (own, check)
    assert sandbox.left_over() == []


def test_pip_as_the_source_on_a_notebook_instance_whose_server_does_not_run_yet(place: Any, tmp_path: Path) -> None:
    """What the user has configured for pip does not count; the user's scripts are there."""
    sandbox = place(NOTEBOOK)
    sandbox.needs_nobody_else()
    pip = sandbox.home / ".config" / "pip" / "pip.conf"
    pip.parent.mkdir(parents=True)
    pip.write_text("[global]\nindex-url = https://evil.invalid/simple\nno-index = true\n")

    ran = sandbox.run(NOTEBOOK, **make_index(tmp_path), USER_HOME=str(sandbox.home))

    assert (ran.code, ran.lines("ERROR", "WARNING")) == (0, []), ran
    assert ran.lines("INFO")[-1] == "Installed. The server does not run yet; the culler will be active when it starts."
    text = (sandbox.home / ".auto-shutdown" / "set-time-interval.sh").read_text()
    assert text.startswith(f"#!{sandbox.conda}/envs/JupyterSystemEnv/bin/python\n")


PIP_THAT_FAILS_LATE = """
import pip._internal.commands.install as install
run = install.InstallCommand.run

def late(self, options, args):
    run(self, options, args)
    raise ValueError("Invalid version: '2004d'")

install.InstallCommand.run = late
"""


def test_pip_that_fails_when_all_is_installed_is_told_and_does_not_count(place: Any, bundle: Path) -> None:
    """As pip 26.3 does where another package has a version that it does not understand, which others take."""
    sandbox = place()
    have(sandbox.packages, "pytz", "2004d")

    first = sandbox.run(LAB, BUNDLE=str(bundle), STRICT="1")
    (sandbox.packages / "late.py").write_text(PIP_THAT_FAILS_LATE)
    (sandbox.packages / "pip.pth").write_text("import sys; '-m' in sys.orig_argv and __import__('late')\n")
    again = sandbox.run(LAB, BUNDLE=str(bundle), STRICT="1", TIMEOUT_IN_MINS="5")

    assert (first.code, again.code, sandbox.installed()) == (0, 0, VERSION), (first, again)
    assert json.loads(sandbox.config.read_text())["CullingKernelManager"]["idle_timeout"] == 5
    told = f"pip failed, yet sagemaker_studio_autoshutdown {VERSION} is there and can be imported: "
    assert all(each.startswith(told) for each in first.lines("WARNING"))
    (line,) = again.lines("WARNING")
    assert re.fullmatch(re.escape(told) + r"\S+: Invalid version: '2004d'\.", line)


# -- faults before anything is installed -----------------------------------------------------------


def fault(sandbox: Sandbox, script: str = LAB, within: tuple[str, ...] = (), **settings: str) -> Ran:
    """Run with a fault, with STRICT=1 and without; nothing may be left of it. Gives the second run."""
    before = sandbox.installed(), sandbox.config.exists() and sandbox.config.read_text()
    given = {**settings_for(script, sandbox), **settings}
    strict, ran = (sandbox.run(script, within, **{"STRICT": each, **given}) for each in ("1", "0"))
    assert (ran.code, strict.code) == (0, 0 if "STRICT" in settings else 1), (ran, strict)
    assert ran.error == strict.error
    assert (sandbox.installed(), sandbox.config.exists() and sandbox.config.read_text()) == before
    assert sandbox.left_over() == []
    return ran


@pytest.mark.parametrize("script", SCRIPTS)
def test_an_object_that_is_missing_in_s3(place: Any, script: str) -> None:
    """What the aws command says, in the line."""
    ran = fault(place(script), script, BUNDLE="s3://bucket/other.tar.gz")

    assert ran.error == (
        "s3://bucket/other.tar.gz cannot be fetched: fatal error: An error occurred (404) when calling the HeadObject "
        'operation: Key "other.tar.gz" does not exist. Nothing was changed.'
    )


def test_checksums_that_are_not_right(place: Any, bundle: Path, tmp_path: Path) -> None:
    """Of the whole bundle, of one file in it, a file that is no bundle at all, and what an index has in its place."""
    sandbox = place()
    damaged, none = make_bundle(tmp_path / "damaged", damaged=True), tmp_path / "none.tar.gz"
    none.write_text("<html>Sign in</html>")

    errors = [
        fault(sandbox, BUNDLE=str(bundle), BUNDLE_SHA256="0" * 64).error,
        fault(sandbox, BUNDLE=str(damaged)).error,
        fault(sandbox, BUNDLE=str(none)).error,
        fault(sandbox, BUNDLE=str(tmp_path / "absent")).error,
        fault(sandbox, **{**make_index(tmp_path), "BUNDLE_SHA256": "0" * 64}).error,
    ]

    checksum = hashlib.sha256(bundle.read_bytes()).hexdigest()
    assert errors[0] == f"{bundle} has checksum {checksum}, which is not BUNDLE_SHA256. Nothing was changed."
    assert errors[1].startswith(f"{damaged} cannot be unpacked, or is damaged: sha256sum: WARNING: 1 computed checksum")
    assert errors[2].startswith(f"{none} cannot be unpacked, or is damaged: tar: ")
    assert "absent cannot be fetched: cp: cannot stat" in errors[3]
    assert "pip cannot install it: " in errors[4]
    assert "HASH" in errors[4].upper()


SECRET = "$(touch {0}) `touch {0}`; touch {0} & '\" \\ \n*"
SETTINGS = ("TIMEOUT_IN_MINS", "KEEP_TERMINALS", "MIN_TIMEOUT_IN_MINS", "MAX_TIMEOUT_IN_MINS", "BUNDLE")
SETTINGS += (
    "MAX_KEEP_ALIVE_IN_MINS",
    "DRY_RUN",
    "IDLE_TIMEOUTS",
    "EXTRA_SETTINGS",
    "BUNDLE_SHA256",
    "STRICT",
    "WAIT_IN_SECS",
    "CONDA_DIR",
    "SERVER_PYTHON",
)


@pytest.mark.parametrize("name", [*SETTINGS, "SERVER_USER", "USER_HOME"])
def test_hostile_values_are_named_and_never_executed(place: Any, bundle: Path, name: str) -> None:
    """Substitutions, quotes, semicolons, newlines: one line that names the setting, and no file `pwned` anywhere."""
    script = NOTEBOOK if name in ("SERVER_USER", "USER_HOME") else LAB
    sandbox = place(script)
    pwned = sandbox.root / "pwned"
    value = SECRET.format(pwned)

    if name == "USER_HOME":
        sandbox.needs_nobody_else()
        ran = sandbox.run(script, BUNDLE=str(bundle), USER_HOME=str(sandbox.root / SECRET.replace("/", "").format("p")))
        assert (ran.code, ran.lines("ERROR"), json.loads(sandbox.config.read_text()) != {}) == (0, [], True), ran
    else:
        ran = fault(sandbox, script, **{"BUNDLE": str(bundle), name: value})
        assert name in ran.error or name == "SERVER_USER"
        ran = fault(sandbox, script, **{"BUNDLE": str(bundle), name: value.replace("\n", " ")})

    assert not list(sandbox.root.rglob("pwned"))
    assert not (sandbox.root / "p").exists()


@pytest.mark.parametrize(
    ("name", "value", "accepted"),
    [
        ("TIMEOUT_IN_MINS", "0", "a whole number from 1 to 999999"),
        ("TIMEOUT_IN_MINS", "-5", "a whole number from 1 to 999999"),
        ("TIMEOUT_IN_MINS", "1.5", "a whole number from 1 to 999999"),
        ("TIMEOUT_IN_MINS", "a[$(touch pwned)]", "a whole number from 1 to 999999"),
        ("MAX_TIMEOUT_IN_MINS", "5", "0 or at least MIN_TIMEOUT_IN_MINS"),
        ("MIN_TIMEOUT_IN_MINS", "", "a whole number from 0 to 999999"),
        ("KEEP_TERMINALS", "yes", "true or false"),
        ("BUNDLE", "", "s3://bucket/key, /a/path, or pip:name==version"),
        ("BUNDLE", "https://example.com/bundle.tar.gz", "s3://bucket/key, /a/path, or pip:name==version"),
        ("BUNDLE", "pip:--index-url=http://evil", "s3://bucket/key, /a/path, or pip:name==version"),
        ("BUNDLE", "pip:sagemaker_studio_autoshutdown", "s3://bucket/key, /a/path, or pip:name==version"),
        ("MAX_KEEP_ALIVE_IN_MINS", "4h", "a whole number from 0 to 999999"),
        ("DRY_RUN", "yes", "true or false"),
        ("IDLE_TIMEOUTS", "ml.p*", "empty, pattern:minutes ..., or {JSON}"),
        ("IDLE_TIMEOUTS", "ml.p*:soon", "empty, pattern:minutes ..., or {JSON}"),
        ("EXTRA_SETTINGS", "idle_timeout: 5", "empty or {JSON}"),
        ("BUNDLE_SHA256", "abc", "empty or 64 hexadecimal digits"),
        ("STRICT", "2", "0 or 1"),
        ("WAIT_IN_SECS", "0", "a whole number from 1 to 999999"),
    ],
)
def test_a_bad_value_is_named_with_what_is_accepted(
    place: Any, bundle: Path, name: str, value: str, accepted: str
) -> None:
    """And nothing is done."""
    given = {"BUNDLE": str(bundle), "MIN_TIMEOUT_IN_MINS": "6" if value == "5" else "0", name: value}

    ran = fault(place(), **given)

    assert ran.error == f"{name} is '{value}', and must be {accepted}. Nothing was changed."
    assert ran.seconds < 5


MISTAKES = {
    "blanks": ("TIMEOUT_IN_MINS=.*", "TIMEOUT_IN_MINS = 120", "A mistake near line @."),
    "a blank before false": ("KEEP_TERMINALS=.*", "KEEP_TERMINALS= false", "A mistake near line @."),
    "a blank before true": ("KEEP_TERMINALS=.*", "KEEP_TERMINALS= true", "KEEP_TERMINALS is '', and must be true or "),
    "no quotes": ("BUNDLE=.*", "BUNDLE=s3://bucket/my key.tar.gz", "A mistake near line @."),
    "a quote that is not closed": ("BUNDLE=.*", "BUNDLE='s3://bucket/key", "A mistake near line @."),
    "an open substitution": ("MIN_TIMEOUT_IN_MINS=.*", "MIN_TIMEOUT_IN_MINS=$(x", "A mistake near line "),
    "no STRICT": ("STRICT=.*\n", "", "STRICT is '', and must be 0 or 1."),
    "no BUNDLE": ("BUNDLE=.*\n", "", "BUNDLE is '', and must be s3://"),
    "no SERVER_USER": ("SERVER_USER=.*\n", "", "A mistake near line "),
    "no USER_HOME": ("USER_HOME=/.*\n", "", "A mistake near line "),
}


ONLY_THERE = ("no SERVER_USER", "no USER_HOME")
MISTYPED = [(script, each) for script in SCRIPTS for each in MISTAKES if script == NOTEBOOK or each not in ONLY_THERE]


@pytest.mark.parametrize(("script", "mistake"), MISTYPED)
def test_a_mistyped_setting_is_one_line_and_lets_the_app_start(
    place: Any, bundle: Path, script: str, mistake: str
) -> None:
    """Also what bash itself stumbles over, which may add a line of its own; exit code 1 where STRICT=1 can be read."""
    pattern, written, words = MISTAKES[mistake]
    sandbox = place(script)
    for strict in ("0", "1"):
        given = {"BUNDLE": str(bundle), "STRICT": strict, **settings_for(script, sandbox)}
        path = sandbox.script(script, given)
        text, count = re.subn(f"(?m)^{pattern}", lambda _: written, path.read_text())
        assert count == 1
        path.write_text(text)

        ran = sandbox.execute([str(path)])

        lines = [each for each in ran.text.splitlines() if not each.startswith(f"{path}: line ")]
        # An open quote ends at the next one, a line further down.
        number = text[: text.index(written)].count("\n") + (2 if "closed" in mistake else 1)
        expected = "auto-shutdown: ERROR: " + words.replace("@", str(number))
        assert len(lines) == 1, ran
        assert lines[0].startswith(expected), ran
        assert lines[0].endswith(" Nothing was changed."), ran
        assert ran.code == (0 if mistake == "no STRICT" else int(strict)), ran
        assert (sandbox.installed(), sandbox.config.exists(), sandbox.left_over()) == (None, False, [])


def test_windows_line_ends_and_blanks_around_values_do_no_harm(place: Any, bundle: Path) -> None:
    """A carriage return at the end of a value is not part of it."""
    sandbox = place()

    ran = sandbox.run(
        LAB, BUNDLE=f" {bundle}\r", TIMEOUT_IN_MINS="30\r", KEEP_TERMINALS="true \r", STRICT="1\r", BUNDLE_SHA256="\r",
        CONDA_DIR=f"{sandbox.conda}\r",
    )  # fmt: skip

    assert ran.code == 0, ran
    found = json.loads(sandbox.config.read_text())
    assert found["CullingKernelManager"] == {
        "idle_timeout": 30, "min_idle_timeout": 0, "max_idle_timeout": 0, "max_keep_alive": 1440, "dry_run": False,
    }  # fmt: skip
    assert found["CullingTerminalManager"] == {"keep_terminals": True}


def test_a_python_that_is_too_old(place: Any, bundle: Path) -> None:
    """One that says it is 3.8."""
    sandbox = place()
    (sandbox.packages / "sitecustomize.py").write_text("import sys\nsys.version_info = (3, 8, 18, 'final', 0)\n")

    ran = fault(sandbox, BUNDLE=str(bundle))

    expected = f"{sandbox.python} cannot be used: its Python is 3.8, and 3.10 or newer is needed. Nothing was changed."
    assert ran.error == expected.replace(str(sandbox.python), str(sandbox.conda / "bin" / "python"))


def test_an_old_image_with_notebook_6(place: Any, bundle: Path) -> None:
    """Without Jupyter Server 2.10 nothing is installed, neither where it is older nor where there is none."""
    sandbox = place(NOTEBOOK)
    (sandbox.packages / "jupyter_server-1.24.0.dist-info").mkdir()
    metadata = sandbox.packages / "jupyter_server-1.24.0.dist-info" / "METADATA"
    metadata.write_text("Metadata-Version: 2.1\nName: jupyter_server\nVersion: 1.24.0\n")

    older = fault(sandbox, NOTEBOOK, BUNDLE=str(bundle))
    (sandbox.packages / "farm.pth").unlink()
    shutil.rmtree(metadata.parent)
    none = fault(sandbox, NOTEBOOK, BUNDLE=str(bundle))

    words = "and 2.10 or newer is needed (notebook 6?). Nothing was changed."
    assert f"cannot be used: its Jupyter Server is 1.24.0, {words}" in older.error
    assert f"cannot be used: its Jupyter Server is 0.0, missing, {words}" in none.error


def test_no_python_where_it_should_be(place: Any, bundle: Path) -> None:
    """The line names the setting that helps; with it, the script works."""
    sandbox = place()
    elsewhere = str(sandbox.root / "elsewhere")

    ran = fault(sandbox, BUNDLE=str(bundle), CONDA_DIR=elsewhere)
    found = sandbox.run(LAB, BUNDLE=str(bundle), CONDA_DIR=elsewhere, SERVER_PYTHON=str(sandbox.python))

    assert ran.error == f"The server's Python is not in {elsewhere}: set SERVER_PYTHON. Nothing was changed."
    assert (found.code, sandbox.config.exists()) == (0, True), found


# -- faults while installing -----------------------------------------------------------------------


def test_pip_that_is_broken_leaves_what_was_there(place: Any, bundle: Path, tmp_path: Path) -> None:
    """A newer bundle and no pip: the older version goes on with its settings."""
    sandbox = place(installed=True)
    newer = make_bundle(tmp_path / "newer", "99.0")
    (sandbox.packages / "pip").mkdir()
    (sandbox.packages / "pip" / "__init__.py").write_text("raise ImportError('pip is not well')")
    (sandbox.packages / "farm.pth").rename(sandbox.packages / "zzz.pth")

    ran = fault(sandbox, BUNDLE=str(newer))

    assert ran.error == "pip cannot install it: ImportError: pip is not well. The server stays as it was."
    assert sandbox.installed() == VERSION


def test_nothing_that_the_server_has_changes_its_version(place: Any, tmp_path: Path) -> None:
    """A bundle that needs a newer tornado than there is, and has it: pip is refused, tornado stays."""
    sandbox = place()
    bundle = make_bundle(tmp_path / "new", needs="tornado>=99")

    ran = fault(sandbox, BUNDLE=str(bundle))

    assert "pip cannot install it: " in ran.error
    assert "conflicting dependencies" in ran.error
    assert "depends on tornado>=99" in ran.text


def have(packages: Path, name: str, version: str) -> None:
    """Let something seem installed."""
    folder = packages / f"{name}-{version}.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def test_what_the_user_has_installed_does_not_block_the_installation(place: Any, bundle: Path) -> None:
    """A Python as conda's, with the user's own packages first, of which pip sees none while it installs ours."""
    sandbox = place()
    own = sandbox.home / ".local" / "lib" / "python" / "site-packages"
    have(own, "tornado", "99.0")
    text = f"""#!/usr/bin/env bash
[ -n "${{PYTHONNOUSERSITE-}}" ] || export PYTHONPATH={shlex.quote(str(own))}
exec {shlex.quote(str(sandbox.python))} "$@"
"""
    python = sandbox.write("conda-python", text)
    seen = sandbox.execute([str(python), "-c", "import importlib.metadata as m; print(m.version('tornado'))"])
    assert seen.out == "99.0\n"

    ran = sandbox.run(LAB, BUNDLE=str(bundle), SERVER_PYTHON=str(python), STRICT="1")

    assert (ran.code, ran.lines("ERROR"), sandbox.installed()) == (0, [], VERSION), ran


def test_a_version_that_pip_does_not_understand_is_not_pinned(tmp_path: Path) -> None:
    """Packages of old, which a newer pip would refuse as a constraint."""
    code = (LCC / LAB).read_text().partition("\nCODE='")[2].partition("\n'\n")[0]
    code = code.replace("'$OURS'", "sagemaker_studio_autoshutdown")
    good = ("1", "2024.1", "1.0a1", "1.0.b2", "1.0.post1", "1.0.dev0", "1!2.0rc1.post2.dev3", "2.1.0+cu118.x_1")
    for number, version in enumerate((*good, "1.0.x", "2004d", "1.0..1", "1.0.", "1.0+", "unknown", "")):
        have(tmp_path / "packages", f"any{number}", version)
    have(tmp_path / "packages", "sagemaker_studio_autoshutdown", "7.0")

    command = [sys.executable, "-W", "error", "-S", "-c", code, "pins", str(tmp_path / "pins")]
    env = {"PYTHONPATH": str(tmp_path / "packages")}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)

    assert (done.stdout, done.stderr) == ("7.0\n", "")
    found = set((tmp_path / "pins").read_text().split())
    assert found == {f"any{number}=={version}" for number, version in enumerate(good)}


def in_a_small_world(sandbox: Sandbox, commands: str) -> tuple[str, ...]:
    """A command line that runs another one in a namespace of its own, in which `commands` mount small disks."""
    unshare = shutil.which("unshare")
    line = (str(unshare), "--user", "--map-root-user", "--mount", shutil.which("bash") or "bash", "-euc")
    probe = [*line, f"PATH=/usr/sbin:/usr/bin:/sbin:/bin; mount -t tmpfs tmpfs {shlex.quote(str(sandbox.tmp))}"]
    if unshare is None or subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("no namespaces with mounts on this machine")
    return (*line, f'(PATH=/usr/sbin:/usr/bin:/sbin:/bin\n{commands}\n); "$@"', "-")


def test_a_disk_that_is_full(place: Any, bundle: Path, tmp_path: Path) -> None:
    """Of the temporary files, and of the server's environment: there the version that was installed still works."""
    sandbox = place(installed=True)
    newer = make_bundle(tmp_path / "newer", "99.0")
    tmp, packages = shlex.quote(str(sandbox.tmp)), shlex.quote(str(sandbox.packages))
    full_tmp = in_a_small_world(sandbox, f"mount -t tmpfs -o size=64k tmpfs {tmp}")
    full_packages = in_a_small_world(
        sandbox,
        f"cp -a {packages} {tmp}/kept; mount -t tmpfs -o size=8m tmpfs {packages}; cp -a {tmp}/kept/. {packages}\n"
        f"rm -r {tmp}/kept; dd if=/dev/zero of={packages}/filler 2>/dev/null || true",
    )

    temporary = fault(sandbox, LAB, full_tmp, BUNDLE=str(newer))
    environment = sandbox.run(LAB, full_packages, BUNDLE=str(newer), STRICT="1")

    assert environment.code == 1
    assert (sandbox.installed(), sandbox.left_over()) == (VERSION, [])
    assert "No space left on device" in temporary.error
    assert "pip cannot install it: " in environment.error
    assert "No space left on device" in environment.error
    assert environment.error.endswith("The server stays as it was.")
    assert "was removed" not in environment.text


def test_a_package_that_cannot_be_imported_is_taken_away_and_the_server_starts_without(
    place: Any, earlier: Path, tmp_path: Path
) -> None:
    """Over nothing: no configuration is written. Over an older version: its configuration goes, too."""
    sandbox = place()
    broken = make_bundle(tmp_path / "broken", "99.0", managers__kernels=BROKEN)

    first = sandbox.run(LAB, BUNDLE=str(broken), STRICT="1")
    assert (first.code, sandbox.installed(), sandbox.config.exists(), sandbox.left_over()) == (1, None, False, [])
    sandbox.have_what_is_in(earlier)
    sandbox.start()
    assert sandbox.settings() == (30, False)
    ran = sandbox.run(LAB, BUNDLE=str(broken))
    sandbox.service("restart")
    wait_until(sandbox.answers, "the server answers")

    for each in (first, ran):
        assert each.error == (
            f"culling_manager cannot be imported by {sandbox.conda}/bin/python: ImportError: no such kernel. "
            "It was removed; Jupyter's own managers are used."
        )
    assert ran.code == 0
    assert ran.lines("WARNING") == [f"{sandbox.config} was removed, for what it selects cannot be imported."]
    assert (sandbox.installed(), sandbox.config.exists()) == (None, False)
    assert sandbox.get("api/kernels") == []


def test_a_damaged_installation_is_repaired(place: Any, bundle: Path) -> None:
    """The same version, of which a file is gone."""
    sandbox = place(installed=True)
    (sandbox.packages / "culling_manager" / "managers" / "kernels.py").unlink()

    ran = sandbox.run(LAB, BUNDLE=str(bundle), STRICT="1")

    assert ran.code == 0, ran
    assert (sandbox.packages / "culling_manager" / "managers" / "kernels.py").exists()


def test_a_home_that_cannot_be_written_costs_only_the_users_scripts(place: Any, bundle: Path) -> None:
    """A WARNING line; the culler is installed all the same."""
    sandbox = place(installed=True)
    (sandbox.home / ".auto-shutdown").write_text("a file")

    ran = sandbox.run(LAB, BUNDLE=str(bundle), STRICT="1")

    assert ran.code == 0, ran
    assert ran.lines("WARNING") == [f"{sandbox.home}/.auto-shutdown cannot be written: File exists"]


# -- faults of the restart -------------------------------------------------------------------------


def test_no_restart_command(place: Any, bundle: Path) -> None:
    """Installed, and active after the next start, however that comes about."""
    sandbox = place()
    sandbox.start()
    sandbox.without("restart-jupyter-server", "supervisorctl")

    strict = sandbox.run(LAB, BUNDLE=str(bundle), STRICT="1")
    ran = sandbox.run(LAB, BUNDLE=str(bundle), TIMEOUT_IN_MINS="7")
    sandbox.service("restart")
    wait_until(sandbox.answers, "the server answers")

    assert (ran.code, strict.code) == (0, 1)
    assert ran.error.startswith("Installed, but the server cannot be restarted: timeout: failed to run command")
    assert ran.error.endswith("The culler will be active when it starts again.")
    assert sandbox.settings() == (7, False)


def test_two_servers_of_which_one_is_the_users_own(place: Any, bundle: Path, tmp_path: Path, farm: Path) -> None:
    """Each on a port of its own: only the place's is restarted, and the line is about it."""
    sandbox = place()
    other = Sandbox(tmp_path / "other", farm)
    other.manage_server(home=sandbox.home)
    sandbox.service("start")
    other.start()
    wait_until(sandbox.answers, "the server answers")
    try:
        ran = sandbox.run(LAB, BUNDLE=str(bundle), STRICT="1")
        before = other.pid
        assert other.answers()
        own = sandbox.execute([str(sandbox.home / ".auto-shutdown" / "set-time-interval.sh"), "9"])
    finally:
        other.end()

    assert (ran.code, sandbox.settings(), other.pid) == (0, (9, False), before), ran
    assert f"The culler runs at http://localhost:{sandbox.port}/" in ran.lines("INFO")[-1]
    assert own.code == 7
    assert f"localhost:{sandbox.port}/jupyterlab/default/: idle timeout 9 minutes" in own.out
    assert f"localhost:{other.port}/jupyterlab/default/: not set: the server extension" in own.text


def test_other_configuration_that_wins_is_told(place: Any, bundle: Path) -> None:
    """The user's own file comes first in Jupyter; here it has another timeout, and then selects Jupyter's manager."""
    sandbox = place(installed=True)
    own = sandbox.home / ".jupyter" / "jupyter_server_config.json"
    own.parent.mkdir()
    sandbox.start()

    own.write_text(json.dumps({"CullingKernelManager": {"idle_timeout": 5}}))
    timeout = sandbox.run(LAB, BUNDLE=str(bundle))
    manager_class = "jupyter_server.services.kernels.kernelmanager.AsyncMappingKernelManager"
    own.write_text(json.dumps({"ServerApp": {"kernel_manager_class": manager_class}}))
    manager = sandbox.run(LAB, BUNDLE=str(bundle), TIMEOUT_IN_MINS="6")

    assert (timeout.code, manager.code) == (0, 0)
    assert "but with idle timeout 5 minutes, keep_terminals false: another configuration wins." in timeout.error
    assert "The culler does not run at " in manager.error
    assert "the kernel manager is AsyncMappingKernelManager" in manager.error


def test_a_server_that_does_not_come_back_gets_its_old_self(place: Any, tmp_path: Path) -> None:
    """It ends as soon as our managers are selected: so they are not any more, and it is restarted once again."""
    sandbox = place()
    sandbox.needs_nobody_else()
    sandbox.start()
    text = (ROOT / "culling_manager" / "managers" / "kernels.py").read_text()
    text += (
        "\nimport sys, os\nif 'jupyter_server.serverapp' in sys.modules and os.environ.get('ENDS'):\n    os._exit(3)\n"
    )
    sandbox.manage_server(ENDS="1")

    ran = sandbox.run(
        LAB, BUNDLE=str(make_bundle(tmp_path / "ends", "99.0", managers__kernels=text)), WAIT_IN_SECS="15"
    )
    wait_until(sandbox.answers, "the server answers")

    expected = f"No server answered within 15 s. {sandbox.config} was removed, and the server restarted again."
    assert (ran.code, ran.error) == (0, expected)
    assert not sandbox.config.exists()
    assert sandbox.get("api/kernels") == []


LATE = """#!/usr/bin/env bash
if [ ! -e {root}/first ]; then
  touch {root}/first
  {blind}
  until [ -e {root}/go ]; do sleep 0.1; done
fi
exec "$@"
"""


def be_late(sandbox: Sandbox, blind: str = "") -> None:
    """Let the server, when it is started the next time, run at once and listen only when the file `go` is there."""
    service = sandbox.root / "bin" / "service"
    wrapper = sandbox.write("late", LATE.format(root=sandbox.root, blind=blind))
    command = shlex.join(sandbox.command)
    text = service.read_text()
    assert "--IdentityProvider.token=" in text
    service.write_text(text.replace(command, f"{wrapper} {command}"))


def goes(sandbox: Sandbox) -> str:
    """Let it listen, and give what is told of it in the user's log."""
    told = sandbox.home / ".auto-shutdown" / "start.log"
    (sandbox.root / "go").touch()
    wait_until(lambda: told.exists() and "The culler runs at" in told.read_text(), "it is told", 90)
    return told.read_text()


def restarts(sandbox: Sandbox) -> int:
    """How often the server was restarted."""
    return (sandbox.root / "service.log").read_text().split().count("restart")


@pytest.mark.timeout(900)
@pytest.mark.parametrize("blind", ["", "export JUPYTER_NO_CONFIG=1"])
def test_a_server_that_is_starting_is_waited_for_without_holding_the_apps_start(
    place: Any, bundle: Path, blind: str
) -> None:
    """It may be removing packages: nobody restarts it before it answers, and then only if it runs without our settings,

    which it does when it had read its configuration before. What became of it stands in the user's log.
    """
    sandbox = place()
    be_late(sandbox, blind)
    sandbox.service("start")

    ran = sandbox.run(LAB, BUNDLE=str(bundle), STRICT="1")
    before = restarts(sandbox)
    told = goes(sandbox)

    log = sandbox.home / ".auto-shutdown" / "start.log"
    assert (ran.code, ran.lines("ERROR", "WARNING"), sandbox.settings()) == (0, [], (120, False)), (ran, told)
    assert ran.lines("INFO")[-1] == f"Installed. The server is starting; what becomes of it will be in {log}."
    assert (before, restarts(sandbox)) == (0, 1 if blind else 0)


@pytest.mark.timeout(900)
def test_a_restarted_server_that_is_slow_keeps_the_culler(place: Any, bundle: Path) -> None:
    """It still starts when the time is over: it is not restarted a second time, and culls when it is up."""
    sandbox = place()
    sandbox.start()
    be_late(sandbox)

    ran = sandbox.run(LAB, BUNDLE=str(bundle), WAIT_IN_SECS="1")
    told = goes(sandbox)

    assert (ran.code, ran.lines("ERROR"), sandbox.config.exists()) == (0, [], True), (ran, told)
    assert (sandbox.settings(), restarts(sandbox)) == ((120, False), 1)


def test_root_opens_nothing_in_a_folder_of_the_users(place: Any, bundle: Path) -> None:
    """A link that the user has put there leads nowhere, and no pipe holds the start; root stays out of it."""
    sandbox = place(NOTEBOOK)
    victim = sandbox.root / "victim"
    victim.write_text("precious")
    real = shutil.which("mktemp")
    trap = f'made=$({real} "$@") && ln -s {victim} "$made/restart.log" && mkfifo "$made/other.log" && echo "$made"\n'
    for name in ("ln", "mkfifo"):
        (sandbox.root / "tools" / name).symlink_to(str(shutil.which(name)))
    sandbox.write("mktemp", f"#!/usr/bin/env bash\n{trap}")
    stub = (sandbox.root / "bin" / "systemctl").read_text()
    sandbox.write("systemctl", stub.replace('case "$*"', f'pwd >>{sandbox.root}/cwd\ncase "$*"'))
    sandbox.start()

    ran = sandbox.run(NOTEBOOK, BUNDLE=str(bundle), USER_HOME=str(sandbox.home))

    assert (ran.code, ran.lines("ERROR", "WARNING"), sandbox.settings()) == (0, [], (120, False)), ran
    assert victim.read_text() == "precious"
    assert set((sandbox.root / "cwd").read_text().split()) == {"/"}


def test_as_root_in_a_home_of_somebody_else_it_works_as_that_user(place: Any, bundle: Path) -> None:
    """So that nothing is left that the user cannot write."""
    sandbox = place(LAB)
    sandbox.write("stat", "#!/usr/bin/env bash\necho somebody\n")
    sandbox.write("id", "#!/usr/bin/env bash\necho 0\n")
    log = sandbox.root / "runuser.log"
    sandbox.write("runuser", f'#!/usr/bin/env bash\necho "$*" >>{log}\nshift 3\nexec "$@"\n')

    ran = sandbox.run(LAB, BUNDLE=str(bundle), STRICT="1")

    assert (ran.code, ran.lines("ERROR", "WARNING")) == (0, []), ran
    lines = log.read_text().splitlines()
    for what in ("mktemp", "-m pip", "lifecycle.py", "rm -rf"):
        assert any(what in line for line in lines), what


def test_extra_settings_a_dry_run_and_the_longest_keep_alive_are_configured(place: Any, bundle: Path) -> None:
    """JSON, class by class; a value that the server would refuse is refused here, and nothing is selected."""
    sandbox = place()
    extra = '{"CullingKernelManager": {"cull_connected": false}, "Signals": {"limit_seconds": 20}}'

    ran = sandbox.run(LAB, BUNDLE=str(bundle), DRY_RUN="True", MAX_KEEP_ALIVE_IN_MINS="60", EXTRA_SETTINGS=extra)
    found = json.loads(sandbox.config.read_text())
    sandbox.config.unlink()
    bad = [
        sandbox.run(LAB, BUNDLE=str(bundle), EXTRA_SETTINGS=each)
        for each in ('{"CullingKernelManager": {"idle_timeout": -1}}', "{'a': 1}", '{"CullingKernelManager": 5}')
    ]

    assert (ran.code, ran.lines("ERROR")) == (0, []), ran
    manager = found["CullingKernelManager"]
    assert (manager["dry_run"], manager["max_keep_alive"], manager["cull_connected"]) == (True, 60, False)
    assert found["Signals"] == {"limit_seconds": 20}
    assert all(each.error.startswith(f"{sandbox.config} cannot be written: a setting is refused: ") for each in bad), (
        bad
    )
    assert "idle_timeout" in bad[0].error
    assert not sandbox.config.exists()


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_checks_its_settings_alone_when_it_is_asked_to(place: Any, script: str) -> None:
    """Exit code 1 and one line, whatever STRICT says; nothing where all is well."""
    sandbox = place(script)
    good = sandbox.script(script, {"BUNDLE": "/x.tar.gz", **settings_for(script, sandbox)})
    fine = sandbox.execute([str(good), "--check"])
    bad = sandbox.script(script, {"BUNDLE": "/x.tar.gz", "TIMEOUT_IN_MINS": "2h", **settings_for(script, sandbox)})
    wrong = sandbox.execute([str(bad), "--check"])

    assert (fine.code, fine.text) == (0, "")
    assert (wrong.code, wrong.error.startswith("TIMEOUT_IN_MINS is '2h', and must be a whole number")) == (1, True)


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_mistake_in_the_block_of_settings_fails_the_check(tmp_path: Path, script: str) -> None:
    """Blanks around `=` are a command to bash: what asks for the check must not believe that all is well."""
    text = (LCC / script).read_text()
    assert text.count("\nTIMEOUT_IN_MINS=") == 1
    bad = tmp_path / script
    bad.write_text(text.replace("\nTIMEOUT_IN_MINS=", "\nTIMEOUT_IN_MINS ="))

    checked = subprocess.run(["bash", bad, "--check"], capture_output=True, text=True, check=False)
    started = subprocess.run(["bash", bad], capture_output=True, text=True, check=False)

    assert "A mistake near line 13. Nothing was changed." in checked.stderr
    assert (checked.returncode, started.returncode) == (1, 0)  # a start goes on without, unless STRICT=1


# -- set-time-interval.sh --------------------------------------------------------------------------


def set_time_interval(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run it with this Python, in an empty home unless one is given."""
    command = [sys.executable, str(LCC / "set-time-interval.sh"), *arguments]
    return subprocess.run(command, env=more, capture_output=True, text=True, timeout=patience(60), check=False)


def test_setting_with_a_token_and_refusals(tmp_path: Path, place: Any) -> None:
    """The token from the runtime file, the environment or the command line; each refusal has its exit code and line."""
    sandbox = place(installed=True)
    sandbox.manage_server(token="secret")
    sandbox.service("start")
    wait_until(lambda: list(sandbox.home.rglob("jpserver-*.json")), "the runtime file")
    url, home, nowhere = f"http://localhost:{sandbox.port}/jupyterlab/default", str(sandbox.home), str(tmp_path)

    results = [
        set_time_interval("8", HOME=home),
        set_time_interval("--keep-terminals", "true", "--url", url, HOME=nowhere, JUPYTER_TOKEN="secret"),
        set_time_interval("--verify", "8", "--keep-terminals", "true", HOME=home),
        set_time_interval("--verify", "9", "--timeout", "0.5", HOME=home),
        set_time_interval("0", HOME=home),
        set_time_interval("10", "--url", url, "--token", "wrong", HOME=nowhere),
        set_time_interval("10", "--url", f"http://localhost:{free_port()}", HOME=nowhere),
        *(set_time_interval(*each, HOME=home) for each in (["nan"], ["x"], ["--keep-terminals", "yes"])),
    ]

    assert [each.returncode for each in results] == [0, 0, 0, 12, 11, 8, 3, 2, 2, 2], results
    assert "idle timeout 8 minutes, keep_terminals false (before: idle timeout 30 minutes" in results[0].stdout
    assert "idle timeout 8 minutes, keep_terminals true (before: idle timeout 8 minutes" in results[1].stdout
    assert "the token is wrong" in results[5].stderr
    assert "nothing listens there" in results[6].stderr
    assert not any("secret" in each.stdout + each.stderr for each in results)


def test_alone_it_says_what_is_missing(tmp_path: Path) -> None:
    """It finds servers by the script that lies beside it."""
    shutil.copy(LCC / "set-time-interval.sh", tmp_path)

    done = subprocess.run(
        [sys.executable, tmp_path / "set-time-interval.sh"], capture_output=True, text=True, check=False
    )

    assert done.returncode == 1
    assert done.stderr == "check_idle_timeout_configuration.py is missing: it has to lie beside this script\n"


@pytest.mark.parametrize("shell", ["bash", "sh"])
def test_a_shell_starts_it_with_python(shell: str, tmp_path: Path) -> None:
    """As people do with a file of that name; the copy that users get starts the server's own Python."""
    done = subprocess.run(
        [shell, str(LCC / "set-time-interval.sh"), "60", "--url", f"http://localhost:{free_port()}"],
        env={"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(tmp_path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    copied = set_time_interval("7", "--copy-to", str(tmp_path), HOME=str(tmp_path))

    assert (done.returncode, done.stdout) == (3, "")
    assert "nothing listens there" in done.stderr
    assert copied.returncode == 0
    lines = (tmp_path / "set-time-interval.sh").read_text().splitlines()
    assert lines[0] == f"#!{sys.executable}"
    assert lines[2] == f'exec {sys.executable} "$0" "$@"'


@pytest.mark.parametrize("given", ["ml.p*:15 *:120", '{"ml.p*": 15, "*": 120}'])
def test_timeouts_by_instance_type_are_configured(place: Any, bundle: Path, given: str) -> None:
    """In their order, which counts; a number or a JSON that the server would refuse is refused here."""
    sandbox = place()

    ran = sandbox.run(LAB, BUNDLE=str(bundle), IDLE_TIMEOUTS=given)
    found = json.loads(sandbox.config.read_text())["CullingKernelManager"]
    sandbox.config.unlink()
    bad = sandbox.run(LAB, BUNDLE=str(bundle), IDLE_TIMEOUTS='{"ml.p*": -1}')

    assert (ran.code, ran.lines("ERROR")) == (0, []), ran
    assert list(found["idle_timeouts"].items()) == [("ml.p*", 15), ("*", 120)]
    assert bad.error.startswith(f"{sandbox.config} cannot be written: a setting is refused: "), bad


def test_a_script_from_before_there_were_types_works_with_a_bundle_of_today() -> None:
    """What it gives in its order is read as ever; a script of today and an old bundle do not go together in silence."""
    loader = SourceFileLoader("lifecycle", str(LCC / "lifecycle.py"))
    module = module_from_spec(spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    words = ["120", "0", "0", "1440", "false", "false", "", "/c", "120", "/l", "configure"]

    old, new = module.arguments(words), module.arguments(["--idle-timeouts=ml.p*:15", *words])

    assert (old.idle_timeouts, new.idle_timeouts) == ("", "ml.p*:15")
    assert {name: value for name, value in vars(old).items() if name != "idle_timeouts"} == {
        name: value for name, value in vars(new).items() if name != "idle_timeouts"
    }
