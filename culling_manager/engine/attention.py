"""What is to be done about something before its deadline: warn of it, and ask activity signals whether it is in use."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import TYPE_CHECKING

from ..decisions import KEEPS_UNTIL, Decision, Reason
from ..records import Happening, Outcome, Record, Use
from ..report import sentence
from .ports import Source

if TYPE_CHECKING:
    from .culler import IdleCuller

#: How often (seconds) what activity signals found in use is looked at again.
ASK_AGAIN_SECONDS = 60.0
#: And no sooner than this (seconds), however short its timeout is.
ASK_LEAST_SECONDS = 2.0
#: Reasons that end by themselves at `due_at`: then it is culled.
ENDS_BY_ITSELF = KEEPS_UNTIL | {Reason.BUSY}
NOT_USED = Use()

NEVER = datetime.max.replace(tzinfo=timezone.utc)
AT_ONCE = datetime.min.replace(tzinfo=timezone.utc)


@dataclass(slots=True, eq=False)
class Item:
    """What is remembered of one kernel, terminal or app between two looks.

    `doubt` says why nobody could tell whether it is really idle, when it was asked before it was to be culled. `use` is
    what activity signals found, `warned_for` the deadline that a warning was given of, and `next_at` when it needs
    attention again if nothing happens. `judged_at` is since when the reason of its decision holds,
    `told` whether those who listen know.
    """

    fingerprint: Hashable
    record: Record
    decision: Decision
    due_at: datetime | None
    retry_at: datetime | None = None
    attempts: int = 0
    rehearsed: bool = False
    stopping: bool = False
    doubt: str | None = None
    task: asyncio.Task[Outcome] | None = None
    use: Use = NOT_USED
    asking: asyncio.Task[None] | None = None
    warned_for: datetime | None = None
    next_at: datetime = AT_ONCE
    judged_at: datetime = AT_ONCE
    told: bool = False


@dataclass(slots=True, eq=False)
class Attention:
    """What the items of one source need besides culling; `attended` are those that are warned of or found in use."""

    source: Source
    culler: IdleCuller
    attended: set[str] = field(default_factory=set)

    def ahead(self, timeout: float) -> timedelta:
        """How long before a deadline something is to be done about it: a warning, a question to the signals."""
        return timedelta(seconds=max(self.culler.policy.warning(timeout), self._lead_seconds(timeout)))

    def lead(self, timeout: float) -> timedelta:
        """How long before a deadline the signals are asked: after the last use in any case."""
        return timedelta(seconds=self._lead_seconds(timeout))

    def _lead_seconds(self, timeout: float) -> float:
        guard = self.culler.guard
        return 0.0 if guard is None else min(guard.lead_seconds, timeout / 2)

    def timeout(self, item: Item) -> float:
        """Seconds of idleness after which an item is due."""
        return self.source.timeout(item.record, self.culler.policy)

    def attend(self, item: Item, now: datetime) -> None:
        """Warn, take a warning back, ask the signals, each when it is time for it; and see when it is next."""
        self._warn(item, now)
        if item.decision.reason is Reason.OFF:
            item.use = NOT_USED
        if item.asking is None and self._wants_asking(item, now):
            item.asking = task = asyncio.get_running_loop().create_task(self.ask(item))
            task.add_done_callback(partial(_asked, item))
        attended = item.warned_for is not None or item.use.used_by is not None
        (self.attended.add if attended else self.attended.discard)(item.record.identity)
        # At the very deadline it is not due yet, so that appointment still stands.
        item.next_at = min((at for at in self._appointments(item) if at >= now), default=NEVER)

    def _appointments(self, item: Item) -> list[datetime]:
        """When something may have to be done about it."""
        found = []
        if item.use.used_by is not None and item.use.asked_at is not None:
            found.append(item.use.asked_at + self._ask_again(item))
        if item.due_at is not None:
            found.append(item.due_at)
            if item.decision.reason in ENDS_BY_ITSELF:
                found.append(item.due_at - timedelta(seconds=self._warning(item)))
                found.append(item.due_at - self.lead(self.timeout(item)))
        return found

    def _warn(self, item: Item, now: datetime) -> None:
        """Warn once of a deadline that is near; take it back when it is not any more."""
        policy, decision, ahead = self.culler.policy, item.decision, self._warning(item)
        if decision.reason is Reason.UNKNOWN:
            return  # nobody knows whether it still holds
        near = decision.reason in ENDS_BY_ITSELF and item.due_at is not None and ahead > 0
        if near and item.due_at is not None and now >= item.due_at - timedelta(seconds=ahead):
            if item.warned_for is None and not policy.dry_run:
                self.tell("warned", item, now)
            item.warned_for = None if policy.dry_run else item.due_at
        elif item.warned_for is not None and not decision.cull:
            item.warned_for = None
            self.tell("withdrawn", item, now)

    def _warning(self, item: Item) -> float:
        """Seconds ahead of its deadline at which to warn of it."""
        policy = self.culler.policy
        return policy.warning(policy.busy_timeout if item.decision.reason is Reason.BUSY else self.timeout(item))

    def tell(self, action: str, item: Item, now: datetime, words: str = "") -> None:
        """Tell those who listen what becomes of an item; `words` in place of why it was decided so."""
        record, decision = item.record, item.decision
        self.culler.tell(
            Happening(
                action=action,
                kind=self.source.kind,
                record=record,
                reason=decision.reason.value,
                at=now,
                idle_seconds=decision.idle_seconds,
                due_at=decision.due_at,
                detail=words or sentence(record, decision, now),
            )
        )

    def _wants_asking(self, item: Item, now: datetime) -> bool:
        """Whether to ask the signals now: shortly before the deadline, and again and again while it is in use."""
        guard = self.culler.guard
        if guard is None or getattr(item.record, "state", None) == "busy" or item.decision.reason is Reason.OFF:
            return False
        asked_at = item.use.asked_at
        if item.use.used_by is not None and asked_at is not None:
            return now >= asked_at + self._ask_again(item)
        if item.due_at is None or item.decision.reason not in ENDS_BY_ITSELF:
            return False
        ask_at = item.due_at - self.lead(self.timeout(item))
        return now >= ask_at and (asked_at is None or asked_at < ask_at)

    def _ask_again(self, item: Item) -> timedelta:
        """How long after an answer that it is in use it is asked about again."""
        return timedelta(seconds=max(ASK_LEAST_SECONDS, min(ASK_AGAIN_SECONDS, self.timeout(item) / 2)))

    async def ask(self, item: Item) -> None:
        """Ask the activity signals about it, and remember what they say. Not to be able to ask counts as use."""
        culler, kind, identity = self.culler, self.source.kind, item.record.identity
        if culler.guard is None:
            return
        began = culler.now()
        try:
            found = await culler.guard.ask(item.record, self.source.roots(identity))
        except Exception as error:
            words = f"activity signals could not be asked about it: {error!r}"
            culler.trouble(f"signals of {kind.value} {identity}", f"{kind.value} {identity} is kept: {words}")
            found = Use(used_by=words)
        now = culler.now()
        known = [at for at in (item.use.used_at, found.used_at) if at is not None and at <= now]
        in_use = found.used_by is not None or item.use.used_by is not None  # until now, as far as anyone knows
        used_at = now if in_use else max(known, default=None)
        item.use = Use(used_by=found.used_by, used_at=used_at, asked_at=min(began, now), answered_at=now)
        item.fingerprint, item.next_at = None, AT_ONCE
        culler.watches[kind].look_at(identity)


def _asked(item: Item, task: asyncio.Task[None]) -> None:
    """A question has ended, in whatever way."""
    if item.asking is task:
        item.asking = None
