"""The emulator: an account behind HTTP, with every call counted, checked against the model, and failed on command."""

from __future__ import annotations

import functools
import json
import os
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from .account import Account
from .faults import ERRORS, Armed, Bucket, Fault, Faults, ServiceError, Unlawful
from .operations import OPERATIONS, resource
from .shapes import Law
from .wire import Reply, Request, Server, answer_reply, check_envelope, check_signature, error_reply


@dataclass(frozen=True)
class Call:
    """One request as it came in, lawful or not."""

    operation: str
    parameters: Any
    at: datetime


@functools.cache
def law() -> Law:
    """The law for every operation of the emulator; made once per process."""
    return Law(OPERATIONS)


class SageMaker(Account):
    """SageMaker's control plane at `url`, from entering the context (or `start`) to leaving it (or `stop`).

    `calls` has every request, `violations` a sentence for each request or answer that the service's model forbids.
    `delay` (seconds) comes before every answer. After `stop`, `start` takes the same port again.
    """

    def __init__(
        self,
        region: str = "eu-west-1",
        account: str = "123456789012",
        clock: Callable[[], datetime] | None = None,
        deleting_takes: float | None = None,
        port: int = 0,
        log: Callable[[str], object] | None = None,
    ) -> None:
        super().__init__(region, account, clock)
        self.deleting_takes = deleting_takes
        self.calls: list[Call] = []
        self.violations: list[str] = []
        self.delay = 0.0
        self._bucket = Bucket(None)
        self._faults = Faults()
        self._port = port
        self._log = log
        self._server: Server | None = None
        self._stopped = threading.Event()

    def __enter__(self) -> SageMaker:
        return self.start()

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def start(self) -> SageMaker:
        law()
        self.now()
        self._stopped.clear()
        self._server = Server(self._port, self.answer)
        self._port = self._server.port
        return self

    def stop(self) -> None:
        """Refuse connections and end the open ones; calls that hang get no answer."""
        self._stopped.set()
        self._faults.heal()
        if self._server is not None:
            self._server.close()
            self._server = None

    @property
    def url(self) -> str:
        """The endpoint URL; it has a port once the server has been started."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def rate(self) -> float | None:
        """Calls per second; those above are THROTTLED. None is no limit. Setting it allows `rate` calls at once."""
        return self._bucket.rate

    @rate.setter
    def rate(self, rate: float | None) -> None:
        self._bucket = Bucket(rate)

    def fail(
        self,
        operation: str | None,
        fault: Fault,
        times: int | None = None,
        app: str | None = None,
        seconds: float | None = None,
    ) -> None:
        """Let calls of this operation (None: of any) fail, `times` times or until `heal`.

        `app` restricts it to calls that name this app. A HANG ends after `seconds` or with `heal`: whoever still waits
        is answered then; whoever has hung up never asked.
        """
        if operation is not None and operation not in OPERATIONS:
            raise ValueError(f"no operation {operation!r}; there are {', '.join(OPERATIONS)}")
        self._faults.arm(Armed(operation, Fault(fault), times, app, seconds))

    def heal(self, operation: str | None = None) -> None:
        """End the faults that were armed for this operation; all faults if it is None."""
        self._faults.heal(operation)

    def count(self, operation: str | None = None) -> int:
        """How many calls came in since `reset_counts`, of this operation or of all."""
        return sum(operation in (None, call.operation) for call in list(self.calls))

    def reset_counts(self) -> None:
        """Forget the calls, not the violations."""
        self.calls.clear()

    def answer(self, request: Request) -> Reply | None:
        """The reply to a request; None closes the connection without one."""
        operation, asked = request.operation, request.parameters()
        self.calls.append(Call(operation, asked, self.now()))
        try:
            reply = self._serve(request, operation, asked)
        except ServiceError as error:
            if isinstance(error, Unlawful):
                self.violations.append(f"{operation}: {error.message}")
            reply = error_reply(error)
        except Exception:
            self.violations.append(f"{operation}: the emulator failed: {traceback.format_exc()}")
            reply = error_reply(ServiceError("InternalFailure", "The emulator failed.", 500))
        self._tell(operation, asked, reply)
        return reply

    def _serve(self, request: Request, operation: str, asked: Any) -> Reply | None:
        """Law first, then latency, the rate limit, faults, and at last the work."""
        self._check(request, operation, asked)
        if self._stopped.wait(self.delay):
            return None
        if not self._bucket.take():
            raise self._error(Fault.THROTTLED, operation, asked)
        armed = self._faults.take(operation, asked)
        if armed is None:
            return answer_reply(self._work(operation, asked))
        if armed.fault in ERRORS:
            raise self._error(armed.fault, operation, asked)
        if self._is_lost(armed, request):
            return None
        return _spoilt(answer_reply(self._work(operation, asked)), armed.fault)

    def _check(self, request: Request, operation: str, asked: Any) -> None:
        """Refuse every request that the service itself would refuse unseen."""
        check_envelope(request)
        check_signature(request, self.region)
        if operation not in OPERATIONS:
            raise Unlawful(f"no operation of the emulator; it has {', '.join(OPERATIONS)}")
        _refuse(law().request(operation, asked), "request")

    def _is_lost(self, armed: Armed, request: Request) -> bool:
        """Whether nobody will hear an answer: the connection is dropped, or it hung until someone went away."""
        if armed.fault is Fault.HANG:
            armed.healed.wait(armed.seconds)
            return self._stopped.is_set() or request.hung_up()
        return armed.fault is Fault.DROP

    def _work(self, operation: str, asked: dict[str, Any]) -> dict[str, Any]:
        with self.lock:
            answer = OPERATIONS[operation](self, asked)
        _refuse(law().answer(operation, answer), "answer", "InternalFailure", 500)
        return answer

    def _error(self, fault: Fault, operation: str, asked: dict[str, Any]) -> ServiceError:
        code, status, words = ERRORS[fault]
        who = f"arn:aws:sts::{self.account}:assumed-role/StudioRole/SageMaker"
        what = resource(self, operation, asked)
        return ServiceError(code, words.format(who=who, operation=operation, what=what), status)

    def _tell(self, operation: str, asked: Any, reply: Reply | None) -> None:
        if self._log is not None:
            ending = "no answer" if reply is None else f"{reply.status} {reply.error or ''}".rstrip()
            self._log(f"{self.now():%H:%M:%S} {operation} {json.dumps(asked)} -> {ending}\n")


def _refuse(problems: list[str], side: str, code: str = "ValidationException", status: int = 400) -> None:
    """Raise if there are problems, with all of them in one sentence."""
    if problems:
        raise Unlawful(f"{len(problems)} validation error(s) in the {side}: {'; '.join(problems)}", code, status)


def _spoilt(reply: Reply, fault: Fault) -> Reply:
    """The reply as it comes through this fault; TRUNCATED leaves no valid JSON."""
    if fault is Fault.EMPTY:
        return Reply(reply.status, b"{}")
    if fault is Fault.TRUNCATED:
        return Reply(reply.status, reply.body[: len(reply.body) // 2] or b"{")
    return reply


def environment(sagemaker: SageMaker) -> dict[str, str]:
    """The variables with which boto3 in any process finds this emulator, and nothing of the machine's own AWS settings.

    There is no region among them: code has to know it from elsewhere, for example from an ARN.
    """
    return {
        "AWS_ENDPOINT_URL_SAGEMAKER": sagemaker.url,
        "AWS_ACCESS_KEY_ID": "AKIDEMULATOR",
        "AWS_SECRET_ACCESS_KEY": "no-secret",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }
