"""What an app manager is. One for another cloud is a subclass with two methods; see `config/README.md`."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Mapping
from fnmatch import fnmatchcase
from typing import Any

from traitlets import List, Unicode
from traitlets.config import LoggingConfigurable

from ..records import AppRecord, KernelRecord, TerminalRecord


class AppManager(LoggingConfigurable):
    """Knows the billed compute that kernels and terminals live on, and how to delete it.

    Its methods run on the server's event loop, so whatever blocks belongs into a thread (`concurrency.in_thread`).
    """

    keep_apps = List(
        Unicode(),
        config=True,
        help="""Names of apps that are never deleted. `*` stands for any characters and `?` for one; upper and lower
        case differ. Empty: no app is protected.""",
    )

    #: Whether apps come and go, and listing them costs calls; False: the one app is the one that this server runs on.
    lists = False
    #: Whether kernels that this server did not start may live on the apps, so that the gateway's list has to be read.
    shares_kernels = False
    #: How long (seconds) an app may go on after its deletion was accepted before it is asked for again.
    patience = 1800.0
    #: Why there is nothing to manage, in words, where there is not.
    reason = ""
    #: Looks once more whether there is something to manage, where that could not be told; None: it could.
    again: Callable[[], AppManager] | None = None
    #: Whether SageMaker's native idle shutdown is to be held off; see `SpaceApp`.
    hold_native_shutdown: Any = False

    @property
    def server(self) -> Any:
        """The Jupyter Server that this manager works for, or None."""
        found = self.parent
        while found is not None and not hasattr(found, "init_webapp"):
            found = getattr(found, "parent", None)
        return found

    def is_protected(self, name: str) -> bool:
        """Whether `keep_apps` has a pattern for this name."""
        return any(fnmatchcase(name, pattern) for pattern in self.keep_apps)

    @abstractmethod
    async def list_apps(self) -> list[AppRecord]:
        """All apps there are, also those that are not in service, so that a kernel on such a one can be told.

        Raises
        ------
        CallError
            When the list cannot be had; it is asked for again later, and until then nothing is deleted.
        """

    @abstractmethod
    async def delete_app(self, app: AppRecord) -> None:
        """Have one app deleted; it may take its time after this returns.

        Raises
        ------
        GoneError
            When it is deleted already, or being deleted.
        CallError
            When that was refused or could not be asked for; it is tried again later.
        """

    def apps_of_kernel(self, kernel: KernelRecord, apps: Mapping[str, AppRecord]) -> Collection[str]:
        """Identities of the apps that this kernel may live on: each of them is kept for it."""
        return list(apps)

    def apps_of_terminal(self, terminal: TerminalRecord, apps: Mapping[str, AppRecord]) -> Collection[str]:
        """Identities of the apps that this terminal may live on."""
        return list(apps)

    def knows_home_of(self, kernel: KernelRecord, apps: Mapping[str, AppRecord]) -> bool:
        """Whether one of the apps is surely this kernel's; if not, they are listed again soon."""
        return True

    def place(self, terminal: TerminalRecord) -> TerminalRecord:
        """The record with what is known of where the terminal runs: whether that is billed, and goes with its app."""
        return terminal

    async def look_again(self, app: AppRecord) -> AppRecord:
        """A fresh record of an app that is about to be deleted; whatever that deletion needs can be got ready here.

        Raises
        ------
        GoneError
            When it is gone.
        CallError
            When it cannot be told; then it is kept and tried again later.
        """
        return app
