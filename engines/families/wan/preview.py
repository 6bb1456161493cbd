"""A latent's picture without a decoder: the colour of each of its pixels, by the map that fits the VAE best.

`graphs.py` exports it as the engine `preview`, `family.py` calls that while a segment is on its way. It is a linear
map, fitted by least squares when the engines are built, on pictures that are drawn from a seed: fields of colour, from
smooth ones to such with an edge at every latent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from engines.families.buildable import PROBE_SEED

_SIDE: Final = 8
"""Of a picture that it is fitted on, in latents."""
_FIELDS: Final = (2, 4, 4, 8)
"""Fields of colour along each side of a picture, so many times over."""
_TIMES: Final = 4
_FINEST: Final = 2.0**-12
"""Of what was fitted, so that machines that compute in another order come to the same graph."""


class Preview(nn.Module):
    """A latent [B, C, h, w] to its picture [B, 3, h, w] in -1..1."""

    weight: Tensor
    bias: Tensor

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        """`weight` [3, C], `bias` [3]."""
        super().__init__()
        self.register_buffer("weight", weight[:, :, None, None])
        self.register_buffer("bias", bias)

    def forward(self, latent: Tensor) -> Tensor:
        """Colour each latent pixel."""
        return functional.conv2d(latent, self.weight, self.bias).clamp(-1, 1)


def fitted(encode: Callable[[Tensor], Tensor], stride: int) -> Preview:
    """The map for an encoder of stills, [B, 3, H, W] in -1..1 → latents [B, C, H/stride, W/stride]."""
    with torch.no_grad():
        pictures = _pictures(stride)
        latents, colours = encode(pictures), functional.avg_pool2d(pictures, stride)
        known = torch.cat([latents, torch.ones_like(latents[:, :1])], 1)
        solution = torch.linalg.lstsq(_rows(known), _rows(colours), driver="gelsd").solution
        rounded = ((solution / _FINEST).round() * _FINEST).float()
    return Preview(rounded[:-1].T.contiguous(), rounded[-1].contiguous())


def _pictures(stride: int) -> Tensor:
    generator = torch.Generator().manual_seed(PROBE_SEED)
    size = (_SIDE * stride, _SIDE * stride)
    modes = ("bilinear", "nearest")
    return torch.cat(
        [
            functional.interpolate(torch.rand(_TIMES, 3, fields, fields, generator=generator) * 2 - 1, size, mode=mode)
            for fields, mode in zip(_FIELDS, (*modes, *modes), strict=True)
        ]
    )


def _rows(values: Tensor) -> Tensor:
    """[B, C, h, w] → float64 [B·h·w, C]."""
    return values.movedim(1, -1).flatten(0, 2).double()
