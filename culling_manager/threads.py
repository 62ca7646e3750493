"""Calls that block, off the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

#: The name of our threads, for whoever looks at a server's.
THREAD_NAME = "culling_manager"

Answer = TypeVar("Answer")


async def in_thread(work: Callable[[], Answer]) -> Answer:
    """Give what `work` gives, or raise what it raises, having run it in a thread of its own.

    The thread is a daemon: a call that hangs does not keep the server from exiting.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Answer] = loop.create_future()

    def settle(answer: Answer | None, error: BaseException | None) -> None:
        if future.done():
            return  # nobody waits any more
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(answer)  # type: ignore[arg-type]

    def run() -> None:
        answer: Answer | None = None
        error: BaseException | None = None
        try:
            answer = work()
        except (StopIteration, SystemExit, KeyboardInterrupt, GeneratorExit) as raised:
            error = RuntimeError(f"{type(raised).__name__}: {raised}")  # it would end the event loop, or not be heard
        except BaseException as raised:  # it belongs to whoever waits, of whatever kind
            error = raised
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, answer, error)

    threading.Thread(target=run, name=THREAD_NAME, daemon=True).start()
    return await future
