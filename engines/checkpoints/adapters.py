"""LoRA adapters: what a safetensors file would change of which layers, checked before anything is changed.

A file names layers as diffusers does (`transformer.blocks.0.attn1.to_q.lora_A.weight`), as the model's first code does
(`diffusion_model.blocks.0.self_attn.q.lora_down.weight`), or as kohya's trainers do
(`lora_unet_blocks_0_self_attn_q.lora_down.weight`). A family knows all names of its layers (`families/wan/layers.py`);
here every key must be one of them, with a known part behind it, and fit in shape. What is not understood is refused:
an adapter that is applied in part is another adapter. `deltas.py` reads the values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from engines.checkpoints import shards
from engines.checkpoints.diffusers import PICKLED
from engines.checkpoints.files import Files
from engines.checkpoints.peft import Settings
from engines.checkpoints.shards import BYTES_OF, Shard, Tensor
from engines.errors import CheckpointUnfit

Part = Literal["down", "up", "up_bias", "alpha", "weight", "bias"]
PARTS: Final[Mapping[str, Part]] = {
    "lora_A.weight": "down",
    "lora_down.weight": "down",
    "lora_B.weight": "up",
    "lora_up.weight": "up",
    "lora_B.bias": "up_bias",
    "alpha": "alpha",
    "diff": "weight",
    "diff_b": "bias",
}
"""How a key ends, and what it is: halves of a product, what goes with them, or a difference as it is."""
OTHER_KINDS: Final = {"dora_scale": "DoRA", "lokr_": "LoKr", "hada_": "LoHa", "oft_": "OFT", "lora_mid": "LoCon"}
"""Adapters of other arithmetic, by what their keys hold."""
_TYPES: Final = {**BYTES_OF, "I64": 8}
"""A whole number may be an alpha, and nothing else."""


@dataclass(frozen=True)
class Layer:
    """One layer of a model's modules, as an adapter sees it."""

    component: str
    """Of the family, whose module has it."""
    path: str
    """Of the layer in that module; or of a parameter, where that stands alone."""
    weight: tuple[int, ...]
    """The shape."""
    bias: tuple[int, ...] | None = None
    alone: bool = False
    """A parameter, and not the `weight` of a layer."""

    def parameter(self, part: Literal["weight", "bias"]) -> str:
        """The path of one of its parameters."""
        return self.path if self.alone else f"{self.path}.{part}"


@dataclass(frozen=True)
class Change:
    """What a file changes of one layer."""

    name: str
    """As the file calls the layer."""
    layer: Layer
    parts: Mapping[Part, Tensor]
    rank: int
    """0 where it has no product."""
    strength: float
    """Of the product: alpha over rank, as the file's settings say it. A key of its own for `alpha` goes before."""


@dataclass(frozen=True)
class Adapter:
    """One file, all checked that its header tells."""

    shard: Shard
    changes: tuple[Change, ...]

    @property
    def rank(self) -> int:
        """The largest of its products."""
        return max(change.rank for change in self.changes)


class AdapterFile(NamedTuple):
    """Where an adapter lies."""

    files: Files
    name: str


def read(file: AdapterFile, layers: Mapping[str, Layer], model: str) -> Adapter:
    """Read a file's header, for a model whose layers may be called so. Raises `CheckpointUnfit`, one line that names
    file, key and what to do."""
    _demand_safetensors(file)
    shard = shards.read_shard(*file, types=_TYPES)
    found: dict[str, dict[Part, Tensor]] = {}
    for tensor in sorted(shard.tensors, key=lambda tensor: tensor.name):
        name, part = _taken_apart(shard.file, tensor.name)
        if name not in layers:
            raise CheckpointUnfit(
                f"{shard.file}: {tensor.name} is no layer of {model}, whose layers are called like "
                f"{', '.join(_examples(layers))}: take an adapter that was trained for this model"
            )
        if part in found.setdefault(name, {}):
            raise CheckpointUnfit(f"{shard.file}: {tensor.name} comes twice, by two names: save the adapter again")
        if tensor.dtype == "I64" and part != "alpha":
            raise CheckpointUnfit(f"{shard.file}: {tensor.name} is I64: save it in {', '.join(BYTES_OF)}")
        found[name][part] = tensor
    settings = Settings(shard)
    settings.demand_of({name.partition(".")[0] for name in found})
    changes = tuple(_change(shard.file, name, layers[name], parts, settings) for name, parts in found.items())
    if not changes:
        raise CheckpointUnfit(f"{shard.file}: no tensors in it, so no adapter: copy it again")
    paths = [change.layer for change in changes]
    if len(set(paths)) != len(paths):
        twice = next(change.name for change in changes if paths.count(change.layer) > 1)
        raise CheckpointUnfit(f"{shard.file}: {twice} is there by another name too: save the adapter again")
    return Adapter(shard, changes)


def _change(file: str, name: str, layer: Layer, parts: Mapping[Part, Tensor], settings: Settings) -> Change:
    """Raises `CheckpointUnfit` for parts that do not fit the layer or one another."""
    wanted: dict[Part, tuple[int, ...] | None] = {"weight": layer.weight, "bias": layer.bias, "up_bias": layer.bias}
    rank, strength = 0, 1.0
    if parts.keys() & {"down", "up", "up_bias", "alpha"}:
        halves: tuple[tuple[Part, Part], ...] = (("down", "up"), ("up", "down"))
        for half, other in halves:
            if half not in parts:
                raise CheckpointUnfit(
                    f"{file}: {name} has no {half} half ({_endings(half)})"
                    f"{f' beside {parts[other].name}' if other in parts else ''}: save the adapter again, whole"
                )
        if len(layer.weight) != 2:
            raise CheckpointUnfit(
                f"{file}: {name} is no linear layer, and LoRA is merged into such alone: train it without this layer"
            )
        rank = parts["down"].shape[0] if parts["down"].shape else 0
        wanted |= {"down": (rank, layer.weight[1]), "up": (layer.weight[0], rank)}
        if not rank:
            raise CheckpointUnfit(f"{file}: {parts['down'].name} has rank 0: save the adapter again")
        strength = settings.strength(name, rank)
    for part, tensor in parts.items():
        if part == "alpha":
            if tensor.parameters != 1:
                raise CheckpointUnfit(f"{file}: {tensor.name} {list(tensor.shape)}, where one number belongs")
        elif tensor.shape != wanted[part]:
            shape = wanted[part]
            fits = f"where {list(shape)} fits" if shape else "where the layer has none"
            raise CheckpointUnfit(
                f"{file}: {tensor.name} {list(tensor.shape)}, {fits}: take an adapter that was trained for this model"
            )
    return Change(name, layer, parts, rank, strength)


def _taken_apart(file: str, key: str) -> tuple[str, Part]:
    """The layer's name and what of it."""
    if not key.isprintable():  # it is shown on terminals
        raise CheckpointUnfit(f"{file}: {key!r:.80} is no tensor's name: do not use this file")
    for ending, part in PARTS.items():
        if key.endswith(f".{ending}"):
            return key[: -len(ending) - 1], part
    for mark, kind in OTHER_KINDS.items():
        if mark in key:
            raise CheckpointUnfit(f"{file}: {key} is of {kind}, which is not merged here: train it as plain LoRA")
    raise CheckpointUnfit(f"{file}: {key} is no part of a LoRA, whose keys end in {', '.join(PARTS)}: save it so")


def _examples(layers: Mapping[str, Layer]) -> Iterator[str]:
    """A layer by all its names."""
    first = next(layer for layer in layers.values() if len(layer.weight) == 2)
    return (f"`{name}`" for name, layer in layers.items() if layer == first)


def _endings(half: Part) -> str:
    return " or ".join(ending for ending, part in PARTS.items() if part == half)


def _demand_safetensors(file: AdapterFile) -> None:
    begins = file.files.read(file.name, 0, min(4, file.files.size(file.name)))
    if file.name.endswith(PICKLED) or begins[:1] == b"\x80" or begins == b"PK\x03\x04":
        raise CheckpointUnfit(
            f"{file.name}: an adapter as a pickle, which is never opened: save it as safetensors, where you trust it"
        )
