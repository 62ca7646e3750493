"""The curve of timeouts: known answers, and what must hold for any gaps."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from culling_manager.money.curve import Gap, break_even, cheapest, curve, point
from culling_manager.money.prices import Prices
from tests.money_log import at, beat, line, report

GAPS = [*(Gap(each * 60) for each in (10, 20, 40, 90, 100, 180, 900)), Gap(600 * 60, ended=False)]
KNOWN = {
    30: (28.8333, 3.5, 6, 5, 1, 14.94),
    60: (26.1667, 6.1667, 5, 4, 1, 16.70),
    120: (22.0, 10.3333, 3, 2, 0, 18.57),
    240: (17.0, 15.3333, 2, 1, 0, 23.62),
}


@pytest.mark.parametrize("minutes", KNOWN)
def test_the_known_answers(minutes):
    """Hours given back and idle, stops, returns, false stops, and the cost at 1.41 an hour and 2 a restart."""
    row = point(GAPS, minutes * 60, 30 * 60, price=1.41, restart_cost=2).as_json()

    *figures, cost = KNOWN[minutes]
    names = ("given_back_hours", "idle_hours", "stops", "returns", "false_stops")
    assert [row[name] for name in names] == figures
    assert row["cost"] == pytest.approx(cost, abs=0.0051)


@pytest.mark.parametrize("minutes", KNOWN)
def test_a_log_gives_the_same_answers(minutes):
    """Gaps out of heartbeats, and one that was open when the log ends."""
    ended = [gap.seconds for gap in GAPS if gap.ended]
    events = [line("started", at(9)), beat(at(10), gaps=ended[:4]), beat(at(11), gaps=ended[4:])]
    events.append(beat(at(22), gaps=[], last_use=at(12)))
    prices = Prices(currency="USD", rates={"Studio:JupyterLab": {"ml.g5.xlarge": 1.41}})

    found = report(events, prices=prices, restart_cost=2.0)

    row = next(row for row in found["curve"]["ml.g5.xlarge"] if row["timeout_minutes"] == minutes)
    assert (*(list(row.values())[1:6]), round(row["cost"], 2)) == pytest.approx(KNOWN[minutes], abs=0.0051)
    assert found["advice"]["ml.g5.xlarge"].startswith("ml.g5.xlarge: 1 h 25 min, ")
    assert round(found["timeouts"]["ml.g5.xlarge"], 1) == 85.1


def test_a_gap_of_exactly_the_timeout_is_no_stop():
    """A deadline has to have passed; coming back exactly `soon` after it is soon."""
    row = point([Gap(60), Gap(90)], 60, 30)

    assert (row.stops, row.returns, row.false_stops) == (1, 1, 1)


gaps = st.lists(st.builds(Gap, st.floats(0, 1e6), st.booleans()), max_size=30)


@given(gaps, st.floats(0, 1e5), st.floats(0, 1e5))
def test_what_is_given_back_and_what_is_idle_add_up_to_the_same(found, one, other):
    """A longer timeout never gives back more, and never stops more."""
    short, long = (point(found, each, 1800) for each in sorted([one, other]))

    assert short.given_back + short.idle == pytest.approx(long.given_back + long.idle)
    assert short.given_back >= long.given_back
    assert short.stops >= long.stops
    assert short.false_stops <= short.returns <= short.stops


@given(gaps, st.floats(0.01, 100), st.floats(0.01, 100))
def test_the_break_even_costs_at_most_twice_of_hindsight(found, price, restart):
    """Ski rental: whatever comes, waiting until it has cost a restart is never worse than twice the best."""
    wait = break_even(price, restart)
    ended = [Gap(each.seconds) for each in found]
    best = sum(min(price * each.seconds / 3600, restart) for each in ended)

    assert point(ended, wait, 0, price, restart).cost <= 2 * best * (1 + 1e-9) + 1e-9


def test_of_equal_costs_the_longest_timeout_is_the_cheapest():
    """Where money does not decide, nobody is disturbed."""
    points = curve([Gap(60)], [120, 240], price=1.0)

    assert cheapest(points).timeout == 240
    assert cheapest(curve([Gap(60)], [120])) is None
    assert break_even(None, 2) is None


@pytest.mark.parametrize(
    ("end", "apps"), [(19.6, 1), (22.1, 0), (17.45, 0)], ids=["idle", "stopped by then", "not idle yet"]
)
def test_who_was_idle_at_the_end_is_counted_once_and_priced(end, apps):
    """By a heartbeat from about then; what was stopped by then is not there any more."""
    events = [line("started", at(9)), beat(at(18), last_use=at(17.4)), beat(at(20), last_use=at(17.4))]
    events += [line("accepted", at(22)), line("started", at(33), run="r2")]
    prices = Prices(currency="USD", rates={"Studio:JupyterLab": {"ml.g5.xlarge": 1.41}})

    found = report(events, end=at(end), prices=prices)["idle_now"]

    assert found == {"apps": apps, "priced": apps, "cost_per_hour": 1.41 * apps}


def test_an_app_that_began_anew_is_idle_once_or_not_at_all():
    """What it was before is gone, though its last heartbeat is young; an app is one app, whatever claims to be it."""
    old = beat(at(18), last_use=at(17))
    anew = [line("started", at(18.5), "r2"), beat(at(19.4), "r2", last_use=at(18.6))]
    used = [line("started", at(18.5), "r2"), beat(at(19.4), "r2", last_use=at(19.4))]

    assert report([old, *anew], end=at(19.6))["idle_now"]["apps"] == 1
    assert report([old, *used], end=at(19.45))["idle_now"]["apps"] == 0
