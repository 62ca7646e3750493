"""What a hub needs beside its own settings: our managers on each server, and an idle culler that may ask them."""

import sys
from pathlib import Path

c = get_config()  # noqa: F821

c.Spawner.args = [
    "--ServerApp.kernel_manager_class=culling_manager.CullingKernelManager",
    "--TerminalsExtensionApp.terminal_manager_class=culling_manager.CullingTerminalManager",
]

c.JupyterHub.services = [
    {
        "name": "idle-culler",
        "command": [
            *(sys.executable, "-m", "jupyterhub_idle_culler", "--timeout=3600"),
            f"--config_file={Path(__file__).with_name('idle_culler_config.py')}",
        ],
    }
]
c.JupyterHub.load_roles = [
    {
        "name": "idle-culler",
        "services": ["idle-culler"],
        # the last one, to ask each server for its status
        "scopes": ["list:users", "read:users:activity", "read:servers", "delete:servers", "access:servers"],
    }
]
