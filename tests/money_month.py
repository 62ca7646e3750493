"""`python -m tests.money_month`: a synthetic month of a large fleet, and what it costs to report it.

    python -m tests.money_month make FOLDER --profiles 10000      # one .jsonl.gz file a day, as CloudWatch exports
    python -m tests.money_month measure --profiles 10000          # days built and a month reported: time and memory

Each profile works on about four days of five, once or twice a day, on one of four instance types. The same numbers
give the same month.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from culling_manager.money.days import Log, Window, as_json
from culling_manager.money.logs import event_of
from culling_manager.money.prices import Prices
from culling_manager.report import iso

FIRST = datetime(2026, 6, 1, tzinfo=timezone.utc)
TYPES = ("ml.t3.medium", "ml.m5.xlarge", "ml.g5.xlarge", "ml.p3.2xlarge")
WEIGHTS = (60, 25, 12, 3)
RATES = {"ml.t3.medium": 0.05, "ml.m5.xlarge": 0.23, "ml.g5.xlarge": 1.408, "ml.p3.2xlarge": 3.825}
TIMEOUT = 7200.0
PRICES = Prices(
    currency="USD", region="eu-west-1", as_of="2026-06-01", source="made up", rates={"Studio:JupyterLab": RATES}
)


def day(number: int, profiles: int, seed: int = 1) -> Iterator[dict[str, Any]]:
    """All log events of one day."""
    midnight = FIRST + timedelta(days=number)
    for profile in range(profiles):
        chance = random.Random(f"{seed}/{number}/{profile}")
        if chance.random() < (0.8 if midnight.weekday() < 5 else 0.1):
            kind = random.Random(f"{seed}/{profile}").choices(TYPES, WEIGHTS)[0]
            yield from work(midnight, f"user-{profile:05}", kind, chance)


def work(midnight: datetime, owner: str, kind: str, chance: random.Random) -> Iterator[dict[str, Any]]:
    """One day of one owner: one or two runs of the app, each with its heartbeats, most of them stopped by us."""
    start = chance.uniform(6, 11)
    for session in range(chance.choice((1, 1, 2))):
        length = chance.uniform(1, 5)
        run = f"{midnight:%m%d}{session}{owner}"
        at = midnight + timedelta(hours=start)
        yield app(owner, "started", at, run, kind)
        end = start + length + TIMEOUT / 3600
        for count in range(1, int(end - start) + 1):
            yield beat(owner, at + timedelta(hours=count), run, count, length, chance)
        if chance.random() < 0.9:
            stop = midnight + timedelta(hours=end)
            for event in ("deleting", "accepted"):
                yield app(owner, event, stop, run, kind, idle_seconds=TIMEOUT + 0.5, idle_time=TIMEOUT, reason="idle")
        start = end + chance.choice((0.2, 1, 3))


def app(owner: str, event: str, at: datetime, run: str, kind: str, **more: Any) -> dict[str, Any]:
    """One line about an app."""
    found = {"event": event, "at": iso(at), "app_type": "JupyterLab", "app": "default", "instance_type": kind, **more}
    found |= {"dry_run": False, "run": run, "version": "1.0.0"}
    return logged(owner, at, f"[W 2026-06-01 00:00:00.000 ServerApp] culling_manager app: {json.dumps(found)}")


def beat(owner: str, at: datetime, run: str, count: int, length: float, chance: random.Random) -> dict[str, Any]:
    """One heartbeat: at work for the first part of a run, waiting for the timeout in the second."""
    seconds = {"busy": 2400.0, "active": 1200.0} if count <= length else {"active": 3600.0}
    found: dict[str, Any] = {"idle_time": TIMEOUT, "keep_terminals": False, "count": 360 * count, "version": "1.0.0"}
    found |= {
        "run": run,
        "span": 3600.0,
        "seconds": seconds,
        "gaps": [],
        "last_use": iso(at - timedelta(hours=max(0.0, count - length))),
    }
    if count <= length:
        found["gaps"] = [round(min(chance.expovariate(1 / 900), 7000.0), 1)]
    return logged(owner, at, f"[I 2026-06-01 00:00:00.000 ServerApp] culling_manager heartbeat: {json.dumps(found)}")


def logged(owner: str, at: datetime, message: str) -> dict[str, Any]:
    """One log event."""
    stream = f"d-month/{owner}/JupyterLab/default"
    return {"logStreamName": stream, "timestamp": int(at.timestamp() * 1000), "message": message}


def make(folder: Path, profiles: int, days: int) -> None:
    """One file of exported events a day."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(days):
        with gzip.open(folder / f"{FIRST + timedelta(days=number):%Y-%m-%d}.jsonl.gz", "wt", compresslevel=1) as file:
            file.writelines(json.dumps(each) + "\n" for each in day(number, profiles))


def build_day(number: int, profiles: int) -> tuple[str, str, float]:
    """One day document from its events, and the seconds of a processor that took without making the events."""
    begin = (FIRST + timedelta(days=number)).timestamp()
    events = [event_of(each) for each in day(number, profiles)]
    began = time.process_time()
    log = Log(Window(begin=begin, end=begin + 86_400))
    for each in events:
        log.add(each)
    found = as_json(log.days[int(begin // 86_400)], (FIRST + timedelta(days=number)).date())
    text = json.dumps(found)
    return found["date"], text, time.process_time() - began


def measure(profiles: int, days: int) -> dict[str, Any]:
    """Build every day, then report the month of them by the very command, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        spent, size = [], 0
        for number in range(days):
            date, text, seconds = build_day(number, profiles)
            Path(folder, f"{date}.json").write_text(text)
            spent.append(seconds)
            size += len(text)
        built = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        Path(folder, "prices").mkdir()
        prices = Path(folder, "prices", "prices.txt")
        prices.write_text(json.dumps(PRICES.as_json()))
        end = (FIRST + timedelta(days=days)).date().isoformat()
        command = [sys.executable, "-m", "culling_manager.fleet.savings", "--days", folder, "--from", "2026-06-01"]
        command += ["--to", end, "--prices", str(prices), "--restart-cost", "2", "--html", f"{folder}/report.html"]
        began = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        took = time.perf_counter() - began
        spent_by_it = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        page = Path(folder, "report.html").stat().st_size
    return {
        "profiles": profiles,
        "days": days,
        "slowest day built (s of a processor)": round(max(spent), 1),
        "memory of the builder (MB)": round(built),
        "all days (MB)": round(size / 1e6, 1),
        "month reported (s)": round(took, 1),
        "month reported (s of a processor)": round(spent_by_it, 1),
        "memory of the report (MB)": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024),
        "page (kB)": round(page / 1000),
    }


def main() -> None:
    """Make a month, or measure one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["make", "measure"])
    parser.add_argument("folder", nargs="?", default="month")
    parser.add_argument("--profiles", type=int, default=10_000)
    parser.add_argument("--days", type=int, default=30)
    asked = parser.parse_args()
    if asked.what == "make":
        make(Path(asked.folder), asked.profiles, asked.days)
    else:
        sys.stdout.write(json.dumps(measure(asked.profiles, asked.days), indent=1) + "\n")


if __name__ == "__main__":
    main()
