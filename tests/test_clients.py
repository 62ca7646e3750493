"""The original extension's clients, unmodified, against real server processes as SageMaker runs them.

SageMaker Studio: no token, base URL /jupyter/default, port 8888. The clients are written anew here from what they do on
the wire; see the module docstring of `culling_manager.server.handlers` and the README of the extension that we succeed.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import quote

import pytest
import requests

from tests.conftest import patience
from tests.ports import free_port

SPACE = "sagemaker-studio-autoshutdown"
CONFIG = Path(__file__).parents[1] / "config" / "jupyter_server_config.py"


@pytest.fixture(scope="module", params=["server", "lab"])
def studio(request, tmp_path_factory):
    """The base URL of a server process as SageMaker starts it; a new one for plain server and for lab."""
    if request.param == "lab" and importlib.util.find_spec("jupyterlab") is None:
        pytest.skip("jupyterlab is not installed")
    home = tmp_path_factory.mktemp(request.param)
    port = free_port()
    environment = {
        **os.environ,
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
    }
    module = {"server": "jupyter_server", "lab": "jupyterlab"}[request.param]
    process = subprocess.Popen(
        [
            sys.executable, "-m", module, f"--config={CONFIG}", "--allow-root", "--no-browser", f"--port={port}",
            "--ServerApp.port_retries=0", "--IdentityProvider.token=", "--ServerApp.base_url=/jupyter/default",
            "--ServerApp.allow_origin=*",
        ],
        env=environment,
        cwd=home,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    base = f"http://localhost:{port}/jupyter/default"
    try:
        wait_for(base, process)
        yield base
    finally:
        process.terminate()
        process.wait(20)


def wait_for(base: str, process: subprocess.Popen) -> None:
    """Until the server answers."""
    end = time.monotonic() + patience(60)
    while True:
        try:
            requests.get(f"{base}/api", timeout=patience(2))
            return
        except requests.ConnectionError:
            assert process.poll() is None, "the server ended"
            assert time.monotonic() < end
            time.sleep(0.1)


def first_cookie_value(response: requests.Response) -> str:
    """What the original takes for the XSRF token: the first Set-Cookie, up to ';', between the first two '='."""
    return response.headers["Set-Cookie"].split(";")[0].split("=")[1]


@pytest.mark.parametrize("attempt", range(12))
def test_the_originals_client_sets_the_timeout(studio, attempt):
    """GET tree, take the first cookie, POST with it: 200, whatever format this run's login cookie has."""
    session = requests.Session()
    tree = session.get(f"{studio}/tree")

    answer = session.post(
        f"{studio}/{SPACE}/idle_checker",
        json={"idle_time": 100 + attempt, "keep_terminals": False},
        params={"_xsrf": first_cookie_value(tree)},
    )

    assert answer.status_code == 200
    assert set(answer.json()) == {"greetings", "count"}
    shown = requests.get(f"{studio}/{SPACE}/idle_checker").json()
    assert shown["idle_time"] == (100 + attempt) * 60


def test_the_originals_check_prints_the_json(studio):
    """GET without anything: 200 and the four fields."""
    answer = requests.Session().get(f"{studio}/{SPACE}/idle_checker")

    assert answer.status_code == 200
    assert set(answer.json()) == {"idle_time", "keep_terminals", "count", "errors"}


def test_a_client_that_does_it_right_works_too(studio):
    """The `_xsrf` cookie as header, as Jupyter's own pages do it."""
    session = requests.Session()
    session.get(f"{studio}/tree")

    answer = session.post(
        f"{studio}/{SPACE}/settings", json={"idle_time": 60}, headers={"X-XSRFToken": session.cookies["_xsrf"]}
    )

    assert (answer.status_code, answer.json()["idle_time"]) == (200, "3600")


def forged_requests(session: requests.Session, token: str) -> dict[str, dict]:
    """What a page of another site, or a form, could send with the user's cookies, and what a guesser could."""
    good = {"idle_time": 1, "keep_terminals": False}
    elsewhere = {"Origin": "https://evil.example"}
    return {
        "no token": {"json": good},
        "empty token": {"json": good, "params": {"_xsrf": ""}},
        "guessed token": {"json": good, "params": {"_xsrf": "x" * 60}},
        "a cookie that was made up": {"json": good, "params": {"_xsrf": "2|1:0|10:1|8:username|4:abcd|" + "0" * 64}},
        "the beginning of the cookie": {"json": good, "params": {"_xsrf": token[:40]}},
        "the right token from another origin": {"json": good, "params": {"_xsrf": token}, "headers": elsewhere},
        "the right token with another referer": {
            "json": good, "params": {"_xsrf": token}, "headers": {"Referer": "https://evil.example/x"},
        },
        "a bare form": {"data": good},
        "a form with the right token": {"data": json.dumps(good), "params": {"_xsrf": token}},
        "a form as plain text": {
            "data": json.dumps(good), "params": {"_xsrf": token}, "headers": {"Content-Type": "text/plain"},
        },
        "opaque origin": {"json": good, "params": {"_xsrf": token}, "headers": {"Origin": "null"}},
    }  # fmt: skip


def test_forgers_are_refused(studio):
    """Each of them gets 403, and nothing is set."""
    session = requests.Session()
    token = first_cookie_value(session.get(f"{studio}/tree"))
    before = requests.get(f"{studio}/{SPACE}/idle_checker").json()["idle_time"]

    answers = {
        name: session.post(f"{studio}/{SPACE}/idle_checker", **forged).status_code
        for name, forged in forged_requests(session, token).items()
    }

    assert set(answers.values()) == {403}, answers
    assert requests.get(f"{studio}/{SPACE}/idle_checker").json()["idle_time"] == before


def test_the_cookie_alone_without_being_sent_as_cookie_is_nothing(studio):
    """A leaked token without the cookie is refused: both have to come together."""
    token = first_cookie_value(requests.get(f"{studio}/tree"))

    answer = requests.post(
        f"{studio}/{SPACE}/idle_checker?_xsrf={quote(token)}", json={"idle_time": 1, "keep_terminals": False}
    )

    assert answer.status_code == 403


def login_cookie(studio: str) -> str:
    """The name of the server's login cookie."""
    (name,) = [each.name for each in requests.get(f"{studio}/tree").cookies if each.name.startswith("username-")]
    return name


def test_a_login_cookie_that_somebody_planted_is_nothing(studio):
    """Pages of another user on the same host can plant a cookie, and know its value; they cannot sign one."""
    planted = "p" * 60
    before = requests.get(f"{studio}/{SPACE}/idle_checker").json()["idle_time"]

    answer = requests.post(
        f"{studio}/{SPACE}/idle_checker?_xsrf={planted}",
        json={"idle_time": 1, "keep_terminals": False},
        cookies={login_cookie(studio): planted},
    )

    assert answer.status_code == 403
    assert requests.get(f"{studio}/{SPACE}/idle_checker").json()["idle_time"] == before


def test_a_login_cookie_whose_signature_was_changed_is_nothing(studio):
    """Also one that begins like a real one, of which the original's client sends the beginning only."""
    real = requests.get(f"{studio}/tree").cookies[login_cookie(studio)].strip('"')
    changed = real[:-8] + "0" * 8

    answer = requests.post(
        f"{studio}/{SPACE}/idle_checker",
        params={"_xsrf": changed.split("=")[0]},
        json={"idle_time": 1, "keep_terminals": False},
        cookies={login_cookie(studio): changed},
    )

    assert answer.status_code == 403


@pytest.mark.parametrize("path", [f"{SPACE}/settings", "api/kernels", "api/terminals"])
def test_what_is_let_through_is_that_one_endpoint(studio, path):
    """Everywhere else a wrong token is a wrong token."""
    session = requests.Session()
    token = first_cookie_value(session.get(f"{studio}/tree"))

    answer = session.post(f"{studio}/{path}", json={"idle_time": 1}, params={"_xsrf": token})

    assert answer.status_code == 403
