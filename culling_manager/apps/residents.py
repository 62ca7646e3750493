"""Who lives on apps: our kernels and terminals, kernels of others on the same gateway, terminals of another manager."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ..decisions import QUIET_STATES, Decision, Reason, decide_kernel, decide_terminal
from ..errors import ReadError
from ..records import AppRecord, KernelRecord, Kind, Record, TerminalRecord, utc

if TYPE_CHECKING:
    from ..engine.culler import IdleCuller
    from .base import AppManager

#: How long (seconds) an app waits for a kernel on it to be shut down; one that cannot be must not keep it for ever.
STOP_WAIT_SECONDS = 300.0

Resident = KernelRecord | TerminalRecord


def subject_of(record: Record) -> str:
    """How a kernel or terminal is named in words."""
    return f"{'terminal' if isinstance(record, TerminalRecord) else 'kernel'} {record.identity}"


@dataclass(slots=True, eq=False)
class Residents:
    """The kernels and terminals that may live on apps.

    `left` is told of those that end unseen by our managers. `strangers` are the kernels on the gateway that are not
    ours, as last fetched.
    """

    culler: IdleCuller
    left: Callable[[Record, datetime | None], None]
    strangers: dict[str, KernelRecord] = field(default_factory=dict)
    _first_seen: dict[str, datetime] = field(default_factory=dict)
    _followed: Any = None

    def on(
        self, identity: str, apps: AppManager, listed: dict[str, AppRecord], now: datetime
    ) -> list[tuple[Resident, Decision]]:
        """The kernels and terminals that live, or may live, on one app, and what is decided on each."""
        return [
            (record, decision) for record, decision in self.all(apps, now) if identity in homes_of(record, apps, listed)
        ]

    def all(self, apps: AppManager, now: datetime) -> Iterable[tuple[Resident, Decision]]:
        """All of them. Whoever started it, a kernel that works keeps its app."""
        policy = self.culler.policy
        for kind in (Kind.KERNEL, Kind.TERMINAL):
            watch = self.culler.watches.get(kind)
            for record, decision in [] if watch is None else watch.current(now):
                if isinstance(record, KernelRecord) and decision.reason is Reason.EXTERNAL:
                    yield record, decide_kernel(replace(record, owned=True), policy, now)
                elif not isinstance(record, AppRecord):
                    yield record, decision
        for stranger in self.strangers.values():
            if not self.is_ours(stranger):
                yield stranger, decide_kernel(replace(stranger, owned=True), policy, now)
        for terminal in self._other_terminals(apps):
            yield terminal, decide_terminal(terminal, policy, now)

    def is_ours(self, record: Record) -> bool:
        """Whether our managers list it."""
        kind = Kind.TERMINAL if isinstance(record, TerminalRecord) else Kind.KERNEL
        watch = self.culler.watches.get(kind)
        return watch is not None and watch.source.exists(record.identity)

    def catch_up(self, record: Resident) -> None:
        """Count what is on its way to one of our kernels."""
        watch = self.culler.watches.get(Kind.KERNEL)
        if watch is not None and isinstance(record, KernelRecord) and watch.source.exists(record.identity):
            watch.source.catch_up(record.identity)

    def last_use(self, record: Resident, now: datetime) -> datetime | None:
        """When it was last used; for one that does not tell, when it was first seen."""
        known = [each for each in (record.last_activity, record.used_at) if each is not None]
        if known:
            return max(known)
        return self._first_seen.setdefault(subject_of(record), now)

    def forget(self, record: Record) -> None:
        """It is gone."""
        self._first_seen.pop(subject_of(record), None)

    async def cull_if_due(self, record: Resident) -> None:
        """Cull one of ours when it is due, and wait for that."""
        if self.is_ours(record):
            kind = Kind.TERMINAL if isinstance(record, TerminalRecord) else Kind.KERNEL
            await self.culler.consider(kind, record.identity, STOP_WAIT_SECONDS)

    async def ask_silent(self, records: Iterable[Resident]) -> None:
        """Ask kernels of others that were never heard whether they work, as ours are; one that does is busy.

        Raises
        ------
        ReadError
            When that cannot be told.
        """
        watch = self.culler.watches.get(Kind.KERNEL)
        ask = getattr(None if watch is None else watch.source, "is_at_work", None)
        for record in records:
            silent = isinstance(record, KernelRecord) and record.state in QUIET_STATES - {"idle"}
            if ask is not None and silent and record.identity in self.strangers and await ask(record.identity):
                known = self.strangers[record.identity]
                self.strangers[record.identity] = replace(known, state="busy", last_activity=self.culler.now())

    async def meet_strangers(self, name: str) -> None:
        """Fetch the kernels on the gateway that are not ours; one that has gone was in use until now.

        Raises
        ------
        ReadError
            When the app manager `name` needs that list and there is no gateway to have it from.
        """
        watch = self.culler.watches.get(Kind.KERNEL)
        fetch = getattr(None if watch is None else watch.source, "strangers", None)
        if fetch is None:
            raise ReadError(
                f"{name} needs the list of all kernels on the gateway, and this server has no "
                "gateway (see --gateway-url); no app is deleted"
            )
        found = {record.identity: record for record in await fetch()}
        for identity in set(self.strangers) - set(found):
            gone = self.strangers.pop(identity)
            self.culler.troubles.over(f"stranger {identity}")
            if not self.is_ours(gone):
                self.left(gone, self.culler.now())
        self.strangers = found
        for stranger in found.values():
            self._tell_doubt(stranger)

    def _tell_doubt(self, stranger: KernelRecord) -> None:
        """Say so when somebody else's kernel keeps its app for being in a state that nobody knows."""
        now, subject = self.culler.now(), f"stranger {stranger.identity}"
        decision = decide_kernel(replace(stranger, owned=True), self.culler.policy, now)
        if self.is_ours(stranger) or decision.reason is not Reason.UNKNOWN:
            self.culler.troubles.over(subject)
            return
        words = stranger.error or f"state {stranger.state!r}, last activity {stranger.last_activity}"
        self.culler.trouble(
            subject, f"kernel {stranger.identity}, which this server did not start, keeps its app: {words}"
        )

    def _other_terminals(self, apps: AppManager) -> Iterable[TerminalRecord]:
        """Terminals of a terminal manager that is not ours: they are not culled, but they count."""
        settings = getattr(getattr(apps.server, "web_app", None), "settings", {})
        manager = settings.get("terminal_manager")
        if manager is None or Kind.TERMINAL in self.culler.watches:
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
            self.left(TerminalRecord(identity=name, last_activity=None), self.culler.now())
            ended(terminal)

        manager.on_eof = on_eof


def homes_of(record: Resident, apps: AppManager, listed: dict[str, AppRecord]) -> Collection[str]:
    """Identities of the apps that it lives, or may live, on."""
    if isinstance(record, KernelRecord):
        return apps.apps_of_kernel(record, listed)
    return apps.apps_of_terminal(record, listed)
