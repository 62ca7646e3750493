"""Whether something is kept for a reason that others cannot see, and telling those who ask the server when it was used.

JupyterHub's idle culler, Kubeflow's and other operators read `/api/status.last_activity`; SageMaker's native probe
reads a stamp file. To all of them a long silent cell, a background job and a keep-alive look idle. The question is put
here once; who tells the answer is a writer: `ServerTimes` for the one, `native_shutdown.Bridge` for the other.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ..decisions import Reason
from ..records import Kind

if TYPE_CHECKING:
    from .ports import Engine

#: How often (seconds) it is looked at a heartbeat, at most; a look takes no more than one part in so many.
LOOK_SECONDS = 10.0
SHARE = 1000.0
#: Reasons to keep something that others do not see.
UNSEEN = frozenset(
    {Reason.BUSY, Reason.USED, Reason.KEPT_ALIVE, Reason.GRACE, Reason.PERSON}
    | {Reason.CONNECTED, Reason.DISCONNECTED, Reason.KEEP_TERMINALS}
)
#: Under this name Jupyter Server, which takes the latest of all, finds when the server was in use as we see it.
OUR_KEY = "culling_manager"


class Unseen:
    """Asks, at heartbeats that there are anyway, what is kept that others do not see; each writer is told when.

    `pulse` is anything cheap that changes when something may have begun to be in use; while it is what it was when
    nothing was found, nobody looks: a quiet server costs a comparison. None: look each time.
    """

    def __init__(self, engine: Engine, pulse: Callable[[], Hashable] = lambda: None) -> None:
        self._engine, self._pulse = engine, pulse
        self._next = 0.0
        self._quiet: Hashable = None
        self.writers: list[Callable[[datetime], None]] = []

    def beat(self) -> None:
        """One heartbeat: look, if it is time and anything may have changed."""
        clock = self._engine.clock
        began = clock.monotonic()
        if began < self._next:
            return
        self._next = began + LOOK_SECONDS
        pulse = self._pulse()
        if pulse is not None and pulse == self._quiet:
            return
        if self.why() is not None:
            self._quiet = None
            self.tell()
        else:
            self._quiet = pulse
        ended = clock.monotonic()
        self._next = max(self._next, ended + SHARE * (ended - began))

    def why(self) -> str | None:
        """What is kept that others do not see, in words; None when there is nothing. Asks no signal."""
        engine, now = self._engine, self._engine.now()
        for kind in (Kind.KERNEL, Kind.TERMINAL, Kind.APP):
            for record, decision in engine.watches[kind].current(now) if kind in engine.watches else []:
                if decision.reason in UNSEEN:
                    return f"{kind.value} {record.identity}: {decision.reason.value}"
        return None

    def tell(self) -> None:
        """Something is in use now."""
        now = self._engine.clock.now()
        for write in self.writers:
            write(now)


class ServerTimes:
    """Tells those who read `/api/status`; Jupyter Server has a place for that in its settings."""

    def __init__(self, server: Any) -> None:
        self._server = server

    def write(self, now: datetime) -> None:
        """The server was in use `now`."""
        settings = getattr(getattr(self._server, "web_app", None), "settings", None)
        times = None if settings is None else settings.setdefault("last_activity_times", {})
        if isinstance(times, dict):
            times[OUR_KEY] = now
