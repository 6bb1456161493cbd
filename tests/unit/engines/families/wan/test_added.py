"""A checkpoint that was added is served from what the store keeps of it, and from nothing else."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from engines import models
from engines import objects as layout
from engines.added import Added, AddedModels
from engines.adding import record
from engines.building import build
from engines.building.build import make
from engines.checkpoints.files import Folder
from engines.errors import CheckpointUnfit, EngineCorrupt, EngineUnfit
from engines.families.buildable import Sizes
from engines.families.capabilities import Canvas
from engines.families.history import Before
from engines.key import digest_of
from engines.runtimes.registry import SHIPPED
from serving.engine_objects import EngineObjects
from serving.store.directory import DirectoryStore

BEFORE = Before(Canvas("16:9", 64, 112))

pytestmark = pytest.mark.anyio
SIZES = Sizes((Canvas("16:9", 32, 64),), seconds=2)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[DirectoryStore]:
    opened = DirectoryStore(tmp_path / "store")
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
def added(store: DirectoryStore) -> AddedModels:
    return AddedModels(EngineObjects(store))


@pytest.fixture
def checkpoint(make_checkpoint: Callable[[str], Path], tmp_path: Path) -> Path:
    """One that may be changed."""
    return Path(shutil.copytree(make_checkpoint("text"), tmp_path / "checkpoint"))


def recorded(folder: Path, name: str = "wan-tiny", sizes: Sizes = SIZES) -> tuple[Added, bytes]:
    told: list[int] = []
    found = record(
        Folder(folder),
        name=name,
        source=str(folder),
        sizes=sizes,
        added_ms=1_790_000_000_000,
        progress=lambda _, done, total: told.append(100 * done // total),
    )
    assert (told[0], told[-1]) == (0, 100)
    assert told == sorted(told)
    return found


async def test_it_is_what_the_checkpoint_is_without_the_checkpoint(added: AddedModels, checkpoint: Path) -> None:
    here = models.opened(Folder(checkpoint), name="wan-tiny", sizes=SIZES)
    digest = here.weights_digest()
    made, kept = recorded(checkpoint)
    assert await added.put(made, kept)
    shutil.rmtree(checkpoint)

    found = await added.open("wan-tiny")

    assert found is not None
    assert found.weights_digest() == digest == made.digest
    assert found.family.capabilities == here.family.capabilities
    assert found.family.capabilities.canvases == SIZES.canvases
    assert (found.family.capabilities.root_latents, found.family.capabilities.seconds.default) == (9, 2)
    assert found.family.read_prompt(" a  cat", before=BEFORE, seed=1).effective_prompts[0] == "a cat"
    with pytest.raises(CheckpointUnfit, match="its weights are where the checkpoint is"):
        found.family.graphs(found.weights)
    assert await added.names() == ["wan-tiny"]


async def test_a_name_has_one_model_until_it_is_removed(added: AddedModels, checkpoint: Path) -> None:
    made, kept = recorded(checkpoint)
    assert await added.put(made, kept)
    assert not await added.put(replace(made, sizes=Sizes()), kept)
    assert await added.remove("wan-tiny")
    assert not await added.remove("wan-tiny")
    assert (await added.names(), await added.open("wan-tiny")) == ([], None)
    assert await added.put(replace(made, sizes=Sizes()), kept)
    found = await added.get("wan-tiny")
    assert found is not None
    assert found.sizes == Sizes()


@pytest.mark.parametrize("place", [0, -1])
async def test_what_is_kept_is_checked_before_it_is_read(
    added: AddedModels, store: DirectoryStore, checkpoint: Path, place: int
) -> None:
    made, kept = recorded(checkpoint)
    await added.put(made, kept)
    key = layout.model_files_key("wan-tiny", made.kept)
    there = await store.get(key)
    flipped = bytearray(there.data)
    flipped[place] ^= 1
    await store.swap(key, bytes(flipped), there.version)
    with pytest.raises(EngineCorrupt, match="longtake models rm wan-tiny"):
        await added.open("wan-tiny")
    await store.delete(key)
    with pytest.raises(EngineCorrupt, match="longtake models rm wan-tiny"):
        await added.open("wan-tiny")


async def test_another_tokenizer_has_another_digest_or_is_refused(added: AddedModels, checkpoint: Path) -> None:
    """Whoever writes to the store may write a record: engines are found by the digest of all files, or not at all."""
    made, _ = recorded(checkpoint)
    (checkpoint / "tokenizer/tokenizer.json").write_text((checkpoint / "tokenizer/tokenizer.json").read_text() + " ")
    other, kept = recorded(checkpoint)
    assert other.digest != made.digest
    lying = [replace(file, sha256=old.sha256) for file, old in zip(other.files, made.files, strict=True)]
    with pytest.raises(EngineCorrupt, match=r"tokenizer\.json has another digest"):
        replace(other, files=tuple(lying)).opened(kept)


@pytest.mark.parametrize("change", [{"end": 1}, {"end": -1}, {"begin": -5}, {"size": 1}], ids=repr)
async def test_a_record_that_cuts_its_files_otherwise_is_refused(checkpoint: Path, change: dict[str, int]) -> None:
    """A slice that is longer than its file, or counted from the end, would go by unchecked."""
    made, kept = recorded(checkpoint)
    files = [
        replace(file, **{name: getattr(file, name) + by for name, by in change.items()})
        if file.name == "tokenizer/tokenizer.json"
        else file
        for file in made.files
    ]
    with pytest.raises(EngineCorrupt, match="another digest"):
        replace(made, files=tuple(files)).opened(kept + b"x")


def test_what_no_component_is_made_of_is_left_alone(checkpoint: Path, tmp_path: Path) -> None:
    made, kept = recorded(checkpoint)
    secret = tmp_path / "secret"
    secret.write_bytes(b"a key of this machine")
    (checkpoint / "tokenizer/notes.txt").symlink_to(secret)
    (checkpoint / "vae/diffusion_pytorch_model.fp16.safetensors").write_bytes(b"once more")
    again, kept_again = recorded(checkpoint)
    assert (again.digest, kept_again) == (made.digest, kept)
    assert again.files == made.files


def test_a_tokenizer_that_is_none_is_told_before_weights_are_read(checkpoint: Path) -> None:
    (checkpoint / "tokenizer/tokenizer.json").write_text("{}")
    with pytest.raises(CheckpointUnfit, match=r"tokenizer\.json: no tokenizer"):
        recorded(checkpoint)


@pytest.mark.parametrize("place", ["word", "end"])
def test_a_token_that_the_text_encoder_lacks_is_told_before_weights_are_read(checkpoint: Path, place: str) -> None:
    path = checkpoint / "tokenizer/tokenizer.json"
    tokenizer = json.loads(path.read_text())
    if place == "word":
        tokenizer["model"]["vocab"]["horse"] = 32
    else:
        tokenizer["post_processor"]["special_tokens"]["</s>"]["ids"] = [32]
    path.write_text(json.dumps(tokenizer))
    with pytest.raises(CheckpointUnfit, match=r"tokenizer\.json: has a token 32, where .* vocab_size is 32"):
        recorded(checkpoint)


@pytest.mark.parametrize(
    "data",
    [
        b"[" * 100_000,
        b'{"format": 1, "name": "odd", "source": "", "files": [], "kept": "", "canvases": ["16:9"], "seconds": 1}',
        b'{"format": 1, "name": "odd", "source": "", "files": [], "kept": "", "canvases": [], "seconds": 1e999}',
    ],
    ids=["deep", "canvas", "seconds"],
)
async def test_hostile_records_are_refused_and_hide_no_other(
    added: AddedModels, store: DirectoryStore, checkpoint: Path, data: bytes
) -> None:
    await added.put(*recorded(checkpoint))
    await store.put_if_absent(layout.model_key("odd"), data)
    await store.put_if_absent(layout.model_key("large"), b" " * ((16 << 20) + 1))
    with pytest.raises(EngineCorrupt, match=r"models/odd/record\.json"):
        await added.open("odd")
    with pytest.raises(EngineCorrupt, match=r"models/large/record\.json"):
        await added.open("large")
    assert await added.names() == ["large", "odd", "wan-tiny"]


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"format": 2}', b'{"format": 1, "files": 3}', b"\xff"])
async def test_a_record_that_cannot_be_read_names_its_key(
    added: AddedModels, store: DirectoryStore, data: bytes
) -> None:
    await store.put_if_absent(layout.model_key("odd"), data)
    with pytest.raises(EngineCorrupt, match=r"models/odd/record\.json"):
        await added.open("odd")


async def test_the_record_of_another_name_is_refused(
    added: AddedModels, store: DirectoryStore, checkpoint: Path
) -> None:
    made, _ = recorded(checkpoint)
    await store.put_if_absent(layout.model_key("other"), made.to_json())
    with pytest.raises(EngineCorrupt, match="the record of wan-tiny"):
        await added.open("other")


@pytest.mark.parametrize("name", ["", "Wan", "../up", "a/b", "a" * 64, ".", "wan tiny", "blobs"])
def test_a_name_that_is_none_is_refused(checkpoint: Path, name: str) -> None:
    with pytest.raises(ValueError, match="name: "):
        recorded(checkpoint, name)


@pytest.mark.parametrize(
    ("sizes", "told"),
    [
        (Sizes((Canvas("16:9", 40, 64),)), "height of 16"),
        (Sizes((Canvas("16:9", 16, 32),)), "32 to 2048"),
        (Sizes(seconds=32), "1 to 31"),
        (Sizes((Canvas("16:9", 64, 32),)), "width by height"),
        (Sizes((Canvas("16:9", 32, 64), Canvas("16:9", 64, 112))), "two of one aspect ratio"),
    ],
)
def test_sizes_that_the_model_cannot_make_are_told_before_weights_are_read(
    checkpoint: Path, sizes: Sizes, told: str
) -> None:
    with pytest.raises(CheckpointUnfit, match=told):
        recorded(checkpoint, sizes=sizes)


def test_engines_are_built_from_the_files_that_were_added_alone(checkpoint: Path) -> None:
    pytest.importorskip("onnxscript", reason="a build needs longtake[build]")
    made, kept = recorded(checkpoint)
    scheduler = checkpoint / "scheduler/scheduler_config.json"
    scheduler.write_text(json.dumps({**json.loads(scheduler.read_text()), "flow_shift": 5.0}))
    with pytest.raises(EngineUnfit, match="not the files that wan-tiny was added with"):
        make(made.opened(kept), Folder(checkpoint), SHIPPED.default(), ["cpu"], lambda *_: None, precisions={})


def test_a_checkpoint_is_read_once_to_be_recorded_and_once_to_be_built(checkpoint: Path) -> None:
    """Its weights; headers and small files are looked at before, to tell at once what is wrong with them."""
    read: list[tuple[str, int, int]] = []

    class Watched(Folder):
        def read(self, name: str, begin: int, end: int) -> bytes:
            read.append((name, begin, end))
            return super().read(name, begin, end)

    files = Watched(checkpoint)
    made, kept = record(files, name="wan-tiny", source="/", sizes=SIZES, added_ms=1, progress=lambda *_: None)
    model = made.opened(kept)
    headers = {file.name: file.end - file.begin for file in made.files if file.name.endswith(".safetensors")}

    def weights_read() -> Counter[str]:
        found: Counter[str] = Counter()
        for name, begin, end in read:
            if name in headers and end > headers[name]:
                found[name] += end - max(begin, headers[name])
        return found

    once = {name: files.size(name) - header for name, header in headers.items()}
    assert weights_read() == once
    read.clear()
    build.modules_of(model, files, made.recorded, tell=lambda _: None)
    assert weights_read() == once
    assert {name for name, *_ in read} == headers.keys()  # all else is taken from the record


def test_weights_that_changed_since_they_were_recorded_are_not_built(checkpoint: Path) -> None:
    made, kept = recorded(checkpoint)
    [shard, *_] = sorted((checkpoint / "transformer").glob("*.safetensors"))
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    with pytest.raises(CheckpointUnfit, match=f"transformer/{shard.name}: its digest is no longer"):
        build.modules_of(made.opened(kept), Folder(checkpoint), made.recorded, tell=lambda _: None)


def test_a_header_that_somebody_wrote_into_the_store_places_no_weights(checkpoint: Path) -> None:
    """Headers are kept in the store, whose writers nobody vouches for: two tensors of one shape could change places."""
    made, kept = recorded(checkpoint)
    one, other = b"blocks.0.attn1.to_q.weight", b"blocks.0.attn1.to_k.weight"
    headers = [kept[file.begin : file.end] for file in made.files if file.name.endswith(".safetensors")]
    [header] = [header for header in headers if one in header]
    assert other in header
    swapped = kept.replace(
        header, header.replace(one, b"-" * len(one)).replace(other, one).replace(b"-" * len(one), other)
    )
    assert swapped != kept
    lying = replace(made, kept=digest_of(swapped))
    with pytest.raises(CheckpointUnfit, match=r"transformer/.*: its digest is no longer"):
        build.modules_of(lying.opened(swapped), Folder(checkpoint), lying.recorded, tell=lambda _: None)


def test_a_model_with_adapters_shares_the_files_of_its_base(checkpoint: Path) -> None:
    assert layout.model_key("wan+style") == "models/wan.WITH.style/record.json"
    assert layout.model_in("models/wan.WITH.style/record.json") == "wan+style"
    assert layout.model_files_key("wan+style", "f") == layout.model_files_key("wan", "f")
    assert layout.set_folder("wan+style", "w") == "engines/wan.WITH.style/w/"
    found = layout.read_set_key("engines/wan.WITH.style/w/manifest-1.json")
    assert found is not None
    assert found.model == "wan+style"
    for name in ("wan+", "+style", "wan+a+b", "wan+Style", "wan.WITH.style"):
        assert not layout.is_model_name(name)


async def test_how_far_predictions_are_reused_stands_in_the_record_of_these_weights_alone(
    added: AddedModels, checkpoint: Path
) -> None:
    base, kept = recorded(checkpoint)
    await added.put(base, kept)
    assert not await added.cache_steps("none", 0.05)
    assert await added.cache_steps(base.name, 0.05)
    await added.move(replace(base, source="s3://elsewhere"))
    found, model = await added.get(base.name), await added.open(base.name)
    assert found == replace(base, source="s3://elsewhere", step_cache=0.05)
    assert model is not None
    assert model.family.capabilities.step_cache == 0.05
    assert Added.from_json(base.to_json(), name=base.name).step_cache == 0
    assert await added.cache_steps(base.name, 0)
    assert (await added.get(base.name)) == replace(base, source="s3://elsewhere")


@pytest.mark.parametrize("threshold", [-0.1, 1.0, float("nan"), float("inf")])
async def test_a_threshold_that_is_none_is_refused(added: AddedModels, checkpoint: Path, threshold: float) -> None:
    base, kept = recorded(checkpoint)
    await added.put(base, kept)
    with pytest.raises(ValueError, match="step_cache: "):
        await added.cache_steps(base.name, threshold)
    said = replace(base, step_cache=threshold).to_json()
    with pytest.raises(EngineCorrupt):
        Added.from_json(said, name=base.name)
