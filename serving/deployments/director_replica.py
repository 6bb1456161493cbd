"""The Director's deployment: it wraps the Director for Ray Serve. `app.py` binds it.

It is apart from the stages' (`replicas.py`), for a process imports the module of its class: a Director that starts is
waited for by all jobs, and needs no engine and no codec.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Mapping
from typing import Any, NoReturn

import grpc
import ray
from ray.serve.grpc_util import RayServegRPCContext

from serving.clock import now_ms, running_ms
from serving.cycles import collect_cycles_rarely
from serving.deployments import backlogs, loopback
from serving.deployments.autoscale import JOBS
from serving.deployments.collector import CollectorProcess
from serving.deployments.director_models import DirectorModels
from serving.deployments.metrics_binding import RayRecorder
from serving.director.director import Director
from serving.director.messages import watch_response
from serving.director.patience import PatientClock
from serving.director.served import Served
from serving.errors import Unavailable
from serving.gen.longtake.internal.v1 import director_pb2
from serving.jobs.epoch import EpochLost, abandoned, take_epoch, turn
from serving.jobs.repository import Jobs
from serving.local.parts import environment_of
from serving.logs import configure, logger
from serving.runtime_keys import TOKEN_METADATA, announce_director, shared_secret
from serving.settings import Settings
from serving.store.base import Store
from serving.store.keys import DIRECTOR_TOKEN
from serving.store.open import open_store
from serving.traces.switch import open_traces


class DirectorReplica:
    """The Director, and the application's ingress: `Wake` and `Watch` for the front doors."""

    async def __init__(  # type: ignore[misc]  # Serve awaits constructors
        self, settings: Settings, announced: str | None
    ) -> None:
        """`announced`: where this machine's front doors find it; None where a setting of theirs says so."""
        configure(service="director", format="json")
        loopback.of_replica()
        self._settings = settings
        self._announced = announced
        self._metrics = RayRecorder()
        self._traces = open_traces("longtake-director", self._metrics, os.environ)
        self._store = await open_store(settings.store, probe=False)
        self._token = await shared_secret(self._store, DIRECTOR_TOKEN)
        self._models = DirectorModels(self._store, self._serve)
        self._served: Mapping[str, Served] = {}
        self._director: Director | None = None
        collect_cycles_rarely()

    async def __del__(self) -> None:
        """Serve awaits it when the replica has drained: spans that wait are sent."""
        await asyncio.to_thread(self._traces.close)

    async def reconfigure(self, config: dict[str, Any]) -> None:
        """Serve calls it before it sends anything here, and again whenever a model comes or goes."""
        await self._models.tell(config["models"])
        if self._director is None:
            await self._start()

    async def _start(self) -> None:
        settings, store = self._settings, self._store
        cluster = ray.get_runtime_context().gcs_address
        await turn(store, cluster, self._models.up)
        epoch = await take_epoch(store, cluster)
        if self._announced is not None:  # by whoever works, each time: an earlier one may have stood elsewhere
            await announce_director(store, self._announced)
        self._director = Director(
            store=store,
            jobs=Jobs(store),
            epoch=epoch,
            models=self._served,
            weights=settings.admission.weights,
            slice_s=settings.stages.slice_s,
            metrics=self._metrics,
            traces=self._traces,
            now_ms=PatientClock(now_ms, running_ms),
            incident=lambda: secrets.token_hex(6),
            collect=CollectorProcess(environment_of(settings), self._metrics).keep,
        )
        self._life = asyncio.create_task(self._director.run(), name="director")
        self._abandoned = asyncio.create_task(self._wait_idle(store), name="idle")

    def _serve(self, models: Mapping[str, Served]) -> None:
        self._served = models
        if self._director is not None:
            self._director.serve(models)

    async def Wake(  # noqa: N802  (the proto's name)
        self, request: director_pb2.WakeRequest, grpc_context: RayServegRPCContext
    ) -> director_pb2.WakeResponse:
        """A front door made or changed a job."""
        self._admit(grpc_context)
        try:
            return director_pb2.WakeResponse(epoch=self._working.wake(request.tenant, request.job))
        except Unavailable as ending:
            _refuse(grpc_context, grpc.StatusCode.UNAVAILABLE, f"{ending.message}: try again")

    async def Watch(  # noqa: N802  (the proto's name)
        self, request: director_pb2.WatchRequest, grpc_context: RayServegRPCContext
    ) -> AsyncIterator[director_pb2.WatchResponse]:
        """All that happens, for half a minute."""
        self._admit(grpc_context)
        async for batch in self._working.watch(request.cursor, request.epoch):
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
        if self._director is None or self._life.done():
            return {}
        return {
            backlogs.name_of(self._models.said(model), what): value
            for model, backlog in self._director.backlogs().items()
            for what, value in (*backlog.seconds.items(), (JOBS, backlog.jobs))
        }

    @property
    def _working(self) -> Director:
        assert self._director is not None, "Serve configures a replica before it sends anything to it"
        return self._director

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
