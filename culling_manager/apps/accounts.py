"""What is told of apps that money is counted from: lines in the log and the user's ledger, times for the heartbeat."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from jupyter_core.paths import jupyter_config_dir

from .._version import __version__
from ..concurrency import in_thread
from ..decisions import Decision, Reason, decide_app, keeps_app
from ..errors import ReadError, printable
from ..money.last_stop import LastStop
from ..money.ledger import Ledger
from ..money.lines import AppLine, app_line
from ..money.times import IN_USE, MOST_GAPS, Times, free
from ..records import AppRecord, Happening, Kind
from .base import AppManager
from .census import Resident
from .none import NoApps
from .ports import Engine
from .process import JupyterServerProcess
from .run import container_run, digest, process_run

#: How often (seconds) it is looked why apps are kept, at most; a look takes no more than one part in so many.
LOOK_SECONDS = 60.0
SHARE = 10_000.0
#: What trouble with the ledger is noted under.
LEDGER = "ledger of savings"


@dataclass(slots=True, eq=False, repr=False)
class Accounts:
    """Keeps the accounts of one source of apps. `residents` gives who lives on an app, and what is decided on each.

    `own` says that the one app is what this server runs on, `process` that it is this process. A ledger that fails is
    reported, and stops nothing.
    """

    engine: Engine
    residents: Callable[[str], Iterable[tuple[Resident, Decision]]]
    savings: Ledger | None = None
    last_stop: LastStop | None = None
    own: bool = True
    process: bool = False
    times: dict[str, Times] = field(default_factory=dict)
    _runs: dict[str, str] = field(default_factory=dict)
    _ended: dict[str, int] = field(default_factory=dict)
    _pending: list[AppLine] = field(default_factory=list)
    _look_at: float = 0.0
    _told_at: float = 0.0

    def __post_init__(self) -> None:
        self._told_at = self.engine.clock.monotonic()

    # -- lines -------------------------------------------------------------------------------------

    @property
    def run(self) -> str:
        """The run of the app that this server is, or runs on."""
        return process_run() if self.process else container_run()

    def started(self, record: AppRecord) -> None:
        """An app is in service that was not, or that this server has not seen before."""
        identity = record.identity
        if self.own:
            self._runs[identity] = self.run
        else:
            created = record.created_at or container_run()
            self._runs[identity] = digest(identity, created, self._ended.get(identity, 0))
        self.times[identity] = Times(self.engine.clock.monotonic())
        self.tell("started", record)

    async def flush(self) -> None:
        """Have on the disk what was told since; a deletion waits for that."""
        lines, self._pending = self._pending, []
        ledger = self.savings
        if ledger is None or not lines:
            return
        try:
            await in_thread(lambda: _write(ledger, lines))
            self.engine.troubles.over(LEDGER)
        except ReadError as error:
            self.engine.trouble(LEDGER, str(error))

    def rehearsed(self, happening: Happening) -> None:
        """A dry run would have deleted it (a listener)."""
        if happening.action == "dry run" and isinstance(happening.record, AppRecord):
            now = self.engine.now()
            decision = decide_app(happening.record, self.engine.policy, now)
            self.tell("deleting", happening.record, decision, dry_run=True)

    def tell(self, event: str, record: AppRecord, decision: Decision | None = None, dry_run: bool = False) -> None:
        """A line about an app: into the log at once, and into the ledger with the next `flush`."""
        engine = self.engine
        if event == "accepted":
            self._ended[record.identity] = self._ended.get(record.identity, 0) + 1
        line = AppLine(
            event=event,
            at=engine.clock.now(),
            app_type=record.app_type or "unknown",
            app=record.name or "unknown",
            run=self._runs.get(record.identity) or self.run,
            instance_type=record.instance_type,
            reason=None if decision is None else decision.reason.value,
            idle_seconds=None if decision is None else decision.idle_seconds,
            idle_time=engine.policy.idle_timeout,
            dry_run=dry_run,
            version=__version__,
        )
        level = max(logging.INFO, engine.log.getEffectiveLevel())  # so that it is written whatever the log's level is
        engine.log.log(level, "%s", printable(app_line(line)))
        if not dry_run:
            self._pending.append(line)

    # -- times -------------------------------------------------------------------------------------

    def beat(self) -> None:
        """Once per heartbeat: look why apps are kept, if it is time for that."""
        if self.engine.clock.monotonic() >= self._look_at:
            self.look()

    def look(self) -> None:
        """Look why each app is kept, and when it was used last."""
        clock = self.engine.clock
        began, now = clock.monotonic(), self.engine.now()
        watch = self.engine.watches.get(Kind.APP)
        found = [] if watch is None else watch.current(now)
        for record, decision in found:
            times = self.times.get(record.identity)
            if times is not None:
                idle = decision.idle_seconds
                used = None if idle is None else now - timedelta(seconds=idle)
                times.look(now, clock.monotonic(), self._reason(record.identity, decision), used)
        here = {record.identity for record, _ in found}
        self.times = {identity: times for identity, times in self.times.items() if identity in here}
        ended = clock.monotonic()
        self._look_at = ended + max(LOOK_SECONDS, SHARE * (ended - began))

    def _reason(self, identity: str, decision: Decision) -> str:
        """Why it is kept; of one that is kept by what runs on it, why that is kept: what is at work comes first."""
        if decision.reason is not Reason.IN_USE:
            return str(decision.reason.value)
        keepers = {each.reason.value for _, each in self.residents(identity) if keeps_app(each)}
        found: str = min(keepers, key=lambda each: (each not in IN_USE, each), default=decision.reason.value)
        return found

    def tell_times(self) -> dict[str, Any]:
        """What the heartbeat tells of time since the last one; with several apps the times of all of them together."""
        self.look()
        since, self._told_at = self._told_at, self.engine.clock.monotonic()
        parts = [times.take() for times in self.times.values()]
        if not parts:
            return free(self.run, self._told_at - since)
        seconds: dict[str, float] = {}
        for part in parts:
            for reason, each in part["seconds"].items():
                seconds[reason] = round(seconds.get(reason, 0.0) + each, 1)
        return {
            "run": self.run,
            "span": round(sum(part["span"] for part in parts), 1),
            "seconds": seconds,
            "gaps": [gap for part in parts for gap in part["gaps"]][:MOST_GAPS],
            "last_use": max((part["last_use"] for part in parts if part["last_use"]), default=None),
        }


def _write(ledger: Ledger, lines: Iterable[AppLine]) -> None:
    for line in lines:
        ledger.write(line)


def open_accounts(
    engine: Engine, apps: AppManager, residents: Callable[[str], Iterable[tuple[Resident, Decision]]]
) -> Accounts:
    """The accounts of an app manager's apps; a ledger is kept where a server has any."""
    keeps = apps.server is not None and not isinstance(apps, NoApps)
    return Accounts(
        engine=engine,
        residents=residents,
        savings=Ledger(jupyter_config_dir()) if keeps else None,
        last_stop=LastStop(jupyter_config_dir()) if keeps and not apps.lists else None,
        own=not apps.lists,
        process=isinstance(apps, JupyterServerProcess),
    )
