"""What is remembered of apps: since when each is watched, when it was last used, and whose deletion was asked for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from ..decisions import IN_SERVICE
from ..records import AppRecord, utc

#: A list of apps that is older than this (seconds) is fetched again before anything on it is deleted.
FRESH_SECONDS = 1.0


@dataclass(slots=True, eq=False, repr=False)
class Memory:
    """What is remembered of an app for as long as it is in service; `listed` is its creation as it is listed."""

    watched_since: datetime
    listed: datetime | None
    last_activity: datetime | None = None

    @property
    def created_at(self) -> datetime | None:
        """When it was created: not after it was first seen."""
        return None if self.listed is None else min(self.listed, self.watched_since)

    def note(self, at: datetime | None) -> None:
        """Count use of it at an instant."""
        if at is not None and (self.last_activity is None or at > self.last_activity):
            self.last_activity = at

    def clamp(self, now: datetime) -> None:
        """Nothing has happened after now: what was seen so is from before the clock was set back."""
        self.watched_since = min(self.watched_since, now)
        self.last_activity = None if self.last_activity is None else min(self.last_activity, now)


@dataclass(slots=True, eq=False, repr=False)
class Ledger:
    """The apps as they were last listed, `refreshed_at`, and what is remembered of them.

    `asked` is when the deletion of one was asked for that is not known to have ended. `failed` are those that are in
    status Failed since, `lingering` those that stayed in service in spite of it.
    """

    listed: dict[str, AppRecord] = field(default_factory=dict)
    refreshed_at: datetime | None = None
    memories: dict[str, Memory] = field(default_factory=dict)
    asked: dict[str, datetime] = field(default_factory=dict)
    failed: set[str] = field(default_factory=set)
    lingering: set[str] = field(default_factory=set)

    @property
    def one_type(self) -> str | None:
        """The instance type of the first of them; None where there is none, or it is not known."""
        return next((record.instance_type for record in self.listed.values()), None)

    @property
    def running(self) -> set[str]:
        """Identities of the apps that are in service, by the list."""
        return {identity for identity, record in self.listed.items() if record.state == IN_SERVICE}

    def take(self, records: Iterable[AppRecord], asked_at: datetime, now: datetime) -> tuple[set[str], set[str]]:
        """Take over a list as it was at `asked_at`; gives whose memory ended, and whose began.

        What is remembered of an app ends when it is out of service, and begins anew when it was created since.
        """
        self.refreshed_at = min(asked_at, now)
        self.listed = {record.identity: record for record in records}
        running, begun = self.running, set()
        ended = self.memories.keys() - running
        for identity in ended:
            del self.memories[identity]
        for identity in running:
            created, known = utc(self.listed[identity].created_at, "created_at"), self.memories.get(identity)
            if known is None or (created is not None and known.listed is not None and created > known.listed):
                self.memories[identity] = Memory(now, created)
                begun.add(identity)
                if known is not None:
                    self.asked.pop(identity, None)  # what was deleted is another of the same name
        self.asked = {identity: min(since, now) for identity, since in self.asked.items()}
        return ended, begun

    def replace(self, record: AppRecord) -> None:
        """One app was looked at by itself."""
        self.listed = {**self.listed, record.identity: record}

    def drop(self, identity: str) -> None:
        """One app is gone."""
        self.listed = {name: record for name, record in self.listed.items() if name != identity}

    def begin_again(self, identity: str, since: datetime) -> None:
        """It may be another of the same name, created when the old one was gone: watched since then at the earliest."""
        known = self.memories[identity]
        self.memories[identity] = Memory(since, known.listed, known.last_activity)

    def note(self, identity: str, at: datetime | None) -> None:
        """Count use of an app at an instant, if it is in service."""
        if identity in self.memories:
            self.memories[identity].note(at)

    def state(self, identity: str) -> str | None:
        """Its status; one whose deletion was asked for is Deleting, whatever the list said before."""
        state = self.listed[identity].state
        return "Deleting" if identity in self.asked and state == IN_SERVICE else state

    def is_fresh(self, asked_at: datetime) -> bool:
        """Whether the list was asked for so lately that it need not be again."""
        return self.refreshed_at is not None and (asked_at - self.refreshed_at).total_seconds() < FRESH_SECONDS
