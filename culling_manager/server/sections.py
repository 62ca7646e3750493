"""Names of configuration sections: which are loaded, and which look as if one of ours was meant."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from traitlets.config import Configurable

#: Names that are less alike than this (difflib's ratio) were not mistaken for each other.
ALIKE = 0.87


def misspelt(sections: Iterable[str], ours: Collection[str], others: Iterable[str]) -> dict[str, str]:
    """Which sections look like one of `ours` and are none, each with the one that was meant; never one of `others`."""
    known = {*ours, *others}
    found = {}
    for section in sections:
        meant = [] if section in known else _alike(section, ours)
        if meant:
            found[section] = meant[0]
    return found


def _alike(section: str, ours: Iterable[str]) -> list[str]:
    """The section of ours that is most like this one, whatever its capitals."""
    lower = {each.lower(): each for each in ours}
    from difflib import get_close_matches

    return [lower[each] for each in get_close_matches(section.lower(), lower, n=1, cutoff=ALIKE)]


def loaded_classes(base: type = Configurable) -> set[str]:
    """The names of all classes with settings that this process has loaded, whoever's they are."""
    found, left = {base.__name__}, [base]
    while left:
        below: list[type] = type.__subclasses__(left.pop())
        found.update(each.__name__ for each in below)
        left += below
    return found
