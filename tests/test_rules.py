"""What rules say before it is put together: holds, and the runs that are remembered."""

from __future__ import annotations

import math
import sys
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from culling_manager import decisions
from culling_manager.decisions import QUIET_STATES, Action, Decision, Hold, Reason
from culling_manager.policy import CullingPolicy
from culling_manager.records import KernelRecord
from culling_manager.rules import kernel
from culling_manager.rules.common import kept_alive
from culling_manager.rules.own_timeout import (
    LEAST_SECONDS,
    NOTHING,
    OwnTimeout,
    own_seconds,
    own_timeout_from,
    own_timeout_in,
)
from culling_manager.rules.run import Run
from culling_manager.rules.verdict import Cap, hold_for_notice
from tests.doubles import NOON


def at(seconds: float):
    """An instant relative to noon."""
    return NOON + timedelta(seconds=seconds)


# -- holds -------------------------------------------------------------------------------------------

HELD = {
    # id: (decision: cull?, due after noon), hold gives way?, what becomes of it: held?, due after noon
    "one that is due is kept until then": ((True, 10), False, (True, 60)),
    "one that is due later keeps its deadline": ((False, 99), False, (True, 99)),
    "one without a deadline gets none": ((False, None), False, (True, None)),
    "one that is due at that instant": ((False, 60), False, (True, 60)),
    "giving way, one that is due is kept": ((True, 10), True, (True, 60)),
    "giving way, one that is due sooner is kept": ((False, 59), True, (True, 60)),
    "giving way to the same instant": ((False, 60), True, (False, 60)),
    "giving way to a later deadline": ((False, 99), True, (False, 99)),
    "giving way to no deadline": ((False, None), True, (False, None)),
    "giving way to nothing that would end it": ((True, 99), True, (True, 99)),
}


@pytest.mark.parametrize(("decided", "gives_way", "expected"), HELD.values(), ids=HELD)
def test_a_hold_keeps_until_an_instant_and_makes_no_deadline_earlier(decided, gives_way, expected):
    """The later deadline counts; a hold that gives way is no reason where something keeps it for as long anyway."""
    cull, due = decided
    decision = Decision(
        action=Action.CULL if cull else Action.KEEP,
        reason=Reason.IDLE if cull else Reason.ACTIVE,
        idle_seconds=7.0,
        due_at=None if due is None else at(due),
    )

    found = Hold(at(60), Reason.GRACE, gives_way).on(decision)

    held, due = expected
    assert (found.reason is Reason.GRACE) is held
    assert (found.cull, found.idle_seconds) == (False, 7.0)
    assert found.due_at == (None if due is None else at(due))


@pytest.mark.parametrize(
    ("due", "reason"), [(None, Reason.TOO_OLD), (10, None), (60, Reason.TOO_OLD), (99, Reason.TOO_OLD)]
)
def test_what_a_hold_makes_later_is_not_due_for_what_it_was_due_for(due, reason):
    """A deadline that stands is due for the reason that it was; one that is moved, for what comes then."""
    decision = Decision(
        action=Action.KEEP, reason=Reason.USED, idle_seconds=7.0, due_at=None if due is None else at(due),
        due_for=Reason.TOO_OLD,
    )  # fmt: skip

    assert Hold(at(60), Reason.GRACE).on(decision).due_for is reason


@pytest.mark.parametrize(("hold", "below"), [(False, False), (False, True), (True, False), (True, True)])
def test_one_lease_is_enough_for_what_becomes_later_by_itself(hold, below):
    """The hold's, or that of what it holds; at an end that nothing moves none counts."""
    decision = Decision(action=Action.KEEP, reason=Reason.ACTIVE, idle_seconds=7.0, due_at=at(99), renews=below)

    found = Hold(at(60), Reason.KEPT_ALIVE, renews=hold).on(decision)

    assert found.renews is (hold or below)
    assert Cap(at(98), Reason.TOO_OLD).on(found).renews is False
    assert Cap(at(99), Reason.TOO_OLD).on(found).renews is found.renews


def test_nothing_becomes_later_by_itself_unless_a_lease_says_so():
    """A decision, a hold, and what comes of both."""
    hold = Hold(at(60), Reason.GRACE)
    record = KernelRecord(identity="k", state="idle", last_activity=NOON)

    decided = decisions.decide(record, CullingPolicy(), at(1))

    assert (decided.renews, hold.renews, hold.on(decided).renews) == (False, False, False)


NOTICED = {
    # id: reason, its deadline, now -> culled, reason, deadline; notice of 60 s was given at noon
    "idle and overdue, it has until then": (Reason.IDLE, -10, 5, (False, Reason.ACTIVE, 60)),
    "up to and including that instant": (Reason.IDLE, -10, 60, (False, Reason.ACTIVE, 60)),
    "and is due after it": (Reason.IDLE, -10, 61, (True, Reason.IDLE, 60)),
    "active and due sooner, it has until then": (Reason.ACTIVE, 30, 5, (False, Reason.ACTIVE, 60)),
    "what is due at that instant stands": (Reason.IDLE, 60, 59, (True, Reason.IDLE, 60)),
    "what is due later stands": (Reason.ACTIVE, 99, 5, (False, Reason.ACTIVE, 99)),
    "what is not due stands": (Reason.ACTIVE, None, 5, (False, Reason.ACTIVE, None)),
    "what does not rest on being idle stands": (Reason.DEAD, -10, 5, (True, Reason.DEAD, -10)),
}


@pytest.mark.parametrize(("reason", "due", "now", "expected"), NOTICED.values(), ids=NOTICED)
def test_what_is_made_overdue_by_a_person_is_given_the_time_of_a_warning(reason, due, now, expected):
    """From when that was done; nothing becomes due sooner by it."""
    decision = Decision(
        action=Action.KEEP if reason is Reason.ACTIVE else Action.CULL,
        reason=reason,
        idle_seconds=7.0,
        due_at=None if due is None else at(due),
    )

    found = hold_for_notice(decision, NOON, 60, at(now))

    cull, reason, due = expected
    assert (found.cull, found.reason, found.due_at) == (cull, reason, None if due is None else at(due))


# -- single rules ------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["idle", "starting", "restarting", "autorestarting", "terminating"])
def test_a_state_in_which_nothing_works_counts_as_quiet(state):
    """All that jupyter_server has names for."""
    record = KernelRecord(identity="k", state=state, last_activity=NOON)

    assert state in QUIET_STATES
    assert kernel.unknown_state(record, CullingPolicy(), at(1)) is None


@pytest.mark.parametrize(
    ("leased", "left", "renews"), [(True, 181, True), (True, 180, False), (True, 0, False), (False, 181, False)]
)
def test_a_lease_is_expected_to_be_renewed_until_it_has_three_minutes_left(leased, left, renews):
    """It is renewed long before that while its holder lives; what a person asked for ends when it was said to."""
    record = KernelRecord(identity="k", state="idle", last_activity=NOON, kept_until=at(1000), leased=leased)

    found = kept_alive(record, CullingPolicy(), at(1000 - left))

    assert found == Hold(at(1000), Reason.KEPT_ALIVE, renews=renews)


def test_one_that_is_connected_has_not_just_disconnected():
    """Whatever was closed before: the rule alone says so, wherever it stands."""
    policy = CullingPolicy(cull_connected=False)
    record = KernelRecord(identity="k", state="idle", last_activity=NOON, disconnected_at=NOON)

    found = [kernel.just_disconnected(record._replace(connections=each), policy, at(1)) for each in (0, 1, 2)]

    assert found == [Hold(at(30), Reason.DISCONNECTED, gives_way=True), None, None]


# -- runs --------------------------------------------------------------------------------------------


def test_a_run_is_as_long_as_it_was_busy_without_a_break():
    """'busy' that is told again begins nothing, 'idle' that is told again ends nothing."""
    run = Run(long_run=600.0)

    for busy, seconds in ((False, 0), (True, 10), (True, 20), (False, 40), (False, 50)):
        run.follow(busy, at(seconds))

    assert (run.busy_since, run.ran_until, run.run_seconds) == (None, at(40), 30.0)


def test_by_default_every_run_is_remembered():
    """Without a length from which on it matters, the last one counts, however short."""
    run = Run()

    run.follow(True, at(0))
    run.follow(False, at(0.5))
    first = run.ran_until, run.run_seconds
    for begin, end in ((10, 90), (100, 100.5)):
        run.follow(True, at(begin))
        run.follow(False, at(end))

    assert first == (at(0.5), 0.5)
    assert (run.ran_until, run.run_seconds) == (at(100.5), 0.5)


RUNS = {
    # id: runs (begin, end) in seconds, what is remembered: end, length
    "a short run after a long one is not worth it": ([(0, 3600), (3660, 3663)], (3600, 3600)),
    "the later of two long ones": ([(0, 3600), (4000, 4600)], (4600, 600)),
    "one as long as that counts": ([(0, 600), (700, 1299)], (600, 600)),
    "the later of two short ones": ([(0, 599), (700, 710)], (710, 10)),
    "a long one after a short one": ([(0, 3), (10, 610)], (610, 600)),
}


@pytest.mark.parametrize(("runs", "expected"), RUNS.values(), ids=RUNS)
def test_a_short_run_does_not_make_a_long_one_forgotten(runs, expected):
    """Whoever looks for the result of an hour's work tries something small first."""
    run = Run(long_run=600.0)

    for begin, end in runs:
        run.follow(True, at(begin))
        run.follow(False, at(end))

    assert (run.ran_until, run.run_seconds) == (at(expected[0]), expected[1])


def test_another_process_has_run_nothing():
    """After a restart neither the long run nor the one that was under way is remembered."""
    run = Run(long_run=600.0)
    for busy, seconds in ((True, 0), (False, 3600), (True, 3700)):
        run.follow(busy, at(seconds))

    run.forget()
    run.follow(False, at(3710))

    assert (run.busy_since, run.ran_until, run.run_seconds) == (None, None, 0.0)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 2000)), max_size=30), st.sampled_from([0.0, 60.0, 600.0]))
def test_what_is_remembered_is_the_last_long_run_or_else_the_last(steps, long_run):
    """Against the plain list of all runs."""
    run, now, since, runs = Run(long_run=long_run), 0, None, []
    for busy, seconds in steps:
        now += seconds
        run.follow(busy, at(now))
        if busy:
            since = now if since is None else since
        elif since is not None:
            runs, since = [*runs, (now, now - since)], None

    last = next((each for each in reversed(runs) if each[1] >= long_run), runs[-1] if runs else None)

    assert run.busy_since == (None if since is None else at(since))
    assert (run.ran_until, run.run_seconds) == ((None, 0.0) if last is None else (at(last[0]), float(last[1])))


# -- a kernelspec's own timeout ----------------------------------------------------------------------


def nested(depth: int) -> list:
    """A list in a list in a list."""
    found: list = []
    for _ in range(depth):
        found = [found]
    return found


@pytest.mark.parametrize("value", [60, 60.0, 0, -1, 1e-9, 1e9 - 1, -1e9 + 1])
def test_a_number_of_seconds_is_what_it_says(value):
    """What it is worth is another question."""
    assert own_timeout_in({"cull_idle_timeout": value}) == OwnTimeout(float(value))


@pytest.mark.parametrize("metadata", [{}, {"cull_idle_timeout": None}, {"other": 60}])
def test_a_kernelspec_that_says_nothing_has_no_timeout_of_its_own(metadata):
    """Neither a number nor nonsense."""
    assert own_timeout_in(metadata) is NOTHING


NONSENSE = {
    "words": "soon", "a number in words": "60", "yes": True, "no": False, "not a number": math.nan,
    "for ever": math.inf, "never": -math.inf, "longer than anybody lives": 1e9, "as far back": -1e9, "a list": [60],
    "an object": {"minutes": 1}, "200 kB": "x" * 200_000, "many digits": 10**30, "endless digits": 10**5000,
    "lists in lists": nested(sys.getrecursionlimit() * 50),
}  # fmt: skip


@pytest.mark.parametrize("value", NONSENSE.values(), ids=NONSENSE)
def test_what_is_no_number_of_seconds_is_said_in_few_words(value):
    """Whatever a user's kernelspec has there fits into a line of the log."""
    found = own_timeout_in({"cull_idle_timeout": value})

    assert found.seconds is None
    assert found.odd is not None
    assert found.odd.startswith("the kernelspec's metadata.cull_idle_timeout = ")
    assert len(found.odd) < 200


numbers = st.floats(0, 1e6)


@given(st.none() | st.floats(-1e9, 1e9), numbers, st.just(0.0) | numbers)
def test_no_kernelspec_gets_around_a_second_or_the_bound(own, timeout, most):
    """At least a second and at most the bound; off is off for all, a kernelspec's own off counts without a bound."""
    found = own_seconds(own, CullingPolicy(idle_timeout=timeout, max_idle_timeout=most))

    if own is None or timeout == 0:
        assert found == timeout
    elif own <= 0:
        assert found == (timeout if most else 0)
    else:
        assert found >= LEAST_SECONDS
        assert found <= max(own, LEAST_SECONDS)
        assert found <= max(most, LEAST_SECONDS) or not most
        assert found == own or own < LEAST_SECONDS or 0 < most < own


SPEC = "the kernelspec's metadata.cull_idle_timeout"
#: What a kernelspec says (seconds, or why it makes no sense), `max_idle_timeout` -> what status says of it.
SAID = {
    "nothing": (None, None, 0, "idle_timeout"),
    "its own": (60.0, None, 0, SPEC),
    "its own, within bounds": (60.0, None, 60, SPEC),
    "a second": (1.0, None, 0, SPEC),
    "more than a bound of a second": (60.0, None, 1, f"max_idle_timeout: {SPEC} is 60 s"),
    "more than the bound": (7200.0, None, 60, f"max_idle_timeout: {SPEC} is 7200 s"),
    "less than a second": (1e-9, None, 0, f"{SPEC} is 1e-09 s, and a second at least"),
    "never": (0.0, None, 0, f"{SPEC} is 0, which is never: it is kept, for max_idle_timeout is not set"),
    "never, where there is a bound": (
        *(0.0, None, 60), f"idle_timeout, for max_idle_timeout is set: {SPEC} is 0, which is never",
    ),
    "nonsense": (None, "odd", 0, f"{SPEC} makes no sense: it is kept, for max_idle_timeout is not set"),
    "nonsense, where there is a bound": (
        *(None, "odd", 60), f"idle_timeout, for max_idle_timeout is set: {SPEC} makes no sense",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("own", "odd", "most", "words"), SAID.values(), ids=SAID)
def test_status_says_which_timeout_holds_for_a_kernel_and_why(own, odd, most, words):
    """The admin's setting or the kernelspec's, and what bounds it."""
    assert own_timeout_from(own, odd, CullingPolicy(idle_timeout=600, max_idle_timeout=most)) == words


@pytest.mark.parametrize("own", [None, 60.0, 0.0])
def test_off_for_all_is_the_admins_word(own):
    """Whatever a kernelspec says."""
    assert own_timeout_from(own, None, CullingPolicy(idle_timeout=0)) == "idle_timeout"


def test_a_second_for_all_is_not_off():
    """A kernelspec's own counts beside it."""
    assert own_timeout_from(60.0, None, CullingPolicy(idle_timeout=1)) == SPEC


def test_what_the_law_offers_is_there():
    """Each name that others may ask `decisions` for."""
    assert [name for name in decisions.__all__ if not hasattr(decisions, name)] == []
    assert len(set(decisions.__all__)) == len(decisions.__all__)
