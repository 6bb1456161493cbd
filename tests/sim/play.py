"""Plays one world from its seed, to its end or to the first broken rule."""

from __future__ import annotations

import asyncio
import traceback
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from random import Random

from serving.frontdoor.follow.records import TERMINAL_RECHECK_S
from serving.jobs.record import JobRecord, JobState
from serving.jobs.repository import Jobs
from serving.stages.lease_keeper import IDLE_S
from tests.sim.chance import drawn
from tests.sim.chaos import Chaos
from tests.sim.clients import Client
from tests.sim.collector import DAYS, start_collector
from tests.sim.invariants import SLOWEST
from tests.sim.loop import Busy, Deadlock, OutOfTime
from tests.sim.prompt import SETTLED_S
from tests.sim.published import Violation
from tests.sim.seams import collected, installed
from tests.sim.shape import shaped
from tests.sim.themes import Plot, themed
from tests.sim.world import World

LIMIT_S = 300.0
"""After the trouble every job must have ended within this."""
SLOW_LIMIT_S = 6000.0
"""The same, in a world whose jobs are slow."""
SLOW = 0.03
"""Share of such worlds."""
AWAYS = 0.2
"""Share of worlds in which stages are away now and then."""
SLOW_DOORS = 0.1
"""Share of worlds in which the store answers a front door slowly now and then."""
TRACED = 4000
VISIT_EVERY_S = 10.0
"""Where jobs end their workers, others come now and then: by these it shows that the stage is sound."""
AFTERWARDS = 0.2
"""Share of worlds whose clients come again when all is calm."""


@dataclass(frozen=True)
class Played:
    """How a world went."""

    seed: str
    lives: int
    """Jobs that came to their end."""
    turns: int
    seconds: float
    """Of the world."""
    broken: str = ""
    trace: tuple[str, ...] = ()


@collected
def play(seed: str, *, traced: bool = False) -> Played:
    """One world. The same seed goes the same way, step by step."""
    draw = Random(seed)
    slow = draw.random() < SLOW
    faults = drawn(draw, slow=slow)
    shape = shaped(draw, slow=slow, collected=bool(faults.collections))
    faults.aways = draw.uniform(0.05, 0.5) if draw.random() < AWAYS else 0.0
    of_doors = Random(f"{seed}/slow doors")
    if not slow and of_doors.random() < SLOW_DOORS:
        faults.slow_doors = of_doors.uniform(0.05, 0.5)
    plot = themed(seed, Plot(faults, shape, rolls=False))
    world = World(seed, plot.shape, plot.faults)
    world.rolling.rolls = plot.rolls or world.rolling.rolls
    world.rolling.last = plot.last
    if traced:
        world.trace = deque(maxlen=TRACED)
        world.disk.note = world.note
        world.note(f"{world.shape}\n{world.faults}")
    broken = ""
    with installed(world.loop, seed):
        try:
            world.loop.run(_lived(world), limit_s=SLOW_LIMIT_S if slow else plot.shape.troubled_s + LIMIT_S)
        except (Violation, Deadlock, Busy, OutOfTime) as error:
            broken = f"{type(error).__name__}: {error}"
            if not isinstance(error, Violation):
                broken += f"\nunfinished:\n{world.ledger.unrest()}"
        except Exception:  # noqa: BLE001  (whatever a client or a part of the world raised, it is found)
            broken = traceback.format_exc()
    trace = tuple(world.trace or ())
    return Played(seed, len(world.ledger.jobs), world.loop.turns, world.loop.now, broken, trace)


async def _lived(world: World) -> None:
    chaos = Chaos(world)
    for kind, process in world.begin():
        chaos.supervise(kind, process)
    clients = [Client(world, number) for number in range(world.shape.clients)]
    if world.faults.collections:
        await _past(world, clients)
    trouble = asyncio.create_task(chaos.run(world.shape.troubled_s), name="chaos")
    keeping = asyncio.create_task(_keep_house(world), name="house") if world.shape.slow else None
    async with _visited(world):
        await asyncio.gather(trouble, *(client.live() for client in clients))
    if keeping is not None:
        keeping.cancel()
    if world.random.random() < AFTERWARDS:
        await _afterwards(world, clients)
    if world.faults.collections:
        await _collected(world)
        world.ledger.nothing_is_missing()
        if world.random.random() < 0.5:
            await _only_garbage_went(world)
    world.ledger.at_the_end()
    await _listed(world)
    world.ledger.unheard(world.loop.unheard())


@asynccontextmanager
async def _visited(world: World) -> AsyncIterator[None]:
    """Around clients' lives: others come now and then, and every job has ended after it."""
    over = asyncio.Event()
    visiting = asyncio.create_task(_visits(world, over), name="visits")
    yield
    await world.rest()
    over.set()
    await visiting
    await world.rest()


async def _visits(world: World, over: asyncio.Event) -> None:
    visitor = Client(world, 1 + 10 * world.shape.tenants)
    while not over.is_set():
        with suppress(TimeoutError):
            async with asyncio.timeout(VISIT_EVERY_S):
                await over.wait()
        if world.chance.died_of_work and not world.ledger.at_rest():
            await visitor.visit(len(world.ledger.jobs))


async def _past(world: World, clients: list[Client]) -> None:
    """Some videos, made forty days ago."""
    async with _visited(world):
        await asyncio.gather(*(client.live() for client in clients[:2]))
    records = [job.record for job in world.ledger.jobs.values()]
    world.library = [record for record in records if record.state is JobState.SUCCEEDED and record.segments]
    # What is made next needs again what nobody needs any more.
    if world.faults.collected_first or world.random.random() < 0.6:
        await asyncio.gather(*(client.forget_past() for client in clients[:2]))
    await _days_go_by(world)


async def _afterwards(world: World, clients: list[Client]) -> None:
    """A second visit, with nothing wrong; what was made in the trouble may be old by then, and is being collected."""
    if world.faults.collections:
        await _days_go_by(world)
        start_collector(world)
    else:
        await asyncio.sleep(SETTLED_S)
    async with _visited(world):
        await asyncio.gather(*(client.live() for client in clients))


async def _days_go_by(world: World) -> None:
    """For a front door too: what it remembers of an ended video it looks at again after some seconds."""
    await asyncio.sleep(TERMINAL_RECHECK_S)
    world.pass_days(DAYS)


async def _collected(world: World) -> None:
    collector = start_collector(world)
    while collector.alive:  # noqa: ASYNC110  (nobody tells)
        await asyncio.sleep(0.5)
    await world.rest()


async def _keep_house(world: World) -> None:
    """Collections as long as somebody works."""
    while True:
        await asyncio.sleep(world.chance.pause_s(20.0, 100.0))
        start_collector(world)


async def _only_garbage_went(world: World) -> None:
    """What expires in the first of two collections goes in the second."""
    step_s = SLOWEST * world.shape.step_s[1] * world.shape.slow  # one may run still whose end nobody waits for
    await asyncio.sleep(step_s + IDLE_S + SETTLED_S)  # until every lease is let go
    for _ in range(2):
        world.pass_days(DAYS)
        await _collected(world)
    world.ledger.only_garbage_went()


async def _listed(world: World) -> None:
    """Every video is listed once, newest first."""
    jobs = Jobs(world.store(world.loop.world))
    for tenant in sorted({job.record.tenant for job in world.ledger.jobs.values()}):
        listed: list[JobRecord] = []
        token = ""
        while True:
            page = await jobs.list(tenant, limit=3, token=token)
            listed += page.records
            token = page.next_token
            if not token:
                break
        world.ledger.listed(tenant, listed)
