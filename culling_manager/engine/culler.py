"""The idle culler: the loop, and the one place where policy, clock and sources meet.

It wakes when the next deadline has passed, at the latest every `cull_interval` seconds. A wake-up at which nothing can
be due compares a few numbers and goes back to sleep. Timers are plain event loop timers, so that a server which stops
leaves no task behind.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Protocol

from .._version import __version__
from ..decisions import Decision, Reason
from ..errors import SettingError, StopError, Troubles, printable
from ..policy import CullingPolicy
from ..records import AppRecord, Happening, KeepAlive, Kind, Outcome, Record, Result, TerminalRecord, Use
from ..report import culling_line, heartbeat_line, policy_line
from .attention import NEVER
from .clock import Clock, JumpGuard, SystemClock, Timer
from .ports import Roots, Source
from .requests import KeepAlives
from .tally import Tally
from .watch import Watch

#: A wake-up later than planned by more than this (seconds) means that the event loop stood still, and with it the
#: messages that would have told of work; then they get `HOLD_SECONDS` to be read.
STALL_SECONDS = 2.0
HOLD_SECONDS = 1.0
#: How often (seconds) a line in the log shows to a fleet check that the culler runs.
TELL_SECONDS = 3600.0
#: How long (seconds) what was cancelled may take to end before the server's own end goes on without it.
CANCEL_SECONDS = 5.0
#: A deadline has to be strictly in the past, so wake this much after it (seconds).
JUST_AFTER = 0.0005


class Neighbours(Protocol):
    """Who wants to know of kernels and terminals that come and go, because they live on something."""

    def place(self, terminal: TerminalRecord) -> TerminalRecord:
        """Say where a terminal runs: whether that is billed, and whether it goes with it."""

    def arrived(self, record: Record) -> None:
        """A kernel was started."""

    def left(self, record: Record, used_at: datetime | None) -> None:
        """A kernel or terminal goes; None means that it was culled for being idle, else it was in use until then."""

    def going(self, record: Record | None) -> str | None:
        """The name of what is being deleted, if the record (None: everything) lives on that; then it cannot be kept."""

    def describe(self) -> dict[str, str]:
        """Who that is, and more words."""


class Guard(Protocol):
    """What is asked before something is culled for being idle."""

    @property
    def lead_seconds(self) -> float:
        """How long before a deadline the activity signals are asked, so that it is met all the same."""

    async def ask(self, record: Record, roots: Roots) -> Use:
        """What activity signals say of it. Raises nothing: a check that fails counts as use, and is reported."""

    async def before_culling(self, record: Record, decision: Decision) -> datetime | None:
        """Run the hook; gives until when it wants the item kept. Raises CullingError when it failed and that keeps."""


class IdleCuller:
    """Culls what is idle, exactly at its deadline.

    One culler serves a whole server: `of` gives the one that a server's managers share, in whatever order they come.
    """

    def __init__(
        self, log: logging.Logger | logging.LoggerAdapter[Any] | None = None, clock: Clock | None = None
    ) -> None:
        self.log = log or logging.getLogger(__name__)
        self.clock: Clock = clock or SystemClock()
        self.policy = CullingPolicy()
        self.troubles = Troubles()
        self.outcomes: deque[Outcome] = deque(maxlen=50)
        self.count = 0
        self.jumped_at: datetime | None = None
        self.watches: dict[Kind, Watch] = {}
        self.neighbours: Neighbours | None = None
        self.starts = 0
        self.guard: Guard | None = None
        self.keep = KeepAlives()
        self.tally = Tally()
        self.listeners: list[Callable[[Happening], None]] = [self.tally.told]
        self.beats: list[Callable[[], None]] = []
        self._guard = JumpGuard()
        self._timer: Timer | None = None
        self._timer_at = NEVER
        self._timer_mono = 0.0
        self._held = False
        self._tell_at = 0.0
        self._paused = 0
        self._was_running = False
        self._wanted: dict[str, Any] = {}
        self._configured: dict[str, Any] = {}

    @classmethod
    def of(cls, server: Any, log: Any = None) -> IdleCuller:
        """Give the culler that belongs to `server` (a ServerApp); a new one of nobody's when `server` is None."""
        if server is None:
            return cls(log)
        culler = getattr(server, "_idle_culler", None)
        if culler is None:
            culler = server._idle_culler = cls(log)
        found: IdleCuller = culler
        return found

    # -- what it watches, and by which policy --------------------------------------------------

    def attach(self, source: Source) -> None:
        """Watch `source` from now on, under the policy that its settings are part of.

        Raises
        ------
        SettingError
            When its settings are not accepted; then nothing is attached.
        """
        known = self.watches.get(source.kind)
        self.watches[source.kind] = Watch(source, self)
        try:
            self.update_policy()
        except SettingError:
            del self.watches[source.kind]
            if known is not None:
                self.watches[source.kind] = known
            raise

    def update_policy(self) -> None:
        """Build the policy anew from every source's settings; a change takes effect at once."""
        settings = dict(self._wanted)
        intervals = []
        for watch in self.watches.values():
            found = dict(watch.source.settings())
            intervals += [found.pop("cull_interval")] if "cull_interval" in found else []
            settings.update(found)
        policy = CullingPolicy(cull_interval=min(intervals, default=10.0), **settings)
        if policy != self.policy:
            self.policy = policy
            self._decide_anew()

    def change_settings(self, *, idle_timeout: float | None = None, keep_terminals: bool | None = None) -> None:
        """Change settings at run time (`idle_timeout` in seconds); None leaves one alone. Bounds are the caller's.

        Raises
        ------
        SettingError
            When a value is not accepted; then nothing is changed.
        """
        changes: dict[str, Any] = {"idle_timeout": idle_timeout, "keep_terminals": keep_terminals}
        wanted = {**self._wanted, **{name: value for name, value in changes.items() if value is not None}}
        CullingPolicy(**wanted)
        for name in wanted:
            self._configured.setdefault(name, getattr(self.policy, name))
        self._wanted = wanted
        self._apply(wanted)

    def reset_settings(self) -> None:
        """Go back to the settings that were configured."""
        configured, self._configured, self._wanted = self._configured, {}, {}
        self._apply(configured)

    def configured(self, name: str) -> Any:
        """A setting as it was before it was changed at run time."""
        return self._configured.get(name, getattr(self.policy, name))

    def _apply(self, changes: dict[str, Any]) -> None:
        for watch in self.watches.values():
            watch.source.apply(changes)
        self.update_policy()

    def keep_alive(self, kind: Kind | None, identity: str | None, until: datetime, asked_by: str) -> KeepAlive:
        """Keep something until an instant; `kind` None is everything. What there was asked for it before is replaced.

        Raises
        ------
        KeyError
            When there is no such thing.
        StopError
            When it is too late: it is being shut down, or what it lives on is being deleted.
        """
        if kind is not None and (kind not in self.watches or not self.watches[kind].source.exists(str(identity))):
            raise KeyError(identity)
        if kind is not None and self.watches[kind].being_culled(str(identity)) is not None:
            raise StopError(f"{kind.value} {identity} is being shut down just now")
        going = self._going(kind, identity)
        if going is not None:
            raise StopError(f"it is too late, for app {going} is being deleted")
        return self.keep_for(kind, identity, until, asked_by)

    def keep_for(self, kind: Kind | None, identity: str | None, until: datetime, asked_by: str) -> KeepAlive:
        """Keep something as `keep_alive` does, of which the caller knows that it is there."""
        request = KeepAlive(kind=kind, identity=identity, until=until, asked_at=self.clock.now(), asked_by=asked_by)
        self.keep.put(request)
        self._requests_changed(kind, identity)
        return request

    def _going(self, kind: Kind | None, identity: str | None) -> str | None:
        """The name of an app that is being deleted, if that is what something (`kind` None: everything) lives on."""
        if self.neighbours is None:
            return None
        record = None if kind is None else self.watches[kind].record_of(str(identity), self.now())
        return self.neighbours.going(record)

    def end_keep_alive(self, kind: Kind | None, identity: str | None) -> KeepAlive | None:
        """Take a request back, and give it; None when there was none."""
        found = self.keep.take_back(kind, identity)
        if found is not None:
            self._requests_changed(kind, identity)
        return found

    def _requests_changed(self, kind: Kind | None, identity: str | None) -> None:
        for watch in self.watches.values():
            if kind is None or watch.source.kind is kind:
                watch.forget_reading(identity)
        self.wake_soon()

    def _decide_anew(self) -> None:
        for watch in self.watches.values():
            watch.forget_decisions()
        self.wake_soon()

    # -- running -------------------------------------------------------------------------------

    @property
    def running(self) -> bool:
        """Whether it wakes up by itself."""
        return self._timer is not None

    @property
    def next_wake_up(self) -> datetime | None:
        """When it wakes up next, or None when it is not running."""
        return self._timer_at if self.running else None

    def start(self) -> None:
        """Start waking up; needs a running event loop. A second start changes nothing."""
        if self._paused:
            self._was_running = True
        elif self._timer is None:
            self.count = 0
            self._tell_at = 0.0
            self.log.info("Culling: %s", policy_line(self.policy, self.watches))
            self._wake()

    def stop(self) -> None:
        """Stop waking up; what is being shut down goes on."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer, self._timer_at = None, NEVER

    async def pause(self) -> None:
        """Stop, and wait for the shutdowns that have begun; what was only decided is dropped.

        The deletion of an app is not waited for: it ends this server by itself, or its answer may take a minute.
        """
        self._paused += 1
        self._was_running = self._was_running or self.running
        self.stop()
        items = [item for watch in self.watches.values() for item in watch.items.values() if item.task]
        items = [item for item in items if not (item.stopping and isinstance(item.record, AppRecord))]
        looks: list[asyncio.Task[Any]] = [watch.looking for watch in self.watches.values() if watch.looking]
        looks += [item.asking for watch in self.watches.values() for item in watch.items.values() if item.asking]
        for task in [*looks, *(item.task for item in items if not item.stopping)]:
            if task is not None:
                task.cancel()
        ending = [*looks, *(item.task for item in items if item.task and not item.stopping)]
        if ending:
            await asyncio.wait(ending, timeout=CANCEL_SECONDS)
        stopping = [item.task for item in items if item.task and item.stopping]
        if stopping:
            await asyncio.wait(stopping)

    @asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        """Nothing is culled within; afterwards it goes on, also when the waiting was cancelled."""
        try:
            await self.pause()
            yield
        finally:
            self.resume()

    def resume(self) -> None:
        """End one `pause`; it goes on as before, or as was asked for meanwhile."""
        self._paused -= 1
        if not self._paused and self._was_running:
            self._was_running = False
            self._arm()

    def wake_soon(self, kind: Kind | None = None) -> None:
        """Something may be due that was not (a disconnect, a setting, a new kernel): look now."""
        for watch in self.watches.values():
            if kind is None or watch.source.kind is kind:
                watch.look_soon()
        self.arm_again()

    def now(self) -> datetime:
        """The time, after a look at whether the clock jumped."""
        wall = self.clock.now()
        jump = self._guard.check(wall, self.clock.monotonic())
        if jump:
            self.jumped_at = wall
            self.log.warning(
                "The clock jumped by %+.1f s against monotonic time: every deadline is moved so that "
                "at least five minutes (or the timeout, if that is shorter) are left.",
                jump,
            )
            if jump < 0:
                self.keep.shift(jump)
            for watch in self.watches.values():
                watch.forget_decisions()
        return wall

    def heartbeat(self) -> bool:
        """One wake-up: count it, and tell whether anything can be due. O(1), no I/O but an hourly line in the log."""
        self.count += 1
        now = self.now()
        if self.clock.monotonic() >= self._tell_at:
            self._tell_at = self.clock.monotonic() + TELL_SECONDS
            self.tell_heartbeat()
        return any(now > watch.next_look and watch.looking is None for watch in self.watches.values())

    def _wake(self) -> None:
        self._timer = None
        late = self.clock.monotonic() - self._timer_mono
        if late > STALL_SECONDS and self.count and not self._held:
            self._held = True
            self.count += 1
            self.log.warning(
                "The event loop stood still for %.1f s: messages that wait are read before anything is culled.", late
            )
            self._arm(HOLD_SECONDS)
            return
        self._held = False
        self._beat()
        if self.heartbeat():
            now = self.clock.now()
            for watch in self.watches.values():
                if now > watch.next_look and watch.looking is None:
                    watch.looking = asyncio.get_running_loop().create_task(self._look(watch))
        self._arm(self._until_next(self.policy.cull_interval / (2 if self.count == 1 else 1)))

    def _beat(self) -> None:
        """What is done once per wake-up; one that fails is reported and stops nothing."""
        for beat in [*self.beats, *(watch.visit for watch in self.watches.values())]:
            try:
                beat()
            except Exception as error:
                self.log.exception("Culling: something failed at a heartbeat")
                self.trouble("heartbeat", f"something failed at a heartbeat: {error!r}", told=True)

    async def _look(self, watch: Watch) -> list[asyncio.Task[Outcome]]:
        began = self.clock.monotonic()
        try:
            tasks = await watch.look()
            self.tally.passed(watch.source.kind, self.clock.monotonic() - began)
            self.troubles.over("culler")
            return tasks
        except Exception as error:
            self.log.exception(
                "Culling: a pass over the %ss failed; the next one is in a minute", watch.source.kind.value
            )
            self.trouble("culler", f"a pass over the {watch.source.kind.value}s failed: {error!r}", told=True)
            watch.next_look = self.clock.now() + timedelta(minutes=1)
            return []
        finally:
            watch.looking = None
            self.arm_again()

    def _until_next(self, longest: float) -> float:
        """Seconds until the next deadline has passed or a visit is due, at most `longest`."""
        now = self.clock.now()
        visits = (watch.until_visit() for watch in self.watches.values())
        longest = min([longest, *(max(0.0, seconds) + JUST_AFTER for seconds in visits)])
        nearest = min((watch.next_look for watch in self.watches.values() if watch.looking is None), default=NEVER)
        if nearest is NEVER:
            return longest
        ahead = 0.0 if nearest <= now else (nearest - now).total_seconds()
        return min(longest, ahead + JUST_AFTER)

    def _arm(self, seconds: float | None = None) -> None:
        seconds = self._until_next(self.policy.cull_interval) if seconds is None else seconds
        self._timer = self.clock.call_later(seconds, partial(_call, weakref.WeakMethod(self._wake)))
        self._timer_at = self.clock.now() + timedelta(seconds=seconds)
        self._timer_mono = self.clock.monotonic() + seconds

    def arm_again(self) -> None:
        """The next look may have come nearer: sleep no longer than until then."""
        if self._timer is None or self._held:
            return
        nearest = min((w.next_look for w in self.watches.values() if w.looking is None), default=NEVER)
        if nearest < self._timer_at:
            self._timer.cancel()
            self._arm()

    async def run_pass(self) -> list[Outcome]:
        """One whole pass over everything that is watched, up to and including the shutdowns; gives their outcomes."""
        tasks = []
        for watch in self.watches.values():
            if watch.looking is not None:
                await asyncio.wait([watch.looking])
            tasks += await watch.look(thorough=True)
        self.arm_again()
        if tasks:
            await asyncio.wait(tasks)  # who gives up waiting cancels none of them
        return [task.result() for task in tasks if not task.cancelled()]

    async def consider(self, kind: Kind, identity: str, seconds: float | None = None) -> None:
        """Cull one item if it is due, and wait for that (`seconds` at most). An unknown one raises KeyError."""
        watch = self.watches[kind]
        task = watch.cull_if_due(identity)
        if task is not None:
            await asyncio.wait([task], timeout=seconds)  # who gives up waiting does not cancel it

    # -- comings and goings ----------------------------------------------------------------------

    def place(self, terminal: TerminalRecord) -> TerminalRecord:
        """The record with what is known of where the terminal runs."""
        return terminal if self.neighbours is None else self.neighbours.place(terminal)

    @contextmanager
    def starting(self) -> Iterator[None]:
        """A kernel is being started within, which may take minutes, and whose app nobody can tell before its end."""
        self.starts += 1
        try:
            yield
        finally:
            self.starts -= 1

    def arrived(self, kind: Kind, identity: str) -> None:
        """Something was started: it may be due later, and what it lives on may be new."""
        self.wake_soon(kind)
        record = None if self.neighbours is None else self.watches[kind].record_of(identity, self.now())
        if self.neighbours is not None and record is not None:
            self.neighbours.arrived(record)

    def leaving(self, kind: Kind, identity: str) -> None:
        """Something is about to be taken off its manager's list, by whomever."""
        self.keep.take_back(kind, identity)
        if self.neighbours is None or kind not in self.watches:
            return
        culled = self.watches[kind].being_culled(identity)
        if culled is not None:
            record, decision = culled
            at_work = decision.reason is not Reason.IDLE and getattr(record, "state", None) == "busy"
            self.neighbours.left(record, self.now() if at_work else None)
            return
        gone = self.watches[kind].record_of(identity, self.now())
        if gone is not None:
            self.neighbours.left(gone, self.now())

    # -- telling -------------------------------------------------------------------------------

    def trouble(self, subject: str, words: str, told: bool = False) -> bool:
        """Remember what went wrong; into the log once per change. Gives whether it is one."""
        news = self.troubles.note(subject, words, self.clock.now())
        if news and not told:
            self.log.warning("Culling: %s", printable(words))
        return news

    def tell(self, happening: Happening) -> None:
        """Tell those who listen; one that fails is logged and stops nothing."""
        for listener in self.listeners:
            try:
                listener(happening)
            except Exception:
                self.log.exception("Culling: telling that %s was %s failed", happening.kind.value, happening.action)

    def tell_heartbeat(self) -> None:
        """The line that shows that the culler runs, and with which settings."""
        apps = "NoApps" if self.neighbours is None else self.neighbours.describe()["class"]
        words = self.troubles.last_text()
        level = max(logging.INFO, self.log.getEffectiveLevel())  # so that it is written whatever the log's level is
        self.log.log(level, "%s", heartbeat_line(__version__, self.policy, self.count, apps, self.watches, words))

    def tell_culling(self, record: Record, decision: Decision, attempts: int) -> None:
        """The line before something is shut down; told once, and not again at each try after a failed one."""
        self.log.log(logging.DEBUG if attempts else logging.WARNING, "%s", printable(culling_line(record, decision)))

    def tell_outcome(self, outcome: Outcome) -> None:
        """The line after it, where there is something to add, and the memory for `status`."""
        self.outcomes.append(outcome)
        subject = printable(f"{outcome.kind.value} {outcome.identity}")
        if outcome.result is Result.DRY_RUN:
            idle = int(outcome.idle_seconds or 0)
            self.log.warning("Dry run: would cull %s: %s, %d seconds of inactivity.", subject, outcome.reason, idle)
        elif outcome.result is not Result.FAILED:
            self.log.debug("%s: %s %s", subject, outcome.result.value, outcome.message)


def _call(method: weakref.WeakMethod[Any]) -> None:
    alive = method()
    if alive is not None:
        alive()
