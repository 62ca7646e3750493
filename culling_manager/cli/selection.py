"""`jupyter culling enable` and `disable`: a file of ours that selects our managers where Jupyter reads it, or none."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..client.servers import Code, Failure, running_servers
from ..errors import SettingError
from ..files import replace_file
from ..policy import minutes
from .options import minutes as read_minutes
from .shared import tell

#: Sorted between what our wheel brings and what a lifecycle script writes, which wins.
NAME = Path("jupyter_server_config.d", "culling_manager_enable.json")
#: What is selected, by section and trait.
SELECTION = {
    ("ServerApp", "kernel_manager_class"): "culling_manager.CullingKernelManager",
    ("TerminalsExtensionApp", "terminal_manager_class"): "culling_manager.CullingTerminalManager",
}
LEVELS = ("user", "sys_prefix", "system")
RESTART = "A server that runs already reads it at its next start; then `jupyter culling status` shows what stops when."


def add_arguments(parser: ArgumentParser, enabling: bool) -> None:
    """The options of both commands."""
    group = parser.add_mutually_exclusive_group()
    default = " (default)" if enabling else ""
    add = group.add_argument
    add("--sys-prefix", dest="level", action="store_const", const="sys_prefix", help=f"in this environment{default}")
    add("--user", dest="level", action="store_const", const="user", help="for you, whatever the environment")
    add("--system", dest="level", action="store_const", const="system", help="for everybody on this machine")
    if enabling:
        words = "minutes without activity, or such as 2h (120, or what is configured); 0 culls nothing"
        parser.add_argument("--idle-timeout", "--timeout", type=read_minutes, metavar="MINUTES", help=words)


def file_of(level: str) -> Path:
    """Where our file of a level is; one of `LEVELS`."""
    from jupyter_core import paths

    folders = {
        "user": paths.jupyter_config_dir(),
        "sys_prefix": paths.ENV_CONFIG_PATH[0],
        "system": paths.SYSTEM_CONFIG_PATH[0],
    }
    return Path(folders[level]) / NAME


def enable(options: Namespace) -> Code:
    """Select our managers; refused where somebody has selected others. Twice is once."""
    if options.idle_timeout is not None:
        try:
            minutes("--idle-timeout", options.idle_timeout)
        except SettingError as error:
            raise Failure(Code.USAGE, str(error)) from None
    path = file_of(options.level or "sys_prefix")
    before = _ours(path)
    configured, files = _configured()
    _refuse_others(configured, files)
    wanted = _selected(before, options.idle_timeout)
    if wanted == before:
        tell(f"Enabled already, in {path}.")
        return Code.OK
    _write(path, wanted)
    tell(f"Enabled, in {path}.")
    if options.idle_timeout == 0:
        tell("With an idle timeout of 0 nothing is culled: choose another with --idle-timeout 120, say.")
    for section, name in _overruled(wanted, configured):
        tell(f"But {section}.{name} is {configured[section][name]!r} in {_which(files, name)}, and that wins.")
    tell(RESTART)
    return Code.OK


def disable(options: Namespace) -> Code:
    """Take the selection away again: of one level, or wherever it is. Says what else selects our managers."""
    levels = LEVELS if options.level is None else (options.level,)
    paths = [path for path in map(file_of, levels) if _ours(path) is not None]
    for path in paths:
        try:
            path.unlink()
        except OSError as error:
            raise Failure(Code.REFUSED, f"{path} cannot be removed: {error.strerror}.") from None
        tell(f"Disabled: {path} is gone.")
    if not paths:
        tell(f"It is not enabled in {', '.join(str(file_of(each)) for each in levels)}.")
    for words in _still_selected():
        tell(f"But {words}.")
    if paths and running_servers():
        tell("A server that runs keeps its managers until it ends.")
    return Code.OK


# -- our file ----------------------------------------------------------------------------------------


def _ours(path: Path) -> dict[str, Any] | None:
    """What our file says, None when there is none. A file of this name that is not ours is left alone."""
    try:
        found = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise Failure(Code.REFUSED, f"{path} cannot be read: {error.strerror}.") from None
    except ValueError:
        found = None
    selected = isinstance(found, dict) and all(isinstance(each, dict) for each in found.values())
    if not selected or found.get("ServerApp", {}).get("kernel_manager_class") not in SELECTION.values():
        raise Failure(Code.REFUSED, f"{path} is not a file that this command wrote: look at it, and remove it first.")
    return dict(found)


def _selected(before: Mapping[str, Any] | None, timeout: float | None) -> dict[str, Any]:
    """Our file as it should be; what was set before stays set."""
    found: dict[str, Any] = json.loads(json.dumps(before or {}))
    for (section, name), value in SELECTION.items():
        found.setdefault(section, {})[name] = value
    found["ServerApp"].setdefault("jpserver_extensions", {})["culling_manager"] = True
    if timeout is not None:
        whole = int(timeout) if timeout == int(timeout) else timeout
        found.setdefault("CullingKernelManager", {})["idle_timeout"] = whole
    return found


def _write(path: Path, found: Mapping[str, Any]) -> None:
    """Write the file whole or not at all, readable by whoever the server runs as."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, json.dumps(found, indent=2).encode() + b"\n", 0o644)
    except OSError as error:
        words = f"{path} cannot be written: {error.strerror}. Try --user, or who may write there."
        raise Failure(Code.REFUSED, words) from None


# -- what else is configured -------------------------------------------------------------------------


def _configured() -> tuple[Mapping[str, Any], list[str]]:
    """What Jupyter reads besides the ``.d`` directories, which it reads extensions from, and from which files."""
    from jupyter_core.application import JupyterApp

    app = JupyterApp()
    app.config_file_name = "jupyter_server_config"
    try:
        app.load_config_file(suppress_errors=False)
    except Exception as error:
        raise Failure(Code.REFUSED, f"Jupyter's configuration cannot be read, mend it first: {error!r}") from None
    return app.config, list(app.loaded_config_files)


def _refuse_others(configured: Mapping[str, Any], files: list[str]) -> None:
    """Refuse to stand beside somebody's own manager, which would win, or whose user would miss it."""
    for section, name in SELECTION:
        chosen = configured.get(section, {}).get(name)
        words = chosen if isinstance(chosen, str) else getattr(chosen, "__module__", "") if chosen else ""
        if chosen and not words.startswith("culling_manager"):
            raise Failure(
                Code.REFUSED,
                f"{section}.{name} is {chosen!r} in {_which(files, name)}: one server has one such manager. "
                "Take that out if it is to be culling_manager's.",
            )


def _which(files: list[str], name: str) -> str:
    """The files that have a name in them."""
    found = [each for each in files if name in Path(each).read_text(errors="replace")]
    return " or ".join(found) or "Jupyter's configuration"


def _overruled(wanted: Mapping[str, Any], configured: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Settings of ours that have another value in a file that wins over ours."""
    for section, values in wanted.items():
        for name, value in values.items():
            known = configured.get(section, {})
            if name in known and known[name] != value and (section, name) not in SELECTION and section != "ServerApp":
                yield section, name


def _still_selected() -> Iterator[str]:
    """What selects our managers all the same, in words."""
    from jupyter_core.paths import jupyter_config_path

    configured, files = _configured()
    for section, name in SELECTION:
        if str(configured.get(section, {}).get(name, "")).startswith("culling_manager"):
            yield f"{section}.{name} is still {configured[section][name]} in {_which(files, name)}"
    for path in (each for folder in jupyter_config_path() for each in Path(folder, NAME.parent).glob("*.json")):
        try:
            found = json.loads(path.read_bytes()).get("ServerApp", {}).get("kernel_manager_class", "")
        except (OSError, ValueError, AttributeError) as error:
            sys.stderr.write(f"{path} is passed over: {error}\n")
            continue
        if str(found).startswith("culling_manager"):
            yield f"{path} still selects {found}"
