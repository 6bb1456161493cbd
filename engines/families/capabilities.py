"""What a model can do: the sizes, lengths and inputs that a family declares.

The front door refuses by it, `serving/plan.py` plans by it, and the stages read shapes from it. `base.py` is the
interface that goes with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Role = Literal["subject", "scene"]
"""What a reference picture is taken for: a thing to show, or the place where all of it is."""


@dataclass(frozen=True)
class Canvas:
    """A native frame size of a model, in pixels."""

    aspect_ratio: str
    """As users write it: `16:9`."""
    height: int
    width: int


@dataclass(frozen=True)
class Range:
    """A bound of whole numbers with its default, both ends included."""

    min: int
    max: int
    default: int


@dataclass(frozen=True)
class Capabilities:
    """What a model can do. What is not here is refused, never imitated."""

    model: str
    """The name that requests use."""
    family: str
    description: str
    canvases: tuple[Canvas, ...]
    """The first one is the default."""
    resolutions: Mapping[str, int]
    """Resolution name → whole enlargement of the native frame; the first one is the default."""
    image_resolutions: Mapping[str, int]
    """Longest side of an image in pixels, at most, by name; the first one is the default."""
    fps: int
    latent_channels: int
    """C."""
    latent_stride: int
    """s: pixels of a latent, along height and along width."""
    frames_per_latent: int
    """f: frames of every latent but a video's first."""
    first_latent_frames: int
    """Frames of a video's first latent: 1 where a video begins with a still, f where it is a latent like any other."""
    root_latents: int
    """Latents of a video's first segment."""
    segment_latents: int
    """Latents of every further segment."""
    seconds: Range
    extension_seconds: Range
    steps: Range
    reference_size: tuple[int, int] | None
    """Height and width of a reference picture as the model sees it; None: those of the video."""
    references_max: int
    max_prompt_chars: int
    segments_apart: bool = False
    """Whether each segment is decoded for itself: then its first latent has as many frames as a video's first one, and
    root and further segments are equally long."""
    text: bool = True
    """Whether it makes a video of text alone; else of a first frame."""
    first_frame: bool = True
    extension: bool = True
    image: bool = True
    image_latents: int | None = None
    """Latents that are denoised for an image, of which the first shows it; None: all of a root's."""
    reference_whole: bool = False
    """Whether all of a reference picture is seen, over white, where its shape is another one; else it is cropped."""
    negative_prompt: bool = False
    """Whether it is led away from a second prompt, too."""
    extension_references: bool = True
    """Whether an extension may bring references of its own; else it keeps those of its video."""
    step_cache: float | None = None
    """How far predictions that its sampler reuses may be off (`step_cache.py`), as its operator chose: 0 where every
    step is computed. None for a sampler that cannot."""
    aliases: tuple[str, ...] = ()

    def canvas(self, aspect_ratio: str) -> Canvas | None:
        """The canvas of this aspect ratio, or None."""
        return next((c for c in self.canvases if c.aspect_ratio == aspect_ratio), None)

    def frames_of(self, latents: int, *, root: bool) -> int:
        """Frames of a segment of so many latents (at least 1), or of a whole video; a root holds the video's first
        one."""
        if self.segments_apart:
            whole, rest = divmod(latents, self.segment_latents)
            return whole * self._apart(self.segment_latents) + (self._apart(rest) if rest else 0)
        return self._apart(latents) if root else latents * self.frames_per_latent

    def latents_of(self, frames: int) -> int:
        """Whole latents among a video's first so many frames."""
        whole, rest = divmod(frames, self._apart(self.segment_latents)) if self.segments_apart else (0, frames)
        if whole and rest < self.first_latent_frames:
            return whole * self.segment_latents
        begun = 1 + (rest - self.first_latent_frames) // self.frames_per_latent
        return whole * self.segment_latents + begun

    def _apart(self, latents: int) -> int:
        """Frames of so many that begin as a video does."""
        return self.first_latent_frames + (latents - 1) * self.frames_per_latent
