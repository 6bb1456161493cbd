"""What VACE shows its denoiser beside the noised latents, as it was trained. Pure; `vace.py` calls it.

For each latent: the clip with its unknown frames grey | the clip with its known frames grey, and so nothing but grey
here, for no part of a frame alone is known | for each of the latent's pixels, whether it is to be made. In front of the
clip lie the references, each a latent that is known: picture | zeros, which is not grey | zeros.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from engines.families.base import Array


def unknown(known: int, *, latents: int, frames: int) -> Array:
    """Of a clip's latents, the first `known` of its frames given: 1 for one that is to be made, and 0; [T].

    A latent goes by the frame that is nearest to it when both are spread over the same time, as the models were
    trained. So of 21 latents none is marked known by one frame alone: that frame is in the clip nevertheless.
    """
    nearest = ((np.arange(latents) + 0.5) * (frames / latents)).astype(int)
    return np.asarray(nearest >= known, np.float32)


def assembled(packed: Mapping[str, NDArray[np.generic]], channels: int) -> Array:
    """Of `references`, [R, C, h, w], `clip` and `blank`, [T, C, h, w], and `unknown`, [T]: what the denoiser takes,
    [channels, R + T, h, w]."""
    references, clip, blank = packed["references"], packed["clip"], packed["blank"]
    beside, (count, width, *size) = len(references), clip.shape
    control = np.zeros((channels, beside + count, *size), np.float32)
    control[:width, :beside] = np.moveaxis(references, 1, 0)
    control[:width, beside:] = np.moveaxis(clip, 1, 0)
    control[width : 2 * width, beside:] = np.moveaxis(blank, 1, 0)
    control[2 * width :, beside:] = packed["unknown"][:, None, None]
    return control
