"""`config/grafana-culling.json`: Grafana's schema knows all of it, and it asks for nothing that nobody publishes."""

from __future__ import annotations

import json
import re
from datetime import datetime, timezone
from pathlib import Path

import pytest

from culling_manager.engine.culler import IdleCuller
from culling_manager.fleet import daily
from culling_manager.fleet.account import Account
from culling_manager.records import Happening, KernelRecord, Kind
from culling_manager.server.metrics import CullingCollector

FILE = Path(__file__).parents[1] / "config" / "grafana-culling.json"
DASHBOARD = json.loads(FILE.read_text())
PANELS = [each for each in DASHBOARD["panels"] if each["type"] != "row"]
TARGETS = [target for panel in PANELS for target in panel["targets"]]


def known(found: object, told: object, path: str = "") -> list[str]:
    """What of a document does not come back out of Grafana's schema."""
    if isinstance(found, dict):
        if not isinstance(told, dict):
            return [path]
        return [line for name, each in found.items() for line in known(each, told.get(name), f"{path}.{name}")]
    if isinstance(found, list):
        if not isinstance(told, list) or len(told) != len(found):
            return [path]
        return [line for place, each in enumerate(found) for line in known(each, told[place], f"{path}[{place}]")]
    return [] if found == told else [path]


def test_grafanas_schema_has_all_of_it():
    """Loaded by Grafana's own SDK and written again, nothing is lost."""
    schema = pytest.importorskip("grafana_foundation_sdk.models.dashboard", reason="the SDK needs Python 3.11")
    encoder = pytest.importorskip("grafana_foundation_sdk.cog.encoder")
    loaded = schema.Dashboard.from_json(DASHBOARD)

    told = json.loads(encoder.JSONEncoder(sort_keys=True).encode(loaded))

    assert known(DASHBOARD, told) == []


def test_panels_stand_side_by_side_and_have_numbers_of_their_own():
    """No two of them cover each other, and none is wider than the page."""
    cells = [
        (x, y)
        for each in DASHBOARD["panels"]
        for x in range(each["gridPos"]["x"], each["gridPos"]["x"] + each["gridPos"]["w"])
        for y in range(each["gridPos"]["y"], each["gridPos"]["y"] + each["gridPos"]["h"])
    ]

    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    assert len({each["id"] for each in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


class Nothing:
    """A bucket with nothing in it."""

    def keys(self, prefix: str) -> set[str]:
        return set()


def test_cloudwatch_is_asked_for_what_the_daily_check_publishes():
    """Every name is one of its totals."""
    published = daily.totals(Nothing(), Account(), datetime(2026, 6, 2, tzinfo=timezone.utc).date())
    asked = {each["metricName"] for each in TARGETS if "metricName" in each}

    assert asked == set(published)
    assert {each["namespace"] for each in TARGETS if "metricName" in each} == {daily.NAMESPACE}


class Known:
    """A ledger with something in it."""

    def at(self, now: datetime) -> dict[str, float]:
        return {"at_least_seconds": 1.0, "at_most_seconds": 2.0}


def test_prometheus_is_asked_for_what_servers_tell():
    """Every name is a metric of ours."""
    collector, culler = CullingCollector(), IdleCuller()
    for action in ("culled", "kept", "warned", "failed"):
        record = KernelRecord(identity="k", state="idle", last_activity=None)
        at = datetime(2026, 6, 2, tzinfo=timezone.utc)
        culler.tally.told(Happening(action=action, kind=Kind.KERNEL, record=record, reason="idle", at=at))
    collector.add(culler, Known())
    families = list(collector.collect())
    names = {each.name for each in families} | {f"{each.name}_total" for each in families}

    asked = {name for each in TARGETS for name in re.findall(r"culling_[a-z_]+", each.get("expr", ""))}

    assert len(asked) >= 7
    assert asked <= names


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_every_panel_asks_a_source_that_can_be_chosen(panel):
    """No panel is tied to one installation."""
    sources = {f"${{{each['name']}}}" for each in DASHBOARD["templating"]["list"]}

    assert panel["description"]
    assert {panel["datasource"]["uid"], *(each["datasource"]["uid"] for each in panel["targets"])} <= sources
