"""The stages in this process with a record of what they were asked, and with faults that can be planted."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Any

from serving.stage_names import DENOISER
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
)
from serving.stages.denoise import Denoiser
from serving.stages.in_process import InProcessStages
from serving.stages.interface import Ref
from serving.stages.loaded import Loaded


class PlainStages(InProcessStages):
    """`calls` remembers every call, by stage."""

    def __init__(self, loaded: Loaded) -> None:
        super().__init__(loaded, replica="replica-1")
        self._loaded = loaded
        self.calls: dict[str, list[Any]] = defaultdict(list)
        self.faults: dict[str, list[Exception]] = defaultdict(list)
        """Raised by the next calls of a stage, one each."""

    async def kill_denoiser(self) -> None:
        """Its process is gone, without a word; another one is started."""
        keeping = [task for task in asyncio.all_tasks() if task.get_name().startswith("lease ")]
        for task in keeping:
            task.cancel()
        await asyncio.gather(*keeping, return_exceptions=True)
        self._denoiser = self._stages[DENOISER] = Denoiser(self._loaded, "replica-2")
        self._denoiser.start()

    async def write_prompt(self, call: PromptCall) -> PromptResult:
        self._enter("write_prompt", call)
        return await super().write_prompt(call)

    async def read_inputs(self, call: InputsCall) -> InputsResult:
        self._enter("read_inputs", call)
        return await super().read_inputs(call)

    async def ingest(self, call: IngestCall) -> IngestResult:
        self._enter("ingest", call)
        return await super().ingest(call)

    def condition(self, call: ConditionCall, text: Ref) -> Ref:
        self.calls["condition"].append(call)
        return super().condition(call, text)

    async def run_slice(self, call: SliceCall, conditions: Ref) -> SliceResult:
        self._enter("run_slice", call)
        return await super().run_slice(call, conditions)

    async def cancel(self, call: CancelCall) -> None:
        self._enter("cancel", call)
        await super().cancel(call)

    async def render(self, call: RenderCall, latents: Ref) -> RenderResult:
        self._enter("render", call)
        return await super().render(call, latents)

    async def render_image(self, call: ImageCall, latents: Ref) -> ImageResult:
        self._enter("render_image", call)
        return await super().render_image(call, latents)

    def _enter(self, stage: str, call: object) -> None:
        self.calls[stage].append(call)
        if self.faults[stage]:
            raise self.faults[stage].pop(0)
