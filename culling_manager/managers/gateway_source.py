"""Remote kernels as records, and when the gateway has to be asked for their models.

An old model can only make a kernel look idle for longer than it is, so models are fetched when something looks due, and
once per timeout to see what became idle meanwhile; in between, nothing that a request could tell would change a
decision.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ..decisions import QUIET_STATES
from ..engine.clock import utcnow
from ..engine.ports import Roots
from ..errors import ErrorCode, ReadError
from ..policy import CullingPolicy
from ..records import KernelRecord
from ..rules.own_timeout import OwnTimeout, own_seconds, own_timeout_in
from .gateway_models import ANSWER_SECONDS, GatewayModels, placed_by, public, public_url, record_of, spec_name
from .hosts import GatewayHost
from .kernel_source import KernelSource
from .probe import FINISHED_UNHEARD, remote_at_work

#: How often (seconds) the gateway is asked about something that only it can see: a disconnect, a change of runs.
POLL_SECONDS = 60.0
#: A request that was forwarded to a remote kernel has this long (seconds) to show in its model.
REMOTE_GRACE_SECONDS = 0.25


class GatewayKernelSource(KernelSource):
    """Kernels on a gateway as records; only those that this server started.

    `unread` says of which kernels the last model could not be had, and why. Such a kernel is kept, and the others are
    judged all the same. `adopted` are those that were there before this server began to look after them.
    """

    stop_can_be_cancelled = True
    manager: GatewayHost

    def __init__(self, manager: GatewayHost) -> None:
        super().__init__(manager)
        self.models = GatewayModels(manager)
        self.stops.waits_for_start = False
        self.adopted: set[str] = set()
        self.unread: dict[str, str] = {}

    # -- what is known --------------------------------------------------------------------------------

    def own_timeout(self, kernel: Any) -> OwnTimeout:
        """The ``cull_idle_timeout`` of the gateway's kernelspec.

        Raises
        ------
        ReadError
            When it is not known yet: nothing is decided about a kernel before its spec is known.
        """
        name = spec_name(kernel)
        if name not in self.models.specs:
            why = self.models.unread_specs.get(name, "not yet")
            raise ReadError(f"its kernelspec {name!r} could not be fetched from the gateway: {why}")
        return own_timeout_in(self.models.specs[name])

    def read(self, identity: str, now: datetime) -> KernelRecord:
        """Read one kernel from its model. KeyError when it is gone."""
        kernel = self.manager._kernels[identity]
        if getattr(kernel, "kernel", None) is None:
            raise KeyError(identity)
        if identity in self.unread:
            raise ReadError(self.unread[identity])
        where = {"name": spec_name(kernel), **placed_by(kernel.kernel)}
        record = super().read(identity, now)._replace(**where)
        return record._replace(owned=False) if identity in self.adopted else record

    async def prove(self, record: KernelRecord) -> None:
        """Whether it is still busy is its gateway's to know, and is in its models."""
        self.activity(record.identity).checked_at = utcnow()

    def forget(self, identity: str) -> None:
        """The kernel is gone."""
        super().forget(identity)
        self.adopted.discard(identity)
        self.unread.pop(identity, None)

    def roots(self, identity: str) -> Roots:
        """Nothing of it runs here."""
        return Roots()

    # -- when to ask, and what the gateway then tells -------------------------------------------------

    def stale_after(self, policy: CullingPolicy) -> float | None:
        """A kernel that became idle unseen is due one timeout later at the earliest; see also `POLL_SECONDS`."""
        if policy.idle_timeout <= 0 or not self.manager._kernels:
            return None
        own = {own_seconds(each.seconds, policy) for each in self.own_timeouts.values()}
        timeouts = [policy.shortest_idle_timeout, *(seconds for seconds in own if seconds > 0)]
        if self._watched_closely(policy):
            timeouts.append(POLL_SECONDS)
        return min(timeouts)

    def _watched_closely(self, policy: CullingPolicy) -> bool:
        """Whether a disconnect or the beginning or end of a run, which only the gateway sees, may change a decision."""
        if policy.busy_timeout > 0:
            return True
        if policy.cull_connected:
            return False
        now, connections = utcnow(), self.manager._kernel_connections
        held = [kernel for kernel_id, kernel in self.manager._kernels.items() if connections.get(kernel_id)]
        return any((now - kernel.last_activity).total_seconds() > policy.shortest_idle_timeout for kernel in held)

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
            errors = await self._take(kernels, await self.models.all())
            if len(errors) == len(kernels):
                raise next(iter(errors.values()))
        except asyncio.TimeoutError as error:
            raise ReadError(f"the gateway at {public_url()} has not answered within {ANSWER_SECONDS:g} s") from error
        except Exception as error:
            raise ReadError(f"the gateway at {public_url()} cannot be read: {public(error)}") from error
        await self.models.learn_specs(map(spec_name, kernels.values()), self.spec_learned)

    async def _take(self, kernels: Mapping[str, Any], models: Mapping[str, Any]) -> dict[str, Exception]:
        """Bring our kernels up to these models, and note of which that failed."""
        errors = await self.models.take_all(kernels, models)
        for kernel_id in kernels:
            error = errors.get(kernel_id)
            words = None if error is None else f"the gateway does not tell its state: {public(error)}"
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

    def spec_learned(self) -> None:
        """A kernelspec is known now: what was judged without it is judged anew."""
        self.own_timeouts.clear()
        for kernel_id in self.manager._kernels:
            self.activity(kernel_id).version += 1

    # -- kernels of others ----------------------------------------------------------------------------

    async def strangers(self) -> list[KernelRecord]:
        """Records of the kernels on the gateway that are not in our list; ours are brought up to it meanwhile.

        Raises
        ------
        ReadError
            When the gateway cannot be read, or does not let its kernels be listed.
        """
        try:
            models = await self.models.all(insist=True)
        except Exception as error:
            raise ReadError(
                f"the gateway at {public_url()} does not list its kernels, so nobody can tell what else is in use: "
                f"{public(error)}",
                code=ErrorCode.STRANGERS_UNREAD,
            ) from error
        ours = {kernel_id: kernel for kernel_id, kernel in self.manager._kernels.items() if kernel_id in models}
        await self._take(ours, models)
        await self.models.learn_specs((str(model.get("name", "")) for model in models.values()), self.spec_learned)
        now = utcnow()
        others = [model for kernel_id, model in models.items() if kernel_id not in self.manager._kernels]
        return [self._with_own_timeout(record_of(model, now)) for model in others]

    def _with_own_timeout(self, record: KernelRecord) -> KernelRecord:
        """With its kernelspec's own timeout; one that is not known keeps it."""
        unread = self.models.unread_specs.get(record.name)
        if unread is not None:
            return record._replace(error=f"its kernelspec cannot be fetched: {unread}")
        own = own_timeout_in(self.models.specs.get(record.name, {}))
        return record._replace(idle_timeout=own.seconds, odd_timeout=own.odd)

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
            raise ReadError(f"kernel {identity} on the gateway cannot be asked: {public(error)}") from error

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
            model = await self.models.take_in_time(record.identity, kernel)
            never_heard = model is not None and model["execution_state"] in QUIET_STATES - {"idle"}
            activity = self.activity(record.identity)
            works = never_heard and await remote_at_work(record.identity)
            if works or activity.unheard:
                why = "only its control channel answers" if works else FINISHED_UNHEARD
                self.manager.log.info("Culling: kernel %s is kept: %s", record.identity, why)
                activity.note(utcnow())
            activity.unheard = works
        except Exception as error:
            raise ReadError(f"the gateway cannot tell whether it is still idle: {public(error)}") from error
