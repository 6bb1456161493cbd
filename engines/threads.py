"""Long work beside an event loop, in a thread that ends with the process: Ctrl-C waits for no compiler and no disk.

`building/build.py` compiles in one, so that the builder's claim is beaten meanwhile; `longtake models add` reads a
checkpoint in one.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


async def in_daemon(work: Callable[[], T]) -> T:
    """What the work gives, or raises."""
    done: Future[T] = Future()
    done.set_running_or_notify_cancel()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:  # noqa: BLE001  (raised in the caller)
            done.set_exception(error)

    threading.Thread(target=run, name="long work", daemon=True).start()
    return await asyncio.wrap_future(done)
