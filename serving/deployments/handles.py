"""The stages behind Serve handles, as the Director calls them. The one place that knows what Serve raises.

Made in the Director's replica and used from its background loop only: calls that are made while a request is handled
would share that request's id, and the router would mix them up.
"""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any, cast

from ray.exceptions import ObjectLostError, RayActorError, RayTaskError, TaskCancelledError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from serving.errors import LongtakeError
from serving.stages.contracts import (
    CancelCall,
    ConditionCall,
    ImageCall,
    ImageResult,
    IngestCall,
    IngestResult,
    InputsCall,
    InputsResult,
    PromptCall,
    PromptResult,
    RenderCall,
    RenderResult,
    SliceCall,
    SliceResult,
    StageLost,
    TakeCall,
    TextCall,
)
from serving.stages.interface import Ref

_GONE = (RayActorError, ObjectLostError, TaskCancelledError, RayServeException)


@dataclass(frozen=True)
class HandleStages:
    """`serving.stages.interface.Stages` over one handle per deployment."""

    prompt_writer: DeploymentHandle[Any]
    text_encoder: DeploymentHandle[Any]
    conditioner: DeploymentHandle[Any]
    denoiser: DeploymentHandle[Any]
    renderer: DeploymentHandle[Any]

    async def write_prompt(self, call: PromptCall) -> PromptResult:
        """Understand the prompt."""
        return cast(PromptResult, await _answer(self.prompt_writer.write.remote(call)))

    def embed_text(self, call: TextCall) -> Ref:
        """The caption's embedding."""
        return Ref(self.text_encoder.embed.remote(call))

    async def read_inputs(self, call: InputsCall) -> InputsResult:
        """Encode the job's pictures."""
        return cast(InputsResult, await _answer(self.conditioner.read_inputs.remote(call)))

    async def ingest(self, call: IngestCall) -> IngestResult:
        """Make a foreign video a root segment."""
        return cast(IngestResult, await _answer(self.conditioner.ingest.remote(call)))

    def condition(self, call: ConditionCall, text: Ref) -> Ref:
        """All that a segment is conditioned on."""
        return Ref(self.conditioner.condition.remote(call, text))

    async def run_slice(self, call: SliceCall, conditions: Ref) -> SliceResult:
        """Some denoising steps."""
        return cast(SliceResult, await _answer(self.denoiser.run_slice.remote(call, conditions)))

    def take_latents(self, call: TakeCall) -> Ref:
        """A finished segment's latents."""
        return Ref(self.denoiser.take.remote(call))

    async def cancel(self, call: CancelCall) -> None:
        """Stop a job's slices before their next step."""
        await _answer(self.denoiser.cancel.remote(call))

    async def render(self, call: RenderCall, latents: Ref) -> RenderResult:
        """Decode and encode a segment."""
        return cast(RenderResult, await _answer(self.renderer.render.remote(call, latents)))

    async def render_image(self, call: ImageCall, latents: Ref) -> ImageResult:
        """Decode a frame into a PNG."""
        return cast(ImageResult, await _answer(self.renderer.render_image.remote(call, latents)))


async def _answer(response: Awaitable[Any]) -> Any:
    """What a stage returned, or its own error instead of Ray's wrapping of it."""
    try:
        return await response
    except RayTaskError as error:
        raise _own(error) from error
    except _GONE as error:
        raise _lost(error) from error


def _own(error: RayTaskError) -> Exception:
    """The stage's error; through as many stages as a reference carried it."""
    cause: BaseException | None = error
    while isinstance(cause, RayTaskError):
        if isinstance(cause.cause, LongtakeError):
            return cause.cause
        if isinstance(cause.cause, _GONE):
            return _lost(cause.cause)
        cause = cause.cause
    return error


def _lost(error: BaseException) -> StageLost:
    first_line = str(error).strip().partition("\n")[0]
    return StageLost(f"a replica went away ({type(error).__name__}: {first_line})")
