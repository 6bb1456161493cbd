"""What is read or written while the line to the Director breaks is not taken for what the Director vouches for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from serving.frontdoor.create.catalog import Catalog, ServedModel
from serving.frontdoor.create.drafts import Draft
from serving.frontdoor.edge.auth import Caller
from serving.frontdoor.edge.metrics import PrometheusRecorder
from serving.frontdoor.follow.records import RecordCache
from serving.frontdoor.rooms import Rooms, build
from serving.jobs.record import JobState
from serving.jobs.repository import Jobs
from serving.settings import Settings
from serving.store.base import Store
from tests.unit.serving.conftest import Clock
from tests.unit.serving.frontdoor.builders import CAPABILITIES, DIGEST

pytestmark = pytest.mark.anyio
CALLER = Caller(tenant="default", api_key_id="key_1", name="test")
DRAFT = Draft(prompt="a red circle", seconds=1, request_id="once")


@pytest.fixture
async def rooms(store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Rooms:
    settings = Settings(store=store.url, model=CAPABILITIES.model)
    catalog = Catalog([ServedModel(CAPABILITIES, DIGEST)], default=CAPABILITIES.model)
    metrics = PrometheusRecorder()
    built = await build(settings, store, catalog, http_address="127.0.0.1:1", metrics=metrics, now_ms=clock.now_ms)
    # It looks for the Director in the store, and every answer of the store is a break here.
    monkeypatch.setattr(built.link, "wake", lambda tenant, job: None)
    return built


async def _view(rooms: Rooms, job: str) -> object:
    return await rooms.videos.view(CALLER, job)


async def _page(rooms: Rooms, _job: str) -> object:
    return await rooms.videos.page(CALLER, size=10, token="")


async def _cancel(rooms: Rooms, job: str) -> object:
    return await rooms.videos.cancel(CALLER, job)


async def _create_again(rooms: Rooms, _job: str) -> object:
    return await rooms.creator.create(CALLER, DRAFT)


async def _create_resent(rooms: Rooms, _job: str) -> object:
    return await rooms.creator.create(CALLER, Draft(prompt="a red circle", seconds=1), resent=True)


def break_during(call: Callable[..., Awaitable[Any]], cache: RecordCache) -> Callable[..., Awaitable[Any]]:
    """The store answers, and before its answer is here the Director is heard again, with something left out."""

    async def broken(*given: Any) -> Any:
        try:
            return await call(*given)
        finally:
            cache.forget_running()
            cache.vouch()

    return broken


@pytest.mark.parametrize(
    ("way", "state"),
    [
        (_view, JobState.QUEUED),
        (_page, JobState.QUEUED),
        (_create_again, JobState.QUEUED),
        (_create_resent, JobState.QUEUED),
        (_cancel, JobState.RUNNING),
        (_view, JobState.RUNNING),
    ],
)
async def test_what_was_read_or_written_across_a_break_is_read_again(
    rooms: Rooms,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    way: Callable[[Rooms, str], Awaitable[object]],
    state: JobState,
) -> None:
    cache = rooms.videos._cache
    job = (await rooms.creator.create(CALLER, DRAFT)).record
    if state is not JobState.QUEUED:
        job = await Jobs(store).transition(job, state=state)
    with monkeypatch.context() as patch:
        for name in ("get", "swap", "put_if_absent"):
            patch.setattr(store, name, break_during(getattr(store, name), cache))
        await way(rooms, job.id)

    newest = await Jobs(store).get("default", job.id)
    other = JobState.RUNNING if newest.state is JobState.QUEUED else JobState.SUCCEEDED
    await Jobs(store).transition(newest, state=other)
    cache.vouch()

    assert (await rooms.videos.view(CALLER, job.id)).state is other


async def test_a_job_that_was_made_across_a_break_is_read_again(
    rooms: Rooms, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = rooms.videos._cache
    with monkeypatch.context() as patch:
        patch.setattr(store, "put_if_absent", break_during(store.put_if_absent, cache))
        job = (await rooms.creator.create(CALLER, DRAFT)).record

    await Jobs(store).transition(job, state=JobState.RUNNING)
    cache.vouch()

    assert (await rooms.videos.view(CALLER, job.id)).state is JobState.RUNNING
