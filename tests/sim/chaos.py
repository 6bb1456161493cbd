"""What befalls a world's processes: they are killed, stopped, started again, and their clocks are set.

Supervisors (Ray Serve's controller, Kubernetes) start again what died. A second Director, as during a roll-out, works
beside the first for a while; then the older one is ended. In a roll-out all are replaced so (`next_version.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from serving.stages.contracts import AwayCause
from serving.store.keys import SWEEP
from serving.store.sweeping import BATCH_S
from tests.sim.chance import KINDS
from tests.sim.collector import start_collector
from tests.sim.invariants import COLLECTOR
from tests.sim.process import Process
from tests.sim.world import World

ANNOUNCEMENTS_CALLS = 12
"""While something is announced, to the first deletes of a second batch."""
CONTENT_LISTS = 12
"""Looks at blobs that a collector takes, before an announcement in pages, and after it one by one."""
LOOKS = ("list", "stat")


class Chaos:
    """Of one world. `run` ends when all is calm."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._chance = world.chance
        self._leaving: set[str] = set()
        """Names of those that nobody starts again."""

    def supervise(self, kind: str, process: Process) -> None:
        """Start it again whenever it dies."""
        process.on_death.append(lambda: self._later(kind, process))

    def _later(self, kind: str, dead: Process) -> None:
        if dead.name not in self._leaving:
            self._world.loop.after(self._chance.pause_s(0.1, 4.0), self._again, kind)

    def _again(self, kind: str) -> None:
        self.supervise(kind, self._world.start(kind))

    async def run(self, troubled_s: float) -> None:
        """Trouble for so long, then none."""
        world, faults = self._world, self._world.faults
        self._chance.trouble(faults)
        rates: list[tuple[float, Callable[[], None]]] = [
            *((faults.kills.get(kind, 0.0), partial(self._kill, kind)) for kind in KINDS),
            *((faults.stops.get(kind, 0.0), partial(self._stop, kind)) for kind in KINDS),
            (faults.second_directors, self._second_director),
            (faults.outages, self._outage),
            (faults.aways, self._stage_away),
            (faults.partitions, self._partition),
            (faults.clock_jumps, self._clock_jump),
            (faults.collections, self._collection),
            (faults.slow_doors, self._slow_door),
        ]
        if world.rolling.rolls:
            self._roll_out(troubled_s)
        if faults.collected_first:
            self._collection()
        total = sum(rate for rate, _ in rates)
        ends = world.loop.now + troubled_s
        while total:
            await asyncio.sleep(min(self._chance.random.expovariate(total), max(0.0, ends - world.loop.now)))
            if world.loop.now >= ends:
                break
            (act,) = self._chance.random.choices([what for _, what in rates], [rate for rate, _ in rates])
            act()
        await asyncio.sleep(max(0.0, ends - world.loop.now))
        self._chance.calm()
        while self._chance.cut_off or self._chance.slow or world.stopped() or world.is_away() or world.rolls():  # noqa: ASYNC110  (nobody tells)
            await asyncio.sleep(0.5)
        world.calm()

    def _some(self, kind: str) -> Process | None:
        up = self._world.up(kind)
        return self._chance.random.choice(up) if up else None

    def _kill(self, kind: str) -> None:
        process = self._some(kind)
        if process is not None:
            self._world.note(f"kill {process}")
            self._chance.lose()
            process.kill()

    def _stop(self, kind: str) -> None:
        process = self._some(kind)
        if process is not None and not process.stopped:
            short = self._chance.random.random() < 0.5
            seconds = self._chance.pause_s(*((0.3, 5.0) if short else (5.0, 30.0)))
            self._world.note(f"stop {process} for {seconds:.1f} s")
            self._chance.lose(seconds)
            process.stop()
            self._world.loop.after(seconds, process.go_on)

    def _second_director(self) -> None:
        """The new one is supervised from now on; the old one ends after a while, if it did not before."""
        old = self._world.up("director")
        if len(old) != 1:
            return
        self._world.note(f"a second Director beside {old[0]}")
        self._leaving.add(old[0].name)
        seconds = self._chance.pause_s(0.5, 8.0)
        self._chance.lose(seconds)
        self._world.loop.after(seconds, old[0].kill)
        if self._chance.random.random() < self._world.faults.unheard:
            self._chance.cut_off.add(old[0].name)
            self._world.loop.after(seconds, self._chance.cut_off.discard, old[0].name)
        for _ in range(2 if self._chance.random.random() < 0.2 else 1):  # a roll-out may start one too many
            self._again("director")

    def _roll_out(self, troubled_s: float) -> None:
        """To the next version, kind by kind, and perhaps back again in between."""
        for kind in (*KINDS, COLLECTOR):
            for at, of, newer in self._world.rolling.steps(kind, troubled_s):
                self._world.loop.after(at, self._roll, of, newer)

    def _roll(self, kind: str, newer: bool) -> None:
        rolling = self._world.rolling
        self._world.note(f"{kind}: the {'next' if newer else 'old'} version")
        (rolling.newer.add if newer else rolling.newer.discard)(kind)
        begins = 0.0
        for process in self._world.up(kind) if kind in KINDS else ():
            begins += rolling.draw.uniform(0.0, 1.0)
            self._world.loop.after(begins, self._replace, kind, process)

    def _replace(self, kind: str, old: Process) -> None:
        """By one of the version of the hour, beside which it works for a while."""
        rolling = self._world.rolling
        if not old.alive or old.name in self._leaving or old.newer == (kind in rolling.newer):
            return
        seconds = rolling.draw.uniform(0.1, 3.0)
        self._leaving.add(old.name)
        self._chance.lose(seconds)
        self._world.loop.after(seconds, old.kill)
        self._again(kind)

    def _slow_door(self) -> None:
        door = self._some("door")
        if door is not None:
            seconds = self._chance.pause_s(1.0, 20.0)
            self._world.note(f"the store answers {door} slowly for {seconds:.1f} s")
            self._chance.disturb(seconds)
            self._chance.slow.add(door.name)
            self._world.loop.after(seconds, self._chance.slow.discard, door.name)

    def _outage(self) -> None:
        if self._chance.store_is_down:
            return
        seconds = self._chance.pause_s(0.2, 8.0)
        self._world.note(f"the store is away for {seconds:.1f} s")
        self._chance.disturb(seconds)
        self._chance.store_is_down = True
        self._chance.store_is_unfit = self._chance.random.random() < 0.3
        self._world.loop.after(seconds, self._chance.store_is_back)

    def _stage_away(self) -> None:
        """No call is done by its replicas, which live; calls that they have go on."""
        stages = self._chance.random.choice((self._world.encoders, self._world.denoisers, self._world.renderers))
        if stages.away is not None:
            return
        causes: tuple[AwayCause, ...] = ("no_replica", "full", "unreachable")
        stages.away, seconds = self._chance.random.choice(causes), self._chance.pause_s(0.3, 30.0)
        self._world.note(f"{[replica.id for replica in stages.up]} are away for {seconds:.1f} s: {stages.away}")
        self._chance.disturb(seconds)
        self._chance.away_until = max(self._chance.away_until, self._chance.now() + seconds)
        self._world.loop.after(seconds, stages.come_back)

    def _partition(self) -> None:
        process = self._some(self._chance.random.choice(KINDS))
        if process is not None:
            seconds = self._chance.pause_s(0.5, 20.0)
            self._world.note(f"{process} cannot reach the store for {seconds:.1f} s")
            self._chance.lose(seconds)
            self._chance.cut_off.add(process.name)
            self._world.loop.after(seconds, self._chance.cut_off.discard, process.name)

    def _collection(self) -> None:
        collector = start_collector(self._world)
        begins, fate = self._chance.pause_s(0.05, 5.0), self._chance.random.random()
        if fate > 1 - self._world.faults.stopped_sweeps:
            self._stop_at_a_sweep(collector)
        elif fate < 0.3:
            self._world.loop.after(begins, collector.kill)
        elif fate < 0.5:
            self._world.loop.after(begins, collector.stop)
            self._world.loop.after(begins + self._chance.pause_s(1.0, 120.0), collector.go_on)

    def _stop_at_a_sweep(self, collector: Process) -> None:
        """Somewhere between its looks at what is old and the deletes, for no longer than these may last."""
        draw = self._chance.random
        seconds = draw.uniform(0.5, BATCH_S)
        only_lists, only_announced = draw.random() < 0.7, draw.random() < 0.6
        left = draw.randint(1, (4 if only_announced else CONTENT_LISTS) if only_lists else ANNOUNCEMENTS_CALLS)
        announced = False

        def gate(by: Process, moment: str, call: str, key: str) -> None:
            nonlocal left, announced
            if by is not collector or moment != "after":
                return
            if (call, key) == ("swap", SWEEP):  # and the next one takes it back
                announced = not announced
            elif (announced or not only_announced) and (not only_lists or (call in LOOKS and "/blobs/" in key)):
                left -= 1
                if left == 0:
                    self._world.note(f"stop {collector} for {seconds:.1f} s")
                    self._world.disk.gate = None
                    collector.stop()
                    self._world.loop.after(seconds, collector.go_on)

        self._world.disk.gate = gate

    def _clock_jump(self) -> None:
        process = self._some(self._chance.random.choice(("door", "director")))
        if process is not None:
            milliseconds = int(self._chance.random.uniform(-60_000, 60_000))
            self._world.note(f"the wall clock of {process} is set by {milliseconds} ms")
            self._world.jump(process, milliseconds)
