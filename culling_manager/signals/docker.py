"""Asking Docker, by its HTTP API, which containers run and what they use. It blocks, so it runs in a thread."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import ssl
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from ..engine.clock import monotonic
from ..errors import ReadError
from .usage import shown

#: How long (seconds) Docker may take for one answer, and a labelled container, as for AWS's extension.
DOCKER_SECONDS, CONTAINER_SECONDS = 5.0, 1.0
#: More than this (bytes) is no answer of either.
LONGEST_ANSWER = 16_777_216
#: With more containers than these nobody looks at each, and that counts as use.
MOST = 200
#: Labels by which a container says how it is to be asked: its port, the path, where in the answer it says how much
#: there is to do (JMESPath; 0 is nothing), and what to send.
LABEL = "com.amazon.jupyter.activity."
PORT, ENDPOINT, RESPONSE, PAYLOAD = (LABEL + name for name in ("port", "endpoint", "response", "payload"))
#: Where Linux tells a process in which container it is: by its own cgroup, and by the files that Docker lays over its
#: /etc. On the machine itself these tell nothing, though the second names the mounts of all containers.
_OWN = {
    "/proc/self/cgroup": re.compile(r"[/-]([0-9a-f]{64})\b"),
    "/proc/self/mountinfo": re.compile(r"/containers/([0-9a-f]{64})/\S+ /etc/(?:hostname|hosts|resolv\.conf) "),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """One that runs; `network` is whose network it is in, where that is another container's."""

    identity: str
    name: str
    labels: Mapping[str, str]
    network: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """What a container had used until `at`: processor time (seconds), and bytes on disk and network."""

    at: float
    cpu_seconds: float
    moved_bytes: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One look at all containers that belong here (`every`: all but ours). Raises ReadError when Docker fails."""

    place: str
    base_url: str
    every: bool
    cpu_share: float
    io_rate: float
    seconds: float

    def __call__(self) -> str | None:
        """Say which is at work; None when none is, or nobody answers there or lets us ask."""
        try:
            mine = list(self._mine())
        except (FileNotFoundError, ConnectionRefusedError, PermissionError):
            return None  # no Docker runs there, or none that we could have started anything with
        if len(mine) > MOST:
            return f"{len(mine)} containers run, which are too many to look at"
        silent: list[Container] = []
        for each in mine:
            at_work = asked(each, self.base_url)
            if at_work:
                return f"container {shown(each.name)} says that it is at work"
            silent += [each] if at_work is None else []
        return self._by_use(silent) if silent else None

    def _mine(self) -> Iterable[Container]:
        own = own_ids()
        for each in self._listed():
            shares = each.network.removeprefix("container:")[:12]
            if each.identity[:12] in own:
                continue
            if self.every or is_labelled(each) or (shares and shares in own):
                yield each

    def _listed(self) -> Iterable[Container]:
        for each in self._ask("/containers/json"):
            yield Container(
                identity=str(each["Id"]),
                name=str((each.get("Names") or [each["Id"][:12]])[0]).lstrip("/"),
                labels=each.get("Labels") or {},
                network=str((each.get("HostConfig") or {}).get("NetworkMode") or ""),
            )

    def _by_use(self, containers: list[Container]) -> str | None:
        """Which of those uses something, between two readings; one that has ended meanwhile does not."""
        first = {each.identity: self._used(each) for each in containers}
        threading.Event().wait(self.seconds)
        for each in containers:
            before, after = first[each.identity], self._used(each)
            if before is None or after is None or after.at <= before.at:
                continue
            passed = after.at - before.at
            share = (after.cpu_seconds - before.cpu_seconds) / passed
            if share > self.cpu_share:
                return f"container {shown(each.name)} uses {100 * share:.0f}% of a core"
            rate = (after.moved_bytes - before.moved_bytes) / passed
            if rate > self.io_rate:
                return f"container {shown(each.name)} reads and writes {rate / 1000:.0f} kB/s"
        return None

    def _used(self, container: Container) -> Used | None:
        found = self._ask(
            f"/containers/{quote(container.identity, safe='')}/stats?stream=false&one-shot=true", gone=True
        )
        if found is None:
            return None
        blocks = (found.get("blkio_stats") or {}).get("io_service_bytes_recursive") or []
        networks = (found.get("networks") or {}).values()
        moved = sum(each["value"] for each in blocks if str(each.get("op")).lower() in ("read", "write"))
        moved += sum(each.get("rx_bytes", 0) + each.get("tx_bytes", 0) for each in networks)
        cpu = ((found.get("cpu_stats") or {}).get("cpu_usage") or {}).get("total_usage") or 0
        return Used(at=monotonic(), cpu_seconds=cpu / 1e9, moved_bytes=float(moved))

    def _ask(self, path: str, *, gone: bool = False) -> Any:
        """What Docker answers; None for what is `gone`. Raises ReadError, and OSError where nobody answers."""
        try:
            status, raw = answer(connect(self.place), "GET", path)
            if status == 404 and gone:
                return None
            if status == 200:
                return json.loads(raw)
        except (TimeoutError, http.client.HTTPException, ValueError) as error:
            raise ReadError(f"Docker at {self.place} does not answer {path} as it should: {error!r}") from None
        raise ReadError(
            f"Docker at {self.place} answers {path} with HTTP status {status}: {shown(raw.decode('utf-8', 'replace'))}"
        )


def is_labelled(container: Container) -> bool:
    """Whether it says how it is to be asked."""
    return all(label in container.labels for label in (PORT, ENDPOINT, RESPONSE))


def asked(container: Container, base_url: str) -> bool | None:
    """Whether it says that it is at work; None when it has no labels, or does not answer as they say."""
    if not is_labelled(container):
        return None
    labels = container.labels
    path = f"{base_url.rstrip('/')}/proxy/absolute/{labels[PORT]}/{labels[ENDPOINT].lstrip('/')}"
    try:
        payload = labels.get(PAYLOAD)
        body = json.dumps(json.loads(payload)) if payload else None
        connection = http.client.HTTPConnection("localhost", int(labels[PORT]), timeout=CONTAINER_SECONDS)
        status, raw = answer(connection, "POST" if body else "GET", path, body)
        if status != 200:
            return None
        import jmespath  # botocore brings it

        return bool(jmespath.search(labels[RESPONSE], json.loads(raw)) != 0)
    except (OSError, http.client.HTTPException, ValueError):  # jmespath's errors are ValueErrors
        return None


def answer(
    connection: http.client.HTTPConnection, method: str, path: str, body: str | None = None
) -> tuple[int, bytes]:
    """Status and body of one answer."""
    try:
        connection.request(method, path, body=body, headers={"Content-Type": "application/json"} if body else {})
        response = connection.getresponse()
        return response.status, response.read(LONGEST_ANSWER)
    finally:
        connection.close()


def connect(place: str) -> http.client.HTTPConnection:
    """A connection to Docker, with its client's certificate where its own settings say that it wants one."""
    if place.startswith("unix://"):
        connection = http.client.HTTPConnection("localhost", timeout=DOCKER_SECONDS)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(DOCKER_SECONDS)
        connection.sock.connect(place.removeprefix("unix://"))
        return connection
    parts = urlsplit(place)
    if parts.scheme == "https" or os.environ.get("DOCKER_TLS_VERIFY"):
        folder = os.environ.get("DOCKER_CERT_PATH") or os.path.expanduser("~/.docker")
        context = ssl.create_default_context(cafile=os.path.join(folder, "ca.pem"))
        context.load_cert_chain(os.path.join(folder, "cert.pem"), os.path.join(folder, "key.pem"))
        return http.client.HTTPSConnection(
            parts.hostname or "", parts.port or 2376, timeout=DOCKER_SECONDS, context=context
        )
    return http.client.HTTPConnection(parts.hostname or "", parts.port or 2375, timeout=DOCKER_SECONDS)


def own_ids() -> frozenset[str]:
    """What the container that this process runs in may be called (the first 12 characters); empty in none."""
    found = {socket.gethostname()[:12]}
    for path, pattern in _OWN.items():
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                found |= {each[:12] for each in pattern.findall(file.read(LONGEST_ANSWER))}
        except OSError:
            continue  # not Linux, or a sandbox that does not show it
    return frozenset(found)
