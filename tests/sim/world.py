"""One world: front doors, Directors, replicas and clients on one simulated disk, and everything that befalls them.

`play` runs one from its seed: clients ask, faults happen for a while, then all is calm, and every job must come to its
end. What ships runs unchanged, on clocks and an engine's loop that it is handed; `seams.py` replaces the rest.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Coroutine
from functools import partial
from random import Random
from typing import Any

from serving.errors import LongtakeError
from serving.jobs.record import JobRecord
from serving.settings import Admission, Retention, TenantAdmission
from serving.stage_names import CONDITIONER, DENOISER, PROMPT_WRITER, RENDERER, TEXT_ENCODER, CountedWork
from serving.stages.checkpoint import CheckpointPolicy
from serving.store.keys import DIRECTOR_ADDRESS
from tests.sim.chance import KINDS, Chance, Faults
from tests.sim.directors import Office
from tests.sim.doors import Door
from tests.sim.engine import TaskLoop, WatchedDenoiser
from tests.sim.invariants import Ledger
from tests.sim.loop import SimLoop
from tests.sim.network import Network
from tests.sim.next_version import Rolling
from tests.sim.pictures import SimDecoder
from tests.sim.process import Process
from tests.sim.published import Violation
from tests.sim.shape import Shape
from tests.sim.stages import Pool, Renderer, Replica, SimStages, encoders, loaded
from tests.sim.store import Disk, SimStore

STARTED_MS = 1_700_000_000_000
RETENTION: dict[str, Any] = {"video_ttl_s": None, "tenants": {}, "cache_ttl_s": 3600}


class World:
    """See the module."""

    def __init__(self, seed: str, shape: Shape, faults: Faults) -> None:
        self.random = Random(seed)
        self.shape = shape
        self.rolling = Rolling(seed)
        # The base class has more, which nothing here asks for.
        self.loop = SimLoop(Random(f"{seed}/order"), shuffle=shape.shuffle)  # type: ignore[abstract]
        self.faults = faults
        """What goes wrong in it, from when on `chaos.py` begins."""
        self.chance = Chance(Random(f"{seed}/chance"), lambda: self.loop.now)
        self.disk = Disk(self.true_ms)
        self.network = Network(self.loop, self.chance)
        self.office = Office(self.chance)
        self.ledger = Ledger(
            self.loop,
            self.disk,
            epoch_of=self.office.epochs.get,
            chance=self.chance,
            calm_since=lambda: self.calm_since,
            true_ms=self.true_ms,
            shape=shape,
            clocks_jump=faults.clock_jumps > 0,
        )
        self.disk.watch = self.ledger.wrote
        self.doors: list[Door] = []
        self.encoders, self.denoisers, self.renderers = (Pool(self.loop, self.chance) for _ in range(3))
        self.trace: deque[str] | None = None
        """The newest events, if somebody wants to read them."""
        self.calm_since: float | None = None
        self.library: list[JobRecord] = []
        """Videos of the world's past."""
        few = TenantAdmission(max_active_jobs=shape.quota, weight=3.0)
        self.admission = Admission(max_active_jobs=50, most_urgent=0, tenants={"tenant0": few})
        self.retention = Retention.model_construct(**RETENTION, margin_s=shape.margin_s)
        self.clocks_jump = faults.clock_jumps > 0
        self._wall: dict[Process, int] = {}
        self._started = 0
        self._passed_ms = 0
        self._processes: dict[str, list[Process]] = {}

    # ── processes ───────────────────────────────────────────────────────────────────────────────────────────────

    def process(self, kind: str) -> Process:
        """A new process of this kind."""
        self._started += 1
        drift = self.faults.drift
        rate = 1.0 + self.chance.random.uniform(-drift, drift) if drift else 1.0
        process = Process(self.loop, f"{kind}-{self._started}", rate=rate, started=self.chance.random.uniform(0, 1e6))
        process.newer = kind in self.rolling.newer
        self._processes.setdefault(kind, []).append(process)
        self._wall[process] = 0
        process.on_death.append(lambda: self._processes[kind].remove(process))
        return process

    def up(self, kind: str) -> list[Process]:
        """Those of a kind that live."""
        return self._processes.get(kind, [])

    def now_ms(self, process: Process) -> int:
        """What the process takes for the time of day."""
        return self.true_ms() + self._wall[process]

    def true_ms(self) -> int:
        """The time of day."""
        return STARTED_MS + self._passed_ms + int(self.loop.now * 1000)

    def pass_days(self, days: int) -> None:
        """So many days go by in which nothing happens."""
        self.note(f"{days} days go by")
        self._passed_ms += days * 86_400_000

    def jump(self, process: Process, ms: int) -> None:
        """Its wall clock is set."""
        self._wall[process] = ms

    def store(self, process: Process) -> SimStore:
        """The process's client of the disk."""
        return SimStore(self.disk, process, self.chance)

    def start(self, kind: str) -> Process:
        """Start one; a supervisor starts it again when it dies (`chaos.py`)."""
        process = self.process(kind)
        process.spawn(self._alive(getattr(self, f"_{kind}")(process)), kind)
        return process

    async def _alive(self, life: Coroutine[Any, Any, None]) -> None:
        try:
            await life
        except Exception as error:  # noqa: BLE001  (whatever it is, it is found)
            self._broke(error)

    async def _door(self, process: Process) -> None:
        door = Door(
            process, self.store(process), self.network, self.office, lambda: self.now_ms(process), self.admission
        )
        if self.shape.watching:
            try:
                await door.link.start()
            except LongtakeError:  # a server that cannot start ends, and is started again
                process.kill()
                return
        self.doors.append(door)
        process.on_death.append(lambda: self.doors.remove(door))

    async def _director(self, process: Process) -> None:
        light: tuple[CountedWork, ...] = (PROMPT_WRITER, TEXT_ENCODER, CONDITIONER)
        pools: dict[CountedWork, Pool] = {
            **dict.fromkeys(light, self.encoders),
            DENOISER: self.denoisers,
            RENDERER: self.renderers,
        }
        await self.office.serve(
            process,
            self.store(process),
            SimStages(process, self.network, pools),
            slots=self.shape.slots if self.chance.random.random() < 0.8 else 2,  # of another version's settings
            weights=self.admission.weights,
            now_ms=lambda: self.now_ms(process),
            incident=self._incident,
        )

    async def _encoder(self, process: Process) -> None:
        def die() -> None:
            self.chance.die_of_work()
            process.kill()

        self.encoders.add(Replica(process, process.name, encoders(self.store(process), SimDecoder(die))))

    async def _renderer(self, process: Process) -> None:
        self.renderers.add(
            Replica(process, process.name, {RENDERER: Renderer(self.store(process), self.chance, self.shape.render_s)})
        )

    async def _denoiser(self, process: Process) -> None:
        denoiser = WatchedDenoiser(
            loaded(self.store(process)),
            process.name,
            process=process,
            workers=self.ledger.workers,
            loop=partial(TaskLoop, process=process, workers=self.ledger.workers, step_s=self._step_s),
            policy=CheckpointPolicy(share=self.shape.checkpoint_share),
            clock=self.loop.time,
            held=self.shape.held,
            kept=self.shape.kept,
        )
        denoiser.start()
        self.denoisers.add(Replica(process, process.name, {DENOISER: denoiser}))

    def begin(self) -> list[tuple[str, Process]]:
        """Start what a fresh installation starts; each process with its kind."""
        self.disk.put_if_absent(DIRECTOR_ADDRESS, b'{"address": "director:9000"}')
        kinds = {"door": self.shape.doors, "denoiser": self.shape.denoisers}
        return [(kind, self.start(kind)) for kind in KINDS for _ in range(kinds.get(kind, 1))]

    def _step_s(self) -> float:
        return 0.0 if self.chance.random.random() < 0.1 else self.chance.pause_s(*self.shape.step_s)

    # ── what happens ────────────────────────────────────────────────────────────────────────────────────────────

    def any_door(self) -> Door | None:
        """Where a client's call ends up."""
        return self.random.choice(self.doors) if self.doors else None

    async def rest(self) -> None:
        """Until every job has ended, and nothing is on its way that may begin another one."""
        while not self.ledger.at_rest() or self.loop.now < self.disk.still_until or self._asked():  # noqa: ASYNC110
            await asyncio.sleep(0.5)

    def _asked(self) -> bool:
        """Whether a front door still works for a client, who may have given it up."""
        doors = {door.process for door in self.doors}
        return any(
            process in doors and task.get_name() == f"call from {self.loop.world}" and not task.done()
            for process, task in self.loop.tasks
        )

    def is_away(self) -> bool:
        """Whether a stage is, for everybody."""
        return any(pool.away for pool in (self.encoders, self.denoisers, self.renderers))

    def rolls(self) -> bool:
        """Whether a process of the old version is left in a roll-out."""
        return self.rolling.rolls and not all(process.newer for kind in KINDS for process in self.up(kind))

    def stopped(self) -> bool:
        """Whether a process still is."""
        return any(process.stopped for kind in KINDS for process in self.up(kind))

    def calm(self) -> None:
        """Nothing is wrong any more."""
        self.note("all is calm")
        self.calm_since = self.loop.now
        self.chance.disturb()
        self._wall = dict.fromkeys(self._wall, 0)

    def note(self, event: str) -> None:
        """Something happened."""
        if self.trace is not None:
            self.trace.append(f"{self.loop.now:9.3f} {event}")

    def _incident(self) -> str:
        """A run ended in an error that nobody foresaw."""
        self._broke(sys.exc_info()[1])
        return "incident"

    def _broke(self, error: BaseException | None) -> None:
        """A fault of ours ended an attempt, or a process."""
        self.loop.after(0, _raise, Violation(f"a fault of ours: {error!r}"), error)


def _raise(violation: Violation, cause: BaseException | None) -> None:
    raise violation from cause
