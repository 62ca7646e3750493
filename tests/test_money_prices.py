"""Prices: what is not known stays hours, and currencies are never mixed."""

from __future__ import annotations

import json

import pytest

from culling_manager.errors import ReadError, SettingError
from culling_manager.money.prices import Prices, prices_of, read_prices
from tests.money_log import at, line, report

FILE = {
    "currency": "USD",
    "region": "us-east-1",
    "as_of": "2026-06-01",
    "source": "AWS Price List",
    "rates": {"Studio:JupyterLab": {"ml.g5.xlarge": 1.408}, "Studio:CodeEditor": {"ml.t3.medium": 0.05}},
}


def night(kind: str | None, owner: str = "alice", **more) -> list[dict]:
    """Ten hours of one owner."""
    stream = f"d-1/{owner}/JupyterLab/default"
    more = {"stream": stream, "instance_type": kind, **more}
    return [line("accepted", at(18), **more), line("started", at(28), "r2", **more)]


def test_a_price_file_comes_back_as_it_was(tmp_path):
    """What is written is read."""
    path = tmp_path / "prices.json"
    path.write_text(json.dumps(FILE))

    assert (
        read_prices(path).as_json()
        == prices_of(FILE, "it").as_json()
        == FILE | {"rates": dict(sorted(FILE["rates"].items()))}
    )


def test_money_is_hours_times_price():
    """Both bounds have their price."""
    cost = report(night("ml.g5.xlarge"), prices=prices_of(FILE, "it"))["given_back"]["cost"]

    assert cost == {
        "currency": "USD",
        "at_least": round(1.408 * (10 - 1 / 6), 4),
        "at_most": 14.08,
        "priced_share": 1.0,
    }


def test_what_has_no_price_stays_hours():
    """The sum is of what is priced, and says for which share of the hours it is."""
    events = night("ml.g5.xlarge") + night("ml.p4d.24xlarge", "bob") + night(None, "carol")
    found = report(events, prices=prices_of(FILE, "it"))

    assert found["given_back"]["hours"]["at_most"] == 30.0
    assert found["given_back"]["cost"]["at_most"] == 14.08
    assert found["given_back"]["cost"]["priced_share"] == 0.3333
    assert found["unpriced"] == ["ml.p4d.24xlarge", "unknown"]
    assert found["by_type"]["ml.p4d.24xlarge"]["given_back"]["cost"] is None


def test_nothing_priced_is_no_cost_of_zero():
    """Never 0 for what is not known."""
    found = report(night("ml.p4d.24xlarge"), prices=prices_of(FILE, "it"))

    assert found["given_back"]["cost"] is None


def test_two_answers_to_what_it_runs_on_are_none():
    """A run that claims two instance types has no price."""
    events = [line("started", at(9), instance_type="ml.t3.medium"), *night("ml.g5.xlarge")]
    found = report(events, prices=prices_of(FILE, "it"))

    assert found["given_back"]["hours"]["at_most"] == 10.0
    assert found["unpriced"] == ["unknown"]


def test_a_price_is_of_its_component():
    """A Code Editor's price is not a JupyterLab's."""
    prices = prices_of(FILE, "it")

    assert prices.rate("JupyterLab", "ml.t3.medium") is None
    assert prices.rate("codeeditor", "ml.t3.medium") == 0.05
    assert prices.rate("JupyterServerProcess", "ml.t3.medium") is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"currency": "$"}, "currency in it = '$' is not accepted: it must be an ISO 4217 code"),
        ({"rates": {"Studio:JupyterLab": {"ml.t3.medium": 0}}}, "over 0; leave out what is unknown"),
        ({"rates": {"Studio:JupyterLab": {"ml.t3.medium": True}}}, "Studio:JupyterLab in it, ml.t3.medium = True"),
        ({"rates": {"Studio:RStudio": {}}}, "one of Studio:JupyterLab, Studio:CodeEditor"),
        ({"rates": []}, "{currency, region, as_of, source, rates"),
        ({"as_of": "yesterday"}, "a date such as 2026-06-01"),
    ],
)
def test_a_price_file_that_is_wrong_is_refused_in_words(change, words):
    """The name, what was seen, and what is accepted."""
    with pytest.raises(SettingError) as caught:
        prices_of(FILE | change, "it")

    assert words in str(caught.value)


def test_a_file_that_is_none_is_said_so(tmp_path):
    """Missing, or not JSON."""
    with pytest.raises(ReadError, match="cannot be read"):
        read_prices(tmp_path / "absent.json")


def test_currencies_stay_what_they_are():
    """China's sums are in CNY alone."""
    prices = Prices(currency="CNY", region="cn-north-1", rates={"Studio:JupyterLab": {"ml.g5.xlarge": 10.0}})
    found = report(night("ml.g5.xlarge"), prices=prices)

    assert found["given_back"]["cost"]["currency"] == "CNY"
    assert "USD" not in json.dumps(found)
