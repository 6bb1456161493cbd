"""Values of configurations that would be taken for others, or stop a build midway: each is demanded before.

`architecture.py` asks as it reads VAE, text encoder and patches, `sight.py` for what pictures are scaled by.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from engines.errors import CheckpointUnfit

_CHANNELS: Final = 16
"""Of the latents' scale that the library has, where a configuration leaves it out."""
LARGEST: Final = 1e6
LEAST: Final = 1e-6
"""Of a scale, and of a deviation: float32 computes with such numbers."""


def patch_of(transformer: Mapping[str, Any]) -> tuple[int, int, int]:
    """`patch_size`: latents of one token, along time, height and width. Raises `CheckpointUnfit`."""
    said = transformer.get("patch_size", [1, 2, 2])
    whole = isinstance(said, list) and len(said) == 3 and all(type(size) is int and size >= 1 for size in said)
    if not whole or said[0] != 1:
        raise CheckpointUnfit(
            f"transformer/config.json: patch_size is {said!r}; three numbers of 1 or more, the first one 1, as "
            "[1, 2, 2]: copy it again"
        )
    _, rows, columns = said
    return 1, rows, columns


def demand_scale(vae: Mapping[str, Any], channels: int) -> None:
    """Mean and deviation of the latents are there for each channel. Raises `CheckpointUnfit`."""
    for name, least in (("latents_mean", -LARGEST), ("latents_std", LEAST)):
        if name not in vae and channels == _CHANNELS:
            continue
        numbers("vae/config.json", name, vae.get(name, []), channels, least)


def numbers(file: str, name: str, said: object, count: int, least: float) -> tuple[float, ...]:
    """So many numbers of `least` to `LARGEST`, which a file says by this name. Raises `CheckpointUnfit`."""
    if not isinstance(said, list) or len(said) != count:
        there = f"{len(said)} numbers" if isinstance(said, list) else repr(said)
        raise CheckpointUnfit(f"{file}: {name} is {there}, where {count} belong, one for each channel; copy it again")
    for value in said:
        if not isinstance(value, (int, float)) or not least <= value <= LARGEST:
            raise CheckpointUnfit(
                f"{file}: {name} has {value!r}, where numbers of {least:g} to {LARGEST:g} belong; copy it again"
            )
    return tuple(float(value) for value in said)


def ids_of(text_encoder: Mapping[str, Any]) -> tuple[int, int]:
    """`vocab_size`, and `pad_token_id`, which is below it. Raises `CheckpointUnfit`."""
    words, pad = text_encoder.get("vocab_size", 250112), text_encoder.get("pad_token_id", 0)
    if type(words) is not int or type(pad) is not int or not 0 <= pad < words:
        raise CheckpointUnfit(
            f"text_encoder/config.json: pad_token_id is {pad!r} and vocab_size {words!r}; whole numbers, 0 or more and "
            "above that: copy it again"
        )
    return words, pad
