"""CloudWatch Logs in this process, reached by an unmodified boto3 over HTTP; the SageMaker emulator's sibling.

    with CloudWatchLogs() as logs:
        logs.heartbeat("d-1/alice/JupyterServer/default", at=now, count=12)
        run(env=logs_environment(logs))
        assert not logs.violations

Log groups hold streams, streams hold lines with a time. Requests and answers are checked against botocore's model.
"""

from __future__ import annotations

import base64
import functools
import json
import re
import shlex
import threading
import traceback
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import botocore.session

from culling_manager.errors import ErrorCode
from culling_manager.policy import CullingPolicy
from culling_manager.records import Kind
from culling_manager.report import heartbeat_line
from tests.emulator.faults import ERRORS, Armed, Bucket, Fault, Faults, ServiceError, Unlawful
from tests.emulator.sagemaker import Call, _refuse, _spoilt
from tests.emulator.shapes import Check, Law
from tests.emulator.wire import AUTHORIZATION, CONTENT_TYPE, Reply, Request, Server, answer_reply, error_reply
from tests.emulator_insights import run_query

STUDIO = "/aws/sagemaker/studio"
PREFIX = "Logs_20140328."
OPERATIONS = ("DescribeLogStreams", "FilterLogEvents", "GetLogEvents", "GetQueryResults", "StartQuery")
#: A page of events is cut before it is larger than this (bytes).
LARGEST_PAGE = 1_000_000
#: What CloudWatch reckons for each event besides its message (bytes).
OVERHEAD = 26


class LogsLaw(Law):
    """The law of CloudWatch Logs; compiled as that of SageMaker is."""

    def __init__(self) -> None:
        model = botocore.session.get_session().get_service_model("logs")
        self._checks: dict[str, Check] = {}
        self._sides: dict[tuple[str, str], Check] = {}
        for name in OPERATIONS:
            operation = model.operation_model(name)
            self._sides[name, "request"] = self._compiled(operation.input_shape)
            self._sides[name, "answer"] = self._compiled(operation.output_shape)


@functools.cache
def law() -> LogsLaw:
    """The law; made once per process."""
    return LogsLaw()


@dataclass(frozen=True, order=True)
class Event:
    """One line of a log; the order is that of FilterLogEvents."""

    at: int
    serial: int
    stream: str
    message: str

    def as_json(self) -> dict[str, Any]:
        return {
            "logStreamName": self.stream,
            "timestamp": self.at,
            "message": self.message,
            "ingestionTime": self.at + 2000,
            "eventId": f"{self.at:020}{self.serial:036}",
        }


class CloudWatchLogs:
    """CloudWatch Logs at `url`. `page_size` bounds a page, `empty_pages` puts an empty one before each."""

    def __init__(self, region: str = "eu-west-1", log: Callable[[str], object] | None = None) -> None:
        self.region = region
        self._log = log
        self.groups: dict[str, defaultdict[str, list[Event]]] = {STUDIO: defaultdict(list)}
        self.calls: list[Call] = []
        self.violations: list[str] = []
        self.delay = 0.0
        self.page_size: int | None = None
        self.empty_pages = False
        self.bucket = Bucket(None)
        self._faults = Faults()
        self._serial = 0
        self._found: dict[str, list[Event]] = {}
        self.queries: dict[str, list[Any]] = {}
        self.query_ends = "Complete"
        self.query_loses = 0
        self.made_at = 0
        self._stopped = threading.Event()
        self._server: Server | None = None

    def __enter__(self) -> CloudWatchLogs:
        law()
        self._stopped.clear()
        self._server = Server(0, self.answer)
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._faults.heal()
        if self._server is not None:
            self._server.close()

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.port}"

    def put(self, stream: str, message: str, at: datetime | None = None, group: str = STUDIO) -> None:
        """One more line in a stream."""
        self._serial += 1
        moment = int((at or datetime.now(timezone.utc)).timestamp() * 1000)
        self.groups.setdefault(group, defaultdict(list))[stream].append(Event(moment, self._serial, stream, message))
        self._found.clear()

    def heartbeat(
        self,
        stream: str,
        at: datetime | None = None,
        *,
        count: int = 361,
        version: str = "1.0.0",
        app_manager: str = "SpaceApp",
        watching: tuple[Kind, ...] = (Kind.KERNEL, Kind.TERMINAL),
        errors: str | None = None,
        codes: tuple[ErrorCode, ...] = (),
        **policy: Any,
    ) -> None:
        """A heartbeat as our server writes it, behind Jupyter's prefix; `policy` as CullingPolicy has it (seconds)."""
        at = at or datetime.now(timezone.utc)
        line = heartbeat_line(version, CullingPolicy(**policy), count, app_manager, watching, errors, codes)
        self.put(stream, f"[I {at:%Y-%m-%d %H:%M:%S}.978 ServerApp] {line}", at)

    def fail(self, operation: str | None, fault: Fault, times: int | None = None, seconds: float | None = None) -> None:
        """Let calls fail, as the SageMaker emulator does."""
        self._faults.arm(Armed(operation, fault, times, None, seconds))

    def count(self, operation: str | None = None) -> int:
        return sum(operation in (None, call.operation) for call in list(self.calls))

    def answer(self, request: Request) -> Reply | None:
        """The reply to a request; None closes the connection without one."""
        operation = request.headers.get("X-Amz-Target", "").removeprefix(PREFIX)
        asked = request.parameters()
        self.calls.append(Call(operation, asked, datetime.now(timezone.utc)))
        try:
            reply = self._serve(request, operation, asked)
        except ServiceError as error:
            if isinstance(error, Unlawful):
                self.violations.append(f"{operation}: {error.message}")
            reply = error_reply(error)
        except Exception:
            self.violations.append(f"{operation}: the emulator failed: {traceback.format_exc()}")
            reply = error_reply(ServiceError("InternalFailure", "The emulator failed.", 500))
        if self._log is not None:
            ending = "no answer" if reply is None else f"{reply.status} {reply.error or ''}".rstrip()
            self._log(f"{datetime.now(timezone.utc):%H:%M:%S} {operation} {json.dumps(asked)} -> {ending}\n")
        return reply

    def _serve(self, request: Request, operation: str, asked: Any) -> Reply | None:
        self._check(request, operation, asked)
        if self._stopped.wait(self.delay):
            return None
        if not self.bucket.take():
            raise self._error(Fault.THROTTLED, operation)
        armed = self._faults.take(operation, asked)
        if armed is None:
            return answer_reply(self._work(operation, asked))
        if armed.fault in ERRORS:
            raise self._error(armed.fault, operation)
        if armed.fault is Fault.HANG:
            armed.healed.wait(armed.seconds)
        if armed.fault in (Fault.HANG, Fault.DROP):
            return None
        return _spoilt(answer_reply(self._work(operation, asked)), armed.fault)

    def _check(self, request: Request, operation: str, asked: Any) -> None:
        if (request.method, request.path, request.headers.get("Content-Type")) != ("POST", "/", CONTENT_TYPE):
            raise Unlawful("every operation is POST / with AWS JSON 1.1", "UnknownOperationException", 404)
        parts = AUTHORIZATION.fullmatch(request.headers.get("Authorization") or "")
        if parts is None or (parts["service"], parts["region"]) != ("logs", self.region):
            raise Unlawful(f"Authorization: not signed for logs in {self.region}", "InvalidSignatureException")
        if operation not in OPERATIONS:
            raise Unlawful(f"no operation of the emulator; it has {', '.join(OPERATIONS)}")
        _refuse(law().request(operation, asked), "request")
        if operation == "GetQueryResults":
            return
        if ("logGroupName" in asked) == ("logGroupIdentifier" in asked):
            raise Unlawful("one of logGroupName and logGroupIdentifier must be given", "InvalidParameterException")

    def _work(self, operation: str, asked: dict[str, Any]) -> dict[str, Any]:
        work = {
            "FilterLogEvents": self.filter_log_events,
            "GetLogEvents": self.get_log_events,
            "DescribeLogStreams": self.describe_log_streams,
            "StartQuery": self.start_query,
            "GetQueryResults": self.get_query_results,
        }
        answer = work[operation](asked)
        _refuse(law().answer(operation, answer), "answer", "InternalFailure", 500)
        return answer

    def _error(self, fault: Fault, operation: str) -> ServiceError:
        code, status, words = ERRORS[fault]
        who, what = "arn:aws:sts::123456789012:assumed-role/Role/Session", f"arn:aws:logs:{self.region}::log-group:*"
        words = words.replace("sagemaker:", "logs:")
        return ServiceError(code, words.format(who=who, operation=operation, what=what), status)

    def _streams(self, asked: dict[str, Any]) -> defaultdict[str, list[Event]]:
        name = asked.get("logGroupName") or asked["logGroupIdentifier"].rpartition(":log-group:")[2]
        if name not in self.groups:
            raise ServiceError("ResourceNotFoundException", "The specified log group does not exist.")
        return self.groups[name]

    def filter_log_events(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Events of many streams by time, in pages that may be empty though more follow."""
        question = json.dumps({name: value for name, value in asked.items() if name != "nextToken"}, sort_keys=True)
        start, gap = _place(question, asked.get("nextToken"), self.empty_pages)
        with _LOCK:
            if question not in self._found:
                self._found[question] = self._matching(asked)
            found = self._found[question]
        if gap:
            return {"events": [], "searchedLogStreams": [], "nextToken": _token(question, start, False)}
        most = min(asked.get("limit", 10_000), self.page_size or 10_000)
        size, end = 0, start
        while end < len(found) and end - start < most and size <= LARGEST_PAGE:
            size += len(found[end].message) + OVERHEAD
            end += 1
        more = {"nextToken": _token(question, end, self.empty_pages)} if end < len(found) else {}
        return {"events": [each.as_json() for each in found[start:end]], "searchedLogStreams": [], **more}

    def _matching(self, asked: dict[str, Any]) -> list[Event]:
        streams = self._streams(asked)
        names, prefix = asked.get("logStreamNames"), asked.get("logStreamNamePrefix", "")
        if names is not None and prefix:
            raise Unlawful("logStreamNames and logStreamNamePrefix exclude each other", "InvalidParameterException")
        if names is not None and not set(names) <= set(streams):
            raise ServiceError("ResourceNotFoundException", "The specified log stream does not exist.")
        terms = pattern_terms(asked.get("filterPattern", ""))
        low, high = asked.get("startTime", 0), asked.get("endTime", 2**62)
        chosen = names if names is not None else [name for name in list(streams) if name.startswith(prefix)]
        events = (event for name in chosen for event in streams[name] if low <= event.at <= high)
        return sorted(event for event in events if all(term in event.message for term in terms))

    def get_log_events(self, asked: dict[str, Any]) -> dict[str, Any]:
        """One page with everything of one stream; the same token again says that there is no more."""
        streams = self._streams(asked)
        if asked["logStreamName"] not in streams:
            raise ServiceError("ResourceNotFoundException", "The specified log stream does not exist.")
        low, high = asked.get("startTime", 0), asked.get("endTime", 2**62)
        found = [each.as_json() for each in sorted(streams[asked["logStreamName"]]) if low <= each.at <= high]
        events = [{name: each[name] for name in ("timestamp", "message", "ingestionTime")} for each in found]
        events = [] if "nextToken" in asked else events[-asked.get("limit", 10_000) :]
        return {"events": events, "nextForwardToken": "f/end", "nextBackwardToken": "b/end"}

    def describe_log_streams(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Streams by name, fifty at most in a page."""
        streams = self._streams(asked)
        names = sorted(name for name in streams if name.startswith(asked.get("logStreamNamePrefix", "")))
        after = base64.urlsafe_b64decode(asked["nextToken"]).decode() if "nextToken" in asked else ""
        names = [name for name in names if name > after]
        page = names[: min(asked.get("limit", 50), self.page_size or 50)]
        more = len(page) < len(names)
        token = {"nextToken": base64.urlsafe_b64encode(page[-1].encode()).decode()} if more else {}
        return {"logStreams": [_stream(name, streams[name]) for name in page], **token}

    def start_query(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Logs Insights: the whole interval, of which both ends belong to it, in seconds."""
        streams = self._streams(asked)
        low, high = asked["startTime"] * 1000, asked["endTime"] * 1000 + 999
        if high < self.made_at:
            words = "end date and time is either before the log groups creation time or exceeds the log groups"
            raise ServiceError("MalformedQueryException", f"Query's {words} log retention settings")
        events = [event for name in list(streams) for event in streams[name] if low <= event.at <= high]
        rows, matched = run_query(asked["queryString"], sorted(events))
        with _LOCK:
            name = f"query-{len(self.queries)}"
            self.queries[name] = [rows[: asked.get("limit", 10_000)], matched, False]
        return {"queryId": name}

    def get_query_results(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Running when it is first asked for, then done."""
        if asked["queryId"] not in self.queries:
            raise ServiceError("ResourceNotFoundException", "The specified query does not exist.")
        query = self.queries[asked["queryId"]]
        rows, matched, told = query
        query[2] = True
        if not told:
            return {"results": [], "status": "Running"}
        kept = rows[: len(rows) - self.query_loses]
        found = [[{"field": name, "value": value} for name, value in row.items()] for row in kept]
        statistics = {"recordsMatched": float(matched), "recordsScanned": float(matched), "bytesScanned": 0.0}
        return {"results": found, "status": self.query_ends, "statistics": statistics}


_LOCK = threading.Lock()


def _stream(name: str, events: list[Event]) -> dict[str, Any]:
    times = [event.at for event in events]
    ends = {"firstEventTimestamp": min(times), "lastEventTimestamp": max(times)} if times else {}
    return {"logStreamName": name, **ends}


def pattern_terms(pattern: str) -> list[str]:
    """The words and phrases of a filter pattern that must all be in a line; only such patterns are understood."""
    for bare in re.sub(r'"(?:[^"\\]|\\.)*"', " ", pattern).split():
        if not re.fullmatch(r"\w+", bare):
            raise Unlawful(f"filterPattern: {bare!r} must stand in double quotes", "InvalidParameterException")
    return shlex.split(pattern)


def _token(question: str, place: int, gap: bool) -> str:
    return base64.urlsafe_b64encode(json.dumps([question, place, gap]).encode()).decode()


def _place(question: str, token: str | None, gaps: bool) -> tuple[int, bool]:
    """Where a page begins, and whether an empty one comes before it; a token of another question is refused."""
    if token is None:
        return 0, gaps
    try:
        asked, place, gap = json.loads(base64.urlsafe_b64decode(token.encode()))
    except (ValueError, TypeError):
        raise Unlawful("nextToken: it is none of ours", "InvalidParameterException") from None
    if asked != question:
        raise Unlawful("nextToken: it was given for another question", "InvalidParameterException")
    return place, gap


def logs_environment(logs: CloudWatchLogs) -> dict[str, str]:
    """The variable with which boto3 finds this emulator, besides those of `tests.emulator.environment`."""
    return {"AWS_ENDPOINT_URL_CLOUDWATCH_LOGS": logs.url}
