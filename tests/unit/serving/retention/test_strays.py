"""What nobody of us put into a store (files of people's programs, folder markers, broken objects) stops nothing."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from serving.jobs.dead import DeadLetters
from serving.jobs.ids import derived_id
from serving.jobs.lease import Leases
from serving.jobs.record import JobState
from serving.retention.collect import collect_once
from serving.retention.report import Report
from serving.retention.scrub import Scrub
from serving.settings import Retention
from serving.stages.checkpoint import CheckpointedWork, Checkpoints
from serving.store import keys
from serving.store.base import Listed, Versioned
from tests.unit.serving.retention.clocked_store import Clock, ClockedStore
from tests.unit.serving.retention.stored_videos import TENANT, StoredVideos

pytestmark = pytest.mark.anyio

BINARY = b"\x00\xff\xfe\x80Bud1"
PARTS = {
    "tenant": TENANT,
    "job": "vid_" + "a" * 26,
    "file": "file_" + "b" * 26,
    "digest": "c" * 64,
    "content": "d" * 64,
    "kind": "reference",
    "inverted ms": "98209999999877",
    "deadline ms": "99999999999999",
    "segment": "00003",
    "work": "0123456789abcdef",
    "step": "000012",
    "random": "0f",
    "what": "race",
    "shard": f"{sum(b'vid_' + b'a' * 26) % 256:02x}",
}
RECORDS = ("jobs", "files")
"""What they need is not known when they cannot be read: then their tenant is left alone."""


def one_of_each() -> list[str]:
    """A key of every row of the table, but for those that are never listed."""
    rows = [line.split("  ")[2] for line in (keys.__doc__ or "").splitlines() if line.startswith("    ")][1:]
    made = [re.sub("<([^>]+)>", lambda part: PARTS.get(part[1], "1"), row) for row in rows]
    return [key for key in made if not key.startswith(("runtime/", "engines/", "models/"))]


def folders() -> list[str]:
    """Every prefix of these, and the store itself."""
    found = {key[: slash.end()] for key in one_of_each() for slash in re.finditer("/", key)}
    return ["", *sorted(found)]


class MarkedStore(ClockedStore):
    """Some tools make a folder an object of its own, whose name ends with a slash: S3 holds it, no directory can."""

    def __init__(self, root: Path, clock: Clock) -> None:
        super().__init__(root, clock)
        self.markers: set[str] = set()

    async def get(self, key: str) -> Versioned:
        return Versioned(b"", "empty") if key in self.markers else await super().get(key)

    async def get_range(self, key: str, start: int, length: int) -> bytes:
        return b"" if key in self.markers else await super().get_range(key, start, length)

    async def touch(self, key: str) -> None:
        if key not in self.markers:
            await super().touch(key)

    async def delete(self, key: str, *, by_ms: int | None = None) -> None:
        if key in self.markers:
            self.markers.discard(key)
        else:
            await super().delete(key, by_ms=by_ms)

    async def list(self, prefix: str, *, after: str = "", limit: int | None = None) -> AsyncIterator[Listed]:
        marked = [Listed(key, 0, 1) for key in self.markers if key.startswith(prefix) and key > after]
        found = [entry async for entry in super().list(prefix, after=after)]
        for entry in sorted([*marked, *found], key=lambda entry: entry.key)[:limit]:
            yield entry


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> MarkedStore:
    return MarkedStore(tmp_path / "store", clock)


async def garbage(videos: StoredVideos, store: ClockedStore) -> None:
    """Some of every kind."""
    gone = await videos.finished(picture=b"picture", seed=7)
    crashed = await videos.make(await videos.accept(picture=b"evil", seed=8), fail_after=0)
    await DeadLetters(store).bury(crashed, stage="conditioner", why="it crashed", quarantine=True)
    ended = await videos.start(await videos.accept(seed=9))
    await Leases(store).take(ended.id, 1, epoch=1, holder="replica")
    work = CheckpointedWork(videos.tenant, ended.id, 0, 1, "fingerprint")
    await Checkpoints(store).write(work, 1, np.zeros((1, 2), np.float32), np.zeros(3, np.float32))
    ended = await videos.jobs.transition(ended, state=JobState.FAILED, finished_ms=videos.now_ms())  # still listed
    for record in (gone, crashed, ended):
        await videos.delete(record.id)
        await store.put_if_absent(keys.keep_note(videos.tenant, record.id), b"{}")
    await videos.files.delete(videos.tenant, (await videos.keep_file(b"file")).id)
    await videos.blobs.put(b"of nobody")
    await store.put_if_absent("probe/0a/race", b"left by a probe that was killed")


async def collected(store: ClockedStore, clock: Clock) -> Report:
    """Until everything old is gone: what a cache led to is young for a while."""
    clock.advance(40 * 24)
    await collect_once(store, Retention(), now_ms=clock)
    clock.advance(24)
    return await collect_once(store, Retention(), now_ms=clock)


def of_ours(store: ClockedStore) -> set[str]:
    """What is left, without what collections write down."""
    return {key for key in store.keys("") if not key.startswith("runtime/") and "/marks/" not in key}


@pytest.mark.parametrize(
    ("name", "data"),
    [
        (".DS_Store", BINARY),
        ("notes.txt", b"hello\n"),
        ("empty", b""),
        ("a name with blanks \udcff", BINARY),
        ("e" * 64, b"other bytes than its name says"),
        ("", b""),
    ],
    ids=["a browser's file", "a note", "an empty object", "a name that is no key", "a wrong digest", "a marker"],
)
async def test_a_stray_in_every_folder_stops_no_collection_and_no_scrub(
    videos: StoredVideos, store: MarkedStore, clock: Clock, name: str, data: bytes
) -> None:
    living, other = await videos.finished(seconds=2), StoredVideos(store, clock, "zeta")
    there = of_ours(store)
    await garbage(videos, store)
    await garbage(other, store)
    strays = {folder + name for folder in folders()}
    for key in strays - {""}:
        if name:
            path = store._objects / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            os.utime(path, (clock() / 1000, clock() / 1000))
        else:
            store.markers.add(key)

    report = await collected(store, clock)

    assert report.damaged == []
    assert of_ours(store) - strays == there
    await videos.whole(living.id)
    left_alone = {key for key in strays - {""} if not keys.is_ours(key)}
    assert left_alone <= {*store.keys(), *store.markers}
    assert report.strays
    assert set(report.strays) <= {key.encode(errors="backslashreplace").decode() for key in left_alone}
    findings = (await Scrub(store).run()).findings
    assert [finding.key for finding in findings if finding.key not in strays] == []
    assert [finding.key for finding in findings if not keys.is_ours(finding.key)] == []


@pytest.mark.parametrize("data", [b"", b"\xff", b"null", b"[]", b'{"job": "../up"}'])
async def test_a_broken_object_of_any_kind_but_a_record_stops_nothing(
    videos: StoredVideos, store: MarkedStore, clock: Clock, data: bytes
) -> None:
    living = await videos.finished(seconds=2)
    there = of_ours(store)
    await garbage(videos, store)
    # In a directory no name is an object's and a folder's.
    listed = [key for key in one_of_each() if key + "/" not in folders()]
    broken = {key for key in listed if not (key.startswith("t/") and keys.kind_of(key) in RECORDS)}
    for key in broken:
        await store.put_if_absent(key, data)

    report = await collected(store, clock)

    assert report.damaged == []
    assert of_ours(store) - broken == there
    assert not report.strays
    held = keys.quarantined(TENANT, PARTS["digest"])
    assert of_ours(store) & broken == {held}, "who it protects from what is not known"
    await videos.whole(living.id)
    assert (await Scrub(store).run()).findings == []


async def test_one_tenant_that_cannot_be_collected_is_told_of_and_the_others_are_collected(
    store: MarkedStore, clock: Clock
) -> None:
    bad, good = StoredVideos(store, clock, "bad"), StoredVideos(store, clock, "good")
    for each in (bad, good):
        await garbage(each, store)
    # Deeper than any reader goes.
    await store.put_if_absent(keys.quarantined("bad", PARTS["digest"]), b"[" * 100_000)
    report = await collected(store, clock)
    assert [damage.tenant for damage in report.damaged] == ["bad"]
    assert "RecursionError" in report.damaged[0].why
    assert store.keys("t/good/") == []


async def test_a_file_that_cannot_be_read_keeps_the_video_that_it_may_stand_for(
    videos: StoredVideos, store: MarkedStore, clock: Clock
) -> None:
    video = await videos.finished(expires_ms=clock() + 1000)
    file = keys.file(TENANT, derived_id("file_", TENANT, video.id))
    await store.put_if_absent(file, b'{"written": "by a later version"}')
    report = await collected(store, clock)
    assert [damage.key for damage in report.damaged] == [file]
    await videos.whole(video.id)
