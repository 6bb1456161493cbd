"""Dead letters are run again as what they were, once, and whatever else is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from serving.errors import FailedPrecondition, ResourceExhausted
from serving.frontdoor.create.catalog import Catalog, ServedModel
from serving.frontdoor.create.drafts import Draft
from serving.frontdoor.edge.auth import Caller
from serving.frontdoor.requeue import Wanted
from serving.frontdoor.rooms import Rooms, build
from serving.jobs.dead import DeadLetters
from serving.jobs.ids import derived_id
from serving.jobs.record import JobError, JobRecord, JobState
from serving.metrics import Unrecorded
from serving.settings import Admission, Settings
from serving.store import keys
from serving.store.base import Store
from tests.unit.serving.conftest import Clock
from tests.unit.serving.frontdoor.builders import CAPABILITIES, DIGEST

pytestmark = pytest.mark.anyio
TENANT = "default"
CALLER = Caller(tenant=TENANT, api_key_id="key_1", name="test")


@dataclass
class Door:
    """A front door without servers, and its dead letters."""

    rooms: Rooms
    store: Store
    clock: Clock

    async def make(self, **fields: Any) -> JobRecord:
        draft = Draft(**{"prompt": "a red circle", "seconds": 1, **fields})
        return (await self.rooms.creator.create(CALLER, draft)).record

    async def dead(self, **fields: Any) -> JobRecord:
        record = await self.make(**fields)
        await DeadLetters(self.store).bury(record, stage="denoiser", why="it crashed", quarantine=False)
        error = JobError(code="WORKERS_CRASHED", message="it crashed")
        ended = await self.rooms.jobs.transition(
            record, state=JobState.FAILED, error=error, finished_ms=self.clock.now_ms()
        )
        await self.rooms.jobs.retire(ended)
        return ended

    async def again(self, dead: JobRecord) -> JobRecord:
        return await self.rooms.dead_jobs.requeue(TENANT, dead.id)

    async def letters(self) -> set[str]:
        return set(await self.rooms.dead_jobs.names(TENANT, 100))


@pytest.fixture
async def door(store: Store) -> Door:
    clock = Clock()
    settings = Settings(store=store.url, model=CAPABILITIES.model, admission=Admission(max_active_jobs=4))
    catalog = Catalog([ServedModel(CAPABILITIES, DIGEST)], default=CAPABILITIES.model)
    address = "127.0.0.1:1"
    rooms = await build(settings, store, catalog, http_address=address, metrics=Unrecorded(), now_ms=clock.now_ms)
    return Door(rooms, store, clock)


async def test_a_video_that_is_made_again_lives_as_long_and_is_kept_as_the_dead_one_was(door: Door) -> None:
    dead, plain = await door.dead(ttl_ms=3_600_000, deadline_ms=door.clock.ms + 1_000_000), await door.dead()
    await door.store.put_if_absent(keys.keep_note(TENANT, dead.id), b'{"filename": "cat.mp4", "later": 1}')
    door.clock.ms += 7_200_000

    again = await door.again(dead)

    assert (again.created_ms, again.expires_ms) == (door.clock.ms, door.clock.ms + 3_600_000)
    assert again.deadline_ms is None
    note = await door.store.get(keys.keep_note(TENANT, again.id))
    assert note.data == b'{"filename": "cat.mp4", "later": 1}'
    again = await door.again(plain)
    assert again.expires_ms is None
    assert await door.store.stat(keys.keep_note(TENANT, again.id)) is None


async def test_a_full_queue_is_not_in_the_way_of_a_dead_letter(door: Door) -> None:
    dead = await door.dead()
    for _ in range(3):
        await door.make()
    with pytest.raises(ResourceExhausted):
        await door.make()
    assert (await door.again(dead)).state is JobState.QUEUED


async def test_a_request_id_is_never_in_the_way_of_a_dead_letter(door: Door) -> None:
    dead = await door.dead()
    users = await door.make(request_id=f"requeue/{dead.id}", prompt="a blue square")

    again = await door.again(dead)

    assert (again.request, again.requeue_of) == (dead.request, dead.id)
    assert again.id != users.id
    assert await door.again(dead) == again


async def test_what_an_earlier_version_had_run_again_is_not_run_twice(door: Door) -> None:
    dead = await door.dead()
    early = dead.model_copy(update={
        "id": derived_id("vid_", TENANT, f"requeue/{dead.id}"), "requeue_of": dead.id, "state": JobState.QUEUED
    })  # fmt: skip
    await door.rooms.jobs.create(early)
    assert (await door.again(dead)).id == early.id
    assert await door.letters() == set()


async def test_one_that_cannot_be_run_again_is_told_and_keeps_no_other(door: Door) -> None:
    letters = [await door.dead() for _ in range(3)]
    bad, *sound = sorted(letter.id for letter in letters)
    broken = keys.job(TENANT, derived_id("vid_", f"{TENANT}/requeue", bad))
    await door.store.put_if_absent(broken, b"of a later version")

    page = await door.rooms.dead_jobs.requeue_page(TENANT, Wanted(), after="", size=20, only_told=False)

    assert [found.dead for found in page.found] == [bad, *sound]
    assert [bool(found.job) for found in page.found] == [False, True, True]
    assert "cannot be read" in page.found[0].why_not
    assert await door.letters() == {bad}


async def test_one_that_was_run_again_and_deleted_is_a_dead_letter_no_more(door: Door) -> None:
    dead = await door.dead()
    again = await door.again(dead)
    await door.rooms.videos.cancel(CALLER, again.id)
    await door.rooms.videos.delete(CALLER, again.id)
    await DeadLetters(door.store).bury(dead, stage="denoiser", why="its requeue was interrupted", quarantine=False)
    page = await door.rooms.dead_jobs.requeue_page(TENANT, Wanted(), after="", size=20, only_told=False)
    assert (page.found, await door.letters()) == ((), set())
    with pytest.raises(FailedPrecondition, match=f"{again.id}, which was deleted"):
        await door.again(dead)
