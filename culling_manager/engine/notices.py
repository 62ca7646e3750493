"""What is to be done about something before its deadline: warn of it, and ask activity signals whether it is in use."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from datetime import datetime, timedelta

from ..decisions import KEEPS_UNTIL, Reason, timeout
from ..errors import ErrorCode
from ..records import KernelRecord, Use
from ..report import sentence
from ..rules.common import LEASE_DOUBT_SECONDS
from ..rules.proof import proof_at
from .clock import NEVER
from .item import NOT_USED, Item
from .ports import Naming, Proving, Source
from .situation import Situation

#: How often (seconds) what activity signals found in use is looked at again.
ASK_AGAIN_SECONDS = 60.0
#: And no sooner than this (seconds), however short its timeout is.
ASK_LEAST_SECONDS = 2.0
#: Reasons that end by themselves at `due_at`: then it is culled.
ENDS_BY_ITSELF = KEEPS_UNTIL | {Reason.BUSY}


class Notices:
    """What the items of one source need besides culling; `attended` are those that are warned of or found in use."""

    def __init__(self, source: Source, situation: Situation) -> None:
        self.source, self.situation = source, situation
        self.attended: set[str] = set()
        self._visit_mono = 0.0
        self._proving = source if isinstance(source, Proving) else None  # asking that takes a while

    def whom_to_visit(self) -> list[str]:
        """Those to look at now, once per heartbeat: whether what they are warned of, or in use by, still holds."""
        if self.until_visit() > 0:
            return []
        self._visit_mono = self.situation.clock.monotonic() + self.situation.policy.cull_interval
        return list(self.attended)

    def until_visit(self) -> float:
        """Seconds until the next visit is due; infinite when there is nobody to visit."""
        return self._visit_mono - self.situation.clock.monotonic() if self.attended else math.inf

    def timeout(self, item: Item) -> float:
        """Seconds of idleness after which an item is due."""
        return timeout(item.record, self.situation.policy)

    def attend(self, item: Item, now: datetime) -> datetime:
        """Warn, or take a warning back, when it is time for it; gives when to look at it next, if nothing happens."""
        self._warn(item, now)
        if item.decision.reason is Reason.OFF:
            item.use = NOT_USED
        attended = item.warned_for is not None or item.use.used_by is not None
        (self.attended.add if attended else self.attended.discard)(item.record.identity)
        # At the very deadline it is not due yet, so that appointment still stands.
        return min((at for at in self._appointments(item) if at >= now), default=NEVER)

    def wants_asking(self, item: Item, now: datetime) -> bool:
        """Whether to ask the signals now: shortly before the deadline, and again and again while it is in use."""
        if item.asking is not None or self.situation.guard is None:
            return False
        if getattr(item.record, "state", None) == "busy" or item.decision.reason is Reason.OFF:
            return False
        asked_at = item.use.asked_at
        if item.use.used_by is not None and asked_at is not None:
            return now >= asked_at + self._ask_again(item)
        if item.due_at is None or item.decision.reason not in ENDS_BY_ITSELF:
            return False
        ask_at = item.due_at - self.situation.lead(self.timeout(item))
        return now >= ask_at and (asked_at is None or asked_at < ask_at)

    def next_proof(self) -> datetime:
        """When the first of the busy kernels that nothing else is known of is to be asked."""
        return NEVER if self._proving is None else self._proving.next_proof()

    def have_proved(self, item: Item, now: datetime, then: Callable[[str], None]) -> None:
        """Have a busy kernel asked whether it still is, when it is time for that, and `then` looked at."""
        at = self._proof_at(item)
        if at is None or now < at or item.proving is not None:
            return

        async def prove() -> None:
            await self._prove(item)
            item.proving = None
            then(item.record.identity)

        item.proving = asyncio.get_running_loop().create_task(prove())

    async def _prove(self, item: Item) -> None:
        """A question that fails is told, and shows nothing."""
        try:
            if self._proving is not None and isinstance(item.record, KernelRecord):
                await self._proving.prove(item.record)
        except Exception as error:
            subject = f"kernel {item.record.identity}"
            self.situation.journal.bug(subject, "asking whether it is still busy failed", error, "it is kept")

    def _proof_at(self, item: Item) -> datetime | None:
        """When a busy kernel is asked; None when nobody can, or it is not to be asked."""
        if self._proving is None or not isinstance(item.record, KernelRecord):
            return None
        return proof_at(item.record, self.situation.policy)

    async def ask(self, item: Item) -> None:
        """Ask the activity signals about it, and remember what they say. Not to be able to ask counts as use."""
        situation, subject = self.situation, f"{self.source.kind.value} {item.record.identity}"
        if situation.guard is None:
            return
        began = situation.now()
        try:
            found = await situation.guard.ask(item.record, self.source.roots(item.record.identity))
        except Exception as error:
            words = f"activity signals could not be asked about it: {error!r}"
            situation.journal.trouble(f"signals of {subject}", f"{subject} is kept: {words}", ErrorCode.SIGNAL_FAILED)
            found = Use(used_by=words)
        item.answered(found, began, situation.now())

    def name(self, item: Item) -> None:
        """Have its record say what a person calls it, where that is found out only before it is told of."""
        if isinstance(self.source, Naming):
            item.record = item.record._replace(**self.source.names(item.record.identity))

    def over(self, item: Item) -> None:
        """There is nothing more to be warned of: what it was warned of has happened, or it is gone."""
        item.warned_for = None
        self.attended.discard(item.record.identity)

    def _appointments(self, item: Item) -> list[datetime]:
        """When something may have to be done about it."""
        proof = self._proof_at(item)
        found = [] if proof is None else [proof]
        if item.use.used_by is not None and item.use.asked_at is not None:
            found.append(item.use.asked_at + self._ask_again(item))
        if item.decision.cap_at is not None:
            found.append(item.decision.cap_at - timedelta(seconds=self.situation.policy.age_warning))
        if item.due_at is not None:
            found.append(item.due_at)
            if item.decision.reason in ENDS_BY_ITSELF or item.decision.due_for is not None:
                found.append(item.due_at - timedelta(seconds=self._warning(item)))
                found.append(item.due_at - self.situation.lead(self.timeout(item)))
        return found

    def _warn(self, item: Item, now: datetime) -> None:
        """Warn once of a deadline that is near; take it back when it is not any more."""
        policy, decision, ahead = self.situation.policy, item.decision, self._warning(item)
        if decision.reason is Reason.UNKNOWN:
            return  # nobody knows whether it still holds
        ends = decision.reason in ENDS_BY_ITSELF or decision.due_for is not None
        near = ends and item.due_at is not None and ahead > 0
        near = near and item.due_at is not None and now >= item.due_at - timedelta(seconds=ahead)
        cap_at = decision.cap_at
        too_old = cap_at is not None and now >= cap_at - timedelta(seconds=policy.age_warning)
        if near or too_old:
            if (item.warned_for is None or (too_old and item.warned_at is None)) and not policy.dry_run:
                self._tell("warned", item, now, "" if too_old else self._unless(item, now))
            item.warned_for = None if policy.dry_run else item.due_at
            item.warned_at = (item.warned_at or now) if too_old else None
        elif not decision.cull:
            item.warned_at = None
            if item.warned_for is not None:
                item.warned_for = None
                self._tell("withdrawn", item, now)

    def _warning(self, item: Item) -> float:
        """Seconds ahead of its deadline at which to warn of it."""
        policy, decision = self.situation.policy, item.decision
        if decision.renews:  # its program lives as long as it is renewed, which is well before that
            return min(LEASE_DOUBT_SECONDS, policy.warning(self.timeout(item)))
        if decision.due_for is Reason.TOO_OLD or decision.reason is Reason.TOO_OLD:
            return policy.age_warning
        if decision.due_for is Reason.AT_WORK_TOO_LONG:
            return policy.warning(policy.max_at_work)
        return policy.warning(policy.busy_timeout if decision.reason is Reason.BUSY else self.timeout(item))

    def _ask_again(self, item: Item) -> timedelta:
        """How long after an answer that it is in use it is asked about again."""
        return timedelta(seconds=max(ASK_LEAST_SECONDS, min(ASK_AGAIN_SECONDS, self.timeout(item) / 2)))

    def _unless(self, item: Item, now: datetime) -> str:
        """The words of a warning that is given before the signals were asked; none where there is nobody to ask."""
        asked_at, used_at = item.use.asked_at, item.record.last_activity
        asked = asked_at is not None and (used_at is None or asked_at >= used_at)
        if self.situation.guard is None or asked or getattr(item.record, "state", None) == "busy":
            return ""
        return f"{sentence(item.record, item.decision, now).removesuffix('.')}, unless it still works."

    def _tell(self, action: str, item: Item, now: datetime, words: str = "") -> None:
        self.name(item)
        self.situation.journal.tell_item(action, item, now, words)
