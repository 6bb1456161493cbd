"""The stages behind Serve handles, as the Director calls them. `outcomes.py` says what its errors mean.

Made in the Director's replica and used from its background loop only: calls that are made while a request is handled
would share that request's id, and the router would mix them up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from typing import Any, cast

from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from serving.deployments.outcomes import told
from serving.logs import logger
from serving.stage_names import CONDITIONER, DENOISER, PROMPT_WRITER, RENDERER, STAGES, TEXT_ENCODER, StageName
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
    TakeCall,
    TextCall,
)
from serving.stages.interface import Ref

_log = logger("stages")


class HandleStages:
    """`serving.stages.interface.Stages` of one model's application, over a handle for each deployment.

    It need not be there: calls wait then, or raise `StageAway`, and go on when it is there, or there again.
    """

    def __init__(self, application: str) -> None:
        self._application = application
        self.prompt_writer = _handle(PROMPT_WRITER, application)
        self.text_encoder = _handle(TEXT_ENCODER, application)
        self.conditioner = _handle(CONDITIONER, application)
        self.denoiser = _handle(DENOISER, application)
        self.renderer = _handle(RENDERER, application)

    async def write_prompt(self, call: PromptCall) -> PromptResult:
        """Understand the prompt."""
        return cast(PromptResult, await _answer(PROMPT_WRITER, self.prompt_writer.write.remote(call)))

    def embed_text(self, call: TextCall) -> Ref:
        """The caption's embedding."""
        return Ref(self.text_encoder.embed.remote(call))

    async def read_inputs(self, call: InputsCall) -> InputsResult:
        """Encode the job's pictures."""
        return cast(InputsResult, await _answer(CONDITIONER, self.conditioner.read_inputs.remote(call)))

    async def ingest(self, call: IngestCall) -> IngestResult:
        """Make a foreign video a root segment."""
        return cast(IngestResult, await _answer(CONDITIONER, self.conditioner.ingest.remote(call)))

    def condition(self, call: ConditionCall, text: Ref) -> Ref:
        """All that a segment is conditioned on."""
        return Ref(self.conditioner.condition.remote(call, text))

    async def run_slice(self, call: SliceCall, conditions: Ref) -> SliceResult:
        """Some denoising steps."""
        return cast(SliceResult, await _answer(DENOISER, self.denoiser.run_slice.remote(call, conditions)))

    def take_latents(self, call: TakeCall) -> Ref:
        """A finished segment's latents."""
        return Ref(self.denoiser.take.remote(call))

    async def cancel(self, call: CancelCall) -> None:
        """Stop a job's slices before their next step."""
        await _answer(DENOISER, self.denoiser.cancel.remote(call))

    async def render(self, call: RenderCall, latents: Ref) -> RenderResult:
        """Decode and encode a segment."""
        return cast(RenderResult, await _answer(RENDERER, self.renderer.render.remote(call, latents)))

    async def render_image(self, call: ImageCall, latents: Ref) -> ImageResult:
        """Decode a frame into a PNG."""
        return cast(ImageResult, await _answer(RENDERER, self.renderer.render_image.remote(call, latents)))

    async def replicas(self) -> Mapping[StageName, int]:
        """How many of each stage are up, as Serve's controller has it: none of an application that it does not have.
        Nothing while it does not answer.
        """
        try:
            status = await asyncio.to_thread(serve.status)
        except (RayError, RayServeException, ValueError, TimeoutError) as error:
            _log.info("the replicas are not known", reason=str(error))
            return {}
        application = status.applications.get(self._application)
        deployments = application.deployments if application is not None else {}
        states = {name: found.replica_states for name, found in deployments.items()}
        return {
            stage: sum(count for state, count in states.get(stage, {}).items() if state == "RUNNING")
            for stage in STAGES
        }


def _handle(stage: StageName, application: str) -> DeploymentHandle[Any]:
    """Of a deployment that may not be there yet: Serve's functions for that would ask whether it is."""
    return DeploymentHandle(stage, application)


async def _answer(stage: StageName, response: Awaitable[Any]) -> Any:
    """What a stage returned. Raises what `outcomes.told` makes of Serve's errors."""
    try:
        return await response
    except Exception as error:
        raise told(error, stage) from error
