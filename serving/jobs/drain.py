"""Wait for what runs: the jobs that are RUNNING when it begins, until each has ended. Whoever is about to take the
stages away asks first (`longtake jobs drain`, and the operator before a VideoService goes).

Jobs that are taken meanwhile are not waited for, else there would be no end. Nothing is written.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from serving.errors import Corrupt
from serving.jobs.ids import JobKey
from serving.jobs.record import JobRecord, JobState
from serving.jobs.repository import Jobs

_LOOK_EVERY_S = 1.0


@dataclass(frozen=True)
class Drained:
    """What became of them."""

    ended: int
    left: tuple[JobKey, ...]
    """Those that are still to end."""


async def drain(jobs: Jobs, within_s: float) -> Drained:
    """Wait for them, so many seconds at most."""
    ends = time.monotonic() + within_s
    left = {one.key async for one in jobs.active() if _runs(await _newest(jobs, one.key))}
    began = len(left)
    while left and (remaining := ends - time.monotonic()) > 0:
        await asyncio.sleep(min(_LOOK_EVERY_S, remaining))
        left -= {key for key in left if not _goes_on(await _newest(jobs, key))}
    return Drained(began - len(left), tuple(sorted(left)))


async def _newest(jobs: Jobs, key: JobKey) -> JobRecord | None:
    try:
        return await jobs.newest(*key)
    except Corrupt:  # nobody works on it
        return None


def _runs(record: JobRecord | None) -> bool:
    return record is not None and record.state is JobState.RUNNING


def _goes_on(record: JobRecord | None) -> bool:
    """One that lost its replica is QUEUED for a moment, and runs again."""
    return record is not None and not record.state.terminal
