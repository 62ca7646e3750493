"""`config/grafana-culling.json`: Grafana's schema knows all of it, and it asks for nothing that nobody publishes."""

from __future__ import annotations

import json
import re
from datetime import datetime, timezone
from pathlib import Path

import pytest

from culling_manager.decisions import Action, Decision, Reason
from culling_manager.engine.culler import IdleCuller
from culling_manager.errors import ErrorCode
from culling_manager.fleet import daily
from culling_manager.fleet.account import Account
from culling_manager.money.lines import AppLine, app_line
from culling_manager.policy import CullingPolicy
from culling_manager.records import AppRecord, Happening, KernelRecord, Kind, TerminalRecord
from culling_manager.report import called, culling_line, heartbeat_line
from culling_manager.server.metrics import CullingCollector
from tests.doubles import NOON
from tests.emulator_insights import run_query
from tests.emulator_logs import STUDIO, CloudWatchLogs

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


# -- Logs Insights -----------------------------------------------------------------------------------

QUERIES = {each["title"]: each["targets"][0]["expression"] for each in PANELS if "expression" in each["targets"][0]}
QUERIES = {title: query for title, query in QUERIES.items() if query}
ALICE, BOB = "d-1/alice/JupyterLab/default", "d-1/bob/JupyterLab/default"
ARN = "arn:aws:sagemaker:eu-west-1:123456789012:app/d-1/lab/JupyterLab/default"


def cull(reason: Reason, idle: float | None = 7200.0) -> Decision:
    return Decision(action=Action.CULL, reason=reason, idle_seconds=idle, due_at=NOON)


def beat(*codes: ErrorCode, dry_run: bool = False, **seconds: float) -> str:
    """A heartbeat of which the last hour went like this."""
    times = {"run": "r", "span": 3600.0, "seconds": seconds, "gaps": [], "last_use": "2026-06-01T11:00:00.000000Z"}
    policy = CullingPolicy(idle_timeout=5400.0, dry_run=dry_run)
    return heartbeat_line("1.2.3", policy, 360, "SpaceApp", list(Kind), None, codes, times)


@pytest.fixture(scope="module")
def logged() -> CloudWatchLogs:
    """An hour of two spaces, in the words that servers write, behind Jupyter's prefix."""
    kernel = KernelRecord(identity="1a2b", name="python3", state="idle", last_activity=NOON)
    named = KernelRecord(identity="3c4d", name="ir", state="starting", last_activity=NOON, path="work/a: b.ipynb")
    terminal = TerminalRecord(identity="1", last_activity=NOON, runs="train.py")
    app = AppRecord(identity=ARN, name="default", app_type="JupyterLab", state="InService")
    accepted = AppLine(event="accepted", at=NOON, app_type="JupyterLab", app="default", run="r")
    lines = {
        ALICE: [
            beat(busy=1800.0, active=1800.0),
            culling_line(kernel, cull(Reason.IDLE)),
            culling_line(named, cull(Reason.DEAD, None)),
            culling_line(terminal, cull(Reason.IDLE)),
            culling_line(app, cull(Reason.TOO_OLD)),
            app_line(accepted),
            app_line(AppLine(event="deleting", at=NOON, app_type="JupyterLab", app="default", run="r")),
        ],
        BOB: [
            beat(ErrorCode.PERMISSION_MISSING, ErrorCode.NOT_DELETED, dry_run=True, **{"at work": 600.0}),
            f"Dry run: would cull {called(named)}: idle, 7200 seconds of inactivity.",
            "Culling: settings changed at run time: idle_timeout 120 minutes, keep_terminals False",
            "Kernel shutdown: 1a2b",
        ],
    }
    logs = CloudWatchLogs()
    for stream, each in lines.items():
        for line in each:
            logs.put(stream, f"[W 2026-06-01 12:00:00.978 ServerApp] {line}", NOON)
    return logs


def asked(logs: CloudWatchLogs, title: str) -> list[dict[str, str]]:
    """The answer of Insights to the query of a panel."""
    events = [event for stream in logs.groups[STUDIO].values() for event in stream]
    return run_query(QUERIES[title], sorted(events))[0]


HOUR = {"bin(1h)": "2026-06-01 12:00:00.000"}


def test_the_logs_tell_what_was_stopped(logged):
    """Each line before a stop, whatever names are in it, and no other line."""
    found = asked(logged, "Stopped, by kind and reason")

    assert sorted(found, key=str) == sorted(
        (
            HOUR | {"kind": kind, "reason": reason, "stopped": "1"}
            for kind, reason in (("kernel", "idle"), ("kernel", "dead"), ("terminal", "idle"), ("app", "too old"))
        ),
        key=str,
    )


def test_the_logs_tell_what_a_dry_run_would_have_stopped_and_which_apps_went(logged):
    """By kind and reason; by day and instance type, where the log has one."""
    rehearsed = asked(logged, "Dry run: would have been stopped")
    stops = asked(logged, "Apps stopped, by day and instance type")

    assert rehearsed == [HOUR | {"kind": "kernel", "reason": "idle", "wouldBeStopped": "1"}]
    assert stops == [{"bin(1d)": "2026-06-01 00:00:00.000", "stops": "1"}]


def test_the_logs_tell_for_how_long_apps_were_kept_and_why(logged):
    """Seconds of all, by reason."""
    (found,) = asked(logged, "Kept, by reason")

    assert found == HOUR | {"busySeconds": "1800.0", "idleSeconds": "1800.0", "atWorkSeconds": "600.0"}


def test_the_logs_tell_what_fails_and_how_each_server_stands(logged):
    """The code of a failure, on how many servers; last use, timeout, rehearsal and version of each."""
    failures = asked(logged, "Servers with a failure, by its code")
    states = asked(logged, "When each was last used, and its timeout")

    assert failures == [HOUR | {"code": "permission_missing", "servers": "1"}]
    rest = {"lastUsed": "2026-06-01T11:00:00.000000Z", "timeoutSeconds": "5400.0", "version": "1.2.3"}
    assert states == [
        {"@logStream": ALICE, "dryRun": "false", **rest},
        {"@logStream": BOB, "dryRun": "true", **rest},
    ]


def test_every_reason_that_keeps_an_app_is_asked_for_by_the_name_that_it_has():
    """A reason that was renamed would be missing without a word."""
    query = QUERIES["Kept, by reason"]
    names = re.findall(r'\[\^\}\]\*"([^"]+)":', query)

    assert set(names) <= {each.value for each in Reason}
    assert {"busy", "at work", "active"} <= set(names)


def test_beside_each_panel_of_prometheus_is_one_of_the_logs_and_readme_has_its_query():
    """What goes into the console of CloudWatch is what the dashboard asks."""
    prometheus = {each["title"] for each in PANELS if each["datasource"]["uid"] == "${prometheus}"}
    told = " ".join(each["description"] + each["title"] for each in PANELS if each["title"] in QUERIES)
    blocks = re.findall(r"^```\n(fields .*?)\n```$", (FILE.parent / "README.md").read_text(), re.DOTALL | re.MULTILINE)

    assert sorted(blocks) == sorted(QUERIES.values())
    for title in prometheus:
        assert title.partition(",")[0].partition(" to ")[0].removesuffix(" since the servers started") in told


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES.keys())
def test_a_query_names_its_columns_as_insights_allows(query):
    """Letters and digits, each parsed name once, and none that is counted under its own name."""
    groups = re.findall(r"\(\?<([^>]+)>", query)
    aliases = re.findall(r" as (\S+?)(?:,|$| )", query)

    assert all(re.fullmatch(r"[A-Za-z][A-Za-z0-9]*", each) for each in [*groups, *aliases])
    assert len(set(groups)) == len(groups)
    assert not set(groups) & set(aliases)
