"""What a Helios checkpoint can do, by its architecture. `family.py` declares it."""

from __future__ import annotations

from typing import Final

from engines.errors import CheckpointUnfit
from engines.families.buildable import Sizes
from engines.families.capabilities import Canvas, Capabilities, Range
from engines.families.helios.architecture import CHUNK, UNIT, Helios
from engines.families.wan.capabilities import check, distinct

_TRAINED: Final = (Canvas("16:9", 384, 640),)
_SECONDS: Final = Range(1, 60, 5)
"""Four chunks are 5.5 seconds, what its pipeline makes unless told otherwise."""


def of(architecture: Helios, name: str, sizes: Sizes) -> Capabilities:
    """The capabilities of a checkpoint that requests call `name`. Raises `CheckpointUnfit` for sizes that the model
    cannot make."""
    if sizes.seconds:
        frames = 1 + (CHUNK - 1) * architecture.frames_per_latent
        raise CheckpointUnfit(f"seconds: {sizes.seconds}; a segment of this model has {frames} frames: leave it out")
    canvases = sizes.canvases or _TRAINED
    for canvas in sizes.canvases:
        check(canvas, _unit(architecture), least=1, stride=architecture.latent_stride)
    distinct(canvases)
    return Capabilities(
        model=name,
        family="helios",
        description="Helios: a video from text, chunk by chunk, or an image, from the checkpoint that this "
        "installation was given.",
        canvases=canvases,
        resolutions={f"{min(canvases[0].height, canvases[0].width)}p": 1},
        image_resolutions={"1k": max(max(canvas.height, canvas.width) for canvas in canvases)},
        fps=24,
        latent_channels=architecture.latent_channels,
        latent_stride=architecture.latent_stride,
        frames_per_latent=architecture.frames_per_latent,
        first_latent_frames=1,
        root_latents=CHUNK,
        segment_latents=CHUNK,
        segments_apart=True,
        seconds=_SECONDS,
        extension_seconds=_SECONDS,
        steps=Range(1, 100, 50),
        reference_size=None,
        references_max=0,
        max_prompt_chars=4096,
        first_frame=False,
        negative_prompt=True,
        step_cache=0.0,
    )


def small(architecture: Helios) -> tuple[Canvas, ...]:
    """Two sizes that any machine can check its engines on."""
    rows, columns = _unit(architecture)
    return Canvas("1:1", rows, columns), Canvas("2:1", rows, 2 * columns)


def _unit(architecture: Helios) -> tuple[int, int]:
    """Height and width that sides are multiples of, in pixels."""
    _, rows, columns = architecture.patch
    return UNIT * rows * architecture.latent_stride, UNIT * columns * architecture.latent_stride
