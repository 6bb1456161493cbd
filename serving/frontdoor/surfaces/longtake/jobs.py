"""`longtake.v1.Jobs` on the wire: the queue, a job's life, dead letters. `register.py` registers it.

Method names are the protos', hence their capitals.
"""

# ruff: noqa: N802  (the wire decides names and arguments)

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from serving.errors import Corrupt, NotFound
from serving.frontdoor.admission.backlog import Backlog
from serving.frontdoor.admission.forecast import Forecast
from serving.frontdoor.create.catalog import Catalog
from serving.frontdoor.edge.auth import Caller
from serving.frontdoor.edge.lists import told
from serving.frontdoor.edge.rpc import Call
from serving.frontdoor.edge.timestamps import fitting, moment_ms, timestamp
from serving.frontdoor.follow.views import View
from serving.frontdoor.requeue import DeadJobs, Wanted
from serving.frontdoor.surfaces.longtake.messages import VideoMessages
from serving.frontdoor.videos import Videos
from serving.gen.longtake.v1 import jobs_pb2, videos_pb2
from serving.jobs.history import Event, Prediction, WorkSpan
from serving.jobs.record import JobRecord
from serving.jobs.repository import Jobs
from serving.paging import decode_token, encode_token, page_size
from serving.stage_names import DENOISER
from serving.store.keys import id_in

AT_ONCE = 16
"""Records that are read side by side."""
MOST_JOBS = 1000
"""Of a page."""
_DEAD, _WAITING = "dead", "jobs"


@dataclass(frozen=True)
class JobsService:
    """`longtake.v1.Jobs`."""

    jobs: Jobs
    videos: Videos
    dead_jobs: DeadJobs
    backlog: Backlog
    forecast: Forecast
    messages: VideoMessages
    catalog: Catalog

    async def ListJobs(self, request: jobs_pb2.ListJobsRequest, call: Call) -> jobs_pb2.ListJobsResponse:
        """A page of the caller's jobs that wait or run, oldest first, or of its dead letters."""
        size = page_size(request.page_size, most=MOST_JOBS, unset=MOST_JOBS)
        if request.dead:
            return await self._dead(call.caller, size, request.page_token)
        return await self._waiting(call.caller, size, request.page_token)

    async def _waiting(self, caller: Caller, size: int, token: str) -> jobs_pb2.ListJobsResponse:
        places = await self.jobs.oldest_first(caller.tenant, await self.backlog.names(caller.tenant))
        # The listing by time is newest first, so a later place is a smaller one.
        last = decode_token(token, _WAITING) if token else ""
        start = next((at for at, place in enumerate(places) if place < last), len(places)) if last else 0
        page = places[start : start + size]
        views = [
            view for view in await self._views(caller, [id_in(place) for place in page]) if not view.state.terminal
        ]
        expected = await self.forecast.expected((view.record for view in views), before=start)
        jobs = await told(views, lambda view: self._job(view, expected), _id_of)
        more = start + size < len(places)
        return jobs_pb2.ListJobsResponse(jobs=jobs, next_page_token=encode_token(page[-1], _WAITING) if more else "")

    async def _dead(self, caller: Caller, size: int, token: str) -> jobs_pb2.ListJobsResponse:
        after = decode_token(token, _DEAD) if token else ""
        names = await self.dead_jobs.names(caller.tenant, size, after=after)
        views = sorted(await self._views(caller, names), key=lambda view: view.kept.age)
        jobs = await told(views, lambda view: self._job(view, {}), _id_of)
        more = len(names) == size
        return jobs_pb2.ListJobsResponse(jobs=jobs, next_page_token=encode_token(names[-1], _DEAD) if more else "")

    async def _job(self, view: View, expected: Mapping[str, Prediction]) -> jobs_pb2.Job:
        record = view.record
        job = jobs_pb2.Job(video=await self.messages.of(view), requeue_of=record.requeue_of)
        if record.id in expected:
            prediction = expected[record.id]
            job.remaining_seconds = prediction.seconds[DENOISER]
            if self._served(record) and not (self.videos.held_up(record) or self.videos.silence()):
                job.predicted_start_time.CopyFrom(timestamp(prediction.start_ms))
                job.predicted_end_time.CopyFrom(timestamp(prediction.end_ms))
            job.why = self._why(record)
        return job

    def _why(self, record: JobRecord) -> str:
        """As the Director says; else that the model is not among those offered here, or that no Director answers."""
        if told := self.videos.why(record):
            return told
        return self.videos.silence() if self._served(record) else f"its model {record.plan.model} is not served here"

    def _served(self, record: JobRecord) -> bool:
        return record.plan.model in self.catalog.models

    async def ExplainJob(self, request: jobs_pb2.ExplainJobRequest, call: Call) -> jobs_pb2.JobHistory:
        """What happened to a job so far."""
        # From the store: what a Director keeps in memory is no history yet.
        record = await self.jobs.get(call.caller.tenant, request.id)
        return jobs_pb2.JobHistory(
            video=await self.messages.of(await self.videos.view(call.caller, request.id)),
            events=map(_happening, record.events),
            requeue_of=record.requeue_of,
            why="" if record.state.terminal else self._why(record),
        )

    async def RequeueJob(self, request: jobs_pb2.RequeueJobRequest, call: Call) -> videos_pb2.Video:
        """Run a dead letter again."""
        record = await self.dead_jobs.requeue(call.caller.tenant, request.id)
        return await self.messages.of(await self.videos.view(call.caller, record.id))

    async def RequeueJobs(self, request: jobs_pb2.RequeueJobsRequest, call: Call) -> jobs_pb2.RequeueJobsResponse:
        """Run a page of dead letters again."""
        since_ms = moment_ms(request.since, "since") if request.HasField("since") else 0
        page = await self.dead_jobs.requeue_page(
            call.caller.tenant,
            Wanted(request.code, request.stage, since_ms),
            after=decode_token(request.page_token, _DEAD) if request.page_token else "",
            size=page_size(request.page_size),
            only_told=request.validate_only,
        )
        return jobs_pb2.RequeueJobsResponse(
            jobs=[
                jobs_pb2.RequeuedJob(id=found.dead, again=found.job or "", why_not=found.why_not)
                for found in page.found
            ],
            next_page_token=encode_token(page.after, _DEAD) if page.after else "",
        )

    async def _views(self, caller: Caller, names: Sequence[str]) -> list[View]:
        """As these jobs stand: from memory where that is safe, else from the store, some at a time."""
        views: list[View] = []
        for at in range(0, len(names), AT_ONCE):
            asked = (self._view(caller, name) for name in names[at : at + AT_ONCE])
            views += [view for view in await asyncio.gather(*asked) if view is not None]
        return views

    async def _view(self, caller: Caller, name: str) -> View | None:
        try:
            return await self.videos.view(caller, name)
        except (NotFound, Corrupt):  # a key without a record, one that was deleted meanwhile, or a later version's
            return None


def _id_of(view: View) -> str:
    return view.kept.key[1]


def _happening(event: Event) -> jobs_pb2.JobHappening:
    return fitting(
        jobs_pb2.JobHappening,
        kind=str(event.kind),
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
