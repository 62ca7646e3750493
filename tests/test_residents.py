"""Who lives on apps: kernels of others on the gateway."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from culling_manager.decisions import IN_SERVICE, Reason
from culling_manager.records import KernelRecord
from tests.conftest import scenario
from tests.doubles import NOON
from tests.test_appsource import LONG_AGO, TIMEOUT, World

STRANGER = KernelRecord(identity="s", name="python3", state="idle", last_activity=NOON, app_name="a")


def world_with(**changes) -> World:
    """An app with one kernel on it that this server did not start."""
    world = World()
    world.apps.put("a", created_at=LONG_AGO)
    world.kernels.others["s"] = replace(STRANGER, **changes)
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

    world.kernels.others["s"] = replace(STRANGER, state="idle", last_activity=world.clock.wall)
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
