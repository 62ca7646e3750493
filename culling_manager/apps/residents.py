"""Who lives on apps: kernels and terminals of ours, of the gateway's other users, and of other managers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ..decisions import QUIET_STATES, Decision, Reason, decide_kernel, decide_terminal
from ..engine.ports import SharedKernels
from ..errors import ErrorCode, ReadError
from ..records import AppRecord, KernelRecord, Kind, Record, TerminalRecord, utc
from .base import AppManager
from .census import Census, Resident, count, subject_of
from .ports import Engine

#: How long (seconds) an app waits for a kernel on it to be shut down; one that cannot be must not keep it for ever.
STOP_WAIT_SECONDS = 300.0


@dataclass(slots=True, eq=False, repr=False)
class Residents:
    """The kernels and terminals that may live on apps.

    `left` is told of those that end unseen by our managers. `strangers` are the kernels on the gateway that are not
    ours, as last fetched.
    """

    engine: Engine
    left: Callable[[Record, datetime | None], None]
    strangers: dict[str, KernelRecord] = field(default_factory=dict)
    _first_seen: dict[str, datetime] = field(default_factory=dict)
    _followed: Any = None

    def census(self, apps: AppManager, listed: dict[str, AppRecord], now: datetime) -> Census:
        """Judge everybody who lives, or may live, on these apps: each once, however many apps there are."""
        found = ((each, decision, homes_of(each, apps, listed)) for each, decision in self._judged(apps, now))
        at_home = ((*each, self._last_use(each[0], now)) for each in found if each[2])
        return count(at_home, now)._replace(done=self.engine.now())

    def _judged(self, apps: AppManager, now: datetime) -> Iterable[tuple[Resident, Decision]]:
        """All of them. Whoever started it, a kernel that works keeps its app."""
        policy = self.engine.policy
        for kind in (Kind.KERNEL, Kind.TERMINAL):
            watch = self.engine.watches.get(kind)
            for record, decision in [] if watch is None else watch.current(now):
                if isinstance(record, KernelRecord) and decision.reason is Reason.EXTERNAL:
                    yield record, decide_kernel(record._replace(owned=True), policy, now)
                elif not isinstance(record, AppRecord):
                    yield record, decision
        for stranger in self.strangers.values():
            if not self.is_ours(stranger):
                yield stranger, decide_kernel(stranger._replace(owned=True), policy, now)
        for terminal in self._other_terminals(apps):
            yield terminal, decide_terminal(terminal, policy, now)

    def is_ours(self, record: Resident) -> bool:
        """Whether our managers list it."""
        watch = self.engine.watches.get(record.kind)
        return watch is not None and watch.source.exists(record.identity)

    def catch_up(self, record: Resident) -> None:
        """Count what is on its way to one of our kernels."""
        watch = self.engine.watches.get(Kind.KERNEL)
        if watch is not None and isinstance(record, KernelRecord) and watch.source.exists(record.identity):
            watch.source.catch_up(record.identity)

    def _last_use(self, record: Resident, now: datetime) -> datetime | None:
        """When it was last used; for one that does not tell, when it was first seen."""
        known = [each for each in (record.last_activity, record.used_at) if each is not None]
        if known:
            return max(known)
        return self._first_seen.setdefault(subject_of(record), now)

    def forget(self, record: Resident) -> None:
        """It is gone."""
        self._first_seen.pop(subject_of(record), None)

    async def cull_if_due(self, record: Resident) -> None:
        """Cull one of ours when it is due, and wait for that."""
        if self.is_ours(record):
            await self.engine.consider(record.kind, record.identity, STOP_WAIT_SECONDS)

    async def ask_silent(self, records: Iterable[Resident]) -> None:
        """Ask kernels of others that were never heard whether they work, as ours are; one that does is busy.

        Raises
        ------
        ReadError
            When that cannot be told.
        """
        shared = self._shared()
        for record in records:
            silent = isinstance(record, KernelRecord) and record.state in QUIET_STATES - {"idle"}
            if not silent or shared is None or record.identity not in self.strangers:
                continue
            at_work = await shared.is_at_work(record.identity)
            known = self.strangers.get(record.identity)
            if at_work and known is not None:
                self.strangers[record.identity] = known._replace(state="busy", last_activity=self.engine.now())

    def _shared(self) -> SharedKernels | None:
        """Whoever knows of the kernels that this server did not start; None when nobody does."""
        watch = self.engine.watches.get(Kind.KERNEL)
        source = None if watch is None else watch.source
        return source if isinstance(source, SharedKernels) else None

    async def meet_strangers(self, name: str) -> None:
        """Fetch the kernels on the gateway that are not ours; one that has gone was in use until now.

        Raises
        ------
        ReadError
            When the app manager `name` needs that list and there is no gateway to have it from.
        """
        shared = self._shared()
        if shared is None:
            raise ReadError(
                f"{name} needs the list of all kernels on the gateway, and this server has no "
                "gateway (see --gateway-url); no app is deleted",
                code=ErrorCode.STRANGERS_UNREAD,
            )
        found = {record.identity: record for record in await shared.strangers()}
        for identity in set(self.strangers) - set(found):
            gone = self.strangers.pop(identity)
            self.engine.troubles.over(f"stranger {identity}")
            if not self.is_ours(gone):
                self.left(gone, self.engine.now())
        self.strangers = found
        for stranger in found.values():
            self._tell_doubt(stranger)

    def _tell_doubt(self, stranger: KernelRecord) -> None:
        """Say so when somebody else's kernel keeps its app for being in a state that nobody knows."""
        now, subject = self.engine.now(), f"stranger {stranger.identity}"
        decision = decide_kernel(stranger._replace(owned=True), self.engine.policy, now)
        if self.is_ours(stranger) or decision.reason is not Reason.UNKNOWN:
            self.engine.troubles.over(subject)
            return
        state = f"state {stranger.state!r}, last activity {stranger.last_activity}"
        words = stranger.error or stranger.odd_timeout or state
        self.engine.trouble(
            subject,
            f"kernel {stranger.identity}, which this server did not start, keeps its app: {words}",
            ErrorCode.UNREAD,
        )

    def _other_terminals(self, apps: AppManager) -> Iterable[TerminalRecord]:
        """Terminals of a terminal manager that is not ours: they are not culled, but they count."""
        settings = getattr(getattr(apps.server, "web_app", None), "settings", {})
        manager = settings.get("terminal_manager")
        if manager is None or Kind.TERMINAL in self.engine.watches:
            return
        self._follow(manager)
        for name, terminal in list(manager.terminals.items()):
            last = utc(getattr(terminal, "last_activity", None), "last_activity")
            yield apps.place(TerminalRecord(identity=name, last_activity=last))

    def _follow(self, manager: Any) -> None:
        """Hear of terminals that end between two looks, also from a manager that is not ours."""
        ended = getattr(manager, "on_eof", None)
        if ended is None or manager is self._followed:
            return
        self._followed = manager

        def on_eof(terminal: Any) -> None:
            name = str(getattr(terminal, "term_name", ""))
            self.left(TerminalRecord(identity=name, last_activity=None), self.engine.now())
            ended(terminal)

        manager.on_eof = on_eof


def homes_of(record: Resident, apps: AppManager, listed: dict[str, AppRecord]) -> Collection[str]:
    """Identities of the apps that it lives, or may live, on."""
    if isinstance(record, KernelRecord):
        return apps.apps_of_kernel(record, listed)
    return apps.apps_of_terminal(record, listed)
