"""The policy in force: what the sources are configured with, and what was changed at run time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ..policy import CullingPolicy, no_longer
from .ports import Source


class Settings:
    """Builds the policy from the settings of all sources; what is changed is handed on to them."""

    def __init__(self, sources: Callable[[], Iterable[Source]]) -> None:
        self._sources = sources
        self._wanted: dict[str, Any] = {}
        self._configured: dict[str, Any] = {}

    def policy(self) -> CullingPolicy:
        """The policy by today's settings; the shortest heartbeat wins.

        Raises
        ------
        SettingError
            When they are not accepted.
        """
        settings = dict(self._wanted)
        intervals = []
        for source in self._sources():
            found = dict(source.settings())
            intervals += [found.pop("cull_interval")] if "cull_interval" in found else []
            settings.update(found)
        return CullingPolicy(cull_interval=min(intervals, default=10.0), **settings)

    def change(self, changes: dict[str, Any], policy: CullingPolicy) -> None:
        """Change what is not None under the `policy` of before; a timeout for everything as `no_longer` says.

        Raises
        ------
        SettingError
            When a value is not accepted; then nothing is changed.
        """
        seconds = changes.get("idle_timeout")
        if seconds is not None and policy.idle_timeouts:
            changes = {**changes, "idle_timeouts": no_longer(self.configured("idle_timeouts", policy), seconds)}
        wanted = {**self._wanted, **{name: value for name, value in changes.items() if value is not None}}
        CullingPolicy(**wanted)
        for name in wanted:
            self._configured.setdefault(name, getattr(policy, name))
        self._wanted = wanted
        self._hand_on(wanted)

    def reset(self) -> None:
        """Go back to what was configured."""
        configured, self._configured, self._wanted = self._configured, {}, {}
        self._hand_on(configured)

    def configured(self, name: str, policy: CullingPolicy) -> Any:
        """A setting as it was before it was changed at run time."""
        return self._configured.get(name, getattr(policy, name))

    def _hand_on(self, changes: dict[str, Any]) -> None:
        for source in self._sources():
            source.apply(changes)
