"""Objects that tests vary: capabilities as the shipped model has them, and records in any state."""

from __future__ import annotations

from typing import Any

from engines.families.capabilities import Canvas, Capabilities, Range
from serving.jobs.record import JobRecord
from serving.plan import plan
from serving.requests import VideoRequest

DIGEST = "ab" * 32

CAPABILITIES = Capabilities(
    model="sprite-2",
    family="sprite",
    description="moving sprites",
    canvases=(Canvas("16:9", 64, 112), Canvas("1:1", 64, 64), Canvas("9:16", 112, 64)),
    resolutions={"480p": 7, "720p": 11, "1080p": 16},
    image_resolutions={"1k": 1024, "2k": 2048},
    fps=16,
    latent_channels=16,
    latent_stride=8,
    frames_per_latent=4,
    first_latent_frames=1,
    root_latents=5,
    segment_latents=4,
    seconds=Range(1, 15, 8),
    extension_seconds=Range(1, 10, 6),
    steps=Range(1, 50, 8),
    reference_size=(32, 32),
    references_max=1,
    max_prompt_chars=4096,
    aliases=("sprite",),
)


def request(**changes: Any) -> VideoRequest:
    """A valid request for two seconds of square video."""
    fields: dict[str, Any] = {
        "model": "sprite-2",
        "prompt": "a red circle moves right",
        "seconds": 2,
        "aspect_ratio": "1:1",
        "resolution": "480p",
        "steps": 4,
    }
    return VideoRequest(**{**fields, **changes})


def record(job: str = "vid_" + "a" * 26, *, tenant: str = "default", **changes: Any) -> JobRecord:
    """A job that was just accepted."""
    asked = changes.pop("request", None) or request()
    planned = plan(asked, CAPABILITIES, model_digest=DIGEST, seed=7)
    fields: dict[str, Any] = {"id": job, "tenant": tenant, "request": asked, "plan": planned, "created_ms": 1}
    return JobRecord(**{**fields, **changes})
