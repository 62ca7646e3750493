"""The terminal manager: upstream's, with its cull loop replaced by the culler."""

from __future__ import annotations

import os
import uuid
from typing import Any

from jupyter_server_terminals.terminalmanager import TerminalManager
from terminado.management import PtyWithClients
from tornado.ioloop import IOLoop
from traitlets import Bool, Bunch, TraitError, observe
from traitlets.config import Config, Configurable

from ..engine.clock import utcnow
from ..engine.culler import IdleCuller
from ..errors import SettingError
from ..join import join_guard
from ..records import MARKER, Kind, owner
from ..traits import DEFAULT_INTERVAL_SECONDS, Minutes, Seconds, configured
from .keys import note_keys
from .terminal_source import TerminalSource


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
        note_keys(terminal)
        return terminal

    def make_term_env(self, *args: Any, **kwargs: Any) -> dict[str, str]:
        """Give the environment of the terminal that is being made."""
        return {**super().make_term_env(*args, **kwargs), MARKER: self._mark}

    def start_reading(self, ptywclients: PtyWithClients) -> None:
        """Start reading a new terminal; its creation is its first activity, also when a websocket created it."""
        if not hasattr(ptywclients, "last_activity"):
            ptywclients.last_activity = utcnow()  # type: ignore[attr-defined]
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
