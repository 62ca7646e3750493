"""The admin's hook: how it is found, what it may answer, and what its failure means; and the one that we ship."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path

import boto3
import pytest
from moto import mock_aws
from traitlets import TraitError
from traitlets.config import Config, LoggingConfigurable

from culling_manager.concurrency import Limits
from culling_manager.decisions import Action, Decision, Reason
from culling_manager.engine.culler import IdleCuller
from culling_manager.engine.ports import Roots
from culling_manager.errors import HookError, SettingError
from culling_manager.records import AppRecord, KernelRecord
from culling_manager.safeguards.guard import Safeguards
from culling_manager.safeguards.hook import load_hook, run_hook
from tests.conftest import scenario
from tests.doubles import NOON, FakeClock

KERNEL = KernelRecord(identity="k", name="python3", state="idle", last_activity=NOON)
APP = AppRecord(identity="a", name="a", state="InService")
DECISION = Decision(action=Action.CULL, reason=Reason.IDLE, idle_seconds=1.0, due_at=NOON)
LATER = NOON + timedelta(hours=1)


def says_nothing(record, decision):
    """Let it go."""


def says_later(record, decision):
    """Keep it for an hour."""
    return LATER


async def says_later_in_time(record, decision):
    """Keep it for an hour, not blocking."""
    await asyncio.sleep(0)
    return LATER


async def ends_the_server(record, decision):
    """It may not."""
    sys.exit(3)


async def cancels(record, decision):
    """As some libraries let out of themselves."""
    raise asyncio.CancelledError


class CallableObject:
    """A hook may be an object."""

    async def __call__(self, record, decision):
        return LATER


@pytest.mark.parametrize("name", [f"{__name__}.says_nothing", f"{__name__}:says_nothing"])
def test_a_hook_is_found_by_its_import_name(name):
    """With a dot or a colon before the function's."""
    assert load_hook("hook", name) is sys.modules[__name__].says_nothing


@pytest.mark.parametrize("value", ["no.such.module", "json.nothing", "json", "", None, 5, object(), "..", "os.name"])
def test_what_is_no_hook_is_refused_when_it_is_configured(value):
    """Naming the setting, the value, and what went wrong; nothing at all is no hook."""
    if value in (None, ""):
        assert load_hook("hook", value) is None
        return
    with pytest.raises(SettingError, match=r"hook = .* is not accepted: it must be a callable"):
        load_hook("hook", value)


@pytest.mark.parametrize(
    ("hook", "answer"),
    [
        pytest.param(says_nothing, None, id="nothing"),
        pytest.param(says_later, LATER, id="a time"),
        pytest.param(says_later_in_time, LATER, id="async"),
        pytest.param(CallableObject(), LATER, id="an object"),
        pytest.param(lambda *_: says_later_in_time(*_), LATER, id="gives a coroutine"),
        pytest.param(lambda *_: NOON - timedelta(hours=1), None, id="past"),
        pytest.param(lambda *_: NOON, None, id="now"),
    ],
)
@scenario
async def test_what_a_hook_answers(hook, answer):
    """None lets it go, a time to come keeps it, and a time that is past is none."""
    assert await run_hook(hook, KERNEL, DECISION, 5, NOON) == answer


@pytest.mark.parametrize(
    ("hook", "words"),
    [
        pytest.param(lambda *_: 1 / 0, "ZeroDivisionError", id="raises"),
        pytest.param(lambda *_: "tomorrow", "is not a datetime", id="no time"),
        pytest.param(lambda *_: True, "is not a datetime", id="true"),
        pytest.param(lambda *_: datetime(2027, 1, 1), "has no time zone", id="naive"),
        pytest.param(lambda: None, "TypeError", id="wrong arguments"),
        pytest.param(lambda *_: sys.exit(3), "SystemExit: 3", id="wants to end the server"),
        pytest.param(lambda *_: next(iter(())), "StopIteration", id="stops an iteration"),
        pytest.param(ends_the_server, "SystemExit: 3", id="wants to end the server, async"),
        pytest.param(cancels, "it was cancelled", id="cancels itself"),
        pytest.param(lambda *_: time.sleep(2), "took longer than 0.2 s", id="blocks"),
        pytest.param(lambda *_: asyncio.sleep(2), "took longer than 0.2 s", id="waits"),
    ],
)
@scenario
async def test_a_hook_that_fails_says_why(hook, words):
    """Also one that blocks: it runs in a thread, and the event loop goes on."""
    with pytest.raises(HookError, match=words):
        await run_hook(hook, KERNEL, DECISION, 0.2, NOON)


@scenario
async def test_a_hook_that_hangs_is_not_called_again_beside_itself():
    """One copy of it for one record; the next call fails until the last has ended."""
    limits, calls, release = Limits(), [], asyncio.Event()

    async def hangs(record, decision):
        calls.append(record.identity)
        while not release.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await release.wait()

    for _ in range(3):
        with pytest.raises(HookError, match=r"took longer than 0.05 s"):
            await run_hook(hangs, KERNEL, DECISION, 0.05, NOON, limits)
    release.set()
    await asyncio.sleep(0.01)
    await run_hook(hangs, KERNEL, DECISION, 0.05, NOON, limits)

    assert calls == ["k", "k"]


@scenario
async def test_who_asks_while_it_runs_gets_the_answer_of_that_run():
    """Within the time of that run, not of its own."""
    limits, calls = Limits(), []

    async def slow():
        calls.append(1)
        await asyncio.sleep(0.05)
        return "done"

    answers = await asyncio.gather(*(limits.within("a", 5, slow) for _ in range(3)))

    assert (answers, calls) == (["done"] * 3, [1])


@scenario
async def test_when_the_first_asker_gives_up_the_second_asks_itself():
    """Its answer is no error."""
    limits, calls = Limits(), []

    async def slow():
        calls.append(1)
        await asyncio.sleep(0.05)
        return "done"

    first = asyncio.ensure_future(limits.within("a", 5, slow))
    second = asyncio.ensure_future(limits.within("a", 5, slow))
    await asyncio.sleep(0.01)
    first.cancel()

    assert await second == "done"
    assert calls == [1, 1]


def safeguards(**settings) -> Safeguards:
    """Safeguards without signals."""
    config = Config({"Safeguards": settings, "Signals": {"names": []}})
    return Safeguards(IdleCuller(logging.getLogger("test"), FakeClock()), parent=LoggingConfigurable(config=config))


@scenario
async def test_a_failing_hook_keeps_unless_it_is_configured_otherwise():
    """With "cull" it is culled all the same, and that is said."""
    strict, loose = (
        safeguards(pre_cull_hook=f"{__name__}.fails"),
        safeguards(pre_cull_hook=f"{__name__}.fails", hook_failure="cull"),
    )

    with pytest.raises(HookError):
        await strict.before_culling(KERNEL, DECISION)
    answer = await loose.before_culling(KERNEL, DECISION)

    assert answer is None
    assert "kernel k is culled although pre_cull_hook failed" in loose._culler.troubles.last_text()


def fails(record, decision):
    """A broken one."""
    raise OSError("disk full")


@pytest.mark.parametrize(
    "settings", [{"hook_seconds": 0}, {"hook_seconds": -1}, {"hook_failure": "maybe"}, {"pre_cull_hook": "no.such"}]
)
def test_a_bad_setting_ends_the_start_of_the_server(settings):
    """A TraitError, as for every other setting."""
    with pytest.raises(TraitError, match=r"Safeguards|hook"):
        safeguards(**settings)


@scenario
async def test_without_signals_nothing_is_at_work_and_nobody_is_asked_early():
    """An empty list of names is a choice."""
    found = safeguards()

    use = await found.ask(KERNEL, Roots())

    assert (use.used_by, use.used_at, found.lead_seconds) == (None, None, 0.0)


# -- the hook that we ship -----------------------------------------------------------------------------------


@pytest.fixture
def shipped(monkeypatch):
    """`config/hooks/copy_home_to_s3.py`, loaded anew."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "config" / "hooks"))
    sys.modules.pop("copy_home_to_s3", None)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    hook = load_hook("hook", "copy_home_to_s3.copy_before_app")
    yield hook
    sys.modules.pop("copy_home_to_s3", None)


def test_the_shipped_hook_copies_what_changed_before_an_app_goes(shipped, tmp_path, monkeypatch):
    """Once each, without caches and links; nothing for a kernel."""
    monkeypatch.setenv("COPY_FROM", str(tmp_path))
    monkeypatch.setenv("COPY_TO", "s3://backup/alice/")
    (tmp_path / "work").mkdir()
    (tmp_path / ".cache").mkdir()
    (tmp_path / "work" / "a b.ipynb").write_text("{}")
    (tmp_path / ".cache" / "big").write_text("no")
    (tmp_path / "link").symlink_to("/etc/hostname")
    with mock_aws():
        s3 = boto3.client("s3")
        s3.create_bucket(Bucket="backup", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})

        shipped(KERNEL, DECISION)
        after_kernel = s3.list_objects_v2(Bucket="backup")["KeyCount"]
        shipped(APP, DECISION)
        keys = [found["Key"] for found in s3.list_objects_v2(Bucket="backup")["Contents"]]
        s3.delete_object(Bucket="backup", Key=keys[0])
        shipped(APP, DECISION)
        again = s3.list_objects_v2(Bucket="backup")["KeyCount"]

    assert (after_kernel, keys, again) == (0, ["alice/work/a b.ipynb"], 0)


def test_the_shipped_hook_fails_when_it_cannot_copy(shipped, tmp_path, monkeypatch):
    """Then the app is kept."""
    monkeypatch.setenv("COPY_FROM", str(tmp_path))
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("COPY_TO", "s3://nobodys-bucket/x")

    with mock_aws(), pytest.raises(Exception, match="NoSuchBucket"):
        shipped(APP, DECISION)
    monkeypatch.setenv("COPY_TO", "/tmp/x")
    with pytest.raises(ValueError, match="COPY_TO"):
        shipped(APP, DECISION)
