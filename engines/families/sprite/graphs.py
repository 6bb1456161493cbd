"""The five graphs of the sprite model, as torch modules with what an exporter must know about them.

`family.py` hands `components()` to `engines/building`. Shapes and names here are what it relies on as it serves.
"""

from __future__ import annotations

import numpy as np
import torch
from safetensors.torch import load
from torch import Tensor, nn
from torch.export import Dim

from engines.checkpoints.files import Files, read_small
from engines.families.graph import GraphSpec
from engines.families.sprite import captions, packing
from engines.families.sprite.dit import Dit, TextTable
from engines.families.sprite.vae import CACHE_CHANNELS, Vae
from engines.families.sprite.world import FRAMES_PER_LATENT, LATENT_CHANNELS, LATENT_PX


class EncodeLatent(nn.Module):
    """frames [B, 4, 3, H, W] -> normalised latent [B, 16, H/8, W/8]."""

    def __init__(self, vae: Vae) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, frames: Tensor) -> Tensor:
        """Encode."""
        return self.vae.encode(frames)


class DecodeFirst(nn.Module):
    """A video's first latent [B, 16, h, w] -> its one frame [B, 1, 3, 8h, 8w] and the cache [B, 128, h, w]."""

    def __init__(self, vae: Vae) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        """Decode with an empty cache and keep the last of the four frames."""
        raw = self.vae.raw(latent)
        empty = torch.zeros_like(raw[:, :1]).expand(-1, CACHE_CHANNELS, -1, -1)
        frames, cache = self.vae.step(raw, empty)
        return frames[:, FRAMES_PER_LATENT - 1 :].clamp(-1, 1), cache


class DecodeStep(nn.Module):
    """Any later latent [B, 16, h, w] and the cache -> four frames [B, 4, 3, 8h, 8w] and the new cache."""

    def __init__(self, vae: Vae) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, latent: Tensor, cache_in: Tensor) -> tuple[Tensor, Tensor]:
        """Decode one step."""
        frames, cache = self.vae.step(self.vae.raw(latent), cache_in)
        return frames.clamp(-1, 1), cache


def load_models(weights: Files) -> tuple[Vae, TextTable, Dit]:
    """The trained models, in float32 and eval mode, from vae.safetensors and dit.safetensors in `weights`."""
    vae, text, dit = Vae(), TextTable(len(captions.VOCAB)), Dit()
    vae.load_state_dict({k: v.float() for k, v in load(read_small(weights, "vae.safetensors")).items()})
    _load_denoiser(text, dit, read_small(weights, "dit.safetensors"))
    return vae.eval(), text.eval(), dit.eval()


def _load_denoiser(text: TextTable, dit: Dit, file: bytes) -> None:
    """Fill both with the halves of dit.safetensors."""
    saved = {k: v.float() for k, v in load(file).items()}
    text.load_state_dict({k.removeprefix("text."): v for k, v in saved.items() if k.startswith("text.")})
    dit.load_state_dict({k.removeprefix("dit."): v for k, v in saved.items() if k.startswith("dit.")})


def components(weights: Files) -> dict[str, GraphSpec]:
    """The five graphs with the trained weights."""
    return components_of(*load_models(weights))


def components_of(vae: Vae, text: TextTable, dit: Dit) -> dict[str, GraphSpec]:
    """The five graphs of these models."""
    batch, height, width = Dim("B", min=1, max=64), Dim("h", min=4, max=14), Dim("w", min=4, max=14)
    tokens = Dim("S", min=64, max=512)
    latent = torch.randn(2, LATENT_CHANNELS, 8, 14)
    latent_dims = {0: batch, 2: height, 3: width}
    packed = packing.pack(
        np.zeros((2, 4, LATENT_CHANNELS, 8, 14), np.float32),
        anchor=np.zeros((2, 1, LATENT_CHANNELS, 8, 14), np.float32),
    )
    where = packed.positions
    return {
        "text_encoder": GraphSpec(
            text,
            (torch.from_numpy(captions.tokenize("it moves left"))[None].repeat(2, 1),),
            ("token_ids",),
            ("text",),
            ({0: batch},),
        ),
        "vae_encoder": GraphSpec(
            EncodeLatent(vae).eval(),
            (torch.rand(2, FRAMES_PER_LATENT, 3, 64, 112) * 2 - 1,),
            ("frames",),
            ("latent",),
            ({0: batch, 3: LATENT_PX * height, 4: LATENT_PX * width},),
        ),
        "vae_decoder_first": GraphSpec(
            DecodeFirst(vae).eval(), (latent,), ("latent",), ("frame", "cache"), (latent_dims,)
        ),
        "vae_decoder_step": GraphSpec(
            DecodeStep(vae).eval(),
            (latent, torch.randn(2, CACHE_CHANNELS, 8, 14)),
            ("latent", "cache_in"),
            ("frames", "cache"),
            (latent_dims, latent_dims),
        ),
        "dit": GraphSpec(
            dit,
            (
                torch.randn(2, packed.tokens.shape[1], packing.TOKEN_FEATURES),
                torch.randn(2, packing.TEXT_TOKENS, 128),
                *(torch.from_numpy(a) for a in (where.row, where.col, where.frame, where.segment)),
                torch.from_numpy(packing.levels(2, 0.5)),
            ),
            ("tokens", "text", "row", "col", "frame", "segment", "levels"),
            ("x0",),
            (
                {0: batch, 1: tokens},
                {0: batch},
                {0: tokens},
                {0: tokens},
                {0: tokens},
                {0: tokens},
                {0: batch},
            ),
        ),
    }
