"""The admin's own code before something is stopped: what it is given, how long it may take, and what it may ask for."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from traitlets.utils.importstring import import_item

from ..concurrency import Limits, TooSlow, in_thread
from ..decisions import Decision
from ..errors import HookError, RecordError, SettingError
from ..policy import LONGEST_SECONDS
from ..records import Record, utc

ACCEPTED = "a callable that takes a record and a decision, or its import name such as 'package.module.function'"
Hook = Callable[[Record, Decision], Any]
ANSWERS = "None (go ahead), or an aware datetime until which it is kept"


def load_hook(name: str, value: Any) -> Hook | None:
    """Give the callable that a setting means; None and '' mean that there is none.

    Raises
    ------
    SettingError
        When it cannot be imported, or cannot be called.
    """
    if value is None or value == "":
        return None
    found = value
    if isinstance(value, str):
        try:
            found = import_item(value.replace(":", "."))
        except Exception as error:  # importing somebody's module may raise anything
            raise SettingError(name, value, f"{ACCEPTED}; importing it failed: {error}") from error
    if not callable(found):
        raise SettingError(name, value, ACCEPTED)
    hook: Hook = found
    return hook


async def _call(hook: Hook, record: Record, decision: Decision) -> Any:
    if inspect.iscoroutinefunction(hook) or inspect.iscoroutinefunction(getattr(hook, "__call__", None)):  # noqa: B004
        return await hook(record, decision)
    answer = await in_thread(lambda: hook(record, decision))
    return await answer if inspect.isawaitable(answer) else answer


async def run_hook(
    hook: Hook, record: Record, decision: Decision, seconds: float, now: datetime, limits: Limits | None = None
) -> datetime | None:
    """Run a hook, off the event loop unless it is a coroutine function; gives until when it wants `record` kept.

    Raises
    ------
    HookError
        When it raises, takes longer than `seconds`, has not ended since it was last called for the same record, or
        answers something else than None or a time.
    """
    limits = limits or Limits()
    try:
        answer = await limits.within(record.identity, seconds, partial(_call, hook, record, decision))
    except TooSlow:
        raise HookError(f"pre_cull_hook took longer than {seconds:g} s") from None
    except Exception as error:
        raise HookError(f"pre_cull_hook failed: {type(error).__name__}: {error}") from error
    try:
        until = utc(answer, "the answer of pre_cull_hook")
    except RecordError as error:
        raise HookError(f"{error}; accepted is {ANSWERS}") from None
    if until is None or until <= now:
        return None
    return min(until, now + timedelta(seconds=LONGEST_SECONDS))
