"""What is encoded looks like what was pushed, in every codec, on every canvas, at every size."""

from __future__ import annotations

import io

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from engines.families.capabilities import Canvas
from engines.models import family
from serving.media.encode import SegmentEncoder
from serving.media.track import Track
from serving.requests import Codec

CAPABILITIES = family("sprite-2").capabilities
LEAST_PSNR_DB = 35.0
"""Of each frame. A frame whose motion is lost has about 17."""
COLOURS = np.array([(220, 40, 40), (40, 200, 60), (50, 80, 230), (230, 200, 40), (190, 60, 200)], np.uint8)


def scene(height: int, width: int, frames: int) -> NDArray[np.uint8]:
    """A sprite of 4x4 blocks that moves 2 px a frame."""
    sprite = COLOURS[np.random.default_rng(7).integers(0, len(COLOURS), (4, 4))].repeat(8, 0).repeat(8, 1)
    out = np.full((frames, height, width, 3), (20, 20, 90), np.uint8)
    for number, frame in enumerate(out):
        left = 2 * number % (width - 32)
        frame[16:48, left : left + 32] = sprite
    return out


@pytest.mark.parametrize("codec", list(Codec))
@pytest.mark.parametrize("canvas", CAPABILITIES.canvases, ids=lambda canvas: canvas.aspect_ratio)
@pytest.mark.parametrize("scale", sorted(CAPABILITIES.resolutions.values()))
def test_every_frame_comes_back(codec: Codec, canvas: Canvas, scale: int) -> None:
    height, width = canvas.height, canvas.width
    frames = scene(height, width, 17)
    encoder = SegmentEncoder(
        Track(codec=codec, width=width * scale, height=height * scale, fps=16), start_frame=0, sequence_start=0
    )
    fragments = [fragment for start in range(-3, 17, 4) for fragment in encoder.push(frames[max(start, 0) : start + 4])]
    data = b"".join(fragment.data for fragment in fragments + encoder.finish())

    with av.open(io.BytesIO(encoder.init + data), "r") as container:
        decoded = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)], dtype=np.float32)
    pushed = frames.repeat(scale, 1).repeat(scale, 2).astype(np.float32)
    assert decoded.shape == pushed.shape
    error = ((decoded - pushed) ** 2).mean(axis=(1, 2, 3))
    assert (10 * np.log10(255**2 / error) > LEAST_PSNR_DB).all()
