"""Processes at work that Jupyter does not see: background jobs, tmux, silent programs in terminals, downloads.

What belongs to a kernel or terminal is its process tree, and what shares a session with it: a job that was detached
(nohup, double fork) is in there, also after its parent has ended. A job that began a session of its own and lost its
parent is told by the variable `table.MARKER` in its environment. Where that is missing it belongs to no kernel or
terminal, but such a job outlives these, and as the user's process it keeps the app that it runs on.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from functools import cached_property
from typing import TYPE_CHECKING

from traitlets import Integer, List, Unicode

from ..records import Kind
from .base import Bounded, Shared, Signal, Subject

if TYPE_CHECKING:  # a server that has not looked yet needs none of it
    from .sampler import Sampler
    from .snapshot import Table
    from .usage import Usage

#: What comes with images and works without being used: init, agents of SageMaker and EC2, editors and their servers.
COMES_WITH_IMAGES = [
    *("supervisord", "tini", "dumb-init", "docker-init", "catatonit", "systemd", "systemd-*", "(sd-pam)", "dbus-*"),
    *("sshd", "sshd-*", "sshd: *", "ssh-agent", "gpg-agent", "cron", "crond", "rsyslogd", "dockerd", "containerd*"),
    *("amazon-*-agent", "amazon-efs-*", "ssm-agent*", "ssm-session-*", "sagemaker-*-agent", "stunnel*", "nvidia-*"),
    *("*langserver*", "*language-server*", "*languageserver*", "*language_server*", "*-lsp", "*-lsp.js", "aws-lsp-*"),
    *("pylsp", "pyls", "pyright*", "tsserver*", "jupyter-lsp*", "typingsInstaller.js"),
    *("code-server", "sagemaker-code-editor*", "*/code-server/*", "*/sagemaker-code-editor/*", "*/.vscode-server/*"),
    *("*/.vscode-server-*/*", "*/.cursor-server/*", "*/.windsurf-server/*", "*/.kiro-server/*"),
]


class ProcessSignal(Signal):
    """Processes that use the processor, want it and do not get it, or move data; each alone, or a job of many together.

    For a kernel or terminal its own; for the app that this server runs on every process of the server's user, and of
    everything that the server started, except the server, what it was started by, and `ignored_names`. What only beats
    does not count: see `usage`.
    """

    # An idle ipykernel was measured at 0.0 to 0.1% of a core (at most one tick of 10 ms in a second, also with a
    # kernel_info_request in it) and at 1 to 32 bytes per second (under 400 with that request). Idle bash, vim, less and
    # tmux were measured at 0 and 0. So there is a factor of five, or more, on each side of the defaults. What beats
    # more than that is in the table of `usage`.
    cpu_share = Bounded(
        0.05,
        low=0.001,
        high=1000,
        config=True,
        help="""A process that uses more than this share of one core counts as use (0.001 to 1000; 0.05 is 5% of a
        core), and so do several of one kernel, terminal or job that use it together. Processor time of children
        that it has waited for is its own.""",
    )
    io_rate = Bounded(
        20_000.0,
        low=1,
        high=1e15,
        config=True,
        help="""A process that reads and writes more than this counts as use (bytes per second, files, pipes and most
        sockets together). Not known on macOS.""",
    )
    sample_seconds = Bounded(
        1.0, low=0.05, high=60, config=True, help="How far apart two readings of the process table are (seconds)."
    )
    second_look_seconds = Bounded(
        4.0,
        low=0,
        high=60,
        config=True,
        help="""How much longer to look (seconds) before a process counts as unused that has worked for much of its
        life: it may be resting. 0: do not look again.""",
    )
    max_processes = Integer(
        5000,
        min=1,
        config=True,
        help="""With more processes than this on the machine they are not looked at one by one, and that counts as
        use.""",
    )
    ignored_names = List(
        Unicode(),
        COMES_WITH_IMAGES,
        config=True,
        help="""Processes that never keep an app: what comes with the image rather than being started for work. Each is
        a pattern (`*` any characters, `?` one) for the name of a process, of its program, or of the script that an
        interpreter runs; one with a `/` is for their whole paths. What such a process starts counts unless it matches
        too. To add to the default: `c.ProcessSignal.ignored_names.append("my-agent")`.""",
    )

    ignored_cpu_share = Bounded(
        0.1,
        low=0,
        high=1000,
        config=True,
        help="""A process of an ignored name that uses more than this share of one core counts all the same (0.1 is 10%
        of a core): a name alone excuses only what is quiet.""",
    )

    def __init__(self, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self._look = Shared(lambda: self._sampler.sample(self.sample_seconds))
        self._look_longer = Shared(lambda: self._sampler.sample(self.second_look_seconds))

    @cached_property
    def _sampler(self) -> Sampler:
        """Who reads the processes; nothing of that is imported before the first look."""
        from .sampler import Sampler

        return Sampler(self)

    @property
    def takes_seconds(self) -> float:
        """Both looks."""
        return self.sample_seconds + self.second_look_seconds

    def applies(self, subject: Subject) -> bool:
        """To kernels and terminals with processes on this machine, and to the app that is this machine."""
        return subject.here if subject.kind is Kind.APP else bool(subject.pids)

    async def check(self, subject: Subject) -> str | None:
        """Say which of its processes is at work."""
        sample, sampler = await self._look(), self._sampler
        found = sampler.found(sample, subject)
        if found is None and self.second_look_seconds and sampler.may_rest(sample, subject):
            found = sampler.found(await self._look_longer(), subject)
        return found

    def members(self, table: Table, subject: Subject) -> set[int]:
        """Which processes are those of `subject`, before any is ignored. KeyError when the server is not among them."""
        server = table.rows[subject.server_pid]
        if subject.kind is not Kind.APP:
            return table.family(subject.pids, server.pid)
        users = {pid for pid, row in table.rows.items() if row.user == server.user}
        below = table.family(table.kin[0].get(server.pid, ()), server.pid)
        return (users | below) - set(table.ancestors(server.pid))

    def ignores(self, usage: Usage) -> bool:
        """Whether one of its names is among `ignored_names`; a path only by a pattern that is about paths."""
        return any(
            fnmatchcase(role, pattern)
            for role in usage.roles
            for pattern in self.ignored_names
            if "/" in pattern or "/" not in role
        )
