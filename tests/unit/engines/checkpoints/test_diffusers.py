"""What a checkpoint is, is told without its weights; what is wrong with one, in a line; a changed byte is found."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from engines.checkpoints import diffusers, files
from engines.checkpoints.files import MAX_SMALL, Folder
from engines.errors import CheckpointUnfit

INDEX = {
    "_class_name": "ExamplePipeline",
    "_diffusers_version": "0.42.1",
    "net": ["diffusers", "ExampleNet"],
    "words": ["transformers", "ExampleWords"],
    "noise": ["diffusers", "ExampleScheduler"],
    "extra": [None, None],
    "ratio": 0.5,
}
NET: dict[str, NDArray[Any]] = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(4, np.float16)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint of a sharded component, one of a single file, and one without weights."""
    root = tmp_path / "checkpoint"
    for name in ("net", "words", "noise"):
        (root / name).mkdir(parents=True)
    write(root / "model_index.json", INDEX)
    write(root / "net/config.json", {"width": 3})
    write(root / "words/config.json", {})
    write(root / "noise/scheduler_config.json", {"flow_shift": 3.0})
    for number, name in enumerate(NET):
        save_file({name: NET[name]}, root / f"net/part-{number}.safetensors")
    write(
        root / "net/diffusion_pytorch_model.safetensors.index.json",
        {"metadata": {}, "weight_map": {"a": "part-0.safetensors", "b": "part-1.safetensors"}},
    )
    save_file({"c": np.zeros((5, 5), np.float32), "d": np.zeros((0, 2), np.float32)}, root / "words/model.safetensors")
    return root


def write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value))


def test_a_checkpoint_is_told_from_its_small_files_and_headers(folder: Path) -> None:
    found = diffusers.inspect(Folder(folder))
    assert (found.pipeline, found.options) == ("ExamplePipeline", {"ratio": 0.5})
    assert set(found.components) == {"net", "words", "noise"}
    net, words = found.component("net"), found.component("words")
    assert (net.architecture, net.config, net.parameters) == ("ExampleNet", {"width": 3}, 10)
    assert net.bytes_by_dtype == {"F32": 24, "F16": 8}
    assert words.parameters == 25
    assert found.component("noise").shards == ()
    assert found.component("noise").config == {"flow_shift": 3.0}
    assert found.files == tuple(sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*")))


def test_no_weight_is_read_to_look_at_a_checkpoint(folder: Path) -> None:
    source = Folder(folder)
    read: list[tuple[str, int]] = []

    class Watched(Folder):
        def read(self, name: str, begin: int, end: int) -> bytes:
            read.append((name, end))
            return super().read(name, begin, end)

    diffusers.inspect(Watched(folder))
    for name, end in read:
        header = 8 + int.from_bytes(source.read(name, 0, 8), "little") if name.endswith(".safetensors") else end
        assert end <= header


def test_nothing_heavy_is_imported_to_look_at_a_checkpoint() -> None:
    code = "import sys, engines.checkpoints.diffusers; print({'torch', 'numpy', 'diffusers'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"


def test_weights_come_one_after_the_other_as_they_were_saved(folder: Path) -> None:
    source = Folder(folder)
    checkpoint = diffusers.inspect(source)
    digests = diffusers.record(source, checkpoint)
    types = {"F32": np.float32, "F16": np.float16}
    streamed = {
        tensor.name: np.frombuffer(data, types[tensor.dtype]).reshape(tensor.shape)
        for tensor, data in diffusers.stream(source, checkpoint.component("net"), digests)
    }
    assert streamed.keys() == NET.keys()
    for name, values in NET.items():
        np.testing.assert_array_equal(streamed[name], values)
    assert sum(1 for _ in diffusers.stream(source, checkpoint.component("words"), digests)) == 2


@pytest.mark.parametrize("at", [3, 20, -1], ids=["length", "header", "weights"])
def test_a_byte_that_changed_after_the_recording_is_found(folder: Path, at: int) -> None:
    source = Folder(folder)
    checkpoint = diffusers.inspect(source)
    digests = diffusers.record(source, checkpoint)
    path = folder / "net/part-1.safetensors"
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointUnfit, match=r"net/part-1\.safetensors: its digest is"):
        list(diffusers.stream(source, checkpoint.component("net"), digests))
    assert diffusers.digest(diffusers.record(source, checkpoint)) != diffusers.digest(digests)


def test_a_checkpoint_has_one_digest_wherever_it_lies(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "linked").symlink_to(folder)
    digests = [
        diffusers.digest(diffusers.record(Folder(root), diffusers.inspect(Folder(root))))
        for root in (folder, tmp_path / "linked")
    ]
    assert digests[0] == digests[1]


def test_linked_folders_are_as_if_they_lay_there_and_none_goes_round(folder: Path, tmp_path: Path) -> None:
    digests = diffusers.record(Folder(folder), diffusers.inspect(Folder(folder)))
    (folder / "words").rename(tmp_path / "kept")
    (folder / "words").symlink_to(tmp_path / "kept")
    (folder / "net/whole").symlink_to(folder)
    (folder / "net/again").symlink_to("again")
    found = Folder(folder)
    assert diffusers.record(found, diffusers.inspect(found)) == digests
    assert {name for name in found.names() if name not in digests} == set()


def _header(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Write a shard again with another header."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    change(header)
    said = json.dumps(header).encode()
    path.write_bytes(len(said).to_bytes(8, "little") + said + data[8 + length :])


def _index(change: dict[str, Any]) -> Callable[[Path], None]:
    return lambda root: write(root / "model_index.json", {**INDEX, **change})


def _map(change: dict[str, Any]) -> Callable[[Path], None]:
    path = "net/diffusion_pytorch_model.safetensors.index.json"
    placed = {"a": "part-0.safetensors", "b": "part-1.safetensors", **change}
    return lambda root: write(root / path, {"weight_map": placed})


def _shard(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    return lambda root: _header(root / "net/part-0.safetensors", change)


def _cut(bytes_left: int) -> Callable[[Path], None]:
    def cut(root: Path) -> None:
        path = root / "net/part-0.safetensors"
        path.write_bytes(path.read_bytes()[:bytes_left])

    return cut


def _pickle(root: Path) -> None:
    (root / "words/model.safetensors").rename(root / "words/pytorch_model.bin")


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "no index": (lambda root: (root / "model_index.json").unlink(), "model_index.json: not there"),
    "an index that is no object": (lambda root: write(root / "model_index.json", []), "a list where an object belongs"),
    "an index that is no JSON": (lambda root: (root / "model_index.json").write_text("{"), "no JSON"),
    "an index of gigabytes": (
        lambda root: os.truncate(root / "model_index.json", MAX_SMALL + 1),
        "67108865 bytes, where 67108864 are allowed",
    ),
    "another library": (_index({"net": ["their_code", "Net"]}), "'their_code', whose code would come with"),
    "code of its own": (lambda root: write(root / "net/config.json", {"auto_map": {}}), r"auto_map\), which is never"),
    "a component that leads out": (_index({"../net": ["diffusers", "Net"]}), "is no component's name"),
    "no folder for a component": (_index({"more": ["diffusers", "Net"]}), "more/: model_index.json names it"),
    "a missing shard": (lambda root: (root / "net/part-1.safetensors").unlink(), "copy it too"),
    "a shard that leads out": (_map({"a": "../words/model.safetensors"}), "is no file beside it"),
    "a shard from anywhere": (_map({"a": "/etc/passwd"}), "is no file beside it"),
    "a tensor that no shard holds": (_map({"z": "part-0.safetensors"}), "the shards do not hold z"),
    "a tensor in another shard": (_map({"a": "part-1.safetensors"}), "the shards do not hold a"),
    "an index without a map": (
        lambda root: write(root / "net/diffusion_pytorch_model.safetensors.index.json", {}),
        "no weight_map",
    ),
    "pickles alone": (_pickle, "words/pytorch_model.bin: weights as a pickle, which is never opened"),
    "weights of another name": (
        lambda root: (root / "words/model.safetensors").rename(root / "words/weights.safetensors"),
        "are looked for in words/model.safetensors",
    ),
    "no weights": (lambda root: (root / "words/model.safetensors").unlink(), "words/model.safetensors: not there"),
    "no configuration": (lambda root: (root / "net/config.json").unlink(), "net/config.json: not there; copy the"),
    "nothing of a shard": (_cut(0), "do not hold a safetensors header"),
    "a part of a header": (_cut(30), "do not hold a safetensors header"),
    "a part of the weights": (_cut(-3), "where its header says"),
    "a header that is no JSON": (
        lambda root: (root / "net/part-0.safetensors").write_bytes((2).to_bytes(8, "little") + b"{{"),
        "no safetensors header",
    ),
    "a header that is no object": (
        lambda root: (root / "net/part-0.safetensors").write_bytes((2).to_bytes(8, "little") + b"[]"),
        "no safetensors header",
    ),
    "a type that is quantised": (_shard(lambda header: header["a"].update(dtype="F8_E4M3")), "is F8_E4M3; weights may"),
    "a shape that is none": (_shard(lambda header: header["a"].update(shape=[-2, -3])), "no whole shape"),
    "places that do not fit": (_shard(lambda header: header["a"].update(data_offsets=[0, 20])), "places a wrongly"),
    "a gap before the weights": (_shard(lambda header: header["a"].update(data_offsets=[4, 28])), "places a wrongly"),
    "a tensor without a place": (_shard(lambda header: header["a"].pop("data_offsets")), "no safetensors header"),
}


@pytest.mark.parametrize(("damage", "told"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_told_in_one_line(folder: Path, damage: Callable[[Path], object], told: str) -> None:
    damage(folder)
    with pytest.raises(CheckpointUnfit, match=told) as error:
        diffusers.inspect(Folder(folder))
    assert re.fullmatch(r"[^\n]{20,300}", str(error.value))


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "net/../../secret", "net\\..\\secret", ""])
def test_no_name_leads_out_of_the_folder(folder: Path, name: str) -> None:
    (folder.parent / "secret").write_text("x")
    with pytest.raises(CheckpointUnfit, match="leads out of the checkpoint's folder"):
        Folder(folder).size(name)


def test_what_is_no_folder_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointUnfit, match="a checkpoint is a folder with model_index"):
        Folder(tmp_path / "none")


def test_a_large_file_is_hashed_piece_by_piece(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = files.digest_of(Folder(folder), "words/model.safetensors")
    monkeypatch.setattr(files, "PIECE", 7)
    assert files.digest_of(Folder(folder), "words/model.safetensors") == whole
