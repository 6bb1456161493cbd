"""Longtake's Director and stages in this process, over a counted directory store: for what must be seen from inside.

The benchmarks of stages, bytes and history use it. It is the real loop on the real engines; only Ray is missing, whose
share `overhead.py` measures.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from engines import models
from engines.session import Session, load_session
from loadtests.accept import accept, source
from loadtests.counting import CountingStore, Sums
from serving.clock import now_ms
from serving.director.director import Director
from serving.director.served import Served
from serving.jobs.epoch import take_epoch
from serving.jobs.ids import derived_id
from serving.jobs.record import JobRecord, JobState
from serving.jobs.repository import Jobs
from serving.requests import VideoRequest
from serving.segments.lineage import Segments
from serving.stages.in_process import InProcessStages
from serving.stages.loaded import Loaded
from serving.store.open import open_store

MODEL = "sprite-2"
TENANT = "default"
"""The tenant of a front door without keys, so that one may serve what was made here."""
PROMPT = "a red square moves right under a white sky"
LONGEST_S = 300.0


class JobFailed(Exception):
    """A job of a benchmark did not succeed."""


@dataclass(frozen=True)
class Studio:
    """Makes one video at a time, and tells what that took."""

    store: CountingStore
    sums: Sums
    session: Session
    director: Director
    jobs: Jobs
    seen: Jobs
    """The same jobs, past the counting."""
    seeds: itertools.count[int]

    async def make(
        self,
        *,
        seconds: int,
        aspect_ratio: str = "16:9",
        resolution: str = "480p",
        steps: int | None = None,
        parent: JobRecord | None = None,
    ) -> JobRecord:
        """A finished video, or an extension of `parent` by so many seconds. Raises `JobFailed`."""
        record = await self.accept(
            seconds=seconds, aspect_ratio=aspect_ratio, resolution=resolution, steps=steps, parent=parent
        )
        self.director.wake(TENANT, record.id)
        async with asyncio.timeout(LONGEST_S):
            while not (record := await self.seen.get(TENANT, record.id)).state.terminal:  # noqa: ASYNC110  (the store tells nobody)
                await asyncio.sleep(0.01)
        if record.state is not JobState.SUCCEEDED:
            raise JobFailed(f"{record.id} ended as {record.state.value}: {record.error}")
        return record

    async def accept(
        self,
        *,
        seconds: int,
        aspect_ratio: str = "16:9",
        resolution: str = "480p",
        steps: int | None = None,
        parent: JobRecord | None = None,
    ) -> JobRecord:
        """A queued job, as a front door would have written it."""
        request = VideoRequest(
            model=MODEL,
            prompt=PROMPT,
            seconds=seconds,
            aspect_ratio=aspect_ratio,
            resolution=resolution,
            steps=steps or models.family(MODEL).capabilities.steps.default,
            seed=next(self.seeds),
            extends=source(parent),
        )
        return await accept(
            request,
            store=self.store,
            jobs=self.jobs,
            tenant=TENANT,
            model_digest=self.session.digest,
            created_ms=now_ms(),
        )

    async def lengthened(self, video: JobRecord, segments: int) -> JobRecord:
        """The video as if its newest segment had come again and again, so that it has so many. It can be extended, and
        not be played: of those between only the names are known.
        """
        stored = Segments(self.store, TENANT)
        newest = await stored.get(video.segments[-1])
        while newest.depth + 1 < segments:
            place = {"parent": newest.digest(), "depth": newest.depth + 1, "start_frame": newest.total_frames}
            made_by = {"video": derived_id("vid_", TENANT, str(newest.depth))}
            newest = newest.model_copy(update={**place, **made_by, "trail": newest.next_trail()})
        return video.model_copy(update={"segments": (await stored.commit(newest),)})


@asynccontextmanager
async def studio(folder: Path) -> AsyncIterator[Studio]:
    """Load the engines, open a store in `folder` and start a Director."""
    session = await load_session(MODEL)
    opened = await open_store(str(folder), probe=False)
    store, sums = CountingStore(opened), Sums()
    jobs, stages = Jobs(store), InProcessStages(Loaded(session, store, sums))
    stages.start()
    director = Director(
        store=store,
        jobs=jobs,
        epoch=await take_epoch(store),
        models={MODEL: Served(stages, session.family, slots=1)},
        slice_s=5.0,
        metrics=sums,
        now_ms=now_ms,
        incident=lambda: "see the traceback above",
    )
    life = asyncio.create_task(director.run())
    try:
        yield Studio(store, sums, session, director, jobs, Jobs(opened), itertools.count(1))
    finally:
        life.cancel()
        await asyncio.gather(life, return_exceptions=True)
        await stages.stop()
        await store.close()
        session.close()
