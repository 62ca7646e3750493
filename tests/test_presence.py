"""Presence: somebody works in a document, or it is saved; both are use of its kernel."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from culling_manager.decisions import Reason, decide_kernel
from culling_manager.engine.culler import IdleCuller
from culling_manager.policy import CullingPolicy
from culling_manager.records import KernelRecord
from culling_manager.report import sentence
from tests.conftest import until
from tests.doubles import NOON
from tests.test_handlers import SPACE, ask

TOO_LONG = json.dumps({"path": "a" * 4097})
POLICY = CullingPolicy(idle_timeout=600.0)


def seen(seconds_ago: float, **fields: Any) -> KernelRecord:
    """A kernel in whose document somebody was seen so long ago; that was its last activity."""
    at = NOON - timedelta(seconds=seconds_ago)
    known = {"state": "idle", "last_activity": at, "person_at": at, "session_name": "explore.ipynb"}
    return KernelRecord(identity="k", **{**known, **fields})


# -- the rule --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds_ago", "reason"),
    [(0, Reason.PERSON), (90, Reason.PERSON), (90.001, Reason.ACTIVE), (600, Reason.ACTIVE), (600.001, Reason.IDLE)],
)
def test_somebody_is_taken_to_be_at_it_for_90_seconds(seconds_ago, reason):
    """At 90 s they still are; the deadline is a whole timeout after they were seen."""
    record = seen(seconds_ago)

    decision = decide_kernel(record, POLICY, NOON)

    assert decision.reason is reason
    assert decision.due_at == record.person_at + timedelta(seconds=600)


def test_for_half_its_timeout_where_that_is_shorter():
    """With 20 s of timeout, 10 s after somebody was seen nobody is taken to be there."""
    policy = CullingPolicy(idle_timeout=20.0)

    assert decide_kernel(seen(10), policy, NOON).reason is Reason.PERSON
    assert decide_kernel(seen(10.001), policy, NOON).reason is Reason.ACTIVE


def test_a_sight_from_the_future_is_none():
    """The clock was set back: nothing is kept on account of it."""
    record = seen(-5, last_activity=NOON - timedelta(hours=1))

    assert decide_kernel(record, POLICY, NOON).reason is Reason.IDLE


def test_the_sentence_names_the_document():
    """What people read is a name, not an id; without one it is still a sentence."""
    named, bare = seen(1), seen(1, session_name=None)

    found = [sentence(each, decide_kernel(each, POLICY, NOON), NOON) for each in (named, bare)]

    assert found == ["Kept: somebody works in explore.ipynb.", "Kept: somebody works in its document."]


# -- over HTTP -------------------------------------------------------------------------------------------


async def open_document(jp_fetch, path: str) -> str:
    """Start a session as a page does; gives the kernel's id."""
    body = {"path": path, "name": path.rsplit("/", 1)[-1], "type": "notebook", "kernel": {"name": "python3"}}
    answer = await jp_fetch("api", "sessions", method="POST", body=json.dumps(body))
    return str(json.loads(answer.body)["kernel"]["id"])


async def kernel_in_status(jp_fetch) -> dict[str, Any]:
    """The one kernel in the state document."""
    (found,) = (await ask(jp_fetch, "status"))[1]["kernels"]
    return found


def long_ago(jp_serverapp, kernel_id: str) -> None:
    """Have a kernel look as if it were not used for an hour."""
    kernel = jp_serverapp.kernel_manager.get_kernel(kernel_id)
    kernel.last_activity -= timedelta(hours=1)


async def test_status_names_the_document_of_each_kernel(jp_fetch):
    """Path and name are those of Jupyter's session, also after it was renamed."""
    await open_document(jp_fetch, "deep/a.ipynb")
    first = await kernel_in_status(jp_fetch)
    (session,) = json.loads((await jp_fetch("api", "sessions")).body)
    await jp_fetch("api", "sessions", session["id"], method="PATCH", body=json.dumps({"path": "b.ipynb", "name": "b"}))

    second = await kernel_in_status(jp_fetch)

    assert (first["path"], first["session_name"]) == ("deep/a.ipynb", "a.ipynb")
    assert (second["path"], second["session_name"]) == ("b.ipynb", "b")


async def test_a_kernel_without_a_session_has_no_document(jp_fetch):
    """Both are null then."""
    await jp_fetch("api", "kernels", method="POST", body="{}")

    found = await kernel_in_status(jp_fetch)

    assert (found["path"], found["session_name"]) == (None, None)


async def test_somebody_who_works_in_a_document_keeps_its_kernel(jp_fetch, jp_serverapp):
    """Its deadline is a whole timeout later, at once, and the reason says why."""
    kernel_id = await open_document(jp_fetch, "explore.ipynb")
    await until(lambda: jp_serverapp.kernel_manager.get_kernel(kernel_id).execution_state != "busy")
    long_ago(jp_serverapp, kernel_id)
    before = await kernel_in_status(jp_fetch)

    code, answer = await ask(jp_fetch, "presence", {"path": "explore.ipynb"})

    after = await kernel_in_status(jp_fetch)
    assert (code, answer) == (200, {"kernels": [kernel_id]})
    assert before["idle_seconds"] > 3000
    assert (after["reason"], after["detail"]) == ("in use by a person", "Kept: somebody works in explore.ipynb.")
    assert after["idle_seconds"] < 60
    assert after["due_at"] > before["due_at"]


async def test_a_saved_document_is_use_of_its_kernel_alone(jp_fetch, jp_serverapp):
    """Of two kernels only that of the saved document was used; nobody is said to be there."""
    saved, other = [await open_document(jp_fetch, name) for name in ("a.ipynb", "b.ipynb")]
    for kernel_id in (saved, other):
        await jp_serverapp.kernel_manager.get_kernel(kernel_id).ready
        jp_serverapp.kernel_manager.stop_watching_activity(kernel_id)  # what it says of its start is no save
        long_ago(jp_serverapp, kernel_id)
        jp_serverapp.kernel_manager._source.activity(kernel_id).noted_at = None
    body = {"type": "file", "format": "text", "content": "x"}

    await jp_fetch("api", "contents", "a.ipynb", method="PUT", body=json.dumps(body))

    async def counted() -> Any:
        found = {each["id"]: each for each in (await ask(jp_fetch, "status"))[1]["kernels"]}
        return found if found[saved]["idle_seconds"] < 60 else None

    found = await until(counted)
    assert found[saved]["reason"] == "active"
    assert found[other]["idle_seconds"] > 3000


@pytest.mark.parametrize(
    "body",
    ["", "[]", "{}", '{"path": 3}', '{"path": ""}', '{"path": null}', '{"path": "a", "text": "b"}', TOO_LONG],
)
async def test_what_is_no_document_is_refused(jp_fetch, body):
    """400 that names the field; more than a path is not taken, lest somebody sends what was typed."""
    code, answer = await ask(jp_fetch, "presence", body)

    assert code == 400
    assert answer["field"] in ("body", "path", "text")


async def test_a_document_without_a_kernel_is_not_found(jp_fetch, jp_serverapp):
    """404, and nothing is remembered of it."""
    code, answer = await ask(jp_fetch, "presence", {"path": "nobody.ipynb"})

    assert code == 404
    assert "nobody.ipynb" in answer["message"]
    assert jp_serverapp.kernel_manager._source.activities == {}


class TestTurnedOff:
    """`Presence.enabled` is False."""

    @pytest.fixture
    def jp_server_config(self, jp_server_config) -> dict[str, Any]:
        return {**jp_server_config, "Presence": {"enabled": False}}

    async def test_it_does_not_count(self, jp_fetch, jp_serverapp):
        """409 says which setting it is, the state document says it too, and the deadline stays."""
        kernel_id = await open_document(jp_fetch, "explore.ipynb")
        long_ago(jp_serverapp, kernel_id)

        code, answer = await ask(jp_fetch, "presence", {"path": "explore.ipynb"})

        status = (await ask(jp_fetch, "status"))[1]
        assert code == 409
        assert "Presence.enabled" in answer["message"]
        assert status["presence"] is False
        assert status["kernels"][0]["idle_seconds"] > 3000


async def test_the_pages_configuration_says_that_we_are_here(jp_serverapp):
    """Without that the page asks this server for nothing."""
    assert jp_serverapp.web_app.settings["page_config_data"]["cullingManager"]
    assert IdleCuller.of(jp_serverapp).watches
    assert SPACE  # the URL space it then asks


async def test_a_kernel_that_is_just_being_started_is_in_the_state_document(jp_fetch, jp_serverapp):
    """Jupyter lists it before its trait `last_activity` has a value; that is no reason for a 500."""
    kernel_id = await open_document(jp_fetch, "a.ipynb")
    kernel = jp_serverapp.kernel_manager.get_kernel(kernel_id)
    del kernel._trait_values["last_activity"]

    code, found = await ask(jp_fetch, "status")

    assert code == 200
    assert [(each["id"], each["decision"]) for each in found["kernels"]] == [(kernel_id, "keep")]
