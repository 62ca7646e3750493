#!/usr/bin/env python3
"""What the lifecycle scripts leave to Python once the package is installed, run as the server's user.

`configure` writes the configuration that selects the managers. `activate` watches over the server until it culls; it
says line by line what the script is to do: `restart`, `background` (what follows must not hold the app's start), or
`LEVEL words` for the log. A script that runs as root runs nothing of this but by these words.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

sys.dont_write_bytecode = True
HERE = Path(__file__).resolve().parent

#: The exit codes of `set-time-interval.sh --verify` that say that nobody answers (yet).
NOBODY = (3, 10)
#: How long (seconds) a server may take to start before nobody waits for it any more.
LONGEST_START = 1200.0
PAUSE_SECONDS = 0.5
#: A server that cannot start does not live for longer (seconds), and a service manager starts it again.
LOOP_SECONDS = 5.0


def interval() -> Any:
    """Give the script beside this one as a module."""
    loader = SourceFileLoader("set_time_interval", str(HERE / "set-time-interval.sh"))
    module = module_from_spec(spec_from_loader(loader.name, loader) or sys.exit("set-time-interval.sh is missing"))
    loader.exec_module(module)
    return module


# -- configuring ---------------------------------------------------------------------------------


def merged(settings: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
    """Settings with more of them, class by class; what the admin wrote as an extra wins."""
    return {name: {**settings.get(name, {}), **extra.get(name, {})} for name in [*settings, *extra]}


def accepted(settings: dict[str, Any]) -> None:
    """Make what reads these settings, for a server that refuses one does not start. Raises what that raises."""
    from traitlets.config import Config

    from culling_manager import CullingKernelManager, CullingTerminalManager
    from culling_manager.signals import Signals

    config = Config(settings)
    CullingKernelManager(config=config)
    CullingTerminalManager(config=config)
    _ = Signals(config=config).signals


def by_type(text: str) -> dict[str, Any]:
    """Read timeouts by instance type: 'ml.p*:15 ml.g*:30', or a JSON object. ValueError says what is refused."""
    if text.startswith("{"):
        try:
            found: dict[str, Any] = json.loads(text)
        except ValueError as error:
            raise ValueError(f"IDLE_TIMEOUTS is no JSON: {error}") from error
        return found
    pairs = [each.rpartition(":") for each in text.split()]
    return {pattern: int(minutes) for pattern, _, minutes in pairs}


def configure(options: argparse.Namespace) -> str:
    """Write the configuration; "same" when it was so already. OSError, or ValueError that says what is refused."""
    minutes = ("idle_timeout", "min_idle_timeout", "max_idle_timeout", "max_keep_alive")
    values = (options.minutes, options.least, options.most, options.keep_alive)
    settings: dict[str, dict[str, Any]] = {
        "ServerApp": {"kernel_manager_class": "culling_manager.CullingKernelManager"},
        "TerminalsExtensionApp": {"terminal_manager_class": "culling_manager.CullingTerminalManager"},
        "CullingKernelManager": {**dict(zip(minutes, values, strict=True)), "dry_run": options.dry_run == "true"},
        "CullingTerminalManager": {"keep_terminals": options.keep_terminals == "true"},
    }
    try:
        if options.idle_timeouts:
            settings["CullingKernelManager"]["idle_timeouts"] = by_type(options.idle_timeouts)
        settings = merged(settings, json.loads(options.extra or "{}"))
        accepted(settings)
    except Exception as error:
        raise ValueError(f"a setting is refused: {' '.join(str(error).split())[:300]}") from error
    text, file = json.dumps(settings, indent=2), Path(options.config)
    if file.is_file() and file.read_text(errors="replace") == text:
        return "same"
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(f"{file.name}.new")
    new.write_text(text)
    new.replace(file)
    return "written"


def copy(options: argparse.Namespace, module: Any) -> str:
    """Give users the scripts that they know from the original extension, with these settings."""
    more = [str(options.minutes), "--keep-terminals", options.keep_terminals]
    words: str = module.copy(Path(options.log).parent, module.arguments(more))
    return words


# -- activating ----------------------------------------------------------------------------------


def say(words: str) -> None:
    """Tell the lifecycle script one thing."""
    print(words.replace("\n", " "), flush=True)


class Activation:
    """Brings a server to run with our settings: one that runs is restarted, one that is starting is waited for.

    `state` gives what the service manager says of the server, nothing when it neither runs nor starts.
    """

    def __init__(self, options: argparse.Namespace, module: Any, state: Callable[[], str]) -> None:
        self.options, self.module, self.state = options, module, state
        self.began = time.monotonic()
        self.in_background = False

    def verify(self, seconds: float, leave_out: list[str]) -> tuple[int, str]:
        """Wait for a server other than those left out; exit code and words of `set-time-interval.sh --verify`."""
        arguments = [str(self.options.minutes), "--keep-terminals", self.options.keep_terminals, "--verify"]
        arguments += [f"--timeout={seconds}", *(f"--leave-out={name}" for name in leave_out)]
        found: tuple[int, str] = self.module.verify(self.module.arguments(arguments))
        return found

    def running(self) -> list[str]:
        """Names of the servers that answer."""
        names: list[str] = self.module.running(self.module.arguments(["--list"]))
        return names

    def run(self) -> None:
        """Do what is to be done, and say so."""
        if not self.running():
            if not self.state():
                return say("INFO Installed. The server does not run yet; the culler will be active when it starts.")
            return self.wait_for_the_one_that_comes()
        if self.options.changed == "no":
            code, words = self.verify(10.0, [])
            if code == 0:
                return say(f"INFO {words} Nothing has changed, so the server was not restarted.")
        return self.restart()

    def go_to_background(self) -> None:
        """What comes next must not hold the app's start."""
        if not self.in_background:
            self.in_background = True
            say(f"INFO Installed. The server is starting; what becomes of it will be in {self.options.log}.")
            say("background")

    def wait_for_the_one_that_comes(self) -> None:
        """A server that starts is not restarted before it answers: it may be removing packages, or seconds from up."""
        self.go_to_background()
        before = self.state()
        code, words = NOBODY[0], ""
        while code in NOBODY and time.monotonic() < self.began + LONGEST_START:
            code, words = self.verify(PAUSE_SECONDS, ["jpserver-"])  # whoever answers first is it
            if code in NOBODY and self.state() != before and not self.running():
                return self.take_off("the server that was starting has ended")
        if code in NOBODY:
            return say(f"ERROR No server answered within {LONGEST_START:g} s. The culler will be active when one does.")
        return say(f"INFO {words}") if code == 0 else self.restart()

    def restart(self) -> None:
        """Restart the server; one that does not come back gets its old self, one that is slow is waited for."""
        known, seconds = self.running(), self.options.wait
        say("restart")
        if sys.stdin.readline().strip() != "done":
            return None  # it could not be restarted, which the script has told
        code, words = self.verify(seconds, known or ["jpserver-"])
        if code not in NOBODY:
            return say(f"INFO {words}" if code == 0 else f"ERROR {words}")
        before = self.state()
        time.sleep(LOOP_SECONDS if before else 0)  # one that ends as soon as it starts is started again and again
        if before and self.state() == before:
            return self.wait_for_the_one_that_comes()
        return self.take_off(f"No server answered within {seconds:g} s")

    def take_off(self, why: str) -> None:
        """That something answers counts for more than that it culls."""
        Path(self.options.config).unlink(missing_ok=True)
        say("restart")
        sys.stdin.readline()
        say(f"ERROR {why[0].upper()}{why[1:]}. {self.options.config} was removed, and the server restarted again.")


#: How service managers are asked; any other name is the configuration file of a supervisor.
MANAGERS = {
    "systemd": ["systemctl", "is-active", "--quiet", "jupyter-server"],
    "upstart": ["initctl", "status", "jupyter-server"],
}


def state_by(manager: str) -> Callable[[], str]:
    """Ask the service manager: the server's process where it tells it, else that it runs; nothing when it does not."""
    command = MANAGERS.get(manager) or ["supervisorctl", "-c", manager, "status", "jupyterlabserver"]

    def state() -> str:
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)  # noqa: S603
        except (OSError, subprocess.TimeoutExpired):
            return ""
        if manager == "systemd":
            return "it runs" if done.returncode == 0 else ""
        words = done.stdout.split(",")[0].strip()  # what follows is how long it has run
        return words if any(each in words for each in ("RUNNING", "STARTING", "start/running")) else ""

    return state


#: What the script gives, in this order, before what is to be done: its settings, and where things are.
GIVEN = ("minutes", "least", "most", "keep_alive", "keep_terminals", "dry_run", "extra", "config", "wait", "log")


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name in GIVEN:
        whole = name in ("minutes", "least", "most", "keep_alive", "wait")
        parser.add_argument(name, type=int if whole else str)
    parser.add_argument("--idle-timeouts", default="", help="minutes by instance type, as `by_type` reads them")
    parser.add_argument("do", choices=("configure", "copy", "activate"))
    parser.add_argument("changed", nargs="?", default="yes", help="no: what runs now may be right already")
    parser.add_argument("manager", nargs="?", default="", help=f"{', '.join(MANAGERS)}, or a supervisor's file")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Do it, tell, and give the exit code."""
    options = arguments(argv)
    if options.do == "activate":
        Activation(options, interval(), state_by(options.manager)).run()
        return 0
    try:
        print(configure(options) if options.do == "configure" else copy(options, interval()))
    except (OSError, ValueError) as error:
        about = f"{Path(options.log).parent} cannot be written: " if options.do == "copy" else ""
        print(f"{about}{error.strerror if isinstance(error, OSError) else error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    os.umask(0o022)
    sys.exit(main())
