"""What is asked before something is culled for being idle: the activity signals, and the admin's hook."""

from __future__ import annotations

import os
from datetime import datetime
from functools import cached_property
from typing import Any

from traitlets import Any as AnyValue
from traitlets import Enum, TraitError
from traitlets.config import LoggingConfigurable

from ..concurrency import Limits
from ..decisions import Decision
from ..engine.culler import IdleCuller
from ..engine.ports import Roots
from ..errors import ErrorCode, HookError, SettingError
from ..policy import LONGEST_SECONDS
from ..records import AppRecord, KernelRecord, Kind, Record, Use
from ..signals.base import Subject
from ..signals.runner import Signals
from ..traits import Seconds
from .hook import load_hook, run_hook

#: The signals are asked this much (seconds) longer before a deadline than the slowest of them samples.
MARGIN_SECONDS = 0.25


class Safeguards(LoggingConfigurable):
    """The activity signals and the hook of one server."""

    pre_cull_hook = AnyValue(
        None,
        allow_none=True,
        config=True,
        help="""A callable, or its import name, that is called before a kernel or terminal is shut down or an app is
        deleted, with its record and the decision; `async def` or not. It may take `hook_seconds`. It answers None, or
        an aware datetime until which it is to be kept. It is not called in a dry run.""",
    )
    hook_seconds = Seconds(
        30.0,
        config=True,
        help="""How long `pre_cull_hook` may take (seconds, over 0). One that takes longer has failed.""",
    )
    hook_failure = Enum(
        ("keep", "cull"),
        "keep",
        config=True,
        help="""What a failing `pre_cull_hook` means. "keep": what it was called for is kept, and it is called again
        later, less and less often. "cull": it is culled all the same. Both are reported.""",
    )

    def __init__(self, culler: IdleCuller, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._culler = culler
        self.signals = Signals(parent=self)
        self._limits = Limits()
        if not 0 < self.hook_seconds <= LONGEST_SECONDS:
            raise TraitError(str(SettingError("Safeguards.hook_seconds", self.hook_seconds, "over 0 seconds")))
        limit = self.signals.limit_seconds
        for signal in self.signals.signals.values():
            if signal.takes_seconds >= limit:
                accepted = f"more than the {signal.takes_seconds:g} s that {type(signal).__name__}'s samples take"
                raise TraitError(str(SettingError("Signals.limit_seconds", limit, accepted)))
        try:
            self._hook = load_hook("Safeguards.pre_cull_hook", self.pre_cull_hook)
        except SettingError as error:
            raise TraitError(str(error)) from None

    @cached_property
    def lead_seconds(self) -> float:
        """How long before a deadline the signals are to be asked; 0 when there is none."""
        takes = [each.takes_seconds for each in self.signals.signals.values()]
        return max(takes) + MARGIN_SECONDS if takes else 0.0

    async def ask(self, record: Record, roots: Roots) -> Use:
        """What the activity signals say of it; a check that fails counts as use, and is reported."""
        kind = _kind_of(record)
        subject = Subject(
            kind=kind,
            identity=record.identity,
            record=record,
            pids=roots.pids,
            here=roots.here,
            owner=roots.owner,
            server_pid=os.getpid(),
            since=record.last_activity or self._culler.now(),
        )
        found = await self.signals.ask(subject)
        about = f"signals of {kind.value} {record.identity}"
        if found.errors:
            self._culler.tally.failed[kind, "signal"] += 1
            words = f"{kind.value} {record.identity} is kept: {'; '.join(found.errors)}"
            self._culler.trouble(about, words, ErrorCode.SIGNAL_FAILED)
        else:
            self._culler.troubles.over(about)
        return Use(used_by=found.words, used_at=found.used_at, asked_at=self._culler.now())

    async def before_culling(self, record: Record, decision: Decision) -> datetime | None:
        """Call the hook; gives until when it wants the record kept.

        Raises
        ------
        HookError
            When it failed and `hook_failure` is "keep".
        """
        if self._hook is None:
            return None
        about = f"pre_cull_hook for {_kind_of(record).value} {record.identity}"
        try:
            until = await run_hook(self._hook, record, decision, self.hook_seconds, self._culler.now(), self._limits)
        except HookError as error:
            if self.hook_failure == "keep":
                raise
            self._culler.tally.failed[_kind_of(record), "hook"] += 1
            words = f"{_kind_of(record).value} {record.identity} is culled although {error}"
            self._culler.trouble(about, words, error.code)
            return None
        self._culler.troubles.over(about)
        return until


def _kind_of(record: Record) -> Kind:
    if isinstance(record, AppRecord):
        return Kind.APP
    return Kind.KERNEL if isinstance(record, KernelRecord) else Kind.TERMINAL
