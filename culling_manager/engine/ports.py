"""What the engine needs of others: where records come from, who lives on what, and what is asked before something ends.

Nothing else is asked of those who stand here; whoever can do more says so by a port of its own.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from datetime import datetime, timezone
from typing import Any, NamedTuple, Protocol, runtime_checkable

from ..decisions import Decision
from ..policy import CullingPolicy
from ..records import KernelRecord, Kind, Record, TerminalRecord, Use

#: See `Source.glance`.
KEPT = datetime.max.replace(tzinfo=timezone.utc)


class Roots(NamedTuple):
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

    def stale_after(self, policy: CullingPolicy) -> float | None:
        """Seconds after which facts may have changed unseen, so that `refresh` is wanted; None for never."""

    async def refresh(self) -> None:
        """Fetch facts that do not come by themselves."""

    async def confirm(self, record: Any) -> None:
        """Find out what the record cannot show, before the second look."""

    def roots(self, identity: str) -> Roots:
        """The processes that belong to it, as far as they run here."""

    async def stop(self, record: Any) -> str | None:
        """Shut it down; gives in words why it stays after all, which is no failure. KeyError when it is gone."""


@runtime_checkable
class SharedKernels(Protocol):
    """A source of kernels that shares with others the place where they run, and can see those of the others."""

    async def strangers(self) -> list[KernelRecord]:
        """Records of the kernels there that are not ours. Raises ReadError when they cannot be listed."""

    async def is_at_work(self, identity: str) -> bool:
        """Whether one of them works although its state does not show it. Raises ReadError when nobody can tell."""


@runtime_checkable
class Naming(Protocol):
    """A source that finds out what a person calls its things only where they are told of."""

    def names(self, identity: str) -> Mapping[str, Any]:
        """That, as fields of its record, as far as it can be told; raises nothing."""


@runtime_checkable
class Proving(Protocol):
    """A source that can ask a kernel that says 'busy' whether it still is, and believes what that shows."""

    async def prove(self, record: KernelRecord) -> None:
        """Ask it. Raises nothing that is not a bug: who does not answer is busy."""

    def next_proof(self) -> datetime:
        """When the first of those that the last glance left out is to be asked."""


class Neighbours(Protocol):
    """Who wants to know of kernels and terminals that come and go, because they live on something."""

    def place(self, terminal: TerminalRecord) -> TerminalRecord:
        """Say where a terminal runs: whether that is billed, and whether it goes with it."""

    def arrived(self, record: Record) -> None:
        """A kernel was started."""

    def left(self, record: Record, used_at: datetime | None) -> None:
        """A kernel or terminal goes; None means that it was culled for being idle, else it was in use until then."""

    def going(self, record: Record | None) -> str | None:
        """The name of what is being deleted, if the record (None: everything) lives on that; then it cannot be kept."""

    def describe(self) -> dict[str, str]:
        """Who that is, and more words."""

    def times(self) -> Mapping[str, Any]:
        """What the heartbeat line tells of time since the last one; see `heartbeat_line`."""


class Guard(Protocol):
    """What is asked before something is culled for being idle."""

    @property
    def lead_seconds(self) -> float:
        """How long before a deadline the activity signals are asked, so that it is met all the same."""

    async def ask(self, record: Record, roots: Roots) -> Use:
        """What activity signals say of it. Raises nothing: a check that fails counts as use, and is reported."""

    async def before_culling(self, record: Record, decision: Decision) -> datetime | None:
        """Run the hook; gives until when it wants the item kept. Raises CullingError when it failed and that keeps."""
