"""`jupyter culling` and `%keep_alive` against real servers, with and without a token."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from jupyter_client import BlockingKernelClient
from jupyter_server.auth.security import passwd

from culling_manager.cli import main
from culling_manager.client.servers import Code
from culling_manager.engine.culler import IdleCuller
from tests.conftest import patience
from tests.test_config_files import environment, jupyter
from tests.test_end_to_end import BOTH, Client

SPACE = "sagemaker-studio-autoshutdown"


# -- with a token, in this process -------------------------------------------------------------------


@pytest.fixture
def culling(jp_serverapp, http_server_client, jp_base_url, jp_http_port, tmp_path, monkeypatch):
    """Run a command against the test's own server, whose base URL has signs that are quoted, and no runtime file."""
    monkeypatch.delenv("JUPYTER_TOKEN", raising=False)
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "nowhere"))
    url = f"http://127.0.0.1:{jp_http_port}{jp_base_url}"

    async def run(*words: str, token: str = jp_serverapp.identity_provider.token) -> int:
        line = [*words, "--url", url, *(["--token", token] if token else [])]
        return await asyncio.get_running_loop().run_in_executor(None, main, line)

    return run


async def test_status_of_a_real_server(culling, jp_fetch, jp_serverapp, capsys):
    """A kernel and a terminal; the token is not printed."""
    answer = await jp_fetch("api", "kernels", method="POST", body="{}")
    await jp_fetch("api", "terminals", method="POST", body="{}")

    assert await culling("status") == 0

    text = capsys.readouterr().out
    assert json.loads(answer.body)["id"][:8] in text
    assert "1 kernel" in text
    assert "1 terminal" in text
    assert "culler running · idle timeout 2 h" in text
    assert jp_serverapp.identity_provider.token not in text


@pytest.mark.parametrize(("token", "told"), [("", "wants a token"), ("wrong", "The token is wrong")])
async def test_who_may_not_ask_is_told_so(culling, capsys, token, told):
    """For looking and for changing."""
    assert await culling("status", token=token) == Code.TOKEN_REFUSED
    assert await culling("set", "--idle-timeout", "60", token=token) == Code.TOKEN_REFUSED

    text = capsys.readouterr()
    assert told in text.out
    assert "Traceback" not in text.err


async def test_a_change_with_a_token_leaves_no_other_line_in_the_log(culling, caplog):
    """A page that is fetched for its cookie, and is not there, would be a warning of the server's for each change."""
    assert await culling("keep-alive", "1h") == 0

    asked = [
        line for line in map(str, (each.getMessage() for each in caplog.records)) if re.match(r"\d{3} [A-Z]+ /", line)
    ]
    assert [line.split()[:2] for line in asked] == [["200", "POST"]], asked


async def test_keep_alive_and_resume_on_a_real_server(culling, jp_fetch, capsys):
    """One kernel by the beginning of its id; then everything; then both are taken back."""
    kernel_id = json.loads((await jp_fetch("api", "kernels", method="POST", body="{}")).body)["id"]

    assert await culling("keep-alive", "4h", "--kernel", kernel_id[:6]) == 0
    assert await culling("keep-alive", "30m") == 0
    assert await culling("status") == 0
    assert await culling("resume") == 0
    assert await culling("resume", "--all") == 0

    text = capsys.readouterr().out
    assert f"Kernel {kernel_id[:8]} is kept until" in text
    assert "kept by request until" in text
    assert "No longer kept by request: everything." in text
    assert f"Still: kernel {kernel_id[:8]} is kept until" in text
    assert text.count("Still:") == 1
    document = json.loads((await jp_fetch(SPACE, "status")).body)
    assert document["keep_alive"] == []
    assert document["kernels"][0]["kept_until"] is None


async def test_who_takes_back_or_shortens_is_told_that_a_warning_comes_first(culling, jp_fetch, jp_serverapp, caplog):
    """A keep-alive taken back, a lower timeout; the same timeout once more gives no time, nor does a longer one."""
    situation = IdleCuller.of(jp_serverapp).situation
    notices = []
    for words in (("keep-alive", "4h"), ("resume",), ("set", "--idle-timeout", "60"), ("set", "--idle-timeout", "60"),
                  ("set", "--idle-timeout", "90"), ("set", "--reset"), ("set", "--idle-timeout", "30")):  # fmt: skip
        situation.notice_at = None
        assert await culling(*words) == 0
        notices.append(situation.notice_at is not None)

    assert notices == [False, True, True, False, False, False, True]
    told = [each.getMessage() for each in caplog.records if "what is overdue is warned of first, 5 min" in each.message]
    assert len(told) == 3


async def test_a_real_refusal_names_what_is_accepted(culling, capsys):
    """Value and range, exit code 1; for an unknown thing too."""
    assert await culling("keep-alive", "soon") == Code.REFUSED
    assert await culling("keep-alive", "4h", "--kernel", "nonsense") == Code.REFUSED
    assert await culling("keep-alive", "2d") == Code.REFUSED
    assert await culling("resume") == Code.REFUSED

    text = capsys.readouterr().err
    assert "soon" in text
    assert "'2d' is not accepted: it must be at most max_keep_alive = 1440 minutes (1 d); ask again before" in text
    assert "There is no kernel nonsense" in text


async def test_settings_of_a_real_server(culling, jp_serverapp, capsys):
    """Set, shown, refused, and reset."""
    assert await culling("set", "--idle-timeout", "60", "--keep-terminals") == 0
    assert jp_serverapp.kernel_manager.idle_timeout == 60
    assert await culling("set", "--no-keep-terminals") == 0
    assert jp_serverapp.kernel_manager.idle_timeout == 60
    assert await culling("set", "--idle-timeout", "0") == Code.REFUSED
    assert await culling("set", "--idle-timeout", "-5") == Code.REFUSED
    assert await culling("set", "--reset") == 0
    assert jp_serverapp.kernel_manager.idle_timeout == 120

    text = capsys.readouterr()
    assert "Idle timeout 1 h, terminals are kept.".lower() in text.out.lower()
    assert "Configured: idle timeout 2 h" in text.out
    assert "--idle-timeout = 0.0 is not accepted: it must be at least one second and at most 100 years. To " in text.err
    assert "0.0166" not in text.err
    assert "--idle-timeout = -5.0 is not accepted" in text.err
    assert "idle_time =" not in text.err
    assert text.err.count("jupyter culling keep-alive 8h") == 2


async def test_a_bound_is_said_as_a_person_says_it(culling, jp_serverapp, capsys):
    """Eight hours are 8 h, and the least is a second, not a part of a minute."""
    jp_serverapp.kernel_manager.max_idle_timeout = 480

    assert await culling("set", "--idle-timeout", "9h") == Code.REFUSED

    told = capsys.readouterr().err
    assert "--idle-timeout = 540.0 is not accepted: it must be at least one second and at most 8 h" in told


class TestForeignManagers:
    """Nothing of ours to keep."""

    @pytest.fixture
    def jp_server_config(self):
        return {"ServerApp": {"jpserver_extensions": {"culling_manager": True, "jupyter_server_terminals": True}}}

    async def test_it_is_said_what_to_configure(self, culling, capsys):
        """In `status`, with a code of its own."""
        assert await culling("status") == Code.NOT_SELECTED
        assert "culls nothing here" in (shown := capsys.readouterr().out)
        assert "culling_manager.CullingKernelManager" in shown.replace("\n", "")

    async def test_a_keep_alive_is_a_conflict(self, culling, capsys):
        """Exit code 6."""
        assert await culling("keep-alive", "4h") == Code.NOT_SELECTED
        assert "culling_manager.CullingKernelManager" in capsys.readouterr().err


class TestWithoutTheExtension:
    """A server that does not have us."""

    @pytest.fixture
    def jp_server_config(self):
        return {"ServerApp": {"jpserver_extensions": {"culling_manager": False}}}

    @pytest.mark.parametrize("words", [("status",), ("keep-alive", "4h"), ("set",)])
    async def test_it_is_said(self, culling, capsys, words):
        """Exit code 7."""
        assert await culling(*words) == Code.EXTENSION_MISSING
        captured = capsys.readouterr()
        assert "extension culling_manager is missing" in captured.out + captured.err


class TestWithAPasswordOnly:
    """A server that was given a password has no token."""

    @pytest.fixture
    def jp_server_config(self, jp_server_config):
        provider = {"hashed_password": passwd("open sesame"), "token": ""}
        return jp_server_config | {"PasswordIdentityProvider": provider, "IdentityProvider": {"token": ""}}

    async def test_the_command_line_has_a_way_in(self, culling, jp_serverapp, capsys, monkeypatch):
        """To look and to change; without it, and with a wrong one, it is said what is wanted."""
        none = await culling("status", token="")
        monkeypatch.setenv("JUPYTER_PASSWORD", "open says me")
        wrong = await culling("status", token="")
        monkeypatch.setenv("JUPYTER_PASSWORD", "open sesame")
        right = [await culling("status", token=""), await culling("set", "--idle-timeout", "60", token="")]

        text = " ".join(capsys.readouterr().out.split())
        assert (none, wrong, right) == (Code.TOKEN_REFUSED, Code.TOKEN_REFUSED, [0, 0])
        assert "where there is only a password, give that in JUPYTER_PASSWORD" in text
        assert "The password in JUPYTER_PASSWORD is wrong" in text
        assert "sesame" not in text
        assert jp_serverapp.kernel_manager.idle_timeout == 60


# -- without a token, as `jupyter culling`, as on SageMaker ------------------------------------------


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Where everything of this server lies, with the console script on its PATH."""
    folder = tmp_path_factory.mktemp("home")
    script = folder / "bin" / "jupyter-culling"
    script.parent.mkdir()
    script.write_text(f"#!{sys.executable}\nimport sys\nfrom culling_manager.cli import main\nsys.exit(main())\n")
    script.chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def server(home):
    """A server without a token and with a base URL, as Studio runs it."""
    with jupyter(home, *BOTH) as found:
        yield found


def command(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """`jupyter culling ...` in a shell of this home."""
    env = environment(home) | {"PATH": f"{home / 'bin'}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "120"}
    line = [sys.executable, "-m", "jupyter", "culling", *words]
    return subprocess.run(line, env=env, capture_output=True, text=True, timeout=patience(60))


def test_jupyter_culling_finds_the_server_that_runs(home, server):
    """As `jupyter culling`, from its runtime file."""
    shown = command(home, "status")

    assert (shown.returncode, shown.stderr) == (0, "")
    assert f":{server.port}/" in shown.stdout
    assert "no kernels, no terminals" in shown.stdout


def test_a_change_without_a_token_satisfies_xsrf(home, server):
    """As on SageMaker."""
    kept = command(home, "keep-alive", "1h30m")
    back = command(home, "resume")

    assert (kept.returncode, kept.stderr) == (0, "")
    assert kept.stdout.startswith("Everything is kept until ")
    assert kept.stdout.endswith("for 1 h 30 min.\n")
    assert back.stdout == "No longer kept by request: everything.\n"


def test_the_magic_keeps_a_real_kernel_of_a_real_server(home, server):
    """From a cell to what the server says of it."""
    client = Client(server)
    kernel_id = client.start_kernel()
    kernel = BlockingKernelClient(connection_file=str(home / "runtime" / f"kernel-{kernel_id}.json"))
    kernel.load_connection_file()
    kernel.start_channels()
    told: list[str] = []
    try:
        kernel.wait_for_ready(timeout=patience(60))
        code = "%load_ext culling_manager\n%keep_alive 4h"
        kernel.execute_interactive(
            code, timeout=patience(30), output_hook=lambda each: told.append(str(each["content"]))
        )
    finally:
        kernel.stop_channels()

    (found,) = client.status()["kernels"]
    assert "This kernel is kept until" in "".join(told)
    assert found["kept_until"] is not None
    client.ask("DELETE", f"api/kernels/{kernel_id}")
