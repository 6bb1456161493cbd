"""Finished videos read as one file: any part of it, from real encoded segments."""

from __future__ import annotations

import random

import pytest

from serving.errors import FailedPrecondition
from serving.frontdoor.content.films import Film, Films
from serving.frontdoor.content.ranges import ByteRange
from serving.frontdoor.content.urls import UrlSigner
from serving.frontdoor.edge.metrics import PrometheusRecorder
from serving.frontdoor.follow.records import RecordCache, Records
from serving.jobs.record import JobState
from serving.jobs.repository import Jobs
from serving.media.virtual import Mark, read_signed_box
from serving.store.base import Store
from serving.store.blobs import Blobs
from tests.unit.serving.conftest import Clock
from tests.unit.serving.frontdoor.content.film_builders import finished

pytestmark = pytest.mark.anyio


@pytest.fixture
def films(store: Store, clock: Clock) -> Films:
    records = Records(Jobs(store), RecordCache(clock=clock.seconds), PrometheusRecorder())
    return Films(store, records, UrlSigner("5e" * 32, public_url="http://x", ttl_s=60))


async def read(films: Films, film: Film, start: int, stop: int) -> bytes:
    return b"".join([piece async for piece in films.read("default", film, ByteRange(start, stop))])


async def test_any_range_is_that_part_of_the_whole(store: Store, films: Films) -> None:
    record, made = await finished(store, 3)
    film = await films.of(record)

    whole = await read(films, film, 0, film.size)

    blobs = Blobs(store, "default")
    parts = [part for manifest in made for part in manifest.parts]
    media = b"".join([await blobs.get(part.blob) for part in parts])
    assert whole == film.file.header + media
    edges = [0, 1, len(film.file.header), film.size]
    for part in parts:
        edges.append(edges[2] + part.size)
    drawn = random.Random(7)
    for _ in range(60):
        start, stop = sorted(min(film.size, max(0, drawn.choice(edges) + drawn.randint(-2, 2))) for _ in range(2))
        assert await read(films, film, start, stop) == whole[start:stop], (start, stop)


async def test_a_film_carries_the_mark_of_its_video_and_head(store: Store, films: Films) -> None:
    record, made = await finished(store, 2)

    film = await films.of(record)

    key = UrlSigner("5e" * 32, public_url="http://x", ttl_s=60).box_key
    assert read_signed_box(film.file.header, key) == Mark(video=record.id, manifest=made[-1].digest())


async def test_the_same_head_in_two_videos_is_two_films(store: Store, films: Films) -> None:
    record, _ = await finished(store, 1)
    other = record.model_copy(update={"id": "vid_" + "b" * 26})

    assert (await films.of(record)).etag != (await films.of(other)).etag


async def test_only_a_finished_video_has_a_film(store: Store, films: Films) -> None:
    record, _ = await finished(store, 1)

    with pytest.raises(FailedPrecondition, match="running"):
        await films.of(record.model_copy(update={"state": JobState.RUNNING}))
