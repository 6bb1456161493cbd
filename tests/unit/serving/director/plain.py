"""The real stages in this process, behind the Director's seam: references are tasks, and faults can be planted."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Coroutine
from typing import Any, cast

from engines import models
from serving.media.sandbox import Decoder
from serving.stages.condition import Conditioner
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
from serving.stages.denoise import Denoiser
from serving.stages.ingest import Ingester
from serving.stages.interface import Ref
from serving.stages.loaded import Loaded
from serving.stages.prompt import PromptWriter
from serving.stages.render import Renderer
from serving.stages.text import TextEncoder


class PlainStages:
    """Implements `serving.stages.interface.Stages`. `calls` remembers every call, by stage."""

    def __init__(self, loaded: Loaded) -> None:
        decoder = Decoder()
        self._loaded = loaded
        self.writer = PromptWriter(models.family)
        self.encoder = TextEncoder(loaded)
        self.conditioner = Conditioner(loaded, decoder)
        self.ingester = Ingester(loaded, decoder)
        self.denoiser = Denoiser(loaded, "replica-1")
        self.renderer = Renderer(loaded)
        self.calls: dict[str, list[Any]] = defaultdict(list)
        self.faults: dict[str, list[Exception]] = defaultdict(list)
        """Raised by the next calls of a stage, one each."""

    def start(self) -> None:
        self.denoiser.start()

    async def stop(self) -> None:
        await self.denoiser.stop()

    async def kill_denoiser(self) -> None:
        """Its process is gone, without a word; another one is started."""
        keeping = [task for task in asyncio.all_tasks() if task.get_name().startswith("lease ")]
        for task in keeping:
            task.cancel()
        await asyncio.gather(*keeping, return_exceptions=True)
        self.denoiser = Denoiser(self._loaded, "replica-2")
        self.denoiser.start()

    async def write_prompt(self, call: PromptCall) -> PromptResult:
        self._enter("write_prompt", call)
        return await self.writer.write(call)

    def embed_text(self, call: TextCall) -> Ref:
        return self._refer(self.encoder.embed(call))

    async def read_inputs(self, call: InputsCall) -> InputsResult:
        self._enter("read_inputs", call)
        return await self.conditioner.read_inputs(call)

    async def ingest(self, call: IngestCall) -> IngestResult:
        self._enter("ingest", call)
        return await self.ingester.ingest(call)

    def condition(self, call: ConditionCall, text: Ref) -> Ref:
        async def work() -> Any:
            return await self.conditioner.condition(call, await cast(asyncio.Task[Any], text))

        self.calls["condition"].append(call)
        return self._refer(work())

    async def run_slice(self, call: SliceCall, conditions: Ref) -> SliceResult:
        self._enter("run_slice", call)
        return await self.denoiser.run_slice(call, await cast(asyncio.Task[Any], conditions))

    def take_latents(self, call: TakeCall) -> Ref:
        return self._refer(self.denoiser.take(call))

    async def cancel(self, call: CancelCall) -> None:
        self._enter("cancel", call)
        await self.denoiser.cancel(call)

    async def render(self, call: RenderCall, latents: Ref) -> RenderResult:
        self._enter("render", call)
        return await self.renderer.render(call, await cast(asyncio.Task[Any], latents))

    async def render_image(self, call: ImageCall, latents: Ref) -> ImageResult:
        self._enter("render_image", call)
        return await self.renderer.render_image(call, await cast(asyncio.Task[Any], latents))

    def _enter(self, stage: str, call: object) -> None:
        self.calls[stage].append(call)
        if self.faults[stage]:
            raise self.faults[stage].pop(0)

    def _refer(self, work: Coroutine[Any, Any, Any]) -> Ref:
        return Ref(asyncio.ensure_future(work))
