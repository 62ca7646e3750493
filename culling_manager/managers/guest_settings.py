"""The settings of `CullingKernelManager` where another kernel manager has taken its place."""

from __future__ import annotations

from typing import Any

from traitlets import Bool, Integer
from traitlets.config import Configurable

from ..traits import configured
from .kernel_settings import KernelSettings

#: Upstream's settings that ours have too, and the sections in which people have them.
UPSTREAMS = ("MappingKernelManager", "AsyncMappingKernelManager")


class GuestSettings(KernelSettings):
    """What is configured for our manager, in its section or in those of upstream's that it inherits."""

    cull_idle_timeout: Any
    cull_busy: Any

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not configured(self, kwargs, "cull_idle_timeout"):
            return
        if not configured(self, kwargs, "idle_timeout"):
            self.idle_timeout = max(self.cull_idle_timeout, 0) / 60
            return
        self.log.warning(
            "Both idle_timeout (%g minutes) and cull_idle_timeout (%d seconds) are set: idle_timeout is used.",
            self.idle_timeout,
            self.cull_idle_timeout,
        )


def settings_of(asked_for: str, server: Any) -> GuestSettings:
    """The settings of our manager called `asked_for`, as `server` has them configured.

    Raises
    ------
    TraitError
        When one of them is not accepted.
    """
    upstreams: dict[str, Any] = {
        "cull_idle_timeout": Integer(0, config=True),
        "cull_busy": Bool(False, config=True),
    }
    base: type[Configurable] = type(UPSTREAMS[0], (Configurable,), upstreams)
    for name in UPSTREAMS[1:]:
        base = type(name, (base,), {})
    found = type("CullingKernelManager", (GuestSettings, base), {})
    if asked_for != found.__name__:
        found = type(asked_for, (found,), {})
    settings: GuestSettings = found(parent=server)
    return settings
