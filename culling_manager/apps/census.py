"""Who lives on which app: one count for a whole look, in which everybody is judged once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from ..decisions import Decision, Reason, keeps_app, keeps_app_until
from ..records import KernelRecord, TerminalRecord
from ..report import document_of

Resident = KernelRecord | TerminalRecord
#: So many of those that keep an app are named.
NAMED = 3
#: For so long (seconds) a census stands for those who look at about the same time. A last look takes one of its own.
STANDS_SECONDS = 0.05


def subject_of(record: Resident) -> str:
    """How a kernel or terminal is named in words."""
    return f"{record.kind.value} {record.identity}"


def keeper(record: Resident, decision: Decision) -> str:
    """How one that keeps an app is named, and why: a kernel by its document, its id last."""
    document, why = document_of(record), decision.reason.value
    if document is not None:
        return f"kernel of {document} ({why}; {record.identity})"
    return f"{subject_of(record)} ({why})"


def _latest(*known: datetime | None) -> datetime | None:
    return max((at for at in known if at is not None), default=None)


@dataclass(slots=True, eq=False, repr=False)
class Household:
    """Kernels and terminals that live, or may live, on the same apps, and what they mean for each of those.

    `keepers` names the first of those that keep them, one more than are told; `until` is when the last is due of those
    that keep them until an instant, and `renews` whether one of them by a lease.
    """

    residents: list[tuple[Resident, Decision]] = field(default_factory=list)
    last_use: datetime | None = None
    keepers: list[str] = field(default_factory=list)
    until: datetime | None = None
    renews: bool = False
    kept_until: datetime | None = None

    def add(self, record: Resident, decision: Decision, used_at: datetime | None) -> None:
        """Count one."""
        self.residents.append((record, decision))
        self.last_use = _latest(self.last_use, used_at)
        if len(self.keepers) <= NAMED and keeps_app(decision):
            self.keepers.append(keeper(record, decision))
        own = record.kept_until if decision.reason is Reason.WITH_APP else None
        self.until = _latest(self.until, keeps_app_until(decision), own)
        self.renews |= decision.renews or (own is not None and record.leased)
        self.kept_until = _latest(self.kept_until, record.kept_until)

    def kept_by(self, more: list[str]) -> str | None:
        """Who keeps the app, and `more`, in words; None when nobody does."""
        keepers = self.keepers + more
        return ", ".join(keepers[:NAMED]) + (" and others" if keepers[NAMED:] else "") if keepers else None

    def join(self, other: Household) -> None:
        """Count, beside those of one household, what others mean for an app."""
        self.last_use = _latest(self.last_use, other.last_use)
        self.keepers += other.keepers[: NAMED + 1 - len(self.keepers)]
        self.until = _latest(self.until, other.until)
        self.renews |= other.renews
        self.kept_until = _latest(self.kept_until, other.kept_until)


class Census(NamedTuple):
    """The households at an instant, by the apps that they are on; `done` is when it had been taken."""

    at: datetime
    done: datetime
    on: Mapping[str, list[Household]]

    def of(self, identity: str) -> Household:
        """What all who live, or may live, on one app mean for it."""
        found = Household()
        for household in self.on.get(identity, ()):
            found.join(household)
        return found

    def residents(self, identity: str) -> list[tuple[Resident, Decision]]:
        """All who live, or may live, on one app, and what is decided on each."""
        return [each for household in self.on.get(identity, ()) for each in household.residents]

    def stands(self, now: datetime) -> bool:
        """Whether it is from just now."""
        return self.at <= now and (now - self.done).total_seconds() <= STANDS_SECONDS


def count(residents: Iterable[tuple[Resident, Decision, Iterable[str], datetime | None]], at: datetime) -> Census:
    """Take a census of kernels and terminals with what is decided on them, their apps, and when each was last used.

    Linear in their number and that of the apps, also when all of them may live on any app.
    """
    households: dict[tuple[str, ...], Household] = {}
    for record, decision, homes, used_at in residents:
        households.setdefault(tuple(homes), Household()).add(record, decision, used_at)
    on: dict[str, list[Household]] = {}
    for names, household in households.items():
        for name in dict.fromkeys(names):
            on.setdefault(name, []).append(household)
    return Census(at, at, on)
