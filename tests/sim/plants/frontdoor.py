"""Bugs in the front door."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import Any

from serving.errors import NotFound
from serving.frontdoor.admission.backlog import Backlog
from serving.frontdoor.admission.lost import LostKeys
from serving.frontdoor.create import create
from serving.frontdoor.create.create import Creator
from serving.frontdoor.edge.auth import Caller
from serving.frontdoor.follow.records import RecordCache
from serving.frontdoor.follow.views import View, kept
from serving.frontdoor.requeue import DeadJobs
from serving.frontdoor.videos import Videos
from serving.jobs.ids import new_id
from serving.jobs.record import JobRecord, JobState
from serving.jobs.repository import Created, Jobs
from serving.store import keys
from tests.sim.plants.plant import Plant, nothing, put


def cancels_the_ended(stack: ExitStack) -> None:
    """A cancellation that comes after the end rewrites it."""

    async def cancel(self: Videos, caller: Caller, video: str) -> View:
        key = keys.job(caller.tenant, video)
        stored = await self._store.get(key)
        record = JobRecord.decode(stored.data)
        changes = {"state": JobState.CANCELLED, "cancel_requested": True, "version": record.version + 1}
        changed = record.model_copy(update={**changes, "nonce": "cancelled"})
        await self._store.swap(key, changed.encode(), stored.version)
        await self._jobs.retire(changed)
        return View(kept(changed), changed)

    put(stack, Videos, "cancel", cancel)


def quota_counts_ended(stack: ExitStack) -> None:
    """Jobs that have ended count against their tenant's quota."""
    look = Backlog._list

    async def all_ever(self: Backlog) -> None:
        before = self._counts
        await look(self)
        self._counts |= before

    put(stack, Backlog, "_list", all_ever)


def quota_counts_lost(stack: ExitStack) -> None:
    """A key whose create died before its record counts against its tenant's quota for as long as it is there."""
    put(stack, LostKeys, "passes", lambda self, key: True)


def resent_makes_two(stack: ExitStack) -> None:
    """A create that is marked as resent is a new job."""
    put(stack, Creator, "_sent_before", nothing)


def key_makes_two(stack: ExitStack) -> None:
    """An idempotency key does not name its job."""
    put(stack, create, "_id_for", lambda caller, draft: new_id("vid_"))


def acknowledges_early(stack: ExitStack) -> None:
    """A client gets the id before the record is durable."""
    create_durably = Jobs.create

    async def soon(self: Jobs, record: JobRecord) -> Created:
        fresh = record.model_copy(update={"version": 1, "nonce": self._nonce()})
        task = asyncio.get_running_loop().create_task(create_durably(self, record))
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return Created(fresh, new=True)

    put(stack, Jobs, "create", soon)


def old_as_new(stack: ExitStack) -> None:
    """What a front door hears last it takes for the newest."""

    def remember(self: RecordCache, record: JobRecord) -> View:
        fresh = kept(record, checked=self._clock())
        self._replace(fresh)
        return View(fresh, record)

    put(stack, RecordCache, "put", remember)


def requeue_drops_letter(stack: ExitStack) -> None:
    """The dead letter goes before its job is made again."""
    requeue = DeadJobs.requeue

    async def lifted_first(self: DeadJobs, tenant: str, job: str) -> Any:
        await self._letters.lift(await self._jobs.get(tenant, job))
        return await requeue(self, tenant, job)

    put(stack, DeadJobs, "requeue", lifted_first)


def deletes_the_running(stack: ExitStack) -> None:
    """A video may be deleted while it is being extended, and its record goes at once."""

    async def delete(self: Videos, caller: Caller, video: str) -> None:
        key = keys.job(caller.tenant, video)
        try:
            await self._store.get(key)
        except NotFound:
            return
        await self._store.delete(key)

    put(stack, Videos, "delete", delete)


def cancels_unheard(stack: ExitStack) -> None:
    """A cancellation is answered before it is written."""

    async def cancel(self: Videos, record: JobRecord) -> View:
        asyncio.get_running_loop().create_task(self._jobs.transition(record, cancel_requested=True)).add_done_callback(
            lambda done: done.cancelled() or done.exception()
        )
        asked = record.model_copy(update={"cancel_requested": True})
        return View(kept(asked), asked)

    put(stack, Videos, "_cancel", cancel)


BUGS: dict[str, Plant] = {
    "cancels-the-ended": cancels_the_ended,
    "quota-counts-ended": quota_counts_ended,
    "quota-counts-lost": quota_counts_lost,
    "resent-makes-two": resent_makes_two,
    "key-makes-two": key_makes_two,
    "acknowledges-early": acknowledges_early,
    "old-as-new": old_as_new,
    "requeue-drops-letter": requeue_drops_letter,
    "deletes-the-running": deletes_the_running,
    "cancels-unheard": cancels_unheard,
}
