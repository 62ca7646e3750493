"""GPUs at work, seen through NVML: only where the package nvidia-ml-py is installed and a GPU is there."""

from __future__ import annotations

import time
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from traitlets import Integer

from ..concurrency import in_thread
from ..records import Kind
from .base import Bounded, Shared, Signal, Subject

if TYPE_CHECKING:  # a server that has not looked yet needs none of it
    from .snapshot import Table

#: Errors of NVML that mean that there is no GPU to look at.
NO_GPU = ("LibraryNotFound", "DriverNotLoaded", "NotFound")


class Device(NamedTuple):
    """One GPU as it was seen: the most of it that was used (0 to 1), and the processes that compute on it."""

    name: str
    share: float
    pids: frozenset[int]


class GpuSignal(Signal):
    """GPUs that are used more than a threshold.

    For the app that this server runs on any of them counts; for a kernel or terminal only one that a process of its own
    computes on. A process that holds memory of a GPU and does not compute does not count. Inside most containers NVML
    names no processes, so there a kernel that computes is seen by its processor time, and its app by the GPU.
    """

    gpu_share = Bounded(
        0.05,
        low=0,
        high=1,
        config=True,
        help="A GPU that is used for more than this share of the time counts as use (0 to 1; 0.05 is 5%).",
    )
    gpu_readings = Integer(3, min=1, max=20, config=True, help="How often each GPU is read for one check; most counts.")
    gpu_pause_seconds = Bounded(0.3, low=0, high=5, config=True, help="Time between two readings (seconds).")
    max_processes = Integer(5000, min=1, config=True, help="With more processes than this, all are taken as its own.")

    def __init__(self, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self._nvml: Any = None
        self._absent = False
        self._silent: set[str] = set()
        self._devices = Shared(lambda: in_thread(self._read))
        self._table = Shared(lambda: in_thread(self._read_table))

    @property
    def takes_seconds(self) -> float:
        """All readings of each GPU, at most."""
        return 0.0 if self._absent else (self.gpu_readings - 1) * self.gpu_pause_seconds

    def applies(self, subject: Subject) -> bool:
        """To kernels and terminals with processes on this machine, and to the app that is this machine."""
        return not self._absent and (subject.here if subject.kind is Kind.APP else bool(subject.pids))

    async def check(self, subject: Subject) -> str | None:
        """Say which GPU is at work, if it is for `subject`."""
        at_work = [device for device in await self._devices() if device.share > self.gpu_share]
        if at_work and subject.kind is not Kind.APP:
            at_work = self._own(at_work, await self._table(), subject)
        if not at_work:
            return None
        from .usage import shown

        top = max(at_work, key=lambda device: device.share)
        return f"GPU {shown(top.name)} is used at {100 * top.share:.0f}%"

    def _own(self, at_work: list[Device], table: Table, subject: Subject) -> list[Device]:
        if table.count > self.max_processes:
            return [device for device in at_work if device.pids]
        family = table.family(subject.pids, subject.server_pid)
        return [device for device in at_work if device.pids & family]

    def _read_table(self) -> Table:
        """All processes."""
        from .table import read_table

        return read_table(self.max_processes)

    def _read(self) -> list[Device]:
        """All GPUs; none where there is none, which is remembered."""
        if self._nvml is None:
            try:
                self._nvml = import_module("pynvml")
            except ImportError:
                self._absent = True
                return []
        nvml = self._nvml
        try:
            nvml.nvmlInit()
        except nvml.NVMLError as error:
            if type(error).__name__.removeprefix("NVMLError_") not in NO_GPU:
                raise
            self._absent = True
            return []
        try:
            return self._read_devices(nvml)
        finally:
            nvml.nvmlShutdown()

    def _read_devices(self, nvml: Any) -> list[Device]:
        handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
        shares = [0.0] * len(handles)
        for turn in range(self.gpu_readings if handles else 0):
            if turn:
                time.sleep(self.gpu_pause_seconds)
            for index, handle in enumerate(handles):
                shares[index] = max(shares[index], self._share(nvml, handle))
        return [
            Device(
                name=f"{index} ({_text(nvml.nvmlDeviceGetName(handle))})",
                share=shares[index],
                pids=self._pids(nvml, handle) if shares[index] > self.gpu_share else frozenset(),
            )
            for index, handle in enumerate(handles)
        ]

    def _share(self, nvml: Any, handle: Any) -> float:
        """How much of a GPU is used, 0 to 1; 0 for one that cannot tell (with MIG), which is logged once."""
        try:
            return float(nvml.nvmlDeviceGetUtilizationRates(handle).gpu) / 100
        except nvml.NVMLError as error:
            self._tolerate(error, "a GPU does not tell how much it is used, so its use does not count")
            return 0.0

    def _pids(self, nvml: Any, handle: Any) -> frozenset[int]:
        try:
            return frozenset(process.pid for process in nvml.nvmlDeviceGetComputeRunningProcesses(handle))
        except nvml.NVMLError as error:
            self._tolerate(error, "a GPU does not tell which processes use it")
            return frozenset()

    def _tolerate(self, error: Exception, words: str) -> None:
        """Log once what a GPU cannot do; anything else is an error.

        Raises
        ------
        Exception
            `error`, unless it says that this is not supported.
        """
        if not type(error).__name__.endswith(("NotSupported", "NoPermission")):
            raise error
        if words not in self._silent:
            self._silent.add(words)
            self.log.warning("Culling: %s: %s", words, error)


def _text(name: object) -> str:
    return name.decode(errors="replace") if isinstance(name, bytes) else str(name)
