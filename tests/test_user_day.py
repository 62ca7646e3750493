"""Whole days of a user, scripted at random: nothing in use or kept is ever stopped, and nothing quiet is left over.

A day is 24 hours of cells, long silent runs, cells in subshells, states that are lost on their way, background jobs
that only signals see, some of them starved of cores, terminals, keep-alives, tabs, proxied apps and forgotten tabs of
them, a remote editor, hooks that ask for more time, signals that fail, and breaks. It is played against the real culler
under a clock that moves from event to event, and every stop is held against a model that knows only what the user did.
"""

from __future__ import annotations

import asyncio
import functools
import heapq
import itertools
import logging
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from culling_manager.apps.source import AppSource
from culling_manager.decisions import IN_SERVICE, Reason
from culling_manager.engine.clock import NEVER
from culling_manager.engine.culler import IdleCuller
from culling_manager.engine.notices import ASK_AGAIN_SECONDS
from culling_manager.engine.ports import KEPT
from culling_manager.engine.shutdown import ANSWER_SECONDS
from culling_manager.errors import StopError
from culling_manager.records import Happening, Kind, Result, Use
from culling_manager.rules.proof import proof_at
from culling_manager.rules.run import Run
from culling_manager.rules.unanswered import Unanswered
from culling_manager.signals.processes import ProcessSignal
from culling_manager.signals.rhythm import Rhythms
from culling_manager.signals.usage import Row, Table, summary, together, usages
from tests import test_appsource, test_attention
from tests.conftest import scenario
from tests.doubles import NOON, FakeApps, FakeClock, FakeTerminals, FakeTimer, HomedKernels, _idle

#: How many days are played: what fits into half a minute. 1,000 take about two, see the variable.
DAYS = int(os.environ.get("CULLING_MANAGER_DAYS", "1000"))
HOUR = 3600.0
#: Nothing is asked about earlier than this (seconds) before its deadline.
LEAD = 5.25
LOG = logging.getLogger("a user's day")
LOG.disabled = True


class QuickClock(FakeClock):
    """A clock that moves from timer to timer; nothing here waits for a thread."""

    def __init__(self) -> None:
        super().__init__(NOON.replace(hour=0))
        self.queue: list[tuple[float, int, FakeTimer]] = []
        self.numbers = itertools.count()

    def call_later(self, seconds: float, callback: Callable[[], None]) -> FakeTimer:
        timer = FakeTimer(self.mono + max(seconds, 1e-6), callback)
        heapq.heappush(self.queue, (timer.at, next(self.numbers), timer))
        return timer

    async def run_for(self, seconds: float) -> None:
        end = self.mono + seconds
        await _idle()
        while self.queue and self.queue[0][0] <= end:
            timer = heapq.heappop(self.queue)[2]
            if not timer.cancelled:
                self._move_to(max(timer.at, self.mono))
                timer.callback()
                await _idle()
        self._move_to(end)


# -- what there is ---------------------------------------------------------------------------------------


@dataclass
class Thing:
    """A kernel, a terminal or an app as its user knows it: when it was `used`, and what else is to keep it.

    `running` are the cells that run, each in its thread. `seen` is when an activity signal last answered that it is in
    use. `free_at` is when something was taken away that kept it: a keep-alive, a connection. `lost` is when a word was
    lost without which nobody can tell that it is idle, and `proved` when it has shown that it is. An app that comes
    unheard of is listed half a timeout later at the latest.
    """

    kind: Kind
    identity: str
    used: datetime
    home: str = ""
    running: dict[str, str] = field(default_factory=dict)
    lost: datetime | None = None
    proved: datetime | None = None
    connected: bool = False
    dead: bool = False
    timeout: float | None = None
    grace_until: datetime | None = None
    seen: datetime | None = None
    free_at: datetime | None = None
    listed_by: datetime | None = None
    born: datetime | None = None
    warned_at: datetime | None = None

    @property
    def busy(self) -> bool:
        """Whether a cell runs."""
        return bool(self.running)


@dataclass
class Job:
    """A background job: of a kernel or terminal, or of nothing but the app it runs on (`owner` None).

    `kind` is how it uses its cores, see `LOOKS`; an idle cluster is nobody's job.
    """

    owner: str | None
    start: datetime
    end: datetime
    kind: str = "one"


#: How jobs look to who reads the process table for a second: the processes, for each the least and the most of a core,
#: how long it waits for one, and how long it runs before it sleeps (seconds); heartbeats as measured, work at least.
LOOKS = {
    "one": (1, (0.3, 1.0), (0.0, 0.5), (0.002, 0.006)),
    "starved": (1, (0.001, 0.05), (0.85, 0.95), (0.0007, 0.004)),
    "crowd": (60, (0.006, 0.03), (0.9, 0.97), (0.001, 0.004)),
    "cluster": (5, (0.01, 0.06), (0.01, 0.2), (0.00005, 0.00044)),
}


@functools.cache
def look(kind: str, variant: int) -> str | None:
    """What the law of the process signal says of a job that looks like that: in words, or None for heartbeats."""
    dice, (many, *ranges) = random.Random(f"{kind}-{variant}"), LOOKS[kind]
    first, second = {}, {}
    for pid in range(100, 100 + many):
        share, waits, awake = (dice.uniform(*each) for each in ranges)
        ran = {pid: (share, min(waits, 1 - share), max(1, round(share / awake)))}
        known = {"pid": pid, "parent": 10, "session": 100, "name": "p", "kept_bytes": 0.0, "moved_bytes": 0.0}
        first[pid] = Row(**known, at=0.0, threads={pid: (0.0, 0.0, 0)})
        second[pid] = Row(**known, at=1.0, threads=ran, cpu_seconds=share, state=dice.choice("RS"))
    found, signal = usages(Table(first, 0.0, many), Table(second, 1.0, many)), ProcessSignal
    table, least = Table(second, 1.0, many), signal.cpu_share.default_value
    alone = [each for each in found if each.over(least, signal.io_rate.default_value) and not each.beats]
    return summary(alone) or together(found, table, 10, least)


@dataclass(frozen=True)
class Rules:
    """What the admin configured; times in minutes, those of signals and hook in seconds."""

    classic: bool = False
    timeout: int = 60
    terminal_timeout: int | None = None
    keep_terminals: bool = False
    cull_connected: bool = True
    grace: int = 0
    long_run: int = 10
    warn_before: int = 5
    heartbeat: int = 600
    ask_seconds: float = 1.0
    hook_seconds: float = 0.0
    veto: int = 0
    max_age: int = 0
    max_at_work: int = 0


class OneApp(FakeApps):
    """The app that the server itself runs on."""

    lists = False
    shares_kernels = False


class ManyApps(FakeApps):
    """Apps that come and go, each with its kernels."""

    shares_kernels = False

    def knows_home_of(self, kernel, apps):
        return kernel.app_name in apps


@dataclass
class Heard:
    """What the server has heard of one kernel: what it was given, its state, and its runs."""

    known: Unanswered = field(default_factory=Unanswered)
    state: str = "idle"
    run: Run = field(default_factory=Run)


@dataclass
class TalkingKernels(HomedKernels):
    """Kernels that say when they begin a request and when they have ended it, as far as that is heard.

    Their records are made of what was heard as our managers make them, and one that says 'busy' can be asked.
    """

    day: Any = None
    heard: dict[str, Heard] = field(default_factory=dict)
    first_proof: datetime = NEVER

    def given(self, identity: str, request: str, heard: bool) -> None:
        """A request goes through the server; that the kernel begins it may be lost."""
        known = self.heard.setdefault(identity, Heard(run=Run(self.day.culler.policy.long_run)))
        known.known.send(request)
        if heard:
            known.known.begin(request)
            known.state = "busy"
        self.show(identity, last_activity=self.day.clock.wall)

    def ended(self, identity: str, request: str) -> None:
        """It says that it is done with a request, which says nothing of another."""
        known = self.heard[identity]
        known.known.end(request)
        known.state = "idle"
        self.show(identity, last_activity=self.day.clock.wall)

    def show(self, identity: str, **changes: Any) -> None:
        known, now = self.heard[identity], self.day.clock.wall
        works = known.state == "busy" or bool(known.known.begun)
        known.run.long_run = self.day.culler.policy.long_run
        known.run.follow(works, now)
        run = {
            "busy_since": known.run.busy_since,
            "ran_until": known.run.ran_until,
            "run_seconds": known.run.run_seconds,
        }
        self.put(identity, state="busy" if works else "idle", settled=not known.known, **run, **changes)

    def glance(self, policy):
        self.first_proof = NEVER
        for identity, last, own in super().glance(policy):
            at = proof_at(self.records[identity], policy) if last is KEPT else None
            if at is not None and at > self.day.clock.wall:
                self.first_proof = min(self.first_proof, at)
            yield identity, None if at is not None and at <= self.day.clock.wall else last, own

    def next_proof(self) -> datetime:
        return self.first_proof

    async def prove(self, record) -> None:
        """One that is done is idle from now on."""
        day, identity = self.day, record.identity
        thing, known = day.things.get(identity), self.heard.get(identity)
        if identity not in self.records or known is None:
            return
        self.put(identity, checked_at=day.clock.wall)
        if thing.running or thing.dead:
            return
        known.state = "idle"
        known.known.forget()
        day.proved(thing)
        self.show(identity, last_activity=day.clock.wall)

    async def confirm(self, record) -> None:
        """One that was given something unheard is asked, too; once it has finished it was in use until now."""
        day, known = self.day, self.heard.get(record.identity)
        if record.settled or not record.alive or known is None:
            return
        if day.things[record.identity].running:
            self.put(record.identity, last_activity=day.clock.wall)
            return
        known.known.forget()
        day.proved(day.things[record.identity])
        self.show(record.identity, last_activity=day.clock.wall)


@dataclass
class DayGuard:
    """Signals that see the day's jobs, its editor and its proxied apps, as late as they may and no more than they must.

    And a hook.
    """

    day: Day
    lead_seconds: float = LEAD
    asked: int = 0
    vetoed: set[str] = field(default_factory=set)

    async def ask(self, record, roots) -> Use:
        self.asked += 1
        day, began = self.day, self.day.clock.wall
        await day.clock.sleep(day.rules.ask_seconds)
        identity, app = record.identity, hasattr(record, "watched_since")
        at_work = [job for job in day.jobs if job.start <= began and job.end > day.clock.wall]
        at_work = [job for job in at_work if job.owner == identity or (app and not day.rules.classic)]
        at_work = [job for job in at_work if look(job.kind, self.asked % 16) is not None]
        if not at_work and day.clock.wall >= day.ill_until:
            stamps = [at for at in (*day.stamps, *day.proxied) if at <= began] if app else []
            return Use(used_at=max(stamps, default=None))
        if identity in day.things and (not at_work or any(job.kind != "cluster" for job in at_work)):
            day.things[identity].seen = day.clock.wall
        return Use(used_by=f"{len(at_work)} processes" if at_work else "a signal failed, which counts as use")

    async def before_culling(self, record, decision) -> datetime | None:
        day = self.day
        if day.rules.hook_seconds:
            await day.clock.sleep(day.rules.hook_seconds)
        if not day.rules.veto or record.identity in self.vetoed:
            return None
        self.vetoed.add(record.identity)
        until = day.clock.wall + timedelta(minutes=day.rules.veto)
        kind = day.things[record.identity].kind if record.identity in day.things else None
        if kind is not None:
            day.kept[kind, record.identity] = until
        return until


# -- a day -----------------------------------------------------------------------------------------------


class Day:
    """Plays what a user does, and holds each stop against what the user would say of it."""

    def __init__(self, rules: Rules) -> None:
        self.rules, self.clock = rules, QuickClock()
        self.things: dict[str, Thing] = {}
        self.jobs: list[Job] = []
        self.stamps: list[datetime] = []
        self.clicks: list[datetime] = []
        self.proxied: list[datetime] = []
        self.rhythms = Rhythms()
        self.pages: dict[int, datetime] = {}
        self.kept: dict[tuple[Kind | None, str | None], datetime] = {}
        self.ill_until = self.changed_at = self.clock.wall
        self.wrong: list[str] = []
        self.stops = self.aged = 0
        self.numbers = itertools.count(1)
        self.events: list[tuple[float, int, Callable[[], None]]] = []
        self.culler: IdleCuller | None = None
        self.apps: FakeApps = ManyApps() if rules.classic else OneApp()
        self.apps.before_delete = self.app_goes

    # -- the server

    def open(self, app: str = "a") -> None:
        """There is a server, and an app of this name in service."""
        if self.culler is None or (not self.rules.classic and self.state_of(app) != IN_SERVICE):
            self.new_server()
        if self.state_of(app) != IN_SERVICE:
            self.apps.put(app, state=IN_SERVICE, created_at=self.clock.wall)
            half = timedelta(seconds=self.culler.policy.idle_timeout / 2 if self.rules.classic else 0)
            self.things[app] = Thing(
                Kind.APP, app, self.clock.wall, listed_by=self.clock.wall + half, born=self.clock.wall
            )
            if not self.rules.classic:
                self.culler.start()

    def state_of(self, app: str) -> str | None:
        found = self.apps.apps.get(app)
        return None if found is None else found.state

    def new_server(self) -> None:
        if self.culler is not None:
            self.culler.stop()
        rules = self.rules
        self.things.clear()
        self.kept.clear()
        self.jobs.clear()
        self.rhythms = Rhythms()
        self.pages.clear()
        culler = self.culler = IdleCuller(LOG, self.clock)
        self.guard = culler.guard = DayGuard(self)
        own = {
            "idle_timeout": rules.timeout * 60.0,
            "terminal_idle_timeout": None if rules.terminal_timeout is None else rules.terminal_timeout * 60.0,
            "keep_terminals": rules.keep_terminals,
            "cull_connected": rules.cull_connected,
            "grace": rules.grace * 60.0,
            "long_run": rules.long_run * 60.0,
            "warn_before": rules.warn_before * 60.0,
            "cull_interval": float(rules.heartbeat),
            "max_age": rules.max_age * 60.0,
            "max_at_work": rules.max_at_work * 60.0,
        }
        self.kernels = TalkingKernels(own_settings=own, culler=culler, day=self)
        self.terminals = FakeTerminals(culler=culler)
        for source in (self.kernels, self.terminals):
            source.stop = self.checked(source.stop)
        self.terminals.own_settings = own
        culler.neighbours = AppSource(self.apps, culler)
        for source in (self.kernels, self.terminals, culler.neighbours):
            culler.attach(source)
        culler.listeners.append(self.heard)
        if rules.classic:
            culler.start()

    def heard(self, happening: Happening) -> None:
        thing = self.things.get(happening.record.identity)
        if thing is not None and happening.action in ("warned", "withdrawn"):
            thing.warned_at = self.clock.wall if happening.action == "warned" else None
        if happening.action == "failed":
            self.wrong.append(f"{happening.record.identity} could not be stopped: {happening.detail}")

    # -- what the model knows

    def timeout_of(self, thing: Thing) -> float:
        policy = self.culler.policy
        if thing.kind is Kind.TERMINAL:
            return policy.terminal_timeout
        return policy.idle_timeout if thing.timeout is None else thing.timeout

    def kept_until(self, thing: Thing) -> list[datetime]:
        asked = [self.kept.get((None, None)), self.kept.get((thing.kind, thing.identity)), thing.grace_until]
        return [at for at in asked if at is not None]

    def earliest(self, thing: Thing) -> datetime:
        """Until then it must not be stopped."""
        quiet_since = max(thing.used, thing.seen or thing.used)
        return max(quiet_since + timedelta(seconds=self.timeout_of(thing)), *self.kept_until(thing), thing.used)

    def latest(self, thing: Thing) -> datetime:
        """Then it must have been stopped. What was found at work is asked about again within a minute."""
        whole, rules = timedelta(seconds=self.timeout_of(thing)), self.rules
        again = timedelta(seconds=ASK_AGAIN_SECONDS + 2 * rules.ask_seconds + 1)
        seen = thing.seen
        if seen is not None and thing.used > seen:  # found at work, then used by hand: asked again at the next look
            seen = thing.used + timedelta(seconds=rules.heartbeat)
        ends = [thing.used + whole, self.changed_at, *self.kept_until(thing)]
        ends += [] if seen is None else [seen + again + whole]
        ends += [] if thing.free_at is None else [thing.free_at]
        ends += [] if thing.proved is None else [thing.proved + whole]
        if thing.lost is not None:  # it is asked one timeout after it was last heard, or asked, or that was changed
            ends += [thing.lost + 2 * whole, self.changed_at + whole]
        ends += [] if thing.listed_by is None else [thing.listed_by + whole]
        for each in self.things.values():  # in Classic a terminal ends with its app, which it keeps until then
            ends += self.kept_until(each) if each.home == thing.identity else []
        slack = 1 + 2 * rules.ask_seconds + 2 * rules.hook_seconds
        return max(ends) + timedelta(seconds=slack)

    def in_use(self, thing: Thing) -> str | None:
        """Why it must not be stopped at all."""
        now = self.clock.wall
        if thing.busy and not thing.dead:
            return "a cell runs"
        if thing.connected and not thing.dead and not self.rules.cull_connected:
            return "a page is connected"
        if thing.kind is Kind.TERMINAL and self.rules.keep_terminals:
            return "terminals are kept"
        everything = thing.kind is Kind.APP and not self.rules.classic
        jobs = [job for job in self.jobs if job.start <= now < job.end and job.kind != "cluster"]
        if any(everything or job.owner == thing.identity for job in jobs):
            return "a job runs"
        return None

    def too_old(self, app: Thing) -> datetime | None:
        """From then on it is too old, as its user knows it: keep-alives move that."""
        if not self.rules.max_age or app.born is None:
            return None
        asked = [self.kept.get((None, None)), self.kept.get((app.kind, app.identity))]
        asked += [
            self.kept.get((each.kind, each.identity)) for each in self.things.values() if each.home == app.identity
        ]
        return max([app.born + timedelta(minutes=self.rules.max_age), *(at for at in asked if at is not None)])

    def grown_too_old(self, app: Thing) -> bool:
        """Whether it goes for its age; it must have been warned of, and not be older than its cap and a minute.

        Whoever takes a keep-alive back is warned once more.
        """
        end, now = self.too_old(app), self.clock.wall
        lead = timedelta(seconds=self.culler.policy.age_warning)
        if end is None or now <= end:
            return False
        if self.culler.watches[Kind.APP].items[app.identity].decision.reason is not Reason.TOO_OLD:
            return False
        if app.warned_at is None or now - app.warned_at < lead - timedelta(seconds=1):
            self.wrong.append(f"UNWARNED app {app.identity} at {now:%H:%M:%S}: warned at {app.warned_at}")
        if now > max(end, (app.free_at or end) + lead, self.changed_at + lead) + timedelta(minutes=1):
            self.wrong.append(f"TOO OLD app {app.identity} at {now:%H:%M:%S}: until {end:%H:%M:%S}")
        self.aged += 1
        return True

    def judge(self, thing: Thing) -> None:
        """One of them is stopped now."""
        now, why = self.clock.wall, self.in_use(thing)
        self.stops += 1
        name = f"{thing.kind.value} {thing.identity} at {now:%H:%M:%S.%f}"
        if thing.dead:
            return
        if why is not None:
            self.wrong.append(f"FALSE KILL {name}: {why}")
        elif now <= self.earliest(thing):
            self.wrong.append(f"FALSE KILL {name}: not before {self.earliest(thing):%H:%M:%S.%f}; {thing}")
        elif now > self.latest(thing):
            self.wrong.append(f"LATE {name}: before {self.latest(thing):%H:%M:%S.%f}; {thing}")

    def checked(self, stop):
        async def checking(record):
            thing = self.things[record.identity]
            self.judge(thing)
            await stop(record)
            self.gone(thing, culled=True)

        return checking

    def gone(self, thing: Thing, culled: bool) -> None:
        """It is off the list; its end is use of its app unless it was culled, and then its app may follow."""
        del self.things[thing.identity]
        self.kept.pop((thing.kind, thing.identity), None)
        app = self.things.get(thing.home)
        if app is None:
            return
        if not culled:
            app.used = max(app.used, self.clock.wall)
        elif thing.dead and (thing.busy or thing.lost is not None):
            app.listed_by = self.clock.wall  # it counts as at work until it was taken away
        app.free_at = self.clock.wall
        if thing.seen is not None:
            app.seen = max(thing.seen, app.seen or thing.seen)
        for job in self.jobs:
            if job.owner == thing.identity:
                job.owner = None  # what was detached goes on

    def app_goes(self, record) -> None:
        """An app is deleted now, with all that is on it."""
        app, now = self.things[record.identity], self.clock.wall
        on_it = [thing for thing in self.things.values() if thing.home == app.identity]
        too_old = self.grown_too_old(app)
        for thing in [] if too_old else on_it:
            goes_along = self.rules.classic and thing.kind is Kind.TERMINAL
            if not goes_along and self.in_use(thing):
                self.wrong.append(f"FALSE KILL {thing.kind.value} {thing.identity} with its app: {self.in_use(thing)}")
            if not thing.dead and any(until >= now for until in self.kept_until(thing)):
                self.wrong.append(f"FALSE KILL {thing.kind.value} {thing.identity} with its app: it was kept")
            if thing.seen is not None:
                app.seen = max(thing.seen, app.seen or thing.seen)
        unseen = timedelta(seconds=LEAD + ANSWER_SECONDS + 2 * self.rules.ask_seconds + 2 * self.rules.hook_seconds)
        whole = timedelta(seconds=self.timeout_of(app))
        for who, used in (("an editor", self.stamps), ("somebody in a proxied app", self.clicks)):
            early = [at for at in used if at <= now - unseen and at >= app.used]
            if early and now <= max(early) + whole and not too_old:
                self.wrong.append(f"FALSE KILL app {app.identity}: {who} used it at {max(early):%H:%M:%S}")
        used = [at for at in (*self.stamps, *self.proxied) if at <= now]
        app.free_at = max([app.free_at or app.used, *(at + whole for at in used)])
        if not too_old:
            self.judge(app)
        for thing in [app, *on_it]:
            self.things.pop(thing.identity, None)
            self.kept.pop((thing.kind, thing.identity), None)
        for thing in on_it:
            (self.kernels if thing.kind is Kind.KERNEL else self.terminals).records.pop(thing.identity, None)
        if not self.rules.classic:
            self.jobs.clear()
        self.stamps.clear()
        self.clicks.clear()
        self.proxied.clear()

    def proved(self, kernel: Thing) -> None:
        """A kernel whose word that it is idle was lost has shown that it is: that counts as use, of its app too."""
        kernel.lost, kernel.proved = None, self.clock.wall
        run, policy = self.kernels.heard[kernel.identity].run, self.culler.policy
        since = run.busy_since
        if self.rules.grace and since is not None and (self.clock.wall - since).total_seconds() >= policy.long_run:
            kernel.grace_until = self.clock.wall + timedelta(minutes=self.rules.grace)
        if kernel.home in self.things:
            self.things[kernel.home].proved = self.clock.wall

    # -- what a user does

    def use(self, thing: Thing) -> None:
        thing.used = self.clock.wall
        if thing.home in self.things:
            self.things[thing.home].used = self.clock.wall

    def kernel(self, who: int, timeout: float | None = None) -> Thing:
        """A kernel of this user's notebook number `who`, which may have to be started."""
        home = "ab"[who % 2] if self.rules.classic else "a"
        self.open(home)
        found = [t for t in self.things.values() if t.identity.startswith(f"k{who}-") and not t.dead]
        if found:
            return found[0]
        identity = f"k{who}-{next(self.numbers)}"
        thing = self.things[identity] = Thing(Kind.KERNEL, identity, self.clock.wall, home, timeout=timeout)
        self.kernels.start(identity, last_activity=self.clock.wall, app_name=home, idle_timeout=timeout)
        self.use(thing)
        return thing

    def terminal(self, who: int) -> Thing:
        home = "ab"[who % 2] if self.rules.classic else "a"
        self.open(home)
        identity = f"{home}-{who}"
        if identity not in self.things:
            self.things[identity] = Thing(Kind.TERMINAL, identity, self.clock.wall, home)
            self.terminals.start(identity, last_activity=self.clock.wall, with_app=self.rules.classic)
        self.use(self.things[identity])
        self.terminals.put(identity, last_activity=self.clock.wall)
        return self.things[identity]

    def after(self, seconds: float, event: Callable[[], None]) -> None:
        heapq.heappush(self.events, (self.clock.mono + seconds, next(self.numbers), event))

    def run_cell(
        self, who: int, seconds: float, chatty: bool = False, job: float = 0.0, thread: str = "main", loses: str = ""
    ) -> None:
        """Run a cell in a thread that is free; `loses` says whether its 'busy', its 'idle' or both are not heard."""
        kernel = self.kernel(who)
        if kernel.dead or thread in kernel.running.values():
            return
        request = str(next(self.numbers))
        kernel.running[request] = thread
        self.use(kernel)
        self.kernels.given(kernel.identity, request, heard=loses not in ("busy", "both"))
        if job:
            self.jobs.append(Job(kernel.identity, self.clock.wall, self.clock.wall + timedelta(seconds=job)))
        if chatty:
            for part in range(1, 4):
                self.after(seconds * part / 4, lambda: self.say(kernel, request))
        self.after(seconds, lambda: self.end_cell(kernel, request, loses))

    def say(self, kernel: Thing, request: str) -> None:
        if self.things.get(kernel.identity) is kernel and request in kernel.running and not kernel.dead:
            self.use(kernel)
            self.kernels.put(kernel.identity, last_activity=self.clock.wall)

    def end_cell(self, kernel: Thing, request: str, loses: str) -> None:
        if self.things.get(kernel.identity) is not kernel or kernel.dead:
            return
        del kernel.running[request]
        self.use(kernel)
        if loses in ("idle", "both"):
            kernel.lost = self.clock.wall
            return
        if kernel.lost is not None:
            kernel.lost = self.clock.wall  # it was heard, and is asked a timeout later
        self.kernels.ended(kernel.identity, request)
        run = self.kernels.heard[kernel.identity].run
        if self.rules.grace and run.ran_until == self.clock.wall and run.run_seconds >= self.culler.policy.long_run:
            kernel.grace_until = run.ran_until + timedelta(minutes=self.rules.grace)

    def visit(self, page: int, typed: int | None) -> None:
        """Something is sent to a proxied app: what somebody typed, or what its page asks by itself."""
        if self.rules.classic or self.culler is None or self.state_of("a") != IN_SERVICE:
            return
        now = self.clock.wall
        if self.rhythms.is_use((page, typed), now.timestamp()):
            self.proxied.append(now)
            if typed is None and now > self.pages.setdefault(page, now) + timedelta(hours=1):
                self.wrong.append(f"FORGOTTEN a page at {now:%H:%M:%S}: what it asks by itself still counts")
        if typed is not None:
            self.clicks.append(now)

    def shut_down(self, who: int) -> None:
        """The user closes a notebook and its kernel; its jobs end with it."""
        for thing in [t for t in self.things.values() if t.identity.startswith(f"k{who}-")]:
            self.jobs = [job for job in self.jobs if job.owner != thing.identity]
            self.kernels.end(thing.identity)
            self.gone(thing, culled=False)

    def die(self, who: int) -> None:
        """A kernel is killed from outside; its jobs are not."""
        for thing in [t for t in self.things.values() if t.identity.startswith(f"k{who}-") and not t.dead]:
            if thing.busy and thing.home in self.things:
                self.things[thing.home].used = self.clock.wall
            thing.dead = True
            if thing.home in self.things:
                self.things[thing.home].free_at = self.clock.wall
            self.kernels.put(thing.identity, alive=False)
            self.culler.wake_soon(Kind.KERNEL)

    def exit(self, who: int) -> None:
        """The user leaves a shell; what was started with nohup goes on."""
        for thing in [t for t in self.things.values() if t.kind is Kind.TERMINAL and t.identity.endswith(f"-{who}")]:
            self.terminals.end(thing.identity)
            self.gone(thing, culled=False)

    def start_job(self, who: int, seconds: float, detached: bool, kind: str = "one") -> None:
        terminal = self.terminal(who)
        if not self.rules.classic:
            owner = None if detached else terminal.identity
            self.jobs.append(Job(owner, self.clock.wall, self.clock.wall + timedelta(seconds=seconds), kind))

    def connect(self, who: int, seconds: float) -> None:
        kernel = self.kernel(who)
        kernel.connected = True
        self.kernels.put(kernel.identity, connections=1)
        self.after(seconds, lambda: self.disconnect(kernel))

    def disconnect(self, kernel: Thing) -> None:
        if self.things.get(kernel.identity) is kernel:
            kernel.connected, kernel.free_at = False, self.clock.wall
            self.kernels.put(kernel.identity, connections=0)
            self.culler.wake_soon(Kind.KERNEL)

    def keep(self, number: int, seconds: float) -> None:
        """Keep everything, or one of the things that there are."""
        if self.culler is None or not self.things:
            return
        things = sorted(self.things.values(), key=lambda thing: thing.identity)
        choices: list[tuple[Kind | None, str | None]] = [(None, None), *((t.kind, t.identity) for t in things)]
        kind, identity = choices[number % len(choices)]
        if kind is not None and not self.culler.watches[kind].source.exists(identity):
            return  # an app that was not listed yet
        until = self.clock.wall + timedelta(seconds=seconds)
        try:
            self.culler.keep_alive(kind, identity, until, "a user")
        except StopError:
            return  # its app is being deleted
        self.kept[kind, identity] = until
        self.changed_at = self.clock.wall

    def resume(self, number: int) -> None:
        if self.kept:
            key = list(self.kept)[number % len(self.kept)]
            del self.kept[key]
            self.changed_at = self.clock.wall
            self.culler.end_keep_alive(*key)

    def stamp(self, left: int) -> None:
        """A remote editor notes each minute that it is used."""
        if left and not self.rules.classic and self.state_of("a") == IN_SERVICE:
            self.stamps.append(self.clock.wall)
            self.after(60.0, lambda: self.stamp(left - 1))

    def change(self, minutes: int) -> None:
        if self.culler is not None:
            self.changed_at = self.clock.wall
            self.culler.change_settings(idle_timeout=minutes * 60.0)

    def look(self, left: int) -> None:
        """Somebody reads the status now and then; that changes nothing."""
        if left and self.culler is not None:
            for watch in self.culler.watches.values():
                watch.current(self.culler.now())
            self.after(301.0, lambda: self.look(left - 1))

    # -- playing it

    async def play(self, tasks: list[Task]) -> None:
        """Do all that, event by event; then everybody goes home, and nothing may be left."""
        for task in tasks:
            for at, event in task.events(self):
                self.events.append((1000.0 + at, next(self.numbers), event))
        heapq.heapify(self.events)
        while self.events:
            at, _, event = heapq.heappop(self.events)
            await self.clock.run_for(max(0.0, at - self.clock.mono))
            event()
            await _idle()
        await self.go_home()

    async def go_home(self) -> None:
        if self.culler is None:
            return
        if self.rules.keep_terminals:
            for thing in [t for t in self.things.values() if t.kind is Kind.TERMINAL]:
                self.exit(int(thing.identity.rsplit("-", 1)[1]))
        ends = [self.clock.wall, self.ill_until, *self.kept.values(), *(job.end for job in self.jobs)]
        ends += [thing.grace_until for thing in self.things.values() if thing.grace_until is not None]
        longest = max([HOUR, *(self.timeout_of(thing) for thing in self.things.values())])
        rest = (max(ends) - self.clock.wall).total_seconds() + self.rules.veto * 60
        if any(thing.lost is not None for thing in self.things.values()):
            rest += self.rules.grace * 60  # whose end was lost has run until it was asked, as far as anybody can tell
        await self.clock.run_for(rest + 3 * longest + 300)
        self.wrong += [f"FORGOTTEN {thing}" for thing in self.things.values()]
        self.culler.stop()


# -- what days are made of -------------------------------------------------------------------------------

KINDS = [
    "notebook",
    "long",
    "job",
    "shell",
    "detached",
    "keep",
    "resume",
    "tab",
    "editor",
    "ill",
    "settings",
    "shut",
    "exit",
    "die",
    "short",
    "look",
    "beside",
    "lost",
    "proxy",
    "starved",
]


@dataclass(frozen=True)
class Task:
    """One thing that a user is at: from a time of day (minutes), for so many minutes."""

    at: int
    kind: str
    who: int
    minutes: int
    seed: int = 0

    def events(self, day: Day) -> Iterator[tuple[float, Callable[[], None]]]:
        at, who, seconds, dice = self.at * 60.0, self.who, self.minutes * 60.0, random.Random(self.seed)
        at += dice.random() * 60
        match self.kind:
            case "notebook":
                yield from self.cells(day, at, seconds, dice)
            case "long":
                yield at, lambda: day.run_cell(who, seconds)
            case "job":
                yield at, lambda: day.run_cell(who, 2.0, job=0.0 if day.rules.classic else seconds)
            case "shell" | "detached":
                yield from self.shell(day, at, seconds, dice)
            case "keep":
                yield at, lambda: day.keep(self.seed, seconds)
            case "resume":
                yield at, lambda: day.resume(self.seed)
            case "tab":
                yield at, lambda: day.connect(who, seconds)
            case "editor":
                yield at, lambda: day.stamp(self.minutes)
            case "ill":
                yield at, lambda: setattr(day, "ill_until", day.clock.wall + timedelta(seconds=seconds))
            case "settings":
                yield at, lambda: day.change(dice.choice([2, 10, 45, 90, 300]))
            case "shut":
                yield at, lambda: day.shut_down(who)
            case "exit":
                yield at, lambda: day.exit(who)
            case "die":
                yield at, lambda: day.die(who)
            case "short":
                yield at, lambda: day.kernel(who + 3, timeout=dice.choice([90.0, 1800.0, 6 * HOUR]))
            case "look":
                yield at, lambda: day.look(self.minutes)
            case "beside":
                yield at, lambda: day.run_cell(who, seconds, thread="beside")
                yield from self.cells(day, at + 30, seconds / 2, dice)
            case "lost":
                loses, thread = dice.choice(["idle", "idle", "busy", "both"]), dice.choice(["main", "main", "beside"])
                chatty = dice.random() < 0.5
                yield at, lambda: day.run_cell(who, seconds, chatty, thread=thread, loses=loses)
            case "proxy":
                yield from self.proxied(day, at, seconds, dice)
            case "starved":
                kind = dice.choice(["starved", "crowd", "cluster"])
                yield at, lambda: day.start_job(who, seconds, dice.random() < 0.5, kind)

    def cells(self, day: Day, at: float, seconds: float, dice: random.Random) -> Iterator[tuple[float, Callable]]:
        """Cells of random length, with time to think in between."""
        end = at + seconds
        while at < end:
            length = min(dice.lognormvariate(2, 2), 3 * HOUR)
            chatty = dice.random() < 0.3
            job = dice.uniform(60, 3 * HOUR) if dice.random() < 0.03 and not day.rules.classic else 0.0
            yield at, lambda length=length, chatty=chatty, job=job: day.run_cell(self.who, length, chatty, job)
            at += length + dice.expovariate(1 / 240)

    def proxied(self, day: Day, at: float, seconds: float, dice: random.Random) -> Iterator[tuple[float, Callable]]:
        """Somebody works in a proxied app; its page asks for news every few minutes, and is forgotten there."""
        pace, then, page = dice.uniform(120, 300), at, next(day.numbers)
        while then < at + seconds:
            yield then, lambda: day.visit(page, next(day.numbers))
            then += dice.expovariate(1 / 300)
        for beat in range(min(int(3 * seconds / pace), 150)):
            yield at + 1 + beat * pace, lambda: day.visit(page, None)

    def shell(self, day: Day, at: float, seconds: float, dice: random.Random) -> Iterator[tuple[float, Callable]]:
        """Some typing, and then a job that runs on."""
        for turn in range(dice.randrange(1, 5)):
            yield at + turn * 20, lambda: day.terminal(self.who)
        yield at + 100, lambda: day.start_job(self.who, seconds, self.kind == "detached")
        if self.kind == "detached" and dice.random() < 0.7:
            yield at + 120, lambda: day.exit(self.who)


def workday(seed: int) -> list[Task]:
    """Morning, lunch, a meeting, the afternoon, and something left running for the night."""
    dice = random.Random(seed)
    at, tasks = int(dice.gauss(540, 40)), []
    for length in (dice.randrange(60, 200), dice.randrange(40, 120), dice.randrange(60, 180)):
        tasks.append(Task(at, "notebook", dice.randrange(3), length, dice.getrandbits(16)))
        if dice.random() < 0.4:
            other = dice.choice(["shell", "job", "long", "tab", "notebook", "keep"])
            tasks.append(Task(at + 10, other, dice.randrange(3), dice.randrange(5, 90), dice.getrandbits(16)))
        at += length + dice.choice([20, 45, 60, 100, 240])
    if dice.random() < 0.5:
        overnight = dice.choice(["long", "job", "shell", "detached", "keep"])
        tasks.append(Task(min(at, 1300), overnight, dice.randrange(3), dice.randrange(60, 600), dice.getrandbits(16)))
    return tasks


tasks = st.builds(
    Task,
    at=st.integers(0, 1439),
    kind=st.sampled_from(KINDS),
    who=st.integers(0, 2),
    minutes=st.integers(1, 500),
    seed=st.integers(0, 65_535),
)
rules = st.builds(
    Rules,
    classic=st.sampled_from([False, False, False, True]),
    timeout=st.sampled_from([60, 2, 10, 30, 120, 240]),
    terminal_timeout=st.sampled_from([None, None, 15, 200]),
    keep_terminals=st.sampled_from([False, False, False, True]),
    cull_connected=st.booleans(),
    grace=st.sampled_from([0, 0, 30, 200]),
    long_run=st.sampled_from([10, 60]),
    warn_before=st.sampled_from([5, 0, 15]),
    heartbeat=st.sampled_from([600, 60, 3600]),
    ask_seconds=st.sampled_from([1.0, 0.1, 5.0, 9.9]),
    hook_seconds=st.sampled_from([0.0, 0.0, 20.0]),
    veto=st.sampled_from([0, 0, 0, 7]),
    max_age=st.sampled_from([0, 0, 0, 300, 700]),
)
days = st.tuples(rules, st.none() | st.integers(0, 2**32), st.lists(tasks, max_size=10))


def play(rules: Rules, seed: int | None, more: list[Task]) -> Day:
    """Play one day; gives it with what went wrong."""
    day = Day(rules)
    asyncio.run(day.play([*([] if seed is None else workday(seed)), *more]))
    return day


@pytest.mark.timeout(60 + DAYS)
@settings(max_examples=DAYS, deadline=None)
@given(days)
def test_in_a_users_day_nothing_in_use_is_stopped_and_nothing_quiet_is_forgotten(found):
    """Never while it is used or kept, never before a whole timeout of quiet, and then at its deadline to the second."""
    day = play(*found)

    assert day.wrong == []


def test_a_wakeup_shortly_before_a_visit_does_not_put_it_off_to_the_next_one():
    """A day that was once found: what the signals kept, then worked, is asked about within one long heartbeat."""
    rules = Rules(
        classic=False, timeout=60, terminal_timeout=None, keep_terminals=False, cull_connected=False, grace=0,
        long_run=10, warn_before=5, heartbeat=600, ask_seconds=1.0, hook_seconds=0.0, veto=0,
    )  # fmt: skip
    tasks = [
        Task(at=0, kind="notebook", who=0, minutes=1, seed=0),
        Task(at=77, kind="notebook", who=0, minutes=1, seed=383),
        Task(at=97, kind="ill", who=0, minutes=500, seed=8),
        Task(at=180, kind="long", who=0, minutes=446, seed=3),
    ]

    day = play(rules, None, tasks)

    assert day.wrong == []
    assert day.stops


def test_a_kernel_that_dies_in_a_run_of_which_nothing_was_heard_was_in_use_until_then():
    """A day that was once found: its app went an hour after the run had begun, not after its end."""
    tasks = [Task(at=0, kind="lost", who=0, minutes=1, seed=0), Task(at=1, kind="die", who=0, minutes=1, seed=0)]

    day = play(Rules(), None, tasks)

    assert day.wrong == []
    assert day.stops


@pytest.mark.parametrize(("believed", "words"), [(7200.0, "FALSE KILL"), (1800.0, "LATE")])
def test_the_model_of_a_day_finds_a_culler_that_stops_too_early_or_too_late(believed, words, monkeypatch):
    """Else it would prove nothing: the culler's timeout is an hour, and its user believes in another."""
    busy_day = [Task(540, "notebook", 0, 120, 7), Task(560, "shell", 1, 200, 8), Task(800, "job", 2, 300, 9)]
    day = Day(Rules())
    monkeypatch.setattr(day, "timeout_of", lambda thing: believed)

    asyncio.run(day.play(busy_day))

    assert any(words in each for each in day.wrong)


def blind_to_threads(patch: pytest.MonkeyPatch) -> None:
    """The state alone tells whether a kernel works, and nobody asks it."""
    patch.setattr(Unanswered, "begin", lambda self, request: self.end(request))


def nobody_asks(patch: pytest.MonkeyPatch) -> None:
    """What says 'busy' is busy."""

    async def prove(self, record) -> None:
        """Nothing is found out."""

    patch.setattr(TalkingKernels, "prove", prove)


def found_free_is_idle(patch: pytest.MonkeyPatch) -> None:
    """Who is free when it is asked has been idle since it was heard last."""
    confirm = TalkingKernels.confirm

    async def forgetful(self, record) -> None:
        """A kernel that has finished what nobody heard it finish is as old as before."""
        known, before = self.heard.get(record.identity), self.records[record.identity].last_activity
        await confirm(self, record)
        if known is not None and not self.day.things[record.identity].running:
            self.show(record.identity, last_activity=before)

    patch.setattr(TalkingKernels, "confirm", forgetful)


def deaf_to_proxies(patch: pytest.MonkeyPatch) -> None:
    """What goes through the server to an app of its own is nobody's use."""
    patch.setattr(Rhythms, "is_use", lambda self, kind, at: False)


def no_rhythm(patch: pytest.MonkeyPatch) -> None:
    """Whatever is sent to a proxied app is use."""
    patch.setattr(Rhythms, "is_use", lambda self, kind, at: True)


def sees_cores_only(patch: pytest.MonkeyPatch) -> None:
    """Who gets next to nothing of a core is taken for idle."""
    patch.setitem(globals(), "look", lambda kind, variant: "it works" if kind == "one" else None)


def sees_all_that_moves(patch: pytest.MonkeyPatch) -> None:
    """Heartbeats are work."""
    patch.setitem(globals(), "look", lambda kind, variant: "it works")


FAULTS = {
    "a cell in a subshell": (blind_to_threads, [Task(540, "beside", 0, 300, 7)], "FALSE KILL"),
    "a lost idle": (nobody_asks, [Task(540, "lost", 0, 20, 1)], "FORGOTTEN"),
    "a run of which nothing was heard": (found_free_is_idle, [Task(540, "lost", 0, 50, 0)], "FALSE KILL"),
    "somebody in a proxied app": (deaf_to_proxies, [Task(540, "proxy", 0, 300, 7)], "FALSE KILL"),
    "a forgotten tab": (no_rhythm, [Task(540, "proxy", 0, 300, 7)], "FORGOTTEN a page"),
    "a starved job": (sees_cores_only, [Task(540, "starved", 0, 300, 1)], "FALSE KILL"),
    "a crowd on few cores": (sees_cores_only, [Task(540, "starved", 0, 300, 0)], "FALSE KILL"),
    "an idle cluster": (sees_all_that_moves, [Task(540, "starved", 0, 900, 3)], "LATE"),
}


@pytest.mark.parametrize(("fault", "tasks", "words"), FAULTS.values(), ids=FAULTS.keys())
def test_the_model_of_a_day_finds_what_would_go_wrong_without_each_remedy(fault, tasks, words, monkeypatch):
    """A day that is right as it is; with the remedy taken out work is killed, or something stays."""
    opened = [Task(539, "notebook", 0, 1, 3), *tasks]
    right = play(Rules(), None, opened)
    fault(monkeypatch)

    wrong = play(Rules(), None, opened)

    assert right.wrong == []
    assert any(words in each for each in wrong.wrong)


# -- what such days have found -----------------------------------------------------------------------------


@scenario
async def test_a_job_that_ended_with_its_kernel_counts_for_the_app_until_then():
    """The kernel's own timeout is short, so that it goes first; the app follows a whole timeout after the job."""
    world = test_appsource.World()
    world.apps.put("a", created_at=test_appsource.LONG_AGO)
    world.culler.guard = guard = test_attention.FakeGuard(world.clock, at_work={"k": "it computes"})
    world.start()
    world.kernel("k", idle_timeout=60.0)
    await world.clock.run_for(1100)  # the app was looked at for the last time after 900 s
    guard.at_work.clear()
    ended = world.clock.mono

    while not world.apps.deleted:
        await world.clock.run_for(1)

    assert world.clock.mono - ended > test_appsource.TIMEOUT


@scenario
async def test_a_keep_alive_for_an_image_terminal_keeps_the_app_that_it_goes_with():
    """It was accepted, so the terminal has to stay."""
    world = test_appsource.World()
    world.apps.put("a", created_at=test_appsource.LONG_AGO)
    world.start()
    world.terminals.start("a-1", last_activity=world.clock.wall, with_app=True)
    world.culler.keep_alive(Kind.TERMINAL, "a-1", world.clock.wall + timedelta(hours=4), "somebody")

    await world.clock.run_for(3 * HOUR)

    assert world.apps.deleted == []


@scenario
async def test_a_clock_that_was_a_month_ahead_does_not_keep_for_a_month_what_was_at_work():
    """The job was seen before the clock was set; it has ended since."""
    world = test_attention.World()
    world.clock.jump(30 * 86_400)
    world.guard.at_work["a"] = "it computes"
    await world.clock.run_for(test_attention.TIMEOUT + 10)

    world.clock.jump(-30 * 86_400)
    world.guard.at_work.clear()
    await world.clock.run_for(24 * HOUR)

    assert world.kernels.stopped == ["a"]


@scenario
async def test_nor_does_it_keep_what_was_used_while_it_was_ahead():
    """Nothing is at work. Each answer of the signals must not make the last use younger."""
    world = test_attention.World()
    world.clock.jump(30 * 86_400)
    world.touch()
    await world.clock.run_for(600)

    world.clock.jump(-30 * 86_400)
    await world.clock.run_for(24 * HOUR)

    assert world.kernels.stopped == ["a"]


@scenario
async def test_what_a_user_asks_for_while_the_hook_runs_is_not_cut_short_by_its_answer():
    """Four hours were asked for, and confirmed; the hook wants five minutes."""
    world = test_attention.World()

    async def slow_hook(record, decision):
        await world.clock.sleep(10)
        return (
            world.clock.wall + timedelta(minutes=5) if world.clock.mono < 1000 + test_attention.TIMEOUT + 60 else None
        )

    world.guard.before_culling = slow_hook
    await world.clock.run_for(test_attention.TIMEOUT + 5)
    world.culler.keep_alive(Kind.KERNEL, "a", world.clock.wall + timedelta(hours=4), "somebody")

    await world.clock.run_for(3 * HOUR)

    assert world.kernels.stopped == []


@scenario
async def test_what_goes_while_a_hook_decides_to_keep_it_is_no_failure():
    """Its user shut it down meanwhile: gone already."""
    world = test_attention.World()

    async def slow_hook(record, decision):
        await world.clock.sleep(10)
        return world.clock.wall + timedelta(hours=1)

    world.guard.before_culling = slow_hook
    await world.clock.run_for(test_attention.TIMEOUT + 5)
    del world.kernels.records["a"]

    await world.clock.run_for(10)

    assert [outcome.result for outcome in world.culler.outcomes] == [Result.GONE]
    assert "failed" not in world.actions()


@scenario
async def test_a_hook_that_wants_a_dead_kernel_kept_is_not_called_without_end():
    """Once, or now and then; not thirty times a second."""
    world = test_attention.World()
    world.guard.veto = world.clock.wall + timedelta(hours=1)
    world.kernels.put("a", alive=False)
    world.culler.wake_soon(Kind.KERNEL)

    await world.clock.run_for(60)

    assert len(world.guard.hooked) < 10


@scenario
async def test_a_look_at_the_status_while_a_kernel_stops_does_not_change_why_it_was_culled():
    """Its shutdown makes it say something, which is no activity; it was idle."""
    world = test_attention.World()
    world.kernels.hanging["a"] = asyncio.Event()
    await world.clock.run_for(test_attention.TIMEOUT + 1)
    world.touch()
    world.culler.watches[Kind.KERNEL].current(world.culler.now())

    world.kernels.hanging["a"].set()
    await world.clock.run_for(1)

    assert world.culler.outcomes[-1].reason == "idle"
    assert world.told[-1].reason == "idle"
