"""Answers the HTTP handlers for one server: puts questions to its culler, and reads what is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import events
from ..document import keep_alive_entry
from ..engine.requests import end_of
from ..errors import SettingError, printable
from ..records import KeepAlive, Kind
from .bodies import whom
from .given_back import GivenBack
from .leasing import ask, end
from .presence import Presence
from .previous import PreviousStop
from .saved_settings import SavedSettings
from .settings import SettingsDesk, notice_words, whole
from .status import name_documents, name_terminals, name_timeouts, notices, runs_in, state_of


class ServerDesk(SettingsDesk):
    """Answers the handlers for one server; looks its parts up when asked, for extensions load in any order."""

    def __init__(self, server: Any, saved: SavedSettings) -> None:
        super().__init__(server, saved)
        self.presence = Presence(server)
        self.given_back = GivenBack(saved.path.parent)
        self.previous = PreviousStop(saved.path.parent)

    # -- keep-alive --------------------------------------------------------------------------------

    def keep_alives(self) -> Mapping[str, Any]:
        """What is kept by request, and for how long that may be asked for (minutes; 0 is no bound)."""
        culler = self._ours()
        found = [self._entry(each) for each in culler.keep.current(culler.now())]
        return {"keep_alive": found, "max_keep_alive": whole(culler.policy.max_keep_alive / 60)}

    def keep_alive(
        self, kind: object, identity: object, duration: object, until: object, asked_by: str = ""
    ) -> Mapping[str, Any]:
        """Keep everything (`kind` "all"), or one thing, for a duration or until a time; gives the request.

        Raises
        ------
        SettingError
            When something of it is not accepted; then nothing is changed.
        KeyError
            When there is no such thing.
        CullingError
            When none of the server's managers is ours.
        """
        culler = self._ours()
        which, name = whom(kind, identity)
        ends = end_of(duration, until, culler.now(), culler.policy.max_keep_alive)
        request = culler.keep_alive(which, name, ends, asked_by)
        self._tell_request("keep-alive", request, asked_by)
        return self._entry(request)

    def lease(self, body: Mapping[str, Any], asked_by: str = "") -> Mapping[str, Any]:
        """Begin or renew a lease, as the body of a request says; gives it. Raises as `leasing.ask`, and NotOursError.

        Only its beginning is told.
        """
        request = ask(self._ours(), body, asked_by)
        if body["lease"] is True:
            self._tell_request("keep-alive", request, asked_by)
        return self._entry(request)

    def resume(self, kind: object, identity: object, asked_by: str = "", lease: str | None = None) -> None:
        """Take a request back, or end a lease; what was kept by it is warned of first.

        Raises
        ------
        SettingError
            When `kind` or `identity` is not accepted.
        KeyError
            When there was none.
        CullingError
            When none of the server's managers is ours.
        """
        which, name = whom(kind, identity)
        culler = self._ours()
        if lease is not None:
            if kind is not None or identity is not None:
                raise SettingError("lease", lease, "given alone")
            self._tell_request("resume", end(culler, lease), asked_by)
            return
        culler.keep.current(culler.now())  # one that has ended is none
        request = culler.end_keep_alive(which, name)
        if request is None:
            raise KeyError(name or "all")
        culler.rounds.give_notice()
        self._tell_request("resume", request, asked_by)

    def _tell_request(self, action: str, request: KeepAlive, asked_by: str) -> None:
        entry = self._entry(request)
        until = entry["until"] if action == "keep-alive" else None
        what = f"{'a lease on ' if request.lease else ''}{about(entry)}"
        ends, then = (f" until {until}", "") if until else ("", f"; {notice_words(self._culler.policy)}")
        self._culler.log.info("Culling: %s", printable(f"{action} of {what}{ends}, asked by {asked_by}{then}"))
        found = {"kind": entry["kind"], "identity": entry["id"], "until": until}
        events.emit(self._server, events.SETTINGS, {"action": action, "asked_by": asked_by, **found})

    def _entry(self, request: KeepAlive) -> dict[str, Any]:
        """A request with what a person calls the thing that it keeps."""
        name, identity = None, request.identity or ""
        if request.kind is Kind.KERNEL and (document := self.presence.documents.of(identity)):
            name = document.path or document.name or None
        elif request.kind is Kind.TERMINAL:
            name = runs_in(self._culler, identity)
        return keep_alive_entry(request, name)

    # -- status ------------------------------------------------------------------------------------

    def status(self) -> Mapping[str, Any]:
        """The state document."""
        culler = self._culler
        found = state_of(culler, notices(self._server, culler), self.given_back, presence=self.presence.counts)
        name_timeouts(found["apps"], culler.policy)
        name_documents(found["kernels"], self.presence.documents)
        name_terminals(found["terminals"], culler)
        asked = [self._entry(each) for each in culler.keep.current(culler.now())]
        return {**found, "keep_alive": asked, "previous_stop": self.previous.found}


def about(entry: Mapping[str, Any]) -> str:
    """What a request is for, in the log: 'all', 'kernel a.ipynb (1a2b...)', 'terminal 1 (train.py)'."""
    kind, identity, name = entry["kind"], entry["id"], entry.get("name")
    first, last = (name, identity) if name and kind != Kind.TERMINAL.value else (identity, name)
    return f"{kind} {first or ''}".strip() + (f" ({last})" if last else "")
