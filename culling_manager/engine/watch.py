"""Watching one source of records: survey, look again, act.

A pass glances at everything and reads only suspects: what was active within the shortest timeout cannot be due for
being idle, and keeping never depends on less than that. A suspect's decision stands for as long as its cheap
fingerprint does; only what changed is read and decided anew, always by the one set of rules.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from ..decisions import Decision, Reason, hold_after
from ..errors import StopError, printable
from ..records import AppRecord, Kind, Outcome, Record, Result
from .attention import AT_ONCE, NEVER, Attention, Item
from .ports import KEPT, Source

if TYPE_CHECKING:
    from .culler import IdleCuller

#: From a decision until its record is looked at again (seconds). A request forwarded to a kernel shows as 'busy' only
#: 20 to 30 ms later.
GRACE_SECONDS = 0.035
#: How long asking one thing to stop may take (seconds) before it counts as failed and is tried again later.
STOP_LIMIT_SECONDS = 120.0
#: How much older (seconds) the signals' answer may be than planned when something is culled on account of it.
ANSWER_SECONDS = 2.0
#: For so long (seconds) holds what was found out right before something is culled.
CONFIRMED_SECONDS = 1.0
#: Shutdowns of one kind that may be under way at the same time.
CONCURRENT_STOPS = 128
#: First retry after a failure, about (seconds); doubled each time, up to the cap.
RETRY_SECONDS = 30.0
RETRY_CAP_SECONDS = 3600.0

#: How long the state of something has to be unknown (seconds) before those who listen are told.
UNKNOWN_SECONDS = 15.0

#: Reasons that are told to those who listen when they begin to hold.
WORTH_TELLING = frozenset({Reason.KEPT_ALIVE, Reason.USED, Reason.GRACE, Reason.UNKNOWN})

#: What is told to those who listen when it was carried out.
TOLD = {Result.CULLED: "culled", Result.DRY_RUN: "dry run", Result.FAILED: "failed"}


@dataclass(slots=True, eq=False)
class Band:
    """All that has one timeout: what was in use after `cutoff` cannot be due, the `oldest` of it not before `left`.

    Where the timeout is off, nothing can: then `left` is None.
    """

    cutoff: datetime
    oldest: datetime
    left: timedelta | None


@dataclass(slots=True, eq=False)
class Watch:
    """The items of one source, and when to look at them next."""

    source: Source
    culler: IdleCuller
    next_look: datetime = AT_ONCE
    items: dict[str, Item] = field(default_factory=dict)
    looking: asyncio.Task[list[asyncio.Task[Outcome]]] | None = None
    attention: Attention = field(init=False)
    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(CONCURRENT_STOPS))
    _stale_at: datetime = NEVER
    _visit_mono: float = 0.0
    _future: dict[str, tuple[datetime, datetime]] = field(default_factory=dict)
    _failure: str | None = None
    _failures: int = 0

    def __post_init__(self) -> None:
        self.attention = Attention(self.source, self.culler)

    def warned(self) -> list[str]:
        """Identities of what is warned of at present."""
        found = self.attention.attended
        return [each for each in found if each in self.items and self.items[each].warned_for is not None]

    def look_soon(self) -> None:
        """Look at the next opportunity: something may be due now that was not."""
        self.next_look = AT_ONCE

    def forget_decisions(self) -> None:
        """The policy or the clock changed: decide everything anew."""
        now = self.culler.clock.now()
        for item in self.items.values():
            item.fingerprint, item.retry_at, item.rehearsed = None, None, False
            item.next_at, item.use = AT_ONCE, item.use.not_after(now)
        stale_at = self._stale_from(now) if self._failure is None else now + timedelta(seconds=backoff(self._failures))
        self._stale_at = min(self._stale_at, stale_at)
        self.look_soon()

    def forget_reading(self, identity: str | None) -> None:
        """What was asked for one item, or for all, changed: read anew. What failed is not tried sooner for that."""
        for item in self.items.values() if identity is None else filter(None, [self.items.get(identity)]):
            item.fingerprint, item.next_at = None, AT_ONCE
        self.look_soon()

    def look_at(self, identity: str) -> None:
        """Something was learnt about one item: judge it alone, and look at all only when it is due."""
        if self._is_due(identity, self.culler.now()):
            self.look_soon()
        elif identity in self.items:
            self.next_look = min(self.next_look, self.items[identity].next_at)
        self.culler.arm_again()

    def visit(self) -> None:
        """Once per heartbeat, look at those that are warned of or at work: whether that still holds."""
        clock = self.culler.clock
        if self.attention.attended and clock.monotonic() >= self._visit_mono:
            self._visit_mono = clock.monotonic() + self.culler.policy.cull_interval
            for identity in list(self.attention.attended):
                if identity in self.items:
                    self.items[identity].next_at = AT_ONCE
                self.look_at(identity)

    def until_visit(self) -> float:
        """Seconds until the next visit is due; infinite when there is nobody to visit."""
        return self._visit_mono - self.culler.clock.monotonic() if self.attention.attended else math.inf

    def refresh_within(self, seconds: float) -> None:
        """Facts may have changed that do not come by themselves: fetch them in `seconds` at the latest."""
        if self._failure is None:
            self._stale_at = min(self._stale_at, self.culler.clock.now() + timedelta(seconds=seconds))
            self.next_look = min(self.next_look, self._stale_at)
            self.culler.arm_again()

    def being_culled(self, identity: str) -> tuple[Record, Decision] | None:
        """The decision that is being carried out on it just now, if one is, and the record that it rests on.

        What its end itself makes it say comes later than that record.
        """
        item = self.items.get(identity)
        return (item.record, item.decision) if item is not None and item.stopping else None

    def record_of(self, identity: str, now: datetime) -> Record | None:
        """A fresh record of one item; of one that is gone already the last one, None when there is none."""
        try:
            return self._read(identity, now)
        except KeyError:
            return self.items[identity].record if identity in self.items else None

    async def look(self, thorough: bool = False) -> list[asyncio.Task[Outcome]]:
        """One round over this source; gives the tasks that carry out what was decided.

        `thorough` refreshes facts that do not come by themselves even if nothing is due.
        """
        now = self.culler.now()
        due = self.survey(now)
        if due or now >= self._stale_at or (thorough and self.source.stale_after(self.culler.policy) is not None):
            if not await self._refresh(now):
                return []
            now = self.culler.now()
            due = self.survey(now)
        for identity in due:
            self._start_culling(self.items[identity])
        return [item.task for item in self.items.values() if item.task is not None]

    def _start_culling(self, item: Item) -> asyncio.Task[Outcome]:
        item.task = task = asyncio.get_running_loop().create_task(self._cull(item.record.identity, item))
        task.add_done_callback(partial(_ended, item))
        return task

    def cull_if_due(self, identity: str) -> asyncio.Task[Outcome] | None:
        """Start culling one item when it is due now; gives the task of one that is being culled already too."""
        due = self._is_due(identity, self.culler.now())
        item = self.items.get(identity)
        if item is None:
            return None
        return self._start_culling(item) if due else item.task

    def survey(self, now: datetime) -> list[str]:
        """Give the identities that are due at `now`, and set when to look next."""
        suspects, nearest = self._suspects(now)
        suspects += self._expected(now)
        due = [identity for identity in dict.fromkeys(suspects) if self._is_due(identity, now)]
        self._drop_gone()
        for item in self.items.values():
            if now <= item.next_at < nearest and item.task is None:
                nearest = item.next_at
        if self._stale_at is NEVER:
            self._stale_at = self._stale_from(now)
        self.next_look = min(nearest, self._stale_at)
        return due

    def _suspects(self, now: datetime) -> tuple[list[str], datetime]:
        """Give what may be due, and when the first of all others may be: fresh activity only makes that later."""
        bands: dict[float | None, Band] = {None: self._band(None, now)}
        suspects = []
        for identity, last, own in self.source.glance(self.culler.policy):
            if last is None:
                suspects.append(identity)
                continue
            band = bands.get(own)
            if band is None:
                band = bands[own] = self._band(own, now)
            if last is not KEPT:
                if not band.cutoff < last <= now:
                    suspects.append(identity)
                elif last < band.oldest:
                    band.oldest = last
        return suspects, min(NEVER if band.left is None else band.oldest + band.left for band in bands.values())

    def _expected(self, now: datetime) -> list[str]:
        """What is warned of or at work and has an appointment by now, also if it was active since it was made."""
        found = [identity for identity in self.attention.attended if identity in self.items]
        return [identity for identity in found if self.items[identity].next_at <= now]

    def _band(self, own: float | None, now: datetime) -> Band:
        """What has this timeout of its own (seconds; None: the policy's)."""
        timeout = self._shortest_timeout() if own is None else own
        if timeout is None or timeout <= 0:
            return Band(AT_ONCE, now, None)
        left = timedelta(seconds=timeout) - self.attention.ahead(timeout)
        return Band(now - left, now, left)

    def _stale_from(self, now: datetime) -> datetime:
        """When facts fetched at `now` are too old to decide on."""
        stale_after = self.source.stale_after(self.culler.policy)
        return NEVER if stale_after is None else now + timedelta(seconds=stale_after)

    def _is_due(self, identity: str, now: datetime) -> bool:
        """Whether a suspect is due, by the decision that still stands or by a new one."""
        item = self._current_item(identity, now)
        if item is None or item.task is not None or now < item.next_at:
            return False
        late = item.due_at is not None and now > item.due_at
        if late:
            item.decision = self._decide(item.record, now)  # so that reason and idle time are today's
            if not item.decision.cull:
                item.due_at = item.decision.due_at
        self.attention.attend(item, now)
        due = late and item.decision.cull and not item.rehearsed
        item.next_at = AT_ONCE if due else item.next_at
        return due

    def _current_item(self, identity: str, now: datetime) -> Item | None:
        """The item with a decision on what can be seen of it now; None when it is gone."""
        try:
            fingerprint = self.source.fingerprint(identity)
        except KeyError:
            return None
        item = self.items.get(identity)
        if item is not None and item.stopping:
            return item  # what its end makes it say is no news
        stands = item is not None and fingerprint is not None and item.fingerprint == fingerprint
        return item if stands and self._failure is None else self._judge(identity, fingerprint, now)

    def _shortest_timeout(self) -> float | None:
        """Seconds: what has no timeout of its own and was in use later than these ago cannot be due."""
        policy = self.culler.policy
        timeouts = [self.source.timeout(None, policy), policy.busy_timeout]
        return min((seconds for seconds in timeouts if seconds > 0), default=None)

    def _judge(self, identity: str, fingerprint: Hashable, now: datetime) -> Item | None:
        """Read and decide anew; None when it is gone."""
        item = self.items.get(identity)
        try:
            record = self._read(identity, now)
        except KeyError:
            return None
        decision = self._decide(record, now)
        news = item is None or item.decision.reason is not decision.reason
        if item is None:
            item = self.items[identity] = Item(fingerprint, record, decision, None)
        elif news:
            self._tell_change(item, decision)
        if news:
            item.judged_at, item.told = now, False
        item.rehearsed = item.rehearsed and item.record == record
        item.doubt = item.doubt if item.record == record else None
        item.fingerprint, item.record, item.decision = fingerprint, record, decision
        item.next_at = AT_ONCE
        self._tell_kept(item, now)
        self._set_deadline(item)
        if decision.reason is Reason.UNKNOWN:
            self._doubt(item, now)
        return item

    def _read(self, identity: str, now: datetime) -> Record:
        """Read one record; what cannot be read keeps what was known of it, and says why it is not to be trusted."""
        words = self._failure
        if words is None:
            try:
                record = self.source.read(identity, now)
            except KeyError:
                raise
            except Exception as error:
                words = f"{self.source.kind.value} {identity} is kept, for reading it failed: {error or repr(error)}"
        if words is not None:
            known = self.items.get(identity)
            record = self.source.unreadable(identity, words) if known is None else replace(known.record, error=words)
        if record.last_activity is not None and record.last_activity > now:
            record = replace(record, last_activity=self._seen(identity, record.last_activity, now))
        return self._with_requests(record)

    def _seen(self, identity: str, at: datetime, now: datetime) -> datetime:
        """When activity in the future was first seen: it cannot have happened later than that."""
        known, seen = self._future.get(identity, (None, now))
        seen = seen if known == at and seen <= now else now
        self._future[identity] = (at, seen)
        return seen

    def _with_requests(self, record: Record) -> Record:
        """With what was asked for, and what activity signals have found."""
        kind, item = self.source.kind, self.items.get(record.identity)
        request = self.culler.keep.longest(kind, record.identity)
        if request is not None and isinstance(record, AppRecord):
            record = replace(record, asked_until=request.until, asked_by=request.asked_by)
        elif request is not None and not isinstance(record, AppRecord):
            until = max(request.until, record.kept_until or request.until)
            record = replace(record, kept_until=until, asked_by=request.asked_by)
        if item is not None and item.use.asked_at is not None:
            record = replace(record, used_by=item.use.used_by, used_at=item.use.used_at)
        return record

    def _tell_change(self, item: Item, decision: Decision) -> None:
        """Log once that something is judged otherwise than before."""
        subject = f"{self.source.kind.value} {item.record.identity}"
        self.culler.log.debug("%s: %s", printable(subject), decision.reason.value)
        if item.decision.reason is Reason.UNKNOWN and self.culler.troubles.over(subject):
            self.culler.log.info("Culling: %s can be judged again: %s", printable(subject), decision.reason.value)

    def _tell_kept(self, item: Item, now: datetime) -> None:
        """Tell once why it is kept; that nobody knows its state only when that lasts."""
        reason = item.decision.reason
        if item.told or self._failure is not None or reason not in WORTH_TELLING:
            return
        lasting = timedelta(seconds=UNKNOWN_SECONDS if reason is Reason.UNKNOWN else 0)
        if now >= item.judged_at + lasting:
            item.told = True
            self.attention.tell("kept", item, now)

    def _set_deadline(self, item: Item) -> None:
        record, decision = item.record, item.decision
        item.due_at = AT_ONCE if decision.cull else decision.due_at
        if not decision.cull:
            if item.attempts:
                self.culler.troubles.over(f"{self.source.kind.value} {record.identity}")
            item.attempts, item.retry_at = 0, None
        elif item.retry_at is not None:
            item.due_at = item.retry_at

    def _decide(self, record: Record, now: datetime) -> Decision:
        policy = self.culler.policy
        decision = self.source.decide(record, policy, now)
        if self.culler.jumped_at is None:
            return decision
        return hold_after(decision, self.culler.jumped_at, self.source.timeout(record, policy), now)

    def _doubt(self, item: Item, now: datetime) -> None:
        """Tell why it is kept without being known, and read it again before long."""
        record, kind = item.record, self.source.kind.value
        item.fingerprint = None
        if self._failure is None:
            fetched = self.source.stale_after(self.culler.policy) is not None  # the longer it lasts, the less often
            lasting = (now - item.judged_at).total_seconds() if fetched else 0.0
            wait = min(max(RETRY_SECONDS, lasting / 2), RETRY_CAP_SECONDS)
            self._stale_at = min(self._stale_at, now + timedelta(seconds=wait))
        if record.error is None or record.error != self._failure:
            words = record.error or (
                f"{kind} {record.identity} is kept, for its state is not known: state "
                f"{getattr(record, 'state', None)!r}, last activity {record.last_activity}"
            )
            if self.culler.trouble(f"{kind} {record.identity}", words) and record.error is not None:
                self.culler.tally.failed[self.source.kind, "read"] += 1

    def _drop_gone(self) -> None:
        for identity in self.culler.keep.asked_for(self.source.kind):
            if not self.source.exists(identity):
                self.culler.keep.take_back(self.source.kind, identity)
        for identity in [known for known in self.items if not self.source.exists(known)]:
            if self.items[identity].task is None:
                del self.items[identity]
                self._future.pop(identity, None)
                self.attention.attended.discard(identity)
                self._end_troubles(identity)

    def _end_troubles(self, identity: str) -> None:
        """It is gone, and with it what was wrong with it."""
        subject = f"{self.source.kind.value} {identity}"
        for each in (subject, f"signals of {subject}", f"pre_cull_hook for {subject}"):
            self.culler.troubles.over(each)

    async def _refresh(self, now: datetime) -> bool:
        """Fetch fresh facts; False when that failed, and then nothing is decided on old ones."""
        source, culler = self.source, self.culler
        subject = f"{source.kind.value}s"
        try:
            await source.refresh()
        except Exception as error:
            self._failures += 1
            culler.tally.failed[source.kind, "read"] += 1
            wait = backoff(self._failures)
            self._failure = f"{error or repr(error)}; nothing is culled on old facts"
            culler.trouble(subject, self._failure)
            self.survey(now)
            self._stale_at = self.next_look = now + timedelta(seconds=wait)
            return False
        self._failure, self._failures = None, 0
        if culler.troubles.over(subject):
            culler.log.info("Culling: %s can be read again", subject)
        self._stale_at = self._stale_from(now)
        return True

    async def _cull(self, identity: str, item: Item) -> Outcome:
        """Carry out one decision; whatever happens, it ends in an `Outcome`."""
        try:
            async with self.slots:
                result, words = await self._carry_out(identity, item)
        except Exception as error:
            result, words = Result.FAILED, str(error) or repr(error)
        finally:
            item.task, item.stopping = None, False
        return self._settle(item, result, words)

    async def _carry_out(self, identity: str, item: Item) -> tuple[Result, str]:
        culler = self.culler
        await culler.clock.sleep(GRACE_SECONDS)
        await self._ask_first(item)
        await self._confirm(item)
        decision = self._look_again(identity, item)
        if culler.guard is not None and decision is not None and decision.cull and not culler.policy.dry_run:
            began = culler.clock.monotonic()
            if await self._is_asked_to_wait(item, decision):
                return Result.CHANGED, Reason.KEPT_ALIVE.value
            await self._ask_first(item)
            if culler.clock.monotonic() - began > CONFIRMED_SECONDS:
                await self._confirm(item)  # what was found out before is old by now
            decision = self._look_again(identity, item)
        if decision is None:
            return Result.GONE, ""
        if not decision.cull:
            return Result.CHANGED, decision.reason.value
        if culler.policy.dry_run:
            item.rehearsed, item.due_at = True, None
            return Result.DRY_RUN, ""
        culler.tell_culling(item.record, decision, item.attempts)
        item.stopping = True
        try:
            await self._stop(identity, item.record)
        except KeyError:
            return Result.GONE, ""
        return Result.CULLED, ""

    async def _stop(self, identity: str, record: Record) -> None:
        """Have it shut down. One that must not be cancelled is waited for beyond the limit, which is reported."""
        source = self.source
        if source.stop_can_be_cancelled:
            try:
                await asyncio.wait_for(source.stop(record), STOP_LIMIT_SECONDS)
            except asyncio.TimeoutError:
                raise StopError(f"it did not stop within {STOP_LIMIT_SECONDS:.0f} s") from None
            return
        stop = asyncio.ensure_future(source.stop(record))
        await asyncio.wait([stop], timeout=STOP_LIMIT_SECONDS)
        if not stop.done():
            subject = f"{source.kind.value} {identity}"
            self.culler.trouble(
                subject, f"{subject} has not stopped within {STOP_LIMIT_SECONDS:.0f} s: it is waited for"
            )
            await asyncio.wait([stop])
        stop.result()

    async def _ask_first(self, item: Item) -> None:
        """Have an answer of the activity signals that is not too old, before something is culled for being idle."""
        if self.culler.guard is None or item.decision.reason is not Reason.IDLE:
            return
        if getattr(item.record, "state", None) == "busy":
            return  # culled for being busy: that it works is known
        if item.asking is not None:
            await asyncio.wait([item.asking])
            return
        longest = self.attention.lead(self.attention.timeout(item)) + timedelta(seconds=ANSWER_SECONDS)
        asked_at, answered_at, used_at = item.use.asked_at, item.use.answered_at, item.record.last_activity
        old = asked_at is None or answered_at is None or self.culler.now() - answered_at > longest
        if old or (asked_at is not None and used_at is not None and asked_at < used_at):
            await self.attention.ask(item)

    async def _is_asked_to_wait(self, item: Item, decision: Decision) -> bool:
        """Let the hook do what it is for; whether it wants the item kept for a while."""
        guard, kind = self.culler.guard, self.source.kind
        try:
            until = None if guard is None else await guard.before_culling(item.record, decision)
        except Exception as error:
            if decision.reason is not Reason.DEAD:  # nothing is kept by keeping the dead
                item.doubt = str(error) or repr(error)  # kept for it, and so is what it lives on
            raise
        if until is None or decision.reason is Reason.DEAD:
            return False  # nothing is kept by keeping the dead
        asked = self.culler.keep.until(kind, item.record.identity)
        if self.source.exists(item.record.identity) and (asked is None or asked < until):
            self.culler.keep_for(kind, item.record.identity, until, "pre_cull_hook")
        return self.source.exists(item.record.identity)

    async def _confirm(self, item: Item) -> None:
        try:
            await self.source.confirm(item.record)
        except Exception as error:
            item.doubt = str(error) or repr(error)
            raise
        item.doubt = None

    def _look_again(self, identity: str, item: Item) -> Decision | None:
        """Decide once more, on a fresh record, without letting anything happen in between; None when it is gone."""
        now = self.culler.now()
        self.source.catch_up(identity)
        if self._current_item(identity, now) is None:
            return None
        item.decision = self._decide(item.record, now)
        item.due_at = AT_ONCE if item.decision.cull else item.decision.due_at
        return item.decision

    def _settle(self, item: Item, result: Result, words: str) -> Outcome:
        """Remember what came of it, and when to try again."""
        culler, kind, identity = self.culler, self.source.kind, item.record.identity
        now = culler.now()
        outcome = Outcome(
            kind=kind,
            identity=identity,
            result=result,
            reason=item.decision.reason.value,
            idle_seconds=item.decision.idle_seconds,
            at=now,
            message=words,
        )
        subject = f"{kind.value} {identity}"
        item.next_at = AT_ONCE
        if result is not Result.CHANGED:
            item.warned_for = None
            self.attention.attended.discard(identity)
        if result is Result.FAILED:
            item.attempts += 1
            wait = backoff(item.attempts)
            item.retry_at = item.due_at = now + timedelta(seconds=wait)
            done = "deleted" if kind is Kind.APP else "culled"
            culler.trouble(subject, f"{subject} could not be {done}: {words}")
            self.next_look = min(self.next_look, item.retry_at)
            culler.arm_again()
        elif result in (Result.CULLED, Result.GONE):
            self._end_troubles(identity)
            item.fingerprint = item.due_at = None
        elif result is Result.CHANGED:
            culler.wake_soon(kind)
        if result in TOLD:
            self.attention.tell(TOLD[result], item, now, words)
        culler.tell_outcome(outcome)
        return outcome

    def current(self, now: datetime) -> list[tuple[Record, Decision]]:
        """Every item as it is now, with today's decision; acts on nothing. One in doubt is unknown, and so kept."""
        found = [self._current_item(identity, now) for identity, _, _ in self.source.glance(self.culler.policy)]
        items = [each for each in found if each is not None]
        records = [each.record if each.doubt is None else replace(each.record, error=each.doubt) for each in items]
        return [(record, self._decide(record, now)) for record in records]


def _ended(item: Item, task: asyncio.Task[Outcome]) -> None:
    """A culling has ended, in whatever way."""
    if item.task is task:
        item.task, item.stopping = None, False


def backoff(attempts: int) -> float:
    """Seconds until the next try: about 30, doubled each time, at most an hour, with jitter of up to a quarter."""
    doubled: float = RETRY_SECONDS * 2 ** min(attempts - 1, 20)
    return min(doubled, RETRY_CAP_SECONDS) * random.uniform(0.75, 1.0)
