"""How an attempt at a job ends: one place that turns what was raised into the record's next state.

done                                   → SUCCEEDED            (the run wrote it with its last segment)
cancelled by the user                  → CANCELLED            committed segments stay
the user's fault, or bytes are corrupt → FAILED               with the reason
a replica or the store went away       → QUEUED, later again  at most `MAX_ATTEMPTS` attempts
a fault of ours                        → QUEUED, later again  at most `MAX_FAULTS` times, then FAILED
superseded                             → nothing              the job is another attempt's
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from serving.director.publish import Publisher, Superseded
from serving.director.run import JobRun
from serving.errors import (
    Corrupt,
    EngineMissing,
    FailedPrecondition,
    InvalidArgument,
    LongtakeError,
    NotFound,
    Unimplemented,
)
from serving.jobs.epoch import EpochLost
from serving.jobs.record import JobError, JobState
from serving.logs import job_context, logger
from serving.stages.contracts import StageLost

MAX_ATTEMPTS = 10
"""Attempts that a job may lose to replicas and Directors that go away."""
MAX_FAULTS = 3
"""Attempts of one job that may end in an unexpected error."""

_FINAL = (InvalidArgument, NotFound, FailedPrecondition, Unimplemented, Corrupt, EngineMissing)

_log = logger("director")


@dataclass
class Attempt:
    """A run, its task, and why it was stopped if it was."""

    run: JobRun
    task: asyncio.Task[None] | None = None
    cancelled_by_user: bool = False

    telling: asyncio.Task[None] | None = None

    def cancel(self) -> None:
        """The user wants no more of it: stop before the next step. Returns at once."""
        self.cancelled_by_user = True
        if self.task is not None:
            self.task.cancel()
        # Nobody waits for it: a replica that is just starting again would hold up all other jobs.
        self.telling = asyncio.create_task(self._tell_the_stages())

    async def _tell_the_stages(self) -> None:
        try:
            await self.run.cancel()
        except StageLost:  # then there is nothing to stop
            _log.info("the replica of a cancelled job is gone", job=self.run.record.id)


@dataclass(frozen=True)
class Again:
    """The job waits for another attempt."""

    fault: bool
    """True when the error was unexpected: such attempts are counted apart."""


async def carry_out(
    attempt: Attempt, publisher: Publisher, *, faults: int, incident: Callable[[], str]
) -> Again | None:
    """Run the attempt to its end and record how it ended. Raises only `EpochLost`, and when the Director stops it.

    `faults` counts this job's earlier unexpected errors; `incident` makes a number for the logs.
    """
    with job_context(attempt.run.record.tenant, attempt.run.record.id):
        try:
            return await _ended(attempt, publisher, faults, incident)
        except EpochLost:
            raise
        except Superseded as gone:
            _log.info("job is not ours any more", reason=str(gone))
            return None
        except LongtakeError as error:
            # The end could not be written. The record still says RUNNING under our epoch, so the job is claimed again.
            _log.warning("the store did not take the end of an attempt", reason=error.reason, message=error.message)
            return Again(fault=False)


async def _ended(attempt: Attempt, publisher: Publisher, faults: int, incident: Callable[[], str]) -> Again | None:
    run = attempt.run
    try:
        await run.run()
    except asyncio.CancelledError:
        if not attempt.cancelled_by_user:
            raise
        await _end(run, publisher, JobState.CANCELLED)
        return None
    except (Superseded, EpochLost):
        raise
    except _FINAL as error:
        await _end(run, publisher, JobState.FAILED, JobError(code=error.reason, message=error.message))
        return None
    except LongtakeError as error:
        return await _lost(run, publisher, error)
    except Exception:  # noqa: BLE001  (the edge of a job: a fault of ours must not take the Director with it)
        number = incident()
        _log.exception("attempt failed unexpectedly", incident=number, attempt=run.record.attempt)
        if faults + 1 < MAX_FAULTS:
            await publisher.requeue(run.record)
            return Again(fault=True)
        message = f"an internal error ended the job {MAX_FAULTS} times: see incident {number} in the Director's log"
        await _end(run, publisher, JobState.FAILED, JobError(code="INTERNAL", message=message))
        return None
    _log.info("job succeeded", attempt=run.record.attempt)
    return None


async def _lost(run: JobRun, publisher: Publisher, error: LongtakeError) -> Again | None:
    """A replica or the store went away under the attempt."""
    _log.warning("attempt lost", reason=error.reason, message=error.message, attempt=run.record.attempt)
    if run.record.attempt >= MAX_ATTEMPTS:
        await _end(run, publisher, JobState.FAILED, exhausted(error.message))
        return None
    await publisher.requeue(run.record)
    return Again(fault=False)


def exhausted(last: str) -> JobError:
    """Why a job that was lost too often failed. `last` says how it was lost at last."""
    return JobError(code="ATTEMPTS_EXHAUSTED", message=f"{MAX_ATTEMPTS} attempts were lost, the last one: {last}")


async def _end(run: JobRun, publisher: Publisher, state: JobState, error: JobError | None = None) -> None:
    if run.record.state.terminal:
        return
    await publisher.finish(run.record, state, {"error": error})
    _log.info("job ended", state=state.value, error=error.model_dump() if error else None)
