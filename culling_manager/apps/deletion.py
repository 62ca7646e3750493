"""Having an app deleted, and confirming what became of it: gone, failed, or in service still after all."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from ..concurrency import in_thread
from ..decisions import IN_SERVICE, decide_app
from ..errors import ErrorCode, GoneError, ReadError
from ..records import AppRecord, Happening, Kind
from ..report import iso, sentence
from .accounts import Accounts
from .base import AppManager
from .ledger import Ledger
from .ports import Engine

#: How soon (seconds), at first, it is looked what became of an accepted deletion.
POLL_SECONDS = 60.0
#: What trouble with the note of the last stop is noted under.
NOTE = "note of the last stop"


@dataclass(slots=True, eq=False, repr=False)
class Deletions:
    """The deletions of one server's apps, as the ledger has them."""

    engine: Engine
    ledger: Ledger
    accounts: Accounts

    async def ask(self, record: AppRecord, apps: AppManager) -> None:
        """Have it deleted, and tell before and after. KeyError when it is gone, or going, already."""
        self._tell("deleting", record)
        await self.accounts.flush()  # on the disk, whatever becomes of this server now
        await self._note_stop(record, type(apps).__name__)
        try:
            await apps.delete_app(record)
        except GoneError as error:
            self._was_asked(record.identity)
            self.engine.log.info("Culling: app %s: %s", record.name, error)
            self.accounts.tell("refused", record)  # perhaps it was somebody else's
            await self.accounts.flush()
            raise KeyError(record.identity) from error
        except Exception as error:
            self._tell("refused", record, str(error) or repr(error))
            await self.accounts.flush()
            await self._note_stop(None, "")
            raise
        self._was_asked(record.identity)
        self._tell("accepted", record)
        await self.accounts.flush()

    async def _note_stop(self, record: AppRecord | None, manager: str) -> None:
        """Leave a note for the next server of why this one ends its own app; with no record take it back."""
        note, now = self.accounts.last_stop, self.engine.now()
        if note is None:
            return
        try:
            if record is None:
                await in_thread(note.withdraw)
            else:
                decision = decide_app(record, self.engine.policy, now)
                found = {
                    **{"at": iso(now), "name": record.name, "app_type": record.app_type, "identity": record.identity},
                    **{"manager": manager, "reason": decision.reason.value, "idle_seconds": decision.idle_seconds},
                    "detail": sentence(record, decision, now),
                }
                await in_thread(lambda: note.write(found))
            self.engine.troubles.over(NOTE)
        except ReadError as error:
            self.engine.trouble(NOTE, str(error))

    def _was_asked(self, identity: str) -> None:
        """Deleting takes its time: look now and then what became of it, and do not ask again meanwhile."""
        self.ledger.asked[identity] = self.engine.now()
        self.engine.watches[Kind.APP].refresh_within(POLL_SECONDS)

    def _tell(self, action: str, record: AppRecord, words: str = "") -> None:
        """Tell those who listen."""
        now = self.engine.now()
        decision = decide_app(record, self.engine.policy, now)
        self.accounts.tell(action, record, decision)
        self.engine.tell(
            Happening(
                action=action,
                kind=Kind.APP,
                record=record,
                reason=decision.reason.value,
                at=now,
                idle_seconds=decision.idle_seconds,
                due_at=decision.due_at,
                detail=words or sentence(record, decision, now),
            )
        )

    def poll_after(self, half: float) -> float:
        """Seconds until it is to be looked again what became of them, less and less often; at most `half`."""
        if self.ledger.refreshed_at is None:
            return 0.0
        since = [max(0.0, (self.ledger.refreshed_at - at).total_seconds()) for at in self.ledger.asked.values()]
        return min(half, max(POLL_SECONDS, min(since))) if since else half

    def is_going(self, identity: str, apps: AppManager) -> bool:
        """Whether it is being deleted, as far as anybody knows: one that is listed again may be another."""
        if identity not in self.ledger.listed:
            return False
        watch = self.engine.watches.get(Kind.APP)
        if self.ledger.listed[identity].state == "Deleting" or (watch is not None and watch.being_culled(identity)):
            return True
        asked_at, refreshed_at = self.ledger.asked.get(identity), self.ledger.refreshed_at
        return asked_at is not None and (not apps.lists or refreshed_at is None or refreshed_at <= asked_at)

    def follow(self, apps: AppManager, now: datetime) -> None:
        """There is a fresh list: see what became of each."""
        ledger, running = self.ledger, self.ledger.running
        for identity in ledger.failed & running:
            ledger.failed.discard(identity)
            self.engine.troubles.over(f"app {identity}")
        for identity in ledger.lingering - running:
            ledger.lingering.discard(identity)
            self.engine.troubles.over(f"deletion of app {identity}")
        for identity, since in list(ledger.asked.items()):
            self._see(identity, since, apps, now)

    def _see(self, identity: str, since: datetime, apps: AppManager, now: datetime) -> None:
        """An app whose deletion was accepted is gone, going, failed, or still there after all."""
        ledger, record = self.ledger, self.ledger.listed.get(identity)
        if record is None or record.state != IN_SERVICE:
            del ledger.asked[identity]
            if record is not None and record.state == "Failed":
                ledger.failed.add(identity)
                words = f"app {record.name} is in status Failed since its deletion"
                self.engine.trouble(f"app {identity}", words, ErrorCode.NOT_DELETED)
        elif now - since > timedelta(seconds=apps.patience):
            del ledger.asked[identity]
            ledger.lingering.add(identity)
            if apps.lists:  # perhaps it is another of the same name by now
                ledger.begin_again(identity, since)
            self.engine.tally.returned(identity, since)
            self.engine.trouble(
                f"deletion of app {identity}",
                f"app {record.name} is still in service {apps.patience / 60:g} minutes after its deletion was "
                f"accepted, or said to be done already: it is asked for again "
                f"{'a timeout later' if apps.lists else 'now'}",
                ErrorCode.STILL_IN_SERVICE,
            )
