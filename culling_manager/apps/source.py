"""Apps as records: what an app manager lists, joined with the kernels and terminals that live on it.

Facts about apps are fetched twice per idle timeout and when one looks due. That is enough: whatever became idle unseen
in between is due a whole timeout after its last activity, so it is seen in time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from ..decisions import (
    IN_SERVICE,
    Decision,
    Reason,
    decide_app,
    keeps_app,
    keeps_app_until,
)
from ..engine.ports import Roots
from ..errors import GoneError, ReadError
from ..events import emit_app
from ..policy import CullingPolicy
from ..records import AppRecord, KernelRecord, Kind, Record, TerminalRecord, utc
from .residents import Resident, Residents, homes_of, subject_of

if TYPE_CHECKING:
    from ..engine.culler import IdleCuller
    from .base import AppManager

#: A list of apps that is older than this (seconds) is fetched again before anything on it is deleted.
FRESH_SECONDS = 1.0
#: How soon apps are listed again (seconds) when a kernel was started on one that is not known.
ARRIVAL_SECONDS = 15.0
#: How soon (seconds), at first, it is looked what became of an accepted deletion.
POLL_SECONDS = 60.0
#: How soon (seconds) an app is looked at again that looked due and was not in service.
NOT_READY_SECONDS = 600.0
#: How long an app manager may take for one answer (seconds); SageMaker's have limits below that.
LIMIT_SECONDS = 300.0

Answer = TypeVar("Answer")


@dataclass(slots=True, eq=False)
class Memory:
    """What is remembered of an app for as long as it is in service; `listed` is its creation as it is listed."""

    watched_since: datetime
    listed: datetime | None
    last_activity: datetime | None = None

    @property
    def created_at(self) -> datetime | None:
        """When it was created: not after it was first seen."""
        return None if self.listed is None else min(self.listed, self.watched_since)

    def note(self, at: datetime | None) -> None:
        """Count use of it at an instant."""
        if at is not None and (self.last_activity is None or at > self.last_activity):
            self.last_activity = at

    def clamp(self, now: datetime) -> None:
        """Nothing has happened after now: what was seen so is from before the clock was set back."""
        self.watched_since = min(self.watched_since, now)
        self.last_activity = None if self.last_activity is None else min(self.last_activity, now)


@dataclass(slots=True, eq=False)
class AppSource:
    """The apps of one app manager as a `Source`."""

    apps: AppManager
    culler: IdleCuller
    kind: Kind = Kind.APP
    stop_can_be_cancelled: bool = True
    listed: dict[str, AppRecord] = field(default_factory=dict)
    memories: dict[str, Memory] = field(default_factory=dict)
    asked: dict[str, datetime] = field(default_factory=dict)
    failed: set[str] = field(default_factory=set)
    lingering: set[str] = field(default_factory=set)
    refreshed_at: datetime | None = None
    residents: Residents = field(init=False)
    _fetching: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self.residents = Residents(self.culler, self.left)

    def _residents_of(self, identity: str, now: datetime) -> list[tuple[Resident, Decision]]:
        return self.residents.on(identity, self.apps, self.listed, now)

    # -- what the culler asks of a source ----------------------------------------------------------

    def settings(self) -> Mapping[str, Any]:
        """None of its own: an app follows the kernels' policy."""
        return {}

    def apply(self, changes: Mapping[str, Any]) -> None:
        """Nothing to take over."""

    def glance(self, policy: CullingPolicy) -> Iterable[tuple[str, datetime | None, float | None]]:
        """Every app; whether it is due takes more than a glance."""
        return [(identity, None, None) for identity in self.listed]

    def exists(self, identity: str) -> bool:
        """Whether it is listed."""
        return identity in self.listed

    def catch_up(self, identity: str) -> None:
        """Count what is on its way to a kernel of the app, so that the last look sees it."""
        for record, _ in self._residents_of(identity, self.culler.now()):
            self.residents.catch_up(record)

    def fingerprint(self, identity: str) -> Hashable:
        """None: an app is read each time. KeyError when it is gone."""
        self.listed[identity]
        return None

    def read(self, identity: str, now: datetime) -> AppRecord:
        """Read one app with all that lives on it. KeyError when it is gone."""
        record = self.listed[identity]
        memory = self.memories.get(identity)
        if memory is None:
            return record
        residents = self._residents_of(identity, now)
        for resident, _ in residents:
            memory.note(self.residents.last_use(resident, now))
        keepers = [
            f"{subject_of(each)} ({decision.reason.value})" for each, decision in residents if keeps_app(decision)
        ]
        keepers += ["a kernel that is being started"] if self.culler.starts else []
        until = [keeps_app_until(decision) for _, decision in residents]
        until += [each.kept_until for each, decision in residents if decision.reason is Reason.WITH_APP]
        memory.clamp(now)
        return replace(
            record,
            state="Deleting" if identity in self.asked and record.state == IN_SERVICE else record.state,
            created_at=memory.created_at,
            watched_since=memory.watched_since,
            last_activity=memory.last_activity,
            kept_by=None if not keepers else ", ".join(keepers[:3]) + (" and others" if keepers[3:] else ""),
            kept_until=max((each for each in until if each is not None), default=None),
            protected=self.apps.is_protected(record.name),
        )

    def unreadable(self, identity: str, error: str) -> AppRecord:
        """The record of an app whose reading failed."""
        return AppRecord(identity=identity, name=identity, state=None, error=error)

    def decide(self, record: AppRecord, policy: CullingPolicy, now: datetime) -> Decision:
        """The pure decision."""
        return decide_app(record, policy, now)

    def timeout(self, record: AppRecord | None, policy: CullingPolicy) -> float:
        """Seconds until an app is due."""
        return policy.idle_timeout

    def stale_after(self, policy: CullingPolicy) -> float | None:
        """Half a timeout; sooner at the start, and after a deletion was accepted, less and less often."""
        if policy.idle_timeout <= 0:
            return None
        if self.refreshed_at is None:
            return 0.0
        half = policy.idle_timeout / 2
        since = [max(0.0, (self.refreshed_at - asked).total_seconds()) for asked in self.asked.values()]
        return min(half, max(POLL_SECONDS, min(since))) if since else half

    async def refresh(self) -> None:
        """Fetch the list of apps, and of the kernels on them that are not ours.

        Raises
        ------
        CullingError
            When either cannot be had.
        """
        async with self._fetching:
            await self._fetch()

    async def _fetch(self) -> None:
        again = getattr(self.apps, "again", None)
        if again is not None:
            self.apps = again()
            if getattr(self.apps, "again", None) is not None:
                raise ReadError(f"{self.apps.reason}; until it can be read no app is deleted")  # type: ignore[attr-defined]
            self.culler.log.info("Culling: apps are managed by %s", type(self.apps).__name__)
            for kind in (Kind.KERNEL, Kind.TERMINAL):
                if kind in self.culler.watches:
                    self.culler.watches[kind].forget_decisions()  # where terminals run is known only now
        asked_at = self.culler.now()
        records = await self._in_time(self.apps.list_apps())
        if self.apps.shares_kernels:
            # after the list, which may take its time: what is at work must be today's
            await self.residents.meet_strangers(type(self.apps).__name__)
        self._take(records, asked_at)

    async def _in_time(self, asking: Awaitable[Answer]) -> Answer:
        """Wait for an app manager, which should have time limits of its own, but not for ever."""
        try:
            return await asyncio.wait_for(asking, LIMIT_SECONDS)
        except asyncio.TimeoutError:
            raise ReadError(f"{type(self.apps).__name__} did not answer within {LIMIT_SECONDS:g} s") from None

    async def confirm(self, record: AppRecord) -> None:
        """Cull what lives on it and is due, wait for that, and get a fresh look at the app itself."""
        residents = self._residents_of(record.identity, self.culler.now())
        due = [resident for resident, decision in residents if decision.cull]
        await asyncio.gather(*(self.residents.cull_if_due(resident) for resident in due))
        asked_at = self.culler.now()
        async with self._fetching:
            if not self._is_fresh(asked_at):
                await self._fetch()
        residents = self._residents_of(record.identity, self.culler.now())
        await self.residents.ask_silent(resident for resident, decision in residents if decision.cull)
        try:
            self.listed[record.identity] = fresh = await self._in_time(
                self.apps.look_again(self.listed[record.identity])
            )
        except (GoneError, KeyError):
            self.listed.pop(record.identity, None)
            return
        if fresh.state != IN_SERVICE:
            self.culler.watches[Kind.APP].refresh_within(NOT_READY_SECONDS)

    def _is_fresh(self, asked_at: datetime) -> bool:
        """Whether the list was asked for so lately that it need not be again; who waits for a fetch shares it."""
        return self.refreshed_at is not None and (asked_at - self.refreshed_at).total_seconds() < FRESH_SECONDS

    def roots(self, identity: str) -> Roots:
        """All processes here, where the one app is what this server runs on."""
        return Roots(here=not self.apps.lists)

    async def stop(self, record: AppRecord) -> None:
        """Have it deleted. KeyError when it is gone, or going, already."""
        emit_app(self.apps.server, "deleting", record, self.culler.now())
        try:
            await self.apps.delete_app(record)
        except GoneError as error:
            self._was_asked(record.identity)
            self.culler.log.info("Culling: app %s: %s", record.name, error)
            raise KeyError(record.identity) from error
        self._was_asked(record.identity)
        emit_app(self.apps.server, "accepted", record, self.culler.now())

    def _was_asked(self, identity: str) -> None:
        """Deleting takes its time: look now and then what became of it, and do not ask again meanwhile."""
        self.asked[identity] = self.culler.now()
        self.culler.watches[Kind.APP].refresh_within(POLL_SECONDS)

    # -- what comes and goes -------------------------------------------------------------------------

    def place(self, terminal: TerminalRecord) -> TerminalRecord:
        """Say where a terminal runs."""
        return self.apps.place(terminal)

    def arrived(self, record: Record) -> None:
        """A kernel was started, perhaps on an app that is not known yet."""
        if self.apps.lists and isinstance(record, KernelRecord) and not self.apps.knows_home_of(record, self.listed):
            self.culler.watches[Kind.APP].refresh_within(ARRIVAL_SECONDS)

    def left(self, record: Record, used_at: datetime | None) -> None:
        """A kernel or terminal goes; its app remembers when it was last used, which may be now."""
        if isinstance(record, AppRecord):
            return
        self.residents.forget(record)
        for identity in homes_of(record, self.apps, self.listed):
            if identity in self.memories:
                for at in (record.last_activity, record.used_at) if used_at is None else (used_at,):
                    self.memories[identity].note(at)
        self.culler.wake_soon(Kind.APP)

    def going(self, record: Record | None) -> str | None:
        """The name of an app that is being deleted, if all that a record (None: everything) may live on is."""
        if record is None:
            homes = [] if self.apps.lists else list(self.listed)
        elif isinstance(record, AppRecord):
            homes = [record.identity]
        else:
            homes = list(homes_of(record, self.apps, self.listed))
        return self.listed[homes[0]].name if homes and all(map(self._is_going, homes)) else None

    def _is_going(self, identity: str) -> bool:
        """Whether it is being deleted, as far as anybody knows: one that is listed again may be another."""
        if identity not in self.listed:
            return False
        watch = self.culler.watches.get(Kind.APP)
        if self.listed[identity].state == "Deleting" or (watch is not None and watch.being_culled(identity)):
            return True
        asked_at = self.asked.get(identity)
        return asked_at is not None and (
            not self.apps.lists or self.refreshed_at is None or self.refreshed_at <= asked_at
        )

    def describe(self) -> dict[str, str]:
        """Which app manager there is, and why there is none."""
        return {"class": type(self.apps).__name__, "detail": str(getattr(self.apps, "reason", ""))}

    # -- what a list tells -----------------------------------------------------------------------------

    def _take(self, records: Iterable[AppRecord], asked_at: datetime) -> None:
        """Take over a list as it was at `asked_at`. What is remembered of an app goes when it is out of service."""
        now = self.culler.now()
        self.refreshed_at = min(asked_at, now)
        self.listed = {record.identity: record for record in records}
        running = {identity: record for identity, record in self.listed.items() if record.state == IN_SERVICE}
        for identity in self.memories.keys() - running.keys():
            del self.memories[identity]
            self.culler.keep.take_back(Kind.APP, identity)
        for identity, record in running.items():
            created, known = utc(record.created_at, "created_at"), self.memories.get(identity)
            if known is None or (created is not None and known.listed is not None and created > known.listed):
                self.memories[identity] = Memory(now, created)
                self.culler.tally.returned(identity, now)
                if known is not None:
                    self.asked.pop(identity, None)  # what was deleted is another of the same name
        for identity in self.failed & running.keys():
            self.failed.discard(identity)
            self.culler.troubles.over(f"app {identity}")
        for identity in self.lingering - running.keys():
            self.lingering.discard(identity)
            self.culler.troubles.over(f"deletion of app {identity}")
        self.asked = {identity: min(since, now) for identity, since in self.asked.items()}
        for identity, since in list(self.asked.items()):
            self._see_what_became_of(identity, since, now)

    def _see_what_became_of(self, identity: str, since: datetime, now: datetime) -> None:
        """An app whose deletion was accepted is gone, going, failed, or still there after all."""
        record = self.listed.get(identity)
        if record is None or record.state != IN_SERVICE:
            del self.asked[identity]
            if record is not None and record.state == "Failed":
                self.failed.add(identity)
                self.culler.trouble(f"app {identity}", f"app {record.name} is in status Failed since its deletion")
        elif now - since > timedelta(seconds=self.apps.patience):
            del self.asked[identity]
            self.lingering.add(identity)
            if self.apps.lists:  # perhaps it is another of the same name by now
                known = self.memories[identity]
                self.memories[identity] = Memory(since, known.listed, known.last_activity)
            self.culler.tally.returned(identity, since)
            minutes = self.apps.patience / 60
            self.culler.trouble(
                f"deletion of app {identity}",
                f"app {record.name} is still in service {minutes:g} minutes after its deletion was accepted, or said "
                f"to be done already: it is asked for again {'a timeout later' if self.apps.lists else 'now'}",
            )
