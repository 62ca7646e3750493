"""Reading what a request asks for: each function gives what was meant, or says which field is not accepted, and why."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from typing import Any

from ..errors import BodyError, SettingError
from ..records import Kind

#: The longest request body that is read (bytes).
LONGEST_BODY = 65_536
#: The longest id of anything (characters).
LONGEST_ID = 2000

#: What users may set at run time, and save.
SETTINGS = frozenset({"idle_time", "keep_terminals"})

_NUMBER = r"\s*[0-9]{1,20}(\.[0-9]{1,20})?\s*"


def json_object(raw: bytes, example: str) -> dict[str, Any]:
    """Give the JSON object that a body is; `example` is one that is accepted.

    Raises
    ------
    BodyError
        Naming what the body is instead.
    """
    if len(raw) > LONGEST_BODY:
        raise BodyError("body", f"{len(raw)} bytes", f"at most {LONGEST_BODY} bytes")
    accepted = f"a JSON object such as {example}"
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        raise BodyError("body", raw[:60].decode("utf-8", "replace"), accepted) from None
    if not isinstance(found, dict):
        raise BodyError("body", found, accepted)
    return found


def only(body: Mapping[str, Any], names: Collection[str]) -> None:
    """Refuse a field that nobody reads, for whoever sent it expects something of it."""
    for name in body.keys() - set(names):
        raise SettingError(name, body[name], f"absent: the fields are {', '.join(names)}")


def idle_time(body: Mapping[str, Any]) -> object:
    """Give ``idle_time`` (minutes) from a body; a numeric string counts as its number."""
    if "idle_time" not in body:
        raise SettingError("idle_time", None, "present: a number of minutes over 0")
    value = body["idle_time"]
    return float(value) if isinstance(value, str) and re.fullmatch(_NUMBER, value) else value


def keep_terminals(body: Mapping[str, Any], needed: bool) -> bool | None:
    """Give ``keep_terminals`` from a body, None when it is absent and not `needed`."""
    if "keep_terminals" not in body and not needed:
        return None
    return _bool("keep_terminals", body.get("keep_terminals"))


def saved(body: Mapping[str, Any]) -> frozenset[str]:
    """Give which settings are to last, from ``save``: true for both, or a list of names."""
    value = body.get("save", False)
    if isinstance(value, bool):
        return SETTINGS if value else frozenset()
    names = [each for each in value if isinstance(each, str)] if isinstance(value, list) else []
    if not names or names != value or not SETTINGS.issuperset(names) or len(set(names)) < len(names):
        raise SettingError("save", value, f"true, false, or a list of one or both of {' and '.join(sorted(SETTINGS))}")
    return frozenset(value)


def _bool(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise SettingError(name, value, "true or false")
    return value


def whom(kind: object, identity: object) -> tuple[Kind | None, str | None]:
    """Read whom a keep-alive is for: "all", or a kind and an identity.

    Raises
    ------
    SettingError
        When they are not that.
    """
    if kind is None or kind == "all":
        if identity is not None:
            raise SettingError("id", identity, "absent for kind 'all'; else give 'kind' too")
        return None, None
    if kind not in [each.value for each in Kind]:
        raise SettingError("kind", kind, "one of 'all', 'kernel', 'terminal', 'app'")
    if not isinstance(identity, str) or not identity or len(identity) > LONGEST_ID:
        raise SettingError("id", identity, f"the id of a {kind}, as in the status document")
    return Kind(kind), identity
