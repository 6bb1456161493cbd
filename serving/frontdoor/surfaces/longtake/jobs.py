"""`longtake.v1.Jobs` on the wire: the queue, a job's life, dead letters. `register.py` registers it.

Method names are the protos', hence their capitals.
"""

# ruff: noqa: N802  (the wire decides names and arguments)

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from serving.frontdoor.admission.forecast import Forecast
from serving.frontdoor.edge.rpc import Call
from serving.frontdoor.edge.timestamps import timestamp
from serving.frontdoor.requeue import DeadJobs
from serving.frontdoor.surfaces.longtake.messages import VideoMessages
from serving.frontdoor.videos import Videos
from serving.gen.longtake.v1 import jobs_pb2, videos_pb2
from serving.jobs.history import Event, WorkSpan
from serving.jobs.record import JobRecord
from serving.jobs.repository import Jobs
from serving.stage_names import DENOISER

MOST = 1000
"""Jobs in one answer."""


@dataclass(frozen=True)
class JobsService:
    """`longtake.v1.Jobs`."""

    jobs: Jobs
    videos: Videos
    dead_jobs: DeadJobs
    forecast: Forecast
    messages: VideoMessages

    async def ListJobs(self, request: jobs_pb2.ListJobsRequest, call: Call) -> jobs_pb2.ListJobsResponse:
        """The caller's jobs that wait or run, oldest first, or its dead letters."""
        tenant = call.caller.tenant
        found: list[JobRecord] = []
        async for record in self.dead_jobs.of(tenant) if request.dead else self._active(tenant):
            found.append(record)
            if len(found) == MOST:
                break
        expected = {} if request.dead else await self.forecast.expected(found)
        found.sort(key=lambda record: record.created_ms)
        jobs = []
        for record in found:
            video = await self.messages.of(await self.videos.view(call.caller, record.id))
            job = jobs_pb2.Job(video=video, requeue_of=record.requeue_of)
            if record.id in expected:
                prediction = expected[record.id]
                job.remaining_seconds = prediction.seconds[DENOISER]
                job.predicted_start_time.FromMilliseconds(prediction.start_ms)
                job.predicted_end_time.FromMilliseconds(prediction.end_ms)
                job.why = self.videos.why(record)
            jobs.append(job)
        return jobs_pb2.ListJobsResponse(jobs=jobs)

    async def ExplainJob(self, request: jobs_pb2.ExplainJobRequest, call: Call) -> jobs_pb2.JobHistory:
        """What happened to a job so far."""
        # From the store: what a Director keeps in memory is no history yet.
        record = await self.jobs.get(call.caller.tenant, request.id)
        video = await self.messages.of(await self.videos.view(call.caller, request.id))
        return jobs_pb2.JobHistory(video=video, events=map(_happening, record.events), requeue_of=record.requeue_of)

    async def RequeueJob(self, request: jobs_pb2.RequeueJobRequest, call: Call) -> videos_pb2.Video:
        """Run a dead letter again."""
        record = await self.dead_jobs.requeue(call.caller.tenant, request.id)
        return await self.messages.of(await self.videos.view(call.caller, record.id))

    async def _active(self, tenant: str) -> AsyncIterator[JobRecord]:
        async for entry in self.jobs.active():
            if entry.tenant == tenant:
                record = await self.jobs.find(tenant, entry.id)
                if record is not None and not record.state.terminal:
                    yield record


def _happening(event: Event) -> jobs_pb2.JobHappening:
    return jobs_pb2.JobHappening(
        kind=event.kind.value,
        time=timestamp(event.at_ms),
        attempt=event.attempt,
        epoch=event.epoch,
        segment=event.segment,
        step=event.step,
        recomputed=event.recomputed,
        replica=event.replica,
        text=event.text,
        spans=map(_span, event.spans),
        left_out=event.left_out,
    )


def _span(span: WorkSpan) -> jobs_pb2.WorkSpan:
    return jobs_pb2.WorkSpan(
        stage=span.stage,
        start_time=timestamp(span.start_ms),
        end_time=timestamp(span.end_ms),
        replica=span.replica,
    )
