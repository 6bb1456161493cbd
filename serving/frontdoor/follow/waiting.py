"""Waits for jobs to change: however many wait for one, one looks for all. `records.py` hands them here.

A watch that nothing happens to costs nothing but its memory. When something happens, those who wait are told a few in
each turn of the event loop, and share one view: what they make of it is made once, and calls of others come between.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from serving.frontdoor.follow.views import LiveProgress, View
from serving.jobs.ids import JobKey

LOOK_S = 0.5
"""How long a change may go unnoticed while the Director vouches for nothing."""
TOLD_AT_ONCE = 16
"""Who wait and are told in one turn of the event loop."""

_Content = tuple[JobKey, tuple[int, int], LiveProgress | None]
Look = Callable[[View, float], Awaitable[View]]
"""(what was seen, seconds) → the job as it stands when it may be another, or after so long. May raise."""


@dataclass(eq=False)
class _Line:
    """Those who have seen the same of one job."""

    waiting: dict[asyncio.Future[View], None] = field(default_factory=dict)
    looking: asyncio.Task[None] | None = None


class Waiting:
    """One per front-door process. All methods run on the event loop."""

    def __init__(self, look: Look) -> None:
        self._look = look
        self._lines: dict[_Content, _Line] = {}

    async def after(self, seen: View) -> View:
        """The job when it is not as it was `seen` any more. Raises what looking raises."""
        content = _content(seen)
        line = self._lines.get(content)
        if line is None:
            line = self._lines[content] = _Line()
            line.looking = asyncio.create_task(self._follow(line, seen), name="look")
        waiter: asyncio.Future[View] = asyncio.get_running_loop().create_future()
        line.waiting[waiter] = None
        try:
            return await waiter
        finally:
            line.waiting.pop(waiter, None)
            if not line.waiting and self._lines.get(content) is line and line.looking is not None:
                line.looking.cancel()
                del self._lines[content]

    async def _follow(self, line: _Line, seen: View) -> None:
        """Look until there is something to tell, then tell it."""
        found: View | Exception = seen
        try:
            while isinstance(found, View) and _content(found) == _content(seen):
                found = await self._look(found, LOOK_S)
        except Exception as error:  # noqa: BLE001  (whoever waits gets it)
            found = error
        del self._lines[_content(seen)]
        _tell(line, found)


def _content(view: View) -> _Content:
    """What a change changes."""
    return view.kept.key, view.kept.age, view.kept.progress


def _tell(line: _Line, found: View | Exception) -> None:
    for waiter in list(line.waiting)[:TOLD_AT_ONCE]:
        del line.waiting[waiter]
        if waiter.done():
            continue
        if isinstance(found, View):
            waiter.set_result(found)
        else:
            waiter.set_exception(found)
    if line.waiting:
        asyncio.get_running_loop().call_soon(_tell, line, found)
