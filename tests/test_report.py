"""Words and documents for people and programs."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from culling_manager.decisions import Action, Decision, Reason
from culling_manager.document import state_document
from culling_manager.errors import Troubles
from culling_manager.policy import CullingPolicy
from culling_manager.records import AppRecord, KernelRecord, Kind, TerminalRecord
from culling_manager.report import called, culling_line, duration, iso, policy_line, sentence
from tests.doubles import NOON


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (3600, "1 h"),
        (7500, "2 h 5 min"),
        (86_400, "1 d"),
        (90_000, "1 d 1 h"),
    ],
)
def test_durations_are_said_as_people_say_them(seconds, words):
    """Human durations are made in one place."""
    assert duration(seconds) == words


ARN = "arn:aws:sagemaker:eu-west-1:123456789012:app/d-1/lab/JupyterLab/default"


def test_times_end_in_z_and_always_have_a_fraction():
    """Other monitors parse a fraction of a second and a Z."""
    assert iso(NOON) == "2026-06-01T12:00:00.000000Z"
    assert iso(None) is None


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_a_sentence(reason):
    """Nobody reads an empty detail."""
    record = KernelRecord(
        identity="k", state="idle", last_activity=NOON, connections=2, kept_until=NOON, used_by="it works."
    )
    decision = Decision(action=Action.KEEP, reason=reason, idle_seconds=90.0, due_at=NOON + timedelta(minutes=5))

    words = sentence(record, decision, NOON)

    assert words.endswith(".")
    assert len(words) > 10


def test_the_state_document_is_json_and_has_every_field_of_the_contract():
    """Command line, web page and tests read this one document."""
    keep = Decision(action=Action.KEEP, reason=Reason.ACTIVE, idle_seconds=1.0, due_at=NOON)

    document = state_document(
        version="1",
        now=NOON,
        running=True,
        count=2,
        policy={},
        next_wake_up=None,
        kernels=[(KernelRecord(identity="k", state="idle", last_activity=NOON), keep)],
        terminals=[(TerminalRecord(identity="1", last_activity=None), keep)],
    )

    assert set(json.loads(json.dumps(document))) >= {
        "version", "now", "running", "count", "errors", "policy", "next_wake_up", "kernels", "terminals", "apps",
    }  # fmt: skip
    for entry in (*document["kernels"], *document["terminals"]):
        assert set(entry) >= {
            "id", "name", "state", "last_activity", "idle_seconds", "decision", "reason", "detail", "due_at",
        }  # fmt: skip


def test_the_policy_is_one_line_for_the_log():
    """An admin sees at a glance what will happen."""
    policy = CullingPolicy(idle_timeout=5400.0, keep_terminals=True, cull_connected=False, dry_run=True)

    line = policy_line(policy, [Kind.KERNEL, Kind.TERMINAL])

    assert line == (
        "kernels after 90 min without activity, terminals kept, dry_run, connected kernels are kept; "
        "heartbeat every 10 s"
    )


def test_a_timeout_of_days_is_told_as_days_and_its_unit_with_it():
    """Whoever writes 7200 and means seconds reads what it is; from 3600 minutes on."""
    meant_seconds = policy_line(CullingPolicy(idle_timeout=7200 * 60.0), [Kind.KERNEL])
    odd = policy_line(CullingPolicy(idle_timeout=3600 * 60.0), [Kind.APP])
    long = policy_line(CullingPolicy(idle_timeout=3599 * 60.0), [Kind.KERNEL])

    assert meant_seconds.startswith("kernels after 5 days without activity; ")
    assert meant_seconds.endswith("; idle_timeout is in minutes: 7200 are 5 days")
    assert odd.endswith(
        "apps after 2 d 12 h without use; heartbeat every 10 s; idle_timeout is in minutes: 3600 are 2 d 12 h"
    )
    assert "in minutes" not in long


def test_the_line_before_a_terminal_goes_names_it():
    """The log says which and why."""
    record = TerminalRecord(identity="7", last_activity=NOON)
    decision = Decision(action=Action.CULL, reason=Reason.IDLE, idle_seconds=61.5, due_at=NOON)

    assert culling_line(record, decision) == "Culling terminal '7': idle, 61 seconds of inactivity."


def test_an_app_in_the_state_document_has_its_last_error():
    """Its own trouble, or that of the list of all apps."""
    keep = Decision(action=Action.KEEP, reason=Reason.IN_USE, idle_seconds=1.0, due_at=None)
    records = [AppRecord(identity=name, name=name, state="InService", kept_by="kernel k (busy)") for name in "ab"]
    troubles = Troubles()
    troubles.note("app a", "permission sagemaker:DeleteApp is missing", NOON)
    troubles.note("apps", "no list", NOON)

    document = state_document(
        version="1", now=NOON, running=True, count=2, policy={}, next_wake_up=None,
        apps=[(record, keep) for record in records], troubles=iter(troubles.recent(NOON)),
        app_manager={"class": "SpaceApp", "detail": ""},
    )  # fmt: skip

    assert [app["error"] for app in document["apps"]] == ["permission sagemaker:DeleteApp is missing", "no list"]
    assert document["apps"][0]["detail"] == "Kept by kernel k (busy)."
    assert document["app_manager"]["class"] == "SpaceApp"
    assert len(document["errors"]) == 2


def test_the_line_before_an_app_goes_names_it():
    """Name, identity, reason, seconds."""
    record = AppRecord(identity="arn:x", name="default", state="InService")
    decision = Decision(action=Action.CULL, reason=Reason.IDLE, idle_seconds=7200.5, due_at=NOON)

    assert culling_line(record, decision) == "Deleting app 'default' (arn:x): idle, 7200 seconds of inactivity."


def test_apps_are_in_the_line_on_the_policy():
    """Off is said too."""
    on = policy_line(CullingPolicy(idle_timeout=5400.0), [Kind.APP])
    off = policy_line(CullingPolicy(idle_timeout=0.0), [Kind.APP])

    assert on.startswith("apps after 90 min without use")
    assert off.startswith("apps not deleted")


def test_the_line_before_a_kernel_goes_names_its_notebook_and_its_id_last():
    """A person knows the notebook, not the id."""
    record = KernelRecord(
        identity="1a2b", name="python3", state="idle", last_activity=NOON, path="work/explore.ipynb", connections=1
    )
    decision = Decision(action=Action.CULL, reason=Reason.IDLE, idle_seconds=600.2, due_at=NOON)

    assert culling_line(record, decision) == (
        "Culling 'idle' kernel 'python3' of work/explore.ipynb with 1 connections: idle, "
        "600 seconds of inactivity. (1a2b)"
    )
    assert called(record) == "kernel of work/explore.ipynb (1a2b)"


@pytest.mark.parametrize(
    ("app_type", "identity", "words"),
    [
        ("JupyterLab", ARN, f"app of this space 'lab' (billed) ({ARN})"),
        ("KernelGateway", ARN, f"app {ARN}"),
        ("JupyterLab", "arn:x", "app arn:x"),
    ],
)
def test_an_app_is_called_by_its_space_only_where_it_is_ones_own(app_type, identity, words):
    """Others keep the name that their service gave them."""
    record = AppRecord(identity=identity, name="default", state="InService", app_type=app_type)

    assert called(record) == words
