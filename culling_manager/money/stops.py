"""Stops of ours, and for how long each of them gave an app back: at least, and at most.

Of a stop at `d`, with the last use at `u` and the owner's next start at `s`, in a window that ends at `T`: at most
min(s, T) - d did not run, and at least max(0, min(s, T, cap) - (d + 10 min)) was not billed. The cap is u + the
domain's native idle timeout where that is known, else d + 24 h. Whatever a line claims can only make this smaller.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate

from .days import Window
from .runs import App, Run, Runs, Said

#: What deleting itself may take (seconds), which is billed.
DELETING_SECONDS = 600.0
#: Where nothing else would have stopped it, somebody or something would have within this (seconds).
CAP_SECONDS = 86_400.0
#: A deletion without an answer counts once the app was silent for longer than this (seconds): a heartbeat is hourly.
SILENCE_SECONDS = 3900.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """One stop: of which app, when (`at`), when used last, when its owner came `back` (None: not yet), and until when
    (`cap`) it would have run at least.
    """

    app: App
    owner: str
    instance_type: str | None
    reason: str
    at: float
    used: float
    cap: float
    back: float | None = None

    def bounds(self, window: Window) -> tuple[float, float]:
        """Seconds within the window for which it would surely have been billed, and for which it did not run."""
        end = window.end if self.back is None or self.back > window.end else self.back
        most = end - (self.at if self.at > window.begin else window.begin)
        if most <= 0:
            return 0.0, 0.0
        least = (self.cap if self.cap < end else end) - max(self.at + DELETING_SECONDS, window.begin)
        return (least if least > 0 else 0.0), most

    def away_at(self, end: float) -> bool:
        """Whether nobody has come back by then."""
        return self.back is None or self.back >= end

    def false(self, soon: float) -> bool:
        """Whether its owner was back within `soon` (seconds)."""
        return self.back is not None and self.back - self.at <= soon


def find_stops(
    runs: Runs,
    end: float,
    owners: Mapping[tuple[str, str], str] | None = None,
    native: Mapping[tuple[str, str], float] | None = None,
) -> list[Stop]:
    """All stops that the log proves, the earliest first. `end` is up to when it is known whether an app is silent.

    `owners` tells whom a space (domain, name) belongs to, `native` the own idle timeout
    (seconds) of a domain for an app type.
    """
    people: dict[tuple[str, str], list[App]] = {}
    for app in runs.known:
        owner = (owners or {}).get((app.domain, app.owner), app.owner)
        people.setdefault((app.domain, owner), []).append(app)
    found = []
    for (_, owner), apps in people.items():
        all_of_them = [(name, run) for app in apps for name, run in runs.known[app].items()]
        returns = Returns(all_of_them)
        for app in apps:
            found += _stops_of(
                app, owner, runs.known[app], returns, end, (native or {}).get((app.domain, app.app_type))
            )
    return sorted(found, key=lambda each: (each.at, each.app))


def _stops_of(
    app: App, owner: str, runs: Mapping[str, Run], returns: Returns, end: float, native: float | None
) -> list[Stop]:
    found = []
    presence = Presence(runs.values())
    for name, run in runs.items():
        said = proven(run, end)
        if said is None or returns.last_of(name) > said.logged:
            continue  # it was not stopped, or goes on elsewhere in the log
        if presence.around(said.logged):
            continue  # another run shows that the app was there before and after
        if not run.witnessed and presence.away_before(run, end):
            continue  # the app was away, and nothing but this end of a run says that it had begun again
        back = returns.after(said.logged)
        found.append(
            Stop(
                app=app,
                owner=owner,
                instance_type=run.instance_type,
                reason=said.reason,
                at=said.at,
                used=said.used,
                cap=said.at + CAP_SECONDS if native is None else said.used + native,
                back=None if back is None else max(back, said.at),
            )
        )
    return found


class Presence:
    """When an app was there, by all of its runs."""

    def __init__(self, runs: Iterable[Run]) -> None:
        self._runs = sorted(runs, key=lambda each: (each.begin, each.end))
        self._begins = [each.begin for each in self._runs]
        self._ends = list(accumulate((each.end for each in self._runs), max))

    def around(self, at: float) -> bool:
        """Whether a run was there at an instant and is known to have gone on after it."""
        place = bisect_right(self._begins, at)
        return place > 0 and self._ends[place - 1] > at

    def away_before(self, run: Run, end: float) -> bool:
        """Whether the run that began last before this one was stopped."""
        place = bisect_left(self._begins, run.begin)
        return place > 0 and proven(self._runs[place - 1], end) is not None


def proven(run: Run, end: float) -> Said | None:
    """The line that proves that this run was stopped: the last one, accepted, or followed by silence up to `end`."""
    latest = run.latest
    if latest is None or run.refused >= latest.logged or run.end > latest.logged:
        return None
    return latest if latest is run.accepted or end - latest.at > SILENCE_SECONDS else None


class Returns:
    """When an owner started something: the first start of any run that was not there before an instant.

    To have been there long before its first line no run is believed, for it would have written every hour.
    """

    def __init__(self, runs: Iterable[tuple[str, Run]]) -> None:
        runs = list(runs)
        self._last: dict[str, float] = {}
        for name, run in runs:
            self._last[name] = max(run.end, self._last.get(name, run.end))
        ordered = sorted((max(run.begin, run.first - SILENCE_SECONDS), run.back) for _, run in runs)
        self._begins = [begin for begin, _ in ordered]
        earliest = list(accumulate((back for _, back in reversed(ordered)), min))
        self._backs = earliest[::-1]

    def last_of(self, name: str) -> float:
        """The last that is known of a run, whatever it is told under."""
        return self._last[name]

    def after(self, at: float) -> float | None:
        """The earliest start after `at`; None when there was none."""
        place = bisect_right(self._begins, at)
        return self._backs[place] if place < len(self._backs) else None
