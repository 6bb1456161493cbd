"""Stages that are scaled by their backlog, on a Ray of their own: none when idle, several under a pile of jobs, fewer
while work still runs, none again; and no byte of any video tells."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator

import pytest

from serving.embedded import Embedded
from serving.jobs.history import EventKind
from serving.jobs.record import JobRecord
from serving.jobs.repository import Jobs
from serving.settings import Grpc, Http, Scale, Settings, Stages
from serving.store.open import open_store
from tests.integration.house import House, Video, fetch

MOST = 3
SECONDS = (15, 4, 4, 4, 4, 4)
"""One long video and some short ones: replicas go while the long one is still being made."""


@pytest.fixture(scope="module")
def scaled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A Longtake that may have no Denoiser and no Renderer at all."""
    settings = Settings(
        store=str(tmp_path_factory.mktemp("scaled") / "store"),
        grpc=Grpc(address="127.0.0.1:0"),
        http=Http(address="127.0.0.1:0"),
        stages=Stages(
            scale={"denoiser": Scale(min=0, max=MOST), "renderer": Scale(min=0, max=2)},
            backlog_s=4,
            down_delay_s=2,
            idle_s=4,
            engine_threads=1,
        ),
    )
    with Embedded(settings, logs=tmp_path_factory.mktemp("logs")) as embedded:
        ready = embedded.ready
        yield House(ready.grpc, store=settings.store, metrics=ready.metrics, pid=embedded.pid)


@pytest.mark.ray
@pytest.mark.timeout(600)
def test_replicas_follow_the_backlog_and_no_video_is_changed_by_it(scaled: House) -> None:
    def denoisers() -> int:
        return len(scaled.pids("denoiser"))

    assert (denoisers(), len(scaled.pids("renderer"))) == (0, 0)

    videos = [scaled.create(seconds=seconds, steps=50, seed=seed) for seed, seconds in enumerate(SECONDS)]
    _until(lambda: denoisers() == MOST, "the Denoisers come")
    _until(lambda: denoisers() < MOST, "the first Denoiser goes")
    assert scaled.get(videos[0]).state == Video.RUNNING
    ends = [scaled.made(video) for video in videos]

    _until(lambda: denoisers() == 0 and not scaled.pids("renderer"), "all are gone")
    again = [
        scaled.made(scaled.create(seconds=seconds, steps=50, seed=seed)) for seed, seconds in enumerate(SECONDS[:2])
    ]
    assert denoisers() >= 1
    for before, after in zip(ends, again, strict=False):
        assert fetch(before.url)[-20_000:] == fetch(after.url)[-20_000:]
    # Replicas were drained, not killed.
    happened = [event.kind for record in _records(scaled, [*ends, *again]) for event in record.events]
    assert EventKind.LOST not in happened


def _until(holds: Callable[[], bool], what: str) -> None:
    ends = time.monotonic() + 120
    while not holds():
        assert time.monotonic() < ends, what
        time.sleep(0.1)


def _records(house: House, videos: list[Video]) -> list[JobRecord]:
    async def read() -> list[JobRecord]:
        store = await open_store(house.store, probe=False)
        try:
            return [await Jobs(store).get("default", video.id) for video in videos]
        finally:
            await store.close()

    return asyncio.run(read())
