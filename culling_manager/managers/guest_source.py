"""Kernels of another manager that stands in our place, as records: by what it shows to everybody, and what we hear.

Less exact than with ours: who comes and goes is seen at the next look, and in doubt a kernel is kept.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from datetime import datetime
from typing import Any

from jupyter_core.utils import ensure_async
from tornado.web import HTTPError

from ..decisions import QUIET_STATES
from ..engine.clock import NEVER, utcnow
from ..engine.culler import IdleCuller
from ..engine.ports import KEPT, Roots
from ..errors import ErrorCode, ReadError, StopError
from ..policy import CullingPolicy
from ..records import KernelRecord, Kind
from ..rules.own_timeout import NOTHING, OwnTimeout, own_seconds, own_timeout_in
from ..signals.kernels import ask
from .documents import Documents
from .guest_kernel import GuestKernel
from .guest_list import GuestList
from .guest_settings import GuestSettings
from .local import local_pid
from .probe import FINISHED_UNHEARD

#: How long a kernel has to answer (seconds) before it is shut down.
ASK_SECONDS = 1.5
#: What is wrong with a kernel that gives no answer at all.
MUTE = "it answers neither on its shell nor on its control channel, so nobody can tell what it does"


class GuestKernelSource:
    """Kernels of whatever manager a server has, under our settings; `words` say whose, and who put it there."""

    kind = Kind.KERNEL
    #: Cancelled in the middle, jupyter_client leaves a kernel that can never be shut down.
    stop_can_be_cancelled = False

    def __init__(self, manager: Any, own: GuestSettings, culler: IdleCuller, words: str) -> None:
        self.manager, self.own, self.words = manager, own, words
        self.guests = GuestList(manager, culler)
        self._culler = culler
        self._documents = Documents(own.parent)

    def __contains__(self, kernel_id: str) -> bool:
        """Whether the manager lists a kernel."""
        return kernel_id in self.manager

    def settings(self) -> Mapping[str, Any]:
        """Our settings as fields of `CullingPolicy`."""
        found = self.own.policy_fields()
        self.guests.runs_are_long_from(found["long_run"])
        return found

    def apply(self, changes: Mapping[str, Any]) -> None:
        """Take over an idle timeout that was set at run time."""
        if "idle_timeout" in changes:
            self.own.idle_timeout = changes["idle_timeout"] / 60

    def exists(self, identity: str) -> bool:
        """Whether the kernel is still listed."""
        return identity in self.manager

    def worked_in(self, kernel_id: str, *, by_a_person: bool) -> None:
        """Count as use that its document was saved, or that somebody was seen to work in it."""
        if kernel_id not in self.manager:
            return
        kernel, now = self.guests.kernel(kernel_id), self._culler.now()
        kernel.note(now)
        if by_a_person:
            kernel.person_at = now
        self._culler.wake_soon(Kind.KERNEL)

    # -- what is known -----------------------------------------------------------------------------

    def glance(self, policy: CullingPolicy) -> Iterable[tuple[str, datetime | None, float | None]]:
        """Identity, last activity and own timeout of each kernel."""
        self.guests.meet()
        for kernel_id, kernel in self.guests.all():
            last: datetime | None = None
            own: float | None = None
            try:
                model = self._model(kernel_id)
                told = self._own_timeout(kernel)
                own = None if told.seconds is None or policy.idle_timeout <= 0 else own_seconds(told.seconds, policy)
                if kernel.alive and told.odd is None and kernel.state(model) in QUIET_STATES:
                    held = not policy.cull_connected and kernel.connected(model)
                    last = KEPT if held else kernel.last_activity(model)
            except Exception:
                last = None  # `read` fails on it too, and tells
            yield kernel_id, None if own is not None and own <= 0 else last, own

    def catch_up(self, identity: str) -> None:
        """Nothing is on its way that we could see; the kernel itself was asked."""

    def fingerprint(self, identity: str) -> Hashable:
        """The fingerprint of one kernel. KeyError when it is gone."""
        kernel = self.guests.kernel(identity)
        model = self._model(identity)
        shown = (model.get("execution_state"), model.get("last_activity"), model.get("connections"))
        return (*shown, kernel.state(model), kernel.version, kernel.alive)

    def read(self, identity: str, now: datetime) -> KernelRecord:
        """Read one kernel. KeyError when it is gone."""
        kernel = self.guests.kernel(identity)
        model, own = self._model(identity), self._own_timeout(kernel)
        document = self._documents.of(identity)
        state = kernel.state(model)
        kernel.run.follow(state == "busy", now)
        kernel.record = KernelRecord(
            identity=identity,
            name=str(model.get("name") or ""),
            state=state,
            last_activity=kernel.last_activity(model),
            connections=kernel.connected(model),
            disconnected_at=kernel.disconnected_at,
            started_at=kernel.met_at,
            busy_since=kernel.run.busy_since,
            checked_at=kernel.checked_at,
            idle_timeout=own.seconds,
            odd_timeout=own.odd,
            alive=kernel.alive,
            owned=getattr(kernel.kernel, "owns_kernel", True) is not False,
            ran_until=kernel.run.ran_until,
            run_seconds=kernel.run.run_seconds,
            person_at=kernel.person_at,
            path=None if document is None else document.path,
            session_name=None if document is None else document.name,
        )
        return kernel.record

    def unreadable(self, identity: str, error: str) -> KernelRecord:
        """The record of a kernel whose reading failed."""
        return KernelRecord(identity=identity, state=None, last_activity=None, error=error)

    def _model(self, identity: str) -> Mapping[str, Any]:
        """What the manager tells of a kernel. KeyError when it is gone."""
        try:
            found: Mapping[str, Any] = self.manager.kernel_model(identity)
            return found
        except HTTPError as error:
            if error.status_code == 404:
                raise KeyError(identity) from error
            raise

    def _own_timeout(self, kernel: GuestKernel) -> OwnTimeout:
        metadata = getattr(getattr(kernel.kernel, "kernel_spec", None), "metadata", None)
        return own_timeout_in(metadata) if metadata else NOTHING

    def roots(self, identity: str) -> Roots:
        """The kernel's process, where it runs here."""
        kernel = self.guests.known.get(identity)
        pid = None if kernel is None else local_pid(kernel.kernel)
        return Roots((pid,)) if pid else Roots()

    # -- what does not come by itself --------------------------------------------------------------

    def stale_after(self, policy: CullingPolicy) -> float | None:
        """Nobody tells us who comes, goes or dies, so it is looked at every heartbeat."""
        return policy.cull_interval if policy.idle_timeout > 0 else None

    async def refresh(self) -> None:
        """See who is there, and whether each one's process is.

        Raises
        ------
        ReadError
            When the manager does not list its kernels.
        """
        try:
            await ensure_async(self.manager.list_kernels())  # where they are remote this is what fetches their models
        except Exception as error:
            words = f"{type(self.manager).__name__} does not list its kernels: {error!r}"
            raise ReadError(words) from error
        for kernel_id in self.guests.meet():
            self._culler.arrived(Kind.KERNEL, kernel_id)
        for kernel_id, kernel in self.guests.all():
            try:
                await kernel.look(self._model(kernel_id))
            except KeyError:
                continue
            except Exception as error:
                words = f"kernel {kernel_id}: is it alive? {error!r}"
                self._culler.trouble(f"kernel {kernel_id}", words, ErrorCode.UNREAD)

    async def confirm(self, record: KernelRecord) -> None:
        """Ask a kernel here whether it works: its main thread answers only when it is free.

        Raises
        ------
        ReadError
            When it answers not at all though its process is there: nobody can tell what it does, so it is kept.
        """
        kernel = self.guests.known.get(record.identity)
        if kernel is None or kernel.info is None or not record.alive or record.state in ("dead", "busy"):
            return
        answer = await ask(kernel.info, ASK_SECONDS)
        if answer is None:
            raise ReadError(MUTE)
        works = answer == "busy"
        if works or kernel.unheard:
            why = "its main thread is at work: only its control channel answers" if works else FINISHED_UNHEARD
            self._culler.log.info("Culling: kernel %s is kept: %s", record.identity, why)
            kernel.note(utcnow())
        kernel.unheard = works

    def next_proof(self) -> datetime:
        """A glance leaves none out that is busy."""
        return NEVER

    async def prove(self, record: KernelRecord) -> None:
        """Ask a kernel here that is shown as busy whether it still is; one that has finished is idle from now on."""
        kernel = self.guests.known.get(record.identity)
        if kernel is not None and await kernel.prove():
            words = "Culling: kernel %s was said to be busy and nothing since, but it answers: it is idle from now on."
            self._culler.log.info(words, record.identity)

    async def stop(self, record: KernelRecord) -> None:
        """Have its manager shut it down. KeyError when it is gone already, StopError when it is listed all the same."""
        identity = record.identity
        try:
            await ensure_async(self.manager.shutdown_kernel(identity))
        except HTTPError as error:
            if error.status_code == 404:
                raise KeyError(identity) from error
            raise
        if identity in self.manager:
            raise StopError("it is still listed after its shutdown, see the log for the reason")
        self._culler.leaving(Kind.KERNEL, identity)
        self.guests.forget(identity)
