"""What a watch tells of a segment that is still being made."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from serving.frontdoor.follow.records import RecordCache, Records
from serving.frontdoor.follow.views import LiveProgress
from serving.frontdoor.follow.watch import PreviewFrame, VideoChanged, WatchEvent, watch
from serving.jobs.record import JobRecord, JobState
from serving.jobs.repository import Jobs
from serving.metrics import Unrecorded
from serving.requests import Kind
from serving.store.base import Store
from serving.store.blobs import Blobs
from tests.unit.serving.conftest import Clock
from tests.unit.serving.frontdoor.builders import record, request

pytestmark = pytest.mark.anyio


class House:
    """A job that runs, whoever watches it, and what the Director tells of it."""

    def __init__(self, store: Store, clock: Clock, running: JobRecord) -> None:
        self.store = store
        self.running = running
        self.cache = RecordCache(clock=clock.seconds)
        self.cache.put(running)
        self.cache.vouch()

    def watched(self, *, previews: bool = True) -> AsyncIterator[WatchEvent]:
        records = Records(Jobs(self.store), self.cache, Unrecorded())
        return watch(records, self.store, self.running.tenant, self.running.id, cursor="", previews=previews)

    async def comes_to(self, step: int, segment: int = 0, *, shows: bytes = b"") -> None:
        digest = await Blobs(self.store, self.running.tenant).put(shows) if shows else ""
        progress = LiveProgress("denoising", step, segment, digest)
        self.cache.advance(self.running.key, self.running.version, progress)

    def ends(self) -> None:
        self.cache.put(self.running.model_copy(update={"state": JobState.CANCELLED, "version": 9}))


@pytest.fixture
async def house(store: Store, clock: Clock) -> House:
    """Of two images, one of which is made."""
    asked = request(kind=Kind.IMAGE, seconds=0, resolution="1k", images=2)
    running = record(request=asked, state=JobState.RUNNING, version=3, images=("d" * 64,), steps_done=4)
    return House(store, clock, running)


async def test_a_segment_that_is_being_made_is_shown_once_each_time_it_was_drawn(house: House) -> None:
    events = house.watched()
    assert isinstance(await anext(events), VideoChanged)
    told: list[bytes] = []
    for step, shows in ((5, b""), (6, b"one"), (7, b"one"), (8, b"two")):
        await house.comes_to(step, 1, shows=shows)
        changed = await anext(events)
        assert isinstance(changed, VideoChanged)
        if shows not in [b"", *told]:
            drawn = await anext(events)
            assert isinstance(drawn, PreviewFrame)
            assert (drawn.png, drawn.draft, drawn.segment_index, drawn.cursor) == (shows, True, 1, changed.cursor)
            told.append(shows)
    house.ends()
    assert [type(event) async for event in events] == [VideoChanged]


async def test_what_is_made_is_drawn_no_more(house: House) -> None:
    await house.comes_to(4, 0, shows=b"of the first")
    events = house.watched()
    assert isinstance(await anext(events), VideoChanged)
    house.ends()
    assert [type(event) async for event in events] == [VideoChanged]


async def test_who_does_not_ask_is_shown_nothing(house: House) -> None:
    await house.comes_to(5, 1, shows=b"one")
    events = house.watched(previews=False)
    assert isinstance(await anext(events), VideoChanged)
    await house.comes_to(6, 1, shows=b"two")
    assert isinstance(await anext(events), VideoChanged)
    house.ends()
    assert [type(event) async for event in events] == [VideoChanged]
