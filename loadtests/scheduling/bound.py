"""What no schedule can exceed: an upper bound on jobs done in time, for one that knew all arrivals beforehand.

Any preemptive schedule on one engine gives each job at most its work between its arrival and its deadline, and any span
of time no more work than it is long. Relax the rest: let a job be done in part and count in part (work given / its
work). The most that this relaxed problem can reach is at least what any real schedule reaches.

The relaxed problem is solved exactly. Work that can be placed forms a polymatroid (which amounts fit is decided by the
spans alone: for each span, the work of the jobs that lie within it is at most its length), and over a polymatroid the
greedy method is optimal: take the jobs by value per second of work, the shortest first, and place as much of each as
still fits.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from loadtests.scheduling.workload import Job


def most_in_time(jobs: Sequence[Job]) -> int:
    """See the module. All jobs have deadlines."""
    starts = np.unique([job.arrives_s for job in jobs])
    ends = np.unique([_due(job) for job in jobs])
    room = ends[None, :] - starts[:, None]
    """Of the span from start to end: its length less the work that was placed within it."""
    room[room <= 0] = np.inf
    value = 0.0
    for job in sorted(jobs, key=lambda job: job.work_s):
        # The spans that hold the job: they start at its arrival or earlier, and end at its deadline or later.
        within = room[: np.searchsorted(starts, job.arrives_s) + 1, np.searchsorted(ends, _due(job)) :]
        placed = min(job.work_s, max(0.0, float(within.min())))
        within -= placed
        value += placed / job.work_s
    return int(value + 1e-6)


def _due(job: Job) -> float:
    assert job.deadline_s is not None
    return job.deadline_s
