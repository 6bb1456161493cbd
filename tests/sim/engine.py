"""The Denoiser's engine loop without its thread: the shipped `EngineLoop`, driven by a task of the simulated process.

What ships decides which slices step next and who is answered; here a step takes simulated time. As in a thread, the
event loop may look at a state between the moment its latents are replaced and the moment its step is counted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Any

from engines.families.base import Conditions, Denoising
from serving.stages.contracts import Rank, SliceCall, SliceResult
from serving.stages.denoise import Denoiser
from serving.stages.engine_loop import EngineLoop, SegmentKey, SliceEnd
from tests.sim.process import Process
from tests.sim.published import Violation
from tests.sim.workers import Workers


class _Nothing(Exception):
    """There is no slice to step."""


class _Bell:
    """In place of the loop's `threading.Condition`: there is one thread, and waiting is a task's matter."""

    def __init__(self) -> None:
        self.rung = asyncio.Event()

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def notify(self) -> None:
        self.rung.set()

    def wait(self) -> None:
        raise _Nothing


class TaskLoop(EngineLoop):
    """See the module. `denoise.py` makes one as it would the shipped one."""

    def __init__(
        self, *args: Any, process: Process, workers: Workers, step_s: Callable[[], float], **kwargs: Any
    ) -> None:
        """`workers` is told of every step, `step_s` says how long the next one takes."""
        super().__init__(*args, **kwargs)
        self._process = process
        self._workers = workers
        self._step_s = step_s
        self._looked: dict[SegmentKey, int] = {}
        """Segments that were not here when a slice came: the newest checkpoint that there was."""
        self._bell = _Bell()
        self._changed = self._bell  # type: ignore[assignment]
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._life(), name="engine loop")

    def stop(self) -> None:
        self._stopping = True
        self._bell.notify()

    @property
    def alive(self) -> bool:
        return self._task is not None and not self._task.done()

    def held(self, key: SegmentKey) -> Denoising | None:
        found = super().held(key)
        if found is not None:
            self._looked.pop(key, None)
        elif key not in self._looked:
            self._looked[key] = self._workers.checkpointed(*key[:2])
        return found

    def submit(self, key: SegmentKey, state: Denoising, *, rank: Rank, budget_s: float) -> Future[SliceEnd]:
        saved = self._looked.pop(key, None)
        if saved is not None:
            self._workers.begins(self._process, *key[:2], step=state.step, saved=saved)
        return super().submit(key, state, rank=rank, budget_s=budget_s)

    async def _life(self) -> None:
        try:
            await self._turns()
        except Violation as broken:  # nobody waits for this task
            self._workers.broke(broken)

    async def _turns(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._bell.rung.clear()
            try:
                works = self._next()
            except _Nothing:
                await self._bell.rung.wait()
                continue
            if not works:
                return
            if any(self._workers.deadly(work.key[0]) for work in works):
                self._process.kill()
                await asyncio.Event().wait()  # nothing of a dead process runs
            kind = self._kind(works[0].state)
            began = loop.time()
            await asyncio.sleep(self._step_s())
            for work in works:
                self._workers.stepped(
                    self._process, *work.key[:2], work.state.step + 1, (loop.time() - began) / len(works)
                )
            await self._torn([work.state for work in works])
            seconds = loop.time() - began
            self._took(kind, len(works), seconds)
            share = seconds / len(works)
            for work in works:
                work.seconds += share
                work.stepped = True

    async def _torn(self, states: list[Denoising]) -> None:
        """Step them as a thread does: somebody may look before the step is counted."""
        before = [state.step for state in states]
        self._step(states)
        after = [state.step for state in states]
        for state, step in zip(states, before, strict=True):
            state.step = step
        await asyncio.sleep(0)
        for state, step in zip(states, after, strict=True):
            state.step = step


class WatchedDenoiser(Denoiser):
    """The shipped one; `workers` is told of every slice."""

    def __init__(self, *args: Any, process: Process, workers: Workers, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._process = process
        self._workers = workers

    async def run_slice(self, call: SliceCall, conditions: Conditions) -> SliceResult:
        self._workers.came(self._process, call)
        outdated = self._workers.outdated(self._process, call)
        result = await super().run_slice(call, conditions)
        self._workers.answered(self._process, call, result, outdated=outdated)
        return result
