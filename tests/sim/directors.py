"""Directors: each a process that takes an epoch and runs the shipped `Director`, as `director_replica.py` does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from serving.director.director import Director
from serving.director.served import Served
from serving.errors import LongtakeError
from serving.jobs.epoch import EpochLost, abandoned, take_epoch
from serving.jobs.repository import Jobs
from serving.metrics import Unrecorded
from serving.store.base import Store
from tests.sim import model
from tests.sim.chance import Chance
from tests.sim.process import Process
from tests.sim.published import must
from tests.sim.stages import SimStages


@dataclass
class Seat:
    """A Director that has its epoch."""

    process: Process
    epoch: int
    director: Director
    lost: bool = False
    """Its epoch: it idles."""


class Office:
    """All Directors of a world that have an epoch."""

    def __init__(self, chance: Chance) -> None:
        self.seats: list[Seat] = []
        self.epochs: dict[Process, int] = {}
        """Of every Director that ever was."""
        self._chance = chance

    def reached(self) -> Seat | None:
        """Where a front door's call ends up: any that has not said it stopped."""
        working = [seat for seat in self.seats if seat.process.alive and not seat.lost]
        return self._chance.random.choice(working) if working else None

    async def serve(
        self,
        process: Process,
        store: Store,
        stages: SimStages,
        *,
        slots: int,
        weights: Mapping[str, float],
        now_ms: Callable[[], int],
        incident: Callable[[], str],
    ) -> None:
        """A Director's life; runs in its process. Raises what ends its loop, but for the loss of its epoch."""
        try:
            epoch = await take_epoch(store)
        except LongtakeError:  # Serve starts the replica again
            process.kill()
            return
        must(epoch.number not in self.epochs.values(), f"{process}: epoch {epoch.number} was another Director's")
        self.epochs[process] = epoch.number
        self._chance.disturb()  # one that idled comes in long after the one that it follows has died
        director = Director(
            store=store,
            jobs=Jobs(store),
            epoch=epoch,
            models={model.MODEL: Served(stages, model.FAMILY, slots)},
            weights=weights,
            slice_s=5.0,
            metrics=Unrecorded(),
            now_ms=now_ms,
            incident=incident,
        )
        seat = Seat(process, epoch.number, director)
        self.seats.append(seat)
        try:
            await director.run()
        except EpochLost:
            seat.lost = True
            await abandoned(store)
            process.kill()  # Serve starts the replica again
