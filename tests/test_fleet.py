"""The fleet check against emulators of SageMaker, CloudWatch Logs and Studio, over real HTTP."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter
from datetime import datetime, timedelta, timezone

import pytest
from rich.console import Console

from culling_manager import fleet
from culling_manager.errors import STAYS_BILLED, CallError, ErrorCode, ReadError, SettingError
from culling_manager.fleet import FleetCalls, FleetOptions, Source, State, Target, check_fleet
from culling_manager.fleet import table as fleet_table
from culling_manager.fleet.budget import options_from
from culling_manager.fleet.calls import Pacer
from culling_manager.fleet.http import Secret, Visit, origin
from culling_manager.fleet.judge import from_answer, from_log, read_heartbeat, reading, without_app
from culling_manager.fleet.options import minutes_of
from culling_manager.fleet.presigned import MOST_REFUSALS
from culling_manager.fleet.records import Finding, Reading, scrubbed, unlinked
from culling_manager.fleet.report import summarise
from culling_manager.fleet.table import print_report
from culling_manager.policy import CullingPolicy
from culling_manager.records import Kind
from culling_manager.report import heartbeat_line
from tests.conftest import patience
from tests.emulator import DOMAIN, Fault, SageMaker, environment
from tests.emulator_logs import CloudWatchLogs, logs_environment, pattern_terms
from tests.studio import Behaviour, Studio

NOW = datetime.now(timezone.utc)
LONG_AGO = NOW - timedelta(days=2)
FAST = {"rate": 1000.0, "logs_rate": 1000.0}
ASK = {**FAST, "source": Source.PRESIGNED}  # whoever answers has the usual time, for a busy machine may need it


class Fleet:
    """An account with its three services, and one line for each thing that a test says about it."""

    def __init__(self, sagemaker: SageMaker, logs: CloudWatchLogs, studio: Studio) -> None:
        self.sagemaker, self.logs, self.studio = sagemaker, logs, studio

    def classic(self, name: str, behaviour: Behaviour = Behaviour.OK, domain: str = DOMAIN, **app) -> str:
        """A user with a Classic app; gives its log stream."""
        self.sagemaker.add_app("default", "JupyterServer", domain, name, **{"created": LONG_AGO, **app})
        self.studio.behaviour[name] = behaviour
        return f"{domain}/{name}/JupyterServer/default"

    def space(
        self, name: str, owner: str | None, behaviour: Behaviour = Behaviour.OK, domain: str = DOMAIN, **app
    ) -> str:
        """A space, shared if it has no owner, with a JupyterLab app; gives its log stream."""
        self.sagemaker.add_space(name, domain, owner, sharing="Private" if owner else "Shared")
        self.sagemaker.add_app("default", "JupyterLab", domain, space=name, **{"created": LONG_AGO, **app})
        self.studio.behaviour[name] = behaviour
        return f"{domain}/{name}/JupyterLab/default"

    def check(self, **options):
        return check_fleet(FleetOptions(**{**FAST, **options}), now=NOW)

    def ask(self, **options):
        return check_fleet(FleetOptions(**{**ASK, **options}))


@pytest.fixture(scope="module")
def session():
    """One boto3 session for all tests: reading the service models anew for each would take most of their time."""
    import boto3

    return boto3.session.Session()


@pytest.fixture
def aws(monkeypatch, session) -> Fleet:
    """Three emulators, found by boto3 through the environment; none may have seen anything unlawful."""
    monkeypatch.setattr("boto3.session.Session", lambda: session)
    with SageMaker() as sagemaker, CloudWatchLogs() as logs, Studio(sagemaker) as studio:
        settings = environment(sagemaker) | logs_environment(logs)
        for name, value in (settings | {"AWS_DEFAULT_REGION": "eu-west-1", "NO_PROXY": "*"}).items():
            monkeypatch.setenv(name, value)
        yield Fleet(sagemaker, logs, studio)
        assert not sagemaker.violations
        assert not logs.violations


def states(report) -> dict[str, State]:
    return {each.target.owner: each.state for each in report.findings}


def only(report) -> Finding:
    (found,) = report.findings
    return found


# -- what there is to check ------------------------------------------------------------------------


def test_every_page_of_every_domain_is_read_and_each_target_is_there_once(aws):
    """Short pages, empty pages, and more items than a page: nothing is lost and nothing comes twice."""
    aws.sagemaker.page_size, aws.sagemaker.empty_pages = 7, True
    expected = set()
    for domain in ("d-one", "d-two", "d-three"):
        for number in range(30):
            aws.classic(f"user-{number}", domain=domain, status="InService" if number % 3 else "Deleted")
            expected.add((domain, f"user-{number}"))

    report = aws.check()

    found = Counter((each.target.domain, each.target.owner) for each in report.findings)
    assert set(found) == expected
    assert set(found.values()) == {1}
    assert report.domains == ("d-one", "d-two", "d-three")


def test_apps_of_profiles_and_of_spaces_are_told_apart_even_by_the_same_name(aws):
    """A profile and a space of one name are two; kernel apps and Code Editor are not Jupyter Servers."""
    aws.classic("same")
    aws.space("same", "same")
    aws.sagemaker.add_app("datascience", "KernelGateway", user_profile="same")
    aws.sagemaker.add_space("editor", owner="same", app_type="CodeEditor")
    aws.sagemaker.add_app("default", "CodeEditor", space="editor")

    report = aws.check()

    kinds = sorted((each.target.owner, each.target.app_type, each.state) for each in report.findings if each)
    judged = [(owner, app_type) for owner, app_type, state in kinds if state is not State.NO_APP]
    assert judged == [("same", "JupyterLab"), ("same", "JupyterServer")]
    assert ("editor", "CodeEditor", State.NO_APP) in kinds


@pytest.mark.parametrize("status", ["Deleted", "Deleting", "Failed", "Pending"])
def test_an_app_that_is_not_in_service_is_never_touched(aws, status):
    """It is listed as no running app, and no presigned URL is made for it."""
    aws.classic("alice", status=status)

    report = aws.ask()

    assert only(report).state is State.NO_APP
    assert status in only(report).reason
    assert aws.sagemaker.count("CreatePresignedDomainUrl") == 0
    assert not aws.studio.paths


def test_a_domain_without_users_is_said_and_is_fine(aws, capsys):
    """There is nothing to check, which is not a failure."""
    aws.sagemaker.add_domain("d-empty")

    code = fleet.main([])

    assert code == 0
    assert "Domain d-empty has no user profiles and no spaces." in capsys.readouterr().out


def test_a_region_without_a_domain_is_said_and_is_fine(aws, capsys):
    """As with a domain without users."""
    assert fleet.main([]) == 0
    assert "There is no SageMaker domain in eu-west-1." in capsys.readouterr().out


def test_only_the_domains_asked_for_are_looked_at(aws):
    """Others are not even listed."""
    aws.classic("alice", domain="d-one")
    aws.classic("bob", domain="d-two")

    report = aws.check(domains=("d-two", "d-two"))

    assert set(states(report)) == {"bob"}
    asked = [call.parameters["DomainIdEquals"] for call in aws.sagemaker.calls if call.operation == "ListApps"]
    assert asked == ["d-two"]


def test_a_domain_that_does_not_exist_is_a_failed_check_and_the_others_are_checked(aws):
    """An answer of SageMaker for it would be an empty list, which looks like a domain without users."""
    aws.classic("alice")

    report = aws.check(domains=(DOMAIN, "d-typo"))

    assert set(states(report)) == {"alice"}
    assert report.problems == ("There is no domain d-typo in eu-west-1.",)
    assert report.exit_code == 3


def test_a_space_without_owner_is_visited_as_the_first_user_of_its_domain(aws):
    """A shared space is open to everybody in the domain, so anybody will do."""
    aws.space("team", None)
    for name in ("zoe", "adam"):
        aws.sagemaker.add_user_profile(name)

    report = aws.ask()

    assert states(report)["team"] is State.RUNNING
    (asked,) = [each.parameters for each in aws.sagemaker.calls if each.operation == "CreatePresignedDomainUrl"]
    assert (asked["UserProfileName"], asked["SpaceName"]) == ("adam", "team")


def test_a_private_space_whose_owner_is_unknown_is_referred_to_the_logs(aws):
    """Nobody else may log in to it, and nobody else is made to."""
    aws.classic("adam")
    aws.sagemaker.add_space("lab", owner=None)
    aws.sagemaker.add_app("default", "JupyterLab", space="lab", created=LONG_AGO)

    report = aws.ask()

    assert states(report) == {"adam": State.RUNNING, "lab": State.UNREACHABLE}
    assert "use --source logs" in report.findings[0].reason
    assert aws.sagemaker.count("CreatePresignedDomainUrl") == 1


# -- logs ------------------------------------------------------------------------------------------


def test_the_latest_heartbeat_of_each_app_is_what_counts(aws):
    """Older ones, other lines, other streams and a lifecycle script's output are no matter."""
    alice, lab = aws.classic("alice"), aws.space("lab", "alice")
    aws.logs.heartbeat(alice, NOW - timedelta(minutes=110), idle_timeout=3600)
    aws.logs.heartbeat(alice, NOW - timedelta(minutes=50), idle_timeout=7200, keep_terminals=True, count=99)
    aws.logs.heartbeat(lab + "/LifecycleConfigOnStart", NOW)
    aws.logs.heartbeat("d-other/alice/JupyterServer/default", NOW)
    aws.logs.put(lab, "culling_manager heartbeat: { this is no JSON", NOW)
    aws.logs.heartbeat(lab, NOW - timedelta(minutes=5), count=4)

    report = aws.check()

    found = {each.target.owner: each for each in report.findings}
    assert {name: each.state for name, each in found.items()} == {"alice": State.RUNNING, "lab": State.RUNNING}
    said = found["alice"].reading
    assert (said.idle_seconds, said.keep_terminals, said.count, said.version) == (7200, True, 99, "1.0.0")
    assert report.exit_code == 0


def test_an_app_whose_heartbeats_stopped_is_installed_but_not_running(aws):
    """Two are due within 2 h 10 min; the search for older ones is only for those who lack a recent one."""
    stream, fine = aws.classic("alice"), aws.classic("bob")
    aws.logs.heartbeat(stream, NOW - timedelta(hours=5))
    aws.logs.heartbeat(fine, NOW - timedelta(hours=1))

    report = aws.check()

    assert states(report) == {"alice": State.NOT_RUNNING, "bob": State.RUNNING}
    assert "5 h old" in report.findings[0].reason
    prefixes = [call.parameters.get("logStreamNamePrefix") for call in aws.logs.calls]
    assert prefixes == [f"{DOMAIN}/", stream]


def test_an_app_without_any_heartbeat_is_not_installed(aws):
    """Or its role may not write logs, which the reason says too."""
    aws.classic("alice")

    found = only(aws.check())

    assert found.state is State.NOT_INSTALLED
    assert "No heartbeat in its log within 1 d" in found.reason


def test_an_app_that_has_just_been_created_is_not_judged(aws):
    """Its lifecycle script may still be installing; a heartbeat makes it running at once."""
    aws.classic("alice", created=NOW - timedelta(minutes=2))
    aws.logs.heartbeat(aws.classic("bob", created=NOW - timedelta(minutes=2)), NOW)

    report = aws.check()

    assert states(report) == {"alice": State.STARTING, "bob": State.RUNNING}
    assert report.exit_code == 0


def test_a_heartbeat_from_before_the_apps_creation_is_an_earlier_apps(aws):
    """The stream outlives the app: all apps of one owner write into the same."""
    stream = aws.classic("alice", created=NOW - timedelta(minutes=30))
    aws.logs.heartbeat(stream, NOW - timedelta(minutes=45))

    assert only(aws.check()).state is State.NOT_INSTALLED


def test_the_log_is_read_in_few_calls_however_many_apps_there_are(aws):
    """One search for all of them, through all its pages, the empty ones too."""
    aws.logs.page_size, aws.logs.empty_pages = 50, True
    for number in range(120):
        stream = aws.classic(f"user-{number:03}")
        aws.logs.heartbeat(stream, NOW - timedelta(minutes=70))
        aws.logs.heartbeat(stream, NOW - timedelta(minutes=10))

    report = aws.check()

    assert set(states(report).values()) == {State.RUNNING}
    assert aws.logs.count() == 10  # 240 heartbeats in pages of 50, and an empty page before each
    assert {call.operation for call in aws.logs.calls} == {"FilterLogEvents"}


def test_many_apps_without_a_recent_heartbeat_are_searched_for_at_once(aws):
    """Beyond a handful, one search through the domain is cheaper than one for each; it changes nobody else's state."""
    for number in range(40):
        aws.logs.heartbeat(aws.classic(f"user-{number}"), NOW - timedelta(hours=4))
    for hours in (5, 1, 4):
        aws.logs.heartbeat(aws.classic("alice"), NOW - timedelta(hours=hours))

    report = aws.check()

    assert states(report)["alice"] is State.RUNNING
    assert Counter(states(report).values()) == {State.NOT_RUNNING: 40, State.RUNNING: 1}
    assert aws.logs.count() == 2


def test_nothing_is_read_where_nothing_runs(aws):
    """No app in service, no search."""
    aws.sagemaker.add_user_profile("alice")

    assert only(aws.check()).state is State.NO_APP
    assert aws.logs.count() == 0


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault.ACCESS_DENIED, "permission logs:FilterLogEvents on * is missing"),
        (Fault.EMPTY, "answered without its list of events"),
        (Fault.TRUNCATED, "answered without its list of events"),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_a_log_that_cannot_be_read_is_a_failed_check_and_no_verdict_about_anybody(aws, fault, words):
    """An empty answer is not 'no heartbeat'."""
    aws.classic("alice")
    aws.logs.fail("FilterLogEvents", fault)

    report = aws.check()

    assert only(report).state is State.UNREACHABLE
    assert words in report.problems[0]
    assert report.exit_code == 3


def test_a_log_group_that_does_not_exist_is_named(aws):
    """Nobody has written a log, or it is another region."""
    aws.classic("alice")

    report = aws.check(log_group="/aws/elsewhere")

    assert "/aws/elsewhere" in report.problems[0]
    assert "does not exist" in report.problems[0]


def test_an_sso_domain_is_checked_by_its_logs(aws):
    """No login is needed for that."""
    aws.sagemaker.add_domain("d-sso", auth_mode="SSO")
    aws.logs.heartbeat(aws.classic("alice", domain="d-sso"), NOW)

    assert aws.check().exit_code == 0


def many(aws, number: int = 12, hours: float = 0.5) -> list[str]:
    """Users with a heartbeat each, which come in pages of five; gives their streams."""
    aws.logs.page_size = 5
    streams = [aws.classic(f"user-{each:02}") for each in range(number)]
    for stream in streams:
        aws.logs.heartbeat(stream, NOW - timedelta(hours=hours))
    return streams


def ends_after(pages: int, calls: FleetCalls):
    """Something to be told of each page, that lets time be over after so many."""
    told = []

    def tell(*_) -> None:
        told.append(1)
        if len(told) == pages:
            calls.deadline = 0.0

    return tell


def test_of_a_search_that_did_not_end_nothing_counts_and_everybody_is_told_of(aws):
    """Neither 'running' of those whose heartbeat was in the first pages, nor 'not installed' of the others."""
    options = FleetOptions(**FAST)
    calls, streams = FleetCalls(options), many(aws)
    targets = fleet.list_targets(calls, options).targets

    beats = fleet.read_heartbeats(calls, targets, options, NOW, ends_after(2, calls))
    batch = fleet.check_batch(targets, options, calls=calls, now=NOW, heartbeats=beats)

    assert (beats.found, beats.unread, aws.logs.count()) == ({}, frozenset(streams), 2)
    assert {each.state for each in batch.findings} == {State.UNREACHABLE}
    assert all("could not be searched to its end in time" in each.reason for each in batch.findings)
    assert len(batch.problems) == 1
    assert summarise(batch.findings, source="logs", checked_at=NOW, problems=batch.problems).exit_code == 3


def test_what_one_search_did_not_come_to_is_searched_for_stream_by_stream(aws):
    """Each stream on its own, whatever its name begins with; the findings are those of one search."""
    options, _ = FleetOptions(**FAST), many(aws)
    aws.logs.heartbeat(aws.classic("user"), NOW - timedelta(hours=3))
    aws.logs.heartbeat(f"{DOMAIN}/user-01/JupyterServer/default/LifecycleConfigOnStart", NOW, idle_timeout=60)
    aws.classic("user-none")
    aws.sagemaker.add_user_profile("nobody")
    calls = FleetCalls(options)
    targets = fleet.list_targets(calls, options).targets
    running = [each.stream for each in targets if each.in_service]
    before = aws.logs.count()

    batch = fleet.check_batch(
        targets, options, calls=calls, now=NOW, heartbeats=fleet.Heartbeats(unread=frozenset(running))
    )

    prefixes = [call.parameters["logStreamNamePrefix"] for call in aws.logs.calls[before:]]
    assert sorted(prefixes) == sorted(running)
    assert batch.problems == ()
    assert summarise(batch.findings, source="logs", checked_at=NOW).findings == check_fleet(options, now=NOW).findings


def test_when_only_the_search_for_older_heartbeats_did_not_end_the_recent_ones_count(aws):
    """Who has one runs; whether the others have stopped or never were, is not known."""
    options, recent = FleetOptions(**FAST), many(aws, 4)
    for number in range(30):
        aws.logs.heartbeat(aws.classic(f"old-{number:02}"), NOW - timedelta(hours=5))
    calls = FleetCalls(options)
    targets = fleet.list_targets(calls, options).targets

    beats = fleet.read_heartbeats(calls, targets, options, NOW, ends_after(3, calls))

    assert sorted(beats.found) == recent
    assert len(beats.unread) == 30
    assert fleet.Heartbeats.from_json(json.loads(json.dumps(beats.as_json()))) == beats
    assert beats.part(recent[:2]).found.keys() == set(recent[:2])
    assert beats.part(recent[:2]).unread == frozenset()


def test_a_stream_that_cannot_be_read_is_a_problem_and_the_heartbeats_that_are_known_count(aws):
    """The others of the batch were read before."""
    options, streams = FleetOptions(**FAST), many(aws, 3)
    calls = FleetCalls(options)
    targets = fleet.list_targets(calls, options).targets
    beats = fleet.read_heartbeats(calls, targets[:2], options, NOW)
    aws.logs.fail("FilterLogEvents", Fault.ACCESS_DENIED)

    known = fleet.Heartbeats(found=beats.found, unread=frozenset(streams[2:]))
    batch = fleet.check_batch(targets, options, calls=calls, now=NOW, heartbeats=known)

    assert [each.state for each in batch.findings] == [State.RUNNING, State.RUNNING, State.UNREACHABLE]
    assert "permission logs:FilterLogEvents on * is missing" in batch.problems[0]


def test_no_retry_is_begun_after_the_deadline(aws, monkeypatch):
    """A throttled call would otherwise go on for minutes."""
    options = FleetOptions(**FAST)
    calls, streams = FleetCalls(options), many(aws, 2)
    targets = fleet.list_targets(calls, options).targets
    aws.logs.fail("FilterLogEvents", Fault.THROTTLED)
    turns = [True, False]
    monkeypatch.setattr("culling_manager.fleet.calls.Pacer.wait", lambda *_: turns.pop(0))

    beats = fleet.read_heartbeats(calls, targets, options, NOW)

    assert (beats.unread, aws.logs.count()) == (frozenset(streams), 1)


# -- presigned -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("behaviour", "state", "words"),
    [
        (Behaviour.OK, State.RUNNING, "culler runs"),
        (Behaviour.ORIGINAL, State.RUNNING, "culler runs"),
        (Behaviour.ECHO, State.RUNNING, "culler runs"),
        (Behaviour.COOKIE_LATER, State.RUNNING, "culler runs"),
        (Behaviour.MISSING, State.NOT_INSTALLED, "404"),
        (Behaviour.NO_SERVER, State.UNREACHABLE, "no Jupyter Server answers"),
        (Behaviour.COUNT_0, State.NOT_RUNNING, 'count is 0 (it says "no (hidden) at'),
        (Behaviour.COUNT_1, State.NOT_RUNNING, "count is 1"),
        (Behaviour.SHORT, State.WRONG_SETTINGS, "the idle timeout is 60 min, not 120 min"),
        (Behaviour.KEEPS, State.WRONG_SETTINGS, "keep_terminals is on, not off"),
        (Behaviour.OFF, State.WRONG_SETTINGS, "culling is off"),
        (Behaviour.FORBIDDEN, State.UNREACHABLE, "HTTP status 403"),
        (Behaviour.ERROR, State.UNREACHABLE, "HTTP status 500"),
        (Behaviour.GARBAGE, State.UNREACHABLE, "not the one that the extension gives"),
        (Behaviour.STRANGE, State.UNREACHABLE, "not the one that the extension gives"),
        (Behaviour.HUGE, State.UNREACHABLE, "not the one that the extension gives"),
        (Behaviour.HANG, State.UNREACHABLE, "did not answer within 0.3 s"),
        (Behaviour.HANG_LOGIN, State.UNREACHABLE, "did not answer within 0.3 s"),
        (Behaviour.DRIP, State.UNREACHABLE, "did not answer within 0.3 s"),
        (Behaviour.HANG_UP, State.UNREACHABLE, "proper HTTP"),
        (Behaviour.NOT_HTTP, State.UNREACHABLE, "proper HTTP"),
        (Behaviour.CIRCLE, State.UNREACHABLE, "redirects in a circle"),
        (Behaviour.AWAY, State.UNREACHABLE, "another host"),
        (Behaviour.STRANGE_LOCATION, State.UNREACHABLE, "URL that is not https"),
        (Behaviour.REFUSED, State.UNREACHABLE, "login was not accepted"),
        (Behaviour.NO_COOKIE, State.UNREACHABLE, "login was not accepted"),
        (Behaviour.DELETED, State.NO_APP, "is Deleted now"),
    ],
    ids=lambda value: value.name if isinstance(value, Behaviour) else "",
)
def test_what_a_users_server_does_has_one_state_a_reason_and_no_secret_in_it(
    aws, behaviour, state, words, caplog, capsys
):
    """Whatever goes wrong: no token or cookie in the report, its repr, the table, the JSON, or any log at DEBUG."""
    caplog.set_level(logging.DEBUG)
    aws.classic("alice", behaviour)
    silent = behaviour in (Behaviour.HANG, Behaviour.HANG_LOGIN, Behaviour.DRIP)
    started = time.monotonic()

    short = {"answer_seconds": 0.3} if silent else {}
    report = aws.ask(expected_minutes=120, expected_keep_terminals=False, **short)
    fleet_table.print_report(report)

    assert only(report).state is state
    assert words in only(report).reason
    assert time.monotonic() - started < patience(8)
    told = [
        repr(report),
        json.dumps(report.as_json()),
        caplog.text,
        *capsys.readouterr(),
        *report.lines(report.findings),
    ]
    secrets = aws.studio.secrets | set(aws.sagemaker.presigned)
    assert secrets
    assert not [secret for secret in secrets for text in told if secret in text]


def test_every_behaviour_of_the_emulator_is_in_the_table_above():
    """A new way to fail gets its line there."""
    marks = test_what_a_users_server_does_has_one_state_a_reason_and_no_secret_in_it.pytestmark
    assert {row[0] for row in marks[0].args[1]} == set(Behaviour)


def test_one_users_failure_never_stops_the_rest(aws):
    """A user for each behaviour, all in one check, each asked once at most."""
    for behaviour in Behaviour:
        aws.classic(f"user-{behaviour.name.lower().replace('_', '-')}", behaviour)
    aws.space("lab", "user-ok")

    report = aws.ask(concurrency=8)

    assert len(report.findings) == len(Behaviour) + 1
    assert states(report)["lab"] is State.RUNNING
    assert report.exit_code == 1
    assert aws.sagemaker.count("CreatePresignedDomainUrl") == len(Behaviour) + 1
    assert max(count for owner, count in aws.studio.asked.items() if owner != "user-circle") == 1


def test_a_space_is_visited_as_its_owner_under_its_own_path(aws):
    """CreatePresignedDomainUrl gets both names; the path is that of JupyterLab."""
    aws.space("lab", "alice")

    report = aws.ask()

    assert states(report)["lab"] is State.RUNNING
    (asked,) = [each.parameters for each in aws.sagemaker.calls if each.operation == "CreatePresignedDomainUrl"]
    assert (asked["UserProfileName"], asked["SpaceName"], asked["ExpiresInSeconds"]) == ("alice", "lab", 60)
    assert "/jupyterlab/default/sagemaker-studio-autoshutdown/idle_checker" in aws.studio.paths


def test_a_login_goes_no_further_than_its_cookie(aws):
    """Pages of Studio's front are never fetched: loading one may start an app."""
    aws.classic("alice")

    aws.ask()

    api = "/jupyter/default/sagemaker-studio-autoshutdown/"
    assert aws.studio.paths == ["/auth", "/app", api + "idle_checker", api + "status"]


def test_an_sso_domain_is_referred_to_the_logs_and_others_are_checked(aws, capsys):
    """No presigned URL is asked for where none can be had."""
    aws.sagemaker.add_domain("d-sso", auth_mode="SSO")
    aws.classic("bob", domain="d-sso")
    aws.classic("alice")

    code = fleet.main(["--source", "presigned", "--rate", "1000"])

    assert code == 3
    assert "use --source logs" in " ".join(capsys.readouterr().out.split())
    assert states(aws.ask()) == {"bob": State.UNREACHABLE, "alice": State.RUNNING}
    assert aws.sagemaker.count("CreatePresignedDomainUrl") == 2


@pytest.mark.parametrize(
    "fault", [Fault.ACCESS_DENIED, Fault.NOT_FOUND, Fault.EMPTY, Fault.TRUNCATED, Fault.VALIDATION]
)
def test_a_refused_presigned_url_is_that_users_reason(aws, fault, caplog):
    """The next user is asked as if nothing had been; only when nobody got one has the check itself failed."""
    caplog.set_level(logging.DEBUG)
    aws.classic("alice")
    aws.classic("bob")
    aws.sagemaker.fail("CreatePresignedDomainUrl", fault, times=1)

    report = aws.ask(concurrency=1)

    assert sorted(states(report).values(), key=str) == [State.RUNNING, State.UNREACHABLE]
    assert report.exit_code == 1
    assert not [token for token in aws.studio.secrets | set(aws.sagemaker.presigned) if token in caplog.text]


def test_a_permission_that_is_missing_for_everybody_ends_the_asking(aws):
    """After a number of refusals and not one success nobody else is asked for; the check itself has failed."""
    for number in range(MOST_REFUSALS + 15):
        aws.classic(f"user-{number}")
    aws.sagemaker.fail("CreatePresignedDomainUrl", Fault.ACCESS_DENIED)

    report = aws.ask(concurrency=4)

    assert set(states(report).values()) == {State.UNREACHABLE}
    assert "permission sagemaker:CreatePresignedDomainUrl on user-profile/" in report.problems[0]
    assert report.exit_code == 3
    assert aws.sagemaker.count("CreatePresignedDomainUrl") <= MOST_REFUSALS + 4


def test_a_presigned_url_that_is_not_https_is_not_visited():
    """Only this machine may be visited without TLS; the message does not quote the URL."""
    for url in ("http://studio.example/auth?token=canary", "ftp://127.0.0.1/", "http://[canary", "https:///x"):
        with pytest.raises(ReadError) as raised:
            origin(url)
        assert "canary" not in str(raised.value)
    assert origin("https://user:canary@studio.example:8443/auth?token=x") == "https://studio.example:8443"


def test_failures_of_a_visit_hold_no_exception_that_could_quote_a_url():
    """Neither as cause nor as context: a traceback that somebody logs shows neither URL nor token."""
    canary = Secret("http://127.0.0.1:9/auth?token=" + "canary" * 2)

    with Visit(1) as visit, pytest.raises(ReadError) as raised:
        visit.log_in(canary)

    assert raised.value.__cause__ is None
    assert raised.value.__context__ is None
    assert "canary" * 2 not in "".join(traceback.format_exception(raised.value))


def test_a_secret_shows_itself_only_when_asked():
    """Neither str, repr nor a format shows it."""
    secret = Secret("canary")

    assert "canary" not in f"{secret} {secret!r} {[secret]}"
    assert secret.reveal() == "canary"


# -- AWS -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", ["ListApps", "ListUserProfiles", "ListSpaces"])
def test_a_list_that_is_refused_is_a_problem_of_its_domain(aws, operation):
    """What the other lists tell is checked all the same; without ListApps nothing can be."""
    aws.logs.heartbeat(aws.classic("alice"), NOW)
    aws.sagemaker.fail(operation, Fault.ACCESS_DENIED)

    report = aws.check()

    assert f"permission sagemaker:{operation} on * is missing" in report.problems[0]
    assert report.exit_code == 3
    assert states(report) == ({} if operation == "ListApps" else {"alice": State.RUNNING})


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault.ACCESS_DENIED, "permission sagemaker:ListDomains on * is missing"),
        (Fault.EXPIRED_TOKEN, "credentials are not valid"),
        (Fault.EMPTY, "answered without its list of Domains"),
        (Fault.TRUNCATED, "answered without its list of Domains"),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_the_command_says_what_aws_refused_and_ends_with_3(aws, fault, words, capsys):
    """An empty answer is not 'no domains'."""
    aws.sagemaker.fail("ListDomains", fault)

    assert fleet.main(["--json"]) == 3
    told = capsys.readouterr()
    assert words in told.err
    assert told.out == ""


def test_passing_failures_of_aws_are_retried(aws):
    """Botocore's retries come before any problem."""
    aws.logs.heartbeat(aws.classic("alice"), NOW)
    for operation in ("ListDomains", "ListApps", "ListUserProfiles"):
        aws.sagemaker.fail(operation, Fault.UNAVAILABLE, times=1)
    aws.logs.fail("FilterLogEvents", Fault.SERVER_ERROR, times=1)

    report = aws.check()

    assert states(report) == {"alice": State.RUNNING}
    assert report.problems == ()


def test_calls_are_paced_so_that_a_throttle_is_not_met(aws):
    """At fewer calls per second than the service allows, none is refused: attempts are as many as calls needed."""
    aws.sagemaker.rate = 25
    for number in range(30):
        aws.classic(f"user-{number}")

    report = aws.ask(rate=20, concurrency=8)

    assert set(states(report).values()) == {State.RUNNING}
    assert report.calls["CreatePresignedDomainUrl"] == 30
    assert aws.sagemaker.count() == sum(report.calls.values()) == 35


def test_a_throttle_that_is_met_all_the_same_costs_time_and_nothing_else(aws):
    """Others use the same account: botocore's adaptive mode slows down until everybody has been asked."""
    aws.sagemaker.rate = 40
    for number in range(50):
        aws.classic(f"user-{number}")

    report = aws.ask(rate=200, concurrency=8)

    assert set(states(report).values()) == {State.RUNNING}


def test_a_pacer_spreads_its_turns_over_threads():
    """Ten turns at a hundred per second take at least nine gaps, however many threads wait."""
    pacer, start = Pacer(100), time.monotonic()
    threads = [threading.Thread(target=pacer.wait) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert time.monotonic() - start >= 0.085


def test_a_turn_that_would_come_after_the_deadline_is_not_waited_for():
    """Nor taken: whoever has a later deadline gets it."""
    pacer = Pacer(1)
    start = time.monotonic()

    turns = [pacer.wait(), *(pacer.wait(start + 0.5) for _ in range(5))]

    assert turns == [True, *[False] * 5]
    assert time.monotonic() - start < 4.5  # five turns would have been five seconds
    assert pacer._next <= start + 1.5


def test_a_token_that_comes_again_ends_the_reading():
    """Pages that never end would keep the check for ever."""
    calls = FleetCalls(FleetOptions())
    calls.call = lambda *_, **__: {"events": [], "nextToken": "same"}

    with pytest.raises(CallError, match="same page twice"):
        list(calls.pages("logs", "filter_log_events", "events", "nextToken"))


# -- judging ---------------------------------------------------------------------------------------

APP = Target(domain="d-1", profile="alice", status="InService", created=LONG_AGO)
SAID = Reading(idle_seconds=7200, keep_terminals=False, count=37, at=NOW)


@pytest.mark.parametrize(
    ("age", "state"), [(0, State.RUNNING), (7800, State.RUNNING), (7800.001, State.NOT_RUNNING), (-60, State.RUNNING)]
)
def test_a_heartbeat_is_too_old_only_beyond_the_age(age, state):
    """Exactly 2 h 10 min old is not too old; a log whose clock is ahead is not either."""
    assert from_log(APP, SAID, FleetOptions(), NOW + timedelta(seconds=age)).state is state


def test_a_dry_run_is_a_wrong_setting():
    """It stops nothing, so nobody saves anything by it."""
    said = Reading(idle_seconds=7200, keep_terminals=False, count=37, dry_run=True, at=NOW)

    assert "stops nothing" in from_log(APP, said, FleetOptions(), NOW).reason


@pytest.mark.parametrize("minutes", [None, 120, 120.01])
def test_a_timeout_is_compared_to_the_second(minutes):
    """Less than a second apart is the same, and without an expectation any timeout but 0 will do."""
    assert from_answer(APP, SAID, FleetOptions(expected_minutes=minutes), NOW).state is State.RUNNING


@pytest.mark.parametrize(("least", "most", "right"), [(60, 240, True), (120, 240, True), (60, 120, True),
                                                       (121, 240, False), (60, 119, False)])  # fmt: skip
def test_a_range_of_timeouts_is_right_up_to_both_its_ends(least, most, right):
    """What users may set themselves is no daily alarm."""
    found = from_answer(APP, SAID, FleetOptions(expected_minutes=least, most_minutes=most), NOW)

    assert (found.state is State.RUNNING) is right
    assert right or f"120 min, not {least} to {most} min" in found.reason


def test_who_stays_billed_for_a_missing_permission_stands_first_and_equal_reasons_are_told_once():
    """One grant, one mail line: and what has no running app is said to cost nothing."""
    codes = [ErrorCode.PERMISSION_MISSING.value]
    billed = reading({"idle_time": 7200, "keep_terminals": False, "count": 9, "errors": "x", "codes": codes}, NOW)
    targets = [Target(domain="d-1", profile=f"u{number}", status="InService") for number in range(4)]
    found = [from_answer(each, None, FleetOptions(), NOW) for each in targets]
    found += [from_log(APP, billed, FleetOptions(), NOW), without_app(Target(domain="d-1", profile="z"))]

    report = summarise(found, source="logs", checked_at=NOW)

    summary, first, second = report.lines()
    assert report.findings[0].target == APP
    assert "; 1 stays billed: permission missing, 4 not installed; " in summary
    assert "1 without a running app (nothing runs there that could be checked or costs anything)" in summary
    assert "stays billed" in first
    assert second.startswith("4 times not installed. Its server does not have the extension (404). d-1/u0 (Jup")
    assert report.counts[State.WRONG_SETTINGS] == 1
    assert first.startswith("d-1/alice (JupyterServer): stays billed: permission missing. It runs, but ")
    assert (report.exit_code, report.as_json()["stays_billed"]) == (4, 1)
    assert report.as_json()["findings"][0]["category"] == "stays billed: permission missing"
    assert summarise(found, source="logs", checked_at=NOW, problems=["x"]).exit_code == 3
    assert summarise(found[:4], source="logs", checked_at=NOW).exit_code == 1


@pytest.mark.parametrize("width", [80, 120])
def test_who_stays_billed_for_a_missing_permission_stands_first_in_the_table_of_many_domains(width):
    """Before the faults of another domain that would come first by its name."""
    codes = [ErrorCode.PERMISSION_MISSING.value]
    billed = reading({"idle_time": 7200, "keep_terminals": False, "count": 9, "errors": "x", "codes": codes}, NOW)
    mine = Target(domain="d-2", profile="zoe", status="InService")
    found = [from_answer(APP, None, FleetOptions(), NOW), from_log(mine, billed, FleetOptions(), NOW)]
    console = Console(width=width, record=True, highlight=False, file=io.StringIO())

    print_report(summarise(found, source="logs", checked_at=NOW), console=console)

    text = console.export_text()
    assert text.index("zoe") < text.index("alice")
    assert "stays billed:" in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= width


@pytest.mark.parametrize("width", [80, 120])
def test_in_a_table_too_equal_reasons_are_told_once_with_how_many_they_are(width):
    """299 lines of the same words are read by nobody; two are still named each."""
    many = [Target(domain="d-1", profile=f"u{number:03}", status="InService", created=LONG_AGO) for number in range(9)]
    found = [from_answer(each, None, FleetOptions(), NOW) for each in many]
    found += [from_log(Target(domain="d-1", profile=f"v{number}", status="InService"), None, FleetOptions(), NOW)
              for number in range(2)]  # fmt: skip
    found.append(from_answer(APP, SAID, FleetOptions(), NOW))
    console = Console(width=width, record=True, highlight=False, file=io.StringIO())

    print_report(summarise(found, source="logs", checked_at=NOW), console=console)

    text = " ".join(console.export_text().split())
    assert "9: u000, u001 and 7 more" in text or ("9: u000, u001" in text and "7 more" in text)
    assert text.count("does not have the extension") == 1
    assert "v0" in text
    assert "v1" in text
    assert "alice" in text


def test_a_planned_dry_run_is_no_fault():
    """While it is being rolled out; without the plan it is one."""
    said = Reading(idle_seconds=7200, keep_terminals=False, count=37, dry_run=True, at=NOW)

    assert from_log(APP, said, FleetOptions(planned_dry_run=True), NOW).state is State.RUNNING
    assert from_log(APP, said, FleetOptions(), NOW).state is State.WRONG_SETTINGS


def test_of_many_that_are_fine_a_few_are_named():
    """Nobody reads 300 names of which none needs care; whoever does is named, however many they are."""
    targets = [Target(domain="d-1", profile=f"u{number:03}", status="InService") for number in range(60)]
    found = [from_answer(each, SAID, FleetOptions(), NOW) for each in targets[:40]]
    found += [from_answer(each, None, FleetOptions(), NOW) for each in targets[40:]]

    report = summarise(found, source="logs", checked_at=NOW)

    (fine,) = [line for line in report.lines(report.findings) if line.startswith("running. ")]
    (bad,) = [line for line in report.lines(report.findings) if line.startswith("20 times not installed. ")]
    assert fine.endswith("and 37 more (--json names all)")
    assert [number for number in range(60) if f"/u{number:03} " in fine] == [0, 1, 2]
    assert [number for number in range(60) if f"/u{number:03} " in bad] == list(range(40, 60))


@pytest.mark.parametrize(
    ("text", "read"), [("120", (120, None)), ("60-240", (60, 240)), ("0.5-1", (0.5, 1)), ("", (None, None))]
)
def test_an_expected_timeout_is_a_number_or_a_range(text, read):
    """As on the command line, so in the template."""
    assert minutes_of(text) == read
    assert options_from({"EXPECTED_TIMEOUT_IN_MINS": text}).most_minutes == read[1]


@pytest.mark.parametrize("text", ["240-60", "60-", "-60", "a-b", "1-2-3"])
def test_a_range_that_is_none_is_refused(text, capsys):
    """With what is accepted."""
    with pytest.raises(SystemExit) as ended:
        fleet.main([f"--expected-timeout={text}"])

    assert ended.value.code == 2
    told = " ".join(capsys.readouterr().err.split())
    assert "is not accepted: it must be a number of minutes such as 120, or a range such as 60-240, the shorter" in told


@pytest.mark.parametrize(
    "text",
    [
        "[I ServerApp] culling_manager heartbeat: null",
        "culling_manager heartbeat: []",
        "culling_manager heartbeat: {}",
        'culling_manager heartbeat: {"idle_time": true, "keep_terminals": false, "count": 1}',
        'culling_manager heartbeat: {"idle_time": NaN, "keep_terminals": false, "count": 1}',
        'culling_manager heartbeat: {"idle_time": -1, "keep_terminals": false, "count": 1}',
        'culling_manager heartbeat: {"idle_time": 1, "keep_terminals": 0, "count": 1}',
        'culling_manager heartbeat: {"idle_time": 1, "keep_terminals": false, "count": 1.5}',
        "culling_manager heartbeat: " + "[" * 5000,
        'culling_manager heartbeat: {"idle_time": 1' + "0" * 400 + ', "keep_terminals": false, "count": 1}',
        'culling_manager heartbeat: {"idle_time": 1, "keep_terminals": false, "count": 1' + "0" * 400 + "}",
        'culling_manager heartbeat: {"idle_time": Infinity, "keep_terminals": false, "count": Infinity}',
        "no marker at all",
    ],
)
def test_a_line_that_is_no_heartbeat_is_passed_over(text):
    """Whoever writes into a log may write anything."""
    assert read_heartbeat(text, NOW) is None


def test_a_heartbeat_is_read_behind_any_prefix_and_with_fields_that_come_later():
    """The prefix is Jupyter's; a later version may say more."""
    line = '[I 2026-11-24 00:43:33.978 ServerApp] culling_manager heartbeat: {"idle_time": 60, "keep_terminals": true,'

    said = read_heartbeat(line + ' "count": 5, "version": "2.0", "later": [1]} and more', NOW)

    assert said == Reading(idle_seconds=60, keep_terminals=True, count=5, version="2.0", at=NOW)


def test_texts_from_outside_are_one_line_without_queries():
    """Whatever follows a question mark or 'token=' goes."""
    assert scrubbed("see https://x/auth?token=abc\nnow TOKEN=abc") == "see https://x/auth?(hidden) now TOKEN=(hidden)"
    assert len(scrubbed("x" * 1000)) == 300


def test_targets_and_findings_survive_json():
    """Workers on other machines get targets and send findings."""
    target = Target(domain="d-1", profile="alice", space="lab", app_type="JupyterLab", status="InService", created=NOW)
    finding = Finding(target=target, state=State.RUNNING, reason="It runs.", reading=SAID)

    assert Target.from_json(json.loads(json.dumps(target.as_json()))) == target
    assert Finding.from_json(json.loads(json.dumps(finding.as_json()))) == finding
    assert Reading.from_json(json.loads(json.dumps(SAID.as_json()))) == SAID


def test_pieces_can_be_run_on_different_machines(aws):
    """List once, read the log once, check in batches, and add up: the same report as in one go."""
    for number in range(25):
        aws.logs.heartbeat(aws.classic(f"user-{number}"), NOW - timedelta(minutes=number * 10))
    options = FleetOptions(**FAST)
    calls = FleetCalls(options)

    targets = fleet.list_targets(calls, options).targets
    heartbeats = fleet.read_heartbeats(calls, targets, options, NOW)
    reads = aws.logs.count()
    parts = [targets[start : start + 10] for start in range(0, len(targets), 10)]
    batches = [fleet.check_batch(part, options, now=NOW, heartbeats=heartbeats) for part in parts]
    findings = [each for batch in batches for each in batch.findings]
    report = summarise([*findings, findings[0]], source="logs", checked_at=NOW)

    assert len(report.findings) == 25
    assert report.findings == check_fleet(options, now=NOW).findings
    assert aws.logs.count() - reads == reads


@pytest.mark.parametrize(
    "wrong",
    [
        {"concurrency": 0},
        {"concurrency": 1.5},
        {"rate": 0},
        {"expected_minutes": -1},
        {"max_age_seconds": float("nan")},
    ],
    ids=str,
)
def test_options_that_make_no_sense_are_refused(wrong):
    """With the option, the value and what is accepted."""
    with pytest.raises(SettingError, match=next(iter(wrong))):
        FleetOptions(**wrong)


# -- the command -----------------------------------------------------------------------------------


def test_the_command_prints_json_and_nothing_else(aws, capsys):
    """Without a terminal there is no progress bar."""
    aws.logs.heartbeat(aws.classic("alice"), NOW, idle_timeout=3600)
    aws.classic("bob")
    aws.sagemaker.add_user_profile("carol")

    code = fleet.main(["--json", "--expected-timeout", "120", "--expected-keep-terminals", "false"])

    told = capsys.readouterr()
    found = json.loads(told.out)
    assert (code, told.err) == (1, "")
    assert {each["user_profile"]: each["state"] for each in found["findings"]} == {
        "alice": "wrong settings",
        "bob": "not installed",
        "carol": "no running app",
    }
    assert found["counts"]["wrong settings"] == 1
    assert found["exit_code"] == 1


@pytest.mark.parametrize(
    "argv", [["--source", "guess"], ["--max-age", "0"], ["--concurrency", "x"], ["--expected-timeout", "nan"]], ids=str
)
def test_a_wrong_command_line_ends_with_2(argv, capsys):
    """As argparse does it, also for values that only we refuse."""
    with pytest.raises(SystemExit) as ended:
        fleet.main(argv)
    assert ended.value.code == 2
    assert "error:" in capsys.readouterr().err


def everything(aws: Fleet):
    """A report with every state."""
    for name, behaviour in {
        "alice": Behaviour.OK,
        "bob": Behaviour.MISSING,
        "carol": Behaviour.COUNT_0,
        "dave": Behaviour.SHORT,
        "erin": Behaviour.FORBIDDEN,
    }.items():
        aws.classic(name, behaviour)
    aws.classic("frank", Behaviour.MISSING, created=datetime.now(timezone.utc))
    aws.space("a-space-with-a-very-long-name-of-sixty-three-characters-at-most", "alice")
    aws.sagemaker.add_user_profile("grace")
    return aws.ask(expected_minutes=120)


def test_several_domains_stand_under_their_names_once_each(aws, capsys):
    """Within a domain the worst come first."""
    pytest.importorskip("rich.console")
    for domain in ("d-one", "d-two"):
        aws.classic("alice", domain=domain)
        aws.classic("bob", Behaviour.MISSING, domain=domain)

    fleet_table.print_report(aws.ask())

    first = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line[:1].isalpha()]
    assert [word for word in first if word in ("d-one", "d-two", "alice", "bob")] == [
        *("d-one", "bob", "alice"),
        *("d-two", "bob", "alice"),
    ]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_table_fits_its_width_and_drops_no_word(aws, width):
    """Every owner and every reason is there, whole, in lines that are not wider."""
    console = pytest.importorskip("rich.console").Console(width=width, record=True, file=io.StringIO())

    report = everything(aws)
    fleet_table.print_report(report, console=console)

    told = console.export_text()
    assert max(map(len, told.splitlines())) <= width
    flat = "".join(told.split())
    for each in fleet_table.shown(report, False):
        assert each.target.owner[:10] in flat
        assert each.state.value.split()[0] in flat
    assert report.summary().replace(" ", "") in flat
    assert "grace" not in flat


def test_only_problems_are_listed_on_request(aws, capsys):
    """The summary still counts everybody."""
    everything(aws)

    fleet.main(["--source", "presigned", "--rate", "1000", "--only-problems"])

    told = capsys.readouterr().out
    assert "alice" not in told
    assert "3 of 7 running apps are culled" in " ".join(told.split())


def test_without_rich_the_command_prints_plain_lines(aws, capsys, monkeypatch):
    """Rich is a nicety; nothing depends on it."""
    monkeypatch.setitem(sys.modules, "rich.console", None)
    aws.classic("bob")

    assert fleet.main([]) == 1
    assert f"{DOMAIN}/bob (JupyterServer): not installed." in capsys.readouterr().out


def test_the_rooms_of_the_fleet_import_nothing_but_the_standard_library():
    """They run where neither Jupyter nor rich is; boto3 is imported at the first call."""
    names = "{'boto3', 'rich', 'traitlets', 'tornado'}"
    rooms = "culling_manager.fleet.check, culling_manager.fleet.command"
    code = f"import sys, {rooms}; print([name for name in sys.modules if name in {names}])"

    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_no_region_is_said(monkeypatch, capsys):
    """With what to do about it."""
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")

    assert fleet.main([]) == 3
    assert "give --region" in capsys.readouterr().err


# -- size ------------------------------------------------------------------------------------------


def test_three_hundred_profiles_are_each_checked_exactly_once(aws):
    """Both sources, in pages of a hundred; the large version is `python -m tests.fleet_scale`."""
    for number in range(300):
        aws.logs.heartbeat(aws.classic(f"user-{number:03}", status="InService" if number % 3 == 0 else "Deleted"), NOW)

    logs, asked = aws.check(), aws.ask()

    for report in (logs, asked):
        assert len({each.target.key for each in report.findings}) == len(report.findings) == 300
        assert report.counts[State.RUNNING] == 100
    assert set(aws.studio.asked.values()) == {1}
    assert aws.sagemaker.count("CreatePresignedDomainUrl") == 100


# -- the emulators ---------------------------------------------------------------------------------


def test_the_logs_emulator_understands_phrases_and_refuses_what_must_be_quoted():
    """As CloudWatch: words and quoted phrases; a bare word with other characters is an error there."""
    assert pattern_terms('"culling_manager heartbeat:" word') == ["culling_manager heartbeat:", "word"]
    with pytest.raises(Exception, match="double quotes"):
        pattern_terms("heartbeat:")


def test_the_logs_emulator_answers_what_boto3_asks(aws):
    """The other two operations, and streams and groups that do not exist."""
    import boto3

    client = boto3.client("logs", region_name="eu-west-1")
    stream = aws.classic("alice")
    aws.logs.heartbeat(stream, NOW)
    group = {"logGroupName": "/aws/sagemaker/studio"}

    streams = client.describe_log_streams(**group, logStreamNamePrefix=DOMAIN)["logStreams"]
    lines = client.get_log_events(**group, logStreamName=stream)["events"]

    assert [each["logStreamName"] for each in streams] == [stream]
    assert "culling_manager heartbeat: {" in lines[0]["message"]
    for wrong in ({"logGroupName": "/none"}, {**group, "logStreamNames": [stream, "none"]}):
        with pytest.raises(client.exceptions.ResourceNotFoundException):
            client.filter_log_events(**wrong)


def test_studios_emulator_sends_strangers_to_its_sign_in_page(aws):
    """Without the cookie of a login there is no Jupyter Server."""
    import urllib.request

    with urllib.request.urlopen(aws.studio.url + "/jupyter/default/api") as found:
        assert b"Sign in" in found.read()


@pytest.mark.parametrize(
    ("ahead", "state"), [(300, State.RUNNING), (301, State.NOT_RUNNING), (7200, State.NOT_RUNNING)]
)
def test_a_heartbeat_from_the_future_is_not_believed(ahead, state):
    """Who writes in a log dates it as they like, and one from tomorrow would be fresh for long; clocks differ a bit."""
    said = reading({"idle_time": 7200, "keep_terminals": False, "count": 9}, NOW + timedelta(seconds=ahead))

    finding = from_log(APP, said, FleetOptions(), NOW)

    assert finding.state is state
    assert ("ahead of now" in finding.reason) == (state is State.NOT_RUNNING)


def test_a_heartbeat_from_the_future_hides_no_other(aws):
    """The latest that can be believed counts, in whichever order they are found."""
    target = aws.classic("alice")
    for minutes in (90, -60, 30, -100):
        aws.logs.heartbeat(target, NOW - timedelta(minutes=minutes), count=100 - minutes)

    (finding,) = aws.check().findings

    assert (finding.state, finding.reading.count) == (State.RUNNING, 70)


@pytest.mark.parametrize(
    "link",
    [
        "https://evil.example/login",
        "www.evil.example",
        "evil.example/login?x",
        "HTTP://1.2.3.4/x",
        "mailto:a@evil.example",
    ],
)
def test_what_a_server_says_is_quoted_and_leads_nowhere(link):
    """The report is a mail to admins: whoever runs a server may not put words into our mouth, nor a link."""
    words = f'All is well." Sign in at {link} "now'
    said = reading({"idle_time": 7200, "keep_terminals": False, "count": 9, "version": link, "errors": words}, NOW)

    finding = from_log(APP, said, FleetOptions(), NOW)

    assert finding.reason == "Its culler runs, and reports: \"All is well.' Sign in at (a link) 'now\""
    assert "evil" not in json.dumps(finding.as_json())
    assert "1.2.3.4" not in json.dumps(finding.as_json())


def test_what_is_no_link_is_told_as_it_is():
    """An ARN, the path of a file, and the name of a permission are what an admin needs."""
    words = (
        "permission sagemaker:DeleteApp on arn:aws:sagemaker:eu-west-1:123456789012:app/d-1/alice is missing, /a/b.json"
    )

    assert unlinked(words) == words


def test_a_heartbeat_says_what_is_wrong_by_codes_too():
    """The sentence is cut, and one of several; the codes are all, and a check needs no word of it."""
    codes = [ErrorCode.HOOK_FAILED, ErrorCode.PERMISSION_MISSING]
    line = heartbeat_line("1", CullingPolicy(idle_timeout=7200), 9, "SpaceApp", [Kind.KERNEL], "é" * 5000, codes)

    said = read_heartbeat(line, NOW)

    assert said.codes == ("hook_failed", "permission_missing")
    assert Reading.from_json(json.loads(json.dumps(said.as_json()))) == said
    assert from_log(APP, said, FleetOptions(), NOW).state is State.WRONG_SETTINGS


@pytest.mark.parametrize(
    ("found", "state", "words"),
    [
        ({"watching": ["kernel", "terminal"]}, State.RUNNING, "Its culler runs."),
        ({"watching": ["terminal"]}, State.NOT_RUNNING, "Kernels are not culled"),
        ({"errors": "Kernels are not culled: the kernel manager is X"}, State.NOT_RUNNING, "Kernels are not culled"),
        ({"errors": "the gateway is away"}, State.RUNNING, 'reports: "the gateway is away"'),
        ({"errors": "app a could not be deleted: permission sagemaker:DeleteApp on x is missing"}, State.WRONG_SETTINGS,
         "stays billed"),
        ({"errors": "app a could not be deleted: sagemaker:DeleteApp: SageMaker is away"}, State.WRONG_SETTINGS,
         "stays billed"),
        ({"errors": "sagemaker:ListApps is throttled (x); nothing is culled on old facts"}, State.WRONG_SETTINGS,
         "stays billed"),
        ({"errors": "app a is still in service 10 minutes after its deletion was accepted"}, State.WRONG_SETTINGS,
         "stays billed"),
        ({"errors": "KernelGatewayApps did not answer within 300 s; nothing is culled on old facts"},
         State.WRONG_SETTINGS, "stays billed"),
        ({"errors": "the gateway at http://x does not list its kernels, so nobody can tell what else is in use: y"},
         State.WRONG_SETTINGS, "stays billed"),
        *(
            ({"errors": "x", "codes": ["failed", code]}, State.WRONG_SETTINGS, f'stays billed ({code}): it says "x"')
            for code in sorted(each.value for each in STAYS_BILLED)
        ),
        ({"errors": "x", "codes": ["signal_failed", "a_later_code"]}, State.RUNNING, 'reports: "x"'),
        ({"errors": "app a could not be deleted: words of a user's", "codes": ["hook_failed"]}, State.RUNNING,
         'reports: "app a'),
        ({"errors": "sagemaker: x", "codes": "nonsense"}, State.WRONG_SETTINGS, "stays billed"),
        ({"app_manager": "NoApps"}, State.WRONG_SETTINGS, "manages no app"),
        ({"app_manager": "SpaceApp"}, State.RUNNING, "Its culler runs."),
    ],
)  # fmt: skip
def test_a_culler_that_wakes_up_and_does_not_do_its_work_is_not_called_fine(found, state, words):
    """Only terminals, because somebody selected another kernel manager; or an app that may not be deleted."""
    said = reading({"idle_time": 7200, "keep_terminals": False, "count": 9, **found}, NOW)

    for finding in (from_log(APP, said, FleetOptions(), NOW), from_answer(APP, said, FleetOptions(), NOW)):
        assert finding.state is state
        assert words in finding.reason
