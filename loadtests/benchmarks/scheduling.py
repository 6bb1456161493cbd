"""What the order of work is worth: jobs done by their deadlines, an urgent job's wait, a quiet tenant's wait.

A discrete-event world on a simulated clock (`loadtests/scheduling`) runs the `Schedule` and the line of waiting jobs of
`serving/director/queue`; how the Director and the Denoiser call them is mirrored there. One
engine, a seeded mix of videos of 1 to 15 s by several tenants that arrive by chance. Nothing sleeps and nothing is
timed, so the numbers are the same on every machine. FIFO is what the peers do: in order of arrival, nothing preempted,
nothing dropped. At full load its queue only grows, so it fares the worse the longer the run; that is why it also stands
there with overdue jobs dropped, as Longtake drops them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import mean

from loadtests.scale import Scale
from loadtests.scheduling.bound import most_in_time
from loadtests.scheduling.orders import Longtake, edf, fifo
from loadtests.scheduling.workload import STEP_S, Job, poisson, video
from loadtests.scheduling.world import Order, Outcome, simulate
from loadtests.table import Row, paired, spread

NAME = "scheduling"
LOADS = (0.7, 1.0, 1.3)
TENANTS = {"a": 4.0, "b": 3.0, "c": 2.0, "d": 1.0}
"""How much each sends."""
JOBS, QUIET_JOBS = 600, 8
"""Per seed."""
MOST = 64
"""Active jobs of the loud tenant that admission allows: its queue would grow for ever."""
QUIET_LOAD = 0.02
TIMES_QUIET = 100

Orders = dict[str, Callable[[], Order]]
ORDERS: Orders = {
    "Longtake": Longtake,
    "FIFO": fifo,
    "FIFO that drops the overdue": lambda: fifo(expires=True),
    "EDF": edf,
    "EDF that drops the overdue": lambda: edf(expires=True),
}


def run(scale: Scale) -> list[Row]:
    """All three questions, each with several seeds."""
    seeds = range(scale.rounds)
    rows = [row for load in LOADS for row in _goodput_rows(load, JOBS, seeds)]
    return [*rows, *_urgent_rows(JOBS // 2, seeds), *_quiet_rows(QUIET_JOBS, seeds)]


# ── goodput ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def goodput(load: float, count: int, seed: int, orders: Orders = ORDERS) -> dict[str, float]:
    """Share of the jobs that are done by their deadlines, by order; `bound` is what none can exceed."""
    jobs = poisson(random.Random(seed), TENANTS, count, load=load)
    shares = {name: mean(done.in_time for done in simulate(jobs, order())) for name, order in orders.items()}
    return {"bound": most_in_time(jobs) / len(jobs), **shares}


def _goodput_rows(load: float, count: int, seeds: Sequence[int]) -> list[Row]:
    found = [goodput(load, count, seed) for seed in seeds]
    arms = {name: [100 * one[name] for one in found] for name in found[0]}
    ours = arms.pop("Longtake")
    what = f"{100 * load:.0f} % load: jobs in time, %"
    aims = {"bound": ">= 0.9x", "FIFO": ">= 2x" if load == 1.0 else ""}
    return [
        Row(NAME, what, spread(ours), f"{name} {spread(values)}", paired(ours, values), aims.get(name, ""))
        for name, values in arms.items()
    ]


# ── an urgent job ───────────────────────────────────────────────────────────────────────────────────────────────────


def urgent_waits(count: int, seed: int, order: Callable[[], Order]) -> list[float]:
    """Seconds until the first step of urgent jobs that come in the middle of full load, over the step that is usual."""
    draw = random.Random(seed)
    jobs = poisson(draw, TENANTS, count, load=LOADS[-1], deadline=False)
    now, end, urgent = jobs[len(jobs) // 4].arrives_s, jobs[-1].arrives_s, list[Job]()
    while now < end:
        tenant = draw.choice(list(TENANTS))
        name = f"urgent-{len(urgent)}"
        urgent.append(video(draw, name, tenant, now, seconds=1, deadline=False, priority=0))
        now += draw.uniform(2.0, 6.0)
    outcomes = simulate([*jobs, *urgent], order())
    return [_wait_s(done) / STEP_S for done in outcomes if done.job.priority == 0]


def _wait_s(done: Outcome) -> float:
    assert done.first_step_s is not None, "nothing expires and nothing is refused here"
    return done.first_step_s - done.job.arrives_s


def _urgent_rows(count: int, seeds: Sequence[int]) -> list[Row]:
    ours = [urgent_waits(count, seed, ORDERS["Longtake"]) for seed in seeds]
    theirs = [urgent_waits(count, seed, fifo) for seed in seeds]
    what = f"{100 * LOADS[-1]:.0f} % load without deadlines: an urgent job's wait, steps of {1000 * STEP_S:.1f} ms"
    return [
        Row(NAME, f"{what}: mean", spread(_each(mean, ours), 2), f"FIFO {spread(_each(mean, theirs), 0)}"),
        Row(
            NAME, f"{what}: longest", spread(_each(max, ours), 2), f"FIFO {spread(_each(max, theirs), 0)}", aim="<= 1.2"
        ),
    ]


def _each(what: Callable[[list[float]], float], lists: list[list[float]]) -> list[float]:
    return [what(values) for values in lists]


# ── a quiet tenant ──────────────────────────────────────────────────────────────────────────────────────────────────


def quiet_times(count: int, seed: int, order: Callable[[], Order]) -> tuple[float, float]:
    """Mean seconds from arrival to end of a quiet tenant's jobs: alone, and beside one that sends 100 times as much."""
    draw = random.Random(seed)
    quiet = poisson(draw, {"quiet": 1.0}, count, load=QUIET_LOAD, deadline=False)
    loud = poisson(draw, {"loud": 1.0}, TIMES_QUIET * count, load=TIMES_QUIET * QUIET_LOAD, deadline=False)
    quiet = [_renamed(job) for job in quiet]
    return _mean_time(simulate(quiet, order())), _mean_time(simulate([*quiet, *loud], order(), most=MOST))


def _renamed(job: Job) -> Job:
    return replace(job, name=f"quiet-{job.name}")


def _mean_time(outcomes: list[Outcome]) -> float:
    return mean(done.took_s for done in outcomes if done.job.tenant == "quiet")


def _quiet_rows(count: int, seeds: Sequence[int]) -> list[Row]:
    rows: list[Row] = []
    for name in ("Longtake", "FIFO"):
        found = [quiet_times(count, seed, ORDERS[name]) for seed in seeds]
        alone, beside = [pair[0] for pair in found], [pair[1] for pair in found]
        what = f"a quiet tenant beside one that sends {TIMES_QUIET} times as much, {name}: from create to end, s"
        aim = "<= 2x" if name == "Longtake" else ""
        rows.append(Row(NAME, what, spread(beside, 2), f"alone {spread(alone, 2)}", paired(beside, alone), aim))
    return rows
