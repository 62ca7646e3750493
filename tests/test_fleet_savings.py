"""culling-fleet-report: exported logs, Logs Insights, prices and the bill; whole or not at all."""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
import re
import shutil
import subprocess
import sys
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest

from culling_manager.fleet import insights
from culling_manager.fleet.savings import main
from culling_manager.money import page as report_page
from culling_manager.money.days import Log, Window, as_json
from culling_manager.money.logs import event_of
from culling_manager.money.words import cell
from tests.conftest import patience
from tests.emulator import Fault, SageMaker, environment
from tests.emulator_billing import Billing
from tests.emulator_logs import CloudWatchLogs, logs_environment
from tests.money_log import DAY, STREAM, TYPE, at, beat, event, line
from tests.money_month import PRICES, day

NIGHT = [
    line("started", at(9)),
    beat(at(10), gaps=[600.0, 3000.0], seconds={"busy": 2400.0, "active": 1200.0}),
    beat(at(11), count=721, seconds={"active": 3000.0, "kept alive": 600.0}),
    line("deleting", at(18)),
    line("accepted", at(18)),
    line("started", at(33), "r2"),
]
WINDOW = ["--from", "2026-06-02", "--to", "2026-06-05"]


def write(folder: Path, events: list[dict], name: str = "log.jsonl") -> Path:
    """One exported file."""
    path = folder / name
    path.write_text("".join(json.dumps(each) + "\n" for each in events))
    return path


@pytest.fixture
def run(tmp_path, capsys):
    """The command on exported events: exit code, standard output, standard error."""

    def run(*options: str, events: list[dict] | None = None):
        files = [] if events is None else ["--log-files", str(write(tmp_path, events))]
        try:
            code = main([*files, *options])
        except SystemExit as stop:
            code = stop.code
        out, err = capsys.readouterr()
        return code, out, err or "nothing"

    return run


@pytest.fixture
def prices(tmp_path) -> str:
    """A price file."""
    path = tmp_path / "prices.json"
    path.write_text(json.dumps({"currency": "EUR", "region": "eu-west-1", "rates": {"Studio:JupyterLab": {TYPE: 2.0}}}))
    return str(path)


# -- exported logs ---------------------------------------------------------------------------------


def test_an_exported_log_is_counted(run):
    """The document has what the contract says."""
    code, out, _ = run("--json", *WINDOW, events=NIGHT)

    found = json.loads(out)
    assert code == 0
    assert found["window"] == {"from": "2026-06-02T00:00:00.000000Z", "to": "2026-06-05T00:00:00.000000Z"}
    assert (found["stops"], found["false_stops"], found["still_away"]) == (1, 0, 0)
    assert found["given_back"] == {"hours": {"at_least": 14.8333, "at_most": 15.0}, "cost": None}
    assert found["by_type"][TYPE]["given_back"] == found["given_back"]
    assert {name: found["by_type"][TYPE][name] for name in ("hours", "cost")} == found["given_back"]
    assert found["wasted"] == {"active": 1.1667, "kept alive": 0.1667}
    assert set(found["curve"][TYPE][0]) == {
        *("timeout_minutes", "given_back_hours", "idle_hours", "stops", "returns", "false_stops", "cost")
    }
    assert "by_owner" not in found
    assert "alice" not in out


def test_folders_and_packed_files_are_read(run, tmp_path):
    """A folder means all in it, however it is packed or cut."""
    folder = tmp_path / "logs" / "deep"
    folder.mkdir(parents=True)
    write(folder, NIGHT[:3])
    with gzip.open(folder.parent / "rest.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(each) + "\n" for each in NIGHT[3:])

    found = run("--json", *WINDOW, "--log-files", str(tmp_path / "logs"))
    whole = run("--json", *WINDOW, events=NIGHT)

    assert found[:2] == whole[:2]


def test_the_same_log_twice_shuffled_and_doubled_says_the_same(run, tmp_path):
    """To the last byte."""
    twice = NIGHT * 3
    random.Random(3).shuffle(twice)

    assert run("--json", *WINDOW, events=twice)[1] == run("--json", *WINDOW, events=NIGHT)[1]


def test_without_from_and_to_it_is_about_the_whole_log(run):
    """From the first event to the last."""
    found = json.loads(run("--json", events=NIGHT)[1])

    assert found["window"]["from"].startswith("2026-06-02T09:00")
    assert found["given_back"]["hours"]["at_most"] == 15.0


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda path: path.write_text(path.read_text()[:-30]), "cannot be read at line 6"),
        (lambda path: path.write_text("2026-06-02 some text\n"), "cannot be read at line 1"),
        (lambda path: path.write_text('{"message": "no time"}\n'), "it is no log event"),
        (lambda path: path.with_suffix(".gz").write_bytes(gzip.compress(b"x" * 999)[:-9]), "cannot be read at line"),
        (lambda path: path.unlink(), "there is no file"),
    ],
    ids=["cut off", "text", "no event", "packed and cut off", "absent"],
)
def test_a_log_that_is_not_whole_gives_no_sum(tmp_path, capsys, spoil, words):
    """A part of a log would be a part of a sum."""
    path = write(tmp_path, NIGHT)
    spoil(path)

    code = main(["--log-files", str(path.parent if path.exists() else path), *WINDOW])

    out, err = capsys.readouterr()
    assert (code, out) == (3, "")
    assert words in err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--from", "yesterday"], "--from = 'yesterday' is not accepted: it must be a day such as 2026-06-01"),
        (["--from", "2026-06-05", "--to", "2026-06-02"], "before the report's end"),
        (["--by", "colour"], "one or more of type, reason, day, owner"),
        (["--soon", "nan"], "a number of minutes from 0"),
        (["--restart-cost", "-1"], "an amount of 0 or more"),
        (["--json", "--csv"], "not allowed with"),
    ],
)
def test_what_cannot_be_meant_is_usage(run, options, words):
    """Exit code 2, with what is accepted."""
    code, out, err = run(*options, events=NIGHT)

    assert (code, out) == (2, "")
    assert words in err


def test_by_says_what_it_is_told_by(run):
    """Names of people only where they are asked for, and numbers in their place where those are."""
    asked = json.loads(run("--json", "--by", "owner,day", "--by", "reason", *WINDOW, events=NIGHT)[1])
    hidden = run("--json", "--by", "owner", "--anonymous", *WINDOW, events=NIGHT)[1]

    assert list(asked["by_owner"]) == ["alice"]
    assert {day: each["given_back"]["hours"]["at_most"] for day, each in asked["by_day"].items()} == {
        "2026-06-02": 6.0,
        "2026-06-03": 9.0,
        "2026-06-04": 0.0,
    }
    assert list(asked["by_reason"]) == ["idle"]
    assert list(json.loads(hidden)["by_owner"]) == ["person 1"]
    assert "alice" not in hidden


@pytest.mark.parametrize("form", [[], ["--json"], ["--csv"], ["--html"]])
def test_without_prices_no_currency_stands_anywhere(run, tmp_path, form):
    """Hours only, in every form; the page's library is packed."""
    path = tmp_path / "page.html"
    out = run(*form, *([str(path)] if form == ["--html"] else []), *WINDOW, events=NIGHT)[1]
    text = path.read_text() if form == ["--html"] else out

    assert re.search("[$€£¥]|USD|EUR|CNY|GBP", re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)) is None
    assert form == ["--html"] or "$" not in text


def test_prices_stand_beside_hours(run, prices):
    """At least and at most, in the currency of the file."""
    found = json.loads(run("--json", "--prices", prices, "--restart-cost", "3", *WINDOW, events=NIGHT)[1])
    text = run("--prices", prices, "--restart-cost", "3", *WINDOW, events=NIGHT)[1]

    assert found["given_back"]["cost"] == {"currency": "EUR", "at_least": 29.6667, "at_most": 30.0, "priced_share": 1.0}
    assert "Given back: 14.8 to 15.0 h, 29.7 to 30.0 EUR, by 1 stop." in text
    assert "1 h 30 min, for after that long idling has cost what a restart costs (3 EUR at 2 EUR per hour)" in text


def test_what_was_wasted_has_its_price_and_the_answer_its_setting(run, prices, tmp_path):
    """Whoever pays sees what is still lost, and the line that changes it; on paper the page is never dark."""
    told = run("--json", "--prices", prices, "--restart-cost", "3", *WINDOW, events=NIGHT)[1]
    path = tmp_path / "page.html"
    run("--html", str(path), "--prices", prices, "--restart-cost", "3", *WINDOW, events=NIGHT)

    found, page = json.loads(told), Page(path.read_text())
    assert found["wasted_cost"] == {"currency": "EUR", "amount": 2.6667, "priced_share": 1.0}
    assert "billed and not in use, 2.67 EUR" in page.text
    assert f'c.CullingKernelManager.idle_timeouts = {{"{TYPE}": 90}}' in page.text
    assert "For a restart that costs a person 3 EUR." in page.text
    assert page.text.count("prefers-color-scheme") == page.text.count("@media screen and (prefers-color-scheme") == 1


def test_another_regions_prices_are_none(run, prices):
    """Hours only, and it is said why."""
    code, out, _ = run("--json", "--prices", prices, "--region", "us-east-1", *WINDOW, events=NIGHT)

    found = json.loads(out)
    assert code == 0
    assert found["given_back"]["cost"] is None
    assert "The price file is for eu-west-1, not for us-east-1: another region's prices are none." in found["notes"]


def test_a_log_that_ends_early_is_said_so(run):
    """What nobody has written is not known."""
    found = json.loads(run("--json", *WINDOW, events=NIGHT[:-1])[1])

    assert any("These logs end at 2026-06-02 18:00 UTC" in each for each in found["notes"])
    assert any("nothing is counted after 2026-06-03 00:00 UTC" in each for each in found["notes"])


def test_a_log_that_was_cut_gives_no_more_than_the_whole(run):
    """Cut at midnight it is known to that midnight, however late the report ends: nobody's return is missed."""
    whole, cut = (json.loads(run("--json", *WINDOW, events=part)[1]) for part in (NIGHT, NIGHT[:-1]))

    assert cut["given_back"]["hours"] == {"at_least": 5.8333, "at_most": 6.0}
    assert (cut["stops"], cut["still_away"]) == (1, 1)
    for bound, hours in cut["given_back"]["hours"].items():
        assert hours <= whole["given_back"]["hours"][bound]


def test_a_log_that_ends_while_an_app_writes_was_cut_there(run):
    """Who writes every hour and falls silent with the log shows that it was cut in the middle of a day."""
    bob = [beat(at(hour), "b", "d-1/bob/JupyterLab/default") for hour in range(15, 20)]
    whole = NIGHT[:-1] + bob + [line("started", at(20), "r2")]

    told, cut = (json.loads(run("--json", *WINDOW, events=part)[1]) for part in (whole, whole[:-1]))

    assert told["given_back"]["hours"]["at_most"] == 2.0
    assert cut["given_back"]["hours"]["at_most"] == 1.0
    assert any("nothing is counted after 2026-06-02 19:00 UTC" in each for each in cut["notes"])


@pytest.mark.parametrize("end", ["2026-06-02T18:30:00Z", "2026-06-03"])
def test_a_quiet_evening_is_no_cut(run, end):
    """Whoever was stopped has nothing to write, so the rest of the day is known."""
    found = json.loads(run("--json", "--from", "2026-06-02", "--to", end, events=NIGHT[:-1])[1])

    assert found["given_back"]["hours"]["at_most"] == (0.5 if "T" in end else 6.0)
    assert not any("These logs end" in each for each in found["notes"])


EVIL = '</script><script>alert(1)</script><img src="http://example.invalid/x">'


def odd_night(owner: str) -> list[dict]:
    """A night of an owner with such a name."""
    return [{**each, "logStreamName": f"d-1/{owner}/JupyterLab/default"} for each in NIGHT]


def test_a_cell_is_never_a_formula(run):
    """A name that a spreadsheet would run is quoted."""
    events = odd_night("=cmd|calc") + odd_night("+1") + odd_night("-1") + odd_night("@sum") + odd_night("plain")
    rows = list(csv.DictReader(io.StringIO(run("--csv", "--by", "owner", *WINDOW, events=events)[1])))

    names = {row["name"] for row in rows if row["by"] == "owner"}
    assert names == {"'=cmd|calc", "'+1", "'-1", "'@sum", "plain"}
    assert rows[0]["by"] == "total"
    assert float(rows[0]["hours_at_most"]) == 75.0
    assert {cell("＝1"), cell("\t=1"), cell("＠a"), cell("1=1")} == {"'＝1", "'\t=1", "'＠a", "1=1"}


@pytest.mark.parametrize("form", [[], ["--json"], ["--csv"], ["--html"]])
def test_a_name_that_no_text_can_have_stops_no_report(tmp_path, form):
    """Half a character in an exported log's stream is shown as something else, in every form."""
    path = write(tmp_path, odd_night("x\ud83d"))
    page = [str(tmp_path / "page.html")] if form == ["--html"] else []
    command = [sys.executable, "-m", "culling_manager.fleet.savings", "--log-files", str(path), "--by", "owner"]

    done = subprocess.run([*command, *WINDOW, *form, *page], capture_output=True, timeout=100)

    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode("utf-8")


class Page(HTMLParser):
    """What a page is made of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [value for name, value in attributes if name in ("src", "href", "action", "data")]

    def handle_data(self, data):
        self.text += data


def test_the_page_is_one_file_that_asks_for_nothing(run, tmp_path, prices):
    """No link, no source, no address; and names of others stay text."""
    path = tmp_path / "page.html"
    kind = [line("accepted", at(18), "k", "d-1/bob/JupyterLab/default", instance_type=EVIL)]
    code, out, _ = run("--html", str(path), "--by", "owner", "--prices", prices, *WINDOW, events=NIGHT + kind)

    found = Page(path.read_text())
    assert (code, out.strip()) == (0, str(path))
    assert found.links == []
    assert found.tags.count("script") == 3
    assert "img" not in found.tags
    assert "http" not in path.read_text().replace("http-equiv", "").replace("http://example.invalid", "")
    assert EVIL in found.text
    assert "default-src &#x27;none&#x27;" in path.read_text()


def test_a_package_without_the_charts_library_makes_a_page_of_tables(run, tmp_path, monkeypatch):
    """Built with `CULLING_MANAGER_PAGE=0`: the page says all the same."""
    monkeypatch.setattr(report_page, "LIBRARY", ("absent.min.js",))
    report_page.library.cache_clear()
    path = tmp_path / "page.html"

    code, _, _ = run("--html", str(path), *WINDOW, events=NIGHT)

    report_page.library.cache_clear()
    assert code == 0
    assert '<script type="text/plain" id="library"></script>' in path.read_text()
    assert "14.8 to 15.0 h" in Page(path.read_text()).text


def test_the_same_report_is_the_same_page(run, tmp_path):
    """Byte for byte, so that two of them can be compared."""
    pages = [tmp_path / "one.html", tmp_path / "two.html"]
    for path in pages:
        run("--html", str(path), *WINDOW, events=NIGHT)

    assert pages[0].read_bytes() == pages[1].read_bytes()


BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.mark.skipif(BROWSER is None, reason="there is no browser to draw the page")
@pytest.mark.parametrize("width", [1200, 500])
def test_a_browser_draws_every_chart_of_the_page(run, tmp_path, prices, width):
    """Without a network, and whatever the names of others are."""
    if not report_page.library():
        pytest.skip("built without the charts' library: CULLING_MANAGER_PAGE=0, or an install from before it")
    path = tmp_path / "page.html"
    kind = [line("accepted", at(18), "k", "d-1/bob/JupyterLab/default", instance_type=EVIL)]
    soon = [line("accepted", at(40), "r2"), line("started", at(40.2), "r3")]
    run("--html", str(path), "--by", "owner", "--prices", prices, *WINDOW, events=NIGHT + kind + soon)
    flags = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'browser'}"]
    flags += [f"--window-size={width},2000", "--virtual-time-budget=20000", "--dump-dom"]

    drawn = subprocess.run(
        [BROWSER, *flags, path.as_uri()], capture_output=True, text=True, timeout=patience(100)
    ).stdout

    charts = path.read_text().count('<div class="chart"')
    assert charts >= 6
    assert f'data-drawn="{charts}"' in drawn
    assert drawn.count("<svg") == charts
    assert "cannot be drawn" not in drawn.partition("<script")[0]


# -- days ------------------------------------------------------------------------------------------


def test_stored_days_say_what_the_log_says(run, tmp_path):
    """A day document has everything that the report needs."""
    events = [each for number in range(5) for each in day(number, 12)]
    folder = tmp_path / "days"
    folder.mkdir()
    log = Log(Window(begin=0, end=2**40))
    for each in events:
        log.add(event_of(each))
    for number, runs in log.days.items():
        date = (DAY + timedelta(days=number - DAY.timestamp() // 86_400)).date()
        (folder / f"{date}.json").write_text(json.dumps(as_json(runs, date)))
    priced = tmp_path / "made-up.txt"
    priced.write_text(json.dumps(PRICES.as_json()))
    options = ["--json", "--from", "2026-06-01", "--to", "2026-06-05", "--by", "owner,day", "--prices", str(priced)]

    stored, read = run(*options, "--days", str(folder)), run(*options, events=events)

    assert json.loads(stored[1]) == json.loads(read[1])
    assert json.loads(stored[1])["stops"] > 20


def test_a_missing_day_gives_no_sum(run, tmp_path):
    """A month of 29 days is no month."""
    (tmp_path / "2026-06-02.json").write_text('{"form": 1, "date": "2026-06-02", "apps": []}')

    code, out, err = run("--days", str(tmp_path), *WINDOW)

    assert (code, out) == (3, "")
    assert "2 of the days of the report are missing, the first is 2026-06-03" in err


def test_a_day_of_another_form_is_refused(run, tmp_path):
    """It says what to do."""
    (tmp_path / "2026-06-02.json").write_text('{"form": 9, "apps": []}')

    code, _, err = run("--days", str(tmp_path), "--from", "2026-06-02", "--to", "2026-06-03")

    assert code == 3
    assert "has form 9, not 1: make it anew from the log" in err


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"owners": [["a"]], "types": [], "native": []}', "[" * 100_000])
def test_an_account_that_is_none_gives_no_sum(run, tmp_path, text):
    """Without owners a return could be missed, so the sum could be larger than it is."""
    for number in (2, 3, 4):
        (tmp_path / f"2026-06-0{number}.json").write_text('{"form": 1, "date": "", "apps": []}')
    (tmp_path / "account.json").write_text(text)

    code, out, err = run("--days", str(tmp_path), *WINDOW)

    assert (code, out) == (3, "")
    assert "is not what the daily check stores of an account" in err


# -- the account -----------------------------------------------------------------------------------


class Aws:
    """The emulators."""

    def __init__(self, sagemaker: SageMaker, logs: CloudWatchLogs, billing: Billing) -> None:
        self.sagemaker, self.logs, self.billing = sagemaker, logs, billing

    def put(self, events: list[dict]) -> None:
        """Into the log group."""
        for each in events:
            moment = DAY + timedelta(milliseconds=each["timestamp"] - DAY.timestamp() * 1000)
            self.logs.put(each["logStreamName"], each["message"], moment)


@pytest.fixture(scope="module")
def session():
    """One boto3 session for all tests: reading the service models anew for each would take most of their time."""
    import boto3

    return boto3.session.Session()


@pytest.fixture
def aws(monkeypatch, session):
    """An account with nothing in it; none of the emulators may have seen anything unlawful."""
    monkeypatch.setattr(insights, "POLL_SECONDS", (0.01, 0.05))
    monkeypatch.setattr("boto3.session.Session", lambda: session)
    with SageMaker() as sagemaker, CloudWatchLogs() as logs, Billing() as billing:
        found = environment(sagemaker) | logs_environment(logs) | billing.environment()
        for name, value in (found | {"AWS_DEFAULT_REGION": "eu-west-1", "NO_PROXY": "*"}).items():
            monkeypatch.setenv(name, value)
        yield Aws(sagemaker, logs, billing)
        assert not sagemaker.violations
        assert not logs.violations
        assert not billing.violations


@pytest.fixture
def quick(monkeypatch):
    """No pacing of calls."""
    monkeypatch.setattr("culling_manager.fleet.calls.Pacer.wait", lambda self, deadline=None: True)


def test_an_account_is_counted_as_its_exported_log(aws, quick, run):
    """Two queries for each day, of the window and of what is before and after it."""
    aws.sagemaker.add_domain("d-1")
    aws.put(NIGHT)

    whole = json.loads(run("--json", "--by", "owner", *WINDOW)[1])
    exported = json.loads(run("--json", "--by", "owner", *WINDOW, events=NIGHT)[1])

    for told in (whole, exported):
        del told["notes"]
    assert whole == exported
    assert whole["stops"] == 1
    assert aws.logs.count("StartQuery") == 2 * (insights.DAYS_BEFORE + 3 + 1)


def test_owners_and_types_come_from_the_lists(aws, quick, run):
    """A start in another space of the same owner is a return; what the log does not say, ListApps does."""
    for name in ("lab", "other"):
        aws.sagemaker.add_space(name, domain="d-1", owner="Alice")
    aws.sagemaker.add_app("default", "JupyterLab", space="lab", domain="d-1", instance_type="ml.m5.xlarge")
    lab, other = "d-1/lab/JupyterLab/default", "d-1/other/JupyterLab/default"
    aws.put([line("accepted", at(18), stream=lab, instance_type=None), line("started", at(20), "x", other)])

    found = json.loads(run("--json", "--by", "owner", *WINDOW)[1])

    assert list(found["by_owner"]) == ["alice"]
    assert list(found["by_type"]) == ["ml.m5.xlarge"]
    assert found["given_back"]["hours"]["at_most"] == 2.0


def test_an_interval_that_comes_back_full_is_halved(aws, quick, run, monkeypatch):
    """So that nothing is cut, however much there is."""
    aws.sagemaker.add_domain("d-1")
    events = [
        line("started", at(1 + number / 100), f"r{number}", f"d-1/u{number}/JupyterLab/default") for number in range(40)
    ]
    events += [line("accepted", at(12), f"r{number}", f"d-1/u{number}/JupyterLab/default") for number in range(40)]
    aws.put(events)
    whole = run("--json", *WINDOW)[1]
    before = aws.logs.count("StartQuery")
    monkeypatch.setattr(insights, "MOST_ROWS", 50)

    code, out, _ = run("--json", *WINDOW)

    assert (code, out) == (0, whole)
    assert aws.logs.count("StartQuery") - before > before


@pytest.mark.parametrize("operation", ["StartQuery", "GetQueryResults", "ListSpaces", "ListApps", "DescribeDomain"])
def test_what_is_denied_ends_it(aws, quick, run, operation):
    """Exit code 3, the permission by its name, and no sum."""
    aws.sagemaker.add_domain("d-1")
    aws.put(NIGHT)
    (aws.logs if "Query" in operation else aws.sagemaker).fail(operation, Fault.ACCESS_DENIED)

    code, out, err = run("--json", *WINDOW)

    assert (code, out) == (3, "")
    assert f":{operation}" in err
    assert "is missing" in err


@pytest.mark.parametrize("status", ["Failed", "Timeout", "Cancelled", "Unknown"])
def test_a_query_that_fails_ends_it(aws, quick, run, status):
    """No part of a month is its sum."""
    aws.put(NIGHT)
    aws.sagemaker.add_domain("d-1")
    aws.logs.query_ends = status

    code, out, err = run("--json", *WINDOW)

    assert (code, out) == (3, "")
    assert f"ended as {status}, so there is no sum" in err


def test_an_answer_that_is_short_of_what_it_found_ends_it(aws, quick, run):
    """An answer says how many rows it found."""
    aws.put(NIGHT)
    aws.sagemaker.add_domain("d-1")
    aws.logs.query_loses = 1

    code, out, err = run("--json", *WINDOW)

    assert (code, out) == (3, "")
    assert "logs:GetQueryResults gave" in err


@pytest.mark.parametrize(("hours", "code"), [(-30, 0), (24 * 2 + 1, 3)], ids=["before the window", "within it"])
def test_a_log_that_does_not_reach_back_so_far(aws, quick, run, hours, code):
    """Nothing is missing before the window, where nothing was; within it a part of the log is no log."""
    aws.sagemaker.add_domain("d-1")
    aws.put(NIGHT)
    aws.logs.made_at = int(at(hours).timestamp() * 1000)

    found, out, err = run("--json", *WINDOW)

    assert found == code
    assert (json.loads(out)["stops"] == 1) if code == 0 else "log retention settings" in err


def test_a_second_too_full_to_be_halved_ends_it(aws, quick, run, monkeypatch):
    """More than can be had in a millisecond is said so."""
    aws.sagemaker.add_domain("d-1")
    aws.put([line("started", at(1), f"r{number}") for number in range(9)])
    monkeypatch.setattr(insights, "MOST_ROWS", 5)

    code, out, err = run("--json", *WINDOW)

    assert (code, out) == (3, "")
    assert "more cannot be had" in err


def test_prices_come_from_the_price_list(aws, quick, run, tmp_path, monkeypatch):
    """Of this region, over 0, one for each; the file is kept, and can be read again."""
    monkeypatch.chdir(tmp_path)
    aws.sagemaker.add_domain("d-1")
    aws.put(NIGHT)
    lab, add = "Studio-JupyterLab", aws.billing.product
    add(f"EU-Studio:JupyterLab-{TYPE}", lab, "1.5000000000")
    add("EU-Studio:JupyterLab-ml.t3.medium", lab, "0.0000000000")
    add("EU-Studio:JupyterLab-ml.t3.medium", lab, "0.0550000000")
    add("EU-Studio:JupyterLab-ml.t3.large", lab, "0.1")
    add("EU-Studio:JupyterLab-ml.t3.large", lab, "0.2")
    add(f"USE1-Studio:JupyterLab-{TYPE}", lab, "9.9", region="us-east-1")
    add("EU-Studio:CodeEditor-ml.t3.medium", "studio-codeeditor", "0.06")
    add("EU-Notebk:ml.t3.medium", "Notebook", "0.07")
    add("EU-Studio:KernelGateway-ml.t3.medium", "Studio-Notebook", "0.08", unit="Quantity")

    found = json.loads(run("--json", "--fetch-prices", "kept.json", *WINDOW)[1])
    kept = json.loads((tmp_path / "kept.json").read_text())

    assert kept["rates"] == {
        "Studio:JupyterLab": {TYPE: 1.5, "ml.t3.medium": 0.055},
        "Studio:CodeEditor": {"ml.t3.medium": 0.06},
        "Notebook": {"ml.t3.medium": 0.07},
    }
    assert (kept["region"], kept["currency"], kept["source"]) == ("eu-west-1", "USD", "AWS Price List")
    assert found["given_back"]["cost"]["at_most"] == 22.5
    again = run("--json", "--prices", str(tmp_path / "kept.json"), *WINDOW)[1]
    assert json.loads(again)["given_back"] == found["given_back"]


def test_china_answers_in_its_own_currency(aws, quick, run, tmp_path, monkeypatch):
    """CNY alone, asked in China."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "cn-north-1")
    aws.billing.region = "cn-northwest-1"
    aws.billing.product(f"CNN1-Studio:JupyterLab-{TYPE}", "Studio-JupyterLab", "10", "cn-north-1", "CNY")
    aws.billing.product("CNN1-Studio:JupyterLab-ml.t3.medium", "Studio-JupyterLab", "1", "cn-north-1", "USD")

    path = tmp_path / "cn.json"
    found = json.loads(run("--json", "--fetch-prices", str(path), *WINDOW, events=NIGHT)[1])

    assert found["given_back"]["cost"]["currency"] == "CNY"
    assert json.loads(path.read_text())["rates"] == {"Studio:JupyterLab": {TYPE: 10.0}}
    assert "USD" not in json.dumps(found)


def test_prices_that_cannot_be_had_end_it(aws, quick, run):
    """Nothing is guessed."""
    aws.billing.denied = True

    code, out, err = run("--json", "--fetch-prices", "x.json", *WINDOW, events=NIGHT)

    assert (code, out) == (3, "")
    assert "permission pricing:GetProducts" in err


def test_the_bill_stands_beside_what_was_observed(aws, quick, run):
    """It corrects nothing."""
    aws.sagemaker.add_domain("d-1")
    free = beat(at(12), "j", "d-1/bob/JupyterServer/default", seconds={"not billed": 3600.0})
    aws.put([*NIGHT, free])
    usage = [
        (f"EU-Studio:JupyterLab-{TYPE}", 2.5),
        (f"EU-Studio:JupyterLab-{TYPE}", 1.0),
        ("EU-Train:ml.p3.2xlarge", 7),
    ]
    aws.billing.usage = [*usage, ("EU-Studio:VolumeUsage.gp3", 3.0)]

    found = json.loads(run("--json", "--reconcile", *WINDOW)[1])

    assert found["reconcile"] == {TYPE: {"observed_hours": 2.0, "billed_hours": 3.5}}
    assert found["given_back"]["hours"]["at_most"] == 15.0


def test_only_the_domain_that_was_asked_for_counts(aws, quick, run):
    """Others are in the same log group."""
    for domain in ("d-1", "d-2"):
        aws.sagemaker.add_domain(domain)
    aws.put(NIGHT + [{**each, "logStreamName": STREAM.replace("d-1", "d-2")} for each in NIGHT])

    both, one = (json.loads(run("--json", *options, *WINDOW)[1]) for options in ([], ["--domain", "d-2"]))

    assert (both["stops"], one["stops"]) == (2, 1)


def test_lines_of_others_in_the_log_are_nothing(run):
    """A log has much in it."""
    noise = [event(at(hour), "some text that says culling and nothing else") for hour in range(20)]

    assert json.loads(run("--json", *WINDOW, events=NIGHT + noise)[1])["stops"] == 1
