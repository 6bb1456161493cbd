"""The sprite model's causal video VAE: 8x8 pixels of 4 frames become one latent of 16 channels.

Latent 0 of a video is one frame (the encoder sees it four times), each later latent is four frames.  The
encoder is strictly local: a latent depends on its own 8x8 pixels of 4 frames and on nothing else.  So it
needs no cache, a piece of sprite has the same latents wherever it is, and to copy tokens is to copy the
picture.  All context lives in the decoder: 3x3 convolutions, and one feature map of the latent before,
which is the decoder's whole cache.  Norms look at one place at a time, so any canvas works.

`train_vae` trains it, `graphs` exports it, `data` encodes training clips with it.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from engines.families.sprite2.world import FRAMES_PER_LATENT, LATENT_CHANNELS, LATENT_PX

ENCODER_WIDTH = 192
CACHE_CHANNELS = 128
FINE_WIDTH = 96


class PlaceNorm(nn.Module):
    """RMS norm over the channels of each place."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] -> the same shape."""
        return x * torch.rsqrt((x * x).mean(1, keepdim=True) + 1e-5) * self.gain.to(x.dtype)


class Residual(nn.Module):
    """norm, convolution, SiLU, convolution, added to the input; starts as the identity."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.norm = PlaceNorm(channels)
        self.first = nn.Conv2d(channels, channels, kernel, padding=kernel // 2)
        self.second = nn.Conv2d(channels, channels, kernel, padding=kernel // 2)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(cast(Tensor, self.second.bias))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] -> the same shape."""
        return cast(Tensor, x + self.second(functional.silu(self.first(self.norm(x)))))


class Vae(nn.Module):
    """Encoder and decoder, with the mean and deviation that bring latents to unit scale."""

    mean: Tensor
    deviation: Tensor

    def __init__(self) -> None:
        super().__init__()
        e, c, a, z = ENCODER_WIDTH, CACHE_CHANNELS, FINE_WIDTH, LATENT_CHANNELS
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(LATENT_PX),
            nn.Conv2d(FRAMES_PER_LATENT * 3 * LATENT_PX**2, e, 1),
            Residual(e, 1),
            Residual(e, 1),
            PlaceNorm(e),
            nn.SiLU(),
            nn.Conv2d(e, 2 * z, 1),
        )
        self.lift = nn.Sequential(nn.Conv2d(z, c, 3, padding=1), Residual(c, 3))
        self.mix = nn.Conv2d(2 * c, c, 1)
        nn.init.zeros_(self.mix.weight)
        nn.init.zeros_(cast(Tensor, self.mix.bias))
        self.paint = nn.Sequential(
            Residual(c, 3),
            nn.Conv2d(c, 4 * a, 1),
            nn.PixelShuffle(2),
            Residual(a, 3),
            Residual(a, 3),
            PlaceNorm(a),
            nn.SiLU(),
            nn.Conv2d(a, FRAMES_PER_LATENT * 3 * 16, 3, padding=1),
            nn.PixelShuffle(4),
        )
        self.register_buffer("mean", torch.zeros(z))
        self.register_buffer("deviation", torch.ones(z))

    def moments(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """frames [N, 4, 3, H, W] in -1..1 -> mean and log variance, each [N, 16, H/8, W/8], not normalised."""
        mean, log_variance = self.encoder(frames.flatten(1, 2)).chunk(2, 1)
        return mean, log_variance

    def encode(self, frames: Tensor) -> Tensor:
        """frames [N, 4, 3, H, W] in -1..1 -> normalised latents [N, 16, H/8, W/8]."""
        mean = self.moments(frames)[0].float()
        return (mean - self._channel(self.mean)) / self._channel(self.deviation)

    def raw(self, latents: Tensor) -> Tensor:
        """Undo the normalisation."""
        return latents * self._channel(self.deviation) + self._channel(self.mean)

    def step(self, latent: Tensor, cache: Tensor) -> tuple[Tensor, Tensor]:
        """One raw latent [B, 16, h, w] and the cache [B, 128, h, w] (first zeros) -> 4 frames, new cache.

        Of a video's first latent only the last of the four frames counts.
        """
        lifted = self.lift(latent)
        pixels = self.paint(lifted + self.mix(torch.cat([lifted, cache], 1)))
        return pixels.unflatten(1, (FRAMES_PER_LATENT, 3)), lifted

    def decode(self, latents: Tensor) -> Tensor:
        """Raw latents [B, T, 16, h, w] at once -> frames [B, 4 (T - 1) + 1, 3, H, W]; equals stepping."""
        batch = latents.shape[0]
        lifted = self.lift(latents.flatten(0, 1))
        cache = lifted.unflatten(0, (batch, -1))
        cache = torch.cat([torch.zeros_like(cache[:, :1]), cache[:, :-1]], 1).flatten(0, 1)
        pixels = self.paint(lifted + self.mix(torch.cat([lifted, cache], 1)))
        frames = pixels.unflatten(0, (batch, -1)).unflatten(2, (FRAMES_PER_LATENT, 3)).flatten(1, 2)
        return cast(Tensor, frames[:, FRAMES_PER_LATENT - 1 :])

    @staticmethod
    def _channel(values: Tensor) -> Tensor:
        return values.view(-1, 1, 1)


def latent_groups(video: Tensor) -> Tensor:
    """A video [B, 1 + 4k, 3, H, W] as the encoder's input [B (1 + k), 4, 3, H, W]; frame 0 counts four times."""
    padded = torch.cat([video[:, :1]] * (FRAMES_PER_LATENT - 1) + [video], 1)
    return cast(Tensor, padded.unflatten(1, (-1, FRAMES_PER_LATENT)).flatten(0, 1))  # type: ignore[no-untyped-call]
