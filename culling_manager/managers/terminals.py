"""The terminal manager: upstream's, with its cull loop replaced by the culler."""

from __future__ import annotations

import os
import uuid
import weakref
from collections.abc import Hashable, Iterable, Mapping
from datetime import datetime, timezone
from typing import Any

from jupyter_server_terminals.terminalmanager import TerminalManager
from terminado.management import PtyWithClients
from tornado.ioloop import IOLoop
from tornado.web import HTTPError
from traitlets import Bool, Bunch, TraitError, observe
from traitlets.config import Config, Configurable

from ..decisions import Decision, decide_terminal
from ..engine.culler import IdleCuller
from ..engine.ports import Roots
from ..errors import SettingError, StopError
from ..join import join_guard
from ..policy import CullingPolicy
from ..records import Kind, TerminalRecord, utc
from ..signals.table import MARKER, owner
from ..traits import DEFAULT_INTERVAL_SECONDS, Minutes, Seconds, configured, heartbeat


class TerminalSource:
    """Terminals as records."""

    kind = Kind.TERMINAL
    stop_can_be_cancelled = True

    def __init__(self, manager: CullingTerminalManager) -> None:
        self.manager = manager
        self.terminated: weakref.WeakSet[PtyWithClients] = weakref.WeakSet()

    def settings(self) -> Mapping[str, Any]:
        """The manager's traits as fields of `CullingPolicy`."""
        manager = self.manager
        own = manager.idle_timeout
        return {
            "terminal_idle_timeout": None if own is None else own * 60,
            "keep_terminals": manager.keep_terminals,
            "keep_terminals_fixed": manager.keep_terminals_fixed,
            "cull_interval": heartbeat(manager, manager.log),
        }

    def apply(self, changes: Mapping[str, Any]) -> None:
        """Take over `keep_terminals` that was set at run time."""
        if "keep_terminals" in changes:
            self.manager.keep_terminals = changes["keep_terminals"]

    def glance(self, policy: CullingPolicy) -> Iterable[tuple[str, datetime | None, float | None]]:
        """Identity and last activity of each terminal; none has a timeout of its own."""
        for name, terminal in list(self.manager.terminals.items()):
            last = getattr(terminal, "last_activity", None)
            yield name, last if last is not None and last.tzinfo is not None else None, None

    def catch_up(self, identity: str) -> None:
        """Nothing is on its way that would not show."""

    def exists(self, identity: str) -> bool:
        """Whether the terminal is still listed."""
        return identity in self.manager.terminals

    def fingerprint(self, identity: str) -> Hashable:
        """The fingerprint of one terminal. KeyError when it is gone."""
        terminal = self.manager.terminals[identity]
        return (getattr(terminal, "last_activity", None), id(terminal), terminal in self.terminated)

    def read(self, identity: str, now: datetime) -> TerminalRecord:
        """Read one terminal. KeyError when it is gone."""
        terminal = self.manager.terminals[identity]
        record = TerminalRecord(
            identity=identity,
            last_activity=utc(getattr(terminal, "last_activity", None), "last_activity"),
            ended=terminal in self.terminated,
        )
        return self.manager._culler.place(record)

    def unreadable(self, identity: str, error: str) -> TerminalRecord:
        """The record of a terminal whose reading failed."""
        return TerminalRecord(identity=identity, last_activity=None, error=error)

    def decide(self, record: TerminalRecord, policy: CullingPolicy, now: datetime) -> Decision:
        """The pure decision."""
        return decide_terminal(record, policy, now)

    def timeout(self, record: TerminalRecord | None, policy: CullingPolicy) -> float:
        """Seconds until a terminal is due."""
        return policy.terminal_timeout

    def stale_after(self, policy: CullingPolicy) -> float | None:
        """A terminal's facts come by themselves."""
        return None

    async def refresh(self) -> None:
        """Nothing to fetch."""

    async def confirm(self, record: TerminalRecord) -> None:
        """Nothing to ask."""

    def roots(self, identity: str) -> Roots:
        """Its shell."""
        terminal = self.manager.terminals.get(identity)
        pid = getattr(getattr(terminal, "ptyproc", None), "pid", None)
        owned_by = getattr(terminal, "owned_by", None)
        return Roots((pid,), owner=owned_by) if isinstance(pid, int) and pid > 0 else Roots()

    async def stop(self, record: TerminalRecord) -> None:
        """Terminate it as upstream does, once; a background job that still holds it afterwards keeps it listed."""
        try:
            terminal = self.manager.terminals[record.identity]
            await self.manager.terminate(record.identity, force=True)
        except HTTPError as error:
            if error.status_code == 404:
                raise KeyError(record.identity) from error
            raise
        if terminal.ptyproc.isalive():
            raise StopError("its shell is still alive after it was killed")
        self.terminated.add(terminal)


class TerminalSettings(Configurable):
    """The settings of `CullingTerminalManager`, apart from it so that they can be checked before there is one."""

    idle_timeout = Minutes(
        None,
        allow_none=True,
        config=True,
        help="""Minutes without output after which a terminal is terminated, strictly after them. 0 turns it off.
        Default: the kernel manager's `idle_timeout`, or `cull_inactive_timeout` (seconds) where that is configured; if
        both are, this one wins.""",
    )
    keep_terminals = Bool(
        False,
        config=True,
        help="""Whether terminals are left alone. True: no terminal is ever terminated for being idle.""",
    )
    keep_terminals_fixed = Bool(
        False,
        config=True,
        help="""Whether users may not change `keep_terminals` at run time. False: they may.""",
    )
    cull_interval = Seconds(
        DEFAULT_INTERVAL_SECONDS,
        config=True,
        help="""Heartbeat (seconds); the smaller one of this and the kernel manager's counts. A value of 0 or less is
        replaced by the default.""",
    )


def check_settings(config: Config) -> None:
    """Raise the TraitError that `CullingTerminalManager` would raise for its section of `config`."""
    type("CullingTerminalManager", (TerminalSettings,), {})(config=config)


class CullingTerminalManager(TerminalSettings, TerminalManager):  # type: ignore[misc]
    """Upstream's terminal manager that culls idle terminals exactly at their deadline."""

    _ready = False
    #: Whose the processes of the terminal are that is being made; its name is not known yet.
    _mark = ""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._own_idle_timeout = configured(self, kwargs, "idle_timeout") and self.idle_timeout is not None
        if configured(self, kwargs, "cull_inactive_timeout"):
            self._take_over_upstream_timeout()
        self._source = TerminalSource(self)
        self._culler = IdleCuller.of(self.parent, self.log)
        self._ready = True
        try:
            self._culler.attach(self._source)
        except SettingError as error:
            raise TraitError(f"{type(self).__name__}: {error}") from None
        if self._culler.guard is None:
            join_guard(self._culler, self)
        IOLoop.current().add_callback(self._culler.start)

    def _take_over_upstream_timeout(self) -> None:
        if self._own_idle_timeout:
            self.log.warning(
                "Both idle_timeout (%g minutes) and cull_inactive_timeout (%d seconds) are set: idle_timeout is used.",
                self.idle_timeout,
                self.cull_inactive_timeout,
            )
            return
        self.idle_timeout = max(self.cull_inactive_timeout, 0) / 60

    @observe("cull_inactive_timeout")
    def _upstream_timeout_changed(self, change: Bunch) -> None:
        if self._ready:
            self._take_over_upstream_timeout()

    @observe("idle_timeout", "keep_terminals", "keep_terminals_fixed", "cull_interval")
    def _settings_changed(self, change: Bunch) -> None:
        if self._ready:
            self._culler.update_policy()

    # -- upstream's seams --------------------------------------------------------------------------

    def _initialize_culler(self) -> None:
        """Called by upstream when a terminal was created: the culler runs instead of a second loop."""
        self._initialized_culler = True
        self._culler.start()

    async def _cull_terminals(self) -> None:
        """Run one whole pass: read, decide, look again, act."""
        await self._culler.run_pass()

    async def _cull_inactive_terminal(self, name: str) -> None:
        """Cull one terminal if it is due."""
        await self._culler.consider(Kind.TERMINAL, name)

    def new_terminal(self, **kwargs: Any) -> PtyWithClients:
        """Make a terminal, and mark its environment, by which jobs that it detaches are told."""
        self._mark = owner(Kind.TERMINAL, uuid.uuid4().hex, os.getpid())
        terminal = super().new_terminal(**kwargs)
        terminal.owned_by = self._mark  # type: ignore[attr-defined]
        return terminal

    def make_term_env(self, *args: Any, **kwargs: Any) -> dict[str, str]:
        """Give the environment of the terminal that is being made."""
        return {**super().make_term_env(*args, **kwargs), MARKER: self._mark}

    def start_reading(self, ptywclients: PtyWithClients) -> None:
        """Start reading a new terminal; its creation is its first activity, also when a websocket created it."""
        if not hasattr(ptywclients, "last_activity"):
            ptywclients.last_activity = datetime.now(timezone.utc)  # type: ignore[attr-defined]
        super().start_reading(ptywclients)
        self._culler.wake_soon(Kind.TERMINAL)

    def on_eof(self, ptywclients: PtyWithClients) -> None:
        """The terminal has ended: tell before it is off the list, where it may be known under another name already."""
        name = getattr(ptywclients, "term_name", None)
        if name is not None and self.terminals.get(name) is ptywclients:
            self._culler.leaving(Kind.TERMINAL, name)
        super().on_eof(ptywclients)

    async def terminate_all(self) -> None:
        """Terminate all terminals; nothing is culled meanwhile."""
        async with self._culler.paused():
            await super().terminate_all()
