"""What a gateway tells of its kernels: their models and kernelspecs, fetched with patience and put into plain words."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterable, Mapping
from datetime import datetime
from functools import partial
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from jupyter_core.utils import ensure_async
from jupyter_server.gateway.gateway_client import GatewayClient, gateway_request
from tornado.httpclient import HTTPClientError
from tornado.web import HTTPError

from ..concurrency import SingleFlight, TooSlow
from ..errors import ReadError, RecordError
from ..records import KernelRecord, utc
from .hosts import GatewayHost

#: How long the gateway has to answer (seconds) before it counts as away.
ANSWER_SECONDS = 20.0
#: Who asks the gateway this soon (seconds) after another shares the answer.
FRESH_SECONDS = 1.0
#: How many models are fetched at the same time.
FETCHES = 10

Models = Mapping[str, Any]


class GatewayModels:
    """Fetches models and kernelspecs from the gateway of a manager, and brings its kernels up to them.

    `specs` has the metadata of each kernelspec that is known, `unread_specs` why one could not be had.
    """

    def __init__(self, manager: GatewayHost) -> None:
        self.manager = manager
        self.specs: dict[str, dict[str, Any]] = {}
        self.unread_specs: dict[str, str] = {}
        self.may_list = True
        self._asking = SingleFlight()

    async def all(self, insist: bool = False) -> Models:
        """The gateway's models by kernel id; none when it forbids listing, unless `insist` makes that an error.

        Upstream's client retries for minutes. A late request is left to end by itself, and until it has, nothing more
        is asked.

        Raises
        ------
        ReadError
            When the answer does not come in time; what else fails is the request's own error.
        """
        asking: Callable[[], Coroutine[Any, Any, Models]] = partial(self._list, insist)
        try:
            return await self._asking.run(insist, asking, seconds=ANSWER_SECONDS, fresh=FRESH_SECONDS)
        except TooSlow:
            raise ReadError(f"no answer within {ANSWER_SECONDS:g} s") from None

    async def _list(self, insist: bool) -> Models:
        if not self.may_list and not insist:
            return {}
        try:
            response = await gateway_request(self.manager.kernels_url, method="GET")
        except HTTPError as error:
            if error.status_code != 403 or insist:
                raise
            self.may_list = False
            self.manager.log.info("Culling: the gateway does not allow listing kernels; each is asked for.")
            return {}
        return {model["id"]: model for model in json.loads(response.body)}

    async def take_all(self, kernels: Mapping[str, Any], models: Models) -> dict[str, Exception]:
        """Bring our kernels up to these models; one that is missing is fetched, some at a time. Gives what failed."""
        slots, errors = asyncio.Semaphore(FETCHES), dict[str, Exception]()

        async def take(kernel_id: str) -> None:
            async with slots:
                late = [each for each in errors.values() if isinstance(each, asyncio.TimeoutError)]
                try:
                    if len(late) >= FETCHES:
                        raise late[0]  # the gateway has stopped answering: not another wait
                    await self.take_in_time(kernel_id, kernels[kernel_id], models.get(kernel_id))
                except Exception as error:
                    errors[kernel_id] = error

        await asyncio.gather(*(take(kernel_id) for kernel_id in kernels))
        return errors

    async def take_in_time(self, kernel_id: str, kernel: Any, model: Any = None) -> Any:
        """Take one model within `ANSWER_SECONDS`, or raise `asyncio.TimeoutError`."""
        return await asyncio.wait_for(self.take(kernel_id, kernel, model), ANSWER_SECONDS)

    async def take(self, kernel_id: str, kernel: Any, model: Any) -> Any:
        """Bring our kernel up to `model`, fetched where there is none; one that is gone is dropped, and gives None."""
        if model is None:
            model = await self.fetch(kernel)
        if model is None:
            self.manager.log.info("Culling: kernel %s is gone from the gateway", kernel_id)
            self.manager.remove_kernel(kernel_id)
            return None
        with self.manager.noting_disconnects(kernel_id):
            return await kernel.refresh_model(model)

    async def fetch(self, kernel: Any) -> Any:
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

    async def learn_specs(self, names: Iterable[str], learned: Callable[[], None]) -> None:
        """Fetch the kernelspecs that are not known yet; why one cannot be had is remembered. Tells when one is."""

        async def learn(name: str) -> None:
            try:
                await asyncio.wait_for(self.learn_spec(name), ANSWER_SECONDS)
                learned()
            except Exception as error:
                self.unread_specs[name] = public(error)

        await asyncio.gather(*(learn(name) for name in set(names) - set(self.specs)))

    async def learn_spec(self, name: str) -> None:
        """Fetch a kernelspec's metadata."""
        self.specs[name] = await self.fetch_spec(name)
        self.unread_specs.pop(name, None)

    async def fetch_spec(self, name: str) -> dict[str, Any]:
        """A kernelspec's metadata; none where the gateway does not know it."""
        try:
            specs: Any = self.manager.kernel_spec_manager
            if specs is None:
                return {}
            spec: Any = await ensure_async(specs.get_kernel_spec(name))
        except KeyError:
            return {}
        found = spec.get("spec", {}) if isinstance(spec, dict) else {}
        return dict(found.get("metadata") or {})


def public_url() -> str:
    """The gateway's URL without user and password."""
    url = urlsplit(GatewayClient.instance().url or "")
    return urlunsplit(url._replace(netloc=url.netloc.rpartition("@")[2]))


def public(error: Exception) -> str:
    """The words of an error without what the gateway's URL has of secrets."""
    return (str(error) or repr(error)).replace(GatewayClient.instance().url or "\0", public_url())


def spec_name(kernel: Any) -> str:
    """The name of the kernelspec that a remote kernel was made from."""
    return str((getattr(kernel, "kernel", None) or {}).get("name", ""))


def placed_by(model: Models) -> dict[str, Any]:
    """Where a model says that its kernel runs: Studio Classic adds these fields, other gateways do not."""
    return {name: None if model.get(name) is None else str(model[name]) for name in ("app_name", "instance_type")}


def record_of(model: Models, now: datetime) -> KernelRecord:
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
