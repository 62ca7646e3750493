"""Replacing a small file of our own: whole or not at all, whatever stands there."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def replace_file(path: Path, contents: bytes, mode: int = 0o600, durable: bool = False) -> None:
    """Have `contents` in place of what was at `path`, all or nothing, readable as `mode` says.

    With `durable` it is on the disk when this returns. A link that stands there is replaced, not followed. Raises
    OSError when it cannot be done; then everything is as before.

    Jupyter's own `atomic_writing` follows a link and writes in place, for a reader in the middle of it to see, and its
    backup has a name that others can put there first: in a folder of everybody's none of that will do.
    """
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(contents)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        Path(name).chmod(mode)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
