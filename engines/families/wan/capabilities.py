"""What a Wan checkpoint can do, by its architecture. `family.py` declares it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from engines.errors import CheckpointUnfit
from engines.families.buildable import Sizes
from engines.families.capabilities import Canvas, Capabilities, Range
from engines.families.wan import history
from engines.families.wan.architecture import MAX_LATENTS, Architecture, Task


@dataclass(frozen=True)
class _Kind:
    """What a task makes of a checkpoint."""

    makes: str
    text: bool = True
    """Whether it makes a video of text alone, and so an image."""
    first_frame: bool = True
    references: int = 0
    """Pictures, at most: each is denoised along, and takes as long as a latent of the video."""
    beside: int = 0
    """Latents that are denoised beside a clip, at most."""
    overlap: int | None = 0
    """Seconds of a video that the clip of its extension begins with; 0: its last frame. None: it extends nothing."""


_KINDS: Final[dict[Task, _Kind]] = {
    "text": _Kind("Wan: a video or an image from text alone", first_frame=False, overlap=None),
    "still": _Kind("Wan: a video from text, with a first frame or without, or an image"),
    "image": _Kind("Wan: a video from a first frame and text", text=False),
    "vace": _Kind(
        "Wan-VACE: a video from text, a first frame and references, or an image",
        references=3,
        beside=history.BESIDE,
        overlap=1,
    ),
}
_SECONDS: Final = 5
"""Of a segment: the length that the models were trained on."""
_STRIDE_OF_5B: Final = 16
"""Wan 2.2 of 5B has a VAE of its own, larger frames and a faster clock."""
_ASPECT_SLACK: Final = 1.2
"""Sides are whole tokens, and so a small canvas has its aspect ratio only nearly."""
_MAX_SIDE: Final = 256
"""Latents along height or width, as far as the graphs go."""


def of(architecture: Architecture, name: str, sizes: Sizes) -> Capabilities:
    """The capabilities of a checkpoint that requests call `name`. Raises `CheckpointUnfit` for sizes that
    the model cannot make."""
    fps, resolution, trained = _trained(architecture)
    kind = _KINDS[architecture.task]
    seconds = sizes.seconds or _SECONDS
    longest = (MAX_LATENTS - 1 - kind.beside) * architecture.frames_per_latent // fps
    if not 1 <= seconds <= longest:
        raise CheckpointUnfit(f"seconds: {seconds}; a segment of this model has 1 to {longest}")
    canvases, unit = sizes.canvases or trained, _pixels_of_a_token(architecture)
    for canvas in sizes.canvases:
        check(canvas, unit, least=2, stride=architecture.latent_stride)
    distinct(canvases)
    if sizes.canvases:
        resolution = f"{min(canvases[0].height, canvases[0].width)}p"
    extends = kind.overlap is not None and seconds > kind.overlap
    further = seconds - (kind.overlap or 0) if extends else seconds
    return Capabilities(
        model=name,
        family="wan",
        description=f"{kind.makes}, from the checkpoint that this installation was given.",
        canvases=canvases,
        resolutions={resolution: 1},
        image_resolutions={"1k": max(max(canvas.height, canvas.width) for canvas in canvases)},
        fps=fps,
        latent_channels=architecture.latent_channels,
        latent_stride=architecture.latent_stride,
        frames_per_latent=architecture.frames_per_latent,
        first_latent_frames=1,
        root_latents=seconds * fps // architecture.frames_per_latent + 1,
        segment_latents=further * fps // architecture.frames_per_latent,
        seconds=Range(seconds, seconds, seconds),
        extension_seconds=Range(further, further, further),
        steps=Range(1, 100, 50),
        reference_size=None,
        references_max=kind.references,
        max_prompt_chars=4096,
        text=kind.text,
        first_frame=kind.first_frame,
        extension=extends,
        image=kind.text,
        image_latents=1,
        reference_whole=True,
        negative_prompt=True,
        step_cache=0.0,
    )


def distinct(canvases: tuple[Canvas, ...]) -> None:
    """Raises `CheckpointUnfit` for two of one aspect ratio."""
    if len({canvas.aspect_ratio for canvas in canvases}) != len(canvases):
        raise CheckpointUnfit("canvas: two of one aspect ratio, of which a request could only get the first")


def small(architecture: Architecture) -> tuple[Canvas, ...]:
    """Two sizes that any machine can check its engines on, of a few tokens."""
    rows, columns = _pixels_of_a_token(architecture)
    return Canvas("1:1", 2 * rows, 2 * columns), Canvas("3:2", 2 * rows, 3 * columns)


def _trained(architecture: Architecture) -> tuple[int, str, tuple[Canvas, ...]]:
    """Frames a second, the name of the resolution, and sizes, the default first."""
    if architecture.latent_stride == _STRIDE_OF_5B:
        return 24, "720p", (Canvas("16:9", 704, 1280), Canvas("9:16", 1280, 704))
    return 16, "480p", (Canvas("16:9", 480, 832), Canvas("9:16", 832, 480), Canvas("1:1", 624, 624))


def check(canvas: Canvas, unit: tuple[int, int], *, least: int, stride: int) -> None:
    """Raises `CheckpointUnfit` for a canvas that is not so many times, `least` or more, a unit's height and width."""
    rows, columns = unit
    wide, tall = (int(part) for part in canvas.aspect_ratio.split(":"))
    off = canvas.width * tall / (canvas.height * wide)
    if not 1 / _ASPECT_SLACK <= off <= _ASPECT_SLACK:
        raise CheckpointUnfit(
            f"canvas {canvas.aspect_ratio}: {canvas.width}x{canvas.height} is not that, width by height"
        )
    most = _MAX_SIDE * stride
    size = f"canvas {canvas.aspect_ratio}: {canvas.width}x{canvas.height}"
    if canvas.height % rows or canvas.width % columns:
        raise CheckpointUnfit(f"{size}; width is a multiple of {columns} and height of {rows} for this model")
    if not (least * rows <= canvas.height <= most and least * columns <= canvas.width <= most):
        raise CheckpointUnfit(f"{size}; each side has {least * max(rows, columns)} to {most} pixels")


def _pixels_of_a_token(architecture: Architecture) -> tuple[int, int]:
    """Height and width."""
    _, rows, columns = architecture.patch
    return rows * architecture.latent_stride, columns * architecture.latent_stride
