"""Terminals as records: what upstream knows of them, and the words to terminate one."""

from __future__ import annotations

import weakref
from collections.abc import Hashable, Iterable, Mapping
from datetime import datetime
from typing import Any

from terminado.management import PtyWithClients
from tornado.web import HTTPError

from ..engine.ports import Roots
from ..errors import StopError
from ..policy import CullingPolicy
from ..records import Kind, TerminalRecord, utc
from ..traits import interval
from .hosts import TerminalHost


class TerminalSource:
    """Terminals as records."""

    kind = Kind.TERMINAL
    stop_can_be_cancelled = True

    def __init__(self, manager: TerminalHost) -> None:
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
            "cull_interval": interval(manager, manager.log),
        }

    def apply(self, changes: Mapping[str, Any]) -> None:
        """Take over `keep_terminals` that was set at run time."""
        if "keep_terminals" in changes:
            self.manager.keep_terminals = changes["keep_terminals"]

    def glance(self, policy: CullingPolicy) -> Iterable[tuple[str, datetime | None, float | None]]:
        """Identity and last activity of each terminal; none has a timeout of its own.

        With `max_at_work` more than its last output decides: when a key was last typed in it.
        """
        for name, terminal in list(self.manager.terminals.items()):
            last = getattr(terminal, "last_activity", None)
            simple = last is not None and last.tzinfo is not None and policy.max_at_work <= 0
            yield name, last if simple else None, None

    def catch_up(self, identity: str) -> None:
        """Nothing is on its way that would not show."""

    def exists(self, identity: str) -> bool:
        """Whether the terminal is still listed."""
        return identity in self.manager.terminals

    def fingerprint(self, identity: str) -> Hashable:
        """The fingerprint of one terminal. KeyError when it is gone."""
        terminal = self.manager.terminals[identity]
        at = getattr(terminal, "last_activity", None), getattr(terminal, "typed_at", None)
        return (*at, id(terminal), terminal in self.terminated)

    def read(self, identity: str, now: datetime) -> TerminalRecord:
        """Read one terminal. KeyError when it is gone."""
        terminal = self.manager.terminals[identity]
        record = TerminalRecord(
            identity=identity,
            last_activity=utc(getattr(terminal, "last_activity", None), "last_activity"),
            typed_at=getattr(terminal, "typed_at", None),
            ended=terminal in self.terminated,
        )
        return self.manager._culler.place(record)

    def unreadable(self, identity: str, error: str) -> TerminalRecord:
        """The record of a terminal whose reading failed."""
        return TerminalRecord(identity=identity, last_activity=None, error=error)

    def stale_after(self, policy: CullingPolicy) -> float | None:
        """A terminal's facts come by themselves."""
        return None

    async def refresh(self) -> None:
        """Nothing to fetch."""

    async def confirm(self, record: TerminalRecord) -> None:
        """Nothing to ask."""

    def names(self, identity: str) -> dict[str, str | None]:
        """What runs in it, as a person calls it."""
        from ..signals.foreground import runs_in

        process = getattr(self.manager.terminals.get(identity), "ptyproc", None)
        shell, terminal = getattr(process, "pid", None), getattr(process, "fd", None)
        return {"runs": runs_in(shell, terminal) if isinstance(shell, int) and shell > 0 else None}

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
