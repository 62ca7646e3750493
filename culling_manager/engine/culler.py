"""The idle culler: what managers, apps and handlers see of the engine."""

from __future__ import annotations

import logging
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from datetime import datetime
from typing import Any

from ..errors import ErrorCode, SettingError
from ..policy import CullingPolicy
from ..records import Happening, KeepAlive, Kind, Outcome, TerminalRecord
from .clock import Clock, SystemClock
from .comings import Comings
from .journal import Journal, Log
from .ports import Guard, Neighbours, Source
from .rounds import Rounds
from .settings import Settings
from .situation import Situation


class IdleCuller:
    """Culls what is idle, exactly at its deadline.

    One culler serves a whole server: `of` gives the one that a server's managers share, in whatever order they come.
    """

    def __init__(self, log: Log | None = None, clock: Clock | None = None) -> None:
        self.log = log or logging.getLogger(__name__)
        self.clock: Clock = clock or SystemClock()
        self.journal = journal = Journal(self.log, self.clock)
        self.troubles, self.outcomes = journal.troubles, journal.outcomes
        self.tally, self.listeners = journal.tally, journal.listeners
        self.situation = Situation(self.clock, journal)
        self.keep = self.situation.requests
        self.rounds = rounds = Rounds(self.situation)
        self.watches, self.beats = rounds.watches, rounds.beats
        self._settings = Settings(lambda: [watch.source for watch in rounds.watches.values()])
        self.comings = Comings(self.situation, rounds.watches)

    @classmethod
    def of(cls, server: Any, log: Any = None) -> IdleCuller:
        """Give the culler that belongs to `server` (a ServerApp); a new one of nobody's when `server` is None."""
        if server is None:
            return cls(log)
        found: IdleCuller | None = getattr(server, "_idle_culler", None)
        if found is None:
            found = server._idle_culler = cls(log)
        return found

    # -- what it watches, and by which policy --------------------------------------------------

    def attach(self, source: Source) -> None:
        """Watch `source` from now on, under the policy of its settings. Raises SettingError, and attaches nothing."""
        before = dict(self.watches)
        self.watches[source.kind] = self.rounds.watch(source)
        try:
            self.update_policy()
        except SettingError:
            self.watches.clear()
            self.watches.update(before)
            raise

    @property
    def policy(self) -> CullingPolicy:
        """The policy in force."""
        return self.situation.policy

    def update_policy(self) -> None:
        """Build the policy anew from every source's settings; a change takes effect at once."""
        policy = self._settings.policy()
        if policy != self.situation.policy:
            self.situation.policy = policy
            self.rounds.forget_decisions()

    def change_settings(self, *, idle_timeout: float | None = None, keep_terminals: bool | None = None) -> None:
        """Change settings at run time (`idle_timeout` in seconds); None leaves one alone. Bounds are the caller's.

        Raises
        ------
        SettingError
            When a value is not accepted; then nothing is changed.
        """
        self._settings.change({"idle_timeout": idle_timeout, "keep_terminals": keep_terminals}, self.policy)
        self.update_policy()

    def reset_settings(self) -> None:
        """Go back to the settings that were configured."""
        self._settings.reset()
        self.update_policy()

    def configured(self, name: str) -> Any:
        """A setting as it was before it was changed at run time."""
        return self._settings.configured(name, self.policy)

    @property
    def guard(self) -> Guard | None:
        """Who is asked before something is culled; may be replaced."""
        return self.situation.guard

    @guard.setter
    def guard(self, guard: Guard | None) -> None:
        self.situation.guard = guard

    # -- keep-alives ---------------------------------------------------------------------------

    def keep_alive(self, kind: Kind | None, identity: str | None, until: datetime, asked_by: str) -> KeepAlive:
        """Keep something until an instant; `kind` None is everything. What there was asked for it before is replaced.

        Raises
        ------
        KeyError
            When there is no such thing.
        TooLateError
            When it is too late: it is being shut down, or what it lives on is being deleted.
        """
        self.comings.check_stays(kind, identity)
        return self.situation.keep(kind, identity, until, asked_by)

    def end_keep_alive(self, kind: Kind | None, identity: str | None) -> KeepAlive | None:
        """Take a request back, and give it; None when there was none."""
        return self.keep.end(kind, identity)

    # -- running -------------------------------------------------------------------------------

    @property
    def count(self) -> int:
        """How often it woke up since it was started."""
        return self.rounds.alarm.count

    @property
    def running(self) -> bool:
        """Whether it wakes up by itself."""
        return self.rounds.alarm.running

    @property
    def next_wake_up(self) -> datetime | None:
        """When it wakes up next, or None when it is not running."""
        return self.rounds.alarm.at if self.running else None

    def start(self) -> None:
        """Start waking up; needs a running event loop. A second start changes nothing."""
        self.rounds.start()

    def stop(self) -> None:
        """Stop waking up; what is being shut down goes on."""
        self.rounds.alarm.stop()

    async def pause(self) -> None:
        """Stop, and wait for the shutdowns that have begun; what was only decided is dropped."""
        await self.rounds.pause()

    def resume(self) -> None:
        """End one `pause`; it goes on as before, or as was asked for meanwhile."""
        self.rounds.alarm.resume()

    def paused(self) -> AbstractAsyncContextManager[None]:
        """Nothing is culled within; afterwards it goes on, also when the waiting was cancelled."""
        return self.rounds.paused()

    def wake_soon(self, kind: Kind | None = None) -> None:
        """Something may be due that was not (a disconnect, a setting, a new kernel): look now."""
        self.rounds.look_soon(kind)

    def now(self) -> datetime:
        """The time, after a look at whether the clock jumped."""
        return self.situation.now()

    def heartbeat(self) -> bool:
        """One wake-up: count it, and tell whether anything can be due."""
        return self.rounds.heartbeat()

    async def run_pass(self) -> list[Outcome]:
        """One whole pass over everything that is watched, up to and including the shutdowns; gives their outcomes."""
        return await self.rounds.run_pass()

    async def consider(self, kind: Kind, identity: str, seconds: float | None = None) -> None:
        """Cull one item if it is due, and wait for that (`seconds` at most). An unknown one raises KeyError."""
        await self.watches[kind].consider(identity, seconds)

    # -- comings and goings, and telling -------------------------------------------------------

    @property
    def neighbours(self) -> Neighbours | None:
        """Who wants to know of what comes and goes; may be replaced."""
        return self.situation.neighbours

    @neighbours.setter
    def neighbours(self, neighbours: Neighbours | None) -> None:
        self.situation.neighbours = neighbours

    @property
    def starts(self) -> int:
        """How many kernels are being started just now."""
        return self.situation.starts

    def place(self, terminal: TerminalRecord) -> TerminalRecord:
        """The record with what is known of where the terminal runs."""
        return self.comings.place(terminal)

    def starting(self) -> AbstractContextManager[None]:
        """A kernel is being started within, which may take minutes, and whose app nobody can tell before its end."""
        return self.comings.starting()

    def arrived(self, kind: Kind, identity: str) -> None:
        """Something was started: it may be due later, and what it lives on may be new."""
        self.comings.arrived(kind, identity)

    def leaving(self, kind: Kind, identity: str) -> None:
        """Something is about to be taken off its manager's list, by whomever."""
        self.comings.leaving(kind, identity)

    def trouble(self, subject: str, words: str, code: ErrorCode = ErrorCode.FAILED) -> bool:
        """Remember what went wrong; into the log once per change. Gives whether it is one."""
        return self.journal.trouble(subject, words, code)

    def tell(self, happening: Happening) -> None:
        """Tell those who listen."""
        self.journal.tell(happening)
