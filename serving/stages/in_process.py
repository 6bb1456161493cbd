"""The stages as plain objects in this process: what `deployments/handles.py` is over Ray, without Ray.

`reproduction/reproduce.py` and the benchmarks give it to a Director. A reference is a task; a stage that takes one
awaits it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, cast

from engines import models
from serving.media.sandbox import Decoder
from serving.stages import contracts
from serving.stages.condition import Conditioner
from serving.stages.denoise import Denoiser
from serving.stages.ingest import Ingester
from serving.stages.interface import Ref
from serving.stages.loaded import Loaded
from serving.stages.prompt import PromptWriter
from serving.stages.render import Renderer
from serving.stages.text import TextEncoder


class InProcessStages:
    """Implements `serving.stages.interface.Stages`. `start` it first, `stop` it at the end."""

    def __init__(self, loaded: Loaded) -> None:
        decoder = Decoder()
        self._writer = PromptWriter(models.family)
        self._encoder = TextEncoder(loaded)
        self._conditioner = Conditioner(loaded, decoder)
        self._ingester = Ingester(loaded, decoder)
        self._denoiser = Denoiser(loaded, "the only one")
        self._renderer = Renderer(loaded)

    def start(self) -> None:
        """Start the Denoiser's engine loop."""
        self._denoiser.start()

    async def stop(self) -> None:
        """End it."""
        await self._denoiser.stop()

    async def write_prompt(self, call: contracts.PromptCall) -> contracts.PromptResult:
        """See `Stages`."""
        return await self._writer.write(call)

    def embed_text(self, call: contracts.TextCall) -> Ref:
        """See `Stages`."""
        return _reference(self._encoder.embed(call))

    async def read_inputs(self, call: contracts.InputsCall) -> contracts.InputsResult:
        """See `Stages`."""
        return await self._conditioner.read_inputs(call)

    async def ingest(self, call: contracts.IngestCall) -> contracts.IngestResult:
        """See `Stages`."""
        return await self._ingester.ingest(call)

    def condition(self, call: contracts.ConditionCall, text: Ref) -> Ref:
        """See `Stages`."""

        async def gather() -> Any:
            return await self._conditioner.condition(call, await _value(text))

        return _reference(gather())

    async def run_slice(self, call: contracts.SliceCall, conditions: Ref) -> contracts.SliceResult:
        """See `Stages`."""
        return await self._denoiser.run_slice(call, await _value(conditions))

    def take_latents(self, call: contracts.TakeCall) -> Ref:
        """See `Stages`."""
        return _reference(self._denoiser.take(call))

    async def cancel(self, call: contracts.CancelCall) -> None:
        """See `Stages`."""
        await self._denoiser.cancel(call)

    async def render(self, call: contracts.RenderCall, latents: Ref) -> contracts.RenderResult:
        """See `Stages`."""
        return await self._renderer.render(call, await _value(latents))

    async def render_image(self, call: contracts.ImageCall, latents: Ref) -> contracts.ImageResult:
        """See `Stages`."""
        return await self._renderer.render_image(call, await _value(latents))


def _reference(work: Coroutine[Any, Any, Any]) -> Ref:
    return Ref(asyncio.create_task(work))


async def _value(reference: Ref) -> Any:
    return await cast(asyncio.Task[Any], reference)
