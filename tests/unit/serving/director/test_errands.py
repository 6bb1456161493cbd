"""Errands: several at once, one per job, tenants in turn, and none that ends the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest

from serving.director import errands as module
from serving.director.errands import PLACES, Errands
from serving.errors import Unavailable
from serving.jobs.epoch import EpochLost
from serving.jobs.ids import JobKey
from serving.metrics import Unrecorded

pytestmark = pytest.mark.anyio


class Desk:
    """Errands that last until they are let go; who is on his way, and who was."""

    def __init__(self) -> None:
        self.errands = Errands(
            Unrecorded(), on_fault=lambda key, error: self.faults.append((key, error)), on_place=lambda: None
        )
        self.faults: list[tuple[JobKey, Exception]] = []
        self.began: list[tuple[JobKey, str]] = []
        self.under_way: list[JobKey] = []
        self.go = asyncio.Event()

    def ask(self, key: JobKey, what: str = "hear") -> None:
        self.errands.ask(key, what, partial(self._walk, key, what))

    def start(self, key: JobKey) -> bool:
        return self.errands.start(key, partial(self._walk, key, "start"))

    async def _walk(self, key: JobKey, what: str) -> None:
        assert key not in self.under_way, "one at a time for one job"
        self.began.append((key, what))
        self.under_way.append(key)
        try:
            await self.go.wait()
        finally:
            self.under_way.remove(key)


@asynccontextmanager
async def opened(errands: Errands) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        errands.open(group)
        yield


async def _settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_tenants_take_turns_however_much_one_of_them_asks_for() -> None:
    desk = Desk()
    for number in range(1000):
        desk.ask(("noisy", f"job-{number}"))
    async with opened(desk.errands):
        await _settle()
        assert len(desk.under_way) == PLACES
        desk.ask(("quiet", "job"))
        desk.go.set()
        await _settle()
        place = desk.began.index((("quiet", "job"), "hear"))

    assert place <= PLACES + 1
    assert len(desk.began) == 1001


async def test_what_is_asked_for_meanwhile_comes_after_and_once() -> None:
    desk = Desk()
    job = "a", "job"
    async with opened(desk.errands):
        desk.ask(job)
        await _settle()
        for _ in range(3):
            desk.ask(job)
        desk.ask(job, "end")
        assert not desk.start(job)
        desk.go.set()
        await _settle()

    assert [what for _, what in desk.began] == ["hear", "hear", "end"]


async def test_a_start_has_a_place_of_its_own_and_what_is_asked_for_the_same_job_waits_for_it() -> None:
    desk = Desk()
    for number in range(PLACES):
        desk.ask(("noisy", f"job-{number}"))
    async with opened(desk.errands):
        await _settle()
        desk.ask(("quiet", "job"))  # there is no place for it
        assert desk.start(("quiet", "job"))
        await _settle()
        assert desk.began[-1] == (("quiet", "job"), "start")
        desk.go.set()
        await _settle()

    assert desk.began[-1] == (("quiet", "job"), "hear")


async def test_a_fault_is_told_and_ends_nothing_else() -> None:
    desk = Desk()
    desk.go.set()

    async def fails() -> None:
        raise ZeroDivisionError

    async with opened(desk.errands):
        desk.errands.ask(("a", "faulty"), "hear", fails)
        desk.ask(("a", "good"))
        await _settle()

    assert [key for key, _ in desk.faults] == [("a", "faulty")]
    assert desk.began == [(("a", "good"), "hear")]


async def test_an_epoch_that_is_lost_ends_all() -> None:
    desk = Desk()

    async def lost() -> None:
        raise EpochLost("a newer one")

    async def work() -> None:
        async with opened(desk.errands):
            desk.ask(("a", "job"))
            desk.errands.start(("b", "job"), lost)

    with pytest.raises(ExceptionGroup) as ended:
        await work()
    assert [type(error) for error in ended.value.exceptions] == [EpochLost]


@pytest.mark.parametrize("over", [False, True], ids=["it is ending", "it has ended"])
async def test_who_asks_in_the_last_moments_is_told_to_come_again(over: bool) -> None:
    desk, told = Desk(), []

    async def ask_when_it_ends() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            with pytest.raises(Unavailable) as refused:
                desk.ask(("a", "late"))
            told.append(refused.value.retry_after_s)

    async def lose() -> None:
        raise EpochLost("a newer one")

    async def work() -> None:
        async with asyncio.TaskGroup() as group:
            desk.errands.open(group)
            if not over:
                group.create_task(ask_when_it_ends())
                await _settle()
            desk.errands.ask(("a", "job"), "hear", lose)

    with pytest.raises(ExceptionGroup):
        await work()
    if over:
        with pytest.raises(Unavailable) as refused:
            desk.ask(("a", "late"))
        told.append(refused.value.retry_after_s)

    assert told == [module.RETRY_AFTER_S]


@pytest.mark.parametrize("trouble", ["away", "silent"])
async def test_an_errand_that_the_store_keeps_from_its_end_is_done_again(
    trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAUSE_S", 0.01)
    monkeypatch.setattr(module, "LONGEST_S", 0.05)
    desk, tries = Desk(), 0

    async def stumbles() -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            await (_away() if trouble == "away" else asyncio.Event().wait())

    async with opened(desk.errands):
        desk.errands.ask(("a", "job"), "end", stumbles)
        async with asyncio.timeout(10):
            while desk.errands.busy(("a", "job")):  # noqa: ASYNC110  (nobody tells)
                await asyncio.sleep(0.01)

    assert tries == 2
    assert desk.faults == []


async def _away() -> None:
    raise Unavailable("planted", retry_after_s=1)
