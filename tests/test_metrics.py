"""Metrics: names as Prometheus has them, right counts after what happened, few labels, and a real /metrics."""

from __future__ import annotations

import gc
import logging
import math
import re
from datetime import timedelta

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from culling_manager.apps.source import AppSource
from culling_manager.decisions import Reason
from culling_manager.engine.culler import IdleCuller
from culling_manager.engine.tally import BUCKETS, Tally
from culling_manager.records import AppRecord, Happening, KernelRecord, Kind, TerminalRecord
from culling_manager.server.metrics import CullingCollector, expose
from tests.conftest import scenario, until
from tests.doubles import NOON, FakeApps, FakeClock, HomedKernels
from tests.test_culler import EXACT, TIMEOUT, World
from tests.test_handlers import ask, start

Samples = dict[tuple[str, ...], float]


def read(text: str) -> Samples:
    """Samples of ours: (name, kind, reason), as far as there are such labels -> value."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = [sample.labels[name] for name in ("kind", "reason", "le") if name in sample.labels]
            if sample.name.startswith("culling_"):
                found[(sample.name, *labels)] = sample.value
    return found


def scrape(*cullers: IdleCuller) -> str:
    """What Prometheus would be shown of these cullers."""
    collector, registry = CullingCollector(), CollectorRegistry()
    registry.register(collector)
    for culler in cullers:
        collector.add(culler)
    return generate_latest(registry).decode()


def happening(action: str, kind: Kind = Kind.KERNEL, reason: str = "idle", identity: str = "a", at=NOON) -> Happening:
    record = {
        Kind.KERNEL: KernelRecord(identity=identity, state="idle", last_activity=NOON),
        Kind.TERMINAL: TerminalRecord(identity=identity, last_activity=NOON),
        Kind.APP: AppRecord(identity=identity, name=identity, state="InService"),
    }[kind]
    return Happening(action=action, kind=kind, record=record, reason=reason, at=at)


def full() -> IdleCuller:
    """A culler to which everything has happened once, for every reason and kind."""
    culler = IdleCuller(logging.getLogger("test"), FakeClock())
    for kind in Kind:
        culler.tally.passed(kind, 0.005)
        for reason in Reason:
            for action in ("warned", "withdrawn", "kept", "culled", "dry run", "failed"):
                culler.tally.told(happening(action, kind, reason.value))
    return culler


# -- names -------------------------------------------------------------------------------------------


def test_names_and_types_are_as_prometheus_wants_them():
    """One prefix, base units, counters in _total; every metric has a help text."""
    families = list(text_string_to_metric_families(scrape(full())))

    assert {family.name: family.type for family in families} == {
        "culling_pass_duration_seconds": "histogram",
        "culling_passes": "counter",
        "culling_culled": "counter",
        "culling_kept": "counter",
        "culling_warnings": "counter",
        "culling_failures": "counter",
        "culling_compute_given_back_seconds": "counter",
        "culling_present": "gauge",
        "culling_next_deadline_seconds": "gauge",
    }
    for family in families:
        assert family.documentation.endswith(".")
        for sample in family.samples:
            assert re.fullmatch(r"[a-z]+(_[a-z]+)*", sample.name)
            assert sample.name.endswith("_total") == (family.type == "counter")


def test_labels_are_kind_and_reason_and_have_few_values():
    """No identity, name or user ever becomes a time series of its own."""
    culler = full()
    for number in range(500):
        culler.tally.told(happening("culled", Kind.APP, identity=f"arn:{number}"))
        culler.tally.told(happening("failed", Kind.KERNEL, identity=f"kernel-{number}"))
    samples = [sample for family in text_string_to_metric_families(scrape(culler)) for sample in family.samples]

    assert {name for sample in samples for name in sample.labels} == {"kind", "reason", "le"}
    assert {sample.labels["kind"] for sample in samples if "kind" in sample.labels} == {kind.value for kind in Kind}
    assert len(samples) < 250


# -- counts ------------------------------------------------------------------------------------------


@scenario
async def test_counts_follow_what_a_culler_does():
    """Warned, culled, failed, kept; in passes that are counted and timed."""
    place = World()
    for name in "abc":
        place.kernels.put(name)
    place.kernels.failing.add("c")
    place.start()

    await place.clock.run_for(400)
    place.culler.keep_alive(Kind.KERNEL, "b", NOON + timedelta(days=1), "alice")
    await place.clock.run_for(TIMEOUT - 400 + EXACT)
    found = read(scrape(place.culler))

    assert found["culling_culled_total", "kernel", "idle"] == 1
    assert found["culling_failures_total", "kernel", "stop"] == 1
    assert found["culling_warnings_total", "kernel"] == 3
    assert found["culling_kept_total", "kernel", "kept alive"] == 1
    assert found["culling_passes_total", "kernel"] == found["culling_pass_duration_seconds_count", "kernel"] >= 2
    assert found["culling_present", "kernel", "kept alive"] == 1
    # of the one that is kept: the one that could not be shut down has passed its own
    assert found["culling_next_deadline_seconds",] == pytest.approx(86_400 - TIMEOUT, abs=1)
    assert not any(key[1:2] == ("terminal",) and value for key, value in found.items())


@scenario
async def test_the_next_deadline_is_the_nearest_one_and_absent_when_there_is_none():
    """Seconds from now, as status has it."""
    place = World()
    place.kernels.put("a")
    place.kernels.put("b", last_activity=NOON - timedelta(seconds=100))
    place.start()
    await place.clock.run_for(50)

    with_two = read(scrape(place.culler))
    place.kernels.put("a", state="busy")
    del place.kernels.records["b"]
    with_none = read(scrape(place.culler))

    assert with_two["culling_next_deadline_seconds",] == pytest.approx(TIMEOUT - 150)
    assert with_two["culling_present", "kernel", "active"] == 2
    assert ("culling_next_deadline_seconds",) not in with_none
    assert with_none["culling_present", "kernel", "busy"] == 1


def test_passes_are_counted_in_buckets_that_add_up():
    """Cumulative, up to +Inf, as a histogram is."""
    culler = IdleCuller(logging.getLogger("test"), FakeClock())
    for seconds in (0.00005, 0.0001, 0.0005, 0.05, 0.5, 5.0, 50.0):
        culler.tally.passed(Kind.KERNEL, seconds)

    found = read(scrape(culler))

    buckets = [found["culling_pass_duration_seconds_bucket", "kernel", str(bound)] for bound in BUCKETS]
    assert buckets == [2, 3, 3, 4, 5, 6]
    assert found["culling_pass_duration_seconds_bucket", "kernel", "+Inf"] == 7
    assert found["culling_pass_duration_seconds_count", "kernel"] == 7
    assert found["culling_pass_duration_seconds_sum", "kernel"] == pytest.approx(55.55065)


def test_a_rehearsal_and_a_withdrawal_count_nowhere():
    """Nothing was stopped, and nobody needs to be told how often it was not."""
    tally = Tally()

    for action in ("dry run", "withdrawn", "deleting", "accepted"):
        tally.told(happening(action))

    assert vars(tally) == vars(Tally())


# -- compute given back ----------------------------------------------------------------------------------


def test_compute_is_given_back_from_the_deletion_until_it_runs_again():
    """Seconds of each app that was deleted; one that is deleted twice counts once at a time."""
    tally = Tally()
    hour = timedelta(hours=1)

    tally.told(happening("culled", Kind.APP, identity="a", at=NOON))
    tally.told(happening("culled", Kind.APP, identity="b", at=NOON + hour))
    tally.told(happening("culled", Kind.APP, identity="b", at=NOON + 1.5 * hour))
    tally.told(happening("culled", Kind.KERNEL, identity="k", at=NOON))
    both_gone = tally.given_back(NOON + 2 * hour)
    tally.returned("a", NOON + 3 * hour)
    tally.returned("a", NOON + 4 * hour)
    tally.returned("never deleted", NOON + 4 * hour)
    one_back = tally.given_back(NOON + 5 * hour)
    tally.told(happening("culled", Kind.APP, identity="a", at=NOON + 6 * hour))

    assert both_gone == 3 * 3600
    assert one_back == (3 + 4) * 3600
    assert tally.given_back(NOON + 7 * hour) == (3 + 6 + 1) * 3600


def test_what_was_given_back_never_shrinks_though_the_clock_is_set_back():
    """A counter only grows; a clock set back before the deletion gives nothing back."""
    tally = Tally()
    tally.told(happening("culled", Kind.APP, identity="a", at=NOON))

    assert tally.given_back(NOON - timedelta(hours=1)) == 0
    tally.returned("a", NOON - timedelta(hours=1))
    assert tally.given_back(NOON) == 0


@scenario
async def test_an_app_that_is_started_again_is_billed_again():
    """Deleted by the culler, gone from the list, in service again an hour later."""
    clock = FakeClock()
    culler = IdleCuller(logging.getLogger("test"), clock)
    kernels = HomedKernels(own_settings={"idle_timeout": TIMEOUT}, culler=culler)
    apps = FakeApps()
    apps.put("a")
    culler.attach(kernels)
    culler.neighbours = source = AppSource(apps, culler)
    culler.attach(source)
    culler.start()
    await clock.run_for(TIMEOUT * 2)
    del apps.apps["a"]
    await clock.run_for(3600)
    deleted = read(scrape(culler))

    apps.put("a", created_at=clock.wall)
    await clock.run_for(TIMEOUT / 2 + 10)
    returned = read(scrape(culler))["culling_compute_given_back_seconds_total",]
    await clock.run_for(60)

    assert apps.deleted == ["a"]
    assert deleted["culling_culled_total", "app", "idle"] == 1
    assert deleted["culling_compute_given_back_seconds_total",] >= 3600
    assert returned >= deleted["culling_compute_given_back_seconds_total",]
    assert read(scrape(culler))["culling_compute_given_back_seconds_total",] == returned


# -- a process, a server -------------------------------------------------------------------------------


def test_two_cullers_of_a_process_add_up_and_do_not_clash():
    """As in tests, or where somebody embeds servers; one that is gone counts no more."""
    registry, first, second = CollectorRegistry(), full(), full()
    for culler in (first, second, second):
        expose(culler, registry)

    both = read(scrape(first, second))
    expected = read(scrape(first))

    assert both["culling_culled_total", "kernel", "idle"] == 2
    assert both["culling_pass_duration_seconds_count", "app"] == 2
    assert {key for key in both if key[0] != "culling_present"} == {
        key for key in expected if key[0] != "culling_present"
    }
    assert "culling_culled_total" in generate_latest(registry).decode()
    del culler, second
    gc.collect()


def test_without_a_culler_there_are_names_and_no_numbers():
    """Nothing fails before the first server is there."""
    assert all(value == 0 for value in read(scrape()).values())


async def test_a_real_server_shows_them_on_metrics(jp_fetch, jp_serverapp):
    """Beside Jupyter's own, from the first request; a kernel that goes is counted."""
    await start(jp_fetch)
    await ask(jp_fetch, "status")

    async def shown():
        return read((await jp_fetch("metrics")).body.decode())

    before = await until(shown)
    await ask(jp_fetch, "settings", {"idle_time": 0.017})
    await until(lambda: not jp_serverapp.kernel_manager.list_kernel_ids(), 20)
    after = await shown()

    culled = ("culling_culled_total", "kernel", "idle")
    assert before["culling_present", "kernel", "active"] >= 1
    assert 0 < before["culling_next_deadline_seconds",] <= 7200
    assert after[culled] == before.get(culled, 0) + 1
    assert after["culling_passes_total", "kernel"] >= 2
    assert all(math.isfinite(value) for value in after.values())
