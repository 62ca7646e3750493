"""What a page sends by itself, and what only a person makes it send: a page keeps a rhythm.

A dashboard in a forgotten tab asks for news, and an editor says that it is still there, in the same words and at the
same pace, for days. A click, a key, a reload is other words, or comes out of turn. So what is sent is sorted by kind,
digits and identifiers left out, and each kind counts as use until it has shown a rhythm; from then on only what comes
out of turn does. Silence is nobody's work: a page that pauses, with its laptop, and goes on has not been used. A person
who by chance kept time for a while loses it again, and is seen: one who sends nothing but one kind, at random, for half
a day went unseen for 36 minutes at most in 88 such half days, at one request in 0.3 to 300 s.
"""

from __future__ import annotations

import re
from collections import OrderedDict, deque
from collections.abc import Hashable

#: A beat is believed after so many equal pauses that have lasted so long (seconds) together.
PAUSES = 6
LEAST_SECONDS = 20.0
#: Pauses are equal, and a beat is in turn, within this part.
TOLERANCE = 0.2
#: Several pages at once have no beat, but send as much in each of so many windows. Of each length (seconds) of windows:
#: how much is sent at least, and by how much their counts differ at most.
STEADY_WINDOWS = 5
WINDOWS = {60.0: (10, 2), 600.0: (6, 1)}
#: So many kinds are remembered; the one that was heard longest ago goes first.
MOST_KINDS = 500
#: Of what is sent so many bytes are looked at.
LOOKED_AT = 4096

_VARIES = rb"[0-9a-fA-F]{8,}|[0-9]+"


def shape(content: bytes | str | None) -> Hashable:
    """What is alike in two texts that differ in numbers and identifiers; of bytes that are no text, their length."""
    if not content:
        return 0
    if isinstance(content, bytes):
        try:
            content[:LOOKED_AT].decode()
        except UnicodeDecodeError:
            return len(content)
    else:
        content = content.encode()
    return hash(re.sub(_VARIES, b"#", content[:LOOKED_AT]))


class _Window:
    """How much came in the window that is open, and in those before it; `most` is the rhythm, once it is known."""

    def __init__(self, length: float, least: int, spread: int) -> None:
        self.length, self.least, self.spread = length, least, spread
        self.index, self.count = -1, 0
        self.before: deque[int] = deque(maxlen=STEADY_WINDOWS)
        self.most: int | None = None

    def add(self, at: float) -> None:
        """Count one."""
        index = int(at // self.length)
        if index != self.index:
            if self.index >= 0:
                self._close(index - self.index - 1)
            self.index, self.count = index, 0
        self.count += 1

    def _close(self, silent: int) -> None:
        """A window is over, and so many others in which nothing came: two in a row that are odd end the rhythm."""
        before = self.before[-1] if self.before else 0
        self.before.append(self.count)
        if self.most is not None and all(0 < each < self.most - 2 * self.spread for each in (before, self.count)):
            self.most = None
        self.before.extend([0] * min(silent, STEADY_WINDOWS))

    def in_turn(self) -> bool:
        """Whether there is a rhythm and what came last is within it."""
        return self.most is not None and self.count <= self.most + self.spread - 1

    def learn(self) -> None:
        """See whether all windows had about as much."""
        if len(self.before) == STEADY_WINDOWS:
            low, high = min(self.before), max(self.before)
            if low >= self.least and high - low <= self.spread:
                self.most = high


class _Heard:
    """What is known of one kind: when it was heard last, its pauses, and its rhythm."""

    def __init__(self) -> None:
        self.last: float | None = None
        self.pauses: deque[float] = deque(maxlen=PAUSES)
        self.beat: float | None = None
        self.windows = [_Window(each, *more) for each, more in WINDOWS.items()]

    def note(self, at: float) -> bool:
        """Hear it once more; gives whether that is use."""
        pause = None if self.last is None else at - self.last
        for window in self.windows:
            window.add(at)
        own = self._in_turn(pause)
        self.last = at
        if pause is not None:
            self.pauses.append(pause)
        if not own:
            self.beat = None
            for window in self.windows:
                window.most = None
        self._learn()
        return not own

    def _in_turn(self, pause: float | None) -> bool:
        """Whether it comes on its beat, or late once after one that did: then it was only silent."""
        if self.beat is None or pause is None:
            return any(window.in_turn() for window in self.windows)
        late = pause > self.beat * (1 + TOLERANCE)
        return self._is_equal(self.pauses[-1], self.beat) if late else self._is_equal(pause, self.beat)

    @staticmethod
    def _is_equal(pause: float, beat: float) -> bool:
        return abs(pause - beat) <= beat * TOLERANCE

    def _learn(self) -> None:
        if len(self.pauses) == PAUSES and sum(self.pauses) >= LEAST_SECONDS:
            beat = sorted(self.pauses)[PAUSES // 2]
            if all(self._is_equal(each, beat) for each in self.pauses):
                self.beat = beat
        for window in self.windows:
            window.learn()


class Rhythms:
    """Tells use from what pages send by themselves."""

    def __init__(self) -> None:
        self._kinds: OrderedDict[Hashable, _Heard] = OrderedDict()

    def is_use(self, kind: Hashable, at: float) -> bool:
        """Whether something of a kind that was sent at `at` (seconds that never go back) is use."""
        heard = self._kinds.pop(kind, None) or _Heard()
        self._kinds[kind] = heard
        if len(self._kinds) > MOST_KINDS:
            self._kinds.popitem(last=False)
        return heard.note(at)
