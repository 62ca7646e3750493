"""What people do in documents, which kernels cannot tell: somebody works in one."""

from __future__ import annotations

from typing import Any

from traitlets import Bool
from traitlets.config import LoggingConfigurable

from ..engine.culler import IdleCuller
from ..errors import CullingError, ErrorCode, NotOursError, SettingError
from ..managers.documents import Documents
from ..managers.guests import guest_of
from ..records import Kind
from .status import kernels_not_ours

#: No path is longer than this (characters).
LONGEST_PATH = 4096


class Presence(LoggingConfigurable):
    """Counts work in a document as use of its kernel, and so of its app. It keeps one instant per kernel, no more."""

    enabled = Bool(
        True,
        config=True,
        help="""Whether it counts as use of a kernel that somebody works in its document, as the page in JupyterLab or
        Notebook sees it: a key or a pointer in it, told at most once a minute, and never what was typed. False: only
        what a kernel runs, and that its document is saved.""",
    )

    def __init__(self, server: Any) -> None:
        super().__init__(parent=server)
        self._server = server
        self.documents = Documents(server)

    @property
    def _culler(self) -> IdleCuller:
        return IdleCuller.of(self._server, self.log)

    @property
    def counts(self) -> bool:
        """Whether it counts here that somebody works in a document."""
        return self.enabled and Kind.KERNEL in self._culler.watches

    def seen(self, path: object) -> list[str]:
        """Somebody works in the document at `path`; gives the kernels for which that counts.

        Raises
        ------
        SettingError
            When `path` is none.
        CullingError
            When it is turned off, or kernels are not culled here.
        KeyError
            When the document has no kernel here.
        """
        if not isinstance(path, str) or not 0 < len(path) <= LONGEST_PATH:
            shown = path if not isinstance(path, str) else f"{len(path)} characters"
            raise SettingError("path", shown, f"a document's path of 1 to {LONGEST_PATH} characters")
        not_ours = kernels_not_ours(self._server, self._culler)
        if not_ours is not None:
            raise NotOursError(not_ours)
        if not self.enabled:
            words = "that somebody works in a document does not count here: Presence.enabled is False"
            raise CullingError(words, code=ErrorCode.TURNED_OFF)
        manager = guest_of(self._culler) or self._server.kernel_manager
        kernels = [each for each in self.documents.kernels(path.strip("/")) if each in manager]
        for kernel_id in kernels:
            manager.worked_in(kernel_id, by_a_person=True)
        if not kernels:
            raise KeyError(path)
        return kernels
