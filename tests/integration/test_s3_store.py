"""The S3 store against real servers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from serving.errors import Conflict, StoreUnfit, Unavailable
from serving.frontdoor.admission.backlog import INTERVAL_S, Backlog
from serving.frontdoor.admission.lost import COUNTS_FOR_S
from serving.jobs.repository import Jobs
from serving.store.open import open_store
from tests import servers
from tests.servers import CutAnswers, S3Server
from tests.store_contract import check_probe_refuses_broken_stores, check_store
from tests.unit.serving.conftest import Clock
from tests.unit.serving.frontdoor.builders import record


@pytest.fixture(params=["minio", "weed"])
def server(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    if servers.program(request.param) is None:
        pytest.skip(f"the program `{request.param}` is not on the PATH")
    monkeypatch.setenv("LONGTAKE_S3_ACCESS_KEY", servers.ACCESS_KEY)
    monkeypatch.setenv("LONGTAKE_S3_SECRET_KEY", servers.SECRET_KEY)
    start = {"minio": servers.minio_server, "weed": servers.seaweedfs_server}[request.param]
    with start(tmp_path / "server") as running:
        yield running


def test_it_keeps_the_contract_of_all_stores(server: S3Server, tmp_path: Path) -> None:
    async def run() -> None:
        store = await open_store(server.url)
        await check_store(store, tmp_path)
        await check_probe_refuses_broken_stores(store)
        await store.close()

    asyncio.run(run())


def test_a_write_whose_answer_was_lost_counts_once(server: S3Server) -> None:
    """The server did the work and the answer never came: reading back finds it."""

    async def run() -> None:
        port = urlsplit(server.url).port
        assert port is not None
        relay = CutAnswers(port)
        store = await open_store(server.url.replace(f":{port}", f":{relay.port}"))
        relay.cut = 1
        assert await store.put_if_absent("lost/a", b"1")
        first = (await store.get("lost/a")).version
        relay.cut = 1
        second = await store.swap("lost/a", b"2", first)
        assert second == (await store.get("lost/a")).version
        relay.cut = 1
        # It was refused, or done and overtaken: nobody can tell, and a plain conflict would deny it.
        with pytest.raises(Unavailable):
            await store.swap("lost/a", b"3", first)
        with pytest.raises(Conflict):
            await store.swap("lost/a", b"3", first)
        assert (await store.get("lost/a")).data == b"2"
        await store.close()
        relay.close()

    asyncio.run(run())


def test_a_list_whose_answer_was_lost_is_whole(server: S3Server) -> None:
    async def run() -> None:
        port = urlsplit(server.url).port
        assert port is not None
        relay = CutAnswers(port)
        store = await open_store(server.url.replace(f":{port}", f":{relay.port}"))
        keys = [f"many/{number:04d}" for number in range(1100)]
        await asyncio.gather(*(store.put_if_absent(key, b"x") for key in keys))
        relay.pass_first, relay.cut = 1, 1  # the first page comes, the second is lost once
        assert [entry.key async for entry in store.list("many/")] == keys
        assert relay.cut == 0
        await store.close()
        relay.close()

    asyncio.run(run())


def test_a_create_that_dies_before_its_record_counts_for_a_minute(
    server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        store = await open_store(server.url)
        jobs, clock = Jobs(store), Clock()
        backlog = Backlog(jobs, clock=clock.seconds)
        whole = (await jobs.create(record("vid_" + "w" * 26))).record
        put = store.put_if_absent

        async def dying(key: str, data: bytes | Path) -> bool:
            if "/jobs/" in key:
                raise ConnectionAbortedError
            return await put(key, data)

        monkeypatch.setattr(store, "put_if_absent", dying)
        with pytest.raises(ConnectionAbortedError):
            await jobs.create(record(idempotency_key="died"))
        monkeypatch.setattr(store, "put_if_absent", put)
        assert await backlog.active("default") == 2
        backlog.refused("default")
        counted = []
        for passed_s in (INTERVAL_S, COUNTS_FOR_S):
            clock.pass_s(passed_s)
            counted.append(await backlog.active("default"))
        assert counted == [2, 1]
        assert await backlog.names("default") == (whole.id,)

        await jobs.create(record(idempotency_key="died"))
        clock.pass_s(INTERVAL_S)
        assert await backlog.active("default") == 2
        await store.close()

    asyncio.run(run())


def test_a_bucket_that_vanished_is_no_object_that_is_there(server: S3Server) -> None:
    """A create must not answer "already there" when nothing can be."""

    async def run() -> None:
        store = await open_store(server.url, probe=False)
        await asyncio.to_thread(store._client.remove_bucket, store._bucket)  # type: ignore[attr-defined]
        try:
            created = await store.put_if_absent("a", b"1")  # some servers make the bucket again
        except StoreUnfit as error:
            created = "bucket is gone" in error.message
        assert created
        await store.close()

    asyncio.run(run())


def test_a_wrong_key_is_refused_in_one_line(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGTAKE_S3_SECRET_KEY", "wrong-secret")
    with pytest.raises(StoreUnfit, match="cannot be used"):
        asyncio.run(open_store(server.url))


def test_missing_credentials_and_malformed_urls_are_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LONGTAKE_S3_ACCESS_KEY", "AWS_ACCESS_KEY_ID"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(StoreUnfit, match="LONGTAKE_S3_ACCESS_KEY"):
        asyncio.run(open_store("s3://127.0.0.1:1/bucket"))
    with pytest.raises(StoreUnfit, match="write s3://"):
        asyncio.run(open_store("s3://127.0.0.1:1/"))
