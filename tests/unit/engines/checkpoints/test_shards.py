"""Headers of safetensors files that mean harm."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engines.checkpoints.files import Folder
from engines.checkpoints.shards import read_shard, shown
from engines.errors import CheckpointUnfit


def refused(folder: Path, **tensors: dict[str, Any]) -> str:
    """What is said of a file with this header."""
    header = json.dumps(tensors).encode()
    (folder / "w.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    with pytest.raises(CheckpointUnfit) as error:
        read_shard(Folder(folder), "w.safetensors")
    return str(error.value)


@pytest.mark.parametrize("shape", [[9] * 300_000, [10**30, 10**30], [1] * 9])
def test_a_shape_that_no_tensor_has_is_refused_before_it_is_multiplied(tmp_path: Path, shape: list[int]) -> None:
    assert "has a shape or a place that no tensor has" in refused(
        tmp_path, w={"dtype": "F32", "shape": shape, "data_offsets": [0, 4]}
    )


@pytest.mark.parametrize(
    "tensor",
    [
        {"dtype": "\x1b[2J", "shape": [1], "data_offsets": [0, 4]},
        {"dtype": "F8", "shape": [1], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]},
    ],
)
def test_what_is_said_of_a_file_moves_no_cursor_and_fills_no_screen(tmp_path: Path, tensor: dict[str, Any]) -> None:
    said = refused(tmp_path, **{"\x1b]0;x\x07" + "w" * 100_000: tensor})
    assert said.isprintable()
    assert len(said) < 600


def test_what_can_be_shown_is_shown_as_it_is() -> None:
    assert shown("blocks.0.attn1.to_q.weight") == "blocks.0.attn1.to_q.weight"
