"""The server extension: joins the parts and hands them to the handlers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from jupyter_core.paths import jupyter_config_path
from jupyter_server.extension.config import ExtensionConfigManager
from jupyter_server.gateway.gateway_client import GatewayClient
from traitlets import TraitError
from traitlets.config import Config

from ._version import __version__
from .culler import IdleCuller
from .errors import CullingError
from .events import register
from .handlers import routes
from .policy import plain
from .records import Kind
from .report import state_document

HOW_TO_SELECT = {
    Kind.KERNEL: 'c.ServerApp.kernel_manager_class = "culling_manager.CullingKernelManager"',
    Kind.TERMINAL: 'c.TerminalsExtensionApp.terminal_manager_class = "culling_manager.CullingTerminalManager"',
}

#: Sections that are ours, and where in others our classes are selected.
OUR_CLASSES = (
    *("CullingKernelManager", "GatewayCullingKernelManager", "CullingTerminalManager"),
    *("AppManager", "KernelGatewayApps", "SpaceApp", "NotebookInstance", "JupyterServerProcess"),
    *("SageMakerAppManager", "ResourceMetadataFile"),
)
SELECTION = {"ServerApp": "kernel_manager_class", "TerminalsExtensionApp": "terminal_manager_class"}


class ServerDesk:
    """Answers the handlers for one server; looks its parts up when asked, for extensions load in any order."""

    def __init__(self, server: Any) -> None:
        self._server = server

    @property
    def _culler(self) -> IdleCuller:
        return IdleCuller.of(self._server, self._server.log)

    def _kernels_not_ours(self) -> str | None:
        if Kind.KERNEL in self._culler.watches:
            return None
        name = type(self._server.kernel_manager).__name__
        return f"Kernels are not culled: the kernel manager is {name}. Configure {HOW_TO_SELECT[Kind.KERNEL]}"

    def _terminals_not_ours(self) -> str | None:
        terminals = self._server.web_app.settings.get("terminal_manager")
        if terminals is None or Kind.TERMINAL in self._culler.watches:
            return None
        name = type(terminals).__name__
        return f"Terminals are not culled: the terminal manager is {name}. Configure {HOW_TO_SELECT[Kind.TERMINAL]}"

    def notices(self) -> list[str]:
        """What is not ours on this server, and how to make it so."""
        return [words for words in (self._kernels_not_ours(), self._terminals_not_ours()) if words is not None]

    def settings(self) -> Mapping[str, Any]:
        """Count and settings as the original extension shows them; ``idle_time`` in seconds."""
        culler = self._culler
        ours = bool(culler.watches)
        seconds = culler.policy.idle_timeout if ours else 0.0
        return {
            "idle_time": int(seconds) if seconds == int(seconds) else seconds,
            "keep_terminals": culler.policy.keep_terminals,
            "count": culler.count,
            "errors": culler.troubles.last_text() or self._kernels_not_ours(),
        }

    def change(self, minutes: object, keep_terminals: bool | None) -> None:
        """Set the idle timeout (minutes) and, unless None, `keep_terminals`; starts the culler if it is not running.

        Raises
        ------
        SettingError
            When the bounds do not allow it; then nothing is changed.
        CullingError
            When none of the server's managers is ours.
        """
        culler = self._culler
        if not culler.watches:
            raise CullingError(" ".join(self.notices()))
        seconds = culler.policy.user_minutes("idle_time", minutes) * 60
        culler.change_settings(idle_timeout=seconds, keep_terminals=keep_terminals)
        culler.start()
        culler.log.info(
            "Culling: set at run time: idle_timeout %s minutes, keep_terminals %s",
            plain(seconds / 60),
            culler.policy.keep_terminals,
        )

    def status(self) -> Mapping[str, Any]:
        """The state document."""
        culler = self._culler
        now = culler.now()
        current = {kind: watch.current(now) for kind, watch in culler.watches.items()}
        return state_document(
            version=__version__,
            now=now,
            running=culler.running,
            count=culler.count,
            watching=culler.watches,
            policy=asdict(culler.policy) if culler.watches else None,
            next_wake_up=culler.next_wake_up,
            kernels=current.get(Kind.KERNEL, ()),
            terminals=current.get(Kind.TERMINAL, ()),
            apps=current.get(Kind.APP, ()),
            app_manager=None if culler.neighbours is None else culler.neighbours.describe(),
            troubles=culler.troubles.recent(now),
            outcomes=culler.outcomes,
            notices=self.notices(),
        )


def selected_in(found: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Pick from the merged JSON of ``jupyter_server_config.d`` what concerns us: our settings, and our selection."""
    picked: dict[str, dict[str, Any]] = {}
    for section, values in found.items():
        if not isinstance(values, dict):
            continue
        wanted = SELECTION.get(section)
        if section in OUR_CLASSES:
            picked[section] = dict(values)
        elif wanted is not None and str(values.get(wanted, "")).startswith("culling_manager."):
            picked[section] = {wanted: values[wanted]}
    return picked


def _link_jupyter_server_extension(server: Any) -> None:
    """Let settings in ``jupyter_server_config.d/*.json`` count, before the server makes its managers.

    Jupyter Server itself reads from these files only which extensions are enabled. So a selection of our classes that
    stands there works while this package is installed, and is nothing when it is not: the server then starts with
    Jupyter's own managers. Whatever is configured elsewhere wins.
    """
    found = ExtensionConfigManager(read_config_path=jupyter_config_path()).get("jupyter_server_config")
    for section, values in selected_in(found).items():
        known = server.config.get(section, {})
        new = {name: value for name, value in values.items() if name not in known}
        server.update_config(Config({section: new}))
    kernels = server.config.ServerApp.get("kernel_manager_class")
    if kernels == "culling_manager.CullingKernelManager" and GatewayClient.instance(parent=server).gateway_enabled:
        server.log.info("Culling: kernels are on a gateway, so culling_manager.GatewayCullingKernelManager is used.")
        gateway_class = {"kernel_manager_class": "culling_manager.GatewayCullingKernelManager"}
        server.update_config(Config({"ServerApp": gateway_class}))
    end_on_bad_terminal_settings(server)


def end_on_bad_terminal_settings(server: Any) -> None:
    """End the start of the server when the settings of our terminal manager are refused.

    Jupyter Server ends by itself for the kernel manager's. For the terminal manager's it would go on without any
    terminals, and say so only in a traceback.
    """
    selected = str(server.config.get("TerminalsExtensionApp", {}).get("terminal_manager_class", ""))
    if not selected.endswith("CullingTerminalManager"):
        return
    from .terminals import check_settings

    try:
        check_settings(server.config)
    except TraitError as error:
        server.log.critical("Bad config encountered during initialization: %s", error)
        server.exit(1)


def _load_jupyter_server_extension(server: Any) -> None:
    """Add our handlers to the server; says so when settings are configured for a manager that is not selected."""
    settings = server.web_app.settings
    settings["culling_manager_desk"] = ServerDesk(server)
    if Kind.APP in IdleCuller.of(server, server.log).watches:
        register(server)
    server.web_app.add_handlers(".*$", routes(settings["base_url"]))
    choose = getattr(server.kernel_manager, "connection_class", None)
    if choose is not None:
        settings["kernel_websocket_connection_class"] = choose(settings["kernel_websocket_connection_class"])
    configured = [name for name in ("CullingKernelManager", "GatewayCullingKernelManager") if name in server.config]
    if configured and Kind.KERNEL not in IdleCuller.of(server, server.log).watches:
        server.log.warning(
            "%s is configured but not selected, so no kernel is culled: set ServerApp.kernel_manager_class to "
            "culling_manager.CullingKernelManager (with a gateway: culling_manager.GatewayCullingKernelManager).",
            configured[0],
        )
