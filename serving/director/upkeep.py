"""What a Director does beside its jobs, each in a task of its own: it shows that it works, and has others clean up.

None of them ends when the store is away; all of them end with `EpochLost` when a newer Director has started.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from serving.director.events import Feed
from serving.errors import StoreUnfit, Unavailable
from serving.jobs.epoch import SIGN_EVERY_S, Epoch
from serving.logs import logger

VOUCH_EVERY_S = 0.4
"""A front door waits a second for it at most."""
COLLECT_EVERY_S = 1800.0

_log = logger("director")


async def vouch(epoch: Epoch, feed: Feed) -> None:
    """Beat while the epoch is ours: a front door may then answer from what it was told."""
    while True:
        try:
            await epoch.check()
        except (Unavailable, StoreUnfit) as error:
            _log.warning("no heartbeat, the store is away", message=error.message)
        else:
            feed.beat()
        await asyncio.sleep(VOUCH_EVERY_S)


async def sign(epoch: Epoch) -> None:
    """Show Directors that idle that this one works."""
    while True:
        try:
            await epoch.sign()
        except (Unavailable, StoreUnfit) as error:
            _log.warning("epoch not signed, the store is away", message=error.message)
        await asyncio.sleep(SIGN_EVERY_S)


async def keep_house(collect: Callable[[], Awaitable[object]]) -> None:
    """Delete what nobody needs any more, every `COLLECT_EVERY_S`."""
    while True:
        await asyncio.sleep(COLLECT_EVERY_S)
        try:
            _log.info("collected", report=str(await collect()))
        except (Unavailable, StoreUnfit) as error:
            _log.warning("nothing collected, the store is away", message=error.message)
        except Exception as error:  # noqa: BLE001  (the jobs go on, and the next collection may find it mended)
            _log.error("nothing collected", message=str(error), exc_info=error)
