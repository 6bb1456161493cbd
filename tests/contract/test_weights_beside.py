"""Weights beside engines on real stores, a directory and MinIO: published from files, streamed to where they serve."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx_ir", reason="a build needs longtake[build]")

from engines import objects as layout
from engines.errors import EngineCorrupt
from serving.store.base import Store
from serving.store.open import open_store
from tests import servers
from tests.beside_engines import answer, lower, machine, mixer, publish, run

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


@pytest.fixture(params=["directory", "minio"])
async def store(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Store]:
    lower(monkeypatch)
    if request.param == "directory":
        opened = await open_store(str(tmp_path / "store"), probe=False)
        yield opened
        await opened.close()
        return
    if servers.program("minio") is None:
        pytest.skip("the program `minio` is not on the PATH")
    monkeypatch.setenv("LONGTAKE_S3_ACCESS_KEY", servers.ACCESS_KEY)
    monkeypatch.setenv("LONGTAKE_S3_SECRET_KEY", servers.SECRET_KEY)
    with servers.minio_server(tmp_path / "server") as running:
        opened = await open_store(running.url, probe=False)
        yield opened
        await opened.close()


async def test_built_here_and_served_there_they_give_the_same_numbers(store: Store, tmp_path: Path) -> None:
    builder = machine(store, tmp_path / "builder")
    manifest = await publish(builder)
    assert await publish(builder) == manifest  # once more, over what is there
    server = machine(store, tmp_path / "serving", tmp_path / "builder")
    assert np.array_equal(await answer(server), run(mixer().SerializeToString()))


async def test_other_bytes_in_the_store_are_loaded_by_nobody(store: Store, tmp_path: Path) -> None:
    builder = machine(store, tmp_path / "builder")
    first, second = (await publish(builder)).engines[0].weights
    data = (await store.get(layout.blob_key(first.sha256))).data
    for file, bad in ((first, data[:-1]), (second, data)):
        await store.delete(layout.blob_key(file.sha256))
        await store.put_if_absent(layout.blob_key(file.sha256), bad)
    server = machine(store, tmp_path / "serving", tmp_path / "builder")
    with pytest.raises(EngineCorrupt, match=layout.blob_key(first.sha256)):
        await answer(server)
    await answer(builder)  # it has its own, and asks for nothing
