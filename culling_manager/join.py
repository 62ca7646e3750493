"""Puts apps and safeguards onto a culler, for the managers that share it."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from .apps.unseen import ServerTimes, Unseen
from .engine.culler import IdleCuller
from .engine.ports import SharedKernels
from .events import listener
from .records import Kind
from .safeguards.guard import Safeguards


def join_apps(culler: IdleCuller, kernel_manager: Any, wanted: Any) -> None:
    """Have `culler` look after the apps of the app manager that `wanted` names, on a server that has any.

    Raises
    ------
    TraitError
        When `wanted` is no app manager.
    """
    from .apps.auto import make
    from .apps.none import NoApps

    if not hasattr(kernel_manager.parent, "init_webapp"):
        return  # a manager of its own, in somebody's program: nothing of the machine is its to stop
    apps, unseen = make(wanted, kernel_manager), _tell_others(culler, kernel_manager)
    if isinstance(apps, NoApps) and apps.again is None:
        from .apps.nowhere import Nowhere

        culler.neighbours = Nowhere(apps, culler.clock.monotonic)
        return
    from .apps.native_shutdown import Bridge
    from .apps.source import AppSource

    culler.neighbours = source = AppSource(apps, culler)
    culler.listeners.append(lambda happening: source.accounts.rehearsed(happening))
    culler.beats.append(lambda: source.accounts.beat())
    culler.attach(source)
    known = lambda: culler.guard.signals.signals.get("stamp_file") if isinstance(culler.guard, Safeguards) else None  # noqa: E731
    bridge = Bridge(culler, lambda: source.apps.hold_native_shutdown, kernel_manager, known, unseen)
    culler.beats.append(bridge.beat)


def _tell_others(culler: IdleCuller, kernel_manager: Any) -> Unseen:
    """Have those who read the server's last activity see what is kept that they cannot see themselves."""

    def pulse() -> Hashable:
        at = getattr(kernel_manager, "last_kernel_activity", None)  # moves with each state and message of a kernel
        attended = any(watch.notices.attended for watch in culler.watches.values())
        kept = culler.policy.keep_terminals and Kind.TERMINAL in culler.watches
        kernels = culler.watches.get(Kind.KERNEL)
        remote = kernels is not None and isinstance(kernels.source, SharedKernels)  # nobody here hears those
        if remote or attended or kept or culler.keep.any or not culler.policy.cull_connected:
            return None
        return culler.policy, at

    unseen = Unseen(culler, pulse)
    unseen.writers.append(ServerTimes(kernel_manager.parent).write)
    culler.beats.append(unseen.beat)
    return unseen


def join_guard(culler: IdleCuller, manager: Any) -> None:
    """Have the signals and the hook asked on behalf of `manager`; what another manager joined before is replaced.

    Raises
    ------
    TraitError
        When a setting of theirs is not accepted.
    """
    server = manager.parent
    if culler.guard is None and server is not None:
        culler.listeners.append(listener(server))
    guard = Safeguards(culler, parent=manager)
    known = culler.guard
    if isinstance(known, Safeguards):
        known.signals.stop()
    guard.signals.start(server)
    manager.log.debug("Culling: signals are asked %.2f s before a deadline", guard.lead_seconds)
    culler.guard = guard
