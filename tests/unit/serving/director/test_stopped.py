"""A job that its user does not want any more ends soon, though its end was not written at first."""

from __future__ import annotations

from loadtests.paced import PacedOffice
from serving.errors import Unavailable
from serving.jobs.record import JobRecord, JobState
from serving.store import keys
from tests.unit.serving.director.scenes import simulated, state_of


def test_a_cancelled_job_whose_end_the_store_did_not_take_waits_for_no_slot() -> None:
    """Its hint is spent, and by the time of the next try a more urgent one has the slot, for an hour."""

    async def scene(office: PacedOffice) -> None:
        job = office.lay("a")
        director = await office.open(slots=1)
        await office.wait_until(lambda: job.id in office.stages.began)
        key = keys.job(*job.key)

        def fault(call: str, at: str) -> Exception | None:
            if (call, at) != ("swap", key):
                return None
            office.store.fault = lambda _call, _key: None
            return Unavailable("planted", retry_after_s=1)

        office.store.fault = fault
        other = office.lay("a", priority=0)
        director.wake(*other.key)
        running = JobRecord.decode(office.store.data[key])
        asked = {"cancel_requested": True, "version": running.version + 1, "nonce": "cancelled"}
        office.write(running.model_copy(update=asked))
        director.wake(*job.key)

        await office.wait_until(lambda: other.id in office.stages.began, seconds=5)
        await office.wait_until(lambda: state_of(office, job) is JobState.CANCELLED, seconds=5)

    simulated(scene)
