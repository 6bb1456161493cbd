"""Places that tenants take in turn."""

from __future__ import annotations

import asyncio

import pytest

from serving.errors import ResourceExhausted
from serving.fair_places import FairPlaces

pytestmark = pytest.mark.anyio


class Worked:
    """Work that ends when it is told, and the order in which it began."""

    def __init__(self, places: FairPlaces) -> None:
        self._places = places
        self.began: list[str] = []
        self._ends: dict[str, asyncio.Event] = {}

    async def begin(self, name: str) -> asyncio.Task[None]:
        self._ends[name] = asyncio.Event()
        task = asyncio.create_task(self._work(name))
        await asyncio.sleep(0)
        return task

    async def end(self, name: str) -> None:
        self._ends[name].set()
        for _ in range(4):
            await asyncio.sleep(0)

    async def _work(self, name: str) -> None:
        async with self._places.place(name[0]):
            self.began.append(name)
            await self._ends[name].wait()


async def test_tenants_take_turns_however_many_of_one_wait() -> None:
    worked = Worked(FairPlaces("works", places=1, each=1, waiting=9))
    for name in ("a1", "a2", "a3", "a4", "b1", "b2"):
        await worked.begin(name)
    for name in ("a1", "a2", "b1", "a3", "b2", "a4"):
        await worked.end(name)
    assert worked.began == ["a1", "a2", "b1", "a3", "b2", "a4"]


async def test_a_tenant_has_no_more_than_its_own_while_others_find_a_place() -> None:
    worked = Worked(FairPlaces("works", places=3, each=2, waiting=9))
    for name in ("a1", "a2", "a3", "b1"):
        await worked.begin(name)
    assert worked.began == ["a1", "a2", "b1"]
    await worked.end("b1")
    assert worked.began == ["a1", "a2", "b1"], "the free place is no place of a's"
    await worked.end("a2")
    assert worked.began[-1] == "a3"
    for name in ("a1", "a3"):
        await worked.end(name)


async def test_one_too_many_is_refused_and_told_when_to_come_back() -> None:
    worked = Worked(FairPlaces("works", places=1, each=1, waiting=1, retry_s=2.5))
    await worked.begin("a1")
    await worked.begin("a2")
    with pytest.raises(ResourceExhausted, match="too many works at once: 1 of yours may run and 1 may wait") as caught:
        await (await worked.begin("a3"))
    assert (caught.value.retry_after_s, caught.value.reason) == (2.5, "TOO_MANY_AT_ONCE")
    await worked.begin("b1")  # another tenant's line is its own
    for name in ("a1", "a2", "b1"):
        await worked.end(name)
    assert worked.began == ["a1", "a2", "b1"]


@pytest.mark.parametrize("given", [False, True])
async def test_whoever_goes_away_while_waiting_leaves_no_place_taken(given: bool) -> None:
    worked = Worked(FairPlaces("works", places=1, each=1, waiting=9))
    await worked.begin("a1")
    gone = await worked.begin("a2")
    if given:  # it is cancelled in the very turn in which the place is given
        gone.cancel()
        await worked.end("a1")
    else:
        gone.cancel()
        await asyncio.sleep(0)
        await worked.end("a1")
    await asyncio.gather(gone, return_exceptions=True)
    last = await worked.begin("b1")
    assert worked.began[-1] == "b1"
    await worked.end("b1")
    await last
