"""The engines of an installation: found, checked, loaded; what is wrong with them is one kind of error."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from engines import models
from engines import objects as layout
from engines.key import engine_key
from engines.trust import TrustedKeys, own_key
from serving import engine_store
from serving.engine_objects import EngineObjects
from serving.errors import EngineMissing, SettingsError
from serving.settings import Engines
from serving.store import sweeping
from serving.store.base import Store
from serving.store.open import open_store
from tests.servers import free_port

pytestmark = pytest.mark.anyio


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await open_store(str(tmp_path / "store"), probe=False)
    yield opened
    await opened.close()


@pytest.fixture
def settings(tmp_path: Path) -> Engines:
    """Nobody is trusted yet."""
    return Engines(trusted_keys=tmp_path / "trusted", weights_folder=tmp_path / "weights")


@pytest.fixture
def copy(tmp_path: Path) -> models.Model:
    """The shipped model, its engines in a folder that a test may damage."""
    shutil.copytree(models.find("sprite").prebuilt, tmp_path / "prebuilt")
    return replace(models.find("sprite"), prebuilt=tmp_path / "prebuilt")


async def test_a_model_is_checked_by_name_or_alias(store: Store, settings: Engines) -> None:
    for name in ("sprite-2", "sprite"):
        assert (await engine_store.check(name, store, settings)).manifest.digest == models.find("sprite").digest()


async def test_engines_that_were_built_into_the_store_are_found_where_the_package_has_none(
    store: Store, copy: models.Model, settings: Engines
) -> None:
    found = await engine_store.find(copy, store, settings)
    key = own_key(settings.trusted_keys.with_name("key.pem"), TrustedKeys(settings.trusted_keys))
    blobs = {entry.component: await found.read(entry) for entry in found.manifest.engines}
    bare = replace(copy, prebuilt=copy.prebuilt / "none")
    with pytest.raises(EngineMissing, match="longtake engines build --model sprite-2"):
        await engine_store.find(bare, store, settings)
    await engine_store.built(store, settings, key=key).publish(found.manifest, blobs)
    assert (await engine_store.find(bare, store, settings)).layer.name == "built"


async def test_bytes_that_are_being_collected_while_they_are_published_are_put_again(store: Store) -> None:
    key = layout.blob_key("a" * 64)
    await store.put_if_absent(key, b"engine")
    async with sweeping.announced(store, [key]) as by_ms:
        kept = asyncio.create_task(EngineObjects(store).keep(key, b"engine"))
        await asyncio.wait({kept}, timeout=0.3)
        assert not kept.done(), "it waits for the collector's batch"
        await store.delete(key, by_ms=by_ms)
    await kept
    assert (await store.get(key)).data == b"engine"


async def test_a_server_that_runs_the_engines_is_asked_by_the_check_and_by_who_loads_them(
    store: Store, settings: Engines
) -> None:
    elsewhere = settings.model_copy(update={"triton": f"127.0.0.1:{free_port()}"})
    with pytest.raises(EngineMissing, match=r"the Triton server at .* is not there .*or change `engines\.triton`"):
        await engine_store.check("sprite", store, elsewhere)
    with pytest.raises(EngineMissing, match="the Triton server at"):
        await engine_store.load("sprite", store, elsewhere, threads=1)
    with await engine_store.load("sprite", store, elsewhere, threads=1, call="encode_text") as none_of_it:
        assert none_of_it.runners == {}


@pytest.mark.parametrize("address", ["http://triton:8001", "triton", ":8001", "triton:grpc", "a b:1"])
def test_what_is_no_address_of_a_server_is_refused_with_one(address: str) -> None:
    with pytest.raises(ValueError, match=r"write host:port, for example 127\.0\.0\.1:8001"):
        Engines(triton=address)
    assert Engines(triton="[::1]:8001").triton == "[::1]:8001"


async def test_a_damaged_engine_is_found_by_the_check(
    store: Store, copy: models.Model, settings: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    (copy.prebuilt / "dit.onnx").write_bytes(b"not an engine")
    monkeypatch.setattr(models, "find", lambda _: copy)
    with pytest.raises(EngineMissing, match=r"dit\.onnx"):
        await engine_store.check("sprite", store, settings)


async def test_a_model_that_is_not_known_is_a_wrong_setting(store: Store, settings: Engines) -> None:
    with pytest.raises(SettingsError, match=r"setting `model`.*there is sprite-2"):
        await engine_store.load("giant", store, settings, threads=1)


async def test_only_what_is_asked_for_is_loaded(store: Store, settings: Engines) -> None:
    with await engine_store.load("sprite", store, settings, threads=1, call="encode_video") as session:
        assert list(session.runners) == ["vae_encoder"]


@pytest.fixture
async def apart(store: Store, settings: Engines, monkeypatch: pytest.MonkeyPatch) -> Engines:
    """As if the model's encoder of video were its text encoder, which is of another variant than the rest."""
    model = models.find("sprite")
    monkeypatch.setattr(type(model.family), "uses", {**model.family.uses, "encode_text": ("vae_encoder",)})
    found = await engine_store.find(model, store, settings)
    blobs = {entry.component: await found.read(entry) for entry in found.manifest.engines}
    engines = {entry.component: entry for entry in found.manifest.engines}
    entry = engines["vae_encoder"]
    spec = replace(entry.spec, precision="float16")
    key_of = partial(engine_key, graph_digest=entry.graph_digest, runtime_version=entry.runtime_version)
    engines["vae_encoder"] = replace(entry, spec=spec, key=key_of(spec))
    key = own_key(settings.trusted_keys.with_name("key.pem"), TrustedKeys(settings.trusted_keys))
    await engine_store.built(store, settings, key=key).publish(
        replace(found.manifest, engines=tuple(engines.values())), blobs
    )
    return settings.model_copy(update={"text_encoder_variant": "onnxruntime-cpu-vae_encoder.fp16"})


async def test_the_text_encoder_may_be_of_another_variant(store: Store, settings: Engines, apart: Engines) -> None:
    usual = (await engine_store.find(models.find("sprite"), store, settings)).manifest.digest
    assert (await engine_store.check("sprite", store, apart)).manifest.digest == usual
    with await engine_store.load("sprite", store, apart, threads=1, call="encode_text") as text:
        assert list(text.runners) == ["vae_encoder"]
        assert text.digest != usual
    with await engine_store.load("sprite", store, apart, threads=1, call="step") as steps:
        assert steps.digest == usual
    with await engine_store.load("sprite", store, apart, threads=1) as both:
        assert set(both.runners) == set(models.find("sprite").family.components)
        assert both.digest == usual


async def test_a_text_encoder_that_was_not_built_is_missed_by_the_check(store: Store, apart: Engines) -> None:
    absent = apart.model_copy(update={"text_encoder_variant": "aotinductor-cpu"})
    with pytest.raises(EngineMissing, match="aotinductor-cpu"):
        await engine_store.check("sprite", store, absent)
