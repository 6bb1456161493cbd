"""Real jobs on a real S3 server that fails in every seventh request: nothing that was acknowledged is lost."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from engines.session import load_session
from serving.errors import Unavailable
from serving.jobs.record import JobRecord, JobState
from serving.jobs.repository import Jobs
from serving.metrics import Unrecorded
from serving.segments.lineage import Segments
from serving.stages.loaded import Loaded
from serving.store.open import open_store
from tests import servers
from tests.integration.faulty_s3 import FAULTS, FaultyS3
from tests.unit.serving.director.conftest import TENANT, Office
from tests.unit.serving.director.plain import PlainStages

JOBS = 12


@pytest.mark.skipif(servers.program("minio") is None, reason="the program `minio` is not on the PATH")
def test_nothing_is_lost_on_a_store_that_keeps_failing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGTAKE_S3_ACCESS_KEY", servers.ACCESS_KEY)
    monkeypatch.setenv("LONGTAKE_S3_SECRET_KEY", servers.SECRET_KEY)
    with servers.minio_server(tmp_path / "server") as server:
        port = urlsplit(server.url).port
        assert port is not None
        with FaultyS3(port, seed=5) as faulty:
            asyncio.run(_work(server.url.replace(f":{port}", f":{faulty.port}"), faulty))
        assert set(faulty.faults) == set(FAULTS)


async def _work(url: str, faulty: FaultyS3) -> None:
    faulty.calm = True
    async with _office(url) as office:
        await office.director(slots=4)
        calm = await _latents(office, await office.ended(await office.job(seconds=2)))
        faulty.calm = False
        made = await asyncio.gather(*(_made(office) for _ in range(JOBS)))
        faulty.calm = True
        for record in made:
            assert record.state is JobState.SUCCEEDED, record.error
            assert await _latents(office, record) == calm
            assert [event.segment for event in record.events if event.kind == "committed"] == [0, 1]
        await office.idle()


async def _made(office: Office) -> JobRecord:
    """A job that is asked for until it is acknowledged, and then watched to its end."""
    accepted = await _insisted(office)
    async with asyncio.timeout(120):
        while True:
            try:
                record = await office.jobs.get(accepted.tenant, accepted.id)
            except Unavailable:
                continue
            if record.state.terminal:
                return record
            await asyncio.sleep(0.2)


async def _insisted(office: Office) -> JobRecord:
    while True:
        try:
            return await office.job(seconds=2)
        except Unavailable:  # not acknowledged
            await asyncio.sleep(0.1)


async def _latents(office: Office, record: JobRecord) -> list[str]:
    segments = Segments(office.store, TENANT)
    return [(await segments.get(name)).latents.blob for name in record.segments]


@asynccontextmanager
async def _office(url: str) -> AsyncIterator[Office]:
    store = await open_store(url, probe=False)
    session = await load_session("sprite-2", threads=1)
    stages = PlainStages(Loaded(session, store, Unrecorded()))
    stages.start()
    office = Office(store, Jobs(store), stages, _times=itertools.count(1_700_000_000_000))
    try:
        yield office
    finally:
        await office.close()
        await stages.stop()
        await store.close()
