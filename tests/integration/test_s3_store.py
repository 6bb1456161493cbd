"""The S3 store against real servers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.errors import StoreUnfit
from serving.store.open import open_store
from tests import servers
from tests.servers import S3Server
from tests.store_contract import check_probe_refuses_broken_stores, check_store


@pytest.fixture(params=["minio", "weed"])
def server(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[S3Server]:
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
