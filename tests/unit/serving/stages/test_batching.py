"""Batches: learnt from what they take, used where they pay, given up where they do not."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from serving.stages.batching import LARGEST, TRY_EVERY, BatchCurve, Batching


def _used(seconds: Callable[[int], float], *, waiting: int = LARGEST, batches: int = 2000) -> list[int]:
    """The sizes that a curve chooses on a machine where a batch takes so long."""
    curve = BatchCurve()
    sizes = []
    for _ in range(batches):
        size = curve.choose(waiting)
        assert 1 <= size <= waiting
        curve.took(size, seconds(size))
        sizes.append(size)
    return sizes


def test_where_a_batch_costs_no_more_than_a_step_the_largest_is_used() -> None:
    assert _used(lambda size: 0.01 + 0.0001 * size)[-100:].count(LARGEST) >= 90


def test_where_nothing_is_gained_steps_stay_single() -> None:
    sizes = _used(lambda size: 0.01 * size)
    assert sizes.count(1) > 0.97 * len(sizes)


@pytest.mark.parametrize("seed", range(5))
def test_throughput_is_never_worse_than_without_batches_but_for_the_trials(seed: int) -> None:
    """On a noisy machine where batches are dearer than single steps."""
    random = Random(seed)
    sizes = _used(lambda size: 0.01 * size * (1 + 0.1 * (size > 1)) * random.uniform(1, 1.3))
    assert sizes.count(1) > 0.95 * len(sizes)


def test_the_size_that_does_most_per_second_wins() -> None:
    """Good up to 4, bad beyond."""
    sizes = _used(lambda size: {1: 1.0, 2: 1.3, 4: 1.8, 8: 9.0}[size])
    assert sizes[20:].count(4) > 0.95 * len(sizes[20:])


def test_a_batch_that_makes_the_best_slice_wait_for_more_than_a_step_is_not_used_though_it_does_more() -> None:
    sizes = _used(lambda size: {1: 1.0, 2: 1.6, 4: 2.4, 8: 3.2}[size])
    assert sizes[20:].count(2) > 0.95 * len(sizes[20:])


def test_a_size_that_did_not_pay_is_tried_again_some_day() -> None:
    slow = BatchCurve()
    for _ in range(TRY_EVERY):
        size = slow.choose(2)
        slow.took(size, 0.01 * size)
    later = []
    for _ in range(50):
        size = slow.choose(2)
        slow.took(size, 0.01)
        later.append(size)
    assert later[-1] == 2


def test_no_more_are_taken_than_wait_and_kinds_are_apart() -> None:
    batching = Batching()
    assert batching.choose("wide", 1) == 1
    for size in (1, 1, 1, 2, 2, 2):
        batching.took("wide", size, 0.01)
    assert batching.choose("wide", 3) == 2
    assert batching.choose("square", 3) == 1
