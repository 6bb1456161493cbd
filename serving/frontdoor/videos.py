"""What all surfaces do with videos: validate → take media in → plan → admit → persist → wake → watch.

`longtake_api.py` and the `xai_*` rooms translate their messages and call nothing else. A job is durable
before its id leaves this room. Another tenant's video is NOT_FOUND.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass

from serving import admission
from serving.errors import Conflict, FailedPrecondition, InvalidArgument, LongtakeError, NotFound, Unavailable
from serving.frontdoor.auth import Caller
from serving.frontdoor.backlog import Backlog
from serving.frontdoor.catalog import Catalog, Model
from serving.frontdoor.director_link import DirectorLink
from serving.frontdoor.drafts import Draft
from serving.frontdoor.forecast import Forecast, check_deadline
from serving.frontdoor.intake import ForeignParent, Intake, OwnParent
from serving.frontdoor.paging import decode_token, encode_token
from serving.frontdoor.records import RecordCache, Records, View
from serving.frontdoor.validation import (
    DEFAULT_PRIORITY,
    check_draft,
    check_times,
    foreign_shape,
    inherited_resolution,
    seconds_of,
)
from serving.frontdoor.watch import Event, watch
from serving.jobs import history
from serving.jobs.dead import DeadLetters
from serving.jobs.history import EventKind
from serving.jobs.ids import derived_id, new_id
from serving.jobs.record import JobRecord, JobState
from serving.jobs.repository import Jobs
from serving.logs import job_context, logger
from serving.metrics import CREATES_REPEATED, JOBS_CREATED, JOBS_REFUSED, Recorder
from serving.plan import Plan, plan
from serving.requests import Codec, Kind, VideoRequest
from serving.segments.lineage import Segments, shape_of
from serving.segments.manifest import SegmentManifest
from serving.segments.shape import VideoShape
from serving.store.base import Store

MIN_JOB_S = 0.05
"""What a job takes at least, for the time after which a refused client comes back."""
RESENT_WITHIN_MS = 60_000
"""How long a create that is marked as a retry is taken for the same one."""
DRAIN_RETRY_S = 2.0


@dataclass(frozen=True)
class Defaults:
    """What the settings say where a request leaves things open."""

    codec: Codec
    max_active_jobs: int


@dataclass(frozen=True)
class _Settled:
    """A request with everything decided."""

    request: VideoRequest
    model: Model
    parent: VideoShape | None
    warnings: tuple[str, ...]


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
    ) -> None:
        self._store = store
        self._jobs = jobs
        self._cache = cache
        self._records = records
        self._link = link
        self._intake = intake
        self._catalog = catalog
        self._backlog = backlog
        self._forecast = forecast
        self._recorder = recorder
        self._defaults = defaults
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
            if self._draining:
                raise Unavailable("this server is shutting down: try again", retry_after_s=DRAIN_RETRY_S)
            settled = await self._settle(caller, draft)
            known = await self._sent_before(caller, settled.request) if resent and not draft.request_id else None
            return known or await self._accept(caller, draft, settled)
        except LongtakeError as error:
            self._recorder.add(JOBS_REFUSED, reason=error.reason)
            raise

    async def planned(self, caller: Caller, draft: Draft) -> View:
        """The video as it would be, without an id: everything is checked and planned, and no job is made."""
        settled = await self._settle(caller, draft)
        wanted = await self._wanted(caller, draft, settled, "")
        await self._admit(wanted)
        return View(wanted)

    async def _settle(self, caller: Caller, draft: Draft) -> _Settled:
        """Check everything, take the media in, fill what is open."""
        model = self._catalog.resolve(draft.model)
        check_draft(draft, model.capabilities)
        check_times(draft, self._now_ms())
        source = None
        if draft.extends:
            source = await self._intake.parent(caller.tenant, draft.extends, draft.name("extends"))
        can = model.capabilities
        aspect = draft.aspect_ratio or can.canvases[0].aspect_ratio
        codec = Codec(draft.codec) if draft.codec else self._defaults.codec
        sizes = can.image_resolutions if draft.kind is Kind.IMAGE else can.resolutions
        resolution = draft.resolution or next(iter(sizes))
        shape: VideoShape | None = None
        warnings: tuple[str, ...] = ()
        if isinstance(source, OwnParent):
            shape = shape_of(source.manifest)
            self._check_model(draft, model, source.manifest)
            aspect, codec = shape.aspect_ratio, Codec(shape.track.codec)
            resolution = inherited_resolution(draft, can, shape)
        elif isinstance(source, ForeignParent):
            aspect, resolution, warnings = foreign_shape(draft, can, source.source)
        first = await self._intake.picture(caller.tenant, draft.first_frame) if draft.first_frame else None
        references = [await self._intake.picture(caller.tenant, reference) for reference in draft.references]
        request = VideoRequest(
            kind=draft.kind,
            model=can.model,
            prompt=draft.prompt,
            seconds=seconds_of(draft, can),
            aspect_ratio=aspect,
            resolution=resolution,
            codec=codec,
            steps=can.steps.default if draft.steps is None else draft.steps,
            seed=draft.seed,
            first_frame=first,
            references=tuple(references),
            extends=source.source if isinstance(source, OwnParent) else None,
            ingests=source.source if isinstance(source, ForeignParent) else None,
            images=draft.images or 1,
        )
        await self._check_harmless(caller.tenant, draft, request)
        return _Settled(request, model, shape, warnings)

    def _check_model(self, draft: Draft, model: Model, parent: SegmentManifest) -> None:
        """An extension starts from stored latents, which only the model that made them can read."""
        if parent.model != model.capabilities.model:
            raise InvalidArgument(
                draft.name("model"),
                f"the video was made by {parent.model}, and only {parent.model} can extend it",
            )
        if parent.model_digest != model.digest:
            raise FailedPrecondition(
                f"another version of {parent.model} made the video (digest {parent.model_digest[:12]}, now "
                f"{model.digest[:12]}), and this one cannot read its latents: make the video again",
                reason="MODEL_CHANGED",
            )

    async def _check_harmless(self, tenant: str, draft: Draft, request: VideoRequest) -> None:
        """Refuse inputs that have ended worker after worker. A request without inputs reads nothing."""
        inputs = [(draft.name("first_frame"), request.first_frame)] if request.first_frame else []
        inputs += [(f"{draft.name('references')}[{place}]", name) for place, name in enumerate(request.references)]
        inputs += [(draft.name("extends"), request.ingests.blob)] if request.ingests else []
        for field, digest in inputs:
            found = await DeadLetters(self._store).quarantined(tenant, digest)
            if found is not None:
                raise InvalidArgument(
                    field,
                    f"reading it has ended {found['crashes']} workers ({found['job']}): give another file, or have an "
                    f"operator lift it with `longtake jobs requeue {found['job']}`",
                    reason="QUARANTINED",
                )

    async def _sent_before(self, caller: Caller, request: VideoRequest) -> JobRecord | None:
        known = await self._jobs.newest_same(
            caller.tenant, caller.api_key_id, request.fingerprint(), self._now_ms() - RESENT_WITHIN_MS
        )
        if known is not None:
            self._recorder.add(CREATES_REPEATED, by="retry_mark")
        return known

    async def _accept(self, caller: Caller, draft: Draft, settled: _Settled) -> JobRecord:
        """Plan, admit, persist, wake."""
        video = derived_id("vid_", caller.tenant, draft.request_id) if draft.request_id else new_id("vid_")
        wanted = await self._wanted(caller, draft, settled, video)
        planned = wanted.plan
        if not draft.request_id or not await self._exists(caller.tenant, video):
            await self._admit(wanted)
        record = await self._jobs.create(wanted)
        if (record.created_ms, record.plan) != (wanted.created_ms, wanted.plan):
            self._recorder.add(CREATES_REPEATED, by="request_id")
            return record
        self._backlog.accepted(caller.tenant)
        self._cache.put(record)
        self._link.wake(record.tenant, record.id)
        source = "own" if settled.request.extends else "foreign" if settled.request.ingests else "new"
        self._recorder.add(JOBS_CREATED, kind=settled.request.kind.value, source=source)
        with job_context(record.tenant, record.id):
            self._log.info("accepted", kind=settled.request.kind.value, segments=len(planned.segments))
        return record

    async def _wanted(self, caller: Caller, draft: Draft, settled: _Settled, video: str) -> JobRecord:
        """The job as it would be persisted now."""
        planned = self._plan(settled)
        now = self._now_ms()
        return JobRecord(
            id=video,
            tenant=caller.tenant,
            api_key_id=caller.api_key_id,
            request=settled.request,
            plan=planned,
            predicted=await self._forecast.of(planned),
            idempotency_key=draft.request_id,
            priority=DEFAULT_PRIORITY if draft.priority is None else draft.priority,
            deadline_ms=draft.deadline_ms,
            created_ms=now,
            expires_ms=None if draft.ttl_ms is None else now + draft.ttl_ms,
            warnings=settled.warnings,
            events=(history.Event(kind=EventKind.CREATED, at_ms=now),),
        )

    async def _admit(self, wanted: JobRecord) -> None:
        """Raises what says why it is refused, and when to come back."""
        assert wanted.predicted is not None
        active = await self._backlog.active(wanted.tenant)
        work_s = max(sum(wanted.predicted.seconds.values()), MIN_JOB_S)
        admission.admit(active=active, limit=self._defaults.max_active_jobs, job_s=work_s)
        check_deadline(wanted.deadline_ms, wanted.predicted, wanted.created_ms)

    async def _exists(self, tenant: str, video: str) -> bool:
        try:
            await self._jobs.get(tenant, video)
        except NotFound:
            return False
        return True

    def _plan(self, settled: _Settled) -> Plan:
        request = settled.request
        seed = secrets.randbits(31) if request.seed is None else request.seed
        can = settled.model.capabilities
        return plan(request, can, model_digest=settled.model.digest, seed=seed, parent=settled.parent)

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
