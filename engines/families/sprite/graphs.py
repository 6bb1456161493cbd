"""The four graphs of the sprite-2 model, as torch modules with what an exporter must know about them.

Shapes and names here are what the sampler and the scorer rely on.
"""

from __future__ import annotations

import torch
from safetensors.torch import load
from torch import Tensor, nn
from torch.export import Dim

from engines.checkpoints.files import Files, read_small
from engines.families.graph import GraphSpec
from engines.families.sprite.denoiser import Denoiser
from engines.families.sprite.packing import ROLES, SEGMENTS, TOKEN_FEATURES
from engines.families.sprite.vae import CACHE_CHANNELS, Vae
from engines.families.sprite.words import SLOTS
from engines.families.sprite.world import FRAMES_PER_LATENT, LATENT_CHANNELS, LATENT_PX

_TOKENS = 2 + 4 * 5 + 5 * 45
"""Of an extension at 16:9 whose camera pans: the size to tune for."""


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


def load_models(weights: Files) -> tuple[Vae, Denoiser]:
    """The trained models, in float32 and eval mode, from vae.safetensors and denoiser.safetensors in `weights`."""
    vae, net = Vae(), Denoiser()
    for model, name in ((vae, "vae.safetensors"), (net, "denoiser.safetensors")):
        model.load_state_dict({k: v.float() for k, v in load(read_small(weights, name)).items()})
    return vae.eval(), net.eval()


def components(weights: Files) -> dict[str, GraphSpec]:
    """The four graphs with the trained weights."""
    return components_of(*load_models(weights))


def components_of(vae: Vae, net: Denoiser) -> dict[str, GraphSpec]:
    """The four graphs of these models."""
    batch, height, width = Dim("B", min=1, max=64), Dim("h", min=2, max=18), Dim("w", min=2, max=18)
    tokens = Dim("S", min=64, max=512)
    latent = torch.randn(2, LATENT_CHANNELS, 10, 18)
    latent_dims = {0: batch, 2: height, 3: width}
    return {
        "vae_encoder": GraphSpec(
            EncodeLatent(vae).eval(),
            (torch.rand(2, FRAMES_PER_LATENT, 3, 80, 144) * 2 - 1,),
            ("frames",),
            ("latent",),
            ({0: batch, 3: LATENT_PX * height, 4: LATENT_PX * width},),
        ),
        "vae_decoder_first": GraphSpec(
            DecodeFirst(vae).eval(), (latent,), ("latent",), ("frame", "cache"), (latent_dims,)
        ),
        "vae_decoder_step": GraphSpec(
            DecodeStep(vae).eval(),
            (latent, torch.randn(2, CACHE_CHANNELS, 10, 18)),
            ("latent", "cache_in"),
            ("frames", "cache"),
            (latent_dims, latent_dims),
        ),
        "dit": GraphSpec(
            net,
            (
                torch.zeros(2, SLOTS, dtype=torch.long),
                torch.zeros(2, SLOTS, 2, dtype=torch.long),
                torch.randn(2, _TOKENS, TOKEN_FEATURES),
                torch.zeros(2, _TOKENS, 2, dtype=torch.long),
                torch.full((_TOKENS,), ROLES.index("target 1")),
                torch.zeros(2, _TOKENS, dtype=torch.long),
                torch.full((_TOKENS,), SEGMENTS.index("target")),
                torch.ones(2, _TOKENS),
                torch.full((2, len(SEGMENTS)), 0.5),
            ),
            ("ids", "stand", "tokens", "places", "role", "pan", "segment", "present", "levels"),
            ("x0",),
            (
                {0: batch},
                {0: batch},
                {0: batch, 1: tokens},
                {0: batch, 1: tokens},
                {0: tokens},
                {0: batch, 1: tokens},
                {0: tokens},
                {0: batch, 1: tokens},
                {0: batch},
            ),
            ("level",),
        ),
    }
