"""An extension of a test's server that lets time go by for a kernel, so that no test waits for a timeout.

    POST tests/elapse {"kernel": "1a2b...", "seconds": 7000}
    GET tests/told

The kernel is from then on as if it had been used last so long ago. All that follows of it is the server's own doing,
and the events that it told, with the time, are what the second answers.
"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any, ClassVar

from jupyter_server.base.handlers import APIHandler
from jupyter_server.utils import url_path_join
from tornado.web import authenticated

from culling_manager.engine.clock import epoch, utcnow


class Elapse(APIHandler):
    """Makes a kernel's last use older."""

    @authenticated
    async def post(self) -> None:
        """Date it back, and have the server look."""
        asked: dict[str, Any] = self.get_json_body() or {}
        manager: Any = self.kernel_manager
        kernel, activity = manager.get_kernel(asked["kernel"]), manager._source.activity(asked["kernel"])
        kernel.last_activity = utcnow() - timedelta(seconds=asked["seconds"])
        activity.started_at = kernel.last_activity
        activity.noted_at = activity.person_at = activity.disconnected_at = None
        activity.version += 1
        manager._culler.situation.notice_at = None  # whatever a person changed was that long ago too
        await manager.cull_kernels()
        self.finish({})


class Told(APIHandler):
    """Says what our events were, and when they were told."""

    events: ClassVar[list[dict[str, Any]]] = []

    @authenticated
    def get(self) -> None:
        """The events since the server started."""
        self.finish(json.dumps(self.events))


async def _note(logger: Any, schema_id: str, data: dict[str, Any]) -> None:
    Told.events.append({**data, "at": epoch()})


def _load_jupyter_server_extension(server: Any) -> None:
    """Add the handlers, and listen."""
    base = server.web_app.settings["base_url"]
    handlers = {"tests/elapse": Elapse, "tests/told": Told}
    server.web_app.add_handlers(".*", [(url_path_join(base, path), handler) for path, handler in handlers.items()])
    for name in ("app", "culling", "settings"):
        server.event_logger.add_listener(schema_id=f"https://events.jupyter.org/culling_manager/{name}", listener=_note)
