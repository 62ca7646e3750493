"""The emulator by hand: an example account on a port, and a line for every call until Ctrl-C.

It plays SageMaker, with lifecycle configurations, and CloudWatch Logs. What it prints first is for the shell from which
the tries are made: with it no call of the AWS CLI, boto3 or our own programs leaves this machine. Calls to a service
that is not played come here as well, and are refused.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import threading
from datetime import datetime, timedelta, timezone

from culling_manager.events import CULLING
from tests.emulator_logs import CloudWatchLogs, logs_environment

from . import ALICE, DOMAIN, SageMaker, environment

KERNEL_APP = "datascience-1-0-ml-t3-medium-1abf3407f667f989be9d86559395"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.emulator", description=__doc__)
    parser.add_argument("--port", type=int, default=4599, help="port on 127.0.0.1 (0: any)")
    parser.add_argument("--region", default="eu-west-1")
    parser.add_argument("--takes", type=float, default=20, help="seconds until Deleting is Deleted")
    parser.add_argument("--space", action="store_true", help="a space with a JupyterLab app")
    parser.add_argument("--classic", action="store_true", help="a user profile with a server and a kernel app")
    parser.add_argument("--notebook", action="store_true", help="a notebook instance")
    words = "so many users with a space each, of which the logs tell a day, and one that does not tell of the culler"
    parser.add_argument("--users", type=int, default=0, metavar="N", help=words)
    return parser.parse_args()


def say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def fill(sagemaker: SageMaker, logs: CloudWatchLogs, options: argparse.Namespace) -> None:
    """The examples that were asked for."""
    role = f"arn:aws:iam::{sagemaker.account}:role/StudioRole"
    settings = {name: {"ExecutionRole": role} for name in ("DefaultUserSettings", "DefaultSpaceSettings")}
    sagemaker.add_domain(settings=settings)
    sagemaker.deleting_takes = sagemaker.stopping_takes = options.takes
    if options.space:
        sagemaker.add_app("default", "JupyterLab", space="lab", image="sagemaker-distribution-cpu")
    if options.classic:
        sagemaker.add_app("default", "JupyterServer", image="jupyter-server-3")
        sagemaker.add_app(KERNEL_APP, image="datascience-1.0")
    if options.notebook:
        sagemaker.add_notebook_instance("notebook", status="Stopped")
    for number in range(options.users):
        a_day_of(sagemaker, logs, f"user{number:03}", culled=number > 0)


def a_day_of(sagemaker: SageMaker, logs: CloudWatchLogs, name: str, culled: bool) -> None:
    """A user's space that has run since yesterday: used until noon, in a dry run; one that is not culled says less."""
    now = datetime.now(timezone.utc)
    begun, stream = now - timedelta(days=1), f"{DOMAIN}/{name}/JupyterLab/default"
    sagemaker.add_space(name, owner=name)
    sagemaker.add_app("default", "JupyterLab", space=name, created=begun)
    logs.put(stream, f"[I {begun:%Y-%m-%d %H:%M:%S} ServerApp] Jupyter Server is running", begun)
    for hour in range(24 if culled else 0):
        logs.heartbeat(stream, begun + timedelta(hours=hour), count=360 * hour + 1, dry_run=True)
    for hour, idle in ((6, 0), (14, 2), (20, 8)) if culled else ():
        told = {"action": "dry run", "kind": "kernel", "identity": "1a2b", "name": "python3", "reason": "idle"}
        at = begun + timedelta(hours=hour)
        event = {"__schema__": CULLING, "__timestamp__": at.isoformat(), **told, "idle_seconds": 3600.0 * idle}
        logs.put(stream, json.dumps(event), at)


def exports(sagemaker: SageMaker, logs: CloudWatchLogs) -> dict[str, str]:
    """What lets everything that speaks to AWS find this place, and nothing else; no proxy is asked."""
    return {
        **environment(sagemaker),
        **logs_environment(logs),
        "AWS_ENDPOINT_URL": sagemaker.url,
        "AWS_DEFAULT_REGION": sagemaker.region,
        "AWS_REGION": sagemaker.region,
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
    }


def main() -> None:
    options = arguments()
    with (
        SageMaker(region=options.region, port=options.port, log=say) as sagemaker,
        CloudWatchLogs(options.region, log=say) as logs,
    ):
        fill(sagemaker, logs, options)
        for name, value in exports(sagemaker, logs).items():
            say(f"export {name}={shlex.quote(value)}\n")
        say("unset AWS_PROFILE AWS_SESSION_TOKEN AWS_WEB_IDENTITY_TOKEN_FILE AWS_CONTAINER_CREDENTIALS_FULL_URI\n")
        say(f"# domain {DOMAIN}, user {ALICE}; every call follows, until Ctrl-C\n")
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            say("stopped\n")


if __name__ == "__main__":
    main()
