"""Use that goes through the server: a proxied app that somebody uses, and a forgotten page of it that only polls."""

from __future__ import annotations

import asyncio
import importlib.util
import itertools
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterable
from datetime import datetime, timedelta
from types import SimpleNamespace

import pytest
from tornado import web
from tornado.httpserver import HTTPServer
from tornado.websocket import WebSocketHandler

from culling_manager.records import Kind
from culling_manager.signals import ServerUseSignal, Signals
from culling_manager.signals.rhythm import MOST_KINDS, Rhythms, shape
from tests.conftest import patience
from tests.doubles import NOON
from tests.ports import free_port
from tests.test_config_files import jupyter
from tests.test_signals_runner import subject

APP = subject(Kind.APP, here=True)
HOUR, DAY = 3600.0, 86_400.0
#: The last use of a forgotten page may look like use for as long as its rhythm is learnt, and no longer (seconds).
LEARNT = 3 * 600 * 2


# -- rhythm ------------------------------------------------------------------------------------------


def uses(times: Iterable[float], rhythms: Rhythms | None = None, kind: object = "poll") -> list[float]:
    """Which of these requests of one kind count as use."""
    rhythms = rhythms or Rhythms()
    return [at for at in times if rhythms.is_use(kind, at)]


def ticks(every: float, until: float = DAY, start: float = 0.0, jitter: float = 0.0) -> list[float]:
    """A page's timer."""
    chance = random.Random(7)
    count = int((until - start) / every)
    return [start + number * every + chance.uniform(-jitter, jitter) for number in range(1, count)]


FORGOTTEN = {
    "every second": ticks(1, 2 * HOUR),
    "every 5 s": ticks(5, jitter=0.3),
    "every 30 s": ticks(30, jitter=1),
    "every 5 min": ticks(300, jitter=5),
    "two pages": sorted([*ticks(5), *ticks(5, start=0.7)]),
    "two pages that are slow": sorted([*ticks(150), *ticks(150, start=20)]),
    "a long poll that answers now and then": ticks(25, jitter=1),
    "a tab that is put to sleep": [*ticks(2, 300), *ticks(60, start=300)],
    "a laptop that sleeps and wakes": [at for at in ticks(5) if at % 1800 < 60],
    "a screen that is drawn": ticks(0.05, 1800),
}


@pytest.mark.parametrize("times", FORGOTTEN.values(), ids=FORGOTTEN)
def test_a_page_that_only_polls_stops_being_use_once_its_rhythm_is_known(times):
    """Within an hour for slow ones of which there are several, within minutes for others; and then for days."""
    assert uses(times)[-1] <= LEARNT


@pytest.mark.parametrize("pace", [0.5, 2.0, 20.0, 60.0, 120.0, 200.0, 400.0])
@pytest.mark.parametrize("seed", range(3))
def test_somebody_who_does_the_same_thing_again_and_again_is_there(pace, seed):
    """Hardly an hour goes by without use, though every request is of one kind: a person keeps no rhythm."""
    chance = random.Random(seed)
    times = list(itertools.accumulate(chance.expovariate(1 / pace) + 0.2 for _ in range(int(DAY / pace))))

    found = uses(times)

    assert max(later - at for at, later in itertools.pairwise([0.0, *found])) < HOUR
    assert times[-1] - found[-1] < HOUR


def test_a_click_among_the_polls_of_its_page_is_use():
    """It says something else, or comes out of turn."""
    rhythms = Rhythms()
    uses(ticks(5, HOUR), rhythms)

    assert rhythms.is_use("click", HOUR)
    assert rhythms.is_use("poll", HOUR - 4)


def test_a_page_that_is_silent_and_goes_on_was_not_used():
    """Its laptop was shut."""
    rhythms = Rhythms()
    uses(ticks(5, HOUR), rhythms)

    assert uses(ticks(5, 20 * HOUR, start=10 * HOUR), rhythms) == []


def test_the_memory_of_kinds_is_bounded_and_what_is_forgotten_is_new_again():
    """Somebody types: every key is a kind."""
    rhythms = Rhythms()
    for number in range(3 * MOST_KINDS):
        assert rhythms.is_use(number, float(number))

    assert len(rhythms._kinds) == MOST_KINDS


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        (b'{"n_intervals": 57}', b'{"n_intervals": 158}', True),
        (b'{"msg_id": "0123abcd4567ef89"}', b'{"msg_id": "fedcba9876543210"}', True),
        (b'{"changed": "interval"}', b'{"changed": "button"}', False),
        ("l", "s", False),
        (b"\xff\x00\x07", b"\xff\x00\x08", True),
        (b"\xff\x00\x07", b"\xff\x00\x07\x01", False),
        (None, b"", True),
    ],
)
def test_what_differs_in_numbers_only_is_of_one_kind(one, other, alike):
    """Bytes that are no text are known by their length."""
    assert (shape(one) == shape(other)) is alike


# -- what others note -------------------------------------------------------------------------------------


def noted(at: datetime = NOON, **settings) -> datetime | None:
    """What the signal makes of a server's settings."""
    signal = ServerUseSignal()
    signal.now = lambda: at
    signal.start(SimpleNamespace(web_app=SimpleNamespace(settings=settings)))
    try:
        return signal.last_use(APP)
    finally:
        signal.stop()


def test_what_other_extensions_note_as_activity_is_use():
    """By either of the two ways that there are."""
    earlier = NOON - timedelta(hours=1)

    assert noted(last_activity_times={"keepalive": earlier}) == earlier
    assert noted(rstudio_last_activity=earlier, last_activity_times={"keepalive": NOON - timedelta(days=1)}) == earlier


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"api_last_activity": NOON, "terminal_last_activity": NOON},
        {"last_activity_times": {"culling_manager": NOON}},
        {"last_activity_times": {"other": datetime(2026, 6, 1), "another": "today", "third": None}},
        {"last_activity_times": None},
    ],
    ids=["nothing", "pages and terminals", "our own", "no usable times", "no times"],
)
def test_what_a_page_of_jupyterlab_moves_our_own_notes_and_nonsense_are_none(settings):
    """The first is a forgotten tab, the second would keep itself."""
    assert noted(**settings) is None


def test_a_time_from_the_future_counts_once():
    """As when it was first seen, not at each look: it would keep the app until then."""
    signal = ServerUseSignal()
    times = {"other": NOON + timedelta(days=400)}
    signal._server = SimpleNamespace(web_app=SimpleNamespace(settings={"last_activity_times": times}))
    found = []
    for minutes in range(3):
        signal.now = lambda at=NOON + timedelta(minutes=minutes): at
        found.append(signal.last_use(APP))

    assert found == [NOON] * 3


def test_it_is_about_the_app_that_the_server_is_or_runs_on():
    """Not about an app elsewhere, nor about a kernel."""
    assert ServerUseSignal().applies(APP)
    assert not ServerUseSignal().applies(subject(Kind.APP))
    assert not ServerUseSignal().applies(subject(Kind.KERNEL, pids=(1,)))


# -- through the real jupyter-server-proxy ------------------------------------------------------------------

needs_proxy = pytest.mark.skipif(
    importlib.util.find_spec("jupyter_server_proxy") is None, reason="jupyter-server-proxy is not installed"
)


@pytest.fixture
def jp_server_config():
    """A plain server that proxies."""
    return {"ServerApp": {"jpserver_extensions": {"jupyter_server_proxy": True}}}


class Page(web.RequestHandler):
    """The app's HTTP side."""

    def get(self, *_):
        self.write("hello")

    post = get


class Socket(WebSocketHandler):
    """Its websocket: it answers, and sends by itself."""

    def on_message(self, message):
        self.write_message(f"heard {message}")


@pytest.fixture
def app(jp_asyncio_loop):
    """A small app on a port of its own."""
    port = free_port()

    async def start() -> HTTPServer:
        server = HTTPServer(web.Application([("/socket", Socket), ("/.*", Page)]))
        server.listen(port, "127.0.0.1")
        return server

    server = jp_asyncio_loop.run_until_complete(start())
    yield port
    server.stop()


@pytest.fixture
def signal(jp_serverapp):
    """The signal, listening to a real server."""
    signals = Signals(names=["server_use"])
    signals.start(jp_serverapp)
    yield signals.signals["server_use"]
    signals.stop()


def used(signal) -> bool:
    """Whether there was use since this was asked last."""
    found, signal._used_at = signal._used_at is not None, None
    return found


@needs_proxy
async def test_a_click_in_a_proxied_app_is_use_of_the_app_that_the_server_is(jp_fetch, app, signal):
    """Also as the runner asks; what the page sends at its own pace is none once that is known."""
    await jp_fetch("proxy", str(app), "index")
    finding = await Signals(names=["server_use"]).ask(APP)
    clicked = used(signal)
    for number in range(8):
        at = NOON + timedelta(seconds=10 * number)
        signal.now = lambda at=at: at
        await jp_fetch("proxy", str(app), "poll", method="POST", body=json.dumps({"n": number}))
    first, polls = used(signal), []
    for number in range(8, 12):
        at = NOON + timedelta(seconds=10 * number)
        signal.now = lambda at=at: at
        await jp_fetch("proxy", str(app), "poll", method="POST", body=json.dumps({"n": number}))
        polls.append(used(signal))
    await jp_fetch("proxy", str(app), "poll", method="POST", body=json.dumps({"button": 1}))

    assert finding.words is None
    assert (clicked, first, polls, used(signal)) == (True, True, [False] * 4, True)


@needs_proxy
async def test_opening_a_page_is_use_however_regularly_somebody_does_it(jp_fetch, app, signal):
    """Browsers say of a navigation that a person began it."""
    found = []
    for number in range(10):
        signal.now = lambda at=NOON + timedelta(seconds=60 * number): at
        await jp_fetch("proxy", str(app), "index", headers={"Sec-Fetch-User": "?1", "Sec-Fetch-Mode": "navigate"})
        found.append(used(signal))

    assert found == [True] * 10


@needs_proxy
async def test_a_message_to_a_proxied_app_is_use_and_pings_and_an_open_connection_are_none(
    jp_serverapp, jp_ws_fetch, app, signal
):
    """Nor is what the app says by itself."""
    socket = await jp_ws_fetch("proxy", str(app), "socket")
    opened = used(signal)
    await socket.write_message("run")
    answer = await socket.read_message()
    said = used(signal)
    socket.ping(b"are you there")
    await asyncio.sleep(0.2)
    pinged = used(signal)
    proxied = jp_serverapp.web_app.settings["last_activity_times"]["jupyter-server-proxy"]
    last = signal.last_use(APP)
    socket.close()

    assert answer == "heard run"
    assert (opened, said, pinged) == (False, True, False)
    assert proxied is not None  # the proxy itself counts pings as well, so what it notes is not asked
    assert last is None


@needs_proxy
async def test_a_page_of_jupyterlab_that_polls_is_no_use(jp_fetch, jp_serverapp, signal):
    """Its kernels, sessions, terminals and our status, again and again: a forgotten tab."""
    for path in ("kernels", "sessions", "terminals", "status", "contents"):
        for _ in range(3):
            await jp_fetch("api", path)

    assert not used(signal)
    assert signal.last_use(APP) is None


@needs_proxy
async def test_a_signal_that_fails_to_note_stops_no_request(jp_fetch, app, signal, caplog):
    """The proxied app is not ours to break."""
    signal._rhythms = None

    answer = await jp_fetch("proxy", str(app), "index")

    assert answer.body == b"hello"
    assert "use of a proxied app could not be noted" in caplog.text


@needs_proxy
async def test_one_that_is_stopped_hears_nothing(jp_fetch, app, signal):
    """A manager that was replaced."""
    signal.stop()

    await jp_fetch("proxy", str(app), "index")

    assert not used(signal)


@needs_proxy
def test_a_server_process_lives_a_whole_timeout_from_the_last_click_in_a_proxied_app(tmp_path):
    """Though it has no kernel, no terminal and no saved file; and then it goes."""
    from tests.test_end_to_end import BOTH, Client, eventually

    process = "--CullingKernelManager.app_manager_class=culling_manager.apps.JupyterServerProcess"
    port, seconds = free_port(), 3.0
    command = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1", "--directory", str(tmp_path)]
    page = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        proxy = "--ServerApp.jpserver_extensions=jupyter_server_proxy=True"
        with jupyter(tmp_path, *BOTH, "--Signals.names=server_use", process, proxy) as server:
            client = Client(server)
            eventually(lambda: client.session.get(f"{client.url}/proxy/{port}/").status_code == 200, server)
            client.set_timeout(seconds / 60)
            time.sleep(0.5)
            clicked_at = time.monotonic()
            answer = client.session.get(f"{client.url}/proxy/{port}/", timeout=patience(20))
            eventually(lambda: server.process.poll() is not None, server)
            lived = time.monotonic() - clicked_at
            code = server.process.poll()
    finally:
        page.kill()
        page.wait()

    assert answer.status_code == 200
    assert lived >= seconds
    assert code == 0
