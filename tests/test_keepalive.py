"""Keep-alives: durations, clock times in every time zone, and who keeps what until when. No server, no clock."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from culling_manager.engine.requests import KeepAlive, KeepAlives, end_of, instant_of, seconds_of
from culling_manager.errors import SettingError
from culling_manager.policy import LONGEST_SECONDS
from culling_manager.records import KernelRecord, Kind
from tests.doubles import NOON

BERLIN, NEW_YORK = ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York")


def at(text: str) -> datetime:
    """An instant, from ISO 8601 with an offset."""
    return datetime.fromisoformat(text).astimezone(timezone.utc)


# -- durations ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("4h", 14_400),
        ("90m", 5400),
        ("90min", 5400),
        ("1h30m", 5400),
        (" 1 h 30 min ", 5400),
        ("1H30M", 5400),
        ("2d", 172_800),
        ("1.5h", 5400),
        ("45s", 45),
        ("1.5s", 1.5),
        ("240", 14_400),
        (240, 14_400),
        (0.5, 30),
        ("1h1h", 7200),
    ],
)
def test_a_duration_is_read_as_people_write_it(value, seconds):
    """Parts with units add up; a bare number is minutes."""
    assert seconds_of(value) == seconds


NO_DURATIONS = [
    *(0, -1, 0.0, float("nan"), float("inf"), 10**400, -(10**400), 1e308, 60 * 24 * 365 * 101),
    *("", " ", "0", "0h", "0h0m", "-4h", "soon", "4 weeks", "4h and", "h", "h4", "1e3h", "4h,30m", "4h30"),
    *("9999999999h", "999999999d", "٤h", "４h", "1h\x00", "nan", "inf", "0x10", "1_0", "9" * 60_000, "1 " * 30_000),
    *(True, False, None, [], ["4h"], {}, {"hours": 4}, b"4h"),
]


@pytest.mark.parametrize("value", NO_DURATIONS, ids=lambda each: repr(each)[:20])
def test_what_is_no_duration_is_refused_by_name(value):
    """Whatever its type, and however long: name, value and what is accepted, never another error."""
    with pytest.raises(SettingError) as caught:
        seconds_of(value)

    assert caught.value.name == "duration"
    assert "'4h', '90m' or '1h30m'" in str(caught.value)
    assert len(str(caught.value)) < 300


@given(days=st.integers(0, 99), hours=st.integers(0, 99), minutes=st.integers(0, 99), seconds=st.integers(0, 99))
def test_the_parts_of_a_duration_add_up(days, hours, minutes, seconds):
    """However they are mixed; all zero is none."""
    total = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds).total_seconds()
    text = f"{seconds}s{days}d {minutes}m{hours}h"

    if total:
        assert seconds_of(text) == total
    else:
        with pytest.raises(SettingError):
            seconds_of(text)


@given(st.text() | st.integers() | st.floats() | st.booleans() | st.none() | st.lists(st.text()))
def test_nothing_but_a_setting_error_comes_of_a_bad_value(value):
    """No input is a crash, and what is accepted is a positive number of seconds within a hundred years."""
    for read in (seconds_of, lambda each: (instant_of(each, NOON) - NOON).total_seconds()):
        try:
            found = read(value)
        except SettingError:
            continue
        assert found > 0
        assert read is not seconds_of or found <= LONGEST_SECONDS


# -- until a time ------------------------------------------------------------------------------------


UTC = timezone.utc
#: Zone, now, what is asked for, the instant. In Berlin clocks show 03:00 at 02:00 on March 29, 02:00 again at 03:00 on
#: October 25; in New York 01:00 again at 02:00 on November 1.
CLOCK_TIMES = {
    "today": (UTC, "2026-06-01T12:00:00+00:00", "18:30", "2026-06-01T18:30:00+00:00"),
    "tomorrow": (UTC, "2026-06-01T12:00:00+00:00", "9:05", "2026-06-02T09:05:00+00:00"),
    "just now": (UTC, "2026-06-01T12:00:00+00:00", "12:00", "2026-06-02T12:00:00+00:00"),
    "in half a minute": (UTC, "2026-06-01T12:00:30.500+00:00", "12:01", "2026-06-01T12:01:00+00:00"),
    "new year": (UTC, "2026-12-31T23:59:00+00:00", "00:00", "2027-01-01T00:00:00+00:00"),
    "leap day": (UTC, "2028-02-28T23:00:00+00:00", "01:00", "2028-02-29T01:00:00+00:00"),
    "past midnight there": (BERLIN, "2026-06-01T22:30:00+00:00", "01:00", "2026-06-02T01:00:00+02:00"),
    "before midnight there": (BERLIN, "2026-06-01T21:30:00+00:00", "01:00", "2026-06-02T01:00:00+02:00"),
    "over a short night": (BERLIN, "2026-03-28T23:30:00+01:00", "08:00", "2026-03-29T08:00:00+02:00"),
    "over a long night": (BERLIN, "2026-10-24T23:30:00+02:00", "08:00", "2026-10-25T08:00:00+01:00"),
    "a time that is skipped": (BERLIN, "2026-03-29T00:30:00+01:00", "02:30", "2026-03-29T03:30:00+02:00"),
    "a time that comes twice": (BERLIN, "2026-10-25T00:30:00+02:00", "02:30", "2026-10-25T02:30:00+02:00"),
    "between the two": (BERLIN, "2026-10-25T02:45:00+02:00", "02:30", "2026-10-25T02:30:00+01:00"),
    "shortly before the second": (BERLIN, "2026-10-25T02:15:00+01:00", "02:30", "2026-10-25T02:30:00+01:00"),
    "after both": (BERLIN, "2026-10-25T02:45:00+01:00", "02:30", "2026-10-26T02:30:00+01:00"),
    "New York, first": (NEW_YORK, "2026-11-01T00:30:00-04:00", "01:30", "2026-11-01T01:30:00-04:00"),
    "New York, second": (NEW_YORK, "2026-11-01T01:59:59-04:00", "01:30", "2026-11-01T01:30:00-05:00"),
    "half an hour off": (ZoneInfo("Asia/Kolkata"), "2026-06-01T12:00:00+05:30", "12:15", "2026-06-01T12:15:00+05:30"),
}


@pytest.mark.parametrize(("zone", "now", "asked", "expected"), CLOCK_TIMES.values(), ids=CLOCK_TIMES.keys())
def test_a_clock_time_is_the_next_one_that_the_local_clock_shows(zone, now, asked, expected):
    """Across midnight, and across the nights in which the clocks are changed."""
    assert instant_of(asked, at(now), zone) == at(expected)


def test_without_a_zone_it_is_the_clock_of_the_machine(monkeypatch):
    """Also when the machine's offset is another one at that time than now."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        found = instant_of("08:00", at("2026-03-28T23:30:00+01:00"))
        twice = instant_of("02:30", at("2026-10-25T02:45:00+02:00"))
    finally:
        monkeypatch.undo()
        time.tzset()

    assert found == at("2026-03-29T08:00:00+02:00")
    assert twice == at("2026-10-25T02:30:00+01:00")


@given(
    now=st.datetimes(datetime(2000, 1, 1), datetime(2090, 1, 1), timezones=st.just(timezone.utc)),
    clock=st.times(),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"]),
)
def test_a_clock_time_is_never_past_and_at_most_a_day_and_an_hour_away(now, clock, zone):
    """In every zone, on every day; and the clock there shows it, unless that night has no such time."""
    found = instant_of(f"{clock:%H:%M}", now, ZoneInfo(zone))

    assert now < found <= now + timedelta(hours=25)
    shown = found.astimezone(ZoneInfo(zone))
    skipped = shown.replace(tzinfo=None) - datetime.combine(shown.date(), clock.replace(second=0, microsecond=0))
    assert skipped in (timedelta(0), timedelta(minutes=30), timedelta(hours=1))


@pytest.mark.parametrize(
    "text",
    ["2026-06-01T14:30:00+02:00", "2026-06-01T12:30:00Z", " 2026-06-01T12:30:00.000000Z ", "2026-06-01 12:30+00:00"],
)
def test_an_iso_time_counts_with_its_offset(text):
    """Whatever zone it is in, it is half an hour from now."""
    found = instant_of(text, NOON)

    assert found == NOON + timedelta(minutes=30)
    assert found.tzinfo is timezone.utc


@pytest.mark.parametrize(
    "value",
    [
        *("", "soon", "24:00", "12:60", "1230", "12:30:00", "-1:30", "１８:30", "18:30\x00", "x" * 60_000),
        *("2026-06-02", "2026-06-01T18:30:00", "2026-06-01T12:00:00Z", "2026-06-01T11:59:59Z", "2026-13-01T00:00:00Z"),
        *("9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59", "2026-06-01T18:30:00+24:00"),
        *(0, 1830, 18.5, float("nan"), True, None, [], ["18:30"], {}),
    ],
    ids=lambda each: repr(each)[:30],
)  # fmt: skip
def test_what_is_no_time_to_come_is_refused_by_name(value):
    """Past, without a time zone, outside the calendar, or no time at all."""
    with pytest.raises(SettingError) as caught:
        instant_of(value, NOON)

    assert caught.value.name == "until"
    assert "'18:30'" in str(caught.value)


# -- either, and within the admin's bound ----------------------------------------------------------------


def test_it_ends_after_a_duration_or_at_a_time():
    """One of the two."""
    assert end_of("90m", None, NOON, 0) == NOON + timedelta(minutes=90)
    assert end_of(None, "2026-06-01T13:30:00Z", NOON, 0) == NOON + timedelta(minutes=90)


@pytest.mark.parametrize(
    ("duration", "until", "named", "words"),
    [
        (None, None, "duration", "must be given, or else 'until'"),
        ("4h", "18:30", "until", "must be absent when 'duration' is given"),
    ],
    ids=["neither", "both"],
)
def test_neither_and_both_are_refused(duration, until, named, words):
    """Nobody has to guess which one counts."""
    with pytest.raises(SettingError, match=words) as caught:
        end_of(duration, until, NOON, 0)

    assert caught.value.name == named


@pytest.mark.parametrize(
    ("duration", "until", "named"), [("8h1s", None, "duration"), (None, "2026-06-01T20:00:01Z", "until")]
)
def test_longer_than_the_admin_allows_is_refused_and_just_as_long_is_not(duration, until, named):
    """The words say how long it may be."""
    eight_hours = 8 * 3600.0

    more = r"at most max_keep_alive = 480 minutes \(8 h\); ask again before that ends, or let the admin set it higher"
    with pytest.raises(SettingError, match=more) as caught:
        end_of(duration, until, NOON, eight_hours)

    assert caught.value.name == named
    assert end_of("8h", None, NOON, eight_hours) == NOON + timedelta(hours=8)
    assert end_of(None, "2026-06-01T20:00:00Z", NOON, eight_hours) == NOON + timedelta(hours=8)


def test_without_a_bound_a_hundred_years_are_the_bound():
    """So that no deadline leaves the calendar."""
    with pytest.raises(SettingError):
        end_of(None, "2200-01-01T00:00:00Z", NOON, 0)


# -- all of them -------------------------------------------------------------------------------------


def request(kind: Kind | None = None, identity: str | None = None, hours: float = 1) -> KeepAlive:
    return KeepAlive(kind=kind, identity=identity, until=NOON + timedelta(hours=hours), asked_at=NOON)


def test_what_is_kept_by_two_requests_is_kept_until_the_later_one():
    """One for everything and one for itself; others only by the first."""
    found = KeepAlives()
    assert found.until(Kind.KERNEL, "a") is None

    found.put(request(hours=1))
    found.put(request(Kind.KERNEL, "a", hours=4))
    found.put(request(Kind.KERNEL, "b", hours=0.5))

    hours = [found.until(Kind.KERNEL, each) for each in ("a", "b", "c")]
    assert hours == [NOON + timedelta(hours=4), NOON + timedelta(hours=1), NOON + timedelta(hours=1)]
    assert found.until(Kind.TERMINAL, "a") == NOON + timedelta(hours=1)


def test_a_new_request_replaces_the_old_one_also_by_a_shorter_time():
    """So that a mistyped '40h' can be put right."""
    found = KeepAlives()
    found.put(request(Kind.KERNEL, "a", hours=40))

    found.put(request(Kind.KERNEL, "a", hours=4))

    assert found.current(NOON) == [request(Kind.KERNEL, "a", hours=4)]


def test_one_is_taken_back_once():
    """A second time there is none, and others stay."""
    found = KeepAlives()
    found.put(request())
    found.put(request(Kind.KERNEL, "a"))

    assert found.take_back(Kind.KERNEL, "a") == request(Kind.KERNEL, "a")
    assert found.take_back(Kind.KERNEL, "a") is None
    assert found.take_back(Kind.TERMINAL, "a") is None
    assert found.current(NOON) == [request()]


def test_one_holds_up_to_its_very_end_and_is_forgotten_after_it():
    """Those that hold come in the order in which they end."""
    found = KeepAlives()
    for hours in (3, 1, 2):
        found.put(request(Kind.KERNEL, str(hours), hours=hours))

    at_its_end = found.current(NOON + timedelta(hours=1))
    after = found.current(NOON + timedelta(hours=1, microseconds=1))

    assert [each.identity for each in at_its_end] == ["1", "2", "3"]
    assert [each.identity for each in after] == ["2", "3"]
    assert found.take_back(Kind.KERNEL, "1") is None


def test_whoever_decides_by_them_hears_of_each_that_comes_or_is_ended():
    """Not of one that is taken back because what it was for is gone, nor of one that was not there."""
    found, heard = KeepAlives(), []
    for _ in range(2):
        found.when_changed.append(lambda kind, identity: heard.append((kind, identity)))

    found.put(request())
    found.put(request(Kind.KERNEL, "a"))
    ended = found.end(Kind.KERNEL, "a")
    missing = found.end(Kind.KERNEL, "a")
    found.take_back(None, None)

    assert (ended, missing) == (request(Kind.KERNEL, "a"), None)
    assert heard == [each for each in ((None, None), (Kind.KERNEL, "a"), (Kind.KERNEL, "a")) for _ in range(2)]


def test_when_a_user_last_asked_is_known_for_each_thing_and_for_everything():
    """The later of both; also when that has ended by itself, but not when it was taken back or the thing is gone."""
    found = KeepAlives()
    things = [(Kind.KERNEL, "a"), (Kind.KERNEL, "b"), (Kind.TERMINAL, "a")]

    def asked() -> list[float | None]:
        known = [found.asked_at(*each) for each in things]
        return [None if each is None else (each - NOON).total_seconds() for each in known]

    seen = [asked()]
    found.put(request(Kind.KERNEL, "a")._replace(asked_at=NOON + timedelta(seconds=10)))
    seen.append(asked())
    found.put(request(Kind.KERNEL, "b")._replace(asked_at=NOON + timedelta(seconds=30)))
    found.put(request()._replace(asked_at=NOON + timedelta(seconds=20)))
    seen.append(asked())
    found.current(NOON + timedelta(days=1))
    seen.append(asked())
    found.take_back(Kind.KERNEL, "b")
    seen.append(asked())
    found.end(None, None)
    seen.append(asked())
    found.shift(-5)
    seen.append(asked())
    found.lease(Kind.TERMINAL, "a", NOON + timedelta(seconds=40), NOON + timedelta(days=1), "alice")
    seen.append(asked())

    assert seen == [
        [None, None, None], [10, None, None], [20, 30, 20], [20, 30, 20], [20, 20, 20], [10, None, None],
        [5, None, None], [5, None, 40],
    ]  # fmt: skip


@pytest.mark.parametrize(("own", "asked", "kept"), [(None, 1, 1), (2, 1, 2), (1, 2, 2), (2, None, 2)])
def test_a_record_is_kept_as_long_as_the_longest_of_what_is_asked_for_it_and_what_it_says(own, asked, kept):
    """And says who asked, and when somebody did; where nobody has, that is not known."""
    found = KeepAlives()
    if asked is not None:
        found.put(request(Kind.KERNEL, "a", hours=asked))
    until = None if own is None else NOON + timedelta(hours=own)
    record = KernelRecord(identity="a", state="idle", last_activity=NOON, kept_until=until, asked_at=None)

    noted = found.noted_on(record)

    assert noted.kept_until == NOON + timedelta(hours=kept)
    assert noted.asked_at == (None if asked is None else NOON)
    assert (noted is record) is (asked is None)


def test_what_the_hook_asks_for_is_nobodys_asking():
    """It keeps, and what has an end at work does not last longer by it."""
    found = KeepAlives()

    found.put(request(Kind.KERNEL, "a")._replace(asked_by="pre_cull_hook"))

    assert found.until(Kind.KERNEL, "a") == NOON + timedelta(hours=1)
    assert found.asked_at(Kind.KERNEL, "a") is None


def test_when_the_clock_is_set_back_they_last_as_long_as_before():
    """Both instants of each are moved."""
    found = KeepAlives()
    found.put(request(Kind.KERNEL, "a", hours=2))

    found.shift(-1800.0)

    (moved,) = found.current(NOON)
    assert (moved.until, moved.asked_at) == (NOON + timedelta(hours=1.5), NOON - timedelta(hours=0.5))
    assert found.until(Kind.KERNEL, "a") == moved.until


def test_what_is_kept_by_a_request_of_its_own_is_listed_by_kind():
    """A request for everything is nobody's own."""
    found = KeepAlives()
    for kind, identity in ((None, None), (Kind.KERNEL, "a"), (Kind.TERMINAL, "1"), (Kind.KERNEL, "b")):
        found.put(request(kind, identity))

    assert [found.asked_for(kind) for kind in Kind] == [["a", "b"], ["1"], []]


def test_those_that_end_together_come_by_name_and_the_one_for_everything_first():
    """The list is the same each time."""
    found = KeepAlives()
    for identity in ("b", "a"):
        found.put(request(Kind.KERNEL, identity))
    found.put(request())

    assert [each.identity for each in found.current(NOON)] == [None, "a", "b"]


@pytest.mark.parametrize("value", ["1s", 1 / 60, "0.016667", "36500d", LONGEST_SECONDS / 60])
def test_from_a_second_to_a_hundred_years_is_a_duration(value):
    """Both bounds are included."""
    assert 1 <= seconds_of(value) <= LONGEST_SECONDS


@pytest.mark.parametrize("value", ["0.9s", 0.99 / 60, "0.016", "36500d1s", LONGEST_SECONDS / 60 + 1, "99999999999"])
def test_less_than_a_second_and_more_than_a_hundred_years_is_none(value):
    """However it is written."""
    with pytest.raises(SettingError, match="a duration of a second or more"):
        seconds_of(value)


@pytest.mark.parametrize("value", ["123456789s", "1.123456s", "123456789.123456s", "999999999", "0.123456"])
def test_nine_digits_and_six_behind_the_point_are_read(value):
    """More are not a person's."""
    number = float(value.rstrip("s"))

    try:
        found = seconds_of(value)
    except SettingError:
        found = None

    expected = number if value.endswith("s") else number * 60
    assert found == (expected if 1 <= expected <= LONGEST_SECONDS else None)


@pytest.mark.parametrize("value", ["1.1234567s", "1.1234567", "1234567890s", "1234567890"])
def test_more_digits_are_refused(value):
    """Though the number itself would do."""
    with pytest.raises(SettingError):
        seconds_of(value)


@pytest.mark.parametrize(("text", "hours"), [("23:59", 11.983333), ("0:00", 12), ("20:00", 8), ("19:09", 7.15)])
def test_each_hour_of_the_day_is_a_clock_time(text, hours):
    """With one digit or two."""
    assert (instant_of(text, NOON, UTC) - NOON).total_seconds() == pytest.approx(hours * 3600, abs=1)


def test_a_time_to_come_is_strictly_to_come():
    """A microsecond is enough."""
    soon = NOON + timedelta(microseconds=1)

    assert instant_of(soon.isoformat(), NOON) == soon
    with pytest.raises(SettingError, match=r"a clock time such as '18:30', or an ISO 8601 time to come"):
        instant_of(NOON.isoformat(), NOON)


def test_what_is_too_long_is_refused_with_the_value_that_was_given():
    """Without a bound of the admin's it is a hundred years, to the second."""
    longest = timedelta(seconds=LONGEST_SECONDS)

    assert end_of(None, (NOON + longest).isoformat(), NOON, 0) == NOON + longest
    assert end_of("36500d", None, NOON, 0) == NOON + longest
    with pytest.raises(SettingError, match=r"at most max_keep_alive = 52560000 minutes$"):
        end_of(None, (NOON + longest + timedelta(seconds=1)).isoformat(), NOON, 0)
    with pytest.raises(
        SettingError, match=r"^duration = '2h' is not accepted: it must be at most max_keep_alive = 60 min"
    ):
        end_of("2h", None, NOON, 3600.0)
    with pytest.raises(SettingError, match=r"^until = '14:00' is not accepted"):
        end_of(None, "14:00", NOON, 1.0)


def test_what_is_missing_is_named_with_all_that_is_accepted():
    """Whoever gave neither reads how to give either."""
    with pytest.raises(SettingError) as caught:
        end_of(None, None, NOON, 0)

    assert str(caught.value) == (
        "duration = None is not accepted: it must be given, or else 'until': a duration of a second or more such as "
        "'4h', '90m' or '1h30m', or a number of minutes; a clock time such as '18:30', or an ISO 8601 time to come "
        "with its time zone"
    )
