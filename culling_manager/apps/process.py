"""Any machine, pod or container: the server itself is what is billed, and it can end itself."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from typing import Any

from ..errors import CallError
from ..records import AppRecord
from .base import AppManager

#: How long (seconds) a server that was asked to stop may take, before it is asked again, and once more before it ends.
STOP_SECONDS = 30.0
#: How long (seconds) its kernels may take to be shut down when it has to end without its own cleanup.
KERNELS_SECONDS = 10.0


class JupyterServerProcess(AppManager):
    """The Jupyter Server process itself, which stops cleanly when nothing on it is in use.

    Its kernels and terminals are shut down by the server's own cleanup, and it exits with code 0; whatever started it
    (systemd, a pod's restart policy) decides what comes next. A server that does not stop, because an extension does
    not, is asked again as SIGTERM asks it, then ended without its extensions, and at last its process exits.
    """

    _ending: threading.Thread | None = None

    async def list_apps(self) -> list[AppRecord]:
        """The process itself."""
        name = f"jupyter-server-{os.getpid()}"
        return [AppRecord(identity=name, name=name, app_type="JupyterServerProcess", state="InService")]

    async def delete_app(self, app: AppRecord) -> None:
        """Ask the server to stop; it does so on its event loop, after this returns, and in the end it is gone."""
        server = self.server
        if server is None:
            raise CallError("there is no Jupyter Server to stop")
        server.log.info("Stopping this server: nothing on it has been in use for its idle timeout.")
        server.stop()
        if self._ending is None or not self._ending.is_alive():
            watch = _Ending(server, asyncio.get_running_loop()).to_the_end
            self._ending = threading.Thread(target=watch, name="culling_manager ending", daemon=True)
            self._ending.start()


class _Ending:
    """Sees a server that was asked to stop to its end, from a thread: its event loop may not turn any more."""

    def __init__(self, server: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._server, self._loop = server, loop

    def to_the_end(self) -> None:
        """Wait, and each time that it has not ended do more about it, until it has."""
        for do_more in (self._ask_again, self._end_without_extensions, self._exit):
            threading.Event().wait(STOP_SECONDS)
            if self._loop.is_running():
                do_more()
            elif threading.main_thread().is_alive():
                return  # it has ended, and the program that it belongs to goes on
            else:
                self._exit()  # something keeps the process from exiting

    def _tell(self, words: str) -> None:
        self._server.log.error("Culling: this server was asked to stop and is still there: %s", words)

    def _ask_again(self) -> None:
        self._tell("it is asked again, as SIGTERM asks")
        if signal.getsignal(signal.SIGTERM) == self._server._signal_stop:
            os.kill(os.getpid(), signal.SIGTERM)
        else:  # in a program that has other plans for the signal
            self._loop.call_soon_threadsafe(self._server.stop)

    def _end_without_extensions(self) -> None:
        self._tell("its kernels are shut down and it ends, whatever its extensions still do")
        asyncio.run_coroutine_threadsafe(self._end(), self._loop)

    async def _end(self) -> None:
        try:
            await asyncio.wait_for(self._server.cleanup_kernels(), KERNELS_SECONDS)
        except Exception as error:
            self._server.log.error("Culling: kernels could not be shut down in the end: %r", error)
        self._server.io_loop.stop()

    def _exit(self) -> None:
        self._tell("its process exits")
        os._exit(0)
