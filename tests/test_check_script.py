"""`lcc/check_idle_timeout_configuration.py`: each exit code against real servers, and its parts one by one."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from jupyter_core.paths import jupyter_runtime_dir

from tests.conftest import patience
from tests.ports import free_port

SCRIPT = Path(__file__).parents[1] / "lcc" / "check_idle_timeout_configuration.py"
TOKEN = "the-secret-token"
OURS = (
    "--ServerApp.kernel_manager_class=culling_manager.CullingKernelManager",
    "--TerminalsExtensionApp.terminal_manager_class=culling_manager.CullingTerminalManager",
    "--CullingKernelManager.cull_interval=0.2",
)
SLOW = (*OURS[:2], "--CullingKernelManager.cull_interval=3600")
NOT_NEEDED = ("jupyterlab", "notebook", "jupyter_lsp", "notebook_shim")
API: tuple[int, dict[str, str], str] = (200, {}, '{"version": "2.21.1"}')
GOOD = {"idle_time": 7200, "keep_terminals": False, "count": 37, "errors": None}


@dataclass
class Ran:
    """What one run of the script gave."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """The answer to ``--json``."""
        found: dict[str, Any] = json.loads(self.out)
        return found


def environment(home: Path) -> dict[str, str]:
    """An environment in which everything that Jupyter reads or writes lies under `home`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER", "XDG", "IPYTHON"))}
    folders = {name: str(home / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
    return {
        **kept,
        "HOME": str(home),
        "IPYTHONDIR": str(home / "ipython"),
        **{f"JUPYTER_{name}_DIR": folder for name, folder in folders.items()},
    }


@contextmanager
def jupyter_server(home: Path, *arguments: str, token: str = TOKEN, enabled: bool = True) -> Iterator[int]:
    """A real server with `home` as its home; gives its pid, and ends it by that pid."""
    home.mkdir(exist_ok=True)
    extensions = {**dict.fromkeys(NOT_NEEDED, False), "culling_manager": enabled}
    command = [sys.executable, "-m", "jupyter_server", "--allow-root", "--no-browser", f"--ServerApp.root_dir={home}"]
    command += [f"--ServerApp.jpserver_extensions={name}={value}" for name, value in extensions.items()]
    command += [f"--IdentityProvider.token={token}", *arguments]
    if not any("ServerApp.sock=" in argument for argument in arguments):
        command += [f"--ServerApp.port={free_port()}", "--ServerApp.port_retries=0"]
    log = home / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=home, env=environment(home), stdout=output, stderr=output)
    try:
        wait_until(lambda: is_up(home, process, log))
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def is_up(home: Path, process: subprocess.Popen[bytes], log: Path) -> bool:
    """Whether the server listens; it tells where shortly before."""
    if process.poll() is not None:
        pytest.fail(f"the server ended with {process.returncode}:\n{log.read_text()}")
    try:
        info = json.loads((home / "runtime" / f"jpserver-{process.pid}.json").read_text())
        family = socket.AF_UNIX if info["sock"] else socket.AF_INET
        with closing(socket.socket(family)) as probe:
            probe.connect(info["sock"] or ("127.0.0.1", info["port"]))
    except (OSError, ValueError):
        return False
    return True


def wait_until(holds: Callable[[], bool], seconds: float = 40.0) -> None:
    end = time.monotonic() + patience(seconds)
    while not holds():
        if time.monotonic() > end:
            pytest.fail(f"still not true after {seconds:g} s")
        time.sleep(0.05)


def script(home: Path, *arguments: str, **extra: str) -> Ran:
    """Run the script as a bare Python would: isolated, and without any installed package."""
    command = [sys.executable, "-I", "-S", str(SCRIPT), *arguments]
    env = {**environment(home), **extra}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=patience(40), check=False)
    return Ran(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ModuleType]:
    """The script as a module, in an environment of its own, with nobody at the usual addresses."""
    for name in [name for name in os.environ if name.startswith(("JUPYTER", "XDG"))]:
        monkeypatch.delenv(name)
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    (tmp_path / "runtime").mkdir(exist_ok=True)
    spec = importlib.util.spec_from_file_location("check_script", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["check_script"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "USUAL_URLS", (f"http://localhost:{free_port()}/jupyter/default",))
    yield module
    del sys.modules["check_script"]


def runtime_file(home: Path, name: str = "jpserver-1.json", **changes: Any) -> Path:
    """Write a runtime file as a server did long ago, about a port at which nobody listens."""
    info = {"url": "http://localhost:1/", "token": TOKEN, "pid": os.getpid(), "hostname": "localhost", **changes}
    path = home / "runtime" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(info))
    os.utime(path, (1, 1))
    return path


class Stub(ThreadingHTTPServer):
    """A server that answers as it is told; remembers path and Authorization of each request."""

    daemon_threads = True

    def __init__(self, answers: dict[str, tuple[int, dict[str, str], str]], port: int) -> None:
        super().__init__(("127.0.0.1", port), StubHandler)
        self.answers = answers
        self.seen: list[tuple[str, str | None]] = []

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://127.0.0.1:{self.server_port}/"


class StubHandler(BaseHTTPRequestHandler):
    """Answers from the stub's table by the last part of the path; 404 for others."""

    server: Stub

    def do_GET(self) -> None:
        """Answer."""
        name = self.path.rpartition("/")[2]
        self.server.seen.append((name, self.headers.get("Authorization")))
        status, headers, body = self.server.answers.get(name, (404, {}, ""))
        self.send_response(status)
        for header, value in headers.items():
            self.send_header(header, value)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def stub() -> Iterator[Callable[..., Stub]]:
    """Make stubs; by default a Jupyter Server whose idle_checker answers `body`."""
    with ExitStack() as stack:

        def make(body: Any = "", status: int = 200, headers: Any = None, api: Any = None, port: int = 0) -> Stub:
            text = body if isinstance(body, str) else json.dumps(body)
            made = Stub({"api": api or API, "idle_checker": (status, headers or {}, text)}, port)
            stack.callback(made.server_close)
            threading.Thread(target=made.serve_forever, args=(0.02,), daemon=True).start()
            stack.callback(made.shutdown)
            return made

        yield make


@pytest.fixture
def silent() -> Iterator[Callable[[bytes], str]]:
    """Make listeners that take a connection and send one byte of `drops` each 0.1 s, and nothing after that."""
    over = threading.Event()
    listeners: list[socket.socket] = []

    def drip(listener: socket.socket, drops: bytes) -> None:
        connection, _ = listener.accept()
        with connection, suppress(OSError):
            for drop in drops:
                connection.sendall(bytes([drop]))
                if over.wait(0.1):
                    return
            over.wait()

    def make(drops: bytes) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)
        threading.Thread(target=drip, args=(listener, drops), daemon=True).start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}/"

    yield make
    over.set()
    for listener in listeners:
        listener.close()


# -- real servers ----------------------------------------------------------------------------------


def test_a_running_culler_is_found_and_its_settings_are_printed(tmp_path: Path) -> None:
    """Without arguments: server and token come from the runtime file, and the exit code is 0 once count is over 1."""
    with jupyter_server(tmp_path, *OURS):
        ran = script(tmp_path)

    assert ran.code == 0, ran
    assert "  idle timeout:    120 minutes (7200 s)\n  keep_terminals:  false\n  count:           " in ran.out
    assert ran.out.endswith("  OK: the culler runs\n")
    assert ran.err == ""
    assert TOKEN not in ran.out


def test_a_server_that_has_just_started_is_waited_for(tmp_path: Path) -> None:
    """With a heartbeat of a second, a check right after the start sees count 1 first, and waits until it is over 1."""
    with jupyter_server(tmp_path, *OURS[:2], "--CullingKernelManager.cull_interval=1"):
        ran = script(tmp_path, "--json")

    assert ran.code == 0, ran
    assert ran.document["servers"][0]["settings"]["count"] == 2


def test_a_server_that_does_not_listen_yet_is_waited_for(tmp_path: Path, stub: Any) -> None:
    """A server writes its runtime file before it listens: a refused connection is final only if the file is older."""
    port = free_port()
    path = runtime_file(tmp_path, url=f"http://127.0.0.1:{port}/")
    late = threading.Timer(0.6, lambda: stub(GOOD, port=port))

    os.utime(path)
    late.start()
    ran = script(tmp_path)

    assert ran.code == 0, ran


def test_the_json_output_holds_what_the_endpoint_says(tmp_path: Path) -> None:
    """--json gives one document with code, state and the settings of each server; the token is not in it."""
    with jupyter_server(tmp_path, *OURS, "--CullingKernelManager.idle_timeout=0.5"):
        ran = script(tmp_path, "--json")

    settings = ran.document["servers"][0]["settings"]
    assert (ran.code, ran.document["code"], ran.document["state"]) == (0, 0, "running")
    assert (settings["idle_time"], settings["keep_terminals"], settings["errors"]) == (30, False, None)
    assert TOKEN not in ran.out


def test_studio_classics_server_is_found_below_its_base_url_without_a_token(tmp_path: Path) -> None:
    """An empty token and base_url /jupyter/default, as in Studio Classic, need no arguments either."""
    with jupyter_server(tmp_path, *OURS, "--ServerApp.base_url=/jupyter/default", token=""):
        ran = script(tmp_path)

    assert ran.code == 0, ran
    assert "/jupyter/default/\n" in ran.out


def test_a_server_without_a_runtime_file_is_found_at_the_usual_addresses(
    check: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With nothing in the runtime directory, SageMaker's addresses are asked, and only the one that exists is told."""
    with jupyter_server(tmp_path / "other", *OURS, "--ServerApp.base_url=/jupyterlab/default", token="") as pid:
        port = json.loads((tmp_path / "other" / "runtime" / f"jpserver-{pid}.json").read_text())["port"]
        usual = [f"http://localhost:{port}{path}" for path in ("/jupyter/default", "/jupyterlab/default", "")]
        monkeypatch.setattr(check, "USUAL_URLS", usual)

        code = check.main([])

    out = capsys.readouterr().out
    assert code == 0
    assert out.startswith(f"http://localhost:{port}/jupyterlab/default/\n")
    assert out.count("http://") == 1


def test_a_missing_extension_has_its_own_exit_code(tmp_path: Path) -> None:
    """A server that has our managers but not our handlers: 7, and what to do."""
    with jupyter_server(tmp_path, *OURS, enabled=False):
        ran = script(tmp_path)

    assert ran.code == 7, ran
    assert "NOT OK (7): the server extension culling_manager is missing: install" in ran.out


def test_a_wrong_or_missing_token_has_its_own_exit_code(tmp_path: Path) -> None:
    """8 for a wrong token and for none; the right one comes from --token, JUPYTER_TOKEN, a pasted URL or the file."""
    with jupyter_server(tmp_path, *OURS) as pid:
        url = json.loads((tmp_path / "runtime" / f"jpserver-{pid}.json").read_text())["url"]
        other = tmp_path / "other"

        wrong = script(tmp_path, "--token", "wrong-one")
        missing = script(other, "--url", url)
        right = [
            script(other, "--url", url, "--token", TOKEN),
            script(other, "--url", url, JUPYTER_TOKEN=TOKEN),
            script(other, "--url", f"{url}lab?token={TOKEN}"),
            script(tmp_path, "--url", url),
        ]

    assert (wrong.code, missing.code) == (8, 8)
    assert "the token is wrong (HTTP status 403)" in wrong.out
    assert "a token is needed (HTTP status 403)" in missing.out
    assert [ran.code for ran in right] == [0, 0, 0, 0]
    assert not any(secret in ran.out + ran.err for ran in (wrong, missing, *right) for secret in (TOKEN, "wrong-one"))


def test_an_idle_timeout_of_zero_is_told_as_off(tmp_path: Path) -> None:
    """4, with the settings, although the culler's heart beats."""
    with jupyter_server(tmp_path, *OURS, "--CullingKernelManager.idle_timeout=0"):
        ran = script(tmp_path)

    assert ran.code == 4, ran
    assert "idle timeout:    0 minutes (0 s)" in ran.out
    assert "NOT OK (4): culling is off" in ran.out


TERMINALS_ONLY = (OURS[1], "--CullingTerminalManager.cull_interval=0.2")


@pytest.mark.parametrize("arguments", [(), TERMINALS_ONLY], ids=["none-of-ours", "only-terminals-ours"])
def test_a_foreign_kernel_manager_is_not_taken_for_ours(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """6 when kernels are not culled, also where the terminal manager alone makes the count rise."""
    with jupyter_server(tmp_path, *arguments):
        ran = script(tmp_path)

    assert ran.code == 6, ran
    assert "NOT OK (6): Kernels are not culled: the kernel manager is AsyncMappingKernelManager." in ran.out


@pytest.mark.parametrize(
    ("changes", "state", "code"),
    [
        ({}, {"watching": ["terminal"], "notices": ["Andere Worte."]}, 6),
        ({}, {"watching": [], "notices": []}, 6),
        ({}, {"watching": ["kernel"], "notices": ["Kernels are not culled by that other program, which is fine."]}, 0),
        ({"count": 0, "errors": "the app cannot be read"}, {"watching": ["kernel"], "notices": []}, 5),
        ({"count": 0, "errors": "the manager is X"}, {"notices": []}, 6),
        ({}, {"notices": ["Kernels are not culled: the manager is X."]}, 6),
    ],
)
def test_whether_kernels_are_culled_is_told_by_what_is_watched(
    tmp_path: Path, stub: Any, changes: dict[str, Any], state: dict[str, Any], code: int
) -> None:
    """And by words only where an older server does not tell what it watches."""
    server = stub({**GOOD, **changes})
    server.answers["status"] = (200, {}, json.dumps(state))

    assert script(tmp_path, "--url", server.url, "--timeout", "1").code == code


def test_foreign_terminals_are_noted_and_nothing_more(tmp_path: Path) -> None:
    """Culling kernels alone is a choice that one may make: 0, and a note."""
    with jupyter_server(tmp_path, OURS[0], OURS[2]):
        ran = script(tmp_path)

    assert ran.code == 0, ran
    assert "note:            Terminals are not culled: the terminal manager is TerminalManager." in ran.out


def test_a_count_that_stays_at_one_is_not_running(tmp_path: Path) -> None:
    """5 after --timeout, with the count that was seen."""
    with jupyter_server(tmp_path, *SLOW):
        ran = script(tmp_path, "--timeout", "0.6")

    assert ran.code == 5, ran
    assert "count:           1\n" in ran.out


def test_of_several_servers_each_is_told_and_the_worst_counts(tmp_path: Path) -> None:
    """Three servers in one runtime directory: running, off, extension missing; the exit code is the highest."""
    home = tmp_path / "first"
    with ExitStack() as stack:
        stack.enter_context(jupyter_server(home, *OURS))
        for name, more, enabled in (("second", ["--CullingKernelManager.idle_timeout=0"], True), ("third", [], False)):
            stack.enter_context(jupyter_server(tmp_path / name, *OURS, *more, enabled=enabled))
            for path in (tmp_path / name / "runtime").glob("jpserver-*.json"):
                shutil.copy(path, home / "runtime")
        ran = script(home, "--json")
        people = script(home)

    assert ran.code == people.code == 7, ran
    assert sorted(each["state"] for each in ran.document["servers"]) == ["extension_missing", "off", "running"]
    assert people.out.count("http://localhost:") == 3
    assert "  OK: the culler runs" in people.out


def test_a_stale_runtime_file_beside_a_good_one_does_no_harm(tmp_path: Path) -> None:
    """Files of servers that are gone, whether or not their pid lives again, are skipped with a word."""
    with jupyter_server(tmp_path, *OURS) as pid:
        port = json.loads((tmp_path / "runtime" / f"jpserver-{pid}.json").read_text())["port"]
        ended = subprocess.Popen([sys.executable, "-c", ""])
        ended.wait()
        runtime_file(tmp_path, "jpserver-10.json", pid=ended.pid)
        runtime_file(tmp_path, "jpserver-11.json", url="http://localhost:1/elsewhere/")
        runtime_file(tmp_path, "jpserver-12.json", url=f"http://127.0.0.1:{port}/old/", token="old")

        ran = script(tmp_path)

    assert ran.code == 0, ran
    assert ran.out.count("http://") == 1
    assert "skipped, its process is gone, or not ours: jpserver-10.json\n" in ran.err
    assert "skipped, nothing listens there: http://localhost:1/elsewhere/\n" in ran.err


def test_a_server_on_a_unix_socket_is_checked_like_any_other() -> None:
    """The path of the socket comes from the runtime file, or from an http+unix URL."""
    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        home = Path(short)
        with jupyter_server(home, *OURS, f"--ServerApp.sock={home}/s"):
            ran = script(home)
            wrong = script(home, "--url", f"http+unix://{short.replace('/', '%2F')}%2Fs/", "--token", "wrong-one")

    assert ran.code == 0, ran
    assert ran.out.startswith("http+unix://%2Ftmp%2F")
    assert wrong.code == 8, wrong


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificate with openssl")
def test_a_self_signed_certificate_is_accepted_from_this_machine(tmp_path: Path) -> None:
    """As on notebook instances: https with a certificate that nobody vouches for, on localhost."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=somebody"]
    subprocess.run([*make, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)

    with jupyter_server(tmp_path, *OURS, f"--ServerApp.certfile={certificate}", f"--ServerApp.keyfile={key}"):
        ran = script(tmp_path)

    assert ran.code == 0, ran
    assert ran.out.startswith("https://localhost:")


# -- servers that are not as they should be --------------------------------------------------------


def test_no_server_has_its_own_exit_code(check: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    """3 with no runtime file and nobody at the usual addresses; what was tried is told."""
    code = check.main([])

    told = capsys.readouterr()
    assert code == 3
    assert told.out == "NOT OK (3): no Jupyter Server was found; if one runs, give its --url\n"
    assert "skipped, nothing listens there: http://localhost:" in told.err


def test_only_a_stale_runtime_file_is_no_server(check: ModuleType, tmp_path: Path) -> None:
    """3 when the one file there is belongs to a process that lives but listens nowhere."""
    runtime_file(tmp_path)

    code = check.main(["--json"])

    assert code == 3


def test_a_url_where_nothing_listens_is_no_server(tmp_path: Path) -> None:
    """3, and no other place is asked."""
    ran = script(tmp_path, "--url", f"http://localhost:{free_port()}/jupyter/default")

    assert ran.code == 3
    assert "/jupyter/default/\n  NOT OK (3): nothing listens there\n" in ran.out


@pytest.mark.parametrize("drops", [b"", b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 99], ids=["silent", "drop-by-drop"])
def test_a_server_that_does_not_answer_in_time_has_its_own_exit_code(
    tmp_path: Path, silent: Callable[[bytes], str], drops: bytes
) -> None:
    """10 after --timeout, also when bytes keep coming, so that no single read ever times out."""
    url = silent(drops)
    begun = time.monotonic()

    ran = script(tmp_path, "--url", url, "--timeout", "0.5")

    assert ran.code == 10, ran
    assert "NOT OK (10): the server does not answer in time" in ran.out
    assert time.monotonic() - begun < patience(5)


def test_one_silent_server_holds_up_no_other(tmp_path: Path, silent: Callable[[bytes], str], stub: Any) -> None:
    """A hung server and a good one are asked side by side: the good one is told as good."""
    runtime_file(tmp_path, "jpserver-1.json", url=silent(b""))
    runtime_file(tmp_path, "jpserver-2.json", url=stub(GOOD).url)

    ran = script(tmp_path, "--json", "--timeout", "0.5")

    assert ran.code == 10
    assert [each["state"] for each in ran.document["servers"]] == ["no_answer", "running"]


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, "<html>"),
        (200, "[]"),
        (200, "null"),
        (200, ""),
        (200, "[" * 100_000),
        (200, {**GOOD, "idle_time": True}),
        (200, {**GOOD, "idle_time": "7200"}),
        (200, '{"idle_time": NaN, "keep_terminals": false, "count": 3, "errors": null}'),
        (200, {**GOOD, "idle_time": -1}),
        (200, {**GOOD, "idle_time": 10**400}),
        (200, {**GOOD, "count": 2.5}),
        (200, {**GOOD, "keep_terminals": None}),
        (200, {"idle_time": 7200}),
        (500, GOOD),
        (204, ""),
    ],
)
def test_an_answer_of_another_shape_has_its_own_exit_code(
    check: ModuleType, stub: Any, capsys: pytest.CaptureFixture[str], status: int, body: Any
) -> None:
    """9 for whatever is not idle_time, keep_terminals, count and errors with status 200."""
    url = stub(body, status=status).url

    code = check.main(["--url", url])

    assert code == 9
    assert f"(HTTP status {status}) is not the one that the extension gives" in capsys.readouterr().out


def test_a_token_is_sent_to_no_other_host_and_not_before_a_jupyter_server_answers(tmp_path: Path, stub: Any) -> None:
    """A redirect is not followed, and the probe for a server at the base URL carries no token."""
    elsewhere = stub(GOOD)
    here = stub(status=302, headers={"Location": elsewhere.url})

    ran = script(tmp_path, "--url", here.url, JUPYTER_TOKEN=TOKEN)

    assert ran.code == 9, ran
    assert elsewhere.seen == []
    assert here.seen == [("api", None), ("idle_checker", f"token {TOKEN}")]


@pytest.mark.parametrize(
    ("arguments", "on_sagemaker", "sent"),
    [([], False, None), ([], True, f"token {TOKEN}"), (["--token", TOKEN], False, f"token {TOKEN}")],
)
def test_at_a_usual_address_the_environments_token_is_sent_on_sagemaker_only(
    check: ModuleType, stub: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    arguments: list[str], on_sagemaker: bool, sent: str | None,
) -> None:  # fmt: skip
    """Whoever answers there on a shared machine may be anybody; who gives --token has chosen to."""
    somebody = stub(GOOD)
    monkeypatch.setattr(check, "USUAL_URLS", (somebody.url,))
    metadata = tmp_path / "resource-metadata.json"
    monkeypatch.setattr(check, "METADATA_FILE", metadata)
    if on_sagemaker:
        metadata.write_text("{}")
    monkeypatch.setenv("JUPYTER_TOKEN", TOKEN)

    assert check.main(arguments) == 0
    assert {each for name, each in somebody.seen if name == "idle_checker"} == {sent}


def test_a_process_of_somebody_else_is_not_the_server_of_a_stale_file(
    check: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its number was given away again, and what listens at its port may be somebody else's too."""
    path = runtime_file(tmp_path)

    def refuse(*_: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "kill", refuse)

    with pytest.raises(ValueError, match="not ours"):
        check.read_runtime_file(path)


def test_what_is_no_jupyter_server_is_never_sent_the_token(tmp_path: Path, stub: Any) -> None:
    """3 for another kind of server; it gets one request, without the token."""
    other = stub(GOOD, api=(200, {}, "hello"))

    ran = script(tmp_path, "--url", other.url, "--token", TOKEN)

    assert ran.code == 3, ran
    assert other.seen == [("api", None)]


def test_a_redirect_to_a_login_page_is_a_matter_of_the_token(tmp_path: Path, stub: Any) -> None:
    """8, be it the server that redirects or a proxy before it."""
    server = stub(status=302, headers={"Location": "/login?next=x"})
    proxy = stub(api=(302, {"Location": "https://hub.example/hub/api/oauth2/authorize"}, ""))

    codes = [script(tmp_path, "--url", each.url).code for each in (server, proxy)]

    assert codes == [8, 8]


def test_no_proxy_is_asked(tmp_path: Path, stub: Any) -> None:
    """http_proxy is common in a VPC; this machine's own server is not behind it."""
    url, proxy = stub(GOOD).url, f"http://127.0.0.1:{free_port()}"

    ran = script(tmp_path, "--url", url, http_proxy=proxy, HTTP_PROXY=proxy, https_proxy=proxy, all_proxy=proxy)

    assert ran.code == 0, ran


def test_what_a_server_says_cannot_command_the_terminal(tmp_path: Path, stub: Any) -> None:
    """Control characters in `errors` become spaces."""
    url = stub({**GOOD, "errors": "\x1b[2Jgone\r\nOK"}).url

    ran = script(tmp_path, "--url", url)

    assert "  errors:           [2Jgone  OK\n" in ran.out


def test_an_output_that_knows_only_ascii_is_no_reason_to_fail(tmp_path: Path, stub: Any) -> None:
    """What the output cannot show is replaced."""
    url = stub({**GOOD, "errors": "kernel 'größe' \ud800"}).url

    ran = script(tmp_path, "--url", url, LC_ALL="C", PYTHONIOENCODING="ascii")

    assert ran.code == 0, ran


# -- parts -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "JSON object"),
        ("{", "JSON object"),
        ('{"url": "http://localhost:1/", "tok', "JSON object"),
        ("[]", "JSON object"),
        ("{}", "JSON object"),
        ("[" * 60_000, "JSON object"),
        ('{"url": 1, "token": "", "pid": 1}', "JSON object"),
        ('{"url": "http://localhost:1/", "token": 1, "pid": 1}', "JSON object"),
        ('{"url": "http://localhost:1/", "token": ""}', "process"),
        ('{"url": "http://localhost:1/", "token": "", "pid": true}', "process"),
        ('{"url": "http://localhost:1/", "token": "", "pid": -1}', "process"),
        ('{"url": "http://localhost:1/", "token": "", "pid": "1"}', "process"),
        ('{"url": "http://localhost:1/", "token": "", "pid": 1e400}', "process"),
        (f'{{"url": "http://localhost:1/", "token": "", "pid": {10**30}}}', "process"),
        ('{"url": "file:///etc/passwd", "token": "", "pid": 1}', "url"),
        ('{"url": "http:///", "token": "", "pid": 1}', "url"),
        ('{"url": "http://local\\u0007host/", "token": "", "pid": 1}', "url"),
        ('{"url": "http://localhost:99999/", "token": "", "pid": 1}', "ort"),
        ('{"url": "http://localhost:1/", "token": "a\\r\\nX: y", "pid": 1}', "token"),
        ('{"url": "http://localhost:1/", "token": "\\u20ac", "pid": 1}', "token"),
        ("x" * 70_000, "at most 65536 bytes"),
    ],
)
def test_a_hostile_runtime_file_is_skipped_with_a_word(check: ModuleType, tmp_path: Path, text: str, why: str) -> None:
    """Whatever stands in a file, it costs a word and no more."""
    (tmp_path / "runtime" / "jpserver-7.json").write_text(text)

    found, skipped = check.find_servers(tmp_path / "runtime")

    ((reason, names),) = skipped.items()
    assert found == []
    assert names == ["jpserver-7.json"]
    assert why in reason
    assert "\n" not in reason


def test_what_is_no_file_is_skipped_without_opening_it(check: ModuleType, tmp_path: Path) -> None:
    """A pipe would block a reader; a directory, a dangling link and bytes that are no text are skipped as well."""
    runtime = tmp_path / "runtime"
    os.mkfifo(runtime / "jpserver-1.json")
    (runtime / "jpserver-2.json").mkdir()
    (runtime / "jpserver-3.json").symlink_to(runtime / "nowhere")
    (runtime / "jpserver-4.json").write_bytes(b"\xff\xfe\xfd{")

    found, skipped = check.find_servers(runtime)

    assert found == []
    assert sorted(name for names in skipped.values() for name in names) == [f"jpserver-{n}.json" for n in range(1, 5)]


def test_a_missing_runtime_directory_is_an_empty_one(check: ModuleType, tmp_path: Path) -> None:
    """No directory, no servers, no error."""
    assert check.find_servers(tmp_path / "nowhere") == ([], {})


@pytest.mark.parametrize(
    ("hostname", "url", "expected"),
    [
        ("0.0.0.0", "http://some-container:8888/jupyter/default/", "http://127.0.0.1:8888/jupyter/default/"),
        ("::", "http://some-container:8888/", "http://[::1]:8888/"),
        ("localhost", "http://localhost:8888/", "http://localhost:8888/"),
        ("10.0.0.5", "https://10.0.0.5:8443/a/", "https://10.0.0.5:8443/a/"),
        ("0.0.0.0", "http+unix://%2Ftmp%2FA%2Fs/lab", "http+unix://%2Ftmp%2FA%2Fs/"),
    ],
)
def test_a_server_on_all_interfaces_is_asked_on_the_loopback_one(
    check: ModuleType, tmp_path: Path, hostname: str, url: str, expected: str
) -> None:
    """The host name of a container need not resolve; other addresses are taken as they are."""
    path = runtime_file(tmp_path, hostname=hostname, url=url)

    assert str(check.read_runtime_file(path)) == expected


@pytest.mark.parametrize(
    ("url", "expected", "token"),
    [
        ("http://localhost:8888", "http://localhost:8888/", ""),
        ("http://localhost:8888/jupyter/default/", "http://localhost:8888/jupyter/default/", ""),
        ("http://localhost:8888/jupyterlab/default/lab?token=abc", "http://localhost:8888/jupyterlab/default/", "abc"),
        ("http://localhost:8888/tree?token=abc&x=y", "http://localhost:8888/", "abc"),
        ("https://name:password@example.org/a b/", "https://example.org:443/a%20b/", ""),
        ("http://[::1]:8888/user/me%40here/", "http://[::1]:8888/user/me%40here/", ""),
        ("http://LOCALHOST", "http://localhost:80/", ""),
    ],
)
def test_a_url_may_be_pasted_from_the_servers_log(check: ModuleType, url: str, expected: str, token: str) -> None:
    """Page and query are dropped, the token in it is taken, and what is shown holds neither token nor password."""
    target = check.parse_url(url)

    assert str(target) == expected
    assert target.token == token
    assert "abc" not in repr(target)


def test_a_url_that_is_none_is_refused_without_repeating_it(tmp_path: Path) -> None:
    """2, and the token that stood in it is not printed."""
    ran = script(tmp_path, "--url", f"localhost:8888/lab?token={TOKEN}")

    assert ran.code == 2
    assert "argument --url: it is not the URL of a server" in ran.err
    assert TOKEN not in ran.out + ran.err


@pytest.mark.parametrize("arguments", [["--timeout", "0"], ["--timeout", "nan"], ["--token", "a\nX: y"], ["--what"]])
def test_wrong_usage_has_its_own_exit_code(tmp_path: Path, arguments: list[str]) -> None:
    """2, as argparse has it."""
    assert script(tmp_path, *arguments).code == 2


@pytest.mark.parametrize(
    "variables",
    [
        {"JUPYTER_RUNTIME_DIR": "/r", "JUPYTER_DATA_DIR": "/d"},
        {"JUPYTER_DATA_DIR": "/d", "XDG_DATA_HOME": "/x"},
        {"XDG_DATA_HOME": "/x"},
        {"XDG_DATA_HOME": "", "JUPYTER_RUNTIME_DIR": "", "JUPYTER_DATA_DIR": ""},
        {"XDG_DATA_HOME": "/x", "JUPYTER_PLATFORM_DIRS": "1"},
        {"JUPYTER_PLATFORM_DIRS": "1"},
        {},
    ],
)
def test_the_runtime_directory_is_where_jupyter_says(
    check: ModuleType, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    """The rules of jupyter_core, repeated here because the script cannot import it."""
    for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR", "XDG_DATA_HOME", "JUPYTER_PLATFORM_DIRS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert check.runtime_dir().resolve() == Path(jupyter_runtime_dir()).resolve()


@pytest.mark.parametrize(
    ("platform", "by_platform", "expected"),
    [
        ("darwin", "0", "Library/Jupyter/runtime"),
        ("darwin", "1", "Library/Application Support/Jupyter/runtime"),
        ("win32", "0", "AppData/Roaming/jupyter/runtime"),
        ("win32", "1", "AppData/Local/Jupyter/runtime"),
    ],
)
def test_other_platforms_have_other_runtime_directories(
    check: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, platform: str, by_platform: str, expected: str
) -> None:
    """As jupyter_core has them on macOS and Windows, with and without JUPYTER_PLATFORM_DIRS."""
    for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR", "APPDATA", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", by_platform)
    monkeypatch.setattr(check.sys, "platform", platform)

    found = check.runtime_dir()

    assert found == tmp_path / expected


def test_a_certificate_from_elsewhere_has_to_be_vouched_for(check: ModuleType) -> None:
    """Only on this machine is a self-signed certificate accepted."""
    contexts = {
        host: check.connect(check.parse_url(f"https://{host}/"), 1.0)._context.verify_mode
        for host in ("localhost", "127.0.0.1", "[::1]", "example.org", "127.example.org", "localhost.example.org")
    }

    assert [host for host, mode in contexts.items() if mode == check.ssl.CERT_NONE] == [
        "localhost",
        "127.0.0.1",
        "[::1]",
    ]


def test_the_script_is_executable_and_tells_its_exit_codes() -> None:
    """The shebang works, and --help names each code that there is."""
    helped = subprocess.run([SCRIPT, "--help"], capture_output=True, text=True, timeout=patience(40), check=True)

    assert [int(line.split()[0]) for line in helped.stdout.split("exit codes")[1].splitlines()[1:]] == [
        0,
        *range(2, 11),
    ]
