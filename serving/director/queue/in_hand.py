"""Jobs that run, as the order of work sees them: `running.py` tells of them, `schedule.py` orders them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import islice
from typing import NamedTuple

from serving.director.queue.order import OVERFULL
from serving.estimates import Course
from serving.jobs.record import JobRecord


class InHand(NamedTuple):
    """A job that runs."""

    record: JobRecord
    course: Course
    """As of now: the record counts the steps of committed segments alone."""
    waits_for_others: bool = False
    """It gets no further until others have shown whether it or a stage is at fault."""

    @property
    def model(self) -> str:
        """Whose stages it is at."""
        return self.record.plan.model


def by_model(running: Iterable[InHand]) -> dict[str, list[InHand]]:
    """Those of each model."""
    found: dict[str, list[InHand]] = {}
    for job in running:
        found.setdefault(job.model, []).append(job)
    return found


def with_slots(running: Collection[InHand], slots: int) -> list[InHand]:
    """Without those that keep no other out."""
    most = OVERFULL * slots  # a stage that ends every worker shall not draw the whole queue to itself
    aside = {id(job) for job in islice((job for job in running if job.waits_for_others), most)}
    return [job for job in running if id(job) not in aside]
