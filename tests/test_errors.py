"""Troubles are remembered, told once per change, and forgotten after a day."""

from __future__ import annotations

from datetime import timedelta

from culling_manager.errors import Troubles
from tests.doubles import NOON


def test_the_same_words_are_news_only_once():
    """A gateway that is away for a night is one line in the log, not three thousand."""
    troubles = Troubles()

    news = [troubles.note("gateway", words, NOON) for words in ("away", "away", "still away", "still away")]

    assert news == [True, False, True, False]
    assert troubles.recent(NOON)[0].times == 2


def test_what_is_over_is_no_longer_the_last_error_but_stays_in_the_list_for_a_day():
    """`errors` tells what is wrong now, the list what went wrong lately."""
    troubles = Troubles()
    troubles.note("a", "first", NOON)
    troubles.note("b", "second", NOON)

    over = troubles.over("b")

    assert over
    assert troubles.last_text() == "first"
    assert [t.subject for t in troubles.recent(NOON + timedelta(hours=23))] == ["a", "b"]
    assert [t.subject for t in troubles.recent(NOON + timedelta(hours=25))] == ["a"]


def test_what_comes_back_after_it_was_over_is_news_again():
    """A second outage is told too."""
    troubles = Troubles()
    troubles.note("a", "away", NOON)
    troubles.over("a")

    assert troubles.note("a", "away", NOON)


def test_memory_is_bounded():
    """Ten thousand different troubles do not fill the server's memory."""
    troubles = Troubles(limit=5)
    for number in range(10_000):
        troubles.note(str(number), "x", NOON)

    assert len(troubles.recent(NOON)) == 5
    assert troubles.last_text() == "x"
    assert not troubles.over("1")
