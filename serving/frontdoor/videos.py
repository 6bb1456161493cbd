"""What all surfaces do with videos: validate → take media in → plan → admit → persist → wake → watch.

The surfaces translate their messages and call nothing else. A job is durable
before its id leaves this room. Another tenant's video is NOT_FOUND.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field

from serving.errors import Conflict, FailedPrecondition, LongtakeError, Unavailable
from serving.estimates import DENOISER
from serving.frontdoor.admission.backlog import Backlog
from serving.frontdoor.admission.bounds import Limits, admit, check_deadline, check_priority
from serving.frontdoor.admission.forecast import Forecast, alone_s
from serving.frontdoor.admission.rate import RateLimit
from serving.frontdoor.create.catalog import Catalog
from serving.frontdoor.create.drafts import Draft
from serving.frontdoor.create.intake import Intake
from serving.frontdoor.create.settle import Settled, Settler
from serving.frontdoor.create.validation import DEFAULT_PRIORITY
from serving.frontdoor.edge.auth import Caller
from serving.frontdoor.follow.director_link import DirectorLink
from serving.frontdoor.follow.records import RecordCache, Records, View
from serving.frontdoor.follow.watch import Event, watch
from serving.jobs import history
from serving.jobs.history import EventKind
from serving.jobs.ids import derived_id, new_id
from serving.jobs.record import JobRecord, JobState
from serving.jobs.repository import Jobs
from serving.logs import job_context, logger
from serving.metrics import CREATES_REPEATED, JOBS_CREATED, JOBS_REFUSED, Recorder
from serving.paging import decode_token, encode_token
from serving.requests import Codec, Kind, VideoRequest
from serving.segments.lineage import Segments
from serving.segments.manifest import SegmentManifest
from serving.settings import Settings, TenantAdmission
from serving.store.base import Store

RESENT_WITHIN_MS = 60_000
"""How long a create that is marked as a retry is taken for the same one."""
DRAIN_RETRY_S = 2.0


@dataclass(frozen=True)
class Defaults:
    """What the settings say where a request leaves things open."""

    codec: Codec
    max_active_jobs: int
    max_all_jobs: int = 100_000
    creates_per_minute: float | None = None
    most_urgent: int = 0
    tenants: Mapping[str, TenantAdmission] = field(default_factory=dict)
    """What is different for single tenants."""

    @classmethod
    def of(cls, settings: Settings) -> Defaults:
        """As the settings say."""
        bounds = settings.admission
        return cls(
            codec=settings.video.codec,
            max_active_jobs=bounds.max_active_jobs,
            max_all_jobs=bounds.max_all_jobs,
            creates_per_minute=bounds.creates_per_minute,
            most_urgent=bounds.most_urgent,
            tenants=bounds.tenants,
        )

    def limits(self, tenant: str) -> Limits:
        """What this tenant may have."""
        own = self.tenants.get(tenant) or TenantAdmission()
        return Limits(
            tenant=tenant,
            max_active_jobs=own.max_active_jobs or self.max_active_jobs,
            max_all_jobs=self.max_all_jobs,
            most_urgent=self.most_urgent if own.most_urgent is None else own.most_urgent,
            creates_per_minute=own.creates_per_minute or self.creates_per_minute,
        )


class Videos:
    """One per front-door process."""

    def __init__(
        self,
        *,
        store: Store,
        jobs: Jobs,
        cache: RecordCache,
        records: Records,
        link: DirectorLink,
        intake: Intake,
        catalog: Catalog,
        backlog: Backlog,
        forecast: Forecast,
        recorder: Recorder,
        defaults: Defaults,
        now_ms: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock` is monotonic, in seconds."""
        self._store = store
        self._jobs = jobs
        self._cache = cache
        self._records = records
        self._link = link
        self._settler = Settler(store=store, intake=intake, catalog=catalog, codec=defaults.codec, now_ms=now_ms)
        self._backlog = backlog
        self._forecast = forecast
        self._recorder = recorder
        self._defaults = defaults
        self._rate = RateLimit(clock)
        self._now_ms = now_ms
        self._draining = False
        self._log = logger("videos")

    def drain(self) -> None:
        """Accept no more creates; everything else goes on."""
        self._draining = True

    async def create(self, caller: Caller, draft: Draft, *, resent: bool = False) -> JobRecord:
        """Accept a job. `resent`: the client marked the call as a retry, so the same request is the same job.

        Raises every error that a user can act on; nothing was persisted then.
        """
        try:
            self._check_open()
            made = await self._made_before(caller, draft)
            if made is not None and made.draft == draft.digest():
                self._recorder.add(CREATES_REPEATED, by="request_id")
                return made
            known = made is not None
            if not known and not resent:
                self._take_token(caller)
            settled = await self._settler.settle(caller.tenant, draft, again=known)
            if resent and not draft.request_id:
                found = await self._sent_before(caller, settled.request)
                if found is not None:
                    return found
            if resent and not known:
                self._take_token(caller)
            return await self._accept(caller, draft, settled, known=known)
        except LongtakeError as error:
            self._recorder.add(JOBS_REFUSED, reason=error.reason)
            raise

    async def planned(self, caller: Caller, draft: Draft) -> View:
        """The video as it would be, without an id: everything is checked and planned, and no job is made. Of what the
        caller handed in, pictures and films are kept under their digests, as a create would.
        """
        self._check_open()
        self._take_token(caller)
        settled = await self._settler.settle(caller.tenant, draft)
        wanted = await self._wanted(caller, draft, settled, "")
        await self._admit(wanted, draft)
        return View(wanted)

    def _check_open(self) -> None:
        if self._draining:
            raise Unavailable("this server is shutting down: try again", retry_after_s=DRAIN_RETRY_S)

    def _take_token(self, caller: Caller) -> None:
        self._rate.take(caller.tenant, self._defaults.limits(caller.tenant).creates_per_minute)

    async def _made_before(self, caller: Caller, draft: Draft) -> JobRecord | None:
        """The job that the draft's idempotency key has already: then nothing is made, and no bound is in the way."""
        if not draft.request_id:
            return None
        return await self._jobs.find(caller.tenant, derived_id("vid_", caller.tenant, draft.request_id))

    async def _sent_before(self, caller: Caller, request: VideoRequest) -> JobRecord | None:
        known = await self._jobs.newest_same(
            caller.tenant, caller.api_key_id, request.fingerprint(), self._now_ms() - RESENT_WITHIN_MS
        )
        if known is not None:
            self._recorder.add(CREATES_REPEATED, by="retry_mark")
        return known

    async def _accept(self, caller: Caller, draft: Draft, settled: Settled, *, known: bool) -> JobRecord:
        """Plan, admit, persist, wake."""
        video = derived_id("vid_", caller.tenant, draft.request_id) if draft.request_id else new_id("vid_")
        wanted = await self._wanted(caller, draft, settled, video)
        planned = wanted.plan
        if not known:
            await self._admit(wanted, draft)
        record = await self._jobs.create(wanted)
        if (record.created_ms, record.plan) != (wanted.created_ms, wanted.plan):
            self._recorder.add(CREATES_REPEATED, by="request_id")
            return record
        self._count(record)
        self._cache.put(record)
        self._link.wake(record.tenant, record.id)
        source = "own" if settled.request.extends else "foreign" if settled.request.ingests else "new"
        self._recorder.add(JOBS_CREATED, kind=settled.request.kind.value, source=source)
        with job_context(record.tenant, record.id):
            self._log.info("accepted", kind=settled.request.kind.value, segments=len(planned.segments))
        return record

    async def _wanted(self, caller: Caller, draft: Draft, settled: Settled, video: str) -> JobRecord:
        """The job as it would be persisted now."""
        planned = settled.plan()
        now = self._now_ms()
        priority = DEFAULT_PRIORITY if draft.priority is None else draft.priority
        return JobRecord(
            id=video,
            tenant=caller.tenant,
            api_key_id=caller.api_key_id,
            request=settled.request,
            plan=planned,
            predicted=await self._forecast.of(
                planned, tenant=caller.tenant, priority=priority, deadline_ms=draft.deadline_ms
            ),
            idempotency_key=draft.request_id,
            draft=draft.digest(),
            priority=priority,
            deadline_ms=draft.deadline_ms,
            created_ms=now,
            expires_ms=None if draft.ttl_ms is None else now + draft.ttl_ms,
            warnings=settled.warnings,
            events=(history.Event(kind=EventKind.CREATED, at_ms=now),),
        )

    async def _admit(self, wanted: JobRecord, draft: Draft) -> None:
        """Raises what says why it is refused, and when to come back."""
        assert wanted.predicted is not None
        limits = self._defaults.limits(wanted.tenant)
        check_priority(limits, wanted.priority, draft.name("priority"))
        admit(limits, await self._forecast.occupancy(wanted.tenant, wanted.predicted.seconds[DENOISER]))
        work_s = alone_s(wanted.predicted, wanted.plan)
        check_deadline(wanted.deadline_ms, wanted.predicted, work_s, wanted.created_ms, draft.name("deadline"))

    def _count(self, record: JobRecord) -> None:
        assert record.predicted is not None
        self._backlog.accepted(
            record.tenant,
            priority=record.priority,
            deadline_ms=record.deadline_ms,
            work_s=record.predicted.seconds[DENOISER],
        )

    async def view(self, caller: Caller, video: str) -> View:
        """A video as it stands, from memory where that is safe."""
        return await self._records.view(caller.tenant, video)

    async def get(self, caller: Caller, video: str) -> JobRecord:
        """A video's record."""
        return (await self.view(caller, video)).record

    async def page(self, caller: Caller, *, size: int, token: str) -> tuple[list[View], str]:
        """Up to `size` videos, newest first, and the token of the next page (empty at the end)."""
        page = await self._jobs.list(caller.tenant, limit=size, token=decode_token(token, "videos") if token else "")
        views = [self._cache.put(record) for record in page.records]
        return views, encode_token(page.next_token, "videos") if page.next_token else ""

    async def cancel(self, caller: Caller, video: str) -> View:
        """Stop a video: at once when it waits, within a step when it runs. Cancelling twice is no error."""
        while True:
            record = await self._jobs.get(caller.tenant, video)
            if record.state is JobState.CANCELLED or record.cancel_requested:
                return self._cache.put(record)
            if record.state.terminal:
                raise FailedPrecondition(
                    f"{video} has {record.state.value} already: there is nothing to cancel",
                    reason="VIDEO_ENDED",
                )
            with contextlib.suppress(Conflict):
                return await self._cancel(record)

    async def _cancel(self, record: JobRecord) -> View:
        if record.state is JobState.QUEUED:
            ended = history.Event(kind=EventKind.ENDED, at_ms=self._now_ms(), text=JobState.CANCELLED.value)
            changed = await self._jobs.transition(
                record,
                state=JobState.CANCELLED,
                cancel_requested=True,
                finished_ms=self._now_ms(),
                events=history.appended(record.events, ended),
            )
            await self._jobs.retire(changed)
        else:
            asked = history.Event(kind=EventKind.CANCEL_REQUESTED, at_ms=self._now_ms(), attempt=record.attempt)
            changed = await self._jobs.transition(
                record, cancel_requested=True, events=history.appended(record.events, asked)
            )
        self._link.wake(record.tenant, record.id)
        with job_context(record.tenant, record.id):
            self._log.info("cancellation asked for", state=changed.state.value)
        return self._cache.put(changed)

    async def delete(self, caller: Caller, video: str) -> None:
        """Delete a video that has ended. Segments that other videos extend stay."""
        while True:
            record = await self._jobs.get(caller.tenant, video)
            if not record.state.terminal:
                raise FailedPrecondition(f"{video} has not ended: cancel it first", reason="VIDEO_RUNNING")
            with contextlib.suppress(Conflict):
                await self._jobs.delete(record)
                gone = {"state": JobState.DELETED, "version": record.version + 1}
                self._cache.put(record.model_copy(update=gone))
                with job_context(record.tenant, record.id):
                    self._log.info("deleted")
                return

    async def lineage(self, caller: Caller, video: str) -> list[SegmentManifest]:
        """The segments from the root to a video's head. Empty while nothing is committed, and for images."""
        record = await self.get(caller, video)
        return await Segments(self._store, caller.tenant).path(record.head) if record.head else []

    async def frames(self, view: View) -> int:
        """Frames of the whole video when it is finished; 0 for images."""
        record = view.record
        if record.request.kind is Kind.IMAGE:
            return 0
        ingested = 0
        if record.request.ingests and record.segments:
            ingested = (await Segments(self._store, record.tenant).get(record.segments[0])).frames
        return record.plan.start_frame + ingested + record.plan.frames

    def watch(self, caller: Caller, video: str, *, cursor: str = "", previews: bool = False) -> AsyncGenerator[Event]:
        """What happens to a video from the cursor on, until it has ended."""
        return watch(self._records, self._store, caller.tenant, video, cursor=cursor, previews=previews)

    async def wait(self, caller: Caller, video: str, *, timeout_s: float) -> View:
        """The video when it has ended, or as it stands after `timeout_s`."""
        view = await self.view(caller, video)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not view.record.state.terminal:
                    await self._records.changed(view, 0.5)
                    view = await self.view(caller, video)
        return view
