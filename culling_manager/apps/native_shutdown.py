"""The bridge to SageMaker's native idle shutdown, which cannot see everything that we keep.

Its probe in a JupyterLab space asks for the last activity of sessions and terminals, and reads a stamp file; whether a
kernel is busy it does not ask. So a long silent cell or a background job looks idle to it. While we keep something for
such a reason the bridge keeps the stamp fresh, and never otherwise.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from ..concurrency import in_thread
from ..engine.ports import Roots
from ..files import replace_file
from ..records import Kind
from ..signals.stamp_file import StampFileSignal, our_stamp
from .ports import Engine
from .unseen import Unseen

#: How often (seconds) the stamp is renewed. The native timeout is an hour at least.
BRIDGE_SECONDS = 300.0


class Bridge:
    """Writes the stamp file for one server on a space.

    `wanted` says whether it is to, at the time, and `signal` gives the signal that reads the file, where it is in use.
    `unseen` puts the question; what the signals answer here besides, its other writers are told too.
    """

    def __init__(
        self,
        engine: Engine,
        wanted: Callable[[], bool],
        parent: Any,
        signal: Callable[[], object] = lambda: None,
        unseen: Unseen | None = None,
    ) -> None:
        self._engine, self._wanted = engine, wanted
        self._parent, self._signal = parent, signal
        self._unseen = unseen or Unseen(engine)
        self._next = 0.0
        self._task: asyncio.Task[None] | None = None

    def beat(self) -> None:
        """One heartbeat of the culler: see whether it is time."""
        now = self._engine.clock.monotonic()
        if now >= self._next and (self._task is None or self._task.done()) and self._wanted():
            self._next = now + BRIDGE_SECONDS
            self._task = asyncio.get_running_loop().create_task(self.renew())

    async def renew(self) -> None:
        """Write the stamp when something is kept that the native probe does not see; what fails is reported."""
        try:
            if await self._why() is not None:
                self._unseen.tell()
                stamps = self._stamp_file()
                await stamps.read()  # so that an editor's is known also when ours stands there
                await in_thread(partial(_write, stamps.stamp_path, our_stamp(self._engine.now())))
            self._engine.troubles.over("native shutdown")
        except Exception as error:
            words = f"SageMaker's native idle shutdown may end what is in use, for its stamp cannot be written: {error}"
            self._engine.trouble("native shutdown", words)

    async def _why(self) -> str | None:
        """What is kept that the native probe does not see, in words; None when there is nothing."""
        engine, now = self._engine, self._engine.now()
        kept = self._unseen.why()
        if kept is not None:
            return kept
        if engine.guard is None or Kind.APP not in engine.watches:
            return None
        for record, _ in engine.watches[Kind.APP].current(now):
            found = await engine.guard.ask(record, Roots(here=True))
            seen = await self._stamp_file().read()  # the probe reads it too
            if found.used_by is not None or (found.used_at != seen and _is_news(found.used_at, now)):
                return found.used_by or "it was used by what the probe does not see"
        return None

    def _stamp_file(self) -> StampFileSignal:
        """The signal that knows the file's path; one of our own when it is not in use."""
        found = self._signal()
        return found if isinstance(found, StampFileSignal) else StampFileSignal(parent=self._parent)


def _is_news(used_at: datetime | None, now: datetime) -> bool:
    """Whether something was used since the last stamp."""
    return used_at is not None and now - used_at < timedelta(seconds=BRIDGE_SECONDS)


def _write(path: str, text: str) -> None:
    """Replace the file at once; the probe, which may be another user's, reads it."""
    replace_file(Path(path), text.encode(), 0o644)
