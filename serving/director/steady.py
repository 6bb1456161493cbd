"""A step that is done again and again for as long as the Director lives. Each of its loops runs here.

What ends one step ends neither the loop nor the Director: the store may be away, and a fault of ours may be met by one
turn and not by the next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from serving.errors import StoreUnfit, Unavailable
from serving.jobs.epoch import EpochLost
from serving.logs import logger

PAUSE_S = 1.0
"""After a step that failed."""

_log = logger("director")


async def steadily(what: str, step: Callable[[], Awaitable[None]], incident: Callable[[], str]) -> None:
    """For ever. Raises `EpochLost` alone. `incident` makes a number for the logs."""
    while True:
        try:
            await step()
        except EpochLost:
            raise
        except (Unavailable, StoreUnfit) as error:
            _log.warning("the store is away", at=what, message=error.message)
            await asyncio.sleep(PAUSE_S)
        except Exception as error:  # noqa: BLE001  (see the module)
            _log.error("a step of the Director failed", at=what, incident=incident(), exc_info=error)
            await asyncio.sleep(PAUSE_S)
