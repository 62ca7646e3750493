"""What a kernel was given to do and has not answered: while anything is, it works."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

#: More requests than these are not remembered. Those that it has begun are forgotten last.
MOST = 1000


class Unanswered:
    """Requests that have no answer yet, by their ids: those that were only sent, and those that it has begun.

    A kernel may have several threads that answer, so an answer says nothing of any request but its own.
    """

    __slots__ = ("begun", "sent")

    def __init__(self) -> None:
        self.sent: dict[str, None] = {}
        self.begun: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self.sent) + len(self.begun)

    def __iter__(self) -> Iterator[str]:
        yield from self.sent
        yield from self.begun

    def send(self, request: str) -> None:
        """It was given a request."""
        if request not in self.begun:
            self.sent[request] = None
            self._forget_oldest()

    def begin(self, request: str) -> bool:
        """It says that it is busy with a request, whoever sent that; whether that is news."""
        news = request not in self.begun
        self.sent.pop(request, None)
        self.begun[request] = None
        self._forget_oldest()
        return news

    def end(self, request: str) -> bool:
        """It says that it is done with a request, and with no other; whether that is news."""
        known = len(self)
        self.sent.pop(request, None)
        self.begun.pop(request, None)
        return len(self) < known

    def end_all(self, requests: Iterable[str]) -> None:
        """It has shown that it is done with each of these."""
        for request in requests:
            self.end(request)

    def forget(self) -> None:
        """Its process is another one: no answer to what the old one was given can come."""
        self.sent.clear()
        self.begun.clear()

    def _forget_oldest(self) -> None:
        while len(self) > MOST:
            oldest = self.sent or self.begun
            del oldest[next(iter(oldest))]
