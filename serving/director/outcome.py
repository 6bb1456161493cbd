"""How a run ends: one place that turns what was raised into the record's next state.

done                                   → SUCCEEDED            (the run wrote it with its last segment)
cancelled by the user                  → CANCELLED            committed segments stay
its deadline passed                    → EXPIRED              committed segments stay
the user's fault, or bytes are corrupt → FAILED               with the reason
workers died again and again           → FAILED               a dead letter; inputs that were being read: quarantined
a stage is away                        → nothing              the run waits for it (`stage_gate.py`)
the store went away                    → QUEUED, later again
a fault of ours                        → QUEUED, later again  at most `MAX_FAULTS` times, then FAILED and a dead letter
superseded                             → nothing              the job is another attempt's
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from serving.director.attempt import Crashed
from serving.director.context import RunContext
from serving.director.publish import Superseded
from serving.director.run import JobRun
from serving.errors import LongtakeError
from serving.jobs.epoch import EpochLost
from serving.jobs.record import JobError, JobRecord, JobState
from serving.jobs.traced import trace_id_of
from serving.logs import job_context, logger
from serving.stages.contracts import StageAway, StageLost

MAX_FAULTS = 3
"""Attempts of one job that may end in an unexpected error."""

_log = logger("director")


@dataclass
class Running:
    """A run, its task, and why it was stopped if it was."""

    run: JobRun
    task: asyncio.Task[None] | None = None
    begun: bool = False
    """Its task has taken its first step. One that is cancelled before that never runs, and would end nothing."""
    stopped_as: JobState | None = None
    telling: asyncio.Task[None] | None = None

    @property
    def record(self) -> JobRecord:
        """As the run last wrote it."""
        return self.run.attempt.record

    def stop(self, state: JobState) -> None:
        """No more of it, CANCELLED or EXPIRED: stop before the next step. Returns at once."""
        self.stopped_as = state
        if self.task is not None and self.begun:
            self.task.cancel()
        # Nobody waits for it: a replica that is just starting again would hold up all other jobs.
        self.telling = asyncio.create_task(self._tell_the_stages())

    async def _tell_the_stages(self) -> None:
        try:
            await self.run.cancel()
        except (StageAway, StageLost):  # then there is nothing to stop
            _log.info("the replica of a stopped job is gone", job=self.record.id)


async def carry_out(running: Running, context: RunContext, incident: Callable[[], str]) -> bool:
    """Run it to its end and record how it ended; True when the job is to be claimed again.

    Raises only `EpochLost`, and when the Director stops it. `incident` makes a number for the logs.
    """
    with job_context(running.record.tenant, running.record.id, trace_id_of(running.record)):
        try:
            return await _ended(running, context, incident)
        except EpochLost:
            raise
        except asyncio.CancelledError:
            if running.stopped_as is None:
                raise
            # Stopped while another end was written: nobody knows which. The job waits, and is ended when it is claimed.
            return True
        except Superseded as gone:
            _log.info("job is not ours any more", reason=str(gone))
            return False
        except LongtakeError as error:
            # The end could not be written. The record still says RUNNING under our epoch, so the job is claimed again.
            _log.warning("the store did not take the end of an attempt", reason=error.reason, message=error.message)
            return True


async def _ended(running: Running, context: RunContext, incident: Callable[[], str]) -> bool:
    attempt = running.run.attempt
    try:
        await _unless_stopped(running)
    except asyncio.CancelledError:
        if running.stopped_as is None:
            raise
        error = expired() if running.stopped_as is JobState.EXPIRED else None
        await _end(running, running.stopped_as, error)
    except (Superseded, EpochLost):
        raise
    except Crashed as crashed:
        message = f"{crashed}. An operator can run it again: `longtake jobs requeue {running.record.id}`"
        await context.dead.bury(running.record, stage=crashed.stage, why=str(crashed), quarantine=crashed.read_inputs)
        await _end(running, JobState.FAILED, JobError(code="WORKERS_CRASHED", message=message))
    except LongtakeError as error:
        if error.final:
            await _end(running, JobState.FAILED, JobError(code=error.reason, message=error.message))
            return False
        _log.warning("attempt lost", reason=error.reason, message=error.message, attempt=running.record.attempt)
        attempt.record = await context.publisher.requeue(running.record, error.message)
        return True
    except Exception as error:  # noqa: BLE001  (the edge of a job: a fault of ours must not take the Director with it)
        return await _fault(running, context, incident(), error)
    else:
        _log.info("job succeeded", attempt=running.record.attempt)
    return False


async def _unless_stopped(running: Running) -> None:
    if running.stopped_as is not None:  # before it began
        raise asyncio.CancelledError
    await running.run.run()


async def _fault(running: Running, context: RunContext, number: str, error: Exception) -> bool:
    _log.error("attempt failed unexpectedly", incident=number, attempt=running.record.attempt, exc_info=error)
    faults = running.record.faults + 1
    if faults < MAX_FAULTS:
        why = f"an internal error: incident {number}"
        running.run.attempt.record = await context.publisher.requeue(running.record, why, faults=faults)
        return True
    message = f"an internal error ended the job {MAX_FAULTS} times: see incident {number} in the Director's log"
    await context.dead.bury(running.record, stage="", why=message, quarantine=False)
    await _end(running, JobState.FAILED, JobError(code="INTERNAL", message=message), faults=faults)
    return False


def expired() -> JobError:
    """Why a job is EXPIRED."""
    return JobError(code="DEADLINE_EXCEEDED", message="the job's deadline passed before it was done")


async def _end(running: Running, state: JobState, error: JobError | None = None, **changes: object) -> None:
    if running.record.state.terminal:
        return
    await running.run.attempt.finish(state, error=error, **changes)
    _log.info("job ended", state=state.value, error=error.model_dump() if error else None)
