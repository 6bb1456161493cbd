"""A client's `traceparent` over gRPC: the job is of its trace, which an OpenTelemetry collector is told, and no word of
the client's is believed beyond the header's grammar."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from serving.gen.longtake.v1 import videos_pb2
from serving.jobs.repository import Jobs
from tests.contract.longtake_door import Client, opened, settings_for
from tests.unit.serving.traces.collector import Collector, collecting

pytestmark = pytest.mark.anyio
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CALLER = f"00-{TRACE}-{SPAN}-01"


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


@pytest.fixture(scope="module")
async def traced(
    tmp_path_factory: pytest.TempPathFactory, one_event_loop: None, collector: Collector
) -> AsyncIterator[Client]:
    async with AsyncExitStack() as stack:
        with pytest.MonkeyPatch.context() as environment:
            for name, value in collector.variables().items():
                environment.setenv(name, value)
            client = await stack.enter_async_context(opened(settings_for(tmp_path_factory.mktemp("traced"))))
        yield client


async def create(client: Client, *headers: tuple[str, str]) -> videos_pb2.Video:
    asked = videos_pb2.CreateVideoRequest(prompt="a red circle", seconds=1)
    return await client.videos.CreateVideo(asked, metadata=headers)


async def span_of(collector: Collector, video: str) -> Span:
    """The create's, once it was sent."""
    async with asyncio.timeout(30):
        while True:
            for span in collector.spans:
                if span.kind == Span.SPAN_KIND_SERVER and video in str(span.attributes):
                    return span
            await asyncio.sleep(0.02)


async def test_the_job_of_a_traced_call_is_of_its_trace(traced: Client, collector: Collector) -> None:
    video = await create(traced, ("traceparent", CALLER))
    told = await span_of(collector, video.id)

    assert video.trace_id == TRACE
    assert (await traced.get(video.id)).trace_id == TRACE
    assert (told.trace_id.hex(), told.parent_span_id.hex()) == (TRACE, SPAN)
    stored = await Jobs(traced.director.store).get("default", video.id)
    assert stored.traceparent == f"00-{TRACE}-{told.span_id.hex()}-01"
    assert "red" not in str(told.attributes)


@pytest.mark.parametrize(
    "header", ["", "junk", CALLER.upper(), f"{CALLER}-more", f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01"]
)
async def test_what_is_no_context_is_taken_for_none(traced: Client, collector: Collector, header: str) -> None:
    video = await create(traced, ("traceparent", header))
    told = await span_of(collector, video.id)
    assert (video.trace_id, told.parent_span_id) == (told.trace_id.hex(), b"")
    assert video.trace_id not in ("", TRACE)


async def test_a_front_door_that_does_not_trace_keeps_nothing_of_the_header(client: Client) -> None:
    video = await create(client, ("traceparent", CALLER))
    assert video.trace_id == ""
    assert (await Jobs(client.director.store).get("default", video.id)).traceparent == ""
