"""Records take aware time only."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from jupyter_server._tz import UTC

from culling_manager.errors import RecordError
from culling_manager.records import utc
from tests.doubles import NOON


def test_a_naive_time_is_refused_by_name():
    """Local time compared with UTC kills fresh work, so a time without a zone is no time."""
    with pytest.raises(RecordError, match="last_activity = 2026-06-01T12:00:00 has no time zone"):
        utc(datetime(2026, 6, 1, 12), "last_activity")


@pytest.mark.parametrize("value", ["2026-06-01T12:00:00Z", 0, 1.5])
def test_what_is_no_time_is_refused(value):
    """A string is not parsed in hope."""
    with pytest.raises(RecordError, match="is not a datetime"):
        utc(value, "last_activity")


@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=-8)), timezone.utc])
def test_any_zone_becomes_utc(zone):
    """Jupyter's own UTC class and any other zone come out as the standard library's UTC."""
    found = utc(NOON.astimezone(zone), "x")

    assert found == NOON
    assert found.tzinfo is timezone.utc


def test_none_stays_none():
    """Missing is a fact, not an error."""
    assert utc(None, "x") is None
