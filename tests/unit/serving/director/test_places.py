"""The places at the Renderers: never more than there are, the best rank next, and none is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from serving.director.places import Places
from serving.stages.contracts import Rank

pytestmark = pytest.mark.anyio


class Renderers:
    """Calls that go on until they are ended, and who was let in, in order."""

    def __init__(self, count: int) -> None:
        self.ranks: dict[str, Rank] = {}
        self.inside: list[str] = []
        self.let_in: list[str] = []
        self._places = Places(count)
        self.ends: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def call(self, name: str, rank: float) -> None:
        self.ranks[name] = (rank,)
        self.ends[name] = asyncio.Event()
        self._tasks[name] = asyncio.create_task(self._call(name))
        await _settle()

    async def end(self, name: str) -> None:
        self.ends[name].set()
        await _settle()

    def cancel(self, name: str) -> None:
        self._tasks[name].cancel()

    async def close(self) -> None:
        """Whoever is left gives up: a task that is dropped while it waits would end in another test's loop."""
        for name in self._tasks:
            self.cancel(name)
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _call(self, name: str) -> None:
        async with self._places.place(lambda: self.ranks[name]):
            self.inside.append(name)
            self.let_in.append(name)
            try:
                await self.ends[name].wait()
            finally:
                self.inside.remove(name)


@asynccontextmanager
async def _renderers(count: int) -> AsyncIterator[Renderers]:
    renderers = Renderers(count)
    try:
        yield renderers
    finally:
        await renderers.close()


async def _settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_an_urgent_job_waits_for_one_rendering_at_most() -> None:
    async with _renderers(1) as renderers:
        for number in range(5):
            await renderers.call(f"usual-{number}", 5.0)
        await renderers.call("urgent", 0.0)

        await renderers.end("usual-0")

        assert renderers.inside == ["urgent"]


async def test_more_places_let_more_in_and_fewer_let_nobody_in_until_enough_have_left() -> None:
    async with _renderers(1) as renderers:
        for number in range(6):
            await renderers.call(f"call-{number}", float(number))
        renderers._places.resize(3)
        await _settle()
        assert renderers.inside == ["call-0", "call-1", "call-2"]

        renderers._places.resize(1)
        for number in range(2):
            await renderers.end(f"call-{number}")
            assert renderers.inside == [f"call-{left}" for left in range(number + 1, 3)]
        await renderers.end("call-2")
        assert renderers.inside == ["call-3"]


async def test_equals_are_let_in_as_they_came_and_a_rank_counts_as_it_is_when_a_place_is_free() -> None:
    async with _renderers(1) as renderers:
        for name in ("at work", "first", "second", "third"):
            await renderers.call(name, 5.0)
        renderers.ranks["third"] = (1.0,)

        for name in ("at work", "third", "first"):
            await renderers.end(name)

        assert renderers.let_in == ["at work", "third", "first", "second"]


@pytest.mark.parametrize("turns", range(5))
async def test_a_place_that_was_given_to_one_who_is_cancelled_meanwhile_goes_on(turns: int) -> None:
    """Before it was called, when it was called but does not know, and when it has the place."""
    async with _renderers(1) as renderers:
        for name in ("at work", "cancelled", "next"):
            await renderers.call(name, 5.0)

        renderers.ends["at work"].set()
        for _ in range(turns):
            await asyncio.sleep(0)
        renderers.cancel("cancelled")
        await _settle()

        assert renderers.inside == ["next"]


async def test_a_call_that_fails_gives_its_place_back() -> None:
    places = Places(1)
    with pytest.raises(ValueError, match="broken"):
        async with places.place(lambda: ()):
            raise ValueError("broken")
    async with asyncio.timeout(1), places.place(lambda: ()):
        pass


_events = st.lists(
    st.tuples(st.sampled_from(["call", "end", "cancel"]), st.integers(0, 30), st.floats(0, 9), st.integers(0, 5)),
    max_size=40,
)


@given(_events, st.integers(1, 3))
@example([*([("call", 0, 0.0, 0)] * 3), ("end", 0, 0.0, 0), ("cancel", 0, 0.0, 0), ("call", 0, 0.0, 0)], 1)
def test_no_place_is_lost_or_given_twice(events: list[tuple[str, int, float, int]], count: int) -> None:
    asyncio.run(_live(events, count))


async def _live(events: list[tuple[str, int, float, int]], count: int) -> None:
    """Callers come, end and give up, several within a turn of the loop; then as many as there are places come in."""
    renderers, there = Renderers(count), list[str]()
    for number, (what, which, rank, turns) in enumerate(events):
        name = there.pop(which % len(there)) if there and what != "call" else str(number)
        match what:
            case "call":
                there.append(name)
                await renderers.call(name, rank)
            case "end" if name in renderers.ranks:
                renderers.ends[name].set()
            case "cancel" if name in renderers.ranks:
                renderers.cancel(name)
        for _ in range(turns):
            await asyncio.sleep(0)
        assert len(renderers.inside) <= count
    for name in there:
        await renderers.end(name)
    last = [f"last-{number}" for number in range(count)]
    for name in last:
        await renderers.call(name, 0.0)
    assert renderers.inside == last
    for name in last:
        await renderers.end(name)
