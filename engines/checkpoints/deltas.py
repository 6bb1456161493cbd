"""What a LoRA adapter adds to a model's weights: its values, layer by layer, and its record.

`serving/cli/models_adapted.py` records an adapter that an operator brings, `building/merge.py` adds what it says to the
modules that engines are built of. `adapters.py` has checked before what each tensor is and where it fits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from engines.checkpoints import adapters, shards
from engines.checkpoints.adapters import Adapter, AdapterFile, Change, Layer, Part
from engines.checkpoints.files import digest_of
from engines.checkpoints.shards import Tensor, shown
from engines.errors import CheckpointUnfit

Values = NDArray[np.float32]
_DTYPES: Final = {"F32": "<f4", "F16": "<f2", "I64": "<i8"}


@dataclass(frozen=True)
class AdapterRecord:
    """An adapter as it is merged into a model: which file, and how strongly."""

    source: str
    """Where the file lay: engines for another runtime are built from there."""
    sha256: str
    size: int
    """Bytes."""
    scale: float
    rank: int
    """The largest of its products."""
    layers: int
    """How many layers it changes."""

    def __str__(self) -> str:
        name = self.source.partition("?")[0].rpartition("/")[2]
        return f"{shown(name)} at {self.scale:g}, rank {self.rank}, {self.layers} layers"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The inverse. Raises `KeyError`, `TypeError` or `ValueError` for anything else."""
        return cls(
            source=str(value["source"]),
            sha256=str(value["sha256"]),
            size=int(value["size"]),
            scale=checked_scale(float(value["scale"])),
            rank=int(value["rank"]),
            layers=int(value["layers"]),
        )


class Delta(NamedTuple):
    """What is to be added to one parameter of a model's modules."""

    layer: Layer
    part: Literal["weight", "bias"]
    values: Values


def record(
    file: AdapterFile,
    layers: Mapping[str, Layer],
    model: str,
    *,
    source: str,
    scale: float,
    progress: Callable[[str, int, int], None],
) -> AdapterRecord:
    """The record of an adapter for a model whose layers may be called so, every value looked at.

    `progress` is told the file, and bytes done and in all. Raises `CheckpointUnfit`; `ValueError` for the scale.
    """
    checked_scale(scale)
    adapter = adapters.read(file, layers, model)
    sha256, size, done = digest_of(*file), adapter.shard.size, 0
    for delta in deltas(file, adapter, sha256, scale):
        progress(file.name, done, size)
        done = min(done + delta.values.nbytes, size)
    progress(file.name, size, size)
    return AdapterRecord(source, sha256, size, scale, adapter.rank, len(adapter.changes))


def checked_scale(scale: float) -> float:
    """Itself. Raises `ValueError` for one that is none, or changes nothing."""
    if not np.isfinite(scale) or np.float32(scale) == 0:
        raise ValueError(f"scale: {scale:g}; a number other than 0, 1 being as it was trained")
    return scale


def deltas(file: AdapterFile, adapter: Adapter, digest: str, scale: float) -> Iterator[Delta]:
    """What the adapter adds to the model's weights at this scale, in float32, layer by layer.

    Raises `CheckpointUnfit` for a value that is not finite; and at the end, unless the file's sha256 is `digest`.
    """
    by_tensor = {tensor.name: (change, part) for change in adapter.changes for part, tensor in change.parts.items()}
    waiting: dict[str, dict[Part, Values]] = {}
    for tensor, data in shards.stream(file.files, adapter.shard, digest):
        change, part = by_tensor[tensor.name]
        come = waiting.setdefault(change.name, {})
        come[part] = _values(adapter.shard.file, tensor, data)
        if len(come) == len(change.parts):
            yield from _deltas(adapter.shard.file, change, waiting.pop(change.name), scale)


def _deltas(file: str, change: Change, values: Mapping[Part, Values], scale: float) -> Iterator[Delta]:
    strength = change.strength
    if "alpha" in values:
        strength = float(values["alpha"].reshape(())) / change.rank
    terms: dict[Literal["weight", "bias"], list[Values]] = {"weight": [], "bias": []}
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is not finite, and told below
        factor = np.float32(scale * strength)
        if "up" in values:
            terms["weight"].append(factor * (values["up"] @ values["down"]))
        if "up_bias" in values:
            terms["bias"].append(factor * values["up_bias"])
        if "weight" in values:
            terms["weight"].append(np.float32(scale) * values["weight"])
        if "bias" in values:
            terms["bias"].append(np.float32(scale) * values["bias"])
        for part, found in terms.items():
            if found:
                added = sum(found[1:], found[0])
                if not np.isfinite(added).all():
                    raise CheckpointUnfit(
                        f"{file}: {change.name} at scale {scale:g} is more than float32 holds: choose a smaller scale"
                    )
                yield Delta(change.layer, part, added)


def _values(file: str, tensor: Tensor, data: bytes) -> Values:
    if tensor.dtype == "BF16":  # the upper half of a float32
        values = (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
    else:
        values = np.frombuffer(data, _DTYPES[tensor.dtype]).astype(np.float32)
    if not np.isfinite(values).all():
        raise CheckpointUnfit(
            f"{file}: {tensor.name} has values that are not finite: its training failed; take another"
        )
    return values.reshape(tensor.shape)
