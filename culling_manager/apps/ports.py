"""What apps need of the engine that watches over them, and no more; `IdleCuller` has it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

from ..decisions import Decision
from ..engine.clock import Clock
from ..engine.ports import Roots, Source
from ..engine.requests import KeepAlives
from ..engine.tally import Tally
from ..errors import ErrorCode, Troubles
from ..policy import CullingPolicy
from ..records import Happening, Kind, Record, Use


class Looks(Protocol):
    """How things of one kind are watched."""

    @property
    def source(self) -> Source:
        """Where their records come from."""

    def current(self, now: datetime) -> list[tuple[Record, Decision]]:
        """Everything there is, and what is decided on it; acts on nothing."""

    def being_culled(self, identity: str) -> tuple[Record, Decision] | None:
        """The decision that is being carried out on one just now, if one is, and the record that it rests on."""

    def refresh_within(self, seconds: float) -> None:
        """Have facts fetched in `seconds` at the latest."""

    def forget_decisions(self) -> None:
        """Something changed that all decisions may rest on."""


class Asked(Protocol):
    """Who knows what activity signals see."""

    async def ask(self, record: Record, roots: Roots) -> Use:
        """What they say of it. Raises nothing."""


class Engine(Protocol):
    """What watches kernels, terminals and apps."""

    @property
    def log(self) -> logging.Logger | logging.LoggerAdapter[Any]:
        """Where it logs."""

    @property
    def clock(self) -> Clock:
        """Its time."""

    @property
    def policy(self) -> CullingPolicy:
        """The policy in force."""

    @property
    def watches(self) -> Mapping[Kind, Looks]:
        """What it watches."""

    @property
    def guard(self) -> Asked | None:
        """Who is asked before something is culled; None when nobody is."""

    @property
    def keep(self) -> KeepAlives:
        """The requests that something is kept."""

    @property
    def tally(self) -> Tally:
        """Its counts."""

    @property
    def troubles(self) -> Troubles:
        """What is wrong."""

    @property
    def starts(self) -> int:
        """How many kernels are being started just now, of which nobody can tell yet where they will live."""

    def now(self) -> datetime:
        """Aware UTC wall time."""

    def trouble(self, subject: str, words: str, code: ErrorCode = ErrorCode.FAILED) -> bool:
        """Remember what went wrong; into the log once per change. Gives whether it is one."""

    def update_policy(self) -> None:
        """A setting may be another now."""

    def tell(self, happening: Happening) -> None:
        """Tell those who listen."""

    def wake_soon(self, kind: Kind | None = None) -> None:
        """Something may be due that was not."""

    async def consider(self, kind: Kind, identity: str, seconds: float | None = None) -> None:
        """Cull one thing if it is due, and wait for that (`seconds` at most)."""
