"""Arrivals and leavings: what lives on something tells it when it comes and goes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from ..decisions import Decision, Reason
from ..errors import TooLateError
from ..records import KernelRecord, Kind, Record, TerminalRecord
from .situation import Situation
from .watch import Watch


def _may_work(record: Record, decision: Decision) -> bool:
    """Whether it may be at work when it is culled, as one may that died and was not heard since it was given work."""
    if not isinstance(record, KernelRecord) or decision.reason is Reason.IDLE:
        return False
    return record.state == "busy" or not record.settled


class Comings:
    """Stands between the managers, whose kernels and terminals come and go, and the neighbours who want to know."""

    def __init__(self, situation: Situation, watches: Mapping[Kind, Watch]) -> None:
        self._situation, self._watches = situation, watches

    def place(self, terminal: TerminalRecord) -> TerminalRecord:
        """The record with what is known of where the terminal runs."""
        neighbours = self._situation.neighbours
        return terminal if neighbours is None else neighbours.place(terminal)

    @contextmanager
    def starting(self) -> Iterator[None]:
        """A kernel is being started within, which may take minutes, and whose app nobody can tell before its end."""
        self._situation.starts += 1
        try:
            yield
        finally:
            self._situation.starts -= 1

    def arrived(self, kind: Kind, identity: str) -> None:
        """Something was started: it may be due later, and what it lives on may be new."""
        if kind in self._watches:
            self._watches[kind].look_soon()
        neighbours = self._situation.neighbours
        record = None if neighbours is None else self._watches[kind].record_of(identity, self._situation.now())
        if neighbours is not None and record is not None:
            neighbours.arrived(record)

    def leaving(self, kind: Kind, identity: str) -> None:
        """Something is about to be taken off its manager's list, by whomever."""
        situation, neighbours = self._situation, self._situation.neighbours
        situation.requests.take_back(kind, identity)
        if neighbours is None or kind not in self._watches:
            return
        culled = self._watches[kind].being_culled(identity)
        if culled is not None:
            record, decision = culled
            neighbours.left(record, situation.now() if _may_work(record, decision) else None)
            return
        gone = self._watches[kind].record_of(identity, situation.now())
        if gone is not None:
            neighbours.left(gone, situation.now())

    def check_stays(self, kind: Kind | None, identity: str | None) -> None:
        """See that something (`kind` None: everything) can be kept.

        Raises
        ------
        KeyError
            When there is no such thing.
        TooLateError
            When it is too late: it is being shut down, or what it lives on is being deleted.
        """
        situation, record = self._situation, None
        if kind is not None:
            watch, name = self._watches.get(kind), str(identity)
            if watch is None or not watch.source.exists(name):
                raise KeyError(identity)
            if watch.being_culled(name) is not None:
                raise TooLateError(f"{kind.value} {identity} is being shut down just now")
            record = None if situation.neighbours is None else watch.record_of(name, situation.now())
        going = None if situation.neighbours is None else situation.neighbours.going(record)
        if going is not None:
            raise TooLateError(f"it is too late, for app {going} is being deleted")
