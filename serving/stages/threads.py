"""Work in a thread that whoever waits for it does not leave before it is done.

A thread cannot be ended from outside: one whose caller is cancelled goes on, with its memory and its cores. If the
caller left at once, its place would be given to the next call meanwhile. All stages compute through here.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Stopped(Exception):
    """The caller was cancelled, and waits only for the work to end."""


class Stop:
    """Tells work in a thread that nobody wants its result any more."""

    def __init__(self) -> None:
        self._asked = threading.Event()

    def ask(self) -> None:
        """The work is to end soon."""
        self._asked.set()

    def check(self) -> None:
        """Between two parts of the work. Raises `Stopped`."""
        if self._asked.is_set():
            raise Stopped


async def in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Its result. A caller that is cancelled gets `CancelledError` when the thread is done, and not before."""
    return await stoppable(lambda _: work(*args, **kwargs))


async def stoppable(work: Callable[[Stop], T]) -> T:
    """The same for long work, which is handed what says that it may stop."""
    stop, context = Stop(), contextvars.copy_context()
    running = asyncio.get_running_loop().run_in_executor(None, partial(context.run, work, stop))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        stop.ask()
        await _done(running)
        del running  # what it raised holds on to all that the work had in memory
        raise


async def _done(running: asyncio.Future[T]) -> None:
    while not running.done():
        try:
            await asyncio.wait({running})
        except asyncio.CancelledError:  # once more; it changes nothing
            continue
    running.exception()  # it is of no interest, and nobody is to be warned of it
