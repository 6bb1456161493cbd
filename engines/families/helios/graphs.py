"""The graphs of a Helios checkpoint: diffusers' denoiser behind a face that an exporter can take, and around it what is
Wan's. `family.py` hands `components()` to `engines/building`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from diffusers import HeliosTransformer3DModel
from torch import Tensor, nn
from torch.export import Dim

from engines.checkpoints.files import Files
from engines.families.graph import GraphSpec
from engines.families.helios import attention
from engines.families.helios.architecture import CHUNK, LONG, MIDDLE, NEWEST, SHOWN, UNIT, Helios
from engines.families.wan.architecture import TEXT_TOKENS
from engines.families.wan.graphs import around, float32_of
from engines.families.wan.weights import Modules


class Denoise(nn.Module):
    """Latents [B, C, 9, h, w] at a time [B] of 0..1000, text [B, 512, D] and what is shown of the video
    [B, C, 20, h, w], its first latent and the newest ones, to velocity [B, C, 9, h, w]."""

    def __init__(self, transformer: nn.Module) -> None:
        super().__init__()
        attention.put_into(transformer)
        self.transformer = transformer

    def forward(self, latents: Tensor, time: Tensor, text: Tensor, history: Tensor) -> Tensor:
        """One step's prediction."""
        first, long, middle, newest = torch.split(history, [1, LONG, MIDDLE, NEWEST], 2)
        places = torch.arange(SHOWN + CHUNK)[None]
        return cast(
            Tensor,
            self.transformer(
                latents,
                time,
                text,
                indices_hidden_states=places[:, SHOWN:],
                indices_latents_history_short=torch.cat([places[:, :1], places[:, 1 + LONG + MIDDLE : SHOWN]], 1),
                indices_latents_history_mid=places[:, 1 + LONG : 1 + LONG + MIDDLE],
                indices_latents_history_long=places[:, 1 : 1 + LONG],
                latents_history_short=torch.cat([first, newest], 2),
                latents_history_mid=middle,
                latents_history_long=long,
                return_dict=False,
            )[0],
        )


def components(files: Files, architecture: Helios, digests: Mapping[str, str]) -> dict[str, GraphSpec]:
    """The graphs of all that this checkpoint does, with its weights, each shard's digest checked."""
    modules = Modules(files, architecture.checkpoint, digests)
    denoise = Denoise(modules.transformer(kinds=(HeliosTransformer3DModel,)))
    return around(modules, architecture, {"dit": _dit(denoise, architecture)}, encodes=True)


def _dit(module: Denoise, architecture: Helios) -> GraphSpec:
    _, rows, columns = architecture.patch
    tall, wide = UNIT * rows, UNIT * columns
    channels, size = architecture.latent_channels, (2 * tall, 3 * wide)
    inputs = {
        "latents": torch.randn(2, channels, CHUNK, *size),
        "time": torch.tensor([900.0, 400.0]),
        "text": torch.randn(2, TEXT_TOKENS, architecture.text_width),
        "history": torch.randn(2, channels, SHOWN, *size),
    }
    batch = {0: Dim("B", min=1, max=16)}
    video = {**batch, 3: tall * Dim("rows", min=1, max=256 // tall), 4: wide * Dim("cols", min=1, max=256 // wide)}
    dims = tuple(video if name in ("latents", "history") else batch for name in inputs)
    kept = float32_of(module)
    return GraphSpec(module.eval(), tuple(inputs.values()), tuple(inputs), ("velocity",), dims, kept)
