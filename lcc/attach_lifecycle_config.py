#!/usr/bin/env python3
"""Make one of the lifecycle scripts here the default of a SageMaker domain.

Creates a Studio lifecycle configuration from the script, under a name that says its content, and sets it as the
domain's default for that app type, in user profiles' and shared spaces' defaults. Other settings of the domain, and
other lifecycle configurations attached to it, stay; one of somebody else's that was the default until now does not run
by itself any more, which is said. Running it twice changes nothing the second time. Apps pick the default up when they
are started the next time. With --detach it is taken off again, and what somebody else attached stays.

Before anything is sent, the script checks its own settings; Windows line ends are put right. For a notebook instance
it says which commands do it.

Needs boto3 and sagemaker:CreateStudioLifecycleConfig, DescribeStudioLifecycleConfig, DescribeDomain, UpdateDomain.

exit codes: 0 attached or detached (or was so already); 1 AWS refused; 2 usage.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: SageMaker takes scripts of up to this many characters, base64-encoded.
LONGEST = 16_384
#: Which script is for which app type.
APP_TYPES = {"on-jupyterlab-start.sh": "JupyterLab", "on-jupyter-server-start.sh": "JupyterServer"}
#: What is not for a domain, and what to do with it instead.
NOTEBOOK = "on-notebook-instance-start.sh"
NOTEBOOK_WORDS = """is for notebook instances, which no domain has. Use instead:
  aws sagemaker create-notebook-instance-lifecycle-config --notebook-instance-lifecycle-config-name culling-manager \\
    --on-start "Content=$(tr -d '\\r' <{script} | base64 -w0)"
  aws sagemaker update-notebook-instance --notebook-instance-name NAME --lifecycle-config-name culling-manager"""

#: Whom the settings of a domain are for.
FOR_WHOM = {"DefaultUserSettings": "user profiles and their private spaces", "DefaultSpaceSettings": "shared spaces"}


class Refused(Exception):
    """What was asked for cannot be done; the words say why."""


def check_text(script: Path, text: bytes) -> None:
    """Raises Refused when bash would not run the script, or its settings cannot be meant so."""
    for number, line in enumerate(text.decode(errors="replace").split("\n"), 1):
        if found := re.match(r"\s*([A-Z][A-Z0-9_]*)(?:\s+=(?!=)|=[ \t]+[^\s#])", line):
            raise Refused(f"the script {script} has blanks around `=` after {found[1]} in line {number}: remove them")
        if re.match(r"""\s*BUNDLE=(?:''|"")?\s*(?:#.*)?$""", line):
            raise Refused(f"the script {script} has an empty BUNDLE in line {number}: say where the bundle is")
    bash = shutil.which("bash")
    if bash is None:
        return
    env = {**os.environ, "LC_ALL": "C"}
    done = subprocess.run([bash, "-n"], input=text, env=env, capture_output=True, check=False)  # noqa: S603
    said = done.stderr.decode(errors="replace").strip()
    if done.returncode and "line " in said:  # without, it is not the script: Windows has a bash that only starts WSL
        raise Refused(f"the script {script} is refused by bash: {said.splitlines()[0]}")
    if b"\ncheck_settings() {" in text:
        check_settings(script, bash, text)


def check_settings(script: Path, bash: str, text: bytes) -> None:
    """Have the script check its own settings, nothing else. Raises Refused in the script's words."""
    if found := re.search(rb"(?m)^EXTRA_SETTINGS='([^'\n]+)'", text):
        try:
            extra = json.loads(found[1])
        except ValueError as error:
            raise Refused(f"EXTRA_SETTINGS of the script {script} is no JSON: {error}") from error
        if not all(isinstance(each, dict) for each in (extra, *(extra.values() if isinstance(extra, dict) else ()))):
            raise Refused(f"EXTRA_SETTINGS of the script {script} has to be a JSON object of objects")
    env = {name: os.environ[name] for name in ("PATH", "HOME", "SYSTEMROOT") if name in os.environ}
    command = [bash, "-s", "--", "--check"]
    try:
        done = subprocess.run(command, input=text, env=env, capture_output=True, check=False, timeout=60)  # noqa: S603
    except subprocess.TimeoutExpired:
        raise Refused(f"the script {script} does not end when it is to check its settings") from None
    said = re.search(r"auto-shutdown: ERROR: (.*)", done.stderr.decode(errors="replace"))
    if said:
        raise Refused(f"the script {script} refuses its settings: {said[1].removesuffix(' Nothing was changed.')}")


def content_of(script: Path) -> str:
    """The script as SageMaker takes it. Raises Refused when it is not there, has a fault, or is too long."""
    try:
        text = script.read_bytes()
    except OSError as error:
        raise Refused(f"the script {script} cannot be read: {error.strerror}") from error
    if b"\r\n" in text:
        text = text.replace(b"\r\n", b"\n")
        warn(f"the script {script} has Windows line ends (CRLF), with which it would not run: sent without")
    check_text(script, text)
    encoded = base64.b64encode(text).decode()
    if len(encoded) > LONGEST:
        raise Refused(f"the script {script} has {len(encoded)} characters in base64; SageMaker takes {LONGEST}")
    return encoded


def app_type_of(script: Path, wanted: str | None) -> str:
    """The app type that a script is for. Raises Refused when that cannot be told."""
    if script.name == NOTEBOOK:
        raise Refused(f"{script} {NOTEBOOK_WORDS.format(script=script)}")
    found = wanted or APP_TYPES.get(script.name)
    if found is None and not script.is_file():
        raise Refused(f"there is no script {script}: it is one of {', '.join(sorted(APP_TYPES))} in lcc/")
    if found is None:
        raise Refused(f"give --app-type: it cannot be told from the name {script.name!r}")
    return found


def create(client: Any, name: str, content: str, app_type: str) -> str:
    """Create the lifecycle configuration unless it is there; gives its ARN."""
    try:
        found = client.describe_studio_lifecycle_config(StudioLifecycleConfigName=name)
        return str(found["StudioLifecycleConfigArn"])
    except client.exceptions.ResourceNotFound:
        pass  # the usual case: it is to be made
    made = client.create_studio_lifecycle_config(
        StudioLifecycleConfigName=name, StudioLifecycleConfigContent=content, StudioLifecycleConfigAppType=app_type
    )
    return str(made["StudioLifecycleConfigArn"])


def is_earlier(other: str, arn: str) -> bool:
    """Whether `other` is this or an earlier version of ours: the same name but for the content's hash."""
    return other.rpartition("-")[0] == arn.rpartition("-")[0]


def merged(settings: dict[str, Any], app_type: str, arn: str) -> dict[str, Any]:
    """The part of user or space settings that makes `arn` the default of an app type, with what is there kept.

    Earlier versions of ours are taken off the list.
    """
    key = f"{app_type}AppSettings"
    app = dict(settings.get(key, {}))
    others = [each for each in app.get("LifecycleConfigArns", []) if not is_earlier(each, arn)]
    app["LifecycleConfigArns"] = [*others, arn]
    app["DefaultResourceSpec"] = {**app.get("DefaultResourceSpec", {}), "LifecycleConfigArn": arn}
    if app_type == "JupyterServer":
        app["DefaultResourceSpec"].setdefault("InstanceType", "system")
    return {key: app}


def attach(
    client: Any, domain_id: str, app_type: str, arn: str, warn: Callable[[str], None] = lambda words: None
) -> list[str]:
    """Set the default in the domain; gives the names of the settings that were changed, none when all was so.

    `warn` is told what somebody has to know: a default that was replaced, settings that are not there.
    """
    domain = client.describe_domain(DomainId=domain_id)
    changes = {}
    for name in ("DefaultUserSettings", "DefaultSpaceSettings"):
        before = domain.get(name)
        if before is None:
            warn(f"{domain_id} has no {name}, so nothing is set for {FOR_WHOM[name]}")
            continue
        replaced = before.get(f"{app_type}AppSettings", {}).get("DefaultResourceSpec", {}).get("LifecycleConfigArn")
        if replaced not in (None, "None") and not is_earlier(replaced, arn):
            warn(f"{replaced} was the default in {name}: it stays attached, and does not run by itself any more")
        after = merged(before, app_type, arn)
        if any(before.get(key) != value for key, value in after.items()):
            needed = {"ExecutionRole": before["ExecutionRole"]} if "ExecutionRole" in before else {}
            changes[name] = {**needed, **after}
    if changes:
        client.update_domain(DomainId=domain_id, **changes)
    return sorted(changes)


def without(settings: dict[str, Any], app_type: str, is_ours: Callable[[str], bool]) -> dict[str, Any]:
    """The part of user or space settings in which none of ours is left for an app type; nothing when none was there."""
    key = f"{app_type}AppSettings"
    app = dict(settings.get(key, {}))
    spec = dict(app.get("DefaultResourceSpec", {}))
    attached = app.get("LifecycleConfigArns", [])
    if not any(is_ours(each) for each in (*attached, spec.get("LifecycleConfigArn", ""))):
        return {}
    if is_ours(spec.get("LifecycleConfigArn", "")):
        del spec["LifecycleConfigArn"]
    app["LifecycleConfigArns"] = [each for each in attached if not is_ours(each)]
    if "DefaultResourceSpec" in app:
        app["DefaultResourceSpec"] = spec
    return {key: app}


def detach(client: Any, domain_id: str, app_type: str, stem: str) -> list[str]:
    """Take ours off the domain; gives the names of the settings that were changed, none when none was attached."""
    ours = re.compile(rf".*/{re.escape(stem)}-{app_type.lower()}-[0-9a-f]{{12}}")
    domain = client.describe_domain(DomainId=domain_id)
    changes = {}
    for name in FOR_WHOM:
        before = domain.get(name) or {}
        after = without(before, app_type, lambda arn: ours.fullmatch(arn) is not None)
        if after:
            changes[name] = {
                **({"ExecutionRole": before["ExecutionRole"]} if "ExecutionRole" in before else {}),
                **after,
            }
    if changes:
        client.update_domain(DomainId=domain_id, **changes)
    return sorted(changes)


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("script", type=Path, help="on-jupyterlab-start.sh or on-jupyter-server-start.sh, edited")
    parser.add_argument("--domain-id", required=True, help="such as d-abcdefghijkl")
    parser.add_argument("--app-type", choices=sorted(set(APP_TYPES.values())), help="default: by the script's name")
    parser.add_argument("--name", default="culling-manager", help="stem of the name (default: culling-manager)")
    parser.add_argument("--region", help="default: as configured for AWS")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done")
    parser.add_argument("--detach", action="store_true", help="take it off again; the script need not be as it was")
    return parser.parse_args(argv)


def warn(words: str) -> None:
    """Tell people something beside the result."""
    print(f"attach_lifecycle_config.py: note: {words}", file=sys.stderr)


def where(asked: argparse.Namespace) -> str:
    """In which region something would be done."""
    return asked.region or "the region that is configured for AWS"


def run(asked: argparse.Namespace, make_client: Callable[[], Any], tell: Callable[[str], None]) -> None:
    """Do what was asked for. Raises Refused."""
    app_type = app_type_of(asked.script, asked.app_type)
    if asked.detach:
        take_off(asked, app_type, make_client, tell)
        return
    content = content_of(asked.script)
    name = f"{asked.name}-{app_type.lower()}-{hashlib.sha256(content.encode()).hexdigest()[:12]}"
    if asked.dry_run:
        words = f"create the lifecycle configuration {name} and make it the default of {asked.domain_id}"
        tell(f"would {words} in {where(asked)}")
        return
    client = make_client()
    arn = create(client, name, content, app_type)
    changed = attach(client, asked.domain_id, app_type, arn, warn)
    what = f"set in {' and '.join(changed)}" if changed else "it was the default already"
    told = {"domain": asked.domain_id, "region": client.meta.region_name, "app_type": app_type}
    tell(json.dumps({**told, "lifecycle_config": arn, "result": what}))


def take_off(
    asked: argparse.Namespace, app_type: str, make_client: Callable[[], Any], tell: Callable[[str], None]
) -> None:
    """Detach what was attached under this name. Apps that run keep what they were started with."""
    if asked.dry_run:
        tell(f"would take {asked.name}-{app_type.lower()}-* off {asked.domain_id} in {where(asked)}")
        return
    client = make_client()
    changed = detach(client, asked.domain_id, app_type, asked.name)
    what = f"taken off {' and '.join(changed)}" if changed else "none of ours was attached"
    told = {"domain": asked.domain_id, "region": client.meta.region_name, "app_type": app_type, "result": what}
    tell(json.dumps(told))


def main(argv: list[str] | None = None) -> int:
    """Attach, tell, and give the exit code."""
    asked = arguments(argv)

    def make_client() -> Any:
        try:
            import boto3
        except ImportError:
            raise Refused("boto3 is missing: pip install boto3, or with the bundle's --find-links wheels") from None
        return boto3.client("sagemaker", region_name=asked.region)

    try:
        run(asked, make_client, print)
    except Refused as error:
        print(f"attach_lifecycle_config.py: {error}", file=sys.stderr)
        return 2
    except Exception as error:
        print(f"attach_lifecycle_config.py: AWS refused: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
