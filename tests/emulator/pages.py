"""Lists in pages: order, page size, and a token that says after which item to go on."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from dataclasses import dataclass
from operator import attrgetter, itemgetter
from typing import Any, TypeVar

from .faults import Unlawful
from .items import Item

SomeItem = TypeVar("SomeItem", bound=Item)
#: Seconds since 1970, and the item's serial number.
SortKey = tuple[float, int]
#: What a caller may change from one page to the next.
FREE = {"NextToken", "MaxResults"}


@dataclass(frozen=True)
class Place:
    """Where a page starts: after this sort key, or with an empty page before it."""

    after: SortKey | None = None
    gap: bool = False

    def token(self, question: str) -> str:
        return base64.urlsafe_b64encode(json.dumps([question, self.after, self.gap]).encode()).decode()


def place(question: str, token: str | None) -> Place:
    """The place a token stands for; a token of another question is refused."""
    if token is None:
        return Place()
    try:
        asked, after, gap = json.loads(base64.urlsafe_b64decode(token.encode()))
    except (ValueError, TypeError) as error:
        raise Unlawful("NextToken: it is none of ours") from error
    if asked != question:
        raise Unlawful(f"NextToken: it was given for {asked}, not for {question}")
    return Place(None if after is None else tuple(after), gap)


def page(
    operation: str, parameters: dict[str, Any], items: Iterable[SomeItem], largest: int | None, gaps: bool
) -> tuple[list[SomeItem], str | None]:
    """One page and the token of the next one, None after the last.

    A page holds MaxResults items, ten if nobody says, and never more than `largest`. With `gaps` an empty page comes
    between any two. Items that come or go between two pages move no other item into or out of sight.
    """
    asked = sorted((name, value) for name, value in parameters.items() if name not in FREE)
    question = json.dumps([operation, asked])
    start = place(question, parameters.get("NextToken"))
    if start.gap:
        return [], Place(start.after).token(question)
    rest = _after(start.after, items, parameters)
    size = min(parameters.get("MaxResults", 10), largest or 100)
    if len(rest) <= size:
        return [item for _, item in rest], None
    return [item for _, item in rest[:size]], Place(rest[size - 1][0], gaps).token(question)


def _after(
    start: SortKey | None, items: Iterable[SomeItem], parameters: dict[str, Any]
) -> list[tuple[SortKey, SomeItem]]:
    """Sort keys and items in the order asked for, from this key on."""
    descending = parameters.get("SortOrder") == "Descending"
    since = attrgetter("modified" if parameters.get("SortBy") == "LastModifiedTime" else "created")
    keyed = [((since(item).timestamp(), item.serial), item) for item in items]
    if start is not None:
        keyed = [each for each in keyed if (each[0] < start if descending else each[0] > start)]
    return sorted(keyed, key=itemgetter(0), reverse=descending)
