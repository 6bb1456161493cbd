"""The line to the Director, against a real gRPC server that tells what the Director's own feed tells."""

# ruff: noqa: N802  (the wire decides the names)

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from serving.director.events import Feed
from serving.frontdoor.follow.director_link import DirectorLink
from serving.frontdoor.follow.records import RecordCache
from serving.gen.longtake.internal.v1 import director_pb2, director_pb2_grpc
from serving.jobs.record import JobState
from serving.metrics import Unrecorded
from serving.runtime_keys import TOKEN_METADATA, announce_director, shared_secret
from serving.store.base import Store
from serving.store.keys import DIRECTOR_TOKEN
from tests.unit.serving.frontdoor.builders import record

pytestmark = pytest.mark.anyio


class Ingress(director_pb2_grpc.DirectorServicer):
    """The Director's two methods over a feed."""

    def __init__(self, feed: Feed, token: str) -> None:
        self.feed = feed
        self.token = token
        self.woken: list[str] = []
        self.stream_s = 30.0

    async def Wake(
        self, request: director_pb2.WakeRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> director_pb2.WakeResponse:
        await self._check(context)
        self.woken.append(request.job)
        return director_pb2.WakeResponse(epoch=self.feed.epoch)

    async def Watch(
        self, request: director_pb2.WatchRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[director_pb2.WatchResponse]:
        await self._check(context)
        async for batch in self.feed.watch(request.cursor, request.epoch, seconds=self.stream_s):
            yield director_pb2.WatchResponse(
                epoch=batch.epoch,
                cursor=batch.cursor,
                continuous=batch.continuous,
                events=[
                    director_pb2.JobEvent(
                        tenant=told.tenant,
                        job=told.job,
                        version=told.version,
                        record=told.record,
                        stage=told.stage,
                        steps_done=told.steps_done,
                        segment_index=told.segment_index,
                    )
                    for told in batch.events
                ],
            )

    async def _check(self, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        if (TOKEN_METADATA, self.token) not in (context.invocation_metadata() or ()):
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "no token")


@asynccontextmanager
async def serving(ingress: Ingress, address: str = "127.0.0.1:0") -> AsyncIterator[str]:
    server = grpc.aio.server()
    director_pb2_grpc.add_DirectorServicer_to_server(ingress, server)
    port = server.add_insecure_port(address)
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not true():  # noqa: ASYNC110  (what is waited for has no event)
            await asyncio.sleep(0.01)


@pytest.fixture
async def ingress(store: Store) -> Ingress:
    return Ingress(Feed(epoch=4), await shared_secret(store, DIRECTOR_TOKEN))


@asynccontextmanager
async def linked(store: Store, cache: RecordCache, address: str | None) -> AsyncIterator[DirectorLink]:
    link = DirectorLink(store, cache, Unrecorded(), address=address)
    await link.start()
    try:
        yield link
    finally:
        await link.close()


async def test_what_the_director_writes_and_counts_is_answered_from_memory(store: Store, ingress: Ingress) -> None:
    cache = RecordCache(clock=asyncio.get_running_loop().time)
    running = record(state=JobState.RUNNING, version=2)
    async with serving(ingress) as address, linked(store, cache, address):
        await until(lambda: cache.vouched)
        ingress.feed.wrote(running)
        await until(lambda: cache.lookup(("default", running.id)) is not None)
        ingress.feed.progress(running, "denoising", 3, 0)

        def counted() -> bool:
            view = cache.lookup(("default", running.id))
            return view is not None and view.progress is not None and view.progress.steps_done == 3

        await until(counted)


async def test_a_wake_reaches_the_director_by_the_address_in_the_store(store: Store, ingress: Ingress) -> None:
    cache = RecordCache(clock=asyncio.get_running_loop().time)
    async with serving(ingress) as address:
        await announce_director(store, address)
        async with linked(store, cache, None) as link:
            link.wake("default", "vid_a")
            await until(lambda: ingress.woken == ["vid_a"])


async def test_without_a_director_hints_are_dropped_and_nothing_fails(store: Store) -> None:
    cache = RecordCache(clock=asyncio.get_running_loop().time)
    async with linked(store, cache, None) as link:
        for number in range(1000):
            link.wake("default", f"vid_{number}")
        await asyncio.sleep(0.05)
        assert not cache.vouched


async def test_after_a_break_the_stream_is_taken_up_and_nothing_was_missed(store: Store, ingress: Ingress) -> None:
    cache = RecordCache(clock=asyncio.get_running_loop().time)
    ingress.stream_s = 0.05
    first = record(state=JobState.RUNNING, version=2)
    second = first.model_copy(update={"version": 3})
    async with serving(ingress) as address, linked(store, cache, address):
        ingress.feed.wrote(first)
        await until(lambda: cache.vouched)
        await asyncio.sleep(0.2)
        ingress.feed.wrote(second)

        def newest() -> bool:
            view = cache.lookup(("default", first.id))
            return view is not None and view.record == second

        await until(newest)


async def test_a_new_director_makes_the_front_door_forget_what_it_knew_of_running_jobs(
    store: Store, ingress: Ingress
) -> None:
    cache = RecordCache(clock=asyncio.get_running_loop().time)
    running = record(state=JobState.RUNNING, version=2)
    async with linked(store, cache, None):
        async with serving(ingress) as address:
            await announce_director(store, address)
            await until(lambda: cache.vouched)
            ingress.feed.wrote(running)
            await until(lambda: cache.lookup(("default", running.id)) is not None)
        ingress.feed = Feed(epoch=5)
        async with serving(ingress, address):
            await until(lambda: cache.vouched and cache.lookup(("default", running.id)) is None)


async def test_a_wrong_token_is_no_reason_to_fall_over(store: Store, ingress: Ingress) -> None:
    cache = RecordCache(clock=asyncio.get_running_loop().time)
    ingress.token = "another"
    async with serving(ingress) as address, linked(store, cache, address) as link:
        link.wake("default", "vid_a")
        await asyncio.sleep(0.2)
        assert ingress.woken == []
        assert not cache.vouched
