"""The settings of one server as HTTP shows and changes them, within the bounds, and as they are saved."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from tornado.ioloop import IOLoop

from .. import events
from ..engine.culler import IdleCuller
from ..errors import NotOursError, ReadError, printable
from ..policy import LONGEST_MINUTES, LONGEST_SECONDS, CullingPolicy, plain
from ..report import duration
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
        by_type = {pattern: whole(seconds) for pattern, seconds in policy.idle_timeouts}
        return {
            "idle_time": whole(policy.idle_timeout),
            "keep_terminals": policy.keep_terminals,
            **({"idle_timeouts": by_type} if by_type else {}),
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
        before = culler.policy
        culler.change_settings(idle_timeout=None if found is None else found * 60, keep_terminals=keep_terminals)
        self._warn_first(before)
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
        before = culler.policy
        culler.reset_settings()
        self._warn_first(before)
        self._tell_settings("reset", asked_by, False)

    def _warn_first(self, before: CullingPolicy) -> None:
        """What has become overdue by this change is warned of first; a change that makes nothing due changes nothing.

        Else who sets the same again and again would keep everything for ever.
        """
        after = self._culler.policy
        pairs = [(before.idle_timeout, after.idle_timeout), (before.terminal_timeout, after.terminal_timeout)]
        lower = any(0 < now < (was or LONGEST_SECONDS) for was, now in pairs)
        if lower or (before.keep_terminals and not after.keep_terminals):
            self._culler.rounds.give_notice()
            self._culler.log.info("Culling: %s", notice_words(after))

    def restore(self) -> None:
        """Take over what a user saved, as soon as all managers are there; extensions load in any order.

        Until then no heartbeat tells of settings, so that the first one tells those that hold.
        """
        self._culler.rounds.hold_heartbeats()
        IOLoop.current().add_callback(self._restore_and_tell)

    def _restore_and_tell(self) -> None:
        try:
            self._restore()
        finally:
            self._culler.rounds.release_heartbeats()

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


def notice_words(policy: CullingPolicy) -> str:
    """What becomes of what is overdue when a person takes back what kept it."""
    if policy.warn_before <= 0:
        return "what is overdue goes now, for warn_before is 0"
    return f"what is overdue is warned of first, {duration(policy.warn_before)} or half its timeout ahead"


def whole(value: float) -> float:
    """An int where the value is whole."""
    return int(value) if value == int(value) else value


def _is(value: object, minutes: float) -> bool:
    """Whether it is this number of minutes, but for what is lost on the way from seconds and back."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= LONGEST_MINUTES:
        return False
    return abs(value - minutes) < 1e-6
