"""The collector on what the real Director and stages write: it keeps all of it that counts, and takes the rest."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from loadtests.studio import TENANT, Studio, studio
from serving.clock import now_ms
from serving.jobs.lease import Lease
from serving.retention.collect import collect_once
from serving.retention.report import Report
from serving.retention.scrub import Scrub
from serving.settings import Retention
from serving.store.blobs import Blobs

pytestmark = pytest.mark.anyio


def grow_old(folder: Path, hours: float = 2.0) -> None:
    """As if so much time had passed."""
    for path in (folder / "objects").rglob("*"):
        if path.is_file():
            at = path.stat().st_mtime - hours * 3600
            os.utime(path, (at, at))


async def released(made: Studio) -> None:
    """Replicas release their leases a moment after the end that everybody sees; one that grew old before would look
    like another one's to them, and be young again.
    """
    async with asyncio.timeout(60):
        while not all([await _is_released(made, entry.key) async for entry in made.store.list("leases/")]):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def _is_released(made: Studio, key: str) -> bool:
    return Lease.model_validate_json((await made.store.get(key)).data).released


async def collect(made: Studio) -> Report:
    return await collect_once(made.store, Retention(), now_ms=now_ms)


async def test_real_videos_survive_and_can_be_extended(tmp_path: Path) -> None:
    async with studio(tmp_path) as made:
        root = await made.make(seconds=2)
        child = await made.make(seconds=1, parent=root)
        gone = await made.make(seconds=1)
        blobs = Blobs(made.store, TENANT)
        await blobs.cache_put("text", "a" * 64, await blobs.put_computed(b"what another model computed of a caption"))
        await made.jobs.delete(gone)
        await made.jobs.delete(root)
        await released(made)
        grow_old(tmp_path)
        report = await collect(made)
        assert report.damaged == []
        assert report.of("segments").collected.keys == report.of("videos").collected.keys == 1
        assert report.of("segments").live.keys == 3
        assert report.of("caches").live.keys > 0, "captions are kept for a month"
        assert (await Scrub(made.store).run()).findings == []
        longer = await made.make(seconds=1, parent=child)
        for video in (child, longer):
            await made.jobs.delete(video)
        await released(made)
        grow_old(tmp_path)
        await collect(made)
        left = {entry.key.split("/")[2] async for entry in made.store.list(f"t/{TENANT}/")}
        assert left == {"blobs", "cache", "marks"}
        assert [entry.key async for entry in made.store.list("leases/")] == []
