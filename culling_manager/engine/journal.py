"""What is told: troubles, outcomes, the lines of the log, and what those who listen hear."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, TypeAlias

from .._version import __version__
from ..decisions import Decision, Reason
from ..errors import STAYS_BILLED, ErrorCode, Troubles, code_of, printable
from ..policy import CullingPolicy
from ..records import Happening, Kind, Outcome, Record, Result
from ..report import called, culling_line, heartbeat_line, policy_line, sentence
from .clock import Clock
from .item import Item
from .tally import Tally

Log: TypeAlias = "logging.Logger | logging.LoggerAdapter[Any]"


class Journal:
    """Tells each thing once, and remembers it for `status`."""

    def __init__(self, log: Log, clock: Clock) -> None:
        self.log = log
        self.troubles = Troubles()
        self.outcomes: deque[Outcome] = deque(maxlen=50)
        self.tally = Tally()
        self.listeners: list[Callable[[Happening], None]] = [self.tally.told]
        self._clock = clock

    # -- what goes wrong -----------------------------------------------------------------------

    def trouble(self, subject: str, words: str, code: ErrorCode = ErrorCode.FAILED, told: bool = False) -> bool:
        """Remember what went wrong; into the log once per change. Gives whether it is one."""
        news = self.troubles.note(subject, words, self._clock.now(), code)
        if news and not told:
            self.log.warning("Culling: %s", printable(words))
        return news

    def bug(self, subject: str, words: str, error: Exception, next_words: str = "nothing stops for that") -> None:
        """Something of ours, or of those who are called at a heartbeat, failed; and what comes next."""
        self.log.exception("Culling: %s; %s", words, next_words)
        self.trouble(subject, f"{words}: {error!r}", told=True)

    def odd_timeout(self, identity: str, words: str) -> None:
        """A kernelspec's own timeout makes no sense, and the policy's counts in its place."""
        self.trouble(f"timeout of kernel {identity}", f"kernel {identity}: {words}; idle_timeout counts in its place")

    def gone(self, kind: Kind, identity: str) -> None:
        """It is gone, and with it what was wrong with it."""
        subject = f"{kind.value} {identity}"
        for each in (subject, f"timeout of {subject}", f"signals of {subject}", f"pre_cull_hook for {subject}"):
            self.troubles.over(each)

    def jumped(self, seconds: float) -> None:
        """The clock jumped."""
        self.log.warning(
            "The clock jumped by %+.1f s against monotonic time: every deadline is moved so that "
            "at least five minutes (or the timeout, if that is shorter) are left.",
            seconds,
        )

    def stood_still(self, seconds: float) -> None:
        """A wake-up came late."""
        self.log.warning(
            "The event loop stood still for %.1f s: messages that wait are read before anything is culled.", seconds
        )

    # -- what happens --------------------------------------------------------------------------

    def tell(self, happening: Happening) -> None:
        """Tell those who listen; one that fails is logged and stops nothing."""
        for listener in self.listeners:
            try:
                listener(happening)
            except Exception:
                self.log.exception("Culling: telling that %s was %s failed", happening.kind.value, happening.action)

    def tell_item(self, action: str, item: Item, now: datetime, words: str = "") -> None:
        """Tell those who listen what becomes of an item; `words` in place of why it was decided so."""
        record, decision = item.record, item.decision
        self.tell(
            Happening(
                action=action,
                kind=record.kind,
                record=record,
                reason=(decision.due_for if action == "warned" and decision.due_for else decision.reason).value,
                at=now,
                idle_seconds=decision.idle_seconds,
                due_at=decision.due_at,
                detail=words or sentence(record, decision, now),
            )
        )

    def judged_otherwise(self, item: Item, decision: Decision) -> None:
        """The line when something is judged otherwise than before."""
        subject = f"{item.record.kind.value} {item.record.identity}"
        self.log.debug("%s: %s", printable(subject), decision.reason.value)
        if item.decision.reason is Reason.UNKNOWN and self.troubles.over(subject):
            self.log.info("Culling: %s can be judged again: %s", printable(subject), decision.reason.value)

    def culling(self, record: Record, decision: Decision, attempts: int) -> None:
        """The line before something is shut down; told once, and not again at each try after a failed one."""
        self.log.log(logging.DEBUG if attempts else logging.WARNING, "%s", printable(culling_line(record, decision)))

    def outcome(self, outcome: Outcome, record: Record) -> None:
        """The line after it, where there is something to add, and the memory for `status`."""
        self.outcomes.append(outcome)
        subject = printable(called(record))
        if outcome.result is Result.DRY_RUN:
            idle = int(outcome.idle_seconds or 0)
            self.log.warning("Dry run: would cull %s: %s, %d seconds of inactivity.", subject, outcome.reason, idle)
        elif outcome.result is not Result.FAILED:
            self.log.debug("%s: %s %s", subject, outcome.result.value, outcome.message)

    # -- that it runs --------------------------------------------------------------------------

    def starts(self, policy: CullingPolicy, kinds: Iterable[Kind]) -> None:
        """The line when culling starts."""
        self.log.info("Culling: %s", policy_line(policy, kinds))

    def heartbeat(
        self, policy: CullingPolicy, count: int, app_manager: str, kinds: Iterable[Kind], times: Mapping[str, Any]
    ) -> None:
        """The line that shows to a fleet check that the culler runs, with which settings, and how time was spent."""
        level = max(logging.INFO, self.log.getEffectiveLevel())  # so that it is written whatever the log's level is
        words, codes = self.troubles.last_text(), self.troubles.codes()
        self.log.log(level, "%s", heartbeat_line(__version__, policy, count, app_manager, kinds, words, codes, times))


def unread(kind: Kind, error: Exception) -> ErrorCode:
    """What it is called that things of a kind cannot be listed: of apps, what of it keeps them on the bill."""
    code = code_of(error)
    if kind is Kind.APP:
        return code if code in STAYS_BILLED else ErrorCode.APPS_UNREAD
    return ErrorCode.UNREAD if code is ErrorCode.FAILED else code


def not_stopped(kind: Kind, error: Exception) -> ErrorCode:
    """What it is called that something could not be stopped: an app that could not be deleted stays on the bill."""
    code = code_of(error)
    if kind is Kind.APP:
        return code if code in STAYS_BILLED else ErrorCode.NOT_DELETED
    return ErrorCode.NOT_STOPPED if code is ErrorCode.FAILED else code
