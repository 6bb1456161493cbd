"""diffusers' `AutoencoderKLWan` as steppers: a latent at a time, with all that the next one needs handed in and out.

`encode` and `decode` of diffusers loop over a video's frames, and an exported loop keeps the number of frames that it
was traced with. These modules call the same layers on one latent's frames: `First` modules on a video's first latent
(one frame), `Step` modules on every later one, with a cache for each causal convolution. All caches hold fixed numbers
of frames, so any video goes through the same graphs, in memory that does not grow. `graphs.py` exports them.
"""

from __future__ import annotations

from typing import cast

import torch
from diffusers import AutoencoderKLWan
from diffusers.models.autoencoders.autoencoder_kl_wan import patchify, unpatchify
from torch import Tensor, nn

CACHED_FRAMES = 2
"""What a causal convolution over three frames looks back upon."""

_Cache = list[Tensor | str | None]
"""As diffusers' layers want it: nothing yet, frames, or the word "Rep" where a temporal upsampler has yet to begin."""


class _Stepper(nn.Module):
    """The VAE, the latents' scale, and how many caches its layers ask for."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, vae: AutoencoderKLWan) -> None:
        super().__init__()
        self.vae = vae
        self.patch: int | None = vae.config.patch_size
        self.register_buffer("mean", torch.tensor(vae.config.latents_mean).view(1, -1, 1, 1, 1))
        self.register_buffer("deviation", torch.tensor(vae.config.latents_std).view(1, -1, 1, 1, 1))

    def _decode(self, latent: Tensor, caches: _Cache, *, first: bool) -> Tensor:
        """[B, z, h, w] to frames [B, f, 3, H, W]; the caches are replaced in their list."""
        raw = self.vae.post_quant_conv(latent[:, :, None] * self.deviation + self.mean)
        pixels = self.vae.decoder(raw, feat_cache=caches, feat_idx=[0], first_chunk=first)
        if self.patch is not None:
            pixels = unpatchify(pixels, patch_size=self.patch)
        return cast(Tensor, pixels.clamp(-1, 1).transpose(1, 2))

    def _encode(self, frames: Tensor, caches: _Cache) -> Tensor:
        """[B, f, 3, H, W] to a latent [B, z, h, w]: the middle of what the encoder tells; caches as in `_decode`."""
        pixels = frames.transpose(1, 2)
        if self.patch is not None:
            pixels = patchify(pixels, patch_size=self.patch)
        moments = self.vae.quant_conv(self.vae.encoder(pixels, feat_cache=caches, feat_idx=[0]))
        middle = moments.chunk(2, 1)[0]
        return cast(Tensor, ((middle - self.mean) / self.deviation)[:, :, 0])


class DecodeFirst(_Stepper):
    """A video's first latent [B, z, h, w] to its one frame [B, 1, 3, H, W] and the caches."""

    def forward(self, latent: Tensor) -> tuple[Tensor, ...]:
        """Decode with nothing before it."""
        caches: _Cache = [None] * self.vae._cached_conv_counts["decoder"]  # noqa: SLF001
        frame = self._decode(latent, caches, first=True)
        return frame, *_whole(caches)


class DecodeStep(_Stepper):
    """Any later latent [B, z, h, w] and the caches to its frames [B, f, 3, H, W] and the new caches."""

    def forward(self, latent: Tensor, *caches: Tensor) -> tuple[Tensor, ...]:
        """Decode one latent."""
        kept: _Cache = list(caches)
        frames = self._decode(latent, kept, first=False)
        return frames, *_whole(kept)


class EncodeFirst(_Stepper):
    """A video's first frame [B, 1, 3, H, W] to its latent [B, z, h, w] and the caches."""

    def forward(self, frames: Tensor) -> tuple[Tensor, ...]:
        """Encode with nothing before it."""
        caches: _Cache = [None] * self.vae._cached_conv_counts["encoder"]  # noqa: SLF001
        latent = self._encode(frames, caches)
        return latent, *_whole(caches, single=_downsamplers(self.vae))


class EncodeStep(_Stepper):
    """The frames of any later latent [B, f, 3, H, W] and the caches to that latent [B, z, h, w] and the new caches."""

    def forward(self, frames: Tensor, *caches: Tensor) -> tuple[Tensor, ...]:
        """Encode the frames of one latent."""
        kept: _Cache = list(caches)
        latent = self._encode(frames, kept)
        return latent, *_whole(kept, single=_downsamplers(self.vae))


def _whole(caches: _Cache, *, single: frozenset[int] = frozenset()) -> list[Tensor]:
    """The caches that are used, each with as many frames as it will always have.

    Frames that are not there yet count as zero in a causal convolution, so zeros stand for them; and a temporal
    upsampler that has yet to begin has seen two frames of zeros, of the shape of what the convolution before it saw.
    `single` are the places of temporal downsamplers, which look back upon one frame.
    """
    found: list[Tensor] = []
    for place, cache in enumerate(caches):
        if cache is None:
            continue
        if isinstance(cache, str):
            found.append(torch.zeros_like(found[-1]))
        elif cache.shape[2] < CACHED_FRAMES and place not in single:
            found.append(torch.cat([torch.zeros_like(cache), cache], 2))
        else:
            found.append(cache)
    return found


def _downsamplers(vae: AutoencoderKLWan) -> frozenset[int]:
    """The places of the encoder's temporal downsamplers among its caches, in the order in which layers are called."""
    places, place = set(), 0
    for name, module in vae.encoder.named_modules():
        kind = type(module).__name__
        if kind == "WanCausalConv3d" and not name.endswith("conv_shortcut"):
            if name.endswith("time_conv"):
                places.add(place)
            place += 1
    return frozenset(places)
