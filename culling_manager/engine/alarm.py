"""The alarm clock of the loop: a plain event loop timer, so that a server which stops leaves no task behind."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from .clock import NEVER, Timer
from .situation import Situation

#: A wake-up later than planned by more than this (seconds) means that the event loop stood still, and with it the
#: messages that would have told of work; then they get `HOLD_SECONDS` to be read.
STALL_SECONDS = 2.0
HOLD_SECONDS = 1.0


class Alarm:
    """Calls `wake` again and again, each time when `ahead` (seconds) have gone by; not while it is paused.

    `count` is the number of wake-ups since it started, `at` when the next one is.
    """

    def __init__(self, situation: Situation, wake: Callable[[], None], ahead: Callable[[], float]) -> None:
        self.count = 0
        self.at = NEVER
        self._situation, self._wake, self._ahead = situation, wake, ahead
        self._timer: Timer | None = None
        self._at_mono = 0.0
        self._held = False
        self._paused = 0
        self._was_running = False

    @property
    def running(self) -> bool:
        """Whether it wakes up by itself."""
        return self._timer is not None

    def may_start(self) -> bool:
        """Whether it stands still; one that is paused is noted to go on afterwards."""
        if self._paused:
            self._was_running = True
        return not self._paused and self._timer is None

    def start(self) -> None:
        """Begin to count, with a first wake-up now."""
        self.count = 0
        self.ring()

    def stop(self) -> None:
        """No more wake-ups."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer, self.at = None, NEVER

    def pause(self) -> None:
        """Stop until `resume` has been called as often as this."""
        self._paused += 1
        self._was_running = self._was_running or self.running
        self.stop()

    def resume(self) -> None:
        """End one `pause`; it goes on as before, or as was asked for meanwhile."""
        self._paused -= 1
        if not self._paused and self._was_running:
            self._was_running = False
            self._set(self._ahead())

    def nearer(self, at: datetime) -> None:
        """Something may be due at an instant: sleep no longer than until then."""
        if self._timer is not None and not self._held and at < self.at:
            self._timer.cancel()
            self._set(self._ahead())

    def ring(self) -> None:
        """One wake-up. After the event loop stood still it is held off, once, until messages that wait are read."""
        self._timer = None
        late = self._situation.clock.monotonic() - self._at_mono
        if late > STALL_SECONDS and self.count and not self._held:
            self._held = True
            self.count += 1
            self._situation.journal.stood_still(late)
            self._set(HOLD_SECONDS)
            return
        self._held = False
        try:
            self._wake()
        finally:
            self._set(self._ahead())

    def _set(self, seconds: float) -> None:
        clock = self._situation.clock
        self._timer = clock.call_later(seconds, partial(_call, weakref.WeakMethod(self.ring)))
        self.at = clock.now() + timedelta(seconds=seconds)
        self._at_mono = clock.monotonic() + seconds


def _call(method: weakref.WeakMethod[Any]) -> None:
    alive = method()
    if alive is not None:
        alive()
