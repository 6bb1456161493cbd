"""Jobs in the store: created once, moved by compare-and-swap, listed newest first.

Two keys stand for a job beside its record: one lists it, one says that it waits or runs. Both are written before
the record and tolerated without one, so that a crash between the writes loses nothing that was acknowledged; the
second goes after the terminal swap. The front door creates, cancels and deletes, the Director does the rest.
"""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import re
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass
from typing import Any, NamedTuple

from pydantic import ValidationError

from serving.errors import AlreadyExists, Conflict, Corrupt, FailedPrecondition, NotFound, StoreUnfit, shown
from serving.frozen import what_is_wrong
from serving.jobs.active import Active
from serving.jobs.ids import JobKey
from serving.jobs.record import TRANSITIONS, JobRecord, JobState
from serving.logs import logger
from serving.requests import VideoRequest
from serving.store import keys
from serving.store.base import Store

_ID = re.compile(r"[a-z]+_[a-z0-9]{1,40}\Z")

SENT_ONCE = b"once"
"""In the `active/` key of a job whose id no other create will ever use: without a record, it is soon garbage."""
LONG_S = 60.0
"""A create that took longer makes sure that its key is still there."""
BARREN = 1000
"""Keys without any of the jobs that are looked for, after which some of those are looked up: what a store lists at
once."""
AT_ONCE = 16
"""Records that are looked up side by side."""
MOST_SEEN = 4096
MOST_OLDER = 1000
"""Jobs from before the time in which every job counts, among which one that goes on is looked for."""
MOST_STRAYS = 100
"""Keys that are no job's are told of, so many in a process's life."""
_log = logger("jobs")


@dataclass(frozen=True)
class Page:
    """Some records, and the token that goes on behind them (empty at the end)."""

    records: tuple[JobRecord, ...]
    next_token: str


class Created(NamedTuple):
    """What a create led to."""

    record: JobRecord
    new: bool
    """False: the record was there already, made by an earlier create with the same id."""


class _Seen(NamedTuple):
    """A record, and the store's version of the object that holds it."""

    nonce: str
    version: str


class Jobs:
    """All jobs of an installation; every read names the tenant."""

    def __init__(self, store: Store, nonce: Callable[[], str] = lambda: secrets.token_hex(8)) -> None:
        self._store = store
        self._nonce = nonce
        self._strays: set[str] = set()
        """Keys under `active/` that are no job's, as far as they were told of."""
        self._seen: OrderedDict[str, _Seen] = OrderedDict()
        """What was read or written last: a transition from it needs no read. A bounded part of it is kept."""

    async def create(self, record: JobRecord) -> Created:
        """Make the record durable, or return the one that is there.

        Raises `AlreadyExists`, naming the difference, when the id (derived from an idempotency key) belongs to another
        request, and `FailedPrecondition` when that job was deleted.
        """
        fresh = record.model_copy(update={"version": 1, "nonce": self._nonce()})
        try:
            if await self._put(fresh):
                return Created(fresh, new=True)
        except StoreUnfit:
            # The write was refused, nobody was promised anything, and nobody sends this id again: nothing is left.
            # (Where it may be, the index keys may be those of an earlier create.)
            if not fresh.may_come_again:
                await self._unlist(fresh)
            raise
        there = await self._same_request(fresh)
        # A proxy may send a write twice; then the store refuses the second one for the first, which was ours.
        return Created(there, new=there.nonce == fresh.nonce)

    async def get(self, tenant: str, job: str) -> JobRecord:
        """A job of this tenant. Raises `NotFound`, also for a deleted one, and `Corrupt` for an unreadable one."""
        record = await self._read(tenant, job)
        if record is None or record.state is JobState.DELETED:
            raise NotFound(f"no video {shown(job)}: it never existed, was deleted, or belongs to another tenant")
        return record

    async def find(self, tenant: str, job: str) -> JobRecord | None:
        """The same, or None where there is none."""
        try:
            return await self.get(tenant, job)
        except NotFound:
            return None

    async def transition(self, record: JobRecord, **changes: Any) -> JobRecord:
        """Write `record` with these changes, if nobody has written since it was read.

        Raises `Conflict` when somebody has (read again and decide anew), `NotFound` when the job is gone, and
        `FailedPrecondition` for a move that the state diagram does not have. What a later version wrote beside stays.
        """
        assert changes.keys() <= JobRecord.model_fields.keys(), "a record holds what its class has"
        after: JobState = changes.get("state", record.state)
        if after not in TRANSITIONS[record.state]:
            raise FailedPrecondition(f"video {record.id} is {record.state}, and cannot become {after}")
        key = keys.job(record.tenant, record.id)
        seen = self._seen.pop(key, None)
        if seen is None or seen.nonce != record.nonce:
            stored = await self._store.get(key)
            current = JobRecord.decode(stored.data)
            if (current.version, current.nonce) != (record.version, record.nonce):
                raise Conflict(f"video {record.id} was changed by another writer")
            seen = _Seen(record.nonce, stored.version)
        update = {**changes, "version": record.version + 1, "nonce": self._nonce()}
        changed = JobRecord.model_validate({**dict(record), **update})
        self._saw(key, changed, await self._store.swap(key, changed.encode(), seen.version))
        return changed

    async def retire(self, ended: JobRecord | Active) -> None:
        """Take an ended job off the active list; harmless to repeat.

        As the list has it, where that is known: a create that was refused may have left a key that no record tells of.
        """
        await self._store.delete(_active_key(ended))

    async def retire_lost(self, active: Active) -> None:
        """Take a key that has no record off the active list; not one that a create sent again would use.

        Only for whoever knows that its create is over: the job of one that is under way would never be found.
        """
        with contextlib.suppress(NotFound):
            sent_once = (await self._store.get(_active_key(active))).data == SENT_ONCE
            if sent_once and await self._read(active.tenant, active.id) is None:
                await self.retire(active)

    async def delete(self, record: JobRecord) -> None:
        """Swap in the tombstone of an ended job. Raises as `transition` does."""
        await self.transition(record, state=JobState.DELETED)
        await self._unlist(record)

    async def newest(self, tenant: str, job: str) -> JobRecord | None:
        """The record as it is, a tombstone too; None where there is none yet. Raises `Corrupt`."""
        return await self._read(tenant, job)

    async def written(self, asked: Collection[JobKey]) -> set[JobKey]:
        """Those of these jobs that have a record, be it a tombstone. It is not read."""
        found: set[JobKey] = set()
        left = tuple(asked)
        for begin in range(0, len(left), AT_ONCE):
            some = left[begin : begin + AT_ONCE]
            there = await asyncio.gather(*(self._store.stat(keys.job(*key)) for key in some))
            found |= {key for key, entry in zip(some, there, strict=True) if entry is not None}
        return found

    async def list(self, tenant: str, *, limit: int, token: str = "") -> Page:
        """Records of a tenant, newest first, those behind `token` only."""
        prefix = keys.jobs_by_time_of(tenant)
        found: list[JobRecord] = []
        last = ""
        async for entry in self._store.list(prefix, after=prefix + token if token else ""):
            name = entry.key.removeprefix(prefix)
            record = await self._listed(tenant, keys.id_in(name))
            if record is None or record.state is JobState.DELETED or _by_time_key(record) != entry.key:
                continue  # the last: of a create that died, and was sent again later
            if len(found) == limit:
                return Page(tuple(found), last)
            found.append(record)
            last = name
        return Page(tuple(found), "")

    async def oldest_first(self, tenant: str, ids: Collection[str]) -> builtins.list[str]:
        """Places of these jobs in the listing by time, in the order in which they were made; `keys.id_in` has the id.
        What has no place there is left out.
        """
        prefix, left, barren = keys.jobs_by_time_of(tenant), set(ids), 0
        places: builtins.list[str] = []
        async for entry in self._store.list(prefix):
            if not left:
                break
            place, barren = entry.key.removeprefix(prefix), barren + 1
            if keys.id_in(place) in left:
                left.discard(keys.id_in(place))
                places.append(place)
                barren = 0
            elif barren % BARREN == 0:
                # A job that has no place would have all be listed that the tenant ever made; a record tells.
                some = [left.pop() for _ in range(min(len(left), AT_ONCE))]
                found = await asyncio.gather(*(self._listed(tenant, job) for job in some))
                there = (job for job in found if job is not None and job.state is not JobState.DELETED)
                places += [_by_time_key(job).removeprefix(prefix) for job in there]
        return sorted(places, reverse=True)

    async def active(self) -> AsyncIterator[Active]:
        """Every job that waits or runs, from the names of keys alone (some may have no record yet, or have ended).

        A key that nobody of us made is passed over, and told of once.
        """
        async for entry in self._store.list(keys.ACTIVE):
            name = keys.read_active(entry.key)
            if name is not None:
                yield Active(name.tenant, name.job, name.priority, name.deadline_ms, entry.modified_ms)
            elif len(self._strays) < MOST_STRAYS and entry.key not in self._strays:
                self._strays.add(entry.key)
                _log.warning("a key that is no job's", key=entry.key)

    async def newest_same(
        self, tenant: str, api_key_id: str, fingerprint: str, since_ms: int, *, going_since_ms: int | None = None
    ) -> JobRecord | None:
        """The newest job of this API key with this canonical request, made since then; for creates marked as resent.

        `going_since_ms`: one that was made before, but since that time, is found too if it had not ended by `since_ms`.
        Among the newest `MOST_OLDER` of them, for each is read.
        """
        recent = keys.jobs_until(tenant, since_ms)
        oldest = recent if going_since_ms is None else keys.jobs_until(tenant, min(since_ms, going_since_ms))
        older = 0
        async for entry in self._store.list(keys.jobs_by_time_of(tenant)):
            older += entry.key > recent
            if entry.key > oldest or older > MOST_OLDER:
                return None
            record = await self._listed(tenant, keys.id_in(keys.name_of(entry.key)))
            if (
                record is not None
                and record.state is not JobState.DELETED
                and _by_time_key(record) == entry.key
                and record.api_key_id == api_key_id
                and record.request.fingerprint() == fingerprint
                and (not older or not record.state.terminal or (record.finished_ms or 0) >= since_ms)
            ):
                return record
        return None

    async def _put(self, fresh: JobRecord) -> bool:
        """The index keys, then the record. False: there is one of this id."""
        clock = asyncio.get_running_loop().time
        began = clock()
        active, body = _active_key(fresh), b"" if fresh.may_come_again else SENT_ONCE
        await self._store.put_if_absent(_by_time_key(fresh), b"")
        await self._store.put_if_absent(active, body)
        new = await self._store.put_if_absent(keys.job(fresh.tenant, fresh.id), fresh.encode())
        if clock() - began > LONG_S:  # the collector may have taken the key for one that was left behind
            await self._store.put_if_absent(active, body)
        return new

    async def _unlist(self, record: JobRecord) -> None:
        with contextlib.suppress(StoreUnfit):  # a store that refuses this too: the collector finds them
            await self._store.delete(_active_key(record))
            await self._store.delete(_by_time_key(record))

    async def _listed(self, tenant: str, job: str) -> JobRecord | None:
        """As `_read`; a record that cannot be read must not hide all others."""
        try:
            return await self._read(tenant, job)
        except Corrupt as error:
            _log.error("record left out of a listing", tenant=tenant, job=job, message=error.message)
            return None

    async def _read(self, tenant: str, job: str) -> JobRecord | None:
        if not _ID.match(job):  # a user's text is never made into a key
            return None
        key = keys.job(tenant, job)
        try:
            stored = await self._store.get(key)
            record = JobRecord.decode(stored.data)
        except NotFound:
            return None
        except ValidationError as error:
            raise Corrupt(f"the record of {job} cannot be read by this version: {what_is_wrong(error)}") from error
        self._saw(key, record, stored.version)
        return record

    def _saw(self, key: str, record: JobRecord, version: str) -> None:
        self._seen[key] = _Seen(record.nonce, version)
        self._seen.move_to_end(key)
        if len(self._seen) > MOST_SEEN:
            self._seen.popitem(last=False)

    async def _same_request(self, fresh: JobRecord) -> JobRecord:
        there = await self._read(fresh.tenant, fresh.id)
        gone = there is None or there.state is JobState.DELETED
        for index_key in (_by_time_key, _active_key):
            # The index entries of the resent create would list the job twice, or a job that is gone.
            if there is None or gone or index_key(there) != index_key(fresh):
                await self._store.delete(index_key(fresh))
        if there is None or there.state is JobState.DELETED:
            raise FailedPrecondition(f"the video of this idempotency key, {fresh.id}, was deleted: use a new key")
        if there.state.terminal:
            await self.retire(there)
        check_same(there, fresh.request, fresh.idempotency_key)
        return there


def check_same(there: JobRecord, asked: VideoRequest, key: str) -> None:
    """Raise `AlreadyExists`, naming the difference, when the job of an idempotency key was made for another request."""
    if there.request.fingerprint() == asked.fingerprint():
        return
    raise AlreadyExists(
        f"the idempotency key {shown(key)} belongs to another request ({there.id}); "
        f"they differ in: {', '.join(there.request.differences(asked))}. Use a new key for a new request"
    )


def _by_time_key(record: JobRecord) -> str:
    return keys.job_by_time(record.tenant, record.created_ms, record.id)


def _active_key(record: JobRecord | Active) -> str:
    return keys.active(record.tenant, record.priority, record.deadline_ms, record.id)
