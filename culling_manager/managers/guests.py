"""Where another kernel manager stands in the place that was asked for ours: it is watched as a guest, and said so."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, packages_distributions, version
from typing import TYPE_CHECKING, Any

from tornado.ioloop import IOLoop

from ..engine.culler import IdleCuller
from ..join import join_apps, join_guard
from ..records import Kind
from .kernel_settings import KernelSettings
from .saves import follow_saves

if TYPE_CHECKING:
    from .guest_source import GuestKernelSource  # hardly any server has one

#: Our managers, by the names of their sections; the first is the one that is meant when only terminals' would fit.
OURS = ("GatewayCullingKernelManager", "CullingKernelManager")
#: Whose managers stand there when nobody has put another one there.
JUPYTERS = "jupyter_server"


def note_asked_for(server: Any) -> None:
    """Remember whether one of our managers is selected, before another extension selects its own."""
    selected = server.config.get("ServerApp", {}).get("kernel_manager_class", "")
    name = str(getattr(selected, "__name__", selected)).rpartition(".")[2]
    if name in OURS:
        server.culling_manager_asked_for = name


def asked_for(server: Any) -> str | None:
    """The name of our manager that was selected, or that has a section in the configuration; None when none was."""
    selected: str | None = getattr(server, "culling_manager_asked_for", None)
    return selected or next((name for name in OURS if name in server.config), None)


def welcome(server: Any, culler: IdleCuller) -> GuestKernelSource | None:
    """Watch the server's kernel manager as a guest, where ours was asked for and another one is there; gives it.

    Jupyter Server's own was put there by nobody, unless ours was selected: else ours is configured and not selected.

    Raises
    ------
    TraitError
        When a setting of ours is not accepted.
    """
    manager, wanted = server.kernel_manager, asked_for(server)
    known = culler.watches.get(Kind.KERNEL)
    if wanted is None or isinstance(manager, KernelSettings):
        return None
    if _package(manager) == JUPYTERS and getattr(server, "culling_manager_asked_for", None) is None:
        return None
    if known is not None and getattr(known.source, "manager", None) is manager:
        return None
    from .guest_settings import settings_of
    from .guest_source import GuestKernelSource

    own = settings_of(wanted, server)
    guest = GuestKernelSource(manager, own, culler, _words(manager, wanted))
    culler.attach(guest)
    join_guard(culler, own)
    if culler.neighbours is None:
        join_apps(culler, own, own.app_manager_class)
    follow_saves(server, guest)
    _rest(manager)
    server.log.warning("Culling: %s", guest.words)
    IOLoop.current().add_callback(culler.start)
    return guest


def guest_of(culler: IdleCuller) -> GuestKernelSource | None:
    """The guest that a culler watches, if it watches one."""
    from .guest_source import GuestKernelSource

    watch = culler.watches.get(Kind.KERNEL)
    return watch.source if watch is not None and isinstance(watch.source, GuestKernelSource) else None


def _rest(manager: Any) -> None:
    """Have a manager of upstream's kind not cull by itself, too: it would ask nobody whether a kernel is at work."""
    if manager.has_trait("cull_idle_timeout"):
        manager.cull_idle_timeout = 0


def _package(manager: Any) -> str:
    return type(manager).__module__.partition(".")[0]


def _words(manager: Any, wanted: str) -> str:
    """Which class took the place of which, who put it there, and what that means."""
    found = type(manager)
    return (
        f"The kernel manager is {found.__module__}.{found.__qualname__}: {_who(_package(manager))} put it in the place "
        f"of culling_manager.{wanted}. It is watched as a guest: its kernels are culled by the settings of {wanted}, "
        "and what it does not show of them keeps them."
    )


def _who(package: str) -> str:
    """The distribution that a package comes from, with its version; its name where nobody knows."""
    if package == JUPYTERS:
        return "an extension"
    for name in packages_distributions().get(package, []):
        try:
            return f"{name} {version(name)}"
        except PackageNotFoundError:
            continue
    return f"the package {package}"
