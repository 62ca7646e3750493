"""What is remembered of apps, and what becomes of their deletions, at the bounds."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from culling_manager.apps.ledger import Ledger, Memory
from culling_manager.decisions import IN_SERVICE
from culling_manager.errors import CallError, ErrorCode, GoneError
from culling_manager.records import AppRecord, KernelRecord, Kind
from tests.conftest import scenario
from tests.doubles import NOON
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


@scenario
async def test_one_that_is_gone_already_is_not_asked_again_and_is_over_without_a_word():
    """Somebody else was quicker."""
    world, told = World(), []
    world.culler.listeners.append(lambda each: told.append(each.action))
    world.apps.put("a", created_at=LONG_AGO)
    world.apps.delete_error = GoneError("it is gone")
    world.start()

    await world.clock.run_for(TIMEOUT + 50)
    asked = world.apps.calls.count("delete"), dict(world.source.ledger.asked)
    del world.apps.apps["a"]
    await world.clock.run_for(TIMEOUT)

    assert asked[0] == 1
    assert set(asked[1]) == {"a"}
    assert world.source.ledger.asked == {}
    assert "refused" not in told
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

    assert [(each.action, each.detail) for each in told if each.action == "refused"] == [("refused", "AWS is ill")]
    assert world.source.ledger.asked == {}
