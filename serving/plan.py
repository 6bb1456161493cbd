"""From a request to a plan: which segments, at which sizes, in how many steps. Pure.

`frontdoor/create/settle.py` plans before a job is admitted; the Director carries the plan out and decides nothing anew.
"""

from __future__ import annotations

from pydantic import Field

from engines.families.capabilities import Canvas, Capabilities
from serving.frozen import Stored
from serving.media.track import Track
from serving.requests import Kind, VideoRequest
from serving.segments.shape import VideoShape


class PlannedSegment(Stored):
    """One segment to make."""

    index: int = Field(ge=0)
    """Its place in the whole video, 0 for a root: noise is drawn from (seed, index)."""
    latents: int = Field(ge=1)
    frames: int = Field(ge=1)
    root: bool


class Plan(Stored):
    """What will be done, exactly."""

    aspect_ratio: str
    height: int = Field(ge=1)
    width: int = Field(ge=1)
    """Native frame, pixels."""
    track: Track
    segments: tuple[PlannedSegment, ...] = Field(min_length=1)
    steps: int = Field(ge=1)
    """Per segment."""
    step_cache: float = Field(default=0.0, ge=0, lt=1)
    """How far predictions that are reused may be off, as the model was set when this was planned; 0: none is."""
    seed: int
    start_frame: int
    """Frames of the video that is extended (0 for a new one; an ingested one is counted when it is decoded)."""
    model: str
    model_digest: str

    @property
    def total_steps(self) -> int:
        """Denoising steps of the whole job."""
        return self.steps * len(self.segments)

    @property
    def frames(self) -> int:
        """Frames that the job makes."""
        return sum(segment.frames for segment in self.segments)


def plan(
    request: VideoRequest, capabilities: Capabilities, *, model_digest: str, seed: int, parent: VideoShape | None = None
) -> Plan:
    """Plan a validated request.

    `seed` is the request's own, or one that the caller drew. `parent` is the shape of the video that is extended: its
    canvas and track are inherited. An ingested (foreign) source has no shape yet: its root's frames count when decoded.
    """
    if parent is not None:
        canvas = Canvas(parent.aspect_ratio, parent.height, parent.width)
        track = parent.track
    else:
        found = capabilities.canvas(request.aspect_ratio)
        if found is None:
            raise ValueError(f"the model has no canvas for {request.aspect_ratio!r}: validate the request first")
        canvas = found
        scale = capabilities.resolutions[request.resolution] if request.kind is Kind.VIDEO else 1
        track = Track(
            codec=request.codec, width=canvas.width * scale, height=canvas.height * scale, fps=capabilities.fps
        )
    return Plan(
        aspect_ratio=canvas.aspect_ratio,
        height=canvas.height,
        width=canvas.width,
        track=track,
        segments=_segments(request, capabilities, parent),
        steps=request.steps,
        step_cache=capabilities.step_cache or 0.0,
        seed=seed,
        start_frame=parent.total_frames if parent else 0,
        model=capabilities.model,
        model_digest=model_digest,
    )


def _segments(
    request: VideoRequest, capabilities: Capabilities, parent: VideoShape | None
) -> tuple[PlannedSegment, ...]:
    if request.kind is Kind.IMAGE:
        latents = capabilities.image_latents or capabilities.root_latents
        return tuple(PlannedSegment(index=i, latents=latents, frames=1, root=True) for i in range(request.images))
    extends = parent is not None or request.ingests is not None
    first = parent.depth + 1 if parent else 1 if request.ingests else 0
    further = capabilities.frames_of(capabilities.segment_latents, root=False) / capabilities.fps
    if extends:
        return tuple(_segment(capabilities, first + i, root=False) for i in range(round(request.seconds / further)))
    root = _segment(capabilities, 0, root=True)
    after = max(0, round((request.seconds - root.frames / capabilities.fps) / further))
    return root, *(_segment(capabilities, 1 + i, root=False) for i in range(after))


def _segment(capabilities: Capabilities, index: int, *, root: bool) -> PlannedSegment:
    latents = capabilities.root_latents if root else capabilities.segment_latents
    return PlannedSegment(index=index, latents=latents, frames=capabilities.frames_of(latents, root=root), root=root)
