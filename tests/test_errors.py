"""Every error has a code; troubles are remembered, told once per change, and forgotten after a day."""

from __future__ import annotations

from datetime import timedelta

import pytest

from culling_manager import errors
from culling_manager.errors import (
    STAYS_BILLED,
    CullingError,
    DeniedError,
    ErrorCode,
    ReadError,
    SettingError,
    Troubles,
    code_of,
)
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


def test_every_error_has_a_code_of_its_own():
    """A program goes by the code, and no two kinds of error look the same to it."""
    kinds = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, CullingError)]
    codes = [each.code for each in kinds]

    assert len(kinds) > 10
    assert all(isinstance(code, ErrorCode) for code in codes)
    assert len(set(codes)) == len(codes)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        pytest.param(DeniedError("sagemaker:DeleteApp"), ErrorCode.PERMISSION_MISSING, id="its class's"),
        pytest.param(ReadError("no list", code=ErrorCode.APPS_UNREAD), ErrorCode.APPS_UNREAD, id="a nearer one"),
        pytest.param(OSError("disk full"), ErrorCode.FAILED, id="somebody else's error"),
    ],
)
def test_the_code_of_what_was_raised(error, code):
    """Its own where it was given one, else its class's; whatever is not ours has just failed."""
    assert code_of(error) is code


def test_the_codes_of_what_is_wrong_now():
    """Each once; what is over is none, and what keeps an app billed can be told from the rest."""
    troubles = Troubles()
    troubles.note("a", "away", NOON, ErrorCode.CALL_FAILED)
    troubles.note("b", "away", NOON, ErrorCode.CALL_FAILED)
    troubles.note("c", "broken", NOON, ErrorCode.SIGNAL_FAILED)
    troubles.note("d", "over", NOON, ErrorCode.NOT_DELETED)
    troubles.over("d")

    assert troubles.codes() == [ErrorCode.CALL_FAILED, ErrorCode.SIGNAL_FAILED]
    assert STAYS_BILLED & set(troubles.codes()) == {ErrorCode.CALL_FAILED}
    assert [each.code for each in troubles.recent(NOON)][-1] is ErrorCode.NOT_DELETED


def nested(depth: int) -> list:
    """A list in a list in a list."""
    found: list = []
    for _ in range(depth):
        found = [found]
    return found


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(nested(100_000), id="nested too deep"),
        pytest.param(10**6000, id="thousands of digits"),
        pytest.param("x" * 1_000_000, id="long"),
    ],
)
def test_a_value_that_cannot_be_shown_is_no_second_error(value):
    """Whoever sent it is told what is wrong with it, in a sentence of some length."""
    error = SettingError("field", value, "a number")

    assert str(error).startswith("field = ")
    assert str(error).endswith("is not accepted: it must be a number")
    assert len(str(error)) < 200
