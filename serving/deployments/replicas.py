"""The stages' deployments: each wraps one stage for Ray Serve. No logic of its own is in here.

`app.py` binds them into the application. A replica opens the store and loads its engines in its constructor, after
their digests were checked; a digest that does not match keeps it from starting.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable
from typing import TypeVar

from ray import serve

from engines.families.base import Array, Conditions, EngineCall, Family
from serving import model_store
from serving.deployments import loopback
from serving.deployments.metrics_binding import RayRecorder
from serving.logs import configure
from serving.media.sandbox import Decoder
from serving.metrics import STAGE_FAILURES, STAGE_SECONDS
from serving.settings import Settings
from serving.stage_names import CONDITIONER, DENOISER, PROMPT_WRITER, RENDERER, TEXT_ENCODER, StageName
from serving.stages.call_log import Call, logged
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
from serving.stages.loaded import Loaded, load
from serving.stages.prompt import PromptWriter
from serving.stages.render import Renderer
from serving.stages.text import TextEncoder
from serving.store.open import open_store

T = TypeVar("T")


class _Replica:
    """What every replica has: logs, metrics, a way to time its calls."""

    stage: StageName

    def __init__(self) -> None:
        configure(service=self.stage, format="json")
        loopback.of_replica()
        self.metrics = RayRecorder()
        self._of: dict[str, str] = {}
        """Labels of its metrics."""
        self._loaded: Loaded | None = None

    async def _load(self, settings: Settings, call: EngineCall) -> Loaded:
        """With those engines of the model alone that this method of its family calls."""
        store = await open_store(settings.store, probe=False)
        loaded = await load(
            settings.model,
            store,
            settings.engines,
            threads=settings.stages.engine_threads,
            call=call,
            metrics=self.metrics,
        )
        self._loaded = loaded.of(self.stage)
        self._serves(loaded.session.family)
        return self._loaded

    def _serves(self, family: Family) -> None:
        self._of = {"model": family.capabilities.model, "stage": self.stage}

    async def check_health(self) -> None:
        """Serve starts the replica again when a call to an engine or a codec does not come back."""
        if self._loaded is not None:
            self._loaded.watchdog.check()

    async def _timed(self, call: Call, work: Awaitable[T]) -> T:
        began = time.monotonic()
        try:
            return await logged(call, work)
        except Exception as error:
            self.metrics.add(STAGE_FAILURES, **self._of, cause=type(error).__name__)
            raise
        finally:
            self.metrics.observe(STAGE_SECONDS, time.monotonic() - began, **self._of)


class PromptWriterReplica(_Replica):
    """PromptWriter."""

    stage = PROMPT_WRITER

    async def __init__(  # type: ignore[misc]  # Serve awaits constructors
        self,
        settings: Settings,
        *_others: object,
    ) -> None:
        """`_others` are the model's other stages, for Serve to have them as one application."""
        super().__init__()
        store = await open_store(settings.store, probe=False)
        try:
            models = await model_store.known(settings.model, store)
        finally:
            await store.close()
        self._serves(models.family(settings.model))
        self._writer = PromptWriter(models.family)

    async def write(self, call: PromptCall) -> PromptResult:
        """See `PromptWriter.write`."""
        return await self._timed(call, self._writer.write(call))


class TextEncoderReplica(_Replica):
    """TextEncoder."""

    stage = TEXT_ENCODER

    async def __init__(self, settings: Settings) -> None:  # type: ignore[misc]  # Serve awaits constructors
        super().__init__()
        self._encoder = TextEncoder(await self._load(settings, "encode_text"))

    async def embed(self, call: TextCall) -> Array:
        """See `TextEncoder.embed`."""
        return await self._timed(call, self._encoder.embed(call))


class ConditionerReplica(_Replica):
    """Conditioner, and the ingestion of foreign videos."""

    stage = CONDITIONER

    async def __init__(self, settings: Settings) -> None:  # type: ignore[misc]  # Serve awaits constructors
        super().__init__()
        loaded = await self._load(settings, "encode_video")
        self._conditioner = Conditioner(loaded, Decoder())
        self._ingester = Ingester(loaded)

    async def read_inputs(self, call: InputsCall) -> InputsResult:
        """See `Conditioner.read_inputs`."""
        return await self._timed(call, self._conditioner.read_inputs(call))

    async def condition(self, call: ConditionCall, text: Array) -> Conditions:
        """See `Conditioner.condition`."""
        return await self._timed(call, self._conditioner.condition(call, text))

    async def ingest(self, call: IngestCall) -> IngestResult:
        """See `Ingester.ingest`."""
        return await self._timed(call, self._ingester.ingest(call))


class DenoiserReplica(_Replica):
    """Denoiser: one engine loop."""

    stage = DENOISER

    async def __init__(self, settings: Settings) -> None:  # type: ignore[misc]  # Serve awaits constructors
        super().__init__()
        replica = serve.get_replica_context().replica_id.unique_id
        self._denoiser = Denoiser(await self._load(settings, "step"), replica)
        self._denoiser.start()

    async def __del__(self) -> None:
        """Serve awaits it when the replica has drained: its leases are let go, so nobody waits for their end."""
        await self._denoiser.stop()

    async def run_slice(self, call: SliceCall, conditions: Conditions) -> SliceResult:
        """See `Denoiser.run_slice`."""
        return await self._timed(call, self._denoiser.run_slice(call, conditions))

    async def take(self, call: TakeCall) -> Array:
        """See `Denoiser.take`."""
        return await self._denoiser.take(call)

    async def cancel(self, call: CancelCall) -> None:
        """See `Denoiser.cancel`."""
        await self._denoiser.cancel(call)

    async def check_health(self) -> None:
        """Serve starts the replica again when its engine loop is dead, or stuck."""
        await super().check_health()
        if not self._denoiser.alive:
            raise RuntimeError("the engine loop has ended")


class RendererReplica(_Replica):
    """Renderer."""

    stage = RENDERER

    async def __init__(self, settings: Settings) -> None:  # type: ignore[misc]  # Serve awaits constructors
        super().__init__()
        self._renderer = Renderer(await self._load(settings, "decode"))

    async def render(self, call: RenderCall, latents: Array) -> RenderResult:
        """See `Renderer.render`."""
        return await self._timed(call, self._renderer.render(call, latents))

    async def render_image(self, call: ImageCall, latents: Array) -> ImageResult:
        """See `Renderer.render_image`."""
        return await self._timed(call, self._renderer.render_image(call, latents))
