"""Who lives on apps: kernels of others on the gateway."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace

import pytest

from culling_manager.decisions import IN_SERVICE, Reason
from culling_manager.errors import ErrorCode, ReadError, RecordError
from culling_manager.records import KernelRecord, Kind, TerminalRecord
from tests.conftest import scenario
from tests.doubles import NOON, FakeApps
from tests.test_appsource import LONG_AGO, TIMEOUT, World

STRANGER = KernelRecord(identity="s", name="python3", state="idle", last_activity=NOON, app_name="a")


def world_with(**changes) -> World:
    """An app with one kernel on it that this server did not start."""
    world = World()
    world.apps.put("a", created_at=LONG_AGO)
    world.kernels.others["s"] = STRANGER._replace(**changes)
    return world


@scenario
async def test_a_silent_kernel_of_somebody_else_is_asked_and_keeps_its_app_while_it_works():
    """'starting' hides work on some servers: before the app goes it is asked, as our own are."""
    world = world_with(state="starting")
    asked = []

    async def is_at_work(identity):
        asked.append(identity)
        return len(asked) == 1

    world.kernels.is_at_work = is_at_work
    world.start()
    await world.clock.run_for(TIMEOUT + 60)
    kept = world.apps.apps["a"].state
    await world.clock.run_for(2 * TIMEOUT)

    assert (kept, world.apps.apps["a"].state) == (IN_SERVICE, "Deleting")
    assert asked == ["s", "s"]


@scenario
async def test_an_idle_kernel_of_somebody_else_is_not_asked():
    """Its state is believable."""
    world = world_with()

    async def is_at_work(identity):
        raise AssertionError

    world.kernels.is_at_work = is_at_work
    world.start()

    await world.clock.run_for(TIMEOUT + 60)

    assert world.apps.deleted == ["a"]


@scenario
async def test_a_kernel_of_somebody_else_in_a_state_that_nobody_knows_is_reported():
    """It keeps its app, and an admin has to hear of that; once it can be judged, it is over."""
    world = world_with(state="thinking")
    world.start()
    await world.clock.run_for(3 * TIMEOUT)
    kept, words = world.apps.apps["a"].state, world.culler.troubles.last_text()

    world.kernels.others["s"] = STRANGER._replace(state="idle", last_activity=world.clock.wall)
    await world.clock.run_for(2 * TIMEOUT)

    assert kept == IN_SERVICE
    assert words == (
        "kernel s, which this server did not start, keeps its app: state 'thinking', last activity "
        "2026-06-01 12:00:00+00:00"
    )
    assert world.apps.deleted == ["a"]
    assert world.culler.troubles.last_text() is None


@scenario
async def test_a_kernel_that_our_manager_calls_external_keeps_its_app_while_it_works():
    """Whoever started it: work is work."""
    world = World()
    world.apps.put("a", created_at=LONG_AGO)
    world.start()
    world.kernel("k", owned=False, state="busy")
    await world.clock.run_for(2 * TIMEOUT)
    kept, reason = world.apps.apps["a"].state, world.reason()

    world.kernel("k", owned=False, state="idle")
    await world.clock.run_for(TIMEOUT + 60)

    assert (kept, reason) == (IN_SERVICE, Reason.IN_USE)
    assert world.apps.deleted == ["a"]


@scenario
async def test_a_kernel_of_somebody_else_that_goes_was_used_until_then():
    """Its user shut it down in between two lists: a whole timeout from when we see that."""
    world = world_with(last_activity=NOON - timedelta(days=1), state="busy")
    world.start()
    await world.clock.run_for(TIMEOUT / 2 + 10)
    del world.kernels.others["s"]

    await world.clock.run_for(1.4 * TIMEOUT)
    kept = list(world.apps.deleted)
    await world.clock.run_for(TIMEOUT)

    assert (kept, world.apps.deleted) == ([], ["a"])


# -- our own, and those of another manager ------------------------------------------------------------


@scenario
async def test_whose_a_kernel_is_goes_by_the_list_of_our_manager():
    """One of ours that the gateway lists as well is counted once, and not told of as somebody else's."""
    world = world_with(state="thinking")
    world.start()
    world.kernel("s", state="idle")
    residents = world.source.residents
    await world.clock.run_for(1)

    household = [record.identity for record, _ in world.source._census(world.culler.now()).residents("a")]

    assert residents.is_ours(STRANGER._replace(owned=True))
    assert not residents.is_ours(STRANGER._replace(identity="another"))
    assert household == ["s"]
    assert world.culler.troubles.last_text() is None


@scenario
async def test_only_ours_are_asked_to_go_and_only_our_kernels_for_what_is_on_its_way():
    """A terminal has nothing on its way, and what is somebody else's is left to them."""
    world, caught, considered = world_with(), [], []
    world.kernel("k")
    world.terminals.start("a-t")
    world.kernels.before_last_look = caught.append
    terminal = TerminalRecord(identity="a-t", last_activity=NOON)
    ours = world.kernels.records["k"]

    async def consider(kind, identity, seconds=None):
        considered.append((kind, identity, seconds))

    world.culler.consider = consider
    for record in (ours, STRANGER, terminal, terminal._replace(identity="k")):
        world.source.residents.catch_up(record)
        await world.source.residents.cull_if_due(record)

    assert caught == ["k"]
    assert considered == [(Kind.KERNEL, "k", 300.0), (Kind.TERMINAL, "a-t", 300.0)]


@scenario
async def test_one_that_does_not_say_when_it_was_used_counts_from_when_it_was_first_seen():
    """Not anew at each look, but anew when it is another of that name; the later of two instants counts."""
    world = World()
    residents, found = world.source.residents, []
    silent = TerminalRecord(identity="t", last_activity=None)

    for seconds in (0, 50):
        found.append(residents._last_use(silent, NOON + timedelta(seconds=seconds)))
    residents.forget(silent)
    found.append(residents._last_use(silent, NOON + timedelta(seconds=90)))
    used = STRANGER._replace(used_at=NOON + timedelta(seconds=9))

    assert found == [NOON, NOON, NOON + timedelta(seconds=90)]
    assert residents._last_use(used, NOON) == NOON + timedelta(seconds=9)
    assert residents._last_use(STRANGER, NOON + timedelta(seconds=60)) == NOON


@pytest.mark.parametrize(
    ("state", "ours", "asked"),
    [("starting", False, True), ("restarting", False, True), ("idle", False, False), ("busy", False, False)],
)
@scenario
async def test_only_the_silent_of_somebody_else_are_asked_and_one_that_works_is_busy_from_now_on(state, ours, asked):
    """One that has gone meanwhile, or is none of theirs, or a terminal, is nobody to ask."""
    world, questions = world_with(state=state), []
    world.start()
    await world.clock.run_for(60)

    async def is_at_work(identity):
        questions.append(identity)
        return True

    world.kernels.is_at_work = is_at_work
    record = world.source.residents.strangers["s"]
    others = [STRANGER._replace(identity="gone", state="starting"), TerminalRecord(identity="t", last_activity=NOON)]

    await world.source.residents.ask_silent([*others, record])

    known = world.source.residents.strangers["s"]
    assert questions == (["s"] if asked else [])
    assert (known.state, known.last_activity) == (("busy", world.clock.wall) if asked else (state, NOON))


@scenario
async def test_one_that_was_asked_and_does_not_work_stays_as_it_was():
    """So does one that goes while it is asked."""
    world = world_with(state="starting")
    world.start()
    await world.clock.run_for(60)
    residents = world.source.residents
    record = residents.strangers["s"]
    await residents.ask_silent([record])
    idle = dict(residents.strangers)

    async def goes(identity):
        del residents.strangers[identity]
        return True

    world.kernels.is_at_work = goes
    await residents.ask_silent([record])

    assert idle == {"s": record}
    assert residents.strangers == {}


def test_what_is_wrong_with_somebody_elses_kernel_is_told_in_its_own_words(run):
    """What failed, else what its kernelspec says, else its state; by a code, and over when it has gone."""

    async def check():
        found = []
        for changes in ({"error": "no such socket"}, {"odd_timeout": "'soon' is no number"}, {"last_activity": None}):
            world = world_with(**changes)
            world.start()
            await world.clock.run_for(60)
            words, codes = world.culler.troubles.last_text(), world.culler.troubles.codes()
            del world.kernels.others["s"]
            await world.clock.run_for(TIMEOUT)
            found.append((words, codes, world.culler.troubles.last_text()))
        return found

    beginning = "kernel s, which this server did not start, keeps its app: "
    assert run(check()) == [
        (beginning + words, [ErrorCode.UNREAD], None)
        for words in ("no such socket", "'soon' is no number", "state 'idle', last activity None")
    ]


class OtherTerminals:
    """A terminal manager that is not ours."""

    def __init__(self, **last_activity) -> None:
        self.terminals = {
            name: SimpleNamespace(term_name=name, **({} if at is None else {"last_activity": at}))
            for name, at in last_activity.items()
        }
        self.ended: list[str] = []

    def on_eof(self, terminal) -> None:
        del self.terminals[terminal.term_name]
        self.ended.append(terminal.term_name)


def without_our_terminals(manager) -> World:
    """A world in which the server's terminals are those of another manager."""

    class Apps(FakeApps):
        server = SimpleNamespace(web_app=SimpleNamespace(settings={"terminal_manager": manager}))

    world = World(apps=Apps())
    del world.culler.watches[Kind.TERMINAL]
    world.apps.put("a", created_at=LONG_AGO)
    return world


@scenario
async def test_terminals_of_another_manager_count_and_are_heard_to_end_once_each():
    """However often they are looked at; its own end goes on as before."""
    manager = OtherTerminals(a1=NOON, a2=None)
    world, left = without_our_terminals(manager), []
    world.source.residents.left = lambda *told: left.append(told) or world.source.left(*told)
    await world.source.refresh()

    for _ in range(3):
        world.source.glance(world.culler.policy)
        record = world.source.read("a", world.culler.now())
    world.clock.stand_still(70)
    manager.on_eof(manager.terminals["a1"])

    assert record.last_activity == NOON
    assert (manager.ended, len(left)) == (["a1"], 1)
    assert world.source.ledger.memories["a"].last_activity == world.clock.wall
    living = world.source._census(world.culler.now()).residents("a")
    assert [each.identity for each, _ in living] == ["a2"]


@scenario
async def test_without_a_manager_of_ours_nothing_is_ours_and_strangers_are_known_from_nobody():
    """Who needs the gateway's list and has no gateway is told so, and no app is deleted."""
    world = world_with()
    for kind in (Kind.KERNEL, Kind.TERMINAL):
        del world.culler.watches[kind]
    residents = world.source.residents

    residents.catch_up(STRANGER)
    with pytest.raises(ReadError, match="FakeApps needs the list of all kernels on the gateway") as caught:
        await world.source.refresh()

    assert caught.value.code is ErrorCode.STRANGERS_UNREAD
    assert not residents.is_ours(STRANGER)
    assert not residents.is_ours(TerminalRecord(identity="t", last_activity=NOON))


@scenario
async def test_terminals_are_not_counted_twice_nor_where_there_are_none():
    """Ours are ours; a server without terminals has none, and neither has one that cannot tell of their end."""
    manager = OtherTerminals(a1=NOON)
    mute_manager = SimpleNamespace(terminals=dict(manager.terminals))
    both, none, mute = (without_our_terminals(each) for each in (manager, None, mute_manager))
    both.culler.attach(both.terminals)

    found = []
    for world in (both, none, mute):
        await world.source.refresh()
        found.append([each.identity for each, _ in world.source._census(world.culler.now()).residents("a")])

    assert found == [[], [], ["a1"]]
    assert not hasattr(mute_manager, "on_eof")


@scenario
async def test_a_terminal_of_another_manager_that_tells_local_time_is_refused_by_name():
    """Nobody knows when that was."""
    world = without_our_terminals(OtherTerminals(a1=NOON.replace(tzinfo=None)))
    await world.source.refresh()

    with pytest.raises(RecordError, match=r"^last_activity = 2026-06-01T12:00:00 has no time zone"):
        world.source.read("a", world.culler.now())


@scenario
async def test_what_a_jump_of_the_clock_leaves_to_a_kernel_counts_for_its_app():
    """Who lives there is judged as it is judged by itself."""
    world = World()
    world.apps.put("a", created_at=LONG_AGO)
    world.start()
    world.kernel("k")
    await world.clock.run_for(10)
    world.clock.jump(2 * TIMEOUT)
    await world.clock.run_for(10)

    [(_, decision)] = world.source._census(world.culler.now()).residents("a")

    assert decision.reason is Reason.CLOCK_JUMP
