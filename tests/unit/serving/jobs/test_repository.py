"""Job records: created once, moved by compare-and-swap, listed newest first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from engines.models import family
from serving.errors import AlreadyExists, Conflict, Corrupt, FailedPrecondition, NotFound, StoreUnfit
from serving.jobs import repository
from serving.jobs.epoch import EpochLost, take_epoch
from serving.jobs.history import Event, EventKind, appended
from serving.jobs.ids import derived_id, new_id
from serving.jobs.record import TRANSITIONS, JobError, JobRecord, JobState
from serving.jobs.repository import Jobs, _active_key
from serving.plan import plan
from serving.requests import VideoRequest
from serving.store import keys
from serving.store.base import Listed, Store, Versioned
from serving.store.directory import DirectoryStore
from serving.store.open import open_store
from tests.unit.serving.later_version import read, rewrite

pytestmark = pytest.mark.anyio
CAN = family("sprite").capabilities


def record(job: str = "", created_ms: int = 1000, prompt: str = "", **fields: object) -> JobRecord:
    wanted = VideoRequest(model=CAN.model, prompt=prompt, seconds=1, aspect_ratio="1:1", resolution="480p", steps=8)
    made = plan(wanted, CAN, model_digest="d", seed=1)
    base = {"id": job or new_id("vid_"), "tenant": "a", "request": wanted, "plan": made, "created_ms": created_ms}
    return JobRecord.model_validate(base | fields)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = await open_store(str(tmp_path), probe=False)
    yield store
    await store.close()


@pytest.fixture
def jobs(store: Store) -> Jobs:
    return Jobs(store)


async def test_a_created_job_is_there_and_active(jobs: Jobs) -> None:
    made = (await jobs.create(record())).record
    assert await jobs.get("a", made.id) == made
    assert [entry.id async for entry in jobs.active()] == [made.id]
    assert made.version == 1


async def test_another_tenant_sees_nothing(jobs: Jobs) -> None:
    made = (await jobs.create(record())).record
    with pytest.raises(NotFound):
        await jobs.get("b", made.id)
    assert (await jobs.list("b", limit=5)).records == ()


@pytest.mark.parametrize("job", ["", "..", "vid_a/../../b", "vid_\n", "x" * 500, "vid_ü"])
async def test_any_text_as_id_is_just_not_found(jobs: Jobs, job: str) -> None:
    with pytest.raises(NotFound):
        await jobs.get("a", job)


async def test_a_resent_create_returns_the_same_job_and_lists_it_once(jobs: Jobs) -> None:
    job = derived_id("vid_", "a", "key")
    first = await jobs.create(record(job, 1000, idempotency_key="key"))
    again = await jobs.create(record(job, 2000, idempotency_key="key"))
    assert (first.new, again.new) == (True, False)
    assert again.record == first.record
    assert [found.id for found in (await jobs.list("a", limit=5)).records] == [job]


async def test_a_create_that_a_proxy_sent_twice_is_new(store: Store, tmp_path: Path) -> None:
    class SentTwice(DirectoryStore):
        async def put_if_absent(self, key: str, data: bytes | Path) -> bool:
            await super().put_if_absent(key, data)
            return await super().put_if_absent(key, data)

    made = await Jobs(SentTwice(tmp_path)).create(record())
    assert made.new
    assert [found.id async for found in Jobs(store).active()] == [made.record.id]


async def test_one_key_for_two_requests_names_the_difference(jobs: Jobs) -> None:
    job = derived_id("vid_", "a", "key")
    await jobs.create(record(job, prompt="a", idempotency_key="key"))
    with pytest.raises(AlreadyExists, match="differ in: prompt"):
        await jobs.create(record(job, prompt="b", idempotency_key="key"))


async def test_a_writer_that_read_before_another_wrote_loses(jobs: Jobs) -> None:
    made = (await jobs.create(record())).record
    running = await jobs.transition(made, state=JobState.RUNNING, epoch=1)
    with pytest.raises(Conflict):
        await jobs.transition(made, cancel_requested=True)
    assert (await jobs.get("a", made.id)) == running


async def test_many_writers_at_once_lose_no_change(jobs: Jobs) -> None:
    made = (await jobs.create(record())).record

    async def count() -> None:
        counted = False
        while not counted:
            with suppress(Conflict):
                found = await jobs.get("a", made.id)
                await jobs.transition(found, steps_done=found.steps_done + 1)
                counted = True

    await asyncio.gather(*(count() for _ in range(12)))
    assert (await jobs.get("a", made.id)).steps_done == 12


@pytest.mark.parametrize("state", [s for s in JobState if s.terminal and s is not JobState.DELETED])
async def test_terminal_states_are_final(jobs: Jobs, state: JobState) -> None:
    made = (await jobs.create(record())).record
    running = await jobs.transition(made, state=JobState.RUNNING)
    ended = await jobs.transition(running, state=state)
    for after in JobState:
        if after is not JobState.DELETED:
            with pytest.raises(FailedPrecondition):
                await jobs.transition(ended, state=after)
    assert TRANSITIONS[JobState.DELETED] == frozenset()


async def test_a_deleted_job_is_gone_for_good(jobs: Jobs) -> None:
    job = derived_id("vid_", "a", "key")
    made = (await jobs.create(record(job, idempotency_key="key"))).record
    ended = await jobs.transition(made, state=JobState.CANCELLED)
    await jobs.delete(ended)
    with pytest.raises(NotFound):
        await jobs.get("a", job)
    assert [entry async for entry in jobs.active()] == []
    with pytest.raises(FailedPrecondition, match="was deleted"):
        await jobs.create(record(job, idempotency_key="key"))


async def test_lists_are_newest_first_and_page(jobs: Jobs) -> None:
    made = [(await jobs.create(record(created_ms=1000 + i))).record for i in range(5)]
    first = await jobs.list("a", limit=3)
    second = await jobs.list("a", limit=3, token=first.next_token)
    assert [r.id for r in (*first.records, *second.records)] == [r.id for r in reversed(made)]
    assert second.next_token == ""


async def test_a_record_that_cannot_be_read_hides_no_other(jobs: Jobs, store: Store) -> None:
    old, strange = [(await jobs.create(record(created_ms=1000 + i, api_key_id="k"))).record for i in range(2)]
    (key,) = [entry.key async for entry in store.list("t/a/jobs/") if strange.id in entry.key]
    stored = await store.get(key)
    await store.swap(key, stored.data.replace(b'"queued"', b'"pondered"', 1), stored.version)

    assert [found.id for found in (await jobs.list("a", limit=5)).records] == [old.id]
    assert await jobs.newest_same("a", "k", old.request.fingerprint(), 500) == old


async def test_jobs_that_wait_are_put_in_order_without_listing_all_that_ended(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Counted:
        listed = 0

        def __getattr__(self, name: str) -> object:
            return getattr(store, name)

        async def list(self, prefix: str) -> AsyncIterator[Listed]:
            async for entry in store.list(prefix):
                self.listed += 1
                yield entry

    monkeypatch.setattr(repository, "BARREN", 10)
    counted = Counted()
    jobs = Jobs(counted)  # type: ignore[arg-type]
    waiting = [(await jobs.create(record(created_ms=at))).record for at in (1, 2, 300, 301)]
    gone = (await jobs.create(record(created_ms=4))).record
    await jobs.delete(await jobs.transition(gone, state=JobState.CANCELLED))
    for at in range(100, 250):
        await store.put_if_absent(keys.job_by_time("a", at, new_id("vid_")), b"")
    ids = [job.id for job in waiting]

    assert [keys.id_in(place) for place in await jobs.oldest_first("a", ids)] == ids
    assert counted.listed <= 13
    counted.listed = 0
    places = await jobs.oldest_first("a", [*ids, gone.id, new_id("vid_"), "stray"])
    assert [keys.id_in(place) for place in places] == ids
    assert counted.listed <= 13
    monkeypatch.setattr(repository, "AT_ONCE", 1)
    assert await jobs.oldest_first("a", [*ids, new_id("vid_")]) == places
    assert await jobs.oldest_first("a", []) == []


async def test_the_newest_equal_request_of_a_key_is_found_within_its_time(jobs: Jobs) -> None:
    old = (await jobs.create(record(created_ms=1_000, api_key_id="k"))).record
    fingerprint = old.request.fingerprint()
    assert await jobs.newest_same("a", "k", fingerprint, 500) == old
    assert await jobs.newest_same("a", "k", fingerprint, 2_000) is None
    assert await jobs.newest_same("a", "other", fingerprint, 500) is None
    new = (await jobs.create(record(created_ms=1_500, api_key_id="k"))).record
    assert await jobs.newest_same("a", "k", fingerprint, 500) == new


async def test_an_equal_request_of_before_is_found_as_long_as_it_goes_on(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def found(since_ms: int) -> JobRecord | None:
        return await jobs.newest_same("a", "k", going.request.fingerprint(), since_ms, going_since_ms=1_000)

    going = (await jobs.create(record(created_ms=1_000, api_key_id="k"))).record
    assert await found(5_000) == going
    newer = (await jobs.create(record(created_ms=2_000, api_key_id="k"))).record
    ended = await jobs.transition(newer, state=JobState.CANCELLED, finished_ms=5_000)
    assert await found(5_000) == ended, "it had not ended by then"
    assert await found(5_001) == going
    monkeypatch.setattr(repository, "MOST_OLDER", 1)
    assert await found(5_001) is None, "one is looked at, and it is the one that has ended"
    assert await found(2_000) == ended, "of later ones all are looked at"


async def test_a_new_director_ends_the_old_ones_epoch(store: Store) -> None:
    old = await take_epoch(store)
    await old.check()
    new = await take_epoch(store)
    assert new.number == old.number + 1
    with pytest.raises(EpochLost):
        await old.check()


async def test_a_resent_create_with_a_later_deadline_is_queued_once(jobs: Jobs) -> None:
    job = derived_id("vid_", "a", "key")
    await jobs.create(record(job, 1000, idempotency_key="key", deadline_ms=5000))
    await jobs.create(record(job, 2000, idempotency_key="key", deadline_ms=6000))
    assert [(entry.id, entry.deadline_ms) async for entry in jobs.active()] == [(job, 5000)]


async def test_a_resent_create_of_a_deleted_job_leaves_nothing_behind(jobs: Jobs, store: Store) -> None:
    job = derived_id("vid_", "a", "key")
    made = (await jobs.create(record(job, idempotency_key="key"))).record
    await jobs.delete(await jobs.transition(made, state=JobState.CANCELLED))
    with pytest.raises(FailedPrecondition, match="was deleted"):
        await jobs.create(record(job, idempotency_key="key"))
    assert [entry.key async for entry in store.list("") if not entry.key.startswith("t/a/jobs/")] == []


async def test_a_key_that_no_record_tells_of_leaves_the_active_list(jobs: Jobs) -> None:
    """A create with another priority and the same key was refused, and its client died before it cleaned up."""
    made = (await jobs.create(record("vid_" + "a" * 26, priority=5))).record
    await jobs._store.put_if_absent(_active_key(made.model_copy(update={"priority": 4})), b"")
    listed = [entry async for entry in jobs.active()]
    assert [entry.priority for entry in listed] == [4, 5]
    for entry in listed:
        await jobs.retire(entry)
    assert [entry async for entry in jobs.active()] == []


async def test_a_deleted_job_is_told_from_one_that_never_was(jobs: Jobs) -> None:
    made = (await jobs.create(record())).record
    assert await jobs.newest("a", made.id) == made
    await jobs.delete(await jobs.transition(made, state=JobState.CANCELLED))
    tombstone = await jobs.newest("a", made.id)
    assert tombstone is not None
    assert tombstone.state is JobState.DELETED
    assert await jobs.newest("a", new_id("vid_")) is None


async def test_a_transition_reads_nothing_that_was_just_read_or_written(jobs: Jobs, store: Store) -> None:
    made = (await jobs.create(record())).record
    found = await jobs.get("a", made.id)
    reads = 0
    get = store.get

    async def counted(key: str) -> Versioned:
        nonlocal reads
        reads += 1
        return await get(key)

    store.get = counted  # type: ignore[method-assign]
    running = await jobs.transition(found, state=JobState.RUNNING)
    await jobs.transition(running, steps_done=1)
    assert reads == 0

    with pytest.raises(Conflict):
        await jobs.transition(running, steps_done=2)
    assert reads == 1


async def test_what_another_writer_changed_since_it_was_read_is_a_conflict(jobs: Jobs, store: Store) -> None:
    made = (await jobs.create(record())).record
    found = await jobs.get("a", made.id)
    await Jobs(store).transition(made, cancel_requested=True)

    with pytest.raises(Conflict):
        await jobs.transition(found, state=JobState.RUNNING)

    assert (await jobs.get("a", made.id)).cancel_requested


class Refusing(DirectoryStore):
    """Refuses to write records."""

    async def put_if_absent(self, key: str, data: bytes | Path) -> bool:
        if "/jobs/" in key:
            raise StoreUnfit("refused")
        return await super().put_if_absent(key, data)


@pytest.mark.parametrize(
    ("made_of", "left"), [({}, 0), ({"idempotency_key": "mine"}, 2), ({"requeue_of": "vid_dead"}, 2)]
)
async def test_a_create_that_is_refused_leaves_nothing_unless_its_id_may_be_used_again(
    tmp_path: Path, made_of: dict[str, Any], left: int
) -> None:
    store = Refusing(tmp_path)
    await store.open()

    with pytest.raises(StoreUnfit):
        await Jobs(store).create(record(**made_of))

    assert len([entry async for entry in store.list("")]) == left


class Slow(DirectoryStore):
    """The record takes long to write; meanwhile the collector takes its key for one that was left behind."""

    took_s = 0.0

    async def put_if_absent(self, key: str, data: bytes | Path) -> bool:
        if "/jobs/" in key:
            async for entry in self.list("active/"):
                await self.delete(entry.key)
            self.took_s = 2 * repository.LONG_S
        return await super().put_if_absent(key, data)


@pytest.mark.parametrize("made_of", [{}, {"idempotency_key": "mine"}])
async def test_a_job_whose_create_took_long_is_on_the_active_list_though_its_key_was_collected_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made_of: dict[str, Any]
) -> None:
    store = Slow(tmp_path)
    await store.open()
    loop = asyncio.get_running_loop()
    clock = loop.time
    monkeypatch.setattr(loop, "time", lambda: clock() + store.took_s)

    made = (await Jobs(store).create(record(**made_of))).record

    assert [entry.key async for entry in store.list("active/")] == [_active_key(made)]


async def test_what_a_later_version_wrote_is_read_and_stays_in_every_swap(jobs: Jobs, store: Store) -> None:
    event = Event(kind=EventKind.CREATED, at_ms=1)
    made = (await jobs.create(record(events=(event,), error=JobError(code="A", message="b")))).record
    key = keys.job("a", made.id)
    for where in ("", "request", "plan", "plan.track", "plan.segments.0", "events.0", "error"):
        await rewrite(store, key, where, mood="calm", empty=None)

    found = await Jobs(store).get("a", made.id)
    running = await Jobs(store).transition(found, state=JobState.RUNNING, events=appended(found.events, event))
    await Jobs(store).transition(running, state=JobState.CANCELLED)

    after = await read(store, key)
    assert after["state"] == "cancelled"
    parts = (after, after["request"], after["plan"], after["plan"]["track"], after["events"][0], after["error"])
    assert [part["mood"] for part in (*parts, after["plan"]["segments"][0])] == ["calm"] * 7
    assert found.not_understood() == ("request.mood", "plan.mood", "plan.track.mood", "plan.segments.mood")


async def test_what_happened_to_a_job_in_a_later_versions_word_hides_nothing_and_stays(
    jobs: Jobs, store: Store
) -> None:
    created = Event(kind=EventKind.CREATED, at_ms=1)
    made = (await jobs.create(record(events=(created, created)))).record
    key = keys.job("a", made.id)
    await rewrite(store, key, "events.1", kind="paused_by_an_operator", by="somebody")

    found = await Jobs(store).get("a", made.id)
    assert [str(event.kind) for event in found.events] == ["created", "paused_by_an_operator"]
    assert found.events[0].kind is EventKind.CREATED
    assert found.not_understood() == (), "it decides nothing, so the job runs"
    await Jobs(store).transition(found, state=JobState.RUNNING, events=appended(found.events, created))

    after = (await read(store, key))["events"]
    assert [event["kind"] for event in after] == ["created", "paused_by_an_operator", "created"]
    assert after[1]["by"] == "somebody"


async def test_a_change_of_what_no_record_has_is_refused(jobs: Jobs) -> None:
    made = (await jobs.create(record())).record

    with pytest.raises(AssertionError, match="a record holds what its class has"):
        await jobs.transition(made, statte=JobState.RUNNING)


async def test_a_resent_create_is_the_same_as_long_as_it_uses_nothing_of_a_later_version(
    jobs: Jobs, store: Store
) -> None:
    job = derived_id("vid_", "a", "key")
    asked = record(job, idempotency_key="key")
    await jobs.create(asked)
    await rewrite(store, keys.job("a", job), "request", mood=None)
    assert not (await jobs.create(asked)).new
    assert (await jobs.get("a", job)).request.fingerprint() == asked.request.fingerprint()

    await rewrite(store, keys.job("a", job), "request", mood="calm")
    with pytest.raises(AlreadyExists, match="they differ in: mood"):
        await jobs.create(asked)


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("plan", {"steps": 0}),
        ("plan", {"segments": []}),
        ("plan", {"height": 0}),
        ("plan", {"width": -1}),
        ("plan.segments.0", {"latents": 0}),
        ("plan.segments.0", {"frames": 0}),
        ("", {"steps_done": -1}),
        ("", {"priority": -1}),
        ("", {"priority": 10}),
        ("", {"created_ms": -1}),
        ("", {"deadline_ms": 10**14}),
    ],
)
async def test_a_record_that_no_job_can_have_is_not_read(
    jobs: Jobs, store: Store, where: str, says: dict[str, Any]
) -> None:
    made = (await jobs.create(record())).record
    await rewrite(store, keys.job("a", made.id), where, **says)
    with pytest.raises(Corrupt, match=next(iter(says))):
        await jobs.get("a", made.id)
    assert (await jobs.list("a", limit=9)).records == ()
