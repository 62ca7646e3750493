"""Prometheus metrics on the server's ``/metrics``, read from the tallies when somebody asks for them."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from prometheus_client.core import REGISTRY, CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from ..engine.culler import IdleCuller
from ..engine.tally import BUCKETS, Durations
from ..records import Kind
from .given_back import GivenBack

if TYPE_CHECKING:
    from prometheus_client.registry import CollectorRegistry


class CullingCollector:
    """Collects from all cullers of this process."""

    def __init__(self) -> None:
        self._cullers: weakref.WeakSet[IdleCuller] = weakref.WeakSet()
        self._given_back: GivenBack | None = None

    def add(self, culler: IdleCuller, given_back: GivenBack | None = None) -> None:
        """Collect from one more, and what the ledger of its user comes to."""
        self._cullers.add(culler)
        self._given_back = given_back or self._given_back

    def describe(self) -> Iterable[Metric]:
        """Nothing to say beforehand."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Give all metrics as they are now."""
        cullers = list(self._cullers)
        tallies = [culler.tally for culler in cullers]
        yield from self._passes([tally.passes for tally in tallies])
        yield _counter("culled", "Stopped, by kind and reason.", _sum(tally.culled for tally in tallies))
        yield _counter("kept", "Kept although idle, once per change.", _sum(tally.kept for tally in tallies))
        yield _by_kind("warnings", "Warnings before a deadline.", _sum(tally.warned for tally in tallies))
        yield _counter("failures", "Failures, by kind and what failed.", _sum(tally.failed for tally in tallies))
        given_back = CounterMetricFamily(
            "culling_compute_given_back_seconds", "Seconds for which apps that were deleted have not been running."
        )
        given_back.add_metric([], sum(culler.tally.given_back(culler.now()) for culler in cullers))
        yield given_back
        yield from self._savings(cullers)
        yield from self._present(cullers)

    def _savings(self, cullers: list[IdleCuller]) -> Iterator[Metric]:
        """What stops gave back over all starts of this user's servers; absent without a ledger."""
        found = self._given_back.at(cullers[0].now()) if self._given_back and cullers else None
        words = "Seconds for which this user's apps did not run because they were stopped here: at {}."
        if found is None:
            return
        for bound in ("least", "most"):
            family = GaugeMetricFamily(f"culling_savings_at_{bound}_seconds", words.format(bound))
            family.add_metric([], found[f"at_{bound}_seconds"])
            yield family

    def _passes(self, found: list[dict[Kind, Durations]]) -> Iterator[Metric]:
        durations = HistogramMetricFamily("culling_pass_duration_seconds", "Time that passes took.", labels=["kind"])
        counts = CounterMetricFamily("culling_passes", "Passes over everything of a kind.", labels=["kind"])
        for kind in Kind:
            each = [passes[kind] for passes in found if kind in passes]
            if each:
                within = [float(sum(one.within[index] for one in each)) for index in range(len(BUCKETS))]
                count = sum(one.count for one in each)
                buckets = [*zip(map(str, BUCKETS), within, strict=True), ("+Inf", float(count))]
                durations.add_metric([kind.value], buckets=buckets, sum_value=sum(one.total for one in each))
                counts.add_metric([kind.value], count)
        yield durations
        yield counts

    def _present(self, cullers: list[IdleCuller]) -> Iterator[Metric]:
        """How things are now: what is kept and why, and when the next deadline is."""
        present: Counter[tuple[Kind, str]] = Counter()
        deadlines = []
        for culler in cullers:
            now = culler.now()
            for kind, watch in culler.watches.items():
                for _, decision in watch.current(now):
                    present[kind, decision.reason.value] += not decision.cull
                    if decision.due_at is not None and not decision.cull:
                        deadlines.append(max(0.0, (decision.due_at - now).total_seconds()))
        kept = GaugeMetricFamily("culling_present", "What is kept at present, by reason.", labels=["kind", "reason"])
        for (kind, reason), count in present.items():
            kept.add_metric([kind.value, reason], count)
        yield kept
        nearest = GaugeMetricFamily("culling_next_deadline_seconds", "Seconds to the next deadline; absent when none.")
        if deadlines:
            nearest.add_metric([], min(deadlines))
        yield nearest


def _sum(counters: Iterable[Counter[Any]]) -> Counter[Any]:
    return sum(counters, Counter())


def _counter(name: str, words: str, found: Counter[tuple[Kind, str]]) -> Metric:
    family = CounterMetricFamily(f"culling_{name}", words, labels=["kind", "reason"])
    for (kind, reason), count in found.items():
        family.add_metric([kind.value, reason], count)
    return family


def _by_kind(name: str, words: str, found: Counter[Kind]) -> Metric:
    family = CounterMetricFamily(f"culling_{name}", words, labels=["kind"])
    for kind in Kind:
        family.add_metric([kind.value], found[kind])
    return family


_collector = CullingCollector()


def expose(culler: IdleCuller, registry: CollectorRegistry = REGISTRY, given_back: GivenBack | None = None) -> None:
    """Add what `culler` does to the metrics of this process."""
    _collector.add(culler, given_back)
    if _collector not in registry._collector_to_names:
        registry.register(_collector)
