"""`jupyter culling keep-alive` and `resume`: what is kept by request, and what no longer."""

from __future__ import annotations

import posixpath
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from ..client.here import this_kernel
from ..client.http import Client
from ..client.servers import Code, Failure
from ..client.words import asked_duration, kept, printable, short, subject, until_iso
from . import shared

#: Where the state document lists what may be kept, by the name of the option.
LISTS = {"kernel": "kernels", "terminal": "terminals", "app": "apps"}


def keep_alive(options: Namespace) -> Code:
    """Keep everything, or one thing, for a time."""
    words = " ".join(options.duration)
    if words == "off" and options.until is None:
        return resume(options)
    if options.all and (words or options.until):
        options.all = False  # everything, as without it
    if bool(words) == bool(options.until):
        raise Failure(Code.USAGE, "Say for how long, such as 4h, 90m or 1h30m, or --until 18:30; not both.")
    body: dict[str, Any] = {"duration": asked_duration(words)}
    if options.until:
        body = {"until": until_iso(options.until, shared.now())}
    client = shared.chosen(options)
    entry = client.post("keep-alive", body | thing(client, options))
    if options.json:
        shared.tell_json(entry)
    else:
        told = kept(entry, shared.now())
        shared.tell(f"{told[:1].upper()}{told[1:]}.")
    return Code.OK


def thing(client: Client, options: Namespace) -> dict[str, str]:
    """Kind and id of what is meant; everything, when nothing was named."""
    kernel = this_kernel(client) if options.this else None
    if kernel is not None:
        return {"kind": "kernel", "id": kernel}
    for kind, plural in LISTS.items():
        wanted = getattr(options, kind)
        if wanted is not None:
            return {"kind": kind, "id": found_among(kind, wanted, client.get("status")[plural])}
    return {"kind": "all"}


def found_among(kind: str, wanted: str, entries: Iterable[Mapping[str, Any]]) -> str:
    """The id of what `wanted` is the id of, the notebook, the name, or the beginning of; it has to be just one.

    A kernel is meant by the path of its notebook, then the last part of that, then the name of its session; a terminal
    by what runs in it, too.

    Raises
    ------
    Failure
        When that is nothing, or more than one.
    """
    there = {str(each["id"]): each for each in entries}
    if wanted in there:
        return wanted
    found = next(
        filter(None, ([which for which, each in there.items() if test(each)] for test in _tests(kind, wanted))), []
    )
    if len(found) == 1:
        return found[0]
    listed = ", ".join(sorted(_listed(kind, there[each]) for each in found or there)) or "none"
    if found:
        more = "path or its id" if kind == "kernel" else "id"
        raise Failure(Code.USAGE, f"{kind} {wanted} may be any of: {printable(listed)}. Give more of its {more}.")
    raise Failure(Code.REFUSED, f"There is no {kind} {wanted}. There are: {printable(listed)}.")


def _tests(kind: str, wanted: str) -> Iterator[Callable[[Mapping[str, Any]], bool]]:
    """What may be meant, one after the other: the first that finds something counts."""
    if not wanted:
        return
    if kind == "kernel":
        yield lambda each: str(each.get("path") or "").strip("/") == wanted.strip("/")
        yield lambda each: posixpath.basename(str(each.get("path") or "")) == wanted
        yield lambda each: each.get("session_name") == wanted
    if kind == "terminal":
        yield lambda each: each.get("runs") == wanted
    if kind == "app":
        yield lambda each: each.get("name") == wanted
        yield lambda each: str(each["id"]).startswith(wanted) or str(each.get("name") or "").startswith(wanted)
    yield lambda each: str(each["id"]).startswith(wanted)


def _listed(kind: str, entry: Mapping[str, Any]) -> str:
    """One of several that may be meant: what tells it from the others."""
    words = short(kind, str(entry["id"]))
    document = entry.get("path") or entry.get("session_name") if kind == "kernel" else None
    if entry.get("runs"):
        return f"{words} ({entry['runs']})"
    return f"{document} ({words})" if document else words


def resume(options: Namespace) -> Code:
    """Take a keep-alive back: the one for everything, or one thing's, or with ``--all`` each."""
    client = shared.chosen(options)
    entries = client.get("keep-alive")["keep_alive"]
    wanted = _to_take_back(options, entries, client)
    found: dict[str, Any] = {"keep_alive": entries}
    for each in wanted:
        found = client.delete("keep-alive", **each)
    if options.json:
        shared.tell_json(found)
        return Code.OK
    known = {tuple(_query(each).items()): each for each in entries}
    done = ", ".join(subject(known.get(tuple(each.items()), each)) for each in wanted)
    shared.tell(f"No longer kept by request: {done}." if wanted else "Nothing was kept by request.")
    for entry in found["keep_alive"]:
        shared.tell(f"Still: {kept(entry, shared.now())}.")
    return Code.OK


def _to_take_back(options: Namespace, entries: Sequence[Mapping[str, Any]], client: Client) -> list[dict[str, str]]:
    """Which entries, as queries."""
    kernel = this_kernel(client) if options.this else None
    if kernel is not None:
        return [{"kind": "kernel", "id": kernel}]
    if options.all:
        return [_query(each) for each in entries]
    for kind in LISTS:
        wanted = getattr(options, kind)
        if wanted is not None:
            mine = [each for each in entries if each["kind"] == kind and not each.get("lease")]
            there = {str(each["id"]): each for each in client.get("status")[LISTS[kind]]} if mine else {}
            identity = found_among(kind, wanted, [there.get(str(x["id"]), x) for x in mine]) if mine else wanted
            return [{"kind": kind, "id": identity}]
    if entries and not any(each["kind"] == "all" and not each.get("lease") for each in entries):
        told = "; ".join(kept(each, shared.now()) for each in entries)
        raise Failure(Code.REFUSED, f"There is no keep-alive for everything; take these back by name or --all: {told}.")
    return [{"kind": "all"}]


def _query(entry: Mapping[str, Any]) -> dict[str, str]:
    if entry.get("lease"):
        return {"lease": str(entry["lease"])}
    return {"kind": str(entry["kind"])} | ({} if entry["kind"] == "all" else {"id": str(entry["id"])})
