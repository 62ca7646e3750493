"""Asks all signals about one thing at once, and makes one finding of their answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from functools import partial
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, NamedTuple

from traitlets import List, TraitError, Unicode, validate
from traitlets.config import LoggingConfigurable

from ..concurrency import Limits, TooSlow
from ..errors import SettingError
from ..records import utc
from .base import Bounded, Signal, Subject

#: The group of entry points in which signals are registered, also our own.
GROUP = "culling_manager.signals"
#: Our own, so that nothing needs to be searched for when only they are chosen.
BUILT_IN = {
    "processes": ("processes", "ProcessSignal"),
    "gpu": ("gpu", "GpuSignal"),
    "stamp_file": ("stamp_file", "StampFileSignal"),
    "documents": ("documents", "DocumentSignal"),
    "server_use": ("server_use", "ServerUseSignal"),
    "other_kernels": ("kernels", "OtherKernelsSignal"),
    "containers": ("containers", "ContainerSignal"),
}


class Finding(NamedTuple):
    """What all signals together say of one subject.

    `words` say why it is in use now, None when it is not; a check that failed gives words too. `used_at` is the latest
    use that any of them knows of, never later than now. `errors` are the checks that failed or took too long.
    """

    words: str | None = None
    used_at: datetime | None = None
    errors: tuple[str, ...] = ()


class Signals(LoggingConfigurable):
    """All signals of a server."""

    names = List(
        Unicode(),
        list(BUILT_IN),
        config=True,
        help="""Which signals are asked about a kernel, terminal or app before it is stopped: any of `processes`, `gpu`,
        `stamp_file`, `documents`, `server_use`, `other_kernels`, `containers`, and names of entry points in the group
        `culling_manager.signals` that other packages bring. `*` stands for every one that is installed. Empty: only
        what Jupyter itself knows counts. A signal that is broken keeps everything, which is reported.""",
    )
    limit_seconds = Bounded(
        10.0,
        low=0.05,
        high=600,
        config=True,
        help="""How long one check may take (seconds, 0.05 to 600). One that takes longer counts as use and is
        reported.""",
    )

    def __init__(self, now: Callable[[], datetime] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._now = now or Signal.now
        self._signals: dict[str, Signal | str] | None = None
        self._limits = Limits()

    @validate("names")
    def _known(self, proposal: Any) -> list[str]:
        names: list[str] = list(dict.fromkeys(proposal["value"]))
        unknown = [name for name in names if name != "*" and name not in BUILT_IN]
        if unknown:
            found = {**BUILT_IN, **registered()}
            missing = [name for name in unknown if name not in found]
            if missing:
                accepted = f"names of installed signals, which are {', '.join(sorted(found))}; or *"
                raise TraitError(str(SettingError(f"{type(self).__name__}.names", missing[0], accepted)))
        return names

    @property
    def signals(self) -> dict[str, Signal]:
        """Every chosen signal that could be made, by name."""
        return {name: each for name, each in self._all().items() if isinstance(each, Signal)}

    def _all(self) -> dict[str, Signal | str]:
        """Every chosen signal, or in words why there is none."""
        if self._signals is None:
            chosen = [*BUILT_IN, *registered(), *self.names] if "*" in self.names else self.names
            self._signals = {name: self._make(name) for name in dict.fromkeys(chosen) if name != "*"}
        return self._signals

    def _make(self, name: str) -> Signal | str:
        try:
            if name in BUILT_IN:
                room, class_name = BUILT_IN[name]
                found = getattr(import_module(f"..{room}", __name__), class_name)
            else:
                found = registered()[name].load()
            signal = found(parent=self)
            if not isinstance(signal, Signal):
                return f"the signal {name} is a {type(signal).__name__}, not a culling_manager.signals.Signal"
            signal.now = self._now
        except TraitError:
            raise  # a setting of it is refused, which ends the start of the server
        except Exception as error:
            return f"the signal {name} cannot be loaded: {_words_of(error)}"
        return signal

    def start(self, server: Any) -> None:
        """Make the signals, and let those that listen to the server begin; what fails is reported when asked.

        Raises
        ------
        TraitError
            When a setting of one is not accepted.
        """
        for name, signal in self._all().items():
            try:
                if isinstance(signal, Signal):
                    signal.start(server)
            except Exception as error:
                self._all()[name] = f"the signal {name} could not be started: {_words_of(error)}"
                self.log.exception("Culling: the signal %s could not be started; until it is, it counts as use", name)

    def stop(self) -> None:
        """Let those that listen listen no more, and end what hangs."""
        self._limits.stop()
        for name, signal in self.signals.items():
            try:
                signal.stop()
            except Exception:
                self.log.exception("Culling: the signal %s could not be stopped", name)

    async def ask(self, subject: Subject) -> Finding:
        """Ask all of them about `subject`, side by side. Never raises; whatever fails counts as use."""
        try:
            chosen = self._all()
        except TraitError as error:
            return _failed(f"the signals cannot be made: {error}")
        answers = await asyncio.gather(*(self._ask_one(name, each, subject) for name, each in chosen.items()))
        words = [answer.words for answer in answers if answer.words is not None]
        uses = [answer.used_at for answer in answers if answer.used_at is not None]
        return Finding(
            words="; ".join(words) or None,
            used_at=min(max(uses), self._now()) if uses else None,
            errors=tuple(error for answer in answers for error in answer.errors),
        )

    async def _ask_one(self, name: str, signal: Signal | str, subject: Subject) -> Finding:
        if isinstance(signal, str):
            return _failed(signal)
        try:
            if not signal.applies(subject):
                return Finding()
            key = (name, subject.kind, subject.identity)
            words = await self._limits.within(key, self.limit_seconds, partial(signal.check, subject))
            return Finding(words=words or None, used_at=utc(signal.last_use(subject), f"{name}.last_use"))
        except TooSlow:
            return _failed(f"the signal {name} did not answer within {self.limit_seconds:g} s")
        except Exception as error:
            self.log.debug("Culling: the signal %s failed", name, exc_info=True)
            return _failed(f"the signal {name} failed: {_words_of(error)}")


def registered() -> dict[str, EntryPoint]:
    """Entry points of signals that are not ours, by name."""
    return {point.name: point for point in entry_points(group=GROUP) if point.name not in BUILT_IN}


def _failed(words: str) -> Finding:
    return Finding(words=f"{words}, which counts as use", errors=(words,))


def _words_of(error: BaseException) -> str:
    text = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
