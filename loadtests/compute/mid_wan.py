"""A Wan of 240 M parameters with random weights: its denoiser is one layer of a real one with what stands around it.

It is given so little that a call takes a second or two on two cores.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np

from engines import models
from engines.checkpoints.files import Folder
from engines.families.base import Conditions
from engines.families.buildable import Sizes
from engines.families.capabilities import Canvas
from engines.families.wan.architecture import TEXT_TOKENS
from engines.models import Model
from loadtests.compute import checkpoint

CANVAS: Final = Canvas("16:9", 64, 112)
SECONDS: Final = 2
"""Of video: 9 latents of 28 tokens, and the denoiser is given them twice."""
TEXT_WIDTH: Final = 256
TRANSFORMER: Final = {
    "num_attention_heads": 24,
    "attention_head_dim": 128,
    "in_channels": 16,
    "out_channels": 16,
    "text_dim": TEXT_WIDTH,
    "freq_dim": 256,
    "ffn_dim": 14336,
    "num_layers": 1,
}
"""As Wan 2.2 of 5B, which has 30 layers and a wider text: a layer costs as much as any other, and a compiler far more
time for many."""
VAE: Final = {"base_dim": 32, "z_dim": 16, "num_res_blocks": 1}
"""As Wan 2.1's, a third as wide, and one block where it has two: torch takes seconds for more."""
TEXT: Final = {"vocab_size": 32, "d_model": TEXT_WIDTH, "d_kv": 32, "d_ff": 512, "num_layers": 1, "num_heads": 8}
"""So small that it says nothing, and is not measured."""

MEASURED: Final = ("dit", "vae_decoder_first", "vae_decoder_step")
"""All that a video takes, its text aside."""


def make(folder: Path) -> tuple[Any, Model]:
    """diffusers' pipeline without its modules, and the model of the checkpoint that it was saved as."""
    pipeline = checkpoint.pipeline("WanPipeline", transformer=TRANSFORMER, vae=VAE, text_encoder=TEXT)
    pipeline.save_pretrained(folder)
    # What is large is there once: who runs the pipeline hands it the module that the model was read into.
    pipeline.register_modules(transformer=None, vae=None, text_encoder=None)
    return pipeline, models.opened(Folder(folder), name="wan", sizes=Sizes((CANVAS,), SECONDS))


def conditions() -> Conditions:
    """Of a video from a text and its negative, both random."""
    text = np.random.default_rng(0).standard_normal((2 * TEXT_TOKENS, TEXT_WIDTH), dtype=np.float32)
    return Conditions(CANVAS, text)
