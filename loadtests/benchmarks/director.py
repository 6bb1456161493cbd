"""What one Director gets through, and who waits while it is busy with others: `python -m loadtests --only director`.

The shipped Director over a store in memory that is a round trip away (`loadtests/paced.py`), with stages that take no
time; so the rows show the Director itself, and what it waits for. Each is set against a baseline of the same run: jobs
against the bare store calls of so many jobs, a wait against the same wait beside nobody.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from loadtests.paced import PacedOffice
from loadtests.scale import Scale
from loadtests.table import Row, paired, spread
from serving.clock import now_ms
from serving.cycles import collect_cycles_rarely
from serving.director.director import Director
from serving.director.lookout import LIST_EVERY_S
from serving.jobs.lease import BEAT_EVERY_S, Lease
from serving.jobs.record import JobRecord, JobState
from serving.store import keys

NAME = "director"
AIM_WAIT = "<= 0.3 s"
SLOTS = 1000
AT_ONCE = 64
NEVER_S = 3600.0
CREATES_A_SECOND = 300
FILLED_S = 8.0
"""Until the Director knows all that was laid into its store."""
ROUND_TRIPS_S = (0.005, 0.02)


def run(scale: Scale) -> list[Row]:
    """All rows."""
    collect_cycles_rarely()
    return asyncio.run(_run(scale))


async def _run(scale: Scale) -> list[Row]:
    rows = [row for round_trip_s in ROUND_TRIPS_S for row in await _throughput(scale, round_trip_s)]
    alone = await _wait_beside(_nothing)
    for what, trouble in (
        (f"{scale.jobs} deadlines that pass", partial(_deadlines, scale.jobs)),
        (f"{scale.jobs} cancellations", partial(_cancellations, scale.jobs)),
        (f"{CREATES_A_SECOND} creates a second", _creates),
    ):
        waited = await _wait_beside(trouble)
        beside = f"a new job starts beside a neighbour's {what}, round trip 5 ms: s"
        rows.append(Row(NAME, beside, f"{waited:.2f}", f"{alone:.2f} alone", spread([waited / alone], 1), AIM_WAIT))
    return [*rows, await _adoption(scale.jobs // 4), await _reads(scale.jobs // 2)]


# ── throughput ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def _throughput(scale: Scale, round_trip_s: float) -> list[Row]:
    through, bare = [], []
    for _ in range(max(1, scale.rounds // 4)):
        through.append(await _cost(scale.jobs, _through_a_director(scale.jobs, round_trip_s)))
        bare.append(await _cost(scale.jobs, _bare_calls(scale.jobs, round_trip_s)))
    what = f"{SLOTS} slots, stages that take no time, round trip {1000 * round_trip_s:.0f} ms"
    return [
        _row(f"jobs a second, {what}", [c.per_second for c in through], [c.per_second for c in bare], ">= 300"),
        _row(f"CPU ms a job, {what}", [c.cpu_ms for c in through], [c.cpu_ms for c in bare], "<= 3.3"),
    ]


@dataclass(frozen=True)
class _Cost:
    per_second: float
    cpu_ms: float
    """A job, of the whole process, store and stages included."""


async def _cost(count: int, work: Coroutine[None, None, None]) -> _Cost:
    began, cpu = time.perf_counter(), time.process_time()
    await work
    return _Cost(count / (time.perf_counter() - began), 1000 * (time.process_time() - cpu) / count)


def _row(what: str, arm: list[float], base: list[float], aim: str) -> Row:
    return Row(NAME, what, spread(arm), f"{spread(base)} bare", paired(arm, base), aim)


async def _through_a_director(count: int, round_trip_s: float) -> None:
    office = PacedOffice(now_ms, round_trip_s=round_trip_s)
    for number in range(count):
        office.lay(f"tenant-{number % 10}")
    async with _directed(office, slots=SLOTS):
        await office.wait_until(lambda: office.active() == 0, seconds=600)


async def _bare_calls(count: int, round_trip_s: float) -> None:
    """What a job of one segment cannot do without: its record read and written three times, manifest, `active/`."""
    office = PacedOffice(now_ms, round_trip_s=round_trip_s)
    records = [office.lay("tenant") for _ in range(count)]
    left = iter(records)

    async def worker() -> None:
        for record in left:
            found = await office.jobs.get(*record.key)
            for _ in range(3):
                found = await office.jobs.transition(found, steps_done=1)
            await office.store.put_if_absent(keys.segment(*record.key), found.encode())
            await office.jobs.retire(found)

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(worker())


# ── waits ───────────────────────────────────────────────────────────────────────────────────────────────────────────

Happens = Callable[[Director], Coroutine[None, None, None]]
"""What goes on beside the wait; it is ended with it."""


async def _wait_beside(lay: Callable[[PacedOffice, int], Happens]) -> float:
    """Seconds from a quiet tenant's wake to its job's first slice.

    `lay` fills the store, is told in Unix milliseconds when the wake comes, and gives what happens then.
    """
    office = PacedOffice(now_ms, slice_s=NEVER_S)
    wake_ms = now_ms() + round(1000 * FILLED_S)
    happens = lay(office, wake_ms)
    async with _directed(office, slots=4) as director:
        await asyncio.sleep((wake_ms - now_ms()) / 1000)
        trouble = asyncio.create_task(happens(director))
        await asyncio.sleep(0.1)
        job = office.lay("quiet")
        director.wake(*job.key)
        waited = await office.wait_until(lambda: job.id in office.stages.began)
        trouble.cancel()
        await asyncio.wait([trouble])
    return waited


def _nothing(office: PacedOffice, wake_ms: int) -> Happens:
    async def happens(director: Director) -> None: ...

    return happens


def _deadlines(count: int, office: PacedOffice, wake_ms: int) -> Happens:
    for _ in range(count):
        office.lay("noisy", deadline_ms=wake_ms, priority=9)

    async def happens(director: Director) -> None: ...

    return happens


def _cancellations(count: int, office: PacedOffice, wake_ms: int) -> Happens:
    crowd = [office.lay("noisy", priority=9) for _ in range(count)]

    async def happens(director: Director) -> None:
        for job in crowd:
            office.write(job.model_copy(update={"state": JobState.CANCELLED, "version": 2, "nonce": "2"}))
            director.wake(*job.key)

    return happens


def _creates(office: PacedOffice, wake_ms: int) -> Happens:
    async def happens(director: Director) -> None:
        while True:
            director.wake(*office.lay("noisy", priority=9).key)
            await asyncio.sleep(1 / CREATES_A_SECOND)

    return happens


# ── what runs ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def _adoption(count: int) -> Row:
    """A Director died; its replicas beat on, and let go of what nobody has adopted when three beats are over."""
    office = PacedOffice(now_ms, slice_s=NEVER_S)
    left = [
        office.lay(f"tenant-{number % 20}", state=JobState.RUNNING, attempt=1, started_ms=1) for number in range(count)
    ]

    async def beat() -> None:
        for number in range(4):
            for job in left:
                if job.id not in office.stages.began:
                    office.store.lay(keys.lease(job.id, 1), _lease(job, number, released=number == 3))
            await asyncio.sleep(BEAT_EVERY_S)

    beating = asyncio.create_task(beat())
    await asyncio.sleep(0)
    async with _directed(office, slots=count):
        seconds = await office.wait_until(lambda: len(office.stages.began) == count)
        adopted = sum(JobRecord.decode(office.store.data[keys.job(*job.key)]).attempt == 1 for job in left)
    beating.cancel()
    what = f"of {count} attempts whose Director died, adopted; round trip 5 ms"
    return Row(NAME, what, f"{adopted}, the last after {seconds:.1f} s", str(count), f"{adopted / count:.2f}", "all")


async def _reads(count: int) -> Row:
    """Slices that never end: nothing changes."""
    office = PacedOffice(now_ms, slice_s=NEVER_S)
    for number in range(count):
        office.lay(f"tenant-{number % 20}")
    async with _directed(office, slots=count) as director:
        await office.wait_until(lambda: len(office.stages.began) == count, seconds=600)
        await asyncio.sleep(2 * LIST_EVERY_S)
        office.store.calls.clear()
        told = director.feed.cursor
        await asyncio.sleep(5 * LIST_EVERY_S)
        reads = office.store.calls["get", "t"] / office.store.calls["list", "active"]
        told = director.feed.cursor - told
    what = f"records that a listing reads while {count} jobs run and nothing changes"
    return Row(NAME, what, f"{reads:.0f}, {told} told", str(count), f"{reads / count:.2f}", "<= 0.1")


def _lease(job: JobRecord, beat: int, *, released: bool) -> bytes:
    lease = Lease(
        job=job.id, attempt=1, epoch=0, holder="replica-1", term="t", nonce=str(beat), beat=beat, released=released
    )
    return lease.model_dump_json().encode()


@asynccontextmanager
async def _directed(office: PacedOffice, *, slots: int) -> AsyncIterator[Director]:
    director = await office.open(slots=slots, servers=max(1, slots // 16))
    try:
        yield director
    finally:
        await office.close()
