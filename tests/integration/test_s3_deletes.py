"""A collector's delete that is held up on its way to a real server: what a writer was promised meanwhile stays."""

from __future__ import annotations

import asyncio
import http.client
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from serving.errors import Unavailable
from serving.retention.collect import collect_once
from serving.settings import Retention
from serving.store import sweeping
from serving.store.blobs import Blobs
from serving.store.open import open_store
from tests import servers
from tests.integration.faulty_s3 import FaultyS3

START = {"minio": servers.minio_server, "weed": servers.seaweedfs_server}
HEADER = b"the header of a track: the same bytes are written again and again"


class HoldsDeletes(FaultyS3):
    """What stands before the server, or the collector's own process, keeps a delete until it is told to let go."""

    def __init__(self, upstream: int) -> None:
        super().__init__(upstream, seed=0)
        self.calm = True
        self.arrived, self.let_go = threading.Event(), threading.Event()

    def forward(self, method: str, path: str, headers: dict[str, str], body: bytes) -> http.client.HTTPResponse:
        if method == "DELETE" and "/blobs/" in path:
            self.arrived.set()
            self.let_go.wait(60)
        return super().forward(method, path, headers, body)


@pytest.mark.parametrize("name", list(START))
def test_a_delete_that_comes_after_the_writer_was_told_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if servers.program(name) is None:
        pytest.skip(f"the program `{name}` is not on the PATH")
    monkeypatch.setenv("LONGTAKE_S3_ACCESS_KEY", servers.ACCESS_KEY)
    monkeypatch.setenv("LONGTAKE_S3_SECRET_KEY", servers.SECRET_KEY)
    monkeypatch.setattr(sweeping, "BATCH_S", 2.0)
    monkeypatch.setattr(sweeping, "STALE_S", 5.0)
    with START[name](tmp_path / "server") as server:
        port = urlsplit(server.url).port
        assert port is not None
        with HoldsDeletes(port) as relay:
            asyncio.run(_meet(server.url, server.url.replace(f":{port}", f":{relay.port}"), relay))


async def _meet(direct: str, behind: str, relay: HoldsDeletes) -> None:
    store, collectors = await open_store(direct, probe=False), await open_store(behind, probe=False)
    blobs = Blobs(store, "t")
    digest = await blobs.put(HEADER)  # nothing names it
    # A margin of seconds, instead of a blob that is an hour old. Servers' clocks and ours differ by less: some count
    # whole seconds.
    old_soon = Retention.model_construct(video_ttl_s=None, tenants={}, margin_s=3.0, cache_ttl_s=3600)
    await asyncio.sleep(4.8)
    collecting = asyncio.create_task(collect_once(collectors, old_soon, now_ms=lambda: time.time_ns() // 1_000_000))
    await asyncio.to_thread(relay.arrived.wait, 60)
    assert await blobs.put(HEADER) == digest
    relay.let_go.set()
    with pytest.raises(Unavailable, match="too late"):
        await collecting
    assert await blobs.get(digest) == HEADER
    for opened in (store, collectors):
        await opened.close()
