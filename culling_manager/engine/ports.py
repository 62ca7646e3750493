"""What the culler needs of a manager: its kernels or terminals as records, and a way to stop one."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Protocol

from ..decisions import Decision
from ..policy import CullingPolicy
from ..records import Kind, Record

#: See `Source.glance`.
KEPT = datetime.max.replace(tzinfo=timezone.utc)


@dataclass(frozen=True, slots=True)
class Roots:
    """Where to look for what else is at work: local root processes, and whether all processes here are its own.

    `owner` is what the environment of its processes says they belong to, where that is not its identity.
    """

    pids: tuple[int, ...] = ()
    here: bool = False
    owner: str | None = None


class Source(Protocol):
    """Where records come from: a manager, translated."""

    kind: Kind
    #: Whether `stop` may be cancelled when it takes too long, and then be asked for again.
    stop_can_be_cancelled: bool

    def settings(self) -> Mapping[str, Any]:
        """Fields of `CullingPolicy` that this manager's configuration decides."""

    def apply(self, changes: Mapping[str, Any]) -> None:
        """Take over settings that were changed at run time; keys as in `settings`, others are ignored."""

    def glance(self, policy: CullingPolicy) -> Iterable[tuple[str, datetime | None, float | None]]:
        """Identity, last activity, own timeout (seconds, over 0; None: the policy's) of each.

        In place of the last activity None says that more decides, so that it has to be read; `KEPT` says that it is
        kept for as long as it is as it is, and cannot become due without fresh activity or `IdleCuller.wake_soon`.
        """

    def exists(self, identity: str) -> bool:
        """Whether it is still there."""

    def catch_up(self, identity: str) -> None:
        """Count what is on its way to it, before the last look."""

    def fingerprint(self, identity: str) -> Hashable:
        """Something cheap that is equal as long as the record is; None: read it. Raises KeyError when it is gone."""

    def read(self, identity: str, now: datetime) -> Record:
        """Read one record. Raises KeyError when it is gone."""

    def unreadable(self, identity: str, error: str) -> Record:
        """The record of something whose reading failed."""

    def decide(self, record: Any, policy: CullingPolicy, now: datetime) -> Decision:
        """The pure decision for a record of this kind."""

    def timeout(self, record: Any, policy: CullingPolicy) -> float:
        """Seconds of idleness after which this record (None: one without a timeout of its own) is due; 0 is never."""

    def stale_after(self, policy: CullingPolicy) -> float | None:
        """Seconds after which facts may have changed unseen, so that `refresh` is wanted; None for never."""

    async def refresh(self) -> None:
        """Fetch facts that do not come by themselves."""

    async def confirm(self, record: Any) -> None:
        """Find out what the record cannot show, before the second look."""

    def roots(self, identity: str) -> Roots:
        """The processes that belong to it, as far as they run here."""

    async def stop(self, record: Any) -> None:
        """Shut it down. Raises KeyError when it is gone already."""
