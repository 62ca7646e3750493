"""The admin's own code before something is stopped: what it is given, how long it may take, and what it may ask for."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from datetime import datetime, timedelta
from importlib import import_module
from typing import Any

from .decisions import Decision
from .errors import HookError, RecordError, SettingError
from .policy import LONGEST_SECONDS
from .records import Record, utc
from .threads import in_thread

ACCEPTED = "a callable that takes a record and a decision, or its import name such as 'package.module.function'"
ANSWERS = "None (go ahead), or an aware datetime until which it is kept"


def load_hook(name: str, value: Any) -> Callable[[Record, Decision], Any] | None:
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
        module, _, attribute = value.replace(":", ".").rpartition(".")
        try:
            found = getattr(import_module(module), attribute)
        except Exception as error:  # importing somebody's module may raise anything
            raise SettingError(name, value, f"{ACCEPTED}; importing it failed: {error}") from error
    if not callable(found):
        raise SettingError(name, value, ACCEPTED)
    hook: Callable[[Record, Decision], Any] = found
    return hook


async def run_hook(
    hook: Callable[[Record, Decision], Any], record: Record, decision: Decision, seconds: float, now: datetime
) -> datetime | None:
    """Run a hook, off the event loop unless it is a coroutine function; gives until when it wants `record` kept.

    Raises
    ------
    HookError
        When it raises, takes longer than `seconds`, or answers something else than None or a time.
    """
    try:
        if inspect.iscoroutinefunction(hook) or inspect.iscoroutinefunction(getattr(hook, "__call__", None)):  # noqa: B004
            answer = await asyncio.wait_for(hook(record, decision), seconds)
        else:
            answer = await asyncio.wait_for(in_thread(lambda: hook(record, decision)), seconds)
        if inspect.isawaitable(answer):
            answer = await asyncio.wait_for(answer, seconds)
    except asyncio.TimeoutError:
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
