"""Videos that one call deletes while another one shows them."""

from __future__ import annotations

import pytest

from serving.errors import NotFound
from serving.frontdoor.edge.auth import Caller
from serving.frontdoor.follow.director_link import DirectorLink
from serving.frontdoor.follow.records import RecordCache, Records
from serving.frontdoor.videos import Videos
from serving.jobs.record import JobRecord, JobState
from serving.jobs.repository import Jobs
from serving.metrics import Unrecorded
from serving.store import keys
from serving.store.base import Store, Versioned
from serving.traces.spans import UNTRACED
from tests.unit.serving.conftest import Clock
from tests.unit.serving.frontdoor.builders import record

pytestmark = pytest.mark.anyio
CALLER = Caller(tenant="default", api_key_id="", name="test")
OLD, MIDDLE, NEW = (f"vid_{letter * 26}" for letter in "abc")


class Meddled:
    """A store in which something is deleted just after another record was read."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        jobs, cache = Jobs(self), RecordCache(clock=clock.seconds)  # type: ignore[arg-type]
        self.jobs = jobs
        self.videos = Videos(
            store=store,
            jobs=jobs,
            cache=cache,
            records=Records(jobs, cache, Unrecorded()),
            link=DirectorLink(store, cache, Unrecorded(), address=None),
            traces=UNTRACED,
            now_ms=clock.now_ms,
        )
        self.meanwhile: tuple[str, str] | None = None
        """Which video's read deletes which one."""

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    async def get(self, key: str) -> Versioned:
        found = await self._store.get(key)
        if self.meanwhile is not None and key == keys.job("default", self.meanwhile[0]):
            gone, self.meanwhile = self.meanwhile[1], None
            await self.videos.delete(CALLER, gone)
        return found

    async def cancelled(self, job: str, created_ms: int) -> JobRecord:
        waiting = (await self.jobs.create(record(job, created_ms=created_ms))).record
        return await self.jobs.transition(waiting, state=JobState.CANCELLED, cancel_requested=True)


@pytest.fixture
async def door(store: Store, clock: Clock) -> Meddled:
    door = Meddled(store, clock)
    for created_ms, job in enumerate((OLD, MIDDLE, NEW), 1):
        await door.cancelled(job, created_ms)
    return door


async def test_a_list_leaves_out_what_is_deleted_while_it_is_read(door: Meddled) -> None:
    door.meanwhile = (MIDDLE, NEW)

    views, token = await door.videos.page(CALLER, size=2, token="")

    assert [view.record.id for view in views] == [MIDDLE]
    rest, end = await door.videos.page(CALLER, size=2, token=token)
    assert ([view.record.id for view in rest], end) == ([OLD], "")


async def test_a_cancel_of_what_is_deleted_meanwhile_finds_no_video(door: Meddled) -> None:
    door.meanwhile = (OLD, OLD)

    with pytest.raises(NotFound):
        await door.videos.cancel(CALLER, OLD)
