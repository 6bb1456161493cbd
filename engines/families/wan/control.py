"""What VACE shows its denoiser beside the noised latents, as it was trained. Pure; `vace.py` calls it.

For each latent: the clip with its unknown frames grey | the clip with its known frames grey, and so nothing but grey
here, for no part of a frame alone is known | for each of the latent's pixels, whether it is to be made.
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
    """Of `clip` and `blank`, [T, C, h, w], and `unknown`, [T]: what the denoiser takes, [channels, T, h, w]."""
    clip, blank = packed["clip"], packed["blank"]
    count, width, rows, columns = clip.shape
    control = np.empty((channels, count, rows, columns), np.float32)
    control[:width] = np.moveaxis(clip, 1, 0)
    control[width : 2 * width] = np.moveaxis(blank, 1, 0)
    control[2 * width :] = packed["unknown"][:, None, None]
    return control
