"""A kernelspec's own ``metadata.cull_idle_timeout``: what it says, and what that is worth under a policy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ..errors import shown
from ..policy import CullingPolicy

#: No kernel is due sooner than this (seconds) after its last activity because its kernelspec says so.
LEAST_SECONDS = 1.0
#: Nobody means more than this (seconds, 31 years).
MOST_SECONDS = 1e9


class OwnTimeout(NamedTuple):
    """What a kernelspec says: `seconds`, of which 0 or less is off; or, where that makes no sense, why in words."""

    seconds: float | None = None
    odd: str | None = None


#: It says nothing.
NOTHING = OwnTimeout()


def own_timeout_in(metadata: Mapping[str, Any]) -> OwnTimeout:
    """Read ``cull_idle_timeout`` (seconds) from a kernelspec's metadata."""
    own = metadata.get("cull_idle_timeout")
    if own is None:
        return NOTHING
    if type(own) in (int, float) and abs(own) < MOST_SECONDS:  # a bool is none of the two
        return OwnTimeout(float(own))
    return OwnTimeout(odd=f"the kernelspec's metadata.cull_idle_timeout = {shown(own)} is not a number of seconds")


def own_seconds(own: float | None, policy: CullingPolicy, instance_type: str | None = None) -> float:
    """Seconds until a kernel is due whose kernelspec says `own` (None: nothing): at least 1 s, and 0 or less is off.

    Where `max_idle_timeout` is set its own is at most that, and off counts for nothing: then, as without any, it is due
    as the policy says. Off for all is off.
    """
    if own is None or policy.idle_timeout <= 0:
        return policy.idle_timeout_on(instance_type)
    most = policy.max_idle_timeout
    if own <= 0:
        return policy.idle_timeout_on(instance_type) if most > 0 else 0.0
    return max(min(own, most) if most > 0 else own, LEAST_SECONDS)
