"""HTTP on a port of this machine: requests in, replies out, and connections that end when they should."""

from __future__ import annotations

import json
import re
import socket
import socketserver
import sys
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.message import Message
from http.server import BaseHTTPRequestHandler
from typing import Any

from .faults import ServiceError, Unlawful

CONTENT_TYPE = "application/x-amz-json-1.1"
PREFIX = "SageMaker."
#: Errors of the service model; they spell their message with a capital letter.
MODELLED = {"ResourceInUse", "ResourceLimitExceeded", "ResourceNotFound"}
AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=\w+/(?P<day>\d{8})/(?P<region>[a-z0-9-]+)/(?P<service>[a-z0-9-]+)/aws4_request, "
    r"SignedHeaders=(?P<signed>[a-z0-9;-]+), Signature=[0-9a-f]{64}"
)


@dataclass(frozen=True)
class Request:
    """What came in; `hung_up` says whether its sender is still there."""

    method: str
    path: str
    headers: Message
    body: bytes
    hung_up: Callable[[], bool] = lambda: False

    @property
    def operation(self) -> str:
        return self.headers.get("X-Amz-Target", "").removeprefix(PREFIX)

    def parameters(self) -> Any:
        """What the body says; None if it is no JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


@dataclass(frozen=True)
class Reply:
    """What goes out; `error` is the code of an error."""

    status: int
    body: bytes
    error: str | None = None


def answer_reply(answer: Mapping[str, Any]) -> Reply:
    """200; an answer without members has no body at all."""
    return Reply(200, json.dumps(answer).encode() if answer else b"")


def error_reply(error: ServiceError) -> Reply:
    words = "Message" if error.code in MODELLED else "message"
    body = json.dumps({"__type": error.code, words: error.message})
    return Reply(error.status, body.encode(), error.code)


def check_envelope(request: Request) -> None:
    """Refuse what is not AWS JSON 1.1 for SageMaker."""
    if (request.method, request.path) != ("POST", "/"):
        raise Unlawful(f"{request.method} {request.path}: every operation is POST /", "UnknownOperationException", 404)
    if request.headers.get("Content-Type") != CONTENT_TYPE:
        raise Unlawful(f"Content-Type: {request.headers.get('Content-Type')!r} is not {CONTENT_TYPE}")
    if not request.headers.get("X-Amz-Target", "").startswith(PREFIX):
        raise Unlawful(f"X-Amz-Target: {request.headers.get('X-Amz-Target')!r} does not begin with {PREFIX}")


def check_signature(request: Request, region: str) -> None:
    """Refuse what is not signed for SageMaker in this region. Whether the signature is right is not checked."""
    given = request.headers.get("Authorization")
    if given is None:
        raise Unlawful("Authorization: there is none", "MissingAuthenticationToken", 403)
    parts = AUTHORIZATION.fullmatch(given)
    if parts is None:
        raise Unlawful(f"Authorization: {given!r} is not SigV4", "IncompleteSignature")
    scope = (parts["service"], parts["region"])
    if scope != ("sagemaker", region):
        raise Unlawful(
            f"Authorization: is for {scope}, not for sagemaker in {region}", "InvalidSignatureException", 403
        )
    signed = parts["signed"].split(";")
    if not {"host", "x-amz-date", "x-amz-target"} <= set(signed):
        raise Unlawful(f"Authorization: signs only {signed}", "IncompleteSignature")
    if not request.headers.get("X-Amz-Date", "").startswith(parts["day"] + "T"):
        raise Unlawful("Authorization: its day is not that of X-Amz-Date", "IncompleteSignature")


class Handler(BaseHTTPRequestHandler):
    """One connection, kept open from request to request; a request without a reply closes it."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        request = Request(self.command, self.path, self.headers, body, self._hung_up)
        reply = self.server.answer(request)
        if reply is None:
            self.close_connection = True
        else:
            self._send(reply)

    do_GET = do_PUT = do_DELETE = do_POST

    def log_message(self, format: str, *args: Any) -> None:
        """Calls are logged by those who answer them."""

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        self.send_header("Content-Type", CONTENT_TYPE)
        self.send_header("Content-Length", str(len(reply.body)))
        self.send_header("x-amzn-RequestId", str(uuid.uuid4()))
        if reply.error is not None:
            self.send_header("x-amzn-ErrorType", reply.error)
        self.end_headers()
        self.wfile.write(reply.body)

    def _hung_up(self) -> bool:
        try:
            return not self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True


class Server(socketserver.ThreadingTCPServer):
    """A thread per connection; closing the server closes each of them."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, answer: Callable[[Request], Reply | None]) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.answer = answer
        self._open: set[socket.socket] = set()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True, name="emulator")
        self._thread.start()

    @property
    def port(self) -> int:
        return self.server_address[1]

    def close(self) -> None:
        """From now on connections are refused, and those that are open end."""
        self.shutdown()
        self.server_close()
        for connection in list(self._open):
            _end(connection)
        self._thread.join()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Callers that go away are part of the game; anything else is printed."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


def _end(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return
