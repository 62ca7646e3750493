"""The policy refuses nonsense when it is built, and says what, the value seen and what is accepted."""

from __future__ import annotations

import math
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from culling_manager.errors import SettingError
from culling_manager.policy import DURATIONS as ALL_DURATIONS
from culling_manager.policy import LONGEST_MINUTES, LONGEST_SECONDS, CullingPolicy, minutes, number, plain

DURATIONS = ["idle_timeout", "terminal_idle_timeout", "min_idle_timeout", "max_idle_timeout", "busy_timeout"]


@pytest.mark.parametrize("name", DURATIONS)
@pytest.mark.parametrize("value", [-1, -0.001, math.nan, math.inf, -math.inf, 1e308, "7200", True, [], 10**400])
def test_a_bad_duration_is_refused_by_name_value_and_range(name, value):
    """No bad number gets into a policy."""
    with pytest.raises(SettingError) as caught:
        CullingPolicy(**{name: value})

    assert caught.value.name == name
    assert "from 0 (off) to" in str(caught.value)


@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf])
def test_a_heartbeat_that_is_not_over_zero_is_refused(value):
    """A loop without rest is no loop."""
    with pytest.raises(SettingError, match="cull_interval"):
        CullingPolicy(cull_interval=value)


def test_bounds_that_leave_nothing_between_them_are_refused():
    """min_idle_timeout over max_idle_timeout is an admin's slip of the pen, and said so."""
    with pytest.raises(SettingError, match="at most max_idle_timeout"):
        CullingPolicy(min_idle_timeout=120.0, max_idle_timeout=60.0)


def test_terminals_follow_the_kernels_timeout_unless_they_have_their_own():
    """None follows; 0 is off and not None."""
    assert CullingPolicy(idle_timeout=60.0).terminal_timeout == 60
    assert CullingPolicy(idle_timeout=60.0, terminal_idle_timeout=0.0).terminal_timeout == 0


@pytest.mark.parametrize("value", [0, -5, 9.99, 480.1, 1e308, math.nan, math.inf, True, None, "120", [120], {}])
def test_a_user_cannot_leave_the_bounds(value):
    """What users set at run time is a number of minutes between the bounds, or it is refused with the range."""
    policy = CullingPolicy(min_idle_timeout=600.0, max_idle_timeout=28_800.0)

    with pytest.raises(SettingError, match="from 10 to 480"):
        policy.user_minutes("idle_time", value)


@pytest.mark.parametrize("value", [0, -1, 1e-9, 5e-324, 0.016])
def test_without_bounds_less_than_a_second_is_refused(value):
    """Next to nothing would cull every idle kernel at once."""
    with pytest.raises(SettingError, match=r"from 0\.0166 to 52560000"):
        CullingPolicy().user_minutes("idle_time", value)


@pytest.mark.parametrize("value", [10, 480, 120.5])
def test_a_user_may_set_anything_between_the_bounds_and_the_bounds_themselves(value):
    """Both bounds are included."""
    policy = CullingPolicy(min_idle_timeout=600.0, max_idle_timeout=28_800.0)

    assert policy.user_minutes("idle_time", value) == value


def test_bounds_do_not_touch_the_admins_own_setting():
    """The admin's 5 minutes stand, though users may not go below 10."""
    assert CullingPolicy(idle_timeout=300.0, min_idle_timeout=600.0).idle_timeout == 300


@given(st.floats(0, LONGEST_MINUTES))
def test_every_number_of_minutes_in_range_is_accepted(value):
    """The range is what the message says it is."""
    assert minutes("x", value) == value


@pytest.mark.parametrize(("value", "text"), [(120.0, "120"), (0.5, "0.5"), (52560000.0, "52560000")])
def test_numbers_are_written_plainly(value, text):
    """120 minutes are not '120.0'."""
    assert plain(value) == text


def test_a_long_value_is_cut_in_the_message():
    """A megabyte of rubbish does not become a megabyte of log."""
    assert len(str(SettingError("x", "y" * 1_000_000, "short"))) < 200


@given(st.integers(1, 100_000))
def test_a_bound_is_within_the_bounds(hundredths):
    """Also one that is not a whole number of seconds in binary."""
    bound = hundredths / 100

    policy = CullingPolicy(min_idle_timeout=bound * 60, max_idle_timeout=bound * 60)

    assert policy.user_minutes("idle_time", bound) == bound
    with pytest.raises(SettingError):
        policy.user_minutes("idle_time", bound * 1.001)
    with pytest.raises(SettingError):
        policy.user_minutes("idle_time", bound / 1.001)


def test_a_greatest_bound_under_a_second_leaves_just_itself():
    """Nobody is offered a range that ends before it begins."""
    assert CullingPolicy(max_idle_timeout=0.6).user_minutes("idle_time", 0.01) == 0.01


def test_without_configuration_it_is_what_the_contract_says():
    """Two hours, a heartbeat of ten seconds, a warning of five minutes; all that is not asked for is off."""
    assert asdict(CullingPolicy()) == {
        "idle_timeout": 7200.0, "terminal_idle_timeout": None, "min_idle_timeout": 0.0, "max_idle_timeout": 0.0,
        "busy_timeout": 0.0, "cull_interval": 10.0, "cull_connected": True, "cull_busy": False,
        "keep_terminals": False, "keep_terminals_fixed": False, "warn_before": 300.0, "max_keep_alive": 0.0,
        "long_run": 600.0, "grace": 0.0, "max_at_work": 0.0, "max_age": 0.0, "dry_run": False, "idle_timeouts": (),
        "instance_type": None,
    }  # fmt: skip


@pytest.mark.parametrize("name", [*DURATIONS, "warn_before", "max_keep_alive", "long_run", "grace"])
def test_every_duration_is_looked_at_and_a_hundred_years_are_the_most(name):
    """None is forgotten; the bounds themselves are accepted, and the words name them."""
    assert name in ALL_DURATIONS
    for seconds in (0, LONGEST_SECONDS):
        least = {"max_idle_timeout": LONGEST_SECONDS} if name == "min_idle_timeout" else {}
        assert getattr(CullingPolicy(**{**least, name: seconds}), name) == seconds
    for seconds in (-1e-9, LONGEST_SECONDS + 1):
        with pytest.raises(SettingError, match=r"it must be a number of seconds from 0 \(off\) to 3153600000$"):
            CullingPolicy(**{name: seconds})


def test_a_heartbeat_is_a_thousandth_of_a_second_at_least():
    """Faster would be a loop without rest, and a hundred years are the most."""
    assert CullingPolicy(cull_interval=1e-3).cull_interval == 1e-3
    assert CullingPolicy(cull_interval=LONGEST_SECONDS).cull_interval == LONGEST_SECONDS
    for seconds in (0.9e-3, LONGEST_SECONDS * 2):
        with pytest.raises(SettingError, match=r"cull_interval = .* it must be over 0 seconds"):
            CullingPolicy(cull_interval=seconds)


def test_a_least_timeout_without_a_greatest_and_two_equal_ones_are_fine():
    """0 is no bound; the words of what is refused are in minutes, as the admin has written it."""
    assert CullingPolicy(min_idle_timeout=60.0).max_idle_timeout == 0
    assert CullingPolicy(min_idle_timeout=60.0, max_idle_timeout=60.0).min_idle_timeout == 60
    assert CullingPolicy(max_idle_timeout=0.5).max_idle_timeout == 0.5
    with pytest.raises(SettingError, match=r"^min_idle_timeout = 2\.0 .* it must be at most max_idle_timeout = 1\.0$"):
        CullingPolicy(min_idle_timeout=120.0, max_idle_timeout=60.0)


@pytest.mark.parametrize(("value", "accepted"), [(-0.1, False), (0, True), (LONGEST_MINUTES, True), (6e7, False)])
def test_minutes_are_from_0_to_a_hundred_years(value, accepted):
    """And the words say so."""
    if accepted:
        assert minutes("x", value) == value
    else:
        with pytest.raises(SettingError, match=r"a number of minutes from 0 \(off\) to 52560000$"):
            minutes("x", value)


def test_what_looks_like_a_number_is_none():
    """Neither yes nor a text nor one that no machine can hold."""
    for value in (True, "1", None, 10**400, math.nan):
        with pytest.raises(SettingError, match=r"x = .* it must be 1 or 2"):
            number("x", value, low=1, high=2, accepted="1 or 2")
    with pytest.raises(SettingError):
        number("x", math.inf, low=0, high=math.inf, accepted="any number")
    assert [number("x", value, low=1, high=2, accepted="") for value in (1, 2, 1.5)] == [1.0, 2.0, 1.5]


@pytest.mark.parametrize(
    ("value", "text"), [(999_999_999_999_999.0, "999999999999999"), (1e15, "1e+15"), (-1e15, "-1e+15"), (-3.0, "-3")]
)
def test_large_numbers_are_written_shortly(value, text):
    """From fifteen digits on."""
    assert plain(value) == text


@pytest.mark.parametrize(("timeout", "ahead"), [(7200, 300), (600, 300), (599, 299.5), (10, 5), (0, 0)])
def test_a_warning_comes_no_earlier_than_half_a_timeout_before(timeout, ahead):
    """Five minutes, where the timeout is ten at least."""
    assert CullingPolicy().warning(timeout) == ahead


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("configured", [False, True])
@pytest.mark.parametrize("wanted", [False, True])
def test_keep_terminals_is_the_users_unless_it_is_fixed(fixed, configured, wanted):
    """What is fixed may be asked for as it is; the words say what it is fixed to."""
    policy = CullingPolicy(keep_terminals=configured, keep_terminals_fixed=fixed)

    if fixed and wanted != configured:
        words = f"keep_terminals = {wanted} .* it must be {str(configured).lower()}, which the admin has fixed"
        with pytest.raises(SettingError, match=words):
            policy.user_keep_terminals("keep_terminals", wanted)
    else:
        assert policy.user_keep_terminals("keep_terminals", wanted) is wanted


def test_a_user_may_set_from_a_second_to_a_hundred_years_where_nothing_is_bounded():
    """A bound that is met to the last binary digit is met, and nothing leaves the calendar."""
    policy = CullingPolicy()

    assert policy.user_minutes("x", 0.0166) == 0.0166
    assert policy.user_minutes("x", LONGEST_MINUTES) == LONGEST_MINUTES
    assert policy.user_minutes("x", LONGEST_MINUTES * (1 + 5e-10)) == LONGEST_MINUTES
    for value in (0.0165, LONGEST_MINUTES * (1 + 2e-9)):
        with pytest.raises(SettingError):
            policy.user_minutes("x", value)


def test_a_users_bounds_are_named_in_minutes():
    """As the admin has written them, the least with four digits at most."""
    policy = CullingPolicy(min_idle_timeout=100.0, max_idle_timeout=7230.0)

    with pytest.raises(SettingError, match=r"^x = 0 .* it must be a number of minutes from 1\.667 to 120\.5$"):
        policy.user_minutes("x", 0)
