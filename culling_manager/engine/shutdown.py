"""One decision to cull carried out: grace, ask, confirm, look again, hook, look again, stop, settle."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

from ..decisions import Decision, Reason
from ..errors import ErrorCode, StopError
from ..records import Kind, Outcome, Record, Result
from ..report import called, name_of
from .backoff import backoff
from .clock import AT_ONCE
from .item import Item
from .journal import not_stopped
from .notices import Notices
from .ports import Source
from .readings import Readings
from .requests import HOOK
from .situation import Situation

#: From a decision until its record is looked at again (seconds). A request forwarded to a kernel shows as 'busy' only
#: 20 to 30 ms later.
GRACE_SECONDS = 0.035
#: How much older (seconds) the signals' answer may be than planned when something is culled on account of it.
ANSWER_SECONDS = 2.0
#: For so long (seconds) holds what was found out right before something is culled.
CONFIRMED_SECONDS = 1.0
#: What stays because its manager keeps it is not tried again for so long (seconds).
STAYS_SECONDS = 60.0
#: Shutdowns of one kind that may be under way at the same time.
CONCURRENT_STOPS = 128
#: What is told to those who listen when it was carried out.
TOLD = {Result.CULLED: "culled", Result.DRY_RUN: "dry run", Result.FAILED: "failed"}


class Shutdown:
    """Carries out what was decided on the items of one source, side by side."""

    def __init__(self, source: Source, situation: Situation, readings: Readings, notices: Notices) -> None:
        self.source, self.situation = source, situation
        self.readings, self.notices = readings, notices
        self.slots = asyncio.Semaphore(CONCURRENT_STOPS)

    async def carry_out(self, item: Item) -> Outcome:
        """Carry out one decision; whatever happens, it ends in an `Outcome`."""
        code = ErrorCode.FAILED
        try:
            async with self.slots:
                result, words = await self._try(item)
        except Exception as error:
            result, words = Result.FAILED, str(error) or repr(error)
            code = not_stopped(self.source.kind, error)
        finally:
            item.ended()
        return self._settle(item, result, words, code)

    async def _try(self, item: Item) -> tuple[Result, str]:
        situation = self.situation
        await situation.clock.sleep(GRACE_SECONDS)
        await self._ask_first(item)
        await self._confirm(item)
        decision = self._look_again(item)
        if situation.guard is not None and decision is not None and decision.cull and not situation.policy.dry_run:
            if await self._is_asked_to_wait(item, decision):
                return Result.CHANGED, Reason.KEPT_ALIVE.value
            decision = self._look_again(item)
        if decision is None:
            return Result.GONE, ""
        if not decision.cull:
            return Result.CHANGED, decision.reason.value
        self.notices.name(item)
        if situation.policy.dry_run:
            item.rehearsed, item.due_at = True, None
            return Result.DRY_RUN, ""
        situation.journal.culling(item.record, decision, item.attempts)
        item.stopping = True
        try:
            stays = await self._stop(item.record)
        except KeyError:
            return Result.GONE, ""
        if stays is not None:
            item.stays(situation.now() + timedelta(seconds=STAYS_SECONDS))
            return Result.CHANGED, stays
        return Result.CULLED, ""

    async def _ask_first(self, item: Item) -> None:
        """Have an answer of the activity signals that is not too old, before something is culled for being idle."""
        if self.situation.guard is None or item.decision.reason is not Reason.IDLE:
            return
        if getattr(item.record, "state", None) == "busy":
            return  # culled for being busy: that it works is known
        if item.asking is not None:
            await asyncio.wait([item.asking])  # it may have been asked before the last use of it
        longest = self.situation.lead(self.notices.timeout(item)) + timedelta(seconds=ANSWER_SECONDS)
        asked_at, answered_at, used_at = item.use.asked_at, item.use.answered_at, item.record.last_activity
        old = answered_at is None or self.situation.now() - answered_at > longest
        if old or asked_at is None or (used_at is not None and asked_at < used_at):
            await self.notices.ask(item)

    async def _confirm(self, item: Item) -> None:
        """Find out what the record cannot show; what cannot be found out keeps it."""
        try:
            await self.source.confirm(item.record)
        except Exception as error:
            item.doubt = str(error) or repr(error)
            raise
        item.doubt = None

    def _look_again(self, item: Item) -> Decision | None:
        """Decide once more, on a fresh record, without letting anything happen in between; None when it is gone."""
        now = self.situation.now()
        self.source.catch_up(item.record.identity)
        if self.readings.current(item.record.identity, now) is None:
            return None
        decision = self.readings.decide_again(item, now)
        item.due_at = AT_ONCE if decision.cull else decision.due_at
        return decision

    async def _is_asked_to_wait(self, item: Item, decision: Decision) -> bool:
        """Let the hook do what it is for; whether it wants the item kept. What is older than that is found out anew."""
        clock = self.situation.clock
        began = clock.monotonic()
        until = await self._hook(item, decision)
        dead = decision.reason is Reason.DEAD  # nothing is kept by keeping the dead
        if until is not None and not dead and self._keep(item, until):
            return True
        await self._ask_first(item)
        if clock.monotonic() - began > CONFIRMED_SECONDS:
            await self._confirm(item)
        return False

    async def _hook(self, item: Item, decision: Decision) -> datetime | None:
        """Until when the hook wants it kept; one that fails keeps it, and what it lives on, unless it is dead."""
        guard = self.situation.guard
        try:
            return None if guard is None else await guard.before_culling(item.record, decision)
        except Exception as error:
            if decision.reason is not Reason.DEAD:
                item.doubt = str(error) or repr(error)
            raise

    def _keep(self, item: Item, until: datetime) -> bool:
        """Keep it as the hook wants, unless it is kept for longer anyway; whether it is still there to be kept."""
        kind, identity = self.source.kind, item.record.identity
        if not self.source.exists(identity):
            return False
        asked = self.situation.requests.until(kind, identity)
        if asked is None or asked < until:
            self.situation.keep(kind, identity, until, HOOK)
        return True

    async def _stop(self, record: Record) -> str | None:
        """Have it shut down; gives why it stays after all.

        One that must not be cancelled is waited for beyond the limit, which is reported.
        """
        source, limit = self.source, self.situation.stop_seconds
        if source.stop_can_be_cancelled:
            try:
                return await asyncio.wait_for(source.stop(record), limit)
            except asyncio.TimeoutError:
                raise StopError(f"it did not stop within {limit:.0f} s") from None
        stop = asyncio.ensure_future(source.stop(record))
        await asyncio.wait([stop], timeout=limit)
        if not stop.done():
            subject = f"{source.kind.value} {record.identity}"
            words = f"{subject} has not stopped within {limit:.0f} s: it is waited for"
            self.situation.journal.trouble(subject, words, ErrorCode.NOT_STOPPED)
            await asyncio.wait([stop])
        return stop.result()

    def _settle(self, item: Item, result: Result, words: str, code: ErrorCode) -> Outcome:
        """Remember what came of it, and when to try again."""
        kind, identity, journal = self.source.kind, item.record.identity, self.situation.journal
        now = self.situation.now()
        outcome = Outcome(
            kind=kind,
            identity=identity,
            result=result,
            reason=item.decision.reason.value,
            idle_seconds=item.decision.idle_seconds,
            at=now,
            message=words,
            name=name_of(item.record),
        )
        item.next_at = AT_ONCE
        if result is not Result.CHANGED:
            self.notices.over(item)
        if result is Result.FAILED:
            item.failed(now + timedelta(seconds=backoff(item.attempts + 1)))
            done = "deleted" if kind is Kind.APP else "culled"
            journal.trouble(f"{kind.value} {identity}", f"{called(item.record)} could not be {done}: {words}", code)
        elif result in (Result.CULLED, Result.GONE):
            journal.gone(kind, identity)
            item.fingerprint = item.due_at = None
        if result in TOLD:
            journal.tell_item(TOLD[result], item, now, words)
        journal.outcome(outcome, item.record)
        return outcome
