"""Nothing that is needed is ever collected, whoever is faster; and in the end everything else is gone."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from serving.retention import mark
from serving.store import blobs, sweeping
from tests.unit.serving.retention.interleaving import Interleaving

SEEDS = int(os.environ.get("LONGTAKE_INTERLEAVINGS", "60"))


@pytest.fixture(autouse=True)
def _nobody_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for a sweep looks again at its next turn."""
    monkeypatch.setattr(sweeping, "_LOOK_EVERY_S", 0)


async def live(interleaving: Interleaving, random: Random, actions: int) -> None:
    """One random life of everybody."""
    for _ in range(actions):
        match random.choices("cdutCs", [4, 3, 1, 2, 2, 12])[0]:
            case "c":
                await interleaving.create(
                    random.randrange(9),
                    seed=random.choice((1, 1, 1, 2, 3)),
                    picture=random.choice((0, 1, 1, 2)),
                    key=random.choice((0, 0, 0, 1, 2)),
                    seconds=random.choice((1, 1, 2)),
                    expires=random.random() < 0.3,
                )
            case "d":
                await interleaving.delete(random.randrange(9))
            case "u":
                await interleaving.upload(random.choice((1, 2)), expires=random.random() < 0.5)
            case "t":
                await interleaving.pass_time(random.choice((0.3, 1.1, 5.0, 200.0)))
            case "C":
                await interleaving.collect()
            case "s":
                for _ in range(random.choice((1, 5, 40))):
                    await interleaving.step(random.randrange(1000))
    while interleaving._tasks:
        await interleaving.turns.settle()
        await interleaving.step(random.randrange(1000))
    await interleaving.check()


def wrong_in(seed: int, actions: int = 60) -> list[str]:
    """What went wrong in the one of this seed."""

    async def run(interleaving: Interleaving) -> None:
        await live(interleaving, Random(seed), actions)
        if not interleaving.wrong:
            left = await interleaving.empty()
            interleaving.wrong += [f"left: {key}" for key in left]

    interleaving = Interleaving()
    try:
        asyncio.run(run(interleaving))
        return interleaving.wrong
    finally:
        interleaving.close()


def test_nothing_needed_is_ever_collected_and_all_else_is() -> None:
    for seed in range(SEEDS):
        assert wrong_in(seed) == [], f"seed {seed}"


async def _true(*_: object) -> bool:
    return True


async def _false(*_: object) -> bool:
    return False


@pytest.mark.parametrize(
    ("owner", "name", "planted"),
    [
        pytest.param(blobs.Blobs, "_renew", _true, id="blobs that are found there stay old"),
        pytest.param(mark.Mark, "_deleted_lately", _false, id="young tombstones are no roots"),
    ],
)
def test_each_safeguard_is_needed(
    owner: type, name: str, planted: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it, these lives find what is lost."""
    monkeypatch.setattr(owner, name, planted)
    assert any(wrong_in(seed) for seed in range(1000))


class AnyOrder(RuleBasedStateMachine):
    """The same, driven by hypothesis, which makes a failure small."""

    def __init__(self) -> None:
        super().__init__()
        self._runner = asyncio.Runner()
        self._runner.get_loop()
        self.interleaving = Interleaving()

    @rule(
        parent=st.integers(0, 8),
        seed=st.integers(1, 3),
        picture=st.integers(0, 2),
        key=st.integers(0, 2),
        seconds=st.integers(1, 2),
        expires=st.booleans(),
    )
    def create(self, parent: int, seed: int, picture: int, key: int, seconds: int, expires: bool) -> None:
        fields = {"seed": seed, "picture": picture, "key": key, "seconds": seconds, "expires": expires}
        self._runner.run(self.interleaving.create(parent, **fields))  # type: ignore[arg-type]

    @rule(video=st.integers(0, 8))
    def delete(self, video: int) -> None:
        self._runner.run(self.interleaving.delete(video))

    @rule(content=st.integers(1, 2), expires=st.booleans())
    def upload(self, content: int, expires: bool) -> None:
        self._runner.run(self.interleaving.upload(content, expires=expires))

    @rule()
    def collect(self) -> None:
        self._runner.run(self.interleaving.collect())

    @rule(hours=st.sampled_from([0.3, 1.1, 5.0, 200.0]))
    def pass_time(self, hours: float) -> None:
        self._runner.run(self.interleaving.pass_time(hours))

    @rule(picks=st.lists(st.integers(0, 20), min_size=1, max_size=40))
    def go_on(self, picks: list[int]) -> None:
        async def steps() -> None:
            for pick in picks:
                await self.interleaving.step(pick)

        self._runner.run(steps())

    @rule()
    def all_finish(self) -> None:
        self._runner.run(self._finished())

    @invariant()
    def nothing_went_wrong(self) -> None:
        assert self.interleaving.wrong == []

    def teardown(self) -> None:
        try:
            self._runner.run(self._finished())
            assert self._runner.run(self.interleaving.empty()) == []
        finally:
            self.interleaving.close()
            self._runner.close()

    async def _finished(self) -> None:
        await self.interleaving.finish()
        await self.interleaving.check()
        assert self.interleaving.wrong == []


AnyOrder.TestCase.settings = settings(
    max_examples=25, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
TestAnyOrder = AnyOrder.TestCase
