"""What all surfaces do with videos that were made or are being made: get, list, cancel, delete, wait, watch, lineage.

A create is `create/create.py`. The surfaces translate their messages and call nothing else. Another tenant's video is
NOT_FOUND.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass

from google.protobuf.message import Message

from serving.errors import Conflict, FailedPrecondition
from serving.frontdoor.edge.auth import Caller
from serving.frontdoor.follow.director_link import DirectorLink
from serving.frontdoor.follow.records import RecordCache, Records
from serving.frontdoor.follow.views import View
from serving.frontdoor.follow.watch import WatchEvent, watch
from serving.jobs import history
from serving.jobs.history import EventKind
from serving.jobs.record import JobRecord, JobState
from serving.jobs.repository import Jobs
from serving.jobs.traced import tell_moved, trace_id_of
from serving.logs import job_context, logger
from serving.paging import decode_token, encode_token, position_in
from serving.segments.lineage import Segments
from serving.segments.manifest import SegmentManifest
from serving.segments.path import PathSegment
from serving.segments.shown import Shown, shown_to
from serving.store.base import Store
from serving.traces.spans import Traces


@dataclass(frozen=True)
class Lineage:
    """A page of a video's path."""

    segments: list[PathSegment]
    head: SegmentManifest | None
    """None for images, or before the first segment."""
    next_token: str
    """Empty at the end."""
    histories: Sequence[SegmentHistory] = ()
    """Of each segment, where they were asked for."""


@dataclass(frozen=True)
class SegmentHistory:
    """What a segment was shown."""

    shown: tuple[Shown, ...]
    left_out: int
    """Latents before it that it was not shown."""


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
        traces: Traces,
        now_ms: Callable[[], int],
    ) -> None:
        self._store = store
        self._jobs = jobs
        self._cache = cache
        self._records = records
        self._link = link
        self._traces = traces
        self._now_ms = now_ms
        self._log = logger("videos")

    async def view(self, caller: Caller, video: str) -> View:
        """A video as it stands, from memory where that is safe."""
        return await self._records.view(caller.tenant, video)

    async def poll(
        self, caller: Caller, video: str, surface: str, render: Callable[[View], Awaitable[Message]]
    ) -> bytes:
        """A surface's answer to a poll: rendered once per change and minute, for URLs stay the same for a minute."""
        return await self.answer(await self.view(caller, video), surface, render)

    async def answer(self, view: View, surface: str, render: Callable[[View], Awaitable[Message]]) -> bytes:
        """A surface's answer that shows this view, rendered as rarely."""
        minute = self._now_ms() // 60_000
        answer = view.answer(surface, minute)
        if answer is None:
            answer = (await render(view)).SerializeToString()
            self._cache.answered(view, surface, minute, answer)
        return answer

    def why(self, record: JobRecord) -> str:
        """Why a job has its place in the queue, as the Director says; empty if it does not."""
        return self._cache.why(record.key)

    def silence(self) -> str:
        """That no Director answers, in words; empty where one did of late."""
        return self._cache.silence()

    def held_up(self, record: JobRecord) -> bool:
        """Whether a job waits for a stage that is away, as the Director says: nobody knows for how long."""
        return self._cache.held_up(record.key, record.plan.model)

    async def get(self, caller: Caller, video: str) -> JobRecord:
        """A video's record."""
        return (await self.view(caller, video)).record

    async def page(self, caller: Caller, *, size: int, token: str) -> tuple[list[View], str]:
        """Up to `size` videos, newest first, and the token of the next page (empty at the end)."""
        misses = self._cache.misses
        page = await self._jobs.list(caller.tenant, limit=size, token=decode_token(token, "videos") if token else "")
        views = [self._cache.remember(record, misses) for record in page.records]
        # Some of them may have been deleted while the others were read.
        views = [view for view in views if view.state is not JobState.DELETED]
        return views, encode_token(page.next_token, "videos") if page.next_token else ""

    async def cancel(self, caller: Caller, video: str) -> View:
        """Stop a video: at once when it waits, within a step when it runs. Cancelling twice is no error.

        Raises `FailedPrecondition` for one that has ended otherwise, and `NotFound`, also if it is deleted meanwhile.
        """
        while True:
            misses = self._cache.misses
            record = await self._jobs.get(caller.tenant, video)
            if record.state is JobState.CANCELLED or record.cancel_requested:
                return self._records.remember(record, misses)
            if record.state.terminal:
                raise FailedPrecondition(
                    f"{video} has {record.state.value} already: there is nothing to cancel",
                    reason="VIDEO_ENDED",
                )
            with contextlib.suppress(Conflict):
                return await self._cancel(record)

    async def _cancel(self, record: JobRecord) -> View:
        misses = self._cache.misses
        if record.state is JobState.QUEUED:
            ended = history.Event(kind=EventKind.ENDED, at_ms=self._now_ms(), text=JobState.CANCELLED.value)
            changed = await self._jobs.transition(
                record,
                state=JobState.CANCELLED,
                cancel_requested=True,
                finished_ms=self._now_ms(),
                events=history.appended(record.events, ended),
            )
            tell_moved(self._traces, record, changed, self._now_ms())
            await self._jobs.retire(changed)
        else:
            asked = history.Event(kind=EventKind.CANCEL_REQUESTED, at_ms=self._now_ms(), attempt=record.attempt)
            changed = await self._jobs.transition(
                record, cancel_requested=True, events=history.appended(record.events, asked)
            )
        self._link.wake(record.tenant, record.id)
        with job_context(record.tenant, record.id, trace_id_of(record)):
            self._log.info("cancellation asked for", state=changed.state.value)
        return self._records.remember(changed, misses)

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
                with job_context(record.tenant, record.id, trace_id_of(record)):
                    self._log.info("deleted")
                return

    async def lineage(
        self, caller: Caller, video: str, *, size: int, token: str, skip: int = 0, histories: bool = False
    ) -> Lineage:
        """Up to `size` segments of the path from the root to a video's head, after `skip` more than the token passes
        over. With `histories` each one's manifest is read, and of all those before where they stand.

        Raises `InvalidArgument` for the token.
        """
        listing = f"lineage of {video}"
        start = (position_in(token, listing) if token else 0) + skip
        record = await self.get(caller, video)
        if record.head is None:
            return Lineage([], None, "")
        segments = Segments(self._store, caller.tenant)
        head = await segments.get(record.head)
        stop = min(start + size, head.depth + 1)
        if start >= stop:
            return Lineage([], head, "")
        more = encode_token(str(stop), listing) if stop <= head.depth else ""
        path = await segments.path(head, start, stop)
        return Lineage(path, head, more, await _histories(segments, head, path) if histories else ())

    def watch(
        self, caller: Caller, video: str, *, cursor: str = "", previews: bool = False
    ) -> AsyncGenerator[WatchEvent]:
        """What happens to a video from the cursor on, until it has ended."""
        return watch(self._records, self._store, caller.tenant, video, cursor=cursor, previews=previews)

    async def wait(self, caller: Caller, video: str, *, timeout_s: float) -> View:
        """The video when it has ended, or as it stands after `timeout_s`."""
        view = await self.view(caller, video)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not view.state.terminal:
                    view = await self._records.after(view)
        return view


async def _histories(
    segments: Segments, head: SegmentManifest, path: Sequence[PathSegment]
) -> Sequence[SegmentHistory]:
    """Of these segments of the path to `head`."""
    places = await segments.places(head)
    manifests = await segments.several([segment.digest for segment in path])
    return [SegmentHistory(shown_to(manifest, places), manifest.history_left_out) for manifest in manifests]
