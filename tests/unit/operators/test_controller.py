"""Who looks at which service when."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from operators import controller as controllers
from operators.apply import Known
from operators.controller import Controller

pytestmark = pytest.mark.anyio


class Looks:
    """Looks that are counted, and what they find."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.known: list[Known] = []
        self.there = True
        self.fails = 0
        self.again_s = 600.0

    def __call__(self, namespace: str, name: str, known: Known) -> float | None:
        self.seen.append(f"{namespace}/{name}")
        self.known.append(known)
        if self.fails:
            self.fails -= 1
            raise OSError("the API server is away")
        return self.again_s if self.there else None


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110  (what is waited for has no event)
            await asyncio.sleep(0.005)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controllers, "SETTLE_S", 0.02)
    monkeypatch.setattr(controllers, "FIRST_PAUSE_S", 0.02)


@pytest.mark.usefixtures("quick")
async def test_a_burst_is_one_look_and_services_do_not_wait_for_each_other() -> None:
    looks = Looks()
    controller = Controller(looks)
    for _ in range(50):
        controller.wake("video", "a")
        controller.wake("video", "b")
    await until(lambda: len(looks.seen) == 2 and not controller.waiting())
    await asyncio.sleep(0.1)
    assert sorted(looks.seen) == ["video/a", "video/b"]


@pytest.mark.usefixtures("quick")
async def test_a_look_that_failed_is_made_again() -> None:
    looks = Looks()
    looks.fails = 2
    controller = Controller(looks)
    controller.wake("video", "a")
    await until(lambda: len(looks.seen) == 3 and not controller.waiting())


@pytest.mark.usefixtures("quick")
async def test_a_service_that_is_gone_is_not_looked_at_any_more_and_made_again_has_one_worker() -> None:
    looks = Looks()
    controller = Controller(looks)
    controller.wake("video", "a")
    await until(lambda: len(looks.seen) == 1)
    looks.there = False
    controller.wake("video", "a")
    await until(lambda: not controller._dirty)
    assert not controller._workers

    looks.there = True
    controller.wake("video", "a")
    await until(lambda: len(looks.seen) == 3)
    assert len(controller._workers) == 1
    assert looks.known[0] is looks.known[1]
    assert looks.known[2] is not looks.known[0]


async def test_it_is_looked_at_now_and_then_anyway(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controllers, "SETTLE_S", 0.0)
    monkeypatch.setattr(controllers, "LOOK_ANYWAY_S", 0.02)
    looks = Looks()
    controller = Controller(looks)
    controller.wake("video", "a")
    await until(lambda: len(looks.seen) > 3)


@pytest.mark.usefixtures("quick")
async def test_it_is_looked_at_again_when_the_look_says_so() -> None:
    looks = Looks()
    looks.again_s = 0.02
    controller = Controller(looks)
    controller.wake("video", "a")
    await until(lambda: len(looks.seen) > 3)
    looks.there = False
    await until(lambda: not controller._dirty)
