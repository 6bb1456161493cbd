"""Front doors: the shipped `Creator`, `Videos`, `Records` and `DirectorLink` behind simulated connections.

Nothing of gRPC runs: `_Link` speaks to a Director in another simulated process instead of a channel. Media from
outside are not simulated, so the intake's parts that read them are left out.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any, cast

import grpc
from google.protobuf.message import Message

from serving.director.messages import watch_response
from serving.errors import Unavailable
from serving.files.quota import Quota
from serving.frontdoor.admission.backlog import Backlog
from serving.frontdoor.admission.forecast import Forecast
from serving.frontdoor.admission.gate import Gate
from serving.frontdoor.create.catalog import Catalog, ServedModel
from serving.frontdoor.create.create import Creator
from serving.frontdoor.create.intake import Intake
from serving.frontdoor.create.settle import Settler
from serving.frontdoor.edge.auth import Caller
from serving.frontdoor.follow.director_link import DirectorLink
from serving.frontdoor.follow.records import RecordCache, Records
from serving.frontdoor.requeue import DeadJobs
from serving.frontdoor.videos import Videos
from serving.jobs.repository import Jobs
from serving.metrics import Unrecorded
from serving.requests import Codec
from serving.runtime_keys import director_address
from serving.settings import Admission
from serving.stages.contracts import StageLost
from serving.store.base import Store
from serving.traces.spans import UNTRACED
from tests.sim import model
from tests.sim.directors import Office
from tests.sim.network import Network
from tests.sim.next_version import UNKNOWN_ON_THE_WIRE
from tests.sim.pictures import SimDecoder
from tests.sim.process import Process

_CATALOG = Catalog([ServedModel(model.CAPABILITIES, model.DIGEST)], default=model.MODEL)


class Door:
    """One front-door process."""

    def __init__(
        self,
        process: Process,
        store: Store,
        network: Network,
        office: Office,
        now_ms: Callable[[], int],
        admission: Admission,
    ) -> None:
        self.process = process
        clock = process.loop.time
        jobs = Jobs(store)
        cache = RecordCache(clock=clock)
        records = Records(jobs, cache, Unrecorded())
        self.link = _Link(store, cache, process, network, office)
        backlog = Backlog(jobs, clock=clock)
        self.videos = Videos(
            store=store, jobs=jobs, cache=cache, records=records, link=self.link, traces=UNTRACED, now_ms=now_ms
        )
        nothing, quota = cast(Any, None), Quota(store, lambda _: None)
        intake = Intake(
            store=store,
            files=nothing,
            quota=quota,
            films=nothing,
            records=records,
            signer=nothing,
            fetcher=nothing,
            decoder=SimDecoder(process.kill),
        )
        forecast = Forecast(store, backlog, servers=lambda _: 1, now_ms=now_ms)
        self.dead_jobs = DeadJobs(store, jobs, self.link, now_ms)
        self.creator = Creator(
            settler=Settler(store=store, intake=intake, catalog=_CATALOG, codec=Codec.AV1, now_ms=now_ms),
            gate=Gate(admission, backlog=backlog, forecast=forecast, quota=quota, clock=clock),
            jobs=jobs,
            records=records,
            link=self.link,
            metrics=Unrecorded(),
            traces=UNTRACED,
            now_ms=now_ms,
        )


def caller(tenant: str, key: str) -> Caller:
    """Who calls."""
    return Caller(tenant=tenant, api_key_id=key, name=key)


class _Link(DirectorLink):
    """Speaks to whichever Director the network leads to."""

    def __init__(self, store: Store, cache: RecordCache, process: Process, network: Network, office: Office) -> None:
        super().__init__(store, cache, Unrecorded(), address=None)
        self._line = _Line(process, network, office)

    async def _stub(self) -> Any:
        return self._line if await director_address(self._store) is not None else None


class _Line:
    """What `DirectorLink` uses of a gRPC stub."""

    def __init__(self, process: Process, network: Network, office: Office) -> None:
        self._process = process
        self._network = network
        self._office = office

    async def Wake(self, request: Any, *, metadata: Any, timeout: float) -> None:  # noqa: ASYNC109, N802  (gRPC's)
        seat = self._office.reached()
        if seat is None:
            raise _failed("no Director")
        _sent(request, self._process)

        async def wake() -> None:
            seat.director.wake(request.tenant, request.job)

        try:
            async with asyncio.timeout(timeout):
                await self._network.call(self._process, seat.process, wake)
        except (StageLost, Unavailable, TimeoutError) as error:
            raise _failed(str(error)) from error

    def Watch(self, request: Any, *, metadata: Any) -> _Stream:  # noqa: N802  (gRPC's)
        stream = _Stream()
        seat = self._office.reached()
        if seat is None:
            stream.put(_failed("no Director"), 1)
            return stream
        loop = self._process.loop
        places = itertools.count(1)

        def send(message: object) -> None:
            loop.after(self._network.streamed_s(), stream.put, message, next(places), process=self._process)

        async def pump() -> None:
            async for batch in seat.director.watch(request.cursor, request.epoch):
                if stream.cancelled:
                    return
                send(_sent(watch_response(batch), seat.process))
            send(None)

        loop.after(self._network.hop_s(), lambda: seat.process.spawn(pump(), "watch"), process=seat.process)
        seat.process.on_death.append(lambda: send(_failed("connection reset")))
        return stream


class _Stream:
    """What `DirectorLink` uses of a running call. It keeps the order in which things were sent."""

    def __init__(self) -> None:
        self.cancelled = False
        self._messages: dict[int, object] = {}
        self._read = 0
        self._news = asyncio.Event()

    def put(self, message: object, place: int) -> None:
        self._messages[place] = message
        self._news.set()

    async def read(self) -> object:
        while self._read + 1 not in self._messages:
            self._news.clear()
            await self._news.wait()
        self._read += 1
        message = self._messages.pop(self._read)
        if isinstance(message, grpc.aio.AioRpcError):
            raise message
        return message

    def cancel(self) -> None:
        self.cancelled = True


def _sent(message: Message, by: Process) -> Message:
    """As it comes from the wire; the next version has more fields."""
    if by.newer:
        message.MergeFromString(UNKNOWN_ON_THE_WIRE)
    return message


def _failed(details: str) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), details)
