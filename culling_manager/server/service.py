"""Answers the HTTP handlers for one server: puts questions to its culler, and reads what is asked for."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from tornado.ioloop import IOLoop

from .. import events
from ..engine.culler import IdleCuller
from ..engine.requests import end_of
from ..errors import NotOursError, ReadError, printable
from ..policy import LONGEST_MINUTES, plain
from ..records import KeepAlive
from ..report import keep_alive_entry
from .bodies import whom
from .given_back import GivenBack
from .saved_settings import SavedSettings, fitting_in
from .status import kernels_not_ours, notices, state_of

#: What trouble with saved settings is noted under.
SAVED = "saved settings"


class ServerDesk:
    """Answers the handlers for one server; looks its parts up when asked, for extensions load in any order."""

    def __init__(self, server: Any, saved: SavedSettings) -> None:
        self._server = server
        self._saved = saved
        self.given_back = GivenBack(saved.path.parent)

    @property
    def _culler(self) -> IdleCuller:
        return IdleCuller.of(self._server, self._server.log)

    def _ours(self) -> IdleCuller:
        """The culler. Raises NotOursError when none of the server's managers is ours."""
        if not self._culler.watches:
            raise NotOursError(" ".join(notices(self._server, self._culler)))
        return self._culler

    # -- settings ----------------------------------------------------------------------------------

    def settings(self) -> Mapping[str, Any]:
        """Count and settings as the original extension shows them; ``idle_time`` in seconds."""
        culler = self._culler
        ours = bool(culler.watches)
        return {
            "idle_time": _whole(culler.policy.idle_timeout if ours else 0.0),
            "keep_terminals": culler.policy.keep_terminals,
            "count": culler.count,
            "errors": culler.troubles.last_text() or kernels_not_ours(self._server, culler),
        }

    def all_settings(self) -> Mapping[str, Any]:
        """The settings that hold, that are configured, and that are saved; and what users may set."""
        culler = self._ours()
        policy, saved = culler.policy, self._load_saved()
        if saved is not None and "idle_time" in saved:
            saved = {**saved, "idle_time": _whole(saved["idle_time"] * 60)}
        return {
            "idle_time": _whole(policy.idle_timeout),
            "keep_terminals": policy.keep_terminals,
            "configured": {
                "idle_time": _whole(culler.configured("idle_timeout")),
                "keep_terminals": culler.configured("keep_terminals"),
            },
            "saved": saved,
            "bounds": {
                "min_idle_timeout": policy.min_idle_timeout / 60,
                "max_idle_timeout": policy.max_idle_timeout / 60,
                "keep_terminals": "fixed" if policy.keep_terminals_fixed else "free",
            },
        }

    def change(
        self, minutes: object, keep_terminals: bool | None, *, save: Collection[str] = (), asked_by: str = ""
    ) -> None:
        """Set the idle timeout (minutes) and, unless None, `keep_terminals`; starts the culler if it is not running.

        Those that `save` names hold after a restart of the server too. Who sets `keep_terminals` and leaves the timeout
        as it is need not be allowed to set such a timeout.

        Raises
        ------
        SettingError
            When the bounds do not allow it; then nothing is changed.
        CullingError
            When none of the server's managers is ours, or the settings cannot be saved; then nothing is changed.
        """
        culler = self._ours()
        stays = keep_terminals is not None and "idle_time" not in save and _is(minutes, culler.policy.idle_timeout / 60)
        found = None if stays else culler.policy.user_minutes("idle_time", minutes)
        if keep_terminals is not None:
            culler.policy.user_keep_terminals("keep_terminals", keep_terminals)
        if save:
            given = {"idle_time": found, "keep_terminals": keep_terminals}
            lasting = {name: value for name, value in given.items() if name in save and value is not None}
            self._saved.save({**(self._load_saved() or {}), **lasting})
            culler.troubles.over(SAVED)
        culler.change_settings(idle_timeout=None if found is None else found * 60, keep_terminals=keep_terminals)
        culler.start()
        self._tell_settings("changed", asked_by, bool(save))

    def reset(self, asked_by: str = "") -> None:
        """Go back to what is configured, and forget what was saved.

        Raises
        ------
        CullingError
            When none of the server's managers is ours, or what was saved cannot be deleted.
        """
        culler = self._ours()
        self._saved.forget()
        culler.troubles.over(SAVED)
        culler.reset_settings()
        self._tell_settings("reset", asked_by, False)

    def restore(self) -> None:
        """Take over what a user saved, as soon as all managers are there; extensions load in any order."""
        IOLoop.current().add_callback(self._restore)

    def _restore(self) -> None:
        """Take over what a user saved, each setting if the bounds allow it now; says so where they do not."""
        saved = self._load_saved()
        if not saved or not self._culler.watches:
            return
        culler = self._culler
        fitting, refused = fitting_in(saved, culler.policy)
        if refused:
            culler.trouble(SAVED, f"of the saved settings in {self._saved.path} is ignored: {'; '.join(refused)}")
        if fitting:
            minutes = fitting.get("idle_time")
            seconds = None if minutes is None else minutes * 60
            culler.change_settings(idle_timeout=seconds, keep_terminals=fitting.get("keep_terminals"))
            self._tell_settings("changed", "saved settings", True)

    def _load_saved(self) -> dict[str, Any] | None:
        try:
            return self._saved.load()
        except ReadError as error:
            self._culler.trouble(SAVED, str(error))
            return None

    def _tell_settings(self, action: str, asked_by: str, saved: bool) -> None:
        policy = self._culler.policy
        self._culler.log.info(
            "Culling: settings %s at run time%s: idle_timeout %s minutes, keep_terminals %s%s",
            action,
            printable(f" by {asked_by}" if asked_by else ""),
            plain(policy.idle_timeout / 60),
            policy.keep_terminals,
            ", also after a restart" if saved else "",
        )
        found = {"idle_time": policy.idle_timeout, "keep_terminals": policy.keep_terminals, "saved": saved}
        events.emit(self._server, events.SETTINGS, {"action": action, "asked_by": asked_by, **found})

    # -- keep-alive --------------------------------------------------------------------------------

    def keep_alives(self) -> Mapping[str, Any]:
        """What is kept by request, and for how long that may be asked for (minutes; 0 is no bound)."""
        culler = self._ours()
        found = [keep_alive_entry(each) for each in culler.keep.current(culler.now())]
        return {"keep_alive": found, "max_keep_alive": _whole(culler.policy.max_keep_alive / 60)}

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
        return keep_alive_entry(request)

    def resume(self, kind: object, identity: object, asked_by: str = "") -> None:
        """Take a request back.

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
        culler.keep.current(culler.now())  # one that has ended is none
        request = culler.end_keep_alive(which, name)
        if request is None:
            raise KeyError(name or "all")
        self._tell_request("resume", request, asked_by)

    def _tell_request(self, action: str, request: KeepAlive, asked_by: str) -> None:
        entry = keep_alive_entry(request)
        until = entry["until"] if action == "keep-alive" else None
        about = f"{entry['kind']} {entry['id'] or ''}".strip()
        ends = f" until {until}" if until else ""
        self._culler.log.info("Culling: %s", printable(f"{action} of {about}{ends}, asked by {asked_by}"))
        found = {"kind": entry["kind"], "identity": entry["id"], "until": until}
        events.emit(self._server, events.SETTINGS, {"action": action, "asked_by": asked_by, **found})

    # -- status ------------------------------------------------------------------------------------

    def status(self) -> Mapping[str, Any]:
        """The state document."""
        return state_of(self._culler, notices(self._server, self._culler), self.given_back)


def _whole(value: float) -> float:
    """An int where the value is whole."""
    return int(value) if value == int(value) else value


def _is(value: object, minutes: float) -> bool:
    """Whether it is this number of minutes, but for what is lost on the way from seconds and back."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= LONGEST_MINUTES:
        return False
    return abs(value - minutes) < 1e-6
