"""The policy refuses nonsense when it is built, and says what, the value seen and what is accepted."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from culling_manager.errors import SettingError
from culling_manager.policy import LONGEST_MINUTES, CullingPolicy, minutes, plain

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
