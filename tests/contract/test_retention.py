"""The collector on real stores: a directory, and MinIO behind the S3 client that ships. Time is real here."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest

from serving.clock import now_ms
from serving.errors import Conflict, NotFound
from serving.retention.collect import collect_once
from serving.retention.report import Report
from serving.retention.scrub import Scrub
from serving.settings import Retention
from serving.store.base import Store
from serving.store.open import open_store
from tests import servers
from tests.unit.serving.retention.stored_videos import TENANT, StoredVideos

pytestmark = [pytest.mark.anyio, pytest.mark.slow]
MARGIN_S = 6.0
GRACE_S = 1.6
"""What is about to be deleted must be older by a second: some servers tell whole ones."""
GARBAGE = 8000


def briefly(margin_s: float = MARGIN_S) -> Retention:
    """A margin that a test can wait for; the settings allow none so short."""
    return Retention().model_copy(update={"margin_s": margin_s})


@pytest.fixture(params=["directory", "minio"])
async def store(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Store]:
    if request.param == "directory":
        yield await open_store(str(tmp_path / "store"))
        return
    if servers.program("minio") is None:
        pytest.skip("the program `minio` is not on the PATH")
    monkeypatch.setenv("LONGTAKE_S3_ACCESS_KEY", servers.ACCESS_KEY)
    monkeypatch.setenv("LONGTAKE_S3_SECRET_KEY", servers.SECRET_KEY)
    with servers.minio_server(tmp_path / "server") as running:
        opened = await open_store(running.url)
        yield opened
        await opened.close()


@pytest.fixture
def videos(store: Store) -> StoredVideos:
    return StoredVideos(store, now_ms)


async def collect(store: Store, *, dry_run: bool = False, margin_s: float = MARGIN_S) -> Report:
    report = await collect_once(store, briefly(margin_s), now_ms=now_ms, dry_run=dry_run)
    assert report.damaged == []
    return report


async def names(store: Store) -> set[str]:
    return {entry.key async for entry in store.list("t/")}


async def test_what_nobody_needs_goes_and_the_rest_stays(store: Store, videos: StoredVideos) -> None:
    root = await videos.finished(seconds=2, seed=1, picture=b"picture")
    child = await videos.finished(root.id, seed=2)
    gone = await videos.finished(seed=3)
    for video in (root, gone):
        await videos.delete(video.id)
    garbage = await videos.blobs.put(b"nobody's")
    assert (await collect(store)).of("blobs").collected.keys == 0, "all is young"
    await asyncio.sleep(MARGIN_S + GRACE_S)
    renewed = await videos.blobs.put(b"latents 3 0")
    before = await names(store)
    dry = await collect(store, dry_run=True)
    assert await names(store) == before
    report = await collect(store)
    assert report.of("blobs").collected == dry.of("blobs").collected
    assert report.of("segments").collected.keys == report.of("videos").collected.keys == 1
    assert await videos.blobs.get(renewed) == b"latents 3 0"
    with pytest.raises(NotFound):
        await videos.blobs.get(garbage)
    await videos.whole(child.id)
    await videos.whole((await videos.finished(child.id, seed=3)).id)
    assert (await Scrub(store).run()).findings == []


class Crowd:
    """Workers that make, extend and delete videos, and collectors beside them, until a time."""

    def __init__(self, store: Store, videos: StoredVideos, seconds: float) -> None:
        self.living: list[str] = []
        self.made = 0
        self._store = store
        self._videos = videos
        self._ends = time.monotonic() + seconds

    async def work(self, seed: int) -> None:
        random = Random(seed)
        while time.monotonic() < self._ends:
            parent = random.choice(self.living) if self.living and random.random() < 0.6 else ""
            try:
                record = await self._videos.accept(parent, seed=random.choice((1, 2)), picture=b"picture")
            except NotFound as error:
                if error.message.startswith("no video"):  # deleted by a neighbour
                    continue
                raise
            self.living.append((await self._videos.make(record)).id)
            self.made += 1
            if len(self.living) > 6:
                await self.delete(self.living.pop(random.randrange(len(self.living))))

    async def sweep(self) -> None:
        while time.monotonic() < self._ends:
            await collect(self._store, margin_s=4.0)
            await asyncio.sleep(0.1)

    async def delete(self, video: str) -> None:
        with contextlib.suppress(NotFound, Conflict):
            await self._videos.delete(video)


async def test_collectors_run_while_videos_are_made_extended_and_deleted(store: Store, videos: StoredVideos) -> None:
    crowd = Crowd(store, videos, seconds=12)
    await asyncio.gather(*(crowd.work(number) for number in range(3)), crowd.sweep(), crowd.sweep())
    assert crowd.made > 0
    for video in crowd.living:
        await videos.whole(video)
        await crowd.delete(video)
    assert (await Scrub(store).run()).findings == []
    await asyncio.sleep(1.0 + GRACE_S)
    await collect(store, margin_s=1.0)
    left = {key.split("/")[2] for key in await names(store)}
    # The cache is kept for a month, and what it leads to; what a collection learned, until the next one.
    assert left == {"blobs", "cache", "marks"}


def start_gc(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "serving.cli.main", "gc", "--store", str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


async def test_an_interrupted_collection_leaves_a_store_that_is_whole(tmp_path: Path) -> None:
    """Ctrl-C, and later SIGKILL, in the middle of a real `longtake gc`."""
    folder = tmp_path / "store"
    store = await open_store(str(folder))
    videos = StoredVideos(store, now_ms)
    video = await videos.finished(seconds=2)
    blobs = folder / "objects" / "t" / TENANT / "blobs"
    for number in range(GARBAGE):
        (blobs / f"{number:064x}").write_bytes(b"x")
    for path in (folder / "objects").rglob("*"):
        if path.is_file():
            os.utime(path, (time.time() - 7200, time.time() - 7200))
    for ending in (signal.SIGINT, signal.SIGKILL):
        before, there = len(await names(store)), sum(1 for _ in blobs.iterdir())
        process = start_gc(folder)
        while sum(1 for _ in blobs.iterdir()) == there:  # the store lists too slowly
            assert process.poll() is None
        process.send_signal(ending)
        _, said = process.communicate(timeout=30)
        assert process.returncode == (130 if ending is signal.SIGINT else -signal.SIGKILL), said
        assert 0 < len(await names(store)) < before
        await videos.whole(video.id)
    assert await videos.blobs.put(b"bytes of somebody who comes now")
