"""What is remembered of one thing between two looks."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from datetime import datetime

from ..decisions import Decision
from ..records import Outcome, Record, Use
from .clock import AT_ONCE

NOT_USED = Use()


class Item:
    """One kernel, terminal or app as it was read last, and what is under way with it.

    Of the reading: the decision holds for as long as the source's `fingerprint` is the same. `due_at` is when it is
    culled if nothing happens, `judged_at` since when the reason of its decision holds, `told` whether those who listen
    know. `next_at` is when it needs attention again if nothing happens.

    Of the notices: `use` is what activity signals found, `asking` the question to them that is under way, `warned_for`
    the deadline that a warning was given of; `warned_at` is when one was given that it grows too old. `proving` is the
    question to a busy kernel whether it still is.

    Of its shutdown: `task` carries it out, and `stopping` means that it cannot be taken back any more. `doubt` says why
    nobody could tell whether it is really idle, when it was asked before it was to be culled. `attempts` have failed,
    and the next is at `retry_at`; `rehearsed` means that it would have been culled, but for `dry_run`.
    """

    def __init__(self, fingerprint: Hashable, record: Record, decision: Decision) -> None:
        self.fingerprint, self.record, self.decision = fingerprint, record, decision
        self.due_at: datetime | None = None
        self.judged_at = self.next_at = AT_ONCE
        self.told = self.stopping = self.rehearsed = False
        self.use = NOT_USED
        self.warned_for: datetime | None = None
        self.warned_at: datetime | None = None
        self.asking: asyncio.Task[None] | None = None
        self.proving: asyncio.Task[None] | None = None
        self.task: asyncio.Task[Outcome] | None = None
        self.doubt: str | None = None
        self.attempts = 0
        self.retry_at: datetime | None = None

    def read_anew(self) -> None:
        """Something of it has changed that its fingerprint does not show."""
        self.fingerprint, self.next_at = None, AT_ONCE

    def decide_anew(self, now: datetime) -> None:
        """The policy or the clock has changed: nothing that was decided holds, and nothing happened after now."""
        self.read_anew()
        self.retry_at, self.rehearsed = None, False
        self.use = self.use.not_after(now)
        self.warned_at = None if self.warned_at is None else min(self.warned_at, now)

    def take(self, fingerprint: Hashable, record: Record, decision: Decision) -> None:
        """Take over a new reading; what was found out for another record does not hold for this one."""
        same = self.record == record
        self.rehearsed = self.rehearsed and same
        self.doubt = self.doubt if same else None
        self.fingerprint, self.record, self.decision = fingerprint, record, decision
        self.next_at = AT_ONCE

    def set_deadline(self) -> bool:
        """Set when it is due, by its decision or the next attempt; whether failed attempts are over."""
        self.due_at = AT_ONCE if self.decision.cull else self.decision.due_at
        if self.decision.cull:
            self.due_at = self.retry_at or self.due_at
            return False
        over, self.attempts, self.retry_at = self.attempts > 0, 0, None
        return over

    def answered(self, found: Use, began: datetime, now: datetime) -> None:
        """Take over what the signals, asked from `began` until `now`, say of it."""
        known = [at for at in (self.use.used_at, found.used_at) if at is not None and at <= now]
        in_use = found.used_by is not None or self.use.used_by is not None  # until now, as far as anyone knows
        used_at = now if in_use else max(known, default=None)
        self.use = Use(used_by=found.used_by, used_at=used_at, asked_at=min(began, now), answered_at=now)
        self.read_anew()

    def ended(self) -> None:
        """Its shutdown has ended, in whatever way."""
        self.task, self.stopping = None, False

    def stays(self, until: datetime) -> None:
        """It was not to be stopped after all; it is not tried again before then."""
        self.retry_at = self.due_at = until

    def failed(self, retry_at: datetime) -> None:
        """Its shutdown failed, and is tried again."""
        self.attempts += 1
        self.retry_at = self.due_at = retry_at
