"""When a kernel that says 'busy' is asked whether it still is: the word that it is done may have been lost."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from ..policy import CullingPolicy
from ..records import KernelRecord
from .own_timeout import own_seconds


def proof_at(record: KernelRecord, policy: CullingPolicy) -> datetime | None:
    """When a busy kernel is asked: one timeout after it last said anything or was last asked. None is never.

    So one that prints is not asked, and a silent one once per timeout.
    """
    wait = own_seconds(record.idle_timeout, policy)
    if record.state != "busy" or wait <= 0 or not record.alive or not record.owned or record.error is not None:
        return None
    known = [at for at in (record.last_activity, record.checked_at) if at is not None]
    return max(known) + timedelta(seconds=wait) if known else None


class Answers(NamedTuple):
    """Whether each answered: the main thread, and then every thread, the main one to a cell in which nothing is.

    The main thread alone proves nothing of a subshell, and a kernel that answers questions beside its cells (which run
    in their order even there) has finished them only when one of ours has run. `heard` means that it said something
    meanwhile, or was given something.
    """

    main: bool = False
    threads: bool = False
    heard: bool = False

    @property
    def free(self) -> bool:
        """Whether it has finished all that it was given before: nothing less than all of it is believed."""
        return self.main and self.threads and not self.heard
