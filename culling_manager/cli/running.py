"""`jupyter culling run -- COMMAND`: this process becomes the command, and one behind it keeps what it runs on.

So the command has our process number, our terminal and our signals, and its exit code is ours. The process behind it is
no child of it, and in no session of its: nothing that is sent to the one reaches the other.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from argparse import Namespace
from contextlib import suppress
from typing import Any

from ..client.here import server_around
from ..client.http import Client
from ..client.lease import Lease
from ..client.servers import Code, Failure, Server
from ..client.words import asked_duration, printable
from ..records import MARKER
from . import shared
from .keeping import LISTS, thing

#: What a shell answers for a command that is no program, and for one that there is not.
NO_PROGRAM, NO_COMMAND = 126, 127
#: File descriptors that every program has.
STANDARD = 3
#: How often (seconds) it is looked whether a command has ended, where the system does not tell.
LOOK_SECONDS = 1.0


def run(options: Namespace) -> int:
    """Begin a lease, leave somebody behind to renew it, and become the command. Nothing is run that is not kept."""
    if not options.command:
        raise Failure(Code.USAGE, "Say after -- what to run: jupyter culling run -- python train.py")
    found = Servers(options)
    wanted = _wanted(options, found)
    most = None if options.most is None else asked_duration(options.most)
    lease = Lease(found, wanted, _tell, most)
    lease.begin()
    _leave_behind(lease)
    return _become(options.command)


class Servers:
    """The server to ask, as it is now."""

    def __init__(self, options: Namespace) -> None:
        self._options = options
        self._before: Server | None = None

    def __call__(self) -> Client:
        """Find it. Raises Failure."""
        options = self._options
        if options.this or options.url is not None or options.server is not None:
            client = shared.chosen(options)
        else:
            client = Client(server_around(options.token, self._before), options.answer_within)
        self._before = client.server
        return client


def _wanted(options: Namespace, found: Servers) -> dict[str, Any]:
    """What is to be kept: what was named, else what this process runs on."""
    named = any(getattr(options, kind) is not None for kind in LISTS) or options.this
    if options.all:
        return {"kind": "all"}
    if named:
        return dict(thing(found(), options))
    mark = os.environ.get(MARKER)
    return {"owner": mark} if mark else {"kind": "all"}


def _become(command: list[str]) -> int:
    """Become another program; gives the exit code where that is not possible."""
    for each in ("SIGPIPE", "SIGXFSZ"):  # Python ignores them, and a program would inherit that
        signal.signal(getattr(signal, each), signal.SIG_DFL)
    try:
        os.execvp(command[0], command)  # noqa: S606
    except FileNotFoundError:
        code, words = NO_COMMAND, "there is no such command"
    except OSError as error:
        code, words = NO_PROGRAM, f"it cannot be run: {error.strerror}"
    _tell(f"{printable(command[0])}: {words}")
    return code


# -- the one behind ----------------------------------------------------------------------------------


class Ended:
    """Tells a descendant whether this very process, whatever it has become, has ended."""

    def __init__(self) -> None:
        self._process: Any = None
        self._fd = -1
        try:
            import fcntl

            self._fd = fcntl.fcntl(os.pidfd_open(os.getpid()), fcntl.F_DUPFD_CLOEXEC, STANDARD)
        except (AttributeError, OSError):  # not on macOS, nor where a sandbox does not let us
            import psutil

            self._process = psutil.Process()

    def stand_alone(self) -> None:
        """Hold nothing of the command's but its stderr, where it is told what goes wrong."""
        os.chdir("/")
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, 0)
        os.dup2(nothing, 1)
        if self._fd > STANDARD:
            self._fd = os.dup2(self._fd, STANDARD)
        os.closerange(STANDARD + (self._fd == STANDARD), os.sysconf("SC_OPEN_MAX"))

    def __call__(self, seconds: float) -> bool:
        """Whether it ends within so many seconds; then nobody reads what is told any more, or waits for that."""
        poll = select.poll()
        if self._fd >= 0:
            poll.register(self._fd, select.POLLIN)
        ended = bool(poll.poll(1000 * (seconds if self._fd >= 0 else min(seconds, LOOK_SECONDS))))
        if not ended and (self._fd >= 0 or self._lives()):
            return False
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        return True

    def _lives(self) -> bool:
        return bool(self._process.is_running() and self._process.status() != "zombie")


def _leave_behind(lease: Lease) -> None:
    """Have a process, which is nobody's child, hold the lease until this one has ended, whatever it becomes."""
    ended = Ended()
    sys.stdout.flush()
    sys.stderr.flush()
    between = os.fork()
    if between:
        with suppress(ChildProcessError):  # where nobody waits for children they are gone by themselves
            os.waitpid(between, 0)
        return
    try:
        os.setsid()
        if os.fork() == 0:
            ended.stand_alone()
            lease.hold(ended)
    except Exception as error:
        _tell(f"it is kept for five minutes more at most, for what keeps it has failed: {error!r}")
    finally:
        os._exit(0)


def _tell(words: str) -> None:
    """One line on stderr, which may be closed by now."""
    with suppress(OSError, ValueError):
        sys.stderr.write(f"jupyter culling run: {printable(words)}\n")
        sys.stderr.flush()
