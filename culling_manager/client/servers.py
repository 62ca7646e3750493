"""Which Jupyter Servers run here, as `jupyter server list` finds them, and which of them is meant.

Reads the runtime files itself: importing jupyter_server for it takes longer than everything else that the command does,
and the environment of a kernel may not have it.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from ..errors import CullingError, ErrorCode

#: Addresses to listen on that are none to connect to.
WILDCARDS = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "*": "127.0.0.1", "::": "::1"}  # noqa: S104
#: What an HTTP header can carry.
SENDABLE = re.compile(r"[ -~\xa0-\xff]*")
#: 'localhost:8888', '[::1]:8888/jupyter', which urlsplit takes for a scheme.
_NO_SCHEME = re.compile(r"([\w.-]+|\[[\w:]+\]):\d+(/|$|\?)")
LONGEST_FILE = 65_536  # bytes


class Code(IntEnum):
    """Exit codes; 6 to 10 mean what they mean for `check_idle_timeout_configuration.py`."""

    OK = 0
    REFUSED = 1
    USAGE = 2
    NO_SERVER = 3
    NOT_SELECTED = 6
    EXTENSION_MISSING = 7
    TOKEN_REFUSED = 8
    UNEXPECTED = 9
    NO_ANSWER = 10


class Failure(CullingError):
    """Why a command could not be carried out: words, the exit code, and the code of the answer, where it has one."""

    def __init__(self, exit_code: Code, words: str, code: ErrorCode | None = None) -> None:
        super().__init__(words, code=code)
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server: its base URL, which holds no token, and how to reach it. The token is never shown.

    `host` is where to connect; for one that listens on a unix socket that is the socket's path, and `port` is 0.
    """

    url: str
    scheme: str
    host: str
    port: int
    path: str
    token: str = field(default="", repr=False)
    pid: int | None = None

    @property
    def base_url(self) -> tuple[str, int, str]:
        """What only one server can have."""
        return ("127.0.0.1" if self.host == "localhost" else self.host, self.port, self.path)

    def is_meant_by(self, words: str) -> bool:
        """Whether a port or a URL means this one."""
        if words.isdecimal():
            return int(words) == self.port
        try:
            return parse_url(words).base_url == self.base_url
        except ValueError:
            return False


def parse_url(url: str, token: str = "") -> Server:
    """Give the server of a URL, also as pasted from its log with ``/lab?token=...``, or without http://. ValueError."""
    url = url.strip()
    parts = urlsplit(f"http://{url}" if _NO_SCHEME.match(url) else url)
    token = token or parse_qs(parts.query).get("token", [""])[0]
    if not SENDABLE.fullmatch(token):
        raise ValueError("its token is not plain text")
    path = quote(re.sub(r"/(lab|tree)(/.*)?$", "", parts.path).rstrip("/") + "/", safe="/%:@!$&'()*+,;=")
    if parts.scheme == "http+unix" and parts.netloc:
        host = unquote(parts.netloc)
        shown = f"http+unix://{quote(host, safe='')}{path}"
        return Server(url=shown, scheme=parts.scheme, host=host, port=0, path=path, token=token)
    if parts.scheme not in ("http", "https") or not re.fullmatch(r"[\w.:%-]+", parts.hostname or ""):
        raise ValueError("it is not the URL of a server, such as http://localhost:8888/jupyter/default")
    host, port = parts.hostname or "", parts.port or {"http": 80}.get(parts.scheme, 443)
    shown = f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{port}{path}"
    return Server(url=shown, scheme=parts.scheme, host=host, port=port, path=path, token=token)


def runtime_dir() -> Path:
    """Jupyter's runtime directory."""
    from jupyter_core.paths import jupyter_runtime_dir

    return Path(jupyter_runtime_dir())


def alive(pid: object) -> bool:
    """Whether a process of ours exists; True on Windows, where asking could end it."""
    if type(pid) is not int or pid <= 0:
        return False
    try:
        if os.name != "nt":
            os.kill(pid, 0)
    except (OSError, OverflowError):  # it is gone, or what has its number now is somebody else's
        return False
    return True


def read_regular(path: Path) -> bytes:
    """What is in a small regular file; nothing else is waited for. Raises ValueError or OSError."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    with open(descriptor, "rb") as opened:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > LONGEST_FILE:
            raise ValueError(f"it is not a file of at most {LONGEST_FILE} bytes")
        return opened.read(LONGEST_FILE)


def read_runtime_file(path: Path) -> Server | None:
    """Give the server of one ``jpserver-*.json`` file; None when it tells of none that runs."""
    try:
        info: Any = json.loads(read_regular(path))
        if not isinstance(info, dict) or not alive(info.get("pid")):
            return None
        server = parse_url(str(info["url"]), str(info.get("token") or ""))
    except (OSError, ValueError, KeyError, RecursionError):
        return None
    host = WILDCARDS.get(str(info.get("hostname")), server.host) if server.port else server.host
    return replace(server, host=host, pid=info["pid"])


def running_servers(directory: Path | None = None) -> list[Server]:
    """Every server of this user that runs here, by URL.

    Of several files for one address the newest counts: others are of servers that ended without removing theirs, whose
    process number is somebody else's by now.
    """
    paths = sorted((directory or runtime_dir()).glob("jpserver-*.json"), key=_written_at)
    found = [each for each in map(read_runtime_file, paths) if each is not None]
    newest = {(each.host, each.port): each for each in found}
    return sorted(newest.values(), key=lambda each: each.url)


def _written_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def with_token(server: Server, given: str | None, known: Sequence[Server] = ()) -> Server:
    """The server with the token given, its own, that of a runtime file on just this server, or JUPYTER_TOKEN."""
    own = server.token or next((each.token for each in known if each.base_url == server.base_url), "")
    token = given or own or os.environ.get("JUPYTER_TOKEN", "")
    if not SENDABLE.fullmatch(token):
        raise Failure(Code.USAGE, "The token is not plain text.")
    return replace(server, token=token)


def wanted_servers(url: str | None, token: str | None, choice: str | None) -> list[Server]:
    """The server at `url`, or those that run here, or the one among them that `choice` (a port or URL) means.

    Raises
    ------
    Failure
        When there is none.
    """
    known = running_servers()
    if url is not None:
        return [with_token(parse_url(url), token, known)]
    if not known:
        raise Failure(
            Code.NO_SERVER,
            f"No Jupyter Server of yours runs here (looked in {runtime_dir()}): start one, or give its --url.",
        )
    found = [each for each in known if choice is None or each.is_meant_by(choice)]
    if not found:
        raise Failure(Code.NO_SERVER, f"No server here is {choice}. There {_listed(known)}")
    return [with_token(each, token) for each in found]


def the_one(servers: Sequence[Server]) -> Server:
    """The only server; a change needs to know which one is meant.

    Raises
    ------
    Failure
        When there are several.
    """
    if len(servers) > 1:
        raise Failure(Code.USAGE, f"Which server? Choose one with --server PORT or URL. There {_listed(servers)}")
    return servers[0]


def _listed(servers: Sequence[Server]) -> str:
    words = "is" if len(servers) == 1 else "are"
    return f"{words}:" + "".join(f"\n  {each.url}" for each in servers)
