"""The emulator as boto3 sees it: what it refuses, what it keeps, how it lists, and how it fails on command."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest
from botocore import xform_name
from botocore.config import Config
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    EndpointConnectionError,
    NoRegionError,
    ReadTimeoutError,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import patience
from tests.doubles import FakeClock
from tests.emulator import ALICE, DOMAIN, Fault, SageMaker, environment
from tests.emulator.faults import ERRORS, Bucket
from tests.emulator.operations import OPERATIONS
from tests.emulator.sagemaker import law
from tests.emulator.shapes import compiled, service_model

DAY = 24 * 3600.0
APP = {"DomainId": DOMAIN, "UserProfileName": ALICE, "AppType": "KernelGateway", "AppName": "datascience"}
SPACE_APP = {"DomainId": DOMAIN, "SpaceName": "lab", "AppType": "JupyterLab", "AppName": "default"}
ARN = f"arn:aws:sagemaker:eu-west-1:123456789012:app/{DOMAIN}/alice/kernelgateway/datascience"
SIGNED = {
    "Content-Type": "application/x-amz-json-1.1",
    "X-Amz-Date": "20260601T120000Z",
    "Authorization": (
        "AWS4-HMAC-SHA256 Credential=AKIDEMULATOR/20260601/eu-west-1/sagemaker/aws4_request, "
        f"SignedHeaders=content-type;host;x-amz-date;x-amz-target, Signature={'0' * 64}"
    ),
}


@pytest.fixture
def clock():
    """The account's clock, at noon."""
    return FakeClock()


@pytest.fixture
def sagemaker(clock):
    """An emulator; a test that provokes violations takes them off with `refusals`."""
    with SageMaker(clock=clock.now) as emulator:
        yield emulator
        assert not emulator.violations


@pytest.fixture(scope="session")
def session():
    """One botocore session for all clients: it reads the service model once."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment(SageMaker()).items():
            patch.setenv(name, value)
        shared = boto3.session.Session()
        shared.get_credentials()
        return shared


@pytest.fixture
def connect(session, sagemaker, monkeypatch):
    """Make a client that tries once, with other settings of botocore's Config if they are given."""

    def make(region="eu-west-1", **settings):
        for name, value in environment(sagemaker).items():
            monkeypatch.setenv(name, value)
        config = Config(**{"retries": {"total_max_attempts": 1}, **settings})
        return session.client("sagemaker", region_name=region, config=config)

    return make


@pytest.fixture
def client(connect):
    """A client that tries once."""
    return connect()


def call(client, operation, parameters):
    return getattr(client, xform_name(operation))(**parameters)


def error(client, operation, parameters=APP):
    """Code and message of the error that a call ends in."""
    with pytest.raises(ClientError) as caught:
        call(client, operation, parameters)
    return caught.value.response["Error"]["Code"], caught.value.response["Error"]["Message"]


def refusals(sagemaker):
    """The violations so far, taken off the record."""
    found = list(sagemaker.violations)
    sagemaker.violations.clear()
    return found


def post(sagemaker, operation, body, method="POST", **headers):
    """What a request gets that botocore would not send: status and error code. A header of None is left out."""
    connection = http.client.HTTPConnection(urlsplit(sagemaker.url).netloc, timeout=patience(5))
    sent = {**SIGNED, "X-Amz-Target": f"SageMaker.{operation}", **headers}
    data = body if isinstance(body, str) else json.dumps(body)
    connection.request(method, "/", data, {name: value for name, value in sent.items() if value is not None})
    response = connection.getresponse()
    answer = json.loads(response.read() or "{}")
    connection.close()
    return response.status, answer.get("__type")


def names(pages, key="Apps", name="AppName"):
    return [item[name] for page in pages for item in page[key]]


def wait_for_a_call(sagemaker):
    """Until one came in, ten seconds at most."""
    end = time.monotonic() + patience(10)
    while not sagemaker.count():
        assert time.monotonic() < end, "no call came in"
        time.sleep(0.005)


# Reaching it


def test_boto3_finds_it_by_the_environment_alone(client, sagemaker):
    """No endpoint in the code, no patch: one variable leads boto3 here."""
    assert client.meta.endpoint_url == sagemaker.url
    assert client.list_apps()["Apps"] == []


def test_the_environment_names_no_region(session, sagemaker, monkeypatch):
    """Code that does not take the region from somewhere fails as it would in production."""
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment(sagemaker).items():
        monkeypatch.setenv(name, value)

    with pytest.raises(NoRegionError):
        boto3.session.Session().client("sagemaker")


def test_every_operation_answers_lawfully(client, sagemaker):
    """The answers of a filled account pass the model's own checks, and have what the facts say."""
    sagemaker.add_app("default", "JupyterLab", space="lab", image="sagemaker-distribution-cpu", image_version=3)
    sagemaker.add_space("timed", app_type="CodeEditor", idle_timeout=60)
    sagemaker.add_notebook_instance("old")

    assert client.list_domains()["Domains"][0]["DomainId"] == DOMAIN
    assert client.describe_domain(DomainId=DOMAIN)["AuthMode"] == "IAM"
    assert client.list_user_profiles()["UserProfiles"][0]["UserProfileName"] == ALICE
    assert names([client.list_spaces()], "Spaces", "SpaceName") == ["lab", "timed"]
    described = client.describe_space(DomainId=DOMAIN, SpaceName="timed")
    assert described["OwnershipSettings"] == {"OwnerUserProfileName": ALICE}
    idle = described["SpaceSettings"]["CodeEditorAppSettings"]["AppLifecycleManagement"]
    assert idle == {"IdleSettings": {"IdleTimeoutInMinutes": 60}}
    assert client.describe_app(**SPACE_APP)["AppArn"].endswith(f":app/{DOMAIN}/lab/jupyterlab/default")
    assert client.describe_notebook_instance(NotebookInstanceName="old")["NotebookInstanceStatus"] == "InService"


def test_lifecycle_configurations_are_made_attached_and_deleted_lawfully(client, sagemaker):
    """A name is taken once, and what is attached is not deleted; an instance takes one while it is stopped."""
    studio, domain = {"StudioLifecycleConfigName": "a"}, {"DomainId": DOMAIN}
    content = {"StudioLifecycleConfigContent": "eA==", "StudioLifecycleConfigAppType": "JupyterLab"}
    sagemaker.add_domain()
    for name, status in (("off", "Stopped"), ("on", "InService")):
        sagemaker.add_notebook_instance(name, status=status)
    hook = {"NotebookInstanceLifecycleConfigName": "a"}

    arn = client.create_studio_lifecycle_config(**studio, **content)["StudioLifecycleConfigArn"]
    settings = {"JupyterLabAppSettings": {"LifecycleConfigArns": [arn]}}
    client.update_domain(**domain, DefaultUserSettings=settings)
    twice = error(client, "CreateStudioLifecycleConfig", studio | content)
    attached = error(client, "DeleteStudioLifecycleConfig", studio)
    described = client.describe_domain(**domain)["DefaultUserSettings"]
    client.update_domain(**domain, DefaultUserSettings={"JupyterLabAppSettings": {"LifecycleConfigArns": []}})
    seen = client.describe_studio_lifecycle_config(**studio)["StudioLifecycleConfigContent"]
    client.delete_studio_lifecycle_config(**studio)
    client.create_notebook_instance_lifecycle_config(**hook, OnStart=[{"Content": "eA=="}])
    client.update_notebook_instance(NotebookInstanceName="off", LifecycleConfigName="a")
    running = error(client, "UpdateNotebookInstance", {"NotebookInstanceName": "on", "LifecycleConfigName": "a"})

    assert (twice[0], attached[0], described, seen) == ("ResourceInUse", "ResourceInUse", settings, "eA==")
    assert error(client, "DescribeStudioLifecycleConfig", studio)[0] == "ResourceNotFound"
    assert error(client, "CreateNotebookInstanceLifecycleConfig", hook)[0] == "ValidationException"
    assert client.describe_notebook_instance_lifecycle_config(**hook)["OnStart"] == [{"Content": "eA=="}]
    instance = client.describe_notebook_instance(NotebookInstanceName="off")
    assert (instance["NotebookInstanceLifecycleConfigName"], running[0]) == ("a", "ValidationException")
    for operation in ("UpdateDomain", "DescribeNotebookInstanceLifecycleConfig", "UpdateNotebookInstance"):
        unknown = {"NotebookInstanceName": "x"} if operation.startswith("UpdateN") else {"DomainId": "d-other"}
        unknown = {"NotebookInstanceLifecycleConfigName": "x"} if operation.startswith("Describe") else unknown
        assert error(client, operation, unknown)[0] in ("ResourceNotFound", "ValidationException")


def test_an_app_shows_its_image_and_instance_type_in_lists_too(client, sagemaker):
    """Names become ARNs; what was not given does not appear."""
    sagemaker.add_app("datascience", image="datascience-1.0", image_version=2, alias="1.0.0")
    sagemaker.add_app("default", "JupyterServer")
    sagemaker.add_app("old", resource_spec=False)

    kernel, server, old = (app.get("ResourceSpec") for app in client.list_apps()["Apps"])

    assert kernel == {
        "SageMakerImageArn": "arn:aws:sagemaker:eu-west-1:123456789012:image/datascience-1.0",
        "SageMakerImageVersionArn": "arn:aws:sagemaker:eu-west-1:123456789012:image-version/datascience-1.0/2",
        "SageMakerImageVersionAlias": "1.0.0",
        "InstanceType": "ml.t3.medium",
    }
    assert server == {"InstanceType": "system"}
    assert old is None


def test_the_user_activity_of_an_app_is_only_its_health_check(client, sagemaker):
    """Code that takes it for activity sees an app that is never idle."""
    sagemaker.add_app("datascience")

    app = client.describe_app(**APP)

    assert app["LastUserActivityTimestamp"] == app["LastHealthCheckTimestamp"] == sagemaker.now()


# What it refuses


BAD_REQUESTS = {
    # id: (operation, body, words of the record)
    "an upper-case domain": ("ListApps", {"DomainIdEquals": "d-ABC"}, "DomainIdEquals: 'd-ABC' does not match"),
    "both owners as filters": ("ListApps", {"UserProfileNameEquals": "a", "SpaceNameEquals": "b"}, "only one of"),
    "both owners of an app": ("DeleteApp", {**APP, "SpaceName": "lab"}, "only one of SpaceName and UserProfileName"),
    "no owner of an app": ("DescribeApp", {**APP, "UserProfileName": None}, "UserProfileName: None is no string"),
    "a page of 101": ("ListApps", {"MaxResults": 101}, "MaxResults: 101 is outside of 1..100"),
    "a page of none": ("ListApps", {"MaxResults": 0}, "MaxResults: 0 is outside of 1..100"),
    "a page of true": ("ListApps", {"MaxResults": True}, "MaxResults: True is no integer"),
    "a number as text": ("ListApps", {"MaxResults": "10"}, "MaxResults: '10' is no integer"),
    "an unknown member": ("ListApps", {"Status": "InService"}, "Status: no such member"),
    "an unknown app type": ("DeleteApp", {**APP, "AppType": "kernelgateway"}, "'kernelgateway' is none of"),
    "an unknown sort key": ("ListApps", {"SortBy": "Name"}, "SortBy: 'Name' is none of CreationTime"),
    "a name that is too long": ("DeleteApp", {**APP, "AppName": "a" * 64}, "64 characters is outside of 0..63"),
    "a name with a line end": ("DeleteApp", {**APP, "AppName": "a\n"}, "AppName: 'a\\n' does not match"),
    "a name of Arabic digits": ("DescribeNotebookInstance", {"NotebookInstanceName": "٣"}, "does not match"),
    "a missing member": ("DescribeSpace", {"DomainId": DOMAIN}, "SpaceName: is required and missing"),
    "a tag without value": ("CreateApp", {**APP, "Tags": [{"Key": "k"}]}, "Tags[0].Value: is required and missing"),
    "a tag with a tab": ("CreateApp", {**APP, "Tags": [{"Key": "k", "Value": "\t"}]}, "Tags[0].Value: '\\t' does not"),
    "too many tags": ("CreateApp", {**APP, "Tags": [{"Key": "k", "Value": ""}] * 51}, "51 items is outside of 0..50"),
    "no list of tags": ("CreateApp", {**APP, "Tags": "k"}, "Tags: 'k' is no list"),
    "an instance type of old": ("CreateApp", {**APP, "ResourceSpec": {"InstanceType": "m1"}}, "'m1' is none of"),
    "no structure": ("CreateApp", {**APP, "ResourceSpec": "x"}, "ResourceSpec: 'x' is no structure"),
    "a word for a truth": ("CreateApp", {**APP, "RecoveryMode": "true"}, "RecoveryMode: 'true' is no boolean"),
    "a link for a minute": (
        "CreatePresignedDomainUrl",
        {"DomainId": DOMAIN, "UserProfileName": ALICE, "ExpiresInSeconds": 301},
        "ExpiresInSeconds: 301 is outside of 5..300",
    ),
    "a token of its own": ("ListApps", {"NextToken": "page2"}, "NextToken: it is none of ours"),
    "no JSON": ("ListApps", "{", "None is no structure"),
    "a list": ("ListApps", [], "the body: [] is no structure"),
    "an unknown operation": ("DeleteEverything", {}, "no operation of the emulator"),
    "an operation that it lacks": ("CreateDomain", {}, "no operation of the emulator"),
}


@pytest.mark.parametrize(("operation", "body", "words"), BAD_REQUESTS.values(), ids=BAD_REQUESTS)
def test_a_bad_request_is_refused_and_recorded(sagemaker, operation, body, words):
    """The service's model is law, also where botocore does not look."""
    assert post(sagemaker, operation, body) == (400, "ValidationException")

    (recorded,) = refusals(sagemaker)
    assert recorded.startswith(f"{operation}: ")
    assert words in recorded


UNCHECKED = {
    "an upper-case domain": ("DeleteApp", {**APP, "DomainId": "d-ABC"}, "DomainId: 'd-ABC' does not match"),
    "both owners": ("DeleteApp", {**APP, "SpaceName": "lab"}, "only one of SpaceName and UserProfileName"),
    "neither owner": ("DeleteApp", {k: v for k, v in APP.items() if k != "UserProfileName"}, "one of UserProfileName"),
    "a page of 101": ("ListApps", {"MaxResults": 101}, "MaxResults: 101 is outside of 1..100"),
    "an unknown app type": ("DeleteApp", {**APP, "AppType": "Kernel"}, "AppType: 'Kernel' is none of"),
}


@pytest.mark.parametrize(("operation", "parameters", "words"), UNCHECKED.values(), ids=UNCHECKED)
def test_what_boto3_lets_pass_is_a_validation_error_here(client, sagemaker, operation, parameters, words):
    """The caller sees the exception that the service would send."""
    code, message = error(client, operation, parameters)

    assert code == "ValidationException"
    assert words in message
    assert words in refusals(sagemaker)[0]


def test_a_lawful_tag_of_any_script_passes(client, sagemaker):
    """The model's Unicode classes, which `re` does not know, are understood."""
    sagemaker.add_user_profile()

    client.create_app(**APP, Tags=[{"Key": "équipe", "Value": "研究 ٣"}])

    assert sagemaker.app("datascience").status == "InService"


def test_every_pattern_of_the_operations_is_one_that_re_understands():
    """A pattern that needs more of Java is found here, not by chance in some other test."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = {p for name in OPERATIONS for p in patterns(name)}
        compiled_all = {compiled(pattern) for pattern in found}

    assert len(compiled_all) == len(found) > 20


def patterns(operation):
    """Every pattern in the request and the answer of an operation."""
    model = service_model().operation_model(operation)
    left, seen = [shape for shape in (model.input_shape, model.output_shape) if shape is not None], set()
    while left:
        shape = left.pop()
        if shape.name in seen:
            continue
        seen.add(shape.name)
        left += list(shape.members.values()) if shape.type_name == "structure" else []
        left += [shape.member] if shape.type_name == "list" else []
        if "pattern" in shape.metadata:
            yield shape.metadata["pattern"]


ANSWERS = {
    # id: (members of DescribeDomain's DefaultUserSettings, what is wrong with them)
    "a lawful union": ({"CustomFileSystemConfigs": [{"S3FileSystemConfig": {"S3Uri": "s3://bucket"}}]}, None),
    "an empty union": ({"CustomFileSystemConfigs": [{}]}, "CustomFileSystemConfigs[0]: exactly one member"),
    "a large number": ({"CustomPosixUserConfig": {"Uid": 4000001, "Gid": 1001}}, "Uid: 4000001 is outside of"),
    "half a number": ({"CustomPosixUserConfig": {"Uid": 10000.5, "Gid": 1001}}, "Uid: 10000.5 is no long"),
}


@pytest.mark.parametrize(("members", "wrong"), ANSWERS.values(), ids=ANSWERS)
def test_unions_and_numbers_in_answers_are_checked(members, wrong):
    """Also in members that the emulator does not send yet."""
    found = law().answer("DescribeDomain", {"DefaultUserSettings": members})

    assert wrong in found[0] if wrong else not found


SIGNATURES = {
    # id: (headers, status, error code, words of the record)
    "none": ({"Authorization": None}, 403, "MissingAuthenticationToken", "there is none"),
    "another kind": ({"Authorization": "Basic Zm9v"}, 400, "IncompleteSignature", "is not SigV4"),
    "another region": (
        {"Authorization": SIGNED["Authorization"].replace("eu-west-1", "us-east-1")},
        403,
        "InvalidSignatureException",
        "('sagemaker', 'us-east-1')",
    ),
    "another service": (
        {"Authorization": SIGNED["Authorization"].replace("/sagemaker/", "/s3/")},
        403,
        "InvalidSignatureException",
        "('s3', 'eu-west-1')",
    ),
    "another day": ({"X-Amz-Date": "20260602T000000Z"}, 400, "IncompleteSignature", "day"),
    "without the target": (
        {"Authorization": SIGNED["Authorization"].replace(";x-amz-target", "")},
        400,
        "IncompleteSignature",
        "signs only",
    ),
    "no JSON 1.1": ({"Content-Type": "application/json"}, 400, "ValidationException", "Content-Type"),
    "another target": ({"X-Amz-Target": "Sage.ListApps"}, 400, "ValidationException", "X-Amz-Target"),
}


@pytest.mark.parametrize(("headers", "status", "code", "words"), SIGNATURES.values(), ids=SIGNATURES)
def test_a_request_in_the_wrong_envelope_is_refused_and_recorded(sagemaker, headers, status, code, words):
    """Nobody reads the body of a request that is not signed for SageMaker in this region."""
    assert post(sagemaker, "ListApps", {}, **headers) == (status, code)

    (recorded,) = refusals(sagemaker)
    assert words in recorded


def test_a_get_is_refused_and_recorded(sagemaker):
    """Every operation is POST /."""
    assert post(sagemaker, "ListApps", {}, method="GET") == (404, "UnknownOperationException")
    assert "GET /" in refusals(sagemaker)[0]


def test_a_client_of_another_region_is_refused(connect, sagemaker):
    """The region that the code took is that of the account, or it hears about it."""
    assert error(connect(region="us-east-1"), "ListApps", {})[0] == "InvalidSignatureException"
    assert refusals(sagemaker)


def test_an_unsigned_client_is_refused(connect, sagemaker):
    """Without credentials nothing is told."""
    from botocore import UNSIGNED

    assert error(connect(signature_version=UNSIGNED), "ListApps", {})[0] == "MissingAuthenticationToken"
    assert refusals(sagemaker)


BAD_ANSWERS = {
    "a status": ("status", "Asleep", "Apps[0].Status: 'Asleep' is none of"),
    "an instance type": ("instance_type", "m1", "Apps[0].ResourceSpec.InstanceType: 'm1' is none of"),
    "an image": ("image", "datascience", "Apps[0].ResourceSpec.SageMakerImageArn: 'datascience' does not match"),
    "an alias": ("alias", "", "Apps[0].ResourceSpec.SageMakerImageVersionAlias: 0 characters is outside of 1..128"),
    "a domain": ("domain", 5, "Apps[0].DomainId: 5 is no string"),
}


@pytest.mark.parametrize(("attribute", "value", "words"), BAD_ANSWERS.values(), ids=BAD_ANSWERS)
def test_a_bad_answer_is_not_sent_but_recorded(client, sagemaker, attribute, value, words):
    """A test that fills in nonsense hears about it; no code is tested with answers that cannot come."""
    setattr(sagemaker.add_app("datascience"), attribute, value)

    assert error(client, "ListApps", {})[0] == "InternalFailure"
    assert words in refusals(sagemaker)[0]


def test_a_failure_of_the_emulator_itself_is_recorded(client, sagemaker):
    """It is not taken for a failure of the service."""
    sagemaker.add_app("datascience").created = None

    assert error(client, "ListApps", {}) == ("InternalFailure", "The emulator failed.")
    assert "AttributeError" in refusals(sagemaker)[0]


# The life of an app


def test_deleting_takes_until_the_test_says_so(client, sagemaker):
    """DeleteApp only begins it."""
    sagemaker.add_app("datascience")

    client.delete_app(**APP)
    assert client.describe_app(**APP)["Status"] == "Deleting"

    sagemaker.finish_deleting("datascience")
    assert client.describe_app(**APP)["Status"] == "Deleted"


def test_deleting_takes_seconds_of_the_clock(client, sagemaker, clock):
    """At the very second it is Deleted."""
    sagemaker.deleting_takes = 300
    sagemaker.add_app("datascience")

    client.delete_app(**APP)
    clock.jump(299)
    assert sagemaker.app("datascience").status == "Deleting"
    clock.jump(1)
    assert names([client.list_apps()], name="Status") == ["Deleted"]


def test_deleting_takes_no_time_if_so_wished(client, sagemaker):
    """0 is at once."""
    sagemaker.deleting_takes = 0
    sagemaker.add_app("datascience")

    client.delete_app(**APP)

    assert sagemaker.app("datascience").status == "Deleted"


@pytest.mark.parametrize("late", [0, 3600])
def test_a_deleted_app_is_seen_for_24_hours_of_the_clock(client, sagemaker, clock, late):
    """From its deletion on, whenever somebody looks; then it was never there."""
    sagemaker.deleting_takes = 60
    sagemaker.add_app("datascience", created=clock.now() - timedelta(days=30))
    client.delete_app(**APP)
    clock.jump(60 + late)
    assert client.describe_app(**APP)["Status"] == "Deleted"

    clock.jump(DAY - late - 1)
    assert names([client.list_apps()]) == ["datascience"]
    clock.jump(1)
    assert names([client.list_apps()]) == []
    assert error(client, "DescribeApp") == ("ResourceNotFound", f"{ARN} does not exist.")


def test_deleting_an_unknown_app_does_not_find_it(client, sagemaker):
    """A modelled error, HTTP 400."""
    with pytest.raises(client.exceptions.ResourceNotFound) as caught:
        client.delete_app(**APP)

    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400


def test_deleting_a_deleted_app_is_a_validation_error(client, sagemaker):
    """Terraform looks for these very words."""
    sagemaker.add_app("datascience", status="Deleted")

    code, message = error(client, "DeleteApp")

    assert code == "ValidationException"
    assert "has already been deleted" in message


@pytest.mark.parametrize("status", ["Deleting", "Pending"])
def test_deleting_an_app_on_its_way_finds_it_in_use(client, sagemaker, status):
    """A guess: no source tells what the service does."""
    sagemaker.add_app("datascience", status=status)

    assert error(client, "DeleteApp")[0] == "ResourceInUse"


def test_an_app_created_again_within_24_hours_keeps_its_creation_time(client, sagemaker, clock):
    """So the creation time of an app may be older than its present run."""
    first = clock.now() - timedelta(days=3)
    sagemaker.add_app("datascience", status="Deleted", created=first)

    clock.jump(DAY - 1)
    arn = client.create_app(**APP, ResourceSpec={"InstanceType": "ml.m5.large"})["AppArn"]

    assert arn == ARN
    app = client.describe_app(**APP)
    assert (app["Status"], app["CreationTime"]) == ("InService", first)
    assert app["ResourceSpec"] == {"InstanceType": "ml.m5.large"}


def test_an_app_created_again_after_24_hours_is_a_new_one(client, sagemaker, clock):
    """Nothing of the old one is left."""
    sagemaker.add_app("datascience", status="Deleted")

    clock.jump(DAY)
    client.create_app(**APP)

    assert client.describe_app(**APP)["CreationTime"] == clock.now()


@pytest.mark.parametrize("status", ["InService", "Pending", "Deleting", "Failed"])
def test_creating_an_app_that_lives_finds_it_in_use(client, sagemaker, status):
    """Only a deleted one makes way."""
    sagemaker.add_app("datascience", status=status)

    assert error(client, "CreateApp")[0] == "ResourceInUse"


def test_a_new_app_is_pending_for_as_long_as_it_takes(client, sagemaker, clock):
    """Seconds of the clock until it is InService."""
    sagemaker.creating_takes = 10
    sagemaker.add_space("lab")

    client.create_app(**SPACE_APP)

    assert client.describe_app(**SPACE_APP)["Status"] == "Pending"
    clock.jump(10)
    assert client.describe_app(**SPACE_APP)["Status"] == "InService"


def test_creating_an_app_for_nobody_is_a_validation_error(client, sagemaker):
    """There is no owner it could have."""
    sagemaker.add_domain()

    assert error(client, "CreateApp")[0] == "ValidationException"


def test_a_profile_and_a_space_of_one_name_have_apps_of_their_own(client, sagemaker):
    """Deleting one leaves the other alone."""
    sagemaker.add_app("datascience", user_profile="lab")
    sagemaker.add_app("datascience", space="lab")

    client.delete_app(**{**APP, "UserProfileName": "lab"})

    statuses = {app.user_profile or app.space: app.status for app in sagemaker.apps.values() if app.space}
    assert statuses == {"lab": "InService"}


# The test's own hands


def test_a_test_changes_an_app_in_place(client, sagemaker):
    """What `app` gives is the state itself."""
    sagemaker.add_app("datascience")

    sagemaker.app("datascience").instance_type = "ml.g5.xlarge"
    sagemaker.set_status("datascience", "Failed")

    described = client.describe_app(**APP)
    assert described["ResourceSpec"]["InstanceType"] == "ml.g5.xlarge"
    assert (described["Status"], "FailureReason" in described) == ("Failed", True)


def test_every_kind_of_item_takes_a_status(client, sagemaker):
    """By its name alone."""
    sagemaker.add_space("lab")
    sagemaker.add_notebook_instance("old")

    for name in ("lab", "old", ALICE, DOMAIN):
        sagemaker.set_status(name, "Updating")

    assert client.describe_space(DomainId=DOMAIN, SpaceName="lab")["Status"] == "Updating"
    assert client.describe_notebook_instance(NotebookInstanceName="old")["NotebookInstanceStatus"] == "Updating"
    assert client.list_user_profiles()["UserProfiles"][0]["Status"] == "Updating"
    assert client.describe_domain(DomainId=DOMAIN)["Status"] == "Updating"


def test_a_name_that_fits_none_or_several_is_refused(sagemaker):
    """A test never changes an app that it did not mean."""
    sagemaker.add_app("default", "JupyterLab", space="lab")
    sagemaker.add_app("default", "JupyterLab", space="den")

    assert sagemaker.app("default", owner="den").space == "den"
    with pytest.raises(LookupError, match="2 items fit app default"):
        sagemaker.app("default")
    with pytest.raises(LookupError, match="0 items fit nobody"):
        sagemaker.set_status("nobody", "Failed")
    with pytest.raises(LookupError, match="no app default is Deleting"):
        sagemaker.finish_deleting("default")


def test_naive_moments_and_two_owners_are_refused(sagemaker):
    """Mistakes of a test are told at once."""
    with pytest.raises(ValueError, match="has no zone"):
        sagemaker.add_app("datascience", created=datetime(2026, 6, 1))
    with pytest.raises(ValueError, match="has no zone"):
        SageMaker(clock=datetime.now).start()
    with pytest.raises(ValueError, match="one owner"):
        sagemaker.add_app("datascience", user_profile=ALICE, space="lab")


# Spaces, notebook instances, login


def test_an_unknown_space_or_domain_is_not_found(client, sagemaker):
    """The modelled error."""
    sagemaker.add_domain()

    assert error(client, "DescribeSpace", {"DomainId": DOMAIN, "SpaceName": "lab"})[0] == "ResourceNotFound"
    assert error(client, "DescribeDomain", {"DomainId": "d-other"})[0] == "ResourceNotFound"


def test_a_notebook_instance_stops(client, sagemaker, clock):
    """Stopping first, Stopped when it is time."""
    sagemaker.stopping_takes = 60
    sagemaker.add_notebook_instance("old")

    client.stop_notebook_instance(NotebookInstanceName="old")

    assert client.describe_notebook_instance(NotebookInstanceName="old")["NotebookInstanceStatus"] == "Stopping"
    clock.jump(60)
    assert client.describe_notebook_instance(NotebookInstanceName="old")["NotebookInstanceStatus"] == "Stopped"


@pytest.mark.parametrize("status", ["Stopped", "Stopping", "Pending", "InMaintenance"])
def test_only_an_instance_in_service_stops(client, sagemaker, status):
    """The words are the service's."""
    sagemaker.add_notebook_instance("old", status=status)

    assert error(client, "StopNotebookInstance", {"NotebookInstanceName": "old"}) == (
        "ValidationException",
        f"Status ({status}) not in ([InService]). Unable to transition to (Stopping) for Notebook Instance "
        "(arn:aws:sagemaker:eu-west-1:123456789012:notebook-instance/old).",
    )


@pytest.mark.parametrize("operation", ["DescribeNotebookInstance", "StopNotebookInstance"])
def test_an_unknown_instance_is_a_validation_error(client, operation):
    """RecordNotFound stands in the words, not in the code."""
    assert error(client, operation, {"NotebookInstanceName": "old"}) == ("ValidationException", "RecordNotFound")


def test_a_presigned_url_leads_to_studio_with_a_token(client, sagemaker, clock):
    """Where the test says; each token is new, and the account knows for whom it is."""
    sagemaker.add_space("lab")
    sagemaker.studio_url = "http://127.0.0.1:9"
    asked = {"DomainId": DOMAIN, "UserProfileName": ALICE, "SpaceName": "lab", "ExpiresInSeconds": 60}

    urls = [urlsplit(client.create_presigned_domain_url(**asked)["AuthorizedUrl"]) for _ in range(2)]

    assert {(url.netloc, url.path) for url in urls} == {("127.0.0.1:9", "/auth")}
    tokens = [parse_qs(url.query)["token"][0] for url in urls]
    assert len(set(tokens)) == 2
    assert sagemaker.presigned[tokens[0]] == {**asked, "expires": clock.now() + timedelta(seconds=60)}


def test_a_presigned_url_has_the_services_own_name_by_default(client, sagemaker):
    """As Studio's own."""
    sagemaker.add_user_profile()

    url = client.create_presigned_domain_url(DomainId=DOMAIN, UserProfileName=ALICE)["AuthorizedUrl"]

    assert url.startswith(f"https://{DOMAIN}.studio.eu-west-1.sagemaker.aws/auth?token=")


def test_a_domain_with_sso_gives_no_presigned_url(client, sagemaker):
    """Its users log in elsewhere."""
    sagemaker.add_domain(auth_mode="SSO")
    sagemaker.add_user_profile()

    code, message = error(client, "CreatePresignedDomainUrl", {"DomainId": DOMAIN, "UserProfileName": ALICE})

    assert (code, "SSO" in message) == ("ValidationException", True)


@pytest.mark.parametrize("missing", [{"UserProfileName": "bob"}, {"SpaceName": "den"}, {"DomainId": "d-other"}])
def test_a_presigned_url_for_nobody_is_not_found(client, sagemaker, missing):
    """Domain, profile and space must be there."""
    sagemaker.add_user_profile()

    asked = {"DomainId": DOMAIN, "UserProfileName": ALICE, **missing}
    assert error(client, "CreatePresignedDomainUrl", asked)[0] == "ResourceNotFound"


# Lists


def test_a_list_comes_in_tens(client, sagemaker):
    """The service's default; MaxResults changes it."""
    for number in range(12):
        sagemaker.add_app(f"app-{number:02}")

    assert [len(client.list_apps(**asked)["Apps"]) for asked in ({}, {"MaxResults": 12})] == [10, 12]
    assert "NextToken" not in client.list_apps(MaxResults=12)


@pytest.mark.parametrize("empty", [False, True])
@pytest.mark.parametrize("kind", ["apps", "user_profiles", "spaces", "domains"])
def test_paginators_find_everything_on_short_and_empty_pages(client, sagemaker, kind, empty):
    """A page is the last one only if it has no NextToken."""
    for number in range(5):
        sagemaker.add_app(f"app-{number}", domain=f"d-{number}", space=f"space-{number}")
    sagemaker.page_size, sagemaker.empty_pages = 2, empty

    pages = list(client.get_paginator(f"list_{kind}").paginate())

    key = "".join(word.title() for word in kind.split("_"))
    assert [len(page[key]) for page in pages] == ([2, 0, 2, 0, 1] if empty else [2, 2, 1])
    assert names(pages, key, "DomainId") == [f"d-{number}" for number in range(5)]


def test_filters_choose_by_domain_and_owner(client, sagemaker):
    """Each alone and together with a domain."""
    sagemaker.add_app("a", domain="d-one", user_profile="alice")
    sagemaker.add_app("b", domain="d-one", user_profile="bob")
    sagemaker.add_app("c", domain="d-two", user_profile="bob")
    sagemaker.add_app("d", domain="d-two", space="lab")

    def found(**filters):
        return "".join(names([client.list_apps(**filters)]))

    assert found(DomainIdEquals="d-one") == "ab"
    assert found(UserProfileNameEquals="bob") == "bc"
    assert found(UserProfileNameEquals="bob", DomainIdEquals="d-two") == "c"
    assert found(SpaceNameEquals="lab") == "d"
    assert found(SpaceNameEquals="bob") == ""


def test_profiles_and_spaces_are_found_by_a_part_of_their_names(client, sagemaker):
    """As it is written, anywhere in the name."""
    sagemaker.add_space("team-a", owner="alice")
    sagemaker.add_space("team-b", owner="malice", domain="d-two")
    sagemaker.add_space("solo", owner="bob")

    profiles = client.list_user_profiles(UserProfileNameContains="lic", DomainIdEquals="d-two")
    assert names([profiles], "UserProfiles", "UserProfileName") == ["malice"]
    assert names([client.list_spaces(SpaceNameContains="team")], "Spaces", "SpaceName") == ["team-a", "team-b"]


def test_lists_are_ordered_by_age_or_by_change(client, sagemaker, clock):
    """Oldest first unless asked otherwise."""
    for name in ("first", "second", "third"):
        sagemaker.add_space(name)
        clock.jump(60)
    sagemaker.set_status("first", "Updating")
    sagemaker.page_size = 1

    def order(**asked):
        return names(client.get_paginator("list_spaces").paginate(**asked), "Spaces", "SpaceName")

    assert order() == ["first", "second", "third"]
    assert order(SortOrder="Descending") == ["third", "second", "first"]
    assert order(SortBy="LastModifiedTime") == ["second", "third", "first"]


def test_a_token_is_good_only_for_the_question_it_came_from(client, sagemaker):
    """Other filters or another operation with it are a mistake of the caller."""
    sagemaker.page_size = 1
    sagemaker.add_app("a", user_profile="alice")
    sagemaker.add_app("b", user_profile="alice")
    token = client.list_apps(UserProfileNameEquals="alice")["NextToken"]

    for operation, other in (("ListApps", {}), ("ListUserProfiles", {})):
        assert error(client, operation, {**other, "NextToken": token})[0] == "ValidationException"
    assert len(refusals(sagemaker)) == 2


@settings(deadline=None)
@given(sizes=st.lists(st.integers(1, 100), min_size=1), count=st.integers(0, 30), empty=st.booleans())
def test_any_sequence_of_page_sizes_shows_each_app_once(sizes, count, empty):
    """Also while apps come and go between the pages: the others stay where they are."""
    account = SageMaker(clock=FakeClock().now)
    account.empty_pages = empty
    for number in range(count):
        account.add_app(f"app-{number:02}")
    seen, asked, turn = [], {}, 0
    while turn == 0 or "NextToken" in asked:
        answer = OPERATIONS["ListApps"](account, {**asked, "MaxResults": sizes[turn % len(sizes)]})
        seen += [app["AppName"] for app in answer["Apps"]]
        asked, turn = {key: answer[key] for key in answer if key == "NextToken"}, turn + 1
        account.add_app("aaa")

    assert [name for name in seen if name != "aaa"] == [f"app-{number:02}" for number in range(count)]


# Failures on command


FAULTS = {
    Fault.THROTTLED: ("ThrottlingException", 400, "Rate exceeded"),
    Fault.SERVER_ERROR: ("InternalFailure", 500, ""),
    Fault.UNAVAILABLE: ("ServiceUnavailable", 503, ""),
    Fault.ACCESS_DENIED: (
        "AccessDeniedException",
        400,
        "User: arn:aws:sts::123456789012:assumed-role/StudioRole/SageMaker is not authorized to perform: "
        f"sagemaker:DeleteApp on resource: {ARN} "
        "because no identity-based policy allows the sagemaker:DeleteApp action",
    ),
    Fault.EXPIRED_TOKEN: ("ExpiredTokenException", 400, "expired"),
    Fault.NOT_FOUND: ("ResourceNotFound", 400, ARN),
    Fault.ALREADY_DELETED: ("ValidationException", 400, "has already been deleted"),
    Fault.AUTO_DELETED: ("ValidationException", 400, "previously failed and was automatically deleted"),
    Fault.IN_USE: ("ResourceInUse", 400, ARN),
    Fault.VALIDATION: ("ValidationException", 400, ""),
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_is_the_error_that_a_caller_sees(client, sagemaker, fault):
    """Code, status and words; and nothing was done."""
    code, status, words = FAULTS[fault]
    sagemaker.add_app("datascience")
    sagemaker.fail("DeleteApp", fault)

    with pytest.raises(ClientError) as caught:
        client.delete_app(**APP)

    response = caught.value.response
    assert (response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]) == (code, status)
    assert words in response["Error"]["Message"]
    assert sagemaker.app("datascience").status == "InService"


def test_every_error_among_the_faults_is_tested():
    """The table above is complete."""
    assert set(FAULTS) == set(ERRORS)


def test_modelled_faults_are_modelled_exceptions(client, sagemaker):
    """They can be caught by name."""
    sagemaker.fail("DeleteApp", Fault.NOT_FOUND, times=1)
    sagemaker.fail("DeleteApp", Fault.IN_USE, times=1)

    with pytest.raises(client.exceptions.ResourceNotFound):
        client.delete_app(**APP)
    with pytest.raises(client.exceptions.ResourceInUse):
        client.delete_app(**APP)


DENIED = {
    "ListApps": ({}, "*"),
    "DescribeSpace": ({"DomainId": DOMAIN, "SpaceName": "lab"}, f"space/{DOMAIN}/lab"),
    "DescribeDomain": ({"DomainId": DOMAIN}, f"domain/{DOMAIN}"),
    "StopNotebookInstance": ({"NotebookInstanceName": "old"}, "notebook-instance/old"),
    "DescribeApp": (SPACE_APP, f"app/{DOMAIN}/lab/jupyterlab/default"),
    "CreatePresignedDomainUrl": ({"DomainId": DOMAIN, "UserProfileName": ALICE}, f"user-profile/{DOMAIN}/alice"),
}


@pytest.mark.parametrize("operation", DENIED)
def test_a_denial_names_the_resource(client, sagemaker, operation):
    """The ARN that a policy would have to allow; lists need everything."""
    parameters, resource = DENIED[operation]
    sagemaker.fail(None, Fault.ACCESS_DENIED)

    _, message = error(client, operation, parameters)

    assert f"{resource} because" in message


def test_a_dropped_connection_has_no_answer(client, sagemaker):
    """And no effect."""
    sagemaker.add_app("datascience")
    sagemaker.fail("DeleteApp", Fault.DROP, times=1)

    with pytest.raises(ConnectionClosedError):
        client.delete_app(**APP)
    assert sagemaker.app("datascience").status == "InService"
    client.delete_app(**APP)


@pytest.mark.parametrize("fault", [Fault.EMPTY, Fault.TRUNCATED])
def test_a_spoilt_list_comes_without_its_list(client, sagemaker, fault):
    """HTTP 200 and no Apps: botocore raises nothing."""
    sagemaker.add_app("datascience")
    sagemaker.fail("ListApps", fault)

    assert set(client.list_apps()) == {"ResponseMetadata"}


@pytest.mark.parametrize("fault", [Fault.EMPTY, Fault.TRUNCATED])
def test_a_spoilt_answer_hides_work_that_was_done(client, sagemaker, fault):
    """The app is deleted, whatever the answer looks like."""
    sagemaker.add_app("datascience")
    sagemaker.fail("DeleteApp", fault)

    client.delete_app(**APP)

    assert sagemaker.app("datascience").status == "Deleting"


def test_a_caller_that_gave_up_on_a_hanging_call_never_asked(connect, sagemaker):
    """After healing, nothing of it happens."""
    sagemaker.add_app("datascience")
    sagemaker.fail("DeleteApp", Fault.HANG)
    impatient = connect(read_timeout=0.3)

    with pytest.raises(ReadTimeoutError):
        impatient.delete_app(**APP)
    sagemaker.heal()

    impatient.list_apps()
    assert sagemaker.app("datascience").status == "InService"


def test_a_hanging_call_is_answered_when_it_is_healed(client, sagemaker):
    """Whoever still waits gets what it asked for, also after its fault was used up."""
    sagemaker.add_app("datascience")
    sagemaker.fail("ListApps", Fault.HANG, times=1)

    with ThreadPoolExecutor() as pool:
        hanging = pool.submit(client.list_apps)
        wait_for_a_call(sagemaker)
        assert names([client.list_apps()]) == ["datascience"]
        assert not hanging.done()
        sagemaker.heal("ListApps")
        assert names([hanging.result(5)]) == ["datascience"]


def test_a_hanging_call_may_end_by_itself(client, sagemaker):
    """After the seconds given."""
    sagemaker.add_app("datascience")
    sagemaker.fail("ListApps", Fault.HANG, seconds=0.05)

    assert names([client.list_apps()]) == ["datascience"]


def test_stopping_ends_calls_that_hang(client, sagemaker):
    """Without an answer, and without waiting for them."""
    sagemaker.fail("ListApps", Fault.HANG)

    with ThreadPoolExecutor() as pool:
        hanging = pool.submit(client.list_apps)
        wait_for_a_call(sagemaker)
        sagemaker.stop()
        with pytest.raises(ConnectionClosedError):
            hanging.result(5)


def test_a_stopped_emulator_refuses_connections_until_it_starts_again(client, sagemaker):
    """On the same port, with all it knew; a connection that was open does not survive."""
    sagemaker.add_app("datascience")
    client.list_apps()

    sagemaker.stop()
    with pytest.raises(EndpointConnectionError):
        client.list_apps()
    sagemaker.start()

    assert names([client.list_apps()]) == ["datascience"]


def test_a_fault_ends_after_its_times_or_with_healing(client, sagemaker):
    """The oldest that fits comes first; healing one operation leaves the others."""
    sagemaker.fail("ListApps", Fault.UNAVAILABLE, times=2)
    sagemaker.fail("ListApps", Fault.THROTTLED)
    sagemaker.fail("ListSpaces", Fault.THROTTLED)

    codes = [error(client, "ListApps", {})[0] for _ in range(4)]
    assert codes == ["ServiceUnavailable"] * 2 + ["ThrottlingException"] * 2
    sagemaker.heal("ListApps")
    client.list_apps()
    assert error(client, "ListSpaces", {})[0] == "ThrottlingException"


def test_a_fault_for_one_app_leaves_the_others_alone(client, sagemaker):
    """By the name of the app."""
    sagemaker.add_app("datascience")
    sagemaker.add_app("other")
    sagemaker.fail("DeleteApp", Fault.SERVER_ERROR, app="datascience")

    client.delete_app(**{**APP, "AppName": "other"})

    assert error(client, "DeleteApp")[0] == "InternalFailure"


def test_retries_of_botocore_get_over_a_short_fault(connect, sagemaker):
    """Each try is a call of its own."""
    sagemaker.fail("ListApps", Fault.THROTTLED, times=1)

    connect(retries={"total_max_attempts": 2}).list_apps()

    assert sagemaker.count("ListApps") == 2


def test_nonsense_for_a_fault_is_refused(sagemaker):
    """A fault that can never come would make a test pass for nothing."""
    with pytest.raises(ValueError, match="no operation 'DeleteApps'"):
        sagemaker.fail("DeleteApps", Fault.HANG)
    with pytest.raises(ValueError, match="times is 0"):
        sagemaker.fail("DeleteApp", Fault.HANG, times=0)
    with pytest.raises(ValueError, match="'slow' is not a valid Fault"):
        sagemaker.fail("DeleteApp", "slow")


def test_faults_are_used_up_once_each_by_many_threads(connect, sagemaker):
    """Forty calls at once, seven faults, seven failures."""
    client = connect(max_pool_connections=8)
    sagemaker.fail("ListApps", Fault.THROTTLED, times=7)

    def failed(_):
        try:
            return not client.list_apps()
        except ClientError:
            return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(failed, range(40))) == 7
    assert sagemaker.count() == 40


def test_calls_above_the_rate_are_throttled(client, sagemaker):
    """Until there is no limit again."""
    sagemaker.rate = 0.001

    client.list_apps()
    assert error(client, "ListApps", {}) == ("ThrottlingException", "Rate exceeded")
    sagemaker.rate = None
    client.list_apps()


def test_a_bucket_fills_with_time_up_to_a_second():
    """At 2 per second: two at once, one after half a second, never more than two after a rest."""
    clock = FakeClock()
    bucket = Bucket(2, clock.monotonic)

    def taken(seconds):
        clock.stand_still(seconds)
        return [bucket.take() for _ in range(4)].count(True)

    assert [taken(seconds) for seconds in (0, 0, 0.5, 0.25, 0.25, 60)] == [2, 0, 1, 0, 1, 2]


def test_delay_comes_before_each_answer(connect, sagemaker):
    """A caller that waits less sees no answer."""
    sagemaker.delay = 0.5

    with pytest.raises(ReadTimeoutError):
        connect(read_timeout=0.1).list_apps()
    sagemaker.delay = 0.01
    connect(read_timeout=5).list_apps()


# Counting


def test_every_call_is_counted_and_kept(client, sagemaker, clock):
    """With its parameters and its time, also those that fail or are refused."""
    client.list_apps(MaxResults=5)
    sagemaker.fail("ListSpaces", Fault.THROTTLED)
    error(client, "ListSpaces", {})
    error(client, "ListApps", {"MaxResults": 101})
    refusals(sagemaker)

    assert [(each.operation, each.parameters) for each in sagemaker.calls] == [
        ("ListApps", {"MaxResults": 5}),
        ("ListSpaces", {}),
        ("ListApps", {"MaxResults": 101}),
    ]
    assert sagemaker.calls[0].at == clock.now()
    assert (sagemaker.count(), sagemaker.count("ListApps"), sagemaker.count("DeleteApp")) == (3, 2, 0)
    sagemaker.reset_counts()
    assert (sagemaker.count(), sagemaker.calls) == (0, [])


def test_connections_are_kept_open(client, sagemaker):
    """Many calls, one connection: what a caller holds is what the server holds."""
    for _ in range(5):
        client.list_apps()

    assert len(sagemaker._server._open) == 1


# By hand


def test_it_runs_by_hand_until_interrupted(session, monkeypatch):
    """Export lines first, then a line for each call, then the end on Ctrl-C."""
    command = [sys.executable, "-m", "tests.emulator", "--port", "0", "--space", "--classic", "--notebook"]
    root = Path(__file__).parents[1]
    # a test run in the background of a shell ignores SIGINT, and so would what it starts
    listens = partial(signal.signal, signal.SIGINT, signal.default_int_handler)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root, preexec_fn=listens) as process:
        try:
            said = list(
                iter(process.stdout.readline, f"# domain {DOMAIN}, user alice; every call follows, until Ctrl-C\n")
            )
            exports = [line for line in said if line.startswith("export ")]
            variables = dict(line.removeprefix("export ").strip().split("=", 1) for line in exports)
            monkeypatch.setenv("AWS_ENDPOINT_URL_SAGEMAKER", variables["AWS_ENDPOINT_URL_SAGEMAKER"])
            apps = names([session.client("sagemaker", region_name="eu-west-1").list_apps()], name="AppType")
            logged = process.stdout.readline()
        finally:
            process.send_signal(signal.SIGINT)
        ending = process.stdout.read()

    assert apps == ["JupyterLab", "JupyterServer", "KernelGateway"]
    assert logged.split(" ", 1)[1] == "ListApps {} -> 200\n"
    assert (ending, process.returncode) == ("stopped\n", 0)
    regions, proxies = {"AWS_DEFAULT_REGION", "AWS_REGION"}, {"NO_PROXY", "no_proxy"}
    everything = {"AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_CLOUDWATCH_LOGS"}
    assert set(variables) == set(environment(SageMaker())) | everything | regions | proxies
    assert [line.split()[0] for line in said] == ["export"] * len(variables) + ["unset"]


def test_a_port_of_its_own_is_taken(session):
    """The one that was asked for."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    with SageMaker(port=port) as sagemaker:
        assert sagemaker.url == f"http://127.0.0.1:{port}"
