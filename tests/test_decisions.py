"""The rules: truth tables with ids, and what must hold for every record."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from culling_manager.decisions import (
    APP_RULES,
    KERNEL_RULES,
    TERMINAL_RULES,
    Action,
    Decision,
    Reason,
    decide,
    decide_app,
    decide_kernel,
    decide_terminal,
    hold_after,
    keeps_app,
    keeps_app_until,
    timeout,
    timeout_of,
)
from culling_manager.policy import CullingPolicy
from culling_manager.records import AppRecord, KernelRecord, Kind, TerminalRecord
from tests.doubles import NOON

HOUR = 3600.0


def at(seconds: float):
    """An instant relative to noon."""
    return NOON + timedelta(seconds=seconds)


def kernel(**changes) -> KernelRecord:
    """An idle kernel whose last activity was at noon."""
    return KernelRecord(identity="k", name="python3", state="idle", last_activity=NOON)._replace(**changes)


def terminal(**changes) -> TerminalRecord:
    """A terminal whose last output was at noon."""
    return TerminalRecord(identity="1", last_activity=NOON)._replace(**changes)


K, C = Action.KEEP, Action.CULL

KERNEL_TABLE = {
    # id: (record changes, policy changes, seconds after noon, action, reason, due_at after noon or None)
    "before its deadline it is kept": ({}, {}, 10, K, Reason.ACTIVE, HOUR),
    "at its very deadline it is kept": ({}, {}, HOUR, K, Reason.ACTIVE, HOUR),
    "just after its deadline it is culled": ({}, {}, HOUR + 1e-6, C, Reason.IDLE, HOUR),
    "a failed reading keeps": ({"error": "no"}, {}, 9e9, K, Reason.UNKNOWN, None),
    "a failed reading keeps even a dead one": ({"error": "no", "state": "dead"}, {}, 9e9, K, Reason.UNKNOWN, None),
    "one of somebody else is left alone": ({"owned": False}, {}, 9e9, K, Reason.EXTERNAL, None),
    "timeout 0 turns it off": ({}, {"idle_timeout": 0.0}, 9e9, K, Reason.OFF, None),
    "timeout 0 is off for the dead too": ({"state": "dead"}, {"idle_timeout": 0.0}, 1, K, Reason.OFF, None),
    "state dead is culled now": ({"state": "dead"}, {}, 1, C, Reason.DEAD, 1),
    "a busy one without process is culled now": ({"state": "busy", "alive": False}, {}, 1, C, Reason.DEAD, 1),
    "dead wins over kept alive": ({"state": "dead", "kept_until": at(99)}, {}, 1, C, Reason.DEAD, 1),
    "dead needs no timestamp": ({"state": "dead", "last_activity": None}, {}, 1, C, Reason.DEAD, 1),
    "kept alive until then": ({"kept_until": at(2 * HOUR)}, {}, HOUR + 1, K, Reason.KEPT_ALIVE, 2 * HOUR),
    "kept alive, due later by itself": ({"kept_until": at(60)}, {}, 1, K, Reason.KEPT_ALIVE, HOUR),
    "kept alive includes its last instant": ({"kept_until": at(7200)}, {}, 7200, K, Reason.KEPT_ALIVE, 7200),
    "kept alive is over after it": ({"kept_until": at(7200)}, {}, 7201, C, Reason.IDLE, HOUR),
    "kept alive and busy has no deadline": (
        {"kept_until": at(60), "state": "busy"},
        {},
        1,
        K,
        Reason.KEPT_ALIVE,
        None,
    ),
    "at work keeps": ({"used_by": "train.py uses CPU", "used_at": at(60)}, {}, 9e8, K, Reason.USED, None),
    "and once that ends it counts as use": ({"used_at": at(60)}, {}, HOUR + 1, K, Reason.ACTIVE, HOUR + 60),
    "an older use is no news": ({"used_at": at(-60)}, {}, HOUR + 1, C, Reason.IDLE, HOUR),
    "the dead are not at work": ({"used_by": "x", "state": "dead"}, {}, 1, C, Reason.DEAD, 1),
    "use does not excuse busy too long": (
        {"state": "busy", "busy_since": NOON, "used_by": "x"},
        {"busy_timeout": 60.0},
        61,
        C,
        Reason.BUSY_TOO_LONG,
        60,
    ),
    "grace after a long run": (
        {"ran_until": at(0), "run_seconds": 900.0},
        {"grace": 7200.0},
        HOUR + 1,
        K,
        Reason.GRACE,
        7200,
    ),
    "grace includes its last instant": (
        {"ran_until": at(0), "run_seconds": 600.0},
        {"grace": 7200.0},
        7200,
        K,
        Reason.GRACE,
        7200,
    ),
    "after it due as before": (
        {"ran_until": at(0), "run_seconds": 900.0},
        {"grace": 7200.0},
        7201,
        C,
        Reason.IDLE,
        HOUR,
    ),
    "no grace after a short run": (
        {"ran_until": at(0), "run_seconds": 599.0},
        {"grace": 7200.0},
        HOUR + 1,
        C,
        Reason.IDLE,
        HOUR,
    ),
    "no grace by default": ({"ran_until": at(0), "run_seconds": 900.0}, {}, HOUR + 1, C, Reason.IDLE, HOUR),
    "a grace shorter than the timeout changes nothing": (
        {"ran_until": at(0), "run_seconds": 900.0},
        {"grace": 60.0},
        1,
        K,
        Reason.GRACE,
        HOUR,
    ),
    "busy is kept for ever": ({"state": "busy"}, {}, 9e8, K, Reason.BUSY, None),
    "cull_busy treats it as any other": ({"state": "busy"}, {"cull_busy": True}, HOUR + 1, C, Reason.IDLE, HOUR),
    "cull_busy before the deadline": ({"state": "busy"}, {"cull_busy": True}, 1, K, Reason.ACTIVE, HOUR),
    "busy_timeout gives busy a deadline": (
        {"state": "busy", "busy_since": NOON},
        {"busy_timeout": 600.0},
        600,
        K,
        Reason.BUSY,
        600,
    ),
    "busy_timeout culls the printing one too": (
        {"state": "busy", "busy_since": NOON, "last_activity": at(600)},
        {"busy_timeout": 600.0},
        601,
        C,
        Reason.BUSY_TOO_LONG,
        600,
    ),
    "busy_timeout respects a connection": (
        {"state": "busy", "busy_since": NOON, "connections": 1},
        {"busy_timeout": 600.0, "cull_connected": False},
        601,
        K,
        Reason.CONNECTED,
        None,
    ),
    "busy_timeout without a known beginning keeps": (
        {"state": "busy"},
        {"busy_timeout": 600.0},
        9e8,
        K,
        Reason.BUSY,
        None,
    ),
    "busy_timeout and cull_busy: the earlier counts": (
        {"state": "busy", "busy_since": NOON},
        {"busy_timeout": 600.0, "cull_busy": True},
        1,
        K,
        Reason.ACTIVE,
        600,
    ),
    "a connection does not keep by default": ({"connections": 3}, {}, HOUR + 1, C, Reason.IDLE, HOUR),
    "a connection keeps when asked to": (
        {"connections": 1},
        {"cull_connected": False},
        9e8,
        K,
        Reason.CONNECTED,
        None,
    ),
    "a page that is reloaded has half a minute": (
        {"connections": 0, "disconnected_at": at(2 * HOUR)},
        {"cull_connected": False},
        2 * HOUR + 30,
        K,
        Reason.DISCONNECTED,
        2 * HOUR + 30,
    ),
    "and not more": (
        {"connections": 0, "disconnected_at": at(2 * HOUR)},
        {"cull_connected": False},
        2 * HOUR + 31,
        C,
        Reason.IDLE,
        HOUR,
    ),
    "or half its timeout": (
        {"connections": 0, "disconnected_at": at(100), "idle_timeout": 20.0},
        {"cull_connected": False},
        109,
        K,
        Reason.DISCONNECTED,
        110,
    ),
    "a disconnect moves no deadline that is later": (
        {"disconnected_at": at(100)},
        {"cull_connected": False},
        110,
        K,
        Reason.ACTIVE,
        HOUR,
    ),
    "a disconnect is nothing where connections do not count": (
        {"disconnected_at": at(HOUR + 1)},
        {},
        HOUR + 2,
        C,
        Reason.IDLE,
        HOUR,
    ),
    "a disconnect from before the clock was set back": (
        {"disconnected_at": at(3 * HOUR)},
        {"cull_connected": False},
        2 * HOUR,
        C,
        Reason.IDLE,
        HOUR,
    ),
    "at the very instant of a disconnect": (
        {"disconnected_at": at(2 * HOUR)},
        {"cull_connected": False},
        2 * HOUR,
        K,
        Reason.DISCONNECTED,
        2 * HOUR + 30,
    ),
    "a timeout of a second is a timeout": ({}, {"idle_timeout": 1.0}, 1, K, Reason.ACTIVE, 1),
    "a busy_timeout of a second is one": (
        {"state": "busy", "busy_since": NOON},
        {"busy_timeout": 1.0},
        0.5,
        K,
        Reason.BUSY,
        1,
    ),
    "and over after it": (
        {"state": "busy", "busy_since": NOON},
        {"busy_timeout": 1.0},
        1.1,
        C,
        Reason.BUSY_TOO_LONG,
        1,
    ),
    "busy_timeout includes its last instant, with cull_busy too": (
        {"state": "busy", "busy_since": NOON},
        {"busy_timeout": 60.0, "cull_busy": True},
        60,
        K,
        Reason.ACTIVE,
        60,
    ),
    "with cull_busy its end is the timeout's where that is sooner": (
        {"state": "busy", "busy_since": NOON},
        {"busy_timeout": 2 * HOUR, "cull_busy": True},
        1,
        K,
        Reason.ACTIVE,
        HOUR,
    ),
    "one that is not busy has no busy deadline": (
        {"busy_since": NOON},
        {"busy_timeout": 60.0},
        61,
        K,
        Reason.ACTIVE,
        HOUR,
    ),
    "busy and connected has no deadline where connections count": (
        {"state": "busy", "busy_since": NOON, "connections": 1},
        {"busy_timeout": 60.0, "cull_connected": False},
        1,
        K,
        Reason.BUSY,
        None,
    ),
    "where they do not it has": (
        {"state": "busy", "busy_since": NOON, "connections": 1},
        {"busy_timeout": 60.0},
        1,
        K,
        Reason.BUSY,
        60,
    ),
    "a grace of a second is one": (
        {"ran_until": at(HOUR), "run_seconds": 600.0},
        {"grace": 1.0},
        HOUR + 1,
        K,
        Reason.GRACE,
        HOUR + 1,
    ),
    "grace begins with the end of the run": (
        {"ran_until": at(HOUR), "run_seconds": 600.0},
        {"grace": 60.0},
        HOUR,
        K,
        Reason.GRACE,
        HOUR + 60,
    ),
    "a run that ends in the future is from before the clock was set back": (
        {"ran_until": at(2 * HOUR), "run_seconds": 600.0},
        {"grace": 60.0},
        HOUR,
        K,
        Reason.ACTIVE,
        HOUR,
    ),
    "no grace for one that is busy again": (
        {"ran_until": at(0), "run_seconds": 600.0, "state": "busy"},
        {"grace": 9e4, "cull_busy": True},
        HOUR + 1,
        C,
        Reason.IDLE,
        HOUR,
    ),
    "kept alive, and longer by its last run": (
        {"kept_until": at(60), "ran_until": at(0), "run_seconds": 600.0},
        {"grace": 2 * HOUR},
        1,
        K,
        Reason.KEPT_ALIVE,
        2 * HOUR,
    ),
    "a disconnect within the grace changes nothing": (
        {"disconnected_at": at(HOUR), "ran_until": at(0), "run_seconds": 600.0},
        {"grace": 2 * HOUR, "cull_connected": False},
        HOUR + 1,
        K,
        Reason.GRACE,
        2 * HOUR,
    ),
    "under the smallest bound what makes no sense keeps nothing": (
        {"odd_timeout": "'soon'"},
        {"max_idle_timeout": 0.5},
        HOUR + 1,
        C,
        Reason.IDLE,
        HOUR,
    ),
    "nor is 0 a way out of it": (
        {"idle_timeout": 0.0},
        {"max_idle_timeout": 0.5},
        HOUR + 1,
        C,
        Reason.IDLE,
        HOUR,
    ),
    "no connection left": ({"connections": 0}, {"cull_connected": False}, HOUR + 1, C, Reason.IDLE, HOUR),
    "the kernelspec's own timeout is shorter": ({"idle_timeout": 60.0}, {}, 61, C, Reason.IDLE, 60),
    "the kernelspec's own timeout is longer": ({"idle_timeout": 7200.0}, {}, HOUR + 1, K, Reason.ACTIVE, 7200),
    "the kernelspec's own timeout 0 is off": ({"idle_timeout": 0.0}, {}, 9e8, K, Reason.OFF, None),
    "the kernelspec's own negative timeout is off": ({"idle_timeout": -1.0}, {}, 9e8, K, Reason.OFF, None),
    "the kernelspec's own timeout is a second at least": ({"idle_timeout": 1e-9}, {}, 1, K, Reason.ACTIVE, 1),
    "and after that second it is due": ({"idle_timeout": 1e-9}, {}, 1.001, C, Reason.IDLE, 1),
    "the kernelspec's own timeout is bounded": (
        {"idle_timeout": 86_400.0},
        {"max_idle_timeout": 7200.0},
        7201,
        C,
        Reason.IDLE,
        7200,
    ),
    "and as long as the bound it stands": (
        {"idle_timeout": 7200.0},
        {"max_idle_timeout": 7200.0},
        7200,
        K,
        Reason.ACTIVE,
        7200,
    ),
    "a shorter one than the bound stands": (
        {"idle_timeout": 60.0},
        {"max_idle_timeout": 7200.0},
        61,
        C,
        Reason.IDLE,
        60,
    ),
    "under a bound 0 is no way to be kept for ever": (
        {"idle_timeout": 0.0},
        {"max_idle_timeout": 7200.0},
        HOUR + 1,
        C,
        Reason.IDLE,
        HOUR,
    ),
    "nor is less": ({"idle_timeout": -1.0}, {"max_idle_timeout": 7200.0}, HOUR, K, Reason.ACTIVE, HOUR),
    "nor what makes no sense": (
        {"odd_timeout": "'soon' is no number"},
        {"max_idle_timeout": 7200.0},
        HOUR + 1,
        C,
        Reason.IDLE,
        HOUR,
    ),
    "the admin's own timeout may be over the bound": (
        {"idle_timeout": 0.0},
        {"max_idle_timeout": 60.0},
        HOUR,
        K,
        Reason.ACTIVE,
        HOUR,
    ),
    "a bound under a second": ({"idle_timeout": 60.0}, {"max_idle_timeout": 0.1}, 1, K, Reason.ACTIVE, 1),
    "without a bound what makes no sense keeps": ({"odd_timeout": "'soon'"}, {}, 9e8, K, Reason.UNKNOWN, None),
    "what makes no sense does not keep the dead": (
        {"odd_timeout": "'soon'", "state": "dead"},
        {},
        1,
        C,
        Reason.DEAD,
        1,
    ),
    "nor does it turn anything on": ({"odd_timeout": "'soon'"}, {"idle_timeout": 0.0}, 9e8, K, Reason.OFF, None),
    "off for all is off for a kernelspec's own": (
        {"idle_timeout": 60.0},
        {"idle_timeout": 0.0},
        9e8,
        K,
        Reason.OFF,
        None,
    ),
    "stuck starting counts from its start": (
        {"state": "starting", "last_activity": None, "started_at": NOON},
        {},
        HOUR + 1,
        C,
        Reason.IDLE,
        HOUR,
    ),
    "starting before its deadline": ({"state": "starting"}, {}, HOUR, K, Reason.ACTIVE, HOUR),
    "restarting for ever is culled": ({"state": "restarting"}, {}, HOUR + 1, C, Reason.IDLE, HOUR),
    "an unknown state keeps": ({"state": "dreaming"}, {}, 9e8, K, Reason.UNKNOWN, None),
    "no state keeps": ({"state": None}, {}, 9e8, K, Reason.UNKNOWN, None),
    "no timestamp at all keeps": ({"last_activity": None}, {}, 9e8, K, Reason.UNKNOWN, None),
    "activity in the future counts as now": ({"last_activity": at(9999)}, {}, 1, K, Reason.ACTIVE, HOUR + 1),
    "busy with nobody connected is due by busy_timeout": (
        {"state": "busy", "busy_since": NOON},
        {"busy_timeout": 7200.0, "cull_connected": False},
        10,
        K,
        Reason.BUSY,
        7200,
    ),
    "a person at it keeps it": ({"person_at": at(HOUR - 10)}, {}, HOUR + 1, K, Reason.PERSON, HOUR + 80),
    "for 90 seconds, the last instant included": ({"person_at": at(HOUR)}, {}, HOUR + 90, K, Reason.PERSON, HOUR + 90),
    "and no longer": ({"person_at": at(HOUR)}, {}, HOUR + 91, C, Reason.IDLE, HOUR),
    "or half of a shorter timeout": ({"person_at": at(95)}, {"idle_timeout": 100.0}, 145, K, Reason.PERSON, 145),
    "and no longer than that half": ({"person_at": at(95)}, {"idle_timeout": 100.0}, 145.1, C, Reason.IDLE, 100),
    "somebody who is there just now": ({"person_at": at(HOUR + 1)}, {}, HOUR + 1, K, Reason.PERSON, HOUR + 91),
    "somebody who is there in the future is nobody": ({"person_at": at(20)}, {}, 10, K, Reason.ACTIVE, HOUR),
    "without a grace period none at the very end of a run": (
        {"ran_until": at(HOUR + 5), "run_seconds": 9e3},
        {"grace": 0.0},
        HOUR + 5,
        C,
        Reason.IDLE,
        HOUR,
    ),
    "a run of which nobody knows when it ended gives none": (
        {"run_seconds": 9e3},
        {"grace": 60.0, "long_run": 60.0},
        HOUR + 1,
        C,
        Reason.IDLE,
        HOUR,
    ),
}


@pytest.mark.parametrize(
    ("record", "policy", "now", "action", "reason", "due"), KERNEL_TABLE.values(), ids=KERNEL_TABLE.keys()
)
def test_kernel_truth_table(record, policy, now, action, reason, due):
    """Each line of the table holds: action, first reason, and when it is due."""
    rules = CullingPolicy(**{"idle_timeout": HOUR, **policy})

    decision = decide_kernel(kernel(**record), rules, at(now))

    assert (decision.action, decision.reason) == (action, reason)
    assert decision.due_at == (None if due is None else at(due))


TERMINAL_TABLE = {
    "before its deadline": ({}, {}, 10, K, Reason.ACTIVE, HOUR),
    "at its very deadline it is kept": ({}, {}, HOUR, K, Reason.ACTIVE, HOUR),
    "after its deadline": ({}, {}, HOUR + 1, C, Reason.IDLE, HOUR),
    "a failed reading keeps": ({"error": "no"}, {}, 9e8, K, Reason.UNKNOWN, None),
    "a timeout of a second is a timeout": ({}, {"idle_timeout": 1.0}, 1, K, Reason.ACTIVE, 1),
    "no timestamp keeps": ({"last_activity": None}, {}, 9e8, K, Reason.UNKNOWN, None),
    "timeout 0 is off": ({}, {"idle_timeout": 0.0}, 9e8, K, Reason.OFF, None),
    "its own timeout 0 is off": ({}, {"terminal_idle_timeout": 0.0}, 9e8, K, Reason.OFF, None),
    "its own timeout counts": ({}, {"terminal_idle_timeout": 60.0}, 61, C, Reason.IDLE, 60),
    "its own timeout works with kernels off": (
        {},
        {"terminal_idle_timeout": 60.0, "idle_timeout": 0.0},
        61,
        C,
        Reason.IDLE,
        60,
    ),
    "keep_terminals": ({}, {"keep_terminals": True}, 9e8, K, Reason.KEEP_TERMINALS, None),
    "not billed is kept": ({"billed": False}, {}, 9e8, K, Reason.NOT_BILLED, None),
    "one on an app goes with it": ({"with_app": True}, {}, 9e8, K, Reason.WITH_APP, None),
    "terminated once is enough": ({"ended": True}, {}, 9e8, K, Reason.ENDED, None),
    "kept alive": ({"kept_until": at(7200)}, {}, HOUR + 1, K, Reason.KEPT_ALIVE, 7200),
    "kept alive is over": ({"kept_until": at(7200)}, {}, 7201, C, Reason.IDLE, HOUR),
    "at work keeps": ({"used_by": "x", "used_at": at(60)}, {}, 9e8, K, Reason.USED, None),
    "and once that ends it counts as use": ({"used_at": at(60)}, {}, HOUR + 1, K, Reason.ACTIVE, HOUR + 60),
    "output in the future counts as now": ({"last_activity": at(9999)}, {}, 1, K, Reason.ACTIVE, HOUR + 1),
}


@pytest.mark.parametrize(
    ("record", "policy", "now", "action", "reason", "due"), TERMINAL_TABLE.values(), ids=TERMINAL_TABLE.keys()
)
def test_terminal_truth_table(record, policy, now, action, reason, due):
    """Each line of the table holds: action, first reason, and when it is due."""
    rules = CullingPolicy(**{"idle_timeout": HOUR, **policy})

    decision = decide_terminal(terminal(**record), rules, at(now))

    assert (decision.action, decision.reason) == (action, reason)
    assert decision.due_at == (None if due is None else at(due))


seconds = st.floats(0, 1e6).map(lambda value: round(value, 3))
moments = st.floats(-1e6, 1e6).map(lambda value: at(round(value, 3)))
kernels = st.builds(
    KernelRecord,
    identity=st.just("k"),
    state=st.sampled_from(["idle", "busy", "starting", "restarting", "dead", "odd", None]),
    last_activity=st.none() | moments,
    connections=st.integers(0, 2),
    started_at=st.none() | moments,
    busy_since=st.none() | moments,
    kept_until=st.none() | moments,
    idle_timeout=st.none() | st.floats(-10, 1e6),
    odd_timeout=st.sampled_from([None, None, None, "'soon'"]),
    disconnected_at=st.none() | moments,
    ran_until=st.none() | moments,
    run_seconds=seconds,
    used_by=st.sampled_from([None, None, "it uses CPU"]),
    used_at=st.none() | moments,
    alive=st.sampled_from([True, True, True, False]),
    owned=st.sampled_from([True, True, True, False]),
    error=st.sampled_from([None, None, None, "no"]),
)
terminals = st.builds(
    TerminalRecord,
    identity=st.just("1"),
    last_activity=st.none() | moments,
    kept_until=st.none() | moments,
    ended=st.booleans(),
    billed=st.booleans(),
    with_app=st.booleans(),
    used_by=st.sampled_from([None, None, "it uses CPU"]),
    used_at=st.none() | moments,
    error=st.sampled_from([None, None, "no"]),
)
policies = st.builds(
    CullingPolicy,
    idle_timeout=st.just(0.0) | seconds,
    terminal_idle_timeout=st.none() | seconds,
    max_idle_timeout=st.just(0.0) | seconds,
    busy_timeout=st.just(0.0) | seconds,
    grace=st.just(0.0) | seconds,
    cull_connected=st.booleans(),
    cull_busy=st.booleans(),
    keep_terminals=st.booleans(),
)


@given(kernels | terminals, policies, moments, seconds)
def test_a_kept_record_stays_kept_until_due_at_and_is_culled_after_it(record, policy, now, later):
    """`due_at` is the truth: the same record is kept up to and including it, and culled just after; None is never."""
    first = decide(record, policy, now)
    seen = (record.last_activity, record.used_at, getattr(record, "started_at", None))
    if first.cull or any(each is not None and each > now for each in seen):
        return

    then = decide(record, policy, now + timedelta(seconds=later))

    if first.due_at is None or now + timedelta(seconds=later) <= first.due_at:
        assert not then.cull
    else:
        assert then.cull


@given(kernels | terminals, policies, moments)
def test_what_is_culled_was_due_and_what_is_kept_was_not(record, policy, now):
    """Culling happens only with a deadline in the past, or for the dead; idle seconds are never negative."""
    decision = decide(record, policy, now)

    if decision.cull and decision.reason is not Reason.DEAD:
        assert decision.due_at is not None
        assert now > decision.due_at
    assert decision.idle_seconds is None or decision.idle_seconds >= 0


@given(kernels, policies, moments)
def test_nothing_busy_is_culled_unless_a_setting_says_so(record, policy, now):
    """A living busy kernel is culled only with `cull_busy` or `busy_timeout`."""
    working = record._replace(state="busy", alive=True)
    patient = replace(policy, cull_busy=False, busy_timeout=0.0)

    assert not decide_kernel(working, patient, now).cull


@given(kernels | terminals, policies, moments)
def test_doubt_keeps(record, policy, now):
    """A failed reading is never culled."""
    decision = decide(record._replace(error="could not be read"), policy, now)

    assert (decision.action, decision.reason) == (Action.KEEP, Reason.UNKNOWN)


@given(kernels | terminals, policies, moments, moments, seconds)
def test_after_a_clock_jump_at_least_five_minutes_or_the_timeout_are_left(record, policy, now, jumped, timeout):
    """Nothing is culled before jump + min(timeout, 300 s), except the dead."""
    decision = hold_after(decide(record, policy, now), jumped, timeout, now)

    if decision.cull and decision.reason is not Reason.DEAD:
        assert now > jumped + timedelta(seconds=min(timeout, 300))


def test_the_rules_stand_in_the_order_of_the_contract():
    """The ordered tuples are the documentation; a change of order is a change of contract."""
    assert [rule.__name__ for rule in KERNEL_RULES] == [
        "failed_reading",
        "external",
        "kernels_off",
        "dead",
        "kept_alive",
        "odd_timeout",
        "unknown_state",
        "busy",
        "connected",
        "just_disconnected",
        "busy_too_long",
        "at_work",
        "in_use_by_a_person",
        "after_long_run",
        "kernel_idle",
    ]
    assert [rule.__name__ for rule in TERMINAL_RULES] == [
        "failed_reading",
        "terminals_off",
        "terminal_ended",
        "keep_terminals",
        "not_billed",
        "with_app",
        "kept_alive",
        "no_timestamp",
        "at_work",
        "terminal_idle",
    ]


def test_deciding_uses_the_time_it_is_given_in_any_zone():
    """The same instant in another time zone gives the same decision."""
    elsewhere = timezone(timedelta(hours=5, minutes=30))
    policy = CullingPolicy(idle_timeout=HOUR)

    here = decide_kernel(kernel(), policy, at(HOUR + 1))
    there = decide_kernel(kernel(), policy, at(HOUR + 1).astimezone(elsewhere))

    assert here == there


# -- apps ----------------------------------------------------------------------------------------------


def app(**changes) -> AppRecord:
    """An app in service that was created and first seen at noon, and never used."""
    known = AppRecord(identity="a", name="a", state="InService", created_at=NOON, watched_since=NOON)
    return known._replace(**changes)


APP_TABLE = {
    # id: (record changes, policy changes, seconds after noon, action, reason, due_at after noon or None)
    "before its deadline it is kept": ({}, {}, 10, K, Reason.ACTIVE, HOUR),
    "at its very deadline it is kept": ({}, {}, HOUR, K, Reason.ACTIVE, HOUR),
    "just after its deadline it is deleted": ({}, {}, HOUR + 1e-6, C, Reason.IDLE, HOUR),
    "first sight counts": ({"watched_since": at(60)}, {}, HOUR + 1, K, Reason.ACTIVE, HOUR + 60),
    "creation counts": ({"created_at": at(60)}, {}, HOUR + 1, K, Reason.ACTIVE, HOUR + 60),
    "last activity counts": ({"last_activity": at(60)}, {}, HOUR + 1, K, Reason.ACTIVE, HOUR + 60),
    "too old it is deleted though a kernel is busy": (
        {"kept_by": "kernel k (busy)", "warned_at": NOON}, {"max_age": HOUR}, HOUR + 1, C, Reason.TOO_OLD, HOUR
    ),
    "an old activity is no excuse": ({"last_activity": at(-9e9)}, {}, HOUR + 1, C, Reason.IDLE, HOUR),
    "no creation time is fine": ({"created_at": None}, {}, HOUR + 1, C, Reason.IDLE, HOUR),
    "creation in the future is now": ({"created_at": at(9e9)}, {}, 9, K, Reason.ACTIVE, HOUR + 9),
    "never seen in service: kept": ({"watched_since": None}, {}, 9e9, K, Reason.UNKNOWN, None),
    "a failed reading keeps": ({"error": "no"}, {}, 9e9, K, Reason.UNKNOWN, None),
    "a failed reading wins": ({"error": "no", "state": "Deleted"}, {}, 9e9, K, Reason.UNKNOWN, None),
    "timeout 0 turns it off": ({}, {"idle_timeout": 0.0}, 9e9, K, Reason.OFF, None),
    "pending": ({"state": "Pending"}, {}, 9e9, K, Reason.NOT_IN_SERVICE, None),
    "deleting": ({"state": "Deleting"}, {}, 9e9, K, Reason.NOT_IN_SERVICE, None),
    "another spelling is another state": ({"state": "inservice"}, {}, 9e9, K, Reason.NOT_IN_SERVICE, None),
    "no state": ({"state": None}, {}, 9e9, K, Reason.NOT_IN_SERVICE, None),
    "protected": ({"protected": True}, {}, 9e9, K, Reason.PROTECTED, None),
    "not in service wins over protected": (
        {"protected": True, "state": "Failed"}, {}, 9e9, K, Reason.NOT_IN_SERVICE, None,
    ),
    "something on it keeps it": ({"kept_by": "kernel k"}, {}, 9e9, K, Reason.IN_USE, None),
    "kept until its last kernel is due": ({"residents_until": at(2 * HOUR)}, {}, HOUR + 1, K, Reason.ACTIVE, 2 * HOUR),
    "and after that deleted": ({"residents_until": at(2 * HOUR)}, {}, 2 * HOUR + 1, C, Reason.IDLE, 2 * HOUR),
    "at that very instant kept": ({"residents_until": at(2 * HOUR)}, {}, 2 * HOUR, K, Reason.ACTIVE, 2 * HOUR),
    "a kernel due earlier changes nothing": ({"residents_until": at(60)}, {}, HOUR, K, Reason.ACTIVE, HOUR),
    "kept alive by request": ({"kept_until": at(7200)}, {}, HOUR + 1, K, Reason.KEPT_ALIVE, 7200),
    "kept alive includes its last instant": ({"kept_until": at(7200)}, {}, 7200, K, Reason.KEPT_ALIVE, 7200),
    "kept alive is over after it": ({"kept_until": at(7200)}, {}, 7201, C, Reason.IDLE, HOUR),
    "kept alive and in use has no deadline": (
        {"kept_until": at(7200), "kept_by": "kernel k"}, {}, HOUR + 1, K, Reason.KEPT_ALIVE, None,
    ),
    "what it is used for keeps it": ({"used_by": "x", "used_at": at(60)}, {}, 9e8, K, Reason.USED, None),
    "and once that ends it counts": ({"used_at": at(60)}, {}, HOUR + 1, K, Reason.ACTIVE, HOUR + 60),
    "a timeout of a second is a timeout": ({}, {"idle_timeout": 1.0}, 1, K, Reason.ACTIVE, 1),
    "keep_terminals is the terminals' matter": ({}, {"keep_terminals": True}, HOUR + 1, C, Reason.IDLE, HOUR),
    "the terminals' own timeout too": ({}, {"terminal_idle_timeout": 0.0}, HOUR + 1, C, Reason.IDLE, HOUR),
}  # fmt: skip


@pytest.mark.parametrize(("record", "policy", "now", "action", "reason", "due"), APP_TABLE.values(), ids=APP_TABLE)
def test_the_table_of_app_rules(record, policy, now, action, reason, due):
    """Each line is a law."""
    decision = decide_app(app(**record), CullingPolicy(**{"idle_timeout": HOUR, **policy}), at(now))

    assert (decision.action, decision.reason) == (action, reason)
    assert decision.due_at == (None if due is None else at(due))


@pytest.mark.parametrize(("now", "renews"), [(10, [False, True]), (HOUR + 1, [False, False])])
def test_an_app_is_kept_for_longer_by_a_lease_on_it_while_it_is_kept(now, renews):
    """And only where there is such a lease; what is deleted becomes later by nothing."""
    found = [decide_app(app(residents_renew=each), CullingPolicy(idle_timeout=HOUR), at(now)) for each in (False, True)]

    assert [each.renews for each in found] == renews


moments = st.one_of(st.none(), st.floats(-1e6, 1e6).map(at))
app_records = st.builds(
    AppRecord,
    identity=st.just("a"),
    name=st.just("a"),
    state=st.sampled_from(["InService", "InService", "Pending", "Deleting", None]),
    created_at=moments,
    watched_since=moments,
    last_activity=moments,
    kept_by=st.sampled_from([None, None, "kernel k"]),
    residents_until=moments,
    kept_until=moments,
    used_by=st.sampled_from([None, None, "it uses CPU"]),
    used_at=moments,
    protected=st.booleans(),
    error=st.sampled_from([None, None, "no"]),
)


@given(app_records, st.floats(0, 1e6), st.floats(-1e6, 1e6))
def test_whatever_an_app_is_it_is_deleted_only_when_all_says_so(record, timeout, seconds):
    """In service, known, not protected, nothing kept on it, and a whole timeout after every instant of use."""
    now = at(seconds)

    decision = decide_app(record, CullingPolicy(idle_timeout=timeout), now)

    if decision.cull:
        known = (record.created_at, record.watched_since, record.last_activity, record.used_at)
        used = [each for each in known if each is not None]
        assert record.state == "InService"
        assert (record.error, record.kept_by, record.used_by, record.protected) == (None, None, None, False)
        assert record.kept_until is None or now > record.kept_until
        assert timeout > 0
        assert all((now - each).total_seconds() >= timeout for each in used)
        assert record.residents_until is None or now > record.residents_until
    elif decision.due_at is not None:
        later = decide_app(
            record, CullingPolicy(idle_timeout=timeout), max(now, decision.due_at) + timedelta(seconds=1)
        )
        future = [
            each
            for each in (record.created_at, record.watched_since, record.last_activity, record.used_at)
            if each and each > now
        ]
        assert later.cull or future


def test_every_app_rule_decides_something():
    """No rule is dead: each gives a decision for some line of the table."""
    for rule in APP_RULES:
        assert any(
            rule(app(**record), CullingPolicy(**{"idle_timeout": HOUR, **policy}), at(now)) is not None
            for record, policy, now, *_ in APP_TABLE.values()
        )


KEEPING = {
    # reason: (keeps without end, keeps until)
    Reason.UNKNOWN: (True, False), Reason.OFF: (True, False), Reason.EXTERNAL: (True, False),
    Reason.DEAD: (False, False), Reason.KEPT_ALIVE: (False, True), Reason.BUSY: (True, False),
    Reason.BUSY_TOO_LONG: (False, False), Reason.CONNECTED: (True, False), Reason.ACTIVE: (False, True),
    Reason.IDLE: (False, False), Reason.KEEP_TERMINALS: (True, False), Reason.NOT_BILLED: (False, False),
    Reason.WITH_APP: (False, False), Reason.ENDED: (False, False), Reason.CLOCK_JUMP: (False, True),
    Reason.NOT_IN_SERVICE: (True, False), Reason.PROTECTED: (True, False), Reason.IN_USE: (True, False),
    Reason.USED: (True, False), Reason.GRACE: (False, True), Reason.DISCONNECTED: (False, True),
    Reason.PERSON: (False, True), Reason.AT_WORK_TOO_LONG: (False, False), Reason.TOO_OLD: (False, False),
}  # fmt: skip
CULLING = {Reason.DEAD, Reason.IDLE, Reason.BUSY_TOO_LONG, Reason.AT_WORK_TOO_LONG, Reason.TOO_OLD}


@pytest.mark.parametrize("reason", list(Reason))
def test_what_a_decision_on_a_kernel_or_terminal_means_for_its_app(reason):
    """A busy one with a deadline for being busy keeps it too; one kept until a time that is not known keeps it."""
    action = C if reason in CULLING else K
    dated = Decision(action=action, reason=reason, idle_seconds=1.0, due_at=at(60))

    assert (keeps_app(dated), keeps_app_until(dated) is not None) == KEEPING[reason]
    if KEEPING[reason][1]:
        assert keeps_app(dated._replace(due_at=None))


def test_reasons_and_actions_are_what_programs_read():
    """They stand in the state document, in events and metrics: another word there is another interface."""
    assert [each.value for each in Action] == ["keep", "cull"]
    assert [each.value for each in Reason] == [
        "unknown", "off", "external", "dead", "kept alive", "busy", "busy too long", "connected", "just disconnected",
        "active", "idle", "keep_terminals", "not billed", "goes with its app", "ended", "clock jump", "not in service",
        "protected", "in use", "at work", "in use by a person", "grace period", "at work too long", "too old",
    ]  # fmt: skip


JUMPS = {
    # id: (timeout, due after the jump, now after the jump) -> due, reason
    "a deadline is moved": ((7200, 10, 5), (300, Reason.CLOCK_JUMP)),
    "also one that has passed": ((7200, -10, 0), (300, Reason.CLOCK_JUMP)),
    "until that very instant": ((7200, 10, 300), (300, Reason.CLOCK_JUMP)),
    "and no longer": ((7200, 10, 300.001), (300, Reason.IDLE)),
    "by a short timeout": ((60, 10, 5), (60, Reason.CLOCK_JUMP)),
    "a later one stays": ((7200, 301, 5), (301, Reason.ACTIVE)),
    "so does the same one": ((7200, 300, 5), (300, Reason.ACTIVE)),
}


@pytest.mark.parametrize(("seen", "expected"), JUMPS.values(), ids=JUMPS)
def test_a_deadline_after_a_clock_jump(seen, expected):
    """Five minutes, or the whole timeout if that is shorter, are left, and not an instant more."""
    seconds, due, now = seen
    late = now > due
    decision = Decision(
        action=C if late else K, reason=Reason.IDLE if late else Reason.ACTIVE, idle_seconds=1.0, due_at=at(due)
    )

    found = hold_after(decision, NOON, seconds, at(now))

    assert ((found.due_at - NOON).total_seconds(), found.reason) == expected
    assert found.cull is (found.reason is Reason.IDLE)
    assert found.idle_seconds == 1.0


def test_without_a_jump_or_a_deadline_a_decision_stands():
    """So does one on a kernel that is dead: that rests on no clock."""
    due = Decision(action=C, reason=Reason.IDLE, idle_seconds=1.0, due_at=at(0))
    dead = due._replace(reason=Reason.DEAD)
    endless = Decision(action=K, reason=Reason.BUSY, idle_seconds=1.0, due_at=None)

    assert hold_after(due, None, 7200.0, at(1)) is due
    assert hold_after(dead, at(0), 7200.0, at(1)) is dead
    assert hold_after(endless, at(0), 7200.0, at(1)) is endless


@pytest.mark.parametrize(
    ("last", "used", "idle"), [(0, None, 100), (0, 60, 40), (60, 0, 40), (0, 200, 0), (200, None, 0), (None, 60, 40)]
)
def test_how_long_it_has_been_idle_is_since_its_last_use(last, used, idle):
    """Whoever saw that; in the future is now; a kernel without any counts from its start."""
    started = at(30) if last is None else None
    record = kernel(
        last_activity=None if last is None else at(last), started_at=started, used_at=None if used is None else at(used)
    )

    for policy in (CullingPolicy(), CullingPolicy(idle_timeout=0.0), CullingPolicy(idle_timeout=1.0)):
        assert decide_kernel(record, policy, at(100)).idle_seconds == idle


def test_one_that_has_been_busy_too_long_may_have_been_used_just_now():
    """How long it has been idle is since its last output, however long it was busy."""
    record = kernel(state="busy", busy_since=NOON, last_activity=at(600))

    decision = decide_kernel(record, CullingPolicy(busy_timeout=600.0), at(607))

    assert (decision.reason, decision.idle_seconds) == (Reason.BUSY_TOO_LONG, 7)


def test_timeouts_go_by_the_kind_of_a_record():
    """Terminals have their own, a kernel its kernelspec's, an app the policy's."""
    policy = CullingPolicy(idle_timeout=HOUR, terminal_idle_timeout=60.0)

    assert [timeout(each, policy) for each in (kernel(), kernel(idle_timeout=5.0), terminal(), app())] == [
        HOUR, 5, 60, HOUR,
    ]  # fmt: skip
    assert [timeout_of(kind, policy) for kind in (Kind.KERNEL, Kind.TERMINAL, Kind.APP)] == [HOUR, 60, HOUR]


def test_each_kind_is_decided_by_its_own_rules():
    """Whatever is asked for by the record alone."""
    policy = CullingPolicy(idle_timeout=HOUR, terminal_idle_timeout=60.0)
    found = [decide(each, policy, at(61)) for each in (kernel(state="dead"), terminal(), app(state="Pending"))]

    assert [each.reason for each in found] == [Reason.DEAD, Reason.IDLE, Reason.NOT_IN_SERVICE]
