"""`python -m tests.fleet_scale`: the fleet check at 10,000 profiles, 100 ms per call, and a throttle of 10 calls/s.

The emulators are one process, the check is another (the very command), so that its peak memory is its own. Beside it
runs what the original's checker did: one user after the other, and the first page of user profiles only.

Takes about three minutes; `--full` also asks all 10,000 apps by presigned URL, which takes another 21.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from multiprocessing.connection import Connection
from typing import Any

from tests.emulator import DOMAIN, SageMaker, environment
from tests.emulator.faults import Bucket
from tests.emulator_logs import CloudWatchLogs, logs_environment
from tests.studio import Behaviour, Studio

DELAY = 0.1
THROTTLE = 10.0
#: Of every hundred apps, these are not as they should be: one each.
MISSING, STALE, SHORT = 1, 2, 3


def serve(pipe: Connection, profiles: int, running: int) -> None:
    """The emulators' process: says where they are, then counts until it is told to end."""
    now = datetime.now(timezone.utc)
    with SageMaker() as sagemaker, CloudWatchLogs() as logs, Studio(sagemaker, delay=DELAY) as studio:
        for number in range(profiles):
            add(sagemaker, logs, studio, number, number < running, now)
        sagemaker.delay = logs.delay = DELAY
        sagemaker.rate = THROTTLE
        logs.bucket = Bucket(THROTTLE)
        pipe.send(
            environment(sagemaker) | logs_environment(logs) | {"AWS_DEFAULT_REGION": "eu-west-1", "NO_PROXY": "*"}
        )
        pipe.recv()
        named = [call.parameters for call in sagemaker.calls if call.operation == "CreatePresignedDomainUrl"]
        pipe.send(
            {
                "sagemaker": Counter(call.operation for call in sagemaker.calls),
                "logs": Counter(call.operation for call in logs.calls),
                "studio": len(studio.paths),
                "asked": dict(studio.asked),
                "named": Counter(each["UserProfileName"] for each in named),
                "violations": sagemaker.violations + logs.violations,
            }
        )


def add(sagemaker: SageMaker, logs: CloudWatchLogs, studio: Studio, number: int, runs: bool, now: datetime) -> None:
    """One user with an app, and what its log says."""
    name = f"user-{number:05}"
    status, created = "InService" if runs else "Deleted", now - timedelta(days=3)
    sagemaker.add_app("default", "JupyterServer", user_profile=name, status=status, created=created)
    stream, kind = f"{DOMAIN}/{name}/JupyterServer/default", number % 100
    if not runs:
        return
    if kind == MISSING:
        studio.behaviour[name] = Behaviour.MISSING
        return
    if kind == STALE:
        studio.behaviour[name] = Behaviour.COUNT_0
    if kind == SHORT:
        studio.behaviour[name] = Behaviour.SHORT
    for hours in range(24):
        if kind != STALE or hours >= 4:
            at = now - timedelta(hours=hours, seconds=number % 3500)
            logs.heartbeat(stream, at, idle_timeout=3600.0 if kind == SHORT else 7200.0)


@contextmanager
def emulators(profiles: int, running: int) -> Iterator[tuple[dict[str, str], Connection]]:
    """The emulators in a process of their own: the environment to find them, and a pipe to ask for their counts."""
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs, profiles, running), daemon=True)
    process.start()
    try:
        yield {**os.environ, **ours.recv()}, ours
    finally:
        process.terminate()
        process.join()


def run(argv: list[str], env: dict[str, str]) -> tuple[dict[str, Any], float, float]:
    """What a command of its own process printed as JSON, its seconds, and its peak memory (MB)."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, *argv], env=env, stdout=subprocess.PIPE)
    assert process.stdout is not None
    told = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 1):
        raise SystemExit(f"{argv} ended with {process.returncode}")
    return json.loads(told), time.perf_counter() - start, usage.ru_maxrss / 1024


def measure(title: str, argv: list[str], profiles: int, running: int) -> None:
    """Run one check against fresh emulators, print its figures, and make sure that nobody was left out or met twice."""
    with emulators(profiles, running) as (env, pipe):
        found, seconds, megabytes = run(argv, env)
        pipe.send("count")
        seen = pipe.recv()
    covered = Counter((each["user_profile"], each["space"]) for each in found["findings"])
    times = Counter(seen["asked"].values())
    say(f"\n{title}")
    say(f"  time {seconds:.1f} s, peak memory {megabytes:.0f} MB, exit code {found.get('exit_code')}")
    say(f"  SageMaker calls that arrived {sum(seen['sagemaker'].values())} {dict(seen['sagemaker'])}")
    say(f"  Logs calls that arrived {sum(seen['logs'].values())}, pages of Studio {seen['studio']}")
    say(f"  profiles covered {len(covered)} of {profiles}, each once: {set(covered.values()) == {1}}")
    say(f"  apps asked {len(seen['asked'])}; how often -> how many: {dict(times)}")
    say(f"  URLs made {sum(seen['named'].values())} for {len(seen['named'])} profiles")
    say(f"  {found.get('summary', '')}")
    say(f"  violations of the service models: {len(seen['violations'])}")


def original() -> dict[str, Any]:
    """The original's way: the first page of profiles, and for each a URL, a login and a GET, one after the other."""
    import http.cookiejar
    import urllib.error
    import urllib.request

    import boto3

    client = boto3.client("sagemaker")
    findings = []
    for profile in client.list_user_profiles()["UserProfiles"]:
        names = {"DomainId": profile["DomainId"], "UserProfileName": profile["UserProfileName"]}
        url = client.create_presigned_domain_url(**names)["AuthorizedUrl"]
        cookies = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        opener = urllib.request.build_opener(cookies)
        home = url.partition("/auth?")[0]
        installed = True
        for page in (url, home + "/jupyter/default/sagemaker-studio-autoshutdown/idle_checker"):
            try:
                opener.open(page, timeout=30).read()
            except urllib.error.HTTPError:
                installed = page == url
        findings.append({"user_profile": names["UserProfileName"], "space": None, "installed": installed})
    missing = sum(not each["installed"] for each in findings)
    return {"findings": findings, "summary": f"{missing} of {len(findings)} reported as not installed."}


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> None:
    """Run the measurements that were asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.fleet_scale", description=__doc__)
    parser.add_argument("--profiles", type=int, default=10_000)
    parser.add_argument("--running", type=int, default=500, help="apps in service for the presigned source")
    parser.add_argument("--full", action="store_true", help="also ask every profile's app by presigned URL")
    parser.add_argument("--only", choices=["logs", "presigned", "original", "full"], action="append", default=[])
    parser.add_argument("--original", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.original:
        say(json.dumps(original()))
        return
    fleet = ["-m", "culling_manager.fleet", "--json", "--expected-timeout", "120"]
    everybody, some = asked.profiles, min(asked.running, asked.profiles)
    wanted = asked.only or ["logs", "presigned", "original", *(["full"] if asked.full else [])]
    if "logs" in wanted:
        measure(f"logs, {everybody} apps in service", [*fleet, "--source", "logs"], everybody, everybody)
    if "presigned" in wanted:
        argv = [*fleet, "--source", "presigned"]
        measure(f"presigned, {some} of {everybody} apps in service", argv, everybody, some)
    if "original" in wanted:
        argv = ["-m", "tests.fleet_scale", "--original"]
        measure(f"the original's way, {everybody} apps in service", argv, everybody, everybody)
    if "full" in wanted:
        measure(f"presigned, {everybody} apps in service", [*fleet, "--source", "presigned"], everybody, everybody)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    say(f"\n(this process, which only watches: {peak:.0f} MB)")


if __name__ == "__main__":
    main()
