"""The kernel manager for kernels on a remote gateway (``--gateway-url``).

Remote kernels are judged by the models that the gateway gives. An old model can only make a kernel look idle for
longer than it is, so models are fetched when something looks due, and once per timeout to see what became idle
meanwhile; in between, nothing that a request could tell would change a decision.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Coroutine, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from jupyter_core.utils import ensure_async
from jupyter_server.gateway.connections import GatewayWebSocketConnection
from jupyter_server.gateway.gateway_client import GatewayClient, gateway_request
from jupyter_server.gateway.managers import GatewayMappingKernelManager
from jupyter_server.utils import url_path_join
from tornado.escape import url_escape
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.web import HTTPError
from tornado.websocket import websocket_connect

from ..decisions import QUIET_STATES
from ..engine.ports import Roots
from ..errors import ReadError, RecordError
from ..policy import CullingPolicy
from ..records import KernelRecord, Kind, utc
from .kernel_source import KernelSource, own_timeout_in
from .kernels import CullingKernelManager

#: How often (seconds) the gateway is asked about something that only it can see: a disconnect, a change of runs.
POLL_SECONDS = 60.0
#: A request that was forwarded to a remote kernel has this long (seconds) to show in its model.
REMOTE_GRACE_SECONDS = 0.25
#: How long the gateway has to answer (seconds) before it counts as away.
ANSWER_SECONDS = 20.0
#: How many models are fetched at the same time.
FETCHES = 10
#: How long a remote kernel that was never heard has to answer (seconds).
ASK_SECONDS = 5.0


class Patience:
    """Waits for one answer at a time, and no longer than `ANSWER_SECONDS`; upstream's client retries for minutes."""

    def __init__(self) -> None:
        self._asking: asyncio.Future[Any] | None = None

    async def wait_for(self, asking: Coroutine[Any, Any, Any]) -> Any:
        """Give the answer. A late request is left to end by itself, and until it has, nothing more is asked.

        Raises
        ------
        ReadError
            When the answer does not come in time.
        """
        if self._asking is not None and not self._asking.done():
            asking.close()
            raise ReadError("it has not answered the last request yet")
        self._asking = task = asyncio.ensure_future(asking)
        done, _ = await asyncio.wait([task], timeout=ANSWER_SECONDS)
        if not done:
            task.add_done_callback(lambda late: late.cancelled() or late.exception())
            raise ReadError(f"no answer within {ANSWER_SECONDS:g} s")
        return task.result()


class GatewayKernelSource(KernelSource):
    """Kernels on a gateway as records; only those that this server started.

    `unread` says of which kernels the last model could not be had, and why, `unread_specs` the same of kernelspecs.
    Such a kernel is kept, and the others are judged all the same.
    """

    stop_can_be_cancelled = True

    def __init__(self, manager: GatewayCullingKernelManager) -> None:
        super().__init__(manager)
        self.spec_metadata: dict[str, Any] = {}
        self.adopted: set[str] = set()
        self.unread: dict[str, str] = {}
        self.unread_specs: dict[str, str] = {}
        self.may_list = True
        self._models, self._strangers = Patience(), Patience()

    def own_timeout(self, kernel: Any) -> float | None:
        """The ``cull_idle_timeout`` of the gateway's kernelspec.

        Raises
        ------
        ReadError
            When it is no number, or not known yet: nothing is decided about a kernel before its spec is known.
        """
        name = _spec_name(kernel)
        if name not in self.spec_metadata:
            why = self.unread_specs.get(name, "not yet")
            raise ReadError(f"its kernelspec {name!r} could not be fetched from the gateway: {why}")
        return own_timeout_in(self.spec_metadata[name])

    def read(self, identity: str, now: datetime) -> KernelRecord:
        """Read one kernel from its model. KeyError when it is gone."""
        kernel = self.manager._kernels[identity]
        if getattr(kernel, "kernel", None) is None:
            raise KeyError(identity)
        if identity in self.unread:
            raise ReadError(self.unread[identity])
        where = {"name": _spec_name(kernel), **placed_by(kernel.kernel)}
        record = replace(super().read(identity, now), **where)
        return replace(record, owned=False) if identity in self.adopted else record

    def forget(self, identity: str) -> None:
        """The kernel is gone."""
        super().forget(identity)
        self.adopted.discard(identity)
        self.unread.pop(identity, None)

    def roots(self, identity: str) -> Roots:
        """Nothing of it runs here."""
        return Roots()

    def stale_after(self, policy: CullingPolicy) -> float | None:
        """A kernel that became idle unseen is due one timeout later at the earliest; see also `POLL_SECONDS`."""
        if policy.idle_timeout <= 0 or not self.manager._kernels:
            return None
        own = (self.own_timeouts.get(kernel_id) for kernel_id in self.manager._kernels)
        timeouts = [policy.idle_timeout, *(seconds for seconds in own if seconds is not None and seconds > 0)]
        if self._watched_closely(policy):
            timeouts.append(POLL_SECONDS)
        return min(timeouts)

    def _watched_closely(self, policy: CullingPolicy) -> bool:
        """Whether a disconnect or the beginning or end of a run, which only the gateway sees, may change a decision."""
        if policy.busy_timeout > 0:
            return True
        if policy.cull_connected:
            return False
        now, connections = datetime.now(timezone.utc), self.manager._kernel_connections
        held = [kernel for kernel_id, kernel in self.manager._kernels.items() if connections.get(kernel_id)]
        return any((now - kernel.last_activity).total_seconds() > policy.idle_timeout for kernel in held)

    async def refresh(self) -> None:
        """Fetch all models with one request, and the kernelspec of each kernel name once.

        A Jupyter Kernel Gateway forbids listing unless it is configured to allow it; then each model is fetched.

        Raises
        ------
        ReadError
            When the gateway does not answer as it should. What it does not tell of one kernel is that kernel's doubt.
        """
        kernels = dict(self.manager._kernels)
        if not kernels:
            return
        try:
            models = await self._models.wait_for(self._list_models())
            errors = await self._take_models(kernels, models)
            if len(errors) == len(kernels):
                raise next(iter(errors.values()))
        except asyncio.TimeoutError as error:
            raise ReadError(f"the gateway at {_public_url()} has not answered within {ANSWER_SECONDS:g} s") from error
        except Exception as error:
            raise ReadError(f"the gateway at {_public_url()} cannot be read: {_public(error)}") from error
        await self._learn_specs(_spec_name(kernel) for kernel in kernels.values())

    async def _take_models(self, kernels: Mapping[str, Any], models: Mapping[str, Any]) -> dict[str, Exception]:
        """Bring our kernels up to these models; one that is missing is fetched, some at a time. Gives what failed."""
        slots, errors = asyncio.Semaphore(FETCHES), dict[str, Exception]()

        async def take(kernel_id: str) -> None:
            async with slots:
                late = [each for each in errors.values() if isinstance(each, asyncio.TimeoutError)]
                try:
                    if len(late) >= FETCHES:
                        raise late[0]  # the gateway has stopped answering: not another wait
                    asking = self._take_model(kernel_id, kernels[kernel_id], models.get(kernel_id))
                    await asyncio.wait_for(asking, ANSWER_SECONDS)
                except Exception as error:
                    errors[kernel_id] = error

        await asyncio.gather(*(take(kernel_id) for kernel_id in kernels))
        for kernel_id in kernels:
            error = errors.get(kernel_id)
            words = None if error is None else f"the gateway does not tell its state: {_public(error)}"
            self._note_unread(kernel_id, words)
        return errors

    def _note_unread(self, kernel_id: str, words: str | None) -> None:
        if self.unread.get(kernel_id) == words or kernel_id not in self.manager._kernels:
            return
        self.activity(kernel_id).version += 1
        if words is None:
            del self.unread[kernel_id]
            self.special.discard(kernel_id)
        else:
            self.unread[kernel_id] = words
            self.special.add(kernel_id)

    async def _learn_specs(self, names: Iterable[str]) -> None:
        """Fetch the kernelspecs that are not known yet; why one cannot be had is remembered."""

        async def learn(name: str) -> None:
            try:
                await asyncio.wait_for(self.learn_spec(name), ANSWER_SECONDS)
            except Exception as error:
                self.unread_specs[name] = _public(error)

        await asyncio.gather(*(learn(name) for name in set(names) - set(self.spec_metadata)))

    async def _list_models(self, insist: bool = False) -> dict[str, Any]:
        """The gateway's models by kernel id; nothing when it forbids listing, unless that has to be an error."""
        if not self.may_list and not insist:
            return {}
        try:
            response = await gateway_request(self.manager.kernels_url, method="GET")  # type: ignore[attr-defined]
        except HTTPError as error:
            if error.status_code != 403 or insist:
                raise
            self.may_list = False
            self.manager.log.info("Culling: the gateway does not allow listing kernels; each is asked for.")
            return {}
        return {model["id"]: model for model in json.loads(response.body)}

    async def _take_model(self, kernel_id: str, kernel: Any, model: Any) -> Any:
        """Bring our kernel up to `model`, fetched where there is none; one that is gone is dropped, and gives None."""
        if model is None:
            model = await self._fetch_model(kernel)
        if model is None:
            self.manager.log.info("Culling: kernel %s is gone from the gateway", kernel_id)
            self.manager.remove_kernel(kernel_id)
            return None
        with self.manager.noting_disconnects(kernel_id):  # type: ignore[attr-defined]
            return await kernel.refresh_model(model)

    async def _fetch_model(self, kernel: Any) -> Any:
        """One model; None when the gateway says that there is no such kernel.

        Upstream turns a failed name look-up into a 404 of its own; that is no word of the gateway.
        """
        try:
            response = await gateway_request(kernel.kernel_url, method="GET")
        except HTTPError as error:
            if error.status_code == 404 and isinstance(error.__cause__, HTTPClientError):
                return None
            raise
        return json.loads(response.body)

    async def strangers(self) -> list[KernelRecord]:
        """Records of the kernels on the gateway that are not in our list; ours are brought up to it meanwhile.

        Raises
        ------
        ReadError
            When the gateway cannot be read, or does not let its kernels be listed.
        """
        try:
            models = await self._strangers.wait_for(self._list_models(insist=True))
        except Exception as error:
            raise ReadError(
                f"the gateway at {_public_url()} does not list its kernels, so nobody can tell what else is in use: "
                f"{_public(error)}"
            ) from error
        ours = {kernel_id: kernel for kernel_id, kernel in self.manager._kernels.items() if kernel_id in models}
        await self._take_models(ours, models)
        await self._learn_specs(str(model.get("name", "")) for model in models.values())
        now = datetime.now(timezone.utc)
        others = [model for kernel_id, model in models.items() if kernel_id not in self.manager._kernels]
        return [self._with_own_timeout(record_of(model, now)) for model in others]

    def _with_own_timeout(self, record: KernelRecord) -> KernelRecord:
        """With its kernelspec's own timeout; one that makes no sense, or is not known, keeps it."""
        if record.name in self.unread_specs:
            return replace(record, error=f"its kernelspec cannot be fetched: {self.unread_specs[record.name]}")
        try:
            return replace(record, idle_timeout=own_timeout_in(self.spec_metadata.get(record.name, {})))
        except ReadError as error:
            return replace(record, error=str(error))

    async def learn_spec(self, name: str) -> None:
        """Fetch a kernelspec's metadata; what was judged without it is judged anew."""
        self.spec_metadata[name] = await self._spec_metadata(name)
        self.unread_specs.pop(name, None)
        self.own_timeouts.clear()
        for kernel_id in self.manager._kernels:
            self.activity(kernel_id).version += 1

    async def _spec_metadata(self, name: str) -> dict[str, Any]:
        try:
            specs: Any = self.manager.kernel_spec_manager
            if specs is None:
                return {}
            spec: Any = await ensure_async(specs.get_kernel_spec(name))
        except KeyError:
            return {}
        found = spec.get("spec", {}) if isinstance(spec, dict) else {}
        return dict(found.get("metadata") or {})

    async def is_at_work(self, identity: str) -> bool:
        """Whether a kernel that this server did not start works although its state does not show it.

        Raises
        ------
        ReadError
            When the gateway cannot tell.
        """
        try:
            return await remote_at_work(identity)
        except Exception as error:
            raise ReadError(f"kernel {identity} on the gateway cannot be asked: {_public(error)}") from error

    async def confirm(self, record: KernelRecord) -> None:
        """Let a request that was just forwarded show, fetch this kernel's model, and ask one that was never heard.

        Raises
        ------
        ReadError
            When the gateway does not answer: then the kernel is kept.
        """
        await asyncio.sleep(REMOTE_GRACE_SECONDS)
        kernel: Any = self.manager._kernels.get(record.identity)
        if kernel is None:
            return
        try:
            model = await asyncio.wait_for(self._take_model(record.identity, kernel, None), ANSWER_SECONDS)
            never_heard = model is not None and model["execution_state"] in QUIET_STATES - {"idle"}
            if never_heard and await remote_at_work(record.identity):
                self.manager.log.info("Culling: kernel %s is kept: only its control channel answers", record.identity)
                self.activity(record.identity).note(datetime.now(timezone.utc))
        except Exception as error:
            raise ReadError(f"the gateway cannot tell whether it is still idle: {_public(error)}") from error


def _public_url() -> str:
    """The gateway's URL without user and password."""
    url = urlsplit(GatewayClient.instance().url or "")
    return urlunsplit(url._replace(netloc=url.netloc.rpartition("@")[2]))


def _public(error: Exception) -> str:
    """The words of an error without what the gateway's URL has of secrets."""
    return (str(error) or repr(error)).replace(GatewayClient.instance().url or "\0", _public_url())


def _spec_name(kernel: Any) -> str:
    return str((getattr(kernel, "kernel", None) or {}).get("name", ""))


def placed_by(model: dict[str, Any]) -> dict[str, Any]:
    """Where a model says that its kernel runs: Studio Classic adds these fields, other gateways do not."""
    return {name: None if model.get(name) is None else str(model[name]) for name in ("app_name", "instance_type")}


def record_of(model: dict[str, Any], now: datetime) -> KernelRecord:
    """The record of a kernel that only the gateway knows. One without a usable time of last activity is kept."""
    try:
        last = utc(datetime.fromisoformat(str(model.get("last_activity")).replace("Z", "+00:00")), "last_activity")
    except (ValueError, RecordError):
        last = None
    return KernelRecord(
        identity=str(model["id"]),
        name=str(model.get("name", "")),
        state=model.get("execution_state"),
        last_activity=last if last is None or last < now else now,
        connections=model.get("connections") or 0,
        owned=False,
        **placed_by(model),
    )


async def remote_at_work(kernel_id: str) -> bool:
    """Whether a remote kernel answers on its control channel but not, within `ASK_SECONDS`, on its shell channel."""
    client = GatewayClient.instance()
    url = url_path_join(client.ws_url or "", client.kernels_endpoint, url_escape(kernel_id), "channels")
    socket = await asyncio.wait_for(websocket_connect(HTTPRequest(url, **client.load_connection_args())), ASK_SECONDS)
    answered: set[str] = set()
    try:
        for channel in ("shell", "control"):
            await socket.write_message(json.dumps(_kernel_info_request(channel)))
        await asyncio.wait_for(_collect_answers(socket, answered), ASK_SECONDS)
    except asyncio.TimeoutError:
        pass  # silence is an answer too: see what was heard until now
    finally:
        socket.close()
    return "control" in answered and "shell" not in answered


async def _collect_answers(socket: Any, answered: set[str]) -> None:
    while "shell" not in answered:
        message = await socket.read_message()
        if message is None:
            raise ReadError("the gateway closed the connection to the kernel")
        found = json.loads(message)
        if found.get("msg_type") == "kernel_info_reply":
            answered.add(found["channel"])


def _kernel_info_request(channel: str) -> dict[str, Any]:
    header = {
        "msg_id": uuid.uuid4().hex,
        "msg_type": "kernel_info_request",
        "session": uuid.uuid4().hex,
        "username": "culling",
        "date": datetime.now(timezone.utc).isoformat(),
        "version": "5.3",
    }
    return {"header": header, "parent_header": {}, "metadata": {}, "content": {}, "buffers": [], "channel": channel}


class CountingGatewayConnection(GatewayWebSocketConnection):
    """Upstream's connection to a remote kernel, which counts each request as activity when it is forwarded."""

    def handle_incoming_message(self, message: str) -> None:
        """Forward a message of the browser's."""
        manager: Any = self.multi_kernel_manager
        manager.count_request(self.kernel_id, message)
        super().handle_incoming_message(message)


def _message_type(message: str) -> str:
    """The message type of a message from a browser; '' when it cannot be told, which counts as a request."""
    try:
        return str(json.loads(message)["header"]["msg_type"])
    except (ValueError, TypeError, KeyError):
        return ""


class GatewayCullingKernelManager(CullingKernelManager, GatewayMappingKernelManager):
    """Upstream's gateway kernel manager that culls idle remote kernels. Takes `CullingKernelManager`'s settings too."""

    def _make_source(self) -> KernelSource:
        return GatewayKernelSource(self)

    def connection_class(self, found: Any) -> Any:
        """The WebSocket connection class for the server to use in place of `found`: ours for upstream's own."""
        return CountingGatewayConnection if found is GatewayWebSocketConnection else found

    def count_request(self, kernel_id: str, message: str) -> None:
        """Count a request to a remote kernel before its model can show it."""
        if self._tracked()(_message_type(message)):
            self._source.activity(kernel_id).note(datetime.now(timezone.utc))

    async def start_kernel(self, **kwargs: Any) -> str:  # type: ignore[override]
        """Start a kernel on the gateway; its deadline counts from now. One that is there already is left alone."""
        wanted = kwargs.get("kernel_id")
        adopts = wanted is not None and wanted not in self._kernels
        source: Any = self._source
        with self._culler.starting():
            await self._learn_spec_of(kwargs.get("kernel_name"))
            kernel_id: str = await super().start_kernel(**kwargs)
        if adopts:
            source.adopted.add(kernel_id)
        await self._learn_spec_of(_spec_name(self._kernels[kernel_id]))
        self._culler.arrived(Kind.KERNEL, kernel_id)
        return kernel_id

    @contextmanager
    def noting_disconnects(self, *kernel_ids: str) -> Iterator[None]:
        """Models of these kernels are refreshed within: note whose last connection has been closed since."""
        connected = [kernel_id for kernel_id in kernel_ids if self._kernel_connections.get(kernel_id)]
        yield
        for kernel_id in connected:
            if kernel_id in self._kernels and not self._kernel_connections.get(kernel_id):
                self._source.activity(kernel_id).disconnected(datetime.now(timezone.utc))

    async def list_kernels(self, **kwargs: Any) -> Any:
        """List kernels as upstream does, which drops those that are gone from the gateway: they were used until now."""
        before = set(self._kernels)
        with self.noting_disconnects(*before):
            found = await super().list_kernels(**kwargs)  # type: ignore[no-untyped-call]
        for kernel_id in before - set(self._kernels):
            if kernel_id in self._source.activities:  # not one that `remove_kernel` took off meanwhile
                self._culler.leaving(Kind.KERNEL, kernel_id)
                self._source.forget(kernel_id)
        return found

    async def _learn_spec_of(self, name: str | None) -> None:
        """Know a kernelspec before its first kernel is judged, if the gateway tells."""
        source: Any = self._source
        if not name or name in source.spec_metadata:
            return
        try:
            await source.learn_spec(name)
        except Exception as error:
            self.log.warning("Culling: kernelspec %s: %s; until it is known its kernels are kept", name, _public(error))
