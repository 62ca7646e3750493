"""Any machine, pod or container: the server itself is what is billed, and it can end itself."""

from __future__ import annotations

import os

from ..errors import CallError
from ..records import AppRecord
from .base import AppManager


class JupyterServerProcess(AppManager):
    """The Jupyter Server process itself, which stops cleanly when nothing on it is in use.

    Its kernels and terminals are shut down by the server's own cleanup, and it exits with code 0; whatever started it
    (systemd, a pod's restart policy) decides what comes next.
    """

    async def list_apps(self) -> list[AppRecord]:
        """The process itself."""
        name = f"jupyter-server-{os.getpid()}"
        return [AppRecord(identity=name, name=name, app_type="JupyterServerProcess", state="InService")]

    async def delete_app(self, app: AppRecord) -> None:
        """Ask the server to stop; it does so on its event loop, after this returns."""
        server = self.server
        if server is None:
            raise CallError("there is no Jupyter Server to stop")
        server.log.info("Stopping this server: nothing on it has been in use for its idle timeout.")
        server.stop()
