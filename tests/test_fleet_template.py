"""The CloudFormation template of the fleet check: its state machine is really executed, its roles allow what is called.

moto's Step Functions interpreter runs the definition as it stands in the template, on moto's S3 and SNS; the three
Lambda functions are our handlers, and what they call at SageMaker and CloudWatch Logs are the emulators.
"""

from __future__ import annotations

import importlib
import io
import json
import re
import time
import zipfile
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from moto import mock_aws
from moto.awslambda_simple.models import LambdaSimpleBackend
from moto.core import DEFAULT_ACCOUNT_ID
from moto.sns.models import sns_backends

from culling_manager import fleet_lambda
from culling_manager.errors import CallError, ErrorCode, SettingError
from culling_manager.fleet import budget, daily, handlers, insights, savings, store
from culling_manager.fleet.account import Account as Account_
from culling_manager.money.lines import AppLine, app_line
from tests.conftest import patience
from tests.emulator import Fault, SageMaker, environment
from tests.emulator_logs import CloudWatchLogs, logs_environment
from tests.studio import Studio
from tests.test_iam import allows

TEMPLATE = Path(__file__).parents[1] / "config" / "fleet-check.template.yaml"
REGION, BUCKET = "eu-west-1", "fleet-check-results"
FUNCTIONS = {
    "ListFunction": fleet_lambda.list_handler,
    "CheckFunction": fleet_lambda.check_handler,
    "ReportFunction": fleet_lambda.report_handler,
}


class Loader(yaml.SafeLoader):
    """YAML with CloudFormation's short functions, as their long forms."""


def short(loader: Loader, suffix: str, node: yaml.Node) -> Any:
    name = suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}"
    if isinstance(node, yaml.ScalarNode):
        return {name: loader.construct_scalar(node)}
    if isinstance(node, yaml.SequenceNode):
        return {name: loader.construct_sequence(node, deep=True)}
    return {name: loader.construct_mapping(node, deep=True)}


Loader.add_multi_constructor("!", short)
RESOURCES = yaml.load(TEMPLATE.read_text(), Loader)["Resources"]


def definition(concurrency: int = 3) -> str:
    """The state machine's definition with CloudFormation's substitutions made, and without long waits between tries."""
    text: str = RESOURCES["FleetCheck"]["Properties"]["DefinitionString"]
    values = {
        "Bucket": BUCKET,
        "MaxConcurrency": str(concurrency),
        "Partition": "aws",
        **{name: name for name in FUNCTIONS},
    }
    assert set(values) == set(RESOURCES["FleetCheck"]["Properties"]["DefinitionSubstitutions"])
    for name, value in values.items():
        text = text.replace(f"${{{name}}}", value)
    for name in ("IntervalSeconds", "BackoffRate", "MaxAttempts"):
        text = re.sub(rf'"{name}": \d+', f'"{name}": 1', text)
    return text


class Context:
    """What Lambda tells a function of itself; here, that it has so long to live."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def get_remaining_time_in_millis(self) -> int:
        return int(self.seconds * 1000)


class Account:
    """An AWS account with the template's resources in it."""

    def __init__(self) -> None:
        self.invocations: list[tuple[str, Any]] = []
        self.broken: set[int] = set()
        self.seconds = dict.fromkeys(FUNCTIONS, 900.0)
        self.runs = 0
        boto3.client("s3").create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        self.topic = boto3.client("sns").create_topic(Name="fleet")["TopicArn"]
        role = boto3.client("iam").create_role(RoleName="r", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
        code = io.BytesIO()
        with zipfile.ZipFile(code, "w") as archive:
            archive.writestr("nothing.py", "")
        for name in FUNCTIONS:
            boto3.client("lambda").create_function(
                FunctionName=name, Runtime="python3.13", Role=role, Handler="a.b", Code={"ZipFile": code.getvalue()}
            )
        self.machine = boto3.client("stepfunctions").create_state_machine(
            name="fleet", definition=definition(), roleArn=role
        )["stateMachineArn"]

    def invoke(self, _backend: Any, function_name: str, _qualifier: Any, body: Any, *_: Any) -> str:
        """What Lambda does: JSON in, JSON out, and an error in an object of its own."""
        event = json.loads(body)
        name = function_name.rpartition(":")[2]
        self.invocations.append((name, event))
        if name == "CheckFunction" and event["number"] in self.broken:
            raise RuntimeError("the worker ran out of memory")
        return json.dumps(FUNCTIONS[name](event, Context(self.seconds[name])))

    def run(self) -> dict[str, Any]:
        """Execute it, and give what it ended with."""
        client = boto3.client("stepfunctions")
        self.runs += 1
        execution = client.start_execution(stateMachineArn=self.machine, name=f"run-{self.runs}")["executionArn"]
        end = time.monotonic() + patience(60)
        while True:
            found: dict[str, Any] = client.describe_execution(executionArn=execution)
            if found["status"] != "RUNNING":
                return found
            assert time.monotonic() < end, found
            time.sleep(0.05)

    def report(self) -> Any:
        key = f"runs/run-{self.runs}/report.json"
        return json.loads(boto3.client("s3").get_object(Bucket=BUCKET, Key=key)["Body"].read())

    def published(self) -> list[str]:
        topic = sns_backends[DEFAULT_ACCOUNT_ID][REGION].topics[self.topic]
        return [message for _, message, *_ in topic.sent_notifications]


@pytest.fixture
def sagemaker() -> Iterator[SageMaker]:
    """SageMaker with a domain of seven users and a space."""
    old = datetime.now(timezone.utc) - timedelta(days=1)
    with SageMaker(region=REGION) as running:
        for number in range(7):
            running.add_user_profile(f"user-{number}")
            running.add_app("default", "JupyterServer", user_profile=f"user-{number}", created=old)
        running.add_space("lab", owner="user-0")
        running.add_app("default", "JupyterLab", space="lab", created=old)
        yield running
        assert running.violations == []


@pytest.fixture
def logs(sagemaker: SageMaker) -> Iterator[CloudWatchLogs]:
    """Heartbeats of all users but the last."""
    with CloudWatchLogs(region=REGION) as running:
        domain = next(iter(sagemaker.domains))
        for number in range(6):
            running.heartbeat(f"{domain}/user-{number}/JupyterServer/default", at=datetime.now(timezone.utc))
        running.heartbeat(f"{domain}/lab/JupyterLab/default", at=datetime.now(timezone.utc))
        yield running
        assert running.violations == []


@pytest.fixture(scope="module")
def session() -> boto3.session.Session:
    """One boto3 session for all tests: reading the service models anew for each would take most of their time."""
    return boto3.session.Session()


@pytest.fixture
def account(sagemaker, logs, session, monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    """The account, with the handlers' environment as the template sets it."""
    for name, value in {**environment(sagemaker), **logs_environment(logs)}.items():
        monkeypatch.setenv(name, value)
    settings = {"AWS_DEFAULT_REGION": REGION, "BUCKET": BUCKET, "BATCH_SIZE": "3", "MAX_CONCURRENCY": "3"}
    for name, value in {**settings, "CALLS_PER_SECOND": "300"}.items():
        monkeypatch.setenv(name, value)
    store._client.cache_clear()
    with mock_aws(config={"stepfunctions": {"execute_state_machine": True}, "lambda": {"use_docker": False}}):
        monkeypatch.setattr("boto3.session.Session", lambda: session)
        monkeypatch.setattr("boto3.DEFAULT_SESSION", session)
        found = Account()
        monkeypatch.setenv("TOPIC_ARN", found.topic)
        monkeypatch.setattr(LambdaSimpleBackend, "invoke", lambda *given, **named: found.invoke(*given, **named))
        yield found
    store._client.cache_clear()


def test_the_state_machine_checks_every_app_once_and_tells_for_whom_it_does_not_run(account):
    """From the list over batches side by side to one message that names the one who is missing."""
    ended = account.run()
    report = account.report()
    (message,) = account.published()

    assert ended["status"] == "SUCCEEDED", ended
    assert json.loads(ended["output"])["published"] is True
    assert len(report["findings"]) == 8
    assert [name for name, _ in account.invocations].count("CheckFunction") == 3
    assert report["counts"]["running"] == 7
    assert "user-6" in message
    assert "user-1" not in message
    assert f"s3://{BUCKET}/runs/run-1/report.json" in message


def test_a_worker_that_fails_loses_nobody(account):
    """Its apps are reported as unreachable; the others are checked."""
    account.broken.add(1)

    ended = account.run()
    report = account.report()

    assert ended["status"] == "SUCCEEDED", ended
    assert report["counts"]["unreachable"] == 3
    assert len(report["findings"]) == 8


def test_a_fleet_that_cannot_be_listed_is_published_and_fails_the_execution(account, sagemaker):
    """Nobody takes silence for health."""
    sagemaker.fail("ListDomains", Fault.ACCESS_DENIED)

    ended = account.run()
    (message,) = account.published()

    assert ended["status"] == "FAILED", ended
    assert "could not be listed" in message
    assert account.report()["exit_code"] == 3


def test_when_all_is_well_nothing_is_published_unless_wanted(account, sagemaker, logs, monkeypatch):
    """A daily message that says nothing is not read after a week."""
    domain = next(iter(sagemaker.domains))
    logs.heartbeat(f"{domain}/user-6/JupyterServer/default", at=datetime.now(timezone.utc))
    account.run()
    quiet = account.published()
    monkeypatch.setenv("ALWAYS_PUBLISH", "true")

    account.run()

    assert quiet == []
    assert "8 of 8" in account.published()[0]


def test_over_presigned_urls_each_worker_keeps_its_share_of_the_pace(account, sagemaker, monkeypatch):
    """The same machine with the other source."""
    monkeypatch.setenv("SOURCE", "presigned")
    with Studio(sagemaker):
        ended = account.run()

    assert ended["status"] == "SUCCEEDED", ended
    assert len(account.report()["findings"]) == 8
    assert sagemaker.count("CreatePresignedDomainUrl") == 8


def left_to_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log is too large for one search; and a worker may make a hundred calls a second, at least."""
    monkeypatch.setattr(handlers, "LONGEST_SEARCH_SECONDS", 0)
    monkeypatch.setattr(budget, "LEAST_RATE", 100)


def test_a_log_too_large_for_one_search_is_shared_out_among_the_workers(account, sagemaker, logs, monkeypatch):
    """Each searches the streams of its own batch, and the report is the same as with one search."""
    account.run()
    before, searches = account.report(), logs.count()
    left_to_the_workers(monkeypatch)

    ended = account.run()
    after = account.report()

    assert ended["status"] == "SUCCEEDED", ended
    assert [(each["user_profile"], each["state"]) for each in after["findings"]] == [
        (each["user_profile"], each["state"]) for each in before["findings"]
    ]
    assert after["problems"] == []
    prefixes = sorted(call.parameters["logStreamNamePrefix"] for call in logs.calls[searches:])
    domain = next(iter(sagemaker.domains))
    users = [f"{domain}/user-{number}/JupyterServer/default" for number in range(7)]
    assert prefixes == sorted([*users, f"{domain}/lab/JupyterLab/default"])


@pytest.mark.parametrize("source", ["logs", "presigned"])
def test_a_worker_whose_time_is_over_ends_well_and_says_whom_it_has_not_asked(account, sagemaker, monkeypatch, source):
    """Neither ended by Lambda and tried again, nor a word about anybody that is not known."""
    monkeypatch.setenv("SOURCE", source)
    left_to_the_workers(monkeypatch)
    account.seconds["CheckFunction"] = budget.SPARE_SECONDS

    with Studio(sagemaker):
        ended = account.run()
    report = account.report()

    assert ended["status"] == "SUCCEEDED", ended
    assert [name for name, _ in account.invocations].count("CheckFunction") == 3
    assert report["counts"]["unreachable"] == len(report["findings"]) == 8
    words = {"logs": "could not be searched to its end in time", "presigned": "no time left"}[source]
    assert all(words in each["reason"] for each in report["findings"])
    assert sum(words in each for each in report["problems"]) == (source == "logs")
    assert "user-1" in account.published()[0]
    assert sagemaker.count("CreatePresignedDomainUrl") == 0


def test_a_list_function_whose_time_is_over_fails_in_words(account):
    """A third of a list is no list."""
    account.seconds["ListFunction"] = budget.SPARE_SECONDS

    ended = account.run()

    assert ended["status"] == "FAILED", ended
    assert "could not be listed: there was no time left for ListDomains" in account.published()[0]


def test_a_long_message_is_cut_and_linked(account, monkeypatch):
    """SNS takes 256 KB."""
    monkeypatch.setattr(store, "LONGEST_MESSAGE", 900)
    account.broken |= {0, 1, 2}
    monkeypatch.setenv("ALWAYS_PUBLISH", "true")

    account.run()
    (message,) = account.published()

    assert "more lines" in message
    assert len(message.encode()) < 1000
    assert message.endswith("report.json")


def test_a_refusal_of_sns_fails_with_action_and_topic(account, monkeypatch):
    """The execution shows it."""
    monkeypatch.setenv("TOPIC_ARN", "arn:aws:sns:eu-west-1:123456789012:no-such-topic")
    fleet_lambda.list_handler({"run": "run"}, None)

    with pytest.raises(CallError, match=r"sns:Publish .*no-such-topic|sns:Publish was refused"):
        fleet_lambda.report_handler({"run": "run"}, None)


# -- permissions -----------------------------------------------------------------------------------------


def policy_of(role: str, source: str, domains: str = "") -> dict[str, Any]:
    """A role's policy with CloudFormation's functions resolved, for one of the two sources and these domains."""
    values = {
        "Results": BUCKET, "Results.Arn": f"arn:aws:s3:::{BUCKET}", "Topic": "arn:aws:sns:eu-west-1:1:fleet",
        "AWS::Partition": "aws", "AWS::Region": REGION, "AWS::AccountId": "123456789012", "Domains": domains,
    }  # fmt: skip
    conditions = {"IsLogs": source == "logs", "IsPresigned": source == "presigned", "IsEveryDomain": not domains}

    def substituted(text: str, more: Mapping[str, str]) -> str:
        for name, value in {**values, **more}.items():
            text = text.replace(f"${{{name}}}", value)
        return text

    def resolved(found: Any) -> Any:
        if isinstance(found, list):
            return [each for each in map(resolved, found) if each is not None]
        if not isinstance(found, dict):
            return found
        if "Fn::If" in found:
            condition, yes, no = found["Fn::If"]
            return resolved(yes if conditions[condition] else no)
        if "Ref" in found:
            return None if found["Ref"] == "AWS::NoValue" else values.get(found["Ref"], found["Ref"])
        if "Fn::GetAtt" in found:
            return values.get(found["Fn::GetAtt"], found["Fn::GetAtt"])
        if "Fn::Split" in found:
            delimiter, text = found["Fn::Split"]
            return resolved(text).split(delimiter)
        if "Fn::Select" in found:
            index, each = found["Fn::Select"]
            return resolved(each)[index]
        if "Fn::Sub" in found:
            text, more = found["Fn::Sub"] if isinstance(found["Fn::Sub"], list) else (found["Fn::Sub"], {})
            return substituted(text, resolved(more))
        return {name: resolved(value) for name, value in found.items()}

    (policy,) = RESOURCES[role]["Properties"]["Policies"]
    document: dict[str, Any] = resolved(policy["PolicyDocument"])
    return document


@pytest.mark.parametrize("source", ["logs", "presigned"])
def test_each_function_may_do_what_it_does_and_little_else(account, sagemaker, monkeypatch, source):
    """The calls of a real run, with a log that is left to the workers, against the roles in the template."""
    monkeypatch.setenv("SOURCE", source)
    left_to_the_workers(monkeypatch)
    called: dict[str, set[str]] = {name: set() for name in FUNCTIONS}
    with Studio(sagemaker):
        with _recording(called["ListFunction"]):
            fleet_lambda.list_handler({"run": "run"}, None)
        for batch in store.Store().get("runs/run/batches.json"):
            with _recording(called["CheckFunction"]):
                fleet_lambda.check_handler(batch, None)
        with _recording(called["ReportFunction"]):
            fleet_lambda.report_handler({"run": "run"}, None)

    for name, role in {
        "ListFunction": "ListRole",
        "CheckFunction": "CheckRole",
        "ReportFunction": "ReportRole",
    }.items():
        actions = {
            action
            for each in policy_of(role, source)["Statement"]
            for action in ([each["Action"]] if isinstance(each["Action"], str) else each["Action"])
            if not action.startswith(("logs:CreateLogStream", "logs:PutLogEvents"))
        }
        renamed = {"s3:ListObjectsV2": "s3:ListBucket"}
        assert {renamed.get(each, each) for each in called[name]} <= actions, name
        assert not any("*" in action for action in actions)


class _recording:
    """Notes the IAM actions of all calls that boto3 makes meanwhile."""

    def __init__(self, seen: set[str]) -> None:
        self.seen = seen

    def __enter__(self) -> None:
        from botocore.client import BaseClient

        self.original, seen = BaseClient._make_api_call, self.seen

        def call(client: Any, operation: str, parameters: Any) -> Any:
            seen.add(f"{client.meta.service_model.service_name}:{operation}")
            return self.original(client, operation, parameters)

        BaseClient._make_api_call = call

    def __exit__(self, *_: object) -> None:
        from botocore.client import BaseClient

        BaseClient._make_api_call = self.original


def test_no_role_allows_what_it_should_not():
    """Neighbours are denied: other buckets, other topics, deleting anything."""
    for role in ("ListRole", "CheckRole", "ReportRole"):
        for source in ("logs", "presigned"):
            policy = policy_of(role, source)
            assert not allows(policy, "s3:PutObject", "arn:aws:s3:::another/runs/x")
            assert not allows(policy, "s3:GetObject", f"arn:aws:s3:::{BUCKET}/other")
            assert not allows(policy, "sagemaker:DeleteApp", "arn:aws:sagemaker:eu-west-1:123456789012:app/d/u/k/n")
            assert not allows(policy, "sns:Publish", "arn:aws:sns:eu-west-1:1:another")
    assert not allows(
        policy_of("CheckRole", "logs"),
        "sagemaker:CreatePresignedDomainUrl",
        "arn:aws:sagemaker:eu-west-1:123456789012:user-profile/d/u",
    )


@pytest.mark.parametrize("domains", ["d-one", "d-one,d-two", ",".join(["d-one", *(f"d-{each}" for each in range(9))])])
def test_domains_narrows_what_the_presigned_source_may_open(domains):
    """Nobody's server in a domain that is not to be checked."""
    policy = policy_of("CheckRole", "presigned", domains)
    every = policy_of("CheckRole", "presigned")

    def opens(found: Any, domain: str) -> bool:
        profile = f"arn:aws:sagemaker:{REGION}:123456789012:user-profile/{domain}/alice"
        return allows(found, "sagemaker:CreatePresignedDomainUrl", profile)

    assert all(opens(policy, domain) for domain in domains.split(","))
    assert not opens(policy, "d-another")
    assert not opens(policy, "d-one2")
    assert opens(every, "d-another")


def test_domains_takes_as_many_as_the_role_has_room_for_and_no_spaces():
    """One more would be left out of the policy without a word."""
    pattern = yaml.load(TEMPLATE.read_text(), Loader)["Parameters"]["Domains"]["AllowedPattern"]
    ten = ",".join(f"d-{number}" for number in range(10))

    assert all(re.fullmatch(pattern, each) for each in ("", "d-a", "d-a,d-b", ten))
    assert not any(re.fullmatch(pattern, each) for each in (f"{ten},d-x", "d-a, d-b", "d-a,", "*"))


def test_a_role_can_be_assumed_only_for_this_account():
    """The service may be anybody's, and must not be a deputy for them."""
    roles = {name: each for name, each in RESOURCES.items() if each["Type"] == "AWS::IAM::Role"}

    trusted = [each["Properties"]["AssumeRolePolicyDocument"]["Statement"] for each in roles.values()]

    assert len(trusted) == 5
    for (statement,) in trusted:
        assert statement["Condition"] == {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}


def test_no_action_in_the_template_has_a_wildcard():
    """Neither of a role nor of a bucket's policy."""
    found: list[Any] = []

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            found.extend(node[key] for key in ("Action", "NotAction") if key in node)
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    walk(RESOURCES)
    assert len(found) > 10
    assert not any("*" in action for each in found for action in ([each] if isinstance(each, str) else each))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_template_names_a_handler_that_is_there(name):
    """AWS imports it by this path from our wheel; a room that was moved must not lose its door."""
    module, _, handler = RESOURCES[name]["Properties"]["Handler"].rpartition(".")

    assert getattr(importlib.import_module(module), handler) is FUNCTIONS[name]


def test_every_parameter_reaches_the_functions_under_a_name_that_they_read():
    """A setting that nobody reads is a promise that nobody keeps."""
    source = "".join(Path(each.__file__).read_text() for each in (budget, handlers, store))
    for name in FUNCTIONS:
        for variable in RESOURCES[name]["Properties"]["Environment"]["Variables"]:
            assert f'"{variable}"' in source, variable


@pytest.mark.parametrize(("planned", "wrong"), [("true", 0), ("false", 8)])
def test_a_dry_run_that_the_template_says_is_planned_is_no_fault(account, sagemaker, logs, monkeypatch, planned, wrong):
    """And one that nobody planned is, for everybody."""
    monkeypatch.setenv("DRY_RUN_PLANNED", planned)
    for app in sagemaker.apps.values():
        logs.heartbeat(f"{app.domain}/{app.owner}/{app.app_type}/default", dry_run=True)

    account.run()

    assert account.report()["counts"]["wrong settings"] == wrong


def test_whom_a_missing_permission_keeps_billed_stands_first_in_the_mail_and_in_its_subject(account, sagemaker, logs):
    """Before everything else, for one grant puts it right; the exit code is one of its own."""
    (domain,) = sagemaker.domains
    codes = (ErrorCode.PERMISSION_MISSING,)
    logs.heartbeat(f"{domain}/user-3/JupyterServer/default", errors="sagemaker:DeleteApp is missing", codes=codes)

    ended = account.run()

    sent = sns_backends[DEFAULT_ACCOUNT_ID][REGION].topics[account.topic].sent_notifications
    assert json.loads(ended["output"])["exit_code"] == account.report()["exit_code"] == 4
    assert sent[0][2] == "culling_manager: 1 billed for want of a permission; 2 of 8 need care"
    assert (
        account.published()[0]
        .splitlines()[1]
        .startswith(f"{domain}/user-3 (JupyterServer): stays billed: permission missing. ")
    )


def test_a_map_that_fails_as_a_whole_is_reported_and_fails_the_execution(account, monkeypatch):
    """Say the items cannot be read: everybody is reported as not checked, and nobody takes silence for health."""
    listed = FUNCTIONS["ListFunction"]

    def list_and_lose(event, context):
        answer = listed(event, context)
        return {**answer, "key": "runs/no-such-key.json"}

    monkeypatch.setitem(FUNCTIONS, "ListFunction", list_and_lose)

    ended = account.run()
    report = account.report()

    assert ended["status"] == "FAILED", ended
    assert report["counts"]["unreachable"] == 8
    assert any("Not all could be checked" in each for each in report["problems"])
    assert len(account.published()) == 1


def test_an_account_without_users_is_reported_without_a_map(account, sagemaker):
    """There is nothing to share out."""
    for things in (sagemaker.apps, sagemaker.spaces, sagemaker.user_profiles):
        things.clear()

    ended = account.run()

    assert ended["status"] == "SUCCEEDED", ended
    assert [name for name, _ in account.invocations] == ["ListFunction", "ReportFunction"]


def test_settings_that_leave_the_workers_no_time_are_refused_in_words(account, monkeypatch):
    """Lambda would end each worker before its batch is done, and everybody would look unreachable."""
    for name, value in {"SOURCE": "presigned", "BATCH_SIZE": "500", "MAX_CONCURRENCY": "100"}.items():
        monkeypatch.setenv(name, value)
    options = budget.options_from({"SOURCE": "presigned", "CALLS_PER_SECOND": "8"})

    with pytest.raises(SettingError, match="BatchSize"):
        budget.rates_of_each(options, 100, 500)
    by_logs = budget.options_from({"SOURCE": "logs", "CALLS_PER_SECOND": "8"})
    assert budget.rates_of_each(by_logs, 1000, 50)["rate"] == budget.LEAST_RATE
    assert budget.rates_of_each(options, 2, 50) == {"rate": 4, "logs_rate": 2.5}


# -- savings ---------------------------------------------------------------------------------------------


@pytest.fixture
def counting(account, logs, sagemaker, monkeypatch: pytest.MonkeyPatch) -> str:
    """The account with savings switched on, and a stop of yesterday in its log; gives that day."""
    monkeypatch.setenv("SAVINGS", "true")
    monkeypatch.setattr(insights, "POLL_SECONDS", (0.01, 0.05))
    midnight = datetime.now(timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)
    yesterday = midnight - timedelta(days=1)
    if datetime.now(timezone.utc) - midnight < timedelta(hours=1):
        yesterday -= timedelta(days=1)
    domain = next(iter(sagemaker.domains))
    for event, hour, run in (("started", 8, "r1"), ("accepted", 12, "r1"), ("started", 20, "r2")):
        given = {"app_type": "JupyterLab", "app": "default", "instance_type": "ml.t3.medium"}
        line = AppLine(event=event, at=yesterday + timedelta(hours=hour), run=run, **given)
        logs.put(f"{domain}/lab/JupyterLab/default", app_line(line), line.at)
    return yesterday.date().isoformat()


def stored(key: str) -> Any:
    """What is in the bucket."""
    return json.loads(boto3.client("s3").get_object(Bucket=BUCKET, Key=key)["Body"].read())


def test_the_daily_check_stores_what_yesterday_gave_back(account, counting, capsys, tmp_path):
    """A document that the report reads, and one line of metrics."""
    ended = account.run()

    assert ended["status"] == "SUCCEEDED", ended
    (line,) = [each for each in capsys.readouterr().out.splitlines() if each.startswith('{"_aws"')]
    told = json.loads(line)
    assert (told["GivenBackAtMostHours"], told["Stops"], told["FalseStops"]) == (8.0, 1, 0)
    (directive,) = told["_aws"]["CloudWatchMetrics"]
    assert {each["Name"] for each in directive["Metrics"]} <= set(told)
    (tmp_path / f"{counting}.json").write_text(json.dumps(stored(f"days/{counting}.json")))
    (tmp_path / "account.json").write_text(json.dumps(stored("days/account.json")))
    begin = datetime.fromisoformat(counting)
    window = ["--from", counting, "--to", (begin + timedelta(days=1)).date().isoformat()]
    assert savings.main(["--json", "--by", "owner", *window, "--days", str(tmp_path)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["given_back"]["hours"]["at_most"] == 8.0
    assert list(found["by_owner"]) == ["user-0"]


def test_a_day_that_is_stored_is_not_searched_again(account, counting, logs):
    """And those that were missed are made up for."""
    account.run()
    before = logs.count("StartQuery")

    account.run()

    assert before == 2 * daily.MADE_UP
    assert logs.count("StartQuery") == before


def test_savings_that_cannot_be_counted_are_a_problem_that_is_told(account, counting, logs):
    """The check itself is reported all the same, and no part of a day is stored."""
    logs.query_ends = "Failed"

    ended = account.run()
    report = account.report()

    assert ended["status"] == "SUCCEEDED", ended
    assert len(report["findings"]) == 8
    (problem,) = report["problems"]
    assert problem.startswith("The savings of yesterday could not be counted: the query of log-group:")
    assert problem in account.published()[0]
    with pytest.raises(boto3.client("s3").exceptions.NoSuchKey):
        stored(f"days/{counting}.json")


def test_savings_need_what_the_template_allows(account, counting, monkeypatch):
    """The calls of a real run against the report's role."""
    fleet_lambda.list_handler({"run": "run"}, None)
    for batch in store.Store().get("runs/run/batches.json"):
        fleet_lambda.check_handler(batch, None)
    called: set[str] = set()
    with _recording(called):
        fleet_lambda.report_handler({"run": "run"}, None)

    more = RESOURCES["ReportSavings"]["Properties"]["PolicyDocument"]["Statement"]
    actions = {
        action for each in more for action in ([each["Action"]] if isinstance(each["Action"], str) else each["Action"])
    }
    known = {"s3:ListObjectsV2", "sns:Publish", "s3:GetObject", "s3:PutObject"}
    assert called - known == {each for each in actions if not each.startswith("s3:")}


def test_the_dashboard_shows_metrics_that_there_are():
    """A name that nobody publishes would be an empty picture for ever."""
    body = json.loads(
        RESOURCES["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"].replace("${AWS::Region}", REGION)
    )
    shown = {metric[1] for each in body["widgets"] for metric in each["properties"]["metrics"]}
    names = {metric[0] for each in body["widgets"] for metric in each["properties"]["metrics"]}
    published = daily.totals(_Nothing(), Account_(), datetime.now(timezone.utc).date())

    assert shown <= set(published)
    assert names == {daily.NAMESPACE}


class _Nothing:
    """A bucket with nothing in it."""

    def keys(self, prefix: str) -> set[str]:
        return set()
