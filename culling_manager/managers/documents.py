"""Which document each kernel belongs to, as Jupyter's sessions have it."""

from __future__ import annotations

from typing import Any, NamedTuple


class Document(NamedTuple):
    """A session's path, and the name that a person sees; either may be empty."""

    path: str
    name: str


class Documents:
    """The documents of one server's kernels, read from its session manager each time: there they are renamed, too.

    A session manager that keeps its sessions in another way than Jupyter Server's own has none to tell.
    """

    def __init__(self, server: Any) -> None:
        self._server = server

    def all(self) -> dict[str, Document]:
        """Kernel id to document, for all kernels that have one; of several the first."""
        found: dict[str, Document] = {}
        for kernel_id, path, name in self._rows("SELECT kernel_id, path, name FROM session"):
            found.setdefault(kernel_id, Document(path or "", name or ""))
        return found

    def of(self, kernel_id: str) -> Document | None:
        """The document of one kernel; None when it has none."""
        rows = self._rows("SELECT path, name FROM session WHERE kernel_id = ?", kernel_id)
        return Document(rows[0][0] or "", rows[0][1] or "") if rows else None

    def fields(self, kernel_id: str) -> dict[str, Any]:
        """The document of one kernel as fields of its record."""
        found = self.of(kernel_id)
        return {} if found is None else {"path": found.path, "session_name": found.name}

    def kernels(self, path: str) -> list[str]:
        """The kernels of the document at a path."""
        return [row[0] for row in self._rows("SELECT kernel_id FROM session WHERE path = ?", path)]

    def _rows(self, query: str, *values: str) -> list[Any]:
        sessions = getattr(self._server, "session_manager", None)
        if sessions is None or getattr(sessions, "cursor", None) is None:  # to ask for it makes the table
            return []
        # a cursor of our own: Jupyter's may be in the middle of something
        found: list[Any] = sessions.connection.execute(query, values).fetchall()
        return found
