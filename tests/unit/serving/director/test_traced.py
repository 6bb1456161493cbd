"""One trace of one job: from a client's span over the create to every slice of denoising steps."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from engines.families.sprite.prompts import roles
from serving.errors import InvalidArgument
from serving.frontdoor.create.catalog import Catalog, ServedModel
from serving.frontdoor.create.create import Creator
from serving.frontdoor.create.drafts import Draft
from serving.frontdoor.edge.auth import Caller
from serving.frontdoor.rooms import build
from serving.jobs.record import JobRecord, JobState
from serving.metrics import Unrecorded
from serving.settings import Settings
from serving.stages.contracts import PromptCall, PromptResult, StageLost
from serving.traces.sdk import SdkTraces
from tests.unit.serving.director.conftest import TENANT, Office
from tests.unit.serving.frontdoor.builders import CAPABILITIES, DIGEST

pytestmark = pytest.mark.anyio
CLIENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE, CLIENT_SPAN = CLIENT.split("-")[1:3]
PROMPT = "a red circle moves right"
CALLER = Caller(tenant=TENANT, api_key_id="key_1", name="test")


class Traced:
    """What was exported, as a tree."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.traces = SdkTraces(self.exporter, service="test", metrics=Unrecorded(), environment={})

    def spans(self) -> list[ReadableSpan]:
        self.traces.close()
        return sorted(self.exporter.get_finished_spans(), key=lambda span: span.start_time or 0)

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.spans() if span.name == name]


async def creator_of(office: Office, traced: Traced) -> Creator:
    """A front door's, over the office's store and clock."""
    catalog = Catalog([ServedModel(CAPABILITIES, DIGEST, roles)], default=CAPABILITIES.model)
    rooms = await build(
        Settings(store=office.store.url, model=CAPABILITIES.model),
        office.store,
        catalog,
        http_address="127.0.0.1:1",
        metrics=Unrecorded(),
        now_ms=office.now_ms,
        traces=traced.traces,
    )
    return rooms.creator


async def created(office: Office, traced: Traced, **fields: Any) -> JobRecord:
    draft = Draft(
        **{"prompt": PROMPT, "seconds": 3, "steps": 2, "aspect_ratio": "1:1", "traceparent": CLIENT, **fields}
    )
    creator = await creator_of(office, traced)
    return (await creator.create(CALLER, draft)).record


async def at_rest(office: Office) -> None:
    """Nobody works any more: of a job's last segment is told after the job has ended."""
    await office.idle()
    async with asyncio.timeout(60):
        while any(len(director._running) for director in office.directors):  # noqa: ASYNC110  (it tells nobody)
            await asyncio.sleep(0.01)


def id_of(span: ReadableSpan) -> str:
    assert span.context is not None
    return f"{span.context.span_id:016x}"


def parent_of(span: ReadableSpan) -> str:
    return f"{span.parent.span_id:016x}" if span.parent else ""


def linked(span: ReadableSpan) -> list[str]:
    return [f"{link.context.span_id:016x}" for link in span.links]


def told(span: ReadableSpan, name: str) -> Any:
    return (span.attributes or {})[f"longtake.{name}"]


async def test_from_the_clients_span_to_every_slice_over_a_loss(office: Office) -> None:
    traced = Traced()
    office.stages.faults["render"] = []
    job = await created(office, traced)
    assert job.traceparent.split("-")[1] == TRACE
    await office.director(traces=traced.traces)
    await office.until(job, lambda found: len(found.segments) == 1)
    office.stages.faults["render"].append(StageLost("gone"))
    done = await office.ended(job)
    await at_rest(office)
    assert (done.state, done.attempt, done.traceparent) == (JobState.SUCCEEDED, 2, job.traceparent)

    spans = traced.spans()
    assert {f"{span.context.trace_id:032x}" for span in spans if span.context} == {TRACE}
    by_id = {id_of(span): span for span in spans}
    assert len(by_id) == len(spans)

    [create] = traced.named("generate_video sprite-2")
    assert (parent_of(create), create.kind.name) == (CLIENT_SPAN, "SERVER")
    assert create.attributes is not None
    assert create.attributes["gen_ai.operation.name"] == "generate_video"
    assert create.attributes["gen_ai.request.model"] == "sprite-2"
    assert create.attributes["gen_ai.response.id"] == job.id
    below = Counter(span.name for span in spans if parent_of(span) == id_of(create))
    assert below == {"settle": 1, "admit": 1, "store": 1, "queue": 1, "attempt": 2}

    first, second = traced.named("attempt")
    assert (told(first, "attempt"), told(second, "attempt")) == (1, 2)
    assert (linked(first), linked(second)) == ([], [id_of(first)])
    assert (first.status.description, second.status.description) == ("lost", None)

    attempts = {id_of(first): 1, id_of(second): 2}
    segments = traced.named("segment")
    assert {attempts[parent_of(span)] for span in segments} == {1, 2}
    whole = [span for span in segments if span.status.is_ok or span.status.description is None]
    assert sorted(told(span, "segment") for span in whole) == [0, 1, 2]

    slices = traced.named("stage denoiser")
    assert {by_id[parent_of(span)].name for span in slices} == {"segment"}
    for index in range(3):
        assert sum(told(span, "steps") for span in slices if told(span, "segment") == index) == 2
    assert {told(span, "batch") for span in slices} <= {1, 2, 3, 4, 5, 6, 7, 8}

    renders = traced.named("stage renderer")
    assert [span.status.description for span in renders].count("StageLost") == 1
    parts = [span for span in spans if span.name in ("decode and encode", "upload")]
    assert {by_id[parent_of(span)].name for span in parts} == {"stage renderer"}
    [wrote] = traced.named("stage prompt_writer")
    assert parent_of(wrote) == id_of(first)

    orphans = [span.name for span in spans if parent_of(span) not in {*by_id, CLIENT_SPAN}]
    assert orphans == []
    assert not any(
        word in repr((span.name, span.attributes, span.status))
        for span in spans
        for word in ("circle", "square", "moves")
    )


async def test_an_attempt_that_outlives_its_director_is_one_span(office: Office) -> None:
    """Both Directors name the same one, and only the one that sees its end tells it."""
    traced, killed = Traced(), Traced()
    job = await created(office, traced, seconds=6)
    await office.director(traces=killed.traces)
    await office.until(job, lambda found: len(found.segments) == 2)
    office.lives[0].cancel()
    await office.director(traces=traced.traces)
    done = await office.ended(job)
    await at_rest(office)
    assert (done.state, done.attempt) == (JobState.SUCCEEDED, 1)

    [attempt] = traced.named("attempt")
    begun = killed.named("segment")
    assert (told(begun[0], "segment"), parent_of(begun[0])) == (0, id_of(attempt))
    assert (len(killed.named("queue")), killed.named("attempt"), traced.named("queue")) == (1, [], [])


async def test_the_attempt_of_a_killed_director_is_told_by_the_next_one_and_linked_to(office: Office) -> None:
    traced, killed = Traced(), Traced()
    asked = asyncio.Event()

    async def unanswered(_call: PromptCall) -> PromptResult:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError("nobody sets it")

    with pytest.MonkeyPatch.context() as stuck:
        stuck.setattr(office.stages, "write_prompt", unanswered)
        job = await created(office, traced, seconds=1)
        await office.director(traces=killed.traces)
        await asyncio.wait_for(asked.wait(), 60)
        office.lives[0].cancel()
        await asyncio.wait(office.lives)
    await office.director(traces=traced.traces)
    done = await office.ended(job)
    await at_rest(office)
    assert (done.state, done.attempt) == (JobState.SUCCEEDED, 2)

    first, second = traced.named("attempt")
    assert (linked(first), linked(second)) == ([], [id_of(first)])
    assert (first.status.description, second.status.description) == ("the Director went away", None)
    assert first.end_time is not None
    assert second.start_time is not None
    assert first.end_time >= second.start_time > (first.start_time or 0)
    [cut] = killed.named("stage prompt_writer")
    assert (cut.status.description, parent_of(cut)) == ("CancelledError", id_of(first))


async def test_a_refused_create_says_why_and_a_resent_one_whose_job_it_is(office: Office) -> None:
    traced = Traced()
    made = await created(office, traced, request_id="once")
    again = await created(office, traced, request_id="once")
    assert again.traceparent == made.traceparent
    with pytest.raises(InvalidArgument):
        await created(office, traced, seconds=99)

    first, second, refused = traced.named("generate_video sprite-2") + traced.named("generate_video")
    assert [told(span, "repeated") for span in (first, second)] == [False, True]
    assert refused.status.description == "INVALID_ARGUMENT"
    assert refused.attributes is not None
    assert refused.attributes["error.type"] == "INVALID_ARGUMENT"


@pytest.mark.parametrize("flags", ["00", "zz"])
async def test_an_unkept_trace_is_not_told_and_a_broken_one_is_another(office: Office, flags: str) -> None:
    traced = Traced()
    job = await created(office, traced, traceparent=CLIENT[:-2] + flags, seconds=1)
    await office.director(traces=traced.traces)
    await office.ended(job)

    kept = flags == "zz"
    assert (job.traceparent.split("-")[1] == TRACE) is not kept
    assert bool(traced.spans()) is kept


async def test_without_traces_nothing_is_kept_and_nothing_measured(office: Office, monkeypatch: Any) -> None:
    def fail(*_: object, **__: object) -> Callable[..., None]:
        raise AssertionError("a span was made")

    monkeypatch.setattr("serving.traces.spans.Span.__init__", fail)
    job = await office.job()
    traced_elsewhere = await office.jobs.create(
        job.model_copy(update={"id": "vid_" + "b" * 26, "traceparent": CLIENT, "version": 0, "nonce": ""})
    )
    await office.director()
    assert (await office.ended(job)).state is JobState.SUCCEEDED
    assert (await office.ended(traced_elsewhere.record)).state is JobState.SUCCEEDED
