"""The Director's deployment: it wraps the Director for Ray Serve. `app.py` binds it, with a handle of every stage.

It is apart from the stages' (`replicas.py`), for a process imports the module of its class: a Director that starts is
waited for by all jobs, and needs no engine and no codec.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from functools import partial
from typing import Any, NoReturn

import grpc
import ray
from ray.serve.grpc_util import RayServegRPCContext
from ray.serve.handle import DeploymentHandle

from serving import model_store
from serving.clock import now_ms, running_ms
from serving.deployments import loopback
from serving.deployments.autoscale import JOBS
from serving.deployments.collector import CollectorProcess
from serving.deployments.handles import HandleStages
from serving.deployments.metrics_binding import RayRecorder
from serving.director.director import Director
from serving.director.messages import watch_response
from serving.director.patience import PatientClock
from serving.director.served import Served
from serving.director.upkeep import collect_cycles_rarely
from serving.errors import Unavailable
from serving.gen.longtake.internal.v1 import director_pb2
from serving.jobs.epoch import EpochLost, abandoned, take_epoch, turn
from serving.jobs.repository import Jobs
from serving.local.parts import environment_of
from serving.logs import configure, logger
from serving.runtime_keys import TOKEN_METADATA, shared_secret
from serving.settings import Settings
from serving.stage_names import DENOISER, RENDERER
from serving.stages.contracts import RENDERS_AT_ONCE
from serving.store.base import Store
from serving.store.keys import DIRECTOR_TOKEN
from serving.store.open import open_store


class DirectorReplica:
    """The Director, and the application's ingress: `Wake` and `Watch` for the front doors."""

    async def __init__(  # type: ignore[misc]  # Serve awaits constructors
        self,
        settings: Settings,
        prompt_writer: DeploymentHandle[Any],
        text_encoder: DeploymentHandle[Any],
        conditioner: DeploymentHandle[Any],
        denoiser: DeploymentHandle[Any],
        renderer: DeploymentHandle[Any],
    ) -> None:
        configure(service="director", format="json")
        loopback.of_replica()
        metrics = RayRecorder()
        store = await open_store(settings.store, probe=False)
        self._token = await shared_secret(store, DIRECTOR_TOKEN)
        stages = HandleStages(prompt_writer, text_encoder, conditioner, denoiser, renderer)
        cluster = ray.get_runtime_context().gcs_address
        await turn(store, cluster, partial(stages.up, settings.stages.kept))
        family = (await model_store.find(settings.model, store)).family
        served = Served(
            stages,
            family,
            slots=settings.stages.slots,
            denoisers=settings.stages.scale_of(DENOISER).max,
            renders=settings.stages.scale_of(RENDERER).max * RENDERS_AT_ONCE,
        )
        self._director = Director(
            store=store,
            jobs=Jobs(store),
            epoch=await take_epoch(store, cluster),
            models={family.capabilities.model: served},
            weights=settings.admission.weights,
            slice_s=settings.stages.slice_s,
            metrics=metrics,
            now_ms=PatientClock(now_ms, running_ms),
            incident=lambda: secrets.token_hex(6),
            collect=CollectorProcess(environment_of(settings), metrics).keep,
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
        if self._life.done():
            return {}
        (backlog,) = self._director.backlogs().values()
        return {str(stage): seconds for stage, seconds in backlog.seconds.items()} | {JOBS: backlog.jobs}

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
