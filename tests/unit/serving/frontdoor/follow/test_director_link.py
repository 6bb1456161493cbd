"""The line to the Director, against a real gRPC server that tells what the Director's own feed tells."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import NoReturn

import pytest

from serving.director.events import Feed
from serving.frontdoor.edge.metrics import PrometheusRecorder
from serving.frontdoor.follow.director_link import DirectorLink
from serving.frontdoor.follow.records import RecordCache
from serving.frontdoor.follow.views import LiveProgress
from serving.jobs.record import JobRecord, JobState
from serving.metrics import Unrecorded
from serving.runtime_keys import announce_director, shared_secret
from serving.store.base import Store, Versioned
from serving.store.keys import DIRECTOR_TOKEN
from tests.unit.serving.frontdoor.builders import record
from tests.unit.serving.frontdoor.follow.ingress import Ingress, serving

pytestmark = pytest.mark.anyio


class Later(JobRecord):
    """As a later version of Longtake writes it."""

    def encode(self) -> bytes:
        return b'{"state": "of a later version"}'


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


@asynccontextmanager
async def deaf() -> AsyncIterator[str]:
    """An address where connections are taken and nothing is ever said."""
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_what_the_director_writes_and_counts_is_answered_from_memory(store: Store, ingress: Ingress) -> None:
    cache = RecordCache(clock=asyncio.get_running_loop().time)
    running = record(state=JobState.RUNNING, version=2)
    async with serving(ingress) as address, linked(store, cache, address):
        await until(lambda: cache.vouched)
        ingress.feed.wrote(running)
        await until(lambda: cache.lookup(("default", running.id)) is not None)
        ingress.feed.progress(running, "denoising", 3, 0, preview="d" * 64)

        def counted() -> bool:
            view = cache.lookup(("default", running.id))
            return view is not None and view.progress == LiveProgress("denoising", 3, 0, "d" * 64)

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


async def test_a_record_that_only_a_later_version_reads_is_not_known_by_an_older_one(
    store: Store, ingress: Ingress
) -> None:
    """Whoever is reading the store just then may get the older one."""
    cache = RecordCache(clock=asyncio.get_running_loop().time)
    running = record(state=JobState.RUNNING, version=2)
    async with serving(ingress) as address, linked(store, cache, address):
        await until(lambda: cache.vouched)
        ingress.feed.wrote(running)
        await until(lambda: cache.lookup(running.key) is not None)
        misses = cache.misses
        ingress.feed.wrote(Later(**dict(running)).model_copy(update={"version": 3}))
        await until(lambda: cache.lookup(running.key) is None)

        cache.remember(running, misses)

        assert cache.vouched
        assert cache.lookup(running.key) is None


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


async def test_a_wake_that_finds_a_new_address_ends_no_watch(store: Store, ingress: Ingress) -> None:
    """It closes the channel of the stream that still stands."""
    cache = RecordCache(clock=asyncio.get_running_loop().time)
    after = Ingress(Feed(epoch=5), ingress.token)
    async with serving(ingress) as old, serving(after) as new, linked(store, cache, None) as link:
        await announce_director(store, old)
        await until(lambda: cache.vouched)
        await announce_director(store, new)

        link.wake("default", "vid_a")

        await until(lambda: after.woken == ["vid_a"])
        after.feed.ranked({"tiny": {("default", "vid_a"): "next"}})
        await until(lambda: cache.why(("default", "vid_a")) == "next")


async def test_whatever_a_watch_meets_it_goes_on_and_the_gauge_says_how_it_stands(
    store: Store, ingress: Ingress, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, metrics = RecordCache(clock=asyncio.get_running_loop().time), PrometheusRecorder()
    running = record(state=JobState.RUNNING, version=2)

    def fault(told: JobRecord) -> NoReturn:
        raise KeyError(told.id)

    def connected(value: int) -> bool:
        return f"longtake_watch_connected {value}.0" in metrics.render().decode()

    async with serving(ingress) as address:
        link = DirectorLink(store, cache, metrics, address=address)
        await link.start()
        await until(lambda: connected(1))
        with monkeypatch.context() as patch:
            patch.setattr(cache, "put", fault)
            ingress.feed.wrote(running)
            await until(lambda: connected(0))
        await until(lambda: connected(1))
        assert cache.lookup(running.key) is not None, "it is told again"

        await link.close()

    assert connected(0)
    assert 'longtake_watch_breaks_total{cause="fault"} 1.0' in metrics.render().decode()


async def test_a_wake_whose_channel_is_closed_is_counted(store: Store, ingress: Ingress) -> None:
    cache, metrics = RecordCache(clock=asyncio.get_running_loop().time), PrometheusRecorder()
    async with deaf() as old, serving(ingress) as new:
        await announce_director(store, old)
        link = DirectorLink(store, cache, metrics, address=None)
        await link.start()
        link.wake("default", "vid_a")
        await asyncio.sleep(0.2)
        await announce_director(store, new)

        link.wake("default", "vid_b")

        await until(lambda: ingress.woken == ["vid_b"])
        await until(lambda: 'longtake_wake_failures_total{cause="moved"} 1.0' in metrics.render().decode())
        await until(lambda: cache.vouched)
        await link.close()


async def test_a_look_for_the_director_that_was_overtaken_leads_nobody_back(
    store: Store, ingress: Ingress, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = RecordCache(clock=asyncio.get_running_loop().time)
    after = Ingress(Feed(epoch=5), ingress.token)
    looked, go_on, get = asyncio.Event(), asyncio.Event(), store.get

    async def slow(key: str) -> Versioned:
        found = await get(key)
        looked.set()
        await go_on.wait()
        return found

    async with serving(ingress) as old, serving(after) as new, linked(store, cache, None) as link:
        await announce_director(store, old)
        await until(lambda: cache.vouched)
        with monkeypatch.context() as patch:
            patch.setattr(store, "get", slow)
            link.wake("default", "vid_slow")
            await looked.wait()
        await announce_director(store, new)
        link.wake("default", "vid_fast")
        await until(lambda: after.woken == ["vid_fast"])

        go_on.set()

        await until(lambda: after.woken == ["vid_fast", "vid_slow"])


async def test_a_wrong_token_is_no_reason_to_fall_over(store: Store, ingress: Ingress) -> None:
    cache = RecordCache(clock=asyncio.get_running_loop().time)
    ingress.token = "another"
    async with serving(ingress) as address, linked(store, cache, address) as link:
        link.wake("default", "vid_a")
        await asyncio.sleep(0.2)
        assert ingress.woken == []
        assert not cache.vouched


async def test_why_jobs_wait_is_told_whole_and_only_while_the_director_vouches(store: Store, ingress: Ingress) -> None:
    cache = RecordCache(clock=asyncio.get_running_loop().time)
    first, second = ("default", "vid_a"), ("default", "vid_b")
    ingress.feed.ranked({"tiny": {first: "next", second: "over its share"}})
    async with serving(ingress) as address, linked(store, cache, address):
        await until(lambda: cache.why(second) == "over its share")

        ingress.feed.ranked({"tiny": {second: "next"}})
        ingress.feed.beat()

        await until(lambda: cache.why(second) == "next")
        assert cache.why(first) == ""
        await until(lambda: not cache.vouched)
        assert cache.why(second) == ""


async def test_an_address_that_leads_to_another_director_is_connected_to_anew(store: Store, ingress: Ingress) -> None:
    """As a Service of Kubernetes does: connections that are there stay with the old one."""
    cache = RecordCache(clock=asyncio.get_running_loop().time)
    newer = Ingress(Feed(epoch=5), await shared_secret(store, DIRECTOR_TOKEN))
    async with serving(ingress) as old, serving(newer) as new, relay() as (address, lead_to):
        lead_to(old)
        async with linked(store, cache, address) as link:
            await until(lambda: link._epoch == 4)
            lead_to(new)
            ingress.refuses = True
            ingress.feed.close()
            await until(lambda: link._epoch == 5)


@asynccontextmanager
async def relay() -> AsyncIterator[tuple[str, Callable[[str], None]]]:
    """An address, and who tells where new connections to it lead."""
    leads = [""]

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = leads[0].rpartition(":")
        there, back = await asyncio.open_connection(host, int(port))
        with suppress(OSError):
            await asyncio.gather(pump(reader, back), pump(there, writer))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    async with server:

        def lead_to(address: str) -> None:
            leads[0] = address

        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}", lead_to
