"""Docker containers at work that were started from here: sidecars, training in SageMaker's local mode, databases.

Where there is no Docker to ask this costs nothing: what asks it stands in `docker`, which is not even imported then.
"""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import urlsplit

from traitlets import Bool, Unicode

from ..concurrency import in_thread
from ..records import Kind
from .base import Bounded, Signal, Subject

#: Where Docker is asked when nobody says so: SageMaker's proxy of it, and its own socket.
SOCKETS = ("/docker/proxy.sock", "/var/run/docker.sock")
#: Addresses that are this machine's.
HERE = ("localhost", "127.0.0.1", "::1")


class ContainerSignal(Signal):
    """Containers that belong to the app that this server runs on, and are at work.

    One with the labels ``com.amazon.jupyter.activity.*`` is asked, as jupyter-activity-monitor-extension asks it; any
    other, and one of those that does not answer, is at work when it uses the processor or moves data. On a SageMaker
    app or notebook instance Docker serves that alone, so all containers are its own but the one that this server runs
    in; elsewhere those with the labels, and those that share this server's network.
    """

    docker_host = Unicode(
        "",
        config=True,
        help="""Where Docker is asked, as its own DOCKER_HOST says: unix:///path, or tcp://localhost:2375. Empty:
        DOCKER_HOST, else /docker/proxy.sock (which SageMaker mounts), else /var/run/docker.sock. Another machine's
        Docker is not asked.""",
    )
    all_containers = Bool(
        False,
        config=True,
        help="""Whether all containers there count that do not belong to SageMaker, too. False: on other machines only
        labelled ones, and those that share this server's network.""",
    )
    cpu_share = Bounded(
        0.05,
        low=0.001,
        high=1000,
        config=True,
        help="A container that uses more than this share of one core is at work (0.05 is 5% of a core).",
    )
    io_rate = Bounded(
        20_000.0,
        low=1,
        high=1e15,
        config=True,
        help="A container that reads, writes, sends and receives more than this is at work (bytes per second).",
    )
    sample_seconds = Bounded(
        1.0, low=0.05, high=60, config=True, help="How far apart two readings of a container are (seconds)."
    )

    def __init__(self, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self._base_url = "/"

    @property
    def takes_seconds(self) -> float:
        """Both readings, and a labelled container's answer; nothing where there is no Docker."""
        return 0.0 if self.place() is None else self.sample_seconds + 1.0

    def start(self, server: Any) -> None:
        """Learn the server's base URL, under which labelled containers are asked."""
        self._base_url = str(getattr(server, "base_url", "/"))

    def place(self) -> str | None:
        """Where Docker is asked; None where there is none, or it is another machine's."""
        wanted = self.docker_host or os.environ.get("DOCKER_HOST", "")
        scheme, _, rest = wanted.partition("://")
        if scheme in ("tcp", "http", "https"):
            return wanted if urlsplit(wanted).hostname in HERE else None
        if wanted and scheme != "unix":
            return None
        paths = (rest,) if wanted else SOCKETS
        return next((f"unix://{path}" for path in paths if os.path.exists(path)), None)

    def applies(self, subject: Subject) -> bool:
        """Only to the app that is this machine, where there is Docker."""
        return subject.kind is Kind.APP and subject.here and self.place() is not None

    async def check(self, subject: Subject) -> str | None:
        """Say which container is at work."""
        place = self.place()
        if place is None:
            return None  # it was there a moment ago
        from .docker import Look

        every = self.all_containers or subject.identity.startswith("arn:")  # SageMaker's names of things
        look = Look(
            place=place,
            base_url=self._base_url,
            every=every,
            cpu_share=self.cpu_share,
            io_rate=self.io_rate,
            seconds=self.sample_seconds,
        )
        return await in_thread(look)
