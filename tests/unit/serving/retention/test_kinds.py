"""Every kind of key, once as garbage and once as needed."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from serving.errors import FailedPrecondition, NotFound
from serving.frontdoor.surfaces.xai.keep import Keeper, KeepOptions
from serving.jobs.dead import DeadLetters
from serving.jobs.history import Event, EventKind
from serving.jobs.ids import derived_id
from serving.jobs.lease import Leases
from serving.jobs.record import JobRecord, JobState
from serving.metrics import Metric, Unrecorded
from serving.retention.collect import collect_once, tenants
from serving.settings import Retention
from serving.stages.checkpoint import CheckpointedWork, Checkpoints
from serving.store.base import Listed
from serving.store.keys import file_by_time
from serving.store.open import open_store
from tests.unit.serving.later_version import grown, rewrite
from tests.unit.serving.retention.clocked_store import Clock, ClockedStore
from tests.unit.serving.retention.conftest import Collect
from tests.unit.serving.retention.stored_videos import TENANT, StoredVideos

pytestmark = pytest.mark.anyio
WEEK = 7 * 24.0


def digest_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


async def checkpoint(store: ClockedStore, record: JobRecord, step: int = 1) -> str:
    work = CheckpointedWork(TENANT, record.id, 0, 1, "fingerprint")
    return await Checkpoints(store).write(work, step, np.zeros((1, 2), np.float32), np.zeros(3, np.float32))


async def test_checkpoints_and_leases_go_with_their_jobs(
    videos: StoredVideos, store: ClockedStore, clock: Clock, collect: Collect
) -> None:
    running, done = await videos.start(await videos.accept()), await videos.start(await videos.accept())
    for record in (running, done):
        await checkpoint(store, record)
        await Leases(store).take(record.id, 1, epoch=1, holder="replica")
    await videos.end(done, JobState.FAILED)
    await collect()
    assert len(store.keys("leases/")) == len(store.keys(f"t/{TENANT}/checkpoints/")) == 2
    clock.advance(48)
    report = await collect()
    assert report.of("leases").live.keys == report.of("leases").collected.keys == 1
    assert report.of("checkpoints").live.keys == report.of("checkpoints").collected.keys == 1
    assert store.keys("leases/") == [f"leases/{running.id}/1"]


async def test_a_dead_letter_stays_until_its_video_is_deleted(
    videos: StoredVideos, store: ClockedStore, clock: Clock, collect: Collect
) -> None:
    crashed = await videos.make(await videos.accept(picture=b"evil"), fail_after=0)
    dead = DeadLetters(store)
    await dead.bury(crashed, stage="conditioner", why="it crashed", quarantine=True)
    clock.advance(2 * WEEK)
    await collect()
    assert [job async for job in dead.of(TENANT)] == [crashed.id]
    await videos.delete(crashed.id)
    clock.advance(2)
    await collect()
    assert [job async for job in dead.of(TENANT)] == []
    assert crashed.request.first_frame is not None
    assert await dead.quarantined(TENANT, crashed.request.first_frame) is None


async def test_a_quarantine_stands_for_a_week_whatever_becomes_of_its_video(
    videos: StoredVideos, store: ClockedStore, clock: Clock, collect: Collect
) -> None:
    crashed = await videos.make(await videos.accept(picture=b"evil"), fail_after=0)
    dead = DeadLetters(store)
    await dead.bury(crashed, stage="conditioner", why="it crashed", quarantine=True)
    await videos.delete(crashed.id)
    clock.advance(2)
    await collect()
    await collect()
    assert crashed.request.first_frame is not None
    assert await dead.quarantined(TENANT, crashed.request.first_frame) is not None
    clock.advance(WEEK)
    await collect()
    assert await dead.quarantined(TENANT, crashed.request.first_frame) is None


async def test_a_cache_is_emptied_when_it_is_old_and_its_blobs_a_margin_later(
    videos: StoredVideos, store: ClockedStore, clock: Clock, collect: Collect
) -> None:
    await videos.delete((await videos.finished(picture=b"picture")).id)
    clock.advance(29 * 24)
    report = await collect()
    assert report.of("caches").live.keys == 1
    assert report.of("blobs").live.keys == 2, "the encoded picture, and the latent that it names"
    clock.advance(25)
    report = await collect()
    assert report.of("caches").collected.keys == 1
    assert len(store.keys(f"t/{TENANT}/blobs/")) == 2, "an attempt may have found them a moment before"
    clock.advance(2)
    assert (await collect()).of("blobs").collected.keys == 2
    assert store.keys("t/") == []
    await videos.whole((await videos.finished(picture=b"picture")).id)


async def test_an_attempt_keeps_what_it_took_from_a_cache(
    videos: StoredVideos, store: ClockedStore, clock: Clock, collect: Collect
) -> None:
    await videos.delete((await videos.finished(picture=b"picture", seed=1)).id)
    clock.advance(31 * 24)
    running = await videos.start(await videos.accept(picture=b"picture", seed=2))
    reference = await videos._reference(running)
    for _ in range(3):
        await collect()
        clock.advance(24)
    assert store.keys(f"t/{TENANT}/cache/") == []
    manifest = await videos._segment(running, None, reference)
    running = await videos.jobs.transition(running, segments=(manifest.digest(),))
    await videos.end(running, JobState.SUCCEEDED)
    await collect()
    await videos.whole(running.id)


async def test_names_that_lead_nowhere_go(
    videos: StoredVideos, store: ClockedStore, clock: Clock, collect: Collect
) -> None:
    for lost in (await videos.accept(), await videos.accept(key="mine"), await videos.accept(requeue_of="vid_dead")):
        await store.delete(f"t/{TENANT}/jobs/{lost.id}")  # as if the create had died before its record
    file = await videos.keep_file(b"file")
    await store.delete(f"t/{TENANT}/files/{file.id}")
    await store.put_if_absent("probe/a/race", b"left by a probe that was killed")
    clock.advance(2)
    await collect()
    assert store.keys("t/") == store.keys("probe/") == []
    assert len(store.keys("active/")) == 2, (
        "a create sent again, and a dead letter run again, would use these very keys"
    )
    clock.advance(WEEK)
    await collect()
    assert store.keys() == ["runtime/sweep"]


async def test_the_active_key_of_a_job_that_has_ended_goes(
    videos: StoredVideos, store: ClockedStore, clock: Clock, collect: Collect
) -> None:
    running = await videos.start(await videos.accept())
    ended = await videos.start(await videos.accept())
    await videos.jobs.transition(ended, state=JobState.FAILED, finished_ms=clock())  # and died before it was retired
    clock.advance(2)
    report = await collect()
    assert [job.id async for job in videos.jobs.active()] == [running.id]
    assert report.of("lists").collected.keys == 1


async def test_a_note_to_keep_a_result_goes_with_its_job(
    videos: StoredVideos, store: ClockedStore, clock: Clock, collect: Collect
) -> None:
    video = await videos.finished()
    keeper = Keeper(store, videos.files, None)  # type: ignore[arg-type]  # it signs nothing here
    await keeper.note(video, KeepOptions(filename="a.mp4"))
    clock.advance(24)
    await collect()
    assert len(store.keys(f"t/{TENANT}/keep/")) == 1
    await videos.delete(video.id)
    clock.advance(2)
    await collect()
    assert store.keys(f"t/{TENANT}/keep/") == []


async def test_a_kept_result_that_was_deleted_is_not_made_again_while_its_video_lives(
    videos: StoredVideos, store: ClockedStore, clock: Clock, collect: Collect
) -> None:
    video = await videos.finished()
    of_video = {"id": derived_id("file_", TENANT, video.id), "video": video.id, "sha256": None}
    file = await videos.keep_file(b"", **of_video)
    other = await videos.keep_file(b"upload")
    for deleted in (file, other):
        await videos.files.delete(TENANT, deleted.id)
    clock.advance(24)
    await collect()
    assert store.keys(f"t/{TENANT}/files/") == [f"t/{TENANT}/files/{file.id}"]
    await videos.delete(video.id)
    clock.advance(24)
    await collect()
    assert store.keys("t/") == []


async def test_the_entry_of_an_interrupted_keep_goes_and_that_of_its_file_stays(
    videos: StoredVideos, store: ClockedStore, clock: Clock, collect: Collect
) -> None:
    file = await videos.keep_file(b"a picture")
    await store.put_if_absent(file_by_time(TENANT, file.created_ms - 1500, file.id), b"")
    clock.advance(24)
    await collect()
    assert store.keys(f"t/{TENANT}/files-by-time/") == [file_by_time(TENANT, file.created_ms, file.id)]


async def test_an_idempotency_key_is_good_for_a_week_after_its_video_was_deleted(
    videos: StoredVideos, store: ClockedStore, clock: Clock, collect: Collect
) -> None:
    video = await videos.finished(key="k")
    await videos.delete(video.id)
    clock.advance(WEEK - 1)
    await collect()
    with pytest.raises(FailedPrecondition, match="use a new key"):
        await videos.accept(key="k")
    assert len(store.keys("t/")) == 1
    clock.advance(2)
    await collect()
    assert store.keys("t/") == []
    again = await videos.finished(key="k")
    assert again.id == video.id
    clock.advance(24)
    await collect()
    await videos.whole(again.id)


async def test_the_installations_own_keys_are_never_touched(
    store: ClockedStore, clock: Clock, collect: Collect
) -> None:
    keys = ["engines/blobs/1", "runtime/director-token", "runtime/epoch", "t/a/something-new/1"]
    for key in keys:
        await store.put_if_absent(key, b"x")
    clock.advance(24 * 365)
    await collect()
    assert store.keys() == keys


async def test_a_tenant_with_a_record_that_cannot_be_read_is_left_alone(
    videos: StoredVideos, store: ClockedStore, clock: Clock, collect: Collect
) -> None:
    other = StoredVideos(store, clock, "other")
    await other.blobs.put(b"garbage")
    await videos.blobs.put(b"garbage")
    await store.put_if_absent(f"t/{TENANT}/jobs/vid_{'a' * 26}", b'{"written": "by a later version"}')
    clock.advance(24)
    report = await collect()
    assert [(damage.tenant, damage.key) for damage in report.damaged] == [(TENANT, f"t/{TENANT}/jobs/vid_{'a' * 26}")]
    assert len(store.keys(f"t/{TENANT}/blobs/")) == 1
    assert store.keys("t/other/") == []


async def test_of_many_damaged_keys_a_hundred_are_named_and_each_tenant(store: ClockedStore, collect: Collect) -> None:
    for tenant, count in (("a", 150), ("b", 2)):
        for number in range(count):
            await store.put_if_absent(f"t/{tenant}/jobs/vid_{number:026d}", b"{}")
    report = await collect()
    named = [damage.tenant for damage in report.damaged]
    assert (named.count("a"), named.count("b"), report.damaged_besides) == (100, 1, 51)


async def test_a_missing_manifest_stops_the_collection_of_its_tenant(
    videos: StoredVideos, store: ClockedStore, clock: Clock, collect: Collect
) -> None:
    video = await videos.finished(seconds=2)
    await store.delete(f"t/{TENANT}/segments/{video.segments[0]}")
    clock.advance(24)
    before = store.keys("t/")
    assert [damage.key for damage in (await collect()).damaged] == [f"t/{TENANT}/segments/{video.segments[0]}"]
    assert store.keys("t/") == before


async def test_a_store_that_tells_no_ages_loses_nothing(
    videos: StoredVideos, store: ClockedStore, clock: Clock
) -> None:
    await videos.blobs.put(b"garbage")
    clock.advance(24)

    class Ageless(ClockedStore):
        async def list(self, prefix: str, *, after: str = "", limit: int | None = None) -> AsyncIterator[Listed]:
            async for entry in super().list(prefix, after=after, limit=limit):
                yield Listed(entry.key, entry.size)

    ageless = Ageless(store._root, clock)
    report = await collect_once(ageless, Retention(), now_ms=clock)
    assert (report.of("blobs").young.keys, report.of("blobs").collected.keys) == (1, 0)


async def test_what_went_is_counted(videos: StoredVideos, store: ClockedStore, clock: Clock) -> None:
    class Counted(Unrecorded):
        def __init__(self) -> None:
            self.sums: Counter[tuple[str, str]] = Counter()

        def add(self, metric: Metric, amount: float = 1.0, /, **labels: str) -> None:
            self.sums[metric.name, labels["kind"]] += int(amount)

    await videos.blobs.put(b"12345")
    clock.advance(24)
    counted = Counted()
    await collect_once(store, Retention(), now_ms=clock, metrics=counted, dry_run=True)
    assert not counted.sums
    await collect_once(store, Retention(), now_ms=clock, metrics=counted)
    assert counted.sums == {
        ("longtake_collected_keys_total", "blobs"): 1,
        ("longtake_collected_bytes_total", "blobs"): 5,
    }


async def test_every_tenant_is_found(tmp_path: Path) -> None:
    store = await open_store(str(tmp_path), probe=False)
    names = ["a", "a-b", "a0", "aa", "b", "zz"]
    for name in names:
        for number in range(3):
            await store.put_if_absent(f"t/{name}/blobs/{number}", b"")
    assert sorted([tenant async for tenant in tenants(store)]) == names
    with pytest.raises(NotFound):
        await store.get("runtime/sweep")


class FolderByFolder(ClockedStore):
    """Walks as some servers do: `acme/` before `acme-2/`."""

    by_bytes = False
    """Whether it leaves out what is before `after` by the bytes of the keys, as others do."""

    async def list(self, prefix: str, *, after: str = "", limit: int | None = None) -> AsyncIterator[Listed]:
        def place(key: str) -> tuple[str, ...]:
            return tuple(key.split("/"))

        found = sorted([entry async for entry in super().list(prefix)], key=lambda entry: place(entry.key))
        behind = [e for e in found if (e.key > after if self.by_bytes else place(e.key) > place(after))]
        for entry in behind[:limit]:
            yield entry


@pytest.mark.parametrize("by_bytes", [False, True])
async def test_every_tenant_is_found_whatever_order_a_server_lists_in(
    store: ClockedStore, clock: Clock, by_bytes: bool
) -> None:
    names = ["a", "a-", "a-b", "a-b-c", "acme", "acme-2", "acme-2-3", "acme2", "b", "zeta", "zeta-1"]
    for name in names:
        await store.put_if_absent(f"t/{name}/blobs/1", b"")
    walking = FolderByFolder(store._root, clock)
    walking.by_bytes = by_bytes
    for each in (store, walking):
        found = [tenant async for tenant in tenants(each)]
        assert sorted(found) == names


@pytest.mark.parametrize("where", ["", "request", "events.0"])
async def test_a_tenant_with_a_record_that_may_need_more_than_this_version_knows_is_left_alone(
    videos: StoredVideos, store: ClockedStore, clock: Clock, collect: Collect, where: str
) -> None:
    video = await videos.finished(events=(Event(kind=EventKind.CREATED, at_ms=1),))
    await videos.blobs.put(b"perhaps its sound")
    key = f"t/{TENANT}/jobs/{video.id}"
    await rewrite(store, key, where, sound="0" * 64, empty=None)
    clock.advance(24)
    report = await collect()
    assert [(damage.key, "sound" in damage.why, "empty" in damage.why) for damage in report.damaged] == [
        (key, True, False)
    ]
    assert store.keys(f"t/{TENANT}/blobs/{digest_of(b'perhaps its sound')}")


async def test_one_that_lacks_only_empty_fields_of_a_later_version_is_collected(
    videos: StoredVideos, store: ClockedStore, clock: Clock, collect: Collect
) -> None:
    video = await videos.finished()
    await videos.blobs.put(b"garbage")
    await rewrite(store, f"t/{TENANT}/jobs/{video.id}", sound=None)
    clock.advance(24)
    assert (await collect()).damaged == []
    assert store.keys(f"t/{TENANT}/blobs/{digest_of(b'garbage')}") == []


async def test_the_same_of_manifests_pages_and_files(
    videos: StoredVideos, store: ClockedStore, clock: Clock, collect: Collect
) -> None:
    video = await videos.finished()
    file = await videos.keep_file(b"a picture")
    await rewrite(store, f"t/{TENANT}/files/{file.id}", sound="0" * 64)
    later = grown((await store.get(f"t/{TENANT}/segments/{video.segments[-1]}")).data, sound="0" * 64)
    manifest = f"t/{TENANT}/segments/{digest_of(later)}"
    await store.put_if_absent(manifest, later)
    stored = await store.get(f"t/{TENANT}/jobs/{video.id}")
    named = stored.data.replace(video.segments[-1].encode(), digest_of(later).encode())
    await store.swap(f"t/{TENANT}/jobs/{video.id}", named, stored.version)
    clock.advance(24)
    assert {damage.key for damage in (await collect()).damaged} == {manifest, f"t/{TENANT}/files/{file.id}"}
