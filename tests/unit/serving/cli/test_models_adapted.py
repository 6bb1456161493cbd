"""`longtake models add base+name --lora`, `ls`, `show` and `rm` of models with adapters; checkpoints that move.

The engines are in the store before, signed by a key that is trusted, so nothing is built here. What is merged is held
by tests/unit/engines/families/wan/test_adapters.py; a build of a model with adapters was made by hand alone.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from typer.testing import CliRunner, Result

from engines import models
from engines.added import Added
from engines.adding import record
from engines.checkpoints import deltas
from engines.checkpoints.adapters import AdapterFile
from engines.checkpoints.files import Folder
from engines.families.buildable import Sizes
from serving import engine_store, model_store
from serving.cli.models import app
from serving.cli.models_adapted import _taken_apart
from serving.local.up import check
from serving.settings import Engines, Settings
from serving.store.base import Store
from serving.store.open import open_store
from tests.contract.engine_builder import engines, layer
from tests.unit.engines.families.wan import adapters
from tests.unit.engines.families.wan.checkpoints import save

RUN = CliRunner()
NAME = "wan-tiny+style"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint, and an adapter beside it."""
    for package in ("torch", "diffusers", "transformers", "tokenizers"):
        pytest.importorskip(package, reason="checkpoints of tests are made with longtake[build]")
    folder = tmp_path_factory.mktemp("saved")
    save("text", folder / "checkpoint")
    adapters.save(folder / "style.safetensors", adapters.tensors("kohya", alpha=2.0))
    return folder


@pytest.fixture
def place(saved: Path, home: Path, tmp_path: Path) -> Path:
    """An installation that the checkpoint was added to, and that has engines for it with the adapter at 0.5 and 1."""
    shutil.copytree(saved, tmp_path / "saved")
    base, kept = recorded(tmp_path / "saved")
    layers = models.opened(Folder(saved / "checkpoint"), name="wan-tiny").layers()

    async def fill(store: Store) -> None:
        await model_store.register(store, base, kept)
        built = layer(store, home / ".longtake" / "engine-keys")
        await built.publish(*engines(base.digest, "wan-tiny"))
        for scale in (0.5, 1.0):
            file = AdapterFile(Folder(saved), "style.safetensors")
            merged = deltas.record(file, layers, "wan-tiny", source="/anywhere", scale=scale, progress=lambda *_: None)
            await built.publish(*engines(replace(base, adapters=(merged,)).digest, NAME))

    inside(tmp_path, fill)
    return tmp_path / "saved"


def recorded(folder: Path) -> tuple[Added, bytes]:
    source = folder / "checkpoint"
    return record(
        Folder(source), name="wan-tiny", source=str(source), sizes=Sizes(), added_ms=1, progress=lambda *_: None
    )


def inside(tmp_path: Path, work: Callable[[Store], object]) -> None:
    async def run() -> None:
        store = await open_store(str(tmp_path / "store"), probe=False)
        try:
            await work(store)  # type: ignore[misc]
        finally:
            await store.close()

    asyncio.run(run())


def did(*words: str) -> str:
    result = RUN.invoke(app, list(words))
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(*words: str) -> str:
    """What is told last; the code is 2."""
    result: Result = RUN.invoke(app, list(words))
    assert result.exit_code == 2, result.output
    line = result.stderr.splitlines()[-1]
    assert line.startswith("error: ")
    return line


def test_a_model_with_an_adapter_is_added_shown_served_and_removed_before_its_base(place: Path, tmp_path: Path) -> None:
    file = place / "style.safetensors"
    said = did("add", NAME, "--lora", f"{file}=0.5")
    assert "with style.safetensors at 0.5, rank 4, 20 layers" in said
    assert did("add", NAME, "--lora", f"{file}=0.5", "-o", "json").startswith('{"model": "wan-tiny+style"')
    [row] = [row for row in json.loads(did("ls", "-o", "json")) if row["model"] == NAME]
    assert row["digest"]
    assert row["adapters"][0] == {**row["adapters"][0], "scale": 0.5, "rank": 4, "layers": 20, "source": str(file)}
    assert "wan-tiny+style wan" in did("ls")
    assert "adapters         style.safetensors at 0.5, rank 4, 20 layers" in did("show", NAME)
    models_there = sorted(path.name for path in (tmp_path / "store/objects/models").rglob("*") if path.is_file())
    assert len(models_there) == 3  # two records, and the files of the one checkpoint

    async def serve(store: Store) -> None:
        served = await model_store.find(NAME, store)
        assert served.family.capabilities.model == NAME
        settings = Engines(trusted_keys=tmp_path / "home/.longtake/engine-keys/trusted")
        assert (await engine_store.find(served, store, settings)).manifest.model == NAME
        async with model_store.sources_of(served, store) as sources:
            assert [one.name for one in sources.adapters] == ["style.safetensors"]

    inside(tmp_path, serve)
    shutil.rmtree(place)  # serving takes the store alone, and the adapter's file is wanted for a build
    with pytest.raises(Exception, match="no such"):
        inside(tmp_path, serve)

    told = refused("rm", "wan-tiny")
    assert f"{NAME} stands on wan-tiny: `longtake models rm` first what has adapters" in told
    did("rm", NAME)
    assert NAME not in did("ls")
    did("rm", "wan-tiny")


def test_a_front_door_knows_it_by_its_name(place: Path, tmp_path: Path) -> None:
    did("add", NAME, "--lora", str(place / "style.safetensors"))
    settings = Settings(store=str(tmp_path / "store"), model=NAME)
    with pytest.raises(Exception, match="no engine 'text_encoder' of model wan-tiny"):  # ours are of other components
        asyncio.run(check(settings))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["wan-tiny+style", "--lora", "none.safetensors"], "none.safetensors: no such file"),
        (["wan-tiny", "--lora", "style.safetensors"], "called after its base, like wan-1.3b+style"),
        (["wan-tiny+a+b", "--lora", "style.safetensors"], "called after its base"),
        (["wan-tiny+Style", "--lora", "style.safetensors"], "called after its base"),
        (
            ["other+style", "--lora", "style.safetensors"],
            "'other' was not added, and adapters go with models that were",
        ),
        (["wan-tiny+style", "--lora", "style.safetensors=0"], "scale: 0"),
        (["wan-tiny+style", "--lora", "style.safetensors=nan"], "scale: nan"),
        (["wan-tiny+style", "--lora", "=0.5"], "--lora =0.5: a file"),
        (["wan-tiny+style", "--lora", "style.safetensors", "--seconds", "2"], "those are the base's"),
        (["wan-tiny+style", "--lora", "style.safetensors", "--from", "."], "those are the base's"),
        (["wan-tiny+style", "--from", "checkpoint"], "with --lora"),
        (["wan-tiny"], "--from its checkpoint"),
        (["wan-tiny+style", "--lora", "image.safetensors"], "image.safetensors: unet.0.lora_A.weight is no layer of"),
    ],
    ids=str,
)
def test_what_is_wrong_is_told_in_a_line(
    place: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], told: str
) -> None:
    monkeypatch.chdir(place)
    save_file({"unet.0.lora_A.weight": np.ones((2, 2), np.float32)}, place / "image.safetensors")
    assert told in refused("add", *words)


def test_its_name_is_that_of_one_file_at_one_scale(place: Path) -> None:
    file = place / "style.safetensors"
    did("add", NAME, "--lora", f"{file}=0.5")
    assert "there with other adapters, or other scales of them" in refused("add", NAME, "--lora", str(file))
    moved = file.rename(place / "moved=1.safetensors")
    did("add", NAME, "--lora", f"{moved}=0.5")
    assert _adapter_of(NAME)["source"] == str(moved)


def test_a_files_name_may_end_like_a_scale(place: Path) -> None:
    odd = (place / "style.safetensors").rename(place / "style=0.5")
    did("add", NAME, "--lora", str(odd))
    assert _adapter_of(NAME) == {**_adapter_of(NAME), "source": str(odd), "scale": 1.0}


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("s3://host:9000/loras/style.safetensors=0.8", ("s3://host:9000/loras/style.safetensors", 0.8)),
        ("s3://host:9000/loras/a.safetensors?secure=0", ("s3://host:9000/loras/a.safetensors?secure=0", 1.0)),
        ("s3://host:9000/loras/a.safetensors?secure=0=0.8", ("s3://host:9000/loras/a.safetensors?secure=0", 0.8)),
        ("s3://host:9000/l/a.safetensors?region=x&secure=1", ("s3://host:9000/l/a.safetensors?region=x&secure=1", 1.0)),
        ("/loras/lr=0.1/style.safetensors", ("/loras/lr=0.1/style.safetensors", 1.0)),
    ],
)
def test_a_scale_is_told_from_an_option_and_from_a_name(said: str, meant: tuple[str, float]) -> None:
    assert _taken_apart(said) == meant


def _adapter_of(name: str) -> dict[str, object]:
    [row] = [row for row in json.loads(did("ls", "-o", "json")) if row["model"] == name]
    found: dict[str, object] = row["adapters"][0]
    return found


def test_nothing_is_merged_into_what_nobody_trusted_built(place: Path, tmp_path: Path) -> None:
    """Whoever writes to the store may write the record of a base, and have an operator build and sign what he likes."""
    for signature in (tmp_path / "store/objects/engines/wan-tiny").rglob("signatures/*"):
        signature.unlink()
    result = RUN.invoke(app, ["add", NAME, "--lora", str(place / "style.safetensors")])
    assert result.exit_code == 1, result.output
    assert "engines/wan-tiny/" in result.stderr


def test_a_checkpoint_that_moved_is_found_where_it_is_now_and_another_is_told_by_its_first_file(
    place: Path, tmp_path: Path
) -> None:
    did("add", NAME, "--lora", f"{place / 'style.safetensors'}=0.5")
    moved = (place / "checkpoint").rename(tmp_path / "moved")
    did("add", "wan-tiny", "--from", str(moved))
    sources = []

    async def look(store: Store) -> None:
        record = await model_store.added(store).get("wan-tiny")
        assert record is not None
        sources.append(record.source)
        async with model_store.sources_of(await model_store.find(NAME, store), store) as found:
            sources.append(str(found.files))

    inside(tmp_path, look)
    assert sources == [str(moved)] * 2
    assert "there in other sizes" in refused("add", "wan-tiny", "--from", str(moved), "--seconds", "2")
    shard = next((moved / "vae").glob("*.safetensors"))
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    told = refused("add", "wan-tiny", "--from", str(moved))
    assert f"another checkpoint, whose vae/{shard.name} differs" in told
