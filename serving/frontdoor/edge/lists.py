"""Lists whose one item that cannot be told hides no other. All surfaces make their lists by it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from serving.errors import Corrupt, NotFound
from serving.logs import logger

T = TypeVar("T")
M = TypeVar("M")

_log = logger("lists")


async def told(items: Iterable[T], render: Callable[[T], Awaitable[M]], name: Callable[[T], str]) -> list[M]:
    """Each item as a message. One that cannot be told is left out, and logged by its `name`: something of it is
    damaged, or of a later version. What says nothing of the item, as that the store is away, is raised.
    """
    found = []
    for item in items:
        try:
            found.append(await render(item))
        except (ValueError, TypeError, OverflowError, Corrupt, NotFound) as error:
            _log.error("left out of a list: it cannot be told", id=name(item), reason=str(error)[:200])
    return found
