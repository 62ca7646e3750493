"""`config/iam/`: each policy allows what its app manager calls, on what it calls it, and nothing else.

The evaluator here knows as much of IAM as these policies use, and refuses what it does not know.
"""

from __future__ import annotations

import ast
import functools
import inspect
import itertools
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore import xform_name
from botocore.model import ServiceModel
from traitlets.config import LoggingConfigurable

from culling_manager import apps
from culling_manager.apps import KernelGatewayApps, NotebookInstance, SpaceApp, sagemaker
from culling_manager.apps.aws import action as action_of
from culling_manager.apps.metadata import ResourceMetadata, parsed

ROOT = Path(__file__).parents[1]
IAM = ROOT / "config" / "iam"
ROOMS = sorted((ROOT / "culling_manager" / "apps").glob("*.py"))
README = (IAM / "README.md").read_text()

MANAGERS = {"space-app": SpaceApp, "kernel-gateway-apps": KernelGatewayApps, "notebook-instance": NotebookInstance}
#: Action -> type of the resource on which it is authorized (AWS Service Authorization Reference); None: it has none.
RESOURCE_TYPES = {
    "sagemaker:DeleteApp": "app",
    "sagemaker:DescribeApp": "app",
    "sagemaker:DescribeNotebookInstance": "notebook-instance",
    "sagemaker:ListApps": None,
    "sagemaker:StopNotebookInstance": "notebook-instance",
}
#: Policy -> app types that it may delete, and names that their apps have (None: any).
APP_TYPES = {
    "space-app": ({"jupyterlab", "codeeditor"}, {"default"}),
    "kernel-gateway-apps": ({"kernelgateway"}, None),
    "notebook-instance": (set(), None),
}

PREFIX = "arn:aws:sagemaker:REGION:ACCOUNT_ID:"
REGION, ACCOUNT, DOMAIN = "eu-west-1", "123456789012", "d-domain000001"
#: What is ours in an ARN -> what is not.
ELSEWHERE = {
    "arn:aws:": "arn:aws-cn:",
    f":{REGION}:": ":us-east-1:",
    f":{ACCOUNT}:": ":210987654321:",
    f"app/{DOMAIN}/": "app/d-domain000002/",
    "notebook-instance/team-": "notebook-instance/steam-",
}
PLACEHOLDERS = {"REGION": REGION, "ACCOUNT_ID": ACCOUNT, "DOMAIN_ID": DOMAIN, "NAME_PATTERN": "team-*"}

Policy = dict[str, Any]
Call = tuple[str, str]


# -- an evaluator of policies ------------------------------------------------------------------------


def listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def fits(value: str, pattern: str, context: Mapping[str, str]) -> bool:
    """Whether an ARN fits a pattern. Wildcards stay within a segment; a variable that nobody set fits nothing."""
    if pattern == "*":
        return True
    pieces = re.split(r"\$\{([^}]*)\}", pattern)
    if not set(pieces[1::2]) <= set(context):
        return False
    pieces[::2] = [re.escape(piece).replace(r"\*", "[^:]*").replace(r"\?", "[^:]") for piece in pieces[::2]]
    pieces[1::2] = [re.escape(context[name]) for name in pieces[1::2]]
    return re.fullmatch("".join(pieces), value) is not None


def holds(operator: str, key: str, wanted: str | list[str], context: Mapping[str, str]) -> bool:
    """Whether one line of a Condition holds; NotImplementedError for an operator that is not known here."""
    if operator == "Null":
        return (key not in context) is (wanted == "true")
    if operator == "StringEquals":
        return context.get(key) in listed(wanted)
    if operator == "ArnLike":
        return key in context and any(fits(context[key], pattern, context) for pattern in listed(wanted))
    raise NotImplementedError(operator)


def applies(statement: Mapping[str, Any], action: str, resource: str, context: Mapping[str, str]) -> bool:
    """Whether a statement speaks of this; KeyError for one that uses NotAction or NotResource."""
    return (
        action.lower() in [named.lower() for named in listed(statement["Action"])]
        and any(fits(resource, pattern, context) for pattern in listed(statement["Resource"]))
        and all(
            holds(operator, key, wanted, context)
            for operator, lines in statement.get("Condition", {}).items()
            for key, wanted in lines.items()
        )
    )


def allows(policy: Policy, action: str, resource: str, context: Mapping[str, str] | None = None) -> bool:
    """Whether IAM would let this pass: something allows it and nothing denies it."""
    effects = {each["Effect"] for each in policy["Statement"] if applies(each, action, resource, context or {})}
    return effects == {"Allow"}


def statement(resource: str, effect: str = "Allow", **condition: dict[str, str]) -> dict[str, Any]:
    return {"Effect": effect, "Action": "sagemaker:DeleteApp", "Resource": resource, "Condition": condition}


ARN = "arn:aws:sagemaker:eu-west-1:1:app/d/alice/jupyterlab/default"


@pytest.mark.parametrize(
    ("statements", "context", "expected"),
    [
        pytest.param([], {}, False, id="nothing said"),
        pytest.param([statement(ARN)], {}, True, id="said"),
        pytest.param([statement(ARN), statement("*", "Deny")], {}, False, id="a denial wins"),
        pytest.param([statement(ARN.replace("alice", "*"))], {}, True, id="asterisk"),
        pytest.param([statement(ARN.replace("alice", "al?ce"))], {}, True, id="question mark"),
        pytest.param([statement("arn:aws:sagemaker:*app/d/alice/jupyterlab/default")], {}, False, id="over a colon"),
        pytest.param([statement(ARN.replace("jupyterlab", "JupyterLab"))], {}, False, id="upper case"),
        pytest.param([statement(ARN.replace("alice", "${a:b}"))], {"a:b": "alice"}, True, id="variable"),
        pytest.param([statement(ARN.replace("alice", "${a:b}"))], {"a:b": "*"}, False, id="a variable is no pattern"),
        pytest.param([statement(ARN.replace("alice", "${a:b}"))], {}, False, id="variable that is not set"),
        pytest.param([statement(ARN, StringEquals={"a:b": "c"})], {"a:b": "c"}, True, id="equal"),
        pytest.param([statement(ARN, StringEquals={"a:b": "c"})], {"a:b": "d"}, False, id="not equal"),
        pytest.param([statement(ARN, StringEquals={"a:b": "c"})], {}, False, id="no key to be equal"),
        pytest.param([statement(ARN, ArnLike={"a:b": "arn:*"})], {"a:b": "arn:x"}, True, id="like"),
        pytest.param([statement(ARN, ArnLike={"a:b": "*"})], {}, False, id="no key to be like"),
        pytest.param([statement(ARN, Null={"a:b": "true"})], {}, True, id="null"),
        pytest.param([statement(ARN, Null={"a:b": "true"})], {"a:b": "c"}, False, id="not null"),
    ],
)
def test_the_evaluator_judges_as_iam_does(statements, context, expected):
    """What the other tests stand on: default and explicit denial, wildcards, variables, conditions."""
    assert allows({"Statement": statements}, "SageMaker:deleteapp", ARN, context) is expected


def test_the_evaluator_refuses_what_it_does_not_know():
    """A policy that uses more of IAM than this needs a better evaluator first."""
    with pytest.raises(NotImplementedError):
        allows({"Statement": [statement(ARN, IpAddress={"aws:SourceIp": "::"})]}, "sagemaker:DeleteApp", ARN)
    with pytest.raises(KeyError):
        allows({"Statement": [{"Effect": "Allow", "NotAction": "s3:*", "Resource": "*"}]}, "sagemaker:DeleteApp", ARN)


# -- the policies, the calls, and AWS's model ------------------------------------------------------------


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; ValueError when a key stands in it twice, of which IAM would refuse the policy."""
    if len(dict(pairs)) != len(pairs):
        raise ValueError(f"a key stands twice among {[key for key, _ in pairs]}")
    return dict(pairs)


def filled_in(text: str) -> str:
    """A text with every placeholder replaced, as an administrator does."""
    return functools.reduce(lambda done, each: done.replace(*each), PLACEHOLDERS.items(), text)


def raw(name: str) -> Policy:
    found: Policy = json.loads((IAM / f"{name}.json").read_text(), object_pairs_hook=once)
    return found


def policy(name: str) -> Policy:
    found: Policy = json.loads(filled_in(json.dumps(raw(name))))
    return found


def rows(found: Policy) -> list[Call]:
    """Every action with every resource pattern that it is allowed on."""
    return [
        (action, pattern)
        for each in found["Statement"]
        for action, pattern in itertools.product(each["Action"], each["Resource"])
    ]


@functools.cache
def model() -> ServiceModel:
    """SageMaker as botocore knows it."""
    return botocore.session.get_session().get_service_model("sagemaker")


def called_in(path: Path) -> set[str]:
    """The IAM actions of all calls that a room makes, by its source; the operation must stand there as a string."""
    names = {xform_name(name): f"sagemaker:{name}" for name in model().operation_names}
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    made = [node for node in calls if getattr(node.func, "attr", None) in ("call", "call_pages")]
    return {names[ast.literal_eval(node.args[0])] for node in made}


def room_of(manager: type) -> Path:
    return Path(inspect.getfile(manager))


def at(resource: str) -> str:
    """A resource where all tests play."""
    return f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:{resource}"


def app_file(app_type: str, **owner: str) -> ResourceMetadata:
    """What SageMaker's metadata file tells a server on an app."""
    arn = at(f"app/{DOMAIN}/{next(iter(owner.values()))}/{app_type}/default")
    found = {"AppType": app_type, "DomainId": DOMAIN, **owner, "ResourceArn": arn, "ResourceName": "default"}
    return parsed(found, "metadata.json")


def instance_file(name: str) -> ResourceMetadata:
    """What it tells a server on a notebook instance."""
    return parsed({"ResourceArn": at(f"notebook-instance/{name}"), "ResourceName": name}, "metadata.json")


PLACES = [
    pytest.param("space-app", app_file("JupyterLab", SpaceName="lab"), id="JupyterLab space"),
    pytest.param("space-app", app_file("CodeEditor", SpaceName="Lab-2"), id="Code Editor space"),
    pytest.param("kernel-gateway-apps", app_file("JupyterServer", UserProfileName="alice"), id="Classic"),
    pytest.param("kernel-gateway-apps", app_file("JupyterServer", SpaceName="shared"), id="Classic shared space"),
    pytest.param("notebook-instance", instance_file("team-1"), id="notebook instance"),
]


@pytest.fixture
def calls_from(monkeypatch: pytest.MonkeyPatch, run: Any) -> Callable[[str, ResourceMetadata], set[Call]]:
    """Have an app manager list, look again and delete; gives the actions and ARNs that it asked for."""
    made: set[Call] = set()

    def answer(self: Any, operation: str, arn: str, call: Any) -> Any:
        made.add((action_of("sagemaker", operation), arn))
        app = {"AppType": "KernelGateway", "AppName": "datascience-1-0-ml-t3-medium", "Status": "InService"}
        return [app] if operation.startswith("list_") else {"NotebookInstanceStatus": "InService"}

    monkeypatch.setattr(sagemaker.SageMakerAppManager, "_call", answer)
    monkeypatch.setattr(sagemaker, "_make_client", lambda region: object())

    async def use(manager: Any) -> None:
        for app in await manager.list_apps():
            await manager.delete_app(await manager.look_again(app))

    def calls(name: str, metadata: ResourceMetadata) -> set[Call]:
        manager = MANAGERS[name](metadata=metadata)
        manager.parent = LoggingConfigurable()
        manager.parent.idle_timeouts = {"ml.p*": 15}
        run(use(manager))
        return made

    return calls


# -- form ------------------------------------------------------------------------------------------------


def test_every_app_manager_that_calls_sagemaker_has_a_policy_and_no_other_has_one():
    """A new app manager, or a call from another room, needs one too."""
    managers = {getattr(apps, name) for name in apps.__all__}

    assert set(MANAGERS) == {path.stem for path in IAM.glob("*.json")}
    assert set(MANAGERS.values()) == {each for each in managers if issubclass(each, sagemaker.SageMakerAppManager)}
    assert {path for path in ROOMS if called_in(path)} == {room_of(each) for each in MANAGERS.values()}
    assert [path.stem for path in ROOMS if "import boto3" in path.read_text()] == ["aws"]
    assert [path.stem for path in ROOMS if "make_client(" in path.read_text()] == ["aws", "sagemaker"]


@pytest.mark.parametrize("name", MANAGERS)
def test_a_policy_has_the_form_that_iam_takes_and_says_what_each_statement_is_for(name):
    """Only the plain members: no NotAction, no NotResource, no principal."""
    found = raw(name)
    statements = found["Statement"]

    assert set(found) == {"Version", "Statement"}
    assert found["Version"] == "2012-10-17"
    assert {(frozenset(each), each["Effect"]) for each in statements} == {
        (frozenset({"Sid", "Effect", "Action", "Resource"}), "Allow")
    }
    assert all(re.fullmatch(r"[A-Z][A-Za-z0-9]{9,}", each["Sid"]) for each in statements)
    assert len({each["Sid"] for each in statements}) == len(statements)


@pytest.mark.parametrize("name", MANAGERS)
def test_every_action_is_an_operation_of_sagemaker_without_a_wildcard(name):
    """Spelled as botocore's model spells it."""
    assert {action.removeprefix("sagemaker:") for action, _ in rows(raw(name))} <= set(model().operation_names)


@pytest.mark.parametrize("name", MANAGERS)
def test_every_action_stands_on_resources_of_its_type_and_on_an_asterisk_only_if_it_has_none(name):
    """ListApps knows no resource; everything else is bound to region and account at least."""
    for action, pattern in rows(raw(name)):
        kind = RESOURCE_TYPES[action]
        assert pattern == "*" if kind is None else pattern.startswith(f"{PREFIX}{kind}/")
        assert pattern not in (f"{PREFIX}{kind}/", f"{PREFIX}{kind}/*")


# -- enough ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MANAGERS)
def test_the_actions_of_a_policy_are_the_calls_in_the_source_of_its_app_manager(name):
    """A new call without a permission fails here, and so does a permission that nothing needs any more."""
    assert {action for action, _ in rows(raw(name))} == called_in(room_of(MANAGERS[name]))


@pytest.mark.parametrize(("name", "metadata"), PLACES)
def test_an_app_manager_may_do_all_that_it_does_from_listing_to_deleting(name, metadata, calls_from):
    """On the very ARNs that it names when a permission is missing."""
    calls = calls_from(name, metadata)

    assert {action for action, _ in calls} == called_in(room_of(MANAGERS[name]))
    assert [call for call in calls if not allows(policy(name), *call)] == []


# -- and no more -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "metadata"), PLACES)
def test_nothing_else_that_sagemaker_can_do_is_allowed_there(name, metadata, calls_from):
    """Not CreateApp, not DeleteSpace, not StartNotebookInstance, nor any other operation in botocore's model."""
    calls = calls_from(name, metadata)
    operations = [f"sagemaker:{operation}" for operation in model().operation_names]

    for arn in {arn for _, arn in calls} - {"*"}:
        allowed = {action for action in operations if allows(policy(name), action, arn)}
        assert allowed == {action for action, used in calls if used in (arn, "*")}


@pytest.mark.parametrize(("name", "metadata"), PLACES)
def test_the_same_thing_elsewhere_is_out_of_reach(name, metadata, calls_from):
    """Another domain, account, region or partition, or an instance that the pattern does not name."""
    calls = {(action, arn) for action, arn in calls_from(name, metadata) if arn != "*"}
    elsewhere = [
        (action, arn.replace(ours, theirs))
        for (action, arn), (ours, theirs) in itertools.product(calls, ELSEWHERE.items())
        if ours in arn
    ]

    assert len(elsewhere) == 4 * len(calls)
    assert [call for call in elsewhere if allows(policy(name), *call)] == []


@pytest.mark.parametrize("name", MANAGERS)
def test_apps_of_other_types_are_out_of_reach_whatever_they_or_their_owners_are_called(name):
    """JupyterServer, Canvas and RStudio stay, also for a user profile called 'kernelgateway'."""
    types = {each.lower() for each in model().shape_for("AppType").enum}
    wanted, names = APP_TYPES[name]
    words = [*types, "alice", "default"]

    assert wanted <= types
    for owner, app_type, app in itertools.product(words, types, words):
        allowed = allows(policy(name), "sagemaker:DeleteApp", at(f"app/{DOMAIN}/{owner}/{app_type}/{app}"))
        assert allowed is (app_type in wanted and (names is None or app in names)), (owner, app_type, app)


@pytest.mark.parametrize(("name", "metadata"), PLACES)
def test_a_policy_whose_placeholders_were_forgotten_changes_nothing(name, metadata, calls_from):
    """It fails on the safe side: listing may work, deleting and stopping do not."""
    allowed = {action for action, arn in calls_from(name, metadata) if allows(raw(name), action, arn)}

    assert allowed <= {"sagemaker:ListApps"}


# -- what the README says ------------------------------------------------------------------------------------


def block(language: str) -> str:
    """The README's first code block in a language."""
    found = re.search(rf"```{language}\n(.*?)```", README, re.DOTALL)
    assert found is not None
    return found[1]


def test_the_table_has_every_action_with_every_resource_and_no_other():
    """File, app manager, action and resource, each in its column, and a reason."""
    cells = [[each.strip() for each in line.split("|")[1:-1]] for line in README.splitlines() if line.startswith("| `")]
    told = {
        (*(cell.strip("`") for cell in row[:3]), resource)
        for row in cells
        for resource in re.findall("`(.+?)`", row[3])
    }

    assert told == {
        (f"{name}.json", manager.__name__, action, pattern.removeprefix(PREFIX))
        for name, manager in MANAGERS.items()
        for action, pattern in rows(raw(name))
    }
    assert all("Without it" in row[4] for row in cells)


@pytest.mark.parametrize("name", MANAGERS)
def test_the_sed_line_fills_in_every_placeholder(name, tmp_path):
    """Somebody copies it; no word in capitals is left."""
    shutil.copytree(IAM, tmp_path, dirs_exist_ok=True)

    subprocess.run(["bash", "-ec", block("bash").replace("space-app.json", f"{name}.json")], cwd=tmp_path, check=True)

    made = (tmp_path / "policy.json").read_text()
    assert [each["Sid"] for each in json.loads(made)["Statement"]] == [each["Sid"] for each in raw(name)["Statement"]]
    assert not re.search("[A-Z]{2}", made)


OURS, THEIRS = (at(f"user-profile/{DOMAIN}/{profile}") for profile in ("alice", "bob"))
OWNER, SHARING, WHO = "sagemaker:OwnerUserProfileArn", "sagemaker:SpaceSharingType", "sagemaker:UserProfileName"


@pytest.mark.parametrize(
    ("context", "by_variable", "by_name"),
    [
        pytest.param({OWNER: OURS, SHARING: "Private", WHO: "alice"}, True, True, id="own space"),
        pytest.param({OWNER: OURS, SHARING: "Private"}, False, True, id="a session that does not say who"),
        pytest.param({OWNER: THEIRS, SHARING: "Private", WHO: "alice"}, False, False, id="somebody else's space"),
        pytest.param({OWNER: THEIRS, SHARING: "Private", WHO: "*"}, False, False, id="a user called asterisk"),
        pytest.param({OWNER: OURS, SHARING: "Shared", WHO: "alice"}, False, False, id="shared space"),
        pytest.param({SHARING: "Private", WHO: "alice"}, False, False, id="a space without an owner"),
        pytest.param({WHO: "alice"}, False, False, id="an app outside spaces"),
    ],
)
@pytest.mark.parametrize("app_type", ["jupyterlab", "codeeditor"])
def test_the_owner_condition_lets_users_delete_apps_in_their_own_private_spaces_only(
    app_type, context, by_variable, by_name
):
    """With the variable as long as the session says who calls, with a name in its place always."""
    condition = filled_in(block("json"))
    app = ("sagemaker:DeleteApp", at(f"app/{DOMAIN}/lab/{app_type}/default"), context)

    for text, expected in [
        (condition, by_variable),
        (condition.replace("${sagemaker:UserProfileName}", "alice"), by_name),
    ]:
        narrowed = {"Statement": [each | json.loads(text) for each in policy("space-app")["Statement"]]}
        assert allows(narrowed, *app) is expected
        assert allows(policy("space-app"), *app)


def test_the_front_page_names_every_permission():
    """Who reads only the main README knows what is asked for."""
    front = (ROOT / "README.md").read_text()

    assert {action for name in MANAGERS for action, _ in rows(raw(name)) if action not in front} == set()
