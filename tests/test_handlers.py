"""HTTP through a real server: shapes, bad input, who may, and the clients of the original extension."""

from __future__ import annotations

import asyncio
import json
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tornado.httpclient import HTTPClientError

from culling_manager.culler import IdleCuller
from culling_manager.handlers import LONGEST_BODY, routes
from tests.conftest import until

SPACE = "sagemaker-studio-autoshutdown"
EVERY_CALL = [("GET", "idle_checker"), ("POST", "idle_checker"), ("POST", "settings"), ("GET", "status")]


async def ask(fetch, path: str, body=None, **kwargs):
    """Call our API with the server's token; gives (status, JSON)."""
    if body is not None:
        kwargs |= {"method": "POST", "body": body if isinstance(body, (str, bytes)) else json.dumps(body)}
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


async def test_count_exceeds_one_soon_after_the_start_though_nobody_opened_a_kernel(jp_fetch):
    """Clients take count > 1 for a running culler."""

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

        assert status == 409
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


# -- who may -----------------------------------------------------------------------------------------


def test_every_route_is_known_here():
    """A new handler has to be added to the tests of who may."""
    known = {path for _, path in EVERY_CALL}

    assert {url.rsplit("/", 1)[1] for url, _ in routes("/")} == known
    for _, handler in routes("/"):
        assert handler.auth_resource == "culling_manager"


@pytest.mark.parametrize(("method", "path"), EVERY_CALL)
@pytest.mark.parametrize("headers", [{}, {"Authorization": "token wrong"}], ids=["no token", "wrong token"])
async def test_no_call_without_authentication(http_server_client, jp_serverapp, jp_base_url, method, path, headers):
    """403, whatever the verb, and nothing is changed."""
    body = json.dumps({"idle_time": 1, "keep_terminals": False}) if method == "POST" else None

    answer = await http_server_client.fetch(
        f"{jp_base_url}{SPACE}/{path}", method=method, headers=headers, body=body, raise_error=False
    )

    assert answer.code == 403
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
        """One resource name; GET is 'read', POST is 'write'."""
        body = {"idle_time": 60, "keep_terminals": False} if method == "POST" else None

        status, _ = await ask(jp_fetch, path, body)

        assert status == (200 if method == "GET" else 403)


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


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=st.binary(max_size=200)
    | st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["idle_time", "keep_terminals", "x"]), inner, max_size=3)
        ),
        max_leaves=6,
    ).map(json.dumps),
    path=st.sampled_from(["idle_checker", "settings", "status"]),
)
def test_no_body_makes_the_server_fail(jp_fetch, jp_asyncio_loop, jp_serverapp, body, path):
    """Whatever is sent: 200, 400 or 405, never a 500."""

    async def check():
        answer = await jp_serverapp.http_client_fetch(path, body)
        assert answer in (200, 400, 405)

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
