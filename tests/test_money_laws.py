"""What must hold of the sums for any log: bounds, and that less of a log, or more claims in it, gives no more."""

from __future__ import annotations

import json
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from culling_manager.money.days import DAY_SECONDS, Log, Window, as_json, from_text, together
from culling_manager.money.document import document
from culling_manager.money.report import Asked
from culling_manager.money.runs import Event, Run
from culling_manager.money.stops import find_stops
from tests.money_log import DAY, at, beat, hours, line, report
from tests.test_money_stops import made

#: When the report ends (hours after the first midnight).
END = 150.0


def event_of(found: dict) -> Event:
    """A log event as it is read."""
    return Event(found["logStreamName"], found["timestamp"] / 1000, found["message"])


@st.composite
def life(draw, owner: str) -> list[dict]:
    """What one owner's app writes: runs one after another, each with its heartbeats, each but the last ended by us."""
    stream = f"d-1/{owner}/JupyterLab/default"
    found, now = [], draw(st.floats(0, 20))
    for number in range(draw(st.integers(1, 4))):
        run, length = f"{owner}{number}", draw(st.floats(2.1, 12))
        if draw(st.booleans()):
            found.append(line("started", at(now), run, stream))
        for hour in range(1, int(length) + 1):
            gaps = draw(st.lists(st.floats(300, 3600), max_size=2))
            found.append(beat(at(now + hour), run, stream, gaps=gaps, last_use=at(now + hour / 2)))
        now += length
        for event in draw(st.sampled_from([("deleting", "accepted"), ("accepted",), ("deleting",)])):
            found.append(line(event, at(now), run, stream))
        now += draw(st.floats(0.1, 40))
    return found


honest = st.tuples(life("alice"), life("bob")).map(lambda both: [*both[0], *both[1]])


@given(made, st.floats(0, 100), st.floats(1, 210))
@settings(max_examples=40, deadline=None)
def test_each_stop_lies_within_its_bounds(events, begin, more):
    """0 <= at least <= at most <= T - d, for each stop of any log, whatever it claims."""
    window = Window(begin=at(begin).timestamp(), end=at(begin + more).timestamp())
    log = Log(window)
    for each in events:
        log.add(event_of(each))

    for stop in find_stops(log.runs(), window.end):
        least, most = stop.bounds(window)
        assert 0 <= least <= most <= max(0.0, window.end - max(stop.at, window.begin))


@given(honest, st.floats(0, END))
@settings(max_examples=25, deadline=None)
def test_a_log_that_is_cut_short_never_tells_more(events, cut):
    """Whoever came back after the cut is not seen, so nothing is counted from there on."""
    whole = report(events, end=at(END), by=frozenset({"type", "reason"}))
    part = report(
        [each for each in events if each["timestamp"] <= at(cut).timestamp() * 1000],
        end=at(END),
        until=at(cut),
        by=frozenset({"type", "reason"}),
    )

    assert part["stops"] <= whole["stops"]
    assert all(less <= more + 1e-4 for less, more in zip(hours(part), hours(whole), strict=True))
    assert sum(part["wasted"].values()) <= sum(whole["wasted"].values()) + 1e-3


@given(honest, st.data())
@settings(max_examples=25, deadline=None)
def test_a_stop_that_nobody_has_written_of_is_none(events, data):
    """Without some of the lines that tell of stops there is not more of it."""
    ends = [place for place, each in enumerate(events) if '"deleting"' in each["message"] or '"acc' in each["message"]]
    lost = data.draw(st.sets(st.sampled_from(ends)))

    found = report([each for place, each in enumerate(events) if place not in lost], end=at(END))

    whole = report(events, end=at(END))
    assert found["stops"] <= whole["stops"]
    assert all(less <= more + 1e-4 for less, more in zip(hours(found), hours(whole), strict=True))


#: What may be forged into an app's own log while it runs: every event, any claim, at any time that it runs.
claims = st.tuples(
    st.sampled_from(["started", "deleting", "accepted", "refused", "beat"]),
    st.sampled_from(["alice", "bob"]),
    st.floats(0, 1),
    st.sampled_from(["alice0", "alice1", "bob0", "x", "y", "z"]),
    st.sampled_from([0.0, 600.0, 3600.0, 1e5, 3e8]),
    st.sampled_from([-3.0, 0.0, 0.0, 3.0]),
)


def running(events: list[dict], owner: str) -> list[tuple[float, float]]:
    """From when to when the owner's app was there (seconds), by the honest lines."""
    log = Log(Window(begin=0, end=2**40))
    for each in events:
        log.add(event_of(each))
    found: dict[str, list[Run]] = {}
    for app, _, run in log.runs():
        found.setdefault(app.owner, []).append(run)
    return [(run.first, run.end) for run in found.get(owner, []) if run.end - run.first > 2]


@given(honest, st.lists(claims, min_size=1, max_size=4))
@settings(max_examples=40, deadline=None)
def test_what_an_app_forges_while_it_runs_inflates_nothing(events, forged):
    """Stops, starts and heartbeats of any run, with any claim of idle time, clock or span."""
    whole, more = report(events, end=at(END)), []
    for event, owner, when, run, claim, clock in forged:
        for first, end in running(events, owner)[:2]:
            logged = DAY + timedelta(seconds=first + 1 + when * (end - first - 2) - DAY.timestamp())
            stream = f"d-1/{owner}/JupyterLab/default"
            if event == "beat":
                more.append(beat(logged, run, stream, span=claim, gaps=[], last_use=logged - timedelta(seconds=60)))
            else:
                told = {} if event == "started" else {"idle_seconds": claim}
                more.append(line(event, logged + timedelta(hours=clock), run, stream, logged, **told))

    found = report([*events, *more], end=at(END))

    assert all(mine <= true + 1e-4 for mine, true in zip(hours(found), hours(whole), strict=True))


@given(st.lists(st.floats(300, 3e8), max_size=60), st.integers(1, 4))
@settings(max_examples=25, deadline=None)
def test_no_app_was_idle_for_more_than_24_hours_a_day(gaps, days):
    """Whatever gaps a forged heartbeat tells of, and since when it claims to have been idle."""
    events = [beat(at(12, day), gaps=gaps[day::days], last_use=at(-1e5)) for day in range(days)]

    found = report(events, begin=DAY, end=at(0, days))

    for rows in found["curve"].values():
        told = rows[0]["given_back_hours"] + rows[0]["idle_hours"]
        assert told <= (days + days + 7) * DAY_SECONDS / 3600 + 1e-3


@given(made, st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_stored_days_say_what_the_log_says_whatever_it_claims(events, chance):
    """Cut into days, written, read and put together in any order, it is the same log."""
    window = Window(begin=at(0).timestamp(), end=at(END).timestamp())
    log, whole = Log(window), Log(window)
    for each in events:
        log.add(event_of(each))
        whole.add(event_of(each))
    texts = [json.dumps(as_json(day, DAY.date())) for day in log.days.values()]
    chance.shuffle(texts)

    stored = together(from_text(text, "a day") for text in texts)

    asked = Asked(window=window, until=at(END + 24).timestamp())
    assert document(stored, asked) == document(whole.runs(), asked)
