"""Reading and judging the items of one source.

A decision stands for as long as the cheap fingerprint of its item does; only what changed is read and decided anew,
always by the one set of rules. What cannot be read is kept, and so is everything while its facts cannot be fetched.
"""

from __future__ import annotations

from collections.abc import Hashable
from datetime import datetime, timedelta

from ..decisions import Decision, Reason, decide, hold_after, hold_for_notice, timeout
from ..errors import ErrorCode
from ..records import AppRecord, KernelRecord, Record
from .backoff import RETRY_CAP_SECONDS, RETRY_SECONDS, backoff
from .clock import NEVER
from .item import Item
from .journal import unread
from .ports import Source
from .situation import Situation

#: How long the state of something has to be unknown (seconds) before those who listen are told.
UNKNOWN_SECONDS = 15.0
#: Reasons that are told to those who listen when they begin to hold.
WORTH_TELLING = frozenset({Reason.KEPT_ALIVE, Reason.USED, Reason.GRACE, Reason.UNKNOWN})


class Freshness:
    """How old the facts of one source are that do not come by themselves, and fetching them.

    They are fetched from `stale_at` on. `failure` says in words why that failed; nothing is decided until it succeeds.
    """

    def __init__(self, source: Source, situation: Situation) -> None:
        self.source, self.situation = source, situation
        self.stale_at: datetime = NEVER
        self.failure: str | None = None
        self._failures = 0

    @property
    def comes_by_fetching(self) -> bool:
        """Whether there are such facts at all."""
        return self.source.stale_after(self.situation.policy) is not None

    def expect(self, now: datetime) -> None:
        """See when they will be too old, where that is not known."""
        if self.stale_at is NEVER:
            self.stale_at = self._stale_from(now)

    def expect_anew(self, now: datetime) -> None:
        """The policy or the clock has changed. What failed is not tried sooner than planned for that."""
        if self.failure is None:
            self.no_older_than(self._stale_from(now))
        else:
            self.no_older_than(now + timedelta(seconds=backoff(self._failures)))

    def no_older_than(self, at: datetime) -> None:
        """They will be fetched at an instant at the latest."""
        self.stale_at = min(self.stale_at, at)

    def doubted(self, now: datetime, since: datetime) -> None:
        """The state of something is not known `since` an instant: fetch them before long, and less and less often."""
        if self.failure is None:
            lasting = (now - since).total_seconds() if self.comes_by_fetching else 0.0
            wait = min(max(RETRY_SECONDS, lasting / 2), RETRY_CAP_SECONDS)
            self.no_older_than(now + timedelta(seconds=wait))

    async def renew(self, now: datetime) -> bool:
        """Fetch fresh facts; False when that failed, and then nothing is decided on old ones."""
        kind, journal = self.source.kind, self.situation.journal
        subject = f"{kind.value}s"
        try:
            await self.source.refresh()
        except Exception as error:
            self._failures += 1
            journal.tally.failed[kind, "read"] += 1
            self.stale_at = now + timedelta(seconds=backoff(self._failures))
            self.failure = f"{error or repr(error)}; nothing is culled on old facts"
            journal.trouble(subject, self.failure, unread(kind, error))
            return False
        self.failure, self._failures = None, 0
        if journal.troubles.over(subject):
            journal.log.info("Culling: %s can be read again", subject)
        self.stale_at = self._stale_from(now)
        return True

    def _stale_from(self, now: datetime) -> datetime:
        stale_after = self.source.stale_after(self.situation.policy)
        return NEVER if stale_after is None else now + timedelta(seconds=stale_after)


class Readings:
    """The items of one source, each with the decision on what can be seen of it."""

    def __init__(self, source: Source, situation: Situation) -> None:
        self.source, self.situation = source, situation
        self.items: dict[str, Item] = {}
        self.freshness = Freshness(source, situation)
        self._future: dict[str, tuple[datetime, datetime]] = {}

    def current(self, identity: str, now: datetime) -> Item | None:
        """The item with a decision on what can be seen of it now; None when it is gone."""
        fingerprint, words = None, None
        try:
            fingerprint = self.source.fingerprint(identity)
        except KeyError:
            return None
        except Exception as error:
            words = self._unread(identity, error)
        item = self.items.get(identity)
        if item is not None and item.stopping:
            return item  # what its end makes it say is no news
        stands = item is not None and fingerprint is not None and item.fingerprint == fingerprint
        return item if stands and self.freshness.failure is None else self._judge(identity, fingerprint, now, words)

    def decide(self, record: Record, now: datetime) -> Decision:
        """The decision on a record under the policy in force, after whatever a jump of the clock or a notice leaves."""
        situation = self.situation
        decision, seconds = decide(record, situation.policy, now), timeout(record, situation.policy)
        if situation.notice_at is not None:
            decision = hold_for_notice(decision, situation.notice_at, situation.policy.warning(seconds), now)
        return hold_after(decision, situation.jumped_at, seconds, now)

    def decide_again(self, item: Item, now: datetime) -> Decision:
        """Decide once more on what was read of an item, so that reason and idle time are today's."""
        item.decision = self.decide(item.record, now)
        return item.decision

    def all(self, now: datetime) -> list[tuple[Record, Decision]]:
        """Every item as it is now, with today's decision; acts on nothing. One in doubt is unknown, and so kept."""
        found = [self.current(identity, now) for identity, _, _ in self.source.glance(self.situation.policy)]
        items = [each for each in found if each is not None]
        records = [each.record if each.doubt is None else each.record._replace(error=each.doubt) for each in items]
        return [(record, self.decide(record, now)) for record in records]

    def last_record(self, identity: str, now: datetime) -> Record | None:
        """A fresh record of one item; of one that is gone already the last one, None when there is none."""
        try:
            return self._read(identity, now)
        except KeyError:
            return self.items[identity].record if identity in self.items else None

    def forget_decisions(self, now: datetime) -> None:
        """The policy or the clock changed: decide everything anew."""
        for item in self.items.values():
            item.decide_anew(now)
        self.freshness.expect_anew(now)

    def forget_reading(self, identity: str | None) -> None:
        """What was asked for one item, or for all, changed: read anew. What failed is not tried sooner for that."""
        for item in self.items.values() if identity is None else filter(None, [self.items.get(identity)]):
            item.read_anew()

    def drop_gone(self) -> list[str]:
        """Forget what is gone, and all that was known of it; gives which, but for what is being culled just now."""
        kind, source, requests = self.source.kind, self.source, self.situation.requests
        for identity in requests.asked_for(kind):
            if not source.exists(identity):
                requests.take_back(kind, identity)
        gone = [each for each, item in self.items.items() if not source.exists(each) and item.task is None]
        for identity in gone:
            del self.items[identity]
            self._future.pop(identity, None)
            self.situation.journal.gone(kind, identity)
        return gone

    def _judge(self, identity: str, fingerprint: Hashable, now: datetime, words: str | None) -> Item | None:
        """Read, unless `words` say why that is no use, and decide anew; None when it is gone."""
        kind, journal = self.source.kind, self.situation.journal
        try:
            record = self._read(identity, now, words)
        except KeyError:
            return None
        decision = self.decide(record, now)
        item = self.items.get(identity)
        news = item is None or item.decision.reason is not decision.reason
        if item is None:
            item = self.items[identity] = Item(fingerprint, record, decision)
        elif news:
            journal.judged_otherwise(item, decision)
        if news:
            item.judged_at, item.told = now, False
        item.take(fingerprint, record, decision)
        self._tell_kept(item, now)
        if item.set_deadline():
            journal.troubles.over(f"{kind.value} {identity}")
        if decision.reason is Reason.UNKNOWN:
            self._doubt(item, now)
        elif isinstance(record, KernelRecord) and record.odd_timeout is not None:
            journal.odd_timeout(identity, record.odd_timeout)
        return item

    def _read(self, identity: str, now: datetime, words: str | None = None) -> Record:
        """Read one record; what cannot be read keeps what was known of it, and says why it is not to be trusted."""
        words = self.freshness.failure or words
        if words is None:
            try:
                record = self.source.read(identity, now)
            except KeyError:
                raise
            except Exception as error:
                words = self._unread(identity, error)
        if words is not None:
            known = self.items.get(identity)
            record = self.source.unreadable(identity, words) if known is None else known.record._replace(error=words)
        if record.last_activity is not None and record.last_activity > now:
            record = record._replace(last_activity=self._seen(identity, record.last_activity, now))
        return self._with_requests(record)

    def _unread(self, identity: str, error: Exception) -> str:
        return f"{self.source.kind.value} {identity} is kept, for reading it failed: {error or repr(error)}"

    def _seen(self, identity: str, at: datetime, now: datetime) -> datetime:
        """When activity in the future was first seen: it cannot have happened later than that."""
        known, seen = self._future.get(identity, (None, now))
        seen = seen if known == at and seen <= now else now
        self._future[identity] = (at, seen)
        return seen

    def _with_requests(self, record: Record) -> Record:
        """With what was asked for, and what activity signals have found."""
        record = self.situation.requests.noted_on(record)
        item = self.items.get(record.identity)
        if item is None:
            return record
        record = record._replace(warned_at=item.warned_at) if isinstance(record, AppRecord) else record
        use = item.use
        return record if use.asked_at is None else record._replace(used_by=use.used_by, used_at=use.used_at)

    def _tell_kept(self, item: Item, now: datetime) -> None:
        """Tell once why it is kept; that nobody knows its state only when that lasts."""
        reason = item.decision.reason
        if item.told or self.freshness.failure is not None or reason not in WORTH_TELLING:
            return
        if now >= item.judged_at + timedelta(seconds=UNKNOWN_SECONDS if reason is Reason.UNKNOWN else 0):
            item.told = True
            self.situation.journal.tell_item("kept", item, now)

    def _doubt(self, item: Item, now: datetime) -> None:
        """Tell why it is kept without being known, and read it again before long."""
        record, subject = item.record, f"{self.source.kind.value} {item.record.identity}"
        item.fingerprint = None
        self.freshness.doubted(now, item.judged_at)
        if record.error is None or record.error != self.freshness.failure:
            odd, state = getattr(record, "odd_timeout", None), getattr(record, "state", None)
            why = odd or f"its state is not known: state {state!r}, last activity {record.last_activity}"
            words = record.error or f"{subject} is kept, for {why}"
            if self.situation.journal.trouble(subject, words, ErrorCode.UNREAD) and record.error is not None:
                self.situation.journal.tally.failed[self.source.kind, "read"] += 1
