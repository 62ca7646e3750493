#!/usr/bin/env python3
""":"
exec python3 "$0" "$@"
":
Set idle timeout and keep_terminals of the running Jupyter server(s): Python, which a shell starts by the lines above.

Without arguments it sets what the lifecycle configuration has set; what is set here lasts until the server restarts.
Finds servers, base URLs and tokens as check_idle_timeout_configuration.py does, which lies beside it; or takes --url,
and a token from JUPYTER_TOKEN or --token.

exit codes (of several servers, the highest):
   0  set; with --verify: so it is, or so it is configured and a user has changed it
   2  wrong usage of this script
   3  no Jupyter Server was found
   4  culling is off (only with --verify)
   5  the culler does not run (only with --verify)
   6  kernels are not culled: the kernel manager is not one of culling_manager's
   7  the server extension culling_manager is missing
   8  the token is wrong or missing
   9  the answer is not the one that the extension gives
  10  the server does not answer
  11  the server refuses the value; it says which ones it accepts
  12  the culler runs with other settings (only with --verify)
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import math
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))
try:
    import check_idle_timeout_configuration as check
except ImportError:
    sys.exit("check_idle_timeout_configuration.py is missing: it has to lie beside this script")

# Settings: the lifecycle configuration writes its own here.
TIMEOUT_IN_MINS = 120  # minutes
KEEP_TERMINALS = False

REFUSED, OTHER_SETTINGS = 11, 12
PAUSE_SECONDS = 0.3


# -- finding servers -----------------------------------------------------------------------------


def listed(leave_out: list[str]) -> dict[str, check.Target]:
    """Give the servers that runtime files tell of, by the file's name; of one address, the newest."""
    found = {}
    for path in check.runtime_dir().glob("jpserver-*.json"):
        with contextlib.suppress(OSError, ValueError):
            if path.name not in leave_out:
                found[path.name] = check.read_runtime_file(path)
    ordered = sorted(found.items(), key=lambda item: item[1].written)
    newest = {target.address: name for name, target in ordered}
    return {name: found[name] for name in newest.values()}


def groups(options: argparse.Namespace, everywhere: bool = True) -> list[dict[str, check.Target]]:
    """Give where to look for servers; a group counts only when nothing is found in those before it.

    Servers at SageMaker's usual addresses, which are looked for `everywhere` only, cannot be left out.
    """
    known = listed(options.leave_out)
    if options.url:
        return [{str(options.url): check.with_token(options.url, options.token, list(known.values()))}]
    usual = {each: check.parse_url(each) for each in check.USUAL_URLS} if everywhere else {}
    return [
        {name: check.with_token(target, options.token, []) for name, target in group.items()}
        for group in (known, usual)
    ]


# -- setting -------------------------------------------------------------------------------------


def cookies(target: check.Target, deadline: float) -> dict[str, str]:
    """Give the headers of one who has opened a page of the server: without a token, it wants its XSRF cookie back."""
    with contextlib.closing(check.connect(target, max(deadline - time.monotonic(), 0.1))) as connection:
        connection.request("GET", f"{target.path}tree")
        response = connection.getresponse()
        pairs = [each.split(";")[0].strip() for each in response.headers.get_all("Set-Cookie") or []]
    xsrf = [each.partition("=")[2] for each in pairs if each.startswith("_xsrf=")]
    return {"Cookie": "; ".join(pairs), "X-XSRFToken": xsrf[0]} if xsrf else {}


def request(target: check.Target, method: str, body: dict[str, Any] | None, deadline: float) -> tuple[int, Any]:
    """Give status and JSON of one request to the extension's settings."""
    headers = {"Content-Type": "application/json"}
    try:
        headers |= {"Authorization": f"token {target.token}"} if target.token else cookies(target, deadline)
        with contextlib.closing(check.connect(target, max(deadline - time.monotonic(), 0.1))) as connection:
            text = None if body is None else json.dumps(body)
            connection.request(method, f"{target.path}{check.URL_SPACE}/settings", text, headers)
            response = connection.getresponse()
            return response.status, check.parsed(response.read(check.LONGEST_ANSWER))
    except (OSError, http.client.HTTPException) as error:
        words = f"the server does not answer: {type(error).__name__}"
        raise check.Failure(check.Code.no_answer, words) from None


def change(target: check.Target, options: argparse.Namespace) -> str:
    """Set what was asked for on one server, and say what is so now. Raises Failure."""
    deadline = time.monotonic() + options.timeout
    check.wait_for_server(target, deadline)
    before = check.read_settings(target, deadline)
    minutes = before["idle_time"] / 60 if options.minutes is None else options.minutes
    body = {"idle_time": int(minutes) if minutes == int(minutes) else minutes}
    body |= {} if options.keep_terminals is None else {"keep_terminals": options.keep_terminals}
    status, answer = request(target, "POST", body, deadline)
    if status == 400 and options.goes_back and asked_for(options, configured(target, deadline)):
        # what the admin has set may be outside of what users may set, so go back to it
        status, _ = request(target, "DELETE", None, deadline)
    message = str(answer.get("message")) if isinstance(answer, dict) else f"HTTP status {status}"
    if status in (400, 409):
        raise check.Failure(REFUSED if status == 400 else check.Code.not_selected, message)
    if status != 200:
        code = check.Code.token_refused if status in (401, 403) else check.Code.unexpected
        raise check.Failure(code, f"the server does not take it (HTTP status {status})")
    return f"{words(check.read_settings(target, deadline))} (before: {words(before)})"


def words(settings: dict[str, Any]) -> str:
    """Tell settings to people."""
    keep = str(settings["keep_terminals"]).lower()
    return f"idle timeout {settings['idle_time'] / 60:g} minutes, keep_terminals {keep}"


# -- verifying -----------------------------------------------------------------------------------


def asked_for(options: argparse.Namespace, settings: dict[str, Any]) -> bool:
    """Whether settings are those of the command line; seconds in them, minutes there."""
    wanted = {"idle_time": None if options.minutes is None else options.minutes * 60}
    wanted["keep_terminals"] = options.keep_terminals
    return all(value is None or settings.get(name) == value for name, value in wanted.items())


def configured(target: check.Target, deadline: float) -> dict[str, Any]:
    """Give the settings as they are configured, whatever users have changed; none where that cannot be learned."""
    try:
        status, _, answer = check.get(target, f"{check.URL_SPACE}/settings", deadline, target.token)
    except check.Failure:
        return {}
    found = answer.get("configured") if status == 200 and isinstance(answer, dict) else None
    return found if isinstance(found, dict) else {}


def verdict(
    options: argparse.Namespace, reports: list[Any], targets: dict[str, check.Target], deadline: float
) -> tuple[int, str]:
    """Give exit code and words for what servers answered; one that is as it should be is enough."""
    for report in reports:
        if report.code == check.Code.running and asked_for(options, report.settings):
            return 0, f"The culler runs at {report.url}: {words(report.settings)}."
    for report in reports:
        if report.code == check.Code.running and asked_for(options, configured(targets[report.url], deadline)):
            return 0, f"The culler runs at {report.url}: {words(report.settings)}, as its user has set it."
    for report in reports:
        if report.code == check.Code.running:
            found = words(report.settings)
            return OTHER_SETTINGS, f"The culler runs at {report.url}, but with {found}: another configuration wins."
    for report in reports:
        return int(report.code), f"The culler does not run at {report.url}: {report.message}."
    return int(check.Code.no_server), "No server answers."


def verify(options: argparse.Namespace) -> tuple[int, str]:
    """Wait until a server has the settings; final is the answer of one that came after those that are left out."""
    end = time.monotonic() + options.timeout
    leaves_out = any(name.startswith("jpserver-") for name in options.leave_out)
    while True:
        last = time.monotonic() > end
        reports: list[Any] = []
        targets: dict[str, check.Target] = {}
        for group in groups(options, everywhere=last or not leaves_out):
            answers = check.ask_all(list(group.values()), min(15.0, max(1.0, end - time.monotonic())))
            if not reports:
                reports = [each for each in answers if each.code != check.Code.no_server]
                targets = {each.url: target for each, target in zip(answers, group.values(), strict=True)}
        code, told = verdict(options, reports, targets, time.monotonic() + 3.0)
        settled = leaves_out and code not in (check.Code.no_server, check.Code.no_answer)
        if code == 0 or settled or last:
            return code, told
        time.sleep(PAUSE_SECONDS)


# -- telling -------------------------------------------------------------------------------------


def set_all(options: argparse.Namespace) -> list[tuple[int, str]]:
    """Give exit code and words for each server that there is."""
    told: list[tuple[int, str]] = []
    for group in groups(options):
        for target in group.values():
            try:
                told.append((0, f"{target}: {change(target, options)}"))
            except check.Failure as failure:
                if failure.args[0] != check.Code.no_server or options.url:
                    told.append((int(failure.args[0]), f"{target}: not set: {failure.args[1]}"))
        if told:
            break
    return told or [(int(check.Code.no_server), "not set: no Jupyter Server was found; if one runs, give its --url")]


def running(options: argparse.Namespace) -> list[str]:
    """Give the names of the servers that run."""
    for group in groups(options):
        reports = check.ask_all(list(group.values()), min(options.timeout, 3.0))
        answers = {name: each.code for name, each in zip(group, reports, strict=True)}
        # Who has a runtime file is there, even if it is too busy to answer; who has none, may be nobody.
        names = [
            name
            for name, code in answers.items()
            if code != check.Code.no_server and (code != check.Code.no_answer or name.startswith("jpserver-"))
        ]
        if names:
            return names
    return []


def number(text: str) -> float:
    """Read a number that is one; which of them are accepted, the server knows."""
    found = float(text)
    if not math.isfinite(found):
        raise ValueError(text)
    return found


def copy(folder: Path, options: argparse.Namespace) -> str:
    """Write this script and the one beside it to a folder, with these settings and this Python; each whole or not."""
    folder.mkdir(parents=True, exist_ok=True)
    shebang = re.fullmatch(r"[\w./+-]{1,120}", sys.executable, re.ASCII)
    for source in (Path(check.__file__), Path(__file__)):
        text = source.read_text()
        if shebang:
            text = re.sub("^#!.*", f"#!{sys.executable}", text)
            text = text.replace("\nexec python3 ", f"\nexec {sys.executable} ", 1)
        if source == Path(__file__):
            text = re.sub("(?m)^TIMEOUT_IN_MINS = [^ ]*", f"TIMEOUT_IN_MINS = {options.minutes:g}", text)
            text = re.sub("(?m)^KEEP_TERMINALS = .*", f"KEEP_TERMINALS = {bool(options.keep_terminals)}", text)
        new = folder / f".{source.name}.new"
        try:
            new.write_text(text)
            new.chmod(0o755)
            new.replace(folder / source.name)
        finally:
            new.unlink(missing_ok=True)
    return f"written to {folder}"


def boolean(text: str) -> bool:
    """Read true or false."""
    if text.lower() not in ("true", "false"):
        raise ValueError(text)
    return text.lower() == "true"


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line; without minutes and keep_terminals, both are those on top."""
    summary, _, codes = (__doc__ or "").partition('":\n')[2].partition("exit codes")
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=summary, epilog=f"exit codes{codes}", formatter_class=raw)
    ours = f"here {TIMEOUT_IN_MINS} and {str(KEEP_TERMINALS).lower()}"
    about = f"idle timeout (this and the next left out: {ours})"
    parser.add_argument("minutes", nargs="?", type=number, metavar="MINUTES", help=about)
    parser.add_argument("--keep-terminals", type=boolean, metavar="{true,false}", help="keep idle terminals")
    parser.add_argument("--url", type=check.url, help="base URL, such as http://localhost:8888/jupyter/default")
    parser.add_argument("--token", help="others on this machine can see it here; they cannot see JUPYTER_TOKEN")
    parser.add_argument("--timeout", type=check.positive, default=15.0, metavar="SECONDS", help="wait (default: 15)")
    parser.add_argument("--verify", action="store_true", help="set nothing; wait until a server has these settings")
    parser.add_argument("--list", action="store_true", help="set nothing; name the servers that run, for --leave-out")
    parser.add_argument("--copy-to", type=Path, metavar="FOLDER", help="set nothing; write this script there, so set")
    parser.add_argument("--leave-out", action="append", default=[], metavar="NAME", help="not this one of --list")
    options = parser.parse_args(argv)
    if not all(check.SENDABLE.fullmatch(token) for token in (options.token or "", os.environ.get("JUPYTER_TOKEN", ""))):
        parser.error("the token is not plain text")
    options.goes_back = options.minutes is None and options.keep_terminals is None
    if options.goes_back:
        options.minutes, options.keep_terminals = float(TIMEOUT_IN_MINS), KEEP_TERMINALS
    return options


def main(argv: list[str] | None = None) -> int:
    """Set, tell, and give the exit code."""
    options = arguments(argv)
    if options.list:
        print(" ".join(running(options)))
        return 0
    if options.copy_to:
        try:
            print(copy(options.copy_to, options))
        except OSError as error:
            sys.exit(f"{options.copy_to} cannot be written: {error.strerror}")
        return 0
    told = [verify(options)] if options.verify else set_all(options)
    for code, line in told:
        print(check.printable(line), file=sys.stderr if code else sys.stdout)
    return max(code for code, _ in told)


if __name__ == "__main__":
    sys.exit(main())
