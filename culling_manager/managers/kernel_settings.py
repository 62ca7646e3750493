"""The settings of the kernel managers, and what they are as numbers of the policy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from traitlets import Bool, Dict, TraitError, Unicode, validate
from traitlets.config import LoggingConfigurable

from ..errors import SettingError
from ..policy import minutes
from ..traits import DEFAULT_INTERVAL_SECONDS, ClassOrName, Minutes, Seconds, interval

#: Settings in minutes that are numbers of the policy by the same name, in seconds.
IN_MINUTES = (
    *("idle_timeout", "min_idle_timeout", "max_idle_timeout", "busy_timeout"),
    *("warn_before", "max_keep_alive", "long_run", "grace", "max_at_work", "max_age"),
)
#: Settings that are taken as they are.
AS_THEY_ARE = ("cull_connected", "cull_busy", "dry_run")


class KernelSettings(LoggingConfigurable):
    """The settings of `CullingKernelManager` that are not upstream's."""

    idle_timeout = Minutes(
        120.0,
        config=True,
        help="""Minutes without activity after which a kernel is shut down, strictly after them. 0 turns culling off.
        Default: 120, or `cull_idle_timeout` (seconds) where that is configured; if both are, this one wins.
        A kernelspec's own metadata.cull_idle_timeout (seconds, 1 at least, 0 for never) overrides it for its kernels;
        see `max_idle_timeout`.""",
    )
    idle_timeouts = Dict(
        key_trait=Unicode(),
        config=True,
        help="""The idle timeout (minutes, 0 for never) by instance type, for apps and what runs on them, such as
        {"ml.p*": 15, "ml.g*": 30, "*": 120}; the first pattern that matches counts, in the order written. A
        kernelspec's own timeout still overrides it for its kernels, one that a user sets at run time, within bounds,
        holds for all, but makes none longer that the table names, and an `idle_timeout` of 0 turns all off. Where the
        type is not known `idle_timeout` holds; a space and a notebook instance ask for their own once, which needs
        sagemaker:DescribeApp or sagemaker:DescribeNotebookInstance. Empty: no table.""",
    )
    min_idle_timeout = Minutes(
        0.0,
        config=True,
        help="""The least idle timeout (minutes) that users may set at run time. 0: no bound. It does not bound
        `idle_timeout` as configured.""",
    )
    max_idle_timeout = Minutes(
        0.0,
        config=True,
        help="""The greatest idle timeout (minutes) that users may set at run time, and a kernelspec may have of its
        own; where it is set, 0, less and nonsense in a kernelspec count for nothing. 0: no bound. It does not bound
        `idle_timeout` as configured.""",
    )
    busy_timeout = Minutes(
        0.0,
        config=True,
        help="""Minutes after which a kernel that is busy without a break is shut down, strictly after them, however
        fresh its output. 0: never. `cull_connected` and a kernel's keep-alive still protect it.""",
    )
    warn_before = Minutes(
        5.0,
        config=True,
        help="""Minutes ahead of a deadline at which a warning is given: an event, and a mark in `status`; at most half
        the timeout. 0: none.""",
    )
    max_keep_alive = Minutes(
        1440.0,
        config=True,
        help="""The longest time (minutes) for which users may ask that something is kept. 0: no bound.""",
    )
    long_run = Minutes(
        10.0,
        config=True,
        help="""A run of a kernel that took these minutes or longer has results that are kept for `grace`.""",
    )
    grace = Minutes(
        0.0,
        config=True,
        help="""Minutes for which a kernel is kept at least after a run of `long_run` or longer has ended. 0: off.""",
    )
    max_at_work = Minutes(
        0.0,
        config=True,
        help="""Minutes for which an activity signal (a background process, a GPU in use) keeps something at most, since
        Jupyter itself last saw use of it or a user last asked that it is kept; then it is due, warned of like any
        other. A terminal is kept by what it prints for as long at most, since a key was last typed in it. So a loop
        that somebody forgot does not keep the bill for ever. 0: no end.""",
    )
    max_age = Minutes(
        0.0,
        config=True,
        help="""Minutes after which an app is deleted whatever is on it, strictly after them, since it was created or
        first seen, whichever is earlier. It is warned of `warn_before` ahead, and 15 minutes at least if the setting
        allows; a keep-alive moves it, by `max_keep_alive` at most. `AppManager.keep_apps` and an `idle_timeout` of 0
        still protect. 0: no end.""",
    )
    cull_interval = Seconds(
        DEFAULT_INTERVAL_SECONDS,
        config=True,
        help="""Heartbeat (seconds): the longest time between two wake-ups. Deadlines are met exactly, not at
        heartbeats. A value of 0 or less is replaced by the default.""",
    )
    cull_connected = Bool(
        True,
        config=True,
        help="""Whether a kernel with open connections is culled like any other. False: an open tab keeps it.""",
    )
    dry_run = Bool(
        False,
        config=True,
        help="""Decide, log and report, but shut nothing down and delete no app.""",
    )
    app_manager_class = ClassOrName(
        "auto",
        config=True,
        help="""The app manager, a subclass of culling_manager.apps.AppManager or its import name, which deletes the
        billed compute once nothing on it has been in use for `idle_timeout`. "auto": the one for the place that
        SageMaker's resource metadata file names (a Studio space, Studio Classic, a notebook instance); without that
        file there is none. culling_manager.apps.NoApps: nothing is deleted.
        culling_manager.apps.JupyterServerProcess: this server is stopped.""",
    )

    @validate("idle_timeouts")
    def _checked(self, proposal: Any) -> dict[str, float]:
        """Each a number of minutes; from the command line they come as text."""
        found = {}
        for pattern, value in proposal["value"].items():
            name = f"{type(self).__name__}.idle_timeouts[{pattern!r}]"
            try:
                found[pattern] = minutes(name, float(value) if isinstance(value, str) else value)
            except (SettingError, ValueError) as error:
                words = str(error) if isinstance(error, SettingError) else f"{name} = {value!r} is no number of minutes"
                raise TraitError(words) from None
        return found

    def policy_fields(self) -> Mapping[str, Any]:
        """The settings as fields of `CullingPolicy`; those of upstream's that it has too."""
        found: dict[str, Any] = {name: getattr(self, name) * 60 for name in IN_MINUTES}
        found |= {name: getattr(self, name) for name in AS_THEY_ARE}
        found["idle_timeouts"] = tuple((pattern, each * 60) for pattern, each in self.idle_timeouts.items())
        return found | {"cull_interval": interval(self, self.log)}
