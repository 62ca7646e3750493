"""What a signal is. One of your own is a subclass with one method and an entry point; see `config/README.md`."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any, Generic, NamedTuple, TypeVar

from traitlets import Float, TraitError
from traitlets.config import LoggingConfigurable

from ..concurrency import SingleFlight
from ..engine.clock import utcnow
from ..errors import SettingError
from ..policy import number, plain
from ..records import Kind, Record


class Subject(NamedTuple):
    """What a signal is asked about.

    `pids` are its local root processes: a kernel's, a terminal's shell; none for an app, and none for what runs
    elsewhere. `here` means, for an app, that it is this very container or machine, so that all processes of the user
    are its own. `owner` is what its processes' environment says they belong to, where that is not its identity.
    `server_pid` is the Jupyter Server's. `since` is the last activity that is known.
    """

    kind: Kind
    identity: str
    record: Record
    server_pid: int
    since: datetime
    pids: tuple[int, ...] = ()
    here: bool = False
    owner: str | None = None


class Signal(LoggingConfigurable):
    """One check: a sentence that says why something is in use, or None.

    Its methods run on the server's event loop, so whatever blocks belongs into a thread (`concurrency.in_thread`).
    A signal is asked only about what is otherwise due. Whatever it raises counts as use and is reported.
    """

    #: Where it reads wall time (aware UTC).
    now: Callable[[], datetime] = staticmethod(utcnow)

    @property
    def takes_seconds(self) -> float:
        """How long `check` takes (seconds) because it watches for a while, at most; 0 for one that answers at once."""
        return 0.0

    def start(self, server: Any) -> None:
        """Begin to listen, if it listens to something; called once, with the Jupyter Server, at its start."""

    def stop(self) -> None:
        """Listen no more."""

    def applies(self, subject: Subject) -> bool:
        """Whether it has anything to say about such a subject. Cheap, without I/O."""
        return True

    @abstractmethod
    async def check(self, subject: Subject) -> str | None:
        """Say why `subject` is in use right now, without a full stop at the end; None when it is not."""

    def last_use(self, subject: Subject) -> datetime | None:
        """When `subject` was last used, as far as this signal knows; asked right after `check`. Without I/O."""
        return None


class Bounded(Float[float, "int | float"]):
    """A finite number from `low` to `high`; the refusal names trait, value and range."""

    def __init__(self, default: float, *, low: float, high: float, **kwargs: Any) -> None:
        super().__init__(default, **kwargs)
        self.low, self.high = low, high

    def validate(self, obj: Any, value: Any) -> float:
        """Give `value` as float, or raise a TraitError."""
        accepted = f"a number from {plain(self.low)} to {plain(self.high)}"
        try:
            return number(f"{type(obj).__name__}.{self.name}", value, low=self.low, high=self.high, accepted=accepted)
        except SettingError as error:
            raise TraitError(str(error)) from None


Answer = TypeVar("Answer")


class Shared(Generic[Answer]):
    """One piece of work for all who want its result at the same time.

    Who asks while it runs gets the result of that run. Who stops waiting does not stop it for the others.
    """

    def __init__(self, work: Callable[[], Coroutine[Any, Any, Answer]]) -> None:
        self._work = work
        self._runs = SingleFlight()

    async def __call__(self) -> Answer:
        """Give the result of the run that is under way, or of a new one."""
        return await self._runs.run("", self._work)
