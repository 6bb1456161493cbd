"""The engine loop: whose step is next, and when a slice is answered."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from engines.families.base import Denoising
from serving.stages.engine_loop import EngineLoop


def _state(steps: int) -> Denoising:
    return Denoising(np.zeros((1, 1, 1, 1), np.float32), 0, np.linspace(1, 0, steps + 1, dtype=np.float32))


class Bench:
    """A loop whose steps wait until the test lets them go; `log` holds whose step each was."""

    def __init__(self) -> None:
        self.log: list[Denoising] = []
        self.begun = threading.Semaphore(0)
        self.go = threading.Semaphore(0)
        self.loop = EngineLoop(self._step, capacity=2)
        self.loop.start()

    def _step(self, states: Sequence[Denoising]) -> None:
        (state,) = states
        self.log.append(state)
        self.begun.release()
        assert self.go.acquire(timeout=10)
        state.step += 1

    def run(self, steps: int) -> None:
        """Let so many steps pass."""
        for _ in range(steps):
            self.go.release()


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.run(100)
    bench.loop.stop()


def test_the_next_step_goes_to_the_most_urgent_slice(bench: Bench) -> None:
    slow, urgent = _state(3), _state(2)
    first = bench.loop.submit(("slow", 0, "f"), slow, rank=(2,), budget_s=60)
    assert bench.begun.acquire(timeout=10)
    second = bench.loop.submit(("urgent", 0, "f"), urgent, rank=(1,), budget_s=60)

    bench.run(5)

    assert second.result(10).state is urgent
    assert first.result(10).state is slow
    assert [state is urgent for state in bench.log] == [False, True, True, False, False]


def test_a_slice_without_budget_is_one_step(bench: Bench) -> None:
    state = _state(5)
    bench.run(1)

    turned = bench.loop.submit(("job", 0, "f"), state, rank=(0,), budget_s=0).result(10)

    assert (turned.state.step, turned.cancelled) == (1, False)
    assert bench.loop.held(("job", 0, "f")) is state


def test_cancelling_answers_before_the_next_step_and_forgets_the_state(bench: Bench) -> None:
    answer = bench.loop.submit(("job", 0, "f"), _state(50), rank=(0,), budget_s=60)
    assert bench.begun.acquire(timeout=10)

    bench.loop.cancel("job")
    bench.run(1)

    turned = answer.result(10)
    assert (turned.cancelled, turned.state.step) == (True, 1)
    assert bench.loop.held(("job", 0, "f")) is None


def test_a_slice_that_gets_no_step_is_answered_all_the_same(bench: Bench) -> None:
    urgent = bench.loop.submit(("urgent", 0, "f"), _state(2), rank=(0,), budget_s=60)
    assert bench.begun.acquire(timeout=10)
    starved = bench.loop.submit(("patient", 0, "f"), _state(2), rank=(9,), budget_s=0)

    threading.Timer(1.1, bench.run, [1]).start()

    assert starved.result(10).state.step == 0
    assert not urgent.done()


def test_a_step_that_fails_fails_its_slice_and_no_other() -> None:
    def step(states: Sequence[Denoising]) -> None:
        (state,) = states
        if state.steps == 3:
            raise ArithmeticError("broken")
        state.step += 1

    loop = EngineLoop(step)
    loop.start()
    broken = loop.submit(("broken", 0, "f"), _state(3), rank=(0,), budget_s=1)
    sound = loop.submit(("sound", 0, "f"), _state(2), rank=(1,), budget_s=1)

    with pytest.raises(ArithmeticError):
        broken.result(10)
    assert sound.result(10).state.done
    assert loop.alive
    loop.stop()
    assert not loop.alive


def test_a_step_of_several_that_fails_fails_only_the_guilty_one() -> None:
    good, bad = _state(2), _state(2)

    def step(states: Sequence[Denoising]) -> None:
        if any(state is bad for state in states):
            raise ArithmeticError("broken")
        for state in states:
            state.step += 1

    loop = EngineLoop(step, kind=lambda _: "same", together=lambda _, waiting: waiting)
    answers = [loop.submit((name, 0, "f"), state, rank=(1,), budget_s=60) for name, state in (("a", good), ("b", bad))]
    loop.start()
    try:
        assert answers[0].result(10).state.done
        with pytest.raises(ArithmeticError):
            answers[1].result(10)
    finally:
        loop.stop()


def test_slices_of_one_kind_step_together_as_far_as_it_pays() -> None:
    batches: list[list[int]] = []
    entered, begin = threading.Event(), threading.Event()

    def step(states: Sequence[Denoising]) -> None:
        entered.set()
        assert begin.wait(10)
        batches.append([state.steps for state in states])
        for state in states:
            state.step += 1

    loop = EngineLoop(step, kind=lambda state: state.steps % 2, together=lambda kind, waiting: min(waiting, 2))
    loop.start()
    first = loop.submit(("alone", 0, "f"), _state(1), rank=(0,), budget_s=0)
    assert entered.wait(10)
    answers = [loop.submit((f"job-{n}", 0, "f"), _state(n), rank=(1, 5, n), budget_s=60) for n in (2, 3, 4, 6)]
    begin.set()
    for answer in (first, *answers):
        assert answer.result(10).state.done
    loop.stop()

    assert batches == [[1], [2, 4], [2, 4], [3], [3], [3], [4, 6], [4, 6], [6], [6], [6], [6]]


def test_slices_of_lesser_priority_do_not_come_along() -> None:
    batches: list[list[int]] = []
    entered, begin = threading.Event(), threading.Event()

    def step(states: Sequence[Denoising]) -> None:
        entered.set()
        assert begin.wait(10)
        batches.append([state.steps for state in states])
        for state in states:
            state.step += 1

    loop = EngineLoop(step, kind=lambda _: "same", together=lambda kind, waiting: waiting)
    loop.start()
    first = loop.submit(("first", 0, "f"), _state(1), rank=(0, 0, 0), budget_s=60)
    assert entered.wait(10)
    answers = [loop.submit((f"job-{n}", 0, "f"), _state(n), rank=(0, n, 0), budget_s=60) for n in (2, 3)]
    begin.set()
    for answer in (first, *answers):
        assert answer.result(10).state.done
    loop.stop()
    assert batches == [[1], [2], [2], [3], [3], [3]]


def test_only_so_many_idle_states_are_kept(bench: Bench) -> None:
    bench.run(3)
    for number in range(3):
        bench.loop.submit((f"job-{number}", 0, "f"), _state(5), rank=(0,), budget_s=0).result(10)
    bench.loop.submit(("last", 0, "f"), _state(1), rank=(0,), budget_s=60)

    assert bench.loop.held(("job-0", 0, "f")) is None
    assert bench.loop.held(("job-2", 0, "f")) is not None
