"""Stages that are scaled by their backlog, on a Ray of their own: none when idle, several under a pile of jobs, fewer
while work still runs, none again; and no byte of any video tells."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from serving.gen.longtake.v1 import videos_pb2
from serving.jobs.history import EventKind
from serving.jobs.record import JobRecord
from serving.jobs.repository import Jobs
from serving.local.embedded import Embedded
from serving.settings import Grpc, Http, Scale, Settings, Stages
from serving.store.open import open_store
from tests.integration.house import House, Video, fetch

MOST = 3
LONG: dict[str, Any] = {"seconds": 10, "steps": 50, "seed": 7}


@pytest.fixture(scope="module")
def scaled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A Longtake that may have no Denoiser and no Renderer at all."""
    settings = Settings(
        store=str(tmp_path_factory.mktemp("scaled") / "store"),
        grpc=Grpc(address="127.0.0.1:0"),
        http=Http(address="127.0.0.1:0"),
        stages=Stages(
            scale={"denoiser": Scale(min=0, max=MOST), "renderer": Scale(min=0, max=2)},
            backlog_s=30,
            down_delay_s=3,
            idle_s=2,
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

    # Up: a pile of work that asks for all of them.
    pile = [scaled.create(**LONG) for _ in range(30)]
    _until(lambda: denoisers() == MOST, "the Denoisers come")
    # Down: most of it is taken back, and Denoisers go while the rest is being made on all of them.
    for video in pile:
        scaled.videos.CancelVideo(videos_pb2.CancelVideoRequest(id=video.id))
    videos = [scaled.made(video) for video in [scaled.create(**LONG) for _ in range(4)]]
    records = _records(scaled, videos)
    assert any(len(_denoisers(record)) > 1 for record in records), "no job had to move"
    # They were drained, not killed.
    assert EventKind.LOST not in {event.kind for record in records for event in record.events}

    _until(lambda: denoisers() == 0 and not scaled.pids("renderer"), "all are gone")
    # All asked for the same, so all are what it is when one replica makes it alone.
    alone = scaled.made(scaled.create(**LONG))
    assert len(_denoisers(*_records(scaled, [alone]))) == denoisers() == 1
    media = fetch(alone.url)
    media = media[media.index(b"moof") :]
    assert len(media) > 20_000
    for video in videos:
        assert fetch(video.url).endswith(media)


def _denoisers(record: JobRecord) -> set[str]:
    """The replicas that denoised its segments."""
    spans = [span for event in record.events for span in event.spans]
    return {span.replica for span in spans if span.stage == "denoising"}


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
