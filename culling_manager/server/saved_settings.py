"""Settings that a user made lasting: one small file of our own in Jupyter's config directory.

It names no class and Jupyter does not read it, so that a server without this package is not disturbed by it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import ReadError, SaveError, SettingError
from ..files import replace_file
from ..policy import CullingPolicy, minutes

FILE_NAME = "culling_manager_settings.json"
#: A file longer than this (bytes) is not ours.
LONGEST = 10_000


class SavedSettings:
    """The settings file: ``{"idle_time": minutes, "keep_terminals": bool}``, each of them optional."""

    def __init__(self, directory: str) -> None:
        self.path = Path(directory) / FILE_NAME

    def load(self) -> dict[str, Any] | None:
        """What is saved; None when nothing is.

        Raises
        ------
        ReadError
            When the file cannot be read, or is not what we write.
        """
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)  # whatever kind of file somebody put there
            with os.fdopen(descriptor, "rb") as file:
                found = json.loads(file.read(LONGEST) or b"")
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError) as error:
            raise ReadError(f"the saved settings in {self.path} cannot be read and are ignored: {error}") from error
        if not _is_ours(found):
            raise ReadError(f"the saved settings in {self.path} are ignored: it is not a file that we wrote")
        settings: dict[str, Any] = found
        return settings

    def save(self, settings: dict[str, Any]) -> None:
        """Replace what is saved, all or nothing.

        Raises
        ------
        SaveError
            When the file cannot be written.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(self.path, json.dumps(settings).encode() + b"\n")
        except OSError as error:
            raise SaveError(f"the settings could not be saved in {self.path}: {error}") from error

    def forget(self) -> None:
        """Delete the file, if there is one.

        Raises
        ------
        SaveError
            When it cannot be deleted.
        """
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            raise SaveError(f"the saved settings in {self.path} could not be deleted: {error}") from error


def _is_ours(found: object) -> bool:
    """Whether this can be what we wrote: no other names, and values that are settings."""
    if not isinstance(found, dict) or not found.keys() <= {"idle_time", "keep_terminals"}:
        return False
    try:
        minutes("idle_time", found.get("idle_time", 0))
    except SettingError:
        return False
    return isinstance(found.get("keep_terminals", False), bool)


def fitting_in(saved: Mapping[str, Any], policy: CullingPolicy) -> tuple[dict[str, Any], list[str]]:
    """What of the saved settings the bounds allow now, and in words what they do not."""
    check = {"idle_time": policy.user_minutes, "keep_terminals": policy.user_keep_terminals}
    fitting: dict[str, Any] = {}
    refused = []
    for name, value in saved.items():
        try:
            fitting[name] = check[name](name, value)
        except SettingError as error:
            refused.append(str(error))
    return fitting, refused
