"""Leases as HTTP asks for them: on what, for how long in all, and by which name they are renewed and ended."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from ..engine.culler import IdleCuller
from ..engine.requests import end_of
from ..errors import SettingError
from ..policy import LONGEST_SECONDS
from ..records import KeepAlive, Kind, owner
from .bodies import LONGEST_ID, whom

#: The fields of a request that begins a lease, and that of one which renews it.
BEGINS, RENEWS = ("lease", "kind", "id", "owner", "duration"), ("lease",)
_NAME = r"[0-9a-f]{32}"


def wanted(body: Mapping[str, Any]) -> bool:
    """Whether a request to keep something is about a lease. Raises SettingError when nobody can tell."""
    value, mark = body.get("lease"), body.get("owner")
    is_name = isinstance(value, str) and re.fullmatch(_NAME, value) is not None
    if value is not None and not isinstance(value, bool) and not is_name:
        raise SettingError("lease", value, "true, to begin one, or the name of one that is to be renewed")
    if mark is not None and value is not True:
        raise SettingError("owner", mark, "absent without 'lease': true")
    return bool(value)


def ask(culler: IdleCuller, body: Mapping[str, Any], asked_by: str) -> KeepAlive:
    """Begin or renew a lease; gives it.

    Raises
    ------
    SettingError
        When something of it is not accepted; then nothing is changed.
    KeyError
        When there is no such thing, or no such lease.
    CullingError
        When it is too late, or the lease has ended.
    """
    allowed = BEGINS if body["lease"] is True else RENEWS
    for name, value in body.items():
        if value is not None and name not in allowed:
            accepted = "absent: a lease is renewed by its name alone" if allowed is RENEWS else "absent with a lease"
            raise SettingError(name, value, accepted)
    if allowed is RENEWS:
        return culler.keep.renew(body["lease"], culler.now())
    kind, identity = _on(culler, body)
    now, longest, duration = culler.now(), culler.policy.max_keep_alive, body.get("duration")
    most = now + timedelta(seconds=longest or LONGEST_SECONDS)
    ends = most if duration is None else end_of(duration, None, now, longest)
    culler.comings.check_stays(kind, identity)
    return culler.keep.lease(kind, identity, now, ends, asked_by)


def end(culler: IdleCuller, name: str) -> KeepAlive:
    """End a lease, for whoever holds it has ended; what it kept is warned of first. KeyError for one not known."""
    policy = culler.policy
    return culler.keep.end_lease(name, culler.now(), policy.warning(policy.shortest_idle_timeout))


def _on(culler: IdleCuller, body: Mapping[str, Any]) -> tuple[Kind | None, str | None]:
    """What is to be kept: a thing, or all; or what the processes of `owner` run on, all where that is not here."""
    kind, identity, mark = (body.get(name) for name in ("kind", "id", "owner"))
    if mark is None:
        return whom(kind, identity)
    if kind is not None or identity is not None:
        raise SettingError("owner", mark, "absent when 'kind' or 'id' is given")
    if not isinstance(mark, str) or not 0 < len(mark) <= LONGEST_ID:
        raise SettingError("owner", mark, "the value of CULLING_MANAGER_OWNER in the environment of what runs")
    for each, watch in culler.watches.items():
        for name, _, _ in [] if each is Kind.APP else list(watch.source.glance(culler.policy)):
            if mark == (watch.source.roots(name).owner or owner(each, name, os.getpid())):
                return each, name
    return None, None
