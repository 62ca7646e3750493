"""Where this process is: in which notebook's kernel or in a terminal of which server, by Jupyter's environment."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ..records import MARKER
from .http import Client
from .servers import Code, Failure, Server, parse_url, running_servers, the_one, wanted_servers, with_token


def this_server(token: str | None = None) -> Server:
    """The server that started this process: a notebook's kernel knows its process, a terminal its address.

    Raises
    ------
    Failure
        When the environment names none.
    """
    url, known = os.environ.get("JUPYTER_SERVER_URL", ""), running_servers()
    found = server_here(known)
    if found is not None:
        return with_token(found, token)
    try:
        return with_token(parse_url(url), token, known)
    except ValueError:
        words = "--this is for a notebook and for a terminal of a Jupyter Server, and this is neither"
        raise Failure(Code.USAGE, f"{words}: give --server or --url, and --kernel ID.") from None


def server_here(known: Sequence[Server]) -> Server | None:
    """That one of the servers which started this process, None where the environment means none of them."""
    pid, url = os.environ.get("JPY_PARENT_PID", ""), os.environ.get("JUPYTER_SERVER_URL", "")
    by_pid = [each for each in known if str(each.pid) == pid]
    by_url = [each for each in known if url and each.is_meant_by(url)]
    # a server that was started in another's terminal or kernel has that one's words in its environment, too
    found = [*by_pid, *by_url] if "JPY_SESSION_NAME" in os.environ else [*by_url, *by_pid]
    return found[0] if found else None


def server_around(token: str | None = None, before: Server | None = None) -> Server:
    """The server that this process runs on: that which started it, also when that was restarted; else the only one.

    `before` is where it was last.

    Raises
    ------
    Failure
        When there is none, or one of several may be meant.
    """
    known = running_servers()
    marked, pid = os.environ.get(MARKER, "").partition(":")[0], os.environ.get("JPY_PARENT_PID", "")
    url = os.environ.get("JUPYTER_SERVER_URL", "")
    for found in (
        [each for each in known if str(each.pid) == marked],
        [each for each in known if url and each.is_meant_by(url)],
        [each for each in known if str(each.pid) == pid],
        [each for each in known if before is not None and each.base_url == before.base_url],
    ):
        if found:
            return with_token(found[0], token)
    return this_server(token) if url and not known else the_one(wanted_servers(None, token, None))


def this_kernel(client: Client) -> str | None:
    """The kernel of the notebook from which this process was started, None in a terminal.

    Raises
    ------
    Failure
        When the server has no such notebook, or several.
    """
    name = os.environ.get("JPY_SESSION_NAME", "")
    if not name:
        return None
    sessions = client.sessions()
    mine = [(path, kernel) for path, kernel in sessions if name == path or name.endswith(f"/{path}")]
    longest = max((len(path) for path, _ in mine), default=0)  # work/explore.ipynb before explore.ipynb
    kernels = {kernel for path, kernel in mine if len(path) == longest}
    if not kernels:  # who opened it has given it another name than its file's
        kernels = {kernel for path, kernel in sessions if os.path.basename(path) == os.path.basename(name)}
    if len(kernels) != 1:
        words = "no open notebook" if not kernels else "several open notebooks"
        raise Failure(
            Code.REFUSED, f"The server has {words} of the name {os.path.basename(name)}: give --kernel ID instead."
        )
    return kernels.pop()
