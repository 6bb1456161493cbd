"""A deterministic event loop on a simulated clock: everything that the simulation does runs on one of these.

Several simulated processes share the loop. What is ready runs in an order that a seeded source draws: between the
processes any, within one process first come first served as asyncio promises (or any, with `shuffle`). When nothing is
ready, time jumps to the next timer. No thread and no file is ever waited for: what asks for one is done at once.

`process.py` has the processes.
"""

from __future__ import annotations

import asyncio
import heapq
import inspect
import itertools
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, copy_context
from random import Random
from typing import Any, TypeVar, TypeVarTuple

from tests.sim.process import PROCESS, Handle, Process

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
_Work = Coroutine[Any, Any, T] | Generator[Any, None, T]
MOST_AT_ONCE = 50_000
"""Callbacks that run at one instant of the world."""


class Deadlock(Exception):
    """Nothing is ready and no timer runs: whoever waits, waits for ever."""


class Busy(Exception):
    """So much is done without time going by that somebody goes round and round."""


class OutOfTime(Exception):
    """The world has not come to its end within its limit."""


class _Task(asyncio.Task[T]):
    """Its hash is a number that is drawn in order, so that sets of tasks are walked alike in every run."""

    __slots__ = ("number",)
    number: int

    def __hash__(self) -> int:
        return self.number


class _Future(asyncio.Future[T]):
    """As `_Task`."""

    __slots__ = ("number",)
    number: int

    def __hash__(self) -> int:
        return self.number


class SimLoop(asyncio.AbstractEventLoop):
    """See the module. Use it once, with `run`."""

    def __init__(self, random: Random, *, shuffle: bool = False) -> None:
        self.now = 0.0
        """Seconds of the world, which no process sees."""
        self.turns = 0
        self.busy: list[Process] = []
        """Those that have something ready, and perhaps some that died or were stopped since."""
        self.tasks: list[tuple[Process, asyncio.Task[Any]]] = []
        """All that were ever started: a task must not be collected while the world goes on, for that would run its
        `finally` blocks at a moment that nobody chose."""
        self._random = random.random
        self._shuffle = shuffle
        self._timers: list[tuple[float, int, Handle]] = []
        self._numbers = itertools.count(1)
        self._closed = False
        self._busy_at = MOST_AT_ONCE
        """Turns, after which time should have gone on."""
        self.world = Process(self, "world")
        """What is in no process: the store's servers, the network, clients, who starts and kills."""
        self._current = self.world

    # ── life ────────────────────────────────────────────────────────────────────────────────────────────────────

    def run(self, work: Coroutine[Any, Any, T], *, limit_s: float) -> T:
        """Run the world's own task to its end. Raises what it raises, `Deadlock`, `Busy`, `OutOfTime`."""
        asyncio._set_running_loop(self)
        try:
            main = self.world.spawn(work, "main")
            self._until(main.done, limit_s)
            return main.result()
        finally:
            asyncio._set_running_loop(None)
            self._closed = True
            for _, task in self.tasks:
                task._log_destroy_pending = False  # type: ignore[attr-defined]

    def forget(self) -> None:
        """Let go of all that is left, once the run is over. A task that never took its first step warns of nothing."""
        for _, task in self.tasks:
            if not task.done():
                _close_unbegun(task.get_coro())
        self.tasks.clear()
        self._timers.clear()
        self.busy.clear()

    def _until(self, done: Callable[[], bool], limit_s: float) -> None:
        """Run one callback after the other; with none ready, go to the next timer. All that a world does runs here."""
        busy, draw, shuffle = self.busy, self._random, self._shuffle
        while not done():
            if not busy:
                self._jump(limit_s)
                continue
            at = int(draw() * len(busy)) if len(busy) > 1 else 0
            process = busy[at]
            ready = process.ready
            runs = ready and not process.stopped
            if runs:
                if shuffle and len(ready) > 1:
                    ready.rotate(-int(draw() * len(ready)))
                handle = ready.popleft()
            if not runs or not ready:
                process.queued = False
                busy[at] = busy[-1]
                busy.pop()
            if runs:
                self._current = process
                self.turns += 1
                if self.turns > self._busy_at:
                    raise Busy(f"{MOST_AT_ONCE} turns, and no time goes by; {process} goes on and on")
                if not handle._cancelled:
                    handle._context.run(handle._callback, *handle._args)

    def queue(self, process: Process) -> None:
        """It has something ready, or may go on."""
        if process.ready and not process.queued and not process.stopped:
            process.queued = True
            self.busy.append(process)

    def _jump(self, limit_s: float) -> None:
        timers = self._timers
        while timers and (timers[0][2]._cancelled or not timers[0][2].process.alive):
            heapq.heappop(timers)
        if not timers:
            raise Deadlock("nobody will ever go on:\n" + self.waiting())
        if timers[0][0] > self.now:
            self.now = timers[0][0]
            self._busy_at = self.turns + MOST_AT_ONCE
        if self.now > limit_s:
            raise OutOfTime(f"not at the end after {limit_s:.0f} s; still there:\n" + self.waiting())
        while timers and timers[0][0] <= self.now:
            self._make_ready(heapq.heappop(timers)[2])

    def _make_ready(self, handle: Handle) -> None:
        process = handle.process
        if process.alive:
            process.ready.append(handle)
            if not process.queued:
                self.queue(process)

    def unheard(self) -> list[tuple[Process, str, BaseException]]:
        """Errors that ended a task of a living process, and that nobody ever looked at."""
        return [
            (process, str(getattr(task.get_coro(), "__qualname__", "")), error)
            for process, task in self.tasks
            if process.alive and task.done() and not task.cancelled() and task._log_traceback
            if (error := task.exception()) is not None
        ]

    def waiting(self) -> str:
        """The tasks that have not ended, with what they wait for."""
        lines = []
        for process, task in self.tasks:
            if not task.done() and process.alive:
                lines.append(f"  {process.name}: {task.get_name()} at {_where(task)}")
        return "\n".join(lines)

    @property
    def current(self) -> Process:
        """The process that runs now."""
        return self._current

    # ── what asyncio asks for ───────────────────────────────────────────────────────────────────────────────────

    def time(self) -> float:
        """The monotonic clock of the process that asks."""
        process = self._current
        return process.started + self.now * process.rate

    def call_soon(self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None) -> Any:
        if context is None:
            context = copy_context()
        process = context.get(PROCESS, self.world)
        handle = Handle(process, callback, args, context, self.now)
        if process.alive and not self._closed:
            process.ready.append(handle)
            if not process.queued and not process.stopped:
                process.queued = True
                self.busy.append(process)
        return handle

    call_soon_threadsafe = call_soon

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> Any:
        if context is None:
            context = copy_context()
        process = context.get(PROCESS, self.world)
        handle = Handle(process, callback, args, context, when)
        if not self._closed:
            due = (when - process.started) / process.rate
            heapq.heappush(self._timers, (due, next(self._numbers), handle))
        return handle

    def call_later(
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> Any:
        if context is None:
            context = copy_context()
        process = context.get(PROCESS, self.world)
        return self.call_at(process.started + self.now * process.rate + delay, callback, *args, context=context)

    def after(self, delay: float, callback: Callable[..., object], *args: Any, process: Process | None = None) -> None:
        """Call it in a process (the world, if none is named) so many seconds of the world from now."""
        process = process or self.world
        handle = Handle(process, callback, args, process.context, 0.0)
        if delay <= 0:
            self._make_ready(handle)
        else:
            heapq.heappush(self._timers, (self.now + delay, next(self._numbers), handle))

    def create_task(
        self, work: _Work[T], *, name: str | None = None, context: Context | None = None
    ) -> asyncio.Task[T]:
        number = next(self._numbers)
        task: _Task[T] = _Task.__new__(_Task)
        task.number = number
        task.__init__(work, loop=self, name=name or f"task {number}", context=context)  # type: ignore[misc]
        self.tasks.append(((context or copy_context()).get(PROCESS, self.world), task))
        return task

    def create_future(self) -> asyncio.Future[Any]:
        future: _Future[Any] = _Future(loop=self)
        future.number = next(self._numbers)
        return future

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]
        """Done at once, in this thread."""
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001  (the caller gets it, as from a thread)
            future.set_exception(error)
        return future

    get_debug = staticmethod(bool)
    """False; whoever makes a future asks."""

    def is_running(self) -> bool:
        return not self._closed

    def is_closed(self) -> bool:
        return self._closed

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Tasks that failed unheard are found by `unheard`."""


def _close_unbegun(work: object) -> None:
    """And what it would have awaited: a coroutine that was handed to it."""
    if not inspect.iscoroutine(work) or inspect.getcoroutinestate(work) != inspect.CORO_CREATED:
        return
    handed = list(work.cr_frame.f_locals.values()) if work.cr_frame is not None else []
    work.close()
    for inner in handed:
        _close_unbegun(inner)


def _where(task: asyncio.Task[Any]) -> str:
    """The innermost place that it waits at."""
    at: Any = task.get_coro()
    place = "?"
    while at is not None:
        frame = getattr(at, "cr_frame", None) or getattr(at, "ag_frame", None)
        if frame is not None:
            place = f"{'/'.join(frame.f_code.co_filename.split('/')[-3:])}:{frame.f_lineno}"
        at = getattr(at, "cr_await", None) or getattr(at, "ag_await", None)
    return place
