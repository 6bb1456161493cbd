"""Leases: which replica works on an attempt, and whether it still lives.

The replica that denoises holds the lease and beats (`stages/lease_keeper.py`), outside its compute loop. A Director
that starts reads it: while it is beaten, the attempt lives on and is adopted; when an observer's own monotonic clock
has seen it unchanged for its time, its holder is gone (the method of Kubernetes' leader election: it survives clocks
that differ, for no two clocks are compared). Nothing is fenced by a lease alone: what publishes is the job's swap,
under the Director's epoch.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum

from serving.errors import Conflict, LongtakeError, NotFound
from serving.frozen import Stored
from serving.store import keys
from serving.store.base import Store

TTL_S = 6.0
"""A lease that was seen unchanged for so long has expired."""
BEAT_EVERY_S = TTL_S / 3


class LeaseLost(LongtakeError):
    """Another holder has the lease, or a newer Director gave it away: stop, without a word."""

    reason = "LEASE_LOST"


class Lease(Stored):
    """What the lease's object holds."""

    job: str
    attempt: int
    epoch: int
    """Of the Director that sent the work."""
    holder: str
    """Unique id of the replica."""
    term: str
    """Drawn when it was taken: as long as it stands, the lease is the same holder's."""
    nonce: str
    beat: int = 0
    segment: int = 0
    step: int = 0
    """How far the holder was at this beat."""
    released: bool = False
    """The holder let go: nobody works on the attempt."""


class Leases:
    """All leases of an installation."""

    def __init__(self, store: Store, nonce: Callable[[], str] = lambda: secrets.token_hex(8)) -> None:
        self._store = store
        self._nonce = nonce

    async def read(self, job: str, attempt: int) -> Lease | None:
        """The attempt's lease, or None if no replica ever took it."""
        try:
            return Lease.model_validate_json((await self._store.get(keys.lease(job, attempt))).data)
        except NotFound:
            return None

    async def jobs(self) -> AsyncIterator[str]:
        """The ids of jobs for which a replica once took a lease; those that have ended long ago are collected."""
        async for entry in self._store.list(keys.LEASES):
            yield keys.job_of_lease(entry.key)

    async def take(self, job: str, attempt: int, *, epoch: int, holder: str, segment: int = 0) -> Lease:
        """Make the lease the holder's, from whoever had it: the Director of this epoch sent it this segment.

        Raises `LeaseLost` when a newer Director has given it to somebody, or a later segment is worked on elsewhere.
        """
        nonce = self._nonce()
        ours = Lease(job=job, attempt=attempt, epoch=epoch, holder=holder, term=nonce, nonce=nonce, segment=segment)
        while not await self._store.put_if_absent(keys.lease(job, attempt), _encode(ours)):
            stored = await self._store.get(keys.lease(job, attempt))
            found = Lease.model_validate_json(stored.data)
            if found.epoch > epoch:
                raise LeaseLost(f"{job} attempt {attempt} belongs to epoch {found.epoch}, not to {epoch}")
            if found.epoch == epoch and found.segment > segment and not found.released:
                raise LeaseLost(f"{job} attempt {attempt} is at segment {found.segment} already, with {found.holder}")
            try:
                await self._store.swap(keys.lease(job, attempt), _encode(ours), stored.version)
            except (Conflict, NotFound):
                continue
            return ours
        return ours

    async def beat(self, lease: Lease, *, segment: int, step: int) -> Lease:
        """Show that the holder lives, and how far it is. Raises `LeaseLost` when the lease is not its any more."""
        return await self._change(lease, {"beat": lease.beat + 1, "segment": segment, "step": step})

    async def release(self, lease: Lease) -> None:
        """Let go. Raises `LeaseLost` when the lease is not the holder's any more."""
        await self._change(lease, {"beat": lease.beat + 1, "released": True})

    async def revoke(self, job: str, attempt: int) -> None:
        """Take the lease away from a holder that was given up: should it wake, its next beat tells it."""
        while (lease := await self.read(job, attempt)) is not None and not lease.released:
            try:
                await self._change(lease, {"released": True})
            except LeaseLost:  # it was beaten or taken meanwhile
                continue

    async def close(self, job: str, attempt: int, *, epoch: int) -> bool:
        """See that no replica takes it any more for a Director before this epoch, whose work may be on its way still;
        False when somebody holds it."""
        key, nonce = keys.lease(job, attempt), self._nonce()
        nobodys = Lease(job=job, attempt=attempt, epoch=epoch, holder="", term=nonce, nonce=nonce, released=True)
        while not await self._store.put_if_absent(key, _encode(nobodys)):
            with suppress(Conflict, NotFound):  # it was taken meanwhile, or collected
                stored = await self._store.get(key)
                found = Lease.model_validate_json(stored.data)
                if found.released and found.epoch < epoch:
                    closed = found.model_copy(update={"epoch": epoch, "nonce": nonce})
                    await self._store.swap(key, _encode(closed), stored.version)
                return found.released
        return True

    async def _change(self, lease: Lease, changes: dict[str, object]) -> Lease:
        key = keys.lease(lease.job, lease.attempt)
        changed = lease.model_copy(update={**changes, "nonce": self._nonce()})
        try:
            stored = await self._store.get(key)
            found = Lease.model_validate_json(stored.data)
            # The term and not the nonce: a beat whose answer was lost is still our own.
            if found.term != lease.term or found.released:
                raise LeaseLost(f"{lease.job} attempt {lease.attempt} is not {lease.holder}'s any more")
            await self._store.swap(key, _encode(changed), stored.version)
        except (Conflict, NotFound) as error:
            raise LeaseLost(f"{lease.job} attempt {lease.attempt} is not {lease.holder}'s any more") from error
        return changed


class Verdict(Enum):
    """What an observer knows of a lease."""

    NOBODY = "nobody"
    """No replica ever took it, or it was let go."""
    UNSURE = "unsure"
    """It has not been watched for long enough."""
    ALIVE = "alive"
    """It was beaten while it was watched."""
    EXPIRED = "expired"


@dataclass
class _Seen:
    attempt: int
    nonce: str
    since: float
    beaten: bool = False


class LeaseWatch:
    """Watches leases by a monotonic clock of its own. One per Director."""

    def __init__(self, leases: Leases, clock: Callable[[], float], ttl_s: float = TTL_S) -> None:
        self._leases = leases
        self._clock = clock
        self._ttl_s = ttl_s
        self._seen: dict[str, _Seen] = {}
        """By job, of the attempt that was asked for last."""

    async def look(self, job: str, attempt: int) -> tuple[Verdict, Lease | None]:
        """What is known of the lease now; ask again after a beat's time while it is `UNSURE`."""
        lease = await self._leases.read(job, attempt)
        if lease is None or lease.released:
            self._seen.pop(job, None)
            return Verdict.NOBODY, lease
        seen = self._seen.get(job)
        now = self._clock()
        if seen is None or seen.attempt != attempt:
            self._seen[job] = _Seen(attempt, lease.nonce, now)
            return Verdict.UNSURE, lease
        if seen.nonce != lease.nonce:
            self._seen[job] = _Seen(attempt, lease.nonce, now, beaten=True)
            return Verdict.ALIVE, lease
        if now - seen.since >= self._ttl_s:
            return Verdict.EXPIRED, lease
        return (Verdict.ALIVE if seen.beaten else Verdict.UNSURE), lease

    async def revoke(self, job: str, attempt: int) -> None:
        """See `Leases.revoke`."""
        await self._leases.revoke(job, attempt)

    async def close(self, job: str, attempt: int, *, epoch: int) -> bool:
        """See `Leases.close`."""
        return await self._leases.close(job, attempt, epoch=epoch)

    def forget(self, job: str) -> None:
        """The job is settled, or its run has ended."""
        self._seen.pop(job, None)


def _encode(lease: Lease) -> bytes:
    return lease.model_dump_json().encode()
