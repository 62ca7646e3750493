"""Nothing billed: only kernels and terminals are culled."""

from __future__ import annotations

from typing import Any

from ..records import AppRecord
from .base import AppManager


class NoApps(AppManager):
    """No app to manage. `reason` says why; `again` (if not None) looks once more whether there is one."""

    def __init__(self, reason: str = "no app manager is configured", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.reason = reason

    async def list_apps(self) -> list[AppRecord]:
        """None."""
        return []

    async def delete_app(self, app: AppRecord) -> None:
        """There is nothing to delete."""
