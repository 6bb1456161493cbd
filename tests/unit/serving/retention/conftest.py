"""A store on a clock, and videos in it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from serving.retention.collect import collect_once
from serving.retention.report import Report
from serving.settings import Retention
from tests.unit.serving.retention.clocked_store import Clock, ClockedStore
from tests.unit.serving.retention.stored_videos import StoredVideos

Collect = Callable[..., Awaitable[Report]]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> ClockedStore:
    return ClockedStore(tmp_path / "store", clock)


@pytest.fixture
def videos(store: ClockedStore, clock: Clock) -> StoredVideos:
    return StoredVideos(store, clock)


@pytest.fixture
def collect(store: ClockedStore, clock: Clock) -> Collect:
    async def run(*, dry_run: bool = False, **retention: Any) -> Report:
        return await collect_once(store, Retention(**retention), now_ms=clock, dry_run=dry_run)

    return run
