"""Reading the frames of a message as far as is needed, and not verified: who must not be deceived verifies."""

from __future__ import annotations

import json
from typing import Any

from jupyter_client.session import DELIM


def may_be_status(frames: list[bytes]) -> bool:
    """Whether an IOPub message may be a status message; True in doubt. The header is only searched, not parsed."""
    header = header_of(frames)
    return not header or b"status" in header


def header_of(frames: list[bytes]) -> bytes:
    """The header of a message as it came; empty when there is none."""
    try:
        return frames[frames.index(DELIM) + 2]
    except (ValueError, IndexError):
        return b""


def kind_of(frames: list[bytes]) -> str:
    """The type of a message; '' when it has none."""
    return str(_part(frames, 2).get("msg_type", ""))


def parent_of(frames: list[bytes]) -> dict[str, Any]:
    """The header of the request that a message answers; empty when there is none."""
    return _part(frames, 3)


def status_of(frames: list[bytes]) -> str:
    """What a status message says; '' when it is none."""
    return str(_part(frames, 5).get("execution_state", ""))


def _part(frames: list[bytes], place: int) -> dict[str, Any]:
    """The part of a message that comes so many frames after the delimiter; empty when there is none, or no object."""
    try:
        found = json.loads(frames[frames.index(DELIM) + place])
    except (ValueError, IndexError):
        return {}
    return found if isinstance(found, dict) else {}


def type_and_id(frames: list[Any]) -> tuple[str, str]:
    """Message type and id of a message being sent; '' when they cannot be told, which counts as a request."""
    try:
        parts = [bytes(frame) for frame in frames]
        header = json.loads(parts[parts.index(DELIM) + 2])
        return str(header["msg_type"]), str(header["msg_id"])
    except (ValueError, IndexError, KeyError, TypeError):
        return "", ""
