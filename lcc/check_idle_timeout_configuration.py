#!/usr/bin/env python3
"""Print idle timeout, keep_terminals and count of the running Jupyter server(s): is idle compute culled there?

Needs nothing but Python 3.10 or later. Finds servers, base URLs and tokens in Jupyter's runtime directory; when none
runs, asks at SageMaker's usual addresses on this machine. Or takes --url, and a token from JUPYTER_TOKEN or --token;
at the usual addresses JUPYTER_TOKEN is sent on SageMaker only, for elsewhere anybody may listen there.

exit codes (of several servers, the highest):
   0  the culler runs (count is over 1) on every server that was found
   2  wrong usage of this script
   3  no Jupyter Server was found
   4  culling is off (idle_time is 0)
   5  the culler does not run (count stays at 1 or less)
   6  kernels are not culled: the kernel manager is not one of culling_manager's
   7  the server extension culling_manager is missing
   8  the token is wrong or missing
   9  the answer is not the one that the extension gives
  10  the server does not answer
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import re
import socket
import ssl
import stat
import sys
import threading
import time
from dataclasses import asdict, dataclass, field, replace
from enum import IntEnum
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

TIMEOUT_SECONDS = 15.0
PAUSE_SECONDS = 0.25
STARTING_SECONDS = 60.0  # a server writes its runtime file before it listens
LONGEST_FILE, LONGEST_ANSWER = 65_536, 16_777_216  # bytes
URL_SPACE = "sagemaker-studio-autoshutdown"
#: Where SageMaker's servers are (Studio Classic, JupyterLab spaces, notebook instances), and where Jupyter's own is.
USUAL_URLS = (
    "http://localhost:8888/jupyter/default",
    "http://localhost:8888/jupyterlab/default",
    "https://localhost:8443",
    "http://localhost:8888",
)
#: Where this file is, SageMaker is, and nobody else listens at its addresses.
METADATA_FILE = Path("/opt/ml/metadata/resource-metadata.json")
WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
LOOPBACK = re.compile(r"localhost|::1|127(\.\d{1,3}){3}")
SENDABLE = re.compile(r"[ -~\xa0-\xff]*")
NO_WORDS = ("no", "n", "false", "off", "0", "0.0")
MISSING = """the server extension culling_manager is missing: install sagemaker_studio_autoshutdown into the server's \
own environment, look at `jupyter server extension list`, and restart the server"""
NOT_SELECTED = "kernels are not culled: set ServerApp.kernel_manager_class to culling_manager.CullingKernelManager"
WAIT = """how long to wait for answers, and for the first heartbeats of a server that has just started, so more than \
its cull_interval (default: %(default)g)"""


class Code(IntEnum):
    """Exit codes; what they mean stands on top."""

    running = 0
    no_server = 3
    off = 4
    not_running = 5
    not_selected = 6
    extension_missing = 7
    token_refused = 8
    unexpected = 9
    no_answer = 10


class Failure(Exception):
    """Why a server is not as it should be: a `Code`, and words."""


@dataclass(frozen=True)
class Target:
    """Where a server listens; `host` is the path of its unix socket, if it has one. The token is never shown."""

    scheme: str
    host: str
    port: int
    path: str
    token: str = field(default="", repr=False)
    written: float = 0.0

    @property
    def address(self) -> tuple[str, int]:
        """What only one server can listen on."""
        return ("127.0.0.1" if self.host == "localhost" else self.host, self.port)

    def __str__(self) -> str:
        if self.scheme == "http+unix":
            return f"{self.scheme}://{quote(self.host, safe='')}{self.path}"
        return f"{self.scheme}://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}{self.path}"


@dataclass
class Report:
    """What was found out about one server."""

    url: str
    code: Code = Code.no_answer
    message: str = "the server does not answer in time"
    settings: dict[str, Any] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)


# -- finding servers -----------------------------------------------------------------------------


def parse_url(url: str, token: str = "") -> Target:
    """Give the target of a server's URL, also as pasted from its log with `/lab?token=...`. Raises ValueError."""
    parts = urlsplit(url.strip())
    token = token or parse_qs(parts.query).get("token", [""])[0]
    path = quote(re.sub(r"/(lab|tree)/?$", "", parts.path).rstrip("/") + "/", safe="/%:@!$&'()*+,;=")
    if not SENDABLE.fullmatch(token):
        raise ValueError("its token is not plain text")
    if parts.scheme == "http+unix" and parts.netloc:
        return Target(parts.scheme, unquote(parts.netloc), 0, path, token)
    if parts.scheme not in ("http", "https") or not re.fullmatch(r"[\w.:%-]+", parts.hostname or ""):
        raise ValueError("its url is not one of a server, such as http://localhost:8888/jupyter/default")
    return Target(parts.scheme, parts.hostname or "", parts.port or {"http": 80}.get(parts.scheme, 443), path, token)


def runtime_dir() -> Path:
    """Jupyter's runtime directory, by the rules of jupyter_core."""
    env, home = os.environ, Path(os.path.expanduser("~"))
    by_platform = env.get("JUPYTER_PLATFORM_DIRS", "no").lower() not in NO_WORDS
    if sys.platform == "darwin":
        data = home / "Library" / ("Application Support/Jupyter" if by_platform else "Jupyter")
    elif sys.platform == "win32" and by_platform:
        data = Path(env.get("LOCALAPPDATA") or home / "AppData" / "Local", "Jupyter")
    elif sys.platform == "win32":
        data = Path(env.get("APPDATA") or home / "AppData" / "Roaming", "jupyter")
    else:
        data = Path(env.get("XDG_DATA_HOME") or home / ".local" / "share", "jupyter")
    return Path(env.get("JUPYTER_RUNTIME_DIR") or Path(env.get("JUPYTER_DATA_DIR") or data, "runtime"))


def alive(pid: object) -> bool:
    """Whether a process of ours exists; True on Windows, where asking could end it."""
    if type(pid) is not int or pid <= 0:
        return False
    try:
        if sys.platform != "win32":
            os.kill(pid, 0)
    except (OSError, OverflowError):  # it is gone, or what has its number now is somebody else's
        return False
    return True


def read_regular(path: Path) -> tuple[float, bytes]:
    """When a small regular file was written, and what is in it; nothing else is waited for. Raises ValueError."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    with open(descriptor, "rb") as opened:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > LONGEST_FILE:
            raise ValueError(f"it is not a file of at most {LONGEST_FILE} bytes")
        return status.st_mtime, opened.read(LONGEST_FILE)


def read_runtime_file(path: Path) -> Target:
    """Give the server that a `jpserver-*.json` file tells of. Raises ValueError or OSError."""
    written, raw = read_regular(path)
    info = parsed(raw)
    if not isinstance(info, dict) or not isinstance(info.get("url"), str) or not isinstance(info.get("token"), str):
        raise ValueError("it is not a JSON object with url and token")
    if not alive(info.get("pid")):
        raise ValueError("its process is gone, or not ours")
    target = parse_url(info["url"], info["token"])
    host = WILDCARDS.get(str(info.get("hostname")), target.host) if target.port else target.host
    return replace(target, host=host, written=written)


def find_servers(directory: Path) -> tuple[list[Target], dict[str, list[str]]]:
    """Give the servers that the runtime files tell of, and the skipped files by reason."""
    found: list[Target] = []
    skipped: dict[str, list[str]] = {}
    for path in sorted(directory.glob("jpserver-*.json")):
        try:
            found.append(read_runtime_file(path))
        except (ValueError, OSError) as error:
            words = error.strerror if isinstance(error, OSError) else str(error)
            skipped.setdefault(words or "it cannot be read", []).append(path.name)
    newest = {target.address: target for target in sorted(found, key=lambda target: target.written)}
    return list(newest.values()), skipped


def with_token(target: Target, given: str | None, known: list[Target], named: bool = True) -> Target:
    """Give the target with the token given, its own, that of a runtime file on just this server, or JUPYTER_TOKEN.

    The last only for one that was `named`, by the user or a runtime file, or on SageMaker.
    """
    tokens = [each.token for each in known if (each.address, each.path) == (target.address, target.path)]
    general = os.environ.get("JUPYTER_TOKEN", "") if named or METADATA_FILE.exists() else ""
    return replace(target, token=given or target.token or "".join(tokens[:1]) or general)


# -- asking one server ---------------------------------------------------------------------------


def connect(target: Target, timeout: float) -> http.client.HTTPConnection:
    """Give a connection that uses no proxy. A self-signed certificate is accepted from this machine only."""
    if target.scheme == "http+unix" and not hasattr(socket, "AF_UNIX"):
        raise Failure(Code.no_answer, "it listens on a unix socket, and this Python cannot speak to one")
    if target.scheme == "http+unix":
        connection = http.client.HTTPConnection("localhost", timeout=timeout)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(timeout)
        connection.sock.connect(target.host)
        return connection
    if target.scheme == "http":
        return http.client.HTTPConnection(target.host, target.port, timeout=timeout)
    context = ssl.create_default_context()
    if LOOPBACK.fullmatch(target.host):
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return http.client.HTTPSConnection(target.host, target.port, timeout=timeout, context=context)


def get(target: Target, path: str, deadline: float, token: str = "") -> tuple[int, str, Any]:
    """Give status, Location and JSON (None when it is none) of one GET; follows no redirect."""
    headers = {"Authorization": f"token {token}"} if token else {}
    try:
        with contextlib.closing(connect(target, max(deadline - time.monotonic(), 0.1))) as connection:
            connection.request("GET", target.path + path, headers=headers)
            response = connection.getresponse()
            return response.status, response.getheader("Location") or "", parsed(response.read(LONGEST_ANSWER))
    except (ConnectionRefusedError, FileNotFoundError):
        raise Failure(Code.no_server, "nothing listens there") from None
    except TimeoutError:
        raise Failure(Code.no_answer, "the server does not answer in time") from None
    except OSError as error:
        raise Failure(Code.no_answer, f"the server does not answer: {error.strerror or 'it hangs up'}") from None
    except (http.client.HTTPException, ValueError):
        raise Failure(Code.no_server, "what listens there does not speak HTTP") from None


def parsed(text: bytes) -> Any:
    """Give what a JSON text says, or None when it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def look_for_server(target: Target, deadline: float) -> None:
    """Make sure that a Jupyter Server has this base URL, before it is sent a token."""
    status, location, answer = get(target, "api", deadline)
    if status in (401, 403) or re.search("login|oauth", location):
        raise Failure(Code.token_refused, f"a login is needed to reach the server (HTTP status {status})")
    if status != 200 or not isinstance(answer, dict) or "version" not in answer:
        redirect = f", a redirect to {location} that is not followed" if location else ""
        raise Failure(Code.no_server, f"no Jupyter Server has this base URL (HTTP status {status}{redirect})")


def read_settings(target: Target, deadline: float) -> dict[str, Any]:
    """Give the extension's answer: idle_time (seconds), keep_terminals, count, errors."""
    status, location, answer = get(target, f"{URL_SPACE}/idle_checker", deadline, target.token)
    if status in (401, 403) or "login" in location:
        words = "the token is wrong" if target.token else "a token is needed"
        raise Failure(Code.token_refused, f"{words} (HTTP status {status}): give it in JUPYTER_TOKEN or with --token")
    if status == 404:
        raise Failure(Code.extension_missing, MISSING)
    if status != 200 or not is_expected(answer):
        raise Failure(Code.unexpected, f"the answer (HTTP status {status}) is not the one that the extension gives")
    return dict(answer)


def is_expected(answer: Any) -> bool:
    """Whether an answer has the shape that the extension gives it."""
    if not isinstance(answer, dict) or not {"idle_time", "keep_terminals", "count", "errors"} <= set(answer):
        return False
    seconds, count = answer["idle_time"], answer["count"]
    numbers = type(seconds) in (int, float) and 0 <= seconds <= 1e15 and type(count) is int
    return numbers and isinstance(answer["keep_terminals"], bool)


def read_state(target: Target, deadline: float) -> tuple[list[str], list[str] | None]:
    """Give what the state document says of managers that are not ours, and what is watched, None when it tells not."""
    with contextlib.suppress(Failure):
        found = get(target, f"{URL_SPACE}/status", deadline, target.token)[2]
        if isinstance(found, dict):
            notices, watching = found.get("notices"), found.get("watching")
            told = [str(each) for each in notices] if isinstance(notices, list) else []
            return told, watching if isinstance(watching, list) else None
    return [], None


def judge(settings: dict[str, Any], notices: list[str], watching: list[str] | None) -> tuple[Code, str]:
    """Say what the settings mean; servers that do not tell what is watched are judged by their words."""
    foreign = [each for each in notices if each.startswith("Kernels are not culled")]
    if watching is None and not foreign and settings["count"] == 0 and settings["errors"]:
        foreign = [str(settings["errors"])]
    if foreign if watching is None else "kernel" not in watching:
        return Code.not_selected, (foreign or notices or [NOT_SELECTED])[0]
    if settings["idle_time"] == 0:
        return Code.off, "culling is off: the idle timeout is 0"
    if settings["count"] <= 1:
        return Code.not_running, "the culler does not run: count is not over 1; wait longer (--timeout), or see the log"
    return Code.running, "the culler runs"


def wait_for_server(target: Target, deadline: float) -> None:
    """Look for the server; one that has just written its runtime file has until the deadline to listen."""
    starting = time.time() - target.written < STARTING_SECONDS
    while True:
        try:
            return look_for_server(target, deadline)
        except Failure as failure:
            if not starting or failure.args[0] is not Code.no_server or time.monotonic() + PAUSE_SECONDS >= deadline:
                raise
        time.sleep(PAUSE_SECONDS)


def ask(target: Target, report: Report, deadline: float) -> None:
    """Fill in the report; a culler that has just started has until the deadline to get its count over 1."""
    try:
        wait_for_server(target, deadline)
        while True:
            report.settings = read_settings(target, deadline)
            report.notices, watching = read_state(target, deadline)
            code, message = judge(report.settings, report.notices, watching)
            if code is not Code.not_running or time.monotonic() + PAUSE_SECONDS >= deadline:
                break
            time.sleep(PAUSE_SECONDS)
        report.code, report.message = code, message
    except Failure as failure:
        report.code, report.message = failure.args


def ask_all(targets: list[Target], timeout: float) -> list[Report]:
    """Ask all servers at once; one that sends its answer drop by drop holds nobody up."""
    deadline = time.monotonic() + timeout
    pairs = [(target, Report(str(target))) for target in targets]
    threads = [threading.Thread(target=ask, args=(*pair, deadline), daemon=True) for pair in pairs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(deadline + PAUSE_SECONDS - time.monotonic(), 0.0))
    return [report for _, report in pairs]


# -- telling -------------------------------------------------------------------------------------


def lines(report: Report) -> list[str]:
    """Tell a report to people; nothing in it can command a terminal."""
    told, found = [report.url], report.settings
    if found:
        told.append(f"  idle timeout:    {found['idle_time'] / 60:g} minutes ({found['idle_time']:g} s)")
        told.append(f"  keep_terminals:  {str(found['keep_terminals']).lower()}")
        told.append(f"  count:           {found['count']}")
        told.append(f"  errors:          {found['errors'] or 'none'}")
    told += [f"  note:            {notice}" for notice in report.notices if notice != report.message]
    told.append(f"  {'OK' if report.code is Code.running else f'NOT OK ({report.code:d})'}: {report.message}")
    return [printable(line) for line in told]


def printable(line: str) -> str:
    """Give a line without control characters, and without what the output cannot show."""
    encoding = sys.stdout.encoding or "ascii"
    return "".join(each if each.isprintable() else " " for each in line).encode(encoding, "replace").decode(encoding)


def positive(text: str) -> float:
    """Read a number of seconds over 0, at most a day."""
    if not 0 < float(text) <= 86_400:
        raise ValueError(text)
    return float(text)


def url(text: str) -> Target:
    """Read a URL; it may hold a token, so argparse must not repeat it."""
    try:
        return parse_url(text)
    except ValueError:
        words = "it is not the URL of a server, such as http://localhost:8888/jupyter/default"
        raise argparse.ArgumentTypeError(words) from None


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    summary, _, codes = (__doc__ or "").partition("exit codes")
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=summary, epilog=f"exit codes{codes}", formatter_class=raw)
    parser.add_argument("--url", type=url, help="base URL, such as http://localhost:8888/jupyter/default")
    parser.add_argument("--token", help="others on this machine can see it here; they cannot see JUPYTER_TOKEN")
    parser.add_argument("--timeout", type=positive, default=TIMEOUT_SECONDS, metavar="SECONDS", help=WAIT)
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(argv)
    if not all(SENDABLE.fullmatch(token) for token in (options.token or "", os.environ.get("JUPYTER_TOKEN", ""))):
        parser.error("the token is not plain text")
    return options


def check(options: argparse.Namespace) -> tuple[list[Report], dict[str, list[str]]]:
    """Ask the server at --url; else those that are found; else those at the usual addresses. Also gives the skipped."""
    known, skipped = find_servers(runtime_dir())
    if options.url:
        return ask_all([with_token(options.url, options.token, known)], options.timeout), {}
    for targets in (known, [parse_url(url) for url in USUAL_URLS]):
        wanted = [with_token(target, options.token, [], named=targets is known) for target in targets]
        reports = ask_all(wanted, options.timeout)
        for report in reports:
            if report.code is Code.no_server:
                skipped.setdefault(report.message, []).append(report.url)
        reports = [report for report in reports if report.code is not Code.no_server]
        if reports:
            break
    return reports, skipped


def main(argv: list[str] | None = None) -> int:
    """Check, tell, and give the exit code."""
    options = arguments(argv)
    reports, skipped = check(options)
    code = max((report.code for report in reports), default=Code.no_server)
    if options.json:
        servers = [{**asdict(report), "state": report.code.name} for report in reports]
        told = [json.dumps({"code": code, "state": code.name, "servers": servers, "skipped": skipped})]
    else:
        told = [line for report in reports for line in lines(report)]
        told += [] if reports else [f"NOT OK ({code:d}): no Jupyter Server was found; if one runs, give its --url"]
        sys.stderr.writelines(printable(f"skipped, {why}: {', '.join(what)}") + "\n" for why, what in skipped.items())
    sys.stdout.writelines(line + "\n" for line in told)
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
