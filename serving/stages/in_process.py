"""The stages as plain objects in this process: what `deployments/handles.py` is over Ray, without Ray.

`reproduction/reproduce.py`, the benchmarks and the tests give it to a Director. A reference is a task; a stage that
takes one awaits it.
"""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar, cast

from serving.media.sandbox import Decoder
from serving.stage_names import CONDITIONER, DENOISER, INGEST, PROMPT_WRITER, RENDERER, TEXT_ENCODER, CountedWork
from serving.stages.by_name import StageCall, StagesByName
from serving.stages.condition import Conditioner
from serving.stages.denoise import Denoiser
from serving.stages.ingest import Ingester
from serving.stages.interface import Ref
from serving.stages.loaded import Loaded
from serving.stages.prompt import PromptWriter
from serving.stages.render import Renderer
from serving.stages.text import TextEncoder

T = TypeVar("T")


class InProcessStages(StagesByName):
    """One object for each stage. `start` it first, `stop` it at the end."""

    def __init__(self, loaded: Loaded, *, replica: str = "the only one") -> None:
        """`replica`: the Denoiser's id."""
        self._denoiser = Denoiser(loaded.of(DENOISER), replica)
        self._stages: dict[CountedWork, Any] = {
            PROMPT_WRITER: PromptWriter(loaded.family),
            TEXT_ENCODER: TextEncoder(loaded.of(TEXT_ENCODER)),
            CONDITIONER: Conditioner(loaded.of(CONDITIONER), Decoder()),
            INGEST: Ingester(loaded.of(CONDITIONER)),
            DENOISER: self._denoiser,
            RENDERER: Renderer(loaded.of(RENDERER)),
        }

    def start(self) -> None:
        """Start the Denoiser's engine loop."""
        self._denoiser.start()

    async def stop(self) -> None:
        """End it."""
        await self._denoiser.stop()

    async def _answer(
        self,
        stage: CountedWork,
        work: StageCall[T],
        *given: Ref,
        replica: str | None = None,  # noqa: ARG002  (there is one)
    ) -> T:
        values = [await cast(asyncio.Task[Any], reference) for reference in given]
        return await work(self._stages[stage], *values)

    def _refer(self, stage: CountedWork, work: StageCall[Any], *given: Ref, replica: str | None = None) -> Ref:
        return Ref(asyncio.create_task(self._answer(stage, work, *given, replica=replica)))
