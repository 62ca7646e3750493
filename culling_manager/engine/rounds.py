"""Everything that is watched, together: heartbeats, whole passes, and waiting for what has begun.

It wakes when the next deadline has passed, at the latest every `cull_interval` seconds. A wake-up at which nothing can
be due compares a few numbers and goes back to sleep.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from ..records import Kind, Outcome
from .alarm import Alarm
from .clock import NEVER
from .ports import Source
from .situation import Situation
from .watch import Watch

#: How often (seconds) a line in the log shows to a fleet check that the culler runs.
TELL_SECONDS = 3600.0
#: How long (seconds) what was cancelled may take to end before the server's own end goes on without it.
CANCEL_SECONDS = 5.0
#: A deadline has to be strictly in the past, so wake this much after it (seconds).
JUST_AFTER = 0.0005


class Rounds:
    """Looks at each watch when it is time; `beats` are called once per wake-up besides."""

    def __init__(self, situation: Situation) -> None:
        self.watches: dict[Kind, Watch] = {}
        self.beats: list[Callable[[], None]] = []
        self.alarm = Alarm(situation, self._wake, self._until_next)
        self._situation = situation
        self._tell_at = 0.0
        self._held = False
        situation.when_jumped.append(self.forget_decisions)
        situation.requests.when_changed.append(self._forget_reading)

    def watch(self, source: Source) -> Watch:
        """A new watch of a source, which wakes us when something comes nearer."""
        return Watch(source, self._situation, self.alarm.nearer)

    def start(self) -> None:
        """Start waking up; needs a running event loop. A second start changes nothing."""
        if self.alarm.may_start():
            self._tell_at = 0.0
            self._situation.journal.starts(self._situation.policy, self.watches)
            self.alarm.start()

    def heartbeat(self) -> bool:
        """One wake-up: count it, and tell whether anything can be due. O(1), no I/O but an hourly line in the log."""
        self.alarm.count += 1
        now, mono = self._situation.now(), self._situation.clock.monotonic()
        if mono >= self._tell_at and not self._held:
            self._tell_at = mono + TELL_SECONDS
            self._safely(self._tell_heartbeat)
        return any(now > watch.next_look and watch.looking is None for watch in self.watches.values())

    def hold_heartbeats(self) -> None:
        """Settings are still to come that will hold: until then no line says what does."""
        self._held = True

    def release_heartbeats(self) -> None:
        """They are there; a line that was due meanwhile is written now."""
        self._held = False
        mono = self._situation.clock.monotonic()
        if self.alarm.count and mono >= self._tell_at:
            self._tell_at = mono + TELL_SECONDS
            self._safely(self._tell_heartbeat)

    def look_soon(self, kind: Kind | None = None) -> None:
        """Something may be due that was not: look at all, or all of a kind, now."""
        for watch in self.watches.values():
            if kind is None or watch.source.kind is kind:
                watch.look_soon()

    def forget_decisions(self) -> None:
        """The policy or the clock changed: decide everything anew."""
        for watch in self.watches.values():
            watch.forget_decisions()

    def give_notice(self) -> None:
        """A person took back what kept things: those that are overdue by that are warned of first, from now on."""
        self._situation.notice_at = self._situation.now()
        self.forget_decisions()

    def _forget_reading(self, kind: Kind | None, identity: str | None) -> None:
        """What was asked for one thing, or for all, changed."""
        for watch in self.watches.values():
            if kind is None or watch.source.kind is kind:
                watch.forget_reading(identity)
        self.look_soon()

    def _wake(self) -> None:
        for beat in [*self.beats, *(watch.visit for watch in self.watches.values())]:
            self._safely(beat)
        if self.heartbeat():
            now = self._situation.clock.now()
            for watch in self.watches.values():
                if now > watch.next_look and watch.looking is None:
                    watch.begin_look()

    def _safely(self, call: Callable[[], None]) -> None:
        """What fails at a heartbeat is reported, and stops nothing."""
        try:
            call()
        except Exception as error:
            self._situation.journal.bug("heartbeat", "something failed at a heartbeat", error)

    def _until_next(self) -> float:
        """Seconds until the next deadline has passed or a visit is due, at most the interval; half of it at first."""
        now = self._situation.clock.now()
        longest = self._situation.policy.cull_interval / (2 if self.alarm.count == 1 else 1)
        visits = (watch.notices.until_visit() for watch in self.watches.values())
        longest = min([longest, *(max(0.0, seconds) + JUST_AFTER for seconds in visits)])
        nearest = min((watch.next_look for watch in self.watches.values() if watch.looking is None), default=NEVER)
        if nearest is NEVER:
            return longest
        ahead = 0.0 if nearest <= now else (nearest - now).total_seconds()
        return min(longest, ahead + JUST_AFTER)

    def _is_going(self) -> bool:
        """Whether all that this server runs on is being deleted: then its heartbeat would look like life."""
        neighbours = self._situation.neighbours
        return neighbours is not None and neighbours.going(None) is not None

    def _tell_heartbeat(self) -> None:
        situation, neighbours = self._situation, self._situation.neighbours
        if self._is_going():
            self._tell_at = 0.0  # at the next heartbeat, should it stay after all
            return
        apps = "NoApps" if neighbours is None else neighbours.describe()["class"]
        times: dict[str, Any] = {}
        try:
            times = {} if neighbours is None else dict(neighbours.times())
        except Exception as error:
            situation.journal.bug("heartbeat", "the times of apps could not be added up", error)
        situation.journal.heartbeat(situation.policy, self.alarm.count, apps, self.watches, times)

    async def run_pass(self) -> list[Outcome]:
        """One whole pass over everything that is watched, up to and including the shutdowns; gives their outcomes."""
        tasks = []
        for watch in self.watches.values():
            if watch.looking is not None:
                await asyncio.wait([watch.looking])
            tasks += await watch.look(thorough=True)
        for watch in self.watches.values():
            self.alarm.nearer(watch.next_look)
        if tasks:
            await asyncio.wait(tasks)  # who gives up waiting cancels none of them
        return [task.result() for task in tasks if not task.cancelled()]

    @asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        """Nothing is culled within; afterwards it goes on, also when the waiting was cancelled."""
        try:
            await self.pause()
            yield
        finally:
            self.alarm.resume()

    async def pause(self) -> None:
        """Stop, and wait for the shutdowns that have begun; what was only decided is dropped.

        The deletion of an app is not waited for: it ends this server by itself, or its answer may take a minute.
        """
        self.alarm.pause()
        items = [item for watch in self.watches.values() for item in watch.items.values()]
        ending: list[asyncio.Future[Any]] = [watch.looking for watch in self.watches.values() if watch.looking]
        ending += [item.asking for item in items if item.asking]
        ending += [item.task for item in items if item.task and not item.stopping]
        for task in ending:
            task.cancel()
        going = [item for item in items if item.stopping and item.record.kind is not Kind.APP]
        if ending:
            await asyncio.wait(ending, timeout=CANCEL_SECONDS)
        stopping = [item.task for item in going if item.task and item.stopping]
        if stopping:
            await asyncio.wait(stopping)
