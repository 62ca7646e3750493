"""A saved document is use of its own kernel, whoever saved it and however."""

from __future__ import annotations

from typing import Any, Protocol

from ..signals.contents import SAVE, Contents
from .documents import Documents


class Worked(Protocol):
    """Who counts work in a document as use of its kernel; of a kernel that it does not have it takes no notice."""

    def worked_in(self, kernel_id: str, *, by_a_person: bool) -> None:
        """Count as use that its document was saved, or that somebody was seen to work in it."""


def follow_saves(server: Any, host: Worked) -> None:
    """Have `host` told of each kernel whose document is saved through `server`; without a server there is none."""
    contents = Contents.of(server)
    if contents is None:
        return
    documents = Documents(server)

    def changed(action: str, path: str) -> None:
        for kernel_id in documents.kernels(path) if action == SAVE else ():
            host.worked_in(kernel_id, by_a_person=False)

    contents.listen(changed)
