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
#: What a kernelspec's own timeout is called.
SPEC = "the kernelspec's metadata.cull_idle_timeout"


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
    return OwnTimeout(odd=f"{SPEC} = {shown(own)} is not a number of seconds")


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


def own_timeout_from(
    own: float | None, odd: str | None, policy: CullingPolicy, instance_type: str | None = None
) -> str:
    """Where the timeout comes from that holds for a kernel: a setting, or what its kernelspec says, and its bound.

    `own` and `odd` are what `own_timeout_in` found.
    """
    rule, bounded = policy.timeout_rule(instance_type), policy.max_idle_timeout > 0
    policys = "idle_timeout" if rule is None else f"idle_timeouts[{rule[0]!r}]"
    if policy.idle_timeout <= 0 or (own is None and odd is None):
        return policys
    if own is None or own <= 0:
        said = "makes no sense" if own is None else f"is {own:g}, which is never"
        kept = "it is kept, for max_idle_timeout is not set"
        return f"{policys}, for max_idle_timeout is set: {SPEC} {said}" if bounded else f"{SPEC} {said}: {kept}"
    if bounded and own > policy.max_idle_timeout:
        return f"max_idle_timeout: {SPEC} is {own:g} s"
    return f"{SPEC} is {own:g} s, and a second at least" if own < LEAST_SECONDS else SPEC
