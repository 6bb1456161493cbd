"""A Director over a real directory store and the real stages, without Ray."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from engines import models
from engines.session import Session, load_session
from loadtests.accept import accept, source
from serving.director.director import Director
from serving.director.served import Served
from serving.jobs.epoch import take_epoch
from serving.jobs.record import JobRecord
from serving.jobs.repository import Jobs
from serving.metrics import Recorder, Unrecorded
from serving.requests import VideoRequest
from serving.stages.loaded import Loaded
from serving.store.base import Store
from serving.store.open import open_store
from serving.traces.spans import UNTRACED, Traces
from tests.unit.serving.director.plain import PlainStages

TENANT = "studio"
_ASKED = {"prompt": "a red circle moves right", "seconds": 1, "steps": 2, "seed": 3, "resolution": "480p"}


@pytest.fixture(scope="session")
def session() -> Session:
    """All engines of the model, loaded once."""
    return asyncio.run(load_session("sprite-2", threads=1))


@dataclass
class Office:
    """A store, stages, and Directors that work on them."""

    store: Store
    jobs: Jobs
    stages: PlainStages
    lives: list[asyncio.Task[None]] = field(default_factory=list)
    directors: list[Director] = field(default_factory=list)
    _times: itertools.count[int] = field(default_factory=lambda: itertools.count(1_700_000_000_000))

    def now_ms(self) -> int:
        """A later moment each time."""
        return next(self._times)

    async def director(
        self,
        *,
        slots: int = 2,
        renders: int | None = None,
        metrics: Recorder | None = None,
        traces: Traces = UNTRACED,
    ) -> Director:
        """Start one more Director; it takes the next epoch. It has as many places at the Renderers as slots."""
        numbers = itertools.count()
        director = Director(
            store=self.store,
            jobs=self.jobs,
            epoch=await take_epoch(self.store),
            models={"sprite-2": self.served(slots=slots, renders=slots if renders is None else renders)},
            slice_s=5.0,
            metrics=metrics or Unrecorded(),
            now_ms=self.now_ms,
            traces=traces,
            incident=lambda: f"incident-{next(numbers)}",
        )
        self.lives.append(asyncio.create_task(director.run()))
        self.directors.append(director)
        return director

    def served(self, *, slots: int = 2, renders: int = 2) -> Served:
        """The model, by this office's stages."""
        return Served(self.stages, models.family("sprite-2"), slots, renders=renders)

    async def job(self, *, tenant: str = TENANT, parent: JobRecord | None = None, **fields: Any) -> JobRecord:
        """A queued job: one second of the square canvas in two steps, unless said otherwise."""
        asked = {**_ASKED, **fields}
        model_digest = asked.pop("model_digest", "0" * 64)
        of_the_record = ("priority", "cancel_requested", "attempt", "state", "crashes", "deadline_ms")
        record_fields = {name: asked.pop(name) for name in of_the_record if name in asked}
        request = VideoRequest(model="sprite-2", aspect_ratio="1:1", extends=source(parent), **asked)
        record = await accept(
            request,
            store=self.store,
            jobs=self.jobs,
            tenant=tenant,
            model_digest=model_digest,
            created_ms=self.now_ms(),
            **record_fields,
        )
        if self.directors:
            self.directors[-1].wake(tenant, record.id)
        return record

    async def ended(self, record: JobRecord) -> JobRecord:
        """The job's last record."""
        return await self.until(record, lambda found: found.state.terminal)

    async def until(self, record: JobRecord, holds: Callable[[JobRecord], bool]) -> JobRecord:
        """The job's record once something holds of it."""
        async with asyncio.timeout(60):
            while True:
                found = await self.jobs.get(record.tenant, record.id)
                if holds(found):
                    return found
                await asyncio.sleep(0.01)

    async def idle(self) -> None:
        """Wait until the active list is empty: ended jobs leave it just after their last write."""
        async with asyncio.timeout(60):
            while [entry async for entry in self.jobs.active()]:  # noqa: ASYNC110  (the store tells nobody)
                await asyncio.sleep(0.01)

    async def close(self) -> None:
        """End every Director."""
        for life in self.lives:
            life.cancel()
        await asyncio.gather(*self.lives, return_exceptions=True)


@pytest.fixture
async def office(tmp_path: Path, session: Session, anyio_backend: str) -> AsyncIterator[Office]:
    """See `Office`."""
    store = await open_store(str(tmp_path / "store"), probe=False)
    stages = PlainStages(Loaded(session, store, Unrecorded()))
    stages.start()
    office = Office(store, Jobs(store), stages)
    yield office
    await office.close()
    await stages.stop()
    await store.close()
