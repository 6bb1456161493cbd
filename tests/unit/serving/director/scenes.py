"""Scenes for a Director over a store that is some milliseconds away, on a simulated clock.

The clock stands still while anything can go on, so a wait that is seen there is a wait for the store.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from random import Random
from typing import Any, TypeVar

from loadtests.paced import PacedOffice
from serving.jobs.lease import Lease
from serving.jobs.record import JobRecord, JobState
from serving.store import keys
from tests.sim.loop import SimLoop

T = TypeVar("T")
HOUR_S = 3600.0
SOON_S = 0.3

LEFT_RUNNING: dict[str, Any] = {"state": JobState.RUNNING, "attempt": 1, "epoch": 0, "started_ms": 1}
"""Of a record that an earlier Director left."""


def simulated(scene: Callable[[PacedOffice], Coroutine[Any, Any, T]], *, slice_s: float = HOUR_S) -> T:
    """Play a scene on a clock of its own."""
    loop = SimLoop(Random(0))  # type: ignore[abstract]
    office = PacedOffice(lambda: 1_700_000_000_000 + round(loop.now * 1000), slice_s=slice_s)
    try:
        return loop.run(scene(office), limit_s=2 * HOUR_S)
    finally:
        loop.forget()


def lease_of(job: JobRecord, beat: int, *, released: bool = False) -> bytes:
    lease = Lease(
        job=job.id, attempt=1, epoch=0, holder="replica-1", term="t", nonce=str(beat), beat=beat, released=released
    )
    return lease.model_dump_json().encode()


def state_of(office: PacedOffice, job: JobRecord) -> JobState:
    return JobRecord.decode(office.store.data[keys.job(*job.key)]).state


def attempt_of(office: PacedOffice, job: JobRecord) -> int:
    return JobRecord.decode(office.store.data[keys.job(*job.key)]).attempt
