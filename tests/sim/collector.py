"""The collector beside working processes: `serving.retention.collect_once` on a store with a past.

A world with a past first lives in calm weather; then forty days go by in which nothing happens, so that all that was
made is old, and what nobody needs of it is garbage. Collections run while the old videos are extended and deleted and
new ones are made.
"""

from __future__ import annotations

from serving.errors import LongtakeError
from serving.retention.collect import collect_once
from tests.sim.process import Process
from tests.sim.world import World

DAYS = 40
"""So long is nothing needed any more by an idempotency key or a cache."""


def start_collector(world: World) -> Process:
    """One collection, in a process of its own that ends with it."""
    process = world.process("collector")

    async def life() -> None:
        try:
            await collect_once(world.store(process), world.retention, now_ms=lambda: world.now_ms(process))
        except LongtakeError:  # it is called again later
            world.note(f"{process} gives up")
        process.kill()

    process.spawn(life(), "collection")
    return process
