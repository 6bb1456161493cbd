"""The engine loop: one thread that takes, turn by turn, one denoising step of the most urgent slice.

`denoise.py` hands it slices. Between two steps it looks who is most urgent now, who was cancelled and whose time is
over, so a cancelled or urgent job waits for a step and never for a video. Where the engine does several steps at once
in less time than one by one, slices of the same kind come along.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from engines.families.base import Array, Denoising
from serving.stages.contracts import Rank

SegmentKey = tuple[str, int, str]
"""Job, segment and fingerprint of the work. Not the attempt: its steps give the same latents, so a later attempt goes
on with them. What has another fingerprint is other work, whatever its job is called."""

HELD = 64
"""Unfinished segments whose states stay here."""
PATIENCE_S = 1.0
"""A slice that got no step because others were more urgent is answered after this long at the latest."""


@dataclass(frozen=True)
class SliceEnd:
    """How a slice ended."""

    state: Denoising
    step: int
    """Steps done, and the latents and the sampler's memory after them: as they were between two steps, whatever steps
    the state since."""
    latents: Array
    memory: Mapping[str, Array]
    cancelled: bool
    interrupted: bool
    step_seconds: float
    """Compute time of its steps; of steps that were done together, its share."""
    together: int = 1
    """Slices that a step of it was done with, itself included: the most at once."""


@dataclass
class _Slice:
    key: SegmentKey
    rank: Rank
    order: int
    state: Denoising
    ends: float
    gives_up: float
    answer: Future[SliceEnd] = field(default_factory=Future)
    stepped: bool = False
    cancelled: bool = False
    interrupted: bool = False
    seconds: float = 0.0
    together: int = 1


def _end_of(work: _Slice) -> SliceEnd:
    state = work.state
    ended = (work.cancelled, work.interrupted, work.seconds, work.together)
    return SliceEnd(state, state.step, state.latents, state.memory, *ended)


def _alone(_kind: Hashable, _waiting: int) -> int:
    return 1


def _unmeasured(_kind: Hashable, _size: int, _seconds: float) -> None:
    """Nobody wants to know."""


class EngineLoop:
    """Holds the denoising states of unfinished segments, at most `capacity`; the oldest idle ones are forgotten."""

    def __init__(
        self,
        step: Callable[[Sequence[Denoising]], None],
        *,
        kind: Callable[[Denoising], Hashable] = id,
        together: Callable[[Hashable, int], int] = _alone,
        took: Callable[[Hashable, int, float], None] = _unmeasured,
        capacity: int = HELD,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`step` steps states of one `kind`. `together(kind, n)`: how many of n such states to step at once.

        `took(kind, n, seconds)` is told what that took. `clock` is monotonic, in seconds.
        """
        self._step = step
        self._kind = kind
        self._together = together
        self._took = took
        self._capacity = capacity
        self._clock = clock
        self._held: OrderedDict[SegmentKey, Denoising] = OrderedDict()
        self._slices: list[_Slice] = []
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="engine-loop", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the running step, answer what waits with how far it came, and end the thread."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join()

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def keep(self, key: SegmentKey, state: Denoising) -> None:
        """Hold a state that was answered: its next slice goes on with it."""
        with self._changed:
            self._held[key] = state
            self._forget_oldest()

    def held(self, key: SegmentKey) -> Denoising | None:
        """The state of an unfinished segment, if it is still here."""
        with self._changed:
            return self._held.get(key)

    def submit(self, key: SegmentKey, state: Denoising, *, rank: Rank, budget_s: float) -> Future[SliceEnd]:
        """Step `state` for `budget_s`, at least once unless others are more urgent all the time."""
        now = self._clock()
        work = _Slice(key, rank, next(self._numbers), state, now + budget_s, now + max(budget_s, PATIENCE_S))
        with self._changed:
            self._held[key] = state
            self._held.move_to_end(key)
            self._slices.append(work)
            self._forget_oldest()
            self._changed.notify()
        return work.answer

    def interrupt(self, job: str) -> None:
        """Answer a job's slices before their next step; its states stay."""
        with self._changed:
            for work in self._slices:
                work.interrupted = work.interrupted or work.key[0] == job
            self._changed.notify()

    def cancel(self, job: str) -> None:
        """Answer a job's slices before their next step, and forget its states."""
        with self._changed:
            for work in self._slices:
                work.cancelled = work.cancelled or work.key[0] == job
            for key in [key for key in self._held if key[0] == job]:
                del self._held[key]
            self._changed.notify()

    def _run(self) -> None:
        while True:
            works = self._next()
            if not works:
                return
            if not self._stepped(works) and len(works) > 1:  # by the fault of one: the others go on
                for work in works:
                    if not work.state.done:
                        self._stepped([work])

    def _stepped(self, works: list[_Slice]) -> bool:
        """One step of each; False when that failed. The caller of a slice that fails alone gets the error."""
        try:
            self._step_together(works)
        except Exception as error:  # noqa: BLE001  (the edge of the thread)
            if len(works) == 1:
                self._fail(works[0], error)
            return False
        return True

    def _step_together(self, works: list[_Slice]) -> None:
        kind = self._kind(works[0].state)
        began = self._clock()
        self._step([work.state for work in works])
        seconds = self._clock() - began
        self._took(kind, len(works), seconds)
        for work in works:
            work.seconds += seconds / len(works)
            work.stepped = True
            work.together = max(work.together, len(works))

    def _next(self) -> list[_Slice]:
        """Wait for the most urgent slice, and those that come along; none to stop. Answers those that are over."""
        with self._changed:
            while True:
                self._answer()
                if self._stopping:
                    return []
                if self._slices:
                    return self._chosen()
                self._changed.wait()

    def _chosen(self) -> list[_Slice]:
        """The slice of lowest rank and, as many as pay, the next ones of its kind; a state at most once.

        Only slices of its class and priority come along: they make its step longer, and a lesser one must not.
        """
        ordered = sorted(self._slices, key=lambda work: (work.rank, work.order))
        kind = self._kind(ordered[0].state)
        same = {id(work.state): work for work in reversed(ordered) if self._fits(work, ordered[0], kind)}
        fellows = sorted(same.values(), key=lambda work: (work.rank, work.order))
        return fellows[: max(1, self._together(kind, len(fellows)))]

    def _fits(self, work: _Slice, first: _Slice, kind: Hashable) -> bool:
        return work.rank[:2] == first.rank[:2] and self._kind(work.state) == kind

    def _answer(self) -> None:
        now = self._clock()
        going: list[_Slice] = []
        for work in self._slices:
            over = work.state.done or work.cancelled or work.interrupted or self._stopping or work.answer.cancelled()
            if over or now >= (work.ends if work.stepped else work.gives_up):
                if work.state.done:
                    self._held.pop(work.key, None)
                if work.answer.set_running_or_notify_cancel():
                    work.answer.set_result(_end_of(work))
            else:
                going.append(work)
        self._slices = going

    def _fail(self, work: _Slice, error: Exception) -> None:
        with self._changed:
            self._slices.remove(work)
            self._held.pop(work.key, None)
        if work.answer.set_running_or_notify_cancel():
            work.answer.set_exception(error)

    def _forget_oldest(self) -> None:
        busy = {work.key for work in self._slices}
        for key in [key for key in self._held if key not in busy]:
            if len(self._held) <= self._capacity:
                return
            del self._held[key]
