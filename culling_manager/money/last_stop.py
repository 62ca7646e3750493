"""Why a server ended its own app or process, left in the home directory for the next one to tell, once.

The file lies beside the ledger. Nothing about it is ever in the way: what cannot be written or read is said in one
`ReadError`, and whatever somebody else put in its place (a link, a pipe, a folder, their own file) is left alone.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import ReadError, printable
from ..files import replace_file

FILE_NAME = "culling_manager_last_stop.json"
#: The longest file that is written and read (bytes), and the longest text in it (characters).
LONGEST = 1024
LONGEST_TEXT = 200
#: What it says, all of it text but `idle_seconds`.
FIELDS = ("at", "name", "app_type", "identity", "manager", "reason", "detail", "idle_seconds")


class LastStop:
    """The file. Every method raises `ReadError` when it cannot do what it is for."""

    def __init__(self, directory: str | Path) -> None:
        self.path = Path(directory) / FILE_NAME

    def write(self, found: Mapping[str, Any]) -> None:
        """Leave a note, in place of an earlier one; when this returns it is on the disk."""
        text = json.dumps({name: _short(found.get(name)) for name in FIELDS}).encode()
        if len(text) > LONGEST:
            text = json.dumps({name: _short(found.get(name), 40) for name in FIELDS}).encode()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._check_ours()
            replace_file(self.path, text[:LONGEST], durable=True)
        except OSError as error:
            raise ReadError(f"why this server stops could not be noted in {self.path}: {error}") from error

    def take(self) -> dict[str, Any] | None:
        """What the last server has left, which is told once: the note is gone then. None when there is none."""
        try:
            found = self._read()
            if found is not None:
                self.path.unlink(missing_ok=True)
            return found
        except OSError as error:
            raise ReadError(f"why the last server stopped could not be read in {self.path}: {error}") from error

    def withdraw(self) -> None:
        """It was not stopped after all."""
        try:
            if self._read() is not None:
                self.path.unlink(missing_ok=True)
        except OSError as error:
            raise ReadError(f"the note {self.path} could not be taken back: {error}") from error

    def _check_ours(self) -> None:
        """Raise OSError where something stands in its place that is no file of this user's."""
        try:
            found = self.path.lstat()
        except FileNotFoundError:
            return
        if not _is_ours(found):
            raise OSError("something else stands there, which is no file of this user's")

    def _read(self) -> dict[str, Any] | None:
        """What it says; None for no file, and for one that is none of ours or makes no sense."""
        try:
            if not _is_ours(self.path.lstat()):
                return None
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
        except FileNotFoundError:
            return None
        with os.fdopen(descriptor, "rb") as file:
            if not _is_ours(os.fstat(file.fileno())):
                return None
            raw = file.read(LONGEST + 1)
        try:
            found = json.loads(raw) if len(raw) <= LONGEST else None
        except (ValueError, RecursionError):
            return None
        if not isinstance(found, dict) or not isinstance(found.get("at"), str):
            return None
        return {name: _short(found.get(name)) for name in FIELDS}


def _is_ours(found: os.stat_result) -> bool:
    return stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid()


def _short(value: Any, longest: int = LONGEST_TEXT) -> str | float | None:
    """A number or a text, cut; anything else is nothing."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value
    return printable(value)[:longest] if isinstance(value, str) else None
