"""The jobs that one Director runs: each a task from its claim to its end. `cycle.py` starts them here."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator

from serving.director.claims import Claimed
from serving.director.context import RunContext
from serving.director.outcome import Running, carry_out
from serving.director.queue.in_hand import InHand
from serving.director.queue.waiting import WaitingJobs
from serving.director.run import JobRun
from serving.jobs.epoch import EpochLost
from serving.jobs.ids import JobKey
from serving.jobs.record import JobRecord, JobState
from serving.logs import logger
from serving.segments.lineage import Segments
from serving.store.base import Store

OVERDUE_EVERY_S = 0.5
LONGEST_PAUSE_S = 15.0
"""Before an attempt that follows one that was lost."""

_log = logger("director")


class RunningJobs:
    """See the module. A job whose attempt is lost goes back to `waiting`, after a pause that grows."""

    def __init__(
        self,
        *,
        store: Store,
        context: RunContext,
        waiting: WaitingJobs,
        incident: Callable[[], str],
        on_end: Callable[[], None],
    ) -> None:
        """`on_end`: an attempt has ended. `incident` makes a number for the logs."""
        self._store = store
        self._context = context
        self._waiting = waiting
        self._incident = incident
        self._on_end = on_end
        self._running: dict[JobKey, Running] = {}
        self._losses: Counter[JobKey] = Counter()
        """In a row, of jobs that run or wait."""

    def __len__(self) -> int:
        return len(self._running)

    def __contains__(self, key: JobKey) -> bool:
        return key in self._running

    def __iter__(self) -> Iterator[JobKey]:
        return iter(list(self._running))

    def in_hand(self) -> list[InHand]:
        """As their runs last wrote them, and how far they have come."""
        gates = self._context.gates
        return [
            InHand(running.record, running.run.course, gates.waits_for_others(key))
            for key, running in self._running.items()
        ]

    def start(self, claimed: Claimed) -> None:
        """Run a job of a model that is served from here on; returns at once."""
        record = claimed.record
        segments = Segments(self._store, record.tenant)
        running = Running(JobRun(record, segments=segments, context=self._context, adopted=claimed.adopted))
        self._running[record.key] = running
        running.task = asyncio.create_task(self._carry_out(running), name=f"job {record.id}")

    def cancel_if_asked(self, record: JobRecord) -> None:
        """Stop a job if its record, as the store has it, says that its user wants that."""
        running = self._running.get(record.key)
        if running is not None and record.cancel_requested and running.stopped_as is None:
            running.stop(JobState.CANCELLED)

    async def end_overdue(self) -> None:
        """Stop what runs and is overdue, and pause; no slow answer of the store is in the way."""
        now_ms = self._context.now_ms()
        for running in self._running.values():
            deadline = running.record.deadline_ms
            if deadline is not None and deadline <= now_ms and running.stopped_as is None:
                running.stop(JobState.EXPIRED)
        await asyncio.sleep(OVERDUE_EVERY_S)

    async def stop(self) -> None:
        """End all tasks, unwritten: the records say RUNNING, and the next Director goes on with them."""
        tasks = [running.task for running in self._running.values() if running.task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _carry_out(self, running: Running) -> None:
        key = running.record.key
        running.begun = True
        again = False
        try:
            again = await carry_out(running, self._context, self._incident)
            running.run.attempt.trace.breaks_off(running.record, "requeued" if again else running.record.state.value)
        except EpochLost:
            _log.warning("attempt stopped: a newer Director has started", job=running.record.id)
        finally:
            del self._running[key]
            self._context.leases.forget(key[1])
            self._on_end()
        if not again:
            self._losses.pop(key, None)
            return
        self._losses[key] += 1
        pause = min(LONGEST_PAUSE_S, 0.25 * 2 ** self._losses[key])
        record = running.record
        if running.stopped_as is JobState.CANCELLED:  # its run may know an older record, and no hint follows
            record = record.model_copy(update={"cancel_requested": True})
        self._waiting.put(record, not_before=asyncio.get_running_loop().time() + pause)
        for other in [key for key in self._losses if key not in self._waiting and key not in self._running]:
            del self._losses[other]  # it ended while it waited
