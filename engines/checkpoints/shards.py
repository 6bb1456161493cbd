"""What one safetensors file holds, by its header alone, and its tensors one after the other.

`diffusers.py` and `adapters.py` call it. The header is read here and not by a library, so that it can be read by range
from anywhere, and so that a file that was cut off is a sentence and not a stack.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from engines.checkpoints.files import Files
from engines.errors import CheckpointUnfit

BYTES_OF: Final = {"F32": 4, "F16": 2, "BF16": 2}
"""The types that weights may have, and the bytes of one value."""
_MOST_DIMENSIONS, _LARGEST, _MOST_SHOWN = 8, 2**48, 80
MAX_HEADER: Final = 100_000_000
"""Bytes; the format's own bound."""
_LENGTH: Final = 8


@dataclass(frozen=True)
class Tensor:
    """One tensor of a shard: what it is, and which bytes of the file."""

    name: str
    dtype: str
    """A name of `BYTES_OF`."""
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def parameters(self) -> int:
        """Values in it."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Shard:
    """One safetensors file."""

    file: str
    size: int
    """Bytes."""
    tensors: tuple[Tensor, ...]
    """In the order of their bytes, which leave no gap."""
    begin: int
    """Where the tensors' bytes begin: what is before them is the header."""
    header: str
    """sha256 of the header's bytes."""
    metadata: Mapping[str, str]
    """What whoever saved it wrote beside the tensors."""


def read_shard(files: Files, file: str, types: Mapping[str, int] = BYTES_OF) -> Shard:
    """Read a shard's header; `types` are those that its tensors may have, with the bytes of one value.

    Raises `CheckpointUnfit` for a file that is cut off, damaged, or of another type.
    """
    size = files.size(file)
    length = int.from_bytes(files.read(file, 0, _LENGTH), "little") if size >= _LENGTH else size
    begin = _LENGTH + length
    if length > MAX_HEADER or begin > size:
        raise CheckpointUnfit(f"{file}: {size} bytes do not hold a safetensors header of {length}; copy it again")
    data = files.read(file, 0, begin)
    try:
        header: dict[str, Any] = json.loads(data[_LENGTH:])
        metadata = _metadata(header.pop("__metadata__", {}))
        tensors = [_tensor(file, name, said, begin, types) for name, said in header.items()]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        if isinstance(error, CheckpointUnfit):
            raise
        raise CheckpointUnfit(f"{file}: no safetensors header ({error}); copy it again") from error
    tensors.sort(key=lambda tensor: (tensor.begin, tensor.end))
    at = begin
    for tensor in tensors:
        if tensor.begin != at or tensor.end - tensor.begin != tensor.parameters * types[tensor.dtype]:
            raise CheckpointUnfit(f"{file}: the header places {shown(tensor.name)} wrongly; copy the file again")
        at = tensor.end
    if at != size:
        raise CheckpointUnfit(f"{file}: {size} bytes where its header says {at}; copy it again")
    return Shard(file, size, tuple(tensors), begin, hashlib.sha256(data).hexdigest(), metadata)


def stream(files: Files, shard: Shard, digest: str) -> Iterator[tuple[Tensor, bytes]]:
    """A shard's tensors with their bytes, little-endian, one after the other; no more than one is held.

    The whole file is hashed as it goes by. Raises `CheckpointUnfit`, after the last tensor, unless its sha256 is
    `digest`: who uses the tensors must have come to the end. The header must be the one that `shard` was read from, so
    that what was hashed is also what was understood.
    """
    found = hashlib.sha256(files.read(shard.file, 0, shard.begin))
    same = found.hexdigest() == shard.header
    for tensor in shard.tensors if same else ():
        data = files.read(shard.file, tensor.begin, tensor.end)
        found.update(data)
        yield tensor, data
    if not same or found.hexdigest() != digest:
        raise CheckpointUnfit(
            f"{shard.file}: its digest is no longer {digest[:12]}, as it was recorded; copy it again, or record it anew"
        )


def shown(said: object) -> str:
    """What a file says, as a terminal may have it: one line, nothing that moves the cursor, and not too much of it."""
    text = "".join(sign if sign.isprintable() else "?" for sign in str(said)[: _MOST_SHOWN + 1])
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"


def _metadata(said: Any) -> dict[str, str]:
    if not isinstance(said, dict) or not all(isinstance(value, str) for value in said.values()):
        raise TypeError("its __metadata__ is no text by name")
    return said


def _tensor(file: str, name: str, said: dict[str, Any], data: int, types: Mapping[str, int]) -> Tensor:
    dtype, shape, (begin, end) = said["dtype"], said["shape"], said["data_offsets"]
    if dtype not in types:
        raise CheckpointUnfit(
            f"{file}: {shown(name)} is {shown(dtype)}; weights may be {', '.join(BYTES_OF)}: take the checkpoint as it "
            "was before it was quantised"
        )
    if any(type(number) is not int or number < 0 for number in (*shape, begin, end)):
        raise ValueError(f"{shown(name)} has no whole shape and place")
    # Before anything is multiplied: the product of thousands of numbers takes minutes.
    if len(shape) > _MOST_DIMENSIONS or max((*shape, begin, end), default=0) > _LARGEST:
        raise ValueError(f"{shown(name)} has a shape or a place that no tensor has")
    return Tensor(name, dtype, tuple(shape), data + begin, data + end)
