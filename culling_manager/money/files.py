"""Replacing a small file of our own in a user's home."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def replace_file(path: Path, contents: bytes) -> None:
    """Have `contents` in place of what was at `path`, all or nothing, on the disk when this returns; mode 0600.

    A link that stands there is replaced, not followed. Raises OSError when it cannot be done; then nothing is left.
    """
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(contents)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise
