"""The rule of who works, by itself: how long a replica may step a job that has ended."""

from __future__ import annotations

from random import Random
from types import SimpleNamespace
from typing import cast

import pytest

from loadtests.paced import queued
from serving.stages.contracts import SliceCall
from tests.sim.chance import Chance
from tests.sim.crashes import Crashes
from tests.sim.known import Job
from tests.sim.loop import SimLoop
from tests.sim.process import Process
from tests.sim.prompt import Prompt
from tests.sim.published import Violation
from tests.sim.store import Disk
from tests.sim.workers import LATE_S, SLICE_S, Workers

ENDED_AT, STEP_S = 10.0, 0.1


@pytest.mark.parametrize(
    ("came_at", "began_at", "over_at"),
    [
        (9.0, 9.01, ENDED_AT + LATE_S),  # it is told that the job ended
        (9.0, 20.0, 20.0 + SLICE_S),  # it waits for the store meanwhile, and does the one slice that it was sent
        (11.0, 20.0, ENDED_AT + LATE_S),  # nobody may send it one then
    ],
)
def test_a_job_that_has_ended_is_stepped_no_more_but_by_whom_the_store_kept_waiting(
    came_at: float, began_at: float, over_at: float
) -> None:
    record = queued("tenant", 0)
    job = Job(record, created_at=0.0, further_at=0.0, further_before_at=0.0)
    loop = SimLoop(Random(1))  # type: ignore[abstract]  # what it lacks nobody asks for
    chance = Chance(Random(1), lambda: loop.now)
    chance.disturb()
    jobs, disk = {record.id: job}, Disk(lambda: 0)
    crashes, prompt = Crashes(disk, chance, jobs), cast(Prompt, None)  # asked only of a job that goes on
    workers = Workers(loop, disk, chance, jobs, prompt, crashes, step_s=STEP_S, roomy=True, checkpoint_share=1.0)
    process = Process(loop, "denoiser")

    def at(now: float) -> None:
        loop.now = now
        if now > ENDED_AT:
            job.ended_at = ENDED_AT

    at(came_at)
    workers.came(process, cast(SliceCall, SimpleNamespace(job=record.id)))
    at(began_at)
    workers.begins(process, record.id, 0, step=0, saved=0)
    at(over_at)
    workers.stepped(process, record.id, 0, 1, STEP_S)
    at(over_at + 2 * STEP_S)
    with pytest.raises(Violation, match="after it ended"):
        workers.stepped(process, record.id, 0, 2, STEP_S)
