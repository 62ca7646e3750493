"""Many users' histories at once: each is lived in a world of its own, so terminal 1 of two users is two terminals.

A file is one user's, together with those into which it was rotated: ``events.jsonl``, ``events.jsonl.1``,
``events.jsonl.2.gz``. In a directory every file below it counts that is called ``*.jsonl`` or ``*.log``, so that
``alice/events.jsonl`` and ``bob/events.jsonl`` are two users. Of log events each stream is a user.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from ..errors import CullingError
from ..money.curve import Gap
from ..policy import CullingPolicy
from .gaps import gaps_by_type
from .history import History, Reading, read_file
from .things import Stop
from .world import Outlook, simulate

#: What a log is called, and what is put behind that when it is rotated: a number, a date, a compression.
_NAME = re.compile(r"(?P<user>.+\.(?:jsonl|log))(?P<rotated>(?:[.-][\d_-]+)*)(?:\.gz)?")


@dataclass(frozen=True, slots=True)
class User:
    """One user's history: what it is called, and the files that it is in, in any order."""

    name: str
    paths: tuple[str, ...]


@dataclass(slots=True, kw_only=True)
class Lived:
    """What several policies would have done with all histories, and what there is to know of these.

    `events`, `skipped`, `culled` and `cut` add those of each `History` up; `gaps` are the idle ones of all apps, by
    instance type (None: nobody knows it).
    """

    users: tuple[str, ...]
    outlooks: list[Outlook]
    gaps: dict[str | None, list[Gap]] = field(default_factory=dict)
    events: int = 0
    skipped: int = 0
    culled: int = 0
    cut: int = 0
    unseen: bool = False
    first: datetime | None = None
    last: datetime | None = None

    def add(self, name: str, history: History) -> None:
        """Count one."""
        self.users = (*self.users, name)
        self.events += len(history.events)
        self.skipped, self.culled, self.cut = (
            self.skipped + history.skipped,
            self.culled + history.culled,
            self.cut + history.cut,
        )
        self.unseen = self.unseen or history.unseen
        times = [each.at for each in history.events]
        self.first = min((each for each in (self.first, *times) if each is not None), default=None)
        self.last = max((each for each in (self.last, *times) if each is not None), default=None)


def users_in(paths: Iterable[str]) -> list[User]:
    """Whose histories the files and directories are, '-' being the standard input; each file counts once.

    Raises
    ------
    CullingError
        For a directory without a history.
    """
    found: dict[str, dict[str, None]] = {}
    for given in dict.fromkeys(paths):
        for path in _files(given):
            found.setdefault(_before_rotation(path), {})[path] = None
    names = _without_what_is_common([Path(each) for each in found])
    return [User(name, tuple(files)) for name, files in zip(names, found.values(), strict=True)]


def _files(given: str) -> list[str]:
    """The file itself, or those below a directory."""
    if given == "-" or not Path(given).is_dir():
        return [given]
    found = [str(each) for each in sorted(Path(given).rglob("*")) if _NAME.fullmatch(each.name) and each.is_file()]
    if not found:
        raise CullingError(f"{given} has no history: no file below it is called *.jsonl or *.log")
    return found


def _before_rotation(path: str) -> str:
    """What a log was called before it was rotated."""
    found = _NAME.fullmatch(Path(path).name)
    return path if found is None else str(Path(path).with_name(found["user"]))


def _without_what_is_common(paths: Sequence[Path]) -> list[str]:
    """Names that tell users apart: without the folders that all are in, and without the file that all have."""
    if len(paths) < 2:
        return [str(each) for each in paths]
    top = 0
    while len({each.parts[: top + 1] for each in paths}) == 1:
        top += 1
    below = [Path(*each.parts[top:]) for each in paths]
    same_file = len({each.name for each in below}) == 1
    return [str(each.parent if same_file else each) for each in below]


def live(users: Sequence[User], policies: Sequence[CullingPolicy], until: datetime | None = None) -> Lived:
    """Read each history and live it under each policy, one after the other, up to `until`, else to its end.

    Raises
    ------
    CullingError
        Naming file, line, value and what is accepted.
    """
    stops: list[list[Stop]] = [[] for _ in policies]
    found = Lived(users=(), outlooks=[])
    for name, history in _histories(users):
        found.add(name, history)
        end = until or history.ends
        for instance_type, gaps in gaps_by_type(history.events, end).items():
            found.gaps.setdefault(instance_type, []).extend(gaps)
        for policy, mine in zip(policies, stops, strict=True):
            lived = simulate(history.events, policy, end).stops
            for stop in lived:
                stop.owner = name
            mine += lived
    found.outlooks = [Outlook(policy=each, stops=tuple(mine)) for each, mine in zip(policies, stops, strict=True)]
    return found


def _histories(users: Sequence[User]) -> Iterator[tuple[str, History]]:
    """The history of each, and of each log stream, which may be in several files."""
    streams: dict[str, Reading] = {}
    for user in users:
        for path in user.paths:
            read_file(path, streams)
        if "" in streams:
            yield user.name, streams.pop("").history()
    for stream, reading in streams.items():
        yield stream, reading.history()
