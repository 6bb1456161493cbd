"""What a Director does beside its jobs: it shows that it works, and keeps what it learnt.

Each of these is one step and the pause after it; `director.py` has them done steadily, each in a task of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from serving.director.events import Feed
from serving.director.queue.backlog import Backlog
from serving.director.queue.schedule import Schedule
from serving.errors import StoreUnfit, Unavailable
from serving.estimates import load, save
from serving.jobs.epoch import SIGN_EVERY_S, Epoch
from serving.logs import logger
from serving.metrics import BACKLOG_SECONDS, Recorder
from serving.store.base import Store

VOUCH_EVERY_S = 0.4
"""A front door waits a second for it at most."""
SAVE_EVERY_S = 10.0
MEASURE_EVERY_S = 5.0

_log = logger("director")


async def learn(store: Store, schedule: Schedule) -> None:
    """Once, at the start: go on with what earlier Directors measured."""
    try:
        schedule.estimates = await load(store)
    except (Unavailable, StoreUnfit, ValueError) as error:
        _log.warning("estimates not read, they are learnt anew", reason=str(error))


async def vouch(epoch: Epoch, feed: Feed) -> None:
    """Beat while the epoch is ours: a front door may then answer from what it was told. Raises `EpochLost`."""
    await epoch.check()
    feed.beat()
    await asyncio.sleep(VOUCH_EVERY_S)


async def sign(epoch: Epoch) -> None:
    """Show Directors that idle that this one works. Raises `EpochLost`."""
    await epoch.sign()
    await asyncio.sleep(SIGN_EVERY_S)


async def keep(store: Store, schedule: Schedule) -> None:
    """Save what was measured."""
    await save(store, schedule.estimates)
    await asyncio.sleep(SAVE_EVERY_S)


async def measure(backlogs: Callable[[], Mapping[str, Backlog]], metrics: Recorder) -> None:
    """Tell how much work there is for each stage."""
    for model, backlog in backlogs().items():
        for stage, seconds in backlog.seconds.items():
            metrics.set(BACKLOG_SECONDS, seconds, model=model, stage=stage)
    await asyncio.sleep(MEASURE_EVERY_S)
