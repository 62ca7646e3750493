"""The terminal manager with real terminals."""

from __future__ import annotations

import asyncio
import logging
import math
import os
from datetime import datetime, timedelta, timezone

import pytest
from jupyter_server_terminals.terminalmanager import RUNNING_TOTAL, TerminalManager
from terminado.management import NamedTermManager
from traitlets import TraitError
from traitlets.config import Config

from culling_manager import CullingKernelManager, CullingTerminalManager
from culling_manager.errors import SettingError
from culling_manager.managers.keys import is_typed
from culling_manager.records import MARKER, Kind, Result
from tests.conftest import until

SHELL = ["/bin/sh"]


class Terminals:
    """A manager with real terminals, for tests without a server."""

    def __init__(self, **settings) -> None:
        self.manager = CullingTerminalManager(shell_command=SHELL, **settings)

    async def __aenter__(self) -> Terminals:
        return self

    async def __aexit__(self, *_error) -> None:
        await self.manager.terminate_all()
        self.manager._culler.stop()

    def create(self) -> str:
        return self.manager.create()["name"]

    def age(self, name: str, **how_long) -> None:
        """Its last output was long ago."""
        self.manager.terminals[name].last_activity = datetime.now(timezone.utc) - timedelta(**how_long)

    async def type(self, name: str, line: str) -> None:
        """Type a line and wait for output of it."""
        terminal = self.manager.terminals[name]
        before = terminal.last_activity
        terminal.ptyproc.write(line + "\n")
        await until(lambda: terminal.last_activity > before)

    def results(self) -> list[Result]:
        return [outcome.result for outcome in self.manager._culler.outcomes]


def test_every_terminal_says_in_its_environment_whose_its_jobs_are(run):
    """By a mark of its own, also for a job in a session of its own whose parent has ended."""

    async def check():
        async with Terminals() as terminals:
            manager = terminals.manager
            names = [terminals.create(), manager.get_terminal("named").term_name]
            marks = []
            for name in names:
                (pid,) = manager._source.roots(name).pids
                with open(f"/proc/{pid}/environ", "rb") as file:
                    marks.append(dict(line.split("=", 1) for line in file.read().decode().split("\0") if line)[MARKER])
            return marks, [manager._source.roots(name).owner for name in names]

    marks, owners = run(check())

    assert marks == owners
    assert len(set(marks)) == 2
    assert all(mark.startswith(f"{os.getpid()}:terminal:") for mark in marks)


@pytest.mark.parametrize(
    ("section", "settings", "seconds"),
    [
        ("CullingTerminalManager", {"idle_timeout": 3}, 180),
        ("CullingTerminalManager", {"idle_timeout": 0}, 0),
        ("CullingTerminalManager", {"cull_inactive_timeout": 90}, 90),
        ("TerminalManager", {"cull_inactive_timeout": 90}, 90),
        ("TerminalManager", {"cull_inactive_timeout": 0}, 0),
        ("TerminalManager", {}, 7200),
    ],
)
def test_upstreams_own_setting_keeps_its_meaning(section, settings, seconds):
    """`cull_inactive_timeout` (seconds) of an existing configuration counts; without any, two hours."""
    manager = CullingTerminalManager(shell_command=SHELL, config=Config({section: settings}))

    assert manager._culler.policy.terminal_timeout == seconds


def test_if_both_timeouts_are_set_ours_wins_and_one_warning_says_so(caplog):
    """Nobody has to guess which one counts."""
    config = Config({"CullingTerminalManager": {"idle_timeout": 5, "cull_inactive_timeout": 60}})

    with caplog.at_level(logging.WARNING):
        manager = CullingTerminalManager(shell_command=SHELL, config=config)

    assert manager.idle_timeout == 5
    assert len([record for record in caplog.records if "idle_timeout is used" in record.message]) == 1


def test_none_beside_upstreams_setting_lets_upstreams_count():
    """`idle_timeout = None` says nothing, so nothing is contradicted."""
    config = Config({"CullingTerminalManager": {"idle_timeout": None, "cull_inactive_timeout": 60}})

    manager = CullingTerminalManager(shell_command=SHELL, config=config)

    assert manager._culler.policy.terminal_timeout == 60


@pytest.mark.parametrize("value", [-1, math.nan, math.inf, "abc", True])
def test_a_bad_number_of_minutes_is_a_trait_error(value):
    """With name, value and range."""
    with pytest.raises(TraitError, match=r"CullingTerminalManager.idle_timeout = .* minutes from 0"):
        CullingTerminalManager(shell_command=SHELL, idle_timeout=value)


class Server:
    """Stands for the ServerApp that two managers share; nothing of it is used but its identity."""


@pytest.mark.parametrize("order", ["kernels first", "terminals first"])
def test_both_managers_share_one_culler_in_either_order(order):
    """One loop per server, one policy; terminals follow the kernel manager's timeout."""
    from jupyter_server.serverapp import ServerApp

    server = ServerApp()
    makers = [
        lambda: CullingKernelManager(parent=server, idle_timeout=7),
        lambda: CullingTerminalManager(parent=server, shell_command=SHELL),
    ]

    managers = [make() for make in (makers if order == "kernels first" else reversed(makers))]

    assert managers[0]._culler is managers[1]._culler
    assert set(managers[0]._culler.watches) == {Kind.KERNEL, Kind.TERMINAL}
    assert managers[0]._culler.policy.terminal_timeout == 7 * 60


@pytest.mark.parametrize(
    "name", ["_initialize_culler", "_cull_terminals", "_cull_inactive_terminal", "terminate", "terminate_all"]
)
def test_the_method_of_upstream_that_we_override_or_call_is_there(name):
    """A renamed one fails here and not silently."""
    assert callable(getattr(TerminalManager, name))


def test_upstreams_seams_for_reading_are_there():
    """`start_reading` is terminado's call for a new terminal, also for one that a websocket creates."""
    assert callable(NamedTermManager.start_reading)


def test_upstream_starts_our_culler_and_no_loop_of_its_own(run):
    """`_initialize_culler` is still upstream's call after a terminal was created."""

    async def check():
        async with Terminals(config=Config({"TerminalManager": {"cull_inactive_timeout": 10}})) as terminals:
            terminals.create()

            assert terminals.manager._initialized_culler
            assert terminals.manager._culler_callback is None
            assert terminals.manager._culler.running

    run(check())


def test_an_idle_terminal_goes_and_an_active_one_stays(run):
    """Output is activity."""

    async def check():
        async with Terminals() as terminals:
            idle, active = terminals.create(), terminals.create()
            await asyncio.sleep(0.2)
            terminals.age(idle, hours=3)

            await terminals.manager._cull_terminals()
            await until(lambda: idle not in terminals.manager.terminals)

            assert list(terminals.manager.terminals) == [active]
            assert terminals.results() == [Result.CULLED]

    run(check())


def test_a_terminal_goes_at_its_own_deadline_by_itself(run):
    """The loop does it without being asked."""

    async def check():
        async with Terminals(idle_timeout=0.015) as terminals:
            name = terminals.create()

            await until(lambda: name not in terminals.manager.terminals)

    run(check())


def test_keep_terminals_keeps(run):
    """However long it has been idle."""

    async def check():
        async with Terminals(keep_terminals=True) as terminals:
            name = terminals.create()
            await asyncio.sleep(0.2)
            terminals.age(name, days=30)

            await terminals.manager._cull_terminals()

            assert name in terminals.manager.terminals

    run(check())


def test_that_keep_terminals_is_fixed_holds_from_when_it_is_said():
    """Whatever else is set: from then on no user may set the other."""
    manager = CullingTerminalManager(keep_terminals=True)
    before = manager._culler.policy

    manager.keep_terminals_fixed = True
    after = manager._culler.policy

    assert [(each.keep_terminals, each.keep_terminals_fixed) for each in (before, after)] == [
        (True, False),
        (True, True),
    ]
    assert before.user_keep_terminals("keep_terminals", False) is False
    with pytest.raises(SettingError, match="true, which the admin has fixed"):
        after.user_keep_terminals("keep_terminals", False)


def test_a_terminal_that_a_background_job_holds_is_terminated_once(run, caplog):
    """Told once, counted once: the gauge does not go negative, the log is not flooded."""

    async def check():
        async with Terminals() as terminals:
            name = terminals.create()
            await terminals.type(name, "trap '' HUP; (trap '' HUP TERM INT; exec sleep 60) & echo $!")
            await asyncio.sleep(0.3)
            job = int("".join(terminals.manager.terminals[name].read_buffer).split()[-2])
            terminals.age(name, hours=3)
            RUNNING_TOTAL.set(1)
            for _ in range(4):
                await terminals.manager._cull_terminals()
                if name in terminals.manager.terminals:
                    terminals.age(name, hours=3)
            gauge = RUNNING_TOTAL._value.get()
            listed = name in terminals.manager.terminals
            record = terminals.manager._source.read(name, datetime.now(timezone.utc)) if listed else None
            import os
            import signal

            os.kill(job, signal.SIGKILL)
            await until(lambda: name not in terminals.manager.terminals)
            return gauge, record, terminals.results()

    with caplog.at_level(logging.WARNING):
        gauge, record, results = asyncio.run(check())

    assert record is not None
    assert record.ended
    assert gauge == 0
    assert results == [Result.CULLED]
    assert len([entry for entry in caplog.records if entry.message.startswith("Culling terminal")]) == 1


def test_a_terminal_that_exits_by_itself_is_gone_without_a_word(run):
    """No error, no outcome."""

    async def check():
        async with Terminals() as terminals:
            name = terminals.create()
            await asyncio.sleep(0.2)
            terminals.manager.terminals[name].ptyproc.write("exit\n")
            await until(lambda: name not in terminals.manager.terminals)

            await terminals.manager._cull_terminals()

            assert terminals.results() == []
            assert terminals.manager._culler.troubles.last_text() is None

    run(check())


def test_a_terminal_that_a_websocket_created_has_a_last_activity_from_its_start(run):
    """Upstream's list raises on such a terminal until its first output; other monitors read that list."""

    async def check():
        async with Terminals() as terminals:
            terminals.manager.get_terminal("mine")

            [model] = terminals.manager.list()

            assert model["name"] == "mine"
            datetime.strptime(model["last_activity"], "%Y-%m-%dT%H:%M:%S.%fZ")

    run(check())


def test_a_missing_timestamp_keeps_and_is_told(run):
    """Doubt keeps."""

    async def check():
        async with Terminals() as terminals:
            name = terminals.create()
            await asyncio.sleep(0.2)
            terminals.manager.terminals[name].last_activity = None

            await terminals.manager._cull_terminals()

            assert name in terminals.manager.terminals
            assert "terminal 1 is kept" in terminals.manager._culler.troubles.last_text()
            terminals.age(name, seconds=0)

    run(check())


def test_upstreams_single_terminal_method_culls_one_that_is_due(run):
    """And a name that is gone is no error, as upstream has it."""

    async def check():
        async with Terminals() as terminals:
            name = terminals.create()
            await asyncio.sleep(0.2)
            terminals.age(name, hours=3)

            await terminals.manager._cull_inactive_terminal(name)
            await terminals.manager._cull_inactive_terminal("no such terminal")
            await until(lambda: name not in terminals.manager.terminals)

    run(check())


KEYS = {
    "ls\n": True, "\x1b[A": True, "\x03": True, "\x1b[<0;1;1M": True, "\x1b[24;80Rq": True,
    "": False, "\x1b[24;80R": False, "\x1b[?1;2c": False, "\x1b[I": False, "\x1b]11;rgb:0/0/0\x07": False,
    "\x1b[?1;2c\x1b[24;80R": False, "\x1bP1$r0m\x1b\\": False,
}  # fmt: skip


@pytest.mark.parametrize(("text", "typed"), KEYS.items(), ids=map(repr, KEYS))
def test_what_a_page_answers_by_itself_is_no_key(text, typed):
    """Where the cursor is, what kind of terminal it is, that it is looked at."""
    assert is_typed(text) is typed
    assert is_typed(text.encode()) is typed


def test_a_terminal_knows_when_it_was_typed_in_and_output_is_no_key(run):
    """From its creation on; what it prints by itself moves its last activity only."""

    async def check():
        async with Terminals() as terminals:
            name = terminals.create()
            terminal = terminals.manager.terminals[name]
            made = terminal.typed_at
            await terminals.type(name, "sleep 0.3; echo done")
            typed, before = terminal.typed_at, terminal.last_activity
            await until(lambda: terminal.last_activity > max(before, typed + timedelta(seconds=0.2)))
            record = terminals.manager._source.read(name, datetime.now(timezone.utc))
            return made, typed, record

    made, typed, record = run(check())

    assert made < typed
    assert record.typed_at == typed < record.last_activity
