"""Small stand-ins for time and for failure; everything else in the tests is real."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

from traitlets import Any as AnyTrait
from traitlets import Dict, List

from culling_manager.apps import AppManager
from culling_manager.concurrency import THREAD_NAME
from culling_manager.engine.culler import IdleCuller
from culling_manager.engine.ports import KEPT, Roots
from culling_manager.errors import ReadError
from culling_manager.policy import CullingPolicy
from culling_manager.records import AppRecord, KernelRecord, Kind, TerminalRecord
from culling_manager.rules.own_timeout import own_seconds

NOON = datetime(2026, 6, 1, 12, tzinfo=timezone.utc)


class FakeClock:
    """A clock that moves only when a test moves it, with timers that fire on the way."""

    def __init__(self, wall: datetime = NOON) -> None:
        self.wall = wall
        self.mono = 1000.0
        self.timers: list[FakeTimer] = []

    def now(self) -> datetime:
        return self.wall

    def monotonic(self) -> float:
        return self.mono

    def jump(self, seconds: float) -> None:
        """Somebody sets the wall clock."""
        self.wall += timedelta(seconds=seconds)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> FakeTimer:
        timer = FakeTimer(self.mono + max(seconds, 1e-6), callback)
        self.timers.append(timer)
        return timer

    async def sleep(self, seconds: float) -> None:
        done = asyncio.get_running_loop().create_future()
        self.call_later(seconds, lambda: done.done() or done.set_result(None))
        await done

    async def run_for(self, seconds: float) -> None:
        """Let time go by: each timer fires at its time, and what it starts runs before the next one fires."""
        end = self.mono + seconds
        await settle()
        while True:
            self.timers = [timer for timer in self.timers if not timer.cancelled]
            timer = min(self.timers, key=lambda each: each.at, default=None)
            if timer is None or timer.at > end:
                break
            self.timers.remove(timer)
            self._move_to(max(timer.at, self.mono))
            timer.callback()
            await settle()
        self._move_to(end)

    def stand_still(self, seconds: float) -> None:
        """The event loop is blocked: time goes by and no timer fires."""
        self._move_to(self.mono + seconds)

    def _move_to(self, mono: float) -> None:
        self.wall += timedelta(seconds=mono - self.mono)
        self.mono = mono


@dataclass
class FakeTimer:
    """One call that is to come."""

    at: float
    callback: Callable[[], None]
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True


async def settle() -> None:
    """Let every task run until it waits for time to go by, also one that waits for a call in a thread."""
    while True:
        calling = any(thread.name == THREAD_NAME for thread in threading.enumerate())
        await _idle()
        if not calling and not any(thread.name == THREAD_NAME for thread in threading.enumerate()):
            return
        await asyncio.sleep(0.001)


async def _idle(most: int = 10_000) -> None:
    """Run the event loop until nothing is ready to run, however many steps that takes."""
    loop = asyncio.get_running_loop()
    for _ in range(most):
        await asyncio.sleep(0)
        if not loop._ready:  # type: ignore[attr-defined]
            return
    raise AssertionError(f"the event loop is still busy after {most} rounds")


@dataclass
class FakeKernels:
    """A source of kernel records that a test edits; it notes what was stopped, and fails or hangs on request."""

    records: dict[str, KernelRecord] = field(default_factory=dict)
    own_settings: dict[str, Any] = field(default_factory=dict)
    stopped: list[str] = field(default_factory=list)
    looks: int = 0
    refreshes: int = 0
    failing: set[str] = field(default_factory=set)
    kept_by_manager: set[str] = field(default_factory=set)
    hanging: dict[str, asyncio.Event] = field(default_factory=dict)
    refresh_error: Exception | None = None
    unreadable_ids: set[str] = field(default_factory=set)
    strange_ids: set[str] = field(default_factory=set)
    before_confirm: Any = None
    before_last_look: Any = None
    stale: float | None = None
    own_roots: dict[str, Roots] = field(default_factory=dict)
    stop_can_be_cancelled: bool = False
    kind: Kind = Kind.KERNEL

    def put(self, identity: str, **changes: Any) -> None:
        """Add a kernel or change one."""
        known = self.records.get(identity)
        if known is None:
            known = KernelRecord(identity=identity, name="python3", state="idle", last_activity=NOON)
        self.records[identity] = known._replace(**changes)

    def settings(self) -> Mapping[str, Any]:
        return {"cull_interval": 10.0, **self.own_settings}

    def apply(self, changes: Mapping[str, Any]) -> None:
        self.own_settings.update(changes)

    def glance(self, policy: CullingPolicy) -> Iterable[tuple[str, datetime | None, float | None]]:
        self.looks += 1
        for identity, record in list(self.records.items()):
            simple = record.kept_until is None and record.error is None and record.odd_timeout is None and record.alive
            simple = simple and identity not in self.unreadable_ids
            busy = record.state == "busy" and policy.busy_timeout == 0 and not policy.cull_busy
            held = record.state in ("idle", "starting") and record.connections > 0 and not policy.cull_connected
            if not simple or not (busy or record.state in ("idle", "starting")):
                last = None
            else:
                last = KEPT if busy or held else record.last_activity
            own = None if record.idle_timeout is None else own_seconds(record.idle_timeout, policy)
            yield identity, None if own is not None and own <= 0 else last, own

    def roots(self, identity: str) -> Roots:
        return self.own_roots.get(identity, Roots())

    def catch_up(self, identity: str) -> None:
        if self.before_last_look is not None:
            self.before_last_look(identity)

    def exists(self, identity: str) -> bool:
        return identity in self.records

    def fingerprint(self, identity: str) -> Hashable:
        if identity in self.strange_ids:
            raise OSError("no such attribute")
        return self.records[identity]

    def read(self, identity: str, now: datetime) -> KernelRecord:
        if identity in self.unreadable_ids:
            raise OSError("no such socket")
        return self.records[identity]

    def unreadable(self, identity: str, error: str) -> KernelRecord:
        return KernelRecord(identity=identity, state=None, last_activity=None, error=error)

    def stale_after(self, policy: CullingPolicy) -> float | None:
        return self.stale

    async def refresh(self) -> None:
        self.refreshes += 1
        if self.refresh_error is not None:
            raise self.refresh_error

    async def confirm(self, record: KernelRecord) -> None:
        if self.before_confirm is not None:
            self.before_confirm(record)

    async def stop(self, record: KernelRecord) -> str | None:
        identity = record.identity
        if identity in self.hanging:
            await self.hanging[identity].wait()
        if identity in self.kept_by_manager:
            return "its manager keeps it"
        if identity in self.failing:
            raise RuntimeError("it refuses to stop")
        self.stopped.append(identity)
        del self.records[identity]
        return None


@dataclass
class HomedKernels(FakeKernels):
    """Kernels that live on apps: the culler hears of those that come and go, as from our managers."""

    culler: IdleCuller | None = None
    others: dict[str, KernelRecord] = field(default_factory=dict)
    others_error: Exception | None = None

    def start(self, identity: str, **changes: Any) -> None:
        self.put(identity, **changes)
        assert self.culler is not None
        self.culler.arrived(self.kind, identity)

    def end(self, identity: str) -> None:
        """Its user shuts it down."""
        assert self.culler is not None
        self.culler.leaving(self.kind, identity)
        del self.records[identity]

    async def stop(self, record: KernelRecord) -> None:
        if record.identity not in self.failing and self.culler is not None:
            self.culler.leaving(self.kind, record.identity)
        await super().stop(record)

    async def strangers(self) -> list[KernelRecord]:
        """Kernels on the gateway that are not ours."""
        if self.others_error is not None:
            raise ReadError(str(self.others_error))
        return [record._replace(owned=False) for record in self.others.values()]

    async def is_at_work(self, identity: str) -> bool:
        """None of them works without showing it."""
        return False


@dataclass
class FakeTerminals(HomedKernels):
    """A source of terminal records."""

    kind: Kind = Kind.TERMINAL

    def put(self, identity: str, **changes: Any) -> None:
        """Add a terminal or change one."""
        known: Any = self.records.get(identity) or TerminalRecord(identity=identity, last_activity=NOON)
        self.records[identity] = known._replace(**changes)

    def glance(self, policy: CullingPolicy) -> Iterable[tuple[str, datetime | None, float | None]]:
        return [(identity, None, None) for identity in list(self.records)]

    def read(self, identity: str, now: datetime) -> Any:
        record: Any = self.records[identity]
        return record if self.culler is None else self.culler.place(record)


class FakeApps(AppManager):
    """Apps in memory; it notes what was deleted, and fails on request."""

    lists = True
    shares_kernels = True
    apps = Dict()
    deleted = List()
    calls = List()
    list_error = AnyTrait(None)
    delete_error = AnyTrait(None)
    before_delete = AnyTrait(None)

    def put(self, name: str, **changes: Any) -> None:
        """Add an app or change one."""
        known = self.apps.get(name) or AppRecord(
            identity=name, name=name, app_type="Fake", state="InService", created_at=NOON
        )
        self.apps[name] = known._replace(**changes)

    async def list_apps(self) -> list[AppRecord]:
        self.calls.append("list")
        if self.list_error is not None:
            raise self.list_error
        return list(self.apps.values())

    async def delete_app(self, app: AppRecord) -> None:
        self.calls.append("delete")
        if self.delete_error is not None:
            raise self.delete_error
        if self.before_delete is not None:
            self.before_delete(app)
        self.deleted.append(app.identity)
        self.put(app.identity, state="Deleting")

    def apps_of_kernel(self, kernel: KernelRecord, apps: Mapping[str, AppRecord]) -> list[str]:
        return [kernel.app_name] if kernel.app_name else list(apps)

    def apps_of_terminal(self, terminal: TerminalRecord, apps: Mapping[str, AppRecord]) -> list[str]:
        return [name for name in apps if terminal.identity.startswith(name)]
