"""Stores with planted bugs are found out, and the honest one is not, with and without lost answers."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace

import pytest

from tests.history.checker import check
from tests.history.lossy import LosesAnswers
from tests.history.planted import PLANTED, MemoryStore
from tests.history.recorder import History, Operation
from tests.history.workload import Workload, retire, run

KEYS = [f"jobs/{number}" for number in range(18)]


def history_of(store: MemoryStore, *, share: float) -> list[Operation]:
    """What twelve clients see of a store that loses a share of its answers."""

    async def both() -> list[Operation]:
        history, work = History(), Workload(seed=1, clients=range(12), rounds=80, keys=KEYS)
        lossy = LosesAnswers(store, seed=1, share=share)
        await run(lossy, work, history)
        await lossy.settle()
        await retire(lossy, replace(work, rounds=3, keys=KEYS[:6]), history)
        await lossy.settle()
        return history.operations

    return asyncio.run(both())


@pytest.mark.parametrize("bug", PLANTED)
@pytest.mark.parametrize("share", [0.0, 0.1], ids=["all answers come", "answers are lost"])
def test_a_planted_bug_is_found(bug: type[MemoryStore], share: float) -> None:
    history = history_of(bug(seed=2), share=share)
    refusals = check(history)
    assert refusals
    for refusal in refusals:
        last = refusal.culprit
        unanswered = replace(last, outcome="unknown", responded=None, version=None)
        assert check(refusal.prefix), "the prefix that is told is no fault by itself"
        assert check(unanswered if o is last else o for o in refusal.prefix) == [], "a shorter prefix is at fault too"


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("share", [0.0, 0.1], ids=["all answers come", "answers are lost"])
def test_an_honest_store_is_accepted(seed: int, share: float) -> None:
    history = history_of(MemoryStore(seed), share=share)
    assert check(history) == []
    done = Counter(f"{operation.name} {operation.outcome}" for operation in history)
    for name in ("get", "put_if_absent", "swap"):
        for outcome in ("ok", "failed", *(["unknown"] if share else [])):
            assert done[f"{name} {outcome}"] > 5, f"the workload has too few of {name} {outcome}: {done}"
