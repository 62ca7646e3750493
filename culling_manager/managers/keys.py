"""When somebody last typed in a terminal, which its output does not tell."""

from __future__ import annotations

import re
from functools import wraps
from typing import Any

from ..engine.clock import utcnow

#: What a page sends by itself when a program asks its terminal something, or when it is looked at: no keys.
BY_ITSELF = r"(\x1b\[[?>=]?[\d;]*\$?[cnRtuxyIO]|\x1b[P\]][^\x07\x1b]*(\x07|\x1b\\))+"


def is_typed(text: object) -> bool:
    r"""Whether what is sent to a terminal may be keys.

    >>> is_typed("ls"), is_typed("\x1b[A"), is_typed("\x1b[24;80R"), is_typed("")
    (True, True, False, False)
    """
    words = text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
    return bool(words) and re.fullmatch(BY_ITSELF, words) is None


def note_keys(terminal: Any) -> None:
    """Note as `typed_at` of a terminal when something is typed in it, from now on."""
    write = terminal.ptyproc.write
    terminal.typed_at = utcnow()

    @wraps(write)
    def noting(text: Any) -> Any:
        if is_typed(text):
            terminal.typed_at = utcnow()
        return write(text)

    terminal.ptyproc.write = noting
