"""Every call of `interface.Stages` as work at one stage: those who know where the stages are say how one is reached.

`in_process.py` has them as objects; the simulation of the tests has replicas of them in simulated processes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

from serving.stage_names import (
    CONDITIONER,
    DENOISER,
    INGEST,
    PROMPT_WRITER,
    RENDERER,
    TEXT_ENCODER,
    CountedWork,
    StageName,
)
from serving.stages import contracts
from serving.stages.interface import Ref

T = TypeVar("T")
StageCall = Callable[..., Coroutine[Any, Any, T]]
"""Called with the stage, and with the values of the references that it needs."""


class StagesByName(ABC):
    """Implements `serving.stages.interface.Stages`."""

    async def write_prompt(self, call: contracts.PromptCall) -> contracts.PromptResult:
        """See `Stages`."""
        return await self._answer(PROMPT_WRITER, lambda writer: writer.write(call))

    def embed_text(self, call: contracts.TextCall) -> Ref:
        """See `Stages`."""
        return self._refer(TEXT_ENCODER, lambda encoder: encoder.embed(call))

    async def read_inputs(self, call: contracts.InputsCall) -> contracts.InputsResult:
        """See `Stages`."""
        return await self._answer(CONDITIONER, lambda conditioner: conditioner.read_inputs(call))

    async def ingest(self, call: contracts.IngestCall) -> contracts.IngestResult:
        """See `Stages`."""
        return await self._answer(INGEST, lambda ingester: ingester.ingest(call))

    def condition(self, call: contracts.ConditionCall, text: Ref) -> Ref:
        """See `Stages`."""
        return self._refer(CONDITIONER, lambda conditioner, embedded: conditioner.condition(call, embedded), text)

    async def run_slice(self, call: contracts.SliceCall, conditions: Ref) -> contracts.SliceResult:
        """See `Stages`."""
        return await self._answer(
            DENOISER, lambda denoiser, given: denoiser.run_slice(call, given), conditions, replica=call.replica
        )

    def take_latents(self, call: contracts.TakeCall) -> Ref:
        """See `Stages`."""
        return self._refer(DENOISER, lambda denoiser: denoiser.take(call), replica=call.replica)

    async def cancel(self, call: contracts.CancelCall) -> None:
        """See `Stages`."""
        await self._answer(DENOISER, lambda denoiser: denoiser.cancel(call), replica=call.replica)

    async def render(self, call: contracts.RenderCall, latents: Ref) -> contracts.RenderResult:
        """See `Stages`."""
        return await self._answer(RENDERER, lambda renderer, taken: renderer.render(call, taken), latents)

    async def render_image(self, call: contracts.ImageCall, latents: Ref) -> contracts.ImageResult:
        """See `Stages`."""
        return await self._answer(RENDERER, lambda renderer, taken: renderer.render_image(call, taken), latents)

    async def replicas(self) -> Mapping[StageName, int]:
        """See `Stages`: nobody counts them here."""
        return {}

    @abstractmethod
    async def _answer(self, stage: CountedWork, work: StageCall[T], *given: Ref, replica: str | None = None) -> T:
        """Wait for the references, do the work at the stage, on the replica of that id if it lives, and answer."""

    @abstractmethod
    def _refer(self, stage: CountedWork, work: StageCall[Any], *given: Ref, replica: str | None = None) -> Ref:
        """Begin to do so, and return at once what stands for the answer."""
