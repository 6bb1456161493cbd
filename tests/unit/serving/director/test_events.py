"""The ring that watchers read."""

from __future__ import annotations

import asyncio

import pytest

from serving.director import events
from serving.director.events import Batch, Feed
from serving.jobs.record import JobRecord
from tests.unit.serving.director.conftest import Office

pytestmark = pytest.mark.anyio


async def _next(feed: Feed, cursor: int, epoch: int) -> Batch:
    async for batch in feed.watch(cursor, epoch, seconds=1):
        return batch
    raise AssertionError("the watch ended")


@pytest.fixture
async def record(office: Office) -> JobRecord:
    return await office.job()


async def test_a_watch_goes_on_where_it_was_left(record: JobRecord) -> None:
    feed = Feed(epoch=3)
    opened = await _next(feed, 0, 0)
    feed.wrote(record)
    feed.progress(record, "denoising", 4, 0)

    batch = await _next(feed, opened.cursor, 3)

    assert (batch.continuous, batch.epoch, len(batch.events)) == (True, 3, 2)
    assert JobRecord.decode(batch.events[0].record) == record
    assert (batch.events[1].stage, batch.events[1].steps_done) == ("denoising", 4)
    assert (await _next(feed, batch.cursor, 3)).events == ()


async def test_another_epochs_cursor_starts_anew_and_says_so(record: JobRecord) -> None:
    feed = Feed(epoch=3)
    feed.wrote(record)

    batch = await _next(feed, 1, 2)

    assert (batch.continuous, batch.events, batch.cursor) == (False, (), 1)


async def test_a_cursor_that_the_ring_has_passed_starts_anew_and_says_so(record: JobRecord) -> None:
    feed = Feed(epoch=1, capacity=2)
    for step in range(4):
        feed.progress(record, "denoising", step, 0)

    assert not (await _next(feed, 1, 1)).continuous
    kept = await _next(feed, 2, 1)
    assert (kept.continuous, [event.steps_done for event in kept.events]) == (True, [2, 3])


async def test_a_watcher_that_is_slower_than_the_ring_is_told_so(record: JobRecord) -> None:
    feed = Feed(epoch=1, capacity=2)
    watching = feed.watch(0, 1, seconds=5)
    await anext(watching)
    for step in range(4):
        feed.progress(record, "denoising", step, 0)

    batch = await anext(watching)

    assert (batch.continuous, batch.cursor) == (False, 4)


async def test_the_ring_is_bounded_in_bytes_too(record: JobRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "MOST_BYTES", 3 * len(record.encode()))
    feed = Feed(epoch=1)
    for version in range(10, 15):
        feed.wrote(record.model_copy(update={"version": version}))

    assert not (await _next(feed, 1, 1)).continuous
    kept = await _next(feed, 3, 1)
    assert (kept.continuous, [event.version for event in kept.events]) == (True, [13, 14])


async def test_what_was_read_before_a_write_and_comes_after_it_is_not_told(record: JobRecord) -> None:
    feed = Feed(epoch=1)
    feed.wrote(record.model_copy(update={"version": record.version + 1}))
    feed.wrote(record)
    made_anew = record.model_copy(update={"created_ms": record.created_ms + 1})
    feed.wrote(made_anew)
    assert feed.cursor == 2


async def test_a_beat_wakes_every_watcher_without_events() -> None:
    feed = Feed(epoch=1)
    watchers = [feed.watch(0, 1, seconds=5) for _ in range(3)]
    for watcher in watchers:
        await anext(watcher)
    waiting = [asyncio.ensure_future(anext(watcher)) for watcher in watchers]
    await asyncio.sleep(0)

    feed.beat()

    assert [batch.events for batch in await asyncio.gather(*waiting)] == [(), (), ()]


async def test_a_watch_ends_by_itself_and_when_the_feed_is_closed() -> None:
    feed = Feed(epoch=1)

    assert len([batch async for batch in feed.watch(0, 1, seconds=0)]) == 1
    watching = feed.watch(0, 1, seconds=60)
    await anext(watching)
    feed.close()
    assert [batch async for batch in watching] == []


async def test_why_jobs_wait_is_told_at_once_and_then_with_a_beat_when_it_has_changed() -> None:
    feed = Feed(epoch=1)
    feed.ranked({"tiny": {("studio", "vid_a"): "next"}})
    watching = feed.watch(0, 1, seconds=5)
    opened = await anext(watching)
    feed.ranked({"tiny": {("studio", "vid_a"): "next"}})
    feed.beat()
    same = await anext(watching)
    feed.ranked({"tiny": {("studio", "vid_b"): "next"}})
    feed.beat()
    other = await anext(watching)

    assert opened.whys == {("studio", "vid_a"): "next"}
    assert same.whys is None
    assert other.whys == {("studio", "vid_b"): "next"}


async def test_who_waits_for_a_stage_that_is_away_is_said_and_who_goes_on_is_not_among_them() -> None:
    goes_on, stands, waits = (("studio", name) for name in ("vid_a", "vid_b", "vid_c"))
    feed = Feed(epoch=1)
    feed.ranked({"tiny": {goes_on: "running", stands: "running", waits: "next"}})
    calm = await anext(feed.watch(0, 1, seconds=5))
    feed.held_up({stands: "the renderer is away"}, {"tiny": "the renderer is away"})
    troubled = await anext(feed.watch(0, 1, seconds=5))

    assert (calm.held, calm.away) == (set(), ())
    assert (troubled.held, troubled.away) == ({stands, waits}, ("tiny",))


async def test_however_often_the_queue_is_ordered_nothing_is_told_without_a_beat(record: JobRecord) -> None:
    feed = Feed(epoch=1)
    watching = feed.watch(0, 1, seconds=5)
    await anext(watching)
    feed.ranked({"tiny": {("studio", "vid_a"): "next"}})
    feed.progress(record, "denoising", 1, 0)

    assert (await anext(watching)).whys is None
    feed.beat()
    assert (await anext(watching)).whys == {("studio", "vid_a"): "next"}


async def test_a_watcher_that_missed_events_is_told_again_why_jobs_wait(record: JobRecord) -> None:
    feed = Feed(epoch=1, capacity=2)
    feed.ranked({"tiny": {("studio", "vid_a"): "next"}})
    watching = feed.watch(0, 1, seconds=5)
    await anext(watching)
    for step in range(3):
        feed.progress(record, "denoising", step, 0)
    behind = await anext(watching)

    assert not behind.continuous
    assert behind.whys == {("studio", "vid_a"): "next"}
