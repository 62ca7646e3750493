"""Given back: at least and at most, by known answers, and never more for anything that a log claims."""

from __future__ import annotations

import itertools
import random
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.money_log import DAY, STREAM, at, beat, hours, line, report

#: Stopped at six, back at nine the next morning.
NIGHT = [line("started", at(9)), line("deleting", at(18)), line("accepted", at(18)), line("started", at(33), run="r2")]


def test_a_night_gives_back_what_lies_between():
    """At most until the next start; at least ten minutes less."""
    found = report(NIGHT)

    assert hours(found) == (14.8333, 15.0)
    assert (found["stops"], found["false_stops"], found["still_away"]) == (1, 0, 0)
    assert found["given_back"]["cost"] is None


def test_a_weekend_gives_back_a_day_at_least():
    """Without a native idle timeout the lower bound ends after 24 hours."""
    found = report([line("accepted", at(18)), line("started", at(9, day=3), run="r2")])

    assert hours(found) == (round(24 - 1 / 6, 4), 63.0)


def test_a_native_idle_timeout_ends_the_lower_bound():
    """Then the domain's own idle shutdown would have stopped it: four hours after the last use, two of them idle."""
    found = report(NIGHT, native={("d-1", "jupyterlab"): 4 * 3600.0})

    assert hours(found) == (round(2 - 1 / 6, 4), 15.0)


def test_who_is_still_away_is_counted_up_to_the_end():
    """Nothing is extrapolated: the report's end is the end."""
    found = report([line("accepted", at(18))], end=at(20))

    assert hours(found) == (round(2 - 1 / 6, 4), 2.0)
    assert found["still_away"] == 1


def test_what_lies_before_and_after_a_window_adds_up():
    """Instants are clipped, so two halves are the whole."""
    both = report(NIGHT, DAY, at(48))
    halves = [report(NIGHT, DAY, at(24)), report(NIGHT, at(24), at(48))]

    assert [hours(each)[1] for each in halves] == [6.0, 9.0]
    assert [sum(each) for each in zip(*(hours(half) for half in halves), strict=True)] == pytest.approx(hours(both))
    assert sum(each["stops"] for each in halves) == both["stops"] == 1


@pytest.mark.parametrize(
    "events",
    [
        [line("accepted", at(18), dry_run=True)],
        [line("deleting", at(18)), line("refused", at(18.01))],
        [line("accepted", at(18)), beat(at(18.5))],
        [line("accepted", at(18)), line("started", at(18.2))],
        [line("started", at(9)), line("started", at(33), run="r2")],
        [line("accepted", at(18), run="forged"), beat(at(17)), beat(at(19))],
        [line("deleting", at(18)), beat(at(18.9))],
    ],
    ids=["dry run", "refused", "goes on", "same run again", "by others", "another run there", "deleting failed"],
)
def test_what_was_not_stopped_by_us_gives_nothing(events):
    """Zero for dry runs, failures, stops by others, and where the same app is seen before and after."""
    found = report(events)

    assert (found["stops"], hours(found)) == (0, (0.0, 0.0))


def test_a_dying_app_may_lose_its_last_line():
    """A deletion without an answer counts once there was silence for more than 65 minutes."""
    events = [line("started", at(9)), line("deleting", at(18))]

    assert report(events, end=at(19))["stops"] == 0
    assert hours(report(events, end=at(20))) == (round(2 - 1 / 6, 4), 2.0)


def test_a_restart_of_the_server_in_another_app_is_no_return():
    """A run that was there before says started again: the same container."""
    other = "d-1/alice/CodeEditor/default"
    mine = [line("accepted", at(18)), line("started", at(10), "x", other), line("started", at(20), "x", other)]

    assert hours(report(mine, end=at(23)))[1] == 5.0


def test_a_start_of_another_app_of_the_owner_is_a_return():
    """Whoever starts another app would have used this one."""
    mine = [line("accepted", at(18)), line("started", at(18.4), "x", "d-1/ALICE/CodeEditor/default")]
    found = report(mine)

    assert hours(found) == (round(0.4 - 1 / 6, 4), 0.4)
    assert found["false_stops"] == 1


def test_spaces_of_one_owner_belong_together():
    """Where ListSpaces tells whose a space is, a start in any of them is a return."""
    events = [line("accepted", at(18), stream="d-1/lab/JupyterLab/default")]
    events += [line("started", at(19), "x", "d-1/other/JupyterLab/default")]
    owners = {("d-1", "lab"): "alice", ("d-1", "other"): "alice"}

    found = report(events, end=at(23), owners=owners, by=frozenset({"owner"}))

    assert hours(found)[1] == 1.0
    assert list(found["by_owner"]) == ["alice"]


def test_a_heartbeat_alone_shows_a_return():
    """A started line may be lost; a heartbeat's span says since when it ran."""
    found = report([line("accepted", at(18)), beat(at(20), run="r2", span=1800.0)])

    assert hours(found)[1] == 1.5


def test_an_old_heartbeat_without_a_run_is_a_return_too():
    """Versions before this one tell no run; whoever writes is there."""
    found = report([line("accepted", at(18)), beat(at(33), run=None)])

    assert hours(found)[1] == 15.0


def worse(events, **how):
    """No number of the report on these is larger than that on the honest log."""
    honest, found = report(NIGHT, **how), report(events, **how)
    assert all(mine <= true + 1e-9 for mine, true in zip(hours(found), hours(honest), strict=True))
    return found


def test_order_and_doubles_make_no_difference():
    """The same log twice, shuffled, is the same report to the last figure."""
    log = [*NIGHT, beat(at(10), gaps=[600.0]), beat(at(11)), beat(at(34), run="r2")]
    twice = log * 2
    random.Random(7).shuffle(twice)

    assert report(twice) == report(log)


def test_owners_in_mixed_case_are_one():
    """Log streams write names either way."""
    mixed = [dict(each, logStreamName=each["logStreamName"].replace("alice", "Alice")) for each in NIGHT[2:]]

    assert report([*NIGHT[:2], *mixed]) == report(NIGHT)


@pytest.mark.parametrize("end", [at(20), at(48)])
def test_a_clock_an_hour_ahead_gives_less(end):
    """The lines of one stream are an hour ahead of the log's own times."""
    ahead = [line("started", at(10), logged=at(9)), line("accepted", at(19), logged=at(18)), NIGHT[-1]]

    worse(ahead, end=end)
    back = line("started", at(34), run="r2", logged=at(33))
    worse([*NIGHT[:3], back], end=end)


FORGED = [
    [line("accepted", at(12), run="x")],
    [line("accepted", at(12))],
    [line("accepted", at(20), run="x", instance_type="ml.p5.48xlarge")],
    [line("accepted", at(9), run="x", logged=at(17))],
    [line("accepted", at(18), idle_seconds=86_400.0 * 300)],
    [line("started", at(19), run="y")],
    [line("accepted", at(18), app="another"), line("accepted", at(18), app="a third")],
    [line("accepted", at(18), app_type="KernelGateway", app="big")],
]


@pytest.mark.parametrize("forged", FORGED)
def test_a_forged_line_inflates_nothing(forged):
    """Whoever can print into a log while the app runs gains nothing by it."""
    worse([*NIGHT, beat(at(10)), beat(at(17.5)), *forged])


@pytest.mark.parametrize("ends", [(20,), (20, 30, 44, 68), (42, 43)])
@pytest.mark.parametrize("idle", [0.0, 7200.0])
def test_ends_of_runs_that_nobody_saw_begin_inflate_nothing(ends, idle):
    """A weekend away is bounded by one day at least, however many ends are made up within it."""
    weekend = [line("started", at(9)), line("accepted", at(18)), line("started", at(9, day=3), run="r2")]
    honest = report(weekend)

    made_up = [line("accepted", at(each), run=f"x{each}", idle_seconds=idle) for each in ends]
    found = report(weekend + made_up)

    assert all(mine <= true for mine, true in zip(hours(found), hours(honest), strict=True))


def test_a_line_that_is_not_as_we_write_it_is_none():
    """Nonsense behind the marker is no event."""
    marker = "culling_manager app:"
    odd = ["", "{", "[]", "{}", '{"event": "accepted"}', '{"event": 1, "at": NaN}', "[" * 3000, '{"at": 1e999}']

    found = worse([*NIGHT, *({**NIGHT[2], "message": f"{marker} {each}"} for each in odd)])

    assert found == report(NIGHT)


times = st.floats(0, 200, allow_nan=False)
names = st.sampled_from(["alice", "Alice", "bob"])
made = st.lists(
    st.one_of(
        st.builds(
            lambda event, when, run, owner, off, idle, kind: line(
                event,
                at(when),
                run=run,
                stream=f"d-1/{owner}/JupyterLab/default",
                logged=at(when + off),
                idle_seconds=idle,
                instance_type=kind,
            ),
            st.sampled_from(["started", "deleting", "accepted", "refused"]),
            times,
            st.sampled_from(["r1", "r2", "r3"]),
            names,
            st.sampled_from([0.0, 0.0, 1.0, -1.0]),
            st.floats(0, 1e5),
            st.sampled_from([None, "ml.t3.medium", "ml.g5.xlarge"]),
        ),
        st.builds(
            lambda when, run, owner: beat(at(when), run=run, stream=f"d-1/{owner}/JupyterLab/default"),
            times,
            st.sampled_from([None, "r1", "r2"]),
            names,
        ),
    ),
    max_size=25,
)


@given(made, st.floats(1, 210), st.randoms(use_true_random=False))
@settings(max_examples=200, deadline=None)
def test_bounds_always_hold(events, end, chance):
    """0 <= at least <= at most, and no app has more than there was time; order and doubles make no difference."""
    found = report(events, end=at(end), by=frozenset({"owner", "day"}))
    low, high = hours(found)
    shuffled = events + chance.sample(events, len(events) // 2)
    chance.shuffle(shuffled)

    assert 0 <= low <= high
    assert high <= 2 * end + 1e-3  # two owners with an app each
    for each in found["by_owner"].values():
        assert each["given_back"]["hours"]["at_most"] <= end + 1e-3
    for each in found["by_day"].values():
        assert each["given_back"]["hours"]["at_most"] <= 48 + 1e-3
    assert report(shuffled, end=at(end), by=frozenset({"owner", "day"})) == found


@given(made, st.floats(1, 100), st.floats(1, 100))
@settings(max_examples=100, deadline=None)
def test_parts_of_a_window_add_up(events, first, more):
    """However a window is cut, its parts are the whole of it: nothing counts twice, and nothing is lost."""
    ends = [DAY, at(first), at(first + more)]
    until = {"end": ends[2]}
    whole = report(events, ends[0], **until)
    parts = [report(events, begin, end) for begin, end in itertools.pairwise(ends)]

    assert sum(each["stops"] for each in parts) <= whole["stops"]
    assert sum(hours(each)[1] for each in parts) <= hours(whole)[1] + 1e-3
    if not any("deleting" in each["message"] for each in events):
        assert sum(hours(each)[1] for each in parts) == pytest.approx(hours(whole)[1], abs=1e-3)


def test_the_stream_of_a_user_profile_speaks_for_its_kernel_apps_only():
    """On Studio Classic the lines about KernelGateway apps are in the JupyterServer's stream."""
    classic = "d-1/alice/JupyterServer/default"
    gateway = {"app_type": "KernelGateway", "app": "datascience-ml-t3", "stream": classic}
    found = report([line("accepted", at(18), **gateway), line("started", at(19), "r2", **gateway)])

    assert hours(found)[1] == 1.0
    assert STREAM not in str(found)


def test_a_stop_before_the_window_counts_what_is_left_of_it():
    """It is no stop of this window, and still away."""
    found = report([line("accepted", at(18))], begin=at(24), end=at(30))

    assert (found["stops"], found["still_away"]) == (0, 1)
    assert hours(found) == (6.0, 6.0)


def test_the_next_month_is_not_needed_to_know_this_one():
    """A return after the window changes nothing but who is still away."""
    early = report(NIGHT, end=at(20))

    assert hours(early)[1] == 2.0
    assert early["still_away"] == 1
    assert early["window"]["to"].startswith("2026-06-02T20:00:00")
    assert timedelta(hours=2) == at(20) - at(18)


def test_a_heartbeat_that_claims_to_be_old_hides_no_return():
    """What wrote its first line after a stop began after it, but for the hour that a heartbeat may take."""
    other = "d-1/alice/CodeEditor/default"
    events = [line("accepted", at(18)), line("started", at(20), "x", other)]
    claims = beat(at(20.5), "x", other, span=36_000.0)
    idle = line("refused", at(20.5), "x", other, idle_seconds=1e6)

    assert hours(report(events))[1] == 2.0
    worse_than = report(events)
    for forged in (claims, idle):
        assert hours(report([*events, forged])) <= hours(worse_than)


def test_a_leap_second_is_the_one_before_it():
    """Nobody's start is lost for a minute of 61 seconds."""
    leap = line("started", at(24) - timedelta(seconds=1), "r2")
    leap["message"] = leap["message"].replace(":59.000000Z", ":60.000000Z")

    found = report([line("accepted", at(18)), leap])

    assert ":60.000000Z" in leap["message"]
    assert hours(found)[1] == pytest.approx(6.0, abs=0.001)


def test_what_one_app_writes_into_two_streams_counts_once():
    """A container may have streams besides its app's."""
    told = beat(at(10), gaps=[600.0], seconds={"active": 3600.0})
    again = {**told, "logStreamName": f"{STREAM}/again"}

    assert report([*NIGHT, told, again]) == report([*NIGHT, told])


def test_summer_time_changes_nothing():
    """Times have their zone, and days are those of UTC."""
    before = line("accepted", at(18))
    after = line("started", at(33), "r2")
    for each, zone in ((before, "+02:00"), (after, "+01:00")):
        offset = timedelta(hours=int(zone[1:3]))
        text = each["message"].partition('"at": "')[2].partition('"')[0]
        moved = (DAY.fromisoformat(text.replace("Z", "+00:00")) + offset).isoformat()
        each["message"] = each["message"].replace(text, moved.replace("+00:00", zone))

    assert report([NIGHT[0], NIGHT[1], before, after]) == report(NIGHT)


def test_an_app_of_the_same_name_is_another_run():
    """Stopped and started again and again, each stop counts until the next start."""
    events = [line("started", at(0), "r0")]
    for number in range(4):
        events += [
            line("accepted", at(3 + 5 * number), f"r{number}"),
            line("started", at(5 + 5 * number), f"r{number + 1}"),
        ]

    found = report(events)

    assert (found["stops"], hours(found)) == (4, (round(4 * (2 - 1 / 6), 4), 8.0))


@pytest.mark.parametrize("owner", ["zoë", "李雷", "o'neill", "a b", "\u202eevil", "</script>", "=cmd|' /C calc'!A0"])
def test_an_owner_may_be_called_anything(owner):
    """Names are only compared."""
    events = [{**each, "logStreamName": f"d-1/{owner}/JupyterLab/default"} for each in NIGHT]

    found = report(events, by=frozenset({"owner"}))

    assert list(found["by_owner"]) == [owner.lower().partition("/")[0]]


@pytest.mark.parametrize("end", [at(20), at(33.5), at(48)])
def test_a_stream_that_is_an_hour_ahead_in_all_of_it_gives_no_more(end):
    """Its lines and the times at which the log has them."""
    ahead = [line(event, at(hour + 1), run) for event, hour, run in (("started", 9, "r1"), ("accepted", 18, "r1"))]

    worse([*ahead, line("started", at(34), "r2")], end=end)


def test_a_return_that_the_log_received_before_its_clock_is_counted_from_then():
    """Another stream of the owner is an hour ahead; when the log received it is not."""
    back = {**line("started", at(21), "x", "d-1/alice/CodeEditor/default"), "ingestionTime": at(20).timestamp() * 1000}

    assert hours(report([line("accepted", at(18)), back]))[1] == 2.0
