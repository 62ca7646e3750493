"""GPUs at work, with a stand-in for NVML: machines that test have no GPU."""

from __future__ import annotations

import os
import sys
import types

import pytest

from culling_manager.records import Kind
from culling_manager.signals import GpuSignal, Signals
from tests.conftest import scenario
from tests.test_signals_runner import subject


class NVMLError(Exception):
    """As in pynvml."""


class NVMLError_LibraryNotFound(NVMLError):
    """As in pynvml."""


class NVMLError_NotSupported(NVMLError):
    """As in pynvml."""


class NVMLError_GpuIsLost(NVMLError):
    """As in pynvml."""


class Nvml(types.ModuleType):
    """`pynvml` with as many GPUs as it is given: a list of readings and the processes of each."""

    NVMLError = NVMLError

    def __init__(self, *gpus: tuple[list, list[int]], init: Exception | None = None) -> None:
        super().__init__("pynvml")
        self.gpus, self.init, self.inits, self.open = list(gpus), init, 0, 0

    def nvmlInit(self):
        self.inits += 1
        if self.init:
            raise self.init
        self.open += 1

    def nvmlShutdown(self):
        self.open -= 1

    def nvmlDeviceGetCount(self):
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index):
        return self.gpus[index]

    def nvmlDeviceGetName(self, handle):
        return b"Tesla T4"

    def nvmlDeviceGetUtilizationRates(self, handle):
        reading = handle[0].pop(0) if len(handle[0]) > 1 else handle[0][0]
        if isinstance(reading, Exception):
            raise reading
        return types.SimpleNamespace(gpu=reading, memory=90)

    def nvmlDeviceGetComputeRunningProcesses(self, handle):
        return [types.SimpleNamespace(pid=pid) for pid in handle[1]]


@pytest.fixture
def install(monkeypatch):
    """Make a stand-in importable."""

    def put(nvml):
        monkeypatch.setitem(sys.modules, "pynvml", nvml)
        return nvml

    return put


def gpu(**settings) -> GpuSignal:
    return GpuSignal(gpu_pause_seconds=0, **settings)


APP = subject(Kind.APP, here=True)
#: A kernel whose process is the one that runs the tests; its server is another.
KERNEL = subject(Kind.KERNEL, pids=(os.getpid(),))


def kernel(pid: int):
    """A kernel with this process, of a server that is not above it."""
    return subject(Kind.KERNEL, pids=(pid,))._replace(server_pid=0)


def test_a_gpu_that_is_used_keeps_the_app(install, run):
    """The most of a few readings counts."""
    nvml = install(Nvml(([0], []), ([0, 87, 0], [])))

    assert run(gpu().check(APP)) == "GPU 1 (Tesla T4) is used at 87%"
    assert nvml.open == 0


def test_a_process_that_only_holds_memory_does_not_keep(install, run):
    """An idle kernel with a model on the GPU is idle."""
    install(Nvml(([0], [os.getpid()])))

    assert run(gpu().check(APP)) is None
    assert run(gpu().check(kernel(os.getpid()))) is None


@pytest.mark.parametrize(("share", "kept"), [(5, False), (6, True)])
def test_exactly_the_threshold_is_no_use(install, run, share, kept):
    """The inequality is strict."""
    install(Nvml(([share], [])))

    assert (run(gpu(gpu_share=0.05).check(APP)) is not None) is kept


def test_a_kernel_is_kept_only_by_a_gpu_that_its_own_process_computes_on(install, run):
    """Another kernel's work is another kernel's."""
    install(Nvml(([90], [os.getpid()])))

    assert run(gpu().check(kernel(os.getpid()))) == "GPU 0 (Tesla T4) is used at 90%"
    assert run(gpu().check(kernel(2**22 + 1))) is None


def test_without_the_package_nothing_is_asked(install, run):
    """It is an optional extra."""
    install(None)
    signal = gpu()

    assert run(signal.check(APP)) is None
    assert not signal.applies(APP)


def test_without_a_gpu_nothing_is_asked_again(install, run):
    """The driver is not there: no error, and remembered."""
    nvml = install(Nvml(init=NVMLError_LibraryNotFound("NVML Shared Library Not Found")))
    signal = gpu()

    assert run(signal.check(APP)) is None
    assert not signal.applies(APP)
    assert nvml.inits == 1


def test_a_gpu_that_cannot_tell_does_not_count_which_is_logged_once(install, run, caplog):
    """With MIG, utilisation is not supported; its jobs are seen by their processor time."""
    install(Nvml(([NVMLError_NotSupported("Not Supported")], [])))
    signal = gpu()

    assert run(signal.check(APP)) is None
    assert run(signal.check(APP)) is None
    assert len([each for each in caplog.records if "does not tell how much" in each.message]) == 1


@pytest.mark.parametrize("broken", ["init", "reading"])
@scenario
async def test_a_gpu_that_fails_keeps_and_is_reported(broken):
    """A GPU that is lost is a doubt, and doubt keeps."""
    error = NVMLError_GpuIsLost("GPU is lost")
    nvml = Nvml(init=error) if broken == "init" else Nvml(([error], []))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "pynvml", nvml)
        finding = await Signals(names=["gpu"]).ask(APP)

    assert finding.errors == ("the signal gpu failed: NVMLError_GpuIsLost: GPU is lost",)
    assert nvml.open == 0


def test_it_applies_to_what_is_on_this_machine():
    """Not to another app, nor to a kernel that runs elsewhere."""
    signal = gpu()

    assert signal.applies(APP)
    assert signal.applies(KERNEL)
    assert not signal.applies(subject(Kind.APP))
    assert not signal.applies(subject(Kind.KERNEL))
