"""The stages by name: settings, deployments, estimates, metrics and the Director's books call them so. Pure."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple, get_args

StageName = Literal["prompt_writer", "text_encoder", "conditioner", "denoiser", "renderer"]
STAGES: tuple[StageName, ...] = get_args(StageName)
"""In the order in which a job passes them."""

PROMPT_WRITER: Final = "prompt_writer"
TEXT_ENCODER: Final = "text_encoder"
CONDITIONER: Final = "conditioner"
DENOISER: Final = "denoiser"
RENDERER: Final = "renderer"

INGEST: Final = "ingest"
"""The Conditioner's work on a foreign video. Where losses are counted it is told apart: a film may break decoders."""
CountedWork = StageName | Literal["ingest"]
"""What a replica may be lost over."""


class ModelStage(NamedTuple):
    """A stage of one model: every model has stages of its own, and one that is away holds up nobody else's jobs."""

    model: str
    stage: CountedWork
