"""App managers against SageMaker's protocol over real HTTP: what they call, and what they make of each failure."""

from __future__ import annotations

import json
import logging
import socket
from datetime import datetime, timedelta

import pytest
from botocore.exceptions import ClientError
from traitlets.config import Config, LoggingConfigurable

from culling_manager.apps import aws
from culling_manager.apps import sagemaker as calls
from culling_manager.apps.auto import make
from culling_manager.apps.source import AppSource
from culling_manager.decisions import IN_SERVICE, Reason
from culling_manager.engine.culler import IdleCuller
from culling_manager.errors import CallError, GoneError
from culling_manager.records import KernelRecord, Kind, Result
from tests.conftest import scenario
from tests.doubles import NOON, FakeClock, FakeTerminals, HomedKernels
from tests.emulator import ALICE, DOMAIN, Fault, SageMaker, environment

TIMEOUT = 7200.0
REGION, ACCOUNT = "eu-west-1", "123456789012"
PLACE = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}"
LONG_AGO = NOON - timedelta(days=1)
METADATA = {
    "space": {
        "AppType": "JupyterLab",
        "DomainId": DOMAIN,
        "SpaceName": "lab",
        "ResourceArn": f"{PLACE}:app/{DOMAIN}/lab/JupyterLab/default",
        "ResourceName": "default",
    },
    "classic": {
        "AppType": "JupyterServer",
        "DomainId": DOMAIN,
        "UserProfileName": ALICE,
        "ResourceArn": f"{PLACE}:app/{DOMAIN}/{ALICE}/JupyterServer/default",
        "ResourceName": "default",
    },
    "shared": {
        "AppType": "JupyterServer",
        "DomainId": DOMAIN,
        "SpaceName": "team",
        "ResourceArn": f"{PLACE}:app/{DOMAIN}/team/JupyterServer/default",
        "ResourceName": "default",
    },
    "notebook": {"ResourceArn": f"{PLACE}:notebook-instance/mine", "ResourceName": "mine"},
}


class Place:
    """A server in one of SageMaker's places: fake time, fake kernels, and a real app manager with real calls."""

    def __init__(self, sagemaker: SageMaker, clock: FakeClock, kind: str, path, **settings) -> None:
        self.sagemaker, self.clock = sagemaker, clock
        path.write_text(json.dumps(METADATA[kind]))
        owner = LoggingConfigurable(config=Config({"ResourceMetadataFile": {"path": str(path)}}))
        self.culler = IdleCuller(logging.getLogger("test"), clock)
        self.apps = make("auto", owner)
        self.kernels = HomedKernels(own_settings={"idle_timeout": TIMEOUT, **settings}, culler=self.culler)
        self.source = AppSource(self.apps, self.culler)
        self.culler.neighbours = self.source
        for source in (self.kernels, FakeTerminals(culler=self.culler), self.source):
            self.culler.attach(source)
        self.culler.start()

    def status(self, name: str = "default") -> str | None:
        return self.sagemaker.app(name, app_type=None).status

    def error(self) -> str:
        return self.culler.troubles.last_text() or ""

    def app(self, name: str):
        current = self.culler.watches[Kind.APP].current(self.culler.now())
        return next(each for each in current if each[0].name == name)


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def sagemaker(clock, monkeypatch):
    """SageMaker with a space, Classic apps and a notebook instance; whatever breaks its law fails the test."""
    with SageMaker(region=REGION, account=ACCOUNT, clock=clock.now) as running:
        for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environment(running).items():
            monkeypatch.setenv(name, value)
        running.add_app("default", "JupyterServer", user_profile=ALICE, created=LONG_AGO)
        running.add_app("default", "JupyterServer", space="team", created=LONG_AGO)
        running.add_app("default", "JupyterLab", space="lab", created=LONG_AGO)
        running.add_app("one", user_profile=ALICE, created=LONG_AGO, image="datascience-1.0")
        running.add_app("other", user_profile="bob", created=LONG_AGO)
        running.add_notebook_instance("mine", created=LONG_AGO)
        running.add_notebook_instance("other", created=LONG_AGO)
        yield running
        assert running.violations == []


@pytest.fixture
def at(sagemaker, clock, tmp_path, monkeypatch):
    """Start a server in a place; each call is tried once, so that no test waits for botocore's back-off."""
    monkeypatch.setattr(calls, "TRIES", 1)
    places = []  # a culler's timers do not keep it alive

    def start(kind, **settings):
        places.append(Place(sagemaker, clock, kind, tmp_path / "metadata.json", **settings))
        return places[-1]

    return start


@pytest.fixture
def impatient(monkeypatch):
    """For tests with an answer that does not come: wait for it for a third of a second."""
    return lambda fault: fault is not Fault.HANG or monkeypatch.setattr(aws, "READ_SECONDS", 0.3)


# -- what is called ------------------------------------------------------------------------------------


@scenario
async def test_a_space_that_nobody_opened_is_deleted_one_timeout_after_start_with_one_call(at, sagemaker, clock):
    """Nothing but DeleteApp on itself, with the space's name."""
    at("space")

    await clock.run_for(TIMEOUT)
    before = sagemaker.count()
    await clock.run_for(1)

    assert before == 0
    assert [(call.operation, call.parameters) for call in sagemaker.calls] == [
        ("DeleteApp", {"DomainId": DOMAIN, "SpaceName": "lab", "AppType": "JupyterLab", "AppName": "default"})
    ]
    assert sagemaker.app("default", owner="lab").status == "Deleting"


@scenario
async def test_a_space_waits_while_it_is_being_deleted(at, sagemaker, clock):
    """The process lives on until its container is stopped, and does not ask again for half an hour."""
    place = at("space")
    await clock.run_for(TIMEOUT + 1)

    await clock.run_for(1700)
    asked = sagemaker.count()
    reason = place.app("default")[1].reason
    await clock.run_for(400)

    assert asked == 1
    assert reason is Reason.NOT_IN_SERVICE
    assert sagemaker.count("DeleteApp") > 1


@scenario
async def test_a_space_keeps_for_a_kernel_and_goes_with_it(at, sagemaker, clock):
    """Kernels of this server are all on it."""
    place = at("space")
    await clock.run_for(600)
    place.kernels.start("k", last_activity=clock.wall)

    await clock.run_for(TIMEOUT)
    before = sagemaker.count()
    await clock.run_for(1)

    assert before == 0
    assert place.kernels.stopped == ["k"]
    assert sagemaker.count("DeleteApp") == 1


@scenario
async def test_in_classic_each_idle_kernel_gateway_app_of_this_user_is_deleted_and_nothing_else(at, sagemaker, clock):
    """Not the JupyterServer app, not another user's, not one of another type, not one with a busy kernel."""
    sagemaker.add_app("busy", user_profile=ALICE, created=LONG_AGO)
    sagemaker.add_app("canvas", "Canvas", user_profile=ALICE, created=LONG_AGO)
    sagemaker.add_app("starting", user_profile=ALICE, created=LONG_AGO, status="Pending")
    place = at("classic")
    place.kernels.start("k", last_activity=clock.wall, app_name="busy", state="busy")

    await clock.run_for(3 * TIMEOUT)

    assert [call.parameters["AppName"] for call in sagemaker.calls if call.operation == "DeleteApp"] == ["one"]
    assert {call.operation for call in sagemaker.calls} == {"ListApps", "DeleteApp"}
    assert [record.name for record, _ in place.culler.watches[Kind.APP].current(clock.wall)] == [
        "one", "busy", "starting",
    ]  # fmt: skip


@scenario
async def test_a_shared_space_of_classic_is_asked_for_by_its_space_name(at, sagemaker, clock):
    """Its owner is a SpaceName in list and deletion alike."""
    sagemaker.add_app("team-app", space="team", created=LONG_AGO)
    at("shared")

    await clock.run_for(TIMEOUT + 1)

    assert sagemaker.app("team-app").status == "Deleting"
    assert sagemaker.app("one").status == IN_SERVICE
    assert {call.parameters.get("SpaceName") or call.parameters.get("SpaceNameEquals") for call in sagemaker.calls} == {
        "team"
    }


@scenario
async def test_a_data_wrangler_app_without_kernels_goes_one_timeout_after_it_was_first_seen(at, sagemaker, clock):
    """Whatever its creation time is."""
    sagemaker.add_app("sagemaker-data-wrang-ml-m5-4xlarge", user_profile=ALICE, created=LONG_AGO)
    at("classic")

    await clock.run_for(TIMEOUT)
    before = sagemaker.count("DeleteApp")
    await clock.run_for(1)

    assert before == 0
    assert sagemaker.app("sagemaker-data-wrang-ml-m5-4xlarge").status == "Deleting"


@scenario
async def test_a_notebook_instance_stops_itself_after_a_look_at_its_status(at, sagemaker, clock):
    """Describe, then stop; the other instance stays."""
    at("notebook")

    await clock.run_for(TIMEOUT + 1)

    assert [call.operation for call in sagemaker.calls] == ["DescribeNotebookInstance", "StopNotebookInstance"]
    assert sagemaker.notebook_instances["mine"].status == "Stopping"
    assert sagemaker.notebook_instances["other"].status == IN_SERVICE


@pytest.mark.parametrize("status", ["Updating", "Pending", "PendingMaintenance", "InMaintenance"])
@scenario
async def test_a_notebook_instance_in_another_status_is_stopped_when_it_is_in_service_again(
    at, sagemaker, clock, status
):
    """It cannot be stopped meanwhile, and is looked at now and then."""
    sagemaker.set_status("mine", status)
    at("notebook")
    await clock.run_for(TIMEOUT + 1800)
    before = sagemaker.count("StopNotebookInstance"), sagemaker.count("DescribeNotebookInstance")

    sagemaker.set_status("mine", IN_SERVICE)
    await clock.run_for(700)

    assert before[0] == 0
    assert 1 < before[1] <= 4
    assert sagemaker.notebook_instances["mine"].status == "Stopping"


@scenario
async def test_without_permission_to_describe_it_a_notebook_instance_is_stopped_all_the_same(at, sagemaker, clock):
    """Stopping it tells its status as well."""
    sagemaker.fail("DescribeNotebookInstance", Fault.ACCESS_DENIED)
    at("notebook")

    await clock.run_for(TIMEOUT + 1)

    assert sagemaker.notebook_instances["mine"].status == "Stopping"


@pytest.mark.parametrize(("status", "result"), [("Stopping", Result.GONE), ("Updating", Result.FAILED)])
@scenario
async def test_a_refusal_to_stop_names_the_status(at, sagemaker, clock, status, result):
    """Stopping already is a success, updating is for later."""
    sagemaker.fail("DescribeNotebookInstance", Fault.ACCESS_DENIED)
    sagemaker.set_status("mine", status)
    place = at("notebook")

    await clock.run_for(TIMEOUT + 1)

    assert [outcome.result for outcome in place.culler.outcomes] == [result]


@pytest.mark.parametrize("pages", ["of one", "with empty ones between"])
@scenario
async def test_all_pages_of_a_list_are_read(at, sagemaker, clock, pages):
    """Short pages with a NextToken are legal, empty ones too."""
    for number in range(4):
        sagemaker.add_app(f"app-{number}", user_profile=ALICE, created=LONG_AGO)
    sagemaker.page_size = 1
    sagemaker.empty_pages = pages != "of one"
    at("classic")

    await clock.run_for(TIMEOUT + 1)

    assert all(sagemaker.app(f"app-{number}").status == "Deleting" for number in range(4))


# -- what fails ------------------------------------------------------------------------------------------

WORDS = {
    Fault.THROTTLED: "sagemaker:{} is throttled",
    Fault.SERVER_ERROR: "sagemaker:{} was refused (InternalFailure",
    Fault.UNAVAILABLE: "sagemaker:{} was refused",
    Fault.HANG: "sagemaker:{} failed: Read timeout",
    Fault.DROP: "sagemaker:{} failed: Connection was closed",
    Fault.ACCESS_DENIED: "permission sagemaker:{} on {} is missing",
    Fault.EXPIRED_TOKEN: "sagemaker:{}: the AWS credentials are not valid any more",
    Fault.VALIDATION: "sagemaker:{} was refused (ValidationException",
}
NO_LIST = "sagemaker:{} answered without its list of Apps"  # what botocore makes of a truncated answer
LIST_WORDS = {**WORDS, Fault.EMPTY: NO_LIST, Fault.TRUNCATED: NO_LIST}
DELETE_WORDS = {**WORDS, Fault.IN_USE: "sagemaker:{} was refused (ResourceInUse"}
ARN = f"{PLACE}:app/{DOMAIN}/{ALICE}/kernelgateway/one"


@pytest.mark.parametrize("fault", LIST_WORDS, ids=lambda fault: fault.name)
@scenario
async def test_while_the_list_fails_nothing_is_deleted_and_then_all_goes_on(at, sagemaker, clock, fault, impatient):
    """Each in words that name the action; a first retry within a minute; deletion once the cause is gone."""
    impatient(fault)
    place = at("classic")
    await clock.run_for(10)
    sagemaker.fail("ListApps", fault)

    await clock.run_for(TIMEOUT / 2)
    first = sagemaker.count("ListApps")
    await clock.run_for(50)
    second, words = sagemaker.count("ListApps"), place.error()
    await clock.run_for(4 * TIMEOUT)
    day, deleted, shown = sagemaker.count("ListApps"), sagemaker.count("DeleteApp"), place.app("one")
    sagemaker.heal()
    await clock.run_for(3600 + TIMEOUT)

    assert LIST_WORDS[fault].format("ListApps", "*") in words
    assert (second - first, deleted) == (1, 0)
    assert day < 25
    assert shown[1].reason is Reason.UNKNOWN
    assert words in shown[0].error
    assert sagemaker.app("one").status == "Deleting"
    assert place.error() == ""


@pytest.mark.parametrize("fault", DELETE_WORDS, ids=lambda fault: fault.name)
@scenario
async def test_a_deletion_that_fails_is_tried_again_and_done_in_the_end(at, sagemaker, clock, fault, impatient):
    """Another app goes at once all the same, and the error says action and resource."""
    impatient(fault)
    sagemaker.add_app("two", user_profile=ALICE, created=LONG_AGO)
    place = at("classic")
    sagemaker.fail("DeleteApp", fault, app="one")

    await clock.run_for(TIMEOUT + 1)
    other, words = sagemaker.app("two").status, place.error()
    await clock.run_for(50)
    soon = sum(call.parameters.get("AppName") == "one" for call in sagemaker.calls)
    sagemaker.heal()
    await clock.run_for(3600)

    assert other == "Deleting"
    assert DELETE_WORDS[fault].format("DeleteApp", ARN) in words
    assert soon == 2
    assert sagemaker.app("one").status == "Deleting"
    assert place.error() == ""


@pytest.mark.parametrize("fault", [Fault.NOT_FOUND, Fault.ALREADY_DELETED, Fault.AUTO_DELETED])
@scenario
async def test_what_is_gone_already_is_a_success(at, sagemaker, clock, fault):
    """ResourceNotFound and the two ValidationExceptions that say the same."""
    place = at("classic")
    sagemaker.fail("DeleteApp", fault)

    await clock.run_for(TIMEOUT + 120)

    assert [outcome.result for outcome in place.culler.outcomes] == [Result.GONE]
    assert sagemaker.count("DeleteApp") == 1
    assert place.error() == ""


@scenario
async def test_an_app_that_is_deleting_for_twenty_minutes_is_asked_once(at, sagemaker, clock):
    """And looked at a few times; then it is gone from what is shown."""
    at("classic")
    await clock.run_for(TIMEOUT + 1)
    lists = sagemaker.count("ListApps")

    await clock.run_for(1200)
    looked = sagemaker.count("ListApps") - lists
    sagemaker.finish_deleting("one")
    await clock.run_for(TIMEOUT)

    assert sagemaker.count("DeleteApp") == 1
    assert looked <= 5


@scenario
async def test_an_app_whose_deletion_fails_in_the_end_is_reported(at, sagemaker, clock):
    """Status Failed is in the errors until it is gone or in service again, and then it is deleted."""
    place = at("classic")
    await clock.run_for(TIMEOUT + 1)
    sagemaker.set_status("one", "Failed", owner=ALICE)
    await clock.run_for(TIMEOUT)
    words = place.error()

    sagemaker.set_status("one", IN_SERVICE, owner=ALICE)
    await clock.run_for(2 * TIMEOUT)

    assert "app one is in status Failed" in words
    assert sagemaker.app("one").status == "Deleting"


@scenario
async def test_an_app_that_is_created_again_with_its_old_creation_time_has_a_whole_timeout(at, sagemaker, clock):
    """Its name and time are the old ones; memory of the old one is not."""
    at("classic")
    await clock.run_for(TIMEOUT + 1)
    sagemaker.finish_deleting("one")
    await clock.run_for(TIMEOUT)
    again = sagemaker.add_app("one", user_profile=ALICE, created=LONG_AGO, image="datascience-1.0")

    await clock.run_for(TIMEOUT)
    before = again.status
    await clock.run_for(TIMEOUT)

    assert before == IN_SERVICE
    assert again.status == "Deleting"


@scenario
async def test_a_refused_connection_is_said_to_be_no_way_to_sagemaker(at, sagemaker, clock, monkeypatch):
    """A VPC without an endpoint looks like that; kernels are culled all the same."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL_SAGEMAKER", f"http://127.0.0.1:{unused.getsockname()[1]}")
        place = at("space")
        place.kernels.start("k", last_activity=clock.wall)

        await clock.run_for(TIMEOUT + 1)

    assert place.kernels.stopped == ["k"]
    assert "sagemaker:DeleteApp: SageMaker cannot be reached" in place.error()


@scenario
async def test_without_credentials_it_says_so_and_goes_on_once_there_are_some(at, sagemaker, clock, monkeypatch):
    """The credentials are looked for anew at each try."""
    keys = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    found = {name: environment(sagemaker)[name] for name in keys}
    for name in keys:
        monkeypatch.delenv(name)
    place = at("space")
    await clock.run_for(TIMEOUT + 1)
    words = place.error()

    for name, value in found.items():
        monkeypatch.setenv(name, value)
    await clock.run_for(60)

    assert "sagemaker:DeleteApp needs AWS credentials" in words
    assert sagemaker.app("default", owner="lab").status == "Deleting"
    assert place.error() == ""


@scenario
async def test_a_space_without_permission_names_it_backs_off_and_still_culls_kernels(at, sagemaker, clock):
    """So that SageMaker's own idle shutdown can act; and when the permission comes, it is used."""
    sagemaker.fail("DeleteApp", Fault.ACCESS_DENIED)
    place = at("space")
    place.kernels.start("k", last_activity=clock.wall)
    await clock.run_for(TIMEOUT + 1)
    words, stopped = place.error(), list(place.kernels.stopped)
    await clock.run_for(86_400)
    day = sagemaker.count("DeleteApp")

    sagemaker.heal()
    sagemaker.reset_counts()
    while not sagemaker.count():
        await clock.run_for(60)

    assert f"permission sagemaker:DeleteApp on {PLACE}:app/{DOMAIN}/lab/jupyterlab/default is missing" in words
    assert stopped == ["k"]
    assert day < 40
    assert sagemaker.app("default", owner="lab").status == "Deleting"


@scenario
async def test_throttling_is_left_to_botocores_retries_first(sagemaker, clock, tmp_path):
    """Two throttled answers are nothing that anybody hears of."""
    sagemaker.fail("DeleteApp", Fault.THROTTLED, times=2)
    place = Place(sagemaker, clock, "space", tmp_path / "metadata.json")

    await clock.run_for(TIMEOUT + 1)

    assert sagemaker.count("DeleteApp") == 3
    assert [outcome.result for outcome in place.culler.outcomes] == [Result.CULLED]


@scenario
async def test_a_deletion_that_is_not_answered_is_not_sent_again_without_another_look(
    sagemaker, clock, tmp_path, monkeypatch
):
    """Botocore would repeat it, and a kernel may have got work meanwhile; the culler's own retry looks first."""
    monkeypatch.setattr(aws, "READ_SECONDS", 0.3)
    monkeypatch.setattr(calls, "DECIDED_SECONDS", 0.2)
    sagemaker.fail("DeleteApp", Fault.HANG)
    place = Place(sagemaker, clock, "space", tmp_path / "metadata.json")

    await clock.run_for(TIMEOUT + 1)
    first, words = sagemaker.count("DeleteApp"), place.error()
    place.kernels.put("k", last_activity=clock.now())
    sagemaker.heal()
    await clock.run_for(TIMEOUT - 10)

    assert first == 1
    assert "sagemaker:DeleteApp was not answered in" in words
    assert sagemaker.count("DeleteApp") == 1
    assert place.error() == ""


@scenario
async def test_an_app_that_is_said_to_be_gone_and_stays_in_service_is_reported(at, sagemaker, clock):
    """'Already deleted' is believed, until the list has said otherwise for ten minutes; once it is gone, it is over."""
    place = at("classic")
    sagemaker.fail("DeleteApp", Fault.ALREADY_DELETED)

    await clock.run_for(TIMEOUT + 500)
    early = place.error()
    await clock.run_for(3600)
    late, shown = place.error(), place.app("one")
    sagemaker.heal()
    await clock.run_for(3600)

    assert early == ""
    assert "app one is still in service 10 minutes after its deletion" in late
    assert shown[0].state in ("InService", "Deleting")
    assert sagemaker.app("one").status == "Deleting"
    assert place.error() == ""


@scenario
async def test_a_metadata_file_that_is_half_written_at_start_is_read_later(at, sagemaker, clock, tmp_path):
    """Until then it is said why nothing is deleted."""
    place = at("space")
    path = tmp_path / "metadata.json"
    path.write_text(path.read_text()[:40])
    owner = LoggingConfigurable(config=Config({"ResourceMetadataFile": {"path": str(path)}}))
    place.source.apps = make("auto", owner)
    place.source.ledger.refreshed_at = None
    place.culler.watches[Kind.APP].refresh_within(0)
    await clock.run_for(20)
    words = place.error()

    path.write_text(json.dumps(METADATA["space"]))
    await clock.run_for(TIMEOUT + 60)

    assert "cannot be read" in words
    assert sagemaker.count("DeleteApp") == 1
    assert place.error() == ""


# -- what it costs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["space", "classic", "notebook"])
@scenario
async def test_a_day_in_use_costs_at_most_two_calls_per_timeout(at, sagemaker, clock, kind):
    """24 simulated hours with a kernel at work: none per heartbeat."""
    place = at(kind)
    place.kernels.start("k", last_activity=clock.wall, state="busy")
    await clock.run_for(60)
    sagemaker.reset_counts()

    for _ in range(24 * 4):
        place.kernels.put("k", last_activity=clock.wall)
        await clock.run_for(900)

    assert sagemaker.count() <= 2 * 24 * 3600 / TIMEOUT
    assert sagemaker.count("DeleteApp") == 0


@scenario
async def test_a_kernel_that_survived_a_restart_of_the_server_keeps_its_app(at, sagemaker, clock):
    """It is only in the gateway's list, and it is busy."""
    place = at("classic")
    place.kernels.others["k"] = KernelRecord(
        identity="k", state="busy", last_activity=datetime(2026, 1, 1, tzinfo=NOON.tzinfo), app_name="one"
    )

    await clock.run_for(5 * TIMEOUT)

    assert sagemaker.count("DeleteApp") == 0
    assert "kernel k (busy)" in place.app("one")[0].kept_by


@scenario
async def test_a_space_whose_file_spells_its_type_in_lower_case_is_deleted_under_its_proper_name(
    at, sagemaker, clock, monkeypatch
):
    """SageMaker's API knows only JupyterLab."""
    monkeypatch.setitem(METADATA, "space", {**METADATA["space"], "AppType": "jupyterlab"})
    at("space")

    await clock.run_for(TIMEOUT + 1)

    assert sagemaker.app("default", owner="lab").status == "Deleting"


def test_a_refused_signature_is_told_without_the_request_that_it_quotes():
    """AWS's message holds the session token."""
    message = "should have been\n'POST\nx-amz-security-token:IQoJSECRETTOKEN\n'"
    error = ClientError({"Error": {"Code": "InvalidSignatureException", "Message": message}}, "DeleteApp")

    words = str(aws.in_words(error, "sagemaker:DeleteApp", "arn:x"))

    assert "InvalidSignatureException" in words
    assert "SECRETTOKEN" not in words


@scenario
async def test_new_credentials_are_looked_for_when_the_old_ones_have_expired(at, sagemaker, clock):
    """The next try is made with a client of its own."""
    place = at("space")
    sagemaker.fail("DeleteApp", Fault.EXPIRED_TOKEN)
    await clock.run_for(TIMEOUT + 1)
    await place.apps.prepare()
    first = place.apps._client

    sagemaker.heal()
    await clock.run_for(60)

    assert "not valid any more" not in place.error()
    assert sagemaker.count("DeleteApp") == 2
    assert place.apps._client is first


@scenario
async def test_an_app_of_which_sagemaker_says_that_it_is_in_use_for_being_deleted_is_being_deleted(
    at, sagemaker, clock
):
    """The answer to the first request was lost."""
    place = at("space")

    def refuse(message):
        def call(client):
            raise ClientError({"Error": {"Code": "ResourceInUse", "Message": message}}, "DeleteApp")

        return call

    with pytest.raises(GoneError):
        place.apps._call("delete_app", "arn:x", refuse("App default is Deleting"))
    with pytest.raises(CallError):
        place.apps._call("delete_app", "arn:x", refuse("App default is busy"))
