"""Which process of this machine a kernel is: only of one that runs here, for elsewhere numbers mean others."""

from __future__ import annotations

import subprocess
from typing import Any


def local_pid(kernel: Any) -> int | None:
    """The kernel's process, where a provisioner started it on this machine; None when it runs elsewhere, or not."""
    from jupyter_client.provisioning.local_provisioner import LocalProvisioner

    provisioner = getattr(kernel, "provisioner", None)
    process = getattr(provisioner, "process", None)
    here = isinstance(provisioner, LocalProvisioner) or isinstance(process, subprocess.Popen)
    pid = getattr(provisioner, "pid", None) or getattr(process, "pid", None)
    return pid if here and type(pid) is int and pid > 0 else None
