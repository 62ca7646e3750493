"""HTTP through a real server: shapes, bad input, who may, and the clients of the original extension."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jupyter_server.base.handlers import APIHandler
from tornado.httpclient import HTTPClientError
from tornado.web import HTTPError

from culling_manager.engine.culler import IdleCuller
from culling_manager.fleet.judge import read_heartbeat
from culling_manager.records import Use
from culling_manager.report import HEARTBEAT_MARKER
from culling_manager.server.bodies import LONGEST_BODY
from culling_manager.server.handlers import routes, verbs
from culling_manager.server.saved_settings import FILE_NAME
from tests.conftest import until
from tests.doubles import NOON
from tests.test_config_files import jupyter
from tests.test_end_to_end import BOTH, Client

SPACE = "sagemaker-studio-autoshutdown"
EVERY_CALL = [
    *(("GET", "idle_checker"), ("POST", "idle_checker"), ("GET", "status"), ("GET", "openapi.json")),
    *(("GET", "settings"), ("POST", "settings"), ("DELETE", "settings")),
    *(("GET", "keep-alive"), ("POST", "keep-alive"), ("DELETE", "keep-alive")),
    ("POST", "presence"),
]
#: What each POST accepts.
BODIES = {
    "idle_checker": {"idle_time": 1, "keep_terminals": False},
    "settings": {"idle_time": 1, "save": True},
    "keep-alive": {"duration": "4h"},
    "presence": {"path": "explore.ipynb"},
}


async def ask(fetch, path: str, body=None, **kwargs):
    """Call our API with the server's token; gives (status, JSON)."""
    if body is not None:
        kwargs |= {"method": "POST", "body": body if isinstance(body, (str, bytes)) else json.dumps(body)}
    kwargs.setdefault("request_timeout", 60)
    try:
        answer = await fetch(SPACE, path, **kwargs)
    except HTTPClientError as error:
        answer = error.response
    return answer.code, json.loads(answer.body)


async def test_get_idle_checker_has_the_originals_shape(jp_fetch):
    """Exactly four fields; seconds, bool, int, text or null."""
    status, answer = await ask(jp_fetch, "idle_checker")

    assert status == 200
    assert answer == {"idle_time": 7200, "keep_terminals": False, "count": answer["count"], "errors": None}
    assert isinstance(answer["idle_time"], int)


class TestCount:
    """Clients take count > 1 for a running culler."""

    @pytest.fixture
    def jp_server_config(self, jp_server_config):
        jp_server_config["CullingKernelManager"] = {"cull_interval": 2}
        return jp_server_config

    async def test_count_exceeds_one_within_a_heartbeat_though_nobody_opened_a_kernel(self, jp_fetch):
        """The second wake-up comes after half of it."""

        async def counted():
            return (await ask(jp_fetch, "idle_checker"))[1]["count"] > 1

        await until(counted)


async def test_post_idle_checker_sets_both_and_has_the_originals_shape(jp_fetch, jp_serverapp):
    """Minutes in, greetings and count out; the managers' own settings follow."""
    status, answer = await ask(jp_fetch, "idle_checker", {"idle_time": 30, "keep_terminals": True})
    _, now = await ask(jp_fetch, "idle_checker")

    assert (status, set(answer)) == (200, {"greetings", "count"})
    assert (now["idle_time"], now["keep_terminals"]) == (1800, True)
    assert jp_serverapp.kernel_manager.idle_timeout == 30
    assert jp_serverapp.web_app.settings["terminal_manager"].keep_terminals is True


async def test_post_settings_answers_seconds_as_a_string(jp_fetch):
    """The original's quirk is its contract; keep_terminals may be left out."""
    first = await ask(jp_fetch, "settings", {"idle_time": "120", "keep_terminals": True})
    second = await ask(jp_fetch, "settings", {"idle_time": 0.5})

    assert first == (200, {"idle_time": "7200", "keep_terminals": True})
    assert second == (200, {"idle_time": "30", "keep_terminals": True})


async def test_post_idle_checker_starts_a_culler_that_does_not_run(jp_fetch, jp_serverapp):
    """As the original's activating POST did."""
    culler = IdleCuller.of(jp_serverapp)
    culler.stop()

    await ask(jp_fetch, "idle_checker", {"idle_time": 30, "keep_terminals": False})

    assert culler.running


async def test_a_run_time_setting_takes_effect_on_a_real_kernel_at_once(jp_fetch, jp_serverapp):
    """Idle for a while under two hours; gone as soon as somebody says one second."""
    answer = await jp_fetch("api", "kernels", method="POST", body="{}")
    kernel_id = json.loads(answer.body)["id"]
    await asyncio.sleep(1.0)

    status, _ = await ask(jp_fetch, "settings", {"idle_time": 0.017})

    assert status == 200
    await until(lambda: kernel_id not in jp_serverapp.kernel_manager, 20)


async def test_status_shows_what_is_watched_and_why(jp_fetch):
    """Every field of the contract, for a real kernel and a real terminal."""
    await jp_fetch("api", "kernels", method="POST", body="{}")
    await jp_fetch("api", "terminals", method="POST", body="{}")

    status, document = await ask(jp_fetch, "status")

    assert status == 200
    assert document["running"] is True
    assert document["policy"]["idle_timeout"] == 7200
    assert document["notices"] == []
    for entry in (*document["kernels"], *document["terminals"]):
        assert entry["decision"] == "keep"
        assert entry["reason"] == "active"
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", entry["due_at"])
    assert (len(document["kernels"]), len(document["terminals"]), document["apps"]) == (1, 1, [])


BAD_BODIES = {
    "empty": ("", "body"),
    "not JSON": ("idle_time=120", "body"),
    "a list": ([120, False], "body"),
    "a number": ("120", "body"),
    "null": ("null", "body"),
    "not UTF-8": (b"\xff\xfe\x00", "body"),
    "deeply nested": ("[" * 60_000, "body"),
    "a megabyte": (json.dumps({"idle_time": "1" * 1_000_000}), "body"),
    "nothing in it": ({}, "idle_time"),
    "idle_time missing": ({"keep_terminals": False}, "idle_time"),
    "idle_time null": ({"idle_time": None, "keep_terminals": False}, "idle_time"),
    "idle_time word": ({"idle_time": "soon", "keep_terminals": False}, "idle_time"),
    "idle_time 'nan'": ({"idle_time": "nan", "keep_terminals": False}, "idle_time"),
    "idle_time '-5'": ({"idle_time": "-5", "keep_terminals": False}, "idle_time"),
    "idle_time bool": ({"idle_time": True, "keep_terminals": False}, "idle_time"),
    "idle_time list": ({"idle_time": [120], "keep_terminals": False}, "idle_time"),
    "idle_time 0": ({"idle_time": 0, "keep_terminals": False}, "idle_time"),
    "idle_time next to nothing": ({"idle_time": 5e-324, "keep_terminals": False}, "idle_time"),
    "idle_time negative": ({"idle_time": -5, "keep_terminals": False}, "idle_time"),
    "idle_time 1e308": ({"idle_time": 1e308, "keep_terminals": False}, "idle_time"),
    "idle_time NaN": ('{"idle_time": NaN, "keep_terminals": false}', "idle_time"),
    "idle_time 1e400": ('{"idle_time": 1e400, "keep_terminals": false}', "idle_time"),
    "idle_time huge": ('{"idle_time": 1' + "0" * 4000 + ', "keep_terminals": false}', "idle_time"),
    "keep_terminals word": ({"idle_time": 60, "keep_terminals": "yes"}, "keep_terminals"),
    "keep_terminals 1": ({"idle_time": 60, "keep_terminals": 1}, "keep_terminals"),
    "keep_terminals null": ({"idle_time": 60, "keep_terminals": None}, "keep_terminals"),
}


@pytest.mark.parametrize("path", ["idle_checker", "settings"])
@pytest.mark.parametrize(("body", "field"), BAD_BODIES.values(), ids=BAD_BODIES.keys())
async def test_bad_input_gets_400_names_what_is_wrong_and_changes_nothing(jp_fetch, jp_serverapp, path, body, field):
    """Field, value seen (cut when long) and accepted range; nothing is half-set."""
    before = IdleCuller.of(jp_serverapp).policy

    status, answer = await ask(jp_fetch, path, body)

    assert (status, answer["field"]) == (400, field)
    assert answer["code"] == ("bad_body" if field == "body" else "bad_field")
    assert field in answer["message"]
    assert answer["accepted"] in answer["message"]
    assert len(answer["message"]) < 400
    assert IdleCuller.of(jp_serverapp).policy == before


async def test_post_idle_checker_needs_keep_terminals(jp_fetch):
    """Both are required there, as in the original."""
    status, answer = await ask(jp_fetch, "idle_checker", {"idle_time": 60})

    assert (status, answer["field"]) == (400, "keep_terminals")


class TestBounds:
    """`min_idle_timeout` and `max_idle_timeout` are the admin's word."""

    @pytest.fixture
    def jp_server_config(self, jp_server_config):
        jp_server_config["CullingKernelManager"] = {
            "idle_timeout": 5,
            "min_idle_timeout": 10,
            "max_idle_timeout": 480,
        }
        return jp_server_config

    @pytest.mark.parametrize(("minutes", "expected"), [(9, 400), (10, 200), (480, 200), (481, 400)])
    async def test_users_set_only_what_is_between_them(self, jp_fetch, minutes, expected):
        """Both bounds are included; the admin's own 5 minutes stand until then."""
        _, before = await ask(jp_fetch, "idle_checker")

        status, answer = await ask(jp_fetch, "settings", {"idle_time": minutes})

        assert before["idle_time"] == 300
        assert status == expected
        if status == 400:
            assert "from 10 to 480" in answer["message"]

    async def test_who_leaves_the_timeout_as_it_is_may_set_the_rest(self, jp_fetch, jp_serverapp):
        """The admin's own 5 minutes are none that a user may set, and none that a user sets here."""
        status, _ = await ask(jp_fetch, "settings", {"idle_time": 5, "keep_terminals": True})
        kept, _ = await ask(jp_fetch, "settings", {"idle_time": 5})
        saved, _ = await ask(jp_fetch, "settings", {"idle_time": 5, "keep_terminals": True, "save": True})

        assert (status, kept, saved) == (200, 400, 400)
        policy = IdleCuller.of(jp_serverapp).policy
        assert (policy.idle_timeout, policy.keep_terminals) == (300, True)


@pytest.mark.parametrize(
    ("save", "saved"),
    [
        (["keep_terminals"], {"keep_terminals": True}), (["idle_time"], {"idle_time": 3600}), (False, None),
        (True, {"idle_time": 3600, "keep_terminals": True}),
    ],
)  # fmt: skip
async def test_what_is_saved_is_what_was_asked_for(jp_fetch, save, saved):
    """One of both, both, or none."""
    await ask(jp_fetch, "settings", method="DELETE")

    status, _ = await ask(jp_fetch, "settings", {"idle_time": 60, "keep_terminals": True, "save": save})

    _, found = await ask(jp_fetch, "settings")
    assert (status, found["saved"]) == (200, saved)


@pytest.mark.parametrize("save", ["yes", ["no"], [["idle_time"]], ["idle_time"] * 2, 1, None, {"idle_time": True}])
async def test_what_to_save_is_named_or_refused(jp_fetch, save):
    """With what is accepted."""
    status, answer = await ask(jp_fetch, "settings", {"idle_time": 60, "save": save})

    assert (status, answer["field"]) == (400, "save")


class TestForeignManagers:
    """A server whose managers are not ours is told so instead of failing."""

    @pytest.fixture
    def jp_server_config(self):
        return {"ServerApp": {"jpserver_extensions": {"culling_manager": True, "jupyter_server_terminals": True}}}

    async def test_get_says_what_to_configure(self, jp_fetch):
        """Same shape; count 0, off, and the words."""
        status, answer = await ask(jp_fetch, "idle_checker")

        assert status == 200
        assert (answer["idle_time"], answer["count"]) == (0, 0)
        assert "AsyncMappingKernelManager" in answer["errors"]
        assert 'kernel_manager_class = "culling_manager.CullingKernelManager"' in answer["errors"]

    async def test_post_is_a_conflict_and_not_a_crash(self, jp_fetch):
        """There is nothing to set."""
        status, answer = await ask(jp_fetch, "idle_checker", {"idle_time": 60, "keep_terminals": False})

        assert (status, answer["code"]) == (409, "not_our_managers")
        assert "culling_manager.CullingKernelManager" in answer["message"]

    @pytest.mark.parametrize("path", ["settings", "keep-alive"])
    @pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
    async def test_settings_and_keep_alive_are_a_conflict_too(self, jp_fetch, method, path):
        """Whatever the verb."""
        status, answer = await ask(jp_fetch, path, BODIES[path] if method == "POST" else None, method=method)

        assert (status, answer["code"]) == (409, "not_our_managers")
        assert "culling_manager.CullingKernelManager" in answer["message"]

    async def test_status_has_its_shape_and_a_notice_for_each_manager(self, jp_fetch):
        """Nobody has to know before asking."""
        status, document = await ask(jp_fetch, "status")

        assert (status, document["running"], document["kernels"], document["policy"]) == (200, False, [], None)
        assert len(document["notices"]) == 2


class TestOnlyTerminals:
    """Our terminal manager works with upstream's kernel manager."""

    @pytest.fixture
    def jp_server_config(self, jp_server_config):
        del jp_server_config["ServerApp"]["kernel_manager_class"]
        return jp_server_config

    async def test_terminals_follow_what_is_set(self, jp_fetch, jp_serverapp):
        """There is a culler, a count, and settings; the notice says what is missing."""
        status, _ = await ask(jp_fetch, "idle_checker", {"idle_time": 30, "keep_terminals": False})
        _, document = await ask(jp_fetch, "status")

        assert status == 200
        assert IdleCuller.of(jp_serverapp).policy.terminal_timeout == 1800
        assert "Kernels are not culled" in (await ask(jp_fetch, "idle_checker"))[1]["errors"]
        assert len(document["notices"]) == 1


class TestWithoutTheExtension:
    """The managers work alone."""

    @pytest.fixture
    def jp_server_config(self, jp_server_config):
        jp_server_config["ServerApp"]["jpserver_extensions"] = {"jupyter_server_terminals": True}
        jp_server_config["CullingKernelManager"] = {"idle_timeout": 0.015}
        return jp_server_config

    async def test_a_kernel_and_a_terminal_go_all_the_same(self, jp_fetch, jp_serverapp):
        """No handler is needed for culling."""
        await jp_fetch("api", "kernels", method="POST", body="{}")
        await jp_fetch("api", "terminals", method="POST", body="{}")
        terminals = jp_serverapp.web_app.settings["terminal_manager"]

        await until(lambda: not jp_serverapp.kernel_manager.list_kernel_ids() and not terminals.terminals, 20)


# -- keep-alive --------------------------------------------------------------------------------------


async def start(fetch, what: str = "kernels") -> str:
    """Start a kernel or a terminal; gives its id."""
    found = json.loads((await fetch("api", what, method="POST", body="{}")).body)
    return found.get("id") or found["name"]


def minutes_from_now(text: str) -> float:
    """How far away a time of ours is."""
    return (datetime.fromisoformat(text.replace("Z", "+00:00")) - datetime.now(timezone.utc)).total_seconds() / 60


async def test_nothing_is_kept_by_request_at_first(jp_fetch):
    """And everybody sees for how long may be asked."""
    assert await ask(jp_fetch, "keep-alive") == (200, {"keep_alive": [], "max_keep_alive": 1440})


async def test_everything_is_kept_for_a_while(jp_fetch):
    """The request comes back as the answer, and in the list."""
    status, entry = await ask(jp_fetch, "keep-alive", {"duration": "4h"})
    _, listed = await ask(jp_fetch, "keep-alive")

    assert status == 200
    assert set(entry) == {"kind", "id", "until", "asked_at", "asked_by"}
    assert (entry["kind"], entry["id"]) == ("all", None)
    assert minutes_from_now(entry["until"]) == pytest.approx(240, abs=1)
    assert listed["keep_alive"] == [entry]


@pytest.mark.parametrize(("path", "field"), [("idle_checker", "idle_time"), ("settings", "save"), ("keep-alive", "id")])
async def test_a_body_however_deep_is_refused_and_fails_nothing(jp_fetch, path, field):
    """What Python can just read but not write, 977 levels on some, is no fault of the server's."""
    others = {} if path == "keep-alive" else {"idle_time": 1, "keep_terminals": False}
    body = json.dumps(others | {field: "DEEP"})
    answers = [
        await ask(jp_fetch, path, body.replace('"DEEP"', "[" * depth + "]" * depth))
        for depth in (100, *range(930, 1000), 10_000)
    ]

    assert {status for status, _ in answers} == {400}
    assert {answer["field"] for _, answer in answers} == {field, "body"}


@pytest.mark.parametrize("what", ["kernel", "terminal"])
async def test_one_thing_is_kept_and_status_says_so(jp_fetch, what):
    """Until when, and why; others of its kind go their way."""
    first, second = await start(jp_fetch, f"{what}s"), await start(jp_fetch, f"{what}s")

    status, entry = await ask(jp_fetch, "keep-alive", {"kind": what, "id": first, "duration": 90})
    _, document = await ask(jp_fetch, "status")

    found = {each["id"]: each for each in document[f"{what}s"]}
    assert (status, entry["kind"], entry["id"]) == (200, what, first)
    assert document["keep_alive"] == [entry]
    assert found[first]["kept_until"] == entry["until"]
    assert (found[first]["reason"], found[first]["decision"]) == ("kept alive", "keep")
    assert entry["until"] in found[first]["detail"]
    assert (found[second]["kept_until"], found[second]["reason"]) == (None, "active")


async def test_what_is_kept_by_request_survives_its_deadline_and_goes_when_that_is_taken_back(jp_fetch, jp_serverapp):
    """Two real kernels and a timeout of one second."""
    kept, other = await start(jp_fetch), await start(jp_fetch)
    manager = jp_serverapp.kernel_manager

    await ask(jp_fetch, "keep-alive", {"kind": "kernel", "id": kept, "duration": "1h"})
    await ask(jp_fetch, "settings", {"idle_time": 0.017})
    await until(lambda: other not in manager, 20)
    survived = kept in manager
    status, answer = await ask(jp_fetch, "keep-alive", method="DELETE", params={"kind": "kernel", "id": kept})

    assert survived
    assert (status, answer["keep_alive"]) == (200, [])
    await until(lambda: kept not in manager, 20)


@pytest.mark.parametrize("what", ["kernel", "terminal"])
async def test_a_keep_alive_goes_with_what_it_is_for(jp_fetch, jp_serverapp, what):
    """Nobody looked at the status meanwhile; and a new terminal of the same name is not kept by it."""
    identity = await start(jp_fetch, f"{what}s")
    if what == "kernel":
        jp_serverapp.kernel_manager.get_kernel(identity).execution_state = "idle"
    await ask(jp_fetch, "keep-alive", {"kind": what, "id": identity, "duration": "4h"})

    await jp_fetch("api", f"{what}s", identity, method="DELETE")
    await start(jp_fetch, f"{what}s")

    async def forgotten():
        return (await ask(jp_fetch, "keep-alive"))[1]["keep_alive"] == []

    await until(forgotten, 3)


async def test_until_a_clock_time_is_within_a_day(jp_fetch):
    """The next time that the server's clock shows it."""
    soon = (datetime.now() + timedelta(minutes=90)).strftime("%H:%M")

    status, entry = await ask(jp_fetch, "keep-alive", {"until": soon})

    assert status == 200
    assert minutes_from_now(entry["until"]) == pytest.approx(90, abs=61)  # the clocks may be changed tonight
    assert entry["until"].endswith(":00.000000Z")


async def test_until_an_iso_time_counts_with_its_offset(jp_fetch):
    """Given in any zone, answered in UTC."""
    then = (datetime.now(timezone.utc) + timedelta(hours=2)).astimezone(timezone(timedelta(hours=9)))

    status, entry = await ask(jp_fetch, "keep-alive", {"until": then.isoformat()})

    assert status == 200
    assert minutes_from_now(entry["until"]) == pytest.approx(120, abs=1)


BAD_REQUESTS = {
    "nothing": ({}, "duration"),
    "both": ({"duration": "4h", "until": "18:30"}, "until"),
    "words": ({"duration": "a while"}, "duration"),
    "zero": ({"duration": 0}, "duration"),
    "negative": ({"duration": "-4h"}, "duration"),
    "bool": ({"duration": True}, "duration"),
    "list": ({"duration": ["4h"]}, "duration"),
    "NaN": ('{"duration": NaN}', "duration"),
    "beyond float": ('{"duration": 1' + "0" * 400 + "}", "duration"),
    "over max_keep_alive": ({"duration": "1d1m"}, "duration"),
    "until far off": ({"until": "2999-01-01T00:00:00Z"}, "until"),
    "until past": ({"until": "2020-01-01T00:00:00Z"}, "until"),
    "until without a zone": ({"until": "2999-01-01T00:00:00"}, "until"),
    "until beyond the calendar": ({"until": "9999-12-31T23:59:59-23:59"}, "until"),
    "until 25 o'clock": ({"until": "25:00"}, "until"),
    "until number": ({"until": 18}, "until"),
    "kind without id": ({"duration": "4h", "kind": "kernel"}, "id"),
    "id without kind": ({"duration": "4h", "id": "1"}, "id"),
    "id for all": ({"duration": "4h", "kind": "all", "id": "1"}, "id"),
    "id empty": ({"duration": "4h", "kind": "kernel", "id": ""}, "id"),
    "id number": ({"duration": "4h", "kind": "terminal", "id": 1}, "id"),
    "id very long": ({"duration": "4h", "kind": "terminal", "id": "1" * 3000}, "id"),
    "kind unknown": ({"duration": "4h", "kind": "notebook", "id": "1"}, "kind"),
    "kind list": ({"duration": "4h", "kind": ["kernel"], "id": "1"}, "kind"),
    "not JSON": ("4h", "body"),
    "a list": (["4h"], "body"),
}


@pytest.mark.parametrize(("body", "field"), BAD_REQUESTS.values(), ids=BAD_REQUESTS.keys())
async def test_a_bad_request_to_keep_gets_400_and_keeps_nothing(jp_fetch, body, field):
    """It names what is wrong and what is accepted."""
    status, answer = await ask(jp_fetch, "keep-alive", body)

    assert (status, answer["field"]) == (400, field)
    assert answer["accepted"] in answer["message"]
    assert len(answer["message"]) < 400
    assert (await ask(jp_fetch, "keep-alive"))[1]["keep_alive"] == []


@pytest.mark.parametrize("kind", ["kernel", "terminal", "app"])
@pytest.mark.parametrize("identity", ["nonsense", "\x00", "\ud800", "../status"])
async def test_what_is_unknown_cannot_be_kept(jp_fetch, kind, identity):
    """404, also for apps on a server that has none."""
    status, answer = await ask(jp_fetch, "keep-alive", {"kind": kind, "id": identity, "duration": "4h"})

    assert (status, answer["code"]) == (404, "not_found")
    assert "no such thing" in answer["message"]
    assert (await ask(jp_fetch, "keep-alive"))[1]["keep_alive"] == []


async def test_taking_back_what_was_not_asked_for_is_404(jp_fetch, jp_serverapp):
    """Nothing at all, the wrong thing, the same a second time, and one that has ended."""
    kernel = await start(jp_fetch)
    await ask(jp_fetch, "keep-alive", {"kind": "kernel", "id": kernel, "duration": "4h"})

    found = [
        await ask(jp_fetch, "keep-alive", method="DELETE"),
        await ask(jp_fetch, "keep-alive", method="DELETE", params={"kind": "kernel", "id": "nonsense"}),
        await ask(jp_fetch, "keep-alive", method="DELETE", params={"kind": "kernel", "id": kernel}),
        await ask(jp_fetch, "keep-alive", method="DELETE", params={"kind": "kernel", "id": kernel}),
    ]
    await ask(jp_fetch, "keep-alive", {"duration": 0.0001})
    await asyncio.sleep(0.01)
    found.append(await ask(jp_fetch, "keep-alive", method="DELETE"))

    assert [status for status, _ in found] == [404, 404, 200, 404, 404]


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"kind": "notebook"}, "kind"),
        ({"kind": "kernel"}, "id"),
        ({"id": "1"}, "id"),
        ({"kind": "kernel", "id": ""}, "id"),
    ],
)
async def test_bad_arguments_get_400_and_take_nothing_back(jp_fetch, params, field):
    """As for asking."""
    await ask(jp_fetch, "keep-alive", {"duration": "4h"})

    status, answer = await ask(jp_fetch, "keep-alive", method="DELETE", params=params)

    assert (status, answer["field"]) == (400, field)
    assert len((await ask(jp_fetch, "keep-alive"))[1]["keep_alive"]) == 1


class TestSomebody:
    """Who asks has a name."""

    @pytest.fixture
    def jp_server_config(self, jp_server_config):
        from jupyter_server.auth import IdentityProvider, User

        class Names(IdentityProvider):
            """Knows everybody who has the token as alice."""

            def generate_anonymous_user(self, handler):
                return User(username="alice", name="Alice", display_name="Alice Liddell", initials="AL")

        jp_server_config["ServerApp"]["identity_provider_class"] = Names
        return jp_server_config

    async def test_a_request_has_the_users_name(self, jp_fetch):
        """So that others on a shared server know whom to ask."""
        _, entry = await ask(jp_fetch, "keep-alive", {"duration": "4h"})

        assert entry["asked_by"] == "alice"


# -- settings ----------------------------------------------------------------------------------------


ALL = {
    "idle_time": 7200,
    "keep_terminals": False,
    "configured": {"idle_time": 7200, "keep_terminals": False},
    "saved": None,
    "bounds": {"min_idle_timeout": 0, "max_idle_timeout": 0, "keep_terminals": "free"},
}


async def test_settings_say_what_holds_what_is_configured_and_what_may_be_set(jp_fetch):
    """Times in seconds, bounds in minutes."""
    before = await ask(jp_fetch, "settings")
    await ask(jp_fetch, "settings", {"idle_time": 30, "keep_terminals": True})
    _, after = await ask(jp_fetch, "settings")

    assert before == (200, ALL)
    assert after == {**ALL, "idle_time": 1800, "keep_terminals": True}


async def test_a_change_is_saved_only_on_request_and_forgotten_by_a_reset(jp_fetch, jp_config_dir, jp_serverapp):
    """The file is in Jupyter's config directory, and the shape of the answer is the original's."""
    file = jp_config_dir / FILE_NAME
    await ask(jp_fetch, "settings", {"idle_time": 30})
    unsaved = file.exists()

    answer = await ask(jp_fetch, "settings", {"idle_time": 45, "keep_terminals": True, "save": True})
    _, saved = await ask(jp_fetch, "settings")
    written = json.loads(file.read_text())
    status, reset = await ask(jp_fetch, "settings", method="DELETE")

    assert not unsaved
    assert answer == (200, {"idle_time": "2700", "keep_terminals": True})
    assert saved["saved"] == {"idle_time": 2700, "keep_terminals": True}
    assert written == {"idle_time": 45, "keep_terminals": True}
    assert (status, reset) == (200, ALL)
    assert not file.exists()
    assert jp_serverapp.kernel_manager.idle_timeout == 120
    assert jp_serverapp.web_app.settings["terminal_manager"].keep_terminals is False


async def test_a_reset_of_what_was_never_changed_is_fine(jp_fetch):
    """Twice, too."""
    assert await ask(jp_fetch, "settings", method="DELETE") == (200, ALL)
    assert await ask(jp_fetch, "settings", method="DELETE") == (200, ALL)


@pytest.mark.parametrize("save", ["yes", 1, None, [], {}, "true"], ids=repr)
async def test_save_is_true_or_false(jp_fetch, jp_config_dir, save):
    """Anything else changes nothing and saves nothing."""
    status, answer = await ask(jp_fetch, "settings", {"idle_time": 30, "save": save})

    assert (status, answer["field"]) == (400, "save")
    assert (await ask(jp_fetch, "settings"))[1] == ALL
    assert not (jp_config_dir / FILE_NAME).exists()


async def test_what_cannot_be_saved_is_not_set_either(jp_fetch, jp_config_dir):
    """Somebody's directory stands in the way."""
    (jp_config_dir / FILE_NAME).mkdir(parents=True)

    status, answer = await ask(jp_fetch, "settings", {"idle_time": 30, "save": True})

    assert (status, answer["code"]) == (409, "not_saved")
    assert "could not be saved" in answer["message"]
    assert (await ask(jp_fetch, "settings"))[1]["idle_time"] == 7200


class TestLaw:
    """What the admin has bounded or fixed."""

    @pytest.fixture
    def jp_server_config(self, jp_server_config):
        jp_server_config["CullingKernelManager"] = {"min_idle_timeout": 10, "max_idle_timeout": 480}
        jp_server_config["CullingTerminalManager"] = {"keep_terminals_fixed": True}
        return jp_server_config

    async def test_the_bounds_are_shown(self, jp_fetch):
        """So that a user interface can offer only what is accepted."""
        _, found = await ask(jp_fetch, "settings")

        assert found["bounds"] == {"min_idle_timeout": 10, "max_idle_timeout": 480, "keep_terminals": "fixed"}

    @pytest.mark.parametrize("path", ["settings", "idle_checker"])
    async def test_what_is_fixed_is_refused_and_says_so(self, jp_fetch, jp_config_dir, path):
        """With both calls, and then the timeout is not changed either, and nothing is saved."""
        status, answer = await ask(jp_fetch, path, {"idle_time": 30, "keep_terminals": True, "save": True})

        assert (status, answer["field"]) == (400, "keep_terminals")
        assert answer["accepted"] == "false, which the admin has fixed"
        assert (await ask(jp_fetch, "settings"))[1]["idle_time"] == 7200
        assert not (jp_config_dir / FILE_NAME).exists()

    async def test_saying_again_what_is_fixed_is_accepted(self, jp_fetch):
        """The original's clients always send both."""
        status, _ = await ask(jp_fetch, "idle_checker", {"idle_time": 30, "keep_terminals": False})

        assert status == 200

    async def test_what_is_out_of_bounds_is_not_saved(self, jp_fetch, jp_config_dir):
        """Refused is refused."""
        status, _ = await ask(jp_fetch, "settings", {"idle_time": 481, "save": True})

        assert status == 400
        assert not (jp_config_dir / FILE_NAME).exists()


class TestSavedBefore:
    """A server that starts with a file of saved settings."""

    @pytest.fixture
    def saved(self):
        return '{"idle_time": 45, "keep_terminals": true}'

    @pytest.fixture
    def jp_server_config(self, jp_server_config, jp_environ, jp_config_dir, saved):
        jp_server_config["CullingKernelManager"] = {"idle_timeout": 90, "min_idle_timeout": 10}
        jp_config_dir.mkdir(exist_ok=True)
        (jp_config_dir / FILE_NAME).write_text(saved)
        return jp_server_config

    async def test_what_was_saved_holds(self, jp_fetch, jp_serverapp):
        """Also for terminals, whose manager comes after us; and what is configured is still known."""
        status, found = await ask(jp_fetch, "settings")

        assert status == 200
        assert (found["idle_time"], found["keep_terminals"]) == (2700, True)
        assert found["configured"] == {"idle_time": 5400, "keep_terminals": False}
        assert found["saved"] == {"idle_time": 2700, "keep_terminals": True}
        assert jp_serverapp.web_app.settings["terminal_manager"].keep_terminals is True
        assert (await ask(jp_fetch, "idle_checker"))[1]["errors"] is None

    async def test_a_reset_goes_back_to_what_is_configured(self, jp_fetch, jp_config_dir):
        """Not to the defaults, and the file is gone."""
        _, found = await ask(jp_fetch, "settings", method="DELETE")

        assert (found["idle_time"], found["keep_terminals"], found["saved"]) == (5400, False, None)
        assert not (jp_config_dir / FILE_NAME).exists()

    @pytest.mark.parametrize(
        ("saved", "words"),
        [
            ('{"idle_time": 5}', "from 10 to"),
            ('{"idle_time": NaN}', "not a file that we wrote"),
            ('{"idle_time": "45"}', "not a file that we wrote"),
            ('{"idle_time": 45', "cannot be read"),
            ("[45]", "not a file that we wrote"),
        ],
        ids=["out of bounds", "NaN", "text", "broken", "a list"],
    )
    async def test_what_may_not_be_is_ignored_and_reported_until_it_is_put_right(self, jp_fetch, words):
        """Named in the status; nothing of it holds; a reset or another saving ends the trouble."""
        _, found = await ask(jp_fetch, "settings")
        _, document = await ask(jp_fetch, "status")
        await ask(jp_fetch, "settings", {"idle_time": 30, "save": True})
        _, afterwards = await ask(jp_fetch, "status")

        (trouble,) = document["errors"]
        assert (found["idle_time"], found["keep_terminals"]) == (5400, False)
        assert (trouble["subject"], trouble["active"]) == ("saved settings", True)
        assert FILE_NAME in trouble["message"]
        assert words in trouble["message"]
        assert [each["active"] for each in afterwards["errors"]] == [False]
        assert (await ask(jp_fetch, "idle_checker"))[1]["errors"] is None


def test_saved_settings_hold_after_a_restart(tmp_path):
    """The same user's next server takes them."""
    with jupyter(tmp_path, *BOTH) as server:
        Client(server).ask("POST", f"{SPACE}/settings", {"idle_time": 45, "keep_terminals": True, "save": True})
    with jupyter(tmp_path, *BOTH) as server:
        again = server.get("idle_checker")
        told = [line for line in server.log.read_text().splitlines() if HEARTBEAT_MARKER in line]

    assert (again["idle_time"], again["keep_terminals"], again["errors"]) == (2700, True, None)
    first = read_heartbeat(told[0], NOON)
    # and the first heartbeat, by which a fleet check knows it, must not tell what is only configured
    assert (first.idle_seconds, first.keep_terminals, first.count) == (2700, True, 1), told


# -- status ------------------------------------------------------------------------------------------


@dataclass
class SlowGuard:
    """A guard whose only signal takes its time until the test lets it answer."""

    lead_seconds: float = 1.0
    answer: asyncio.Event = field(default_factory=asyncio.Event)

    async def ask(self, record, roots) -> Use:
        await self.answer.wait()
        return Use(used_by="make works")

    async def before_culling(self, record, decision) -> None:
        return None


class TestAttention:
    """What status says of warnings and of use that Jupyter does not see."""

    @pytest.fixture
    def jp_server_config(self, jp_server_config):
        jp_server_config["CullingKernelManager"] = {"idle_timeout": 0.05, "warn_before": 5}
        return jp_server_config

    async def test_status_tells_who_is_warned_used_and_kept(self, jp_fetch, jp_serverapp):
        """Three seconds of timeout: warned after half of them. Then a signal finds it in use."""
        await start(jp_fetch)
        culler = IdleCuller.of(jp_serverapp)
        culler.guard = guard = SlowGuard()  # so that no signal of this machine's is asked

        async def entry():
            (found,) = (await ask(jp_fetch, "status"))[1]["kernels"]
            return found

        async def warned():
            found = await entry()
            return found["warned"] and found

        async def in_use():
            found = await entry()
            return found["used_by"] and found

        first = await entry()
        near = await until(warned)
        guard.answer.set()
        used = await until(in_use)

        assert [first[name] for name in ("warned", "used_by", "used_at", "kept_until")] == [False, None, None, None]
        assert near["reason"] == "active"
        assert (used["used_by"], used["reason"], used["due_at"]) == ("make works", "at work", None)
        assert minutes_from_now(used["used_at"]) == pytest.approx(0, abs=1)


async def test_being_looked_at_keeps_nothing_alive(jp_fetch, jp_serverapp):
    """Whatever the client sends, a GET of ours is no activity of the server; a change is."""
    known = jp_serverapp.web_app.settings
    for method, path in EVERY_CALL:
        if method == "GET":
            await ask(jp_fetch, path)
    looked_at = known.get("api_last_activity")
    await ask(jp_fetch, "settings", BODIES["settings"])

    assert looked_at is None
    assert known.get("api_last_activity") is not None


# -- who may -----------------------------------------------------------------------------------------


def test_every_route_is_known_here():
    """A new handler has to be added to the tests of who may."""
    found = {(verb, url.rsplit("/", 1)[1]) for url, handler in routes("/") for verb in verbs(handler)}

    assert found == set(EVERY_CALL)
    for _, handler in routes("/"):
        assert handler.auth_resource == "culling_manager"


@pytest.mark.parametrize(("method", "path"), EVERY_CALL)
@pytest.mark.parametrize("headers", [{}, {"Authorization": "token wrong"}], ids=["no token", "wrong token"])
async def test_no_call_without_authentication(
    http_server_client, jp_serverapp, jp_base_url, jp_config_dir, method, path, headers
):
    """403, whatever the verb, and nothing is changed."""
    body = json.dumps(BODIES[path]) if method == "POST" else None

    answer = await http_server_client.fetch(
        f"{jp_base_url}{SPACE}/{path}", method=method, headers=headers, body=body, raise_error=False
    )

    culler = IdleCuller.of(jp_serverapp)
    assert (answer.code, json.loads(answer.body)["code"]) == (403, "forbidden")
    assert culler.policy.idle_timeout == 7200
    assert culler.keep.current(culler.now()) == []
    assert not (jp_config_dir / FILE_NAME).exists()


@pytest.mark.parametrize(("method", "path"), [each for each in EVERY_CALL if each[0] != "GET"])
async def test_who_is_only_logged_in_by_cookie_needs_the_xsrf_token(
    http_server_client, jp_serverapp, jp_base_url, method, path
):
    """A page of another site that has the browser send its cookies changes nothing; with the token it is our page."""
    url = f"{jp_base_url}{SPACE}/{path}"
    body = json.dumps(BODIES[path]) if method == "POST" else None
    token = jp_serverapp.identity_provider.token
    page = await http_server_client.fetch(f"{jp_base_url}tree?token={token}", follow_redirects=False, raise_error=False)
    cookies = [each.split(";")[0] for each in page.headers.get_list("Set-Cookie")]
    (xsrf,) = [each.removeprefix("_xsrf=") for each in cookies if each.startswith("_xsrf=")]
    headers = {"Cookie": "; ".join(cookies)}

    forged = await http_server_client.fetch(url, method=method, headers=headers, body=body, raise_error=False)
    headers["X-XSRFToken"] = xsrf
    ours = await http_server_client.fetch(url, method=method, headers=headers, body=body, raise_error=False)

    assert any(each.startswith("username-") for each in cookies)
    assert (forged.code, json.loads(forged.body)["code"]) == (403, "forbidden")
    nothing_there = [("DELETE", "keep-alive"), ("POST", "presence")]  # no request to take back, no such document
    assert ours.code == (404 if (method, path) in nothing_there else 200)


async def test_what_a_stricter_server_refuses_is_refused_here_too(
    http_server_client, jp_serverapp, jp_base_url, monkeypatch
):
    """A JupyterHub signs its `_xsrf` cookie: one that another user's page has planted does not pass by equality."""
    planted, name = "x" * 40, "_xsrf"
    token = jp_serverapp.identity_provider.token
    page = await http_server_client.fetch(f"{jp_base_url}tree?token={token}", follow_redirects=False, raise_error=False)
    cookies = [each.split(";")[0] for each in page.headers.get_list("Set-Cookie") if each.startswith("username-")]

    def signed_only(self):
        raise HTTPError(403, "the _xsrf cookie is not signed")

    monkeypatch.setattr(APIHandler, "check_xsrf_cookie", signed_only)
    answer = await http_server_client.fetch(
        f"{jp_base_url}{SPACE}/idle_checker?_xsrf={planted}",
        method="POST",
        headers={"Cookie": "; ".join([*cookies, f"{name}={planted}"]), "Content-Type": "application/json"},
        body=json.dumps(BODIES["idle_checker"]),
        raise_error=False,
    )

    assert len(cookies) == 1
    assert (answer.code, json.loads(answer.body)["code"]) == (403, "forbidden")
    assert IdleCuller.of(jp_serverapp).policy.idle_timeout == 7200


class TestAuthorization:
    """An authorizer decides by resource and action."""

    @pytest.fixture
    def jp_server_config(self, jp_server_config):
        from jupyter_server.auth import Authorizer

        class OnlyReading(Authorizer):
            """Lets everybody read what is ours."""

            def is_authorized(self, handler, user, action, resource):
                return resource == "culling_manager" and action == "read"

        jp_server_config["ServerApp"]["authorizer_class"] = OnlyReading
        return jp_server_config

    @pytest.mark.parametrize(("method", "path"), EVERY_CALL)
    async def test_reading_is_read_and_setting_is_write(self, jp_fetch, method, path):
        """One resource name; GET is 'read', POST and DELETE are 'write'."""
        status, answer = await ask(jp_fetch, path, BODIES[path] if method == "POST" else None, method=method)

        assert status == (200 if method == "GET" else 403)
        assert answer.get("code") == (None if method == "GET" else "forbidden")


async def test_another_verb_is_answered_with_those_that_there_are(jp_fetch):
    """As HTTP wants it (RFC 9110, 15.5.6)."""
    with pytest.raises(HTTPClientError) as caught:
        await jp_fetch(SPACE, "keep-alive", method="PUT", body="{}")

    answer = caught.value.response
    assert (answer.code, answer.headers["Allow"]) == (405, "GET, POST, DELETE, OPTIONS")
    assert json.loads(answer.body)["message"] == "Method Not Allowed"
    assert json.loads(answer.body)["code"] == "no_such_method"


@pytest.mark.parametrize("header", ["Origin", "Referer"])
@pytest.mark.parametrize("value", ["http://[", "http://[::1", "null", "//"])
async def test_a_malformed_origin_is_no_reason_to_fail(http_server_client, jp_base_url, header, value):
    """Anybody can send it; it is refused without a traceback in the log."""
    answer = await http_server_client.fetch(
        f"{jp_base_url}{SPACE}/idle_checker",
        method="POST",
        headers={header: value, "Content-Type": "application/json"},
        body="{}",
        raise_error=False,
    )

    assert answer.code in {403, 404}
    assert json.loads(answer.body)["code"] in {"forbidden", "other_site"}


async def test_a_page_of_another_site_is_told_that_it_is_one(jp_fetch):
    """Not that there is no such thing, which it could take for an answer about a kernel."""
    status, answer = await ask(jp_fetch, "status", headers={"Origin": "https://other.example", "Authorization": ""})

    assert (status, answer["code"]) == (404, "other_site")


async def test_a_fault_of_ours_is_answered_without_its_traceback(jp_fetch, jp_serverapp, monkeypatch):
    """That belongs into the log of the server."""
    monkeypatch.delitem(jp_serverapp.web_app.settings, "culling_manager_desk")

    status, answer = await ask(jp_fetch, "status")

    assert (status, answer) == (500, {"code": "internal", "message": "Internal Server Error", "reason": None})


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=st.binary(max_size=200)
    | st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["idle_time", "keep_terminals", "save", "kind", "id", "duration", "until"]),
                inner | st.sampled_from(["kernel", "all", "4h", "18:30", "9999-12-31T23:59:59-23:59"]),
                max_size=3,
            )
        ),
        max_leaves=6,
    ).map(json.dumps),
    path=st.sampled_from(["idle_checker", "settings", "status", "keep-alive"]),
)
def test_no_body_makes_the_server_fail(jp_fetch, jp_asyncio_loop, jp_serverapp, body, path):
    """Whatever is sent: 200, 400, 404 or 405, never a 500."""

    async def check():
        answer = await jp_serverapp.http_client_fetch(path, body)
        assert answer in (200, 400, 404, 405)

    async def fetch(path, body):
        try:
            return (await jp_fetch(SPACE, path, method="POST", body=body)).code
        except HTTPClientError as error:
            return error.code

    object.__setattr__(jp_serverapp, "http_client_fetch", fetch)
    jp_asyncio_loop.run_until_complete(check())


def test_the_limit_of_a_body_is_generous_for_two_settings():
    """Nobody meets it by accident."""
    assert LONGEST_BODY >= 10_000
