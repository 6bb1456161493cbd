"""One small life, with crashes at chosen store calls: a video of two segments is made, and then extended.

Every store call of every process has two boundaries: before it is sent, and when it has taken effect and is not yet
answered. `live` counts them and kills processes at the ones that are named. What it makes must not change.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from serving.frontdoor.create.drafts import Draft, ExtensionDraft
from serving.jobs.record import JobRecord, JobState
from tests.sim.chance import KINDS, Faults
from tests.sim.chaos import Chaos
from tests.sim.clients import Client
from tests.sim.loop import Busy, Deadlock, OutOfTime
from tests.sim.process import Process
from tests.sim.published import Violation
from tests.sim.seams import collected, installed
from tests.sim.shape import Shape
from tests.sim.world import World

SHAPE = Shape(clients=1, doors=1, denoisers=1, slots=2, checkpoint_share=0.5)
LIMIT_S = 120.0
CLOSE = 40
"""Half of the second crashes of a pair come within so many boundaries after the first."""
Crashes = Mapping[int, str]
"""By number of the boundary: the kind of process that is killed there."""


@dataclass(frozen=True)
class Lived:
    """How a life went."""

    boundaries: tuple[str, ...]
    """Whose store call, which, on which key, before or after."""
    segments: tuple[tuple[str, ...], ...]
    """Of the video and of its extension."""
    seconds: float


@collected
def live(crashes: Crashes, *, seed: str = "life") -> Lived:
    """Raises `Violation` when a rule breaks, and what the loop raises when it never ends."""
    world = World(seed, SHAPE, Faults())
    boundaries: list[str] = []

    def gate(by: Process, moment: str, call: str, key: str) -> None:
        kind = crashes.get(len(boundaries))
        boundaries.append(f"{moment} {by.name} {call} {key}")
        for process in list(world.up(kind)) if kind is not None else ():
            world.chance.lose()
            process.kill()

    world.disk.gate = gate
    with installed(world.loop, seed):
        ended = world.loop.run(_life(world), limit_s=LIMIT_S)
    for record in ended:
        if record.state is not JobState.SUCCEEDED:
            raise Violation(f"{record.id} has {record.state}: {record.error}")
    return Lived(tuple(boundaries), tuple(record.segments for record in ended), world.loop.now)


def broken(crashes: Crashes, undisturbed: Lived) -> str:
    """What is wrong after these crashes; empty if nothing is."""
    try:
        lived = live(crashes)
    except (Violation, Deadlock, Busy, OutOfTime) as error:
        return f"{type(error).__name__}: {error}"
    if lived.segments != undisturbed.segments:
        return f"it made {lived.segments}, and undisturbed {undisturbed.segments}"
    return ""


def singles(undisturbed: Lived) -> Iterator[Crashes]:
    """Every kind of process killed at every boundary."""
    for number in range(len(undisturbed.boundaries)):
        for kind in KINDS:
            yield {number: kind}


def pairs(undisturbed: Lived, count: int, seed: str) -> Iterator[Crashes]:
    """Two crashes in one life: some of all pairs."""
    draw = Random(seed)
    total = len(undisturbed.boundaries)
    for _ in range(count):
        first = draw.randrange(total)
        behind = draw.randint(1, CLOSE) if draw.random() < 0.5 else draw.randint(1, total)
        yield {first: draw.choice(KINDS), first + behind: draw.choice(KINDS)}


def first_broken(batch: Sequence[Crashes]) -> tuple[Crashes, str] | None:
    """The first of them that ends ill, and how."""
    undisturbed = live({})
    for crashes in batch:
        why = broken(crashes, undisturbed)
        if why:
            return crashes, why
    return None


async def _life(world: World) -> list[JobRecord]:
    chaos = Chaos(world)
    for kind, process in world.begin():
        chaos.supervise(kind, process)
    client = Client(world, 0)
    video = await client.made(Draft(prompt="a life", seconds=2, steps=3, seed=7, request_id="video"))
    source = ExtensionDraft(video_id=video.id)
    more = await client.made(Draft(prompt="on", seconds=1, steps=2, seed=8, extends=source, request_id="extension"))
    await world.rest()
    world.ledger.at_the_end()
    return [video, more]
