"""A user's own savings: the command, `status` and the metrics, out of the ledger in the home directory."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from culling_manager.cli import main
from culling_manager.engine.clock import utcnow
from culling_manager.engine.culler import IdleCuller
from culling_manager.money.ledger import Ledger
from culling_manager.money.lines import AppLine
from culling_manager.server.given_back import GivenBack
from culling_manager.server.metrics import CullingCollector


@pytest.fixture
def ledger(tmp_path, monkeypatch) -> Ledger:
    """In a home of its own."""
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", str(tmp_path))
    return Ledger(tmp_path)


def night(ledger: Ledger, days_ago: float = 1.0) -> None:
    """Ten hours without the app, a day ago or so."""
    stopped = utcnow() - timedelta(days=days_ago)
    first, second = f"{days_ago}-1", f"{days_ago}-2"
    for event, at, run in (("accepted", stopped, first), ("started", stopped + timedelta(hours=10), second)):
        given = {"app_type": "JupyterLab", "app": "default", "instance_type": "ml.t3.medium", "reason": "idle"}
        ledger.write(AppLine(event=event, at=at, run=run, **given))


def test_the_command_tells_what_was_given_back(ledger, capsys):
    """Bounds, by type and reason, and how they are counted."""
    night(ledger)

    assert main(["savings"]) == 0

    out = capsys.readouterr().out
    assert "Given back: 9.83 to 10.0 h, by 1 stop." in out
    assert "ml.t3.medium" in out
    assert "At most: the time from the deletion" in out


def test_no_line_is_wider_than_the_terminal(ledger, capsys, monkeypatch, tmp_path):
    """80 columns are enough for tables, and sentences go on in the next line."""
    monkeypatch.setenv("COLUMNS", "80")
    for days in (2.0, 4.0, 9.0):
        night(ledger, days)
    prices = tmp_path / "prices.json"
    prices.write_text(json.dumps({"currency": "USD", "rates": {"Studio:JupyterLab": {"ml.t3.medium": 0.05}}}))

    assert main(["savings", "--prices", str(prices)]) == 0

    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert "Given back: 29.5 to 30.0 h, 1.48 to 1.50 USD, by 3 stops." in out


def test_without_a_ledger_it_says_so(ledger, capsys):
    """Nothing is no sum of nothing: there is none yet, and where it will be; an empty one is named as what it is."""
    assert main(["savings"]) == 0
    absent = capsys.readouterr().out
    ledger.path.touch(0o600)
    assert main(["savings"]) == 0

    assert absent == f"No app has been started or stopped here yet, so there is no ledger. It will be {ledger.path}.\n"
    assert f"No app has been started or stopped here yet, as far as {ledger.path} knows." in capsys.readouterr().out


def test_since_and_prices_and_json(ledger, capsys, tmp_path):
    """The same document as a fleet's."""
    night(ledger, 9.0)
    night(ledger)
    prices = tmp_path / "prices.json"
    prices.write_text(json.dumps({"currency": "USD", "rates": {"Studio:JupyterLab": {"ml.t3.medium": 0.05}}}))
    since = (utcnow() - timedelta(days=3)).strftime("%Y-%m-%d")

    assert main(["savings", "--json", "--since", since, "--prices", str(prices)]) == 0

    found = json.loads(capsys.readouterr().out)
    assert found["stops"] == 1
    assert found["given_back"]["hours"]["at_most"] == 10.0
    assert found["given_back"]["cost"]["at_most"] == 0.5


@pytest.mark.parametrize("since", ["tomorrow", "2999-01-01", "2026-06-01T08:00"])
def test_a_since_that_cannot_be_meant_is_refused(ledger, capsys, since):
    """With what is accepted."""
    assert main(["savings", "--since", since]) == 2

    assert "a day such as 2026-06-01" in capsys.readouterr().err


def test_status_shows_what_the_ledger_comes_to(ledger):
    """None where there is none; read again when it has changed."""
    shown = GivenBack(ledger.path.parent)
    before = shown.at(utcnow())
    night(ledger)

    found = shown.at(utcnow())

    assert before is None
    assert (found["stops"], found["at_most_seconds"]) == (1, 36_000.0)
    assert found["at_least_seconds"] == 35_400.0


def test_the_metrics_have_both_bounds(ledger):
    """Absent without a ledger, as what is not known is."""
    collector, culler = CullingCollector(), IdleCuller()
    collector.add(culler, GivenBack(ledger.path.parent))

    def samples():
        return {
            each.name: each.value for family in collector.collect() for each in family.samples if "savings" in each.name
        }

    before = samples()
    night(ledger)

    assert before == {}
    assert samples() == {"culling_savings_at_least_seconds": 35_400.0, "culling_savings_at_most_seconds": 36_000.0}


def test_the_status_screen_tells_it_in_one_line():
    """Below what was stopped lately; nothing where there was no stop."""
    from culling_manager.cli.screen import screen

    known = {"since": None, "stops": 2, "false_stops": 0, "at_least_seconds": 35_400.0, "at_most_seconds": 36_000.0}
    document = {"now": "2026-06-02T00:00:00Z", "kernels": [], "terminals": [], "apps": [], "policy": None}

    told = [line for line, _ in screen("http://here", {**document, "given_back": known}).foot]
    none = [line for line, _ in screen("http://here", {**document, "given_back": known | {"stops": 0}}).foot]

    assert told[-1] == "given back by 2 stops: 9 h 50 min at least, 10 h at most (jupyter culling savings)"
    assert not any("given back" in line for line in none)
