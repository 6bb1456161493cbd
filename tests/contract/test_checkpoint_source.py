"""A checkpoint in a bucket is read like one in a folder: by ranges, its digests the same, nothing copied."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from engines import models
from engines.building import reuse
from engines.checkpoints import adapters, deltas, diffusers
from engines.checkpoints.files import Folder
from engines.errors import CheckpointUnfit
from engines.runtimes.registry import SHIPPED
from engines.store import Built
from engines.trust import TrustedKeys
from serving.checkpoint_source import opened_adapter, opened_checkpoint
from serving.engine_objects import EngineObjects
from serving.errors import StoreUnfit
from serving.store.open import open_store
from tests import servers

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint, as diffusers saves it."""
    for package in ("torch", "diffusers", "transformers", "tokenizers"):
        pytest.importorskip(package, reason="checkpoints of tests are made with longtake[build]")
    from tests.unit.engines.families.wan.checkpoints import save

    save("text", tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


@pytest.fixture
async def bucket(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """The same, in a bucket."""
    if servers.program("minio") is None:
        pytest.skip("the program `minio` is not on the PATH")
    monkeypatch.setenv("LONGTAKE_S3_ACCESS_KEY", servers.ACCESS_KEY)
    monkeypatch.setenv("LONGTAKE_S3_SECRET_KEY", servers.SECRET_KEY)
    with servers.minio_server(tmp_path / "server") as running:
        store = await open_store(running.url, probe=False)
        for path in folder.rglob("*"):
            if path.is_file():
                await store.put_if_absent(f"wan/{path.relative_to(folder).as_posix()}", path.read_bytes())
        await store.close()
        yield running.url.replace("?", "/wan?", 1)


async def test_a_bucket_holds_what_the_folder_holds(bucket: str, folder: Path) -> None:
    here = Folder(folder)
    digest = models.digest_of_weights(here)
    shutil.copy(folder / "model_index.json", folder / "index.json")  # a file that no component names counts nowhere
    async with opened_checkpoint(bucket) as files:
        assert await asyncio.to_thread(models.digest_of_weights, files) == digest
        found = await asyncio.to_thread(models.opened, files, name="wan")
        assert found.family.capabilities == models.opened(here, name="wan").family.capabilities
        graphs = await asyncio.to_thread(found.family.graphs, files)
        assert set(graphs) == set(found.family.components)
        with pytest.raises(CheckpointUnfit, match="ends before byte"):
            await asyncio.to_thread(files.read, "model_index.json", 0, 1 << 20)
        with pytest.raises(CheckpointUnfit, match=r"vae/none\.json: not there"):
            files.size("vae/none.json")


async def test_an_empty_prefix_and_a_missing_shard_are_told(bucket: str, folder: Path) -> None:
    with pytest.raises(CheckpointUnfit, match="nothing there"):
        async with opened_checkpoint(bucket.replace("/wan", "/none")):
            pass
    async with opened_checkpoint(bucket) as files:
        read = await asyncio.to_thread(diffusers.inspect, files)
    shard = read.component("vae").shards[0].file
    store = await open_store(bucket, probe=False)
    await store.delete(shard)
    await store.close()
    async with opened_checkpoint(bucket) as files:
        with pytest.raises(CheckpointUnfit, match=f"{shard}.*copy it too"):
            await asyncio.to_thread(models.opened, files, name="wan")


async def test_an_adapter_in_a_bucket_is_read_from_there(bucket: str, folder: Path, tmp_path: Path) -> None:
    from tests.unit.engines.families.wan.adapters import save, tensors

    path = save(tmp_path / "style.safetensors", tensors("kohya", alpha=2.0))
    store = await open_store(bucket, probe=False)
    await store.put_if_absent("loras/style.safetensors", path.read_bytes())
    model = models.opened(Folder(folder), name="wan")
    place = bucket.replace("/wan?", "/wan/loras/style.safetensors?")
    async with opened_adapter(place) as file:
        found = await asyncio.to_thread(adapters.read, file, model.layers(), "wan")
        record = await asyncio.to_thread(
            partial(deltas.record, file, model.layers(), "wan", source=place, scale=1.0, progress=lambda *_: None)
        )
        adapted = replace(model, recorded=models.Recorded({}, (record,)))
        built = Built(EngineObjects(store), TrustedKeys(tmp_path / "trusted"))
        nobody_built_it = await reuse.of_base(adapted, built, SHIPPED.default(), "cpu", [file], {})
        assert nobody_built_it == {}
    await store.close()
    assert (file.name, found.rank, len(found.changes)) == ("style.safetensors", 4, 20)
    for missing in (place.replace("style", "none"), place.replace("loras", "none"), str(tmp_path / "none.safetensors")):
        with pytest.raises(CheckpointUnfit, match="no such file"):
            async with opened_adapter(missing):
                pass
    mistyped = "/".join([*place.split("/")[:3], "mistyped", *place.split("/")[4:]])
    for opened in (opened_adapter, opened_checkpoint):
        for _ in range(2):  # and what only reads makes no bucket
            with pytest.raises(StoreUnfit, match="there is no bucket 'mistyped'"):
                async with opened(mistyped):
                    pass
