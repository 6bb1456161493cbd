"""Keeps a replica's leases: takes one per attempt that it works on, beats it beside the compute loop, lets go.

`denoise.py` tells it of every slice. A lease that nobody sent a slice for in a while is let go; what the replica holds
for the attempt stays, should the next slice come after all. The newest epoch is read at every beat, so that slices of a
Director that was replaced end, even if that Director never learns of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from serving.errors import LongtakeError
from serving.jobs.epoch import newest_epoch
from serving.jobs.lease import BEAT_EVERY_S, TTL_S, Lease, LeaseLost, Leases
from serving.logs import logger
from serving.store.base import Store

IDLE_S = 30.0
"""Without a slice for so long, the attempt is let go: a Director that died takes some time to be followed by one that
adopts what is done here."""
IDLE_BEAT_EVERY_S = BEAT_EVERY_S / 4
"""While no slice comes: a new Director may have come, and adopts the attempt when it has seen a beat."""

_log = logger("lease")


@dataclass
class _Held:
    attempt: int
    epoch: int
    touched: float
    segment: int = 0
    step: int = 0
    slices: int = 0
    """That run now."""
    needed: bool = True
    """False: no slice is to come."""
    lease: Lease | None = None
    """None until the store has it."""
    task: asyncio.Task[None] | None = field(default=None, repr=False)
    renewing: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)
    """Held while the store is told."""


class LeaseKeeper:
    """All leases of one replica; used from its event loop. `lost` is called with a job whose lease is gone."""

    def __init__(
        self, store: Store, replica: str, *, lost: Callable[[str], None], clock: Callable[[], float] | None = None
    ) -> None:
        self._store = store
        self._leases = Leases(store)
        self._replica = replica
        self._lost = lost
        self._clock = clock
        self._held: dict[str, _Held] = {}
        self._epoch = 0

    @property
    def epoch(self) -> int:
        """The newest epoch that this replica knows of."""
        return self._epoch

    def begin(self, job: str, attempt: int, epoch: int, *, segment: int, step: int) -> bool:
        """A slice of this attempt starts; its lease is taken beside the work.

        False, and nothing changes, when a newer Director has come, or a slice of a later attempt.
        """
        held = self._held.get(job)
        if epoch < self.epoch or (held is not None and held.epoch == epoch and held.attempt > attempt):
            return False
        self._epoch = max(self._epoch, epoch)
        if held is None or (held.attempt, held.epoch) != (attempt, epoch):
            self._drop(job)
            held = self._held[job] = _Held(attempt, epoch, self._now())
            held.task = asyncio.create_task(self._keep(job, held), name=f"lease {job}")
        held.segment, held.step = segment, step
        held.slices += 1
        held.needed = True
        return True

    def end(self, job: str, attempt: int, epoch: int, *, step: int) -> None:
        """A slice has ended, `step` steps into its segment; one of an earlier attempt or Director changes nothing."""
        held = self._held.get(job)
        if held is not None and (held.attempt, held.epoch) == (attempt, epoch):
            held.touched, held.step = self._now(), step
            held.slices = max(0, held.slices - 1)

    def let_go(self, job: str) -> None:
        """The attempt needs this replica no more."""
        held = self._held.get(job)
        if held is not None:
            held.needed = False  # slices of it may still be about to end

    async def stop(self) -> None:
        """Let every lease go."""
        held, self._held = self._held, {}
        await asyncio.gather(*(self._finish(one) for one in held.values()))

    async def _finish(self, held: _Held) -> None:
        async with held.renewing:  # what is on its way to the store may take effect after us, though it is cancelled
            if held.task is not None:
                held.task.cancel()
        await self._release(held)

    async def _keep(self, job: str, held: _Held) -> None:
        renewed = self._now()
        while True:
            segment = held.segment
            try:
                async with held.renewing:
                    await self._renew(job, held)
                renewed = self._now()
            except LeaseLost as lost:
                if held.segment != segment:  # it came meanwhile, and its lease is to be taken anew
                    continue
                _log.info("lease lost", job=job, reason=str(lost))
                self._end(job, held)
                return
            except LongtakeError as away:
                _log.warning("lease not renewed", job=job, reason=away.reason, message=away.message)
                if self._now() - renewed > TTL_S:
                    self._end(job, held)
                    return
            except Exception as error:  # noqa: BLE001  (a lease that nobody beats must not be held any more)
                _log.error("lease given up", job=job, message=str(error), exc_info=error)
                self._end(job, held)
                return
            await self._pause(held)
            if not held.slices and (not held.needed or self._now() - held.touched > IDLE_S):
                if self._held.get(job) is held:  # first this: a slice that comes meanwhile takes it anew
                    del self._held[job]
                await self._release(held)
                return

    async def _pause(self, held: _Held) -> None:
        """Until the next beat."""
        for _ in range(round(BEAT_EVERY_S / IDLE_BEAT_EVERY_S)):
            await asyncio.sleep(IDLE_BEAT_EVERY_S)
            if not held.slices and self._now() - held.touched >= IDLE_BEAT_EVERY_S:
                return

    async def _renew(self, job: str, held: _Held) -> None:
        lease, segment = held.lease, held.segment
        if lease is None or lease.segment != segment:  # it may have been elsewhere in between, and its lease with it
            held.lease = await self._leases.take(
                job, held.attempt, epoch=held.epoch, holder=self._replica, segment=segment
            )
            return
        held.lease = await self._leases.beat(lease, segment=segment, step=held.step)
        self._epoch = max(self._epoch, await newest_epoch(self._store))

    async def _release(self, held: _Held) -> None:
        lease = held.lease
        if lease is None:
            return
        try:
            await self._leases.release(lease)
        except LongtakeError as error:  # it is somebody else's, or expires by itself
            _log.info("lease not released", job=lease.job, message=error.message)

    def _end(self, job: str, held: _Held) -> None:
        if self._held.get(job) is held:
            del self._held[job]
            self._lost(job)

    def _drop(self, job: str) -> None:
        """Another attempt or epoch takes the place of this one."""
        held = self._held.pop(job, None)
        if held is not None and held.task is not None:
            held.task.cancel()

    def _now(self) -> float:
        return self._clock() if self._clock else asyncio.get_running_loop().time()
