"""`longtake reproduce` with engines that did not make the video: real ones, in the store, loaded by the command."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper
from typer.testing import CliRunner

from engines import key as keys
from engines import models
from engines.building.parity import BANDS
from engines.manifest import EngineEntry, Manifest
from engines.session import Session
from engines.store import Prebuilt
from engines.trust import TrustedKeys, own_key
from serving import engine_store
from serving.cli import reproduce as command
from serving.cli.main import build
from serving.cli.output import FAILED, UNJUDGED, UNREACHABLE
from serving.errors import Unavailable
from serving.jobs.record import JobRecord, JobState
from serving.requests import Kind
from serving.settings import Engines
from tests.unit.serving.director.conftest import TENANT, Office, office, session

pytestmark = pytest.mark.anyio
__all__ = ["office", "session"]
Floats = NDArray[np.float32]
Publish = Callable[..., Awaitable[Manifest]]


@pytest.fixture
def publish(office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Publish:
    """Puts engines into the store whose weights are others, and has the settings name them."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LONGTAKE_STAGES__ENGINE_THREADS", "1")
    folder = tmp_path / "home/.longtake/engine-keys"

    async def do(change: Callable[[Floats], Floats], precision: str = "float16") -> Manifest:
        package = Prebuilt(models.find("sprite").prebuilt)
        shipped = package.manifest("sprite-2", None)
        assert shipped is not None
        engines = {entry.component: changed(package.read(entry), change) for entry in shipped.engines}
        entries = tuple(built(entry, engines[entry.component], precision) for entry in shipped.engines)
        manifest = replace(shipped, engines=entries)
        trusted = TrustedKeys(folder / "trusted")
        layer = engine_store.built(
            office.store, Engines(trusted_keys=trusted.path), key=own_key(folder / "key.pem", trusted)
        )
        await layer.publish(manifest, engines)
        monkeypatch.setenv("LONGTAKE_ENGINES__VARIANT", manifest.variant)
        return manifest

    return do


def changed(graph: bytes, change: Callable[[Floats], Floats]) -> bytes:
    """The same graph, with other weights."""
    model = onnx.load_from_string(graph)
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) > 1:  # others are constants, too
            tensor.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(tensor)), tensor.name))
    return bytes(model.SerializeToString())


def built(entry: EngineEntry, engine: bytes, precision: str) -> EngineEntry:
    spec, digest = replace(entry.spec, precision=precision), keys.digest_of(engine)
    key = keys.engine_key(spec, graph_digest=digest, runtime_version=entry.runtime_version)
    return replace(entry, key=key, spec=spec, graph_digest=digest, sha256=digest, size=len(engine))


def halved(weights: Floats) -> Floats:
    return weights.astype(np.float16).astype(np.float32)


def skewed(weights: Floats) -> Floats:
    return weights * np.float32(1.04)


async def video(office: Office, digest: str, **fields: Any) -> JobRecord:
    """Finished, by the engines of the package, whatever is said of them."""
    if not office.directors:
        await office.director()
    done = await office.ended(await office.job(model_digest=digest, **fields))
    assert done.state is JobState.SUCCEEDED, done.error
    return done


async def said(office: Office, *words: str, code: int = 0) -> str:
    """What the command says."""
    arguments = ["reproduce", *words, "--store", office.store.url]
    arguments += [] if "--newest" in words else ["--tenant", TENANT]
    done = await asyncio.to_thread(CliRunner().invoke, build(), arguments)
    assert done.exit_code == code, done.output
    return done.stdout if "json" in words else done.output


async def test_engines_in_half_are_judged_in_the_band_of_half(
    office: Office, session: Session, publish: Publish
) -> None:
    job = await video(office, session.digest, seconds=4)
    image = await video(office, session.digest, kind=Kind.IMAGE, seconds=0, resolution="1k", images=2)
    here = await publish(halved)

    lines = (await said(office, job.id)).splitlines()
    assert lines[0] == (
        f"made by the engines {session.digest[:12]} (onnxruntime-cpu); here are {here.digest[:12]} "
        "(onnxruntime-cpu-fp16): judged in the band of float16"
    )
    assert lines[-1].startswith("all 8 parts are in the band of float16, at most ")
    told = json.loads(await said(office, job.id, "-o", "json"))
    assert [(one["segment"], one["what"]) for one in told[:3]] == [(0, "latents"), (0, "thumbnail"), (1, "latents")]
    assert [tuple(one["allowed"]) for one in told[:2]] == [BANDS["float16"].run, BANDS["float16"].frames]
    assert tuple(told[6]["allowed"]) == tuple(4 * most for most in BANDS["float16"].run), "it goes on from three"
    assert all(one["in_band"] for one in told)
    assert told[0]["found"][0] > 1e-5, "these are other engines"

    last = (await said(office, "--newest", "5")).splitlines()[-1]
    assert last.startswith("2 replayed, 2 of other engines in the band of float16, at most ")
    rows = {one["video"]: one for one in json.loads(await said(office, "--newest", "5", "-o", "json"))}
    assert (rows[image.id]["band"], rows[image.id]["digests"]) == ("float16", [])
    assert [one["what"] for one in rows[image.id]["measured"]] == ["image", "image"]


async def test_what_is_beyond_the_band_came_out_otherwise(office: Office, session: Session, publish: Publish) -> None:
    job = await video(office, session.digest)
    await publish(skewed)
    last = (await said(office, job.id, code=FAILED)).splitlines()[-1]
    assert last.startswith("error: segment 0: latents is beyond the band of float16 (")
    last = (await said(office, "--newest", "1", code=FAILED)).splitlines()[-1]
    assert last.startswith(f"error: 1 of 1 videos came out otherwise; {job.id}: segment 0: latents is beyond the band")


async def test_of_engines_that_nobody_knows_any_more_the_widest_band_holds(office: Office, publish: Publish) -> None:
    job = await video(office, "e" * 64)
    assert "engines eeeeeeeeeeee that are not known here" in await said(office, job.id)
    assert "all 2 parts are in the band of bfloat16" in await said(office, job.id)
    await publish(skewed)
    assert "beyond the band of bfloat16" in await said(office, job.id, code=FAILED)


async def test_videos_of_other_weights_say_nothing(
    office: Office, session: Session, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await video(office, session.digest)
    here = await publish(halved)
    other = replace(here, weights_digest="f" * 64)
    known = engine_store.find

    async def find(*arguments: Any) -> Any:
        return replace(await known(*arguments), manifest=other)

    monkeypatch.setattr(engine_store, "find", find)
    why = f"{job.id} was made by sprite-2 of the weights {here.weights_digest[:12]}, and those here are ffffffffffff"
    assert (await said(office, "--newest", "1")).splitlines()[-1].startswith(f"nothing to replay: 1 passed over; {why}")


async def test_what_cannot_be_found_out_is_neither_good_nor_otherwise(
    office: Office, session: Session, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await video(office, session.digest)
    for words in ([job.id], ["--newest", "1"]):
        monkeypatch.setenv("LONGTAKE_ENGINES__VARIANT", "onnxruntime-gpu")
        last = (await said(office, *words, code=UNJUDGED)).splitlines()[-1]
        assert f"{job.id} was made by sprite-2, and engines of it are needed" in last
        monkeypatch.delenv("LONGTAKE_ENGINES__VARIANT")
        for error, code in ((ZeroDivisionError("oh"), UNJUDGED), (Unavailable("it is away"), UNREACHABLE)):
            with monkeypatch.context() as patch:
                patch.setattr(command, "engines_of", raises(error))
                assert (await said(office, *words, code=code)).splitlines()[-1].endswith(str(error))
    monkeypatch.setenv("LONGTAKE_MODEL", "another")
    monkeypatch.setenv("LONGTAKE_ENGINES__VARIANT", "onnxruntime-gpu")
    assert "nothing to replay: 1 passed over" in await said(office, "--newest", "1"), "this version does not serve it"


def raises(error: Exception) -> Callable[..., Awaitable[Any]]:
    async def do(*_: Any) -> Any:
        raise error

    return do
