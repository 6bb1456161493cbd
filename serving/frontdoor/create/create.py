"""A wish becomes a durable job, in eight steps that `Creator.create` numbers. Every surface calls it for every create.

A job is durable before its id leaves this room. Of a create that is refused nothing is kept but content-addressed
inputs, which the collector takes away.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack

from serving.errors import LongtakeError, Unavailable
from serving.frontdoor.admission.gate import Gate
from serving.frontdoor.create.create_trace import CreateTrace
from serving.frontdoor.create.drafts import Draft
from serving.frontdoor.create.settle import Settled, Settler
from serving.frontdoor.edge.auth import Caller
from serving.frontdoor.follow.director_link import DirectorLink
from serving.frontdoor.follow.records import Records
from serving.frontdoor.follow.views import View, kept
from serving.jobs import history
from serving.jobs.history import EventKind
from serving.jobs.ids import derived_id, new_id
from serving.jobs.record import DEFAULT_PRIORITY, JobRecord
from serving.jobs.repository import Jobs, check_same
from serving.jobs.traced import trace_id_of
from serving.logs import job_context, logger
from serving.metrics import CREATES_REPEATED, JOBS_CREATED, JOBS_REFUSED, Recorder
from serving.requests import VideoRequest
from serving.traces import spans
from serving.traces.spans import Traces

RESENT_WITHIN_MS = 60_000
"""How long a create that is marked as a retry is taken for the same one, after the job was made. After its end, where
the call waited for that."""
DRAIN_RETRY_S = 2.0


class Creator:
    """One per front-door process."""

    def __init__(
        self,
        *,
        settler: Settler,
        gate: Gate,
        jobs: Jobs,
        records: Records,
        link: DirectorLink,
        metrics: Recorder,
        traces: Traces,
        now_ms: Callable[[], int],
    ) -> None:
        self._settler = settler
        self._gate = gate
        self._jobs = jobs
        self._records = records
        self._link = link
        self._metrics = metrics
        self._traces = traces
        self._now_ms = now_ms
        self._draining = False
        self._log = logger("create")

    def drain(self) -> None:
        """Accept no more creates."""
        self._draining = True

    async def create(self, caller: Caller, draft: Draft, *, resent: bool = False, waits_s: float = 0.0) -> View:
        """Accept a job; the job as it stands. `resent`: the client marked the call as a retry, so the same request is
        the same job. `waits_s`: how long the caller waits for the job's end at most, so how late it may still resend.

        Raises every error that a user can act on; no job was made then.
        """
        trace = CreateTrace(draft, caller.tenant, self._traces, self._now_ms)
        try:
            view = await self._create(caller, draft, trace, resent=resent, waits_s=waits_s)
        except LongtakeError as error:
            self._metrics.add(JOBS_REFUSED, reason=error.reason)
            trace.refused(error)
            raise
        trace.made(view.record)
        return view

    async def _create(self, caller: Caller, draft: Draft, trace: CreateTrace, *, resent: bool, waits_s: float) -> View:
        # 1. Open? A server that shuts down takes nothing in.
        self._check_open()
        misses = self._records.misses

        # 2. A known key? Its job is the answer, and no bound is in the way.
        known = await self._made_by_key(caller, draft)
        if known is not None:
            return await self._answer_again(caller, draft, known, misses)

        # 3. A token for this create, and room for what it brings. One that is marked as resent takes its own when it is
        #    known to be new (5), and one of others for finding that out.
        if resent:
            self._gate.take_token_again(caller.tenant)
        else:
            await self._take_token(caller.tenant)

        # 4. Settle: check it, take its media in, fill what was left open.
        with trace.part(spans.SETTLE):
            settled = await self._settler.settle(caller.tenant, draft)

        # 5. Resent? Then the same request of the last minute is its job, or the one that the call had waited for.
        if resent:
            sent = await self._sent_before(caller, draft, settled.request, waits_s)
            if sent is not None:
                return self._repeated(sent, misses, by="retry_mark")
            self._gate.take_token(caller.tenant)

        # 6. Admit: may it queue?
        async with AsyncExitStack() as admitted:
            with trace.part(spans.ADMIT):
                wanted = await self._wanted(caller, draft, settled, _id_for(caller, draft))
                wanted = wanted.model_copy(update={"traceparent": trace.traceparent})
                await admitted.enter_async_context(self._admitted(wanted, draft))

            # 7. Persist. From here on the job is made, whatever happens to this process.
            with trace.part(spans.STORE):
                record, new = await self._jobs.create(wanted)
            if not new:  # another create with this key was faster
                return self._repeated(record, misses, by="request_id")

            # 8. Wake the Director, and let everyone who counts know.
            return self._begun(record, misses)

    async def planned(self, caller: Caller, draft: Draft) -> View:
        """The video as it would be, without an id: everything is checked and planned, and no job is made. Of what the
        caller handed in, pictures and films are kept under their digests, as a create would.
        """
        self._check_open()
        await self._take_token(caller.tenant)
        settled = await self._settler.settle(caller.tenant, draft)
        wanted = await self._wanted(caller, draft, settled, "")
        async with self._admitted(wanted, draft):
            return View(kept(wanted), wanted)

    def _check_open(self) -> None:
        if self._draining:
            raise Unavailable("this server is shutting down: try again", retry_after_s=DRAIN_RETRY_S)

    async def _take_token(self, tenant: str) -> None:
        """Before anything of a new job is taken in: what a refused create has stored stays until it is collected."""
        self._gate.take_token(tenant)
        await self._gate.check_room(tenant)

    async def _made_by_key(self, caller: Caller, draft: Draft) -> JobRecord | None:
        """The job that the draft's idempotency key has already."""
        return await self._jobs.find(caller.tenant, _id_for(caller, draft)) if draft.request_id else None

    async def _answer_again(self, caller: Caller, draft: Draft, known: JobRecord, misses: int) -> View:
        """The key's job, if this create asks for the same. Raises `AlreadyExists`, naming what differs."""
        if known.draft != draft.digest():
            # Other words may ask for the same, as a picture's URL and its bytes do: what they settle to decides.
            self._gate.take_token_again(caller.tenant)
            settled = await self._settler.settle_again(caller.tenant, draft)
            check_same(known, settled.request, draft.request_id)
        return self._repeated(known, misses, by="request_id")

    async def _sent_before(
        self, caller: Caller, draft: Draft, request: VideoRequest, waits_s: float
    ) -> JobRecord | None:
        """The job of an equal request by this API key, lately. With an idempotency key only the key decides."""
        if draft.request_id:
            return None
        since_ms = self._now_ms() - RESENT_WITHIN_MS
        return await self._jobs.newest_same(
            caller.tenant,
            caller.api_key_id,
            request.fingerprint(),
            since_ms,
            going_since_ms=since_ms - round(1000 * waits_s) if waits_s else None,
        )

    def _repeated(self, record: JobRecord, misses: int, *, by: str) -> View:
        self._metrics.add(CREATES_REPEATED, by=by)
        return self._records.remember(record, misses)

    async def _wanted(self, caller: Caller, draft: Draft, settled: Settled, video: str) -> JobRecord:
        """The job as it would be persisted now."""
        planned = settled.plan()
        now = self._now_ms()
        priority = DEFAULT_PRIORITY if draft.priority is None else draft.priority
        predicted = await self._gate.predict(caller.tenant, planned, priority=priority, deadline_ms=draft.deadline_ms)
        return JobRecord(
            id=video,
            tenant=caller.tenant,
            api_key_id=caller.api_key_id,
            request=settled.request,
            plan=planned,
            predicted=predicted,
            idempotency_key=draft.request_id,
            draft=draft.digest(),
            priority=priority,
            deadline_ms=draft.deadline_ms,
            created_ms=now,
            expires_ms=None if draft.ttl_ms is None else now + draft.ttl_ms,
            warnings=settled.warnings,
            events=(history.Event(kind=EventKind.CREATED, at_ms=now),),
        )

    def _admitted(self, wanted: JobRecord, draft: Draft) -> AbstractAsyncContextManager[None]:
        """Raises what says why it is refused, by the caller's own names of fields, and when to come back."""
        return self._gate.admitted(wanted, priority_field=draft.name("priority"), deadline_field=draft.name("deadline"))

    def _begun(self, record: JobRecord, misses: int) -> View:
        request = record.request
        self._gate.accepted(record)
        view = self._records.remember(record, misses)
        self._link.wake(record.tenant, record.id)
        source = "own" if request.extends else "foreign" if request.ingests else "new"
        self._metrics.add(JOBS_CREATED, kind=request.kind.value, source=source)
        with job_context(record.tenant, record.id, trace_id_of(record)):
            self._log.info("accepted", kind=request.kind.value, segments=len(record.plan.segments))
        return view


def _id_for(caller: Caller, draft: Draft) -> str:
    """The id of the draft's job: of its idempotency key always the same one, else a new one."""
    return derived_id("vid_", caller.tenant, draft.request_id) if draft.request_id else new_id("vid_")
