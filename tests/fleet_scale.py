"""`python -m tests.fleet_scale`: the fleet check at 10,000 profiles, 100 ms per call, and a throttle of 10 calls/s.

The emulators are one process, the check is another (the very command), so that its peak memory is its own. Beside it
runs what the original's checker did: one user after the other, and the first page of user profiles only.

The Lambda functions of the template are measured, too, each in processes of its own that call the handlers with the
events that Step Functions would send, beside a little S3 and SNS: time, peak memory, and sizes against AWS's limits.

Takes about eight minutes; `--full` also asks all 10,000 apps by presigned URL, which takes another 21.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import queue
import resource
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.emulator import DOMAIN, SageMaker, environment
from tests.emulator.faults import Bucket
from tests.emulator_logs import CloudWatchLogs, logs_environment
from tests.studio import Behaviour, Studio

DELAY = 0.1
THROTTLE = 10.0
#: Of every hundred apps, these are not as they should be: one each.
MISSING, STALE, SHORT = 1, 2, 3
#: S3's time to answer (seconds), and the template's own defaults.
STORE_DELAY = 0.03
TEMPLATE = {"BUCKET": "results", "TOPIC_ARN": "arn:aws:sns:eu-west-1:123456789012:fleet", "BATCH_SIZE": "50"}
TEMPLATE |= {"MAX_CONCURRENCY": "10", "CALLS_PER_SECOND": "8", "EXPECTED_TIMEOUT_IN_MINS": "120"}
#: What AWS allows (bytes, seconds): a state's data, a function's answer, a message, a function's life.
STATE, ANSWER, MESSAGE, LIFE = 262_144, 6_291_456, 262_144, 900


def serve(pipe: Connection, profiles: int, running: int) -> None:
    """The emulators' process: says where they are, then counts until it is told to end."""
    now = datetime.now(timezone.utc)
    store = ThreadingHTTPServer(("127.0.0.1", 0), Store)
    threading.Thread(target=store.serve_forever, daemon=True).start()
    stored = f"http://127.0.0.1:{store.server_port}"
    with SageMaker() as sagemaker, CloudWatchLogs() as logs, Studio(sagemaker, delay=DELAY) as studio:
        for number in range(profiles):
            add(sagemaker, logs, studio, number, number < running, now)
        sagemaker.delay = logs.delay = DELAY
        sagemaker.rate = THROTTLE
        logs.bucket = Bucket(THROTTLE)
        found = environment(sagemaker) | logs_environment(logs) | {"AWS_DEFAULT_REGION": "eu-west-1", "NO_PROXY": "*"}
        pipe.send(found | {"AWS_ENDPOINT_URL_S3": stored, "AWS_ENDPOINT_URL_SNS": stored})
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
                "stored": {name: len(body) for name, body in Store.stored.items()},
                "messages": [len(each) for each in Store.messages],
            }
        )


class Store(BaseHTTPRequestHandler):
    """S3's PutObject, GetObject and ListObjectsV2, and SNS's Publish, in memory."""

    stored: dict[str, bytes] = {}  # noqa: RUF012
    messages: list[bytes] = []  # noqa: RUF012
    protocol_version = "HTTP/1.1"

    def _body(self) -> bytes:
        time.sleep(STORE_DELAY)
        return self.rfile.read(int(self.headers.get("Content-Length", "0")))

    def _reply(self, body: bytes, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_PUT(self) -> None:
        self.stored[self.path] = self._body()
        self._reply(b"")

    def do_GET(self) -> None:
        self._body()
        parts = urlsplit(self.path)
        if "list-type=2" not in parts.query:
            body = self.stored.get(parts.path)
            self._reply(body or b"<Error><Code>NoSuchKey</Code></Error>", 200 if body else 404)
            return
        asked = {name: value for name, (value,) in parse_qs(parts.query).items()}
        start = f"/results/{asked['prefix']}"
        names = sorted(name for name in self.stored if name.startswith(start))
        names = [name for name in names if name > asked.get("continuation-token", "")]
        keys = "".join(f"<Contents><Key>{name.removeprefix('/results/')}</Key></Contents>" for name in names[:1000])
        end = "<IsTruncated>false</IsTruncated>"
        if len(names) > 1000:
            end = f"<IsTruncated>true</IsTruncated><NextContinuationToken>{names[999]}</NextContinuationToken>"
        self._reply(f"<ListBucketResult>{keys}{end}</ListBucketResult>".encode())

    def do_POST(self) -> None:
        self.messages.append(parse_qs(self._body())[b"Message"][0])
        answer = "<PublishResult><MessageId>1</MessageId></PublishResult>"
        self._reply(f"<PublishResponse>{answer}</PublishResponse>".encode())

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


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


class Function:
    """A Lambda function that stays warm: a process that calls one handler with each event that it is given."""

    def __init__(self, handler: str, env: dict[str, str]) -> None:
        argv = [sys.executable, "-m", "tests.fleet_scale", "--handler", handler]
        self._process = subprocess.Popen(argv, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def call(self, event: Any) -> dict[str, Any]:
        """Its answer, with what that took."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(event) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"a handler ended with {self._process.wait()}")
        found: dict[str, Any] = json.loads(line)
        return found | {"event_bytes": len(json.dumps(event)), "answer_bytes": len(json.dumps(found["answer"]))}

    def end(self) -> None:
        """Let it go."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def be_a_function(handler: str) -> None:
    """Call a handler with each line of stdin; the first call has the imports in it, as a cold start has."""
    for line in sys.stdin:
        start = time.perf_counter()
        from culling_manager.fleet import handlers

        handlers.LONGEST_SEARCH_SECONDS = int(os.environ["SEARCH_SECONDS"])
        answer = getattr(handlers, handler)(json.loads(line), Context())
        # Not ru_maxrss, which a process takes over from the one that has started it.
        peak = next(each for each in Path("/proc/self/status").read_text().splitlines() if each.startswith("VmHWM"))
        seconds = time.perf_counter() - start
        say(json.dumps({"answer": answer, "seconds": seconds, "megabytes": int(peak.split()[1]) / 1024}))


class Context:
    """What Lambda tells a function that has just begun."""

    def __init__(self) -> None:
        self._end = time.monotonic() + LIFE

    def get_remaining_time_in_millis(self) -> int:
        return int((self._end - time.monotonic()) * 1000)


def called(handler: str, events: list[Any], env: dict[str, str], workers: int = 1) -> list[dict[str, Any]]:
    """What a handler made of events, so many of them side by side."""
    left: queue.SimpleQueue[Any] = queue.SimpleQueue()
    for event in events:
        left.put(event)
    done: list[dict[str, Any]] = []

    def work() -> None:
        function = Function(handler, env)
        while True:
            try:
                event = left.get_nowait()
            except queue.Empty:
                return function.end()
            done.append(function.call(event))

    threads = [threading.Thread(target=work) for _ in range(min(workers, len(events)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == len(events)
    return done


def lambdas(title: str, profiles: int, running: int, search_seconds: int = 300, **settings: str) -> None:
    """Run the three functions as the state machine does, print their figures, and whether anybody was left out."""
    with emulators(profiles, running) as (env, pipe):
        env |= TEMPLATE | settings | {"SEARCH_SECONDS": str(search_seconds)}
        say(f"\n{title}")
        start = time.perf_counter()
        (listed,) = tell("list", called("list_handler", [{"run": "scale"}], env))
        items = fetched(env, listed["answer"]["key"])
        tell("check", called("check_handler", items, env, int(env["MAX_CONCURRENCY"])))
        (reported,) = tell("report", called("report_handler", [{"run": "scale"}], env))
        report = fetched(env, reported["answer"]["report"])
        say(f"  all of it {time.perf_counter() - start:.0f} s; {report['summary']} {report['problems'] or ''}")
        pipe.send("count")
        seen = pipe.recv()
    covered = Counter((each["user_profile"], each["space"]) for each in report["findings"])
    say(f"  profiles covered {len(covered)} of {profiles}, each once: {set(covered.values()) == {1}}")
    say(f"  SageMaker calls {dict(seen['sagemaker'])}, Logs calls {dict(seen['logs'])}, Studio's {seen['studio']}")
    for kind in ("batches.json", "batches/", "findings/", "report.json"):
        sizes = [size for name, size in seen["stored"].items() if kind in name]
        say(f"  stored {kind} {len(sizes)} of at most {max(sizes):,} bytes")
    say(f"  messages (bytes, of {MESSAGE:,}): {seen['messages']}; violations {len(seen['violations'])}")


def fetched(env: dict[str, str], key: str) -> Any:
    """A stored object."""
    with urllib.request.urlopen(f"{env['AWS_ENDPOINT_URL_S3']}/results/{key}") as found:
        return json.load(found)


def tell(name: str, calls: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Print what the calls of one function took, against what AWS allows."""
    seconds = sorted(each["seconds"] for each in calls)
    most = {key: max(each[key] for each in calls) for key in ("megabytes", "event_bytes", "answer_bytes")}
    middle, longest = seconds[len(seconds) // 2], seconds[-1]
    say(
        f"  {name}: {len(calls)} calls, median {middle:.1f} s, longest {longest:.1f} of {LIFE} s,"
        f" peak memory {most['megabytes']:.0f} MB, event {most['event_bytes']} and answer {most['answer_bytes']} "
        f"of {STATE:,} bytes (a function's answer: {ANSWER:,})"
    )
    return calls


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


MODES = ["logs", "presigned", "original", "lambda"]


def main() -> None:
    """Run the measurements that were asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.fleet_scale", description=__doc__)
    parser.add_argument("--profiles", type=int, default=10_000)
    parser.add_argument("--running", type=int, default=500, help="apps in service for the presigned source")
    parser.add_argument("--full", action="store_true", help="also ask every profile's app by presigned URL")
    parser.add_argument("--only", choices=[*MODES, "full"], action="append", default=[])
    parser.add_argument("--original", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--handler", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.handler:
        be_a_function(asked.handler)
        return
    if asked.original:
        say(json.dumps(original()))
        return
    fleet = ["-m", "culling_manager.fleet", "--json", "--expected-timeout", "120"]
    everybody, some = asked.profiles, min(asked.running, asked.profiles)
    wanted = asked.only or [*MODES, *(["full"] if asked.full else [])]
    if "logs" in wanted:
        measure(f"logs, {everybody} apps in service", [*fleet, "--source", "logs"], everybody, everybody)
    if "presigned" in wanted:
        argv = [*fleet, "--source", "presigned"]
        measure(f"presigned, {some} of {everybody} apps in service", argv, everybody, some)
    if "original" in wanted:
        argv = ["-m", "tests.fleet_scale", "--original"]
        measure(f"the original's way, {everybody} apps in service", argv, everybody, everybody)
    if "lambda" in wanted:
        lambdas(f"Lambda functions, logs, {everybody} apps in service", everybody, everybody)
        title = f"{some} of {everybody} apps in service"
        lambdas(f"Lambda functions, logs that no one search comes through, {title}", everybody, some, 0)
        lambdas(f"Lambda functions, presigned, {title}", everybody, some, SOURCE="presigned")
    if "full" in wanted:
        measure(f"presigned, {everybody} apps in service", [*fleet, "--source", "presigned"], everybody, everybody)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    say(f"\n(this process, which only watches: {peak:.0f} MB)")


if __name__ == "__main__":
    main()
