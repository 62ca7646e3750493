"""`lcc/attach_lifecycle_config.py`: every call is checked against botocore's model, and nothing else is changed."""

from __future__ import annotations

import base64
import importlib.util
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.stub import ANY, Stubber

SCRIPT = Path(__file__).parents[1] / "lcc" / "attach_lifecycle_config.py"
PLACE = "arn:aws:sagemaker:eu-west-1:123456789012:studio-lifecycle-config"
OTHER = f"{PLACE}/somebody-elses"
DOMAIN = "d-abcdefghijkl"


def load() -> Any:
    spec = importlib.util.spec_from_file_location("attach_lifecycle_config", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


attach = load()


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch):
    """boto3's client with answers that the test gives; parameters are validated against the model."""
    client = boto3.client("sagemaker", "eu-west-1", aws_access_key_id="x", aws_secret_access_key="y")
    monkeypatch.setattr(boto3, "client", lambda *_args, **_named: client)
    with Stubber(client) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "on-jupyterlab-start.sh"
    path.write_text("#!/bin/bash\necho hello\n")
    return path


def config_name(script: Path, app_type: str = "jupyterlab") -> str:
    import hashlib

    content = attach.content_of(script)
    return f"culling-manager-{app_type}-{hashlib.sha256(content.encode()).hexdigest()[:12]}"


def test_it_creates_the_configuration_and_makes_it_the_default_keeping_everything_else(stub, script, capsys):
    """Other lifecycle configurations, images and instance types stay; an earlier version of ours goes."""
    name = config_name(script)
    arn, old = f"{PLACE}/{name}", f"{PLACE}/culling-manager-jupyterlab-0123456789ab"
    lab = {"LifecycleConfigArns": [OTHER, old], "DefaultResourceSpec": {"InstanceType": "ml.t3.medium"}}
    role = "arn:aws:iam::123456789012:role/r"
    stub.add_client_error("describe_studio_lifecycle_config", "ResourceNotFound")
    stub.add_response(
        "create_studio_lifecycle_config",
        {"StudioLifecycleConfigArn": arn},
        {
            "StudioLifecycleConfigName": name,
            "StudioLifecycleConfigContent": ANY,
            "StudioLifecycleConfigAppType": "JupyterLab",
        },
    )
    user = {"ExecutionRole": role, "JupyterLabAppSettings": lab, "SecurityGroups": ["sg-12345678"]}
    stub.add_response(
        "describe_domain",
        {"DomainId": DOMAIN, "DefaultUserSettings": user, "DefaultSpaceSettings": {"ExecutionRole": role}},
    )
    spec = {"InstanceType": "ml.t3.medium", "LifecycleConfigArn": arn}
    stub.add_response(
        "update_domain",
        {},
        {
            "DomainId": DOMAIN,
            "DefaultUserSettings": {
                "ExecutionRole": role,
                "JupyterLabAppSettings": {"LifecycleConfigArns": [OTHER, arn], "DefaultResourceSpec": spec},
            },
            "DefaultSpaceSettings": {
                "ExecutionRole": role,
                "JupyterLabAppSettings": {
                    "LifecycleConfigArns": [arn],
                    "DefaultResourceSpec": {"LifecycleConfigArn": arn},
                },
            },
        },
    )

    code = attach.main([str(script), "--domain-id", DOMAIN])

    told = json.loads(capsys.readouterr().out)
    assert code == 0
    assert told["lifecycle_config"] == arn
    assert told["result"] == "set in DefaultSpaceSettings and DefaultUserSettings"
    assert told["region"] == "eu-west-1"


def test_a_second_run_changes_nothing(stub, script, capsys):
    """The configuration is there and is the default."""
    arn = f"{PLACE}/{config_name(script)}"
    lab = {"LifecycleConfigArns": [arn], "DefaultResourceSpec": {"LifecycleConfigArn": arn}}
    stub.add_response("describe_studio_lifecycle_config", {"StudioLifecycleConfigArn": arn})
    stub.add_response("describe_domain", {"DomainId": DOMAIN, "DefaultUserSettings": {"JupyterLabAppSettings": lab}})

    assert attach.main([str(script), "--domain-id", DOMAIN]) == 0
    assert "already" in capsys.readouterr().out


def test_a_default_of_somebody_else_that_is_replaced_is_named(stub, script, capsys):
    """It stays attached, and does not run by itself any more; and settings that are not there are named, too."""
    arn, theirs = f"{PLACE}/{config_name(script)}", f"{PLACE}/company-security-setup"
    lab = {"LifecycleConfigArns": [theirs], "DefaultResourceSpec": {"LifecycleConfigArn": theirs}}
    both = {"LifecycleConfigArns": [theirs, arn], "DefaultResourceSpec": {"LifecycleConfigArn": arn}}
    stub.add_response("describe_studio_lifecycle_config", {"StudioLifecycleConfigArn": arn})
    stub.add_response("describe_domain", {"DomainId": DOMAIN, "DefaultUserSettings": {"JupyterLabAppSettings": lab}})
    update = {"DomainId": DOMAIN, "DefaultUserSettings": {"JupyterLabAppSettings": both}}
    stub.add_response("update_domain", {}, update)

    assert attach.main([str(script), "--domain-id", DOMAIN]) == 0
    told = capsys.readouterr().err
    assert f"{theirs} was the default in DefaultUserSettings: it stays attached" in told
    assert f"{DOMAIN} has no DefaultSpaceSettings, so nothing is set for shared spaces" in told


def test_without_boto3_it_says_what_to_install(script, capsys, monkeypatch):
    """And not that AWS refused."""
    monkeypatch.setitem(sys.modules, "boto3", None)

    assert attach.main([str(script), "--domain-id", DOMAIN]) == 2
    assert "pip install boto3" in capsys.readouterr().err


def test_for_classic_the_instance_type_is_system(stub, tmp_path, capsys):
    """JupyterServer apps know no other."""
    script = tmp_path / "on-jupyter-server-start.sh"
    script.write_text("#!/bin/bash\n")
    arn = f"{PLACE}/{config_name(script, 'jupyterserver')}"
    stub.add_response("describe_studio_lifecycle_config", {"StudioLifecycleConfigArn": arn})
    stub.add_response("describe_domain", {"DomainId": DOMAIN, "DefaultUserSettings": {}})
    spec = {"LifecycleConfigArn": arn, "InstanceType": "system"}
    stub.add_response(
        "update_domain",
        {},
        {
            "DomainId": DOMAIN,
            "DefaultUserSettings": {
                "JupyterServerAppSettings": {"LifecycleConfigArns": [arn], "DefaultResourceSpec": spec}
            },
        },
    )

    assert attach.main([str(script), "--domain-id", DOMAIN]) == 0


def test_a_refusal_of_aws_is_told_and_exits_with_one(stub, script, capsys):
    """With AWS's own words."""
    stub.add_client_error("describe_studio_lifecycle_config", "AccessDeniedException", "not authorized to perform")

    assert attach.main([str(script), "--domain-id", DOMAIN]) == 1
    assert "not authorized" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("on-notebook-instance-start.sh", "echo\n", "update-notebook-instance --notebook-instance-name NAME"),
        ("on-jupyterlab-start.sh", "x" * 13_000, "16384"),
        ("something.sh", "echo\n", "--app-type"),
        ("on-jupyterlab-start.sh", None, "cannot be read"),
        ("on-jupyterlab-start.sh", "STRICT=0\nBUNDLE='s3://b/k\n", "refused by bash: "),
        ("on-jupyterlab-start.sh", "BUNDLE=''             # s3://bucket/key\n", "empty BUNDLE in line 1"),
        ("on-jupyterlab-start.sh", "BUNDLE=\n", "empty BUNDLE in line 1"),
        ("on-jupyterlab-start.sh", 'BUNDLE=""\n', "empty BUNDLE in line 1"),
        ("on-jupyterlab-start.sh", "STRICT=0\nTIMEOUT_IN_MINS = 120\n", "after TIMEOUT_IN_MINS in line 2"),
        ("on-jupyterlab-start.sh", "KEEP_TERMINALS= false # true: kept\n", "after KEEP_TERMINALS in line 1"),
        ("on-jupyterlab-start.sh", "STRICT =0\n", "after STRICT in line 1"),
    ],
)
def test_a_script_that_sagemaker_would_not_run_is_refused_before_any_call(tmp_path, capsys, name, text, words):
    """Windows line ends, too long, of no known type, not there, mistyped, with settings that cannot be meant so."""
    if words.startswith("refused by bash") and shutil.which("bash") is None:
        pytest.skip("no bash on this machine")
    if text is not None:
        (tmp_path / name).write_bytes(text.encode())

    assert attach.main([str(tmp_path / name), "--domain-id", DOMAIN]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("name", ["on-jupyterlab-start.sh", "on-jupyter-server-start.sh"])
def test_our_scripts_are_taken_once_they_have_a_bundle(tmp_path, capsys, monkeypatch, name):
    """As they are they have none; a machine without bash takes them, too."""
    text = SCRIPT.with_name(name).read_text()
    path = tmp_path / name
    command = [str(path), "--domain-id", DOMAIN, "--dry-run"]

    path.write_bytes(text.encode())
    assert attach.main(command) == 2
    assert "empty BUNDLE" in capsys.readouterr().err
    path.write_bytes(text.replace("BUNDLE=''", "BUNDLE='s3://bucket/my key.tar.gz'").encode())
    assert attach.main(command) == 0
    monkeypatch.setattr(attach.shutil, "which", lambda _name: None)
    assert attach.main(command) == 0


def test_a_rehearsal_calls_nothing(script, capsys):
    """`--dry-run` needs no credentials."""
    assert attach.main([str(script), "--domain-id", DOMAIN, "--dry-run"]) == 0
    assert "would create" in capsys.readouterr().out


def test_windows_line_ends_are_put_right(tmp_path, capsys):
    """What is sent is what would run; it is said."""
    path = tmp_path / "on-jupyterlab-start.sh"
    path.write_bytes(b"#!/bin/bash\r\necho hello\r\n")

    content = attach.content_of(path)

    assert base64.b64decode(content) == b"#!/bin/bash\necho hello\n"
    assert "CRLF" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["on-jupyterlab-start.sh", "on-jupyter-server-start.sh"])
def test_a_script_of_ours_with_windows_line_ends_is_checked_and_taken_as_it_would_run(tmp_path, capsys, name):
    """As an editor on Windows leaves it: its own check passes, and finds a mistake."""
    text = SCRIPT.with_name(name).read_text().replace("BUNDLE=''", "BUNDLE='s3://bucket/key'").replace("\n", "\r\n")
    path, command = tmp_path / name, [str(tmp_path / name), "--domain-id", DOMAIN, "--dry-run"]

    path.write_bytes(text.encode())
    good = attach.main(command)
    path.write_bytes(text.replace("\nTIMEOUT_IN_MINS=120", "\nTIMEOUT_IN_MINS=2h").encode())
    bad = attach.main(command)

    told = capsys.readouterr().err
    assert (good, bad) == (0, 2)
    assert "sent without" in told
    assert "TIMEOUT_IN_MINS is '2h'" in told


@pytest.mark.parametrize(
    ("options", "where"), [([], "the region that is configured"), (["--region", "eu-x-1"], "eu-x-1")]
)
@pytest.mark.parametrize("off", [[], ["--detach"]])
def test_a_rehearsal_says_in_which_region(script, capsys, options, where, off):
    """A domain's id does not tell it, and another region has another domain."""
    assert attach.main([str(script), "--domain-id", DOMAIN, "--dry-run", *off, *options]) == 0
    assert f"{DOMAIN} in {where}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("TIMEOUT_IN_MINS=120", "TIMEOUT_IN_MINS=2h", "TIMEOUT_IN_MINS is '2h', and must be a whole number"),
        ("DRY_RUN=false", "DRY_RUN=maybe", "DRY_RUN is 'maybe', and must be true or false"),
        ("EXTRA_SETTINGS=''", "EXTRA_SETTINGS='{1}'", "EXTRA_SETTINGS of the script"),
        ("EXTRA_SETTINGS=''", "EXTRA_SETTINGS='[1]'", "has to be a JSON object of objects"),
        ("KEEP_TERMINALS=false", "KEEP_TERMINALS=maybe", "KEEP_TERMINALS is 'maybe'"),
    ],
)
@pytest.mark.parametrize("name", ["on-jupyterlab-start.sh", "on-jupyter-server-start.sh"])
def test_the_script_checks_its_settings_before_it_is_sent(tmp_path, capsys, name, old, new, words):
    """Today's mistake would otherwise show when an app starts."""
    text = SCRIPT.with_name(name).read_text().replace("BUNDLE=''", "BUNDLE='s3://bucket/key'")
    assert text.count(f"\n{old}") == 1
    path = tmp_path / name
    path.write_text(text.replace(f"\n{old}", f"\n{new}"))

    assert attach.main([str(path), "--domain-id", DOMAIN]) == 2
    assert words in capsys.readouterr().err


def test_a_script_that_is_not_there_is_said_to_be_missing(tmp_path, capsys):
    """Before anybody is asked for which app it is, which a wrong path cannot tell."""
    assert attach.main([str(tmp_path / "on-jupyter-start.sh"), "--domain-id", DOMAIN]) == 2

    told = capsys.readouterr().err
    assert f"there is no script {tmp_path / 'on-jupyter-start.sh'}: it is one of on-jupyter-server-start.sh, " in told
    assert "--app-type" not in told


def test_detaching_takes_ours_off_and_leaves_what_others_attached(stub, script, capsys):
    """Whatever version it was; a default of somebody else's stays the default."""
    ours = f"{PLACE}/culling-manager-jupyterlab-0123456789ab"
    spec = {"InstanceType": "ml.t3.medium"}
    user = {"LifecycleConfigArns": [OTHER, ours], "DefaultResourceSpec": {**spec, "LifecycleConfigArn": ours}}
    space = {"LifecycleConfigArns": [ours], "DefaultResourceSpec": {**spec, "LifecycleConfigArn": OTHER}}
    settings = {
        "DefaultUserSettings": {"JupyterLabAppSettings": user},
        "DefaultSpaceSettings": {"JupyterLabAppSettings": space},
    }
    stub.add_response("describe_domain", {"DomainId": DOMAIN, **settings})
    after = {
        "DefaultUserSettings": {"JupyterLabAppSettings": {"LifecycleConfigArns": [OTHER], "DefaultResourceSpec": spec}},
        "DefaultSpaceSettings": {
            "JupyterLabAppSettings": {
                "LifecycleConfigArns": [], "DefaultResourceSpec": {**spec, "LifecycleConfigArn": OTHER},
            }
        },
    }  # fmt: skip
    stub.add_response("update_domain", {}, {"DomainId": DOMAIN, **after})
    stub.add_response("describe_domain", {"DomainId": DOMAIN, **after})

    codes = [attach.main([str(script), "--domain-id", DOMAIN, "--detach"]) for _ in range(2)]

    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert codes == [0, 0]
    assert lines[0]["result"] == "taken off DefaultSpaceSettings and DefaultUserSettings"
    assert lines[1]["result"] == "none of ours was attached"
