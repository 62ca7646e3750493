"""The settings of one server as HTTP shows and changes them, within the bounds, and as they are saved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tornado.ioloop import IOLoop

from .. import events
from ..engine.culler import IdleCuller
from ..errors import NotOursError, ReadError, printable
from ..policy import plain
from .saved_settings import SavedSettings, fitting_in
from .status import kernels_not_ours, notices

#: What trouble with saved settings is noted under.
SAVED = "saved settings"


class SettingsDesk:
    """Shows, changes, saves and restores the settings of one server."""

    def __init__(self, server: Any, saved: SavedSettings) -> None:
        self._server = server
        self._saved = saved

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
            "idle_time": whole(culler.policy.idle_timeout if ours else 0.0),
            "keep_terminals": culler.policy.keep_terminals,
            "count": culler.count,
            "errors": culler.troubles.last_text() or kernels_not_ours(self._server, culler),
        }

    def all_settings(self) -> Mapping[str, Any]:
        """The settings that hold, that are configured, and that are saved; and what users may set."""
        culler = self._ours()
        policy, saved = culler.policy, self._load_saved()
        if saved is not None and "idle_time" in saved:
            saved = {**saved, "idle_time": whole(saved["idle_time"] * 60)}
        return {
            "idle_time": whole(policy.idle_timeout),
            "keep_terminals": policy.keep_terminals,
            "configured": {
                "idle_time": whole(culler.configured("idle_timeout")),
                "keep_terminals": culler.configured("keep_terminals"),
            },
            "saved": saved,
            "bounds": {
                "min_idle_timeout": policy.min_idle_timeout / 60,
                "max_idle_timeout": policy.max_idle_timeout / 60,
                "keep_terminals": "fixed" if policy.keep_terminals_fixed else "free",
            },
        }

    def change(self, minutes: object, keep_terminals: bool | None, *, save: bool = False, asked_by: str = "") -> None:
        """Set the idle timeout (minutes) and, unless None, `keep_terminals`; starts the culler if it is not running.

        With `save` they hold after a restart of the server too.

        Raises
        ------
        SettingError
            When the bounds do not allow it; then nothing is changed.
        CullingError
            When none of the server's managers is ours, or the settings cannot be saved; then nothing is changed.
        """
        culler = self._ours()
        found = culler.policy.user_minutes("idle_time", minutes)
        if keep_terminals is not None:
            culler.policy.user_keep_terminals("keep_terminals", keep_terminals)
        if save:
            lasting = {} if keep_terminals is None else {"keep_terminals": keep_terminals}
            self._saved.save({**(self._load_saved() or {}), "idle_time": found, **lasting})
            culler.troubles.over(SAVED)
        culler.change_settings(idle_timeout=found * 60, keep_terminals=keep_terminals)
        culler.start()
        self._tell_settings("changed", asked_by, save)

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


def whole(value: float) -> float:
    """An int where the value is whole."""
    return int(value) if value == int(value) else value
