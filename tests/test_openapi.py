"""The OpenAPI document: what it says of every handler is so, whatever is sent to a real server."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, fields
from datetime import datetime, timezone
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, ValidationError

from culling_manager.decisions import Action, Decision, Reason
from culling_manager.document import state_document
from culling_manager.engine.requests import KeepAlive
from culling_manager.errors import ErrorCode, Troubles
from culling_manager.money.ledger import in_short
from culling_manager.policy import CullingPolicy
from culling_manager.records import AppRecord, KernelRecord, Kind, Outcome, Result, TerminalRecord
from culling_manager.report import iso
from culling_manager.server.handlers import OPENAPI, routes, verbs
from culling_manager.server.status import name_kernels_timeouts, name_timeouts
from tests.conftest import patience
from tests.doubles import NOON
from tests.test_clients import SPACE, free_port, wait_for
from tests.test_config_files import NOT_NEEDED, end, environment
from tests.test_end_to_end import BOTH

schemathesis = pytest.importorskip("schemathesis")
DOCUMENT: dict[str, Any] = json.loads(OPENAPI.read_text())
SCHEMAS = DOCUMENT["components"]["schemas"]
TOKEN = "only-for-this-test"
AUTHORIZED = {"Authorization": f"token {TOKEN}"}
#: What `until` accepts as ISO 8601: a time to come, within a hundred years. JSON Schema cannot say so.
TO_COME = st.datetimes(min_value=datetime(2040, 1, 1), max_value=datetime(2090, 1, 1))
schemathesis.openapi.format("date-time", TO_COME.map(lambda at: at.replace(tzinfo=timezone.utc).isoformat()))

CONFIG = schemathesis.Config.from_dict(
    {
        "generation": {"deterministic": True, "max-examples": 15, "database": "none"},
        "checks": {"missing_required_header": {"enabled": False}},
        "operations": [
            {
                # which arguments go together, no schema of a query can say
                "include-operation-id": "deleteKeepAlive",
                "checks": {"positive_data_acceptance": {"enabled": False}},
            }
        ],
    }
)
schema = schemathesis.openapi.from_path(OPENAPI, config=CONFIG)


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Iterator[str]:
    """The URL of our handlers on a real server with a token, and with no more bounds than the document has."""
    home = tmp_path_factory.mktemp("openapi")
    (home / "config").mkdir()
    port = free_port()
    line = [sys.executable, "-m", "jupyter", "server", "--allow-root", "--no-browser", f"--ServerApp.port={port}"]
    line += [
        "--ServerApp.port_retries=0",
        f"--IdentityProvider.token={TOKEN}",
        "--ServerApp.base_url=/jupyter/default",
        *BOTH,
    ]
    line += ["--CullingKernelManager.max_keep_alive=0"]
    line += [f"--ServerApp.jpserver_extensions={name}=False" for name in NOT_NEEDED]
    line += ["--ServerApp.jpserver_extensions=culling_manager=True"]
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(line, cwd=home, env=environment(home), stdout=log, stderr=log)
    try:
        wait_for(f"http://127.0.0.1:{port}/jupyter/default", process)
        url = f"http://127.0.0.1:{port}/jupyter/default"
        for what in ("kernels", "terminals"):
            requests.post(f"{url}/api/{what}", json={}, headers=AUTHORIZED, timeout=patience(30)).raise_for_status()
        yield f"{url}/{SPACE}"
        log = (home / "log").read_text()
        assert [
            words for words in ("Uncaught exception", "never retrieved", "could not be emitted") if words in log
        ] == []
    finally:
        end(process)


@schema.parametrize()
@settings(max_examples=15, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck), database=None)
def test_a_real_server_does_as_the_document_says_whatever_is_sent(case, base):
    """Status, content type and shape are as it says; what it forbids or has no login is refused; nothing gives 5xx."""
    case.call_and_validate(base_url=base, headers=AUTHORIZED)


def test_what_is_served_is_valid_and_knows_where_it_is(base):
    """A generated client works with it as it is."""
    served = requests.get(f"{base}/openapi.json", headers=AUTHORIZED, timeout=patience(10)).json()

    schemathesis.openapi.from_dict(served).validate()
    assert served["servers"] == [{"url": f"/jupyter/default/{SPACE}"}]
    assert served | {"servers": DOCUMENT["servers"]} == DOCUMENT


def test_it_has_every_handler_and_verb_and_no_other():
    """A new one is described where it is made."""
    described = {path: [verb.upper() for verb in operations] for path, operations in DOCUMENT["paths"].items()}

    assert described == {url.removeprefix(f"/{SPACE}"): verbs(handler) for url, handler in routes("/")}


def test_reading_needs_a_login_and_changing_also_the_xsrf_token():
    """Nothing is open to everybody."""
    for operations in DOCUMENT["paths"].values():
        for verb, operation in operations.items():
            expected = [{"token": []}, {"login": []} if verb == "get" else {"login": [], "xsrf": []}]
            assert operation["security"] == expected


def test_its_words_are_those_of_the_code():
    """Reasons, kinds, results and numbers of the policy: a new one is described too."""
    outcome = SCHEMAS["Outcome"]["properties"]

    assert SCHEMAS["Reason"]["enum"] == [reason.value for reason in Reason]
    assert SCHEMAS["Kind"]["enum"] == [kind.value for kind in Kind]
    assert outcome["result"]["enum"] == [result.value for result in Result]
    assert SCHEMAS["Kernel"]["properties"]["decision"]["enum"] == [action.value for action in Action]
    assert SCHEMAS["TroubleCode"]["enum"] == [code.value for code in ErrorCode]
    assert set(SCHEMAS["RefusalCode"]["enum"]) <= set(SCHEMAS["TroubleCode"]["enum"])
    assert list(SCHEMAS["Policy"]["properties"]) == [field.name for field in fields(CullingPolicy)]


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_our_own_shapes_are_closed(name):
    """A field that nobody described is an error here before it is a surprise to a client."""
    schema = SCHEMAS[name]

    assert schema.get("type") != "object" or schema["additionalProperties"] is False


def test_a_document_full_of_everything_has_the_described_shape():
    """Kernels, terminals, apps, troubles, outcomes and requests, more than a server has in a test."""
    validator = Draft202012Validator({"$ref": "#/components/schemas/Status", "components": DOCUMENT["components"]})

    validator.validate(full_document())
    for part in ("kernels", "terminals", "apps", "errors", "recent", "keep_alive"):
        with pytest.raises(ValidationError):
            validator.validate(full_document() | {part: [{"unheard of": 1}]})


def full_document() -> dict[str, Any]:
    """A state document with one of each, as JSON has it."""
    keep = Decision(action=Action.KEEP, reason=Reason.USED, idle_seconds=1.5, due_at=None)
    cull = Decision(action=Action.CULL, reason=Reason.IDLE, idle_seconds=None, due_at=NOON)
    kernel = KernelRecord(identity="k", name="python3", state="idle", last_activity=NOON, kept_until=NOON)
    terminal = TerminalRecord(identity="1", last_activity=None, used_by="make works", used_at=NOON)
    apps = [AppRecord(identity=each, name=each, state="InService", created_at=NOON) for each in "ab"]
    troubles = Troubles()
    troubles.note("app a", "it is not to be had", NOON)
    outcome = Outcome(
        kind=Kind.APP, identity="a", result=Result.FAILED, reason="idle", idle_seconds=None, at=NOON, message="no"
    )
    document = state_document(
        version="1", now=NOON, running=True, count=2, watching=list(Kind), policy=asdict(CullingPolicy()),
        next_wake_up=NOON, kernels=[(kernel, keep)], terminals=[(terminal, cull)], apps=[(app, keep) for app in apps],
        warned={(Kind.KERNEL, "k")}, troubles=troubles.recent(NOON), outcomes=[outcome], notices=["no terminals"],
        keep_alive=[KeepAlive(kind=None, identity=None, until=NOON, asked_at=NOON, asked_by="alice")],
        app_manager={"class": "SpaceApp", "detail": ""},
        given_back=in_short([], NOON) | {"since": iso(NOON), "stops": 1, "at_most_seconds": 2.5},
        previous_stop={
            "at": iso(NOON), "name": "default", "app_type": "JupyterLab", "identity": "arn:x", "manager": "SpaceApp",
            "reason": "idle", "detail": "Idle for 2 h, which is over its timeout.", "idle_seconds": 7200.0,
        },
    )  # fmt: skip
    name_timeouts(document["apps"], CullingPolicy())
    name_kernels_timeouts(document["kernels"], [kernel], CullingPolicy())
    found: dict[str, Any] = json.loads(json.dumps(document))
    return found
