"""`jupyter culling enable` and `disable`: where they write, what they refuse, and that a server does as they say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from culling_manager.cli import main
from culling_manager.cli.selection import NAME
from culling_manager.client.servers import Code
from tests.test_config_files import jupyter


@pytest.fixture
def places(tmp_path, monkeypatch) -> dict[str, Path]:
    """Our file by the option that names its place, all below a folder of the test's own."""
    for name in ("user", "env", "system"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", str(tmp_path / "user"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.setattr("jupyter_core.paths.ENV_CONFIG_PATH", [str(tmp_path / "env")])
    monkeypatch.setattr("jupyter_core.paths.SYSTEM_CONFIG_PATH", [str(tmp_path / "system")])
    return {
        "--user": tmp_path / "user" / NAME,
        "--sys-prefix": tmp_path / "env" / NAME,
        "--system": tmp_path / "system" / NAME,
    }


def test_a_server_culls_once_it_is_enabled_and_no_longer_when_it_is_disabled(tmp_path, monkeypatch):
    """The file lies where Jupyter reads it, with the timeout that was given; without it Jupyter's managers are back."""
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "elsewhere"))

    enabled = main(["enable", "--user", "--idle-timeout", "90"])
    with jupyter(tmp_path) as server:
        settings, watching = server.settings(), server.get("status")["watching"]
    disabled = main(["disable", "--user"])
    with jupyter(tmp_path) as server:
        bare = server.get("status")["watching"]

    assert (enabled, disabled) == (0, 0)
    assert settings["idle_time"] == 5400
    assert set(watching) >= {"kernel", "terminal"}
    assert bare == []


@pytest.mark.parametrize("option", [None, "--user", "--sys-prefix", "--system"])
def test_the_file_lies_where_the_option_says(places, capsys, option):
    """In this environment when nothing is said; twice is once, and a new timeout leaves the rest."""
    path = places[option or "--sys-prefix"]
    options = [option] if option else []

    codes = [main(["enable", *options, "--idle-timeout", "45"]), main(["enable", *options])]
    written = json.loads(path.read_text())
    codes += [main(["enable", *options, "--idle-timeout", "30"]), main(["disable", *options])]

    text = capsys.readouterr().out
    assert codes == [0, 0, 0, 0]
    assert text.count(f"Enabled, in {path}.") == 2
    assert text.count(f"Enabled already, in {path}.") == 1
    assert written["CullingKernelManager"] == {"idle_timeout": 45}
    assert [each for each in places.values() if each.exists()] == []


def test_disabling_without_a_place_finds_it_wherever_it_is(places, capsys):
    """And says when there is nothing to take away."""
    main(["enable", "--user"])
    main(["enable", "--system"])

    codes = [main(["disable"]), main(["disable"])]

    assert codes == [0, 0]
    assert [each for each in places.values() if each.exists()] == []
    assert "It is not enabled in" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("jupyter_server_config.py", "c.ServerApp.kernel_manager_class = 'somebody.KernelManager'\n"),
        ("jupyter_server_config.json", '{"ServerApp": {"kernel_manager_class": "somebody.KernelManager"}}'),
        ("jupyter_config.py", "c.TerminalsExtensionApp.terminal_manager_class = 'somebody.TerminalManager'\n"),
    ],
)
def test_somebodys_other_manager_is_not_overruled(places, capsys, name, text):
    """One server has one kernel manager; which file says so is told."""
    path = places["--user"].parents[1] / name
    path.write_text(text)

    code = main(["enable", "--user"])

    told = capsys.readouterr().err
    assert code == Code.REFUSED
    assert "somebody." in told
    assert str(path) in told
    assert not places["--user"].exists()


def test_a_file_that_somebody_else_wrote_is_left_alone(places, capsys):
    """Neither overwritten nor removed."""
    path = places["--user"]
    path.parent.mkdir()
    path.write_text('{"ServerApp": {"port": 1}}')

    codes = [main(["enable", "--user"]), main(["disable", "--user"])]

    assert codes == [Code.REFUSED, Code.REFUSED]
    assert "is not a file that this command wrote" in capsys.readouterr().err
    assert json.loads(path.read_text()) == {"ServerApp": {"port": 1}}


def test_what_wins_over_it_is_told(places, capsys):
    """A timeout in the Python file counts, and a selection there stays after `disable`."""
    path = places["--user"].parents[1] / "jupyter_server_config.py"
    path.write_text(
        "c.ServerApp.kernel_manager_class = 'culling_manager.CullingKernelManager'\n"
        "c.CullingKernelManager.idle_timeout = 5\n"
    )

    main(["enable", "--user", "--idle-timeout", "60"])
    main(["disable", "--user"])

    text = capsys.readouterr().out
    assert f"But CullingKernelManager.idle_timeout is 5 in {path}, and that wins." in text
    assert f"But ServerApp.kernel_manager_class is still culling_manager.CullingKernelManager in {path}." in text


@pytest.mark.parametrize("minutes", ["-1", "nan", "1e12", "soon"])
def test_a_timeout_that_makes_no_sense_is_wrong_usage(places, minutes):
    """Nothing is written."""
    try:
        code = main(["enable", f"--idle-timeout={minutes}"])
    except SystemExit as ended:
        code = ended.code

    assert code == Code.USAGE
    assert not places["--sys-prefix"].exists()


def test_a_timeout_of_2h_is_120_minutes_and_of_none_is_said(places, capsys):
    """As `set` reads it; what culls nothing is not called enabled without a word."""
    assert main(["enable", "--idle-timeout", "2h"]) == 0
    written = json.loads(places["--sys-prefix"].read_text())
    assert "nothing is culled" not in capsys.readouterr().out
    assert main(["enable", "--idle-timeout", "0"]) == 0

    assert written["CullingKernelManager"] == {"idle_timeout": 120}
    assert "With an idle timeout of 0 nothing is culled" in capsys.readouterr().out


def test_a_place_that_cannot_be_written_is_said(places, capsys):
    """With what to try."""
    places["--sys-prefix"].parent.write_text("")

    assert main(["enable"]) == Code.REFUSED
    assert "Try --user" in capsys.readouterr().err
