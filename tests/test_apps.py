"""App managers without a network: where a server runs, what is made of it, and what lives on which app."""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import suppress
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from traitlets import TraitError
from traitlets.config import Config, LoggingConfigurable

from culling_manager import apps
from culling_manager.apps import AppManager, JupyterServerProcess, KernelGatewayApps, NoApps, NotebookInstance, SpaceApp
from culling_manager.apps.auto import make
from culling_manager.apps.classic import image_in, image_of_kernel, image_of_spec
from culling_manager.apps.metadata import DEFAULT_PATH, MetadataError, ResourceMetadataFile, parsed
from culling_manager.concurrency import in_thread
from culling_manager.errors import CallError
from culling_manager.records import AppRecord, KernelRecord, TerminalRecord

PLACE = "arn:aws:sagemaker:eu-west-1:123456789012"
SPACE = {
    "AppType": "JupyterLab",
    "DomainId": "d-abc",
    "SpaceName": "lab",
    "ExecutionRoleArn": "arn:aws:iam::123456789012:role/r",
    "ResourceArn": f"{PLACE}:app/d-abc/lab/JupyterLab/default",
    "ResourceName": "default",
    "AppImageVersion": "",
}
CODE_EDITOR = {**SPACE, "AppType": "CodeEditor", "ResourceArn": f"{PLACE}:app/d-abc/lab/CodeEditor/default"}
CLASSIC = {
    "AppType": "JupyterServer",
    "DomainId": "d-abc",
    "UserProfileName": "alice",
    "ResourceArn": f"{PLACE}:app/d-abc/alice/JupyterServer/default",
    "ResourceName": "default",
}
SHARED = {key: value for key, value in CLASSIC.items() if key != "UserProfileName"} | {"SpaceName": "team"}
NOTEBOOK = {"ResourceArn": f"{PLACE}:notebook-instance/mine", "ResourceName": "mine"}
UNIFIED = {**SPACE, "AdditionalMetadata": {"DataZoneScopeName": "x"}}


class Owner(LoggingConfigurable):
    """Stands for the kernel manager, whose configuration app managers share."""


def owner(path=None, **config) -> Owner:
    found = Config(config)
    if path is not None:
        found.ResourceMetadataFile.path = str(path)
    return Owner(config=found)


@pytest.fixture
def metadata(tmp_path):
    """Write a metadata file; gives its path."""

    def write(content):
        path = tmp_path / "resource-metadata.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return write


# -- where a server runs -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "expected", "its_owner"),
    [
        (SPACE, SpaceApp, ("SpaceName", "lab")),
        (UNIFIED, SpaceApp, ("SpaceName", "lab")),
        ({**SPACE, "UserProfileName": "alice"}, SpaceApp, ("SpaceName", "lab")),
        ({**SPACE, "AppType": "jupyterlab"}, SpaceApp, ("SpaceName", "lab")),
        (CODE_EDITOR, SpaceApp, ("SpaceName", "lab")),
        (CLASSIC, KernelGatewayApps, ("UserProfileName", "alice")),
        (SHARED, KernelGatewayApps, ("SpaceName", "team")),
        (NOTEBOOK, NotebookInstance, ("", "")),
    ],
    ids=["space", "unified studio", "both owners", "lower case", "code editor", "classic", "shared space", "notebook"],
)
def test_auto_picks_the_app_manager_for_where_the_server_runs(metadata, content, expected, its_owner):
    """By AppType, or a notebook instance's ARN; the region is the ARN's."""
    found = make("auto", owner(metadata(content)))

    assert type(found) is expected
    assert found.metadata.region == "eu-west-1"
    assert found.metadata.owner == its_owner


def test_the_environment_variable_of_awss_own_extensions_gives_the_path(metadata, monkeypatch):
    """RESOURCE_METADATA_FILE counts where the trait says nothing, and the trait wins."""
    monkeypatch.setenv("RESOURCE_METADATA_FILE", str(metadata(NOTEBOOK)))

    by_variable = make("auto", owner())
    by_trait = make("auto", owner("/no/such/file"))

    assert type(by_variable) is NotebookInstance
    assert type(by_trait) is NoApps


def test_without_the_file_at_its_usual_place_there_are_no_apps_and_nothing_is_wrong(monkeypatch):
    """Plain Jupyter anywhere."""
    monkeypatch.delenv("RESOURCE_METADATA_FILE", raising=False)
    assert not os.path.exists(DEFAULT_PATH)

    found = make("auto", owner())

    assert type(found) is NoApps
    assert DEFAULT_PATH in found.reason
    assert found.again is None


@pytest.mark.parametrize(
    ("place", "wanted", "words"),
    [
        ("CLASSIC", "SpaceApp", "an app of type 'JupyterServer', not on a space's"),
        ("SPACE", "NotebookInstance", "which is no notebook instance"),
        ("NOTEBOOK", "KernelGatewayApps", "which has no apps"),
    ],
)
def test_an_app_manager_that_is_configured_in_the_wrong_place_deletes_nothing(metadata, place, wanted, words):
    """Above all not the JupyterServer app, nor another instance that happens to have that name."""
    found = make(f"culling_manager.apps.{wanted}", owner(metadata(globals()[place])))

    assert type(found) is NoApps
    assert words in found.reason
    assert found.again is not None


def test_a_pipe_in_place_of_the_file_does_not_hang_the_start(tmp_path):
    """Whatever somebody has put there."""
    path = tmp_path / "resource-metadata.json"
    os.mkfifo(path)

    found = make("auto", owner(path))

    assert type(found) is NoApps
    assert "cannot be read" in found.reason


SURPRISES = {
    "empty": "",
    "half-written": json.dumps(SPACE)[:-30],
    "a list": [SPACE],
    "a number": "1",
    "no ARN": {"AppType": "JupyterLab"},
    "another ARN": {**SPACE, "ResourceArn": "arn:aws:s3:::bucket"},
    "a training job": {**SPACE, "ResourceArn": f"{PLACE}:training-job/x"},
    "an ARN that is a number": {**SPACE, "ResourceArn": 7},
    "a name that is a list": {**SPACE, "SpaceName": ["lab"]},
    "nobody's": {key: value for key, value in SPACE.items() if key != "SpaceName"},
    "a kernel gateway": {**CLASSIC, "AppType": "KernelGateway"},
    "Canvas": {**CLASSIC, "AppType": "Canvas"},
    "no type": {**CLASSIC, "AppType": None},
    "nested too deeply": "[" * 100_000,
    "not text": "\udcff",
}


@pytest.mark.parametrize("content", SURPRISES.values(), ids=SURPRISES)
def test_a_surprising_file_means_no_apps_a_reason_and_another_try(tmp_path, content):
    """Never a crash; what is half-written now may be whole in a moment."""
    path = tmp_path / "resource-metadata.json"
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_bytes(text.encode("utf-8", "surrogateescape"))

    found = make("auto", owner(path))
    path.write_text(json.dumps(SPACE))
    later = found.again()

    assert type(found) is NoApps
    assert len(found.reason) > 20
    assert type(later) is SpaceApp


@pytest.mark.parametrize("wanted", ["auto", "culling_manager.apps.SpaceApp", SpaceApp])
def test_a_configured_file_that_is_missing_is_a_reason_and_another_try(tmp_path, wanted):
    """Somebody said that there is one."""
    found = make(wanted, owner(tmp_path / "missing.json"))

    assert type(found) is NoApps
    assert "missing.json" in found.reason
    assert type(found.again()) is NoApps


def test_a_directory_or_a_file_without_permission_is_a_reason(tmp_path):
    """Whatever the operating system says."""
    assert "cannot be read" in make("auto", owner(tmp_path)).reason


keys = st.sampled_from([*SPACE, "UserProfileName", "AdditionalMetadata"])
values = st.one_of(
    st.none(), st.text(max_size=20), st.integers(), st.sampled_from([*SPACE.values(), *CLASSIC.values()])
)


@given(st.dictionaries(keys, values))
def test_whatever_the_file_says_it_is_understood_or_refused_in_words(content):
    """No other error than the one that says what is wrong."""
    found = None
    with suppress(MetadataError):
        found = parsed(content, "file")

    assert found is None or (found.region and (found.is_notebook_instance or all(found.owner)))


def test_the_arn_for_authorization_has_the_app_type_in_lower_case(metadata):
    """As AWS's denials show it."""
    found = ResourceMetadataFile(config=Config({"ResourceMetadataFile": {"path": str(metadata(SPACE))}})).read()

    assert found.app_arn("JupyterLab", "default") == f"{PLACE}:app/d-abc/lab/jupyterlab/default"


# -- which class ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("culling_manager.apps.NoApps", NoApps),
        (NoApps, NoApps),
        ("culling_manager.apps.JupyterServerProcess", JupyterServerProcess),
        (JupyterServerProcess, JupyterServerProcess),
    ],
)
def test_an_app_manager_can_be_named_or_given(wanted, expected):
    """By import name as on the command line, or as a class."""
    assert type(make(wanted, owner())) is expected


@pytest.mark.parametrize(
    "wanted", ["nonsense", "culling_manager.apps.Nonsense", "os.path", "json.JSONDecoder", dict, "no.such.module"]
)
def test_what_is_no_app_manager_is_refused_with_name_value_and_what_is_accepted(wanted):
    """At start, as other bad configuration."""
    with pytest.raises(TraitError, match=r"app_manager_class = .* is not accepted: it must be 'auto', or a subclass"):
        make(wanted, owner())


def test_the_front_door_of_apps_names_what_it_has():
    """Lazily, as the package's own."""
    assert set(apps.__all__) <= set(dir(apps))
    with pytest.raises(AttributeError, match="has no attribute 'Nonsense'"):
        apps.Nonsense  # noqa: B018


def test_protected_names_are_patterns_and_a_space_goes_by_its_own_name_too(metadata):
    """Every space's app is called 'default'."""
    found = make("auto", owner(metadata(SPACE), AppManager={"keep_apps": ["la?"]}))
    other = make("auto", owner(metadata(SPACE), SpaceApp={"keep_apps": ["LAB", "x*"]}))

    assert found.is_protected("default")
    assert not other.is_protected("default")


# -- what lives where, in Studio Classic -----------------------------------------------------------------

IMAGES = f"{PLACE}:image"


@pytest.fixture
def classic(metadata) -> KernelGatewayApps:
    """An app manager in Studio Classic that has listed five apps."""
    found = make("auto", owner(metadata(CLASSIC)))
    found._images = {
        name: image_of_spec(spec)
        for name, spec in {
            "science": {"SageMakerImageArn": f"{IMAGES}/datascience-1.0"},
            "science-big": {"SageMakerImageArn": f"{IMAGES}/datascience-1.0"},
            "custom-1": {
                "SageMakerImageArn": f"{IMAGES}/custom",
                "SageMakerImageVersionArn": f"{PLACE}:image-version/custom/1",
            },
            "custom-2": {
                "SageMakerImageVersionArn": f"{PLACE}:image-version/custom/2",
                "SageMakerImageVersionAlias": "2.0",
            },
        }.items()
    }
    return found


APPS = {
    name: AppRecord(identity=name, name=name, app_type="KernelGateway", state="InService", instance_type=instance_type)
    for name, instance_type in {
        "science": "ml.t3.medium",
        "science-big": "ml.g5.xlarge",
        "custom-1": "ml.t3.medium",
        "custom-2": "ml.t3.medium",
        "unknown": None,
    }.items()
}
SCIENCE = f"python3__SAGEMAKER_INTERNAL__{IMAGES}/datascience-1.0"
CUSTOM = f"conda-env-x-py__SAGEMAKER_INTERNAL__{IMAGES}/custom"
ALL = set(APPS)


@pytest.mark.parametrize(
    ("kernel", "expected"),
    [
        ({"app_name": "science"}, {"science"}),
        ({"app_name": "custom-2", "name": SCIENCE, "instance_type": "ml.t3.medium"}, {"custom-2"}),
        ({"name": SCIENCE, "instance_type": "ml.t3.medium"}, {"science", "unknown"}),
        ({"name": SCIENCE, "instance_type": "ml.g5.xlarge"}, {"science-big", "unknown"}),
        ({"name": SCIENCE}, {"science", "science-big", "unknown"}),
        ({"name": SCIENCE, "instance_type": "ml.p5.48xlarge"}, {"unknown"}),
        ({"name": CUSTOM}, {"custom-1", "custom-2", "unknown"}),
        ({"name": f"{CUSTOM}/1"}, {"custom-1", "unknown"}),
        ({"name": f"{CUSTOM}/2"}, {"custom-2", "unknown"}),
        ({"name": f"{CUSTOM}/2.0"}, {"custom-1", "custom-2", "unknown"}),  # number 1 may have that alias
        ({"name": f"{CUSTOM}/3.0"}, {"custom-1", "unknown"}),
        ({"name": f"{CUSTOM}/7"}, {"unknown"}),
        ({"name": SCIENCE, "instance_type": "system"}, {"science", "science-big", "unknown"}),
        ({"name": SCIENCE.upper()}, ALL),
        ({"name": "python3"}, ALL),
        ({"name": "python3", "instance_type": "ml.t3.medium"}, {"science", "custom-1", "custom-2", "unknown"}),
        ({"name": "x__SAGEMAKER_INTERNAL__arn:nonsense"}, ALL),
        ({"app_name": "of-somebody-else", "name": "python3"}, ALL),
    ],
)
def test_a_kernel_is_on_the_app_that_its_model_names_else_on_all_that_could_be_meant(classic, kernel, expected):
    """Name first, then image, instance type, version; each narrows only while something is left."""
    record = KernelRecord(identity="k", state="idle", last_activity=None, **{"name": "", **kernel})

    assert set(classic.apps_of_kernel(record, APPS)) == expected


@pytest.mark.parametrize(
    "other",
    ["arn:aws:sagemaker:us-east-1:123456789012:image/custom", "arn:aws:sagemaker:eu-west-1:210987654321:image/custom"],
)
def test_an_image_of_another_region_or_account_is_another_one(classic, other):
    """They may all be called 'custom'."""
    record = KernelRecord(identity="k", name=f"x__SAGEMAKER_INTERNAL__{other}", state="idle", last_activity=None)

    assert set(classic.apps_of_kernel(record, APPS)) == {"unknown"}


def test_apps_of_others_and_of_other_types_are_not_ours_whatever_is_answered(classic):
    """The filter of the request is not taken on trust."""
    mine = {"AppType": "KernelGateway", "AppName": "a", "UserProfileName": "alice"}

    assert classic._is_ours(mine)
    assert not classic._is_ours({**mine, "UserProfileName": "bob"})
    assert not classic._is_ours({**mine, "AppType": "JupyterServer"})
    assert not classic._is_ours({**mine, "AppName": ""})


def test_a_kernel_is_not_on_an_app_that_has_ended(classic):
    """It stays listed for a day."""
    ended = {**APPS, "science": APPS["science"]._replace(state="Deleted")}
    record = KernelRecord(identity="k", name=SCIENCE, state="idle", last_activity=None, instance_type="ml.t3.medium")

    assert set(classic.apps_of_kernel(record, ended)) == {"unknown"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (f"{IMAGES}/datascience-1.0__1__ml.t3.medium", {"science", "unknown"}),
        (f"{IMAGES}/datascience-1.0__12__ml.g5.xlarge", {"science-big", "unknown"}),
        (f"{IMAGES}/custom/2__1__ml.t3.medium", {"custom-2", "unknown"}),
        ("arn:something:new", ALL),
        ("1", set()),
    ],
)
def test_an_image_terminal_is_on_the_apps_of_its_image_and_a_system_terminal_on_none(classic, name, expected):
    """Its name says image and instance type; doubt counts for all."""
    record = TerminalRecord(identity=name, last_activity=None)

    placed = classic.place(record)

    assert set(classic.apps_of_terminal(record, APPS)) == expected
    assert placed.with_app == name.startswith("arn:")
    assert placed.billed == name.startswith("arn:")


def test_the_default_instance_type_may_be_any(classic):
    """`system` stands for ml.t3.medium there, so it is no proof against a kernel."""
    listed = {"science": APPS["science"]._replace(instance_type="system"), "science-big": APPS["science-big"]}
    record = KernelRecord(identity="k", name=SCIENCE, state="idle", last_activity=None, instance_type="ml.t3.medium")

    assert classic.apps_of_kernel(record, listed) == ["science"]


@pytest.mark.parametrize(
    ("kernel", "known"),
    [
        ({"app_name": "science"}, True),
        ({"app_name": "new"}, False),
        ({"name": SCIENCE}, True),
        ({"name": f"x__SAGEMAKER_INTERNAL__{IMAGES}/new"}, True),
        ({"name": SCIENCE, "instance_type": "ml.g5.xlarge"}, True),
        ({"name": "python3"}, True),
    ],
)
def test_a_kernel_whose_app_is_not_known_has_them_listed_again(classic, kernel, known):
    """An app without a known image may be its home; one that is named and not there is not, nor one of another type."""
    record = KernelRecord(identity="k", state="idle", last_activity=None, **{"name": "", **kernel})

    assert classic.knows_home_of(record, APPS) is known
    assert not classic.knows_home_of(record, {})
    on_another = {name: app for name, app in APPS.items() if app.instance_type == "ml.t3.medium"}
    elsewhere = {"name": SCIENCE, "instance_type": "ml.p5.48xlarge"}
    assert not classic.knows_home_of(record._replace(app_name=None, **elsewhere), on_another)


@pytest.mark.parametrize(
    ("arn", "expected"),
    [
        (f"{IMAGES}/datascience-1.0", ("eu-west-1", "123456789012", "datascience-1.0", set())),
        (f"{IMAGES}/Custom/3", ("eu-west-1", "123456789012", "custom", {"3"})),
        (f"{PLACE}:image-version/custom/3", ("eu-west-1", "123456789012", "custom", {"3"})),
        ("arn:aws-cn:sagemaker:cn-north-1:1:image/x/2.1", ("cn-north-1", "1", "x", {"2.1"})),
        ("None", None),
        ("", None),
        (f"{PLACE}:app/x", None),
    ],
)
def test_image_arns_are_read_in_all_their_forms(arn, expected):
    """With a version or without, of the image or of its version."""
    found = image_in(arn)

    assert expected == (found and (found.region, found.account, found.name, set(found.versions)))


def test_a_spec_may_hold_the_word_none():
    """SageMaker writes the text `None` where there is no version."""
    spec = {
        "SageMakerImageArn": f"{IMAGES}/x",
        "SageMakerImageVersionArn": "None",
        "SageMakerImageVersionAlias": "None",
    }

    assert image_of_spec(spec).versions == frozenset()
    assert image_of_spec({}) is None
    assert image_of_kernel("python3") is None


@given(st.text(max_size=80))
def test_no_name_whatsoever_breaks_the_mapping(text):
    """Hostile names of kernels and terminals end in doubt, which keeps."""
    image_in(text)
    image_of_kernel("k__SAGEMAKER_INTERNAL__arn:" + text)


# -- the rest ---------------------------------------------------------------------------------------------


def test_an_app_manager_of_ones_own_needs_two_methods():
    """Everything else has a default: one app that all kernels and terminals live on."""

    class Mine(AppManager):
        stopped: ClassVar[list[str]] = []

        async def list_apps(self):
            return [AppRecord(identity="vm", name="vm", state="InService")]

        async def delete_app(self, app):
            self.stopped.append(app.name)

    found = make(Mine, owner())
    listed = {app.identity: app for app in asyncio.run(found.list_apps())}
    kernel = KernelRecord(identity="k", state="idle", last_activity=None)

    assert found.apps_of_kernel(kernel, listed) == ["vm"]
    assert found.apps_of_terminal(TerminalRecord(identity="1", last_activity=None), listed) == ["vm"]
    assert found.knows_home_of(kernel, listed)
    assert asyncio.run(found.look_again(listed["vm"])) == listed["vm"]


def test_a_server_process_without_a_server_says_so():
    """A manager in somebody's own program stops nothing."""
    found = make("culling_manager.apps.JupyterServerProcess", owner())
    (app,) = asyncio.run(found.list_apps())

    with pytest.raises(CallError, match="no Jupyter Server"):
        asyncio.run(found.delete_app(app))


def test_only_kernel_gateway_apps_are_ever_deleted(classic):
    """Whatever somebody puts into the list."""
    with pytest.raises(CallError, match="never deleted"):
        asyncio.run(classic.delete_app(APPS["science"]._replace(app_type="JupyterServer")))


def test_work_in_a_thread_gives_its_result_or_its_error():
    """As if it had been called."""
    assert asyncio.run(in_thread(lambda: 7)) == 7
    with pytest.raises(ZeroDivisionError):
        asyncio.run(in_thread(lambda: 1 / 0))


def test_a_manager_outside_a_server_has_no_apps(metadata, monkeypatch):
    """In somebody's own program, on SageMaker, nothing of the machine is ours to stop."""
    from culling_manager import CullingKernelManager

    monkeypatch.setenv("RESOURCE_METADATA_FILE", str(metadata(SPACE)))

    async def check():
        manager = CullingKernelManager(parent=None)
        other = CullingKernelManager(app_manager_class="culling_manager.apps.JupyterServerProcess")
        return manager._culler.neighbours, other._culler.neighbours

    assert asyncio.run(check()) == (None, None)
