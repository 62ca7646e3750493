"""A small server that speaks our HTTP contract and Jupyter's XSRF, for what a real one does only on a bad day."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

SPACE = "sagemaker-studio-autoshutdown"
NOW = "2026-06-01T12:30:00.000000Z"
XSRF = "2|1234|abcdef|1"
BUSY, IDLE = "deadbeef-0000-0000-0000-000000000001", "deadc0de-0000-0000-0000-000000000002"
ARN = "arn:aws:sagemaker:eu-west-1:123456789012:app/d-1/alice/JupyterLab/default"


def entry(identity: str, **more: Any) -> dict[str, Any]:
    """One kernel, terminal or app of a state document: idle for ten minutes, due in fifty."""
    found = {
        **{"id": identity, "name": "python3", "state": "idle", "connections": 0},
        **{"last_activity": "2026-06-01T12:20:00.000000Z", "idle_seconds": 600.0, "decision": "keep"},
        **{"reason": "active", "detail": "Idle for 10 min, due in 50 min.", "due_at": "2026-06-01T13:20:00.000000Z"},
        **{"kept_until": None, "warned": False, "used_by": None},
    }
    return found | more


def document(**more: Any) -> dict[str, Any]:
    """A state document: one busy and one idle kernel, a terminal, an app."""
    found: dict[str, Any] = {
        **{"version": "1", "now": NOW, "running": True, "count": 9, "watching": ["kernel", "terminal", "app"]},
        **{"errors": [], "notices": [], "keep_alive": [], "recent": [], "app_manager": None},
        "policy": {"idle_timeout": 3600.0, "terminal_idle_timeout": None, "keep_terminals": False, "dry_run": False},
        "next_wake_up": "2026-06-01T12:30:08.000000Z",
        "kernels": [
            entry(BUSY, state="busy", reason="busy", detail="Kept: it is working.", due_at=None, idle_seconds=2.0),
            entry(IDLE),
        ],
        "terminals": [entry("1", name="1", state="running")],
        "apps": [
            entry(ARN, name="default", state="InService", reason="in use", due_at=None, detail=f"Kept by {BUSY}.")
            | {"instance_type": "ml.t3.medium", "error": None}
        ],
    }
    return found | more


@dataclass
class Double:
    """What it is to answer, what it was asked, and where it listens."""

    status: dict[str, Any] = field(default_factory=document)
    token: str = ""
    #: (method, name) -> (HTTP status, body, headers): answered whatever was asked.
    instead: dict[tuple[str, str], tuple[int, Any, dict[str, str]]] = field(default_factory=dict)
    keep_alive: list[dict[str, Any]] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=lambda: {"idle_time": 3600.0, "keep_terminals": False})
    saved: dict[str, Any] | None = None
    kernels: tuple[str, ...] = (BUSY, IDLE)
    #: (path, fields, message): a body with such fields is refused with a message.
    refused: list[tuple[str, dict[str, Any], str]] = field(default_factory=list)
    sessions: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, str, Any]] = field(default_factory=list)
    base_url: str = "/jupyter/default/"
    port: int = 0

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://127.0.0.1:{self.port}{self.base_url}"

    @property
    def changes(self) -> list[tuple[str, str, Any]]:
        """What it was asked to change."""
        return [each for each in self.asked if each[0] != "GET"]

    def write_runtime_file(self, folder: Path, **more: Any) -> Path:
        """Tell of it as a Jupyter Server does."""
        folder.mkdir(parents=True, exist_ok=True)
        info = {"url": self.url, "token": self.token, "pid": os.getpid(), "hostname": "localhost", "port": self.port}
        path = folder / f"jpserver-{self.port}.json"
        path.write_text(json.dumps(info | {"base_url": self.base_url, "sock": "", "secure": False} | more))
        return path

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        """Give status and body for a request that was let in."""
        if path == "api":
            return 200, {"version": "2.21.1"}
        for where, fields, message in self.refused:
            if path == where and isinstance(body, dict) and fields.items() <= body.items():
                return 400, {"code": "bad_field", "message": message}
        if path == "api/sessions":
            return 200, [{"path": name, "kernel": {"id": kernel}} for name, kernel in self.sessions.items()]
        if path.startswith("api/kernels/"):
            return (200, {}) if path.removeprefix("api/kernels/") in self.kernels else (404, {"message": "no kernel"})
        match method, path.removeprefix(f"{SPACE}/"):
            case "GET", "status":
                return 200, self.status | {"keep_alive": self.keep_alive}
            case "GET", "keep-alive":
                return 200, {"keep_alive": self.keep_alive, "max_keep_alive": 480}
            case "POST", "keep-alive":
                until = body.get("until", "2026-06-01T16:30:00.000000Z")
                made = {"kind": body.get("kind", "all"), "id": body.get("id"), "until": until, "asked_by": "alice"}
                self.keep_alive.append(made | {"asked_at": NOW})
                return 200, self.keep_alive[-1]
            case "DELETE", "keep-alive":
                return self._take_back(query.get("kind", "all"), query.get("id"))
            case "GET", "settings":
                return 200, self._settings()
            case "POST", "settings":
                self.settings["idle_time"] = body["idle_time"] * 60
                self.settings |= {name: body[name] for name in ("keep_terminals",) if name in body}
                self.saved = dict(self.settings) if body.get("save") else self.saved
                return 200, {"idle_time": str(self.settings["idle_time"]), "keep_terminals": False}
            case "DELETE", "settings":
                self.settings, self.saved = {"idle_time": 7200.0, "keep_terminals": False}, None
                return 200, self._settings()
        return 404, "<html>not here</html>"

    def _settings(self) -> dict[str, Any]:
        configured = {"idle_time": 7200.0, "keep_terminals": False}
        bounds = {"min_idle_timeout": 10, "max_idle_timeout": 480, "keep_terminals": "free"}
        return {**self.settings, "configured": configured, "saved": self.saved, "bounds": bounds}

    def _take_back(self, kind: str, identity: str | None) -> tuple[int, Any]:
        left = [each for each in self.keep_alive if (each["kind"], each["id"]) != (kind, identity)]
        if len(left) == len(self.keep_alive):
            return 404, {"message": f"Nothing keeps {kind}."}
        self.keep_alive[:] = left
        return 200, {"keep_alive": left, "max_keep_alive": 480}


def _handler(double: Double) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            path = parts.path.removeprefix(double.base_url)
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = json.loads(raw) if raw else None
            double.asked.append((self.command, path + (f"?{parts.query}" if parts.query else ""), body))
            self._send(*self._decide(path, dict(parse_qsl(parts.query)), body))

        do_POST = do_DELETE = do_GET

        def _decide(self, path: str, query: dict[str, str], body: Any) -> tuple[int, Any, dict[str, str]]:
            cookie = {"Set-Cookie": f"_xsrf={XSRF}; Path={double.base_url}"}
            instead = double.instead.get((self.command, path.removeprefix(f"{SPACE}/")))
            if instead is not None:
                return instead
            if path == "tree":
                return 404, "<html></html>", cookie
            if path == "api":
                return (*double.answer("GET", path, {}, None), {})
            let_in = not double.token or self.headers.get("Authorization") == f"token {double.token}"
            forged = XSRF not in (self.headers.get("Cookie") or "") or self.headers.get("X-XSRFToken") != XSRF
            if not let_in or (self.command != "GET" and not double.token and forged):
                return 403, {"message": "Forbidden" if not let_in else "'_xsrf' argument missing"}, {}
            return (*double.answer(self.command, path, query, body), {})

        def _send(self, status: int, body: Any, headers: dict[str, str]) -> None:
            raw = (body if isinstance(body, str) else json.dumps(body)).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(raw))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *_: Any) -> None:
            """Quietly."""

    return Handler


@contextmanager
def running(**more: Any) -> Iterator[Double]:
    """A double that listens."""
    double = Double(**more)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(double))
    double.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield double
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
