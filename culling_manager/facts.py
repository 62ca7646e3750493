"""What records, decisions and policies have in common."""

from __future__ import annotations

from typing import Any, ClassVar


class Fact:
    """Compared and shown by its fields, here once: `dataclass` would write and compile as much for each class.

    For those with ``slots``, and without ``eq`` and ``repr`` of their own. It makes a server start milliseconds sooner.
    """

    __slots__: ClassVar[tuple[str, ...]] = ()

    def _values(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in self.__slots__)

    def __eq__(self, other: object) -> bool:
        return self._values() == other._values() if isinstance(other, type(self)) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._values())

    def __repr__(self) -> str:
        fields = (f"{name}={value!r}" for name, value in zip(self.__slots__, self._values(), strict=True))
        return f"{type(self).__name__}({', '.join(fields)})"
