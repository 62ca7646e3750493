"""Leases: kept while a program runs, no longer than one lease after its end, and never lost while it lives."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from culling_manager.cli.command import apart
from culling_manager.client import lease as client_lease
from culling_manager.client.here import server_around
from culling_manager.client.http import Client as Asking
from culling_manager.client.lease import Lease
from culling_manager.client.servers import Code, parse_url
from culling_manager.decisions import Reason
from culling_manager.engine.culler import IdleCuller
from culling_manager.engine.leases import LEASE_SECONDS, MOST
from culling_manager.engine.requests import KeepAlives
from culling_manager.errors import LeaseError, SettingError
from culling_manager.records import MARKER, Kind, owner
from culling_manager.rules.common import LEASE_DOUBT_SECONDS
from tests.conftest import scenario, until
from tests.doubles import NOON
from tests.test_appsource import TIMEOUT as APP_TIMEOUT
from tests.test_appsource import World as AppWorld
from tests.test_attention import TIMEOUT, WARN, World
from tests.test_config_files import environment, jupyter
from tests.test_end_to_end import BOTH, Client
from tests.test_handlers import ask
from tests.test_keepalive import request as asked

HOUR = 3600.0
DAY = NOON + timedelta(days=1)


def at(seconds: float):
    """An instant relative to noon."""
    return NOON + timedelta(seconds=seconds)


# -- who keeps what --------------------------------------------------------------------------------------


def test_a_lease_holds_for_five_minutes_from_each_renewal():
    """And is not known any more after them."""
    keep = KeepAlives()
    name = keep.lease(Kind.KERNEL, "a", NOON, DAY, "alice").lease

    renewed = keep.renew(name, at(200))

    assert renewed.until == at(200 + LEASE_SECONDS)
    assert keep.until(Kind.KERNEL, "a") == renewed.until
    with pytest.raises(KeyError):
        keep.renew(name, at(201 + LEASE_SECONDS))


def test_it_lasts_no_longer_in_all_than_was_asked_for():
    """Its last renewal holds until then, and afterwards it is said why there is no other."""
    keep = KeepAlives()
    name = keep.lease(None, None, NOON, at(400), "alice").lease

    last = keep.renew(name, at(250))

    assert (last.until, last.renewable) == (at(400), False)
    with pytest.raises(LeaseError, match="has lasted as long as it may"):
        keep.renew(name, at(401))


def test_leases_stand_beside_each_other_and_beside_what_a_person_asked_for():
    """The end of one, or of a request, ends no other; the longest counts."""
    keep = KeepAlives()
    first, second = (keep.lease(Kind.KERNEL, "a", NOON, DAY, "alice").lease for _ in range(2))
    keep.put(asked(Kind.KERNEL, "a", 2))
    keep.end_lease(first, NOON, 0)
    longest = keep.until(Kind.KERNEL, "a")

    keep.end(Kind.KERNEL, "a")

    assert longest == at(2 * HOUR)
    assert [each.lease for each in keep.current(NOON)] == [second]


def test_one_that_is_ended_holds_for_the_time_of_a_warning_and_is_renewed_by_nobody():
    """Never longer than it would have held; ended once more, it is gone."""
    keep = KeepAlives()
    name = keep.lease(None, None, NOON, DAY, "alice").lease

    ended = keep.end_lease(name, at(10), 60)
    other = keep.lease(None, None, NOON, DAY, "alice").lease

    assert (ended.until, ended.renewable) == (at(70), False)
    with pytest.raises(LeaseError, match="was ended"):
        keep.renew(name, at(20))
    keep.end_lease(name, at(20), 60)
    assert [each.lease for each in keep.current(at(20))] == [other]
    assert keep.end_lease(other, at(290), 60).until == at(LEASE_SECONDS)


def test_what_was_ended_keeps_no_longer_than_it_was_said_to():
    """Whoever decides goes by that, and why it cannot be renewed is remembered as it was, also when it is over."""
    keep = KeepAlives()
    name = keep.lease(Kind.KERNEL, "a", NOON, DAY, "alice").lease
    keep.end_lease(name, at(10), 60)

    left = keep.longest(Kind.KERNEL, "a")
    for seconds in (20, 71):
        with pytest.raises(LeaseError, match=f"^the lease {name} was ended$"):
            keep.renew(name, at(seconds))

    assert (left.until, left.ends, left.renewable) == (at(70), at(70), False)


def test_a_lease_holds_at_its_very_last_instant_and_leaves_nothing_behind_after_it():
    """So that what is asked at each pass is quick again, and one that is over cannot be ended."""
    keep = KeepAlives()
    names = [keep.lease(Kind.KERNEL, each, NOON, DAY, "alice").lease for each in ("a", "b")]

    renewed = keep.renew(names[0], at(LEASE_SECONDS)).until
    found = [each.identity for each in keep.current(at(LEASE_SECONDS))]
    with pytest.raises(KeyError):
        keep.end_lease(names[1], at(LEASE_SECONDS + 1), 60)
    keep.end_lease(names[0], at(LEASE_SECONDS + 1), 0)

    assert renewed == at(2 * LEASE_SECONDS)
    assert found == ["b", "a"]
    assert not keep.any


def test_those_that_are_over_leave_room_for_others_and_are_not_listed():
    """Whoever looks at them, and whoever begins another."""
    keep = KeepAlives()
    for _ in range(MOST):
        keep.lease(None, None, NOON, DAY, "loop")

    keep.lease(Kind.KERNEL, "a", at(LEASE_SECONDS + 1), DAY, "alice")
    found = [each.identity for each in keep.current(at(LEASE_SECONDS + 1))]
    later = keep.current(at(2 * LEASE_SECONDS + 2))

    assert (found, later, keep.any) == (["a"], [], False)


def test_whoever_decides_hears_of_each_lease_that_begins_is_renewed_or_ends():
    """What it keeps is decided anew then."""
    keep, heard = KeepAlives(), []
    keep.when_changed.append(lambda kind, identity: heard.append(identity))

    name = keep.lease(Kind.KERNEL, "a", NOON, DAY, "alice").lease
    keep.renew(name, at(10))
    keep.end_lease(name, at(20), 60)

    assert heard == ["a", "a", "a"]


def test_a_lease_is_of_five_minutes_and_five_hundred_may_hold():
    """What programs that renew them go by."""
    assert (LEASE_SECONDS, MOST) == (300.0, 500)


def test_the_names_of_a_thousand_that_were_ended_are_remembered():
    """Of one more the first is forgotten, as if there had been none."""
    keep = KeepAlives()
    names = []
    for _ in range(1001):
        names.append(keep.lease(None, None, NOON, DAY, "loop").lease)
        keep.end_lease(names[-1], NOON, 0)

    with pytest.raises(KeyError):
        keep.renew(names[0], NOON)
    with pytest.raises(LeaseError, match="was ended"):
        keep.renew(names[1], NOON)


def test_what_it_was_for_is_gone_and_so_is_the_lease():
    """Without a word; and a clock that is set back takes nothing of it."""
    keep = KeepAlives()
    keep.lease(Kind.KERNEL, "a", NOON, DAY, "alice")
    other = keep.lease(Kind.KERNEL, "b", NOON, DAY, "alice")
    named = keep.asked_for(Kind.KERNEL)
    keep.take_back(Kind.KERNEL, "a")

    keep.shift(-HOUR)

    (left,) = keep.current(at(-HOUR))
    assert named == ["a", "b"]
    assert (left.identity, left.until, left.ends) == ("b", other.until - timedelta(hours=1), DAY - timedelta(hours=1))
    assert left.asked_at == at(-HOUR)
    assert keep.any


def test_a_program_that_begins_leases_instead_of_renewing_one_is_told_so():
    """What there is stays."""
    keep = KeepAlives()
    for _ in range(MOST):
        keep.lease(None, None, NOON, DAY, "loop")

    with pytest.raises(SettingError, match="the name of one that is to be renewed") as caught:
        keep.lease(None, None, NOON, DAY, "loop")

    assert str(caught.value).startswith("lease = True is not accepted: ")
    assert len(keep.current(NOON)) == MOST


# -- under a clock ---------------------------------------------------------------------------------------


async def renewing(world, name: str, seconds: float) -> None:
    """Its holder renews it every minute."""
    for _ in range(int(seconds // 60)):
        await world.clock.run_for(60)
        world.culler.keep.renew(name, world.clock.wall)


@scenario
async def test_a_lease_that_is_renewed_keeps_and_nobody_is_warned_of_its_end():
    """Ten times the timeout; when nobody renews it, that is warned of, and then the kernel goes: within one lease."""
    world = World()
    name = world.culler.keep.lease(Kind.KERNEL, "a", world.clock.wall, DAY, "alice").lease
    await renewing(world, name, 10 * TIMEOUT)
    _, decision = world.now_of()
    quiet = [each for each in world.actions() if each != "kept"]

    await world.clock.run_for(LEASE_SECONDS - LEASE_DOUBT_SECONDS + 1)
    warned = world.actions()[-1]
    await world.clock.run_for(LEASE_DOUBT_SECONDS - 2)
    kept = list(world.kernels.stopped)
    await world.clock.run_for(3)

    assert (decision.reason, decision.renews, quiet) == (Reason.KEPT_ALIVE, True, [])
    assert (warned, kept) == ("warned", [])
    assert world.kernels.stopped == ["a"]


@scenario
async def test_what_a_lease_kept_is_warned_of_when_its_program_ends():
    """At once, and it goes after the time of a warning, not a whole timeout."""
    world = World()
    name = world.culler.keep.lease(None, None, world.clock.wall, DAY, "alice").lease
    await renewing(world, name, 2 * TIMEOUT)

    world.culler.keep.end_lease(name, world.clock.wall, WARN)
    await world.clock.run_for(WARN - 1)
    told, kept = world.actions(), list(world.kernels.stopped)
    await world.clock.run_for(2)

    assert [each for each in told if each != "kept"] == ["warned"]
    assert kept == []
    assert world.kernels.stopped == ["a"]


@scenario
async def test_an_app_stays_without_a_warning_while_a_lease_keeps_what_is_on_it():
    """And goes when that has ended."""
    world = AppWorld()
    world.apps.put("a", created_at=NOON)
    told: list[tuple[str, Kind]] = []
    world.culler.listeners.append(lambda each: told.append((each.action, each.kind)))
    world.start()
    world.kernel("k")
    name = world.culler.keep.lease(Kind.KERNEL, "k", world.clock.wall, DAY, "alice").lease
    await renewing(world, name, 10 * APP_TIMEOUT)
    deleted, quiet = list(world.apps.deleted), [each for each, _ in told if each == "warned"]

    await world.clock.run_for(LEASE_SECONDS + 5)

    assert (deleted, quiet) == ([], [])
    assert ("warned", Kind.APP) in told
    assert world.apps.deleted == ["a"]


@scenario
async def test_renewing_a_lease_is_no_asking_of_a_person():
    """What signals see keeps for `max_at_work` since the lease was begun, however often it was renewed."""
    world = World(max_at_work=2 * TIMEOUT)
    world.guard.at_work["a"] = "process loop.py uses 100% of a core"
    name = world.culler.keep.lease(Kind.KERNEL, "a", world.clock.wall, DAY, "alice").lease
    await renewing(world, name, 3 * TIMEOUT)
    world.culler.keep.end_lease(name, world.clock.wall, 0)

    await world.clock.run_for(WARN)

    assert world.kernels.stopped == ["a"]


# -- over HTTP -------------------------------------------------------------------------------------------


async def test_a_lease_over_http(jp_fetch, jp_serverapp):
    """Begun, renewed by its name, seen in the document, ended; a person's request stays."""
    _, kernel = await ask_jupyter(jp_fetch)
    thing = {"kind": "kernel", "id": kernel}
    _, begun = await ask(jp_fetch, "keep-alive", {"lease": True, "duration": "2h", **thing})
    await ask(jp_fetch, "keep-alive", {"duration": 1, **thing})
    status, renewed = await ask(jp_fetch, "keep-alive", {"lease": begun["lease"]})
    _, document = await ask(jp_fetch, "status")
    await ask(jp_fetch, "keep-alive", method="DELETE", params={"kind": "kernel", "id": kernel})
    _, left = await ask(jp_fetch, "keep-alive", method="DELETE", params={"lease": begun["lease"]})

    refused, words = await ask(jp_fetch, "keep-alive", {"lease": begun["lease"]})

    (found,) = document["kernels"]
    assert (status, renewed["lease"], renewed["ends"]) == (200, begun["lease"], begun["ends"])
    assert renewed["until"] > begun["until"]
    assert (found["reason"], found["leased"], found["due_at"]) == ("kept alive", True, None)
    assert "Kept by a lease" in found["detail"]
    assert [(each["lease"], each["until"] == each["ends"]) for each in left["keep_alive"]] == [(begun["lease"], True)]
    assert (refused, words["code"]) == (409, "lease_ended")


async def ask_jupyter(fetch, what: str = "kernels") -> tuple[int, str]:
    """Start a kernel or a terminal; gives status and id or name."""
    answer = await fetch("api", what, method="POST", body="{}")
    found = json.loads(answer.body)
    return answer.code, found.get("id") or found["name"]


async def test_what_a_process_runs_on_is_told_by_its_environment(jp_fetch, jp_serverapp):
    """A kernel's and a terminal's own; everything, where it comes from a server that is gone."""
    _, kernel = await ask_jupyter(jp_fetch)
    _, terminal = await ask_jupyter(jp_fetch, "terminals")
    mark = jp_serverapp.web_app.settings["terminal_manager"].terminals[terminal].owned_by
    marks = [owner(Kind.KERNEL, kernel, os.getpid()), mark, owner(Kind.KERNEL, kernel, 1), "nonsense"]

    found = [(await ask(jp_fetch, "keep-alive", {"lease": True, "owner": each}))[1] for each in marks]

    assert [(each["kind"], each["id"]) for each in found] == [
        ("kernel", kernel), ("terminal", terminal), ("all", None), ("all", None),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"lease": True, "until": "18:30"}, "until"),
        ({"lease": 1}, "lease"),
        ({"lease": "mine"}, "lease"),
        ({"lease": "0" * 32, "duration": 5}, "duration"),
        ({"lease": True, "duration": "2d"}, "duration"),
        ({"lease": True, "owner": ""}, "owner"),
        ({"lease": True, "owner": "x", "kind": "all"}, "owner"),
        ({"owner": "x", "duration": 5}, "owner"),
        ({"lease": False}, "duration"),
    ],
)
async def test_what_is_no_lease_is_refused_by_name(jp_fetch, body, field):
    """And changes nothing."""
    status, answer = await ask(jp_fetch, "keep-alive", body)
    _, left = await ask(jp_fetch, "keep-alive")

    assert (status, answer["field"], left["keep_alive"]) == (400, field, [])


async def test_a_lease_that_nobody_knows_is_not_found(jp_fetch):
    """To renew and to end: the server is another one by now, or it has lapsed."""
    status, answer = await ask(jp_fetch, "keep-alive", {"lease": "0" * 32})
    ended, _ = await ask(jp_fetch, "keep-alive", method="DELETE", params={"lease": "0" * 32})
    both, words = await ask(jp_fetch, "keep-alive", method="DELETE", params={"lease": "0" * 32, "kind": "all"})

    assert (status, answer["code"], ended) == (404, "not_found", 404)
    assert (both, words["field"]) == (400, "lease")


# -- the command -----------------------------------------------------------------------------------------


def test_the_words_of_the_command_are_its_own():
    """Whatever they look like to us."""
    assert apart(["run", "--for", "4h", "--", "a", "--set_it", "--", "-x"]) == (
        ["run", "--for", "4h"], ["a", "--set_it", "--", "-x"],
    )  # fmt: skip
    assert apart(["keep-alive", "--", "4h"]) == (["keep-alive", "--", "4h"], [])


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Where everything of this server lies."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def server(home):
    """A server without a token, as on SageMaker."""
    with jupyter(home, *BOTH, "--CullingKernelManager.max_keep_alive=60") as found:
        yield found


@contextlib.contextmanager
def running(home: Path, *words: str, env: dict[str, str] | None = None, first: str = ""):
    """`jupyter culling run ...`, which is ended afterwards; `first` is done before."""
    code = f"import os, sys\n{first}\nfrom culling_manager.cli import main\nsys.exit(main(sys.argv[1:]))"
    line = [sys.executable, "-c", code, "run", *words]
    known = {name: value for name, value in environment(home).items() if not name.startswith(("JPY_", MARKER))}
    process = subprocess.Popen(
        line, cwd=home, env=known | (env or {}), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=60)


def leases(server, renewable: bool = True) -> list[dict]:
    """Those that hold; of those that have ended the last minutes."""
    found = Client(server).ask("GET", "sagemaker-studio-autoshutdown/keep-alive")["keep_alive"]
    return [each for each in found if each["lease"] and (each["until"] < each["ends"]) == renewable]


def test_a_command_is_kept_while_it_runs_and_says_what_it_says_without_us(home, server):
    """Its output, its words, its exit code, and its pipes are closed when it has ended."""
    code = "import os, sys; print(sys.argv[1:], os.getpid()); sys.exit(7)"
    with running(home, "--for", "30m", "--", sys.executable, "-c", code, "--set_it", "--", "x") as process:
        out, err = process.communicate(timeout=60)

    assert (process.returncode, err) == (7, "")
    assert out == f"['--set_it', '--', 'x'] {process.pid}\n"


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
async def test_a_signal_is_the_commands_and_its_lease_ends_with_it(home, server, how):
    """Also one that nobody can catch: the one behind sees that it is gone."""
    with running(home, "--", sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        held = leases(server)

        process.send_signal(how)
        process.wait(60)

        await until(lambda: not leases(server), 60)
    assert [(each["kind"], each["id"]) for each in held] == [("all", None)]
    assert process.returncode == -how
    assert leases(server, renewable=False) != []


async def test_where_the_system_does_not_tell_it_is_looked_whether_the_command_has_ended(home, server):
    """As on macOS."""
    words = ("--", sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)")
    with running(home, *words, first="os.__dict__.pop('pidfd_open', None)") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        held = leases(server)

        process.terminate()
        process.wait(60)

        await until(lambda: not leases(server), 60)
    assert len(held) == 1


def test_what_cannot_be_run_is_said_as_a_shell_does(home, server):
    """127 and 126; and without words to run it is our usage that is wrong."""
    found = []
    for words in (["--", "no-such-command"], ["--", str(home)], []):
        with running(home, *words) as process:
            _, err = process.communicate(timeout=60)
            found.append((process.returncode, err.strip().rpartition(": ")[2]))

    assert [code for code, _ in found] == [127, 126, Code.USAGE]
    assert found[0][1] == "there is no such command"


def test_nothing_is_run_that_cannot_be_kept(tmp_path, home, server):
    """No server, or more than the admin allows: the command has not begun."""
    mark = tmp_path / "begun"
    with running(tmp_path, "--", "touch", str(mark)) as process:
        process.communicate(timeout=60)
    with running(home, "--for", "2h", "--", "touch", str(mark)) as other:
        _, err = other.communicate(timeout=60)

    assert (process.returncode, other.returncode) == (Code.NO_SERVER, Code.REFUSED)
    assert "max_keep_alive = 60 minutes" in err
    assert not mark.exists()


# -- while the server comes and goes -----------------------------------------------------------------------


class Program:
    """Something that runs, for whoever holds a lease for it; it ends when a test says so."""

    def __init__(self, find, wanted=None) -> None:
        self.over, self.told = threading.Event(), []
        self.lease = Lease(find, wanted or {"kind": "all"}, self.told.append)
        self.lease.begin()
        self.thread = threading.Thread(target=self.lease.hold, args=(self.over.wait,), daemon=True)
        self.thread.start()

    def end(self) -> None:
        self.over.set()
        self.thread.join(60)


@pytest.fixture
def in_haste(monkeypatch):
    """Renewed several times a second."""
    monkeypatch.setattr(client_lease, "RENEW_SECONDS", 0.1)
    monkeypatch.setattr(client_lease, "RETRY_SECONDS", 0.1)


@pytest.fixture
def find(jp_serverapp, http_server_client, jp_base_url, jp_http_port):
    """The test's own server."""
    url = f"http://127.0.0.1:{jp_http_port}{jp_base_url}"
    return lambda: Asking(parse_url(url, jp_serverapp.identity_provider.token))


async def in_thread(call, *words):
    return await asyncio.get_running_loop().run_in_executor(None, call, *words)


async def test_a_server_that_has_forgotten_is_asked_again(in_haste, find, jp_serverapp):
    """As after a restart, or when the machine has slept for longer than a lease: one lease more, and not one beside."""
    culler = IdleCuller.of(jp_serverapp)
    program = await in_thread(Program, find)
    (first,) = culler.keep.leases
    culler.keep.leases.drop(None, None)
    (second,) = await until(lambda: list(culler.keep.leases), 60)

    await in_thread(program.end)

    assert first.lease != second.lease
    assert first.ends == pytest.approx(second.ends, abs=timedelta(minutes=1))
    assert [each.renewable for each in culler.keep.leases] == [False]
    assert program.told == []


async def test_a_lease_that_is_taken_back_is_not_begun_again(in_haste, find, jp_serverapp):
    """Whoever takes it back means it; the program runs on and says so."""
    culler = IdleCuller.of(jp_serverapp)
    program = await in_thread(Program, find)
    (lease,) = culler.keep.leases

    culler.keep.end_lease(lease.lease, culler.now(), 0)
    await until(lambda: not program.thread.is_alive(), 60)

    assert list(culler.keep.leases) == []
    assert "no longer kept, and runs on: the lease" in program.told[0]


async def test_one_thing_that_is_gone_is_not_kept_any_more(in_haste, find, jp_fetch, jp_serverapp):
    """Nobody keeps everything because one kernel was asked for."""
    _, kernel = await ask_jupyter(jp_fetch)
    program = await in_thread(Program, find, {"kind": "kernel", "id": kernel})

    await jp_fetch("api", "kernels", kernel, method="DELETE")
    await until(lambda: not program.thread.is_alive(), 60)

    assert list(IdleCuller.of(jp_serverapp).keep.leases) == []
    assert len(program.told) == 1


async def test_a_server_that_was_restarted_has_the_lease_again(in_haste, tmp_path, monkeypatch):
    """Another process, another port, another token than before; found by its runtime file."""
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    for name in (MARKER, "JPY_PARENT_PID", "JUPYTER_SERVER_URL", "JUPYTER_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with jupyter(tmp_path, *BOTH) as first:
        program = await in_thread(Program, lambda: Asking(server_around()))
        before = leases(first)
    with jupyter(tmp_path, *BOTH) as second:
        await until(lambda: leases(second), 60)

        await in_thread(program.end)

        after = leases(second)
    assert len(before) == 1
    assert (after, program.told) == ([], [])
