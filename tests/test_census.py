"""Who lives on which app is found out once per look, however many apps there are."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest

from culling_manager.apps import KernelGatewayApps
from culling_manager.apps.census import count
from culling_manager.apps.metadata import parsed
from culling_manager.decisions import IN_SERVICE, Reason, decide, decide_kernel
from culling_manager.policy import CullingPolicy
from culling_manager.records import AppRecord, KernelRecord, Kind, TerminalRecord
from tests.conftest import scenario
from tests.doubles import NOON, FakeApps
from tests.test_appsource import LONG_AGO, TIMEOUT, World
from tests.test_attention import FakeGuard
from tests.test_sagemaker import METADATA

APPS, KERNELS = 12, 60


class Counting(FakeApps):
    """Apps that count how often they are asked whose home they are."""

    def apps_of_kernel(self, kernel, apps):
        self.calls.append("home")
        return super().apps_of_kernel(kernel, apps)


def crowded(at_home: bool = True, **settings) -> tuple[World, Counter]:
    """Many apps with many idle kernels, and how often each kernel was judged."""
    world, judged = World(apps=Counting(), **settings), Counter()
    for number in range(APPS):
        world.apps.put(f"a{number}", created_at=LONG_AGO)
    for number in range(KERNELS):
        world.kernels.put(f"k{number}", app_name=f"a{number % APPS}" if at_home else None)
    fingerprint = world.kernels.fingerprint

    def counted(identity):
        judged[identity] += 1
        return fingerprint(identity)

    world.kernels.fingerprint = counted
    return world, judged


def forget(world: World, judged: Counter) -> None:
    """Begin to count."""
    judged.clear()
    world.apps.calls = []


@pytest.mark.parametrize("at_home", [True, False], ids=["each on one app", "all on any app"])
@scenario
async def test_a_look_at_all_apps_judges_each_kernel_once(at_home):
    """As `status` and `/metrics` look; the apps are asked once for each kernel's home."""
    world, judged = crowded(at_home)
    world.start()
    await world.clock.run_for(10)
    forget(world, judged)

    found = world.culler.watches[Kind.APP].current(world.culler.now())

    assert len(found) == APPS
    assert set(judged.values()) == {1}
    assert world.apps.calls.count("home") == KERNELS


@scenario
async def test_a_whole_pass_judges_each_kernel_a_few_times_however_many_apps_there_are():
    """Once for itself, and twice for the apps, whose list is fetched in between."""
    world, judged = crowded()
    world.start()
    await world.clock.run_for(10)
    forget(world, judged)

    await world.culler.run_pass()

    assert max(judged.values()) <= 3


@scenario
async def test_apps_that_are_warned_of_share_one_census_at_each_visit():
    """Each is visited at every heartbeat."""
    world, judged = crowded(warn_before=300.0)
    world.start()
    await world.clock.run_for(TIMEOUT - 50)
    attended = len(world.culler.watches[Kind.APP].warned())
    forget(world, judged)

    await world.clock.run_for(10)

    assert attended == APPS
    assert world.apps.calls.count("home") <= 2 * KERNELS


@scenario
async def test_apps_that_go_together_share_all_but_the_last_look():
    """That is for each app alone, right before it is deleted."""
    world, judged = crowded()
    world.kernels.failing.update(world.kernels.records)  # so that they are all still there
    world.start()
    await world.clock.run_for(TIMEOUT - 1)
    forget(world, judged)

    await world.clock.run_for(2)

    assert len(world.apps.deleted) == APPS
    assert world.apps.calls.count("home") <= (APPS + 6) * KERNELS


@scenario
async def test_what_begins_between_two_last_looks_at_the_same_instant_is_seen_by_the_second():
    """No last look rests on another's census."""
    world, _ = crowded()

    def begin(app):
        world.kernels.put("k1", app_name="a1", state="busy", last_activity=world.clock.wall)

    world.apps.before_delete = begin
    world.start()
    world.kernels.failing.update(world.kernels.records)

    await world.clock.run_for(TIMEOUT + 5)

    assert "a0" in world.apps.deleted
    assert "a1" not in world.apps.deleted


@scenario
async def test_a_census_that_is_shared_still_tells_each_app_what_keeps_it():
    """One kernel that may be anywhere keeps all; one at home keeps its own."""
    world, _ = crowded()
    world.culler.guard = FakeGuard(world.clock)
    world.kernels.put("k0", state="busy")
    world.start()

    await world.clock.run_for(10)
    first = {record.name: record.kept_by for record, _ in world.culler.watches[Kind.APP].current(world.clock.wall)}
    world.kernels.put("k99", app_name=None, state="busy")
    later = world.culler.watches[Kind.APP].current(world.clock.wall)

    assert first.pop("a0") == "kernel k0 (busy)"
    assert set(first.values()) == {None}
    assert all(decision.reason is Reason.IN_USE for _, decision in later)
    assert {record.kept_by for record, _ in later} == {"kernel k0 (busy), kernel k99 (busy)", "kernel k99 (busy)"}


@scenario
async def test_a_census_that_takes_long_is_shared_all_the_same():
    """It stands from when it was done; or the larger it is, the less it would be worth."""
    world, judged = crowded()
    for number in range(KERNELS):
        world.kernels.put(f"k{number}", state="busy")
    world.start()
    await world.clock.run_for(10)
    counted = world.kernels.fingerprint

    def slowly(identity):
        world.clock.stand_still(0.01)
        return counted(identity)

    world.kernels.fingerprint = slowly
    forget(world, judged)

    world.source.accounts.look()

    assert world.apps.calls.count("home") == KERNELS


def test_more_keepers_than_are_named_are_told_as_others():
    """Three are named, of one household or of several; the rest is counted, not read."""
    policy = CullingPolicy()
    record = KernelRecord(identity="k", state="busy", last_activity=NOON)
    busy = [record._replace(identity=f"k{number}") for number in range(9)]
    homes = [("a",), ("a", "b"), ("b",)]

    census = count(
        ((each, decide_kernel(each, policy, NOON), homes[number % 3], NOON) for number, each in enumerate(busy)), NOON
    )

    assert len(census.of("a").keepers) == 4
    assert {each.identity for each, _ in census.residents("a")} == {"k0", "k1", "k3", "k4", "k6", "k7"}
    assert census.of("nowhere").keepers == []


def test_one_household_names_no_more_than_it_must():
    """Of many that keep their app in one place, one more than are told: so that it is known that there are others."""
    record = KernelRecord(identity="k", state="busy", last_activity=NOON)
    busy = [record._replace(identity=f"k{number}") for number in range(9)]

    census = count(((each, decide_kernel(each, CullingPolicy(), NOON), ("a",), NOON) for each in busy), NOON)

    assert [len(each.keepers) for each in census.on["a"]] == [4]
    assert len(census.of("a").keepers) == 4


def test_a_kernel_that_keeps_its_app_is_named_by_its_document():
    """Which is what a person knows it by; its id stands last."""
    record = KernelRecord(identity="k", state="busy", last_activity=NOON, path="work/train.ipynb")

    census = count([(record, decide_kernel(record, CullingPolicy(), NOON), ("a",), NOON)], NOON)

    assert census.of("a").keepers == ["kernel of work/train.ipynb (busy; k)"]


def later(seconds: float):
    """An instant after noon."""
    return NOON + timedelta(seconds=seconds)


HOME = TerminalRecord(identity="t", last_activity=NOON, with_app=True)
OFFICE = KernelRecord(identity="k", state="idle", last_activity=NOON)
MEANS = {
    # id: its record -> until when it keeps its app, whether that becomes later by itself, until when it is kept
    "an idle kernel, until it is due": (OFFICE, (later(600), False, None)),
    "one that is kept, until then": (OFFICE._replace(kept_until=later(900)), (later(900), False, later(900))),
    "or until it is due": (OFFICE._replace(kept_until=later(300)), (later(600), False, later(300))),
    "by a lease, it becomes later": (
        OFFICE._replace(kept_until=later(900), leased=True), (later(900), True, later(900))
    ),
    "a busy one has no end, whatever was asked for": (
        OFFICE._replace(state="busy", kept_until=later(-1), leased=True), (None, False, later(-1))
    ),
    "a terminal that goes with its app keeps it not at all": (HOME, (None, False, None)),
    "but as long as was asked for": (HOME._replace(kept_until=later(900)), (later(900), False, later(900))),
    "and a lease on it becomes later": (
        HOME._replace(kept_until=later(900), leased=True), (later(900), True, later(900))
    ),
}  # fmt: skip


@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside others"])
@pytest.mark.parametrize(("record", "expected"), MEANS.values(), ids=MEANS)
def test_what_one_means_for_its_app(record, expected, beside):
    """By itself, and beside one that means less, in the same household or in another."""
    policy, dull = CullingPolicy(idle_timeout=600), HOME._replace(identity="other")
    found = [(record, decide(record, policy, NOON), ("a",), later(-5))]
    for homes in [("a",), ("a", "b")] * beside:
        found.append((dull, decide(dull, policy, NOON), homes, later(-9)))
        found.insert(0, (dull, decide(dull, policy, NOON), homes, None))

    household = count(found, NOON).of("a")

    assert (household.until, household.renews, household.kept_until) == expected
    assert household.last_use == later(-5)


def test_where_a_kernel_lives_is_found_anew_when_the_apps_change():
    """What was found for one list is not taken for another."""
    apps = KernelGatewayApps(metadata=parsed(METADATA["classic"], "metadata.json"))
    kernel = KernelRecord(identity="k", name="python3", state="idle", last_activity=NOON, instance_type="ml.t3.medium")
    one = AppRecord(identity="one", name="one", state=IN_SERVICE, instance_type="ml.t3.medium")
    two = one._replace(identity="two", name="two", instance_type="ml.g4dn.xlarge")

    listed = {"one": one}
    first = apps.apps_of_kernel(kernel, listed)
    listed["two"] = two._replace(instance_type="ml.t3.medium")
    second = apps.apps_of_kernel(kernel, listed)
    third = apps.apps_of_kernel(kernel, {"one": one._replace(state="Deleted"), "two": two})

    assert (first, second, third) == (["one"], ["one", "two"], ["two"])
