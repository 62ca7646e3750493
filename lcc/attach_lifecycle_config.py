#!/usr/bin/env python3
"""Make one of the lifecycle scripts here the default of a SageMaker domain.

Creates a Studio lifecycle configuration from the script, under a name that says its content, and sets it as the
domain's default for that app type, in user profiles' and shared spaces' defaults. Other settings of the domain, and
other lifecycle configurations attached to it, stay; one of somebody else's that was the default until now does not run
by itself any more, which is said. Running it twice changes nothing the second time. Apps pick the default up when they
are started the next time.

Needs boto3 and sagemaker:CreateStudioLifecycleConfig, DescribeStudioLifecycleConfig, DescribeDomain, UpdateDomain.

exit codes: 0 attached (or was so already); 1 AWS refused; 2 usage.
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


def content_of(script: Path) -> str:
    """The script as SageMaker takes it. Raises Refused when it is not there, has a fault, or is too long."""
    try:
        text = script.read_bytes()
    except OSError as error:
        raise Refused(f"the script {script} cannot be read: {error.strerror}") from error
    if b"\r" in text:
        raise Refused(f"the script {script} has Windows line ends (CRLF), with which bash does not run: convert it")
    check_text(script, text)
    encoded = base64.b64encode(text).decode()
    if len(encoded) > LONGEST:
        raise Refused(f"the script {script} has {len(encoded)} characters in base64; SageMaker takes {LONGEST}")
    return encoded


def app_type_of(script: Path, wanted: str | None) -> str:
    """The app type that a script is for. Raises Refused when that cannot be told."""
    found = wanted or APP_TYPES.get(script.name)
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


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("script", type=Path, help="on-jupyterlab-start.sh or on-jupyter-server-start.sh, edited")
    parser.add_argument("--domain-id", required=True, help="such as d-abcdefghijkl")
    parser.add_argument("--app-type", choices=sorted(set(APP_TYPES.values())), help="default: by the script's name")
    parser.add_argument("--name", default="culling-manager", help="stem of the name (default: culling-manager)")
    parser.add_argument("--region", help="default: as configured for AWS")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done")
    return parser.parse_args(argv)


def warn(words: str) -> None:
    """Tell people something beside the result."""
    print(f"attach_lifecycle_config.py: note: {words}", file=sys.stderr)


def run(asked: argparse.Namespace, make_client: Callable[[], Any], tell: Callable[[str], None]) -> None:
    """Do what was asked for. Raises Refused."""
    app_type, content = app_type_of(asked.script, asked.app_type), content_of(asked.script)
    name = f"{asked.name}-{app_type.lower()}-{hashlib.sha256(content.encode()).hexdigest()[:12]}"
    if asked.dry_run:
        tell(f"would create the lifecycle configuration {name} and make it the default of {asked.domain_id}")
        return
    client = make_client()
    arn = create(client, name, content, app_type)
    changed = attach(client, asked.domain_id, app_type, arn, warn)
    what = f"set in {' and '.join(changed)}" if changed else "it was the default already"
    tell(json.dumps({"domain": asked.domain_id, "app_type": app_type, "lifecycle_config": arn, "result": what}))


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
