"""A hook that copies what changed in a folder to S3 before the app that it is on is deleted.

Put this file where the server's Python finds it, and name it in the server's configuration::

    c.Safeguards.pre_cull_hook = "copy_home_to_s3.copy_before_app"
    c.Safeguards.hook_seconds = 600

It reads two environment variables of the server: ``COPY_TO`` (such as ``s3://my-bucket/backups/alice``) and, if it is
not the home directory, ``COPY_FROM``. It needs boto3 and ``s3:PutObject`` below that prefix. What it copied it does not
copy again until it changes. When a file cannot be copied it raises, so that the app is kept and that is reported.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

#: Folders that can be made again, and files larger than this (bytes), are left out.
SKIPPED = {".cache", ".local", ".ipynb_checkpoints", "__pycache__", "node_modules", ".venv", ".git"}
LARGEST = 1_000_000_000

_copied: dict[Path, tuple[int, int]] = {}


def copy_before_app(record: Any, decision: Any) -> None:
    """Copy before an app is deleted; kernels and terminals leave files as they are.

    Runs in a thread, for it is no coroutine. Raises ValueError when ``COPY_TO`` is no S3 URI.
    """
    if type(record).__name__ == "AppRecord":
        copy_changed(Path(os.environ.get("COPY_FROM") or Path.home()), os.environ.get("COPY_TO", ""))


def copy_changed(folder: Path, target: str) -> int:
    """Copy each file below `folder` that is new or has changed to `target`; gives how many."""
    where = urlsplit(target)
    if where.scheme != "s3" or not where.netloc:
        raise ValueError(f"COPY_TO = {target!r} is not accepted: it must be an S3 URI such as s3://my-bucket/alice")
    import boto3

    client, prefix, count = boto3.client("s3"), where.path.strip("/"), 0
    for path in changed(folder):
        state = path.stat()
        key = "/".join(part for part in (prefix, path.relative_to(folder).as_posix()) if part)
        client.upload_file(str(path), where.netloc, key)
        _copied[path] = (state.st_mtime_ns, state.st_size)
        count += 1
    return count


def changed(folder: Path) -> Iterator[Path]:
    """The files to copy; links are not followed."""
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in SKIPPED]
        for name in names:
            path = Path(parent, name)
            if path.is_symlink() or not path.is_file():
                continue
            state = path.stat()
            if state.st_size <= LARGEST and _copied.get(path) != (state.st_mtime_ns, state.st_size):
                yield path
