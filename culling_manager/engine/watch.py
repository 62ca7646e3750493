"""Watching one source of records: survey, look, begin what is due.

A pass glances at everything and reads only suspects: what was active within the shortest timeout cannot be due for
being idle, and keeping never depends on less than that. What is due is then carried out by `Shutdown`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from functools import partial

from ..decisions import Decision
from ..records import Outcome, Record, Result
from .clock import AT_ONCE
from .horizon import Horizon
from .item import Item
from .notices import Notices
from .ports import Source
from .readings import Readings
from .shutdown import Shutdown
from .situation import Situation


class Watch:
    """The items of one source, and when to look at them next: `nearer` is called when that may have come nearer."""

    def __init__(self, source: Source, situation: Situation, nearer: Callable[[datetime], None]) -> None:
        self.source, self.situation, self.nearer = source, situation, nearer
        self.next_look: datetime = AT_ONCE
        self.looking: asyncio.Future[list[asyncio.Task[Outcome]]] | None = None
        self.readings = Readings(source, situation)
        self.notices = Notices(source, situation)
        self.horizon = Horizon(source, situation)
        self.shutdown = Shutdown(source, situation, self.readings, self.notices)

    @property
    def items(self) -> dict[str, Item]:
        """What is remembered, by identity; of what has never been a suspect that is nothing."""
        return self.readings.items

    # -- what it can tell ----------------------------------------------------------------------

    def current(self, now: datetime) -> list[tuple[Record, Decision]]:
        """Every item as it is now, with today's decision; acts on nothing. One in doubt is unknown, and so kept."""
        return self.readings.all(now)

    def warned(self) -> list[str]:
        """Identities of what is warned of at present."""
        return [item.record.identity for item in self._attended() if item.warned_for is not None]

    def being_culled(self, identity: str) -> tuple[Record, Decision] | None:
        """The decision that is being carried out on it just now, if one is, and the record that it rests on.

        What its end itself makes it say comes later than that record.
        """
        item = self.items.get(identity)
        return (item.record, item.decision) if item is not None and item.stopping else None

    def record_of(self, identity: str, now: datetime) -> Record | None:
        """A fresh record of one item; of one that is gone already the last one, None when there is none."""
        return self.readings.last_record(identity, now)

    # -- when to look --------------------------------------------------------------------------

    def look_soon(self) -> None:
        """Look at the next opportunity: something may be due now that was not."""
        self._look_by(AT_ONCE)

    def refresh_within(self, seconds: float) -> None:
        """Facts may have changed that do not come by themselves: fetch them in `seconds` at the latest."""
        if self.readings.freshness.failure is None:
            self.readings.freshness.no_older_than(self.situation.clock.now() + timedelta(seconds=seconds))
            self._look_by(self.readings.freshness.stale_at)

    def forget_decisions(self) -> None:
        """The policy or the clock changed: decide everything anew."""
        self.readings.forget_decisions(self.situation.clock.now())
        self.look_soon()

    def forget_reading(self, identity: str | None) -> None:
        """What was asked for one item, or for all, changed: read anew. What failed is not tried sooner for that."""
        self.readings.forget_reading(identity)

    def look_at(self, identity: str) -> None:
        """Something was learnt about one item: judge it alone, and look at all only when it is due."""
        if self._is_due(identity, self.situation.now()):
            self.look_soon()
        elif identity in self.items:
            self._look_by(self.items[identity].next_at)

    def visit(self) -> None:
        """Once per heartbeat, look at those that are warned of or at work: whether that still holds."""
        for identity in self.notices.whom_to_visit():
            if identity in self.items:
                self.items[identity].next_at = AT_ONCE
            self.look_at(identity)

    def _look_by(self, at: datetime) -> None:
        self.next_look = min(self.next_look, at)
        if self.looking is None:
            self.nearer(self.next_look)

    # -- looking -------------------------------------------------------------------------------

    def begin_look(self) -> None:
        """Begin to look at everything; one that fails is reported, and the next one is in a minute."""
        self.looking = asyncio.get_running_loop().create_task(self._look_safely())

    async def _look_safely(self) -> list[asyncio.Task[Outcome]]:
        clock, journal, kind = self.situation.clock, self.situation.journal, self.source.kind
        began = clock.monotonic()
        try:
            tasks = await self.look()
            journal.tally.passed(kind, clock.monotonic() - began)
            journal.troubles.over("culler")
            return tasks
        except Exception as error:
            journal.bug("culler", f"a pass over the {kind.value}s failed", error, "the next one is in a minute")
            self.next_look = clock.now() + timedelta(minutes=1)
            return []
        finally:
            self.looking = None
            self.nearer(self.next_look)

    async def look(self, thorough: bool = False) -> list[asyncio.Task[Outcome]]:
        """One round over this source; gives the tasks that carry out what was decided.

        `thorough` refreshes facts that do not come by themselves even if nothing is due.
        """
        now, freshness = self.situation.now(), self.readings.freshness
        due = self.survey(now)
        if due or now >= freshness.stale_at or (thorough and freshness.comes_by_fetching):
            fresh = await freshness.renew(now)
            if not fresh:
                self.survey(now)
                self.next_look = freshness.stale_at
                return []
            due = self.survey(self.situation.now())
        for identity in due:
            self._begin(self.items[identity])
        return self.under_way()

    def survey(self, now: datetime) -> list[str]:
        """Give the identities that are due at `now`, and set when to look next."""
        suspects, nearest = self.horizon.suspects(now)
        if self.notices.attended:  # what has an appointment by now, also if it was active since that was made
            suspects += [item.record.identity for item in self._attended() if item.next_at <= now]
        due = [identity for identity in dict.fromkeys(suspects) if self._is_due(identity, now)] if suspects else []
        if self.items or self.situation.requests.any:
            self._drop_gone()
        for item in self.items.values():
            if now <= item.next_at < nearest and item.task is None:
                nearest = item.next_at
        self.readings.freshness.expect(now)
        self.next_look = min(nearest, self.readings.freshness.stale_at, self.notices.next_proof())
        return due

    def _attended(self) -> Iterable[Item]:
        return [self.items[identity] for identity in self.notices.attended if identity in self.items]

    def _is_due(self, identity: str, now: datetime) -> bool:
        """Whether a suspect is due, by the decision that still stands or by a new one."""
        item = self.readings.current(identity, now)
        if item is None or item.task is not None or now < item.next_at:
            return False
        late = item.due_at is not None and now > item.due_at
        if late and not self.readings.decide_again(item, now).cull:
            item.due_at = item.decision.due_at
        item.next_at = self.notices.attend(item, now)
        if self.notices.wants_asking(item, now):
            self._ask(item)
        self.notices.have_proved(item, now, self.look_at)
        due = late and item.decision.cull and not item.rehearsed
        item.next_at = AT_ONCE if due else item.next_at
        return due

    def _ask(self, item: Item) -> None:
        """Have the signals asked, and look at the item when they have answered."""

        async def ask() -> None:
            await self.notices.ask(item)
            self.look_at(item.record.identity)

        item.asking = task = asyncio.get_running_loop().create_task(ask())
        task.add_done_callback(partial(_answered, item))

    def _drop_gone(self) -> None:
        for identity in self.readings.drop_gone():
            self.notices.attended.discard(identity)

    # -- culling -------------------------------------------------------------------------------

    async def consider(self, identity: str, seconds: float | None) -> None:
        """Cull one item if it is due, and wait for that (`seconds` at most), also when it has begun before."""
        if self._is_due(identity, self.situation.now()):
            self._begin(self.items[identity])
        item = self.items.get(identity)
        if item is not None and item.task is not None:
            await asyncio.wait([item.task], timeout=seconds)  # who gives up waiting does not cancel it

    def _begin(self, item: Item) -> None:
        item.task = asyncio.get_running_loop().create_task(self._cull(item))
        item.task.add_done_callback(partial(_ended, item))

    async def _cull(self, item: Item) -> Outcome:
        """Have it carried out, and see to it again when nothing came of it."""
        outcome = await self.shutdown.carry_out(item)
        if outcome.result is Result.FAILED and item.retry_at is not None:
            self._look_by(item.retry_at)
        elif outcome.result is Result.CHANGED:
            self.look_soon()
        return outcome

    def under_way(self) -> list[asyncio.Task[Outcome]]:
        """The tasks that carry out what was decided."""
        return [item.task for item in self.items.values() if item.task is not None]


def _ended(item: Item, task: asyncio.Task[Outcome]) -> None:
    """A culling has ended, in whatever way."""
    if item.task is task:
        item.ended()


def _answered(item: Item, task: asyncio.Task[None]) -> None:
    """A question has ended, in whatever way."""
    if item.asking is task:
        item.asking = None
