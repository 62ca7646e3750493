"""What each command asks of a server, and what it tells of the answer."""

from __future__ import annotations

import json
import sys
import time
from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from ..client.http import Client
from ..client.servers import Code, Failure, Server, the_one, wanted_servers
from ..client.words import kept, printable, short, subject, until_iso
from ..report import duration
from .rows import Screen, Tone, screen
from .table import Show, pause, show, watched

#: Where the state document lists what may be kept, by the name of the option.
LISTS = {"kernel": "kernels", "terminal": "terminals", "app": "apps"}
#: How long (seconds) `status --watch` goes on: in a terminal of the server its output is use of that terminal, and one
#: that is forgotten must not keep an instance.
WATCH_SECONDS = 3600.0


def now() -> datetime:
    """The time."""
    return datetime.now(timezone.utc)


def tell(line: str) -> None:
    """One line for people."""
    sys.stdout.write(line + "\n")


def tell_json(found: Any) -> None:
    """One JSON document for programs."""
    sys.stdout.write(json.dumps(found, indent=1) + "\n")


def chosen(options: Namespace) -> Client:
    """The client of the one server that is to be changed."""
    return Client(the_one(wanted_servers(options.url, options.token, options.server)), options.timeout)


# -- status ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What one server said, or why it said nothing."""

    server: Server
    document: dict[str, Any] | None = None
    failure: Failure | None = None

    @property
    def code(self) -> Code:
        """The exit code."""
        return Code.OK if self.failure is None else self.failure.code

    def as_json(self) -> dict[str, Any]:
        """For programs; the token is not in it."""
        error = None if self.failure is None else str(self.failure)
        return {"url": self.server.url, "code": int(self.code), "error": error, "status": self.document}

    def screen(self, option: str) -> Screen:
        """For people."""
        if self.document is not None:
            try:
                return screen(self.server.url, self.document, option)
            except (KeyError, ValueError, TypeError, AttributeError) as error:
                words = f"Its answer is not the one that this command knows ({type(error).__name__}): {error}"
        else:
            words = str(self.failure)
        return Screen(head=((self.server.url, Tone.HEAD), (printable(words), Tone.BAD)))


def look(servers: Sequence[Server], seconds: float) -> list[Look]:
    """Ask all servers at once."""

    def ask(server: Server) -> Look:
        try:
            return Look(server=server, document=Client(server, seconds).get("status"))
        except Failure as failure:
            return Look(server=server, failure=failure)

    with ThreadPoolExecutor(max_workers=min(16, len(servers))) as pool:
        return list(pool.map(ask, servers))


def status(options: Namespace) -> Code:
    """Show every server; with ``--watch`` again and again, until Ctrl-C or for `WATCH_SECONDS`."""
    if not options.watch:
        return _show_status(options, show)
    code, end = Code.OK, time.monotonic() + WATCH_SECONDS
    try:
        with watched() as shown:
            while time.monotonic() < end:
                code = _show_status(options, shown)
                pause(options.watch)
    except KeyboardInterrupt:
        return code
    sys.stderr.write("Watching has ended after an hour, for what it prints keeps a terminal alive.\n")
    return code


def _show_status(options: Namespace, shown: Show) -> Code:
    servers = wanted_servers(options.url, options.token, options.server)
    looks = look(servers, options.timeout)
    if options.json:
        sys.stdout.write(json.dumps({"servers": [each.as_json() for each in looks]}) + "\n")
    else:
        several = len(looks) > 1
        shown([each.screen(f" --server {_choice(each.server)}" if several else "") for each in looks])
    return max(each.code for each in looks)


def _choice(server: Server) -> str:
    return str(server.port or server.url)


# -- keep-alive and resume -------------------------------------------------------------------------


def keep_alive(options: Namespace) -> Code:
    """Keep everything, or one thing, for a time."""
    words = " ".join(options.duration)
    if bool(words) == bool(options.until):
        raise Failure(Code.USAGE, "Say for how long, such as 4h, 90m or 1h30m, or --until 18:30; not both.")
    body: dict[str, Any] = {"until": until_iso(options.until, now())} if options.until else {"duration": words}
    if words.isdecimal():
        body["duration"] = int(words)
    client = chosen(options)
    entry = client.post("keep-alive", body | _thing(client, options))
    if options.json:
        tell_json(entry)
    else:
        told = kept(entry, now())
        tell(f"{told[:1].upper()}{told[1:]}.")
    return Code.OK


def _thing(client: Client, options: Namespace) -> dict[str, str]:
    """Kind and id of what is meant; everything, when nothing was named."""
    for kind, plural in LISTS.items():
        wanted = getattr(options, kind)
        if wanted is not None:
            return {"kind": kind, "id": found_among(kind, wanted, client.get("status")[plural])}
    return {"kind": "all"}


def found_among(kind: str, wanted: str, entries: Iterable[Mapping[str, Any]]) -> str:
    """The id of what `wanted` is the id, the name (of an app), or the beginning of, which has to be just one.

    Raises
    ------
    Failure
        When that is nothing, or more than one.
    """
    named = {str(each["id"]): str(each.get("name") or "") for each in entries}
    if wanted in named:
        return wanted
    by_name = [identity for identity, name in named.items() if kind == "app" and name == wanted]
    found = by_name or [
        identity
        for identity, name in named.items()
        if wanted and (identity.startswith(wanted) or (kind == "app" and name.startswith(wanted)))
    ]
    if len(found) == 1:
        return found[0]
    there = ", ".join(short(kind, each) for each in sorted(found or named)) or "none"
    if found:
        raise Failure(Code.USAGE, f"{kind} {wanted} may be any of: {there}. Give more of its id.")
    raise Failure(Code.REFUSED, f"There is no {kind} {wanted}. There are: {printable(there)}.")


def resume(options: Namespace) -> Code:
    """Take a keep-alive back: the one for everything, or one thing's, or with ``--all`` each."""
    client = chosen(options)
    entries = client.get("keep-alive")["keep_alive"]
    wanted = _to_take_back(options, entries)
    found: dict[str, Any] = {"keep_alive": entries}
    for each in wanted:
        found = client.delete("keep-alive", **each)
    if options.json:
        tell_json(found)
        return Code.OK
    done = ", ".join(subject(each) for each in wanted)
    tell(f"No longer kept by request: {done}." if wanted else "Nothing was kept by request.")
    for entry in found["keep_alive"]:
        tell(f"Still: {kept(entry, now())}.")
    return Code.OK


def _to_take_back(options: Namespace, entries: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Which entries, as queries."""
    if options.all:
        return [_query(each) for each in entries]
    for kind in LISTS:
        wanted = getattr(options, kind)
        if wanted is not None:
            mine = [each for each in entries if each["kind"] == kind]
            identity = found_among(kind, wanted, mine) if mine else wanted
            return [{"kind": kind, "id": identity}]
    if entries and not any(each["kind"] == "all" for each in entries):
        told = "; ".join(kept(each, now()) for each in entries)
        raise Failure(Code.REFUSED, f"There is no keep-alive for everything; take these back by name or --all: {told}.")
    return [{"kind": "all"}]


def _query(entry: Mapping[str, Any]) -> dict[str, str]:
    return {"kind": str(entry["kind"])} | ({} if entry["kind"] == "all" else {"id": str(entry["id"])})


# -- settings --------------------------------------------------------------------------------------


def settings(options: Namespace) -> Code:
    """Show the settings, change them, or go back to what is configured."""
    client = chosen(options)
    minutes, keep = options.idle_timeout, options.keep_terminals
    if options.reset:
        if minutes is not None or keep is not None or options.save:
            raise Failure(Code.USAGE, "--reset goes alone.")
        return _tell_settings(options, client.delete("settings"))
    if minutes is not None or keep is not None or options.save:
        if minutes is None:
            minutes = client.get("settings")["idle_time"] / 60
        body: dict[str, Any] = {"idle_time": minutes, "save": options.save}
        client.post("settings", body if keep is None else body | {"keep_terminals": keep})
    return _tell_settings(options, client.get("settings"))


def _tell_settings(options: Namespace, found: Mapping[str, Any]) -> Code:
    if options.json:
        tell_json(found)
        return Code.OK
    now = _pair({name: found[name] for name in ("idle_time", "keep_terminals")})
    tell(f"{now[:1].upper()}{now[1:]}.")
    tell(f"Configured: {_pair(found['configured'])}." if found.get("configured") else "Nothing is configured.")
    saved = found.get("saved")
    tell(f"Saved for the next start: {_pair(saved)}." if saved else "Nothing is saved for the next start.")
    bounds = found.get("bounds") or {}
    low, high = bounds.get("min_idle_timeout") or 0, bounds.get("max_idle_timeout") or 0
    limits = [f"at least {low:g}"] * bool(low) + [f"at most {high:g}"] * bool(high)
    if limits:
        tell(f"You may set an idle timeout of {' and '.join(limits)} minutes.")
    if bounds.get("keep_terminals") == "fixed":
        tell("What becomes of terminals is set by your admin.")
    return Code.OK


def _pair(found: Mapping[str, Any]) -> str:
    """Both settings in words, or the one that is there."""
    words = []
    if found.get("idle_time") is not None:
        seconds = float(found["idle_time"])
        words.append(f"idle timeout {duration(seconds)}" if seconds else "culling is off (idle timeout 0)")
    if found.get("keep_terminals") is not None:
        words.append(f"terminals are {'kept' if found['keep_terminals'] else 'culled like kernels'}")
    return ", ".join(words)
