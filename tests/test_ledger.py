"""What is remembered of apps, and what becomes of their deletions, at the bounds."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import pytest
from traitlets import Any

from culling_manager.apps import source
from culling_manager.apps.deletion import Deletions
from culling_manager.apps.ledger import Ledger, Memory
from culling_manager.decisions import IN_SERVICE, Reason
from culling_manager.errors import CallError, ErrorCode, GoneError
from culling_manager.policy import CullingPolicy
from culling_manager.records import AppRecord, Happening, KernelRecord, Kind, Result, TerminalRecord
from tests.conftest import scenario, until
from tests.doubles import NOON, FakeApps
from tests.test_appsource import LONG_AGO, TIMEOUT, World


def at(seconds: float) -> datetime:
    """An instant relative to noon."""
    return NOON + timedelta(seconds=seconds)


def app(identity: str = "a", state: str = IN_SERVICE, created: float | None = -3600.0, **known) -> AppRecord:
    """One app as it is listed."""
    created_at = None if created is None else at(created)
    return AppRecord(identity=identity, name=f"name of {identity}", state=state, created_at=created_at, **known)


# -- memory ------------------------------------------------------------------------------------------


def test_an_app_was_created_when_it_is_listed_so_and_not_after_it_was_first_seen():
    """Where nobody says when, nobody knows."""
    found = [Memory(at(0), listed).created_at for listed in (at(-5), at(0), at(5), None)]

    assert found == [at(-5), at(0), at(0), None]


def test_only_later_use_moves_the_last_one():
    """What is not known moves nothing."""
    memory, found = Memory(at(0), None), []

    for use in (None, at(10), at(5), None, at(20)):
        memory.note(use)
        found.append(memory.last_activity)

    assert found == [None, at(10), at(10), at(10), at(20)]


def test_nothing_has_happened_after_now():
    """The clock was set back; what was before now stands."""
    memory, never_used = Memory(at(0), at(0), at(10)), Memory(at(0), at(0))

    memory.clamp(at(5))
    never_used.clamp(at(-5))
    found = memory.watched_since, memory.last_activity

    assert found == (at(0), at(5))
    assert (never_used.watched_since, never_used.last_activity) == (at(-5), None)


# -- lists -------------------------------------------------------------------------------------------


def test_a_list_begins_and_ends_what_is_remembered():
    """Of what is in service; whose memory ended, and whose began, is given."""
    ledger = Ledger()

    first = ledger.take([app("a"), app("b"), app("c", "Pending")], at(0), at(1))
    ledger.note("a", at(1))
    ledger.note("nobody", at(1))
    second = ledger.take([app("a"), app("b", "Deleting"), app("c")], at(100), at(101))

    assert first == (set(), {"a", "b"})
    assert second == ({"b"}, {"c"})
    assert {identity: (each.watched_since, each.last_activity) for identity, each in ledger.memories.items()} == {
        "a": (at(1), at(1)), "c": (at(101), None),
    }  # fmt: skip
    assert set(ledger.listed) == {"a", "b", "c"}
    assert ledger.running == {"a", "c"}


ANEW = {
    # id: creation as first listed and then, seconds after noon: does it begin anew?
    "created since": (-10.0, 50.0, True),
    "the same": (-10.0, -10.0, False),
    "said to be older now": (-10.0, -20.0, False),
    "not known before": (None, 50.0, False),
    "not known any more": (-10.0, None, False),
}


@pytest.mark.parametrize(("before", "after", "anew"), ANEW.values(), ids=ANEW)
def test_an_app_begins_anew_when_it_was_created_since(before, after, anew):
    """Then what was asked to be deleted was another of that name."""
    ledger = Ledger()
    ledger.take([app(created=before)], at(0), at(0))
    ledger.asked["a"] = at(30)

    _, begun = ledger.take([app(created=after)], at(100), at(100))

    assert begun == ({"a"} if anew else set())
    assert ledger.memories["a"].watched_since == at(100 if anew else 0)
    assert ledger.asked == ({} if anew else {"a": at(30)})


def test_what_was_asked_for_when_the_clock_was_ahead_was_asked_for_now():
    """And a list is not from later than now either."""
    ledger = Ledger(asked={"a": at(500), "b": at(50)})

    ledger.take([], at(200), at(100))

    assert ledger.asked == {"a": at(100), "b": at(50)}
    assert ledger.refreshed_at == at(100)


@pytest.mark.parametrize(("asked_at", "fresh"), [(10.0, True), (10.75, True), (11.0, False), (30.0, False)])
def test_a_list_is_as_old_as_the_question_for_it(asked_at, fresh):
    """However long the answer took; and it is fresh for less than a second. Without any there is none that is fresh."""
    ledger = Ledger()
    before = ledger.is_fresh(at(0))

    ledger.take([app()], at(10), at(29))

    assert before is False
    assert ledger.is_fresh(at(asked_at)) is fresh


def test_one_that_was_looked_at_by_itself_replaces_what_was_listed_and_one_that_is_gone_is_dropped():
    """The others stay as they are."""
    ledger = Ledger()
    ledger.take([app("a", instance_type="ml.t3.medium"), app("b")], at(0), at(0))
    empty = Ledger().one_type

    ledger.replace(app("b", "Failed"))
    replaced = {identity: each.state for identity, each in ledger.listed.items()}
    ledger.drop("b")

    assert (empty, ledger.one_type) == (None, "ml.t3.medium")
    assert replaced == {"a": IN_SERVICE, "b": "Failed"}
    assert set(ledger.listed) == {"a"}


def test_one_that_may_be_another_by_now_is_watched_from_then_on():
    """What is known of its use and creation stays."""
    ledger = Ledger()
    ledger.take([app()], at(0), at(0))
    ledger.note("a", at(5))

    ledger.begin_again("a", at(60))

    found = ledger.memories["a"]
    assert (found.watched_since, found.listed, found.last_activity) == (at(60), at(-3600), at(5))


STATES = {(IN_SERVICE, True): "Deleting", (IN_SERVICE, False): IN_SERVICE, ("Failed", True): "Failed"}


@pytest.mark.parametrize(("known", "state"), STATES.items())
def test_what_was_asked_to_be_deleted_is_being_deleted_whatever_the_list_said(known, state):
    """Unless the list says what became of it."""
    ledger = Ledger()
    ledger.take([app(state=known[0])], at(0), at(0))
    ledger.asked.update({"a": at(1)} if known[1] else {})

    assert ledger.state("a") == state


# -- deletions ---------------------------------------------------------------------------------------


def deleting(*asked: float, refreshed: float | None = 1000.0) -> World:
    """A world in which deletions were asked for, so many seconds after noon, and apps were listed last then."""
    world = World()
    ledger = world.source.ledger
    ledger.refreshed_at = None if refreshed is None else at(refreshed)
    ledger.asked = {str(index): at(each) for index, each in enumerate(asked)}
    return world


POLLS = {
    # id: (when deletions were asked for, when apps were listed last, half a timeout): seconds
    "never listed": ((), None, 3600.0, 0.0),
    "nothing asked for": ((), 1000.0, 3600.0, 3600.0),
    "just now": ((995.0,), 1000.0, 3600.0, 60.0),
    "a minute ago": ((939.0,), 1000.0, 3600.0, 61.0),
    "the latest of them counts": ((100.0, 700.0), 1000.0, 3600.0, 300.0),
    "after the list": ((1500.0,), 1000.0, 3600.0, 60.0),
    "no later than half a timeout": ((0.0,), 1000.0, 200.0, 200.0),
    "sooner with a short one": ((995.0,), 1000.0, 30.0, 30.0),
}


@pytest.mark.parametrize(("asked", "refreshed", "half", "seconds"), POLLS.values(), ids=POLLS)
def test_it_is_looked_what_became_of_a_deletion_less_and_less_often(asked, refreshed, half, seconds):
    """After a minute, and then after as long as it has taken already."""
    assert deleting(*asked, refreshed=refreshed).source.deletions.poll_after(half) == seconds


GOING = {
    # id: (is listed?, its state, asked for at, listed at, one of many?): is it going?
    "not listed": (False, IN_SERVICE, 10.0, 5.0, True, False),
    "listed as going": (True, "Deleting", None, 5.0, True, True),
    "in service": (True, IN_SERVICE, None, 5.0, True, False),
    "asked for after the list": (True, IN_SERVICE, 10.0, 5.0, True, True),
    "in the moment of the list": (True, IN_SERVICE, 10.0, 10.0, True, True),
    "listed again since": (True, IN_SERVICE, 10.0, 20.0, True, False),
    "listed again, and it is what we run on": (True, IN_SERVICE, 10.0, 20.0, False, True),
    "asked for, never listed since": (True, IN_SERVICE, 10.0, None, True, True),
}


@pytest.mark.parametrize(("listed", "state", "asked", "refreshed", "many", "going"), GOING.values(), ids=GOING)
def test_an_app_is_going_from_when_that_was_asked_for_until_it_is_listed_again(
    listed, state, asked, refreshed, many, going
):
    """Then it may be another one of that name; but for the one on which this server itself runs."""
    world = World()
    world.apps.lists = many
    ledger = world.source.ledger
    ledger.listed = {"a": app(state=state)} if listed else {}
    ledger.refreshed_at = None if refreshed is None else at(refreshed)
    ledger.asked = {} if asked is None else {"a": at(asked)}

    assert bool(world.source.deletions.is_going("a", world.apps)) is going
    assert world.source.going(KernelRecord(identity="k", state="idle", last_activity=NOON, app_name="a")) == (
        "name of a" if going else None
    )


@scenario
async def test_while_its_deletion_is_being_asked_for_an_app_is_going():
    """From the last look on: nobody is told that something on it will be kept."""
    world, found = World(), []
    world.apps.put("a", created_at=LONG_AGO)
    record = KernelRecord(identity="k", state="idle", last_activity=NOON, app_name="a")
    world.apps.before_delete = lambda _: found.append(world.source.going(record))
    world.start()
    await world.clock.run_for(TIMEOUT)
    before = world.source.going(record)

    await world.clock.run_for(1)

    assert before is None
    assert found == ["a"]
    assert world.source.going(record) == "a"


@pytest.mark.parametrize(("lists", "again"), [(True, "a timeout later"), (False, "now")])
@scenario
async def test_one_that_is_in_service_still_after_half_an_hour_is_asked_for_again(lists, again, caplog):
    """One that may be another by now has a timeout from when it was asked for; what we run on goes at once. It is said
    until it is out of service.
    """
    world = World(idle_timeout=7200.0)
    world.apps.lists = lists
    world.apps.put("a", created_at=LONG_AGO)
    world.start()
    await world.clock.run_for(7201)
    world.apps.put("a", state=IN_SERVICE)

    await world.clock.run_for(1790)
    early = list(world.apps.deleted), world.culler.troubles.last_text()
    await world.clock.run_for(3600)
    deleted, codes = list(world.apps.deleted), world.culler.troubles.codes()
    await world.clock.run_for(7200)

    assert early == (["a"], None)
    assert next(line for line in caplog.messages if "still in service" in line) == (
        "Culling: app a is still in service 30 minutes after its deletion was accepted, or said to be done already: "
        f"it is asked for again {again}"
    )
    assert (deleted, codes) == ((["a"], [ErrorCode.STILL_IN_SERVICE.value]) if lists else (["a", "a"], []))
    assert world.culler.troubles.last_text() is None
    assert world.apps.deleted == ["a", "a"]


@scenario
async def test_a_deletion_that_ended_in_failed_is_told_until_the_app_is_in_service_again():
    """By a code of its own, for it stays on the bill."""
    world = World()
    world.apps.put("a", created_at=LONG_AGO)
    world.start()
    await world.clock.run_for(TIMEOUT + 1)
    world.apps.put("a", state="Failed")
    await world.clock.run_for(TIMEOUT)
    failed = world.culler.troubles.last_text(), world.culler.troubles.codes()
    world.apps.put("a", state=IN_SERVICE)

    await world.clock.run_for(TIMEOUT / 2 + 10)

    assert failed == ("app a is in status Failed since its deletion", [ErrorCode.NOT_DELETED.value])
    assert world.culler.troubles.last_text() is None
    assert world.apps.deleted == ["a"]


BECAME = {
    # id: its state in a list so many seconds after its deletion was accepted -> is it waited for any more?
    "not listed, it is gone": (None, 5, False),
    "being deleted, as it should": ("Deleting", 5, False),
    "in service for now": (IN_SERVICE, 5, True),
    "and for as long as the patience is": (IN_SERVICE, 1800, True),
    "and no longer": (IN_SERVICE, 1801, False),
}


@pytest.mark.parametrize(("state", "seconds", "waits"), BECAME.values(), ids=BECAME)
@scenario
async def test_what_becomes_of_a_deletion_is_waited_for_until_the_list_tells(state, seconds, waits):
    """Up to and including half an hour; nothing that is seen then is trouble but one that stays in service."""
    world, ledger = World(), Ledger()
    ledger.take([app()], at(-10), at(-10))
    ledger.take([] if state is None else [app(state=state)], at(seconds), at(seconds))
    ledger.asked["a"] = at(0)
    deletions = Deletions(world.culler, ledger, world.source.accounts)

    world.culler.tell(Happening(action="culled", kind=Kind.APP, record=app(), reason="idle", at=at(0)))
    deletions.follow(world.apps, at(seconds))

    assert world.apps.patience == 1800
    assert world.culler.tally.given_back(at(5000)) == (0 if seconds > 1800 else 5000)
    assert set(ledger.asked) == ({"a"} if waits else set())
    assert world.culler.troubles.codes() == ([ErrorCode.STILL_IN_SERVICE.value] if seconds > 1800 else [])


@scenario
async def test_what_is_wrong_with_an_app_that_came_back_from_a_failed_deletion_is_told_for_as_long_as_it_is():
    """A list that finds it in service ends what was said of the old deletion, once, and nothing that is said since."""
    world = World()
    ledger = world.source.ledger
    ledger.listed, ledger.failed, ledger.lingering = {"a": app()}, {"a"}, {"b"}
    for subject in ("app a", "deletion of app b"):
        world.culler.trouble(subject, "of before")

    world.source.deletions.follow(world.apps, at(5))
    ended = world.culler.troubles.last_text()
    world.culler.trouble("app a", "it could not be deleted")
    world.source.deletions.follow(world.apps, at(65))

    assert ended is None
    assert world.culler.troubles.last_text() == "it could not be deleted"
    assert (ledger.failed, ledger.lingering) == (set(), set())


@scenario
async def test_one_that_is_gone_already_is_not_asked_again_and_is_over_with_a_line(caplog):
    """Somebody else was quicker: it is begun, neither accepted nor refused, and no trouble."""
    world, told = World(), []
    world.culler.listeners.append(lambda each: told.append(each.action))
    world.apps.put("a", created_at=LONG_AGO)
    world.apps.delete_error = GoneError("it is gone")
    caplog.set_level("INFO", "test")
    world.start()

    await world.clock.run_for(TIMEOUT + 50)
    asked = world.apps.calls.count("delete"), dict(world.source.ledger.asked)
    del world.apps.apps["a"]
    await world.clock.run_for(TIMEOUT)

    assert asked[0] == 1
    assert set(asked[1]) == {"a"}
    assert world.source.ledger.asked == {}
    assert [each for each in told if each in ("deleting", "accepted", "refused", "culled", "failed")] == ["deleting"]
    assert [each.result for each in world.culler.outcomes] == [Result.GONE]
    assert "Culling: app a: it is gone" in caplog.messages
    assert world.culler.troubles.last_text() is None


@scenario
async def test_after_a_deletion_was_accepted_apps_are_listed_within_a_minute():
    """And not sooner: it takes its time."""
    world = World(idle_timeout=7200.0)
    world.apps.put("a", created_at=LONG_AGO)
    world.start()
    await world.clock.run_for(7201)
    lists = world.apps.calls.count("list")

    await world.clock.run_for(58)
    early = world.apps.calls.count("list")
    await world.clock.run_for(3)

    assert (early, world.apps.calls.count("list")) == (lists, lists + 1)


@scenario
async def test_a_refused_deletion_is_told_with_its_words_and_the_app_is_not_taken_for_going():
    """What lives on it can still be kept."""
    world, told = World(), []
    world.culler.listeners.append(told.append)
    world.apps.put("a", created_at=LONG_AGO)
    world.apps.delete_error = CallError("AWS is ill")
    world.start()
    await world.clock.run_for(TIMEOUT + 1)

    world.kernel("k")
    world.culler.keep_alive(Kind.KERNEL, "k", world.clock.wall + timedelta(hours=1), "alice")

    assert [(each.action, each.detail) for each in told if each.action in ("deleting", "refused")] == [
        ("deleting", "Idle for 10 min, which is over its timeout."),
        ("refused", "AWS is ill"),
    ]
    assert world.source.ledger.asked == {}


@scenario
async def test_a_refusal_without_words_is_told_by_its_name():
    """Something is said in any case."""
    world, told = World(), []
    world.culler.listeners.append(told.append)
    world.apps.put("a", created_at=LONG_AGO)
    world.apps.delete_error = RuntimeError()
    world.start()

    await world.clock.run_for(TIMEOUT + 1)

    assert [each.detail for each in told if each.action == "refused"] == ["RuntimeError()"]


# -- apps as records ---------------------------------------------------------------------------------


class OddApps(FakeApps):
    """Apps of which the last look gives something else, after a while, or of which one cannot be listed in time."""

    found = Any(None)
    seconds = Any(0.0)
    clock = Any(None)

    async def list_apps(self):
        try:
            if self.seconds:
                await self.clock.sleep(self.seconds)
        except asyncio.CancelledError:
            self.calls.append("cancelled")
            raise
        return await super().list_apps()

    async def look_again(self, app):
        if isinstance(self.found, Exception):
            raise self.found
        return app if self.found is None else app._replace(**self.found)


def odd(**settings) -> World:
    """A started world with one app, a day old."""
    world = World(apps=OddApps(), **settings)
    world.apps.clock = world.clock
    world.apps.put("a", created_at=LONG_AGO)
    return world.start()


@pytest.mark.parametrize("gone", [GoneError("it is gone"), KeyError("a")])
@scenario
async def test_one_that_is_gone_at_the_last_look_is_not_deleted(gone):
    """That is no failure, and it is not listed any more."""
    world = odd()
    world.apps.found = gone

    await world.clock.run_for(TIMEOUT + 1)

    assert [each.result for each in world.culler.outcomes] == [Result.GONE]
    assert (world.apps.deleted, world.source.exists("a")) == ([], False)
    assert world.culler.troubles.last_text() is None


@scenario
async def test_one_that_is_not_in_service_at_the_last_look_is_kept_and_looked_at_again_within_ten_minutes():
    """It is as it was seen then, until it is listed again."""
    world = odd(idle_timeout=7200.0)
    world.apps.found = {"state": "Pending"}
    await world.clock.run_for(7201)
    lists, state = world.apps.calls.count("list"), world.app()[0].state

    world.apps.found = None
    await world.clock.run_for(590)
    early = world.apps.calls.count("list")
    await world.clock.run_for(20)

    assert (state, early) == ("Pending", lists)
    assert world.apps.calls.count("list") > lists
    assert world.apps.deleted == ["a"]


@scenario
async def test_a_list_that_took_its_time_is_not_taken_for_fresh():
    """It is as old as the question for it: before anything is deleted apps are listed once more."""
    slow, quick = odd(), odd()
    for world, seconds in ((slow, 5.0), (quick, 0.25)):
        await world.clock.run_for(TIMEOUT - 1)
        world.apps.calls.clear()
        world.apps.seconds = seconds
        await world.clock.run_for(20)

    assert (slow.apps.calls, slow.apps.deleted) == (["list", "list", "delete"], ["a"])
    assert (quick.apps.calls, quick.apps.deleted) == (["list", "delete"], ["a"])


@scenario
async def test_an_app_manager_that_does_not_answer_is_not_waited_for_without_end(monkeypatch):
    """It is said which, and nothing is deleted."""
    monkeypatch.setattr("culling_manager.apps.source.LIMIT_SECONDS", 0.05)
    world = odd()
    await world.clock.run_for(TIMEOUT - 1)
    world.apps.seconds = 10**9

    await world.clock.run_for(2)
    await until(lambda: world.culler.troubles.last_text())

    assert world.culler.troubles.last_text() == ("OddApps did not answer within 0.05 s; nothing is culled on old facts")
    assert world.culler.troubles.codes() == [ErrorCode.NO_ANSWER]
    assert world.apps.deleted == []


def test_by_default_an_app_manager_has_five_minutes_for_an_answer():
    """SageMaker's have limits below that."""
    assert (source.LIMIT_SECONDS, source.ARRIVAL_SECONDS, source.NOT_READY_SECONDS) == (300.0, 15.0, 600.0)


@scenario
async def test_a_list_is_not_waited_for_when_the_culler_is_paused():
    """The question ends with who asked it, so that a server can stop; afterwards it is asked anew."""
    world = odd()
    await world.clock.run_for(TIMEOUT - 1)
    world.apps.seconds = 30.0
    await world.clock.run_for(5)
    world.apps.calls.clear()

    async with world.culler.paused():
        paused = list(world.apps.calls)
    await world.clock.run_for(100)

    assert paused == ["cancelled"]
    assert world.apps.deleted == ["a"]


@scenario
async def test_what_keeps_an_app_is_named_and_the_rest_told_as_others():
    """Three of them, and a kernel that is being started, too."""
    world, found = odd(), []
    await world.clock.run_for(1)
    for number in range(4):
        with world.culler.starting():
            found.append(world.app()[0].kept_by)
        world.kernel(f"k{number}", state="busy")
    found.append(world.app()[0].kept_by)

    busy = [f"kernel k{number} (busy)" for number in range(3)]
    starting = "a kernel that is being started"
    assert found == [
        starting,
        ", ".join([busy[0], starting]),
        ", ".join([*busy[:2], starting]),
        ", ".join(busy) + " and others",
        ", ".join(busy) + " and others",
    ]


@scenario
async def test_what_goes_is_remembered_by_the_app_that_it_was_on():
    """When it was last used; and another kind of thing, or an app itself, leaves nothing behind."""
    world = odd()
    await world.clock.run_for(1)
    kernel = KernelRecord(identity="k", state="idle", last_activity=at(-50), used_at=at(-20), app_name="a")
    memory = world.source.ledger.memories["a"]
    found = []

    world.source.left(world.app()[0], at(500))
    found.append(memory.last_activity)
    world.source.left(kernel, None)
    found.append(memory.last_activity)
    world.source.left(kernel._replace(last_activity=at(-10), used_at=None), None)
    found.append(memory.last_activity)
    world.source.left(kernel, at(10))
    found.append(memory.last_activity)

    assert found == [None, at(-20), at(-10), at(10)]


@scenario
async def test_a_census_stands_for_the_same_moment_only():
    """For a twentieth of a second, and not after the clock was set back."""
    world = odd()
    await world.clock.run_for(1)

    def after(seconds: float):
        return world.source._census(now + timedelta(seconds=seconds))

    now = world.culler.now()
    first, same, later = after(0), after(0.05), after(0.06)

    assert first is same
    assert first.at == now
    assert later is not first
    assert after(-1) is not later


@scenario
async def test_what_was_asked_for_an_app_ends_when_it_is_out_of_service():
    """The next one of that name starts without it."""
    world = odd()
    await world.clock.run_for(1)
    world.culler.keep_alive(Kind.APP, "a", world.clock.wall + timedelta(days=1), "alice")
    before = len(world.culler.keep.current(world.clock.wall))
    world.apps.put("a", state="Failed")

    await world.source.refresh()

    assert (before, world.culler.keep.current(world.clock.wall)) == (1, [])


@scenario
async def test_the_last_look_counts_what_is_on_its_way_to_a_kernel_of_the_app():
    """And to no other; who lives where is found out anew after it."""
    world, caught = odd(), []
    await world.clock.run_for(1)
    world.kernel("k")
    world.kernel("other", app="b")
    world.kernels.before_last_look = caught.append
    before = world.source._census(world.culler.now())

    world.source.catch_up("a")

    assert caught == ["k"]
    assert world.source._census(world.culler.now()) is not before


@scenario
async def test_one_that_may_live_on_several_apps_is_going_when_all_of_them_are():
    """Until then it may be on the one that stays."""
    world = World()
    world.source.ledger.listed = {"a": app(state="Deleting"), "b": app("b")}
    anywhere = KernelRecord(identity="k", state="idle", last_activity=NOON)

    one = world.source.going(anywhere)
    world.source.ledger.listed["b"] = app("b", "Deleting")

    assert (one, world.source.going(anywhere)) == (None, "name of a")


@scenario
async def test_what_an_app_runs_on_is_in_force_as_soon_as_it_is_listed():
    """Timeouts by instance type go by it, without waiting for another change."""
    world = World(idle_timeouts=(("ml.p3.*", 60.0),))
    world.apps.lists = False
    world.apps.put("a", created_at=LONG_AGO, instance_type="ml.p3.2xlarge")
    before = world.culler.policy.instance_type

    await world.source.refresh()

    assert (before, world.culler.policy.instance_type) == (None, "ml.p3.2xlarge")


@scenario
async def test_an_app_that_was_deleted_gives_back_until_one_of_its_name_is_in_service():
    """From the list that tells of it."""
    world = World()
    world.culler.tell(Happening(action="culled", kind=Kind.APP, record=app(), reason="idle", at=NOON))
    world.clock.stand_still(100)
    world.apps.put("a", created_at=world.clock.wall)

    await world.source.refresh()

    assert world.culler.tally.given_back(at(5000)) == 100


@scenario
async def test_what_goes_is_forgotten_by_its_name():
    """Another of that name that does not say when it was used counts from when it is first seen."""
    world = odd()
    silent = TerminalRecord(identity="a-t", last_activity=None)
    first = world.source.residents._last_use(silent, at(0))

    world.source.left(silent, at(10))

    assert (first, world.source.residents._last_use(silent, at(90))) == (at(0), at(90))


@scenario
async def test_when_something_goes_its_app_is_looked_at_right_away():
    """It may be due, now that nothing keeps it; when an app itself goes there is nothing to look at."""
    world = odd()
    await world.clock.run_for(15)
    watch, found = world.culler.watches[Kind.APP], []

    for record in (world.app()[0], KernelRecord(identity="k", state="idle", last_activity=NOON, app_name="a")):
        world.source.left(record, None)
        found.append(watch.next_look <= world.clock.wall)

    assert found == [False, True]


class PlacingApps(FakeApps):
    """Apps with which their terminals go."""

    def place(self, terminal):
        return terminal._replace(with_app=True)


@scenario
async def test_where_terminals_run_is_known_as_soon_as_it_is_known_which_apps_there_are():
    """What was decided on them before does not hold."""
    world, unknown, found = World(apps=PlacingApps()), FakeApps(), [None]
    unknown.again = lambda: found[0] or unknown
    world.apps.put("a", created_at=LONG_AGO)
    world.source.apps = unknown
    world.terminals.start("a-t")
    world.start()
    reasons = []

    for found[0] in (None, world.apps):
        await world.clock.run_for(60)
        reasons.append(world.culler.watches[Kind.TERMINAL].current(world.culler.now())[0][1].reason)

    assert reasons == [Reason.ACTIVE, Reason.WITH_APP]


@scenario
async def test_only_a_kernel_of_which_nobody_knows_the_app_has_apps_listed_soon():
    """Within a quarter of a minute; a terminal, one that is known, and a server that is its own app have not."""
    world, found = odd(idle_timeout=7200.0), []
    await world.clock.run_for(1)
    world.apps.knows_home_of = lambda kernel, apps: kernel.app_name in apps
    kernel = KernelRecord(identity="k", state="idle", last_activity=NOON, app_name="new")

    for record, lists in [
        (TerminalRecord(identity="t", last_activity=NOON), True), (kernel._replace(app_name="a"), True),
        (kernel, False), (kernel, True),
    ]:  # fmt: skip
        world.apps.lists = lists
        before = world.apps.calls.count("list")
        world.source.arrived(record)
        await world.clock.run_for(14)
        early = world.apps.calls.count("list") - before
        await world.clock.run_for(2)
        found.append((early, world.apps.calls.count("list") - before))

    assert found == [(0, 0), (0, 0), (0, 0), (0, 1)]


def test_what_an_app_source_says_of_itself():
    """Its settings, its roots, its apps and what could not be read."""
    many, one = World(), World()
    one.apps.lists = False
    for world in (many, one):
        world.source.ledger.listed = {"a": app(instance_type="ml.p3.2xlarge")}

    assert (dict(many.source.settings()), dict(one.source.settings())) == ({}, {"instance_type": "ml.p3.2xlarge"})
    assert (many.source.roots("a").here, one.source.roots("a").here) == (False, True)
    assert (many.source.exists("a"), many.source.exists("b")) == (True, False)
    assert list(many.source.glance(CullingPolicy())) == [("a", None, None)]
    assert many.source.stop_can_be_cancelled is True  # a deletion that does not answer is asked for again
    assert many.source.describe() == {"class": "FakeApps", "detail": ""}
    unread = many.source.unreadable("b", "no such list")
    assert (unread.identity, unread.name, unread.state, unread.error) == ("b", "b", None, "no such list")
    assert (many.source.stale_after(CullingPolicy()), many.source.stale_after(CullingPolicy(idle_timeout=0))) == (
        0.0,
        None,
    )
    assert many.source.fingerprint("a") is None
    with pytest.raises(KeyError):
        many.source.fingerprint("b")
    many.source.ledger.refreshed_at = NOON
    assert many.source.stale_after(CullingPolicy(idle_timeout=600)) == 300.0
    assert many.source.going(None) is None
    assert one.source.going(None) is None
    one.source.ledger.asked = {"a": NOON}
    assert one.source.going(None) == "name of a"
    assert one.source.going(app()) == "name of a"


@pytest.mark.parametrize("known", [False, True])
@scenario
async def test_which_apps_there_are_to_manage_may_be_found_out_later(known, caplog):
    """Until then none is deleted, and it is said why; then where terminals run is known, too."""
    unknown = FakeApps()
    unknown.lists = False
    world = World(apps=unknown)
    world.apps = FakeApps()
    unknown.reason = "the metadata file is cut short"
    unknown.again = lambda: world.apps if known else unknown
    world.apps.put("a", created_at=LONG_AGO)
    world.source.apps = unknown
    caplog.set_level("INFO", "test")
    world.start()

    await world.clock.run_for(TIMEOUT + 60)

    assert world.source.accounts.own is not known  # these apps are many, and none of them is this server's own
    if known:
        assert world.source.apps is world.apps
        assert "Culling: apps are managed by FakeApps" in caplog.messages
        assert world.apps.deleted == ["a"]
    else:
        assert world.culler.troubles.last_text() == (
            "the metadata file is cut short; until it can be read no app is deleted; nothing is culled on old facts"
        )
        assert world.apps.deleted == []
