"""What a Wan checkpoint can do, by its architecture. `family.py` declares it."""

from __future__ import annotations

from typing import Final

from engines.families.base import Canvas, Capabilities, Range
from engines.families.wan.architecture import Architecture

_SECONDS: Final = 5
"""Of a segment: the length that the models were trained on."""
_STRIDE_OF_5B: Final = 16
"""Wan 2.2 of 5B has a VAE of its own, larger frames and a faster clock."""


def of(architecture: Architecture, name: str) -> Capabilities:
    """The capabilities of a text-to-video checkpoint that requests call `name`."""
    if architecture.latent_stride == _STRIDE_OF_5B:
        fps, sizes = 24, {"16:9": (704, 1280), "9:16": (1280, 704)}
    else:
        fps, sizes = 16, {"16:9": (480, 832), "9:16": (832, 480), "1:1": (624, 624)}
    segment = _SECONDS * fps // architecture.frames_per_latent
    largest = max(max(size) for size in sizes.values())
    return Capabilities(
        model=name,
        family="wan",
        description="Wan: a video from text, from the checkpoint that this installation was given.",
        canvases=tuple(Canvas(aspect, height, width) for aspect, (height, width) in sizes.items()),
        resolutions={"720p" if architecture.latent_stride == _STRIDE_OF_5B else "480p": 1},
        image_resolutions={"1k": largest},
        fps=fps,
        latent_channels=architecture.latent_channels,
        latent_stride=architecture.latent_stride,
        frames_per_latent=architecture.frames_per_latent,
        first_latent_frames=1,
        root_latents=segment + 1,
        segment_latents=segment,
        seconds=Range(_SECONDS, _SECONDS, _SECONDS),
        extension_seconds=Range(_SECONDS, _SECONDS, _SECONDS),
        steps=Range(1, 100, 50),
        reference_size=(next(iter(sizes.values()))),
        references_max=0,
        max_prompt_chars=4096,
        first_frame=False,
        extension=False,
        image=False,
    )
