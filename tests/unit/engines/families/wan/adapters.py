"""LoRA adapters of a tiny Wan, as trainers save them, with random values."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

Naming = Literal["diffusers", "original", "kohya"]
Values = NDArray[Any]
NAMES: Mapping[str, str] = {
    **{f"attn1.to_{name}": f"self_attn.{name}" for name in "qkv"},
    **{f"attn2.to_{name}": f"cross_attn.{name}" for name in "qkv"},
    "attn1.to_out.0": "self_attn.o",
    "attn2.to_out.0": "cross_attn.o",
    "ffn.net.0.proj": "ffn.0",
    "ffn.net.2": "ffn.2",
}
"""What lies in a block and is trained by all: diffusers' name, and Wan's own."""
WIDTH, INNER = 24, 32


def tensors(naming: Naming, *, rank: int = 3, alpha: float | None = None, seed: int = 1) -> dict[str, Values]:
    """An adapter of both blocks; with an alpha, of half the layers another rank."""
    random = np.random.default_rng(seed)
    found: dict[str, Values] = {}
    for number in range(2):
        for at, (name, original) in enumerate(NAMES.items()):
            out, into = {"ffn.0": (INNER, WIDTH), "ffn.2": (WIDTH, INNER)}.get(original, (WIDTH, WIDTH))
            size = rank if alpha is None or at % 2 else rank + 1
            key, down, up = {
                "diffusers": (f"transformer.blocks.{number}.{name}", "lora_A", "lora_B"),
                "original": (f"diffusion_model.blocks.{number}.{original}", "lora_down", "lora_up"),
                "kohya": (f"lora_unet_blocks_{number}_{original.replace('.', '_')}", "lora_down", "lora_up"),
            }[naming]
            found[f"{key}.{down}.weight"] = random.standard_normal((size, into)).astype(np.float32)
            found[f"{key}.{up}.weight"] = random.standard_normal((out, size)).astype(np.float32)
            if alpha is not None:
                found[f"{key}.alpha"] = np.array(alpha, np.float32)
    return found


def save(path: Path, found: Mapping[str, Values], metadata: dict[str, str] | None = None) -> Path:
    """Write them as a file."""
    save_file(dict(found), path, metadata)
    return path
