"""The deployments: each wraps one stage, or the Director, for Ray Serve. No logic of its own is in here.

`app.py` binds them into the application. A replica opens the store and loads its engines in its constructor, after
their digests were checked; a digest that does not match keeps it from starting.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable
from typing import Any, NoReturn, TypeVar

import grpc
from ray import serve
from ray.serve.grpc_util import RayServegRPCContext
from ray.serve.handle import DeploymentHandle

from engines import models
from engines.families.base import Array, Conditions, EngineCall
from serving.clock import now_ms, running_ms
from serving.deployments.collector import CollectorProcess
from serving.deployments.handles import HandleStages
from serving.deployments.metrics_binding import RayRecorder
from serving.director.director import Director
from serving.director.messages import watch_response
from serving.director.patience import PatientClock
from serving.director.upkeep import collect_cycles_rarely
from serving.errors import Unavailable
from serving.gen.longtake.internal.v1 import director_pb2
from serving.jobs.epoch import EpochLost, abandoned, take_epoch
from serving.jobs.repository import Jobs
from serving.local.parts import environment_of
from serving.logs import configure, logger
from serving.media.sandbox import Decoder
from serving.metrics import STAGE_FAILURES, STAGE_SECONDS
from serving.runtime_keys import TOKEN_METADATA, shared_secret
from serving.settings import Settings
from serving.stage_names import CONDITIONER, DENOISER, PROMPT_WRITER, RENDERER, TEXT_ENCODER
from serving.stages.condition import Conditioner
from serving.stages.contracts import (
    RENDERS_AT_ONCE,
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
from serving.store.base import Store
from serving.store.keys import DIRECTOR_TOKEN
from serving.store.open import open_store

T = TypeVar("T")


class _Replica:
    """What every replica has: logs, metrics, a way to time its calls."""

    stage = ""

    def __init__(self) -> None:
        configure(service=self.stage, format="json")
        self.metrics = RayRecorder()
        self._loaded: Loaded | None = None

    async def _load(self, settings: Settings, call: EngineCall) -> Loaded:
        """With those engines of the model alone that this method of its family calls."""
        store = await open_store(settings.store, probe=False)
        self._loaded = await load(
            settings.model,
            store,
            threads=settings.stages.engine_threads,
            components=models.family(settings.model).uses[call],
            metrics=self.metrics,
        )
        return self._loaded

    async def check_health(self) -> None:
        """Serve starts the replica again when a call to an engine or a codec does not come back."""
        if self._loaded is not None:
            self._loaded.watchdog.check()

    async def _timed(self, work: Awaitable[T]) -> T:
        began = time.monotonic()
        try:
            return await work
        except Exception as error:
            self.metrics.add(STAGE_FAILURES, stage=self.stage, cause=type(error).__name__)
            raise
        finally:
            self.metrics.observe(STAGE_SECONDS, time.monotonic() - began, stage=self.stage)


class PromptWriterReplica(_Replica):
    """PromptWriter."""

    stage = PROMPT_WRITER

    def __init__(self) -> None:
        super().__init__()
        self._writer = PromptWriter(models.family)

    async def write(self, call: PromptCall) -> PromptResult:
        """See `PromptWriter.write`."""
        return await self._timed(self._writer.write(call))


class TextEncoderReplica(_Replica):
    """TextEncoder."""

    stage = TEXT_ENCODER

    async def __init__(self, settings: Settings) -> None:  # type: ignore[misc]  # Serve awaits constructors
        super().__init__()
        self._encoder = TextEncoder(await self._load(settings, "encode_text"))

    async def embed(self, call: TextCall) -> Array:
        """See `TextEncoder.embed`."""
        return await self._timed(self._encoder.embed(call))


class ConditionerReplica(_Replica):
    """Conditioner, and the ingestion of foreign videos."""

    stage = CONDITIONER

    async def __init__(self, settings: Settings) -> None:  # type: ignore[misc]  # Serve awaits constructors
        super().__init__()
        loaded = await self._load(settings, "encode_video")
        decoder = Decoder()
        self._conditioner = Conditioner(loaded, decoder)
        self._ingester = Ingester(loaded, decoder)

    async def read_inputs(self, call: InputsCall) -> InputsResult:
        """See `Conditioner.read_inputs`."""
        return await self._timed(self._conditioner.read_inputs(call))

    async def condition(self, call: ConditionCall, text: Array) -> Conditions:
        """See `Conditioner.condition`."""
        return await self._timed(self._conditioner.condition(call, text))

    async def ingest(self, call: IngestCall) -> IngestResult:
        """See `Ingester.ingest`."""
        return await self._timed(self._ingester.ingest(call))


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
        return await self._timed(self._denoiser.run_slice(call, conditions))

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
        return await self._timed(self._renderer.render(call, latents))

    async def render_image(self, call: ImageCall, latents: Array) -> ImageResult:
        """See `Renderer.render_image`."""
        return await self._timed(self._renderer.render_image(call, latents))


class DirectorReplica(_Replica):
    """The Director, and the application's ingress: `Wake` and `Watch` for the front doors."""

    stage = "director"

    async def __init__(  # type: ignore[misc]  # Serve awaits constructors
        self,
        settings: Settings,
        prompt_writer: DeploymentHandle[Any],
        text_encoder: DeploymentHandle[Any],
        conditioner: DeploymentHandle[Any],
        denoiser: DeploymentHandle[Any],
        renderer: DeploymentHandle[Any],
    ) -> None:
        super().__init__()
        store = await open_store(settings.store, probe=False)
        self._token = await shared_secret(store, DIRECTOR_TOKEN)
        self._director = Director(
            store=store,
            jobs=Jobs(store),
            epoch=await take_epoch(store),
            stages=HandleStages(prompt_writer, text_encoder, conditioner, denoiser, renderer),
            family=models.family,
            slots=settings.stages.slots,
            servers=settings.stages.scale_of(DENOISER).max,
            renders=settings.stages.scale_of(RENDERER).max * RENDERS_AT_ONCE,
            weights=settings.admission.weights,
            slice_s=settings.stages.slice_s,
            metrics=self.metrics,
            now_ms=PatientClock(now_ms, running_ms),
            incident=lambda: secrets.token_hex(6),
            collect=CollectorProcess(environment_of(settings), self.metrics).keep,
        )
        collect_cycles_rarely()
        self._life = asyncio.create_task(self._director.run(), name="director")
        self._abandoned = asyncio.create_task(self._wait_idle(store), name="idle")

    async def Wake(  # noqa: N802  (the proto's name)
        self, request: director_pb2.WakeRequest, grpc_context: RayServegRPCContext
    ) -> director_pb2.WakeResponse:
        """A front door made or changed a job."""
        self._admit(grpc_context)
        try:
            return director_pb2.WakeResponse(epoch=self._director.wake(request.tenant, request.job))
        except Unavailable as ending:
            _refuse(grpc_context, grpc.StatusCode.UNAVAILABLE, f"{ending.message}: try again")

    async def Watch(  # noqa: N802  (the proto's name)
        self, request: director_pb2.WatchRequest, grpc_context: RayServegRPCContext
    ) -> AsyncIterator[director_pb2.WatchResponse]:
        """All that happens, for half a minute."""
        self._admit(grpc_context)
        async for batch in self._director.watch(request.cursor, request.epoch):
            yield watch_response(batch)

    async def check_health(self) -> None:
        """Serve starts the replica again when the Director's loop has ended by a fault.

        One that lost its epoch stays idle: starting it again would take the epoch back from the newer one. It is
        started again when the newer one has gone and left nobody.
        """
        if self._abandoned.done():
            raise RuntimeError("no Director works") from self._abandoned.exception()

    async def _wait_idle(self, store: Store) -> None:
        """Return when a Director is needed here. Raises what ended this one's loop, but for the loss of its epoch."""
        try:
            await asyncio.shield(self._life)
        except EpochLost:
            logger("director").info("idle: a newer Director has started")
            await abandoned(store)

    def record_autoscaling_stats(self) -> dict[str, float]:
        """What the stages are scaled by, for Serve to collect; nothing from a Director that does not work any more."""
        return {} if self._life.done() else self._director.backlog()

    def _admit(self, context: RayServegRPCContext) -> None:
        """Let only the installation's own front doors in, and only while the Director works."""
        given = dict(context.invocation_metadata()).get(TOKEN_METADATA, "")
        if not secrets.compare_digest(str(given).encode(), self._token.encode()):
            _refuse(context, grpc.StatusCode.UNAUTHENTICATED, f"`{TOKEN_METADATA}` metadata is missing or wrong")
        if self._life.done():
            _refuse(context, grpc.StatusCode.UNAVAILABLE, "this Director does not work any more: try again")


def _refuse(context: RayServegRPCContext, code: grpc.StatusCode, message: str) -> NoReturn:
    context.set_code(code)
    context.set_details(message)
    # Serve sends the status of a call that raises, and drops that of a stream that ends without a message.
    raise RuntimeError(message)
