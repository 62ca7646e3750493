"""The server extension: joins the parts and hands them to the handlers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jupyter_core.paths import jupyter_config_dir, jupyter_config_path
from jupyter_server.extension.config import ExtensionConfigManager
from jupyter_server.gateway.gateway_client import GatewayClient
from tornado.ioloop import IOLoop
from traitlets import TraitError
from traitlets.config import Config

from .._version import __version__
from ..client.paste import LINE
from ..engine.culler import IdleCuller
from ..errors import printable
from ..events import register
from ..managers.connections import Teller, counting, is_counted
from ..managers.guests import note_asked_for, welcome
from ..managers.hosts import ChoosesConnections
from ..managers.kernel_settings import KernelSettings
from ..records import Kind
from .handlers import routes
from .metrics import expose
from .recording import Recording
from .saved_settings import SavedSettings
from .sections import loaded_classes, misspelt
from .service import ServerDesk

#: Sections that are ours.
OUR_CLASSES = (
    *("CullingKernelManager", "GatewayCullingKernelManager", "CullingTerminalManager"),
    *("AppManager", "NoApps", "KernelGatewayApps", "SpaceApp", "NotebookInstance", "JupyterServerProcess"),
    *("SageMakerAppManager", "ResourceMetadataFile", "Safeguards", "Signals", "Presence", "Recording"),
    *("Signal", "ProcessSignal", "GpuSignal", "StampFileSignal", "DocumentSignal"),
    *("OtherKernelsSignal", "ServerUseSignal", "ContainerSignal"),
)
#: Upstream's settings that mean what our `idle_timeout` means, and the sections in which people have them.
UPSTREAMS_TIMEOUTS = {
    "CullingKernelManager": ("cull_idle_timeout", "KernelManager"),
    "GatewayCullingKernelManager": ("cull_idle_timeout", "KernelManager"),
    "CullingTerminalManager": ("cull_inactive_timeout", "TerminalManager"),
}
#: Where in others' sections our classes are selected.
SELECTION = {"ServerApp": "kernel_manager_class", "TerminalsExtensionApp": "terminal_manager_class"}


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


def settled_by_upstreams(section: str, config: Mapping[str, Any]) -> set[str]:
    """Settings of a section of ours that are configured under upstream's names, in whatever class's section."""
    name, kind = UPSTREAMS_TIMEOUTS.get(section, ("", " "))
    found = any(each.endswith(kind) and name in values for each, values in config.items())
    return {"idle_timeout"} if found else set()


def _link_jupyter_server_extension(server: Any) -> None:
    """Let settings in ``jupyter_server_config.d/*.json`` count, before the server makes its managers.

    Jupyter Server itself reads from these files only which extensions are enabled. So a selection of our classes that
    stands there works while this package is installed, and is nothing when it is not: the server then starts with
    Jupyter's own managers. Whatever is configured elsewhere wins.
    """
    found = ExtensionConfigManager(read_config_path=jupyter_config_path()).get("jupyter_server_config")
    warn_of_misspelt(server, found)
    for section, values in selected_in(found).items():
        known = {*server.config.get(section, {}), *settled_by_upstreams(section, server.config)}
        new = {name: value for name, value in values.items() if name not in known}
        server.update_config(Config({section: new}))
    kernels = server.config.ServerApp.get("kernel_manager_class")
    if kernels == "culling_manager.CullingKernelManager" and GatewayClient.instance(parent=server).gateway_enabled:
        server.log.info("Culling: kernels are on a gateway, so culling_manager.GatewayCullingKernelManager is used.")
        gateway_class = {"kernel_manager_class": "culling_manager.GatewayCullingKernelManager"}
        server.update_config(Config({"ServerApp": gateway_class}))
    note_asked_for(server)
    end_on_bad_terminal_settings(server)


def warn_of_misspelt(server: Any, found: Mapping[str, Any]) -> None:
    """Say which sections are nobody's and look like one of ours: nothing that stands in them counts."""
    sections = sorted({*server.config, *found})
    for section, meant in misspelt(sections, OUR_CLASSES, loaded_classes()).items():
        server.log.warning(
            "Config section `%s` is not recognized, so what stands in it does not count.  Did you mean `%s`?",
            printable(section),
            meant,
        )


def end_on_bad_terminal_settings(server: Any) -> None:
    """End the start of the server when the settings of our terminal manager are refused.

    Jupyter Server ends by itself for the kernel manager's. For the terminal manager's it would go on without any
    terminals, and say so only in a traceback.
    """
    selected = str(server.config.get("TerminalsExtensionApp", {}).get("terminal_manager_class", ""))
    if not selected.endswith("CullingTerminalManager"):
        return
    from ..managers.terminals import check_settings

    try:
        check_settings(server.config)
    except TraitError as error:
        server.log.critical("Bad config encountered during initialization: %s", error)
        server.exit(1)


def _welcome(server: Any, culler: IdleCuller) -> bool:
    """Watch another kernel manager that stands in our place; gives whether one is watched only now.

    Settings of ours that are refused end the start of the server, as they do where our manager itself refuses them.
    """
    try:
        guest = welcome(server, culler)
    except TraitError as error:
        server.log.critical("Bad config encountered during initialization: %s", error)
        server.exit(1)
        raise
    if guest is not None:
        settings = server.web_app.settings
        found = settings["kernel_websocket_connection_class"]
        settings["kernel_websocket_connection_class"] = counting(found, guest.guests)
    return guest is not None


def _choose_connections(server: Any) -> None:
    """Have the pages counted that are connected to kernels of ours, whatever class of connections the server uses."""
    settings, manager = server.web_app.settings, server.kernel_manager
    found = settings["kernel_websocket_connection_class"]
    if isinstance(manager, ChoosesConnections):
        found = manager.connection_class(found)
    if isinstance(manager, KernelSettings) and not is_counted(found):
        found = counting(found, Teller(manager))
    settings["kernel_websocket_connection_class"] = found


def _all_loaded(server: Any, culler: IdleCuller, desk: ServerDesk) -> None:
    """Once all extensions are loaded, in whatever order: see what they have put in our place, and add metrics.

    Without a manager that is watched there are none.
    """
    if _welcome(server, culler):
        register(server)
    if culler.watches:
        expose(culler, given_back=desk.given_back)


def _load_jupyter_server_extension(server: Any) -> None:
    """Add our handlers to the server; says so when settings are configured for a manager that is not selected."""
    settings = server.web_app.settings
    culler = IdleCuller.of(server, server.log)
    desk = settings["culling_manager_desk"] = ServerDesk(server, SavedSettings(jupyter_config_dir()))
    _welcome(server, culler)
    if culler.watches:
        register(server)
    Recording(parent=server).start(server, culler)
    desk.restore()
    IOLoop.current().add_callback(desk.previous.tell, server, culler)
    # The page in JupyterLab or Notebook asks us for nothing where this is not so.
    page = settings.setdefault("page_config_data", {})
    page["cullingManager"] = __version__
    if not GatewayClient.instance(parent=server).gateway_enabled:
        page["cullingManagerPaste"] = LINE  # it is for kernels that this server has started on this machine
    IOLoop.current().add_callback(_all_loaded, server, culler, desk)
    server.web_app.add_handlers(".*$", routes(settings["base_url"]))
    _choose_connections(server)
    configured = [name for name in ("CullingKernelManager", "GatewayCullingKernelManager") if name in server.config]
    if configured and Kind.KERNEL not in culler.watches:
        server.log.warning(
            "%s is configured but not selected, so no kernel is culled: set ServerApp.kernel_manager_class to "
            "culling_manager.CullingKernelManager (with a gateway: culling_manager.GatewayCullingKernelManager).",
            configured[0],
        )
