"""Apps as records: what an app manager lists, joined with the kernels and terminals that live on it.

Facts about apps are fetched twice per idle timeout and when one looks due. That is enough: whatever became idle unseen
in between is due a whole timeout after its last activity, so it is seen in time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from ..concurrency import SingleFlight
from ..decisions import IN_SERVICE
from ..engine.ports import Roots
from ..errors import ErrorCode, GoneError, ReadError
from ..policy import CullingPolicy
from ..records import AppRecord, KernelRecord, Kind, Record, TerminalRecord
from .accounts import Accounts, open_accounts
from .base import AppManager
from .census import Census
from .deletion import Deletions
from .ledger import FRESH_SECONDS, Ledger
from .ports import Engine
from .residents import Residents, homes_of

#: How soon apps are listed again (seconds) when a kernel was started on one that is not known.
ARRIVAL_SECONDS = 15.0
#: How soon (seconds) an app is looked at again that looked due and was not in service.
NOT_READY_SECONDS = 600.0
#: How long an app manager may take for one answer (seconds); SageMaker's have limits below that.
LIMIT_SECONDS = 300.0

Answer = TypeVar("Answer")


@dataclass(slots=True, eq=False, repr=False)
class AppSource:
    """The apps of one app manager as a `Source`, and as the `Neighbours` of kernels and terminals."""

    apps: AppManager
    engine: Engine
    kind: Kind = Kind.APP
    stop_can_be_cancelled: bool = True
    ledger: Ledger = field(default_factory=Ledger)
    residents: Residents = field(init=False)
    accounts: Accounts = field(init=False)
    deletions: Deletions = field(init=False)
    _known: Census | None = None
    _fetching: SingleFlight = field(default_factory=lambda: SingleFlight(ends_with_starter=True))

    def __post_init__(self) -> None:
        self.residents = Residents(self.engine, self.left)
        self._open_accounts()

    def _open_accounts(self) -> None:
        """Accounts and deletions of the apps of this app manager."""
        self.accounts = open_accounts(
            self.engine, self.apps, lambda one: self._census(self.engine.now()).residents(one)
        )
        self.deletions = Deletions(self.engine, self.ledger, self.accounts)

    # -- what the engine asks of a source ------------------------------------------------------------

    def settings(self) -> Mapping[str, Any]:
        """The instance type of everything here, where that is one and known; else it follows the kernels' policy."""
        return {} if self.apps.lists else {"instance_type": self.ledger.one_type}

    def apply(self, changes: Mapping[str, Any]) -> None:
        """Nothing to take over."""

    def glance(self, policy: CullingPolicy) -> Iterable[tuple[str, datetime | None, float | None]]:
        """Every app; whether it is due takes more than a glance. A look begins, with a census of its own."""
        self._known = None
        return [(identity, None, None) for identity in self.ledger.listed]

    def exists(self, identity: str) -> bool:
        """Whether it is listed."""
        return identity in self.ledger.listed

    def catch_up(self, identity: str) -> None:
        """Count what is on its way to a kernel of the app; the last look comes, with a census of its own."""
        for record, _ in self._census(self.engine.now()).residents(identity):
            self.residents.catch_up(record)
        self._known = None

    def _census(self, now: datetime) -> Census:
        """Who lives where, judged once for all who look at about the same time."""
        if self._known is None or not self._known.stands(now):
            self._known = self.residents.census(self.apps, self.ledger.listed, now)
        return self._known

    def fingerprint(self, identity: str) -> Hashable:
        """None: an app is read each time. KeyError when it is gone."""
        self.ledger.listed[identity]
        return None

    def read(self, identity: str, now: datetime) -> AppRecord:
        """Read one app with all that lives on it. KeyError when it is gone."""
        record, memory = self.ledger.listed[identity], self.ledger.memories.get(identity)
        if memory is None:
            return record
        living = self._census(now).of(identity)
        memory.note(living.last_use)
        memory.clamp(now)
        return record._replace(
            state=self.ledger.state(identity),
            created_at=memory.created_at,
            watched_since=memory.watched_since,
            last_activity=memory.last_activity,
            kept_by=living.kept_by(["a kernel that is being started"] * bool(self.engine.starts)),
            residents_until=living.until,
            residents_renew=living.renews,
            residents_kept_until=living.kept_until,
            protected=self.apps.is_protected(record.name),
        )

    def unreadable(self, identity: str, error: str) -> AppRecord:
        """The record of an app whose reading failed."""
        return AppRecord(identity=identity, name=identity, state=None, error=error)

    def stale_after(self, policy: CullingPolicy) -> float | None:
        """Half a timeout; sooner at the start, and after a deletion was accepted."""
        half = policy.shortest_idle_timeout / 2
        return self.deletions.poll_after(half) if half else None

    def roots(self, identity: str) -> Roots:
        """All processes here, where the one app is what this server runs on."""
        return Roots(here=not self.apps.lists)

    async def refresh(self) -> None:
        """Fetch the list of apps, and of the kernels on them that are not ours.

        Raises
        ------
        CullingError
            When either cannot be had.
        """
        await self._fetching.run("apps", self._fetch, fresh=FRESH_SECONDS)

    async def confirm(self, record: AppRecord) -> None:
        """Cull what lives on it and is due, wait for that, and get a fresh look at the app itself."""
        identity = record.identity
        living = self._census(self.engine.now()).residents(identity)
        await asyncio.gather(*(self.residents.cull_if_due(each) for each, decision in living if decision.cull))
        if not self.ledger.is_fresh(self.engine.now()):
            await self.refresh()
        living = self._census(self.engine.now()).residents(identity)
        await self.residents.ask_silent(each for each, decision in living if decision.cull)
        try:
            fresh = await _in_time(self.apps, self.apps.look_again(self.ledger.listed[identity]))
        except (GoneError, KeyError):
            self.ledger.drop(identity)
            return
        self.ledger.replace(fresh)
        if fresh.state != IN_SERVICE:
            self.engine.watches[Kind.APP].refresh_within(NOT_READY_SECONDS)

    async def stop(self, record: AppRecord) -> None:
        """Have it deleted. KeyError when it is gone, or going, already."""
        await self.deletions.ask(record, self.apps)

    async def _fetch(self) -> None:
        if self.apps.again is not None:
            self._look_for_apps(self.apps.again())
        asked_at = self.engine.now()
        records = await _in_time(self.apps, self.apps.list_apps())
        if self.apps.shares_kernels:
            # after the list, which may take its time: what is at work must be today's
            await self.residents.meet_strangers(type(self.apps).__name__)
        now = self.engine.now()
        ended, begun = self.ledger.take(records, asked_at, now)
        self._known = None
        self.engine.update_policy()  # its type may be known by now
        for identity in ended:
            self.engine.keep.take_back(Kind.APP, identity)
        for identity in begun:
            self.engine.tally.returned(identity, now)
            self.accounts.started(self.ledger.listed[identity])
        self.deletions.follow(self.apps, now)
        await self.accounts.flush()

    def _look_for_apps(self, apps: AppManager) -> None:
        """What could not be told at the start may be by now: which apps there are to manage."""
        self.apps = apps
        if apps.again is not None:
            raise ReadError(f"{apps.reason}; until it can be read no app is deleted")
        self.engine.log.info("Culling: apps are managed by %s", type(apps).__name__)
        self._open_accounts()
        for kind, watch in self.engine.watches.items():
            if kind is not Kind.APP:
                watch.forget_decisions()  # where terminals run is known only now

    def place(self, terminal: TerminalRecord) -> TerminalRecord:
        """Say where a terminal runs."""
        return self.apps.place(terminal)

    def arrived(self, record: Record) -> None:
        """A kernel was started, perhaps on an app that is not known yet."""
        self._known = None
        if not self.apps.lists or not isinstance(record, KernelRecord):
            return
        if not self.apps.knows_home_of(record, self.ledger.listed):
            self.engine.watches[Kind.APP].refresh_within(ARRIVAL_SECONDS)

    def left(self, record: Record, used_at: datetime | None) -> None:
        """A kernel or terminal goes; its app remembers when it was last used, which may be now."""
        if isinstance(record, AppRecord):
            return
        self._known = None
        self.residents.forget(record)
        for identity in homes_of(record, self.apps, self.ledger.listed):
            for at in (record.last_activity, record.used_at) if used_at is None else (used_at,):
                self.ledger.note(identity, at)
        self.engine.wake_soon(Kind.APP)

    def going(self, record: Record | None) -> str | None:
        """The name of an app that is being deleted, if all that a record (None: everything) may live on is."""
        listed = self.ledger.listed
        if record is None:
            homes = [] if self.apps.lists else list(listed)
        elif isinstance(record, AppRecord):
            homes = [record.identity]
        else:
            homes = list(homes_of(record, self.apps, listed))
        are_going = homes and all(self.deletions.is_going(identity, self.apps) for identity in homes)
        return listed[homes[0]].name if are_going else None

    def describe(self) -> dict[str, str]:
        """Which app manager there is, and why there is none."""
        return {"class": type(self.apps).__name__, "detail": self.apps.reason}

    def times(self) -> Mapping[str, Any]:
        """Why apps were kept since the last heartbeat, for how long, and which run this is."""
        return self.accounts.tell_times()


async def _in_time(apps: AppManager, asking: Awaitable[Answer]) -> Answer:
    """Wait for an app manager, which should have time limits of its own, but not for ever."""
    try:
        return await asyncio.wait_for(asking, LIMIT_SECONDS)
    except asyncio.TimeoutError:
        words = f"{type(apps).__name__} did not answer within {LIMIT_SECONDS:g} s"
        raise ReadError(words, code=ErrorCode.NO_ANSWER) from None
