"""`%keep_alive 4h` in a notebook: keep the notebook's own kernel, or everything, for a time.

Works in every kernel that a Jupyter Server on this machine started and whose environment has this package. It needs
nothing more than the standard library, ipykernel and jupyter_core, which every kernel has.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

from ..engine.clock import utcnow
from ..errors import CullingError
from .http import Client
from .servers import Code, Failure, running_servers, with_token
from .words import asked_duration, kept, until_iso

USAGE = "%keep_alive 4h [--all] | %keep_alive --until 18:30 [--all] | %keep_alive off [--all] | %keep_alive"
SECONDS = 10.0


def keep_alive(duration: str | int | None = None, *, until: str | None = None, everything: bool = False) -> None:
    """Keep this notebook's kernel, or with `everything` all of the server, for a time, and tell until when.

    Parameters
    ----------
    duration
        Such as "4h", "90m", "1h30m", or a number of minutes; "off" takes a keep-alive back. None, and no `until`: only
        tell what is kept.
    until
        Instead: a time of day on this machine's clock, such as "18:30", or a date and time.
    everything
        Not only this kernel, but every kernel and terminal, and the machine.

    Raises
    ------
    CullingError
        With the reason, when it cannot be done.
    """
    sys.stdout.write(ask(duration, until, everything) + "\n")


def ask(duration: str | int | None, until: str | None, everything: bool) -> str:
    """Do it, and give what to tell."""
    if duration is not None and until is not None:
        raise Failure(Code.USAGE, "Say for how long or until when, not both.")
    kernel_id = own_kernel_id()
    client = own_server(kernel_id)
    now = utcnow()
    thing = {"kind": "all"} if everything else {"kind": "kernel", "id": kernel_id}
    if duration is None and until is None:
        return told(client.get("keep-alive")["keep_alive"], kernel_id, now)
    if duration == "off":
        return taken_back(client, thing, kernel_id, now)
    asked = asked_duration(duration) if isinstance(duration, str) else duration
    body: dict[str, Any] = {"duration": asked} if until is None else {"until": until_iso(until, now)}
    return sentence(client.post("keep-alive", body | thing), kernel_id, now)


def taken_back(client: Client, thing: dict[str, str], kernel_id: str, now: datetime) -> str:
    """Take a keep-alive back, if there is one, and give what to tell: also what is still kept, and how that ends."""
    asked = [(each.get("kind"), each.get("id")) for each in client.get("keep-alive")["keep_alive"]]
    there = (thing["kind"], thing.get("id")) in asked
    left = client.delete("keep-alive", **thing)["keep_alive"] if there else client.get("keep-alive")["keep_alive"]
    what = "Everything" if thing["kind"] == "all" else "This kernel"
    lines = [f"{what} is no longer kept by request." if there else f"{what} was not kept by request."]
    lines += [f"Still: {sentence(each, kernel_id, now)}" for each in left]
    if thing["kind"] != "all" and any(each.get("kind") == "all" for each in left):
        lines.append("That ends with: %keep_alive off --all")
    return "\n".join(lines)


def told(entries: Iterable[Any], kernel_id: str, now: datetime) -> str:
    """Every keep-alive, a line each."""
    return "\n".join(sentence(each, kernel_id, now) for each in entries) or "Nothing is kept by request."


def sentence(entry: Any, kernel_id: str, now: datetime) -> str:
    """A keep-alive in words, in which this kernel is this kernel."""
    words = kept(entry, now)
    if entry.get("kind") == "kernel" and entry.get("id") == kernel_id:
        words = "this kernel is kept" + words.partition(" is kept")[2]
    return f"{words[:1].upper()}{words[1:]}."


# -- where this kernel is --------------------------------------------------------------------------


def own_kernel_id() -> str:
    """The id under which this kernel's server knows it: that of its connection file.

    Raises
    ------
    Failure
        When this is no kernel of a Jupyter Server.
    """
    try:
        from ipykernel.connect import get_connection_file

        name = Path(get_connection_file()).name
    except (ImportError, RuntimeError, OSError):
        name = ""
    found = re.fullmatch(r"kernel-(.+)\.json", name)
    if found is None:
        raise Failure(
            Code.USAGE, "This is not the kernel of a notebook; on a command line: jupyter culling keep-alive."
        )
    return found.group(1)


def own_server(kernel_id: str) -> Client:
    """The server that has this kernel; the one that started this process is asked first.

    Raises
    ------
    Failure
        When there is none on this machine, as for a kernel on a remote gateway.
    """
    parent = os.environ.get("JPY_PARENT_PID", "")
    servers = sorted(running_servers(), key=lambda each: str(each.pid) != parent)
    asked: list[str] = []
    for server in servers:
        client = Client(with_token(server, None), SECONDS)
        try:
            if client.has_kernel(kernel_id):
                return client
            asked.append(f"{server.url} does not")
        except Failure as failure:
            asked.append(f"{server.url}: {failure}")
    told = "; ".join(asked) or "none runs here"
    raise Failure(
        Code.NO_SERVER,
        f"No Jupyter Server on this machine says that it has this kernel ({told}); it may run on a remote gateway. "
        f"Where the server runs, type: jupyter culling keep-alive 4h --kernel {kernel_id}",
    )


# -- IPython ---------------------------------------------------------------------------------------


def keep_alive_magic(line: str) -> None:
    """``%keep_alive 4h``: keep this kernel for a time. ``--all``: everything. ``--until 18:30``. ``off``: no longer."""
    from IPython.core.error import UsageError

    words = line.split()
    everything = "--all" in words
    words = [word for word in words if word != "--all"]
    until = None
    if "--until" in words:
        place = words.index("--until")
        words, until = words[:place], " ".join(words[place + 1 :])
    if any(word.startswith("-") for word in words) or until == "":
        raise UsageError(USAGE)
    try:
        keep_alive(" ".join(words).strip("\"'") or None, until=until, everything=everything)
    except CullingError as error:
        raise UsageError(str(error)) from None


def load_ipython_extension(shell: Any) -> None:
    """Called by ``%load_ext culling_manager``."""
    shell.register_magic_function(keep_alive_magic, "line", "keep_alive")


def unload_ipython_extension(shell: Any) -> None:
    """Called by ``%unload_ext culling_manager``."""
    shell.magics_manager.magics["line"].pop("keep_alive", None)
