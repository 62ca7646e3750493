"""Jupyter Server configuration: shut down kernels and terminals that nobody uses.

Works as it stands::

    jupyter server --config=config/jupyter_server_config.py     # also `jupyter lab`, `jupyter notebook`

or copied to one of the directories that ``jupyter --paths`` lists under "config". What the command line says
(``--CullingKernelManager.idle_timeout=60``) wins over this file.

``jupyter_server_config.d/culling_manager_settings.json`` says the same for those who write JSON. In a directory
``jupyter_server_config.d`` it counts as long as the package is installed and its server extension enabled, and what is
configured anywhere else wins over it.

Lines that begin with ``# c.`` show defaults. 0 turns a timeout or a bound off; a negative, infinite or otherwise
absurd number is refused with a message that names setting, value and accepted range.
"""

import os
import sys

c = get_config()  # noqa: F821

# -- which managers cull ---------------------------------------------------------------------------

c.ServerApp.kernel_manager_class = "culling_manager.CullingKernelManager"
c.TerminalsExtensionApp.terminal_manager_class = "culling_manager.CullingTerminalManager"

# Kernels on a remote gateway need another class, because the server has none of its own then. It takes the same
# settings, also under the name CullingKernelManager. Our server extension, which installation enables, selects it by
# itself wherever the gateway is configured; without the extension these lines do so, for a gateway that is given by
# JUPYTER_GATEWAY_URL or on the command line. Beside a c.GatewayClient.url in a file, set the class there.
if os.environ.get("JUPYTER_GATEWAY_URL") or any(
    argument.startswith(("--gateway-url", "--GatewayClient.url")) for argument in sys.argv
):
    c.ServerApp.kernel_manager_class = "culling_manager.GatewayCullingKernelManager"

# -- kernels ---------------------------------------------------------------------------------------

# Minutes without activity after which a kernel is shut down. 0: no kernel is. A kernelspec's own
# metadata.cull_idle_timeout (seconds, 1 at least, 0 for never) overrides it for the kernels of that spec.
c.CullingKernelManager.idle_timeout = 120

# The idle timeout (minutes) by instance type, for apps and what runs on them; the first pattern that matches counts, in
# the order written. Where the type is not known idle_timeout holds. A space asks SageMaker for its own type once. What
# users set at run time makes none of these longer, but for "*", the rest.
# c.CullingKernelManager.idle_timeouts = {}

# The least and the greatest idle timeout (minutes) that users may set at run time, over HTTP or with a script.
# 0: no bound. They never bound idle_timeout as it is set here or on the command line: what the admin configures holds.
# Where the greatest is set no kernelspec's own timeout is longer, and 0, less and nonsense in a kernelspec count for
# nothing: users write kernelspecs, too.
# c.CullingKernelManager.min_idle_timeout = 0
# c.CullingKernelManager.max_idle_timeout = 0

# Minutes after which a kernel that is busy without a break is shut down, however fresh its output. 0: never.
# c.CullingKernelManager.busy_timeout = 0

# Minutes ahead of a deadline at which a warning is given, at most half the timeout. 0: none.
# c.CullingKernelManager.warn_before = 5

# The longest time (minutes) for which users may ask that something is kept. 0: no bound.
# c.CullingKernelManager.max_keep_alive = 1440

# A run of long_run minutes or longer has results: its kernel is kept for grace minutes at least after it has ended.
# grace = 0: off.
# c.CullingKernelManager.grace = 0
# c.CullingKernelManager.long_run = 10

# What an activity signal sees (a background process, a GPU in use) keeps for these minutes at most, since Jupyter
# itself last saw use or a user last asked that it is kept. 0: no end.
# c.CullingKernelManager.max_at_work = 0

# An app that is older than these minutes is deleted whatever is on it; it is warned of 15 minutes ahead or more, and a
# keep-alive moves it, by max_keep_alive at most. 0: no end.
# c.CullingKernelManager.max_age = 0

# Heartbeat (seconds): the longest time between two looks. Deadlines are met exactly, not at heartbeats.
# 0 or less is replaced by 10, with a warning.
# c.CullingKernelManager.cull_interval = 10

# Whether a kernel with an open browser tab is culled like any other. False: an open tab keeps its kernel.
# c.CullingKernelManager.cull_connected = True

# Whether being busy does not protect a kernel: True also shuts down a busy one that was silent for idle_timeout.
# c.CullingKernelManager.cull_busy = False

# Decide, log and report, but shut nothing down: for a rehearsal. Covers terminals and apps too.
# c.CullingKernelManager.dry_run = False

# Jupyter Server's own idle timeout (seconds; 0 or less: no kernel is shut down). It counts where idle_timeout is not
# configured, so remove that line above to use this one; if both are there, idle_timeout wins and a warning says so.
# c.CullingKernelManager.cull_idle_timeout = 0

# -- apps: what is billed --------------------------------------------------------------------------

# Which app manager deletes the billed compute once nothing on it has been in use for idle_timeout. "auto": by
# SageMaker's resource metadata file, this server's Studio space (SpaceApp), all KernelGateway apps of this user in
# Studio Classic (KernelGatewayApps), or this notebook instance (NotebookInstance, which is stopped); anywhere else
# nothing. "culling_manager.apps.NoApps": never anything. "culling_manager.apps.JupyterServerProcess": the server stops.
# c.CullingKernelManager.app_manager_class = "auto"

# Names of apps that are never deleted; * stands for any characters. A space's app goes by the space's name, too.
# c.AppManager.keep_apps = []

# Path of SageMaker's resource metadata file. "": what the environment variable RESOURCE_METADATA_FILE says, else
# /opt/ml/metadata/resource-metadata.json.
# c.ResourceMetadataFile.path = ""

# -- terminals -------------------------------------------------------------------------------------

# Whether terminals are left alone. True: no terminal is ever terminated for being idle.
c.CullingTerminalManager.keep_terminals = False

# Whether users may not change keep_terminals at run time. False: they may.
# c.CullingTerminalManager.keep_terminals_fixed = False

# Minutes without output after which a terminal is terminated. 0: no terminal is. None: the kernels' idle_timeout.
# c.CullingTerminalManager.idle_timeout = None

# Heartbeat (seconds); the smaller one of this and the kernels' counts. 0 or less is replaced by 10, with a warning.
# c.CullingTerminalManager.cull_interval = 10

# Jupyter's own idle timeout for terminals (seconds; 0 or less: no terminal is terminated). It counts where idle_timeout
# is not configured for them; if both are there, idle_timeout wins and a warning says so.
# c.CullingTerminalManager.cull_inactive_timeout = 0

# -- what is asked before something is stopped -----------------------------------------------------

# Activity signals see use that Jupyter does not: processes that use CPU, disk or network, GPUs, remote editors, saved
# documents, proxied apps, containers. ["*"] asks every one that is installed, [] none. For the settings of each see the
# README.
# c.Signals.names = ["processes", "gpu", "stamp_file", "documents", "server_use", "other_kernels", "containers"]

# A process at work uses more than this share of a core, or reads and writes more than this (bytes per second).
# c.ProcessSignal.cpu_share = 0.05
# c.ProcessSignal.io_rate = 20000

# A callable, or its import name, that is called before a kernel or terminal is shut down or an app is deleted; it may
# take hook_seconds, and may answer until when it wants the thing kept. One that fails keeps, or with "cull" does not.
# c.Safeguards.pre_cull_hook = None
# c.Safeguards.hook_seconds = 30
# c.Safeguards.hook_failure = "keep"

# Whether SageMaker's native idle shutdown is held off while something is kept that it cannot see.
# c.SpaceApp.hold_native_shutdown = False
